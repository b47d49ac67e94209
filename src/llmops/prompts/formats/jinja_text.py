"""Writing Jinja2: text that stays as it is, names that a template can use, and messages that a file can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from llmops.prompts.environment import environment
from llmops.prompts.parsing import ROLES

_SPECIAL = re.compile(r"\{\{+|\{(?=[%#\r])|\{\Z|\r")
_TAKEN = frozenset(
    "and else false False if in is loop namespace none None not or range self true True".split()  # noqa: SIM905
)
_METHODS = frozenset(("get", "items", "keys", "values"))
NOTHING = '{{ "" }}'


def quoted(text: str) -> str:
    """A Jinja2 string literal; its escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """A template that renders as exactly `text`, whatever braces are in it and whatever tag follows it."""
    return _SPECIAL.sub(lambda found: f"{{{{ {quoted(found[0])} }}}}", text)


def member(base: str, key: str) -> str:
    """`base.key`, in the form that can't be taken for a method or for syntax."""
    if key.isascii() and key.isidentifier() and key not in _METHODS:
        return f"{base}.{key}"
    return f"{base}[{int(key)}]" if key.isdecimal() and len(key) < 10 else f"{base}[{quoted(key)}]"


class Names:
    """Names of variables as a template may write them. `renamed` holds those that had to change."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._given: set[str] = set()

    @property
    def renamed(self) -> dict[str, str]:
        return {theirs: ours for theirs, ours in self._known.items() if theirs != ours}

    def name(self, theirs: str) -> str:
        """Our name for one of theirs; always the same."""
        if theirs not in self._known:
            self._known[theirs] = self.fresh(_identifier(theirs))
        return self._known[theirs]

    def fresh(self, wanted: str) -> str:
        """`wanted`, or that with a number, if it is in use."""
        name, number = wanted, 2
        while name in self._given:
            name, number = f"{wanted}{number}", number + 1
        self._given.add(name)
        return name

    def path(self, dotted: str) -> str:
        """`user.name` as an expression."""
        first, *rest = dotted.split(".")
        made = self.name(first)
        for key in rest:
            made = member(made, key)
        return made


def _identifier(theirs: str) -> str:
    name = theirs if theirs.isidentifier() else re.sub(r"[^0-9A-Za-z_]+", "_", theirs).strip("_")
    if not name or not name.isidentifier():
        name = f"input_{name}".rstrip("_")
    return name + "_" if name in _TAKEN else name


def fit(source: str) -> str:
    """A template in a form that a message of a prompt file can have; it renders the same.

    A file's messages don't start or end with blank lines, and none of their lines is `system:`, `user:` or
    `assistant:`; an empty expression stands before what would be one. Raises `TemplateSyntaxError`.
    """
    lines = source.split("\n")
    if any(line in ROLES for line in lines):
        source = _without_role_lines(source)
        lines = source.split("\n")
    if not lines[0].strip(" \t"):
        source = NOTHING + source
    if len(lines) > 1 and not lines[-1].strip(" \t"):
        source += NOTHING
    return source


def tokens(source: str) -> Iterator[tuple[str, str]]:
    """Kinds and texts of a template's tokens. Joined they are the template, less the white space that `-` strips."""
    for _, kind, value in environment().lexer.tokeniter(source, None):
        yield kind, value


def _without_role_lines(source: str) -> str:
    end = "\n" + NOTHING
    found = list(tokens(source + end))  # a last line break would be dropped
    whole = "".join(value for _, value in found)
    starts = [match.start() for match in re.finditer(r"^(?:system|user|assistant):$", whole, re.M)]
    made, at, raw = [], 0, False
    for kind, value in found:
        raw = kind == "raw_begin" or (raw and kind != "raw_end")
        pieces, done = [], 0
        while starts and starts[0] < at + len(value):
            offset = starts.pop(0) - at
            pieces.append(value[done:offset])
            pieces.append(_guard(kind, raw, value[offset]))
            done = offset + 1
        made.append("".join(pieces) + value[done:])
        at += len(value)
    return "".join(made).removesuffix(end)


def _guard(kind: str, raw: bool, first: str) -> str:
    """`first`, the letter that starts a role's line, with something that renders as nothing before it."""
    if kind == "data":
        return ("{% endraw %}" + NOTHING + "{% raw %}" if raw else NOTHING) + first
    return f"\\x{ord(first):02x}" if kind == "string" else " " + first
