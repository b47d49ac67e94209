"""Requests on their way to a backend: the cache, one flight for identical requests, budgets."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from llmops.attribution import CALL_LIMIT, COUNTER
from llmops.errors import (
    BackendError,
    BudgetExceededError,
    InputError,
    LlmopsError,
    NotRecordedError,
    UnboundedCallError,
)
from llmops.evals.limits import Budget, Worst, used_by, used_by_failure
from llmops.evals.own_calls import reserved_already
from llmops.evals.sender import METER, Meter, Sender
from llmops.types import Backend, Completion, Request
from llmops.usage.bounds import output_tokens_bound, prompt_tokens_bound
from llmops.usage.budgets import BudgetRefusedError

T = TypeVar("T")


CostBound = Callable[[Request, Backend], int]
"""The most that a request to a backend may cost, in nano-dollars. Raises `InputError` when nobody knows."""


class AnswerCache(Protocol):
    """Where answers are kept; see `llmops.backends.cache`."""

    def get(self, key: str) -> Completion | None: ...
    def put(self, key: str, text: str, completion: Completion, origin: str) -> None: ...
    def flush(self) -> None: ...  # called in another thread than the rest
    def close(self) -> None: ...


class SentBackend:
    """A backend as the runner hands it out: cached, counted, limited and retried. It is a `Backend` itself."""

    def __init__(
        self,
        backend: Backend,
        sender: Sender,
        budget: Budget,
        request_text: Callable[[Mapping[str, Any], Request], str],
        cost_bound: CostBound | None = None,
    ) -> None:
        self.backend = backend
        self.note: str = getattr(backend, "note", "")
        self._identity = dict(backend.identity)
        self._sender = sender
        self.cache: AnswerCache | None = None  # opened, and set, when the run begins
        self._budget = budget
        self._request_text = request_text
        self._cost_bound = cost_bound
        self._flights: dict[str, asyncio.Future[Completion]] = {}
        self.where = ""
        if hasattr(backend, "embed"):
            self.embed = self._embed

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._identity

    def check(self, request: Request) -> None:
        """Raises `InputError` for a request that could not be sent: without a model, or a bound or price it needs."""
        if getattr(self.backend, "model", None) == "" and not request.model:
            raise InputError("no model is named", hint="write model: beside backend:, or in the prompt")
        self.worst_case(request)

    def check_ready(self) -> None:
        """Raises `InputError` when the backend lacks something it needs before its first request, such as a key."""
        ready = getattr(self.backend, "check_ready", None)
        try:
            if ready is not None:
                ready()
        except InputError as error:
            error.where = error.where or self.where
            raise

    async def complete(self, request: Request) -> Completion:
        """The completion, from the cache when there is one. Identical requests at the same time are sent once."""
        meter = METER.get()
        completion = await self._complete(request, meter)
        if meter is not None:
            meter.add(completion)
        return completion

    async def _embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Vectors for texts: under the same limits, budget and retries, without the cache."""
        if getattr(self.cache, "complete", False):
            raise NotRecordedError("embeddings aren't recorded", hint="score without them, or run without --replay")
        inner: Any = self.backend
        worst = self._embedding_bound(texts)

        async def attempt() -> Sequence[Sequence[float]]:
            sent = True
            try:
                with reserved_already():
                    vectors: Sequence[Sequence[float]] = await inner.embed(texts)
                return vectors
            except BudgetExceededError:
                sent = False
                raise
            finally:
                if self._budget.limited:
                    self._settle(worst, worst, sent=sent)

        return await self._send_within_budget(attempt, worst, METER.get())

    async def _complete(self, request: Request, meter: Meter | None) -> Completion:
        if self.cache is None:
            return await self._send(request, meter)
        text = self._request_text(self._identity, request)
        key = hashlib.sha256(text.encode()).hexdigest()
        flight = self._flights.get(key)
        if flight is not None:
            return await self._join(flight, request, meter)
        found = self.cache.get(key)
        if found is not None:
            return _priced(found, request, self.backend)
        if getattr(self.cache, "complete", False):
            raise NotRecordedError("no answer was recorded for this request", hint="record it with --record")
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            completion = await self._send(request, meter)
        except BaseException as error:
            if not flight.done():
                flight.set_exception(
                    error if isinstance(error, LlmopsError) else BackendError("the first request failed")
                )
                flight.exception()  # whoever joined raises it; nobody joining is fine
            raise
        else:
            self.cache.put(key, text, completion, meter.origin if meter else "")
            flight.set_result(completion)
            return completion
        finally:
            del self._flights[key]

    async def _join(self, flight: asyncio.Future[Completion], request: Request, meter: Meter | None) -> Completion:
        try:
            with (meter or Meter()).waiting():  # its latency is the answer's own, as for one from the cache
                return replace(await asyncio.shield(flight), cached=True)
        except BudgetRefusedError as error:
            _note_refusal(meter, error)
            raise
        except UnboundedCallError:  # no limit is reached
            raise
        except BudgetExceededError as error:
            raise _stopping(meter, error) from None
        except LlmopsError as error:
            if type(error) is BackendError:  # the first was cancelled or broke: this one goes on by itself
                return await self._complete(request, meter)
            raise

    async def _send(self, request: Request, meter: Meter | None) -> Completion:
        worst = self.worst_case(request)

        async def attempt() -> Completion:
            if not self._budget.limited:
                return await self._timed(request)
            return await self._settled(request, worst)

        completion = await self._send_within_budget(attempt, worst, meter)
        if completion.usage.certainty != "unknown":
            self._sender.correct(completion.usage.total_tokens - worst.tokens)
        return completion

    async def _send_within_budget(self, attempt: Callable[[], Awaitable[T]], worst: Worst, meter: Meter | None) -> T:
        async def reserve() -> None:
            try:
                await self._budget.reserve(worst.tokens, worst.cost)
            except BudgetExceededError as error:
                raise _stopping(meter, error) from None

        def give_back() -> None:
            self._budget.give_back(worst.tokens, worst.cost)

        limited = self._budget.limited
        try:
            return await self._sender.send(
                attempt,
                tokens=worst.tokens,
                meter=meter,
                reserve=reserve if limited else None,
                give_back=give_back if limited else None,
            )
        except BudgetRefusedError as error:
            _note_refusal(meter, error)
            raise

    async def _timed(self, request: Request) -> Completion:
        """The completion with its latency, which a cached answer keeps."""
        began = time.perf_counter()
        counter, limit = COUNTER.set(None), CALL_LIMIT.set(None)  # the meter is told itself, and room was made before
        try:
            completion = await self.backend.complete(request)
        finally:
            CALL_LIMIT.reset(limit)
            COUNTER.reset(counter)
        if completion.latency_s is None:
            completion = replace(completion, latency_s=time.perf_counter() - began)
        return completion

    async def _settled(self, request: Request, worst: Worst) -> Completion:
        used, sent = worst, True  # an attempt cut off in the middle may be billed in full
        try:
            completion = await self._timed(request)
            used = used_by(completion.usage, worst)
            return completion
        except BackendError as error:
            used = used_by_failure(error, worst)
            raise
        except BudgetExceededError:  # a budget of the project, before anything was sent
            sent = False
            raise
        finally:
            self._settle(worst, used, sent=sent)

    def _settle(self, worst: Worst, used: Worst, *, sent: bool) -> None:
        if sent:
            self._budget.settle(worst.tokens, used.tokens, worst.cost, used.cost)
        else:
            self._budget.give_back(worst.tokens, worst.cost)

    def worst_case(self, request: Request) -> Worst:
        """What the request may take at worst. Raises `InputError` when a limit needs a bound or price it hasn't."""
        return Worst(self.worst_case_tokens(request), self._worst_case_cost(request))

    def worst_case_tokens(self, request: Request) -> int:
        """Tokens the request may take at worst; 0 when nothing depends on it. Raises `InputError` without a bound."""
        if self._budget.max_tokens is None and self._sender.limits.tokens_per_minute is None:
            return 0
        bound = getattr(self.backend, "worst_case_tokens", None)
        if bound is not None:
            return int(bound(request))
        output = output_tokens_bound(request)
        if output is None and self._budget.max_tokens is not None:
            raise InputError(
                "--max-tokens needs a bound on every answer",
                hint="give the prompt or variant parameters: {max_tokens: …}",
            )
        return prompt_tokens_bound(request) + (output or 0)

    def _worst_case_cost(self, request: Request) -> int:
        if self._budget.max_cost is None:
            return 0
        if self._cost_bound is None:
            raise InputError("--max-cost needs prices, and this backend has none")
        return self._cost_bound(request, self.backend)

    def _embedding_bound(self, texts: Sequence[str]) -> Worst:
        """Of texts to embed: a token a byte, and no answer."""
        if not self._budget.limited:
            return Worst()
        messages = tuple({"role": "user", "content": text} for text in texts)
        cost = self._worst_case_cost(Request(messages, parameters={"max_tokens": 0}))
        return Worst(sum(len(text.encode("utf-8", "replace")) for text in texts), cost)


def _priced(completion: Completion, request: Request, backend: Any) -> Completion:
    """A kept answer with what it would cost now, from whichever backend of a fallback gave it."""
    several = getattr(backend, "backends", None)
    if several is not None:
        backend = next((one for one in several if getattr(one, "name", "") == completion.backend), None)
    priced = getattr(backend, "priced", None)
    found: Completion = completion if priced is None else priced(completion, request)
    return found


def _stopping(meter: Meter | None, error: BudgetExceededError) -> BudgetExceededError:
    """Note that the budget ended this trial: a pipeline may swallow the exception, and the runner must still stop."""
    if meter is not None:
        meter.stopped = error
    return BudgetExceededError(error.message, where=error.where, hint=error.hint)


def _note_refusal(meter: Meter | None, error: BudgetRefusedError) -> None:
    """A budget of the project that stops runs ends this one, even when a pipeline swallows the exception."""
    if error.stops and meter is not None:
        meter.stopped = error


def estimated_tokens(request: Request) -> int:
    """About how many tokens a prompt has: a quarter of its characters, plus 4 a message."""
    size = sum(len(str(message.get("content") or "")) for message in request.messages)
    return size // 4 + 4 * len(request.messages)
