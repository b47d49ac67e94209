"""Sending under limits, with retries; and the meter that says what one trial used."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from llmops.errors import BackendError, BackendTimeoutError, BudgetExceededError, LlmopsError, RateLimitedError
from llmops.evals.limits import ConcurrencyLimit, Pace
from llmops.evals.suite import Limits
from llmops.types import Completion, Usage

T = TypeVar("T")
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
GIVE_UP_AFTER = 32  # requests given up on in a row: a server that is down isn't worth the pauses, until one succeeds


@dataclass
class Meter:
    """What one trial used: filled in by every backend it calls, in whatever thread or task."""

    origin: str = ""
    repeat: int = 0
    usage: Usage = field(default_factory=Usage)
    requests: int = 0
    cached: int = 0
    waited_s: float = 0.0
    replayed_s: float = 0.0
    stopped: BudgetExceededError | None = None

    def add(self, completion: Completion) -> None:
        self.requests += 1
        self.usage = self.usage + completion.usage
        if completion.cached:
            self.cached += 1
            self.replayed_s += completion.latency_s or 0.0


METER: ContextVar[Meter | None] = ContextVar("llmops_meter", default=None)


class Sender:
    """Sends under one set of limits: concurrency, rates, time, retries with jittered exponential backoff."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.retried = 0
        self._failures = 0  # requests given up on since one last succeeded
        self._concurrency = ConcurrencyLimit(limits.concurrency)
        self._requests = Pace(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = Pace(limits.tokens_per_minute) if limits.tokens_per_minute else None

    async def send(self, attempt: Callable[[], Awaitable[T]], *, tokens: int = 0, meter: Meter | None = None) -> T:
        """The result of `attempt`, tried again while its error is retryable. The last error carries `attempts`."""
        loop = asyncio.get_running_loop()
        for number in range(1, self.limits.retries + 2):
            began = loop.time()
            await self._admit(tokens)
            sent_at = loop.time()
            if meter is not None:
                meter.waited_s += sent_at - began
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    result = await attempt()
                self._concurrency.succeeded()
                self._failures = 0
                return result
            except TimeoutError:
                error: LlmopsError = BackendTimeoutError(f"no answer within {self.limits.timeout_s:g} s")
            except BackendError as problem:
                error = problem
                if isinstance(problem, RateLimitedError):
                    self._concurrency.pushed_back(sent_at, _capped(problem.retry_after_s))
            finally:
                self._concurrency.release()
            tries = 1 if self._failures >= GIVE_UP_AFTER else self.limits.retries + 1
            if number >= tries or not error.retryable or _hopeless(error):
                self._failures += 1
                error.attempts = number  # type: ignore[attr-defined]
                raise error
            self.retried += 1
            await self._pause(number, error, meter)
        raise AssertionError("unreachable")

    def correct(self, tokens: int) -> None:
        """Book tokens used beyond the estimate."""
        if self._tokens is not None:
            self._tokens.correct(tokens)

    async def _admit(self, tokens: int) -> None:
        delay = self._requests.delay(1) if self._requests is not None else 0.0
        if self._tokens is not None:
            delay = max(delay, self._tokens.delay(tokens))
        if delay > 0:
            await asyncio.sleep(delay)
        await self._concurrency.acquire()

    async def _pause(self, number: int, error: LlmopsError, meter: Meter | None) -> None:
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (number - 1)) * random.uniform(0.5, 1.0)
        asked = getattr(error, "retry_after_s", None)
        if asked is not None:
            delay = asked + random.uniform(0.0, 0.1)  # never earlier than asked, and not all at once
        if meter is not None:
            meter.waited_s += delay
        await asyncio.sleep(delay)


def _capped(seconds: float | None) -> float | None:
    return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER_S)


def _hopeless(error: LlmopsError) -> bool:
    return (getattr(error, "retry_after_s", None) or 0.0) > LONGEST_RETRY_AFTER_S
