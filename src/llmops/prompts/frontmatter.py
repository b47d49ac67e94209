"""The front matter of a prompt file, checked key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.errors import InputError, PromptError, did_you_mean
from llmops.prompts.inputs import Input, read_inputs
from llmops.registry import parse_short_form
from llmops.yamlfile import Document

KEYS = ("backend", "description", "few_shot", "inputs", "model", "output", "owner", "parameters", "tags", "tools")
RELEASE_KEYS = ("content_id", "prompt", "version")


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a prompt file says about itself. `inputs` is None when it declares none."""

    description: str = ""
    backend: Any = None
    model: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Input] | None = None
    output: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tags: tuple[str, ...] = ()
    owner: str = ""
    few_shot: tuple[Mapping[str, str], ...] = ()

    def about(self) -> dict[str, Any]:
        """What is written for people only, as front matter has it."""
        return _filled({"description": self.description, "tags": list(self.tags), "owner": self.owner})

    def deciding(self) -> dict[str, Any]:
        """What decides a request, as front matter has it, in a fixed order. Keys below the top keep theirs."""
        written = None if self.inputs is None else {name: one.written() for name, one in self.inputs.items()}
        made = _filled({"backend": self.backend, "model": self.model, "parameters": self.parameters})
        if written is not None:
            made["inputs"] = written
        if self.output is not None:
            made["output"] = self.output
        return made | _filled({"tools": list(self.tools), "few_shot": list(self.few_shot)})


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


Rows = Callable[[Any, Document], tuple[Mapping[str, str], ...]]


def read_front_matter(front: Document, rows: Rows, *, released: bool = False) -> FrontMatter:
    """Check a front matter. Raises `PromptError` with the file and line of what is wrong.

    `rows` reads what is written under `few_shot`; a released file has keys of its own.
    """
    data = {} if front.data is None else front.data
    if not isinstance(data, Mapping):
        raise PromptError("the front matter is a mapping of keys", where=front.where(), hint=f"keys: {', '.join(KEYS)}")
    for key in data:
        if key in RELEASE_KEYS and not released:
            raise PromptError(f"{key} is for releases only", where=front.where((key,)), hint="leave the line out")
        if key not in KEYS and not (released and key in RELEASE_KEYS):
            raise PromptError(f"no key is called {key!r:.60}", where=front.where((key,)), hint=did_you_mean(key, KEYS))
    return FrontMatter(
        description=_text(data, "description", front),
        backend=_backend(data, front),
        model=_text(data, "model", front),
        parameters=_mapping(data, "parameters", front, "such as temperature: 0") or {},
        inputs=read_inputs(data["inputs"], front) if data.get("inputs") is not None else None,
        output=_output(data, front),
        tools=_tools(data, front),
        tags=_tags(data, front),
        owner=_text(data, "owner", front),
        few_shot=rows(data["few_shot"], front) if data.get("few_shot") is not None else (),
    )


def _text(data: Mapping[str, Any], key: str, front: Document) -> str:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise PromptError(f"{key} is a text, not {value!r:.60}", where=front.where((key,)), hint="put it in quotes")
    return value or ""


def _mapping(data: Mapping[str, Any], key: str, front: Document, hint: str) -> Mapping[str, Any] | None:
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise PromptError(f"{key} is a mapping, not {value!r:.60}", where=front.where((key,)), hint=hint)
    return value


def _backend(data: Mapping[str, Any], front: Document) -> Any:
    form = data.get("backend")
    if form is not None:
        try:
            parse_short_form(form, what="backend", where=front.where(("backend",)))
        except InputError as problem:
            raise PromptError(problem.message, where=problem.where, hint=problem.hint) from None
    return form


def _output(data: Mapping[str, Any], front: Document) -> Mapping[str, Any] | None:
    schema = _mapping(data, "output", front, "write a JSON Schema")
    if schema is None:
        return None
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as problem:
        path = ("output", *problem.absolute_path)
        raise PromptError(f"output isn't a JSON Schema: {problem.message:.200}", where=front.where(path)) from None
    except (RecursionError, OverflowError):
        raise PromptError("output is nested too deeply", where=front.where(("output",))) from None
    return schema


def _tools(data: Mapping[str, Any], front: Document) -> tuple[Mapping[str, Any], ...]:
    value = data.get("tools")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise PromptError("tools is a list", where=front.where(("tools",)))
    for i, tool in enumerate(value):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            hint = "write {type: function, function: {name: …, parameters: …}}"
            raise PromptError("a tool is a mapping with a name", where=front.where(("tools", i)), hint=hint)
    return tuple(value)


def _tags(data: Mapping[str, Any], front: Document) -> tuple[str, ...]:
    value = data.get("tags")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise PromptError("tags is a list of texts", where=front.where(("tags",)), hint="such as [docs, short]")
    return tuple(value)
