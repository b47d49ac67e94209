"""A completion put together from the events of a chat completions stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmops.backends.json_bodies import parse_json
from llmops.backends.openai_shapes import content_text, first_choice, reported_error, tool_call, whole_text
from llmops.errors import BackendUnavailableError, BadResponseError
from llmops.token_usage import read_usage, reported_cost, service_tier, usage_in, written_beside
from llmops.token_usage.estimating import so_far, text_tokens
from llmops.types import Completion, Usage


class StreamedCompletion:
    """Puts a completion together from the data of a stream's events.

    `done` says that its end mark came, `is_whole` that nothing is missing: the answer ended and its usage came.
    """

    def __init__(self, url: Any, asked: str) -> None:
        self._url = url
        self._pieces: list[str] = []
        self._calls: dict[Any, dict[str, Any]] = {}
        self._usage = Usage(requests=1)
        self._usage_is_last = False
        self._cost: int | None = None
        self._model = asked
        self._id = ""
        self._tier = ""
        self._finish = ""
        self._any = False
        self._beside: list[str] = []
        self._counted_at = 0
        self.done = False

    @property
    def usage(self) -> Usage:
        """What the server counted, the last count over earlier ones; of a count so far, an estimate of the whole."""
        is_last = (self.done or self._usage_is_last) and self._counted_at == len(self._pieces) + len(self._beside)
        if is_last or self._usage.certainty != "exact":
            return self._usage
        return replace(self._usage, certainty="estimated")

    @property
    def received(self) -> Usage:
        """What was received, estimated: output alone."""
        return Usage(0, text_tokens("".join(self._pieces)) + text_tokens("".join(self._beside)))

    @property
    def is_whole(self) -> bool:
        return self.done or (bool(self._finish) and self._usage_is_last)

    def add(self, data: bytes) -> str | None:
        """The piece of text an event brings: "" for part of a tool call, None for nothing of the answer."""
        if data.strip() == b"[DONE]":
            self.done = True
            return None
        return self.add_chunk(parse_json(data, self._url))

    def add_chunk(self, chunk: Mapping[str, Any]) -> str | None:
        """The same for data that was read already."""
        problem = reported_error(chunk, self._url)
        if problem is not None:
            problem.has_begun = True
            raise problem
        self._model = _text(chunk.get("model")) or self._model
        self._id = self._id or _text(chunk.get("id"))
        choice = first_choice(chunk, self._url)
        if choice is not None:
            self._any = True
            self._finish = _text(choice.get("finish_reason")) or self._finish
        piece = None if choice is None else self._delta(choice.get("delta"))
        if chunk.get("usage") or "service_tier" in chunk or "x_groq" in chunk:
            self._account(chunk)
        return piece

    def tell(self, sending: Any, counted: Usage) -> None:
        """Tell whose request it is what came beside the pieces, and what was counted; however the stream ends."""
        if sending is not None and self._beside:
            sending.wrote("".join(self._beside))
        if sending is not None and counted.certainty != "unknown":
            sending.counted(counted)

    def _account(self, chunk: Mapping[str, Any]) -> None:
        self._tier = service_tier(chunk) or self._tier
        usage = usage_in(chunk)
        counted = read_usage(usage)
        if counted is not None:
            self._usage, self._usage_is_last = counted, bool(self._finish)
            self._counted_at = len(self._pieces) + len(self._beside)
        cost = reported_cost(usage)
        self._cost = self._cost if cost is None else cost

    def _delta(self, delta: Any) -> str | None:
        if delta is None:
            return None
        if not isinstance(delta, Mapping):
            raise BadResponseError(f"{self._url} streamed a delta that is {type(delta).__name__}")
        piece = content_text(delta, self._url)
        calls = delta.get("tool_calls") or ()
        if not isinstance(calls, (list, tuple)):
            raise BadResponseError(f"{self._url} streamed tool_calls that aren't a list")
        for position, call in enumerate(calls):
            self._add_call(call, position)
        if piece:
            self._pieces.append(piece)
        if calls or "reasoning_content" in delta or "reasoning" in delta:
            self._beside += filter(None, [written_beside(delta)])
        return piece if piece or calls else None

    def _add_call(self, call: Any, position: int) -> None:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise BadResponseError(f"{self._url} streamed a tool call without a function")
        index = call.get("index", position)
        key = index if isinstance(index, int) else position
        kept = self._calls.setdefault(key, {"id": "", "name": "", "arguments": []})
        kept["id"] = kept["id"] or _text(call.get("id"))
        kept["name"] += _text(function.get("name"))
        arguments = function.get("arguments")
        if arguments:
            kept["arguments"].append(arguments if isinstance(arguments, str) else json.dumps(arguments))

    def completion(self, latency_s: float, first_token_s: float | None) -> Completion:
        """The whole. Raises `BackendUnavailableError` when the stream ended before the answer did."""
        if not self.done and not self._finish:
            raise BackendUnavailableError(f"{self._url}: the stream was cut before the answer ended")
        if not self._any:
            raise BadResponseError(f"{self._url} streamed an answer without choices")
        calls = [
            {"id": c["id"], "function": {"name": c["name"], "arguments": "".join(c["arguments"])}}
            for _, c in sorted(self._calls.items())
        ]
        text, usage = whole_text("".join(self._pieces)), self.usage
        if usage is not self._usage:
            usage = so_far(usage, self.received)
        return Completion(
            text=text,
            usage=usage,
            tool_calls=tuple(tool_call(call, self._url) for call in calls),
            finish_reason=self._finish,
            model=self._model,
            latency_s=latency_s,
            first_token_s=first_token_s,
            response_id=self._id,
            service_tier=self._tier,
            reported_cost=self._cost,
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
