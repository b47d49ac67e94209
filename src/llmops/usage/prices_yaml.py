"""The user's own prices: a YAML file, or the `prices:` mapping in llmops.yaml. They win over every other."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from llmops.errors import ConfigError, did_you_mean
from llmops.usage.entries import DAY, Entry, day_start
from llmops.usage.families import family, is_alias
from llmops.usage.providers import provider_name
from llmops.usage.rates import CLASSES, STANDARD, Card, exact, make_card, tier_name
from llmops.yamlfile import Document, load_yaml

_ABOUT = ("model", "provider", "valid_from", "valid_until", "tiers", "service_tiers")
_GLOB = "*?["
_MARKED = re.compile(r"(?:[-@:](?:[0-9].*|v[0-9].*|v|l.*)?)?")  # the beginning of a snapshot's mark
UNKNOWN = "unknown"  # `provider:` of prices for servers of which nobody knows who runs them
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class _Row:
    """One item of `models`. `start` and `end` are Unix times that it holds from and until."""

    entry: Entry
    glob: bool
    start: float
    end: float

    def fits(self, provider: str, model: str) -> bool:
        """True for a model that the row is about. Letter case is no difference, as it is none in the lists."""
        own = self.entry
        if own.provider and own.provider != (provider or UNKNOWN):
            return False
        names, written = (model.lower(), f"{provider}/{model}".lower()), own.model.lower()
        return any(fnmatchcase(name, written) for name in names) if self.glob else written in names

    def spells(self, provider: str, model: str) -> bool:
        """True for a row that has the name in the same letter case: it goes before one that differs in nothing else."""
        return self.entry.model in (model, f"{provider}/{model}")

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """How closely it names a model: by its name, then for one provider, then by the longer pattern."""
        return (not self.glob, bool(self.entry.provider), len(self.entry.model))


@dataclass(frozen=True)
class _RowsOfModel:
    rows: Sequence[_Row]  # the closest first, the latest first
    sure: bool = True

    @property
    def slot(self) -> int:
        return DAY if any(row.entry.valid_from or row.entry.valid_until for row in self.rows) else 0

    def at(self, moment: float) -> Entry | None:
        return next((row.entry for row in self.rows if row.start <= moment < row.end), None)


@dataclass(frozen=True)
class YamlPrices:
    """The layer of the user's own prices; `servers` is the section on self-hosted servers, as written."""

    rows: tuple[_Row, ...] = ()
    servers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    revision: str = ""
    document: Document | None = None
    place: Place = ()
    name: str = "yours"

    def match(self, provider: str, names: Sequence[str], asked: Sequence[str] = ()) -> _RowsOfModel | None:
        """The rows for a model by any of its names, the closest first.

        `asked` are names it was asked for by: a row that has one goes behind those that only mean the model itself,
        and before patterns that mean both.
        """
        fitting = []
        for row in self.rows:
            own = any(row.fits(provider, name) for name in names)
            other = any(row.fits(provider, name) for name in asked)
            if own or other:
                closeness = (2 if own else 1) if not row.glob else 2 if own and asked and not other else 0
                spelled = [any(row.spells(provider, name) for name in spellings) for spellings in (names, asked)]
                fitting.append((closeness, row.rank, spelled, row.start, row))
        fitting.sort(key=lambda one: one[:4], reverse=True)
        return _RowsOfModel([row for *_, row in fitting]) if fitting else None

    def lacking(self, provider: str, names: Sequence[str], moment: float) -> str:
        """What to add to a price of yours that can't price a whole answer; empty when there is none, or it can."""
        match = self.match(provider, names)
        entry = match.at(moment) if match is not None else None
        if entry is None or entry.rates.per_request is not None or entry.rates.per_image is not None:
            return ""
        blanks = [f"{name}: PRICE" for name in ("input", "output") if getattr(entry.rates, name) is None]
        return f"add {', '.join(blanks)} to {entry.label} at {entry.where}" if blanks else ""

    def served(self, provider: str, model: str) -> Iterator[str]:
        """Names of snapshots of a model that rows are about; a pattern gives a name that fits it."""
        model = model.lower()
        base = family(model) if model.endswith("latest") else model
        for row in self.rows:
            name = re.sub(f"^{re.escape(provider)}/", "", row.entry.model, flags=re.IGNORECASE)
            if row.glob:
                name = re.sub(r"\[!?(.)[^]]*\]", r"\1", name.lower()).replace("*", "").replace("?", "0")
            may_be = name.startswith(base) and _MARKED.fullmatch(name.removeprefix(base))
            if (may_be if row.glob else is_alias(model, name)) and row.fits(provider, name):
                yield name

    def entries(self, moment: float) -> Iterator[Entry]:
        latest: dict[tuple[str, str], _Row] = {}
        for row in self.rows:
            key = row.entry.provider, row.entry.model
            if row.start <= moment < row.end and (key not in latest or latest[key].start <= row.start):
                latest[key] = row
        yield from (row.entry for row in latest.values())

    def where(self, *path: str | int) -> str:
        """`file:line` of a part, such as `where("servers", "local")`."""
        return self.document.where((*self.place, *path)) if self.document else ""


