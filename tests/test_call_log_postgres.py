"""The call log in PostgreSQL: all of `call_behaviours`, and what is special to a server."""

from __future__ import annotations

import asyncio

import pytest

pytest.register_assert_rewrite("call_behaviours")

from call_behaviours import *  # noqa: E402, F403
from call_behaviours import begin, ended, hold, new_call, rows, window  # noqa: E402
from llmops.errors import StoreError  # noqa: E402
from llmops.store.call_log import open_call_log  # noqa: E402


@pytest.fixture
def location(postgresql):
    return postgresql


def test_a_locked_table_is_said_and_what_ended_is_written_later(location, monkeypatch):
    import psycopg

    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", "0.05")
    call = new_call()
    with open_call_log(location) as log, psycopg.connect(location) as holder:
        assert begin(log, call) == [None]
        holder.execute("LOCK TABLE open_calls IN ACCESS EXCLUSIVE MODE")
        log.settle(ended(call))
        with pytest.raises(StoreError, match=r"another process .* 0\.05 s"):
            log.flush()
        with pytest.raises(StoreError, match=r"another process .* 0\.05 s"):
            log.begin_now(new_call())
        holder.rollback()
        log.flush()
        assert rows(location) == [ended(call)]


def test_a_server_that_cut_the_connection_is_connected_to_again(location):
    import psycopg

    call = new_call()
    with open_call_log(location) as log, psycopg.connect(location, autocommit=True) as admin:
        assert begin(log, call, holds=(hold(60),)) == [None]
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        log.settle(ended(call, 20), (hold(60),))
        log.flush()
    assert rows(location) == [ended(call, 20)]
    assert (window(location).spent, window(location).reserved) == (20, 0)


def test_writers_whose_calls_share_hours_in_another_order_do_not_lock_each_other_out(location):
    """Two writers, each with its own connection, count the same groups in opposite order."""
    from contextlib import closing

    from call_behaviours import place_of
    from llmops.store.call_writer import CallWriter

    open_call_log(location).close()
    made = [new_call(backend=f"b{n % 40}") for n in range(2000)]

    async def run() -> None:
        with closing(CallWriter(place_of(location))) as one, closing(CallWriter(place_of(location))) as two:
            for start in range(0, 1000, 100):
                for log, some in (
                    (one, made[start : start + 100]),
                    (two, made[start + 1000 : start + 1100][::-1]),
                ):
                    await asyncio.gather(*(log.begin(call) for call in some))
                    for call in some:
                        log.settle(ended(call))

    asyncio.run(run())
    assert len(rows(location)) == 2000
