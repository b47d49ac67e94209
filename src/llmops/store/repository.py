"""Questions about saved runs, as SQL."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Text, and_, cast, delete, exists, or_, select

from llmops.errors import InputError, NotFoundError
from llmops.store.checks import ShapeError
from llmops.store.encoding import is_digest, loads, name_key, plain_text
from llmops.store.location import NO_RUNS, Place
from llmops.store.shapes import case_of, finite, output_of, record_data, record_of
from llmops.store.tables import CASES, OUTPUTS, RUNS, SCORES
from llmops.types import Case, Result, RunRecord, Score

LIST_RUNS = "llmops runs ls shows what there is"
MIN_PREFIX, MIN_SUFFIX, MAX_SHOWN = 4, 6, 5
MAX_BATCH = 256  # cases read at once
ENOUGH_CHARACTERS, TOO_MANY_CHARACTERS = 1_000_000, 8_000_000
# Bodies are read as text and decoded here, where it is known whose they are.
_DOCUMENT = cast(RUNS.c.document, Text).label("document")
_HEAD = select(RUNS.c.key, RUNS.c.id, RUNS.c.suite, _DOCUMENT).order_by(RUNS.c.key.desc())
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


@contextlib.contextmanager
def _decoding(run_id: str, what: str) -> Iterator[None]:
    """Whatever saved data that isn't as it was written leads to, as a `ShapeError` that names the run."""
    try:
        yield
    except _MALFORMED as error:
        detail = str(error) if isinstance(error, ShapeError) else "not what llmops writes"
        raise ShapeError(f"{what} of run {run_id} is damaged: {detail}") from None


def record_in(row: Row[Any]) -> RunRecord:
    """The record in a row of `runs`. Raises `ShapeError`."""
    with _decoding(row.id, "the head"):
        return record_of(loads(row.document))


def run_values(record: RunRecord) -> dict[str, Any]:
    """A record as columns of `runs`."""
    return {
        "id": name_key(record.id),
        **{name: name_key(getattr(record, name)) for name in ("suite", "suite_hash", "dataset", "fingerprint")},
        "status": record.status,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "cases": record.cases,
        "document": record_data(record),
    }


def find_row(connection: Connection, reference: str) -> Row[Any]:
    """Key, id, suite and document of the run that `reference` names; see `Store.find`."""
    row = connection.execute(_HEAD.where(RUNS.c.id == name_key(reference)).limit(1)).first()
    if row is None and reference != "latest":
        row = connection.execute(_HEAD.where(RUNS.c.suite == name_key(reference)).limit(1)).first()
    name, back = _steps_back(reference)
    if row is None and name is not None:
        query = _HEAD if name == "latest" else _HEAD.where(RUNS.c.suite == name_key(name))
        row = connection.execute(query.offset(back).limit(1)).first()
    return row if row is not None else _by_part(connection, reference)


def _steps_back(reference: str) -> tuple[str | None, int]:
    """`latest~1` is the one before the latest; the number may have up to nine digits."""
    found = re.fullmatch(r"(.+)~([0-9]{1,9})", reference, re.DOTALL)
    if found:
        return found[1], int(found[2])
    return ("latest", 0) if reference == "latest" else (None, 0)


def _by_part(connection: Connection, reference: str) -> Row[Any]:
    part = reference.lower()
    places = []
    if re.fullmatch("[0-9a-f-]+", part):
        if len(part) >= MIN_PREFIX:
            places.append(RUNS.c.id.like(f"{part}%"))
        if len(part) >= MIN_SUFFIX:
            places.append(RUNS.c.id.like(f"%{part}"))
    rows = connection.execute(_HEAD.where(or_(False, *places)).limit(MAX_SHOWN + 1)).all() if places else []
    if len(rows) == 1:
        return rows[0]
    if rows:
        shown = ", ".join(row.id for row in rows[:MAX_SHOWN]) + (", …" if len(rows) > MAX_SHOWN else "")
        raise InputError(f"{reference!r} is the start or end of several runs: {shown}", hint="write more of the id")
    some = connection.execute(select(RUNS.c.key).limit(1)).first()
    if some is None:
        raise NotFoundError("no runs yet", hint=NO_RUNS)
    raise no_run(reference)


