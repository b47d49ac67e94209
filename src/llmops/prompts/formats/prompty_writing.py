"""Our prompts as Prompty files of version 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import nodes

from llmops.prompts.environment import environment
from llmops.prompts.formats.leaving import Leaving, openai_tool
from llmops.prompts.formats.parts import has_pictures
from llmops.prompts.formats.shapes import Exported
from llmops.prompts.inputs import Input
from llmops.prompts.template import FilePrompt
from llmops.prompts.writing import block

_OPTIONS = {
    "frequency_penalty": "frequencyPenalty", "max_tokens": "maxOutputTokens", "presence_penalty": "presencePenalty",
    "seed": "seed", "temperature": "temperature", "top_k": "topK", "top_p": "topP", "stop": "stopSequences",
    "parallel_tool_calls": "allowMultipleToolCalls",
}  # fmt: skip
_ROLE_LINE = re.compile(
    r"^[ \t]*+(?:#[ \t]*+)?(system|user|assistant|developer)[ \t]*+(\[.*\])?[ \t]*+:[ \t]*+$", re.I | re.M
)
_KINDS = {"number": "float", "any": "any"}
_DIFFERENT = ("e", "escape", "tojson", "image")


def write(prompt: FilePrompt) -> Exported:
    """A `.prompty` file."""
    leaving = Leaving(prompt, "Prompty")
    about = prompt.front
    front: dict[str, Any] = {"name": prompt.name.rsplit("/", 1)[-1]}
    front |= {"description": about.description} if about.description else {}
    metadata = ({"authors": [about.owner]} if about.owner else {}) | ({"tags": list(about.tags)} if about.tags else {})
    front |= {"metadata": metadata} if metadata else {}
    model = ({"id": prompt.model} if prompt.model else {}) | _options(prompt.parameters)
    front |= {"model": model} if model else {}
    inputs = [_input(leaving, one) for one in prompt.inputs.values()]
    front |= {"inputs": inputs} if inputs else {}
    outputs = _properties(leaving, prompt.output_schema, "output") if prompt.output_schema is not None else []
    front |= {"outputs": outputs} if outputs else {}
    tools = [_tool(leaving, openai_tool(tool)["function"]) for tool in prompt.tools]
    front |= {"tools": tools} if tools else {}
    front["template"] = {"format": {"kind": "jinja2"}, "parser": {"kind": "prompty"}}
    leaving.lose_front("description", "owner", "tags", "model", "parameters", "inputs", "output", "tools", "default")
    body = "\n\n".join(f"{role}:\n{_body(leaving, n)}" for n, (role, _, _) in enumerate(leaving.messages))
    return Exported(f"---\n{block(front)}---\n{body}\n", tuple(leaving.lost))


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {_OPTIONS[key]: value for key, value in parameters.items() if key in _OPTIONS}
    more = {key: value for key, value in parameters.items() if key not in _OPTIONS}
    made |= {"additionalProperties": more} if more else {}
    return {"options": made} if made else {}


def _body(leaving: Leaving, number: int) -> str:
    _, text, parts = leaving.messages[number]
    where = f"message {number + 1}"
    if found := _ROLE_LINE.search(re.sub(r'\{\{ "" \}\}', "", text)):
        leaving.lose(f"{where}: Prompty takes the line {found[0].strip()!r:.40} for the start of a message")
    if text.startswith('{{ "" }}') or text.endswith('{{ "" }}'):
        leaving.lose(f"{where}: blank lines at its start and its end")
    if has_pictures(parts):
        leaving.lose(f"{where}: its images; give Prompty an input of kind image instead")
    for node in environment().parse(text).find_all(nodes.Filter):
        if node.name in _DIFFERENT and node.name != "image":
            leaving.lose(f"{where}: the filter {node.name}, which gives other text in Prompty")
    return text


def _input(leaving: Leaving, one: Input) -> dict[str, Any]:
    where = f"input {one.name}"
    if len(one.types) > 1 or one.types == ("null",):
        leaving.lose(f"{where}: that it may be {' or '.join(one.types)}")
    kind = one.types[0] if len(one.types) == 1 and one.types[0] != "null" else "any"
    made: dict[str, Any] = {"name": one.name, "kind": _KINDS.get(kind, kind)}
    made |= {"description": one.description} if one.description else {}
    made |= {"required": one.required} if one.required or not one.has_default else {}
    made |= {"default": one.default} if one.has_default else {}
    made |= {"example": one.example} if one.example is not None else {}
    made |= {"enumValues": list(one.enum)} if one.enum is not None else {}
    if one.items:
        made["items"] = {"kind": _KINDS.get(one.items[0], one.items[0])}
        if len(one.items) > 1:
            leaving.lose(f"{where}: that its items may be {' or '.join(one.items)}")
    return made


def _properties(leaving: Leaving, schema: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """An object's JSON Schema as a list of properties."""
    found = schema.get("properties")
    if schema.get("type") not in (None, "object") or not isinstance(found, Mapping):
        leaving.lose(f"{where}: a schema that isn't an object's")
        return []
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    for key in schema:
        if key not in ("type", "properties", "required"):
            leaving.lose(f"{where}: {key!r:.60}")
    made = {name: _property(leaving, one, f"{where}, {name}", name in needed) for name, one in found.items()}
    return [{"name": name, **one} for name, one in made.items()]


def _property(leaving: Leaving, schema: Any, where: str, required: bool) -> dict[str, Any]:
    form = schema if isinstance(schema, Mapping) else {}
    kind = form.get("type")
    made: dict[str, Any] = {"kind": _KINDS.get(kind, kind) if isinstance(kind, str) else "any"}
    made |= {"description": form["description"]} if isinstance(form.get("description"), str) else {}
    made["required"] = required
    made |= {"enumValues": form["enum"]} if "enum" in form else {}
    if isinstance(form.get("items"), Mapping):
        made["items"] = _property(leaving, form["items"], where, True)
    if isinstance(form.get("properties"), Mapping):
        made["properties"] = _properties(leaving, {k: form[k] for k in ("properties", "required") if k in form}, where)
    for key in form:
        if key not in ("type", "description", "enum", "items", "properties", "required"):
            leaving.lose(f"{where}: {key!r:.60}")
    if not isinstance(kind, str) and kind is not None:
        leaving.lose(f"{where}: its types {kind!r:.60}")
    return made


def _tool(leaving: Leaving, function: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": function["name"], "kind": "function"}
    made |= {"description": function["description"]} if isinstance(function.get("description"), str) else {}
    if isinstance(function.get("parameters"), Mapping):
        made["parameters"] = _properties(leaving, function["parameters"], f"tool {function['name']}")
    for key in function:
        if key not in ("name", "description", "parameters"):
            leaving.lose(f"tool {function['name']}: {key!r:.60}")
    return made
