"""JSON values compared strictly, and values and texts shown on one line with nothing in them hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Pair = tuple[Any, Any]
SHORT = 60
# Controls, half surrogate pairs, what turns the reading direction, and what isn't seen: zero-width signs and tags.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def visible(text: str, *, one_line: bool = False) -> str:
    """`text` with control and invisible characters written as escapes; line ends and tabs too with `one_line`."""
    if one_line:
        text = text.replace("\n", "\\n").replace("\t", "\\t")
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def brief(value: Any, limit: int = SHORT) -> str:
    """A value on one line as JSON, cut to `limit` characters; what isn't JSON as its type."""
    try:
        text = json.dumps(value[: limit + 1] if isinstance(value, str) else value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        text = f"({type(value).__name__})"
    text = visible(text, one_line=True)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def change(old: Any, new: Any) -> str:
    """`old → new`, each on one line; says so where the parts that differ are too far in to be seen."""
    before, after = brief(old), brief(new)
    return f"{before} → {after}" if before != after else f"changed in {before}"


def same(old: Any, new: Any, more: Callable[[Any, Any], Iterable[Pair] | None] | None = None) -> bool:
    """True for equal JSON values of equal types (1 is neither true nor 1.0), however deep they are.

    `more` may name further pairs that must be the same for these two to be, or None when they aren't.
    """
    pairs: list[Pair] = [(old, new)]
    while pairs:
        a, b = pairs.pop()
        if a is b and more is None:
            continue
        inner = _inner(a, b)
        further = () if more is None else more(a, b)
        if inner is None or further is None:
            return False
        pairs += inner
        pairs += further
    return True


def _inner(a: Any, b: Any) -> Iterable[Pair] | None:
    """The pairs inside two containers that must be the same; None when `a` and `b` differ by themselves."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return [(a[key], b[key]) for key in a] if a.keys() == b.keys() else None
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return list(zip(a, b, strict=True)) if len(a) == len(b) else None
    if type(a) is not type(b) or isinstance(a, (Mapping, list, tuple)):
        return None
    return () if a == b or (a != a and b != b) else None
