"""From a message's template to a function: partials put in place, the language checked, prices written in.

Partials are merged into the syntax tree while loading, so rendering touches no file. A node's line number carries
the file it came from (`number * LINES + line`), which is how an error inside a partial names the partial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.visitor import NodeTransformer

from llmops.errors import PromptError, did_you_mean
from llmops.prompts.filters import FILTERS, TESTS, filters, tests
from llmops.prompts.sandbox import PromptEnvironment

LINES = 1_000_000
TEMPLATE_FILE = "<llmops prompt>"
MAX_NODES = 20_000
MAX_TEXT = 2_000_000
MAX_INCLUDES = 200
MAX_INCLUDE_DEPTH = 10
_TAGS: dict[type[nodes.Node], str] = {
    nodes.AssignBlock: "a set block",
    nodes.Block: "block",
    nodes.CallBlock: "call",
    nodes.Extends: "extends",
    nodes.FilterBlock: "a filter block",
    nodes.FromImport: "from … import",
    nodes.Import: "import",
    nodes.Macro: "macro",
    nodes.ScopedEvalContextModifier: "autoescape",
}


@cache
def environment() -> PromptEnvironment:
    """The one sandbox every prompt is compiled in."""
    made = PromptEnvironment()
    made.filters = cast(Any, filters())
    made.tests = cast(Any, tests())
    return made


@dataclass
class Sources:
    """The files a prompt is made of, numbered as met, and the texts of its partials in the order they go in.

    `find` reads a partial: (name, including file, `file:line` of the tag) → (path, text).
    """

    find: Callable[[str, Path, str], tuple[Path, str]]
    files: list[Path] = field(default_factory=list)
    partials: list[str] = field(default_factory=list)
    nodes: int = 0

    def add(self, path: Path) -> int:
        """The number of a file."""
        if path not in self.files:
            self.files.append(path)
        return self.files.index(path)

    def where(self, line: int) -> str:
        """`file:line` of a numbered line."""
        number, line = divmod(line, LINES)
        return f"{shown(self.files[number])}:{line}"


def shown(path: Path) -> str:
    """A path as errors show it: from the working folder if it is in there, else in full."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@dataclass(frozen=True)
class Compiled:
    """A template ready to run, the numbered line it starts on, and the first line each variable is used on."""

    template: Template
    line: int
    variables: dict[str, int]


def compile_message(text: str, number: int, first_line: int, sources: Sources) -> Compiled:
    """Compile one message. Raises `PromptError` with the file and line of what is wrong."""
    at = sources.where(number * LINES + first_line)
    try:
        tree = _parse(text, number, first_line, sources)
        tree.body = _inline(tree.body, sources, (number,))
        _check(tree, sources)
        variables = _variables(tree)
        tree = _Pricer().visit(tree)
        tree.set_environment(environment())
        code = environment().compile(tree, filename=TEMPLATE_FILE)
        return Compiled(
            Template.from_code(environment(), code, environment().globals), number * LINES + first_line, variables
        )
    except TemplateSyntaxError as problem:  # found while generating code: line numbers are already ours
        raise PromptError(problem.message or "not a template", where=sources.where(problem.lineno)) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise PromptError("the template is nested too deeply", where=at, hint="split it up") from None
    except (ValueError, OverflowError) as problem:
        raise PromptError(f"not a template: {str(problem).partition(';')[0]}", where=at) from None


def _parse(text: str, number: int, first_line: int, sources: Sources) -> nodes.Template:
    offset = number * LINES + first_line - 1
    try:
        tree = environment().parse(text)
    except TemplateSyntaxError as problem:
        hint = "write {{ '{{' }} or {% raw %} for braces that are text" if "{" in (problem.message or "") else ""
        where = sources.where(problem.lineno + offset)
        raise PromptError(f"template: {problem.message}", where=where, hint=hint) from None
    for node in _walk(tree):
        node.lineno = (node.lineno or 1) + offset
        sources.nodes += 1
        if sources.nodes > MAX_NODES:
            raise PromptError(f"more than {MAX_NODES:,} expressions in a prompt", where=sources.where(node.lineno))
    return tree


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and all below it, in the order of the text."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(node.iter_child_nodes())))


