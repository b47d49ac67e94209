"""Which calls a report is about: what they are grouped by, from when to when, and whose they are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from llmops.errors import InputError, did_you_mean

BY = (
    "purpose", "prompt", "version", "model", "provider", "backend", "team", "feature", "user", "run", "suite",
    "variant", "hour", "day", "month", "outcome", "state", "certainty", "source", "prompt_id", "model_asked",
    "model_served", "address", "fallback_from", "tokens", "price", "revision", "finish_reason", "service_tier", "error",
)  # fmt: skip
Moment = str | float | date | None
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(m|h|d|w)")
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_HOUR = 3600
_LAST = 253402300800.0  # the year 10000, which no date reaches
HOW_TO_WRITE_TIMES = "write an age (24h, 7d, 4w), a date (2026-11-01), a month (2026-11), today or yesterday"


@dataclass(frozen=True, slots=True)
class Selection:
    """What to group by, a window of whole hours in Unix seconds, and values that calls must have."""

    by: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    where: Mapping[str, str] = field(default_factory=dict)


def select(
    by: str | Sequence[str] = (),
    since: Moment = None,
    until: Moment = None,
    where: Mapping[str, str] | Iterable[str] = (),
    *,
    now: float | None = None,
) -> Selection:
    """Read what the caller wrote. Times are UTC; the window is widened to whole hours.

    A day or month as `until` belongs to the window. Raises `InputError` for an unknown name or time, or an empty
    window.
    """
    now = time.time() if now is None else now
    began = _moment(since, "--since", now, end=False)
    ended = _moment(until, "--until", now, end=True)
    if began is not None and ended is None and now <= began:
        raise InputError(f"the window is empty: --since {str(since)[:60]} is yet to come", hint=HOW_TO_WRITE_TIMES)
    if began is not None and ended is not None and ended <= began:
        raise InputError(
            "the window is empty: it begins after it ends", hint=f"look at --since {since} and --until {until}"
        )
    return Selection(_names(by), began, ended, _conditions(where))


def _names(by: str | Sequence[str]) -> tuple[str, ...]:
    words = [by] if isinstance(by, str) else list(by)
    found = [name.strip() for word in words for name in str(word).split(",") if name.strip()]
    for name in found:
        check_name(name, "--by")
    if words and not found:
        raise InputError("--by names no field", hint=f"one or more of {', '.join(BY[:9])} and others")
    return tuple(dict.fromkeys(found))


def check_name(name: str, what: str) -> None:
    """Raises `InputError` unless calls can be told apart by `name`."""
    if name in BY or (name.startswith("tag:") and len(name) > len("tag:")):
        return
    raise InputError(f"{what} {name[:60]!r}: calls have no such field", hint=_or_tag(did_you_mean(name, BY), name))


def _or_tag(hint: str, name: str) -> str:
    return f"{hint} A tag of yours is tag:{name[:40]}" if hint.endswith("?") else f"{hint}, tag:NAME"


def _conditions(where: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    if isinstance(where, Mapping):
        pairs = [(str(key), str(value)) for key, value in where.items()]
    else:
        words = [where] if isinstance(where, str) else list(where)
        pairs = []
        for word in words:
            key, equals, value = str(word).partition("=")
            if not equals:
                raise InputError(f"--where {str(word)[:60]!r} has no =", hint="write --where team=search")
            pairs.append((key.strip(), value.strip()))
    for key, _ in pairs:
        check_name(key, "--where")
        if key in ("hour", "day", "month"):
            raise InputError(f"--where {key}: times are chosen with --since and --until")
    if len(dict(pairs)) < len(pairs):
        raise InputError("--where names one field twice", hint="a call has one value of each")
    return dict(pairs)


def _moment(given: Moment, flag: str, now: float, *, end: bool) -> float | None:
    if given is None:
        return None
    seconds = _seconds(given, flag, now, end=end)
    if not 0 <= seconds < _LAST:
        raise InputError(f"{flag} {str(given)[:60]!r} is no time of this world", hint=HOW_TO_WRITE_TIMES)
    whole = -(-seconds // _HOUR) if end else seconds // _HOUR
    return whole * _HOUR


def instant(given: str | float | date, flag: str, now: float) -> float:
    """A point in time as a Unix time; a day is its beginning. Raises `InputError`."""
    seconds = _seconds(given, flag, now, end=False)
    if not 0 <= seconds < _LAST:
        raise InputError(f"{flag} {str(given)[:60]!r} is no time of this world", hint=HOW_TO_WRITE_TIMES)
    return seconds


def _seconds(given: str | float | date, flag: str, now: float, *, end: bool) -> float:
    if isinstance(given, datetime):
        return given.astimezone(UTC).timestamp() if given.tzinfo else given.replace(tzinfo=UTC).timestamp()
    if isinstance(given, date):
        return _of_day(given, end=end)
    if isinstance(given, (int, float)):
        return float(given)
    text = given.strip().lower()
    if text == "now":
        return now
    if text in ("today", "yesterday"):
        return _of_day(datetime.fromtimestamp(now, UTC).date() - timedelta(days=text == "yesterday"), end=end)
    if age := _AGE.fullmatch(text):
        return now - float(age[1]) * _UNITS[age[2]]
    try:
        if month := _MONTH.fullmatch(text):
            return _of_month(int(month[1]), int(month[2]), end=end)
        if len(text) == len("2026-11-01"):
            return _of_day(date.fromisoformat(text), end=end)
        moment = datetime.fromisoformat(given.strip())
    except (ValueError, OverflowError):
        raise InputError(f"{flag} {given[:60]!r} isn't a time", hint=HOW_TO_WRITE_TIMES) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _of_day(day: date, *, end: bool) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + (86400 if end else 0)


def _of_month(year: int, month: int, *, end: bool) -> float:
    first = datetime(year, month, 1, tzinfo=UTC)
    if end:
        first = first.replace(year=year + month // 12, month=month % 12 + 1)
    return first.timestamp()
