"""Whose turn it is to write to a SQLite file: SQLite waits by polling, where one busy thread starves another."""

from __future__ import annotations

import functools
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

_LOCKS: dict[str, threading.Lock] = {}


def turn(path: Path | None) -> AbstractContextManager[object]:
    """The lock that all writers of this process to the file at `path` share; a server (None) needs none."""
    return nullcontext() if path is None else _LOCKS.setdefault(_real(str(path)), threading.Lock())


@functools.lru_cache(maxsize=100)
def _real(path: str) -> str:
    return os.path.realpath(path)


def _forget() -> None:
    _LOCKS.clear()  # a lock that another thread held at a fork is never let go in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
