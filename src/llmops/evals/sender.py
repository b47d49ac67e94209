"""Sending under limits, with retries; and the meter that says what one trial used."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from llmops.attribution import ATTEMPT, Attempt
from llmops.errors import BackendError, BackendTimeoutError, BudgetExceededError, LlmopsError, RateLimitedError
from llmops.evals.limits import ConcurrencyLimit, Pace
from llmops.evals.suite import Limits
from llmops.types import Completion, Usage
from llmops.usage.spending import Spending

T = TypeVar("T")
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
_END = object()
GIVE_UP_AFTER = 32  # requests given up on in a row: a server that is down isn't worth the pauses, until one succeeds


@dataclass
class Meter:
    """What one trial used: filled in by every backend it calls, in whatever thread or task."""

    origin: str = ""
    repeat: int = 0
    spending: Spending = field(default_factory=Spending)
    requests: int = 0
    cached: int = 0
    waited_s: float = 0.0
    replayed_s: float = 0.0
    stopped: BudgetExceededError | None = None
    _waits: int = 0
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, completion: Completion) -> None:
        """An answer of a backend that the runner handed out."""
        with self._lock:
            self.requests += 1
            self.spending = self.spending + Spending.of(completion.usage, cached=completion.cached)
            if completion.cached:
                self.cached += 1
                self.replayed_s += completion.latency_s or 0.0

    def count(self, usage: Usage) -> None:
        """What an answered call used that the pipeline made by itself, with `llmops.connect` or a tracked client."""
        with self._lock:
            self.requests += 1
            self.spending = self.spending + Spending.of(usage)

    @property
    def usage(self) -> Usage:
        """All that was used, answers from the cache included."""
        return self.spending.usage

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time that isn't the variant's: waiting for a place, a budget or a pause. Overlapping waits count once."""
        with self._lock:
            if not self._waits:
                self._since = time.perf_counter()
            self._waits += 1
        try:
            yield
        finally:
            with self._lock:
                self._waits -= 1
                if not self._waits:
                    self.waited_s += time.perf_counter() - self._since


METER: ContextVar[Meter | None] = ContextVar("llmops_meter", default=None)


class Sender:
    """Sends under one set of limits: concurrency, rates, time, retries with jittered exponential backoff."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._failures = 0  # requests given up on since one last succeeded
        self._concurrency = ConcurrencyLimit(limits.concurrency)
        self._requests = Pace(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = Pace(limits.tokens_per_minute) if limits.tokens_per_minute else None

    async def send(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        tokens: int = 0,
        meter: Meter | None = None,
        reserve: Callable[[], Awaitable[None]] | None = None,
        give_back: Callable[[], None] | None = None,
    ) -> T:
        """The result of `attempt`, tried again while its error is retryable. The last error carries `attempts`.

        `reserve` is awaited before each attempt takes a place; `give_back` undoes it when the attempt never began.
        """
        for number in range(1, self.limits.retries + 2):
            if reserve is not None or not self._admit_now():
                await self._wait(meter or Meter(), tokens, reserve, give_back)
            error = await self._attempt(attempt, number)
            if not isinstance(error, LlmopsError):
                return error
            tries = 1 if self._failures >= GIVE_UP_AFTER else self.limits.retries + 1
            if number >= tries or not error.retryable or _hopeless(error):
                self._failures += error.retryable
                error.attempts = number  # type: ignore[attr-defined]
                raise error
            with (meter or Meter()).waiting():
                await asyncio.sleep(pause_s(number, error))
        raise AssertionError("unreachable")

    async def _wait(
        self,
        meter: Meter,
        tokens: int,
        reserve: Callable[[], Awaitable[None]] | None,
        give_back: Callable[[], None] | None,
    ) -> None:
        """Until there is room: in the budget, among the requests in flight, and in the schedule."""
        with meter.waiting():
            if reserve is not None:
                await reserve()
            try:
                await self._admit(tokens)
            except BaseException:
                if give_back is not None:
                    give_back()
                raise

    async def stream(self, parts: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The parts of a stream as they come: under the same limits, but not tried again.

        The time that whoever reads them takes in between doesn't count. Raises what `parts` raises.
        """
        with contextlib.ExitStack() as stack:
            await self._admit(0)
            stack.callback(self._concurrency.release)
            sent_at, left = time.monotonic(), self.limits.timeout_s
            async with contextlib.aclosing(parts):
                while True:
                    began = time.monotonic()
                    part: Any = await self._within(lambda: anext(parts, _END), 1, left, sent_at)
                    if part is _END:
                        self._succeeded()
                        return
                    left = None if left is None else left - (time.monotonic() - began)
                    yield part

    async def _attempt(self, attempt: Callable[[], Awaitable[T]], number: int) -> T | LlmopsError:
        """What came of one attempt: its result, or the backend's error."""
        try:
            result = await self._within(attempt, number, self.limits.timeout_s, time.monotonic())
            self._succeeded()
            return result
        except BackendError as error:
            return error
        finally:
            self._concurrency.release()

    async def _within(self, work: Callable[[], Awaitable[T]], number: int, left: float | None, sent_at: float) -> T:
        """The result of `work`. Raises `BackendTimeoutError` after `left` seconds."""
        outer, deadline = ATTEMPT.get(), None if left is None else time.monotonic() + left
        if outer is not None and outer.deadline is not None:  # whoever sends inside of a trial has no more time than it
            deadline = min(outer.deadline, deadline) if deadline is not None else outer.deadline
        token = ATTEMPT.set(Attempt(number, deadline))
        try:
            async with asyncio.timeout(left) as limit:
                return await work()
        except TimeoutError:
            if not limit.expired():  # the pipeline's own
                raise
            raise BackendTimeoutError(f"no answer within {self.limits.timeout_s:g} s") from None
        except RateLimitedError as error:
            self._concurrency.pushed_back(sent_at, _capped(error.retry_after_s))
            raise
        finally:
            ATTEMPT.reset(token)

    def _succeeded(self) -> None:
        self._concurrency.succeeded()
        self._failures = 0

    def correct(self, tokens: int) -> None:
        """Book tokens used beyond the estimate."""
        if self._tokens is not None:
            self._tokens.correct(tokens)

    def _admit_now(self) -> bool:
        """Take a place where there is nothing to wait for; most requests find one."""
        return self._requests is None and self._tokens is None and self._concurrency.take()

    async def _admit(self, tokens: int) -> None:
        """Take a place, then wait for the schedule: what waited for a server to recover must not come all at once."""
        await self._concurrency.acquire()
        try:
            delay = self._requests.delay(1) if self._requests is not None else 0.0
            if self._tokens is not None:
                delay = max(delay, self._tokens.delay(tokens))
            if delay > 0:
                await asyncio.sleep(delay)
        except BaseException:
            self._concurrency.release()
            raise


def pause_s(number: int, error: LlmopsError) -> float:
    """Seconds to wait after failure `number`: doubling with jitter, and never earlier than the server asked."""
    delay: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (number - 1)) * random.uniform(0.5, 1.0)
    asked: float | None = getattr(error, "retry_after_s", None)
    return delay if asked is None else max(delay, asked + random.uniform(0.0, 0.1))


def _capped(seconds: float | None) -> float | None:
    return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER_S)


def _hopeless(error: LlmopsError) -> bool:
    return (getattr(error, "retry_after_s", None) or 0.0) > LONGEST_RETRY_AFTER_S


def within(limits: Limits, answering: object) -> Limits:
    """The limits for a variant or backend: rates a minute are for servers, not for what is on this machine."""
    if getattr(answering, "local", False):
        return replace(limits, requests_per_minute=None, tokens_per_minute=None)
    return limits
