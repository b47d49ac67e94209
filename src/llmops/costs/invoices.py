"""Providers' invoices and usage exports (CSV) as amounts by day and model.

Columns are found by name. Known are OpenAI's cost export (`start_time`, `amount_value`, `line_item`) and usage export
(`start_time_iso`, `model`, `input_tokens`, `input_cached_tokens`, `output_tokens`), Anthropic's cost export
(`usage_date_utc`, `model`, `cost_usd`) and usage export (`usage_input_tokens_no_cache` and the others), and any file
that has a date, a model and a cost or tokens.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from llmops.costs.invoice_numbers import Mark, Number, decimal_mark, foreign, is_dollars, number_of, other_currency
from llmops.errors import InputError, did_you_mean

NAMES: dict[str, tuple[str, ...]] = {
    "date": (
        "date", "usage_date_utc", "usage_date", "start_time_iso", "start_time", "day", "timestamp", "starting_at",
        "bucket_start_time", "created", "created_at", "time", "chargeperiodstart", "billing_date",
    ),
    "model": (
        "model", "model_version", "snapshot_id", "model_id", "model_name", "line_item", "sku", "skuid", "description",
    ),
    "cost": (
        "cost", "cost_usd", "amount_value", "amount", "amount_usd", "cost_in_major", "total_cost", "billedcost",
        "spend", "price", "total",
    ),
    "currency": (
        "currency", "amount_currency", "billingcurrency", "billing_currency", "currency_code", "cost_currency",
    ),
}  # fmt: skip
INPUT = (
    ("input_tokens", "prompt_tokens", "n_context_tokens_total", "context_tokens", "tokens_in"),
    ("usage_input_tokens_no_cache", "uncached_input_tokens", "input_uncached_tokens"),
    ("usage_input_tokens_cache_read", "cache_read_input_tokens"),
    ("usage_input_tokens_cache_write_5m", "cache_creation_ephemeral_5m_input_tokens"),
    ("usage_input_tokens_cache_write_1h", "cache_creation_ephemeral_1h_input_tokens"),
    ("cache_creation_input_tokens",),
)
OUTPUT = ("output_tokens", "usage_output_tokens", "completion_tokens", "n_generated_tokens_total", "tokens_out")
ROLES = ("date", "model", "cost", "input", "output", "currency")
_SNAPSHOT = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_LARGEST = 100_000_000
_FIRST, _LAST = "2000-01-01", "2199-12-31"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """What a provider says of a model on a day (UTC). `cost` is in dollars; None in a file that has only tokens."""

    day: str
    model: str
    cost: Decimal | None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Invoice:
    """The lines of a file that have a date and an amount, and how many others it has."""

    lines: tuple[InvoiceLine, ...]
    skipped: int = 0


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what; `input` may be several that add up."""

    date: str
    model: str = ""
    cost: str = ""
    currency: str = ""
    input: tuple[str, ...] = ()
    output: str = ""


def read_invoice(path: Path, chosen: Mapping[str, str] | None = None) -> Invoice:
    """The lines of an invoice, one a row with an amount. `chosen` names columns by role, over what is guessed.

    A comma before decimals is read where cells are separated by something else, and all numbers of the file agree.
    Raises `InputError` with the line for what can't be read or may mean two things, and for a currency other than US
    dollars.
    """
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    if not first:
        raise InputError("is empty", where=str(path))
    separator = max((",", ";", "\t"), key=first.count)

    def rows() -> csv.DictReader[str]:
        return csv.DictReader(io.StringIO(text.lstrip(), newline=""), delimiter=separator, strict=False)

    reader = rows()
    try:
        columns = find_columns(reader.fieldnames or [], chosen or {}, str(path))
        mark = decimal_mark(_numbers(reader, columns, path), separator)
        reader = rows()
        lines = [_line(row, columns, mark, where) for row, where in _rows(reader, path)]
    except csv.Error as error:
        raise InputError(f"isn't CSV: {error}", where=f"{path}:{reader.line_num}") from None
    found = tuple(line for line in lines if line is not None)
    return Invoice(found, len(lines) - len(found))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError("is over 100 MB", where=str(path), hint="export fewer days, or group by day and model")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("isn't text in UTF-8", where=str(path), hint="save it as CSV in UTF-8") from None
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"can't be read: {reason}", where=str(path)) from None


