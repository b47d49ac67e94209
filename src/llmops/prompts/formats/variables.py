"""What a template's variables look like from how they are used, and what in a template isn't supported here."""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from llmops.prompts.environment import environment

_TAGS: dict[type[nodes.Node], str] = {
    nodes.AssignBlock: "{% set %} with a body", nodes.Block: "{% block %}", nodes.CallBlock: "{% call %}",
    nodes.Extends: "{% extends %}", nodes.FilterBlock: "{% filter %}", nodes.FromImport: "{% from %}",
    nodes.Import: "{% import %}", nodes.Macro: "{% macro %}", nodes.ScopedEvalContextModifier: "{% autoescape %}",
}  # fmt: skip
_TEXT_FILTERS = frozenset(
    ("capitalize", "e", "escape", "image", "indent", "lower", "replace", "title", "trim", "truncate", "upper")
)


def kinds(tree: nodes.Template) -> dict[str, str]:
    """The type of every variable: `string` when it is printed, `array` when it is looped over, else `any`."""
    wanted = find_undeclared_variables(tree) - set(environment().globals)
    seen: dict[str, set[str]] = {}
    for parent, node in _walk(tree):
        if isinstance(node, nodes.Name) and node.name in wanted and node.ctx == "load":
            seen.setdefault(node.name, set()).add(_use(parent, node))
    return {name: _kind(uses) for name, uses in seen.items()}


def _kind(uses: set[str]) -> str:
    if uses <= {"array", "test"} and "array" in uses:
        return "array"
    return "string" if uses <= {"print", "test"} and "print" in uses else "any"


def _use(parent: nodes.Node, node: nodes.Name) -> str:
    if isinstance(parent, nodes.For) and parent.iter is node:
        return "array"
    if isinstance(parent, (nodes.If, nodes.Not, nodes.CondExpr)) and getattr(parent, "test", node) is node:
        return "test"
    if isinstance(parent, nodes.Filter):
        return "print" if parent.node is node and parent.name in _TEXT_FILTERS else "other"
    return "print" if isinstance(parent, (nodes.Output, nodes.Concat)) else "other"


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, nodes.Node]]:
    """Every node with its parent, in the order of the text."""
    stack: list[tuple[nodes.Node, nodes.Node]] = [(tree, tree)]
    while stack:
        parent, node = stack.pop()
        yield parent, node
        stack.extend((node, child) for child in reversed(list(node.iter_child_nodes())))


def unsupported(tree: nodes.Template) -> list[str]:
    """One line for each thing that our templates don't have; the text stays, and has to be changed by hand.

    In the tree, filters and tests that don't exist are called by names that do, since Jinja2 looks no further else.
    """
    made: list[str] = []
    for _, node in _walk(tree):
        if type(node) in _TAGS:
            made.append(f"{_TAGS[type(node)]} isn't supported here; change it by hand")
        elif isinstance(node, nodes.Filter) and node.name not in environment().filters:
            made.append(f"there is no filter {node.name[:60]!r} here; change it by hand")
            node.name = "string"
        elif isinstance(node, nodes.Test) and node.name not in environment().tests:
            made.append(f"there is no test {node.name[:60]!r} here; change it by hand")
            node.name = "defined"
        elif isinstance(node, nodes.Getattr) and node.attr == "length":
            made.append("'.length' isn't there for texts and lists; write | length")
    return made
