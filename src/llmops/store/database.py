"""The store: runs with their results, in a SQLite file or a PostgreSQL database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import delete, insert, update

from llmops.errors import StoreError
from llmops.store import repository
from llmops.store.encoding import name_key
from llmops.store.location import Place, open_place
from llmops.store.schema import migrate, prepare
from llmops.store.tables import RUNS
from llmops.store.writer import ResultWriter
from llmops.types import RunRecord


class Store:
    """Saved runs. Open one with `Store.open`; it is a context manager. Every method raises `StoreError`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @classmethod
    def open(cls, location: str | Path, *, create: bool = True) -> Store:
        """The store in a SQLite file (made, with its folders, when missing) or at a `postgresql://` URL.

        Raises `NotFoundError` when there is none and `create` is false, and `StoreError` when it can't be used.
        """
        place = open_place(location, create=create)
        try:
            with place.errors():
                prepare(place, create=create)
        except BaseException:
            place.engine.dispose()
            raise
        return cls(place)

    @classmethod
    def migrate_at(cls, location: str | Path) -> tuple[str, str]:
        """Bring the tables at `location` up to this version, which opening a server's never does by itself."""
        place = open_place(location, create=True)
        try:
            with place.errors():
                return migrate(place)
        finally:
            place.engine.dispose()

    def close(self) -> None:
        """End its connections."""
        self._place.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_run(self, record: RunRecord) -> None:
        """Save the head of a new run."""
        with self._place.writing() as connection:
            if repository.run_key(connection, record.id) is not None:
                raise StoreError(f"run {record.id} is already there", where=self._place.shown)
            connection.execute(insert(RUNS).values(**repository.run_values(record)))

    def update_run(self, run_id: str, **changes: Any) -> RunRecord:
        """Change fields of a run's head; returns the new one. Raises `NotFoundError`."""
        with self._place.writing() as connection:
            key, old = repository.run_row(connection, run_id)
            record = replace(old, **changes)
            values = repository.run_values(record)
            connection.execute(update(RUNS).where(RUNS.c.key == key).values(**values))
        return record

    def writer(self, run_id: str) -> ResultWriter:
        """What writes a run's results, in a thread of its own. Raises `NotFoundError`."""
        with self._place.reading() as connection:
            key, _ = repository.run_row(connection, run_id)
        return ResultWriter(self._place, key)

    def find(self, reference: str = "latest") -> RunRecord:
        """The run meant by an id, its start (from 4 characters) or end (from 6), `latest`, or a suite's name.

        `latest~1` and `suite~1` are the ones before. Raises `NotFoundError`, or `InputError` when several fit.
        """
        with self._place.reading() as connection:
            return repository.record_in(repository.find_row(connection, reference))

    def name(self, reference: str) -> tuple[str, str]:
        """Id and suite of the run meant, as for `find`. Reads no more of it, so a damaged run can be deleted."""
        with self._place.reading() as connection:
            row = repository.find_row(connection, reference)
            return row.id, row.suite

    def runs(self, *, limit: int = 50, suite: str = "") -> list[RunRecord]:
        """Heads of runs, newest first."""
        with self._place.reading() as connection:
            return repository.list_runs(connection, limit, suite)

    def results(self, run_id: str) -> repository.SavedResults:
        """Results by case, variant and repeat in the run's order, as often as wanted. Raises `NotFoundError`."""
        with self._place.reading() as connection:
            repository.run_row(connection, run_id)
        return repository.SavedResults(self._place, run_id)

    def finished(self, run_id: str, *, include_errors: bool = True) -> set[tuple[str, str, int]]:
        """Variant, case id and repeat of each saved result."""
        with self._place.reading() as connection:
            return repository.finished_trials(connection, run_id, include_errors)

    def drop_errors(self, run_id: str) -> int:
        """Delete results that ended in an error, so that they run again; returns how many."""
        with self._place.writing() as connection:
            return repository.delete_errors(connection, run_id)

    def delete(self, run_id: str) -> None:
        """Delete a run with everything in it. Raises `NotFoundError`."""
        with self._place.writing() as connection:
            if connection.execute(delete(RUNS).where(RUNS.c.id == name_key(run_id))).rowcount == 0:
                raise repository.no_run(run_id)
