"""When processes that make calls were last seen: those of other hosts are given up when that was long ago."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Float, delete, literal, literal_column, select

from llmops.store.call_driver import CallDriver
from llmops.store.call_tables import CALL_PROCESSES, OPEN_CALLS

LEASE_S = 120.0
RENEW_S = 20.0
_SERVER_NOW = "EXTRACT(EPOCH FROM clock_timestamp())::float8"


class Lease:
    """What says that a process lives. It is renewed where calls are begun, and while calls are open."""

    def __init__(self) -> None:
        self.renewed_at = 0.0

    @property
    def is_due(self) -> bool:
        """By the wall clock: the other stands still while a laptop sleeps."""
        return abs(time.time() - self.renewed_at) > RENEW_S

    @staticmethod
    def renew(driver: CallDriver, owner: int) -> bool:
        """Inside of a transaction: say that the process is there; true when others haven't said so for too long."""
        now, values = ("?", (time.time(),)) if driver.is_file else (_SERVER_NOW, ())
        driver.run(_RENEW.format(now=now), (owner, *values))
        late = f"SELECT 1 FROM call_processes WHERE seen_at < {now} - {LEASE_S} LIMIT 1"  # noqa: S608
        return bool(driver.run(late, values))


def given_up(connection: Connection) -> set[int]:
    """Processes that haven't been seen for too long."""
    return set(connection.execute(select(CALL_PROCESSES.c.owner_key).where(_is_late(connection))).scalars())


def forget(connection: Connection, owners: Sequence[int]) -> None:
    """Drop those of them that have no open calls."""
    seen = CALL_PROCESSES.c
    is_idle = seen.owner_key.not_in(select(OPEN_CALLS.c.owner_key))
    connection.execute(delete(CALL_PROCESSES).where(seen.owner_key.in_(owners), is_idle, _is_late(connection)))


def _is_late(connection: Connection) -> ColumnElement[bool]:
    is_file = connection.dialect.name == "sqlite"
    now: ColumnElement[float] = literal(time.time()) if is_file else literal_column(_SERVER_NOW, Float)
    return CALL_PROCESSES.c.seen_at < now - LEASE_S


_RENEW = (
    "INSERT INTO call_processes (owner_key, seen_at) VALUES (?, {now}) "
    "ON CONFLICT (owner_key) DO UPDATE SET seen_at = excluded.seen_at"
)
