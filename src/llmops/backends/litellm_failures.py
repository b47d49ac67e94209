"""What litellm raises, as our errors: by what the server answered, not by the class litellm chose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    ConfigError,
    LlmopsError,
    RequestRejectedError,
    said,
)
from llmops.http import refused, shown

_NOT_CONNECTED = frozenset({"ConnectError", "ClientConnectorError", "ClientConnectorDNSError"})
_NOT_CONNECTED_IN_TIME = frozenset({"ConnectTimeout", "ConnectionTimeoutError", "PoolTimeout"})
_BROKEN = frozenset(
    {"ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ClientPayloadError", "ServerDisconnectedError"}
    | {"ClientOSError", "ConnectionResetError", "StopAsyncIteration"}
)
_PREFIX = re.compile(r"^(?:litellm\.)?\w+: (?:.*?Exception(?: \w+)? - )?", re.DOTALL)
_IN_EVENTS = frozenset({400, 403, 404, 413, 429, 503, 529})
_DEPTH = 12


def failure(
    error: Exception,
    where: str,
    *,
    key_env: str,
    secrets: Iterable[str] = (),
    has_left: bool = False,
    has_begun: bool = False,
) -> tuple[Exception, bool]:
    """Our error for one of litellm's, and whether the request may have reached the server.

    `has_left` says that litellm told that it sends it, `has_begun` that a stream's head has come: what fails then
    was sent, whatever the error looks like; but for a connection that there never was.

    litellm invents statuses: 500 for a connection that broke, 422 for an answer it can't read, 401 for a key that
    isn't set. Only a status that a server sent counts as one.
    """
    names = {type(link).__name__ for link in _chain(error)}
    made, reached = _made(error, where, key_env, secrets, names, has_begun)
    if has_begun and isinstance(made, BackendError):
        made.has_begun = True
    is_lost = not has_begun and bool(names & (_NOT_CONNECTED | _NOT_CONNECTED_IN_TIME))
    return made, reached or has_begun or (has_left and not is_lost)


def _made(
    error: Exception, where: str, key_env: str, secrets: Iterable[str], names: set[str], has_begun: bool
) -> tuple[Exception, bool]:
    if isinstance(error, LlmopsError):
        return error, True
    answered: Any = next((link for link in _chain(error) if _is_status_error(link)), None)
    if answered is not None:
        hint = f"set the key in ${key_env}" if key_env else "name the variable that holds the key: api_key_env: …"
        status, headers = answered.response.status_code, _headers(error, answered)
        hints = {401: hint, 404: "is the model's name right?"}
        return refused(status, headers, _body(error), url=where, hints=hints, secrets=secrets), True
    return _in_a_stream(error, names, where, secrets) if has_begun else _without_status(error, names, where)


def _in_a_stream(error: Exception, names: set[str], where: str, secrets: Iterable[str]) -> tuple[Exception, bool]:
    """An error that the server reported in an event, by the status in it; else what broke the stream."""
    status = getattr(error, "status_code", None)
    if status in _IN_EVENTS and not names & _BROKEN and not any("Timeout" in name for name in names):
        return refused(status, _headers(error, None), _body(error), url=where, secrets=secrets), True
    made, _ = _without_status(error, names, where)
    if isinstance(made, (ConfigError, RequestRejectedError)):
        made = BadResponseError(made.message)
    return made, True


def _without_status(error: Exception, names: set[str], where: str) -> tuple[Exception, bool]:
    status = getattr(error, "status_code", None)
    text = shown(_PREFIX.sub("", said(error).split("\n")[0]))
    if names & _NOT_CONNECTED_IN_TIME:
        return BackendTimeoutError(f"{where}: no connection in time"), False
    if names & _NOT_CONNECTED:
        return BackendUnavailableError(f"{where}: no connection", hint="is the server running?"), False
    if any("Timeout" in name for name in names):
        return BackendTimeoutError(f"{where}: nothing came in time"), True
    if names & _BROKEN:
        return BackendUnavailableError(f"{where}: the connection broke or the answer was cut off"), True
    if status == 401:
        return ConfigError(f"{where}: {text}", hint="name the variable that holds the key: api_key_env: …"), False
    if not _headers(error, None) and isinstance(status, int) and 400 <= status < 500:
        return RequestRejectedError(f"{where}: {text}"), False
    return BadResponseError(f"{where} answered something that litellm can't read: {text}"), True


def has_status(error: BaseException) -> bool:
    """Whether a server's own status is behind an error: litellm gives a status to others too."""
    return any(_is_status_error(link) for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_DEPTH):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _is_status_error(link: Any) -> bool:
    """httpx's own error for a status, which litellm and the openai library chain theirs to."""
    return type(link).__name__.endswith("HTTPStatusError") and hasattr(link, "response")


def _headers(error: Any, answered: Any) -> Mapping[str, str]:
    import httpx

    found = getattr(error, "litellm_response_headers", None)
    if not found and answered is not None:
        found = answered.response.headers
    return httpx.Headers(dict(found or {}))


def _body(error: Exception) -> bytes:
    """The server's own words: what stands after the names of classes in litellm's message."""
    text = _PREFIX.sub("", said(error)).split(" Original exception")[0].split("\n")[0].strip()
    quoted = re.fullmatch(r"b(['\"])(.*)\1", text, re.DOTALL)
    return (quoted.group(2) if quoted else text).encode("utf-8", "replace")
