"""Partials put in place: a message's template with the text of every `{% include %}` written where the tag was.

The text that comes out is what is compiled, frozen in a release and hashed. It means the same as the includes: what
a partial sets stays inside it, white space next to a tag is kept, and no line of a partial can open a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from jinja2 import TemplateSyntaxError, nodes

from llmops.errors import PromptError
from llmops.prompts.environment import environment
from llmops.prompts.parsing import ROLES
from llmops.prompts.segments import Kind, segments

LINES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 100
MAX_TEXT = 2_000_000
MAX_INCLUDES = 200
MAX_INCLUDE_DEPTH = 10
BARRIER = '{{ "" }}'
_INCLUDE = re.compile(r"""\{%([-+]?)\s*include\s+("[^"\\]*"|'[^'\\]*')(?:\s+with\s+context)?\s*([-+]?)%\}""")
_STRIPS_AFTER = ("-%}", "-}}", "-#}")
_STRIPS_BEFORE = ("{%-", "{{-", "{#-")


@dataclass
class Sources:
    """The files a prompt is made of, numbered as met.

    `find` reads a partial: (name, including file, `file:line` of the tag) → (file, text). `shown` gives a file as
    errors name it.
    """

    find: Callable[[str, str, str], tuple[str, str]]
    shown: Callable[[str], str]
    files: list[str] = field(default_factory=list)
    included: int = 0
    nodes: int = 0

    def add(self, file: str) -> int:
        """The number of a file."""
        if file not in self.files:
            self.files.append(file)
        return self.files.index(file)

    def where(self, line: int) -> str:
        """`file:line` of a numbered line (`number of the file * LINES + line`)."""
        number, line = divmod(line, LINES)
        return f"{self.shown(self.files[number])}:{line}"


@dataclass
class Expanded:
    """A template's text, and for each of its lines the numbered line it comes from."""

    text: str = ""
    origins: list[int] = field(default_factory=list)

    def add(self, text: str, origins: list[int]) -> None:
        """Write `text`, whose lines come from `origins`, behind what is there."""
        if self.text.endswith("{") and text.startswith(("{", "%", "#")):
            self.text = self.text[:-1] + '{{ "{" }}'  # the two would read as the start of a tag
        if self.origins and not self.text.endswith("\n") and self.text:
            origins = origins[1:]
        elif self.origins:
            self.origins.pop()
        self.text += text
        self.origins += origins

    def origin(self, line: int) -> int:
        """The numbered line that line `line` (from 1) comes from."""
        return self.origins[min(max(line, 1), len(self.origins)) - 1]


def expand(text: str, number: int, first_line: int, sources: Sources) -> Expanded:
    """A message with its partials in place. Raises `PromptError` with the file and line of what is wrong."""
    made = _expand(text, number, first_line, sources, (number,))
    made.text = _guarded(made, sources)
    return made


def _expand(text: str, number: int, first_line: int, sources: Sources, inside: tuple[int, ...]) -> Expanded:
    first = number * LINES + first_line
    lines = text.count("\n") + 1
    whole = Expanded(text, list(range(first, first + lines)))
    if "include" not in text:
        return whole
    tags = [tag for kind, start, _ in segments(text) if kind == "tag" and (tag := _INCLUDE.match(text, start))]
    made, at, strip = Expanded(), 0, False
    for tag in tags:
        _add_own(made, text[at : tag.start()], first + text.count("\n", 0, at), strip, tag[1] == "-")
        line = first + text.count("\n", 0, tag.start())
        _add_partial(made, tag[2][1:-1], line, sources, inside)
        at, strip = tag.end(), tag[3] == "-"
    _add_own(made, text[at:], first + text.count("\n", 0, at), strip, False)
    return made


def _add_own(made: Expanded, text: str, line: int, strip_left: bool, strip_right: bool) -> None:
    if strip_left:
        kept = text.lstrip()
        line += text.count("\n", 0, len(text) - len(kept))
        text = kept
    text = text.rstrip() if strip_right else text
    made.add(_barrier(made.text, text) + text, list(range(line, line + text.count("\n") + 1)))


