"""The call log for other programs: FOCUS rows for finance, Prometheus text, and the calls themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.costs.moments import Moment
from llmops.costs.opening import open_calls
from llmops.costs.pruned import NOTHING_PRUNED, Pruned, pruned_of
from llmops.costs.selecting import Selection, check_name, select
from llmops.costs.whole_files import WholeFile, check_place
from llmops.errors import InputError, did_you_mean
from llmops.reports.cost_focus import FocusAccount
from llmops.usage.conditions import Where

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls

FORMATS = ("focus", "prometheus", "jsonl", "csv", "parquet")
SUMS = ("focus", "prometheus")
FOCUS_TAGS = ("purpose", "feature", "prompt")
_PROMETHEUS_BY = ("purpose", "provider", "model", "team", "feature")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rows, and requests that a FOCUS file can't hold because they have no price.

    `pruned` calls are in no sum by user: what they cost is known, and whose they were isn't any more.
    """

    rows: int
    path: Path
    unpriced: int = 0
    pruned: Pruned = NOTHING_PRUNED


def export(
    format: str,
    path: str | Path,
    since: Moment = None,
    until: Moment = None,
    where: Where = (),
    *,
    by: str | Sequence[str] = (),
    unit: str = "day",
    account: FocusAccount | None = None,
    store: str | Path | None = None,
    now: float | None = None,
) -> Exported:
    """Write calls to a file, which is whole or not there. Formats: focus, prometheus, jsonl, csv, parquet.

    `by` are the tags of FOCUS rows and the labels of Prometheus; `unit`, `hour` or `day`, is a FOCUS row's period. A
    FOCUS file is CSV, or Parquet when it ends so. The path `-` is stdout. Raises `InputError`, `NotFoundError`,
    `MissingExtraError`.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format[:40]!r} is no format", hint=did_you_mean(format, FORMATS))
    if unit not in ("hour", "day"):
        raise InputError(f"--unit {unit[:40]!r}", hint="hour or day")
    chosen = select(by, since, until, where, now=now)
    if chosen.by and format not in SUMS:
        raise InputError(f"--by goes with sums, and {format} has the calls one by one", hint="add --format focus")
    target = Path(path)
    check_place(target)
    who = account or FocusAccount()
    if who.sub_account:
        check_name(who.sub_account, "--sub-account")
    with open_calls(store) as calls, WholeFile(target) as part:
        if format == "focus":
            return replace(_focus(calls, chosen, unit, who, part, target.suffix), path=target)
        if format == "prometheus":
            return _prometheus(calls, chosen, target, part)
        return Exported(_calls(calls, chosen, format, part), target)


def _focus(calls: Calls, chosen: Selection, unit: str, account: FocusAccount, part: Path, suffix: str) -> Exported:
    from llmops.reports.cost_focus import COLUMNS, PRICED_BY, focus_rows

    tags = chosen.by or FOCUS_TAGS
    sub = (account.sub_account,) if account.sub_account else ()
    by = tuple(dict.fromkeys((unit, *PRICED_BY, *sub, *tags)))
    pruned = pruned_of(calls, replace(chosen, by=by))
    totals = calls.totals(by=by, since=chosen.since, until=chosen.until, where=chosen.where)
    ordered = sorted(totals, key=lambda one: tuple(str(one.key[name] or "") for name in by))
    rows = focus_rows(ordered, account, tags, unit)
    return Exported(_table(COLUMNS, rows, part, suffix), part, sum(one.unpriced for one in ordered), pruned)


def _prometheus(calls: Calls, chosen: Selection, target: Path, part: Path) -> Exported:
    from llmops.reports.plain import encodable
    from llmops.telemetry.prometheus import render

    by = chosen.by or _PROMETHEUS_BY
    pruned = pruned_of(calls, chosen)
    text = render(calls.totals(by=by, since=chosen.since, until=chosen.until, where=chosen.where))
    part.write_text(encodable(text), "utf-8")
    return Exported(sum(not line.startswith("#") for line in text.splitlines()), target, pruned=pruned)


def _calls(calls: Calls, chosen: Selection, format: str, part: Path) -> int:
    from llmops.reports.cost_calls import COLUMNS, call_rows
    from llmops.reports.cost_tables import write_json_lines

    rows = call_rows(calls.rows(since=chosen.since, until=chosen.until, where=chosen.where))
    if format == "jsonl":
        return _text(part, lambda write: write_json_lines(rows, write))
    return _table(COLUMNS, rows, part, f".{format}")


def _table(columns: Mapping[str, type], rows: Iterable[Mapping[str, Any]], part: Path, suffix: str) -> int:
    from llmops.reports.cost_tables import write_csv_table, write_parquet_table

    if suffix.lower() == ".parquet":
        return write_parquet_table(columns, rows, part)
    return _text(part, lambda write: write_csv_table(tuple(columns), rows, write))


def _text(part: Path, fill: Callable[[Callable[[str], object]], int]) -> int:
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        return fill(file.write)
