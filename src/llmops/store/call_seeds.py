"""New windows of budgets: they begin with what the log says was spent in them, calls in flight among it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from llmops.store.call_bodies import holds_in, holds_text
from llmops.store.call_driver import CallDriver
from llmops.store.call_rows import GROUP, SKEW_S, Row, attribution_of, first_key
from llmops.store.encoding import name_key, plain_text
from llmops.types import Call, Hold
from llmops.usage.budget_scopes import Scope, scope_of

Key = tuple[str, str]
MOST = 2**63 - 1
_FAR = 2.0**40  # no hour, and no time, is beyond it


@dataclass(slots=True)
class _Window:
    """What a window has at first. `latest` is when its last call began, or somewhat later."""

    spent: int = 0
    reserved: int = 0
    latest: float = 0.0
    held: list[tuple[bytes, Hold]] = field(default_factory=list)  # for calls in flight, by their id


def make_windows(driver: CallDriver, holds: Mapping[Key, Hold]) -> None:
    """Make those windows that aren't there, in a transaction of its own.

    The first of a budget's windows brings in all others of the same time that calls were made for: from then on each
    call counts in its own, so that one that isn't there has nothing in it. Raises whatever the driver does.
    """
    with driver.transaction():
        lacking = [key for key in sorted(holds) if not driver.run(_IS_THERE, key)]
        scopes = {scope.name: (scope, holds[key]) for key in lacking if (scope := scope_of(holds[key].window))}
        new = [name for name in sorted(scopes) if not driver.run(_IS_WHOLE, (name_key(name),))]
        if new and not driver.is_file:
            driver.run("LOCK TABLE open_calls IN SHARE ROW EXCLUSIVE MODE")  # nobody is half-way through an end
        for name in new:
            if not driver.run(_IS_WHOLE, (name_key(name),)):
                _seed(driver, *scopes[name])
                driver.run("INSERT INTO budget_scopes (scope, made_at) VALUES (?, ?)", (name_key(name), time.time()))
        for window, unit in lacking:
            driver.run(MAKE, (window, unit, 0, 0, 0, time.time()))


def _seed(driver: CallDriver, scope: Scope, like: Hold) -> None:
    """Make all windows of a scope that anything was spent in; those that are there know it already."""
    windows: dict[str, _Window] = defaultdict(_Window)
    for call, amount, latest in _spent(driver, scope):
        name = scope.window(call)
        if name is not None:
            windows[name].spent += amount
            windows[name].latest = max(windows[name].latest, latest)
    for call, key, holds in _in_flight(driver, scope):
        name = scope.window(call)
        if name is not None:
            windows[name].latest = max(windows[name].latest, call.started_at)
            _hold(windows[name], key, holds, Hold(name, like.unit, like.limit, 0, like.hard))
    now = time.time()
    for name, made in windows.items():
        window = name_key(name), scope.unit
        if driver.run(_IS_THERE, window):
            continue
        spent = min(made.spent, MOST)
        driver.run(MAKE, (*window, spent, made.reserved, like.limit, min(made.latest, now)))
        for row, hold in made.held:
            [(before,)] = driver.run("SELECT added FROM open_calls WHERE id = ?", (driver.bound(row),))
            text = holds_text((*holds_in(before), hold))
            driver.run("UPDATE open_calls SET added = ? WHERE id = ?", (text, driver.bound(row)))


def _hold(made: _Window, key: bytes, holds: Sequence[Hold], new: Hold) -> None:
    """A call in flight has as much set aside as in another budget of the unit: its worst case isn't known anew."""
    own = [hold.amount for hold in holds if (hold.window, hold.unit) == (new.window, new.unit)]
    amounts = [hold.amount for hold in holds if hold.unit == new.unit]
    amount = max(own or amounts, default=int(new.unit == "requests"))
    made.reserved += amount
    if not own:
        made.held.append((key, replace(new, amount=amount)))


