"""What every store does, whatever database it is in. A test file imports these beside its own `location` fixture."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, text

from llmops.errors import InputError, NotFoundError, StoreError
from llmops.identity import new_id
from llmops.store import schema
from llmops.store.call_tables import metadata
from llmops.store.database import Store
from llmops.store.location import open_place
from llmops.types import (
    Case,
    Context,
    Failure,
    GateOutcome,
    MetricInfo,
    Output,
    Result,
    RunRecord,
    Score,
    ToolCall,
    Usage,
    VariantInfo,
)

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)  # NUL and lone surrogates too
NUMBERS = st.floats(allow_nan=False)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS, lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("$float"), inner, max_size=3)
), max_leaves=8)  # fmt: skip
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
CONTEXTS = st.lists(st.builds(Context, TEXTS, TEXTS, st.none() | NUMBERS), max_size=2).map(tuple)
COUNTS = st.integers(0, 2**70)
OUTPUTS = st.builds(
    Output,
    text=TEXTS,
    contexts=CONTEXTS,
    tool_calls=st.lists(st.builds(ToolCall, TEXTS, OBJECTS, TEXTS), max_size=2).map(tuple),
    messages=st.lists(OBJECTS, max_size=2).map(tuple),
    usage=st.builds(Usage, COUNTS, COUNTS, requests=COUNTS, certainty=st.sampled_from(["exact", "unknown"])),
    latency_s=st.none() | NUMBERS,
    error=st.none() | st.builds(Failure, TEXTS, TEXTS, st.booleans(), st.integers(0, 9)),
    cached=st.booleans(),
    metadata=OBJECTS,
)
CASES = st.builds(
    Case,
    id=TEXTS | st.text("ab\x00\ud800", min_size=700, max_size=900),
    inputs=OBJECTS,
    expected=JSON,
    contexts=CONTEXTS,
    relevant=st.none() | st.dictionaries(TEXTS, NUMBERS, max_size=3),
    tags=st.lists(TEXTS, max_size=2).map(tuple),
    group=st.none() | TEXTS,
    metadata=OBJECTS,
    where=TEXTS,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCORES = st.dictionaries(TEXTS, st.builds(Score, st.none() | FINITE, TEXTS), max_size=3)
RESULTS = st.builds(Result, variant=TEXTS, case=CASES, output=OUTPUTS, repeat=st.integers(0, 9), scores=SCORES)


def new_run(**changes) -> RunRecord:
    record = RunRecord(
        id=new_id(),
        suite="docs",
        suite_hash="s" * 64,
        dataset="questions",
        fingerprint="f" * 64,
        variants=(VariantInfo("new", "prompt", {"model": "m"}, "note"), VariantInfo("base", "python")),
        metrics=(MetricInfo("zeta"), MetricInfo("alpha", 0.0, None, "lower", "s", "help")),
        started_at="2026-01-01T00:00:00+00:00",
    )
    return replace(record, **changes)


def result(case_id: str = "one", variant: str = "new", repeat: int = 0, text: str = "answer", **changes) -> Result:
    made = Result(variant, Case(case_id, {"q": "?"}), Output(text), repeat, {"zeta": Score(1.0)})
    return replace(made, **changes)


def failed(case_id: str, variant: str = "new") -> Result:
    return result(case_id, variant, output=Output(error=Failure("timeout", "no answer")), scores={})


def save(store: Store, record: RunRecord, *results: Result) -> None:
    places: dict[str, int] = {}
    with store.writer(record.id) as writer:
        for each in results:
            writer.put(each, places.setdefault(each.case.id, len(places)))


def test_an_empty_run_has_no_results(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        assert list(store.results(record.id)) == []
        assert store.finished(record.id) == set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(one=RESULTS)
def test_whatever_a_result_holds_comes_back(location, one):
    record = new_run(suite=one.variant, variants=(VariantInfo(one.variant, "prompt"),), note=one.output.text)
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, one)
        [found] = store.results(record.id)
        assert found == one
        assert found.case.where == one.case.where
        assert store.finished(record.id) == {(one.variant, one.case.id, one.repeat)}
        assert store.find(record.id) == record
        assert store.runs(suite=record.suite, limit=1)[:1] == [record]
        store.delete(record.id)


@pytest.mark.parametrize("text", ["x" * 5_000_000, "\x00\ud800😀\x1b[31m" * 200_000])
def test_five_megabytes_come_back(location, text):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, *(result(f"case {n}", text=text) for n in range(3)))
        assert [r.output.text == text for r in store.results(record.id)] == [True] * 3


def test_values_that_are_not_json_become_text_and_nan_survives(location):
    circle: dict = {"name": "circle"}
    circle["self"] = circle
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    inputs = {
        "path": Path("a"),
        "set": {1},
        3: "three",
        "nan": math.nan,
        "huge": 10**6000,
        "circle": circle,
        "deep": deep,
    }
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result(case=Case("one", inputs)))
        [found] = store.results(record.id)
    assert found.case.inputs["path"] == repr(Path("a"))
    assert found.case.inputs["set"] == "{1}"
    assert found.case.inputs["3"] == "three"
    assert math.isnan(found.case.inputs["nan"])
    assert int(found.case.inputs["huge"], 16) == 10**6000
    assert found.case.inputs["circle"]["self"] == "<circular>"
    assert isinstance(found.case.inputs["deep"], list)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "huge"])
def test_a_score_that_is_no_finite_number_is_unscored_with_a_reason(location, value):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result(scores={"zeta": Score(value)}))
        [found] = store.results(record.id)
    assert found.scores["zeta"].value is None
    assert found.scores["zeta"].reason.startswith("the metric gave ")


@pytest.mark.parametrize(
    "value", ["0.5", "much", b"1", [1], object()], ids=["digits", "text", "bytes", "list", "object"]
)
def test_a_score_that_is_no_number_at_all_is_unscored(location, value):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result(scores={"zeta": Score(value)}))
        [found] = store.results(record.id)
    assert found.scores["zeta"].value is None
    assert found.scores["zeta"].reason.startswith("the metric gave ")


class Scalar:
    """A number of a library we don't know."""

    def __float__(self) -> float:
        return 0.5


