"""dotprompt files: YAML front matter with Picoschema, and a Handlebars body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.handlebars import Handlebars
from llmops.prompts.formats.handlebars_writing import to_handlebars
from llmops.prompts.formats.leaving import Leaving, openai_tool
from llmops.prompts.formats.picoschema import declaration, from_inputs, to_json_schema
from llmops.prompts.formats.plain import items, mapping, split_front
from llmops.prompts.formats.settings import read_description, read_settings, read_tools
from llmops.prompts.formats.shapes import Exported, Imported
from llmops.prompts.template import FilePrompt
from llmops.prompts.writing import block

_KEYS = ("name", "model", "description", "config", "input", "output", "tools", "toolDefs")
_CONFIG = {"max_tokens": "maxOutputTokens", "stop": "stopSequences", "top_p": "topP", "top_k": "topK"}


def read(text: str, file: str) -> list[Imported]:
    """The one prompt of a file."""
    front, body, line = split_front(text, file)
    data = mapping(front.data, "the front matter", file)
    draft = Draft(file, data.get("name"))
    model = data.get("model")
    draft.keep("model", model if isinstance(model, str) else None)
    draft.lose_keys({"model": None if isinstance(model, str) else model}, ())
    read_description(draft, data.get("description"), "description")
    read_settings(draft, mapping(data.get("config"), "config", front.where(("config",))), "config: ")
    _inputs(draft, mapping(data.get("input"), "input", front.where(("input",))), front.where(("input",)))
    _output(draft, mapping(data.get("output"), "output", front.where(("output",))), front.where(("output",)))
    _tools(draft, data, front.where(("tools",)))
    draft.lose_keys(data, _KEYS)
    Handlebars(draft).read(body, line)
    return [draft.finish()]


def _inputs(draft: Draft, data: Mapping[str, Any], where: str) -> None:
    draft.lose_keys(data, ("schema", "default"), "input: ")
    defaults = mapping(data.get("default"), "input.default", where)
    schema = to_json_schema(data["schema"], where) if data.get("schema") else {}
    if schema and not isinstance(schema.get("properties"), Mapping):
        draft.lose("input.schema: it isn't about named inputs")
    wanted = schema.get("required")
    for name, one in mapping(schema.get("properties"), "input.schema", where).items():
        form = dict(one) if isinstance(one, Mapping) else {}
        form |= {"default": defaults[name]} if name in defaults else {}
        required = isinstance(wanted, list) and name in wanted and name not in defaults
        made, lost = declaration(form, required)
        draft.declare(name, made)
        for key in lost:
            draft.lose(f"input {name!r:.60}: {key!r:.60}")
    if isinstance(schema.get("additionalProperties"), Mapping):
        draft.lose("input.schema: inputs of any other name")
    for name, value in defaults.items():
        draft.declare(name, {"default": value})


def _output(draft: Draft, data: Mapping[str, Any], where: str) -> None:
    if data.get("schema"):
        draft.front["output"] = to_json_schema(data["schema"], where)
    elif data.get("format") == "json":
        draft.parameter("response_format", {"type": "json_object"})
    known = ("schema", "format") if data.get("format") in (None, "json", "text") else ("schema",)
    draft.lose_keys(data, known, "output: ")


def _tools(draft: Draft, data: Mapping[str, Any], where: str) -> None:
    tools: list[Any] = list(items(data.get("tools"), "tools", where))
    for one in items(data.get("toolDefs"), "toolDefs", where):
        found = mapping(one, "a tool", where)
        function = {key: found[key] for key in ("name", "description") if found.get(key)}
        if found.get("inputSchema"):
            function["parameters"] = to_json_schema(found["inputSchema"], where)
        tools.append({"type": "function", "function": function})
        draft.lose_keys(found, ("name", "description", "inputSchema"), "toolDefs: ")
    read_tools(draft, tools)


def write(prompt: FilePrompt) -> Exported:
    """Front matter and a Handlebars body."""
    leaving = Leaving(prompt, "dotprompt")
    front: dict[str, Any] = {"name": prompt.name.rsplit("/", 1)[-1]}
    front |= {"model": prompt.model} if prompt.model else {}
    front |= {"description": prompt.front.description} if prompt.front.description else {}
    if prompt.parameters:
        front["config"] = {_CONFIG.get(key, key): value for key, value in prompt.parameters.items()}
    schema, lost = from_inputs(prompt.inputs.values())
    defaults = {name: one.default for name, one in prompt.inputs.items() if one.has_default}
    made = ({"schema": schema} if schema else {}) | ({"default": defaults} if defaults else {})
    front |= {"input": made} if made else {}
    if prompt.output_schema is not None:
        front["output"] = {"format": "json", "schema": _schema(prompt.output_schema)}
    if prompt.tools:
        front["toolDefs"] = [_definition(openai_tool(tool)["function"]) for tool in prompt.tools]
    for line in lost:
        leaving.lose(line)
    leaving.lose_front("description", "model", "parameters", "output", "tools", "inputs", "default")
    body = to_handlebars(leaving)
    return Exported(f"---\n{block(front)}---\n{body}", tuple(leaving.lost))


def _schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A JSON Schema in the form that can't be taken for Picoschema."""
    return schema if isinstance(schema.get("type"), str) else {"type": "object", **schema}


def _definition(function: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: function[key] for key in ("name", "description") if key in function}
    parameters = function.get("parameters")
    return {**made, "inputSchema": _schema(parameters if isinstance(parameters, Mapping) else {})}
