"""Any value as ASCII JSON and back, and numbers and names as every database takes them."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_DEPTH = 200  # far below what the JSON parser can read back
MAX_NAME_BYTES = 600  # three names and a number fit in PostgreSQL's 2,700-byte index rows
_MAX_INT_BITS = 14_000  # Python reads no longer decimal numbers by default
_FLOAT = "$float"
_MARK = f'"{_FLOAT}"'


def _other(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    try:
        if isinstance(value, numbers.Integral):  # NumPy's numbers are neither int nor float
            return int(value)
        if isinstance(value, (numbers.Real, Decimal)):
            return float(value)
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


_encode = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":"), default=_other
).encode


def dumps(value: Any) -> str:
    """Compact ASCII JSON. NaN and infinities survive; numbers of any library become JSON's, other objects text."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encode(_plain(value, ()))
    return _encode(_plain(value, ())) if _MARK in text else text


def loads(text: str | bytes) -> Any:
    """What `dumps` was given: lists for tuples, text for objects. Raises ValueError or RecursionError."""
    value = json.loads(text)
    marked = _MARK in text if isinstance(text, str) else _MARK.encode() in text
    return revive(value) if marked else value


def revive(value: Any) -> Any:
    """The same value with its non-finite floats back."""
    if isinstance(value, dict):
        if len(value) == 1 and _FLOAT in value:
            inner = value[_FLOAT]
            return float(inner) if isinstance(inner, str) else {_FLOAT: revive(inner[0])}
        return {key: revive(item) for key, item in value.items()}
    return [revive(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any, path: tuple[int, ...]) -> Any:
    """`value` with only what JSON has. `path` holds what it is inside of, so that a circle ends."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return hex(value)
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if not isinstance(value, (Mapping, list, tuple)):
        made = _other(value)
        return made if isinstance(made, str) else _plain(made, path)
    if id(value) in path:
        return "<circular>"
    if len(path) >= MAX_DEPTH:
        return "<nested too deeply>"
    path = (*path, id(value))
    if not isinstance(value, Mapping):
        return [_plain(item, path) for item in value]
    made = {_key(key): _plain(item, path) for key, item in value.items()}
    return {_FLOAT: [made[_FLOAT]]} if len(made) == 1 and _FLOAT in made else made


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(_other(key))


def number(value: Any) -> float | None:
    """`value` as the float it stands for (a truth value, a `Decimal`, one of NumPy's), None when it is no number."""
    if type(value) is float or value is None:
        return value
    try:
        return None if isinstance(value, (str, bytes, bytearray)) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def safe_text(text: str) -> str:
    """`text` itself, or its JSON form where a database could refuse it (NUL, lone surrogates). See `plain_text`."""
    return text if text.isprintable() and not text.startswith('"') else json.dumps(text)


def plain_text(stored: str) -> str:
    """The text that `safe_text` was given."""
    return str(json.loads(stored)) if stored.startswith('"') else stored


def name_key(name: str) -> str:
    """A name as part of a key: `safe_text`, or a digest of a name too long to be indexed (see `is_digest`)."""
    text = safe_text(name)
    if len(text) * 4 > MAX_NAME_BYTES and len(text.encode()) > MAX_NAME_BYTES:
        return f'"{hashlib.sha256(text.encode()).hexdigest()}'
    return text


def is_digest(key: str) -> bool:
    """True for a key that doesn't hold the name: no JSON text ends without its quote."""
    return key.startswith('"') and not key.endswith('"')