def _inline(body: list[nodes.Node], sources: Sources, inside: tuple[int, ...]) -> list[nodes.Node]:
    """`body` with each `{% include %}` replaced by the partial's own nodes, in a scope of their own."""
    merged: list[nodes.Node] = []
    for node in body:
        if isinstance(node, nodes.Include):
            merged.append(_partial(node, sources, inside))
            continue
        for name in ("body", "else_", "elif_"):
            if isinstance(getattr(node, name, None), list):
                setattr(node, name, _inline(getattr(node, name), sources, inside))
        merged.append(node)
    return merged


def _partial(node: nodes.Include, sources: Sources, inside: tuple[int, ...]) -> nodes.Node:
    where = sources.where(node.lineno)
    name = node.template.value if isinstance(node.template, nodes.Const) else None
    if not isinstance(name, str) or node.ignore_missing or not node.with_context:
        raise PromptError("include takes one file name in quotes", where=where, hint='write {% include "_style.md" %}')
    path, text = sources.find(name, sources.files[inside[-1]], where)
    number = sources.add(path)
    if number in inside:
        raise PromptError(f"{name!r} includes itself", where=where)
    if len(inside) > MAX_INCLUDE_DEPTH:
        raise PromptError(f"includes go more than {MAX_INCLUDE_DEPTH} deep", where=where)
    if len(sources.partials) >= MAX_INCLUDES:
        raise PromptError(f"more than {MAX_INCLUDES} includes in one prompt", where=where)
    sources.partials.append(text)
    if sum(map(len, sources.partials)) > MAX_TEXT:
        raise PromptError(f"includes add up to more than {MAX_TEXT:,} characters", where=where)
    tree = _parse(text, number, 1, sources)
    return nodes.Scope(_inline(tree.body, sources, (*inside, number)), lineno=node.lineno)


def _check(tree: nodes.Template, sources: Sources) -> None:
    for node in _walk(tree):
        problem, hint = _problem(node)
        if problem:
            raise PromptError(f"template: {problem}", where=sources.where(node.lineno), hint=hint)


def _problem(node: nodes.Node) -> tuple[str, str]:
    tag = _TAGS.get(type(node))
    if tag:
        return f"{tag} isn't supported in prompts", 'use {% include "_part.md" %} for parts that are shared'
    if isinstance(node, nodes.Name) and node.name == "self":
        return "a variable can't be called self", ""
    if isinstance(node, nodes.For) and node.recursive:
        return "recursive loops aren't supported in prompts", ""
    for kind, word, ours, theirs in (
        (nodes.Filter, "filter", environment().filters, FILTERS),
        (nodes.Test, "test", environment().tests, TESTS),
    ):
        if isinstance(node, kind) and (node.name not in ours or " " in node.name):
            known = [name for name in ours if " " not in name]
            if node.name in theirs:
                return f"the {word} {node.name!r} isn't allowed in prompts", ""
            return f"no {word} is called {node.name!r}", did_you_mean(node.name, known)
    return "", ""


def _variables(tree: nodes.Template) -> dict[str, int]:
    tree.set_environment(environment())
    wanted = find_undeclared_variables(tree)
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in wanted and node.ctx == "load":
            lines.setdefault(node.name, node.lineno)
    return lines


class _Pricer(NodeTransformer):
    """Writes the prices in: loops, comparisons, literals, slices and `~` go through paying filters."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        steps = sum(1 for _ in _walk(node))
        self.generic_visit(node)
        node.iter = _filter("loop over", node.iter, nodes.Const(steps))
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        parts: list[Any] = [node, *node.ops]
        for part in parts:
            if not isinstance(part.expr, nodes.Const):
                part.expr = _filter("weighed", part.expr)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter("concatenated", node.nodes[0], *node.nodes[1:])

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter("weighed", node.node)
            return _filter("weighed", node)
        if not isinstance(node.arg, nodes.Const):
            node.arg = _filter("weighed", node.arg)
        return node

    def _literal(self, node: nodes.Literal) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else _filter("weighed", node)

    visit_List = _literal
    visit_Tuple = _literal
    visit_Dict = _literal


def _filter(name: str, node: Any, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
