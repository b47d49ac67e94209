"""One thread that writes results as they come: a transaction for all that came within some milliseconds."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from sqlalchemy import Table, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from llmops.errors import StoreError
from llmops.store.call_turns import turn
from llmops.store.encoding import dumps, name_key, number, safe_text
from llmops.store.failures import is_integrity, store_timeout_s
from llmops.store.location import Place
from llmops.store.shapes import case_data, finite, output_data
from llmops.store.tables import CASES, OUTPUTS, SCORES
from llmops.types import Result

GATHER_S = 0.015
MAX_WAITING = 10_000
MAX_WAITING_CHARACTERS = 16 * 1024 * 1024
MAX_BATCH = 2_000
MAX_BATCH_CHARACTERS = 256 * 1024
MAX_REMEMBERED = 50_000
_MAX_INT = 2**63 - 1
Rows = list[tuple[Any, ...]]
Trial = tuple[str, str, int]
Waiting = tuple[Result, int, int]  # with its case's position and about how much text it holds on to


class ResultWriter:
    """Writes a run's results in the background; every one is committed within 100 ms on a healthy disk.

    A context manager. `put` never waits for the disk unless 10,000 results (or 16 MB of text) are waiting already.
    """

    def __init__(self, place: Place, run_key: int) -> None:
        self._place = place
        self._tables = _Tables(place, run_key)
        self._waiting: list[Waiting] = []
        self._characters = 0
        self._busy = False
        self._hurry = False
        self._closing = False
        self._failure: StoreError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="llmops-store", daemon=True)
        self._thread.start()

    def put(self, result: Result, position: int) -> None:
        """Hand a result over; `position` is its case's place in the dataset. Raises `StoreError` if writing failed."""
        size = _characters(result)
        with self._changed:
            while self._is_full() and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._again()
            if self._closing:
                raise StoreError("the writer is closed", where=self._place.shown)
            self._waiting.append((result, position, size))
            self._characters += size
            if len(self._waiting) == 1 or self._is_full():
                self._changed.notify_all()

    def flush(self, timeout_s: float = 30) -> None:
        """Wait until everything put so far is committed. Raises `StoreError`."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while (self._waiting or self._busy) and self._failure is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise StoreError(f"results are not written after {timeout_s:g} s", where=self._place.shown)
                self._changed.wait(left)
            if self._failure is not None:
                raise self._again()

    def close(self) -> None:
        """Write what is waiting and end the thread. Raises `StoreError` if anything could not be written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(store_timeout_s() + 60)
        if self._thread.is_alive():
            raise StoreError("results could not be written in time", where=self._place.shown)
        if self._failure is not None:
            raise self._again()

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            if not isinstance(error, StoreError):
                raise

    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING or self._characters >= MAX_WAITING_CHARACTERS

    def _again(self) -> StoreError:
        """The failure anew: raising one error object twice would chain it to itself."""
        failure = self._failure
        assert failure is not None
        return StoreError(failure.message, where=failure.where, hint=failure.hint)

    def _work(self) -> None:
        try:
            while batch := self._gather():
                for part in _parts(batch):
                    self._tables.write(part)
        except BaseException as error:
            with self._changed:
                self._failure = error if isinstance(error, StoreError) else self._place.explain(error)
        finally:
            self._tables.close()
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _gather(self) -> Sequence[Waiting]:
        """The next batch, empty at the end."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._waiting:
                self._changed.wait_for(lambda: self._closing or self._hurry or self._is_full(), GATHER_S)
            batch, self._waiting = self._waiting, []
            self._characters = 0
            self._hurry = False
            self._busy = bool(batch)
            self._changed.notify_all()
            return batch


class _Tables:
    """Rows into tables, a transaction a batch. Used by one thread."""

    def __init__(self, place: Place, run_key: int) -> None:
        self._place = place
        self._run_key = run_key
        self._known: set[str] = set()
        self._driver: Any = None
        make = sqlite.insert if place.path is not None else postgresql.insert
        self._inserts = {
            "cases": make(CASES).on_conflict_do_nothing(),
            "outputs": make(OUTPUTS),
            "scores": make(SCORES),
        }
        self._compiled = {name: str(made.compile(dialect=place.engine.dialect)) for name, made in self._inserts.items()}

    def write(self, batch: Sequence[Waiting]) -> None:
        """Commit a batch. A trial that is already there is replaced, with all its scores."""
        rows = self._rows(batch)
        if self._place.path is None:
            self._commit_to_server(rows)
            return
        try:
            self._commit_to_file(rows, replacing=())
        except Exception as error:
            if not is_integrity(error):
                raise
            self._commit_to_file(rows, replacing=[row[1:4] for row in rows["outputs"]])

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()

    def _rows(self, batch: Sequence[Waiting]) -> Mapping[str, Rows]:
        latest = {(r.variant, r.case.id, r.repeat): (r, position) for r, position, _ in batch}
        encode = dumps if self._place.path is not None else _as_is
        key, cases, outputs, scores = self._run_key, [], [], []
        for result, position in latest.values():
            case, output = result.case, result.output
            case_id, variant, repeat = name_key(case.id), name_key(result.variant), result.repeat
            if case_id not in self._known:
                self._remember(case_id)
                group = None if case.group is None else safe_text(case.group)
                body = case_data(case) if len(case_id) == len(case.id) else {**case_data(case), "id": case.id}
                cases.append((key, case_id, position, group, encode(body)))
            error = None if output.error is None else safe_text(output.error.kind)
            latency, usage = number(output.latency_s), output.usage
            if latency is not None and not math.isfinite(latency):
                latency = None  # the body keeps it
            tokens = min(usage.input_tokens, _MAX_INT), min(usage.output_tokens, _MAX_INT)
            body = output_data(output)
            outputs.append((key, case_id, variant, repeat, error, latency, *tokens, int(output.cached), encode(body)))
            for metric, score in result.scores.items():
                kept = finite(score)
                value, reason = kept.value, safe_text(kept.reason)
                scores.append((key, case_id, variant, repeat, name_key(metric), value, reason))
        return {"cases": cases, "outputs": outputs, "scores": scores}

    def _remember(self, case_id: str) -> None:
        """Saves writing a case again; forgetting is harmless, for a case that is there is left alone."""
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known.add(case_id)

    def _commit_to_file(self, rows: Mapping[str, Rows], replacing: Sequence[tuple[Any, ...]]) -> None:
        """The same statements straight through the driver, which halves the cost of a row."""
        with turn(self._place.path):
            self._commit_in_turn(rows, replacing)

    def _commit_in_turn(self, rows: Mapping[str, Rows], replacing: Sequence[tuple[Any, ...]]) -> None:
        if self._driver is None:
            self._driver = self._place.engine.raw_connection()
        cursor = self._driver.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            for table in ("scores", "outputs"):
                if replacing:
                    where = "run_key = ? AND case_id = ? AND variant = ? AND repeat = ?"
                    trials = [(self._run_key, *trial) for trial in replacing]
                    cursor.executemany(f"DELETE FROM {table} WHERE {where}", trials)  # noqa: S608
            for table, values in rows.items():
                if values:
                    cursor.executemany(self._compiled[table], values)
            cursor.execute("COMMIT")
        except BaseException:
            self._driver.rollback()
            raise
        finally:
            cursor.close()

    def _commit_to_server(self, rows: Mapping[str, Rows]) -> None:
        """Looks for results to replace first: psycopg complains aloud about a pipeline that a duplicate broke."""
        ids = [row[1] for row in rows["outputs"]]
        there = select(OUTPUTS.c.repeat).where(OUTPUTS.c.run_key == self._run_key, OUTPUTS.c.case_id.in_(ids))
        with self._place.writing() as connection:
            if connection.execute(there.limit(1)).first() is not None:
                replacing = [row[1:4] for row in rows["outputs"]]
                trials = [dict(zip(("case", "variant_name", "number"), trial, strict=True)) for trial in replacing]
                for table in (SCORES, OUTPUTS):
                    connection.execute(_delete(table, self._run_key), trials)
            for name, table in (("cases", CASES), ("outputs", OUTPUTS), ("scores", SCORES)):
                if rows[name]:
                    columns = table.columns.keys()
                    connection.execute(
                        self._inserts[name], [dict(zip(columns, row, strict=True)) for row in rows[name]]
                    )


def _delete(table: Table, run_key: int) -> Any:
    columns = table.c
    return (
        delete(table)
        .where(columns.run_key == run_key, columns.case_id == bindparam("case"))
        .where(columns.variant == bindparam("variant_name"), columns.repeat == bindparam("number"))
    )


def _parts(batch: Sequence[Waiting]) -> Iterator[Sequence[Waiting]]:
    """The batch in transactions of a bounded size, so that a disk that fills up takes as much as fits."""
    start = characters = 0
    for end, (_, _, size) in enumerate(batch):
        characters += size
        if end > start and (characters > MAX_BATCH_CHARACTERS or end - start >= MAX_BATCH):
            yield batch[start:end]
            start, characters = end, size
    yield batch[start:]


def _characters(result: Result) -> int:
    """About how much text a result holds on to: passages are most of it in retrieval pipelines."""
    case, output = result.case, result.output
    passages = (context.text for context in (*case.contexts, *output.contexts))
    said = (message.get("content") for message in output.messages if isinstance(message, Mapping))
    return sum(len(text) for text in (output.text, *passages, *said, *case.inputs.values()) if isinstance(text, str))


def _as_is(value: Any) -> Any:
    return value
