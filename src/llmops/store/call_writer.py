"""One thread that writes the call log: begun calls at once, ended ones as they come within some milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from llmops.errors import StoreError
from llmops.store.call_batches import Begun, CallTables, Ended, characters, parts, unsent
from llmops.store.call_leases import RENEW_S
from llmops.store.call_rows import key_of
from llmops.store.call_upkeep import settle_dead
from llmops.store.failures import may_pass, store_timeout_s
from llmops.store.location import Place
from llmops.types import Call, CallText, Hold

GATHER_S = 0.015
MAX_WAITING = 10_000
MAX_WAITING_CHARACTERS = 16 * 1024 * 1024
FIRST_PAUSE_S, LONGEST_PAUSE_S, LAST_TRIES_S = 0.05, 5.0, 5.0  # a server that restarts is back by then
WRITERS: weakref.WeakSet[CallWriter] = weakref.WeakSet()
_INHERITED: list[object] = []


class CallWriter:
    """Implements `types.CallLog` on a store. Every method raises `StoreError`; `begin` `BudgetExceededError` too.

    A begun call is committed when `begin` returns; a settled one within 100 ms on a healthy disk. When writing fails,
    begun calls are told at once; ended ones are kept and tried again, until 10,000 wait: then `settle` raises.
    """

    def __init__(self, place: Place, *, on_close: Callable[[], bool] = lambda: True) -> None:
        self._place = place
        self._on_close = on_close
        self._start_anew()
        WRITERS.add(self)

    def _start_anew(self) -> None:
        """Nothing is waiting and no thread runs: at first, and in a forked child."""
        self._begun: list[Begun] = []
        self._ended: list[Ended] = []
        self._characters = 0
        self._busy = self._idle = self._hurry = self._closing = self._is_paused = False
        self._last_try = 0.0
        self._failure: StoreError | None = None
        self._dropped: StoreError | None = None
        self._lock = threading.RLock()  # a signal's handler may flush while its thread is in here
        self._changed = threading.Condition(self._lock)
        self._connected = threading.Lock()
        self._tables: CallTables | None = None
        self._thread: threading.Thread | None = None

    async def begin(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """Returns when the call is committed; the loop goes on meanwhile. Nothing is written when this raises.

        A task cancelled while it waits here can't know whether the call was written: it says `discard`.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._add(Begun(key_of(call.id), call, holds, waiter))
        await waiter

    def begin_now(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """The same for threads without an event loop: waits in place."""
        waiter = threading.Event()
        begun = Begun(key_of(call.id), call, holds, waiter)
        self._add(begun)
        waiter.wait()
        if begun.error is not None:
            raise begun.error

    def settle(self, call: Call, holds: tuple[Hold, ...] = (), text: CallText | None = None) -> None:
        """Hand over how a call ended. Waits only while 10,000 (or 16 MB of text) are waiting to be written."""
        self._hand_over(Ended(key_of(call.id), call, holds, text))

    def discard(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """A call that was never sent: if it was begun it is `unsent` and its holds are given back."""
        self._hand_over(Ended(key_of(call.id), unsent(call), holds, if_open=True))

    def flush(self, timeout_s: float = 30) -> None:
        """Wait until everything handed over is committed. Raises `StoreError`, at once when the last try failed."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._hurry, self._failure = True, None
            self._changed.notify_all()
            while self._begun or self._ended or self._busy:
                if self._failure is not None:
                    raise _copy(self._failure)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise StoreError(f"calls are not written after {timeout_s:g} s", where=self._place.shown)
                self._changed.wait(left)
            dropped, self._dropped = self._dropped, None
        if dropped is not None:
            raise _copy(dropped)

    def close(self) -> None:
        """Write what is waiting and, when nobody else uses it, end the thread.

        Raises `StoreError` if anything could not be written.
        """
        if self._on_close():
            self.end()
        else:
            self.flush()

    def end(self) -> None:
        """Close it, whoever else uses it."""
        with self._changed:
            self._last_try = time.monotonic() + LAST_TRIES_S
            self._closing = self._hurry = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(store_timeout_s() + 60)
            if thread.is_alive():
                raise StoreError("calls could not be written in time", where=self._place.shown)
        self._place.engine.dispose()
        failure = self._failure if self._ended else self._dropped
        if failure is not None:
            self._ended, self._dropped = [], None
            raise _copy(failure)

    def __enter__(self) -> CallWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except StoreError:
            if not isinstance(error, StoreError):
                raise

    def pause(self) -> None:
        """Before a fork: no transaction is under way and no connection is open, so that a child inherits none."""
        self._is_paused = self._connected.acquire(timeout=LONGEST_PAUSE_S)
        if self._is_paused and self._tables is not None:
            self._tables.close()

    def go_on(self) -> None:
        """After a fork, in the parent."""
        if self._is_paused:
            self._is_paused = False
            self._connected.release()

    def forget(self) -> None:
        """After a fork, in the child: what waits is the parent's to write."""
        _INHERITED.append(self._tables)  # closing a connection that the parent writes with would harm its file
        self._place.engine.dispose(close=False)
        self._start_anew()

    def _add(self, begun: Begun) -> None:
        with self._lock:
            self._check_open()
            self._begun.append(begun)
            self._wake()

    def _hand_over(self, ended: Ended) -> None:
        with self._lock:
            while self._is_full():
                if self._failure is not None:
                    raise _copy(self._failure)
                self._changed.wait()
            self._check_open()
            self._ended.append(ended)
            self._characters += characters(ended)
            if len(self._ended) == 1 or self._is_full():
                self._wake()

    def _check_open(self) -> None:
        if self._closing:
            raise StoreError("the call log is closed", where=self._place.shown)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="llmops-calls", daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        if self._idle:
            self._idle = False  # once is enough
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._ended) >= MAX_WAITING or self._characters >= MAX_WAITING_CHARACTERS

    def _work(self) -> None:
        pause = 0.0
        while True:
            begun, ended = self._gather(pause)
            if not begun and not ended and self._closing:
                break
            failed = self._write(begun, ended)
            if failed and self._closing and time.monotonic() > self._last_try:
                break
            pause = min(max(pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S) if failed else 0.0
        with self._connected:
            if self._tables is not None:
                self._tables.close()
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _gather(self, pause: float) -> tuple[list[Begun], list[Ended]]:
        """What is written next, nothing at the end. Ended calls wait for company, and after a failure for a while."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            if pause:
                self._wait(lambda: bool(self._begun) or self._hurry, min(pause, 0.5) if self._closing else pause)
            lease_s = RENEW_S if self._tables and self._tables.open else None
            self._wait(lambda: bool(self._begun or self._ended) or self._closing, lease_s)
            if not self._begun and not pause:
                self._wait(lambda: bool(self._begun) or self._closing or self._hurry or self._is_full(), GATHER_S)
            begun, self._begun = self._begun, []
            ended, self._ended = self._ended, []
            self._characters = 0
            self._hurry = False
            self._busy = bool(begun or ended)
            self._changed.notify_all()
            return begun, ended

    def _wait(self, ready: Callable[[], bool], timeout_s: float | None = None) -> None:
        def is_ready() -> bool:
            self._idle = not ready()
            return not self._idle

        self._changed.wait_for(is_ready, timeout_s)
        self._idle = False

    def _write(self, begun: list[Begun], ended: list[Ended]) -> bool:
        """Write it in parts; true when that failed. What may work later is put back."""
        failure: StoreError | None = None
        left: list[Ended] = []
        for some_begun, some_ended in parts(begun, ended):
            if failure is None:
                failure = self._commit(some_begun, some_ended)
            if failure is not None:
                left += some_ended
                for one in some_begun:
                    one.error = _copy(failure)
            _tell(some_begun)
        with self._changed:
            if failure is not None:
                self._failure = failure
                self._ended[:0] = left
                self._characters += sum(characters(one) for one in left)
        return failure is not None

    def _commit(self, begun: Sequence[Begun], ended: Sequence[Ended]) -> StoreError | None:
        """One transaction. What the database refuses to take is dropped, and said by `flush`; nothing else is."""
        try:
            with self._connected:
                tables = self._tables = self._tables or CallTables(self._place)
                if tables.are_others_late:
                    settle_dead(self._place)  # what they hold would be missing in budgets
                    self._place.engine.dispose()
                    tables.are_others_late = False
                tables.write(begun, ended)
            return None
        except BaseException as error:
            failure = error if isinstance(error, StoreError) else self._place.explain(error)
            if may_pass(error):
                return failure
        if len(begun) + len(ended) < 2:
            for one in begun:
                one.error = failure
            self._dropped = failure if ended else self._dropped
            return None
        alone = (self._commit([one], []) for one in begun), (self._commit([], [one]) for one in ended)
        return next((failure for failures in alone for failure in failures if failure is not None), None)


def _tell(begun: Sequence[Begun]) -> None:
    """Wake whoever waits, each loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Begun]] = {}
    for one in begun:
        if isinstance(one.waiter, threading.Event):
            one.waiter.set()
        else:
            loops.setdefault(one.waiter.get_loop(), []).append(one)
    for loop, ones in loops.items():
        with contextlib.suppress(RuntimeError):  # a loop that was closed has nobody waiting
            loop.call_soon_threadsafe(_resolve, ones)


def _resolve(begun: Sequence[Begun]) -> None:
    for one in begun:
        if one.waiter.done():
            continue
        if one.error is None:
            one.waiter.set_result(None)
        else:
            one.waiter.set_exception(one.error)


def _copy(failure: StoreError) -> StoreError:
    """The failure anew: raising one error object twice would chain it to itself."""
    return StoreError(failure.message, where=failure.where, hint=failure.hint)
