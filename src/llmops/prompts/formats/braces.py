"""Texts in which `{{name}}` stands for a variable and nothing else means anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

from llmops.prompts.formats.jinja_text import Names, literal
from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.parts import Part, Text, Variable, is_simple

_VARIABLE = re.compile(r"\{\{\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*\}\}")


def from_braces(text: str, names: Names) -> str:
    """A template of ours that renders the same. All that isn't `{{name}}` or `{{name.part}}` stays as it is."""
    made, at = [], 0
    for found in _VARIABLE.finditer(text):
        made.append(literal(text[at : found.start()]))
        made.append(f"{{{{ {names.path(found[1])} }}}}")
        at = found.end()
    return "".join(made) + literal(text[at:])


def to_braces(leaving: Leaving, number: int) -> str:
    """A message's text. What `{{name}}` can't say is kept as it is written, and noted."""
    _, text, parts = leaving.messages[number]
    plain = all(isinstance(part, (Text, Variable)) for part in parts)
    if not is_simple(parts) and not (plain and _named(parts)):
        leaving.lose(f"message {number + 1}: its Jinja2 is kept as written, and {leaving.tool} won't run it")
        return text
    if misread(parts):
        leaving.lose(f"message {number + 1}: {leaving.tool} takes the braces in its text for variables")
    return "".join(p.text if isinstance(p, Text) else braced(p) for p in parts if isinstance(p, (Text, Variable)))


def braced(variable: Variable) -> str:
    """`{{user.name}}`."""
    return "{{" + ".".join(map(str, variable.path)) + "}}"


def misread(parts: Iterable[Part]) -> bool:
    """True when text that stands for itself would be read as a variable, or run into one."""
    shown = ("\0" if isinstance(part, Variable) else part.text for part in parts if isinstance(part, (Text, Variable)))
    whole = "".join(shown)
    return "{{" in whole or "{\0" in whole


def _named(parts: Iterable[Part]) -> bool:
    names = (key for part in parts if isinstance(part, Variable) for key in part.path)
    return all(isinstance(key, str) and key.isidentifier() for key in names)
