"""Space of a SQLite file that nothing is in any more: how much there is, and giving it back to the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.store.call_turns import turn
from llmops.store.location import Place, open_place
from llmops.store.schema import prepare

PAGES = 1_000  # as many are given back at a time, so that writers get their turn
_INCREMENTAL = 2  # what PRAGMA auto_vacuum says of it


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of a file: given back to the disk, and empty inside of it. None for a server, which does that by itself."""

    freed: int | None = None
    empty: int | None = None


def space(place: Place) -> Space:
    """How much is empty. Raises `StoreError`."""
    if place.path is None:
        return Space()
    with _connected(place) as connection:
        return Space(0, _empty(connection))


def give_back(place: Place) -> Space:
    """Give back what is empty, a bit at a time, while others go on writing. Raises `StoreError`.

    Files made before this was there keep it for what is written next, until somebody compacts them.
    """
    if place.path is None:
        return Space()
    with _connected(place) as connection:
        before = _size(place.path)
        if _pragma(connection, "auto_vacuum") == _INCREMENTAL:
            while (left := _pragma(connection, "freelist_count")) > 0:
                with turn(place.path):
                    connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
                if _pragma(connection, "freelist_count") >= left:
                    break
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Space(max(0, before - _size(place.path)), _empty(connection))


def compact(location: str | Path, *, dry_run: bool = False) -> Space:
    """Write the file anew without what is empty; others wait meanwhile. With `dry_run` only say how much that is.

    Needs about its size twice on the disk. From then on `give_back` works on it. Raises `NotFoundError`, `StoreError`.
    """
    place = open_place(location, create=False)
    try:
        with place.errors():
            prepare(place, create=False)
        if dry_run or place.path is None:
            return space(place)
        with _connected(place) as connection, turn(place.path):
            before = _size(place.path)
            connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return Space(max(0, before - _size(place.path)), _empty(connection))
    finally:
        place.engine.dispose()


@contextlib.contextmanager
def _connected(place: Place) -> Iterator[Any]:
    """The driver's own connection, outside of any transaction."""
    with place.errors():
        raw = place.engine.raw_connection()
        try:
            yield raw.driver_connection
        finally:
            raw.close()


def _empty(connection: Any) -> int:
    return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


def _pragma(connection: Any, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _size(path: Path) -> int:
    """Bytes of the file and of what is on its way into it."""
    size = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            size += each.stat().st_size
    return size
