"""Picoschema, dotprompt's short form of JSON Schema, both ways; and JSON Schema's properties as declared inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.formats.plain import shown
from llmops.prompts.inputs import Input

_SCALARS = ("any", "boolean", "integer", "null", "number", "string")


def to_json_schema(schema: Any, where: str) -> dict[str, Any]:
    """The JSON Schema of a Picoschema. One that is JSON Schema already stays. Raises `PromptError`."""
    if isinstance(schema, Mapping):
        if schema.get("type") in (*_SCALARS, "object", "array"):
            return dict(schema)
        if isinstance(schema.get("properties"), Mapping):
            return {**schema, "type": "object"}
    return _read(schema, where)


def _read(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        kind, _, description = value.partition(",")
        if kind.strip() not in _SCALARS:
            hint = f"known: {', '.join(_SCALARS)}"
            raise PromptError(f"Picoschema: no type is called {shown(kind)}", where=where, hint=hint)
        made = {} if kind.strip() == "any" else {"type": kind.strip()}
        return {**made, "description": description.strip()} if description.strip() else made
    if not isinstance(value, Mapping):
        raise PromptError(f"Picoschema: {shown(value)} is neither a type nor a mapping", where=where)
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    for key, one in value.items():
        if key == "(*)":
            schema["additionalProperties"] = _read(one, where)
            continue
        name, optional, made = _property(key, one, where)
        schema["properties"][name] = made
        schema["required"] += [] if optional else [name]
    return schema if schema["required"] else {key: one for key, one in schema.items() if key != "required"}


def _property(key: str, value: Any, where: str) -> tuple[str, bool, dict[str, Any]]:
    name, _, inner = key.partition("(")
    kind, _, description = inner.rstrip(")").partition(",")
    optional = name.strip().endswith("?")
    made = _typed(kind.strip(), value, key, where)
    if optional and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    if optional and "enum" in made and None not in made["enum"]:
        made["enum"] = [*made["enum"], None]
    if description.strip():
        made["description"] = description.strip()
    return name.strip().removesuffix("?"), optional, made


def _typed(kind: str, value: Any, key: str, where: str) -> dict[str, Any]:
    if kind == "array":
        return {"type": "array", "items": _read(value, where)}
    if kind == "enum":
        if not isinstance(value, list) or not value:
            raise PromptError(f"Picoschema: {shown(key)} is a list of values", where=where)
        return {"enum": list(value)}
    if kind not in ("", "object"):
        hint = "known: array, enum, object"
        raise PromptError(f"Picoschema: no type is called {shown(kind)}", where=where, hint=hint)
    return _read(value, where)


def declaration(schema: Any, required: bool) -> tuple[dict[str, Any], list[str]]:
    """A property's schema as the declaration of an input, and the keywords that it can't hold."""
    if not isinstance(schema, Mapping):
        return {"type": "any"}, []
    made: dict[str, Any] = {}
    if kinds := _types(schema.get("type")):
        made["type"] = kinds if len(kinds) > 1 else kinds[0]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        made["enum"] = list(schema["enum"])
        made.setdefault("type", "string" if all(isinstance(one, str) for one in schema["enum"]) else "any")
    if isinstance(schema.get("items"), Mapping) and "array" in kinds and (inner := _types(schema["items"].get("type"))):
        made["items"] = inner if len(inner) > 1 else inner[0]
    if isinstance(schema.get("description"), str) and schema["description"]:
        made["description"] = schema["description"]
    made.update({key: schema[key] for key in ("default", "example") if key in schema})
    if required == ("default" in made):
        made["required"] = required
    nested = schema.get("items") if isinstance(schema.get("items"), Mapping) else {}
    lost = [key for key in schema if key not in ("type", "enum", "items", "description", "default", "example")]
    lost += [f"items: {key}" for key in nested or {} if key != "type"]
    return {"type": "any", **made}, [one for one in lost if one != "additionalProperties"]


def _types(value: Any) -> list[str]:
    found = value if isinstance(value, list) else [value]
    known = [one for one in found if isinstance(one, str) and one in (*_SCALARS, "array", "object")]
    return known if len(known) == len(found) else []


def from_inputs(inputs: Iterable[Input]) -> tuple[dict[str, Any], list[str]]:
    """Picoschema for declared inputs, and what it has no place for."""
    made: dict[str, Any] = {}
    lost: list[str] = []
    for one in inputs:
        optional = "" if one.required or one.has_default else "?"
        said = f", {' '.join(one.description.split())}" if one.description else ""
        kinds = [kind for kind in one.types if kind != "null"]
        kind = kinds[0] if len(kinds) == 1 else "any"
        if len(kinds) > 1 or (len(kinds) != len(one.types) and not optional):
            lost.append(f"input {one.name}: that it may be {' or '.join(one.types)}")
        if one.example is not None:
            lost.append(f"input {one.name}: its example")
        if one.enum is not None:
            made[f"{one.name}{optional}(enum{said.replace(')', '')})"] = list(one.enum)
        elif kind == "array":
            items = one.items[0] if len(one.items) == 1 and one.items[0] in _SCALARS else "any"
            made[f"{one.name}{optional}(array{said.replace(')', '')})"] = items
        elif kind == "object":
            made[f"{one.name}{optional}(object{said.replace(')', '')})"] = {"(*)": "any"}
        else:
            made[one.name + optional] = kind + said
    return made, lost