def test_numbers_of_every_kind_are_floats_again(location):
    """Also of those that a driver or a JSON parser knows nothing of; a run goes on whatever a metric gives."""
    numpy = pytest.importorskip("numpy", reason="NumPy's numbers are no floats")
    plain = (1, 2**60, Decimal("0.5"), Fraction(1, 2), numpy.float32(0.5), numpy.int64(3))
    given = (*plain, True, False, Scalar(), numpy.True_)
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        for position, value in enumerate(given):
            inputs = {"number": value if position < len(plain) else 0}
            output = Output("x", (Context("c", score=inputs["number"]),), latency_s=value)
            save(store, record, Result("new", Case(str(position), inputs), output, 0, {"zeta": Score(value)}))
        found = {result.case.id: result for result in store.results(record.id)}
    for position, value in enumerate(given):
        one = found[str(position)]
        assert (one.scores["zeta"], one.output.latency_s) == (Score(float(value)), float(value))
        assert type(one.scores["zeta"].value) is float
        if position < len(plain):
            assert one.case.inputs["number"] == one.output.contexts[0].score == value


def test_order_is_by_case_then_variant_then_repeat_and_metrics_as_in_the_run(location):
    record = new_run(repeats=2)
    expected = [
        (f"{9999 - n}", variant, repeat) for n in range(600) for variant in ("new", "base") for repeat in (0, 1)
    ]
    scores = {"alpha": Score(0.0), "zeta": Score(1.0)}
    with Store.open(location) as store:
        store.create_run(record)
        with store.writer(record.id) as writer:
            for case_id, variant, repeat in reversed(expected):
                writer.put(result(case_id, variant, repeat, scores=scores), 9999 - int(case_id))
        results = store.results(record.id)
        for _ in range(2):
            assert [(r.case.id, r.variant, r.repeat) for r in results] == expected
        assert list(next(iter(results)).scores) == ["zeta", "alpha"]


def test_writing_a_trial_again_replaces_it_and_all_its_scores(location):
    record = new_run()
    both = {"zeta": Score(1.0), "alpha": Score(2.0)}
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result(scores=both), result("two", text="kept"))
        save(store, record, result(text="other"), result(text="last", scores={"zeta": Score(0.5)}))
        found = {r.case.id: r for r in store.results(record.id)}
    assert found["one"].output.text == "last"
    assert found["one"].scores == {"zeta": Score(0.5)}
    assert found["two"].output.text == "kept"


def test_errors_can_be_dropped_to_run_again(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result(), failed("one", "base"), failed("two"))
        assert store.finished(record.id, include_errors=False) == {("new", "one", 0)}
        assert len(store.finished(record.id)) == 3
        assert store.drop_errors(record.id) == 2
        assert list(store.results(record.id)) == [result()]
        assert store.drop_errors(record.id) == 0


def test_deleting_a_run_takes_everything_of_it_and_nothing_else(location):
    first, second = new_run(), new_run()
    with Store.open(location) as store:
        for record in (first, second):
            store.create_run(record)
            save(store, record, result())
        store.delete(second.id)
        assert store.runs() == [first]
        third = new_run()
        store.create_run(third)
        assert list(store.results(third.id)) == []
        assert list(store.results(first.id)) == [result()]
        for ask in (store.results, store.finished, store.delete, store.writer, store.update_run, store.drop_errors):
            with pytest.raises(NotFoundError):
                ask(second.id)


