"""What litellm raises, as our errors: by what the server answered, not by the class litellm chose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmops.errors import (
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
_DEPTH = 12


def failure(error: Exception, where: str, *, key_env: str, secrets: Iterable[str] = ()) -> tuple[Exception, bool]:
    """Our error for one of litellm's, and whether the request may have reached the server.

    litellm invents statuses: 500 for a connection that broke, 422 for an answer it can't read, 401 for a key that
    isn't set. Only a status that a server sent counts as one.
    """
    if isinstance(error, LlmopsError):
        return error, True
    chain = list(_chain(error))
    answered: Any = next((link for link in chain if _is_status_error(link)), None)
    if answered is not None:
        hint = f"set the key in ${key_env}" if key_env else "name the variable that holds the key: api_key_env: …"
        status, headers = answered.response.status_code, _headers(error, answered)
        hints = {401: hint, 404: "is the model's name right?"}
        return refused(status, headers, _body(error), url=where, hints=hints, secrets=secrets), True
    return _without_status(error, {type(link).__name__ for link in chain}, where)


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
