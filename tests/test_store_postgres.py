"""The store in PostgreSQL: all of `store_behaviours`, and what is special to a server."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url, text

pytest.register_assert_rewrite("store_behaviours")

from llmops.errors import InputError, MissingExtraError, NotFoundError, StoreError  # noqa: E402
from llmops.store import schema  # noqa: E402
from llmops.store.database import Store  # noqa: E402
from llmops.store.location import open_place  # noqa: E402
from llmops.store.urls import mask  # noqa: E402
from store_behaviours import *  # noqa: E402, F403
from store_behaviours import new_run, result, save  # noqa: E402
from stub_server import Reply, StubServer  # noqa: E402


@pytest.fixture
def location(postgresql):
    return postgresql


def test_an_empty_database_has_no_runs_yet(location):
    with pytest.raises(NotFoundError, match="no runs yet"):
        Store.open(location, create=False)


def test_an_older_server_is_migrated_only_when_asked(location, next_version):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
    before = schema.head()
    next_version()
    with pytest.raises(StoreError, match="llmops db migrate"):
        Store.open(location)
    assert Store.migrate_at(location) == (before, "9000")
    assert Store.migrate_at(location) == ("9000", "9000")
    with Store.open(location) as store:
        assert list(store.results(record.id)) == [result()]


def test_bodies_are_json_that_sql_can_read(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
    place = open_place(location, create=True)
    try:
        with place.reading() as connection:
            assert connection.execute(text("SELECT body->>'text' FROM outputs")).scalar() == "answer"
    finally:
        place.engine.dispose()


def test_replacing_says_nothing_on_stderr(location, caplog):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
        save(store, record, result(text="again"))
    assert caplog.records == []


def test_a_lock_is_waited_for_and_then_named(location, monkeypatch):
    import psycopg

    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", "0.05")
    record = new_run()
    with Store.open(location) as store, psycopg.connect(location) as holder:
        store.create_run(record)
        holder.execute("LOCK TABLE runs, outputs IN ACCESS EXCLUSIVE MODE")
        for way in (store.runs, lambda: store.update_run(record.id, note="x"), lambda: store.delete(record.id)):
            with pytest.raises(StoreError, match=r"another process .* 0\.05 s; .*LLMOPS_STORE_TIMEOUT_S"):
                way()
        holder.rollback()
        holder.execute("LOCK TABLE outputs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match=r"another process .* 0\.05 s"):
            save(store, record, result())
        holder.rollback()
        save(store, record, result())
        assert list(store.results(record.id)) == [result()]


def test_a_migration_waits_no_longer_than_told(location, monkeypatch):
    import psycopg

    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", "0.05")
    with psycopg.connect(location) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (schema._LOCK,))
        for way in (Store.open, Store.migrate_at):
            with pytest.raises(StoreError, match="another process"):
                way(location)


SUITE = """\
dataset: {{path: cases.jsonl, fields: {{id: id, inputs.question: question, expected: answer}}}}
variants:
  served: {{prompt: ask, backend: {{openai_http: {{base_url: '{url}', model: m}}}}}}