def no_run(reference: str) -> NotFoundError:
    return NotFoundError(f"no run {reference!r}", hint=LIST_RUNS)


def run_key(connection: Connection, run_id: str) -> int | None:
    """Key of the run with this id, if there is one."""
    return connection.execute(select(RUNS.c.key).where(RUNS.c.id == name_key(run_id))).scalar()


def run_row(connection: Connection, run_id: str) -> tuple[int, RunRecord]:
    """Key and record of the run with this id. Raises `NotFoundError`."""
    row = connection.execute(_HEAD.where(RUNS.c.id == name_key(run_id))).first()
    if row is None:
        raise no_run(run_id)
    return row.key, record_in(row)


def list_runs(connection: Connection, limit: int, suite: str) -> list[RunRecord]:
    """Newest first."""
    query = _HEAD.where(RUNS.c.suite == name_key(suite)) if suite else _HEAD
    return [record_in(row) for row in connection.execute(query.limit(max(limit, 0)))]


def finished_trials(connection: Connection, run_id: str, include_errors: bool) -> set[tuple[str, str, int]]:
    """Variant, case id and repeat of every saved output of a run."""
    key, record = run_row(connection, run_id)
    query = select(OUTPUTS.c.variant, OUTPUTS.c.case_id, OUTPUTS.c.repeat).where(OUTPUTS.c.run_key == key)
    if not include_errors:
        query = query.where(OUTPUTS.c.error_kind.is_(None))
    names = {name_key(variant.name): variant.name for variant in record.variants}
    with _decoding(run_id, "a result"):
        names |= _long_ids(connection, key)
        return {(_name(names, row[0]), _name(names, row[1]), _whole(row[2])) for row in connection.execute(query)}


def _long_ids(connection: Connection, key: int) -> dict[str, str]:
    """Case ids too long for a key column, by what stands for them there."""
    query = select(CASES.c.case_id, cast(CASES.c.body, Text)).where(CASES.c.run_key == key)
    query = query.where(CASES.c.case_id.like('"%'))
    return {row[0]: loads(row[1])["id"] for row in connection.execute(query) if is_digest(row[0])}


def _name(names: dict[str, str], key: str) -> str:
    return names.get(key) or (key if is_digest(key) else plain_text(key))


def _whole(value: Any) -> int:
    """SQLite keeps anything in any column."""
    if isinstance(value, int):
        return value
    raise ShapeError(f"repeat is {type(value).__name__}, not a whole number")


def delete_errors(connection: Connection, run_id: str) -> int:
    """Delete the results of a run that ended in an error; returns how many."""
    key = run_key(connection, run_id)
    if key is None:
        raise no_run(run_id)
    failed = and_(OUTPUTS.c.run_key == key, OUTPUTS.c.error_kind.is_not(None))
    same = and_(*(SCORES.c[name] == OUTPUTS.c[name] for name in ("run_key", "case_id", "variant", "repeat")))
    connection.execute(delete(SCORES).where(SCORES.c.run_key == key, exists().where(failed, same)))
    return connection.execute(delete(OUTPUTS).where(failed)).rowcount


class SavedResults:
    """Results of a saved run in order, read in small batches at each pass; no transaction stays open between them."""

    def __init__(self, place: Place, run_id: str, only: Sequence[str] = ()) -> None:
        self._place = place
        self._run_id = run_id
        self._only = only

    def of_cases(self, case_ids: Sequence[str]) -> SavedResults:
        """The results of these cases alone, found without reading the others."""
        return SavedResults(self._place, self._run_id, case_ids)

    def __iter__(self) -> Iterator[Result]:
        with self._place.reading() as connection:
            key, record = run_row(connection, self._run_id)
        reader = _Reader(key, record, [name_key(case_id) for case_id in self._only])
        while True:
            with self._place.reading() as connection, _decoding(self._run_id, "a result"):
                batch = reader.next_batch(connection)
            if batch is None:
                return
            yield from batch


