"""What databases raise, as one `StoreError` that says what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from llmops.errors import InputError, StoreError
from llmops.store.checks import ShapeError
from llmops.store.urls import scrub

TIMEOUT = "LLMOPS_STORE_TIMEOUT_S"
_ROOM = "what was saved is intact: free some space, then try again"
_PASSING = ("08", "25", "40", "53", "55", "57", "58")  # connections, transactions, resources, locks, the server itself
_SQLITE = (
    ("SQLITE_FULL", "the disk is full", _ROOM),
    ("SQLITE_IOERR", "the disk is full or failed", _ROOM),
    ("SQLITE_NOTADB", "not a database", "move the file away, or choose another with --store"),
    ("SQLITE_CORRUPT", "the file is damaged", "move it away or restore a copy; llmops eval begins a new one"),
    ("SQLITE_READONLY", "may not be written to", "check its permissions, or choose another with --store"),
    ("SQLITE_CANTOPEN", "can't be opened", "check the folder's permissions, or choose another with --store"),
    ("SQLITE_PERM", "can't be opened", "check its permissions, or choose another with --store"),
    ("SQLITE_AUTH", "can't be opened", "check its permissions, or choose another with --store"),
    ("SQLITE_TOOBIG", "a value is too large for SQLite", "keep single texts under 1 GB"),
)


def store_timeout_s() -> float:
    """Seconds to wait for another process's lock. Raises `InputError`."""
    text = os.environ.get(TIMEOUT, "30")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise InputError(f"{TIMEOUT} is {text!r}", hint="a number of seconds")
    return seconds


RAISED = (SQLAlchemyError, sqlite3.Error, OSError, ShapeError)
"""What work with a database raises when it, the disk, or what was saved is not as it should be."""


def explain(error: BaseException, where: str, secrets: Sequence[str] = ()) -> StoreError:
    """The `StoreError` for whatever a database, its driver or the disk raised; its text holds none of `secrets`."""
    made = _explain(error, where)
    return StoreError(scrub(made.message, secrets), where=where, hint=made.hint)


def _explain(error: BaseException, where: str) -> StoreError:
    if isinstance(error, ShapeError):
        return StoreError(str(error), where=where, hint="restore a copy, or llmops runs rm the run")
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(cause, where)
    state = getattr(cause, "sqlstate", None)
    if state == "55P03":
        return _locked(where)
    if state == "53100":
        return StoreError("the server's disk is full", where=where, hint="what was saved is intact")
    if state == "42501":
        hint = "the role needs CREATE to set the tables up, then SELECT, INSERT, UPDATE, DELETE, and USAGE on sequences"
        return StoreError(f"not allowed: {str(cause).strip().splitlines()[0]}", where=where, hint=hint)
    if state and state.startswith(("57P", "08")):
        hint = "what was saved is intact: try again"
        return StoreError("the server ended the connection", where=where, hint=hint)
    if is_integrity(error):
        return StoreError("the run was deleted while it was written", where=where, hint="start it again")
    first = str(cause).strip().splitlines() or [type(cause).__name__]
    hint = "is the server running, and the URL right?" if type(cause).__name__ == "OperationalError" else ""
    return StoreError(f"the store failed: {first[0]}", where=where, hint=hint)


def _explain_sqlite(error: sqlite3.Error, where: str) -> StoreError:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _locked(where)
    if name.startswith("SQLITE_CONSTRAINT"):
        return StoreError("the run was deleted while it was written", where=where, hint="start it again")
    if "Could not decode to UTF-8" in str(error):
        name = "SQLITE_CORRUPT"
    for prefix, message, hint in _SQLITE:
        if name.startswith(prefix):
            return StoreError(message, where=where, hint=hint)
    return StoreError(f"the store failed: {error}", where=where)


def _locked(where: str) -> StoreError:
    message = f"another process has kept the store locked for {store_timeout_s():g} s"
    return StoreError(message, where=where, hint=f"wait for it or end it; {TIMEOUT} sets how long to wait")


def may_pass(error: BaseException) -> bool:
    """True for what may work later: a lock, a full disk, a server that is away. False for data that is refused."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, (OSError, sqlite3.OperationalError, StoreError)):
        return True
    return type(cause).__name__ == "OperationalError" or str(getattr(cause, "sqlstate", "") or "")[:2] in _PASSING


def is_integrity(error: BaseException) -> bool:
    """True when a key was already there, or the run it belongs to wasn't."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return type(cause).__name__ == "IntegrityError" or str(getattr(cause, "sqlstate", "") or "").startswith("23")
