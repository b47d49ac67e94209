"""Budgets as a project writes them: a limit, over which time, whose, and what happens when it is reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

from llmops.errors import ConfigError, InputError, did_you_mean
from llmops.types import BudgetUnit, Call, Purpose
from llmops.usage.budget_scopes import DIMENSIONS, TAG, Period, Scope, whose
from llmops.usage.conditions import NO_VALUE
from llmops.usage.money import NUMBER, dollars, parse_dollars

Action = Literal["warn", "refuse", "stop"]
Where = str | Callable[[tuple[str | int, ...]], str]

_KEYS = ("limit", "per", "by", "where", "action", "media_tokens")
_EACH = {"hour": "an hour", "day": "a day", "week": "a week", "month": "a month", "run": "a run", "total": "in total"}
_EXAMPLE = "write $50, 5M tokens or 1000 requests"
_COUNT = re.compile(rf"(?P<number>{NUMBER})\s*(?P<scale>[kMB]?)\s*(?P<unit>tokens?|requests?)", re.IGNORECASE)
_MOST = 10**18
_SCALES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """A limit on calls. `limit` is in nano-dollars, tokens or requests, after `unit`.

    Every combination of values of `by` has a window of its own. `only` holds what calls must be to count: names with
    the values that are allowed. `media_tokens` is what one picture or recording counts for at worst. `where` is the
    rule's `file:line`, `scope` names its windows.
    """

    limit: int
    unit: BudgetUnit
    per: Period
    by: tuple[str, ...] = ()
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()
    action: Action = "refuse"
    media_tokens: int | None = None
    where: str = ""
    scope: Scope = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", Scope.of_rule(self.unit, self.per, self.by, self.only))

    @property
    def is_hard(self) -> bool:
        return self.action != "warn"

    def amount(self, value: int) -> str:
        """`value` of this rule's unit, for people: `$0.25`, `1,000 tokens`."""
        if self.unit == "nanodollars":
            return dollars(value)
        return f"{value:,} {self.unit[:-1] if value == 1 else self.unit}"

    def __str__(self) -> str:
        who = f" by {', '.join(self.by)}" if self.by else ""
        which = ", ".join(f"{name} {' or '.join(value or NO_VALUE for value in values)}" for name, values in self.only)
        how = "in total" if self.per == "total" else f"per {self.per}"
        return f"{self.amount(self.limit)} {how}{who}{which and f' where {which}'}"

    def words(self, window: str) -> str:
        """This rule with whom a window of it is for, in words: `the budget of $50.00 a day for team search`."""
        who = [f"{name.removeprefix(TAG)} {value}" for name, value in whose(window).items()]
        return f"the budget of {self.amount(self.limit)} {_EACH[self.per]}{' for ' * bool(who)}{', '.join(who)}"

    def window(self, call: Call) -> str | None:
        """The name of the window that `call` counts in, None when the rule isn't for it; see `Scope.window`.

        The limit and the action are no part of the name, so that changing them keeps what was counted.
        """
        return self.scope.window(call)


def parse_budgets(data: Any, where: Where = "") -> tuple[BudgetRule, ...]:
    """The rules of `budgets:`, a list of mappings. `where` is `file:line`, or finds it for a path into the list.

    Raises `ConfigError`.
    """
    find: Callable[[tuple[str | int, ...]], str] = where if callable(where) else lambda path: str(where)
    if data is None:
        return ()
    if not isinstance(data, Sequence) or isinstance(data, str):
        hint = "budgets: [{limit: $50, per: day, by: team}]"
        raise ConfigError("budgets is a list of budgets", where=find(()), hint=hint)
    return tuple(_rule(item, index, find) for index, item in enumerate(data))


def _rule(item: Any, index: int, find: Callable[[tuple[str | int, ...]], str]) -> BudgetRule:
    def wrong(message: str, key: str | None = None, hint: str = "") -> ConfigError:
        path: tuple[str | int, ...] = (index,) if key is None else (index, key)
        return ConfigError(f"budget {index + 1}: {message}", where=find(path), hint=hint)

    if not isinstance(item, Mapping):
        raise wrong(f"is {item!r}, not a mapping", hint="write {limit: $50, per: day}")
    for key in item:
        if key not in _KEYS:
            raise wrong(f"unknown key {key!r}", key, did_you_mean(str(key), _KEYS))
    limit, unit = _limit(item.get("limit"), wrong)
    media = item.get("media_tokens")
    if media is not None and (type(media) is not int or media < 0):
        raise wrong(f"media_tokens is {media!r}, not a number of tokens, 0 or more", "media_tokens")
    return BudgetRule(
        limit=limit,
        unit=unit,
        per=_one_of(item, "per", get_args(Period), None, wrong),
        by=_dimensions(item.get("by"), wrong),
        only=_only(item.get("where"), wrong),
        action=_one_of(item, "action", get_args(Action), "refuse", wrong),
        media_tokens=media,
        where=find((index,)),
    )


Wrong = Callable[..., ConfigError]


def _limit(value: Any, wrong: Wrong) -> tuple[int, BudgetUnit]:
    """A limit and its unit: `$50`, `50 USD`, `5M tokens`, `1000 requests`."""
    if value is None:
        raise wrong("has no limit", "limit", _EXAMPLE)
    text = value.strip() if isinstance(value, str) else ""
    if "$" in text or text.lower().endswith(("usd", "dollars")):
        try:
            return parse_dollars(text), "nanodollars"
        except InputError as error:
            raise wrong(error.message, "limit", _EXAMPLE) from None
    count = _COUNT.fullmatch(text)
    if count is None:
        raise wrong(f"limit is {value!r}", "limit", _EXAMPLE)
    amount = Decimal(count["number"].replace(",", "").replace("_", "")) * _SCALES[count["scale"].lower()]
    if amount != int(amount) or amount > _MOST:
        raise wrong(f"limit is {value!r}, not a whole number up to 10^18", "limit")
    return int(amount), "tokens" if count["unit"].lower().startswith("token") else "requests"


def _one_of(item: Mapping[str, Any], key: str, known: Sequence[str], default: str | None, wrong: Wrong) -> Any:
    value = item.get(key, default)
    if value in known:
        return value
    message = f"has no {key}" if value is None else f"{key} is {value!r}"
    raise wrong(message, key, f"one of {', '.join(known)}")


def _dimensions(value: Any, wrong: Wrong) -> tuple[str, ...]:
    names = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise wrong(f"by is {value!r}", "by", "a name, or a list of names")
    for name in names:
        _check_dimension(name, "by", wrong)
    return tuple(dict.fromkeys(names))


def _only(value: Any, wrong: Wrong) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise wrong(f"where is {value!r}", "where", "write where: {team: search}")
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, allowed in value.items():
        _check_dimension(name, "where", wrong)
        values = allowed if isinstance(allowed, list) else [allowed]
        if not values or not all(isinstance(text, str) for text in values):
            raise wrong(f"where {name} is {allowed!r}", "where", "text in quotes, or a list of texts")
        for text in values if name == "purpose" else ():
            if text not in get_args(Purpose):
                raise wrong(
                    f"where purpose is {text!r}, as no call's is", "where", did_you_mean(text, get_args(Purpose))
                )
        found.append((name, tuple(sorted(set(values)))))
    return tuple(sorted(found))


def _check_dimension(name: Any, key: str, wrong: Wrong) -> None:
    if name in DIMENSIONS or (isinstance(name, str) and name.startswith(TAG) and len(name) > len(TAG)):
        return
    raise wrong(f"{key}: {name!r} is nothing that calls have", key, did_you_mean(str(name), (*DIMENSIONS, "tag:NAME")))
