"""What hosted APIs put on the wire, as bytes: whole answers, streams and errors in each provider's shape.

The shapes follow the providers' public API references: OpenAI chat completions and responses, Anthropic messages,
Gemini generateContent, Triton's generate extension. `provider_server` serves them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tokens:
    """What a server counts for one request: `input` holds the caches, `output` holds the reasoning."""

    input: int = 11
    output: int = 7
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


@dataclass(frozen=True)
class Said:
    """What goes into one answer: `usage` is None, tokens, or a mapping that is sent as it is."""

    text: str
    pieces: Sequence[str]
    usage: Tokens | Mapping[str, Any] | None
    model: str
    id: str
    finish_reason: str = "stop"
    service_tier: str | None = None
    cost: str | None = None
    """The provider's own figure in dollars, a number as it stands in JSON."""


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def _event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + (data if isinstance(data, bytes) else _json(data)) + b"\n\n"


def _with_cost(usage: dict[str, Any], cost: str | None) -> bytes:
    """JSON of a usage with the cost's digits exactly as given."""
    if cost is None:
        return _json(usage)
    return _json(usage)[:-1] + b',"cost":' + cost.encode() + b"}"


def openai_usage(usage: Tokens | Mapping[str, Any]) -> dict[str, Any]:
    """Chat completions: caches inside `prompt_tokens`, reasoning inside `completion_tokens`."""
    if not isinstance(usage, Tokens):
        return dict(usage)
    prompt: dict[str, Any] = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input}
    if usage.cache_write_5m or usage.cache_write_1h:
        prompt["cache_write_tokens"] = usage.cache_write_5m + usage.cache_write_1h
    answer = {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output}
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": answer,
    }


def responses_usage(usage: Tokens | Mapping[str, Any]) -> dict[str, Any]:
    """The responses API: the same inclusion under other names."""
    if not isinstance(usage, Tokens):
        return dict(usage)
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def anthropic_usage(usage: Tokens | Mapping[str, Any], service_tier: str | None = None) -> dict[str, Any]:
    """Messages: `input_tokens` is what is in no cache."""
    if not isinstance(usage, Tokens):
        return dict(usage)
    written = usage.cache_write_5m + usage.cache_write_1h
    return {
        "input_tokens": usage.input - usage.cache_read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "service_tier": service_tier or "standard",
    }


def gemini_usage(usage: Tokens | Mapping[str, Any]) -> dict[str, Any]:
    """usageMetadata: the cache is inside `promptTokenCount`, thoughts are beside `candidatesTokenCount`."""
    if not isinstance(usage, Tokens):
        return dict(usage)
    found: dict[str, Any] = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input - usage.audio_input}],
    }
    if usage.audio_input:
        found["promptTokensDetails"].append({"modality": "AUDIO", "tokenCount": usage.audio_input})
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        found["thoughtsTokenCount"] = usage.reasoning
    return found


# --- OpenAI chat completions


def _spliced(answer: dict[str, Any], usage: bytes | None) -> bytes:
    if usage is None:
        return _json(answer)
    return _json(answer)[:-1] + b',"usage":' + usage + b"}"


def openai_whole(said: Said) -> bytes:
    answer: dict[str, Any] = {"id": said.id, "object": "chat.completion", "created": 1_760_000_000, "model": said.model}
    message = {"role": "assistant", "content": said.text}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": said.finish_reason}]
    if said.service_tier is not None:
        answer["service_tier"] = said.service_tier
    return _spliced(answer, None if said.usage is None else _with_cost(openai_usage(said.usage), said.cost))


def openai_stream(said: Said, *, with_usage: bool) -> list[bytes]:
    head: dict[str, Any] = {"id": said.id, "object": "chat.completion.chunk", "created": 1_760_000_000}
    head["model"] = said.model
    if said.service_tier is not None:
        head["service_tier"] = said.service_tier

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": piece}) for piece in said.pieces]
    events.append(chunk({}, said.finish_reason))
    if with_usage and said.usage is not None:
        usage = _with_cost(openai_usage(said.usage), said.cost)
        events.append(_event(_spliced({**head, "choices": []}, usage)))
    return [*events, b"data: [DONE]\n\n"]


# --- OpenAI responses


