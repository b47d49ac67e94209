"""Hands things over in batches from a thread of its own: nobody waits for it, and what is lost is counted."""

from __future__ import annotations

import atexit
import logging
import math
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Pause = Callable[[float], bool]
Send = Callable[[list[T], Pause], tuple[int, str]]
"""Sends a batch; returns how many of it were lost, and why. `pause(seconds)` waits; True means that this is the end."""
Publish = Callable[[Pause, bool], tuple[int, str]]
"""Tells what the batches so far came to; `last` that there will be no other time. Returns as `Send` does."""

BATCH = 512
QUEUE = 20_000
LINGER_S = 0.5
EXIT_S = 5.0
_LEAST_S = 0.2  # for a second delivery, when a first has used up the time
_logger = logging.getLogger("llmops.telemetry")


@cache
def _exit_began() -> float:
    """When this was first asked for, which is when the process began to end."""
    return time.monotonic()


class _Marker:
    """Stands in the queue behind everything that was put in before it."""

    def __init__(self, *, last: bool = False) -> None:
        self.last = last
        self.reached = threading.Event()


class Delivery(Generic[T]):
    """A bounded queue and the thread that empties it. `sent` and `lost` count.

    What doesn't fit into the queue, or can't be sent, is lost: `report` is told once, with the reason, and again with
    the total at the end. The thread starts with the first item, and again in a forked process, which begins empty: what
    the parent has put in is the parent's to send. `put` may be called from a finaliser.

    `publish`, if there is one, is called from the same thread every `every_s` seconds, when somebody waits for what was
    put in, and at the end.

    When the process ends, what is left of all deliveries has `exit_s` seconds.
    """

    def __init__(
        self,
        send: Send[T],
        *,
        of: str,
        batch: int = BATCH,
        limit: int = QUEUE,
        linger_s: float = LINGER_S,
        report: Callable[[str], object] = _logger.warning,
        publish: Publish | None = None,
        every_s: float = math.inf,
        exit_s: float = EXIT_S,
    ) -> None:
        self._send = send
        self._of = of
        self._batch = batch
        self._limit = limit
        self._linger_s = linger_s
        self._report = report
        self._publish = publish
        self._every_s = every_s
        self.exit_s = exit_s
        self._begin_empty()

    def _begin_empty(self) -> None:
        self.sent = 0
        self.lost = 0
        self._why = ""
        self._said = 0
        self._under_way = 0
        self._ending = threading.Event()
        self._abandoned = False
        self._thread: threading.Thread | None = None
        self._finalizer: Callable[[], object] | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a finaliser may come back to it in the same thread
        self._queue: queue.SimpleQueue[T | _Marker] = queue.SimpleQueue()  # its put() may be interrupted by itself
        self._hurry = threading.Event()

    def put(self, item: T) -> None:
        """Take `item`, or count it as lost. Never waits, never raises."""
        try:
            if self._pid != os.getpid():
                self._begin_empty()
            if self._ending.is_set() or self._queue.qsize() >= self._limit:
                self._lose(1, "it came after the end" if self._ending.is_set() else "the queue is full")
                return
            self._queue.put(item)
            if self._thread is None:
                self._start()
        except Exception as error:
            self._lose(1, type(error).__name__)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put in so far is sent or lost; False when that takes longer."""
        if self._pid != os.getpid() or self._thread is None or not self._thread.is_alive():
            return True
        marker = _Marker()
        self._queue.put(marker)
        self._hurry.set()
        return marker.reached.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Send what is there, for at most `timeout_s`; the rest is lost. Says how many were. Does nothing twice."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._ending.is_set():
                return
            self._ending.set()
            thread = self._thread
        atexit.unregister(self._at_exit)
        if self._finalizer is not None:
            self._finalizer()
        if thread is not None:
            self._queue.put(_Marker(last=True))
            self._hurry.set()
            thread.join(timeout_s)
            if thread.is_alive():
                self._abandoned = True
                self._lose(self._under_way + self._drained(), self._why or "there was no time left")
        if self.lost > self._said:
            self._say(f"{self._count_lost()} not exported in all")

    def _at_exit(self) -> None:
        for other in list(_STARTED):
            other.flush(0)  # they send while this one is waited for
        self.close(max(self.exit_s - (time.monotonic() - _exit_began()), _LEAST_S))

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="llmops-telemetry", daemon=True)
                thread.start()
                self._thread = thread
                _STARTED.add(self)
                atexit.register(self._at_exit)
                processes = sys.modules.get("multiprocessing.util")
                if processes is not None:  # its workers end without atexit
                    self._finalizer = processes.Finalize(None, self._at_exit, exitpriority=10).cancel

    def _lose(self, count: int, why: str) -> None:
        with self._lock:
            self.lost += count
            self._why = why

    def _count_lost(self) -> str:
        """`1 call was`, `3 calls were`."""
        return f"1 {self._of.removesuffix('s')} was" if self.lost == 1 else f"{self.lost:,} {self._of} were"

    def _say(self, message: str) -> None:
        self._said = self.lost
        try:
            self._report(f"{message} ({self._why})")
        except Exception:  # a broken logging handler is no reason to stop
            return

    def _run(self) -> None:
        due = time.monotonic() + self._every_s
        while True:
            batch, marker = self._next(due)
            if batch:
                self._deliver(batch)
            if marker is not None or time.monotonic() >= due:
                self._tell(last=marker is not None and marker.last)
                due = time.monotonic() + self._every_s
            if self.lost and not self._said:
                self._say(f"{self._count_lost()} not exported" + ("" if self._ending.is_set() else ", more may follow"))
            if marker is not None:
                marker.reached.set()
                if marker.last:
                    return

    def _next(self, due: float) -> tuple[list[T], _Marker | None]:
        """Waits for an item, lets others gather for a while, and takes a batch: up to a marker at most. Until `due`.

        Waiting once for many keeps this thread from waking up, and taking the interpreter's lock, at every item.
        """
        try:
            first = self._queue.get(timeout=None if math.isinf(due) else max(due - time.monotonic(), 0))
        except queue.Empty:
            return [], None
        if isinstance(first, _Marker):
            self._hurry.clear()
            return [], first
        if self._queue.qsize() < self._batch:
            self._hurry.wait(self._linger_s)
        batch = [first]
        while len(batch) < self._batch:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, _Marker):
                self._hurry.clear()
                return batch, item
            batch.append(item)
        return batch, None

    def _deliver(self, batch: list[T]) -> None:
        self._under_way = len(batch)
        try:
            lost, why = self._send(batch, self._ending.wait)
        except Exception as error:
            lost, why = len(batch), type(error).__name__
        self._under_way = 0
        if self._abandoned:  # counted as lost already
            return
        self.sent += len(batch) - lost
        if lost:
            self._lose(lost, why)

    def _tell(self, *, last: bool) -> None:
        if self._publish is None:
            return
        try:
            lost, why = self._publish(self._ending.wait, last)
        except Exception as error:
            lost, why = 0, type(error).__name__
        if lost and not self._abandoned:
            self.sent -= lost
            self._lose(lost, why)

    def _drained(self) -> int:
        count = 0
        while True:
            try:
                count += not isinstance(self._queue.get_nowait(), _Marker)
            except queue.Empty:
                self._queue.put(_Marker(last=True))
                return count


_STARTED: weakref.WeakSet[Delivery[Any]] = weakref.WeakSet()
