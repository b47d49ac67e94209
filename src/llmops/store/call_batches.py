"""Begun and settled calls into the tables, a transaction a batch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.process import this_process
from llmops.store.call_bodies import OPEN_COLUMNS, holds_in, open_row, text_body
from llmops.store.call_budgets import Windows
from llmops.store.call_budgets import key_of as budget_key
from llmops.store.call_driver import CallDriver
from llmops.store.call_leases import Lease
from llmops.store.call_names import MAX_REMEMBERED, Vocabulary
from llmops.store.call_rows import COLUMNS, Row, ending_of, group_of, id_of, key_time, row_of
from llmops.store.call_seeds import make_windows
from llmops.store.call_sums import Sums, count
from llmops.store.encoding import dumps
from llmops.store.failures import is_integrity
from llmops.store.location import Place
from llmops.types import Call, CallText, Cost, Hold, Usage

TEXT_COLUMNS = ("id", "started_at", "body")
MAX_BATCH = 500
CHARACTERS_A_ROW = 500  # as many of text weigh as much as a row in a batch


@dataclass(slots=True)
class Begun:
    """A call to be written before it is sent. `waiter` is whoever waits for that, `error` why it may not be sent."""

    key: bytes
    call: Call
    holds: tuple[Hold, ...]
    waiter: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Ended:
    """A call that ended. `if_open` is of one that is written only when it was begun."""

    key: bytes
    call: Call
    holds: tuple[Hold, ...]
    text: CallText | None = None
    if_open: bool = False


@dataclass(slots=True)
class _Work:
    """What one transaction writes. `held` are the holds of calls that are open, by key."""

    begun: Sequence[Begun]
    ended: Sequence[Ended]
    open_rows: Mapping[bytes, Row]
    rows: list[Row] = field(default_factory=list)
    sums: Sums = field(default_factory=dict)
    opened: dict[bytes, tuple[Hold, ...]] = field(default_factory=dict)


class CallTables:
    """Writes batches. `open` are the holds of the calls that this process began and hasn't settled."""

    def __init__(self, place: Place) -> None:
        self.driver = CallDriver(place)
        self.open: dict[bytes, tuple[Hold, ...]] = {}
        self._names = Vocabulary()
        self._made: set[tuple[str, str]] = set()  # windows of budgets that are there
        self._lease = Lease()
        self.are_others_late = True  # other processes may have died without having ended their calls
        self._owner = json.dumps(this_process())

    def write(self, begun: Sequence[Begun], ended: Sequence[Ended]) -> None:
        """Commit a batch; a begun call that a budget has no room for gets its `error` and isn't written.

        A call that is there already is replaced. Raises whatever the driver does: then nothing was written. Even
        nothing is to be written once in a while, as long as calls are open: it says that this process lives.
        """
        if not (begun or ended or (self.open and self._lease.is_due)):
            return
        ended = _once(ended)
        try:
            self._commit(begun, ended, replacing=False)
        except Exception as error:
            if not is_integrity(error):
                raise
            self._commit(begun, ended, replacing=True)

    def close(self) -> None:
        """End the connection."""
        self.driver.close()

    def rows_of(self, ended: Sequence[Ended]) -> list[Row]:
        """Rows of `calls`; what they share is saved first where it is new."""
        names = self._names
        groups = [group_of(one.call) for one in ended]
        endings = [ending_of(one.call) for one in ended]
        users = [one.call.attribution.user for one in ended]
        group, ending, user = (
            names.groups.keys(self.driver, groups),
            names.endings.keys(self.driver, endings),
            names.words.keys(self.driver, users),
        )
        shared = zip(ended, groups, endings, users, strict=True)
        return [row_of(one.call, one.key, group[a], ending[b], user[c]) for one, a, b, c in shared]

    def _open_rows(self, begun: Sequence[Begun]) -> dict[bytes, Row]:
        """Rows of `open_calls` by key."""
        if not begun:
            return {}
        groups = [group_of(one.call) for one in begun]
        group = self._names.groups.keys(self.driver, groups)
        words = self._names.words.keys(self.driver, [self._owner, *(one.call.attribution.user for one in begun)])
        owner = words[self._owner]
        return {
            one.key: open_row(one.call, one.key, group[a], words[one.call.attribution.user], owner, one.holds)
            for one, a in zip(begun, groups, strict=True)
        }

    def _commit(self, begun: Sequence[Begun], ended: Sequence[Ended], *, replacing: bool) -> None:
        for asked in begun:
            asked.error = None
        work = _Work(begun, [one for one in ended if not one.if_open], self._open_rows(begun))
        work.rows = self.rows_of(work.ended)
        count(work.sums, work.rows)
        doubtful = [(one, row) for one in ended if one.if_open for row in self.rows_of([one])]
        self._make_windows((*begun, *ended))
        renews = self._lease.is_due and bool(begun or self.open)
        owner = self._names.words.keys(self.driver, [self._owner])[self._owner] if renews else 0
        with self.driver.transaction() as driver:
            late = renews and self._lease.renew(driver, owner)
            self._write(driver, work, doubtful, replacing)
        if renews:
            self._lease.renewed_at = time.time()
            self.are_others_late = late
        self.open.update(work.opened)
        for one in ended:
            self.open.pop(one.key, None)

    def _make_windows(self, calls: Iterable[Begun | Ended]) -> None:
        new = {(hold.window, hold.unit): hold for one in calls for hold in one.holds}
        if new.keys() <= self._made:
            return
        if len(self._made) > MAX_REMEMBERED:
            self._made.clear()
        lacking = {name: hold for name, hold in new.items() if name not in self._made}
        make_windows(self.driver, {budget_key(hold): hold for hold in lacking.values()})
        self._made.update(lacking)

    def _write(self, driver: CallDriver, work: _Work, doubtful: Sequence[tuple[Ended, Row]], replacing: bool) -> None:
        ended = [*work.ended, *(one for one, _ in doubtful)]
        held, done = self._held(driver, ended)
        touched = [hold for one in work.begun for hold in one.holds]
        touched += [hold for one in ended for hold in (*one.holds, *held.get(one.key, ()))]
        windows = Windows(driver, touched) if touched else None
        self._begin(driver, work, windows, {one.key for one in ended})
        held.update(work.opened)
        for one, row in doubtful:
            if one.key in held:
                work.ended = [*work.ended, one]
                work.rows.append(row)
                count(work.sums, [row])
        if replacing:
            settled = driver.find("calls", COLUMNS, [one.key for one in work.ended])
            count(work.sums, settled, -1)
            driver.delete("calls", [row[0] for row in settled])
            driver.delete("call_texts", [row[0] for row in settled])
        else:
            settled = []
        if windows is not None:
            self._pay(driver, windows, work.ended, held, {row[0]: row for row in settled})
        driver.delete("open_calls", [one.key for one in work.ended if one.key not in done])
        self._end(driver, work)
        driver.add(work.sums)
        if windows is not None:
            windows.write()

    def _begin(self, driver: CallDriver, work: _Work, windows: Windows | None, ending: set[bytes]) -> None:
        rows = []
        for one in work.begun:
            if one.holds and windows is not None:
                one.error = windows.reserve(one.holds)
                if one.error is not None:
                    continue
            work.opened[one.key] = one.holds
            if one.key not in ending:
                rows.append(work.open_rows[one.key])
        driver.insert("open_calls", OPEN_COLUMNS, rows)

    def _held(self, driver: CallDriver, ended: Sequence[Ended]) -> tuple[dict[bytes, tuple[Hold, ...]], set[bytes]]:
        """Holds of those calls that are open, and those whose rows are deleted by that.

        A call begun elsewhere, as before a fork, is looked up, and so is one for which more was set aside meanwhile.
        """
        known = {one.key: self.open[one.key] for one in ended if one.key in self.open}
        unknown = [one.key for one in ended if (one.holds or one.if_open) and one.key not in known]
        done = {*known}
        if driver.end_open([*known]) < len(known):
            unknown += known
            done = set()
        rows = driver.find("open_calls", ("id", "holds", "added"), unknown) if unknown else []
        return known | {row[0]: (*holds_in(row[1]), *holds_in(row[2])) for row in rows}, done

    def _pay(
        self,
        driver: CallDriver,
        windows: Windows,
        ended: Iterable[Ended],
        held: dict[bytes, tuple[Hold, ...]],
        settled: Mapping[bytes, Row],
    ) -> None:
        for one in ended:
            if one.key in settled:  # it was paid for when it was settled first: by whoever took this process for dead
                if self.open.get(one.key):
                    windows.correct(self.open[one.key], settled_call(driver, settled[one.key]), one.call)
            elif held.get(one.key):
                windows.settle(held[one.key], one.call)
            elif one.key not in held:
                windows.spend(one.holds, one.call)

    def _end(self, driver: CallDriver, work: _Work) -> None:
        driver.insert("calls", COLUMNS, work.rows)
        texts = [(one.key, key_time(one.key), dumps(text_body(one.text))) for one in work.ended if one.text is not None]
        driver.insert("call_texts", TEXT_COLUMNS, texts)