def read_prices(path: Path) -> YamlPrices:
    """Prices from a YAML file. Raises `ConfigError` with file and line."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        hint = "prices: in llmops.yaml names this file"
        raise ConfigError(f"the prices can't be read: {reason}", where=str(path), hint=hint) from None
    document = load_yaml(text, name=str(path), error=ConfigError)
    return parse_prices(document, revision=hashlib.sha256(content).hexdigest())


def inline_prices(data: Any, where: str = "") -> YamlPrices:
    """Prices that stand in llmops.yaml itself: its `prices` mapping, or the whole `Document`."""
    if isinstance(data, Document):
        written = data.data.get("prices") if isinstance(data.data, dict) else None
        return parse_prices(data, ("prices",), revision=_digest(written))
    file, _, line = where.rpartition(":")
    start = int(line) if line.isdigit() else 1
    document = Document(data, file or where or "llmops.yaml", {(): start})
    return parse_prices(document, revision=_digest(data))


def _day_of(value: Any) -> Any:
    """Python's dates as YAML has them; a time of day is none, and one with a zone is of its day in UTC."""
    if isinstance(value, datetime):
        value = value.astimezone(UTC) if value.tzinfo else value
        value = value.date() if value.time() == time() else value
    return value.isoformat() if isinstance(value, date) else value


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def parse_prices(document: Document, place: Place = (), *, revision: str) -> YamlPrices:
    """The prices at `place` of a document. Raises `ConfigError` for anything that isn't one."""
    data: Any = document.data
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    reader = _Reader(document, place)
    data = reader.mapping({} if data is None else data, (), ("currency", "models", "servers"))
    if data.get("currency", "USD") != "USD":
        message = f"currency is {data['currency']!r:.40}: only USD is known, other currencies aren't converted"
        raise reader.error(message, ("currency",))
    models = data.get("models") or []
    if not isinstance(models, list):
        raise reader.error("models is a list", ("models",), "write - model: NAME, with input: and output: below it")
    rows = tuple(reader.row(item, index) for index, item in enumerate(models))
    reader.refuse_twins(rows)
    servers = data.get("servers") or {}
    if not isinstance(servers, dict) or not all(isinstance(server, dict) for server in servers.values()):
        raise reader.error("servers is a mapping of backends' names to settings", ("servers",))
    return YamlPrices(rows, servers, revision, document, place)


