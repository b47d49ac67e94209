"""What a case expects, as texts to compare an output with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.errors import InputError
from llmops.types import Score

NO_EXPECTED = Score.unscored("the case has no expected answer")
EMPTY_EXPECTED = Score.unscored("the expected answer is empty")
NOT_TEXT = Score.unscored("the expected answer is a mapping or a nested list, not text")
SHOWN = 60


def references(expected: Any) -> tuple[str, ...] | Score:
    """The acceptable answers as texts, or the unscored `Score` that says why there are none.

    A list holds alternatives. `[]` means that there is no answer, and reads as the empty text. A boolean is
    acceptable as `true` and `True`; a whole float as `12.0` and `12`.
    """
    if type(expected) is str:
        return (expected,)
    if expected is None:
        return NO_EXPECTED
    if not isinstance(expected, (list, tuple)):
        return _as_texts(expected) or NOT_TEXT
    if not expected:
        return ("",)
    found: list[str] = []
    for item in expected:
        if item is None:
            continue
        texts = _as_texts(item)
        if texts is None:
            return NOT_TEXT
        found.extend(texts)
    return tuple(found) if found else NO_EXPECTED


def nonempty_references(expected: Any) -> tuple[str, ...] | Score:
    """`references` without empty and blank ones; unscored when nothing is left to look for."""
    found = references(expected)
    if isinstance(found, Score):
        return found
    return tuple(text for text in found if text.strip()) or EMPTY_EXPECTED


def wanted_texts(value: Any, *, option: str) -> tuple[str, ...]:
    """The texts an option names (one, or a list). Raises `InputError` when it names none, or a blank one."""
    found = references(value)
    if isinstance(found, Score) or not all(text.strip() for text in found):
        hint = "write a text, a number or a list of them, none of them empty"
        raise InputError(f"{option} is {value!r}"[:200], hint=hint)
    return found


def shown(text: str) -> str:
    """`text` quoted for a reason: one line, at most 60 characters of it."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


def _as_texts(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (str(value),)
    if isinstance(value, bool):
        return ("true", "True") if value else ("false", "False")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return (repr(value), str(int(value)))
    if isinstance(value, (Mapping, list, tuple, set, bytes)):
        return None
    try:
        return (str(value),)
    except ValueError:  # an integer of more digits than Python prints
        return None