def settled_call(driver: CallDriver, row: Row) -> Call:
    """As much of a row of `calls` as budgets count."""
    found = dict(zip(COLUMNS, row, strict=True))
    [(outcome, state)] = driver.run("SELECT outcome, state FROM call_endings WHERE key = ?", (found["ending_key"],))
    usage = Usage(found["input_tokens"], found["output_tokens"], requests=1)
    cost = None if found["cost"] is None else Cost(found["cost"])
    return Call(id_of(row[0]), found["started_at"], outcome=outcome, state=state, usage=usage, cost=cost)


def unsent(call: Call) -> Call:
    """The call as one that never reached a server."""
    return replace(call, outcome="unsent", state="settled", usage=Usage(certainty="exact"), cost=None)


def characters(ended: Ended) -> int:
    """About how much text an ended call holds on to."""
    if ended.text is None:
        return 0
    said = (message.get("content") for message in ended.text.messages)
    return len(ended.text.answer) + sum(len(text) if isinstance(text, str) else 1000 for text in said)


def parts(begun: list[Begun], ended: list[Ended]) -> Iterator[tuple[list[Begun], list[Ended]]]:
    """Transactions of a bounded size, so that a disk that fills up takes as much as fits; begun calls come first."""
    while len(begun) > MAX_BATCH:
        yield begun[:MAX_BATCH], []
        begun = begun[MAX_BATCH:]
    start = size = 0
    for end, one in enumerate(ended, 1):
        size += 1 + characters(one) // CHARACTERS_A_ROW
        if size >= MAX_BATCH and end < len(ended):
            yield begun, ended[start:end]
            begun, start, size = [], end, 0
    yield begun, ended[start:]


def _once(ended: Sequence[Ended]) -> Sequence[Ended]:
    """One end a call: the last that is certain."""
    latest: dict[bytes, Ended] = {}
    for one in ended:
        if not (one.if_open and one.key in latest):
            latest[one.key] = one
    return ended if len(latest) == len(ended) else list(latest.values())
