"""The call log in SQLite: all of `call_behaviours`, and what is special to a file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

pytest.register_assert_rewrite("call_behaviours")

from call_behaviours import *  # noqa: E402, F403
from call_behaviours import begin, ended, new_call, rows, save  # noqa: E402
from llmops.store import schema  # noqa: E402
from llmops.store.call_log import open_call_log  # noqa: E402
from llmops.store.call_queries import Calls  # noqa: E402
from llmops.store.database import Store  # noqa: E402
from llmops.store.location import open_place  # noqa: E402
from store_behaviours import new_run, result  # noqa: E402
from store_behaviours import save as save_run  # noqa: E402


@pytest.fixture
def location(tmp_path):
    return tmp_path / "folder" / "calls.db"


def test_a_store_of_the_first_version_gets_the_call_log_and_keeps_its_runs(location, monkeypatch):
    from alembic import command

    record = new_run()
    place = open_place(location, create=True)
    with place.writing() as connection:
        config = schema.scripts_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    place.engine.dispose()
    with closing(sqlite3.connect(location)) as db:
        assert "calls" not in {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    save(location, ended(new_call()))
    with Store.open(location) as store:
        store.create_run(record)
        save_run(store, record, result())
        assert list(store.results(record.id)) == [result()]
    assert len(rows(location)) == 1


def test_a_row_with_all_that_belongs_to_it_is_small(location):
    made = (ended(new_call(), response_id=f"chatcmpl-{n:029x}") for n in range(20_000))
    save(location, *made)
    with closing(sqlite3.connect(location)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert location.stat().st_size / 20_000 < 200


def test_a_loop_goes_on_while_a_call_waits_to_be_written(location):
    async def run() -> int:
        ticks = 0
        with open_call_log(location) as log, closing(sqlite3.connect(location, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(log.begin(new_call()))
            while ticks < 1000:
                await asyncio.sleep(0)
                ticks += 1
            assert not waiting.done()
            holder.execute("ROLLBACK")
            await waiting
        return ticks

    assert asyncio.run(run()) == 1000


def test_a_loop_is_told_once_for_all_that_were_written_together(location):
    async def run() -> list[int]:
        loop, told = asyncio.get_running_loop(), []
        real = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *arguments: (told.append(1), real(*arguments))[1]  # type: ignore[method-assign]
        with open_call_log(location) as log, closing(sqlite3.connect(location, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            waiting = asyncio.gather(*(log.begin(new_call()) for _ in range(200)))
            await asyncio.sleep(0)  # all of them wait now
            holder.execute("ROLLBACK")
            await waiting
        return told

    assert len(asyncio.run(run())) <= 5


def test_a_call_that_was_cancelled_while_it_waited_can_be_discarded(location):
    async def run() -> None:
        call = new_call()
        with open_call_log(location) as log, closing(sqlite3.connect(location, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(log.begin(call))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            log.discard(call)
            holder.execute("ROLLBACK")

    asyncio.run(run())
    assert [call.outcome for call in rows(location)] == ["unsent"]


def test_results_and_calls_written_at_once_do_not_starve_each_other(location):
    record = new_run()
    with Store.open(location) as store, open_call_log(location) as log:
        store.create_run(record)
        stop = threading.Event()

        def keep_writing() -> None:
            while not stop.is_set():
                log.settle(ended(new_call()))

        thread = threading.Thread(target=keep_writing)
        thread.start()
        try:
            with store.writer(record.id) as writer:
                for number in range(300):
                    writer.put(result(str(number)), number)
                    if number % 50 == 0:
                        writer.flush(20)
        finally:
            stop.set()
            thread.join()
        assert len(store.finished(record.id)) == 300


def test_a_loop_that_is_gone_does_not_stop_the_writer(location):
    loop = asyncio.new_event_loop()
    with open_call_log(location) as log:
        with closing(sqlite3.connect(location, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            task = loop.create_task(log.begin(new_call()))
            loop.run_until_complete(asyncio.sleep(0))
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()
            holder.execute("ROLLBACK")
        assert begin(log, new_call()) == [None]
    assert len(rows(location)) == 2


def test_no_store_is_said(tmp_path):
    from llmops.errors import NotFoundError

    with pytest.raises(NotFoundError):
        Calls.open(tmp_path / "absent.db")
