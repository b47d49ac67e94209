"""The one door from synchronous code into the runner."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from llmops.errors import EXIT_INTERRUPTED
from llmops.evals.runner import Runner
from llmops.types import RunStatus

GARBAGE = 20_000  # objects made and not freed before they are looked through; a request in flight has some 200


def drive(runner: Runner) -> RunStatus:
    """Run to the end from synchronous code, in a notebook's running loop too. Ctrl-C ends the run cleanly."""
    with _interrupting(runner), _frozen():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(runner.run())
        return _in_thread(runner)


def _in_thread(runner: Runner) -> RunStatus:
    outcome: list[RunStatus] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(asyncio.run(runner.run()))
        except BaseException as error:
            failure.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(body,), name="llmops-run", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


@contextlib.contextmanager
def _frozen() -> Iterator[None]:
    """While a run lasts, garbage collections pass over what was there before it, and come when there is some garbage.

    By Python's defaults a tenth of a run's CPU went there: every wave of requests in flight looked like a leak.
    """
    thresholds = gc.get_threshold()
    ours = not gc.get_freeze_count()  # someone else froze what they have, and unfreezing would undo that
    if ours:
        gc.freeze()
    gc.set_threshold(max(GARBAGE, thresholds[0]) if thresholds[0] else 0, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if ours:
            gc.unfreeze()


@contextlib.contextmanager
def _interrupting(runner: Runner) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run; asked twice, the process: the store is consistent at any moment.

    Plain handlers run in the main thread even while a user's code blocks the event loop.
    """
    asked = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            os._exit(EXIT_INTERRUPTED)
        runner.interrupt()

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
