"""Statements of the call log straight through the database's driver, which halves the cost of a row."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Iterator, Sequence
from typing import Any

from llmops.store.call_rows import Row, id_of
from llmops.store.call_sums import KEYS, SUMS, Sums
from llmops.store.call_turns import turn
from llmops.store.location import Place

_TARGET = ", ".join((*KEYS, *SUMS))
_ADDED = ", ".join(f"{name} = call_hours.{name} + excluded.{name}" for name in SUMS)
_UPSERT = f"ON CONFLICT ({', '.join(KEYS)}) DO UPDATE SET {_ADDED}"
_TYPES = [*("int" for _ in KEYS), *("bigint" for _ in SUMS)]
_ADD_TO_FILE = f"INSERT INTO call_hours ({_TARGET}) VALUES ({', '.join('?' * len(_TYPES))}) {_UPSERT}"  # noqa: S608
_ADD_TO_SERVER = (
    f"INSERT INTO call_hours ({_TARGET}) "  # noqa: S608
    f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in _TYPES)}) {_UPSERT}"
)
_KINDS = {bytes: "bytea", str: "text", int: "bigint", bool: "bigint"}
_DROP_EMPTY = f"DELETE FROM call_hours WHERE {' AND '.join(f'{name} = ?' for name in KEYS)} AND requests = 0"  # noqa: S608


class CallDriver:
    """One connection, made when it is first needed and anew after a failure. Used by one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.is_file = place.path is not None
        self._connection: Any = None
        self._cursor: Any = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[CallDriver]:
        """Statements inside are committed together, or not at all. Raises whatever the driver does."""
        with turn(self._place.path):
            try:
                if self._connection is not None and not self.is_file and _is_gone(self._connection):
                    self.close()  # nothing was asked of it yet: a new one, instead of a call that is refused
                if self._connection is None:
                    self._connection = self._place.engine.raw_connection()
                self._cursor = self._connection.cursor()
                if self.is_file:
                    self._cursor.execute("BEGIN IMMEDIATE")
                yield self
                if self.is_file:
                    self._cursor.execute("COMMIT")
                else:
                    self._connection.commit()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the connection; what wasn't committed is undone."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.rollback()
            with contextlib.suppress(Exception):
                connection.invalidate()

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Rows of a statement whose places for values are written `?`."""
        cursor = self._cursor.execute(self._form(statement), values)
        return list(cursor.fetchall()) if cursor.description else []

    def run_each(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """A statement for each row of values."""
        if rows:
            self._cursor.executemany(self._form(statement), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """New rows, each with a call's id first."""
        if not rows:
            return
        names = ", ".join(columns)
        if self.is_file:
            places = ", ".join("?" * len(columns))
            self._cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)  # noqa: S608
            return
        with self._cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row((id_of(row[0]), *row[1:]))

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        """Rows of calls are deleted where they are."""
        if not keys:
            return
        if self.is_file:
            self._cursor.executemany(f"DELETE FROM {table} WHERE id = ?", [(key,) for key in keys])  # noqa: S608
        else:
            statement = f"DELETE FROM {table} WHERE id = ANY(%s::uuid[])"  # noqa: S608
            self._cursor.execute(statement, ([id_of(key) for key in keys],))

    def end_open(self, keys: Sequence[bytes]) -> int:
        """Delete the rows of calls that nothing was set aside for since they began; how many there were."""
        if not keys:
            return 0
        if self.is_file:
            statement = "DELETE FROM open_calls WHERE id = ? AND added IS NULL"
            self._cursor.executemany(statement, [(key,) for key in keys])
        else:
            statement = "DELETE FROM open_calls WHERE id = ANY(%s::uuid[]) AND added IS NULL"
            self._cursor.execute(statement, ([id_of(key) for key in keys],))
        return int(self._cursor.rowcount)

    def find(self, table: str, columns: Sequence[str], keys: Sequence[bytes]) -> list[Row]:
        """Rows of calls, locked on a server until the transaction ends; each starts with the id's bytes."""
        names, found = ", ".join(columns), []
        if self.is_file:
            for key in keys:
                found += self.run(f"SELECT {names} FROM {table} WHERE id = ?", (key,))  # noqa: S608
            return found
        statement = f"SELECT {names} FROM {table} WHERE id = ANY(?::uuid[]) ORDER BY id FOR UPDATE"  # noqa: S608
        rows = self.run(statement, ([id_of(key) for key in keys],))
        return [(row[0].bytes, *row[1:]) for row in rows]

    def add(self, sums: Sums) -> None:
        """Add to the sums by the hour, in one order, so that two processes never wait for each other in a circle."""
        if not sums:
            return
        rows = [(*key, *sums[key]) for key in sorted(sums)]
        if self.is_file:
            self._cursor.executemany(_ADD_TO_FILE, rows)
        else:
            self._cursor.execute(_ADD_TO_SERVER, [list(column) for column in zip(*rows, strict=True)])
        self.run_each(_DROP_EMPTY, [row[: len(KEYS)] for row in rows if row[len(KEYS)] < 0])

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """New rows, where there is none with the same digest yet, which comes first."""
        names = ", ".join(columns)
        if self.is_file:
            places = f"VALUES ({', '.join('?' * len(columns))})"
        else:
            kinds = (_KINDS[type(value)] for value in rows[0])
            places = f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in kinds)})"  # noqa: S608
        statement = f"INSERT INTO {table} ({names}) {places} ON CONFLICT (digest) DO NOTHING"
        if self.is_file:
            self._cursor.executemany(statement, rows)
        else:
            self._cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])

    def numbers(self, table: str, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The key of each row with one of these digests."""
        if self.is_file:
            statement = f"SELECT digest, key FROM {table} WHERE digest = ?"  # noqa: S608
            return dict(self.run(statement, (digest,))[0] for digest in digests)
        statement = f"SELECT digest, key FROM {table} WHERE digest = ANY(?)"  # noqa: S608
        return {bytes(digest): key for digest, key in self.run(statement, (list(digests),))}

    def bound(self, key: bytes) -> Any:
        """An id as this database compares it."""
        return key if self.is_file else id_of(key)

    def _form(self, statement: str) -> str:
        return statement if self.is_file else statement.replace("?", "%s")


def _is_gone(connection: Any) -> bool:
    """True when a server ended a connection while it was idle: its goodbye waits to be read, without a round trip."""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(connection.driver_connection.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))
    except Exception:  # closed already
        return True
