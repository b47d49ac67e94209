"""The chat completions protocol as data: request bodies, and whole answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmops.backends.json_bodies import parse_json
from llmops.errors import BackendError, BadResponseError, InputError, RequestRejectedError
from llmops.http import refused
from llmops.http.client import SENDING
from llmops.http.failures import server_message
from llmops.token_usage import read_usage, reported_cost, service_tier, written_beside
from llmops.types import Completion, Request, ToolCall, Usage

RAW_ARGUMENTS = "_raw"
"""Where a tool call's arguments are kept, as the text they came as, when that text isn't a JSON object."""

_OURS = ("model", "messages", "stream", "stream_options")
_encode = json.JSONEncoder(allow_nan=False).encode  # made once: `json.dumps` makes one a call


def request_body(request: Request, model: str, *, stream: bool, usage_in_every_chunk: bool = False) -> bytes:
    """The JSON body. Raises `InputError` without a model, `RequestRejectedError` on what JSON can't hold."""
    body = request_fields(request, model)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
        if usage_in_every_chunk:
            body["stream_options"]["continuous_usage_stats"] = True
    try:
        return _encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestRejectedError(f"the request can't be written as JSON: {error}") from None


def request_fields(request: Request, model: str) -> dict[str, Any]:
    """The body's fields but for those of streams. Raises `InputError` without a model."""
    chosen = request.model or model
    if not chosen:
        raise InputError("no model is named", hint="give the backend or the prompt a model: …")
    body = {name: value for name, value in request.parameters.items() if name not in _OURS}
    body["model"] = chosen
    body["messages"] = [dict(message) for message in request.messages]
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.output_schema is not None:
        body["response_format"] = _response_format(request.output_schema)
    return body


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's shape; a bare function description (name, description, parameters) is wrapped."""
    if "type" not in tool and "name" in tool:
        return {"type": "function", "function": dict(tool)}
    return dict(tool)


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title") or "output")).strip("_")[:64]
    described = {"name": name or "output", "strict": True, "schema": dict(schema)}
    return {"type": "json_schema", "json_schema": described}


def parse_completion(body: bytes, url: Any, *, asked: str = "", latency_s: float | None = None) -> Completion:
    """The completion in a whole answer. Raises `BadResponseError` when it isn't one."""
    return read_completion(parse_json(body, url), url, asked=asked, latency_s=latency_s)


def read_completion(data: Mapping[str, Any], url: Any, *, asked: str, latency_s: float | None) -> Completion:
    """The same for data that was read already."""
    choice = first_choice(data, url)
    if choice is None:
        raise reported_error(data, url) or BadResponseError(f"{url} answered without choices")
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise BadResponseError(f"{url} answered a choice without a message")
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, (list, tuple)):
        raise BadResponseError(f"{url} answered tool_calls that aren't a list")
    usage, sending = _usage(data), SENDING.get()
    if sending is not None and not usage.output_tokens and (beside := written_beside(message)):
        sending.wrote(beside)
    return Completion(
        text=whole_text(content_text(message, url)),
        usage=usage,
        tool_calls=tuple(tool_call(call, url) for call in calls),
        finish_reason=_text(choice.get("finish_reason")),
        model=_text(data.get("model")) or asked,
        latency_s=latency_s,
        response_id=_text(data.get("id")),
        service_tier=service_tier(data),
        reported_cost=reported_cost(data.get("usage")),
    )


def reported_error(data: Mapping[str, Any], url: Any) -> BackendError | None:
    """The error that a server reports inside of an answer or stream that began with 200."""
    error = data.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, int) and 400 <= code < 600:
        return refused(code, {}, json.dumps({"error": error}).encode(), url=str(url))
    return BadResponseError(f"{url} answered 200 with an error: {server_message(error)}")


def first_choice(data: Mapping[str, Any], url: Any) -> Mapping[str, Any] | None:
    """The first choice of an answer or a chunk; None without choices."""
    choices = data.get("choices")
    if not choices:
        return None
    if not isinstance(choices, list) or not isinstance(choices[0], Mapping):
        raise BadResponseError(f"{url} answered choices that aren't a list of objects")
    return choices[0]


def content_text(message: Mapping[str, Any], url: Any) -> str:
    """The text of a message or delta: its content, a list of parts joined, or a refusal. No content is no text."""
    content = message.get("content")
    if content is None:
        content = message.get("refusal")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part(part, url) for part in content)
    raise BadResponseError(f"{url} answered content that is {type(content).__name__}, not text")


def _part(part: Any, url: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise BadResponseError(f"{url} answered a part of content that is {type(part).__name__}")
    return next((part[key] for key in ("text", "refusal") if isinstance(part.get(key), str)), "")


def tool_call(call: Any, url: Any) -> ToolCall:
    """A tool call with its arguments as an object; other text is kept as `{"_raw": text}`."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadResponseError(f"{url} answered a tool call without a function name")
    return ToolCall(function["name"], tool_arguments(function.get("arguments")), _text(call.get("id")))


def tool_arguments(value: Any) -> Mapping[str, Any]:
    """Arguments from the text or object a server sent. Nothing is lost: see `RAW_ARGUMENTS`."""
    if value is None or value == "":
        return {}
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, str):
        return {RAW_ARGUMENTS: value}
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return {RAW_ARGUMENTS: value}
    return parsed if isinstance(parsed, dict) else {RAW_ARGUMENTS: value}


def whole_text(text: str) -> str:
    """`text` with surrogate halves that belong together joined, and lone ones replaced: those can't be stored."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _usage(data: Mapping[str, Any]) -> Usage:
    return read_usage(data.get("usage")) or Usage(requests=1)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
