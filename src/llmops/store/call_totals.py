"""Sums over calls by any of their fields: whole hours from sums that are kept, the rest from the calls."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
)

from llmops.store import call_fields as known
from llmops.store.call_bodies import open_call
from llmops.store.call_rows import PARTS, SKEW_S, TOKENS, first_key, id_of
from llmops.store.call_sums import SUMS
from llmops.store.call_tables import CALL_ENDINGS, CALL_GROUPS, CALL_HOURS, CALL_WORDS, CALLS, OPEN_CALLS
from llmops.types import Call
from llmops.usage.conditions import Condition, holds

HOUR_S = 3600
_ERRORS = ("error", "timeout")


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the calls that agree in `key` (field → value). Money is in nano-dollars, times in seconds.

    `requests` counts all of them, those that were never sent (`unsent`) or have not ended (`pending`) too. `errors`
    ended in an error or a timeout; `unpriced` were answered, or may have been, and have no price; of `unknown` nobody
    knows the tokens. `first_tokens` is how many have a time to the first token.
    """

    key: Mapping[str, str] = field(default_factory=dict)
    requests: int = 0
    unsent: int = 0
    pending: int = 0
    errors: int = 0
    unpriced: int = 0
    unknown: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_exact: int = 0
    cost_estimated: int = 0
    cost_input: int = 0
    cost_cache_read: int = 0
    cost_cache_write: int = 0
    cost_output: int = 0
    cost_reasoning: int = 0
    cost_fees: int = 0
    duration_s: float = 0.0
    first_token_s: float = 0.0
    first_tokens: int = 0


_COUNTS = tuple(entry.name for entry in fields(Totals) if entry.name not in ("key", "pending"))


def totals(
    connection: Connection, by: Sequence[str], since: float | None, until: float | None, where: Mapping[str, Condition]
) -> list[Totals]:
    """A line for each combination of the values of `by`, in their order. See `Calls.totals`."""
    wanted = tuple(dict.fromkeys((*by, *known.unchecked(where))))
    lines: dict[tuple[str, ...], dict[str, Any]] = defaultdict(lambda: defaultdict(int))

    def add(values: Mapping[str, str], sums: Mapping[str, Any]) -> None:
        if all(holds(wanted, values[name]) for name, wanted in known.unchecked(where).items()):
            line = lines[tuple(values[name] for name in by)]
            for name, number in sums.items():
                line[name] += number

    for statement in _statements(connection, wanted, since, until, where):
        for row in connection.execute(statement):
            values = {name: known.value(name, row[place]) for place, name in enumerate(wanted)}
            numbers = zip(_COUNTS, row[len(wanted) :], strict=True)
            add(values, {name: (float if name.endswith("_s") else int)(number or 0) for name, number in numbers})
    for call in open_calls(connection, since, until):
        if known.is_chosen(call, where):
            add({name: known.of_call(name, call) for name in wanted}, {"requests": 1, "pending": 1})
    return [Totals(dict(zip(by, key, strict=True)), **lines[key]) for key in sorted(lines)]


def open_calls(connection: Connection, since: float | None = None, until: float | None = None) -> Iterator[Call]:
    """The calls that have not ended, in order of their ids."""
    groups, words = CALL_GROUPS.c, CALL_WORDS.c
    statement = (
        select(OPEN_CALLS, *_but_key(groups), words.word.label("user_name"))
        .join(CALL_GROUPS, groups.key == OPEN_CALLS.c.group_key)
        .join(CALL_WORDS, words.key == OPEN_CALLS.c.user_key)
        .where(*between(OPEN_CALLS.c.started_at, since, until))
        .order_by(OPEN_CALLS.c.id)
    )
    for row in connection.execute(statement):
        yield open_call(row)


def between(at: ColumnElement[Any], since: float | None, until: float | None) -> Iterator[ColumnElement[bool]]:
    """The conditions for a column of times: from `since`, before `until`."""
    if since is not None:
        yield at >= since
    if until is not None:
        yield at < until


def of_time(
    is_file: bool, since: float | None, until: float | None, *, skewed: bool = False
) -> list[ColumnElement[bool]]:
    """The conditions for calls that began from `since` and before `until`, most of them found by their id."""
    found = list(between(CALLS.c.started_at, since, until))
    if skewed:
        return [*found, CALLS.c.skewed == literal_column("1")]  # a bound value would keep SQLite from the index

    def bound(at: float) -> Any:
        return first_key(at) if is_file else id_of(first_key(at))

    if since is not None:
        found.append(CALLS.c.id >= bound(since - SKEW_S))
    if until is not None:
        found.append(CALLS.c.id < bound(until + SKEW_S))
    return [*found, CALLS.c.skewed == 0]


