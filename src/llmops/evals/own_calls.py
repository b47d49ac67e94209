"""Calls that a pipeline or a metric makes by itself, held to the limits of the run they are made in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from llmops.attribution import CALL_LIMIT, Release
from llmops.door import HOLDS_UP, is_in_a_loop
from llmops.errors import BudgetExceededError, InputError
from llmops.evals.limits import LONGEST_WAIT_S, Budget, Worst, used_by
from llmops.evals.sender import METER
from llmops.types import Call, Request
from llmops.usage.bounds import bounded_usage, cost_bound, most_input, request_bound


class OwnCalls:
    """Reserves the worst case of every call from a run's budget. A `types.Call` tells what it is a call to."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    async def reserve(self, call: Call, request: Request, pricer: Any) -> Release:
        """Wait for room. Raises `BudgetExceededError`, which ends the run, when there is none or no bound is known."""
        worst = self._worst(call, request, pricer)
        with _waiting():
            try:
                await self._budget.reserve(worst.tokens, worst.cost, waits=not HOLDS_UP.get())
            except BudgetExceededError as error:
                _stop(error)
        return partial(self._release, worst)

    def reserve_now(self, call: Call, request: Request, pricer: Any) -> Release:
        """The same for threads without an event loop."""
        worst = self._worst(call, request, pricer)
        wait_s = 0.0 if HOLDS_UP.get() or is_in_a_loop() else LONGEST_WAIT_S
        with _waiting():
            try:
                self._budget.reserve_now(worst.tokens, worst.cost, wait_s=wait_s)
            except BudgetExceededError as error:
                _stop(error)
        return partial(self._release, worst)

    def _release(self, worst: Worst, call: Call | None) -> None:
        if call is None or call.outcome == "unsent":
            self._budget.give_back(worst.tokens, worst.cost)
        else:
            used = used_by(call.usage, worst)
            self._budget.settle(worst.tokens, used.tokens, worst.cost, used.cost)

    def _worst(self, call: Call, request: Request, pricer: Any) -> Worst:
        try:
            return Worst(self._tokens(call, request, pricer), self._cost(call, request, pricer))
        except InputError as error:
            who = call.attribution.variant if call.attribution.purpose != "judge" else "a metric"
            _stop(BudgetExceededError(f"a call that {who} makes itself: {error.message}", hint=error.hint))

    def _tokens(self, call: Call, request: Request, pricer: Any) -> int:
        if self._budget.max_tokens is None:
            return 0
        most = most_input(pricer, call.provider, call.model_asked)
        bound = request_bound(request, pricer.max_output_tokens(call.provider, call.model_asked))
        return bounded_usage(bound, limit="--max-tokens", most_input=most).total_tokens

    def _cost(self, call: Call, request: Request, pricer: Any) -> int:
        if self._budget.max_cost is None:
            return 0
        return cost_bound(pricer, request, provider=call.provider, model=call.model_asked, backend=call.backend)


@contextmanager
def holding_calls(budget: Budget) -> Iterator[None]:
    """Hold what is called inside, in tasks and in threads with this context, to a run's limits."""
    if not budget.limited:
        yield
        return
    token = CALL_LIMIT.set(OwnCalls(budget))
    try:
        yield
    finally:
        CALL_LIMIT.reset(token)


@contextmanager
def reserved_already() -> Iterator[None]:
    """What is called inside is the run's own: its worst case was reserved before."""
    token = CALL_LIMIT.set(None)
    try:
        yield
    finally:
        CALL_LIMIT.reset(token)


def _waiting() -> contextlib.AbstractContextManager[None]:
    meter = METER.get()
    return contextlib.nullcontext() if meter is None else meter.waiting()


def _stop(error: BudgetExceededError) -> NoReturn:
    """The run ends, even when whoever made the call swallows the exception."""
    meter = METER.get()
    if meter is not None:
        meter.stopped = error
    raise error
