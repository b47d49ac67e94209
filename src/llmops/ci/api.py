"""The least that talks to a forge's REST API: JSON over urllib, tries again, keeps the token to one host."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    RateLimitedError,
    RequestRejectedError,
)
from llmops.http import check_url, refused, retry_after_s, shown
from llmops.secrets import masked_message

ATTEMPTS = 4
LONGEST_PAUSE_S = 60.0
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_PAGES = 200
PER_PAGE = 100
TIMEOUT_S = 30.0
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,<]*\brel="?next"?', re.IGNORECASE)
_REDIRECTS = (301, 302, 307, 308)


class ForbiddenError(RequestRejectedError):
    """The token may not do this: 401, 403 or 404 (which forges answer rather than admit that something is there)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `headers` ignores case, `data` is its JSON (None when there is none)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def data(self) -> Any:
        try:
            return json.loads(self.body) if self.body else None
        except (ValueError, RecursionError):
            raise BadResponseError(f"{self.url} answered {self.status} with something that isn't JSON") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would carry the token along to any host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Api:
    """An API below `base`, such as https://api.github.com, spoken to with `headers`; `token` is never shown.

    5xx answers, 429 and lost connections are tried again, at most `ATTEMPTS` times, after as long as the server asks,
    up to a minute. Redirects are followed to the same host only.
    """

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        token: str,
        *,
        hints: Mapping[int, str] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.base = check_url(base, what="the API's address").rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "llmops", **headers}
        self._token = token
        self._hints = hints or {}
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirects)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, once: bool = False) -> Reply:
        """Send a request to a path below `base`, or to an address on the same host; the 2xx answer.

        With `once`, an answer or connection lost on the way isn't tried again, since the server may have done it.
        Raises `ForbiddenError`, other `BackendError`s.
        """
        url = path if "://" in path else self.base + path
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, url, body)
            except BackendError as error:
                pause = _pause(error, attempt)
                sure = isinstance(error, RateLimitedError) or not once
                if not error.retryable or not sure or attempt == ATTEMPTS or pause > LONGEST_PAUSE_S:
                    raise
            self._sleep(pause)
        raise AssertionError

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The objects of a list, page after page: by the `Link` header, `X-Next-Page`, else while pages are full."""
        first = f"{path}{'&' if '?' in path else '?'}per_page={PER_PAGE}"
        following, page = f"{first}&page=1", 1
        for _ in range(MAX_PAGES):
            reply = self.call("GET", following)
            found = reply.data
            if not isinstance(found, list):
                raise BadResponseError(f"{reply.url} answered with something that isn't a list")
            yield from (row for row in found if isinstance(row, dict))
            page += 1
            link = _NEXT.search(reply.headers.get("Link") or "")
            if link is not None and self._same_host(urljoin(reply.url, link[1])):
                following = urljoin(reply.url, link[1])
            elif (reply.headers.get("X-Next-Page") or "").strip().isdecimal() or len(found) >= PER_PAGE:
                following = f"{first}&page={page}"
            else:
                return

    def _once(self, method: str, url: str, body: Mapping[str, Any] | None) -> Reply:
        for _ in range(4):
            reply = self._exchange(method, url, body)
            if reply.status not in _REDIRECTS:
                break
            target = urljoin(url, reply.headers.get("Location") or "")
            if not self._same_host(target):
                break
            url = target
        if 200 <= reply.status < 300:
            return reply
        raise self._refusal(reply)

    def _refusal(self, reply: Reply) -> BackendError:
        error = refused(
            reply.status, reply.headers, reply.body, url=reply.url, hints=self._hints, secrets=[self._token]
        )
        if reply.status in (403, 429) and (wait := retry_after_s(reply.headers)) is not None:
            return RateLimitedError(error.message, retry_after_s=wait, hint="too many requests; try later")
        if reply.status in (401, 403, 404):
            return ForbiddenError(error.message, hint=error.hint)
        return error

    def _exchange(self, method: str, url: str, body: Mapping[str, Any] | None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        headers = dict(self._headers) if data is None else {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 (checked: http)
        said = url.partition("?")[0]
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return Reply(answer.status, _mapping(answer.headers), answer.read(MAX_BODY_BYTES), said)
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, _mapping(error.headers), error.read(MAX_BODY_BYTES), said)
        except TimeoutError:
            raise BackendTimeoutError(f"{said} didn't answer within {TIMEOUT_S:.0f} s") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise BackendTimeoutError(f"{said} didn't answer within {TIMEOUT_S:.0f} s") from None
            raise BackendUnavailableError(f"no connection to {said}: {self._clean(error.reason)}") from None
        except (OSError, http.client.HTTPException) as error:
            raise BackendUnavailableError(f"the connection to {said} was lost: {self._clean(error)}") from None

    def _clean(self, error: object) -> str:
        return shown(masked_message(str(error) or type(error).__name__, [self._token]))

    def _same_host(self, url: str) -> bool:
        try:
            here, there = urlsplit(self.base), urlsplit(url)
            return (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
        except ValueError:
            return False


def _pause(error: BackendError, attempt: int) -> float:
    asked = getattr(error, "retry_after_s", None)
    return float(asked) if asked is not None else 0.5 * 2.0 ** (attempt - 1)


def _mapping(headers: Any) -> Mapping[str, str]:
    return cast("Mapping[str, str]", headers)  # an email.message.Message: `get` ignores case
