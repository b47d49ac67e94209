"""The parts of a template put together again, as Jinja2."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.prompts.formats.jinja_text import literal, quoted
from llmops.prompts.formats.parts import Block, Code, Note, Part, Picture, Text, Variable


def source_of(parts: Sequence[Part]) -> str:
    """A template that renders the same as the one the parts come from."""
    return "".join(map(_source, parts))


def _source(part: Part) -> str:
    if isinstance(part, Text):
        return literal(part.text)
    if isinstance(part, Variable):
        return f"{{{{ {expression(part)} }}}}"
    if isinstance(part, Note):
        return f"{{# {part.text} #}}"
    if isinstance(part, Code):
        return part.source
    if isinstance(part, Block):
        return part.head + source_of(part.body) + part.middle + source_of(part.otherwise) + part.tail
    assert isinstance(part, Picture)
    address = " ~ ".join(quoted(one.text) if isinstance(one, Text) else expression(one) for one in part.address)
    return f"{{{{ ({address}) | image({quoted(part.detail) if part.detail else ''}) }}}}"


def expression(variable: Variable) -> str:
    """`user["name"]`."""
    first, *rest = variable.path
    return str(first) + "".join(f"[{key if isinstance(key, int) else quoted(key)}]" for key in rest)
