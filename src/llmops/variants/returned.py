"""What a user's pipeline returned, as an `Output`: checked, so that what is saved can be read again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from types import NoneType
from typing import Any, get_args

from llmops.errors import PipelineError
from llmops.token_usage import read_usage
from llmops.types import Completion, Context, Failure, Output, TokenCertainty, ToolCall, Usage

_OUTPUT_KEYS = ("text", "answer", "output", "contexts", "usage", "tool_calls", "latency_s", "metadata")
_FIELD_TYPES: dict[str, Any] = {
    "text": str,
    "usage": Usage,
    "latency_s": (float, int, NoneType),
    "error": (Failure, NoneType),
    "metadata": Mapping,
}
_COUNTS = tuple(field.name for field in fields(Usage) if field.name != "certainty")


def to_output(returned: Any, target: str) -> Output:
    """An `Output` from text, a number, a mapping or an `Output`. Raises `PipelineError` on anything else."""
    if isinstance(returned, str):
        return Output(text=returned)
    if isinstance(returned, Output):
        return _measured(_checked(returned, target), target)
    if isinstance(returned, Completion):
        # its usage is left out: the runner counted this request and those before it
        return Output(text=returned.text, tool_calls=returned.tool_calls)
    if isinstance(returned, Mapping):
        return _measured(_from_mapping(returned, target), target)
    if isinstance(returned, (bool, int, float)):
        return Output(text=str(returned))
    raise PipelineError(f"{target} returned {type(returned).__name__}, not text, a mapping or an Output")


def _checked(output: Output, target: str) -> Output:
    """`output`, if it can be saved and read again. Nothing checks types where a pipeline makes one itself."""
    for name, kind in _FIELD_TYPES.items():
        value = getattr(output, name)
        if not isinstance(value, kind):
            raise PipelineError(f"{target} returned an Output whose {name} is {type(value).__name__}")
    for name, kind in (("tool_calls", ToolCall), ("messages", Mapping)):
        if not all(isinstance(item, kind) for item in getattr(output, name)):
            raise PipelineError(f"{target} returned an Output with {name} that are no {kind.__name__}")
    try:
        contexts = tuple(_context(item) for item in output.contexts)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"{target} returned an Output that can't be used: {error}") from None
    return output if contexts == output.contexts else replace(output, contexts=contexts)


def _from_mapping(data: Mapping[str, Any], target: str) -> Output:
    text = next((data[key] for key in ("text", "answer", "output") if data.get(key) is not None), None)
    if text is None and not data.get("tool_calls") and "contexts" not in data:
        hint = f"return one of {', '.join(_OUTPUT_KEYS[:3])}"
        raise PipelineError(f"{target} returned a mapping with the keys {sorted(map(str, data))}", hint=hint)
    try:
        return Output(
            text="" if text is None else str(text),
            contexts=tuple(_context(item) for item in data.get("contexts") or ()),
            tool_calls=tuple(c if isinstance(c, ToolCall) else ToolCall(**c) for c in data.get("tool_calls") or ()),
            usage=_usage(data.get("usage")),
            latency_s=data.get("latency_s"),
            metadata=dict(data.get("metadata") or {}),
        )
    except (TypeError, ValueError) as error:
        raise PipelineError(f"{target} returned a mapping that isn't an output: {error}") from None


def _context(item: Any) -> Context:
    if isinstance(item, Context):
        if isinstance(item.text, str) and isinstance(item.id, str) and isinstance(item.score, (float, int, NoneType)):
            return item
        text, key = ("" if part is None else str(part) for part in (item.text, item.id))
        return Context(text, key, None if item.score is None else float(item.score))
    if isinstance(item, str):
        return Context(text=item)
    if isinstance(item, Mapping):
        score = item.get("score")
        return Context(str(item.get("text", "")), str(item.get("id", "")), None if score is None else float(score))
    raise TypeError(f"a context is text or a mapping of text, id and score, not {type(item).__name__}")


def _usage(value: Any) -> Usage:
    if isinstance(value, Usage):
        return value
    if not value:
        return Usage()
    found = read_usage(value)
    if found is None:
        raise ValueError(f"its usage has no token counts of 0 or more: {value!r}"[:200])
    return found


def _measured(output: Output, target: str) -> Output:
    """`output`, if what it says was measured can have been."""
    latency = output.latency_s
    if latency is not None and not (isinstance(latency, (int, float)) and math.isfinite(latency) and latency >= 0):
        raise PipelineError(f"{target} returned latency_s {latency!r}, not a number of seconds")
    if output.usage.certainty not in get_args(TokenCertainty):
        raise PipelineError(f"{target} returned a usage whose certainty is {output.usage.certainty!r}")
    for name in _COUNTS:
        value = getattr(output.usage, name)
        if name == "cost" and value is None:
            continue
        if not isinstance(value, int) or value < 0:
            raise PipelineError(f"{target} returned a usage whose {name} is {value!r}, not a count")
    return output
