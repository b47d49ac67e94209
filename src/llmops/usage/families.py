"""Names of models: which are dated snapshots of one family, so that one's price may stand in for the other's."""

from __future__ import annotations

import re
from datetime import date

_DATE = r"20\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"2[3-9](?:0[1-9]|1[0-2])"  # mistral-large-2512: year and month
_MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # gpt-4-0613: month and day
_MARK = rf"(?:[-@](?:{_DATE}|{_MONTH}|{_MONTH_DAY}|latest|00\d)|-v\d+(?::\d+)?|:\d+)"
_SNAPSHOT = re.compile(rf"{_MARK}+$")
_DATED = re.compile(rf"[-@]({_DATE})(?![0-9])")


def family(model: str) -> str:
    """A model's name without the date or version of its snapshot: `gpt-4o-2024-08-06` is of `gpt-4o`."""
    return _SNAPSHOT.sub("", model) or model


def is_snapshot(name: str, of: str) -> bool:
    """True when `name` is `of` with nothing but the mark of a snapshot after it, and at most a region before it."""
    before, found, after = name.partition(of)
    if not found or (before and before[-1] not in "./"):
        return False
    return not after or _SNAPSHOT.fullmatch(after) is not None


def is_alias(asked: str, served: str) -> bool:
    """True when the name that was asked for means the model that served: `gpt-4o` of `gpt-4o-2024-08-06`."""
    asked, served = asked.lower(), served.lower()
    if asked.endswith("latest"):
        return family(asked) == family(served)
    return served.startswith(asked) and is_snapshot(served, asked)


def in_family(one: str, other: str) -> bool:
    """True for two snapshots of one model, or for one behind the name of a region."""
    one, other = one.lower(), other.lower()
    return family(one) == family(other) or is_snapshot(one, other) or is_snapshot(other, one)


def snapshot_day(model: str) -> date | None:
    """The day in a snapshot's name, or None."""
    match = _DATED.search(model)
    if match is None:
        return None
    digits = match[1].replace("-", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
