"""One budget of $1.00 for several processes at once, on SQLite and PostgreSQL, and when one of them is killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import clean_environment
from llmops.store.call_queries import Calls

DOLLAR = 1_000_000_000
WORST = 10_000_000  # one call of `budget_worker`, at most
WORKER = Path(__file__).parent / "budget_worker.py"


@pytest.fixture
def location(each_store):
    return each_store


class Worker:
    """A process that spends the budget; `sent` are the costs of the calls that left it."""

    def __init__(self, location: str, action: str, *numbers: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), location, action, *map(str, numbers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        self.sent: list[int] = []
        self.said: list[str] = []

    def ready(self) -> None:
        assert self.line() == "ready", self.process.communicate(timeout=60)

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        text = self.process.stdout.readline().strip()
        if text.startswith("sent "):
            self.sent.append(int(text.removeprefix("sent ")))
        self.said.append(text)
        return text

    def read_part(self) -> None:
        while self.line() not in ("part", ""):
            pass

    def read_to_the_end(self) -> None:
        while self.line():
            pass

    def finish(self) -> None:
        assert self.process.wait(60) == 0, self.process.stderr and self.process.stderr.read()


@contextlib.contextmanager
def workers(location: str, action: str, *, killed_at: int = 0) -> Iterator[list[Worker]]:
    """Two that have both spent a part of the budget; the first kills itself in the middle of that, if it has to."""
    made = [Worker(location, action, 0, killed_at)]
    try:
        made[0].ready()  # the first makes the store
        made.append(Worker(location, action, 1))
        made[1].ready()
        for worker in made:
            worker.go()
        for worker in made:
            worker.read_part()
        for worker in made[1:] if killed_at else made:
            worker.go()
        yield made
    finally:
        for worker in made:
            worker.process.kill()
            worker.process.communicate()


def window(location: str) -> tuple[int, int]:
    """What is spent of the budget and what is set aside, as saved."""
    with Calls.open(location) as calls:
        [found] = calls.ledger()
    return found.spent, found.reserved


def test_a_hard_budget_is_never_overspent_by_two_processes(location):
    with workers(location, "refuse") as both:
        for worker in both:
            worker.read_to_the_end()
            worker.finish()
    spent = sum(cost for worker in both for cost in worker.sent)
    assert all(len(worker.sent) > 10 for worker in both)
    assert all(worker.said.count("refused") == 64 for worker in both)
    # A call is refused only when its own worst case doesn't fit beside what is spent: nothing bigger is left over.
    assert DOLLAR - WORST < spent <= DOLLAR
    assert window(location) == (spent, 0)


def test_a_budget_that_warns_is_overspent_by_the_calls_in_flight_at_most(location):
    with workers(location, "warn") as both:
        for worker in both:
            worker.read_to_the_end()
            worker.finish()
    spent = sum(cost for worker in both for cost in worker.sent)
    assert all("warned 1.0" in worker.said for worker in both)
    assert DOLLAR <= spent <= DOLLAR + 2 * 64 * WORST
    assert window(location) == (spent, 0)


def test_a_killed_process_overspends_nothing(location):
    with workers(location, "refuse", killed_at=12) as (victim, survivor):
        assert victim.process.wait(60) == -signal.SIGKILL
        survivor.read_to_the_end()
        survivor.finish()
    spent = sum(victim.sent) + sum(survivor.sent)
    assert spent <= DOLLAR
    counted, held = window(location)
    # What was in flight when it died may have been billed: it counts in full, and keeps nobody waiting any more.
    assert spent < counted <= DOLLAR
    assert held == 0
    assert counted > DOLLAR - WORST
