"""What a model wrote, found in an answer or an event of any provider: words, reasoning, arguments of tool calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = ("content", "text", "refusal")
_BESIDE = ("reasoning_content", "reasoning", "thinking", "arguments", "partial_json", "args", "name")
_INNER = (
    *("choices", "message", "delta", "tool_calls", "tool_call_chunks", "function", "function_call", "output"),
    *("content", "summary", "content_block", "candidates", "parts", "functionCall"),
)
_ALL = (*_WORDS, *_BESIDE)


def written(value: Any) -> str:
    """Every text a model wrote in an answer, a choice, a delta, an event or a list of those."""
    return "".join(_found(value, _ALL))


def written_beside(value: Any) -> str:
    """The same without the words of the answer: reasoning, and names and arguments of tool calls."""
    return "".join(_found(value, _BESIDE))


def _found(value: Any, names: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _found(item, names)
        return
    if not isinstance(value, Mapping):
        return
    twice = "reasoning_content" in value  # some servers say it under both names
    for name in names:
        item = value.get(name)
        if isinstance(item, str) and not (twice and name == "reasoning"):
            yield item
        elif item and name in ("arguments", "args") and isinstance(item, Mapping):
            yield json.dumps(item, default=str)
    if value.get("type") == "tool_use" and value.get("input") and isinstance(value["input"], Mapping):
        yield json.dumps(value["input"], default=str)
    for name in _INNER:
        item = value.get(name)
        if item and not isinstance(item, str):
            yield from _found(item, names)
