"""From a store's location to a database engine: a SQLite file or a PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from llmops.errors import InputError, MissingExtraError, NotFoundError, StoreError
from llmops.store.encoding import dumps
from llmops.store.failures import RAISED, explain, store_timeout_s
from llmops.store.urls import is_url, mask, secrets_of, server_url

NO_RUNS = "llmops eval makes the first"
_WRITE = {"llmops_write": True}
_SMALLEST_PAGE = 512  # no SQLite file with anything in it is smaller


@dataclass(frozen=True)
class Place:
    """An engine, how errors call it, its file when it has one, and what errors must not repeat."""

    engine: Engine
    shown: str
    path: Path | None = None
    secrets: tuple[str, ...] = ()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns what the database raises inside into `StoreError`s about this store."""
        try:
            yield
        except RAISED as error:
            made = self.explain(error)
            repeated = any(secret in str(error) for secret in self.secrets)
            raise made from (None if repeated else error)  # a traceback shows the cause

    def explain(self, error: BaseException) -> StoreError:
        """The `StoreError` for whatever was raised."""
        return explain(error, self.shown, self.secrets)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with. Raises `StoreError`."""
        with self.errors(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that holds SQLite's write lock from its start, committed at the end.

        Raises `StoreError`.
        """
        with self.errors(), self.engine.connect().execution_options(**_WRITE) as connection, connection.begin():
            yield connection


def open_place(location: str | Path, *, create: bool) -> Place:
    """The place for a path or URL. Raises `NotFoundError` for a missing file that may not be created."""
    text = str(location)
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    if isinstance(location, str) and is_url(text):
        return _open_server(text)
    return _open_file(Path(text), create=create)


def _open_file(path: Path, *, create: bool) -> Place:
    shown = str(path)
    try:
        if "\0" in os.fsencode(path).decode("latin-1"):
            raise ValueError("a NUL character")
        if path.exists():
            _check_file(path)
        elif create:
            _make_folder(path.parent)
        else:
            raise NotFoundError(f"no runs yet: there is no {shown}", hint=NO_RUNS)
    except OSError as error:
        hint = "check its permissions, or choose another with --store"
        raise StoreError(f"can't be opened: {error.strerror}", where=shown, hint=hint) from None
    except ValueError as error:  # a NUL byte or a lone surrogate
        raise InputError(f"{shown!r} is not the name of a file: {error}") from None
    engine = create_engine(
        URL.create("sqlite", database=shown),
        connect_args={"timeout": store_timeout_s(), "check_same_thread": False},
        json_serializer=dumps,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return Place(engine, shown, path)


def _check_file(path: Path) -> None:
    """Refuses what SQLite would overwrite: it takes a file of one byte for an empty one.

    Looking inside is left to SQLite: closing a file lets go of every lock this process has on it.
    """
    found = path.stat()
    if path.is_dir() or not S_ISREG(found.st_mode):
        what = "is a folder" if path.is_dir() else "is not a file"
        raise StoreError(what, where=str(path), hint="name a file, such as runs.db")
    if 0 < found.st_size < _SMALLEST_PAGE:
        raise StoreError("not a database", where=str(path), hint="move the file away, or choose another with --store")


def _make_folder(folder: Path) -> None:
    """A project's own `.llmops` folder keeps itself out of git."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.name == ".llmops" and not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text("*\n", "utf-8")


def _set_up(connection: Any, record: object) -> None:
    """`BEGIN` is ours to say; a commit is safe from a crash of the process without waiting for the disk."""
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    """Taking the write lock at once waits for other writers; upgrading a read would fail instead."""
    write = connection.get_execution_options().get("llmops_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _open_server(text: str) -> Place:
    url = server_url(text)
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtraError("postgres", needed_for="a store in PostgreSQL") from None
    milliseconds = max(1, round(store_timeout_s() * 1000))  # 0 would wait for ever
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10},
        json_serializer=dumps,
    )

    def set_up(connection: Any, record: object) -> None:
        connection.execute(f"SET lock_timeout = {milliseconds}")
        connection.commit()

    event.listen(engine, "connect", set_up)
    return Place(engine, mask(text), secrets=secrets_of(url))
