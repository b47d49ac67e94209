"""Sends OTLP requests over HTTP. Only the headers that were given go along, and redirects aren't followed.

Written on urllib instead of OpenTelemetry's exporter, which adds the headers of `OTEL_EXPORTER_OTLP_HEADERS` to every
request: the key of one collector would be sent to another.
"""

from __future__ import annotations

import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from llmops.http.addresses import check_url
from llmops.http.failures import retry_after_s
from llmops.telemetry.encoding import rejected

TIMEOUT_S = 60.0  # MLflow's first answer takes up to 25 s
GIVE_UP_S = 60.0
LONGEST_PAUSE_S = 30.0
_AGAIN = (429, 502, 503)  # not 504: see Poster
_MAX_ANSWER_BYTES = 65_536
_HINTS = {
    401: "check telemetry: headers",
    403: "check telemetry: headers",
    404: "check the address's path",
    415: "it doesn't take protobuf",
}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would carry the headers along to any host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Poster:
    """Posts to one endpoint, tries again where that may help. `timeout_s` is of one try, `give_up_s` of all of them.

    Not after a request that may have been taken: MLflow counts the tokens of a span that comes twice twice.
    Raises `InputError` for an address that isn't http(s) or holds a password.
    """

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._endpoint = check_url(endpoint, what="the collector's address")
        self.host = urlsplit(self._endpoint).netloc
        self._headers = {"User-Agent": "llmops", **headers, "Content-Type": "application/x-protobuf"}
        self._timeout_s = timeout_s
        self._give_up_s = give_up_s
        here = urlsplit(self._endpoint).hostname in ("localhost", "127.0.0.1", "::1")
        proxies = (urllib.request.ProxyHandler({}),) if here else ()
        self._opener = urllib.request.build_opener(_NoRedirects, *proxies)

    def post(self, body: bytes, count: int, pause: Callable[[float], bool]) -> tuple[int, str]:
        """How many of `count` spans or points were lost, and why. `pause(seconds)` waits for a try; True ends them."""
        end = time.monotonic() + self._give_up_s
        for attempt in range(64):
            lost, why, wait = self._once(body, count)
            if wait is None:
                return lost, why
            wait = min(wait or 2.0**attempt, LONGEST_PAUSE_S)
            if time.monotonic() + wait > end or pause(wait):
                return lost, why
        return count, why

    def _once(self, body: bytes, count: int) -> tuple[int, str, float | None]:
        """How many were lost, why, and the pause before a new try: 0 for the usual one, None when it makes no sense."""
        request = urllib.request.Request(self._endpoint, body, self._headers, method="POST")  # noqa: S310 (http only)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                refused = min(rejected(answer.read(_MAX_ANSWER_BYTES)), count)
                return refused, f"{self.host} refused them" if refused else "", None
        except urllib.error.HTTPError as error:
            with error:
                why, headers = self._status(error.code), dict(error.headers or {})
            again = (retry_after_s(headers) or 0.0) if error.code in _AGAIN else None
            return count, why, again
        except urllib.error.URLError as error:  # before the whole request was sent
            return count, f"{self.host} can't be reached ({type(error.reason).__name__})", 0.0
        except (OSError, http.client.HTTPException) as error:
            return count, f"{self.host} took them and gave no answer ({type(error).__name__})", None
        except Exception as error:
            return count, f"sending to {self.host} failed ({type(error).__name__})", None

    def _status(self, code: int) -> str:
        phrase = next((f" {known.phrase}" for known in HTTPStatus if known == code), "")
        hint = _HINTS.get(code, "use the address it redirects to" if 300 <= code < 400 else "")
        return f"{self.host} answered {code}{phrase}{hint and f'; {hint}'}"


def suppress_instrumentation() -> None:
    """Keep an application's instrumentation of urllib from tracing what this thread sends."""
    context: Any = sys.modules.get("opentelemetry.context")
    key = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    if key is not None and context.get_value(key) is None:
        context.attach(context.set_value(key, True))
