"""What requests to an OpenAI-shaped API ask for and what its answers say, read from the bytes on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmops.backends.server_events import EventParser
from llmops.errors import BackendError, BackendUnavailableError, BadResponseError
from llmops.token_usage import read_usage, reported_cost, service_tier, usage_in, written
from llmops.types import Message, Request
from llmops.usage.tracker import OpenCall

PATHS = ("/chat/completions", "/completions", "/responses", "/embeddings")
"""Ends of the paths that cost tokens, of `POST` requests. Anything else is none of our business."""

_NOT_PARAMETERS = ("messages", "input", "prompt", "instructions", "model", "tools", "stream", "stream_options")
_WHOLE_EVENTS = ("response.completed", "response.incomplete")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the model, whether the answer is streamed, and all of it in our shape."""

    request: Request
    stream: bool = False
    asks_usage: bool = False

    @classmethod
    def read(cls, body: bytes) -> Asked:
        """From a request's body; what isn't JSON (a stream of an upload, say) asks for nothing known."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, Mapping):
            return cls(Request(()))
        parameters = {name: value for name, value in data.items() if name not in _NOT_PARAMETERS}
        if isinstance(data.get("prompt"), Mapping):  # a prompt that the server keeps
            parameters["prompt"] = data["prompt"]
        tools = tuple(tool for tool in _listed(data.get("tools")) if isinstance(tool, Mapping))
        model = data.get("model")
        options = data.get("stream_options")
        return cls(
            Request(_messages(data), model if isinstance(model, str) else "", parameters, tools),
            stream=data.get("stream") is True,
            asks_usage=isinstance(options, Mapping) and "include_usage" in options,
        )

    def without_answer(self) -> Asked:
        """The same for a model that writes nothing: a budget sets nothing aside for an answer."""
        parameters = {**self.request.parameters, "max_tokens": 0}
        return replace(self, request=replace(self.request, parameters=parameters))


class Answered:
    """Reads one answer as its bytes come and settles the call when it is whole.

    `stream` says whether it is an event stream. Bytes must not be compressed.
    """

    def __init__(self, call: OpenCall, *, stream: bool, address: str = "") -> None:
        self._call = call
        self._address = address
        self._events = EventParser() if stream else None
        self._body: list[bytes] = []
        self._known: dict[str, Any] = {}
        self._known_cost: int | None = None
        self._is_whole = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        if self._events is None:
            self._body.append(chunk)
            return
        for event in self._events.feed(chunk):
            self._add(event)

    def ended(self) -> None:
        """There are no more bytes."""
        if self._events is None:
            self._read(b"".join(self._body))
            return
        for event in self._events.finish():
            self._add(event)
        if self._is_whole or self._known.get("finish_reason"):
            self._succeeded()
        else:
            self._call.failed(BackendUnavailableError(f"{self._address}: the stream was cut before the answer ended"))

    def left(self) -> None:
        """Nobody reads the rest: an answer that is whole but for its last bytes is one all the same."""
        if self._is_whole or self._known.get("finish_reason"):
            self._succeeded()
        else:
            self._call.abandoned()

    def _read(self, body: bytes) -> None:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, Mapping):
            self._call.failed(BadResponseError(f"{self._address} answered something that isn't JSON"))
            return
        problem = _problem(data, self._address)
        if problem is not None:
            self._call.failed(problem)
            return
        self._note(data)
        if data.get("status") in ("queued", "in_progress"):  # it goes on in the background: nobody knows the tokens
            self._call.abandoned()
            return
        self._succeeded(written([data.get("choices"), data.get("output")]))

    def _add(self, event: bytes) -> None:
        if event.strip() == b"[DONE]":
            self._is_whole = True
            self._succeeded()
            return
        try:
            data = json.loads(event)
        except (ValueError, RecursionError):
            return
        if not isinstance(data, Mapping):
            return
        kind = data.get("type")
        inner = data.get("response")
        if isinstance(inner, Mapping):  # the responses API: the answer so far, in an event
            self._note(inner)
        problem = _problem(inner if isinstance(inner, Mapping) else data, self._address)
        if problem is not None or kind in ("error", "response.failed"):
            self._call.failed(problem or BadResponseError(f"{self._address} streamed an error"))
            return
        if kind in _WHOLE_EVENTS:
            self._is_whole = True
            self._succeeded()
        elif isinstance(kind, str) and kind.endswith(".delta"):
            self._receive(data.get("delta"))
        elif not isinstance(inner, Mapping) and "choices" in data:
            self._receive(written(data.get("choices")))  # before what was counted with it
            self._note(data)

    def _receive(self, text: Any) -> None:
        if isinstance(text, str) and text:
            self._call.received(text)

    def _note(self, data: Mapping[str, Any]) -> None:
        """Keep what an answer or chunk says of itself; later ones win."""
        choices = [choice for choice in _listed(data.get("choices")) if isinstance(choice, Mapping)]
        details = data.get("incomplete_details")
        reasons = [choice.get("finish_reason") for choice in choices]
        reasons.append(details.get("reason") if isinstance(details, Mapping) else data.get("status"))
        found = {
            "model": data.get("model"),
            "response_id": data.get("id"),
            "service_tier": service_tier(data),
            "finish_reason": next((r for r in reasons if r not in (None, "", "queued", "in_progress")), None),
        }
        self._known |= {name: value for name, value in found.items() if isinstance(value, str) and value}
        usage = read_usage(usage_in(data))
        cost = reported_cost(usage_in(data))
        if cost is not None:
            self._known_cost = cost
        if usage is not None:
            self._call.counted(usage)

    def _succeeded(self, text: str = "") -> None:
        self._call.succeeded(text=text, reported_cost=self._known_cost, **self._known)


def _problem(data: Mapping[str, Any], address: str) -> BackendError | None:
    """An error inside of an answer that began with 200."""
    if not data.get("error"):
        return None
    return BadResponseError(f"{address} answered 200 with an error")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _messages(data: Mapping[str, Any]) -> tuple[Message, ...]:
    """What is said, as messages: chat's own, a prompt's or an embedding's texts, the input of the responses API."""
    if isinstance(data.get("messages"), list):
        return tuple(message for message in data["messages"] if isinstance(message, Mapping))
    said: list[Message] = []
    if isinstance(data.get("instructions"), str):
        said.append({"role": "system", "content": data["instructions"]})
    given = data.get("input", data.get("prompt"))
    items = given if isinstance(given, list) else [given]
    for item in [items] if items and all(type(item) is int for item in items) else items:
        if isinstance(item, str):
            said.append({"role": "user", "content": item})
        elif isinstance(item, list):  # a text's token ids: as text no fewer bytes than tokens, which a budget counts on
            said.append({"role": "user", "content": " ".join(map(str, item))})
        elif isinstance(item, Mapping):
            said.append(item if "content" in item else {"role": "user", "content": written(item)})
    return tuple(said)
