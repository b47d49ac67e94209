"""What a status other than 2xx means: which error, the server's own words, and how long it asks to wait."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    RateLimitedError,
    RequestRejectedError,
)
from llmops.secrets import masked_message

MAX_MESSAGE = 300
MAX_WAIT_S = 86_400.0
_MAX_MASKED = 65_536
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NEVER_CODES = ("insufficient_quota", "billing_hard_limit_reached")


def refused(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    url: str,
    hints: Mapping[int, str] | None = None,
    secrets: Iterable[str] = (),
) -> BackendError:
    """The error for a status other than 2xx. `hints` says what to do about a status; `secrets` are masked."""
    made = _refusal(status, headers, body, url, hints, secrets)
    made.status = status
    return made


def _refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    url: str,
    hints: Mapping[int, str] | None,
    secrets: Iterable[str],
) -> BackendError:
    error = _error_object(body)
    said = server_message(error, body, secrets)
    message = f"{url} answered {status}: {said}" if said else f"{url} answered {status}"
    hint = (hints or {}).get(status, "")
    codes = (error.get("code"), error.get("type")) if isinstance(error, Mapping) else ()
    if status == 429 and any(code in _NEVER_CODES for code in codes):
        return RequestRejectedError(message, hint="the account has no credit left")
    if status in (429, 503):
        return RateLimitedError(message, retry_after_s=retry_after_s(headers), hint=hint)
    if status == 408:
        return BackendTimeoutError(message, hint=hint)
    if status >= 500:
        return BackendUnavailableError(message, hint=hint)
    if 300 <= status < 400:
        target = shown(masked_message(str(headers.get("Location", "")), tuple(secrets)))
        message = f"{url} answered {status}, a redirect to {target!r}"
        return RequestRejectedError(message, hint="use that address itself")
    return RequestRejectedError(message, hint=hint)


def _error_object(body: bytes) -> Any:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data.get("error", data) if isinstance(data, Mapping) else None


def server_message(error: Any, body: bytes = b"", secrets: Iterable[str] = ()) -> str:
    """The server's own message: `error.message`, `error`, `message` or `detail`, else the start of the body."""
    if isinstance(error, Mapping):
        found = next((error[k] for k in ("message", "detail", "error", "msg") if error.get(k)), None)
        text = found if isinstance(found, str) else json.dumps(dict(error) if found is None else found)
    elif isinstance(error, str):
        text = error
    else:
        text = body[:_MAX_MASKED].decode("utf-8", "replace")
    # Masked before it is cut, or the beginning of a secret could stay.
    return shown(masked_message(text[:_MAX_MASKED], tuple(secrets))[: 4 * MAX_MESSAGE])


class Masking:
    """Masks `secrets()` in the text of a `BackendError` that is raised inside."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BackendError):
            secrets = tuple(self._secrets())
            error.message, error.hint = (masked_message(text, secrets) for text in (error.message, error.hint))
            error.args = (error.message,)


def shown(text: str, limit: int = MAX_MESSAGE) -> str:
    """Untrusted text as an error may show it: one line, no control characters, at most `limit` characters."""
    text = _TERMINAL.sub("", text[: 10 * limit])
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait, or None.

    Read from `retry-after-ms`, `Retry-After` (seconds, or an HTTP date against the server's own `Date`), or the
    `x-ratelimit-reset…` of a limit with nothing remaining (seconds, a duration such as `6m0s`, or a Unix time).
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _clamped(milliseconds / 1000)
    asked = headers.get("Retry-After")
    if asked is not None:
        seconds = _number(asked)
        return _clamped(seconds) if seconds is not None else _until_date(asked, headers.get("Date"))
    resets = [
        reset
        for suffix in ("", "-requests", "-tokens")
        if (headers.get(f"x-ratelimit-remaining{suffix}") or "0").strip() == "0"
        and (reset := _reset(headers.get(f"x-ratelimit-reset{suffix}"))) is not None
    ]
    return _clamped(max(resets)) if resets else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_WAIT_S)


def _until_date(text: str, now: str | None) -> float | None:
    try:
        start = parsedate_to_datetime(now).timestamp() if now else time.time()
    except (ValueError, TypeError, OverflowError):
        start = time.time()
    try:
        return _clamped(parsedate_to_datetime(text).timestamp() - start)
    except (ValueError, TypeError, OverflowError):
        return None


def _reset(text: str | None) -> float | None:
    if text is None:
        return None
    value = _number(text)
    if value is not None:
        if value > 1e11:  # a Unix time in milliseconds
            return value / 1000 - time.time()
        return value - time.time() if value > 1e8 else value
    text = text.strip()
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(n) * _UNIT_S[unit] for n, unit in _DURATION_PART.findall(text))
