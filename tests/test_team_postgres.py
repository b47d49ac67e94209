"""A team's store on PostgreSQL: taken over from an older version, shared by processes that die, and by roles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, make_url

import llmops as package
from conftest import clean_environment
from llmops.connecting import project_tracker
from llmops.errors import StoreError
from llmops.identity import new_id
from llmops.store import schema
from llmops.store.call_queries import Calls
from llmops.store.database import Store
from provider_server import Answer, ProviderServer
from store_behaviours import new_run, result, save
from tracked_project import write_project

FIRST = ("runs", "cases", "outputs", "scores")  # tables of the first version
WORKER = """
import asyncio, llmops, sys

async def main():
    client = llmops.connect("big", retries=0)
    with llmops.track(team=sys.argv[1]):
        await asyncio.gather(*(client.acomplete(f"{sys.argv[1]} {sys.argv[2]} {i}") for i in range(20)))
    await client.aclose()

asyncio.run(main())
"""


@pytest.fixture
def location(make_database):
    return make_database()


@pytest.fixture
def provider():
    """Is silent to those who ask for it."""
    with ProviderServer(lambda body, _: Answer(ending="silence" if "silent" in str(body) else "whole")) as running:
        yield running


@pytest.fixture
def project(tmp_path, provider):
    write_project(tmp_path, provider)
    return tmp_path


def query(location, statement):
    import psycopg

    with psycopg.connect(location, autocommit=True) as connection:
        found = connection.execute(statement)
        return found.fetchall() if found.description else []


def make_first_version(location, full):
    """Tables as the first version made them, with the rows that those of the store `full` have."""
    from alembic import command

    engine = create_engine(make_url(location).set(drivername="postgresql+psycopg"))
    config = schema.scripts_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    import psycopg

    with psycopg.connect(full) as old, psycopg.connect(location) as new:
        for table in FIRST:
            with (
                old.cursor().copy(f"COPY {table} TO STDOUT") as rows,
                new.cursor().copy(f"COPY {table} FROM STDIN") as into,
            ):
                for row in rows:
                    into.write(row)


def test_a_store_of_the_first_version_says_what_to_do_and_keeps_its_runs(make_database, project, llmops):
    full, location = make_database(), make_database()
    record = new_run()
    with Store.open(full) as store:
        store.create_run(record)
        save(store, record, result())
    make_first_version(location, full)
    for command in (["runs", "ls"], ["cost", "report"], ["cost", "prune", "--days", "1", "-y"]):
        done = llmops(*command, cwd=project, LLMOPS_DATABASE_URL=location)
        assert done.returncode == 4 and "run llmops db migrate" in done.stderr, done.stderr
    with pytest.raises(StoreError, match="run llmops db migrate"):
        package.connect("big", root=project, store=location)
    done = llmops("db", "migrate", cwd=project, LLMOPS_DATABASE_URL=location)
    assert done.returncode == 0 and "0001" in done.stdout + done.stderr
    assert record.id in llmops("runs", "ls", "--json", cwd=project, LLMOPS_DATABASE_URL=location).stdout
    with Store.open(location) as store:
        assert list(store.results(record.id)) == [result()]
    with Calls.open(location) as calls:
        assert list(calls.rows()) == []


def test_processes_that_are_killed_lose_no_call_that_was_sent(location, project, provider, llmops):
    def start(team, what):
        command = [sys.executable, "-c", WORKER, team, what]
        return subprocess.Popen(command, cwd=project, env=clean_environment(LLMOPS_DATABASE_URL=location))

    killed = [start(f"killed{number}", "silent") for number in range(2)]
    good = [start(f"good{number}", "whole") for number in range(2)]
    try:
        assert [one.wait(60) for one in good] == [0, 0]
        provider.wait_for(lambda seen: seen.count == 80, 60)
    finally:
        for one in killed:
            os.kill(one.pid, signal.SIGKILL)
            one.wait(30)
    with Calls.open(location) as calls:
        assert calls.settle_dead() == 40
    done = llmops("cost", "report", "--by", "team,state", "--json", cwd=project, LLMOPS_DATABASE_URL=location)
    lines = {(one["team"], one["state"]): one["requests"] for one in json.loads(done.stdout)["lines"]}
    assert lines == {(f"good{number}", "settled"): 20 for number in range(2)} | {
        (f"killed{number}", "unknown"): 20 for number in range(2)
    }


def test_a_process_has_one_connection_however_many_calls_it_makes(location, project):
    import asyncio

    async def many(client):
        await asyncio.gather(*(client.acomplete(f"call {number}") for number in range(50)))
        await client.aclose()

    client = package.connect("big", root=project, store=location)
    asyncio.run(many(client))
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert query(location, count) == [(1,)]
    project_tracker(project, location).close()
    with Calls.open(location) as calls:
        assert len(list(calls.rows())) == 50


def test_a_role_that_may_not_create_tables_sends_nothing(location, project, provider):
    role = f"r{new_id().replace('-', '')}"
    query(location, f"CREATE ROLE {role} LOGIN PASSWORD 'role-secret'")
    try:
        query(location, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        theirs = make_url(location).set(username=role, password="role-secret").render_as_string(hide_password=False)
        with pytest.raises(StoreError, match="permission denied for schema public") as caught:
            package.connect("big", root=project, store=theirs)
        assert "role-secret" not in str(caught.value)
        assert provider.count == 0
    finally:
        query(location, f"DROP ROLE {role}")
