"""Prompty files, of both versions: YAML front matter, and a Jinja2 or Mustache body with lines such as `system:`."""

from __future__ import annotations

import re

from llmops.errors import PromptError
from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.jinja_text import quoted
from llmops.prompts.formats.mustache import from_mustache
from llmops.prompts.formats.plain import mapping, shown, split_front
from llmops.prompts.formats.prompty_front import read_front
from llmops.prompts.formats.prompty_writing import write
from llmops.prompts.formats.shapes import Imported

__all__ = ["ROLE_LINE", "read", "write"]
ROLE_LINE = re.compile(
    r"^[ \t]*+(?:#[ \t]*+)?(system|user|assistant|developer|function|tool)[ \t]*+(\[[^\]\n]*\][ \t]*+)?:[ \t]*+$",
    re.I | re.M,
)
_ROLE_VARIABLE = re.compile(r"^[ \t]*+(?:#[ \t]*+)?\{\{[^{}\n]*\}\}[ \t]*+:[ \t]*+$", re.M)
_IMAGE = re.compile(r"!\[([^\[\]\n]*)\]\(([^()\s]+)\)")
_VARIABLE = re.compile(r"\{\{-?\s*([\w.]+)\s*-?\}\}")


def read(text: str, file: str) -> list[Imported]:
    """The one prompt of a file."""
    front, body, line = split_front(text, file)
    data = mapping(front.data, "the front matter", file)
    draft = Draft(file, data.get("name"))
    about = read_front(draft, data, front)
    for role, attributes, message, start in _messages(body, line):
        where = f"message {draft.count + 1}"
        if attributes:
            draft.lose(f"{where}: its attributes {shown(attributes)}")
        for found in _ROLE_VARIABLE.finditer(message):
            draft.lose(f"{where}: {shown(found[0].strip())} starts no message here, and stays as text")
        if about.mustache:
            source = from_mustache(draft, message, about.types, where, start)
        else:
            source = _with_images(draft, message, where) if about.version == 1 else message
        draft.add(role, source, where, start)
    try:
        return [draft.finish()]
    except PromptError as problem:
        if ROLE_LINE.search(body) and "Unexpected end of template" in problem.message:
            hint = "a condition or a loop can't go over several messages here"
            raise PromptError(problem.message, where=problem.where, hint=hint) from None
        raise


def _messages(body: str, first_line: int) -> list[tuple[str, str, str, int]]:
    """Role, attributes, text without blank lines around it, and first line of every message."""
    opens = list(ROLE_LINE.finditer(body))
    made = []
    spans = [("system", "", 0, opens[0].start() if opens else len(body))]
    for found, following in zip(opens, [*opens[1:], None], strict=False):
        end = following.start() if following else len(body)
        spans.append((found[1].lower(), found[2] or "", min(found.end() + 1, len(body)), end))
    for role, attributes, start, end in spans:
        lines = body[start:end].split("\n")
        skipped = 0
        while lines and not lines[0].strip(" \t"):
            lines.pop(0)
            skipped += 1
        while lines and not lines[-1].strip(" \t"):
            lines.pop()
        if lines:
            made.append((role, attributes, "\n".join(lines), first_line + body.count("\n", 0, start) + skipped))
    return made


def _with_images(draft: Draft, message: str, where: str) -> str:
    """Version 1 sends an image for `![…](address)`."""

    def convert(found: re.Match[str]) -> str:
        address = found[2]
        variable = _VARIABLE.fullmatch(address)
        if not variable and not address.startswith(("https://", "http://", "data:image/")):
            draft.lose(f"{where}: the image {shown(address)} is a file, and stays as text")
            return found[0]
        if found[1]:
            draft.lose(f"{where}: the words {shown(found[1])} for an image")
        return f"{{{{ {variable[1] if variable else quoted(address)} | image }}}}"

    return _IMAGE.sub(convert, message)
