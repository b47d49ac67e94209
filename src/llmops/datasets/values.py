"""Turning a row's values into the parts of a case, strictly. Errors carry no place: the caller adds it."""

from __future__ import annotations

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from llmops.datasets.strict_json import MAX_DEPTH, shown
from llmops.errors import DatasetError
from llmops.types import Context

MAX_NAME = 500
_UNFIT = re.compile("[\0\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")
_KINDS = {"NoneType": "null", "str": "text", "bool": "true or false", "dict": "an object", "list": "a list"}


def kind(value: Any) -> str:
    """What a value is, in words for people who write JSON."""
    name = type(value).__name__
    return _KINDS.get(name, "a number" if isinstance(value, (int, float)) else f"a {name}")


def identifier(value: Any, what: str) -> str:
    """An id as text, from text or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise DatasetError(f"{what} is {kind(value)}", hint="write text or a whole number")
    return _name(value, what)


def _name(value: str, what: str) -> str:
    if not value or value.isspace():
        raise DatasetError(f"{what} is empty", hint="give it a name")
    if len(value) > MAX_NAME:
        raise DatasetError(f"{what} has {len(value)} characters", hint=f"use at most {MAX_NAME}")
    if not value.isprintable() and (bad := _UNFIT.search(value)):
        raise DatasetError(
            f"{what} {shown(value)} holds the character U+{ord(bad[0]):04X}",
            hint="names can't hold line ends, NUL or halves of surrogate pairs: remove it",
        )
    return value


def group_name(value: Any) -> str | None:
    """A group from text or a number; empty text is no group."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return identifier(value, "group")


def tag_names(value: Any) -> tuple[str, ...]:
    """Tags from a list, or from text with commas. A tag written twice counts once."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [part for part in (p.strip() for p in value.split(",")) if part]
    if not isinstance(value, list):
        raise DatasetError(f"tags is {kind(value)}", hint="write a list, or text with commas between tags")
    return tuple(dict.fromkeys(identifier(tag, "a tag") for tag in value))


def passages(value: Any) -> tuple[Context, ...]:
    """Contexts from a list of texts or of `{id, text, score}`; one alone needs no list."""
    if value is None:
        return ()
    return tuple(map(_passage, value if isinstance(value, list) else [value]))


def _passage(value: Any) -> Context:
    if isinstance(value, str):
        return Context(value)
    if not isinstance(value, Mapping):
        hint = "write texts, or objects with text, id and score"
        raise DatasetError(f"contexts holds {kind(value)}", hint=hint)
    text, label, score = value.get("text"), value.get("id"), value.get("score")
    if not isinstance(text, str):
        problem = f"has {kind(text)} as text" if "text" in value else "has no text"
        raise DatasetError(f"a context {problem}", hint="give each context its text under 'text'")
    label = "" if label is None else identifier(label, "a context's id")
    return Context(text, label, None if score is None else _number(score, "a context's score"))


def grades(value: Any) -> dict[str, float] | None:
    """Relevant ids with grades, from one id, a list of ids, a list of `{id, grade}`, or a mapping."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[Any, Any]] = value.items()
    else:
        pairs = map(_graded, value if isinstance(value, list) else [value])
    found: dict[str, float] = {}
    for label, grade in pairs:
        name = identifier(label, "a relevant id")
        if name in found:
            raise DatasetError(f"relevant names {shown(name)} twice", hint="keep one of them")
        found[name] = _number(grade, f"the grade of {shown(name)}")
        if found[name] < 0:
            raise DatasetError(f"the grade of {shown(name)} is below 0", hint="grade from 0 upwards")
    return found


def _graded(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, Mapping):
        return value, 1.0
    if "id" not in value:
        raise DatasetError(
            "an entry of relevant has no id", hint="write ids, {id: …, grade: …}, or a mapping of id to grade"
        )
    return value["id"], value.get("grade", 1.0)


def _number(value: Any, what: str) -> float:
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        return number
    raise DatasetError(f"{what} is {shown(value)}", hint="write a finite number")


def mapping(value: Any, what: str) -> dict[str, Any]:
    """An object as a fresh dict; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DatasetError(f"{what} is {kind(value)}", hint="write an object of names and values")
    return dict(value)


def plain(value: Any, *, sparse: bool = False, depth: int = 0) -> Any:
    """A value from Python, YAML or Arrow as plain JSON data; `sparse` leaves an object's nulls out."""
    if value is None or isinstance(value, (str, bool)):
        return value if value is None or isinstance(value, bool) else str(value)
    if depth > MAX_DEPTH:
        raise DatasetError(f"nested more than {MAX_DEPTH} deep", hint="flatten the value, or store it as text")
    if isinstance(value, (int, float)):
        return _plain_number(value)
    if isinstance(value, Mapping):
        return {
            _key(key): plain(child, sparse=sparse, depth=depth + 1)
            for key, child in value.items()
            if not (sparse and child is None)
        }
    if isinstance(value, (list, tuple)):
        return [plain(child, sparse=sparse, depth=depth + 1) for child in value]
    return _plain_scalar(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    raise DatasetError(f"the key {shown(key)} is {kind(key)}", hint="use text as keys")


def _plain_number(value: float) -> float:
    if isinstance(value, int):
        if value.bit_length() > 13_000:
            raise DatasetError("a number has too many digits", hint="store it as text")
        return int(value)
    if not math.isfinite(value):
        raise DatasetError(f"{value} isn't a JSON number", hint="use a finite number or null")
    return float(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return _plain_number(float(value))
    if isinstance(value, uuid.UUID):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return plain(value.item())
    raise DatasetError(
        f"a {type(value).__name__} isn't JSON data", hint="convert it to text, a number, a list or an object"
    )