def _add_partial(made: Expanded, name: str, line: int, sources: Sources, inside: tuple[int, ...]) -> None:
    where = sources.where(line)
    file, text = sources.find(name, sources.files[inside[-1]], where)
    number = sources.add(file)
    if number in inside:
        raise PromptError(f"{name!r} includes itself", where=where)
    if len(inside) > MAX_INCLUDE_DEPTH:
        raise PromptError(f"includes go more than {MAX_INCLUDE_DEPTH} deep", where=where)
    sources.included += 1
    if sources.included > MAX_INCLUDES:
        raise PromptError(f"more than {MAX_INCLUDES} includes in one prompt", where=where)
    part = _expand(text.removesuffix("\n"), number, 1, sources, (*inside, number))
    if len(made.text) + len(part.text) > MAX_TEXT:
        raise PromptError(f"includes add up to more than {MAX_TEXT:,} characters", where=where)
    if _sets(part, sources):
        made.add("{% with %}", [line])
        made.add(part.text, part.origins)
        made.add("{% endwith %}", [part.origins[-1]])
    else:
        made.add(_barrier(made.text, part.text) + part.text, part.origins)


def _sets(part: Expanded, sources: Sources) -> bool:
    """True when a partial sets variables. Parses it, which also finds a tag that another file would have to close."""
    try:
        return _sets_variables(part.text)
    except Exception:
        parse(part, sources)  # the same, as an error with a file and line
        raise


@lru_cache(256)
def _sets_variables(text: str) -> bool:
    return next(environment().parse(text).find_all((nodes.Assign, nodes.AssignBlock)), None) is not None


def _barrier(left: str, right: str) -> str:
    """What keeps a tag on one side of a seam from stripping white space on the other."""
    strips = left.rstrip().endswith(_STRIPS_AFTER) or right.lstrip().startswith(_STRIPS_BEFORE)
    return BARRIER if left and strips and not left.endswith("{") else ""


def _guarded(made: Expanded, sources: Sources) -> str:
    """The text with a barrier before each line that would open a message, and before a blank first or last line."""
    lines = made.text.split("\n")
    ends = {i for i in (0, len(lines) - 1) if not lines[i].strip(" \t")}
    roles = [i for i, line in enumerate(lines) if line in ROLES]
    if roles or ends:
        kinds = _kinds(made.text, lines) if roles else {}
        for i in roles:
            lines[i] = _unlike_a_role(made, i, kinds[i], sources) + lines[i]
        for i in ends.difference(roles):
            lines[i] = BARRIER + lines[i]
    return "\n".join(lines)


def _kinds(text: str, lines: list[str]) -> dict[int, Kind]:
    """For each line, what its first character belongs to; the template is gone through once."""
    found: dict[int, Kind] = {}
    at, line, starts = 0, 0, []
    for one in lines:
        starts.append(at)
        at += len(one) + 1
    for kind, _, end in segments(text):
        while line < len(lines) and starts[line] < end:
            found[line] = kind
            line += 1
    return {i: found.get(i, "text") for i in range(len(lines))}


def _unlike_a_role(made: Expanded, line: int, kind: Kind, sources: Sources) -> str:
    if kind == "raw":
        return "{% endraw %}" + BARRIER + "{% raw %}"
    if kind in ("tag", "print"):
        where = sources.where(made.origins[line])
        raise PromptError("a tag can't have a line that reads like the start of a message", where=where)
    return BARRIER


def parse(made: Expanded, sources: Sources) -> tuple[nodes.Template, list[nodes.Node]]:
    """The syntax tree of a template with numbered lines, and its nodes in the order of the text."""
    tree = _tree(made, sources)
    found: list[nodes.Node] = []
    stack: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        node.lineno = made.origin(node.lineno or 1)
        found.append(node)
        if depth > MAX_DEPTH:
            where = sources.where(node.lineno)
            raise PromptError("the template is nested too deeply", where=where, hint="split it up")
        stack.extend(reversed([(child, depth + 1) for child in node.iter_child_nodes()]))
    sources.nodes += len(found)
    if sources.nodes > MAX_NODES:
        where = sources.where(made.origin(1))
        raise PromptError(f"more than {MAX_NODES:,} expressions in a prompt", where=where)
    return tree, found


def _tree(made: Expanded, sources: Sources) -> nodes.Template:
    where, hint = sources.where(made.origin(1)), ""
    try:
        return environment().parse(made.text)
    except TemplateSyntaxError as problem:
        message = f"template: {problem.message}"
        where = sources.where(made.origin(problem.lineno))
        hint = "write {{ '{{' }} or {% raw %} for braces that are text" if "{" in message else ""
    except (RecursionError, MemoryError):
        message, hint = "the template is nested too deeply", "split it up"
    except (ValueError, OverflowError) as problem:
        message = f"not a template: {str(problem).partition(';')[0]}"
    raise PromptError(message, where=where, hint=hint)
