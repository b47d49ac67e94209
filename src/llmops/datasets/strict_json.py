"""JSON without the surprises: no NaN, no key written twice, no bottomless nesting."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from llmops.errors import DatasetError

MAX_DEPTH = 100


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DatasetError(f"the key {shown(twice)} is written twice in one object", hint="remove one of them")
    return found


def _constant(name: str) -> NoReturn:
    raise DatasetError(f"{name} isn't a JSON number", hint="write a finite number or null")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise DatasetError(f"{text[:40]} is too large for a number", hint="write a finite number, or quote it as text")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False)
canonical = _ENCODER.encode
"""Canonical JSON as in `llmops.identity`, by one encoder that is made once."""


def parse(text: str) -> Any:
    """The value of a JSON text. Raises `DatasetError` without a place; the caller knows where it stands."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise refused(error) from None
    return shallow(value, text.count("[") + text.count("{"))


def refused(error: ValueError | RecursionError) -> DatasetError:
    """What json raised, in our words."""
    if isinstance(error, json.JSONDecodeError):
        reason = error.msg.lower().removesuffix(" at")
        return DatasetError(
            f"not valid JSON: {reason} at column {error.colno}", hint="check its quotes, commas and brackets"
        )
    if isinstance(error, RecursionError):
        return _too_deep()
    return DatasetError("a number has too many digits", hint="quote it as text")


def shallow(value: Any, brackets: int) -> Any:
    """`value`, unless it is nested too deeply; only values of many `brackets` need the walk."""
    if brackets > MAX_DEPTH:
        level = [value]
        for _ in range(MAX_DEPTH + 1):
            level = [child for parent in level for child in _children(parent)]
            if not level:
                return value
        raise _too_deep()
    return value


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> DatasetError:
    return DatasetError(f"nested more than {MAX_DEPTH} deep", hint="flatten the value, or store it as text")


def shown(value: Any, limit: int = 60) -> str:
    """Untrusted text as an error message may show it: quoted, escaped, short."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[:limit] + "…")
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[:limit] + "…"


def printable(text: str) -> str:
    """Text without characters a terminal could obey, for names that go unquoted."""
    return "".join(c if c.isprintable() else "?" for c in text)
