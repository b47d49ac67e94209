"""Which window of a budget a call counts in: names of windows, the same in every process, and what they stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, get_args
from urllib.parse import quote, unquote

from llmops.types import BudgetUnit, Call

Period = Literal["hour", "day", "week", "month", "run", "total"]
Values = tuple[tuple[str, tuple[str, ...]], ...]

TAG = "tag:"
_ATTRIBUTED = ("purpose", "team", "feature", "user", "run", "suite", "variant")
_OF_CALLS = {"backend": "backend", "provider": "provider", "model": "model_asked"}
DIMENSIONS = (*_ATTRIBUTED, *_OF_CALLS, "prompt")
STAMPS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
_ANY = "*"  # no value is written like this
_ONLY = "where"  # what follows it in a name are conditions
_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Scope:
    """All windows that rules with the same unit, period, `by` and `only` count in; with a `stamp`, those of one time.

    `only` holds what calls must be to count: names with the values that are allowed, as names of windows write them.
    """

    unit: str
    per: Period
    by: tuple[str, ...] = ()
    only: Values = ()
    stamp: str = ""

    @classmethod
    def of_rule(cls, unit: BudgetUnit, per: Period, by: Sequence[str], only: Values) -> Scope:
        """The scope of a rule as it is written."""
        names = {*by, "run"} if per == "run" else {*by}
        written = tuple((name, tuple(sorted(map(_quoted, values)))) for name, values in only)
        return cls(unit, per, tuple(sorted(names)), tuple(sorted(written)))

    def window(self, call: Call) -> str | None:
        """The name of the window that `call` counts in; None when the scope isn't for it.

        Times are UTC: days begin at midnight, weeks on Monday (ISO 8601), at `call.started_at`. A rule per run isn't
        for calls outside of runs; a call without a team shares a window with all others that have none.
        """
        for name, allowed in self.only:
            if _quoted(value_of(call, name)) not in allowed:
                return None
        if self.per == "run" and not call.attribution.run:
            return None
        stamp = self.stamp or (_stamp(STAMPS[self.per], int(call.started_at // 3600)) if self.per in STAMPS else "")
        return self._name([_quoted(value_of(call, name)) for name in self.by], stamp)

    @property
    def name(self) -> str:
        """What the scope itself is called; no window is called so unless it is the only one."""
        return self._name([_ANY] * len(self.by), self.stamp)

    def span(self) -> tuple[float | None, float | None]:
        """From when and until when calls count: Unix times, whole hours; None is for ever."""
        if not self.stamp:
            return None, None
        pattern, text = STAMPS[self.per], self.stamp
        if self.per == "week":
            pattern, text = f"{pattern}-%u", f"{text}-1"
        first = datetime.strptime(text, pattern).replace(tzinfo=UTC)
        if self.per == "month":
            return first.timestamp(), (first + timedelta(days=31)).replace(day=1).timestamp()
        length = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[self.per]
        return first.timestamp(), (first + length).timestamp()

    def _name(self, values: Sequence[str], stamp: str) -> str:
        parts = [self.unit, self.per, *map("=".join, zip(map(_label, self.by), values, strict=True))]
        if self.only:
            parts += [_ONLY, *(f"{_label(name)}={','.join(allowed)}" for name, allowed in self.only)]
        return "/".join([*parts, stamp] if stamp else parts)


def scope_of(window: str) -> Scope | None:
    """The scope that a window (or a scope by its name) is one of; None for a name that none of them has."""
    unit, _, rest = window.partition("/")
    per, *parts = rest.split("/")
    if unit not in get_args(BudgetUnit) or per not in get_args(Period):
        return None
    stamp = parts.pop() if per in STAMPS and parts else ""
    split = parts.index(_ONLY) if _ONLY in parts else len(parts)
    if any("=" not in part for part in (*parts[:split], *parts[split + 1 :])):
        return None
    by = tuple(_unlabelled(part.split("=", 1)[0]) for part in parts[:split])
    only = ((_unlabelled(name), tuple(values.split(","))) for name, values in _pairs(parts[split + 1 :]))
    made = Scope(unit, per, by, tuple(only), stamp)  # type: ignore[arg-type]
    try:
        made.span()
    except (ValueError, OverflowError):
        return None
    return made if bool(stamp) == (per in STAMPS) else None


def is_over(window: str, now: float) -> bool:
    """True for a window of a time that has ended; those of runs and `total` have none."""
    scope = scope_of(window)
    until = None if scope is None else scope.span()[1]
    return until is not None and until <= now


def whose(window: str) -> dict[str, str]:
    """Whom a window is for, for people: names to values, a long one cut, several joined by `or`."""
    parts = window.split("/")[2:]
    split = parts.index(_ONLY) if _ONLY in parts else len(parts)
    found = dict(_pairs(part for part in (*parts[split + 1 :], *parts[:split]) if "=" in part))
    return {_unlabelled(name): _read(found[name]) for name in sorted(found)}


def same_rules(scope: Scope, window: str) -> bool:
    """Whether a window is one of those that rules with `scope` count in."""
    found = scope_of(window)
    return found is not None and replace(found, stamp="") == scope


def value_of(call: Call, name: str) -> str:
    """What a call is along a dimension of budgets: a team's name, the model asked for, a prompt without its version."""
    if name in _OF_CALLS:
        return str(getattr(call, _OF_CALLS[name]))
    if name.startswith(TAG):
        return dict(call.attribution.tags).get(name.removeprefix(TAG), "")
    if name == "prompt":
        return call.attribution.prompt.partition("@")[0]
    return str(getattr(call.attribution, name))


def _pairs(parts: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (part.partition("=") for part in parts)]


@lru_cache(maxsize=64)
def _stamp(pattern: str, hour: int) -> str:
    """The name of the period that an hour since 1970 is in: every period begins with an hour."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime(pattern)


@lru_cache(maxsize=4096)
def _quoted(value: str) -> str:
    """At most 60 characters: a long value keeps its beginning, and its hash tells it from others."""
    text = quote(value, safe="@:. ", errors="replace")
    if len(text) <= _LONGEST_VALUE:
        return text
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return f"{text[: _LONGEST_VALUE - 21]}*{digest}"  # no quoted value holds a *


@lru_cache(maxsize=256)
def _label(name: str) -> str:
    """A dimension as names of windows have it: a tag may be called anything."""
    return TAG + quote(name.removeprefix(TAG), safe=": .@", errors="replace") if name.startswith(TAG) else name


def _unlabelled(label: str) -> str:
    return unquote(label) if label.startswith(TAG) else label


def _read(written: str) -> str:
    """The values in the name of a window, for people: a long one ends in `…`."""
    cut = [f"{value.partition('*')[0]}…" if "*" in value else value for value in written.split(",")]
    return " or ".join(unquote(value) or "(none)" for value in cut)
