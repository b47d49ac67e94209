"""The tags of Mustache and Handlebars in a text, and which of them take their whole line with them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmops.errors import PromptError

MAX_DEPTH = 100
_STANDALONE = ("#", "/", "^", "!", ">", "=")


@dataclass(frozen=True, slots=True)
class Tag:
    """`{{#if x}}` is kind `#` and inner `if x`; kind is empty for a value and `{` or `&` for one left unescaped."""

    kind: str
    inner: str
    source: str
    line: int


@dataclass(slots=True)
class Literal:
    """Text between tags."""

    text: str


def read_tags(template: str, file: str, first_line: int, *, handlebars: bool) -> list[Tag | Literal]:
    """Texts and tags in order, white space that belongs to tags removed. Raises `PromptError` with the line.

    A line with nothing but a block's, a comment's or a partial's tag disappears. In Handlebars `~` strips white
    space, too, and `\\\\{{` is text.
    """
    made: list[Tag | Literal] = [Literal("")]
    at, strip_next, line, counted = 0, False, first_line, 0
    while (begin := template.find("{{", at)) >= 0:
        text = template[at:begin]
        escapes = len(text) - len(text.rstrip("\\")) if handlebars else 0
        line, counted = line + template.count("\n", counted, begin), begin
        if escapes == 1:
            end = template.find("{{", begin + 2)
            end = len(template) if end < 0 else end
            text_end = template[begin:end]
            end -= min(2, len(text_end) - len(text_end.rstrip("\\")))
            _text(made, text[:-1] + template[begin:end], strip_next)
            at, strip_next = end, False
            continue
        tag, end, strips = _tag(template, begin, f"{file}:{line}", line, handlebars)
        text = text[:-1] if escapes else text
        alone = tag.kind in _STANDALONE or (handlebars and tag.inner.split()[:1] == ["else"])
        margin = _margin(template, begin, end) if alone else None
        if margin is not None:
            text = text[: len(text) - margin[0]] if margin[0] else text
            end = margin[1]
        _text(made, text.rstrip() if strips[0] else text, strip_next)
        made.append(tag)
        at, strip_next = end, strips[1]
    _text(made, template[at:], strip_next)
    return [one for one in made if isinstance(one, Tag) or one.text]


def _text(made: list[Tag | Literal], text: str, strip: bool) -> None:
    text = text.lstrip() if strip else text
    last = made[-1]
    if isinstance(last, Literal):
        last.text += text
    else:
        made.append(Literal(text))


def _margin(template: str, begin: int, end: int) -> tuple[int, int] | None:
    """For a tag alone on its line: the spaces before it, and where the next line starts."""
    start, stop = begin, end
    while start and template[start - 1] in " \t":
        start -= 1
    while stop < len(template) and template[stop] in " \t":
        stop += 1
    if (start and template[start - 1] != "\n") or (stop < len(template) and template[stop] != "\n"):
        return None
    return begin - start, min(stop + 1, len(template))


def _tag(template: str, begin: int, where: str, line: int, handlebars: bool) -> tuple[Tag, int, tuple[bool, bool]]:
    """The tag that starts at `begin`, the offset behind it, and whether it strips what is before and after it."""
    opening, closing = ("{{{", "}}}") if template.startswith("{{{", begin) else ("{{", "}}")
    if handlebars and template.startswith("{{{{", begin):
        raise PromptError("raw blocks {{{{…}}}} aren't supported", where=where)
    inner_start = begin + len(opening)
    if comment := re.compile(r"~?!--").match(template, inner_start):
        stop = template.find("--", comment.end())
        tail = re.compile(r"--~?\}\}").search(template, comment.end())
        if stop < 0 or tail is None:
            raise PromptError("a comment has no end", where=where)
        strips = (comment[0][0] == "~", "~" in tail[0])
        return Tag("!", template[comment.end() : tail.start()], "", line), tail.end(), strips
    end = _end(template, inner_start, closing, handlebars)
    if end < 0:
        raise PromptError(f"a tag {opening} has no end", where=where)
    inner, after = template[inner_start:end], end + len(closing)
    strips = (handlebars and inner.startswith("~"), handlebars and inner.endswith("~"))
    inner = inner[strips[0] : len(inner) - strips[1] if len(inner) > 1 else None].strip()
    kind = "{" if opening == "{{{" else inner[:1] if inner[:1] in "#/^>!=&" else ""
    inner = inner[1:].strip() if kind and kind != "{" else inner
    return Tag(kind, inner, template[begin:after], line), after, strips


def _end(template: str, at: int, closing: str, handlebars: bool) -> int:
    if not handlebars:
        return template.find(closing, at)
    for found in re.compile(rf"\"[^\"]*\"|'[^']*'|{re.escape(closing)}").finditer(template, at):
        if found[0] == closing:
            return found.start()
    return template.find(closing, at)