def _statements(
    connection: Connection,
    wanted: Sequence[str],
    since: float | None,
    until: float | None,
    where: Mapping[str, Condition],
) -> Iterator[Select[Any]]:
    names = set(wanted)
    calls = partial(_of_calls, connection.dialect.name == "sqlite", names, where)
    first = None if since is None else math.ceil(since / HOUR_S)
    last = None if until is None else math.floor(until / HOUR_S)
    if "user" in (*wanted, *where) or (first is not None and last is not None and first > last):  # within one hour
        sources = [*calls(since, until)]
    else:
        sources = [_of_hours(names, where).where(*between(CALL_HOURS.c.hour, first, last))]
        if since is not None and first is not None and since < first * HOUR_S:
            sources += calls(since, first * HOUR_S)
        if until is not None and last is not None and last * HOUR_S < until:
            sources += calls(last * HOUR_S, until)
    for source in sources:
        yield _summed(source.subquery(), wanted)


def _of_hours(names: Set[str], where: Mapping[str, Condition]) -> Select[Any]:
    """`call_hours`, summed over all keys that aren't needed: joins come after that."""
    hours = CALL_HOURS.c
    if "hour" in names:
        return select(CALL_HOURS).where(*known.chosen_keys(where, hours))
    keys: list[ColumnElement[Any]] = [hours.ending_key]
    keys += [hours.group_key] if any(map(known.is_of_group, names)) else []
    keys += [(hours.hour // 24 * 24).label("hour")] if not names.isdisjoint(known.TIMES) else []
    sums = (func.sum(hours[name]).label(name) for name in SUMS)
    made = select(*keys, *sums).where(*known.chosen_keys(where, hours))
    return made.group_by(*(literal_column(str(place)) for place in range(1, len(keys) + 1)))


def _of_calls(
    is_file: bool, names: Set[str], where: Mapping[str, Condition], since: float | None, until: float | None
) -> Iterator[Select[Any]]:
    """Sums over calls in the shape of `call_hours`, of no more keys than are needed: joins come after them."""
    calls = CALLS.c
    hour = calls.started_at / HOUR_S
    keys = [calls.ending_key]
    keys += [calls.group_key] if any(map(known.is_of_group, names)) else []
    keys += [calls.user_key] if "user" in names else []
    labels: list[ColumnElement[Any]] = [*keys]
    if not names.isdisjoint(known.TIMES):  # SQLite cuts off, and may have no floor
        labels.append(cast(hour if is_file else func.floor(hour), Integer).label("hour"))
    sums: dict[str, ColumnElement[Any]] = {name: func.sum(calls[name]) for name in (*TOKENS, "cost", *PARTS)}
    sums |= {"requests": func.count(), "first_tokens": func.count(calls.first_token_s)}
    sums |= {"duration_us": func.sum(calls.duration_s) * 1e6, "first_token_us": func.sum(calls.first_token_s) * 1e6}
    made = select(*labels, *(column.label(name) for name, column in sums.items()))
    made = made.where(*known.chosen_keys(where, calls)).group_by(*(label.name for label in labels))
    if since is None and until is None:
        yield made
        return
    for skewed in (False, True):
        yield made.where(*of_time(is_file, since, until, skewed=skewed))


def _summed(source: Subquery, wanted: Sequence[str]) -> Select[Any]:
    """The sums of `source` by the fields `wanted`."""
    column, ending = source.c, CALL_ENDINGS.c

    def number(condition: ColumnElement[bool], what: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.sum(case((condition, what), else_=0))

    sums = {
        "requests": func.sum(column.requests),
        "unsent": number(ending.outcome == "unsent", column.requests),
        "errors": number(ending.outcome.in_(_ERRORS), column.requests),
        "unpriced": number(ending.lacks_price == 1, column.requests),
        "unknown": number(and_(ending.outcome != "unsent", ending.state == "unknown"), column.requests),
        "cost_exact": number(ending.certainty == "exact", column.cost),
        "cost_estimated": number(ending.certainty != "exact", column.cost),
        "duration_s": func.sum(column.duration_us) / 1e6,
        "first_token_s": func.sum(column.first_token_us) / 1e6,
        **{name: func.sum(column[name]) for name in (*TOKENS, *PARTS, "first_tokens")},
    }
    names = [f"k{place}" for place in range(len(wanted))]  # PostgreSQL doesn't know an expression with values again
    hour = column.get("hour", CALL_HOURS.c.hour)  # of its day, where no hour is wanted
    keys = (known.column(name, hour).label(label) for name, label in zip(wanted, names, strict=True))
    made = select(*keys, *(sums[name].label(name) for name in _COUNTS)).select_from(source)
    made = made.join(CALL_ENDINGS, ending.key == column.ending_key)
    if any(map(known.is_of_group, wanted)):
        made = made.join(CALL_GROUPS, CALL_GROUPS.c.key == column.group_key)
    if "user" in wanted:
        made = made.join(CALL_WORDS, CALL_WORDS.c.key == column.user_key)
    return made.group_by(*names) if names else made


def _but_key(columns: Any) -> list[ColumnElement[Any]]:
    return [column for column in columns if column.name not in ("key", "digest")]
