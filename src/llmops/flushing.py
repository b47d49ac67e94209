"""What a process has yet to write of its calls, waited for: on request, and before the process ends."""

from __future__ import annotations

import atexit
import contextlib
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from llmops.errors import StoreError


class Flushable(Protocol):
    """What writes calls; `llmops.usage.tracker` has the real one."""

    def flush(self, timeout_s: float = 30, *, exporters: bool = True) -> None: ...
    def settle_lost(self) -> None: ...


def flush(timeout_s: float = 30, *, telemetry: bool = False) -> None:
    """Wait until the calls that are over are in their logs with what they used, whoever made them in this process.

    An answer is handed over some milliseconds before its tokens are committed. Call this before `os._exit`, at the end
    of a serverless handler and of a worker's job; asynchronous code calls it with `asyncio.to_thread`. With
    `telemetry`, exporters are waited for as well. Raises `StoreError` when something isn't committed after `timeout_s`
    seconds or can't be.
    """
    until = time.monotonic() + timeout_s
    for step in reversed(_BEFORE):
        step(max(0.0, until - time.monotonic()))
    failure: StoreError | None = None
    for tracker in list(_OPEN):
        try:
            tracker.flush(max(0.0, until - time.monotonic()), exporters=telemetry)
        except StoreError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def before_flush(step: Callable[[float], None]) -> None:
    """Have `step(seconds_left)` called first by `flush`: for libraries that tell of ends later. The last one first."""
    _BEFORE.append(step)


def keep_flushed(tracker: Flushable) -> None:
    """Have a tracker flushed by `flush`, and before the process ends."""
    if tracker in _OPEN:
        return
    _OPEN.add(tracker)
    atexit.unregister(_settle_lost)
    atexit.register(_settle_lost)  # before the log ends
    _flush_with_workers(tracker)


def _settle_lost() -> None:
    for tracker in list(_OPEN):
        tracker.settle_lost()


def _flush_with_workers(tracker: Flushable) -> None:
    """Workers of multiprocessing end without `atexit`: what they made would be lost."""
    from multiprocessing import process, util

    def at_the_end(_: object = None) -> None:
        util.Finalize(None, _flush_all, exitpriority=10)

    util.register_after_fork(tracker, at_the_end)
    if process.parent_process() is not None:
        at_the_end()


def _flush_all() -> None:
    for tracker in list(_OPEN):
        with contextlib.suppress(StoreError):
            tracker.flush()


_BEFORE: list[Callable[[float], None]] = []
_OPEN: weakref.WeakSet[Flushable] = weakref.WeakSet()
