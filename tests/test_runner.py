"""The order in which a run does things: what goes out while answers are scored, and what an early end keeps."""

from __future__ import annotations

import asyncio
import gc

import pytest

from llmops.errors import BudgetExceededError
from llmops.evals.counters import Counters
from llmops.evals.driving import drive
from llmops.evals.runner import Entrant, Plan, Runner
from llmops.evals.suite import Limits
from llmops.types import Case, Output, Score

PATIENCE_S = 20


class Variant:
    def __init__(self, answer):
        self._answer = answer

    async def answer(self, trial):
        return await self._answer(trial.case.id)


class Metric:
    def __init__(self, score):
        self._score = score

    async def score(self, sample):
        return await self._score(sample.case.id)


def ran(answer, score, *, cases, concurrency):
    """How the run ended, and the ids of the cases whose results were saved."""
    plan = Plan(
        suite="s",
        cases=[Case(str(number)) for number in range(cases)],
        entrants=(Entrant("v", Variant(answer), sends_itself=False),),
        metrics={"m": Metric(score)},
        limits=Limits(concurrency=concurrency),
        total=cases,
    )
    saved = []
    runner = Runner(plan, write=lambda result, position: saved.append(result.case.id), counters=Counters())

    async def body():
        async with asyncio.timeout(PATIENCE_S):
            return await runner.run()

    return asyncio.run(body()), saved


def test_the_next_requests_go_out_while_answers_are_scored():
    answering, most, asked, all_asked = 0, 0, 0, asyncio.Event()

    async def answer(case):
        nonlocal answering, most, asked
        answering, asked = answering + 1, asked + 1
        most = max(most, answering)
        if asked == 4:
            all_asked.set()
        await asyncio.sleep(0)
        answering -= 1
        return Output(case)

    async def score(case):
        await all_asked.wait()  # never comes where a request waits for the scores of the answer before it
        return Score(1.0)

    status, saved = ran(answer, score, cases=4, concurrency=2)
    assert (status, sorted(saved), most) == ("finished", ["0", "1", "2", "3"], 2)


def test_with_a_concurrency_of_one_nothing_happens_at_the_same_time():
    seen = []

    async def answer(case):
        seen.append(f"answer {case}")
        await asyncio.sleep(0)
        seen.append(f"answered {case}")
        return Output(case)

    async def score(case):
        await asyncio.sleep(0)
        seen.append(f"scored {case}")
        return Score(1.0)

    ran(answer, score, cases=3, concurrency=1)
    assert seen == [f"{what} {case}" for case in "012" for what in ("answer", "answered", "scored")]


def test_an_answer_that_came_before_the_end_is_kept():
    together = asyncio.Event()
    begun = 0

    async def answer(case):
        nonlocal begun
        begun += 1
        if begun == 4:
            together.set()
        await together.wait()
        if case == "2":  # the last of the four to go on
            raise BudgetExceededError("enough")
        return Output(case)

    async def score(case):
        return Score(1.0)

    status, saved = ran(answer, score, cases=8, concurrency=4)
    assert status == "stopped"
    assert {"0", "1", "3"} <= set(saved) and "2" not in saved


@pytest.mark.parametrize("theirs", [(700, 10, 10), (0, 10, 10), (50_000, 7, 3)])
def test_the_garbage_collector_is_as_it_was_after_a_run(theirs):
    during = []

    async def answer(case):
        during.append(gc.get_threshold())
        return Output(case)

    plan = Plan("s", [Case("a")], (Entrant("v", Variant(answer), sends_itself=False),), {}, total=1)
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        gc.set_threshold(*theirs)
        assert drive(Runner(plan, write=lambda result, position: None, counters=Counters())) == "finished"
        assert (gc.get_threshold(), gc.get_freeze_count()) == (theirs, frozen)
    finally:
        gc.set_threshold(*before)
    assert during[0][0] == 0 or during[0][0] >= 20_000
    assert (during[0][0] == 0) == (theirs[0] == 0)
