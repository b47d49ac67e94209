"""The call log of a process: one writer a location, whoever opens it, flushed however the process ends."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from llmops.errors import StoreError
from llmops.store.call_writer import WRITERS, CallWriter
from llmops.store.location import open_place
from llmops.store.schema import prepare
from llmops.store.urls import is_url

ENDING_S = 20.0
_logger = logging.getLogger("llmops.store")


def open_call_log(location: str | Path) -> CallWriter:
    """The writer of calls to a SQLite file (made when missing) or a `postgresql://` URL; this process's only one.

    Everyone who opens it closes it; the last one ends it. It also ends by itself with the process, on SIGTERM too
    where that has no other handler, and is a new one in a forked child. Raises `StoreError`.
    """
    name = str(location)
    if not is_url(name):
        name = os.path.realpath(name)
    with _LOCK:
        found = _OPEN.get(name)
        if found is None:
            found = _OPEN[name] = [_make(location, name), 0]
            _be_told_of_the_end()
        found[1] += 1
        writer: CallWriter = found[0]
        return writer


def _make(location: str | Path, name: str) -> CallWriter:
    place = open_place(location, create=True)
    try:
        with place.errors():
            prepare(place, create=True)
    finally:
        place.engine.dispose()  # the writer connects in its own thread
    return CallWriter(place, on_close=lambda: _is_last(name))


def _is_last(name: str) -> bool:
    with _LOCK:
        found = _OPEN.get(name)
        if found is None:
            return True
        found[1] -= 1
        if found[1] > 0:
            return False
        del _OPEN[name]
        return True


def _be_told_of_the_end() -> None:
    """Once a process. A handler that someone else has set for SIGTERM is called after ours, never lost."""
    if "exit" not in _TOLD:
        _TOLD.add("exit")
        atexit.register(_end_all)
    if "term" in _TOLD or threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is not None and before is not signal.SIG_IGN:  # None is one that Python knows nothing of
        _TOLD.add("term")
        signal.signal(signal.SIGTERM, lambda number, frame: _on_term(before, number, frame))


def _on_term(before: Any, number: int, frame: FrameType | None) -> None:
    _flush_all()
    if callable(before):
        before(number, frame)
        return
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _flush_all() -> None:
    for writer in list(WRITERS):
        with contextlib.suppress(StoreError):
            writer.flush(ENDING_S)


def _end_all() -> None:
    with _LOCK:
        _OPEN.clear()
    for writer in list(WRITERS):
        try:
            writer.end()
        except StoreError as error:  # nobody is left to catch it
            _logger.warning("how the last calls ended isn't recorded, they count as unknown: %s", error)


def _before_fork() -> None:
    _LOCK.acquire()
    for writer in list(WRITERS):
        writer.pause()


def _in_parent() -> None:
    for writer in list(WRITERS):
        writer.go_on()
    _LOCK.release()


def _in_child() -> None:
    for writer in list(WRITERS):
        writer.forget()
    _LOCK.release()


_LOCK = threading.RLock()
_OPEN: dict[str, list[Any]] = {}
_TOLD: set[str] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
