"""Changes to calls that were logged: new prices, an end for those whose process has none, and less of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, select

from llmops.errors import LlmopsError
from llmops.process import has_ended, is_alive, this_process
from llmops.store.call_batches import CallTables, Ended
from llmops.store.call_bodies import holds_in, open_call
from llmops.store.call_driver import CallDriver
from llmops.store.call_leases import forget, given_up
from llmops.store.call_rows import COLUMNS, SKEW_S, Row, call_of, first_key, key_of
from llmops.store.call_sums import Sums, count
from llmops.store.call_tables import CALL_GROUPS, CALL_WORDS, OPEN_CALLS
from llmops.store.encoding import is_digest, plain_text
from llmops.store.failures import RAISED
from llmops.store.location import Place
from llmops.types import Call, Cost, Usage
from llmops.usage.budget_scopes import is_over, scope_of

PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Repriced:
    """How many calls were looked at, and how many have another cost now."""

    count: int
    changed: int


def reprice(place: Place, pages: Iterator[Sequence[Any]], rule: Callable[[Call], Cost | None]) -> Repriced:
    """See `Calls.reprice`. A call that someone else changed meanwhile is left to them."""
    seen = changed = 0
    with _tables(place) as tables:
        for page in pages:
            seen += len(page)
            new: dict[bytes, Call] = {}
            old: dict[bytes, Row] = {}
            for row in page:
                call = call_of(row)
                cost = rule(call) if call.outcome != "unsent" else call.cost
                if cost != call.cost:
                    key = key_of(call.id)
                    new[key], old[key] = _priced(call, cost), (key, *(getattr(row, name) for name in COLUMNS[1:]))
            changed += _replace(tables, old, new)
    return Repriced(seen, changed)


def _replace(tables: CallTables, old: dict[bytes, Row], new: dict[bytes, Call]) -> int:
    if not new:
        return 0
    rows = {row[0]: row for row in tables.rows_of([Ended(key, call, ()) for key, call in new.items()])}
    sums: Sums = {}
    with tables.driver.transaction() as driver:
        same = [row for row in driver.find("calls", COLUMNS, sorted(old)) if row == old[row[0]]]
        count(sums, same, -1)
        count(sums, [rows[row[0]] for row in same])
        driver.delete("calls", [row[0] for row in same])
        driver.insert("calls", COLUMNS, [rows[row[0]] for row in same])
        driver.add(sums)
    return len(same)


def _priced(call: Call, cost: Cost | None) -> Call:
    """The call with another cost; its usage repeats it where it did."""
    usage, before = call.usage, None if call.cost is None else call.cost.total
    if usage.cost == before:
        estimated = cost is not None and cost.certainty != "exact"
        total = None if cost is None else cost.total
        usage = replace(usage, cost=total, unpriced=int(cost is None), estimated_cost=estimated)
    return replace(call, cost=cost, usage=usage)


def settle_dead(place: Place, older_than_s: float | None = None) -> int:
    """See `Calls.settle_dead`."""
    old = None if older_than_s is None else time.time() - older_than_s
    with place.reading() as connection:
        owners = [(row.key, json.loads(plain_text(row.word))) for row in connection.execute(_OWNERS)]
        late = given_up(connection)
        away = [key for key, owner in owners if not (is_alive(owner) or owner == this_process())]
        dead = [key for key, owner in owners if has_ended(owner) or (key in away and key in late)]
        lost: ColumnElement[bool] = OPEN_CALLS.c.owner_key.in_(dead)
        if old is not None:
            lost |= and_(OPEN_CALLS.c.owner_key.in_(away), OPEN_CALLS.c.started_at < old)
        rows = connection.execute(_OPEN.where(lost)).all() if owners else []
    _give_up(place, rows)
    if late:
        with place.writing() as connection:
            forget(connection, sorted(late))
    return len(rows)


def _give_up(place: Place, rows: Sequence[Any]) -> None:
    """What calls of dead processes used is not known."""
    if not rows:
        return
    usage = Usage(requests=1, unpriced=1)
    ended = []
    for row in rows:
        call = replace(open_call(row), outcome="abandoned", state="unknown", usage=usage)
        ended.append(Ended(key_of(call.id), call, holds_in(row.holds), if_open=True))
    with _tables(place) as tables:
        for start in range(0, len(ended), PAGE):
            tables.write([], ended[start : start + PAGE])


def prune(place: Place, before: float, *, dry_run: bool = False) -> int:
    """See `Calls.prune`."""
    gone = 0
    with _tables(place) as tables:
        for skewed, latest in ((0, before + SKEW_S), (1, 2.0**47 / 1000)):
            old = _Old("calls", f"started_at < ? AND skewed = {skewed}", before, first_key(latest))
            gone += _count(tables.driver, old) if dry_run else _delete(tables.driver, old, ("calls", "call_texts"))
    return gone


def prune_text(place: Place, before: float, *, dry_run: bool = False) -> int:
    """See `Calls.prune_text`."""
    old = _Old("call_texts", "started_at < ?", before, first_key(2.0**47 / 1000))
    with _tables(place) as tables:
        return _count(tables.driver, old) if dry_run else _delete(tables.driver, old, ("call_texts",))


def prune_windows(place: Place, before: float, *, dry_run: bool = False) -> int:
    """See `Calls.prune_windows`."""
    with _tables(place) as tables:
        with tables.driver.transaction() as driver:
            windows = driver.run(_IDLE, (before,))
            scopes = driver.run("SELECT scope FROM budget_scopes WHERE made_at < ?", (before,))
        old = [row for row in windows if _was_over(row[0], before)]
        known = [row for row in scopes if is_over(plain_text(row[0]), before)]
        for start in range(0, 0 if dry_run else len(old), PAGE):
            with tables.driver.transaction() as driver:
                rows = [(*row, before) for row in old[start : start + PAGE]]
                driver.run_each(_FORGET, rows)
        with tables.driver.transaction() as driver:
            driver.run_each("DELETE FROM budget_scopes WHERE scope = ?", [] if dry_run else known)
    return len(old)


def _was_over(key: str, before: float) -> bool:
    """Whether a window that nothing was counted in since then has ended; those of runs end with their last call."""
    scope = None if is_digest(key) else scope_of(plain_text(key))
    return scope is not None and (scope.per == "run" or is_over(plain_text(key), before))


@dataclass(frozen=True, slots=True)
class _Old:
    """Rows of `table` before a time, whose ids are less than `until`."""

    table: str
    condition: str
    before: float
    until: bytes


def _count(driver: CallDriver, old: _Old) -> int:
    with driver.transaction():
        statement = f"SELECT COUNT(*) FROM {old.table} WHERE id < ? AND {old.condition}"  # noqa: S608
        [(count,)] = driver.run(statement, (driver.bound(old.until), old.before))
    return int(count)


def _delete(driver: CallDriver, old: _Old, tables: Sequence[str]) -> int:
    """Delete rows in transactions of a bounded size, in order of their ids."""
    statement = f"SELECT id FROM {old.table} WHERE id > ? AND id < ? AND {old.condition} ORDER BY id LIMIT {PAGE}"  # noqa: S608
    last, gone = bytes(16), 0
    while True:
        with driver.transaction():
            found = driver.run(statement, (driver.bound(last), driver.bound(old.until), old.before))
            keys = [row[0] if isinstance(row[0], bytes) else row[0].bytes for row in found]
            for each in tables:
                driver.delete(each, keys)
        gone += len(keys)
        if len(keys) < PAGE:
            return gone
        last = keys[-1]


@contextlib.contextmanager
def _tables(place: Place) -> Iterator[CallTables]:
    """Tables to write to; what goes wrong is a `StoreError`."""
    tables = CallTables(place)
    try:
        yield tables
    except LlmopsError:
        raise
    except RAISED as error:
        raise place.explain(error) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "psycopg":
            raise
        raise place.explain(error) from None
    finally:
        tables.close()


_IDLE = 'SELECT "window", unit FROM budget_windows WHERE touched_at < ? AND reserved = 0'
_FORGET = 'DELETE FROM budget_windows WHERE "window" = ? AND unit = ? AND touched_at < ? AND reserved = 0'
_OWNERS = select(CALL_WORDS.c.key, CALL_WORDS.c.word).where(
    CALL_WORDS.c.key.in_(select(OPEN_CALLS.c.owner_key).distinct())
)
_OPEN = (
    select(
        OPEN_CALLS, *(c for c in CALL_GROUPS.c if c.name not in ("key", "digest")), CALL_WORDS.c.word.label("user_name")
    )
    .join(CALL_GROUPS, CALL_GROUPS.c.key == OPEN_CALLS.c.group_key)
    .join(CALL_WORDS, CALL_WORDS.c.key == OPEN_CALLS.c.user_key)
    .order_by(OPEN_CALLS.c.id)
)
