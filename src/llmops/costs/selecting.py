"""Which calls a report is about: what they are grouped by, from when to when, and whose they are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import get_args

from llmops.costs.moments import HOUR, HOW_TO_WRITE_TIMES, Moment, instant
from llmops.errors import InputError, did_you_mean
from llmops.types import CallOutcome, CallState, CostCertainty, Purpose, TokenCertainty
from llmops.usage.conditions import Among, Condition, Where

BY = (
    "purpose", "prompt", "version", "model", "provider", "backend", "team", "feature", "user", "run", "suite",
    "variant", "hour", "day", "month", "outcome", "state", "certainty", "source", "prompt_id", "model_asked",
    "model_served", "address", "fallback_from", "tokens", "price", "revision", "finish_reason", "service_tier", "error",
)  # fmt: skip
TIMES = ("hour", "day", "month")
VALUES: Mapping[str, tuple[str, ...]] = {
    "purpose": get_args(Purpose), "outcome": get_args(CallOutcome), "state": get_args(CallState),
    "certainty": get_args(CostCertainty), "tokens": get_args(TokenCertainty),
}  # fmt: skip
"""What fields with a closed set of values may be."""
_VALUE = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>[^",][^,]*)|)(?:,|\Z)')
_TOLD = 0.01  # a window that grew by less is what was asked for


@dataclass(frozen=True, slots=True)
class Selection:
    """What to group by, a window of whole hours in Unix seconds, and values that calls must have.

    `widened` says what the hours added, where that is more than a hundredth of the window.
    """

    by: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    where: Mapping[str, Condition] = field(default_factory=dict)
    widened: str = ""


def select(
    by: str | Sequence[str] = (),
    since: Moment = None,
    until: Moment = None,
    where: Where = (),
    *,
    now: float | None = None,
    whole_hours: bool = True,
) -> Selection:
    """Read what the caller wrote. Times are UTC; the window is widened to whole hours, unless it need not be.

    A day or month as `until` belongs to the window. Raises `InputError` for an unknown name, time or value, or an
    empty window.
    """
    now = time.time() if now is None else now
    began = None if since is None else instant(since, "--since", now)
    ended = None if until is None else instant(until, "--until", now, end=True)
    first = began if began is None or not whole_hours else began // HOUR * HOUR
    last = ended if ended is None or not whole_hours else -(-ended // HOUR) * HOUR
    if first is not None and last is None and now <= first:
        raise InputError(f"the window is empty: --since {str(since)[:60]} is yet to come", hint=HOW_TO_WRITE_TIMES)
    if first is not None and last is not None and last <= first:
        raise InputError(
            "the window is empty: it begins after it ends", hint=f"look at --since {since} and --until {until}"
        )
    widened = "" if began is None else " and ".join(_widened(since, until, began, ended, now)) if whole_hours else ""
    return Selection(_names(by), first, last, _conditions(where), widened)


def _widened(since: Moment, until: Moment, began: float, ended: float | None, now: float) -> Iterator[str]:
    least = _TOLD * ((now if ended is None else ended) - began)
    for flag, given, at, whole in (
        ("since", since, began, began // HOUR * HOUR),
        ("until", until, ended, None if ended is None else -(-ended // HOUR) * HOUR),
    ):
        if at is not None and whole is not None and abs(at - whole) > least:
            yield f"--{flag} {str(given)[:60]} counts {'from' if flag == 'since' else 'to'} {_minute(whole)} UTC"


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


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


def _conditions(where: Where) -> dict[str, Condition]:
    pairs = list(_of_mapping(where) if isinstance(where, Mapping) else _of_words(where))
    for name, wanted in pairs:
        check_name(name, "--where")
        if name in TIMES:
            raise InputError(f"--where {name}: times are chosen with --since and --until")
        values = (wanted,) if isinstance(wanted, str) else wanted.values
        for value in values if name in VALUES else ():
            if value not in VALUES[name] and (value or name != "certainty"):  # that is empty before an answer
                hint = did_you_mean(value, VALUES[name])
                raise InputError(f"--where {name}={value[:40]}: no call's {name} is that", hint=hint)
    if len(dict(pairs)) < len(pairs):
        raise InputError("--where names one field twice", hint="any of several values is team=a,b")
    return dict(pairs)


def _of_mapping(where: Mapping[str, str | Iterable[str] | Among]) -> Iterator[tuple[str, Condition]]:
    for name, given in where.items():
        if isinstance(given, Among):
            yield str(name), given
        elif isinstance(given, (list, tuple, set, frozenset)):
            yield str(name), Among(tuple(map(str, given)))
        else:
            yield str(name), str(given)


def _of_words(where: Iterable[str]) -> Iterator[tuple[str, Condition]]:
    for word in [where] if isinstance(where, str) else where:
        name, equals, text = str(word).partition("=")
        if not equals:
            raise InputError(f"--where {str(word)[:60]!r} has no =", hint="write --where team=search")
        excluded = name.endswith("!")
        values = tuple(_values(text, str(word)))
        single = len(values) == 1 and not excluded
        yield name.removesuffix("!").strip(), values[0] if single else Among(values, excluded)


def _values(text: str, word: str) -> Iterator[str]:
    """`a,b` is two values; one that holds a comma is in double quotes, and a double quote in those is written twice."""
    place = 0
    while True:
        found = _VALUE.match(text, place)
        if found is None:
            hint = """write --where 'team="a, b",c'"""
            raise InputError(f"--where {word[:60]!r}: a double quote that doesn't enclose a value", hint=hint)
        quoted = found["quoted"]
        yield (found["plain"] or "").strip() if quoted is None else quoted.replace('""', '"')
        place = found.end()
        if not found[0].endswith(","):
            return