class _Reader:
    def __init__(self, key: int, record: RunRecord, only: Sequence[str]) -> None:
        self._key = key
        self._only = only
        self._variants = {variant.name: place for place, variant in enumerate(record.variants)}
        self._metrics = {metric.name: place for place, metric in enumerate(record.metrics)}
        self._names = {name_key(name): name for name in (*self._variants, *self._metrics)}
        self._size = 16
        self._after: tuple[int, str] | None = None

    def next_batch(self, connection: Connection) -> list[Result] | None:
        """Results of the next few cases, None at the end."""
        query = select(CASES.c.case_id, CASES.c.position, CASES.c.group_name, cast(CASES.c.body, Text))
        query = query.where(CASES.c.run_key == self._key).order_by(CASES.c.position, CASES.c.case_id)
        if self._only:
            query = query.where(CASES.c.case_id.in_(self._only))
        if self._after is not None:
            position, case_id = self._after
            later = and_(CASES.c.position == position, CASES.c.case_id > case_id)
            query = query.where(CASES.c.position >= position, or_(CASES.c.position > position, later))
        rows = connection.execute(query.limit(self._size)).all()
        if not rows:
            return None
        self._after = (rows[-1][1], rows[-1][0])
        characters = sum(len(row[3]) for row in rows)
        return self._results(connection, [(row[0], self._case(row)) for row in rows], characters)

    def _case(self, row: Sequence[Any]) -> Case:
        body = loads(row[3])
        case_id = body.pop("id", None) or plain_text(row[0])
        return case_of(case_id, None if row[2] is None else plain_text(row[2]), body)

    def _results(self, connection: Connection, cases: list[tuple[str, Case]], characters: int) -> list[Result]:
        ids = [case_id for case_id, _ in cases]
        scores = self._scores(connection, ids)
        query = select(OUTPUTS.c.case_id, OUTPUTS.c.variant, OUTPUTS.c.repeat, cast(OUTPUTS.c.body, Text))
        query = query.where(OUTPUTS.c.run_key == self._key, OUTPUTS.c.case_id.in_(ids))
        found: dict[str, list[Result]] = defaultdict(list)
        by_id = dict(cases)
        for case_id, variant, repeat, body in connection.execute(query):
            output = output_of(loads(body))
            characters += len(body)
            scored = scores.get((case_id, variant, repeat), {})
            found[case_id].append(Result(_name(self._names, variant), by_id[case_id], output, _whole(repeat), scored))
        self._adapt(characters)
        for results in found.values():
            results.sort(key=self._order)
        return [result for case_id in ids for result in found.get(case_id, ())]

    def _adapt(self, characters: int) -> None:
        """Few cases at once where texts are long, many where they are short."""
        if characters < ENOUGH_CHARACTERS:
            self._size = min(self._size * 2, MAX_BATCH)
        elif characters > TOO_MANY_CHARACTERS:
            self._size = max(self._size // 4, 1)

    def _order(self, result: Result) -> tuple[int, str, int]:
        return self._variants.get(result.variant, len(self._variants)), result.variant, result.repeat

    def _scores(self, connection: Connection, ids: list[str]) -> dict[tuple[str, str, int], dict[str, Score]]:
        columns = [SCORES.c[name] for name in ("case_id", "variant", "repeat", "metric", "value", "reason")]
        query = select(*columns).where(SCORES.c.run_key == self._key, SCORES.c.case_id.in_(ids))
        last = len(self._metrics)
        found: dict[tuple[str, str, int], dict[str, Score]] = defaultdict(dict)
        for case_id, variant, repeat, metric, value, reason in connection.execute(query):
            score = Score(value, plain_text(reason) if reason else "")
            found[case_id, variant, repeat][_name(self._names, metric)] = finite(score)
        for trial, by_metric in found.items():
            if len(by_metric) > 1:
                found[trial] = dict(sorted(by_metric.items(), key=lambda item: self._metrics.get(item[0], last)))
        return found