def _response(said: Said, status: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": said.text, "annotations": []}]
    message = {"type": "message", "id": f"msg_{said.id}", "status": status, "role": "assistant", "content": content}
    return {
        "id": said.id,
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "model": said.model,
        "output": [message] if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": said.service_tier or "default",
        "usage": responses_usage(said.usage) if said.usage is not None and status == "completed" else None,
    }


def responses_whole(said: Said) -> bytes:
    return _json(_response(said, "completed"))


def responses_stream(said: Said, *, with_usage: bool = True) -> list[bytes]:
    def event(number: int, kind: str, **data: Any) -> bytes:
        return _event({"type": kind, "sequence_number": number, **data}, kind)

    item = {"item_id": f"msg_{said.id}", "output_index": 0, "content_index": 0}
    events = [event(0, "response.created", response=_response(said, "in_progress"))]
    for number, piece in enumerate(said.pieces, 1):
        events.append(event(number, "response.output_text.delta", delta=piece, logprobs=[], **item))
    last = len(events)
    return [*events, event(last, "response.completed", response=_response(said, "completed"))]


# --- Anthropic messages

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def anthropic_whole(said: Said) -> bytes:
    answer: dict[str, Any] = {"id": said.id, "type": "message", "role": "assistant", "model": said.model}
    answer["content"] = [{"type": "text", "text": said.text}]
    answer["stop_reason"], answer["stop_sequence"] = _STOP.get(said.finish_reason, said.finish_reason), None
    if said.usage is not None:
        answer["usage"] = anthropic_usage(said.usage, said.service_tier)
    return _json(answer)


def anthropic_stream(said: Said, *, with_usage: bool = True) -> list[bytes]:
    """Input tokens come with `message_start`, the final output tokens with `message_delta`."""
    start: dict[str, Any] = {"id": said.id, "type": "message", "role": "assistant", "model": said.model, "content": []}
    start |= {"stop_reason": None, "stop_sequence": None}
    if said.usage is not None:
        start["usage"] = {**anthropic_usage(said.usage, said.service_tier), "output_tokens": 1}
    end: dict[str, Any] = {"type": "message_delta"}
    end["delta"] = {"stop_reason": _STOP.get(said.finish_reason, said.finish_reason), "stop_sequence": None}
    if said.usage is not None:
        end["usage"] = {"output_tokens": anthropic_usage(said.usage).get("output_tokens", 0)}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    events = [_event({"type": "message_start", "message": start}, "message_start")]
    events += [_event(block, "content_block_start"), _event({"type": "ping"}, "ping")]
    for piece in said.pieces:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        events.append(_event(delta, "content_block_delta"))
    events.append(_event({"type": "content_block_stop", "index": 0}, "content_block_stop"))
    return [*events, _event(end, "message_delta"), _event({"type": "message_stop"}, "message_stop")]


# --- Gemini generateContent

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS"}


def _gemini(said: Said, text: str, finish: str | None, usage: Mapping[str, Any] | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = _FINISH.get(finish, finish)
    answer: dict[str, Any] = {"candidates": [candidate]}
    if usage is not None:
        answer["usageMetadata"] = dict(usage)
    return {**answer, "modelVersion": said.model, "responseId": said.id}


def gemini_whole(said: Said) -> bytes:
    usage = None if said.usage is None else gemini_usage(said.usage)
    return _json(_gemini(said, said.text, said.finish_reason, usage))


def gemini_stream(said: Said, *, with_usage: bool = True) -> list[bytes]:
    """Every chunk has usageMetadata of what was made so far; only the last one counts."""
    events = []
    for number, piece in enumerate(said.pieces, 1):
        last = number == len(said.pieces)
        usage = None if said.usage is None else gemini_usage(said.usage)
        if usage is not None and not last and isinstance(said.usage, Tokens):
            made = max(said.usage.output - said.usage.reasoning, 0) * number // (len(said.pieces) + 1)
            usage["candidatesTokenCount"] = made
            usage["totalTokenCount"] = said.usage.input + made + said.usage.reasoning
        events.append(_event(_gemini(said, piece, said.finish_reason if last else None, usage)))
    return events


# --- Triton's generate extension, as its TensorRT-LLM backend answers: no token counts at all


def _triton(said: Said, text: str) -> dict[str, Any]:
    output = {"model_name": said.model, "model_version": "1", "sequence_end": False, "sequence_id": 0}
    return {**output, "sequence_start": False, "text_output": text}


def triton_whole(said: Said) -> bytes:
    return _json(_triton(said, said.text))


def triton_stream(said: Said, *, with_usage: bool = True) -> list[bytes]:
    """One event a piece; the connection ends without a mark of its own."""
    return [_event(_triton(said, piece)) for piece in said.pieces]


def error_body(shape: str, status: int, message: str) -> bytes:
    """An error as each provider words it."""
    if shape == "anthropic":
        kinds = {429: "rate_limit_error", 529: "overloaded_error", 400: "invalid_request_error"}
        error = {"type": kinds.get(status, "api_error"), "message": message}
        return _json({"type": "error", "error": error, "request_id": "req_0"})
    if shape == "gemini":
        names = {429: "RESOURCE_EXHAUSTED", 400: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}
        return _json({"error": {"code": status, "message": message, "status": names.get(status, "INTERNAL")}})
    if shape == "triton":
        return _json({"error": message})
    kinds = {429: "rate_limit_exceeded", 400: "invalid_request_error"}
    return _json(
        {"error": {"message": message, "type": kinds.get(status, "server_error"), "param": None, "code": None}}
    )


WHOLE = {
    "openai": openai_whole,
    "responses": responses_whole,
    "anthropic": anthropic_whole,
    "gemini": gemini_whole,
    "triton": triton_whole,
}
STREAM = {
    "openai": openai_stream,
    "responses": responses_stream,
    "anthropic": anthropic_stream,
    "gemini": gemini_stream,
    "triton": triton_stream,
}
