"""Names of models: which are dated snapshots of one family, so that one's price may stand in for the other's."""

from __future__ import annotations

import re
from collections.abc import Iterable

_DATE = r"20\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"2[3-9](?:0[1-9]|1[0-2])"  # mistral-large-2512: year and month
_MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # gpt-4-0613: month and day
_MARK = rf"(?:[-@](?:{_DATE}|{_MONTH}|{_MONTH_DAY}|latest|00\d)|-v\d+(?::\d+)?|:\d+)"
_SNAPSHOT = re.compile(rf"{_MARK}+$")
_BEFORE = re.compile(r"^(?:.*/)?(?:(?:[a-z-]+\.)+(?=[a-z]))?")  # a path, a region, a maker: us.anthropic.claude-…
_DASHED = re.compile(r"(20\d\d)-(\d\d)-(\d\d)(?!\d)")
_VERSIONS = re.compile(r"-v\d+(?::\d+)?$"), re.compile(r":\d+$")  # Bedrock's -v1:0


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


def spelled(name: str) -> str:
    """A model's name with its date, the same whoever sells it: without region and maker, the date in one spelling."""
    return _DASHED.sub(r"\1\2\3", _BEFORE.sub("", name.lower()).replace("@", "-"))


def spelled_names(names: Iterable[str]) -> frozenset[str]:
    """All models that names of a list spell out, with and without the version that one seller puts behind them."""
    known = {spelled(name) for name in names}
    return frozenset(known | {mark.sub("", name) for mark in _VERSIONS for name in known})
