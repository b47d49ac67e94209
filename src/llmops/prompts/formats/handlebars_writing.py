"""Messages of ours as dotprompt's Handlebars."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.parts import Block, Code, Note, Part, Path, Picture, Text, Variable

_ROLES = {"system": "system", "user": "user", "assistant": "model"}
_ALONE = re.compile(r"^[ \t]*\{\{(?:[#/!]|else)[^{}]*\}\}[ \t]*$", re.M)
_LOOP = {"index0": "@index", "first": "@first", "last": "@last"}
Scope = tuple[str, ...]  # the variables of the loops around, the innermost last


def to_handlebars(leaving: Leaving) -> str:
    """The body of a dotprompt file. `~` in a role's tag keeps the line breaks around it out of the messages."""
    made: list[str] = []
    for number, (role, _, parts) in enumerate(leaving.messages, 1):
        writer = _Writer(leaving, number)
        text = writer.write(parts, ())
        if _ALONE.search(text):
            leaving.lose(f"message {number}: Handlebars drops the line break behind a tag alone on its line")
        if not text.strip():
            leaving.lose(f"message {number}: it is empty, and dotprompt leaves it out")
        elif text != text.strip():
            leaving.lose(f"message {number}: white space at its start and its end")
        opening = "{{~role" if made else "{{role"
        made.append(f'{opening} "{_ROLES[role]}"~}}}}\n{text}\n')
    return "".join(made)


class _Writer:
    def __init__(self, leaving: Leaving, number: int) -> None:
        self.leaving = leaving
        self.number = number

    def write(self, parts: Sequence[Part], scope: Scope) -> str:
        made = ""
        for part in parts:
            text = self._text(part.text) if isinstance(part, Text) else self._part(part, scope)
            if not isinstance(part, Text) and made.endswith("{") and text.startswith("{"):
                self._lose("a brace before a variable")
            if not isinstance(part, Text) and text.startswith("{{") and made.endswith("\\"):
                made += "\\"  # one of them is taken for the escape
            made += text
        return made

    def _text(self, text: str) -> str:
        if "{{{" in text or "\\{{" in text:
            self._lose("braces in its text that Handlebars can't write as text")
        return re.sub(r"\{\{", r"\\{{", text)

    def _part(self, part: Part, scope: Scope) -> str:
        if isinstance(part, Variable):
            path = self._path(part.path, scope)
            return f"{{{{{path}}}}}" if path else self._code("{{ " + ".".join(map(str, part.path)) + " }}")
        if isinstance(part, Picture):
            return self._picture(part, scope)
        if isinstance(part, Note):
            return f"{{{{!-- {part.text} --}}}}" if "--" not in part.text else ""
        if isinstance(part, Block):
            return self._block(part, scope)
        return self._code(part.source if isinstance(part, Code) else "")

    def _picture(self, part: Picture, scope: Scope) -> str:
        if part.detail:
            self._lose(f"the detail {part.detail} of an image")
        one = part.address[0]
        if len(part.address) == 1 and isinstance(one, Text) and '"' not in one.text:
            return f'{{{{media url="{one.text}"}}}}'
        path = self._path(one.path, scope) if isinstance(one, Variable) and len(part.address) == 1 else ""
        if path:
            return f"{{{{media url={path}}}}}"
        self._lose("an image whose address is put together")
        return ""

    def _block(self, part: Block, scope: Scope) -> str:
        inner = (*scope, part.target) if part.target else scope
        subject = self._path(part.subject, scope) if part.subject else ""
        body, otherwise = self.write(part.body, inner), self.write(part.otherwise, scope)
        if not subject:
            return self._code(part.head) + body + self._tag(part.middle) + otherwise + self._tag(part.tail)
        word = "each" if part.target else "unless" if part.negated else "if"
        between = f"{{{{else}}}}{otherwise}" if part.otherwise else ""
        return f"{{{{#{word} {subject}}}}}{body}{between}{{{{/{word}}}}}"

    def _tag(self, source: str) -> str:
        return self._code(source) if source else ""

    def _path(self, path: Path, scope: Scope) -> str:
        """A path seen from within loops: their items are `this`, all else is further out."""
        first, rest = path[0], [f"[{k}]" if isinstance(k, int) or not str(k).isidentifier() else k for k in path[1:]]
        if first == "loop":
            return _LOOP.get(str(rest[0]), "") if len(rest) == 1 and scope else ""
        if first in scope:
            up = len(scope) - 1 - max(i for i, name in enumerate(scope) if name == first)
            keys = ["this", *rest] if not up else rest or ["this"]
            return "../" * up + ".".join(map(str, keys))
        return "../" * len(scope) + ".".join(map(str, [first, *rest]))

    def _code(self, source: str) -> str:
        self._lose(f"the Jinja2 {' '.join(source.split())[:80]} is kept as text, which Handlebars won't run")
        return self._text(source)

    def _lose(self, what: str) -> None:
        self.leaving.lose(f"message {self.number}: {what}")
