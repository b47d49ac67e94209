"""From a store's location to a database engine: a SQLite file or a PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from llmops.errors import InputError, MissingExtraError, NotFoundError, StoreError
from llmops.store.encoding import dumps, loads
from llmops.store.failures import store_timeout_s

NO_RUNS = "llmops eval makes the first"
_WRITE = {"llmops_write": True}


@dataclass(frozen=True)
class Place:
    """An engine, how errors call it, and its file when it has one."""

    engine: Engine
    shown: str
    path: Path | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with."""
        with self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that holds SQLite's write lock from its start, committed at the end."""
        with self.engine.connect().execution_options(**_WRITE) as connection, connection.begin():
            yield connection


def open_place(location: str | Path, *, create: bool) -> Place:
    """The place for a path or URL. Raises `NotFoundError` for a missing file that may not be created."""
    text = str(location)
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    if isinstance(location, str) and "://" in text:
        return _open_server(text)
    return _open_file(Path(text), create=create)


def _open_file(path: Path, *, create: bool) -> Place:
    shown = str(path)
    try:
        if "\0" in os.fsencode(path).decode("latin-1"):
            raise ValueError("a NUL character")
        if path.is_dir():
            raise StoreError("is a folder", where=shown, hint="name a file, such as runs.db")
        if not path.exists():
            if not create:
                raise NotFoundError(f"no runs yet: there is no {shown}", hint=NO_RUNS)
            _make_folder(path.parent)
    except OSError as error:
        hint = "check its permissions, or choose another with --store"
        raise StoreError(f"can't be opened: {error.strerror}", where=shown, hint=hint) from None
    except ValueError as error:  # a NUL byte or a lone surrogate
        raise InputError(f"{shown!r} is not the name of a file: {error}") from None
    engine = create_engine(
        URL.create("sqlite", database=shown),
        connect_args={"timeout": store_timeout_s(), "check_same_thread": False},
        json_serializer=dumps,
        json_deserializer=loads,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return Place(engine, shown, path)


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
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InputError("the store's URL can't be read", hint="postgresql://user:password@host:5432/name") from None
    if not re.fullmatch(r"postgres(ql)?(\+psycopg)?", url.drivername):
        raise InputError(f"no store for {url.drivername}://", hint="use a SQLite file or a postgresql:// URL")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtraError("postgres", needed_for="a store in PostgreSQL") from None
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10},
        json_serializer=dumps,
        json_deserializer=loads,
    )
    return Place(engine, url.render_as_string(hide_password=True))
