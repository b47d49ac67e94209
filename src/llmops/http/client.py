"""A thin layer over aiohttp: one session per event loop, no redirects, failures as our errors."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    RequestRejectedError,
)
from llmops.http.failures import shown

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

MAX_BODY_BYTES = 64 * 1024 * 1024
SENDING: ContextVar[Any] = ContextVar("llmops_sending", default=None)
"""Whose request is about to go out: its `sent` is set to True when the first byte is written to a connection.

A call that ended before that never reached a server. It is marked a moment early rather than late.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; `headers` ignores case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Sends requests to one server.

    `headers` is called when a session is made, so that a key is asked for only when something is sent.
    Connections are kept and reused; how many are open at once is up to the caller. Redirects aren't followed:
    they would carry the key elsewhere. Times in seconds.
    """

    def __init__(
        self,
        headers: Callable[[], Mapping[str, str]],
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        trust_env: bool = False,
    ) -> None:
        self._headers = headers
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._trust_env = trust_env
        self._sessions: dict[int, tuple[asyncio.AbstractEventLoop, ClientSession, AsyncGenerator[None, None]]] = {}

    async def send(self, method: str, url: URL, body: bytes) -> Answer:
        """The answer to `body`, read to its end. Raises `BackendError` when there is none."""
        session = self._session()
        try:
            async with session.request(method, url, data=_marking(body), allow_redirects=False) as response:
                return Answer(response.status, response.headers, await read(response, url))
        except Exception as error:
            raise self._explain(error, url) from None

    @asynccontextmanager
    async def open(self, method: str, url: URL, body: bytes) -> AsyncIterator[ClientResponse]:
        """The response before its body is read, for streams; failures while it is read are mapped as well."""
        session = self._session()
        try:
            async with session.request(method, url, data=_marking(body), allow_redirects=False) as response:
                yield response
        except Exception as error:
            raise self._explain(error, url) from None

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next request opens new ones."""
        found = self._sessions.pop(id(asyncio.get_running_loop()), None)
        if found is not None:
            await found[1].close()
            with contextlib.suppress(RuntimeError):  # the loop is being wound up, and closes it
                await found[2].aclose()

    def _session(self) -> ClientSession:
        loop = asyncio.get_running_loop()
        found = self._sessions.get(id(loop))
        if found is not None and found[0] is loop and not found[1].closed:
            return found[1]
        session = self._new_session()
        self._sessions = {i: pair for i, pair in self._sessions.items() if not pair[0].is_closed()}
        self._sessions[id(loop)] = loop, session, _closed_with_loop(session, loop)
        return session

    def _new_session(self) -> ClientSession:
        import aiohttp

        timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=self._connect_timeout_s, sock_read=self._read_timeout_s
        )
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=timeout,
            headers=self._headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=self._trust_env,
        )

    def _explain(self, error: Exception, url: Any) -> Exception:
        import aiohttp

        if isinstance(error, BackendError):
            return error
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return BackendTimeoutError(f"{url}: no connection within {self._connect_timeout_s:g} s")
        if isinstance(error, TimeoutError):
            return BackendTimeoutError(f"{url}: nothing came for {self._read_timeout_s:g} s")
        if isinstance(error, (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError)):
            return RequestRejectedError(f"{url}: the secure connection failed: {shown(str(error))}")
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = shown(error.os_error.strerror or str(error.os_error))
            return BackendUnavailableError(f"{url}: no connection: {reason}", hint="is the server running?")
        if isinstance(error, aiohttp.ClientResponseError):
            return BadResponseError(f"{url} answered something that isn't HTTP: {shown(error.message)}")
        if isinstance(error, aiohttp.ClientPayloadError):
            return BackendUnavailableError(f"{url}: the answer was cut off half-way")
        if isinstance(error, (aiohttp.ClientError, OSError)):
            reason = shown(str(error)) or type(error).__name__
            return BackendUnavailableError(f"{url}: the connection broke: {reason}")
        return error


def _closed_with_loop(session: ClientSession, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    """What closes `session` when its event loop is wound up, or when nobody holds on to the result any more.

    An event loop closes the asynchronous generators that were begun in it, in both cases.
    """

    async def keeping() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await session.close()

    kept = keeping()
    with contextlib.suppress(StopIteration):
        kept.__anext__().__await__().send(None)  # to its first yield; nothing before it waits
    weakref.finalize(kept, _abandon, session, loop)
    return kept


def _abandon(session: ClientSession, loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections of a loop that doesn't run any more: nothing can be awaited there."""
    connector: Any = session.connector
    if connector is None or session.closed or loop.is_running():
        return
    session.detach()
    close = getattr(connector, "_close_immediately", None) or getattr(connector, "_close", None)
    if close is not None:
        with contextlib.suppress(Exception):
            close()


async def read(response: ClientResponse, url: Any) -> bytes:
    """The whole body. Raises `BadResponseError` beyond `MAX_BODY_BYTES`."""
    blocks: list[bytes] = []
    size = 0
    while block := await response.content.readany():
        blocks.append(block)
        size += len(block)
        if size > MAX_BODY_BYTES:
            raise BadResponseError(f"{url} answered more than {MAX_BODY_BYTES // 1_048_576} MB")
    return b"".join(blocks)


def _marking(body: bytes) -> Any:
    """`body` as aiohttp takes it, marking `SENDING` when it is written (headers go out together with it)."""
    sending = SENDING.get()
    if sending is None:
        return body
    if not body:  # nothing that could mark it
        sending.sent = True
        return body
    return _marking_payload()(body, sending)


@cache
def _marking_payload() -> Callable[[bytes, Any], Any]:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.payload import BytesPayload

    class MarkingPayload(BytesPayload):
        def __init__(self, value: bytes, sending: Any) -> None:
            super().__init__(value)
            self._sending = sending

        async def write(self, writer: AbstractStreamWriter) -> None:
            self._sending.sent = True
            await super().write(writer)

        async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
            self._sending.sent = True
            await super().write_with_length(writer, content_length)

    return MarkingPayload
