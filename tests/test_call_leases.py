"""Calls of processes on other hosts: given up when those were not seen for a while, and theirs if they return."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from call_behaviours import begin, ended, hold, new_call, place_of, reading, rows, window
from conftest import clean_environment
from llmops.errors import BudgetExceededError
from llmops.process import has_ended, is_alive, this_process
from llmops.store import call_batches, call_leases, call_writer
from llmops.store.call_log import open_call_log
from llmops.store.call_writer import CallWriter

TESTS = Path(__file__).parent
AWAY = """
import platform, sys
platform.node = lambda: "elsewhere"
sys.path.insert(0, sys.argv[2])
from call_behaviours import ended, hold, new_call
from llmops.store.call_log import open_call_log
log = open_call_log(sys.argv[1])
calls = [new_call() for _ in range(4)]
for call in calls:
    log.begin_now(call, (hold(20),))
print(*(call.id for call in calls), flush=True)
sys.stdin.readline()
for call in calls:
    log.settle(ended(call, 7), (hold(20),))
log.begin_now(new_call(), (hold(3),))
log.flush()
print("settled", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def location(each_store):
    return each_store


def run(location: str, statement: str) -> list:
    """Rows of a statement, committed."""
    place = place_of(location)
    with place.writing() as connection:
        found = connection.exec_driver_sql(statement)
        made = found.all() if found.returns_rows else []
    place.engine.dispose()
    return [tuple(row) for row in made]


def time_passes(location: str, seconds: float) -> None:
    run(location, f"UPDATE call_processes SET seen_at = seen_at - {seconds}")


@contextmanager
def process_elsewhere(location: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process of another host, with four calls in flight."""
    command = [sys.executable, "-c", AWAY, location, str(TESTS)]
    environment = clean_environment()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as made:
        try:
            assert made.stdout is not None
            yield made, made.stdout.readline().split()
        finally:
            made.kill()


def test_calls_of_a_process_that_was_killed_elsewhere_are_given_up_after_two_minutes(location):
    with process_elsewhere(location) as (process, ids):
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        with reading(location) as calls:
            assert calls.settle_dead() == 0
            time_passes(location, call_leases.LEASE_S - 60)
            assert calls.settle_dead() == 0
            time_passes(location, 70)
            assert calls.settle_dead() == 4
            assert {call.id: call.state for call in calls.rows()} == dict.fromkeys(ids, "unknown")
        assert (window(location).spent, window(location).reserved) == (80, 0)
        assert run(location, "SELECT * FROM call_processes") == []


def test_a_process_that_comes_back_says_what_its_calls_used_and_budgets_count_that(location):
    with process_elsewhere(location) as (process, ids):
        os.kill(process.pid, signal.SIGSTOP)
        time_passes(location, call_leases.LEASE_S + 1)
        with reading(location) as calls:
            assert calls.settle_dead() == 4
        assert (window(location).spent, window(location).reserved) == (80, 0)
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "settled\n"
        found = {call.id: call for call in rows(location)}
        assert [(found[one].state, found[one].cost.total) for one in ids] == [("settled", 7)] * 4
        assert (window(location).spent, window(location).reserved) == (28, 3)
        with reading(location) as calls:
            [sums] = calls.totals()
        assert (sums.requests, sums.pending, sums.unknown, sums.cost_exact) == (5, 1, 0, 28)


def test_whoever_opens_the_log_gives_up_the_calls_of_the_dead(location):
    with process_elsewhere(location) as (process, _ids):
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        time_passes(location, call_leases.LEASE_S + 1)
        with open_call_log(location) as log:
            assert begin(log, new_call()) == [None]
            assert Counter(call.state for call in rows(location)) == {"unknown": 4, "pending": 1}


def test_a_budget_that_the_dead_fill_has_room_again(location):
    """A process that opened the log before the other one died, and is refused."""
    with open_call_log(location) as log:
        assert begin(log, new_call()) == [None]
        with process_elsewhere(location) as (process, _ids):
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
            time_passes(location, call_leases.LEASE_S + 1)
            [error] = begin(log, new_call(), holds=(hold(30),))
            assert isinstance(error, BudgetExceededError) and error.could_fit
            with reading(location) as calls:  # what budgets do when only calls in flight are in the way
                assert calls.settle_dead() == 4
            [error] = begin(log, new_call(), holds=(hold(30),))
            assert not error.could_fit, "the worst case is spent: nobody knows better"
            assert begin(log, new_call(), holds=(hold(20),)) == [None]


def test_a_process_with_open_calls_is_seen_while_nothing_is_written(location, monkeypatch):
    monkeypatch.setattr(call_leases, "RENEW_S", 0.0)
    monkeypatch.setattr(call_writer, "RENEW_S", 0.01)
    seen = "SELECT seen_at FROM call_processes"
    with closing(CallWriter(prepared(location))) as log:
        call = new_call()
        begin(log, call)
        [(first,)] = run(location, seen)
        for _ in range(1000):
            [(last,)] = run(location, seen)
            if last > first:
                break
        assert last > first


def test_the_lease_is_not_written_with_every_batch(location):
    with open_call_log(location) as log:
        begin(log, new_call())
        before = run(location, "SELECT * FROM call_processes")
        for _ in range(20):
            begin(log, new_call())
        assert run(location, "SELECT * FROM call_processes") == before
        assert len(before) == 1


def test_a_writer_that_went_on_gives_up_the_dead_too(location, monkeypatch):
    """It opened the log long ago: with its next renewal it sees who is late."""
    with closing(CallWriter(prepared(location))) as log:
        begin(log, new_call())
        with monkeypatch.context() as context:
            context.setattr(call_batches, "this_process", lambda: {**this_process(), "host": "elsewhere"})
            other = CallWriter(prepared(location))
            lost = new_call()
            begin(other, lost, holds=(hold(60),))
        time_passes(location, call_leases.LEASE_S + 1)
        monkeypatch.setattr(call_leases, "RENEW_S", 0.0)
        for _ in range(2):
            begin(log, new_call())
        assert {call.id: call.state for call in rows(location)}[lost.id] == "unknown"
        assert (window(location).spent, window(location).reserved) == (60, 0)
        other.settle(ended(lost, 10), (hold(60),))
        other.close()
        assert (window(location).spent, window(location).reserved) == (10, 0)


def test_a_container_of_the_same_name_is_another_host():
    own = this_process()
    theirs = {**own, "pids": "pid:[1]", "started": "1"}
    assert not has_ended(theirs) and not is_alive(theirs)
    assert has_ended({**own, "started": "1"})
    assert has_ended({name: value for name, value in {**own, "started": "1"}.items() if name != "pids"})


def test_a_store_of_the_second_version_keeps_what_was_open_and_gives_it_up_in_time(tmp_path, monkeypatch):

    path = tmp_path / "calls.db"
    lost = new_call()
    with monkeypatch.context() as context:
        context.setattr(call_batches, "this_process", lambda: {**this_process(), "host": "elsewhere"})
        with closing(CallWriter(prepared(path))) as log:
            begin(log, lost, holds=(hold(60),))
    with closing(sqlite3.connect(path)) as db:  # as the second version would have left it
        db.executescript(
            "ALTER TABLE open_calls DROP COLUMN added; DROP TABLE budget_scopes; DROP TABLE call_processes;"
            "UPDATE alembic_version SET version_num = '0002'"
        )
    with open_call_log(path) as log:
        begin(log, new_call())
        assert {call.id: call.state for call in rows(path)}[lost.id] == "pending"
        time_passes(str(path), call_leases.LEASE_S + 1)
        with reading(path) as calls:
            assert calls.settle_dead() == 1
    assert (window(path).spent, window(path).reserved) == (60, 0)


def prepared(path):
    open_call_log(path).close()
    return place_of(path)