def test_writing_to_a_run_that_was_deleted_is_said(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        writer = store.writer(record.id)
        store.delete(record.id)
        writer.put(result(), 0)
        with pytest.raises(StoreError, match="deleted"):
            writer.close()
        with pytest.raises(StoreError, match="deleted"):
            writer.put(result(), 0)


def test_a_head_changes(location):
    record = new_run()
    gates = (GateOutcome("zeta >= 1", "new", "undecided", 0.5, "few cases"),)
    with Store.open(location) as store:
        store.create_run(record)
        changed = store.update_run(record.id, status="stopped", gates=gates, environment={"git": {"dirty": True}})
        assert changed == replace(record, status="stopped", gates=gates, environment={"git": {"dirty": True}})
        assert store.find(record.id) == changed
        with pytest.raises(StoreError, match="already there"):
            store.create_run(record)


def change(location, table: str, column: str, made):
    """Replace a JSON column by what `made` makes of its data; returns what it was."""
    place = open_place(location, create=True)
    try:
        with place.writing() as connection:
            old = json.loads(connection.exec_driver_sql(f"SELECT CAST({column} AS TEXT) FROM {table}").scalar())
            query = text(f"UPDATE {table} SET {column} = {':new' if place.path else 'CAST(:new AS JSON)'}")
            connection.execute(query, {"new": json.dumps(made(old))})
            return old
    finally:
        place.engine.dispose()


MISSHAPEN = [None, 5, "text", [], [1], {"$float": 5}, {"$float": []}]
HEADS = [
    *MISSHAPEN, {}, {"id": 5}, {"id": None}, {"variants": {}}, {"variants": [5]}, {"variants": [{}]},
    {"metrics": [{"low": "x"}]}, {"gates": [{"rule": "x", "outcome": "well"}]}, {"status": "well"}, {"status": []},
    {"cases": 1.5}, {"environment": []}, {"environment": {"git": "x"}}, {"environment": {"process": {"pid": "x"}}},
    {"config": {"only": 5}}, {"config": {"sample": "x"}},
]  # fmt: skip
BODIES = [*MISSHAPEN, {"metadata": 5}, {"contexts": 5}, {"contexts": [{}]}, {"contexts": [{"text": "x", "score": "x"}]}]
DAMAGED = {
    ("runs", "document"): HEADS,
    ("cases", "body"): [*BODIES, {"id": 5}, {"inputs": []}, {"relevant": {"a": "x"}}],
    ("outputs", "body"): [
        *BODIES, {"text": 5}, {"latency_s": "x"}, {"usage": []}, {"error": 5}, {"tool_calls": [{}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("table", "column"), DAMAGED)
def test_data_of_another_shape_is_said_of_its_run(location, table, column):
    record, whole = new_run(), [*MISSHAPEN, {}]
    said = rf"of run {record.id} is damaged: [^\n]{{5,120}}; .*runs rm"
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
        ways = [lambda: list(store.results(record.id))]
        if table == "runs":
            ways += [store.runs, store.find, lambda: store.finished(record.id), lambda: store.writer(record.id)]
            ways += [lambda: store.update_run(record.id, note="x")]
        sound = change(location, table, column, lambda old: old)
        for value in DAMAGED[table, column]:
            change(location, table, column, lambda _, value=value: value if value in whole else {**sound, **value})
            for way in ways:
                with pytest.raises(StoreError, match=said):
                    way()
        assert store.name("latest") == (record.id, record.suite)
        store.delete(record.id)
        assert store.runs() == []


IDS = [
    "0190aaaa-0000-7000-8000-00000000abc1",
    "0190aaaa-0000-7000-8000-00000000abc2",
    "0190bbbb-0000-7000-8000-00000000abc3",
]


@pytest.mark.parametrize(
    ("reference", "which"),
    [
        ("latest", 2), ("latest~0", 2), ("latest~2", 0), ("docs", 1), ("docs~1", 0), ("chat", 2), (IDS[0], 0),
        ("0190b", 2), ("0190BBBB", 2), ("00abc2", 1), ("50%", None), ("0190", "several"), ("0190aaaa", "several"),
        ("019", None), ("abc2", None), ("latest~3", None), ("latest~x", None), ("docs~2", None), ("", None),
        ("%%%%%%", None), ("______", None), ("'; DROP TABLE runs", None), ("\x00", None), ("\ud800", None),
        ("latest~99999999999999999999", None),
    ],
)  # fmt: skip
def test_runs_are_found(location, reference, which):
    with Store.open(location) as store:
        for run_id, suite in zip(IDS, ("docs", "docs", "chat"), strict=True):
            store.create_run(new_run(id=run_id, suite=suite))
        if isinstance(which, int):
            assert store.find(reference).id == IDS[which]
        elif which is None:
            with pytest.raises(NotFoundError, match="llmops runs ls"):
                store.find(reference)
        else:
            with pytest.raises(InputError, match=IDS[0]):
                store.find(reference)


def test_runs_are_listed_newest_first(location):
    with Store.open(location) as store:
        with pytest.raises(NotFoundError, match="no runs yet"):
            store.find()
        for run_id, suite in zip(IDS, ("docs", "docs", "chat"), strict=True):
            store.create_run(new_run(id=run_id, suite=suite))
        assert [r.id for r in store.runs(limit=2)] == [IDS[2], IDS[1]]
        assert [r.id for r in store.runs(suite="docs")] == [IDS[1], IDS[0]]
        assert store.runs(suite="absent") == []


def test_results_are_readable_while_the_writer_is_open(location):
    """Committed without a flush: the thread writes by itself."""
    record = new_run()
    with Store.open(location) as store, Store.open(location) as other:
        store.create_run(record)
        with store.writer(record.id) as writer:
            writer.put(result(), 0)
            for _ in range(100_000):
                if other.finished(record.id):
                    break
            assert list(other.results(record.id)) == [result()]
            writer.put(result("two"), 1)
            writer.flush()
            assert len(other.finished(record.id)) == 2


def test_many_results_wait_rather_than_get_lost(location, monkeypatch):
    monkeypatch.setattr("llmops.store.writer.MAX_WAITING", 7)
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, *(result(str(n)) for n in range(300)))
        assert len(store.finished(record.id)) == 300


def test_an_error_of_the_caller_is_not_hidden_by_the_writers(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        with pytest.raises(ZeroDivisionError), store.writer(record.id) as writer:
            writer.put(result(), 0)
            raise ZeroDivisionError
        assert list(store.results(record.id)) == [result()]


def test_several_open_a_new_store_at_once(location):
    errors: list[BaseException] = []
    start = threading.Barrier(6)

    def open_it() -> None:
        try:
            start.wait()
            with Store.open(location) as store:
                store.create_run(new_run())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Store.open(location) as store:
        assert len(store.runs()) == 6


def shape(engine) -> dict:
    """Everything about the tables that matters."""
    found = inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in found.get_indexes(table)),
            sorted(tuple(u["column_names"]) for u in found.get_unique_constraints(table)),
            [(k["referred_table"], k["constrained_columns"], k["options"]) for k in found.get_foreign_keys(table)],
        )
        for table in sorted(found.get_table_names())
    }


def drop_all(engine) -> None:
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
        connection.exec_driver_sql("DROP TABLE alembic_version")


def run_all_migrations(place) -> None:
    with place.writing() as connection:
        schema._run_scripts(connection)


def test_all_migrations_make_the_tables_that_a_new_store_has(location):
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(schema.scripts_config())
    assert scripts.get_heads() == [schema.head()]
    assert [s.revision for s in scripts.walk_revisions()][::-1] == list(schema.REVISIONS)
    Store.open(location).close()
    place = open_place(location, create=True)
    try:
        made = shape(place.engine)
        drop_all(place.engine)
        run_all_migrations(place)
        assert shape(place.engine) == made
    finally:
        place.engine.dispose()


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "HEAD"


def upgrade():
    with op.batch_alter_table("runs", recreate="auto") as batch:
        batch.alter_column("dataset", new_column_name="data")
"""


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """A function that makes this llmops one revision newer."""

    def upgrade() -> None:
        (tmp_path / "versions").mkdir()
        (tmp_path / "versions" / "9000_next.py").write_text(NEXT.replace("HEAD", schema.head()))
        monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9000"))
        monkeypatch.setattr(schema, "VERSIONS", (*schema.VERSIONS, tmp_path / "versions"))

    return upgrade


def test_a_newer_stores_tables_are_refused_and_left_alone(location):
    Store.open(location).close()
    place = open_place(location, create=True)
    try:
        with place.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StoreError, match=r"newer llmops.*upgrade"):
            Store.open(location)
    finally:
        place.engine.dispose()


def test_another_programs_database_is_refused_and_left_alone(location):
    place = open_place(location, create=True)
    try:
        with place.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE customers (id INTEGER)")
        with pytest.raises(StoreError, match="customers"):
            Store.open(location)
        assert inspect(place.engine).get_table_names() == ["customers"]
    finally:
        place.engine.dispose()


def test_a_few_cases_are_found_without_reading_the_others(location):
    long = "x" * 1000
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, *(result(case_id) for case_id in [*(f"c{n}" for n in range(50)), long]))
        found = store.results(record.id).of_cases(["c7", "absent", long, "c3"])
        assert [one.case.id for one in found] == ["c3", "c7", long]