metrics: [exact_match]
gates: ["exact_match >= 0.9"]
limits: {{concurrency: 1}}
"""


@pytest.fixture
def project(tmp_path):
    """A suite that asks a model server six questions, and the server."""
    rows = [{"id": f"q{n}", "question": f"number {n}?", "answer": f"answer to number {n}?"} for n in range(6)]
    (tmp_path / "llmops.yaml").write_text("store: unused.db\n")
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.prompt.md").write_text("user:\n{{ question }}\n")
    reply = Reply(text=lambda body: "answer to " + body["messages"][-1]["content"].strip())
    with StubServer(default=reply) as server:
        (tmp_path / "suite.yaml").write_text(SUITE.format(url=server.url))
        yield tmp_path, server


def test_an_evaluation_from_start_to_report(llmops, project, location):
    folder, server = project

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return llmops(*words, LLMOPS_DATABASE_URL=location)

    assert json.loads(run("runs", "ls", "--json").stdout) == {"runs": []}
    stopped = run("eval", "suite.yaml", "--max-requests", "2")
    assert stopped.returncode == 3, stopped.stderr
    [head] = json.loads(run("runs", "ls", "--json").stdout)["runs"]
    assert (head["suite"], head["status"]) == ("suite", "stopped")
    resumed = run("eval", "suite.yaml", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert server.count == 6
    shown = json.loads(run("runs", "show", "latest", "--json").stdout)
    assert (shown["id"], shown["status"]) == (head["id"], "finished")
    served = shown["variants"]["served"]
    assert (served["cases"], served["errors"], served["cached"], served["tokens"]) == (6, 0, 0, 6 * 18)
    table = run("report", "latest", "--as", "csv").stdout.splitlines()
    assert len(table) == 7
    assert "answer to number 5?" in table[6]
    assert run("runs", "export", "latest", "--to", "run.jsonl").returncode == 0
    assert len((folder / "run.jsonl").read_text().splitlines()) == 7
    assert run("runs", "rm", "latest", "--yes").returncode == 0
    assert json.loads(run("runs", "ls", "--json").stdout) == {"runs": []}
    assert not (folder / "unused.db").exists()


def test_two_evaluations_at_once_keep_apart(llmops, project, location):
    _, server = project
    with ThreadPoolExecutor(2) as threads:  # the tables aren't there yet, either
        words = ("eval", "suite.yaml", "--no-cache", "--quiet")
        both = [threads.submit(llmops, *words, LLMOPS_DATABASE_URL=location) for _ in range(2)]
    assert [(done.result().returncode, done.result().stderr) for done in both] == [(0, "")] * 2
    assert server.count == 12
    with Store.open(location) as store:
        records = store.runs()
        assert [record.status for record in records] == ["finished"] * 2
        for record in records:
            assert [one.case.id for one in store.results(record.id)] == [f"q{n}" for n in range(6)]


def test_what_a_server_says_is_scrubbed_of_passwords(location):
    url = make_url(location).set(password="hunter2", database="hunter2")
    with pytest.raises(StoreError, match="database") as caught:
        Store.open(url.render_as_string(hide_password=False))
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown.replace(caught.value.where, "")  # the name of the database is no secret there


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@127.0.0.1:1/runs?password=hunter2",
        "postgresql://u@127.0.0.1:1/runs?sslmode=disable&PassWord=hunter2",
        "postgresql://u@127.0.0.1:1/runs?p%61ssword=hunter2",
        "postgresql://u@127.0.0.1:1/runs?password=hunter2&bogus=1",
        "postgresql://u@127.0.0.1:1/runs?password=hunter2&password=hunter2",
        "postgresql://u:hun@hunter2@127.0.0.1:1/runs",
        "postgresql://u:hun/ter@hunter2@127.0.0.1:1/runs",
        "postgresql://u:hunter2@127.0.0.1:port/runs",
        "postgresql://:hunter2@127.0.0.1:1/runs",
        "postgresql://u:hunter2%00@127.0.0.1:1/runs",
        "postgresql://u:hunter2\ud800@127.0.0.1:1/runs",
        "postgresql:/u:hunter2@127.0.0.1:1/runs",
        "postgresql:u:hunter2@127.0.0.1:1/runs",
        "mysql://u:hunter2@127.0.0.1:1/runs",
    ],
)
def test_no_error_holds_a_password(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((StoreError, InputError)) as caught:
        Store.open(url)
    assert "hunter2" not in str(caught.value) + mask(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert list(tmp_path.iterdir()) == []


@given(st.text(min_size=1))
def test_a_password_of_any_characters_is_masked(password):
    assert mask(f"postgresql://me:{password}@db.example:5432/runs") == "postgresql://me:***@db.example:5432/runs"


@pytest.mark.parametrize("location", ["runs.db", "a:b@c.db", "postgresql://me@db/runs?sslmode=require", "C:\\runs.db"])
def test_what_holds_no_password_is_shown_as_it_is(location):
    assert mask(location) == location


def test_no_server_is_one_line_without_the_password():
    with pytest.raises(StoreError) as caught:
        Store.open("postgres://user:secret@127.0.0.1:1/runs")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://host/runs", "postgresql://host:port/runs", "http://x", "://", "nonsense+x://"]
)
def test_urls_that_are_no_store(url):
    with pytest.raises(InputError):
        Store.open(url)


def test_without_psycopg_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"llmops\[postgres\]"):
        Store.open("postgresql://host/runs")