def _rows(reader: csv.DictReader[str], path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Rows that aren't blank, each with its `file:line`. A number with a comma that isn't in quotes is an error."""
    for row in reader:
        where = f"{path}:{reader.line_num}"
        more: object = row.pop(None, None)
        if isinstance(more, list) and any(str(cell).strip() for cell in more):
            hint = "a number with a comma has to stand in quotes"
            raise InputError("has more cells than the first line has names", where=where, hint=hint)
        cells = {name: cell or "" for name, cell in row.items()}
        if any(cell.strip() for cell in cells.values()):
            yield cells, where


def _numbers(reader: csv.DictReader[str], columns: Columns, path: Path) -> Iterator[Number]:
    for row, where in _rows(reader, path):
        if not row[columns.date].strip():
            continue
        if columns.cost:
            yield Number(row[columns.cost], where, whole=False)
        for name in (*columns.input, columns.output):
            if name:
                yield Number(row[name], where, whole=True)


def find_columns(names: Sequence[str], chosen: Mapping[str, str], where: str) -> Columns:
    """The columns by role, guessed by name where `chosen` says nothing."""
    known = {_simple(name): name for name in reversed(names) if name}
    for role, name in chosen.items():
        if role not in ROLES:
            raise InputError(f"--columns {role!r} is no role", hint=did_you_mean(role, ROLES))
        if name not in names:
            raise InputError(f"--columns {role}={name}: no such column", where=where, hint=did_you_mean(name, names))

    def guess(role: str, candidates: Sequence[str]) -> str:
        return chosen.get(role) or next((known[name] for name in candidates if name in known), "")

    day = guess("date", NAMES["date"])
    if not day:
        hint = f"name it: --columns date=NAME; it has {', '.join(names[:12])}"
        raise InputError("no column looks like a date", where=where, hint=hint)
    inputs = (chosen["input"],) if "input" in chosen else _inputs(known)
    cost, output = guess("cost", NAMES["cost"]), guess("output", OUTPUT)
    if not (cost or inputs or output):
        hint = f"name one: --columns cost=NAME; it has {', '.join(names[:12])}"
        raise InputError("no column looks like a cost or tokens", where=where, hint=hint)
    if other_currency(cost):
        raise foreign(other_currency(cost), where)
    return Columns(day, guess("model", NAMES["model"]), cost, guess("currency", NAMES["currency"]), inputs, output)


def _inputs(known: Mapping[str, str]) -> tuple[str, ...]:
    """A column of all input tokens, else those that add up to it."""
    whole = next((known[name] for name in INPUT[0] if name in known), "")
    parts = [next((known[name] for name in group if name in known), "") for group in INPUT[1:]]
    no_cache, *cached = parts
    if whole and not (any(cached) and "usage" in _simple(next(filter(None, cached)))):
        return (whole,)
    return tuple(part for part in (whole, no_cache, *cached) if part)


def _line(row: Mapping[str, str], columns: Columns, mark: Mark, where: str) -> InvoiceLine | None:
    """What a row says; None without a date or an amount."""
    day = row[columns.date].strip()
    if not day:
        return None
    currency = row[columns.currency].strip() if columns.currency else ""
    if not is_dollars(currency):
        raise foreign(currency.lower(), where)
    cost = number_of(Number(row[columns.cost], where, whole=False), mark) if columns.cost else None
    inputs = [_count(row[name], mark, where) for name in columns.input]
    output = _count(row[columns.output], mark, where) if columns.output else None
    if cost is None and output is None and not any(count is not None for count in inputs):
        return None
    whole = sum(count or 0 for count in inputs) if columns.input else None
    model = model_of(row[columns.model]) if columns.model else ""
    return InvoiceLine(_day(day, where), model, cost, whole, output)


def _count(text: str, mark: Mark, where: str) -> int | None:
    value = number_of(Number(text, where, whole=True), mark)
    return None if value is None else int(value)


def model_of(text: str) -> str:
    """`gpt-4o-2024-08-06, input` and `Claude Sonnet 4.5 Usage` as a model's name in lower case."""
    name = text.partition(",")[0].strip().lower()
    name = re.sub(r"\s+(usage|input|output|tokens?)\b.*", "", name)
    return name.replace(" ", "-")


def same_model(name: str) -> str:
    """A name without what tells snapshots apart: provider, dots and dates. `gpt-4o-2024-08-06` is `gpt-4o`."""
    bare = name.lower().rsplit("/", 1)[-1].replace(".", "-")
    return _SNAPSHOT.sub("", bare)


def _simple(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _day(text: str, where: str) -> str:
    """The day in UTC of a date, a time with its zone, or Unix seconds."""
    try:
        day = _date(text).isoformat()
    except (ValueError, OverflowError, OSError):
        raise InputError(f"{text[:40]!r} isn't a date", where=where, hint="write it as 2026-11-01") from None
    if not _FIRST <= day <= _LAST:
        raise InputError(f"{text[:40]!r} is no day that models were called on", where=where)
    return day


def _date(text: str) -> date:
    if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC).date()
    if len(text) <= 10:
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