def _spent(driver: CallDriver, scope: Scope) -> Iterator[tuple[Call, int, float]]:
    """What was spent by calls that agree in group (and user, where that matters), of the scope's time."""
    since, until = _edges(scope)
    amount = _AMOUNTS[scope.unit]
    if "user" not in (*scope.by, *dict(scope.only)):
        rows = driver.run(_FROM_HOURS.format(amount=amount[0]), (int(since // 3600), int(until // 3600)))
        rows = [(group, None, number, (hour + 1) * 3600.0) for group, number, hour in rows]
    else:
        rows = _from_calls(driver, amount[1], since, until)
    groups = _groups(driver, {row[0] for row in rows})
    words = _words(driver, {row[1] for row in rows if row[1] is not None})
    for group, user, number, latest in rows:
        columns = groups[group] | {"user_name": "" if user is None else words[user]}
        yield _call(columns, since), int(number or 0), latest


def _from_calls(driver: CallDriver, amount: str, since: float, until: float) -> list[Row]:
    first, last = first_key(max(since - SKEW_S, 0)), first_key(min(until + SKEW_S, 2.0**47 / 1000))
    found = []
    for skewed, keys in ((0, (first, last)), (1, (bytes(16), b"\xff" * 16))):
        statement = _FROM_CALLS.format(amount=amount, skewed=skewed)
        found += driver.run(statement, (*map(driver.bound, keys), since, until))
    return found


def _in_flight(driver: CallDriver, scope: Scope) -> Iterator[tuple[Call, bytes, tuple[Hold, ...]]]:
    for key, started, holds, added, *columns in driver.run(_OPEN, _edges(scope)):
        call = _call(dict(zip((*GROUP, "user_name"), columns, strict=True)), started)
        yield call, key if isinstance(key, bytes) else key.bytes, (*holds_in(holds), *holds_in(added))


def _edges(scope: Scope) -> tuple[float, float]:
    since, until = scope.span()
    return -_FAR if since is None else since, _FAR if until is None else until


def _groups(driver: CallDriver, keys: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Columns of groups by their key."""
    wanted = set(keys)
    rows = driver.run(f"SELECT key, {', '.join(GROUP)} FROM call_groups") if wanted else []  # noqa: S608
    return {key: dict(zip(GROUP, columns, strict=True)) for key, *columns in rows if key in wanted}


def _words(driver: CallDriver, keys: set[int]) -> dict[int, str]:
    rows = driver.run("SELECT key, word FROM call_words") if keys else []
    return {key: word for key, word in rows if key in keys}


def _call(columns: Mapping[str, Any], at: float) -> Call:
    """As much of a call as budgets look at."""
    row: Any = SimpleNamespace(**columns)
    backend, provider, model = map(plain_text, (row.backend, row.provider, row.model_asked))
    return Call("", at, backend=backend, provider=provider, model_asked=model, attribution=attribution_of(row))


MAKE = (
    'INSERT INTO budget_windows ("window", unit, spent, reserved, amount_limit, touched_at) '
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_IS_THERE = 'SELECT 1 FROM budget_windows WHERE "window" = ? AND unit = ?'
_IS_WHOLE = "SELECT 1 FROM budget_scopes WHERE scope = ?"
_AMOUNTS = {  # over sums by the hour, and over calls
    "requests": ("SUM(h.requests)", "COUNT(*)"),
    "tokens": ("SUM(h.input_tokens + h.output_tokens)", "SUM(h.input_tokens + h.output_tokens)"),
    "nanodollars": ("SUM(h.cost)", "SUM(h.cost)"),
}
_FROM_HOURS = (
    "SELECT h.group_key, {amount}, MAX(h.hour) FROM call_hours h JOIN call_endings e ON e.key = h.ending_key "
    "WHERE h.hour >= ? AND h.hour < ? AND e.outcome <> 'unsent' GROUP BY h.group_key"
)
_FROM_CALLS = (
    "SELECT h.group_key, h.user_key, {amount}, MAX(h.started_at) FROM calls h "
    "JOIN call_endings e ON e.key = h.ending_key WHERE h.id >= ? AND h.id < ? AND h.started_at >= ? "
    "AND h.started_at < ? AND h.skewed = {skewed} AND e.outcome <> 'unsent' GROUP BY h.group_key, h.user_key"
)
_OPEN = (
    f"SELECT o.id, o.started_at, o.holds, o.added, {', '.join(f'g.{name}' for name in GROUP)}, w.word "  # noqa: S608
    "FROM open_calls o JOIN call_groups g ON g.key = o.group_key JOIN call_words w ON w.key = o.user_key "
    "WHERE o.started_at >= ? AND o.started_at < ? ORDER BY o.id"
)
