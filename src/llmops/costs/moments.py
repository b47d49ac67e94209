"""Points in time as people write them, in UTC: ages, days, months."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from llmops.errors import InputError

Moment = str | float | date | None
HOUR = 3600
HOW_TO_WRITE_TIMES = "write an age (24h, 7d, 4w, 1mo), a date (2026-11-01), a month (2026-11), today or yesterday"
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_UNITS = {"min": 60, "h": 3600, "d": 86400, "w": 604800}
_MONTHS = "mo"
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_LAST = 253402300800.0  # the year 10000, which no date reaches


def instant(given: str | float | date, flag: str, now: float, *, end: bool = False) -> float:
    """A point in time as a Unix time; a day or month is its beginning, or its `end`. Raises `InputError`."""
    seconds = _seconds(given, flag, now, end=end)
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
    if (age := _AGE.fullmatch(text)) and (seconds := _ago(age[1], age[2], flag, now)) is not None:
        return seconds
    try:
        if month := _MONTH.fullmatch(text):
            return _of_month(int(month[1]), int(month[2]), end=end)
        if len(text) == len("2026-11-01"):
            return _of_day(date.fromisoformat(text), end=end)
        moment = datetime.fromisoformat(given.strip())
    except (ValueError, OverflowError):
        raise InputError(f"{flag} {given[:60]!r} isn't a time", hint=HOW_TO_WRITE_TIMES) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ago(number: str, unit: str, flag: str, now: float) -> float | None:
    """How long ago; a month ago is the same day of the month before, or its last. None for an unknown unit."""
    if unit == "m":  # a month to some, a minute to others
        hint = f"minutes are {number[:20]}min, months {number[:20]}{_MONTHS}"
        raise InputError(f"{flag} {number[:20]}m may be minutes or months", hint=hint)
    if unit in _UNITS:
        return now - float(number) * _UNITS[unit]
    if unit != _MONTHS or "." in number:
        return None
    today = datetime.fromtimestamp(now, UTC)
    months = today.year * 12 + today.month - 1 - int(number[:9])
    if months < 12:
        return -1.0
    first = today.replace(year=months // 12, month=months % 12 + 1, day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(today.day, last.day)).timestamp()


def _of_day(day: date, *, end: bool) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + (86400 if end else 0)


def _of_month(year: int, month: int, *, end: bool) -> float:
    first = datetime(year, month, 1, tzinfo=UTC)
    if end:
        first = first.replace(year=year + month // 12, month=month % 12 + 1)
    return first.timestamp()
