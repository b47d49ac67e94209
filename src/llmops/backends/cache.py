"""Answers kept by the hash of everything that decides them: in SQLite, or as files a repository can hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from llmops.errors import StoreError
from llmops.identity import canonical_json
from llmops.types import Completion, Request, ToolCall, Usage

QUICK_S = 0.02
PATIENCE_S = 30.0
# Rows lie in the order they came: by their random keys, each would change a page of its own (three times the CPU).
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL, origin TEXT NOT NULL, created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_origin ON answers (origin);
"""


_FIELDS = tuple(field.name for field in fields(Completion) if field.name != "cached")
_MONEY = ("cost", "unpriced", "estimated_cost")  # prices change: what a kept answer costs is asked when it is read
_USAGE_FIELDS = tuple(field.name for field in fields(Usage) if field.name not in _MONEY)
_VALUES, _USAGE_VALUES = attrgetter(*_FIELDS), attrgetter(*_USAGE_FIELDS)


def request_text(identity: Mapping[str, Any], request: Request) -> str:
    """Canonical JSON of everything that decides an answer, and of nothing else."""
    return canonical_json(
        {
            "backend": identity,
            "model": request.model,
            "messages": request.messages,
            "parameters": request.parameters,
            "tools": request.tools,
            "output_schema": request.output_schema,
            "repeat": request.repeat,
        }
    )


