"""What was said, as the conventions write it: JSON of messages with roles and typed parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmops.types import Message


def input_messages(messages: Sequence[Message]) -> str:
    """Messages in OpenAI's shape as JSON of `[{role, parts}]`. Embedded pictures and sound are named, not sent."""
    return _json([{"role": str(message.get("role", "")), "parts": list(_parts(message))} for message in messages])


def output_messages(answer: str, finish_reason: str = "") -> str:
    """An answer as JSON of `[{role, parts, finish_reason}]`."""
    parts = [{"type": "text", "content": answer}] if answer else []
    return _json([{"role": "assistant", "parts": parts, "finish_reason": finish_reason or "unknown"}])


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair can't be sent


def _parts(message: Message) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    if message.get("role") == "tool":
        yield {"type": "tool_call_response", "id": message.get("tool_call_id", ""), "response": content}
        return
    if isinstance(content, str) and content:
        yield {"type": "text", "content": content}
    elif isinstance(content, (list, tuple)):
        yield from (_part(item) for item in content)
    for call in message.get("tool_calls") or ():
        yield _tool_call(call)


def _part(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        return {"type": "text", "content": str(item)}
    kind = str(item.get("type", ""))
    if kind == "text":
        return {"type": "text", "content": str(item.get("text", ""))}
    modality = "image" if "image" in kind else "audio" if "audio" in kind else kind or "unknown"
    source = item.get(kind)
    url = source.get("url") if isinstance(source, Mapping) else source
    if isinstance(url, str) and not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    return {"type": "text", "content": f"({modality}, not sent)"}


def _tool_call(call: Any) -> dict[str, Any]:
    known = call if isinstance(call, Mapping) else {}
    function = known.get("function")
    function = function if isinstance(function, Mapping) else {}
    return {
        "type": "tool_call",
        "id": known.get("id", ""),
        "name": function.get("name", ""),
        "arguments": _parsed(function.get("arguments")),
    }


def _parsed(arguments: Any) -> Any:
    """Arguments come as JSON in text; what isn't JSON is left as it is."""
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments
