"""What a server really said in a stream that litellm reads: its end and its counts.

litellm ends a stream that was cut with a finish reason of its own, and counts with a tokenizer where the server sent no
usage. So the data of the server's events is looked at before litellm parses it; of a provider whose events can't be
looked at, the chunks that litellm kept are.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import replace
from typing import Any

from llmops.token_usage import read_usage, reported_cost, service_tier, usage_in, written
from llmops.types import Usage


class StreamRecord:
    """Follows one stream; its properties say what the server said. `usage` is unknown when it didn't count."""

    def __init__(self) -> None:
        self.response_id = ""
        self.service_tier = ""
        self.cost: int | None = None
        self.has_begun = False
        self._events = 0
        self._is_behind = False
        self._ended = False
        self._counts: dict[str, Any] = {}
        self._stream: Any = None

    async def follow(self, asked: Awaitable[Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """litellm's chunks as plain data. Leaving early closes the connection."""
        self._stream = await asked
        try:
            source = await self._stream.fetch_stream()  # what litellm's own first step does
            self.has_begun = True
            self._listen(source)
            async for chunk in self._stream:
                yield chunk.model_dump(exclude_none=True)
        finally:
            await _close(self._stream)

    @property
    def is_whole(self) -> bool:
        """Whether the server ended its answer."""
        if self._events:
            return self._ended
        return bool(self._stream.received_finish_reason or self._stream.received_any_finish_reason)

    @property
    def usage(self) -> Usage:
        """The server's last count, exact when its answer ended and nothing was written after it."""
        found = read_usage(self._counts) if self._events else self._kept_usage()
        if found is None:
            return Usage(requests=1)
        has_ended = self._ended if self._events else bool(self._stream.received_finish_reason)
        is_certain = has_ended and not self._is_behind
        return found if is_certain or found.certainty != "exact" else replace(found, certainty="estimated")

    def _kept_usage(self) -> Usage | None:
        chunks = list(getattr(self._stream, "chunks", None) or ())
        counted = [
            at
            for at, chunk in enumerate(chunks)
            if type(getattr(chunk, "usage", None)).__name__ == "Usage"  # not the one that stands for none
        ]
        if not counted:
            return None
        after = chunks[counted[-1] + 1 :]
        self._is_behind = any(written(chunk.model_dump(exclude_none=True).get("choices")) for chunk in after)
        data = chunks[counted[-1]].usage.model_dump(exclude_none=True)
        self.cost = reported_cost(data)
        self.service_tier = self.service_tier or service_tier({"usage": data})
        return read_usage(data)

    def _listen(self, source: Any) -> None:
        """Look at each event before the provider's parser does."""
        parse = getattr(source, "chunk_parser", None)
        if not callable(parse):
            return

        def heard(chunk: Any, *more: Any, **named: Any) -> Any:
            if isinstance(chunk, Mapping):
                self._hear(chunk)
            return parse(chunk, *more, **named)

        source.chunk_parser = heard

    def _hear(self, event: Mapping[str, Any]) -> None:
        """Events of OpenAI's, Anthropic's and Gemini's shape; others say nothing here, and litellm's word is taken."""
        kind, message, delta = event.get("type"), event.get("message"), event.get("delta")
        if kind == "message_start" and isinstance(message, Mapping):
            self._note(message)
        elif kind == "message_delta" and isinstance(delta, Mapping):
            self._ended = self._ended or bool(delta.get("stop_reason"))
            self._note(event)
        elif kind == "content_block_delta":
            self._is_behind = True
        elif "choices" in event or "candidates" in event or "usageMetadata" in event:
            for choice in (*_listed(event.get("choices")), *_listed(event.get("candidates"))):
                self._ended = self._ended or bool(choice.get("finish_reason") or choice.get("finishReason"))
            self._note(event)

    def _note(self, said: Mapping[str, Any]) -> None:
        self._events += 1
        found = said.get("id") or said.get("responseId")
        self.response_id = self.response_id or (found if isinstance(found, str) else "")
        self.service_tier = service_tier(said) or self.service_tier
        counts = usage_in(said)
        if not isinstance(counts, Mapping):
            self._is_behind = self._is_behind or bool(written(said))
        else:
            self._is_behind = False
            beside = said.get("type") in ("message", "message_delta")  # Anthropic's later counts add to the first
            known = {name: count for name, count in counts.items() if count is not None}
            self._counts = {**self._counts, **known} if beside else known
            cost = reported_cost(counts)
            self.cost = self.cost if cost is None else cost


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


async def _close(stream: Any) -> None:
    """Close the answer below litellm's wrappers: theirs may leave it open."""
    inner = getattr(stream, "completion_stream", None)
    for holder in (inner, getattr(inner, "response_iterator", None), getattr(inner, "streaming_response", None)):
        close = getattr(holder, "aclose", None)
        if callable(close):
            done = close()
            if inspect.isawaitable(done):
                await done
    await stream.aclose()
