"""Which version a store's tables have, and bringing them up to this one's. Alembic is loaded only to migrate."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from llmops.errors import NotFoundError, StoreError
from llmops.store.call_tables import metadata
from llmops.store.failures import store_timeout_s
from llmops.store.location import NO_RUNS, Place

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003")  # oldest first
SCRIPTS = Path(__file__).parent / "migrations"
VERSIONS = (SCRIPTS / "versions",)
_LOCK = 0x6C6C6D6F7073  # any number of ours: "llmops"


def head() -> str:
    """The revision that the tables in `tables.py` and `call_tables.py` are."""
    return REVISIONS[-1]


def prepare(place: Place, *, create: bool) -> None:
    """Create what a fresh store lacks and migrate an older SQLite file.

    Raises `NotFoundError` when it is empty and may not be created, and `StoreError` when it is another program's,
    of a newer version, or an older one on a server.
    """
    with place.reading() as connection:
        revision = current(connection, place)
    if revision == head():
        return
    if revision == "":
        if not create and place.path is None:
            raise NotFoundError(f"no runs yet in {place.shown}", hint=NO_RUNS)
        _create(place)
    elif place.path is None:
        raise StoreError("the tables are of an older llmops", where=place.shown, hint="run llmops db migrate")
    else:
        migrate(place)


def current(connection: Connection, place: Place) -> str:
    """A store's revision, empty when it has no tables. Raises `StoreError` when it can't be used."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            message = f"a database of something else (it has a table {sorted(tables)[0]!r})"
            raise StoreError(message, where=place.shown, hint="choose another with --store")
        return ""
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    revision = str(found or "")
    if revision not in REVISIONS:
        message = f"made by a newer llmops (tables {revision!r}, this one knows {head()!r})"
        raise StoreError(message, where=place.shown, hint="upgrade: pip install -U llmops")
    return revision


def migrate(place: Place) -> tuple[str, str]:
    """Bring the tables to this version's, in one transaction; returns the old and the new revision."""
    if place.path is not None:
        _use_wal(place)
    with place.engine.connect().execution_options(llmops_write=True) as connection:
        _foreign_keys(connection, place, on=False)  # a table that is rebuilt must not take others with it
        try:
            with connection.begin():
                _lock(connection, place)
                old = current(connection, place)
                if old == "":
                    _create_tables(connection)
                elif old != head():
                    _run_scripts(connection)
        finally:
            _foreign_keys(connection, place, on=True)
    return old, head()


def _create(place: Place) -> None:
    if place.path is not None:
        _use_wal(place)
    with place.writing() as connection:
        _lock(connection, place)
        if current(connection, place) == "":  # another process may have been faster
            _create_tables(connection)


def _create_tables(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": head()})


def _lock(connection: Connection, place: Place) -> None:
    if place.path is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _use_wal(place: Place) -> None:
    """Readers and a writer at once. Switching a file over doesn't wait for others by itself."""
    deadline = time.monotonic() + store_timeout_s()
    raw = place.engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file only: pages can be given back
                raw.cursor().execute("PRAGMA journal_mode=WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                busy = (getattr(error, "sqlite_errorname", "") or "").startswith("SQLITE_BUSY")
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    finally:
        raw.close()


def _foreign_keys(connection: Connection, place: Place, *, on: bool) -> None:
    driver = connection.connection.dbapi_connection
    if place.path is not None and driver is not None:
        driver.cursor().execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")


def _run_scripts(connection: Connection) -> None:
    from alembic import command

    config = scripts_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def scripts_config() -> Config:
    """Alembic's configuration for our scripts, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, VERSIONS)).replace("%", "%%"))
    return config
