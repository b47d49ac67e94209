"""Questions about logged calls, and their upkeep."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, literal, select, tuple_

from llmops.errors import InputError, NotFoundError
from llmops.store import call_fields as known
from llmops.store.call_bodies import text_in
from llmops.store.call_budgets import Window, ledger
from llmops.store.call_rows import call_of, id_of, key_of, key_range
from llmops.store.call_tables import BUDGET_WINDOWS, CALL_ENDINGS, CALL_GROUPS, CALL_TEXTS, CALL_WORDS, CALLS
from llmops.store.call_totals import Totals, of_time, open_calls, totals
from llmops.store.call_upkeep import Repriced, prune, prune_text, prune_windows, reprice, settle_dead
from llmops.store.checks import ShapeError
from llmops.store.encoding import loads
from llmops.store.location import Place, open_place
from llmops.store.schema import prepare
from llmops.store.space import Space, give_back, space
from llmops.types import Call, CallText, Cost
from llmops.usage.conditions import Condition

__all__ = ["Calls", "Repriced", "Totals", "Window"]

PAGE = 2_000
_TOLD = 3  # ids, where several calls begin alike
Order = Literal["oldest", "newest", "dearest", "longest"]
_ANY: Mapping[str, Condition] = MappingProxyType({})
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)


class Calls:
    """Logged calls. Open them with `Calls.open`; a context manager. Every method raises `StoreError`.

    Times are Unix times; a span is from `since` and before `until`. A field is one of those that `totals` knows.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @classmethod
    def open(cls, location: str | Path, create: bool = False) -> Calls:
        """The calls in a SQLite file or at a `postgresql://` URL. Raises `NotFoundError` when there is none."""
        place = open_place(location, create=create)
        try:
            with place.errors():
                prepare(place, create=create)
        except BaseException:
            place.engine.dispose()
            raise
        return cls(place)

    def close(self) -> None:
        """End its connections."""
        self._place.engine.dispose()

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def totals(
        self,
        *,
        by: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        where: Mapping[str, Condition] = _ANY,
    ) -> list[Totals]:
        """Sums over calls, a line for each combination of the values of the fields `by`, in order of their values.

        Fields are purpose, prompt, version, model, provider, backend, team, feature, run, suite, variant, user, hour,
        day, month (in UTC), outcome, state, certainty (of the cost), source, tokens (their certainty), and any tag as
        `tag:NAME`; `where` keeps the calls whose fields are as given. Whole hours come from sums that are kept when
        calls are pruned; users and parts of hours are counted from the calls. Raises `InputError` for other fields.
        """
        known.check(by, "grouped")
        known.check(where, "chosen")
        with self._snapshot() as connection:
            return totals(connection, tuple(by), since, until, where)

    def rows(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        where: Mapping[str, Condition] = _ANY,
        order: Order = "oldest",
        limit: int | None = None,
    ) -> Iterator[Call]:
        """Calls one by one, those that have not ended among them; they need not fit in memory.

        `dearest` and `longest` are of calls that ended, and sorted by the database. Raises `InputError` for fields
        that calls don't have.
        """
        known.check(where, "chosen")
        found = self._sorted(since, until, where, order, limit) if order in _SORTS else None
        page = PAGE if limit is None or known.unchecked(where) else max(1, min(limit, PAGE))
        return islice(found or self._in_time(since, until, where, newest=order == "newest", page=page), limit)

    def find(self, call_id: str) -> Call:
        """The call whose id begins so. Raises `NotFoundError`, `InputError` where several do."""
        first, last = key_range(call_id)
        between = CALLS.c.id.between(self._bound(first), self._bound(last))
        with self._snapshot() as connection:
            rows = connection.execute(_SELECT.where(between).order_by(CALLS.c.id).limit(_TOLD)).all()
            found = [*map(self._call, rows), *open_calls(connection)]
        found = [call for call in found if first <= key_of(call.id) <= last]
        if not found:
            raise NotFoundError(f"no call {call_id!r:.60}", where=self._place.shown)
        if len(found) > 1:
            ids = ", ".join(call.id for call in found[:_TOLD])
            raise InputError(f"several calls begin with {call_id!r:.60}", hint=f"such as {ids}")
        return found[0]

    def text(self, call_id: str) -> CallText | None:
        """What was said in a call, None when it wasn't kept."""
        statement = select(CALL_TEXTS.c.body).where(CALL_TEXTS.c.id == self._bound(key_of(call_id)))
        with self._place.reading() as connection:
            body = connection.execute(statement).scalar()
            if body is None:
                return None
            try:
                return text_in(loads(body))
            except (*_MALFORMED, RecursionError):
                raise ShapeError(f"the text of call {call_id} is damaged") from None

    def ledger(self) -> list[Window]:
        """What was spent and is set aside, by window of a budget."""
        columns = BUDGET_WINDOWS.c
        statement = select(BUDGET_WINDOWS).order_by(columns["window"], columns.unit)
        with self._place.reading() as connection:
            return ledger(tuple(row) for row in connection.execute(statement))

    def reprice(
        self, rule: Callable[[Call], Cost | None], since: float | None = None, until: float | None = None
    ) -> Repriced:
        """Give calls that ended the cost that `rule` says. Safe beside a running writer; budgets stay as they are."""
        return reprice(self._place, self._pages(since, until), rule)

    def settle_dead(self, older_than_s: float | None = None) -> int:
        """Calls of processes that ended without them become `unknown`, and what was held for them spent; how many.

        Processes of this host that certainly ended, and others that haven't been seen for two minutes; with
        `older_than_s` also calls that began longer ago in processes of which nobody can tell from here. Should one of
        those end after all, its process says how, and budgets count that instead.
        """
        return settle_dead(self._place, older_than_s)

    def prune(self, before: float, *, dry_run: bool = False) -> int:
        """Delete calls (and what was said) that began before a time and ended; how many. Their sums by hour stay."""
        return prune(self._place, before, dry_run=dry_run)

    def prune_text(self, before: float, *, dry_run: bool = False) -> int:
        """Delete what was said in calls that began before a time; how many."""
        return prune_text(self._place, before, dry_run=dry_run)

    def prune_windows(self, before: float, *, dry_run: bool = False) -> int:
        """Delete windows of budgets that ended before a time, or whose run made its last call before it; how many.

        Never those of `total`, nor one that something is set aside in.
        """
        return prune_windows(self._place, before, dry_run=dry_run)

    def space(self) -> Space:
        """How much of a file is empty."""
        return space(self._place)

    def give_back(self) -> Space:
        """Give back to the disk what is empty in a file, while others go on writing."""
        return give_back(self._place)

    def _in_time(
        self, since: float | None, until: float | None, where: Mapping[str, Condition], *, newest: bool, page: int
    ) -> Iterator[Call]:
        with self._place.reading() as connection:
            pending = list(open_calls(connection, since, until))
        told = {call.id for call in pending}  # one that ends meanwhile is told of once, as it was

        def settled(skewed: bool) -> Iterator[Call]:
            pages = self._pages(since, until, where, newest=newest, skewed=skewed, page=page)
            return (call for call in self._calls(pages, where) if call.id not in told)

        pending = [call for call in pending if known.is_chosen(call, where)]
        pending.sort(key=_start, reverse=newest)
        return heapq.merge(settled(False), settled(True), pending, key=_start, reverse=newest)

    def _pages(
        self,
        since: float | None,
        until: float | None,
        where: Mapping[str, Condition] = _ANY,
        *,
        newest: bool = False,
        skewed: bool | None = None,
        page: int = PAGE,
    ) -> Iterator[Sequence[Row[Any]]]:
        """Rows in pages, each read by itself, so that no transaction stays open; `skewed` None is both kinds."""
        if skewed is None:
            yield from self._pages(since, until, where, skewed=False)
            yield from self._pages(since, until, where, skewed=True)
            return
        when = of_time(self._place.path is not None, since, until, skewed=skewed)
        statement = _chosen(_SELECT.where(*when), where).limit(page)
        key = (CALLS.c.started_at, CALLS.c.id) if skewed else (CALLS.c.id,)
        statement = statement.order_by(*(column.desc() if newest else column for column in key))
        after: list[ColumnElement[bool]] = []
        while True:
            with self._place.reading() as connection:
                rows = connection.execute(statement.where(*after)).all()
            if rows:
                yield rows
            if len(rows) < page:
                return
            place, last = tuple_(*key), tuple_(*(literal(getattr(rows[-1], c.name), c.type) for c in key))
            after = [place < last if newest else place > last]

    def _sorted(
        self, since: float | None, until: float | None, where: Mapping[str, Condition], order: Order, limit: int | None
    ) -> Iterator[Call]:
        statement = _chosen(_SELECT, where).order_by(_SORTS[order].desc().nulls_last(), CALLS.c.id)
        if limit is not None and not known.unchecked(where):
            statement = statement.limit(limit)
        found: list[Row[Any]] = []
        with self._place.reading() as connection:
            for skewed in (False, True):
                when = of_time(self._place.path is not None, since, until, skewed=skewed)
                found += connection.execute(statement.where(*when)).all()
        name = _SORTS[order].name
        found.sort(key=lambda row: -(getattr(row, name) or 0))
        return self._calls(iter([found]), where)

    def _calls(self, pages: Iterator[Sequence[Row[Any]]], where: Mapping[str, Condition]) -> Iterator[Call]:
        rest = known.unchecked(where)
        for page in pages:
            for row in page:
                call = self._call(row)
                if not rest or known.is_chosen(call, rest):
                    yield call

    def _call(self, row: Row[Any]) -> Call:
        with self._place.errors():
            try:
                return call_of(row)
            except _MALFORMED:
                raise ShapeError(f"call {id_of(row.id)} is damaged") from None

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """A connection to which a call that ends meanwhile is neither twice nor not at all."""
        with self._place.reading() as connection:
            if self._place.path is None:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def _bound(self, key: bytes) -> Any:
        return key if self._place.path is not None else id_of(key)


def _start(call: Call) -> float:
    return call.started_at


def _chosen(statement: Select[Any], where: Mapping[str, Condition]) -> Select[Any]:
    condition = known.chosen(where)
    return statement if condition is None else statement.where(condition)


def _shared(columns: Any, without: Sequence[str]) -> list[ColumnElement[Any]]:
    return [column for column in columns if column.name not in ("key", "digest", *without)]


_SORTS = {"dearest": CALLS.c.cost, "longest": CALLS.c.duration_s}
_SELECT = (
    select(CALLS, *_shared(CALL_GROUPS.c, ()), *_shared(CALL_ENDINGS.c, ()), CALL_WORDS.c.word.label("user_name"))
    .join(CALL_GROUPS, CALL_GROUPS.c.key == CALLS.c.group_key)
    .join(CALL_ENDINGS, CALL_ENDINGS.c.key == CALLS.c.ending_key)
    .join(CALL_WORDS, CALL_WORDS.c.key == CALLS.c.user_key)
)
