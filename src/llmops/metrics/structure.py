"""Metrics on the form of an output: valid JSON, and JSON that obeys a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmops.errors import InputError
from llmops.types import Build, MetricInfo, Sample, Score

_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*[\w+.-]*[ \t]*\n")
MAX_REASON = 200
MAX_DIGITS = 4000  # Python refuses to read longer integers


class ValidJson:
    """1 when the output is one JSON value, as RFC 8259 defines it."""

    def __init__(self, fenced: bool = True) -> None:
        self.info = MetricInfo("valid_json", description="the output is valid JSON")
        self._fenced = fenced

    def score(self, sample: Sample) -> Score:
        _, problem = parse_json(sample.output.text, fenced=self._fenced)
        return Score(0.0, problem) if problem else Score(1.0)


class JsonSchema:
    """1 when the output is JSON that obeys the schema: a mapping, or the path of a JSON or YAML file."""

    def __init__(self, build: Build, schema: dict[str, Any] | str, fenced: bool = True) -> None:
        self.info = MetricInfo("json_schema", description="the output is JSON that obeys the schema")
        self._fenced = fenced
        self._validator = _validator(_read_schema(build, schema) if isinstance(schema, str) else schema)

    def score(self, sample: Sample) -> Score:
        value, problem = parse_json(sample.output.text, fenced=self._fenced)
        if problem:
            return Score(0.0, problem)
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error = best_match(self._validator.iter_errors(value))
        except (ArithmeticError, RecursionError, Unresolvable) as failure:
            return Score.unscored(f"the schema can't be applied: {type(failure).__name__}: {failure}"[:MAX_REASON])
        if error is None:
            return Score(1.0)
        return Score(0.0, " ".join(f"{error.json_path}: {error.message[:MAX_REASON]}".split())[:MAX_REASON])


def parse_json(text: str, *, fenced: bool = True) -> tuple[Any, str]:
    """The value `text` holds and an empty string, or None and what is wrong with it.

    `fenced` accepts a text that is one Markdown code block and nothing else. NaN and Infinity aren't JSON.
    """
    if fenced:
        text = _inside_fence(text)
    try:
        return _loads(text), ""
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        return None, "the output is empty" if not text.strip() else f"not JSON: {error.msg} at {place}"
    except RecursionError:
        return None, "not JSON that can be read: nested too deeply"
    except ValueError as error:
        return None, f"not JSON: {error}"


def same_json(left: Any, right: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, true isn't 1, the order of keys doesn't matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


def _inside_fence(text: str) -> str:
    stripped = text.strip()
    opening = _FENCE.match(stripped)
    if opening and len(stripped) >= opening.end() + len(opening[1]) and stripped.endswith(opening[1]):
        return stripped[opening.end() : -len(opening[1])]
    return text


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} isn't a JSON number")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _read_schema(build: Build, path: str) -> dict[str, Any]:
    from llmops.yamlfile import load_yaml

    try:
        text = (build.base / Path(path)).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it isn't a text file in UTF-8"
        raise InputError(f"can't read the schema {path!r}: {why}", hint=f"looked in {build.base}") from None
    if path.endswith(".json"):
        try:
            data = _loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
        except RecursionError:
            raise InputError("nested too deeply", where=f"{path}:1") from None
        except ValueError as error:
            raise InputError(f"not JSON: {error}", where=f"{path}:1") from None
    else:
        data = load_yaml(text, name=path).data
    if not isinstance(data, dict):
        raise InputError("a JSON Schema is a mapping", where=f"{path}:1")
    return data


def _validator(schema: dict[str, Any]) -> Any:
    """A validator that never fetches anything. Raises `InputError` when the schema or a `$ref` is wrong."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        message = f"not a JSON Schema: {error.json_path}: {error.message}"[:MAX_REASON]
        raise InputError(message, hint="see json-schema.org") from None
    except RecursionError:
        raise InputError("the JSON Schema is nested too deeply") from None
    registry: Registry[Any] = Registry()
    _check_references(schema)
    return kind(schema, registry=registry)


def _check_references(schema: Mapping[str, Any]) -> None:
    """Each `$ref` must point inside the schema. Skipped where nested `$id`s move the starting point."""
    from referencing import Registry, Resource
    from referencing.exceptions import NoSuchResource, PointerToNowhere, Unresolvable
    from referencing.jsonschema import DRAFT202012

    nodes = list(_mappings(schema))
    if any(isinstance(node.get("$id"), str) for node in nodes[1:]):
        return
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    uri = resource.id() or ""
    resolver = Registry().with_resource(uri, resource).resolver(uri)
    for node in nodes:
        target = node.get("$ref")
        if not isinstance(target, str):
            continue
        try:
            resolver.lookup(target)
        except (NoSuchResource, PointerToNowhere, Unresolvable):
            hint = "only references inside the schema work; nothing is fetched"
            raise InputError(f"the JSON Schema has no {target!r}"[:MAX_REASON], hint=hint) from None


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
