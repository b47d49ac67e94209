"""The chat completions protocol as data: request bodies, answers, and answers put together from a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmops.errors import BackendError, BackendUnavailableError, BadResponseError, InputError, RequestRejectedError
from llmops.http import refused, shown
from llmops.http.failures import server_message
from llmops.token_usage import read_usage, reported_cost, service_tier
from llmops.types import Completion, Request, ToolCall, Usage

RAW_ARGUMENTS = "_raw"
"""Where a tool call's arguments are kept, as the text they came as, when that text isn't a JSON object."""

_OURS = ("model", "messages", "stream", "stream_options")


def request_body(request: Request, model: str, *, stream: bool, usage_in_every_chunk: bool = False) -> bytes:
    """The JSON body. Raises `InputError` without a model, `RequestRejectedError` on what JSON can't hold."""
    body = request_fields(request, model)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
        if usage_in_every_chunk:
            body["stream_options"]["continuous_usage_stats"] = True
    try:
        return json.dumps(body, allow_nan=False).encode()
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


def parse_json(body: bytes, url: Any) -> Mapping[str, Any]:
    """A JSON object. Raises `BadResponseError` on anything else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        start = shown(body[:400].decode("utf-8", "replace"), 60)
        raise BadResponseError(f"{url} answered something that isn't JSON: {start!r}") from None
    if not isinstance(data, Mapping):
        raise BadResponseError(f"{url} answered {type(data).__name__}, not a JSON object")
    return data


def parse_completion(body: bytes, url: Any, *, asked: str = "", latency_s: float | None = None) -> Completion:
    """The completion in a whole answer. Raises `BadResponseError` when it isn't one."""
    return read_completion(parse_json(body, url), url, asked=asked, latency_s=latency_s)


def read_completion(data: Mapping[str, Any], url: Any, *, asked: str, latency_s: float | None) -> Completion:
    """The same for data that was read already."""
    choice = _first_choice(data, url)
    if choice is None:
        raise reported_error(data, url) or BadResponseError(f"{url} answered without choices")
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise BadResponseError(f"{url} answered a choice without a message")
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, (list, tuple)):
        raise BadResponseError(f"{url} answered tool_calls that aren't a list")
    return Completion(
        text=whole_text(content_text(message, url)),
        usage=_usage(data),
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


def _first_choice(data: Mapping[str, Any], url: Any) -> Mapping[str, Any] | None:
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
        self.done = False

    @property
    def usage(self) -> Usage:
        """What the server counted, the last count over earlier ones; of a count so far, an estimate of the whole."""
        if self.done or self._usage_is_last or self._usage.certainty != "exact":
            return self._usage
        return replace(self._usage, certainty="estimated")

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
            raise problem
        self._model = _text(chunk.get("model")) or self._model
        self._id = self._id or _text(chunk.get("id"))
        choice = _first_choice(chunk, self._url)
        if choice is not None:
            self._any = True
            self._finish = _text(choice.get("finish_reason")) or self._finish
        if chunk.get("usage") or "service_tier" in chunk:
            self._account(chunk)
        return None if choice is None else self._delta(choice.get("delta"))

    def _account(self, chunk: Mapping[str, Any]) -> None:
        self._tier = service_tier(chunk) or self._tier
        counted = read_usage(chunk.get("usage"))
        if counted is not None:
            self._usage, self._usage_is_last = counted, bool(self._finish)
        cost = reported_cost(chunk.get("usage"))
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
        return Completion(
            text=whole_text("".join(self._pieces)),
            usage=self.usage,
            tool_calls=tuple(tool_call(call, self._url) for call in calls),
            finish_reason=self._finish,
            model=self._model,
            latency_s=latency_s,
            first_token_s=first_token_s,
            response_id=self._id,
            service_tier=self._tier,
            reported_cost=self._cost,
        )
