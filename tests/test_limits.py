"""Concurrency that backs off and recovers, rates, and budgets, on a clock the tests turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import BudgetExceededError
from llmops.evals.limits import Budget, ConcurrencyLimit, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_concurrency_never_exceeds_its_maximum():
    async def body() -> int:
        limit = ConcurrencyLimit(3)
        most = 0

        async def hold() -> None:
            nonlocal most
            await limit.acquire()
            most = max(most, limit.in_flight)
            await asyncio.sleep(0)
            limit.release()

        await asyncio.gather(*(hold() for _ in range(50)))
        assert limit.in_flight == 0
        return most

    assert asyncio.run(body()) == 3


def test_push_back_halves_once_for_what_was_in_flight_and_success_recovers():
    async def body() -> None:
        clock = Clock()
        limit = ConcurrencyLimit(16, clock=clock)
        sent_at = clock.now
        clock.now += 1
        for _ in range(10):
            limit.pushed_back(sent_at, None)  # ten 429s of one wave
        assert limit.limit == 8
        clock.now += 1
        limit.pushed_back(clock.now, None)
        assert limit.limit == 4
        for _ in range(10_000):
            limit.succeeded()
        assert limit.limit == 16

    asyncio.run(body())


def test_limit_never_falls_below_one():
    async def body() -> None:
        clock = Clock()
        limit = ConcurrencyLimit(4, clock=clock)
        for _ in range(20):
            clock.now += 1
            limit.pushed_back(clock.now, None)
        assert limit.limit == 1
        await limit.acquire()

    asyncio.run(body())


def test_retry_after_holds_new_requests_back():
    async def body() -> None:
        clock = Clock()
        limit = ConcurrencyLimit(4, clock=clock)
        limit.pushed_back(clock.now, 30.0)
        waiting = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.now += 30.0
        limit._reopen()
        await waiting
        assert limit.in_flight == 1

    asyncio.run(body())


def test_a_cancelled_waiter_gives_its_place_to_the_next():
    async def body() -> None:
        limit = ConcurrencyLimit(1)
        await limit.acquire()
        first = asyncio.create_task(limit.acquire())
        second = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        limit.release()
        await second
        assert limit.in_flight == 1

    asyncio.run(body())


@given(st.floats(1, 100_000), st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_pace_never_lets_more_through_than_rate_and_burst(per_minute, gaps):
    clock = Clock()
    pace = Pace(per_minute, clock=clock)
    start, used_at = clock.now, []
    for gap in gaps:
        clock.now += gap
        used_at.append(clock.now + pace.delay(1))
    burst = max(1.0, per_minute / 60)
    for count, moment in enumerate(sorted(used_at), start=1):
        assert count <= burst + (moment - start) * per_minute / 60 + 1e-6 * count + 1


def test_budget_reserves_the_worst_case_and_gives_back_what_was_not_used():
    async def body() -> None:
        budget = Budget(max_tokens=100)
        await budget.reserve(60)
        second = asyncio.create_task(budget.reserve(60))
        await asyncio.sleep(0)
        assert not second.done()  # might still fit, once the first is settled
        budget.settle(60, 30)
        await second
        budget.settle(60, 60)
        assert budget.tokens == 90
        with pytest.raises(BudgetExceededError, match="10 of 100 are left"):
            await budget.reserve(11)

    asyncio.run(body())


@given(
    st.integers(0, 500),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), max_size=40),
    st.integers(0, 30),
)
def test_budget_is_never_overspent(limit, requests, max_requests):
    async def body() -> None:
        budget = Budget(max_tokens=limit, max_requests=max_requests)

        async def spend(worst: int, share: float) -> None:
            await budget.reserve(worst)
            await asyncio.sleep(0)
            budget.settle(worst, int(worst * share))

        await asyncio.gather(*(spend(w, s) for w, s in requests), return_exceptions=True)
        assert budget.tokens <= limit
        assert budget.requests <= max_requests

    asyncio.run(body())


def test_threads_and_event_loops_share_a_budget():
    budget = Budget(max_tokens=1000)
    spent: list[int] = []

    def in_a_thread() -> None:
        with contextlib.suppress(BudgetExceededError):
            while True:
                budget.reserve_now(60)
                spent.append(7)
                budget.settle(60, 7)

    async def in_a_loop() -> None:
        with contextlib.suppress(BudgetExceededError):
            while True:
                await budget.reserve(300)
                await asyncio.sleep(0)
                spent.append(11)
                budget.settle(300, 11)

    async def many() -> None:
        await asyncio.gather(*(in_a_loop() for _ in range(8)))

    works = [*[in_a_thread] * 4, *[lambda: asyncio.run(many())] * 2]
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert 940 < budget.tokens == sum(spent) <= 1000
    budget.reserve_now(1000 - budget.tokens)  # nothing is set aside any more


def test_whoever_must_not_wait_for_a_budget_is_refused_at_once():
    async def body() -> None:
        budget = Budget(max_requests=1)
        await budget.reserve(0)
        with pytest.raises(BudgetExceededError):
            await budget.reserve(0, waits=False)
        with pytest.raises(BudgetExceededError):
            budget.reserve_now(0, wait_s=0)
        budget.give_back(0)
        budget.reserve_now(0, wait_s=0)

    asyncio.run(body())


def test_a_budget_in_money_is_reserved_and_settled_like_tokens():
    async def body() -> None:
        budget = Budget(max_cost=2_000_000_000)
        assert budget.limited
        await budget.reserve(0, 1_500_000_000)
        second = asyncio.create_task(budget.reserve(0, 1_500_000_000))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(0, 0, 1_500_000_000, 100_000_000)
        await second
        budget.give_back(0, 1_500_000_000)
        assert budget.cost == 100_000_000
        with pytest.raises(BudgetExceededError, match=r"may cost \$1\.95 and \$1\.90 of \$2\.00 are left"):
            await budget.reserve(0, 1_950_000_000)

    asyncio.run(body())


@given(st.integers(0, 500), st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), max_size=40))
def test_a_budget_in_money_is_never_overspent(limit, requests):
    async def body() -> None:
        budget = Budget(max_cost=limit)

        async def spend(worst: int, share: float) -> None:
            await budget.reserve(0, worst)
            await asyncio.sleep(0)
            budget.settle(0, 0, worst, int(worst * share))

        await asyncio.gather(*(spend(w, s) for w, s in requests), return_exceptions=True)
        assert budget.cost <= limit

    asyncio.run(body())
