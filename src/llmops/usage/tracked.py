"""A backend whose every request is a call in the log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmops.attribution import ATTEMPT
from llmops.errors import BackendError
from llmops.http.client import SENDING
from llmops.types import Backend, Call, Completion, Cost, Pricer, Request, Usage
from llmops.usage.open_call import OpenCall, price, reported, with_cost
from llmops.usage.tracker import Tracker

EMBEDDING_BATCH = 256


class TrackedBackend:
    """Wraps a backend; `name` is what the project calls it, `provider` who runs it, `address` its host and port.

    Without a `tracker` it only passes on. It streams and embeds when the inner backend does, and what that has beside
    is there too. `pricer` prices kept answers where nothing is sent.
    """

    def __init__(
        self, backend: Backend, tracker: Tracker | None, *, name: str = "", provider: str = "", address: str = ""
    ) -> None:
        self.backend = backend
        self.tracker = tracker
        self.pricer: Pricer | None = None
        self.name = name
        self.provider = provider
        self.address = address
        if hasattr(backend, "embed"):
            self.embed = self._embed
        if hasattr(backend, "stream"):
            self.stream = self._stream

    def __getattr__(self, name: str) -> Any:
        if name == "backend":  # not made yet
            raise AttributeError(name)
        return getattr(self.backend, name)

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.backend.identity

    async def complete(self, request: Request) -> Completion:
        """The completion, with its cost in `usage` and this backend's name. Raises what the backend raises."""
        if self.tracker is None:
            return replace(await self.backend.complete(request), backend=self.name)
        call = await self._open(request, stream=False)
        token = SENDING.set(call)
        try:
            completion = await self.backend.complete(request)
        except BaseException as error:
            _ended(call, error)
            raise
        finally:
            SENDING.reset(token)
        return self._settled(call, completion)

    async def _stream(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        """Pieces of text, then the whole. A stream left early is a call that was abandoned."""
        inner: Any = self.backend
        if self.tracker is None:
            async with contextlib.aclosing(inner.stream(request)) as parts:
                async for part in parts:
                    yield replace(part, backend=self.name) if isinstance(part, Completion) else part
            return
        call = await self._open(request, stream=True)
        try:
            async with contextlib.aclosing(inner.stream(request)) as parts:
                while True:
                    token = SENDING.set(call)  # not across a yield: the reader's context isn't ours
                    try:
                        part = await anext(parts)
                    except StopAsyncIteration:
                        break
                    finally:
                        SENDING.reset(token)
                    if isinstance(part, Completion):
                        yield self._settled(call, part)
                    else:
                        call.received(part)
                        yield part
        except GeneratorExit:
            call.abandoned()
            raise
        except BaseException as error:
            _ended(call, error)
            raise
        call.abandoned()  # the stream ended without saying so

    async def _embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        inner: Any = self.backend
        if self.tracker is None:
            return list(await inner.embed(texts))
        vectors: list[Sequence[float]] = []
        for start in range(0, len(texts), EMBEDDING_BATCH):
            batch = texts[start : start + EMBEDDING_BATCH]
            messages = tuple({"role": "user", "content": text} for text in batch)
            request = Request(messages, parameters={"max_tokens": 0})
            call = await self._open(request, stream=False)
            call.call = replace(call.call, operation="embeddings")
            token = SENDING.set(call)
            try:
                vectors += await inner.embed(batch)
            except BaseException as error:
                _ended(call, error)
                raise
            finally:
                SENDING.reset(token)
            call.succeeded()
        return vectors

    def priced(self, completion: Completion, request: Request) -> Completion:
        """A kept answer to `request` with what it would cost now, or what the provider once said it did."""
        pricer = self.pricer if self.tracker is None else self.tracker.pricer
        if pricer is None:
            return completion
        cost: Cost | None = None
        if completion.reported_cost is not None:
            cost = reported(completion.reported_cost)
        elif completion.usage.certainty != "unknown":
            asked = Call("", time.time(), self.name, self.provider, model_asked=self._model(request))
            cost = price(pricer, asked, completion.usage, completion.model, completion.service_tier)
        return replace(completion, usage=with_cost(completion.usage, cost))

    def _model(self, request: Request) -> str:
        return request.model or getattr(self.backend, "model", "")

    async def _open(self, request: Request, *, stream: bool) -> OpenCall:
        assert self.tracker is not None
        attempt = ATTEMPT.get()
        call = await self.tracker.open(
            backend=self.name,
            provider=self.provider,
            address=self.address,
            model=self._model(request),
            stream=stream,
            attempt=1 if attempt is None else attempt.number,
            messages=request.messages,
            request=request,
        )
        call.sent = not getattr(self.backend, "marks_sent", False)
        return call

    def _settled(self, call: OpenCall, completion: Completion) -> Completion:
        settled = call.succeeded(
            completion.usage,
            model=completion.model,
            finish_reason=completion.finish_reason,
            response_id=completion.response_id,
            service_tier=completion.service_tier,
            reported_cost=completion.reported_cost,
            text=completion.text,
            tool_calls=completion.tool_calls,
            first_token_s=completion.first_token_s,
        )
        return _from_backend(completion, settled.usage, self.name)


def _from_backend(completion: Completion, usage: Usage, backend: str) -> Completion:
    """`replace` would cost as much as all that is left of `Completion` here."""
    return Completion(
        completion.text,
        usage,
        completion.tool_calls,
        completion.finish_reason,
        completion.model,
        completion.latency_s,
        completion.first_token_s,
        completion.cached,
        backend,
        completion.response_id,
        completion.service_tier,
        completion.reported_cost,
    )


def _ended(call: OpenCall, error: BaseException) -> None:
    if not isinstance(error, (asyncio.CancelledError, KeyboardInterrupt)):
        ended = call.failed(error)
        if isinstance(error, BackendError):
            error.__dict__["usage"] = ended.usage  # for limits of a run: what may have been billed
        return
    attempt = ATTEMPT.get()
    if attempt is not None and attempt.is_over():
        call.timed_out()
    else:
        call.cancelled()
