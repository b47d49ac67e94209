"""Streams of each provider's shape that end in each way, with usage told or not, as the events that a server sends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from provider_server import Answer

INPUT, OUTPUT = 1000, 70
PIECE = "some words of an answer "
PIECES = 10
KINDS = ("text", "reasoning", "tool")
TOLD = ("never", "first", "zero", "end")
ENDS = ("stop", "error 400", "error 429", "error 503", "error 500", "cut", "early end", "left", "cancelled")
"""`early end` is a body that ends well, but without the mark of its end; after `left` and `cancelled` nothing comes.

`refused` is a status instead of a stream.
"""
CASES = (
    *itertools.product(("text",), TOLD, ENDS),
    *itertools.product(("reasoning", "tool"), ("never", "first"), ("stop", "error 429", "cut")),
    ("nothing", "never", "refused"),
    *itertools.product(("nothing",), ("never",), ("error 400", "error 429", "error 503", "cut", "cancelled")),
)


def answer(shape: str, kind: str, told: str, end: str) -> Answer:
    """A stream of `PIECES` pieces of `kind` (none of `nothing`)."""
    if end == "refused":
        return Answer(status=429)
    events = EVENTS[shape](0 if kind == "nothing" else PIECES, kind, told, end)
    endings: dict[str, Any] = {"cut": "cut", "left": "silence", "cancelled": "silence"}
    return Answer(events=events, ending=endings.get(end, "whole"), cut_at=1_000_000)


def _event(data: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def _openai(pieces: int, kind: str, told: str, end: str) -> Sequence[bytes]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def usage(output: int) -> dict[str, int]:
        return {"prompt_tokens": INPUT, "completion_tokens": output, "total_tokens": INPUT + output}

    def chunk(delta: dict[str, Any], finish: str | None, counted: int | None) -> bytes:
        more = {} if counted is None else {"usage": usage(counted)}
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    events = []
    for number in range(pieces):
        call = {"index": 0, "function": {"arguments": PIECE}}
        if not number:
            call |= {"id": "c1", "type": "function", "function": {"name": "look", "arguments": PIECE}}
        delta = {"text": {"content": PIECE}, "reasoning": {"reasoning_content": PIECE}, "tool": {"tool_calls": [call]}}
        counts = {"zero": 0, "first": None if number else 1}
        events.append(chunk(delta[kind], None, counts.get(told)))
    if end == "stop":
        events.append(chunk({}, "tool_calls" if kind == "tool" else "stop", 0 if told == "zero" else None))
        events += [_event({**head, "choices": [], "usage": usage(OUTPUT)})] if told == "end" else []
        events.append(b"data: [DONE]\n\n")
    if end.startswith("error"):
        code = int(end[6:])
        events.append(_event({"error": {"message": "no", "type": "server_error", "code": code}}))
    return events


def _anthropic(pieces: int, kind: str, told: str, end: str) -> Sequence[bytes]:
    start: dict[str, Any] = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
    start |= {"content": [], "stop_reason": None, "stop_sequence": None}
    if told != "never":
        start["usage"] = {"input_tokens": INPUT, "output_tokens": 0 if told == "zero" else 1}
    blocks = {"reasoning": {"type": "thinking", "thinking": ""}, "text": {"type": "text", "text": ""}}
    blocks["tool"] = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    deltas = {"reasoning": {"type": "thinking_delta", "thinking": PIECE}, "text": {"type": "text_delta", "text": PIECE}}
    deltas["tool"] = {"type": "input_json_delta", "partial_json": PIECE}
    events = []
    if pieces:
        events.append(_event({"type": "message_start", "message": start}, "message_start"))
        block = {"type": "content_block_start", "index": 0, "content_block": blocks[kind]}
        events.append(_event(block, "content_block_start"))
    delta = {"type": "content_block_delta", "index": 0, "delta": deltas.get(kind)}
    events += [_event(delta, "content_block_delta")] * pieces
    if end == "stop":
        last: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
        if told in ("end", "zero"):
            last["usage"] = {"output_tokens": OUTPUT if told == "end" else 0}
        events.append(_event({"type": "content_block_stop", "index": 0}, "content_block_stop"))
        events += [_event(last, "message_delta"), _event({"type": "message_stop"}, "message_stop")]
    if end.startswith("error"):
        names = {429: "rate_limit_error", 503: "overloaded_error", 400: "invalid_request_error"}
        error = {"type": names.get(int(end[6:]), "api_error"), "message": "no"}
        events.append(_event({"type": "error", "error": error}, "error"))
    return events


def _gemini(pieces: int, kind: str, told: str, end: str) -> Sequence[bytes]:
    parts = {"text": {"text": PIECE}, "reasoning": {"text": PIECE, "thought": True}}
    parts["tool"] = {"functionCall": {"name": "look", "args": {"q": PIECE}}}

    def event(part: Any, finish: str | None, counted: int | None) -> bytes:
        candidate: dict[str, Any] = {"content": {"parts": [part] if part else [], "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        answered: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "g1"}
        if counted is not None:
            answered["usageMetadata"] = {"promptTokenCount": INPUT, "totalTokenCount": INPUT + counted}
            answered["usageMetadata"] |= {"candidatesTokenCount": counted} if counted else {}
        return _event(answered)

    counts = {"zero": 0, "end": None}
    events = [
        event(parts[kind], None, counts.get(told, 1 if told == "first" and not n else None)) for n in range(pieces)
    ]
    if end == "stop":
        events.append(event(None, "STOP", {"zero": 0, "end": OUTPUT}.get(told)))
    if end.startswith("error"):
        code = int(end[6:])
        names = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 400: "INVALID_ARGUMENT"}
        events.append(_event({"error": {"code": code, "message": "no", "status": names.get(code, "INTERNAL")}}))
    return events


EVENTS = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}