def key_of(text: str) -> str:
    """sha256 (hex) of a request's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(completion: Completion) -> dict[str, Any]:
    """A completion as plain data."""
    data: dict[str, Any] = dict(zip(_FIELDS, _VALUES(completion), strict=True))
    data["usage"] = dict(zip(_USAGE_FIELDS, _USAGE_VALUES(completion.usage), strict=True))
    data["tool_calls"] = [asdict(call) for call in completion.tool_calls]
    return data


def from_json(data: Mapping[str, Any]) -> Completion:
    """The completion written by `to_json`, marked as cached."""
    values = dict(data)
    values["usage"] = Usage(**values.get("usage", {}))
    values["tool_calls"] = tuple(ToolCall(**call) for call in values.get("tool_calls", ()))
    if not isinstance(values["text"], str):
        raise TypeError("its text isn't text")
    return Completion(**values, cached=True)


def _kept(text: str) -> Completion | None:
    """The completion in a row, or None when the row is damaged or of another version: it is asked for again."""
    try:
        return from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _connect(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        return connection
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        hint = "use --no-cache" + ", or delete it" * ("not a database" in str(error))
        raise StoreError(f"can't open the response cache: {error}", where=str(path), hint=hint) from None


class SqliteCache:
    """The response cache. Answers put are readable at once and on disk after `flush`, which the runner calls often.

    `flush` may run in another thread than the rest, and holds up none of it.
    """

    def __init__(self, path: Path, *, refresh: bool = False) -> None:
        self.path = path
        self.refresh = refresh
        self._pending: dict[str, tuple[str, str, str, str, float]] = {}
        self._fresh: set[str] = set()  # put in this process
        self._locked_at = 0.0
        self._changing = threading.Lock()  # of what is pending
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None  # reading waits for no transaction on a connection of its own
        self._db = _connect(path)

    def get(self, key: str) -> Completion | None:
        """The answer kept under `key`, None for a damaged one. With `refresh`, only answers put in this process.

        Raises `StoreError` when the cache can't be read.
        """
        pending = self._pending.get(key)
        if pending is not None:
            return from_json(json.loads(pending[2]))
        if self.refresh and key not in self._fresh:
            return None
        with self._explained("read"):
            row = self._db.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return _kept(row[0]) if row else None

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            hint = "wait for the other run, or use --no-cache" if "locked" in str(error) else "use --no-cache"
            raise StoreError(f"can't {doing} the response cache: {error}", where=str(self.path), hint=hint) from None

    def put(self, key: str, text: str, completion: Completion, origin: str) -> None:
        """Keep an answer. `origin` says whose it was, as `suite/variant/case`."""
        row = (key, text, json.dumps(to_json(completion)), origin, time.time())
        with self._changing:
            self._pending[key] = row
        if self.refresh:
            self._fresh.add(key)

    def flush(self) -> None:
        """Write what is pending in one transaction; while another process writes, it stays pending for the next call.

        Raises `StoreError` on a full disk, and when the cache has been locked for 30 seconds.
        """
        self._write(wait_s=QUICK_S)

    def _write(self, *, wait_s: float) -> None:
        with self._writing:
            with self._changing:
                rows = list(self._pending.values())
            if rows and self._commit(rows, wait_s):
                with self._changing:
                    for row in rows:
                        if self._pending[row[0]] is row:  # else it was asked for again meanwhile
                            del self._pending[row[0]]

    def _commit(self, rows: list[tuple[str, str, str, str, float]], wait_s: float) -> bool:
        """False when another process has the cache locked and there is time left."""
        if self._writer is None:
            self._writer = _connect(self.path)
        try:
            self._writer.execute(f"PRAGMA busy_timeout={int(wait_s * 1000)}")
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", rows)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            self._locked_at = self._locked_at or time.monotonic()
            if "locked" in str(error) and wait_s < PATIENCE_S > time.monotonic() - self._locked_at:
                return False
            raise StoreError(f"can't write the response cache: {error}", where=str(self.path)) from None
        self._locked_at = 0.0
        return True

    def close(self) -> None:
        try:
            self._write(wait_s=PATIENCE_S)
        finally:
            if self._writer is not None:
                self._writer.close()
            self._db.close()

    def of_origin(self, origin: str) -> Iterator[tuple[str, dict[str, Any], float]]:
        """Key, request and time of the answers kept for one `suite/variant/case`, newest first."""
        query = "SELECT key, request, created FROM answers WHERE origin = ? ORDER BY created DESC"
        with self._explained("read"):
            rows = self._db.execute(query, (origin,)).fetchall()
        for key, text, created in rows:
            try:
                request = json.loads(text)
            except (ValueError, TypeError, RecursionError):  # a damaged row explains nothing
                continue
            if isinstance(request, dict):
                yield key, request, created

    def info(self) -> dict[str, Any]:
        """How many answers, how many bytes, and when the oldest and newest were kept (seconds since 1970)."""
        query = "SELECT count(*), min(created), max(created) FROM answers"
        with self._explained("read"):
            count, oldest, newest = self._db.execute(query).fetchone()
            size = self.path.stat().st_size
        return {
            "path": str(self.path),
            "answers": count,
            "bytes": size,
            "oldest": oldest,
            "newest": newest,
        }

    def clear(self, *, older_than_s: float | None = None) -> int:
        """Forget answers; returns how many. Raises `StoreError` when another process has the cache locked."""
        limit = time.time() - older_than_s if older_than_s is not None else float("inf")
        with self._explained("clear"):
            gone = self._db.execute("DELETE FROM answers WHERE created < ?", (limit,)).rowcount
            self._db.execute("VACUUM")
        return gone


class RunCache:
    """Answers kept as long as a run lasts: a request byte-identical to the baseline's is sent once."""

    def __init__(self) -> None:
        self._kept: dict[str, Completion] = {}

    def get(self, key: str) -> Completion | None:
        found = self._kept.get(key)
        return replace(found, cached=True) if found is not None else None

    def put(self, key: str, text: str, completion: Completion, origin: str) -> None:
        self._kept[key] = completion

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        self._kept.clear()


class FolderCache:
    """Requests and answers as one JSON file each, readable in a diff: what `--record` writes and `--replay` reads."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder = folder
        self.write = write
        self._fresh: set[str] = set()  # recorded in this process
        self.complete = not write  # a replay has every answer there is: a miss is an error, never a request

    def get(self, key: str) -> Completion | None:
        if self.write and key not in self._fresh:
            return None
        try:
            return from_json(json.loads((self.folder / f"{key[:32]}.json").read_text("utf-8"))["answer"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            where = str(self.folder / f"{key[:32]}.json")
            raise StoreError(f"not a recorded answer: {error}", where=where, hint="record it again") from None

    def put(self, key: str, text: str, completion: Completion, origin: str) -> None:
        if not self.write:
            return
        data = {"request": json.loads(text), "answer": to_json(completion)}
        body = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
        target = self.folder / f"{key[:32]}.json"
        part = target.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(body, "utf-8")
            part.replace(target)
            self._fresh.add(key)
        except OSError as error:
            raise StoreError(f"can't record an answer: {error.strerror}", where=str(target)) from None

    def flush(self) -> None:
        """Every file is written at once; nothing is pending."""

    def close(self) -> None:
        self.flush()
