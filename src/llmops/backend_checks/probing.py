"""Small requests that show what a backend can do, whatever its kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from llmops.backend_checks.findings import Ability, Finding, Latency, failed
from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BadResponseError,
    BudgetExceededError,
    InputError,
    RequestRejectedError,
)
from llmops.types import Backend, Completion, Request, Usage
from llmops.usage.tracked import TrackedBackend

if TYPE_CHECKING:
    from llmops.usage.tracker import OpenCall

HELLO: Mapping[str, Any] = {"role": "user", "content": "Say hello."}
SCHEMA: Mapping[str, Any] = {
    "title": "check",
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {"name": "look_up", "description": "Look a city up.", "strict": True, "parameters": SCHEMA},
}
OTHER_LIMIT = "max_completion_tokens"  # the name that OpenAI's reasoning models insist on
TOO_SHORT_S = 0.005  # all in one read: it says nothing of speed
FEW, ENOUGH = 16, 64  # output tokens: to measure speed by, and to hold a small JSON object


class Probe:
    """Asks one backend and counts it. `timeout_s` is for each request; `failure` is why it did not answer."""

    def __init__(self, backend: Backend, model: str, timeout_s: float) -> None:
        self.backend = backend
        self.model = model
        self.requests = 0
        self.usage = Usage()
        self._timeout_s = timeout_s
        self.limit = "max_tokens"
        self.failure: BackendError | None = None

    @property
    def inner(self) -> Any:
        """The backend itself, when this one only records what is asked of it."""
        return getattr(self.backend, "backend", self.backend)

    async def ask(self, tokens: int, *, stream: bool = False, **more: Any) -> Completion:
        """The answer to a greeting of at most `tokens` output tokens. Raises a `BackendError`."""
        try:
            return await self._asked(tokens, stream, **more)
        except RequestRejectedError as error:
            if self.limit == OTHER_LIMIT or OTHER_LIMIT not in error.message:
                raise
            self.limit = OTHER_LIMIT
            return await self._asked(tokens, stream, **more)

    async def _asked(
        self, tokens: int, stream: bool, parameters: Mapping[str, Any] | None = None, **more: Any
    ) -> Completion:
        request = Request((HELLO,), self.model, {self.limit: tokens, **(parameters or {})}, **more)
        self.requests += 1
        async with self.in_time():
            completion = await (self._streamed(request) if stream else self.backend.complete(request))
        self.usage += completion.usage
        return completion

    async def open_call(self) -> OpenCall | None:
        """A row in the call log for a request that doesn't go through `complete`; None where calls aren't recorded."""
        recorded = self.backend
        if not isinstance(recorded, TrackedBackend) or recorded.tracker is None:
            return None
        async with self.in_time():
            return await recorded.tracker.open(
                backend=recorded.name,
                provider=recorded.provider,
                address=recorded.address,
                model=self.model,
                messages=(HELLO,),
            )

    async def _streamed(self, request: Request) -> Completion:
        backend: Any = self.backend
        async with contextlib.aclosing(backend.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, Completion):
                    return part
        raise BadResponseError("streamed nothing")

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Raises a `BackendError` when what is inside takes too long, or isn't sent: for want of a key or a budget."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError:
            raise BackendTimeoutError(f"no answer within {self._timeout_s:g} s") from None
        except (InputError, BudgetExceededError) as error:
            self.requests -= 1
            raise BackendError(error.message, where=error.where, hint=error.hint) from None


async def answering(probe: Probe) -> tuple[list[Finding], Latency]:
    """Whether it answers, streams, and counts tokens in streams; one request."""
    streams = hasattr(probe.inner, "stream")
    try:
        completion = await probe.ask(FEW, stream=streams)
    except BackendError as error:
        probe.failure = error
        return [Finding("answers", "no", str(error))], Latency()
    found = [Finding("answers", "yes", completion.model)]
    first, total = completion.first_token_s, completion.latency_s
    counted = completion.usage.certainty == "exact"
    if not streams:
        found.append(Finding("streams", "no", "this kind of backend doesn't stream"))
    elif first is None:
        found.append(Finding("streams", "unknown", "it answered in one piece"))
    else:
        found.append(Finding("streams", "yes"))
        what = f"{completion.usage.input_tokens} in, {completion.usage.output_tokens} out"
        missing = "tokens of streams will be estimated"
        found.append(Finding("usage_in_streams", "yes" if counted else "no", what if counted else missing))
    more = completion.usage.output_tokens - 1
    taken = 0.0 if first is None or total is None else total - first
    speed = more / taken if counted and more > 0 and taken >= TOO_SHORT_S else None
    return found, Latency(None, first, total, speed)


async def json_schema(probe: Probe) -> Finding:
    """Whether an output schema is obeyed by a request that says nothing of JSON; one request."""
    ability: Ability = "json_schema"
    try:
        completion = await probe.ask(ENOUGH, output_schema=SCHEMA)
    except BackendError as error:
        return failed(ability, error)
    if _obeys(completion.text):
        return Finding(ability, "yes")
    if completion.finish_reason == "length":
        return Finding(ability, "unknown", f"its answer was cut off after {ENOUGH} tokens")
    return Finding(ability, "no", f"it answered {completion.text[:60]!r}, which the schema doesn't allow")


def _obeys(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and list(value) == ["ok"] and isinstance(value["ok"], bool)


async def tools(probe: Probe) -> Finding:
    """Whether it calls a tool that it is told to call; one request."""
    choice = {"type": "function", "function": {"name": "look_up"}}
    try:
        completion = await probe.ask(ENOUGH, tools=(TOOL,), parameters={"tool_choice": choice})
    except BackendError as error:
        return failed("tools", error)
    if completion.tool_calls:
        return Finding("tools", "yes")
    if completion.finish_reason == "length":
        return Finding("tools", "unknown", f"its answer was cut off after {ENOUGH} tokens")
    return Finding("tools", "no", "it was told to call one and answered with text")
