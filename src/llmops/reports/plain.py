"""Untrusted text made safe to print: no control characters, terminal sequences or direction overrides."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmops.types import Case, Context

# Escape sequences end at the next escape at the latest, so that scanning stays linear on hostile text.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_DRIVES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BREAK = re.compile("\r\n?|[\u2028\u2029]")
_NEEDS_WORK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
MAX_IDS = 12
_QUESTION_KEYS = ("question", "query", "input", "prompt", "text")


def printable(text: str, limit: int | None = None, *, one_line: bool = False) -> str:
    """`text` without anything that drives a terminal or turns the reading direction.

    Strips C0 and C1 controls (but newline and tab), ANSI sequences and bidi embeddings, overrides and
    isolates; half surrogate pairs become U+FFFD. `one_line` collapses white space. Longer than `limit`
    characters is cut, with an ellipsis as the last character.
    """
    longer = limit is not None and len(text) > 4 * limit + 1000
    if longer and limit is not None:
        text = text[: 4 * limit + 1000]
    if _NEEDS_WORK.search(text):
        text = _BREAK.sub("\n", _SEQUENCE.sub("", text))
        text = _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))
    if one_line:
        text = " ".join(text.split())
    if limit is not None and (longer or len(text) > limit):
        return text[: max(limit - 1, 0)].rstrip() + "…"
    return text


def without_controls(text: str) -> str:
    """`text` without ANSI sequences and control characters but newline, carriage return and tab."""
    return _DRIVES.sub("", _SEQUENCE.sub("", text)) if _DRIVES.search(text) else text


def encodable(text: str) -> str:
    """`text` with half surrogate pairs replaced by U+FFFD, so that it can be written as UTF-8."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def as_text(value: Any) -> str:
    """A value from a dataset as text: text as it is, None as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, default=_fallback)
    except (ValueError, TypeError, RecursionError):
        return "(can't be shown)"


def question(case: Case) -> str:
    """What a case asks: its question, query, input, prompt or text, else its inputs, one a line."""
    for key in _QUESTION_KEYS:
        if isinstance(case.inputs.get(key), str):
            return str(case.inputs[key])
    if len(case.inputs) == 1:
        return as_text(next(iter(case.inputs.values())))
    return "\n".join(f"{key}: {as_text(value)}" for key, value in case.inputs.items())


def retrieved(case: Case, contexts: tuple[Context, ...]) -> str:
    """Ids of what was retrieved, marked relevant or not where the dataset says, and what was missed."""
    relevant = None if case.relevant is None else {key for key, grade in case.relevant.items() if grade > 0}
    ids = []
    for place, context in enumerate(contexts[:MAX_IDS], 1):
        mark = "" if relevant is None else " ✓" if context.id in relevant else " ✗"
        ids.append(printable(context.id, 40, one_line=True) + mark if context.id else f"passage {place}{mark}")
    text = "retrieved " + ", ".join(ids)
    if len(contexts) > MAX_IDS:
        text += f" and {len(contexts) - MAX_IDS} more"
    missed = sorted((relevant or set()) - {context.id for context in contexts})
    if missed:
        some = ", ".join(printable(key, 40, one_line=True) for key in missed[:MAX_IDS])
        text += f" · missed {some}" + (" …" if len(missed) > MAX_IDS else "")
    return text


def _fallback(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
