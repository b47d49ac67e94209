"""Our prompts as LangChain templates, and the objects of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from llmops.errors import MissingExtraError, PromptError
from llmops.prompts.environment import environment
from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.parts import Part, Picture, Text, Variable, has_pictures, is_simple
from llmops.prompts.formats.parts_source import source_of
from llmops.prompts.parsing import Role
from llmops.prompts.template import FilePrompt

_DIFFERENT = ("e", "escape", "tojson")
_NO_IMAGE_VARIABLES = frozenset(("url", "path", "detail"))


@dataclass(frozen=True, slots=True)
class TextPart:
    """A `PromptTemplate`, or with `detail` not None an `ImagePromptTemplate`'s address."""

    template: str
    form: Literal["f-string", "jinja2"]
    variables: tuple[str, ...]
    detail: str | None = None

    def serialised(self) -> dict[str, Any]:
        """As LangChain's `dumps` has it."""
        kind, module = ("PromptTemplate", "prompt") if self.detail is None else ("ImagePromptTemplate", "image")
        template = self.template if self.detail is None else self.image
        fields = {"input_variables": list(self.variables), "template": template, "template_format": self.form}
        return constructor(module, kind, fields)

    @property
    def image(self) -> dict[str, str]:
        return {"url": self.template} | ({"detail": self.detail} if self.detail else {})


@dataclass(frozen=True, slots=True)
class Template:
    """One message: a single text, or a list of texts and images."""

    role: Role
    parts: tuple[TextPart, ...]
    listed: bool

    @property
    def variables(self) -> set[str]:
        return {name for part in self.parts for name in part.variables}


def constructor(module: str, kind: str, fields: dict[str, Any], *, named: bool = True) -> dict[str, Any]:
    """A serialised object of `langchain.prompts`."""
    made = {"lc": 1, "type": "constructor", "id": ["langchain", "prompts", module, kind], "kwargs": fields}
    return made | ({"name": kind} if named else {})


def metadata(prompt: FilePrompt) -> dict[str, str]:
    """What tells in a trace which prompt it was."""
    return {"prompt": prompt.name, "content_id": prompt.content_id}


def templates(leaving: Leaving) -> list[Template]:
    """Every message, as an f-string when it has only variables in it, else as Jinja2."""
    return [_template(leaving, number) for number in range(len(leaving.messages))]


def _template(leaving: Leaving, number: int) -> Template:
    role, text, parts = leaving.messages[number]
    where = f"message {number + 1}"
    if not has_pictures(parts):
        return Template(role, (_text(parts, text, leaving, where),), False)
    if any(not isinstance(part, Picture) and has_pictures([part]) for part in parts):
        raise PromptError(f"prompt {leaving.prompt.name}: {where} has an image in a condition or loop")
    made: list[TextPart] = []
    between: list[Part] = []
    for part in [*parts, None]:
        if part is not None and not isinstance(part, Picture):
            between.append(part)
            continue
        stripped = _stripped(between)
        made += [_text(stripped, source_of(stripped), leaving, where)] if stripped else []
        made += [_picture(part, leaving, where)] if part is not None else []
        between = []
    return Template(role, tuple(made), True)


def _stripped(parts: Sequence[Part]) -> list[Part]:
    """`parts` without the white space beside an image."""
    kept = list(parts)
    if kept and isinstance(first := kept[0], Text):
        kept[0] = Text(first.text.lstrip())
    if kept and isinstance(last := kept[-1], Text):
        kept[-1] = Text(last.text.rstrip())
    return [part for part in kept if part != Text("")]


def _picture(part: Picture, leaving: Leaving, where: str) -> TextPart:
    made = _text(part.address, source_of(part.address), leaving, where)
    if taken := _NO_IMAGE_VARIABLES.intersection(made.variables):
        message = f"{where}: LangChain allows no variable called {min(taken)} in an image's address"
        raise PromptError(f"prompt {leaving.prompt.name}, {message}", hint="rename it")
    return TextPart(made.template, made.form, made.variables, part.detail)


def _text(parts: Sequence[Part], source: str, leaving: Leaving, where: str) -> TextPart:
    if is_simple(parts):
        names = sorted({str(part.path[0]) for part in parts if isinstance(part, Variable)})
        return TextPart("".join(map(_f_string, parts)), "f-string", tuple(names))
    tree = environment().parse(source)
    for node in tree.find_all(nodes.Filter):
        if node.name in _DIFFERENT:
            leaving.lose(f"{where}: the filter {node.name}, which gives other text in LangChain")
    return TextPart(source, "jinja2", tuple(sorted(find_undeclared_variables(tree) - {"range", "namespace"})))


def _f_string(part: Part) -> str:
    if isinstance(part, Text):
        return part.text.replace("{", "{{").replace("}", "}}")
    return f"{{{part.path[0]}}}" if isinstance(part, Variable) else ""


def to_template(prompt: FilePrompt) -> Any:
    """A `ChatPromptTemplate`."""
    chat = langchain_prompts("to_langchain")
    kinds = {
        "system": chat.SystemMessagePromptTemplate,
        "user": chat.HumanMessagePromptTemplate,
        "assistant": chat.AIMessagePromptTemplate,
    }
    messages = []
    for one in templates(Leaving(prompt, "LangChain")):
        parts = [_object(part) for part in one.parts]
        messages.append(kinds[one.role](prompt=parts if one.listed else parts[0]))
    partial = {name: one.default for name, one in prompt.inputs.items() if one.has_default}
    tags = list(prompt.front.tags) or None
    return chat.ChatPromptTemplate(messages, partial_variables=partial, metadata=metadata(prompt), tags=tags)


def _object(part: TextPart) -> Any:
    from langchain_core.prompts import PromptTemplate
    from langchain_core.prompts.image import ImagePromptTemplate

    names = list(part.variables)
    if part.detail is None:
        return PromptTemplate(template=part.template, template_format=part.form, input_variables=names)
    return ImagePromptTemplate(template=part.image, template_format=part.form, input_variables=names)


def langchain_prompts(needed_for: str) -> Any:
    """`langchain_core.prompts`. Raises `MissingExtraError`."""
    try:
        from langchain_core import prompts
    except ImportError:
        raise MissingExtraError("langchain", needed_for=needed_for) from None
    return prompts
