"""A transport of httpx that sees every request an OpenAI client sends: each attempt is a call with a row of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from llmops.integrations.openai_sending import Sending, Settings, opened, opened_now
from llmops.integrations.openai_streams import body_streams
from llmops.usage.tracker import OpenCall

KEY = "llmops"
"""Where a request's `extensions` hold its `Sending`."""


class TrackedTransport:
    """Around a transport of httpx, sync or async; everything that isn't a call to a model passes untouched."""

    def __init__(self, inner: Any, settings: Settings) -> None:
        self.inner = inner
        self.settings = settings
        # httpx's own transports tell when a request goes out; with any other, all that got this far counts as sent
        self._tells = type(inner).__name__ in ("HTTPTransport", "AsyncHTTPTransport")

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not made yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __enter__(self) -> TrackedTransport:
        self.inner.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self.inner.__exit__(*details)

    async def __aenter__(self) -> TrackedTransport:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self.inner.__aexit__(*details)

    def handle_request(self, request: Any) -> Any:
        sending = _unused(request) or opened_now(request, self.settings)
        if sending is None:
            return self.inner.handle_request(request)
        try:
            response = self.inner.handle_request(self._prepared(request, sending, is_async=False))
        except BaseException as error:
            sending.failed(error)
            raise
        if sending.begun(response):
            response.stream = body_streams(_library(request))[0](response.stream, sending)
        return response

    async def handle_async_request(self, request: Any) -> Any:
        sending = _unused(request) or await opened(request, self.settings)
        if sending is None:
            return await self.inner.handle_async_request(request)
        try:
            response = await self.inner.handle_async_request(self._prepared(request, sending, is_async=True))
        except BaseException as error:
            sending.failed(error)
            raise
        if sending.begun(response):
            response.stream = body_streams(_library(request))[1](response.stream, sending)
        return response

    def _prepared(self, request: Any, sending: Sending, *, is_async: bool) -> Any:
        sending.is_used = True
        sending.is_told = self._tells
        if self._tells:
            chained = request.extensions.get("trace")
            trace = (_async_trace if is_async else _trace)(sending.call, chained)
            request.extensions = {**request.extensions, "trace": trace}
        else:
            sending.call.sent = True
        if not self.settings.wants_usage(request, sending.asked):
            return request
        sending.hides_usage = True
        body = {**json.loads(request.content), "stream_options": {"include_usage": True}}
        headers = [(name, value) for name, value in request.headers.items() if name != "content-length"]
        made = type(request)(
            request.method, request.url, headers=headers, content=json.dumps(body).encode(),
            extensions=request.extensions,
        )  # fmt: skip
        made.headers["accept-encoding"] = "identity"  # or the chunk that was not asked for couldn't be taken out
        return made


def _unused(request: Any) -> Sending | None:
    """The call that was begun for a request; a redirected request takes its extensions along and gets its own."""
    sending: Sending | None = request.extensions.get(KEY)
    return None if sending is None or sending.is_used else sending


def _trace(call: OpenCall, chained: Any) -> Callable[[str, Mapping[str, Any]], None]:
    def trace(event: str, details: Mapping[str, Any]) -> None:
        if event.endswith(".send_request_headers.started"):
            call.sent = True
        if chained is not None:
            chained(event, details)

    return trace


def _async_trace(call: OpenCall, chained: Any) -> Callable[[str, Mapping[str, Any]], Any]:
    async def trace(event: str, details: Mapping[str, Any]) -> None:
        if event.endswith(".send_request_headers.started"):
            call.sent = True
        if chained is not None:
            await chained(event, details)

    return trace


def _library(request: Any) -> str:
    """`httpx` or `httpx2`: whichever the client is built on."""
    return type(request).__module__.partition(".")[0]
