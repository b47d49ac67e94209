"""What calls can be grouped and chosen by: each field as SQL over the tables, and of a call in memory."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, case, literal, select

from llmops.errors import InputError, did_you_mean
from llmops.store.call_tables import CALL_ENDINGS, CALL_GROUPS, CALL_WORDS
from llmops.store.encoding import plain_text, safe_text
from llmops.types import Call
from llmops.usage.conditions import Condition, holds

TAG = "tag:"
_G, _E = CALL_GROUPS.c, CALL_ENDINGS.c
_PLAIN = (
    *("purpose", "provider", "backend", "address", "team", "feature", "run", "suite", "variant", "prompt_id"),
    *("model_asked", "model_served", "fallback_from"),
)
_ENDING = ("outcome", "state", "source", "price", "revision", "finish_reason", "service_tier", "error")
_TEXTS: dict[str, ColumnElement[Any]] = {
    **{name: _G[name] for name in _PLAIN},
    "prompt": _G.prompt_name,
    "version": _G.prompt,
    "model": case((_G.model_served != "", _G.model_served), else_=_G.model_asked),
    **{name: _E[name] for name in _ENDING},
    "tokens": _E.tokens,
    "certainty": case((_E.certainty != "", _E.certainty), (_E.lacks_price == 1, "unpriced"), else_=literal("")),
    "user": CALL_WORDS.c.word,
}
TIMES = ("hour", "day", "month")
FIELDS = (*_TEXTS, *TIMES)


def check(names: Iterable[str], what: str) -> None:
    """Raises `InputError` for a field that calls don't have."""
    for name in names:
        if name not in FIELDS and not (name.startswith(TAG) and len(name) > len(TAG)):
            hint = did_you_mean(name, (*FIELDS, f"{TAG}NAME"))
            raise InputError(f"calls can't be {what} by {name!r:.60}", hint=hint)


def column(name: str, hour: ColumnElement[Any]) -> ColumnElement[Any]:
    """A field as SQL, still encoded (`value` decodes it); `hour` is the column of hours since 1970."""
    if name in _TEXTS:
        return _TEXTS[name]
    if name.startswith(TAG):
        return _G.tags
    return hour if name == "hour" else hour // 24


def is_of_group(name: str) -> bool:
    """True for a field that `call_groups` has."""
    return name.startswith(TAG) or name in (*_PLAIN, "prompt", "version", "model")


def value(name: str, stored: Any) -> str:
    """A field's value as it is shown, from what the database gave."""
    if name.startswith(TAG):
        return str(dict(json.loads(stored)).get(name.removeprefix(TAG), ""))
    if name in TIMES:
        return _time(name, int(stored) * (3600 if name == "hour" else 86_400))
    return plain_text(stored)


def of_call(name: str, call: Call) -> str:
    """A field of a call that has not ended."""
    whose = call.attribution
    if name.startswith(TAG):
        return dict(whose.tags).get(name.removeprefix(TAG), "")
    if name in TIMES:
        return _time(name, call.started_at)
    if name in ("prompt", "version"):
        named, at, _ = whose.prompt.rpartition("@")
        return named if at and name == "prompt" else whose.prompt
    if name == "model":
        return call.model_served or call.model_asked
    if name == "tokens":
        return call.usage.certainty
    found = getattr(call, name, None)
    return str(getattr(whose, name, "") if found is None else found)


def _time(name: str, at: float) -> str:
    form = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[name]
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime(form)


def chosen(where: Mapping[str, Condition]) -> ColumnElement[bool] | None:
    """The condition that SQL can check; `is_chosen` checks the rest."""
    found = [_condition(_TEXTS[name], wanted) for name, wanted in where.items() if name in _TEXTS]
    return and_(*found) if found else None


def _condition(column: ColumnElement[Any], wanted: Condition) -> ColumnElement[bool]:
    if isinstance(wanted, str):
        return column == safe_text(wanted)
    values = list(map(safe_text, wanted.values))
    return column.not_in(values) if wanted.excluded else column.in_(values)


def chosen_keys(where: Mapping[str, Condition], columns: Any) -> Iterator[ColumnElement[bool]]:
    """The same condition on the keys of groups, endings and users: it holds before anything is joined."""
    for table, key in ((CALL_GROUPS, "group_key"), (CALL_ENDINGS, "ending_key"), (CALL_WORDS, "user_key")):
        own = {name: wanted for name, wanted in where.items() if _table_of(name) is table}
        condition = chosen(own)
        if condition is not None:
            yield columns[key].in_(select(table.c.key).where(condition))


def _table_of(name: str) -> Table:
    return CALL_WORDS if name == "user" else CALL_GROUPS if is_of_group(name) else CALL_ENDINGS


def unchecked(where: Mapping[str, Condition]) -> dict[str, Condition]:
    """What `chosen` leaves to be checked: tags and times."""
    return {name: wanted for name, wanted in where.items() if name not in _TEXTS}


def is_chosen(call: Call, where: Mapping[str, Condition]) -> bool:
    """True for a call whose fields are as wanted."""
    return all(holds(wanted, of_call(name, call)) for name, wanted in where.items())
