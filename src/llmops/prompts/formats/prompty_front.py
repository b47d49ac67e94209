"""The front matter of Prompty files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.plain import items, mapping, shown
from llmops.prompts.formats.settings import read_description, read_settings, read_tags, read_tools
from llmops.yamlfile import Document

_KEYS = ("name", "description", "authors", "tags", "metadata", "model", "inputs", "sample", "outputs", "tools",
         "template", "parameters", "configuration")  # fmt: skip
_KINDS = {"string": "string", "integer": "integer", "float": "number", "number": "number", "boolean": "boolean",
          "array": "array", "list": "array", "object": "object", "any": "any", "*": "any", "image": "string",
          "str": "string", "int": "integer", "bool": "boolean", "dict": "object"}  # fmt: skip


@dataclass(slots=True)
class About:
    """The version of the format, the template language, and types by the names that templates use."""

    version: int = 1
    mustache: bool = False
    types: dict[str, str] = field(default_factory=dict)


def read_front(draft: Draft, data: Mapping[str, Any], front: Document) -> About:
    """Put a front matter into `draft`."""
    model = data.get("model")
    new = isinstance(data.get("inputs"), list) or isinstance(data.get("outputs"), list)
    new = new or isinstance(data.get("template"), Mapping) or isinstance(model, str)
    new = new or (isinstance(model, Mapping) and bool(model.keys() & {"id", "apiType", "connection", "options"}))
    about = About(2 if new else 1, _template(draft, data.get("template")) == "mustache")
    more = mapping(data.get("metadata"), "metadata", front.where(("metadata",)))
    read_description(draft, data.get("description"), "description")
    _authors(draft, data.get("authors") or more.get("authors"))
    read_tags(draft, data.get("tags") or more.get("tags"))
    draft.lose_keys(more, ("authors", "tags"), "metadata: ")
    _model(draft, {"id": model} if isinstance(model, str) else mapping(model, "model", front.where(("model",))))
    _inputs(draft, about, data, front)
    _outputs(draft, data.get("outputs"), front)
    _tools(draft, data.get("tools"), front)
    draft.lose_keys(data, _KEYS)
    draft.lose_keys({key: data.get(key) for key in ("parameters", "configuration")}, ())
    return about


def _authors(draft: Draft, value: Any) -> None:
    authors = [value] if isinstance(value, str) else items(value, "authors", draft.file)
    draft.keep("owner", ", ".join(one if isinstance(one, str) else shown(one) for one in authors))


def _template(draft: Draft, value: Any) -> str:
    if isinstance(value, Mapping):
        parser = value.get("parser")
        parser = parser.get("kind") if isinstance(parser, Mapping) else parser
        if parser not in (None, "prompty"):
            draft.lose(f"template: the parser {shown(parser)}")
        form = value.get("format") or value.get("type")
        if isinstance(form, Mapping):
            draft.lose_keys(form, ("kind",), "template: ")
            form = form.get("kind")
        draft.lose_keys(value, ("format", "parser", "type"), "template: ")
        value = form
    if value not in (None, "jinja2", "mustache"):
        draft.lose(f"template: {shown(value)} is read as jinja2")
    return value if value == "mustache" else "jinja2"


def _model(draft: Draft, model: Mapping[str, Any]) -> None:
    settings = mapping(model.get("configuration"), "model.configuration", draft.file)
    names = (model.get("id"), settings.get("azure_deployment"), settings.get("model"), settings.get("name"))
    name = next((one for one in names if isinstance(one, str)), None)
    draft.keep("model", name)
    used = [key for key in ("azure_deployment", "model", "name") if settings.get(key) == name][:1]
    draft.lose_keys(settings, used, "model.configuration: ")
    options = dict(mapping(model.get("options"), "model.options", draft.file))
    more = mapping(options.pop("additionalProperties", None), "additionalProperties", draft.file)
    read_settings(draft, options, "model.options: ")
    read_settings(draft, {**mapping(model.get("parameters"), "model.parameters", draft.file)}, "model.parameters: ")
    read_settings(draft, more, "model.options: ", unknown=True)
    api = model.get("api") or model.get("apiType")
    if api not in (None, "chat"):
        draft.lose(f"model: the kind of request, {shown(api)}")
    draft.lose_keys(model, ("id", "configuration", "options", "parameters", "api", "apiType"), "model: ")


def _properties(value: Any, what: str, where: str) -> Iterator[tuple[str, Any]]:
    """Names and declarations, from a list or a mapping."""
    if isinstance(value, list):
        for one in value:
            found = mapping(one, what, where)
            yield str(found.get("name") or "input"), {key: v for key, v in found.items() if key != "name"}
    else:
        yield from mapping(value, what, where).items()


def _inputs(draft: Draft, about: About, data: Mapping[str, Any], front: Document) -> None:
    for name, form in _properties(data.get("inputs"), "inputs", front.where(("inputs",))):
        if isinstance(form, Mapping):
            made = _declaration(draft, form, f"input {name!r:.60}")
        elif about.version == 1 and isinstance(form, str) and form in _KINDS:
            made = {"type": _KINDS[form]}
        else:
            made = {"type": _type_of(form)} | ({"example": form} if form is not None else {})
        about.types[name] = str(made.get("type"))
        draft.declare(name, made)
    sample = data.get("sample")
    if isinstance(sample, Mapping):
        for name, value in sample.items():
            form = draft.inputs.get(draft.names.name(name), {})
            draft.declare(name, {"type": form.get("type", _type_of(value)), "example": value})
    elif sample is not None:
        draft.lose(f"sample: {shown(sample)}")


def _declaration(draft: Draft, form: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = form.get("kind") or form.get("type") or "any"
    if not isinstance(kind, str) or kind not in _KINDS:
        draft.lose(f"{where}: its kind {shown(kind)}")
        kind = "any"
    made: dict[str, Any] = {"type": _KINDS[kind]}
    made |= {key: form[key] for key in ("description", "default") if form.get(key) is not None}
    example = form.get("example", form.get("sample"))
    made |= {"example": example} if example is not None else {}
    values = form.get("enumValues", form.get("enum"))
    made |= {"enum": values} if values else {}
    inner = form.get("items")
    inner_kind = inner.get("kind") or inner.get("type") if isinstance(inner, Mapping) else inner
    if _KINDS[kind] == "array" and isinstance(inner_kind, str) and inner_kind in _KINDS:
        made["items"] = _KINDS[inner_kind]
    if form.get("required") is False and "default" not in made:
        made["required"] = False
    known = ("kind", "type", "description", "default", "example", "sample", "enumValues", "enum", "items", "required")
    draft.lose_keys(form, known, f"{where}: ")
    return made


def _type_of(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object" if isinstance(value, Mapping) else "any"


def _outputs(draft: Draft, value: Any, front: Document) -> None:
    schema = _schema(draft, value, front.where(("outputs",)))
    if schema["properties"]:
        draft.front["output"] = schema


def _schema(draft: Draft, value: Any, where: str) -> dict[str, Any]:
    """Properties as a JSON Schema."""
    properties: dict[str, Any] = {}
    optional: set[str] = set()
    for name, form in _properties(value, "outputs", where):
        found = form if isinstance(form, Mapping) else {"kind": form if isinstance(form, str) else "any"}
        properties[name] = _property(draft, found, f"outputs, {name!r:.60}", where)
        optional |= {name} if found.get("required") is False else set()
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _property(draft: Draft, form: Mapping[str, Any], what: str, where: str) -> dict[str, Any]:
    made = _declaration(draft, {k: v for k, v in form.items() if k not in ("items", "properties")}, what)
    made.pop("required", None)
    if made.get("type") == "any":
        del made["type"]
    if "example" in made:
        made["examples"] = [made.pop("example")]
    if form.get("properties"):
        made |= _schema(draft, form["properties"], where)
    if isinstance(form.get("items"), Mapping):
        made["items"] = _property(draft, form["items"], what, where)
    return made


def _tools(draft: Draft, value: Any, front: Document) -> None:
    tools = []
    for name, form in _properties(value, "tools", front.where(("tools",))):
        found = mapping(form, "a tool", front.where(("tools",)))
        if isinstance(found.get("function"), Mapping):
            tools.append(dict(found))
            continue
        if found.get("kind") not in (None, "function"):
            draft.lose(f"tool {shown(name)}: {shown(found['kind'])} isn't a function")
            continue
        function: dict[str, Any] = {"name": name}
        function |= {"description": found["description"]} if found.get("description") else {}
        if found.get("parameters"):
            parameters = found["parameters"]
            plain = isinstance(parameters, Mapping) and parameters.get("type") == "object"
            function["parameters"] = parameters if plain else _schema(draft, parameters, front.where(("tools",)))
        draft.lose_keys(found, ("kind", "description", "parameters"), f"tool {shown(name)}: ")
        tools.append({"type": "function", "function": function})
    read_tools(draft, tools)
