"""Where text, tags, comments and raw blocks are in a template, told without compiling it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["text", "print", "tag", "comment", "raw"]
_STRING = r'"(?:\\.|[^"\\])*"' + r"|'(?:\\.|[^'\\])*'"
_OPENING = re.compile(r"\{%[-+]?\s*raw\s*-?%\}|\{[{%#]")
_RAW_END = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TAG_END = re.compile(rf"{_STRING}|%\}}", re.S)
_PRINT_END = re.compile(rf"{_STRING}|[{{}}]", re.S)


class Segment(NamedTuple):
    """A stretch of a template, delimiters included: `template[start:end]`."""

    kind: Kind
    start: int
    end: int


def segments(template: str) -> Iterator[Segment]:
    """Every stretch of `template` in order, without gaps. What is never closed runs to the end."""
    at = 0
    while found := _OPENING.search(template, at):
        if found.start() > at:
            yield Segment("text", at, found.start())
        kind, at = _closing(template, found)
        yield Segment(kind, found.start(), at)
    if at < len(template):
        yield Segment("text", at, len(template))


def _closing(template: str, opening: re.Match[str]) -> tuple[Kind, int]:
    """What an opening opens, and the offset behind its end."""
    sign, end = opening[0], len(template)
    if len(sign) > 2:
        close = _RAW_END.search(template, opening.end())
        return "raw", close.end() if close else end
    if sign == "{#":
        at = template.find("#}", opening.end())
        return "comment", end if at < 0 else at + 2
    if sign == "{%":
        closes = (m.end() for m in _TAG_END.finditer(template, opening.end()) if m[0] == "%}")
        return "tag", next(closes, end)
    return "print", _print_end(template, opening.end())


def _print_end(template: str, at: int) -> int:
    """Behind the `}}` that isn't part of a mapping in the expression."""
    depth = 0
    for found in _PRINT_END.finditer(template, at):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}" and depth:
            depth -= 1
        elif found[0] == "}" and template.startswith("}}", found.start()):
            return found.start() + 2
    return len(template)