class _Reader:
    """Reads the parts of a document, with the place of each for errors."""

    def __init__(self, document: Document, place: Place) -> None:
        self.document = document
        self.place = place

    def error(self, message: str, path: Place, hint: str = "") -> ConfigError:
        exact_line = (*self.place, *path) in self.document.lines
        inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
        at = "" if exact_line or not path else f"{inside}: "
        return ConfigError(f"{at}{message}", where=self.document.where((*self.place, *path)), hint=hint)

    def mapping(self, value: Any, path: Place, known: Sequence[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(f"{value!r} isn't a mapping of {', '.join(known)}"[:300], path)
        for key in value:
            if key not in known:
                raise self.error(f"unknown key {key!r}", (*path, key), did_you_mean(str(key), known))
        return value

    def row(self, item: Any, index: int) -> _Row:
        path: Place = ("models", index)
        data = self.mapping(item, path, (*_ABOUT, *CLASSES))
        model = data.get("model")
        if not isinstance(model, str) or not model:
            raise self.error(f"model is {model!r}, not a model's name", path, "write - model: NAME")
        provider = data.get("provider") or ""
        if not isinstance(provider, str):
            raise self.error(f"provider is {provider!r}, not a name", (*path, "provider"))
        first, last = (self.day(data.get(key), (*path, key)) for key in ("valid_from", "valid_until"))
        if first and last and last < first:
            raise self.error(f"valid_until {last} is before valid_from {first}", (*path, "valid_until"))
        entry = Entry(
            "yours",
            provider_name(provider),
            model,
            self.card(data, path),
            valid_from=first,
            valid_until=last,
            where=self.document.where((*self.place, *path)),
        )
        start = day_start(first) if first else float("-inf")
        return _Row(entry, any(c in model for c in _GLOB), start, day_start(last) + DAY if last else float("inf"))

    def card(self, data: Mapping[str, Any], path: Place) -> Card:
        table: dict[tuple[str, int], dict[str, Decimal]] = {(STANDARD, 0): self.rates(data, path)}
        self.steps(data, STANDARD, path, table)
        tiers = data.get("service_tiers") or {}
        if not isinstance(tiers, dict):
            message = "service_tiers is a mapping of batch, flex, priority, … to rates"
            raise self.error(message, (*path, "service_tiers"))
        for name, rates in tiers.items():
            inside: Place = (*path, "service_tiers", name)
            given = self.mapping(rates, inside, ("tiers", *CLASSES))
            tier = tier_name(name, provider_name(data.get("provider") or ""))
            table[tier, 0] = self.rates(given, inside)
            self.steps(given, tier, inside, table)
        if not any(table.values()):
            hint = f"add at least one of {', '.join(CLASSES[:6])}, per_request, per_image"
            raise self.error(f"{data['model']} has no price", path, hint)
        return make_card(table, keeps=True)

    def steps(
        self, data: Mapping[str, Any], service: str, path: Place, table: dict[tuple[str, int], dict[str, Decimal]]
    ) -> None:
        steps = data.get("tiers") or []
        if not isinstance(steps, list):
            raise self.error("tiers is a list", (*path, "tiers"), "write tiers: [{above: 200000, input: …, output: …}]")
        for index, step in enumerate(steps):
            inside: Place = (*path, "tiers", index)
            given = self.mapping(step, inside, ("above", *CLASSES))
            above = given.get("above")
            if type(above) is not int or above <= 0:
                raise self.error(f"above is {above!r}, not a number of input tokens", inside)
            if (service, above) in table:
                raise self.error(f"above: {above} is written twice", inside)
            table[service, above] = self.rates(given, inside)

    def rates(self, data: Mapping[str, Any], path: Place) -> dict[str, Decimal]:
        return {name: self.rate(data[name], (*path, name)) for name in CLASSES if data.get(name) is not None}

    def rate(self, value: Any, path: Place) -> Decimal:
        unit = "dollars" if str(path[-1]).startswith("per_") else "dollars per million tokens"
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError
            rate = exact(value)
        except (ValueError, ArithmeticError):
            message = f"{path[-1]} is {value!r}, not a number of {unit}"
            raise self.error(message[:200], path, "a plain number, such as 0.10") from None
        if value and not rate:
            raise self.error(f"{path[-1]} is {value!r}: too small to be told from 0", path, "0 is a price, too")
        return rate

    def day(self, value: Any, path: Place) -> str:
        if value is None:
            return ""
        try:
            return date.fromisoformat(_day_of(value)).isoformat()
        except (TypeError, ValueError):
            raise self.error(f"{path[-1]} is {value!r}, not a day", path, "write a day as 2026-01-31") from None

    def refuse_twins(self, rows: Sequence[_Row]) -> None:
        seen: dict[tuple[str, str, str], int] = {}
        for index, row in enumerate(rows):
            key = (row.entry.provider, row.entry.model, row.entry.valid_from)
            if key in seen:
                first = self.document.where((*self.place, "models", seen[key]))
                hint = "give one of them a valid_from, or take it out"
                raise self.error(f"{row.entry.label} is priced already at {first}", ("models", index), hint)
            seen[key] = index
