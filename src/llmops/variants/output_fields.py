"""Parts of an output read from JSON: contexts, tool calls, usage, seconds and failures, strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from llmops.token_usage import INPUT_NAMES, OUTPUT_NAMES, read_usage
from llmops.types import Context, Failure, ToolCall, Usage

MISSING: Any = object()
_CONTEXT_TEXT = ("text", "content", "page_content")


def at_path(data: Any, path: str) -> Any:
    """The value at a dotted path with list positions, such as `choices.0.text`; `MISSING` when there is none.

    A key that itself holds dots is found before the path is taken apart.
    """
    if path == "" or (isinstance(data, Mapping) and path in data):
        return data if path == "" else data[path]
    for part in path.split("."):
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.lstrip("-").isdecimal() and -len(data) <= int(part) < len(data):
            data = data[int(part)]
        else:
            return MISSING
    return data


def read_contexts(value: Any, names: Mapping[str, str] | None = None) -> tuple[Context, ...]:
    """Contexts from a list of texts or of objects. `names` says which path of an object is text, id and score.

    Raises `ValueError` with the position of the first that isn't one.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return (Context(value),)
    if not isinstance(value, list):
        raise ValueError(f"contexts is {_kind(value)}, not a list")
    return tuple(_context(item, position, names or {}) for position, item in enumerate(value))


def _context(item: Any, position: int, names: Mapping[str, str]) -> Context:
    if isinstance(item, str):
        return Context(item)
    if not isinstance(item, Mapping):
        raise ValueError(f"contexts[{position}] is {_kind(item)}, not text or an object")
    places = (names["text"],) if "text" in names else _CONTEXT_TEXT
    text = next((found for place in places if (found := at_path(item, place)) is not MISSING), MISSING)
    key = at_path(item, names.get("id", "id"))
    score = at_path(item, names.get("score", "score"))
    key, score = "" if key is MISSING or key is None else key, None if score is MISSING else score
    if text is MISSING and key != "":
        text = ""  # an id alone is enough for retrieval metrics
    if not isinstance(text, str):
        problem = "has no text" if text is MISSING else f"has a text that is {_kind(text)}"
        raise ValueError(f"contexts[{position}] {problem}")
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise ValueError(f"contexts[{position}] has an id that is {_kind(key)}")
    if score is not None and not is_number(score):
        raise ValueError(f"contexts[{position}] has a score that is {_kind(score)}, not a number")
    return Context(text, str(key), None if score is None else float(score))


def read_tool_calls(value: Any) -> tuple[ToolCall, ...]:
    """Tool calls in our shape (name, arguments, id) or OpenAI's. Raises `ValueError`.

    Arguments that came as text which isn't a JSON object are kept as `{"_raw": text}`.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"tool_calls is {_kind(value)}, not a list")
    return tuple(_tool_call(item, position) for position, item in enumerate(value))


def _tool_call(item: Any, position: int) -> ToolCall:
    if not isinstance(item, Mapping):
        raise ValueError(f"tool_calls[{position}] is {_kind(item)}, not an object")
    function = item.get("function", item)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise ValueError(f"tool_calls[{position}] has no name")
    arguments = function.get("arguments", function.get("args"))
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None
        arguments = parsed if isinstance(parsed, dict) else {"_raw": arguments}
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ValueError(f"tool_calls[{position}] has arguments that are {_kind(arguments)}")
    key = item.get("id")
    return ToolCall(name, arguments or {}, key if isinstance(key, str) else "")


def read_tokens(value: Any) -> Usage:
    """Usage in our names or OpenAI's. Raises `ValueError` when it holds neither."""
    if value is None:
        return Usage()
    if not isinstance(value, Mapping):
        raise ValueError(f"usage is {_kind(value)}, not an object")
    for name in (*INPUT_NAMES, *OUTPUT_NAMES):
        count = value.get(name)
        if count is not None and not (is_number(count) and count >= 0 and count == int(count)):
            raise ValueError(f"usage.{name} is {str(count)[:40]!r}, not a whole number of tokens")
    usage = read_usage(value)
    if usage is None:
        raise ValueError(f"usage has neither {INPUT_NAMES[0]} nor {OUTPUT_NAMES[0]}")
    return usage


def read_seconds(value: Any, name: str = "latency_s") -> float | None:
    """Seconds, or None. Raises `ValueError`."""
    if value is None:
        return None
    if not is_number(value) or value < 0:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a number of seconds")
    return float(value)


def read_failure(value: Any, kind: str) -> Failure | None:
    """A failure from its message, or from an object with `message` and maybe `kind`. Raises `ValueError`."""
    if value is None or value is False or value == "":
        return None
    if isinstance(value, str):
        return Failure(kind, value)
    if isinstance(value, Mapping) and isinstance(value.get("message"), str):
        own = value.get("kind")
        return Failure(own if isinstance(own, str) and own else kind, value["message"])
    raise ValueError(f"error is {_kind(value)}, not text or an object with a message")


def is_number(value: Any) -> bool:
    """True for a finite int or float that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"{str(value)[:40]}")
