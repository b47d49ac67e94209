"""One request of an OpenAI client on its way, and the call that stands for it in the log."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from llmops.errors import BackendError, BackendTimeoutError, BackendUnavailableError, BadResponseError
from llmops.http.client import SENDING
from llmops.http.failures import refused
from llmops.integrations.afterwards import AFTERWARDS
from llmops.integrations.openai_reading import PATHS, Answered, Asked
from llmops.usage.tracker import OpenCall, Tracker

ASKED_BY_DEFAULT = ("api.openai.com",)
"""Servers that are known to understand `stream_options`."""

_NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError"}


class Settings:
    """How the requests of one client are tracked."""

    def __init__(
        self, tracker: Callable[[], Tracker], backend: str, provider: Callable[[str], str], ask_usage: bool | None
    ) -> None:
        self.tracker = tracker
        self.backend = backend
        self.provider = provider
        self.ask_usage = ask_usage

    def opening(self, request: Any) -> tuple[Asked, dict[str, Any]] | None:
        """What a request asks for, and how its call is opened; None for a request that isn't tracked."""
        path = request.url.path
        if request.method != "POST" or not path.endswith(PATHS):
            return None
        if SENDING.get() is not None:  # a backend of ours sends this, which keeps the row itself
            return None
        try:
            body = request.content
        except Exception:  # an upload that is streamed has no content yet
            body = b""
        asked = Asked.read(body)
        if path.endswith("/embeddings"):
            asked = asked.without_answer()
        address = request.url.host if request.url.port is None else f"{request.url.host}:{request.url.port}"
        tries = request.headers.get("x-stainless-retry-count", "")
        return asked, {
            "backend": self.backend,
            "provider": self.provider(request.url.host),
            "address": address,
            "model": asked.request.model,
            "stream": asked.stream,
            "attempt": int(tries) + 1 if tries.isdecimal() else 1,
            "messages": asked.request.messages,
            "request": asked.request,
        }

    def wants_usage(self, request: Any, asked: Asked) -> bool:
        """Whether to ask for the usage of a stream, which the application hasn't."""
        if not asked.stream or asked.asks_usage or not request.url.path.endswith("/completions"):
            return False
        return request.url.host in ASKED_BY_DEFAULT if self.ask_usage is None else self.ask_usage


class Sending:
    """One request on its way, from the opening of its call to the end of its answer's body.

    `hides_usage` says that the application didn't ask for the usage of its stream, `is_told` that the transport tells
    when the request goes out. Gone without an end, it ends the call: a request that was never sent, or an answer that
    nobody reads any more.
    """

    def __init__(self, call: OpenCall, asked: Asked, *, address: str) -> None:
        self.call = call
        self.asked = asked
        self.address = address
        self.hides_usage = False
        self.is_used = False
        self.is_told = False
        self._answered: Answered | None = None
        self._encoded: list[bytes] | None = None
        self._decode: Callable[[bytes], bytes] | None = None
        self._is_over = False
        self._pid = os.getpid()
        call.sent = False
        AFTERWARDS.start(_end_all)
        _LIVE.add(self)

    def begun(self, response: Any) -> bool:
        """The head of the answer is here. False when there is no body to wait for."""
        self.call.sent = True
        if not 200 <= response.status_code < 300:
            self._is_over = True
            self.call.failed(refused(response.status_code, response.headers, b"", url=self.address))
            return False
        kind = response.headers.get("content-type", "")
        self._answered = Answered(self.call, stream="event-stream" in kind, address=self.address)
        body = _body_of(response)
        if body is not None:
            self.feed(body)
            self.ended()
            return False
        if response.headers.get("content-encoding", "identity") != "identity":
            self._encoded, self.hides_usage = [], False
            made, headers = type(response), response.headers
            self._decode = lambda body: bytes(made(200, headers=headers, content=body).content)
        return True

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body, as they came."""
        if self._encoded is not None:
            self._encoded.append(chunk)
            self.call.first_token()
        elif self._answered is not None:
            self._read(lambda answered: answered.feed(chunk))

    def ended(self) -> None:
        """The body is over."""
        self._is_over = True
        self._decoded()
        self._read(lambda answered: answered.ended())

    def left(self) -> None:
        """Nobody wants the answer, or the rest of it."""
        self._is_over = True
        if self._answered is None:
            self.call.abandoned()
            return
        self._decoded()
        self._read(lambda answered: answered.left())

    def failed(self, error: BaseException) -> None:
        """No answer, or no more of it."""
        self._is_over = True
        if not isinstance(error, Exception):
            self.call.cancelled()
            return
        names = {made.__name__ for made in type(error).__mro__}
        if self._answered is None and not self.is_told and names & _NOT_SENT:
            self.call.sent = False
        self.call.failed(_as_ours(error, names, self.address))

    def _decoded(self) -> None:
        if self._encoded and self._decode is not None and self._answered is not None:
            body, self._encoded = b"".join(self._encoded), []
            decode = self._decode
            self._read(lambda answered: answered.feed(decode(body)))

    def _read(self, step: Callable[[Answered], None]) -> None:
        """The application gets its answer whatever it holds; what can't be read ends the call as an error."""
        if self._answered is None:
            return
        try:
            step(self._answered)
        except Exception as error:
            self.call.failed(BadResponseError(f"{self.address}: the answer can't be read: {type(error).__name__}"))

    def __del__(self) -> None:
        if not self._is_over and self._pid == os.getpid():  # in a fork it is the parent's
            AFTERWARDS.do(self.left)


_LIVE: weakref.WeakSet[Sending] = weakref.WeakSet()


def _end_all() -> None:
    """The process ends: so do answers that it still holds on to."""
    for sending in list(_LIVE):
        if not sending._is_over and sending._pid == os.getpid():
            sending.left()


def _body_of(response: Any) -> bytes | None:
    """The body of a response that a transport had at hand (a cache does); None when it is to come."""
    try:
        return bytes(response.content)
    except Exception:
        return None


def _as_ours(error: Exception, names: set[str], address: str) -> BackendError:
    late = isinstance(error, TimeoutError) or "TimeoutException" in names
    made = BackendTimeoutError if late else BackendUnavailableError
    return made(f"{address}: {type(error).__name__}")


def opened_now(request: Any, settings: Settings) -> Sending | None:
    """A request's call, begun; None when it isn't tracked. Raises what the tracker raises."""
    opening = settings.opening(request)
    if opening is None:
        return None
    call = settings.tracker().open_now(**opening[1])
    return Sending(call, opening[0], address=opening[1]["address"])


async def opened(request: Any, settings: Settings) -> Sending | None:
    """The same, without blocking the event loop."""
    opening = settings.opening(request)
    if opening is None:
        return None
    call = await settings.tracker().open(**opening[1])
    return Sending(call, opening[0], address=opening[1]["address"])
