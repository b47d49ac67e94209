"""Reading JSON Schemas: where references lead, what a keyword's value means, which schemas are alternatives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from llmops.prompts.comparison.values import Pair, brief, same

TEXTS = frozenset(
    ("$comment", "default", "deprecated", "description", "discriminator", "example", "examples", "readOnly", "title",
     "writeOnly")
)  # fmt: skip
ASIDE = TEXTS | {"$defs", "$id", "$schema", "definitions"}  # says nothing about the data by itself
ALL = frozenset(("array", "boolean", "fraction", "integer", "null", "object", "string"))
_TYPES = {name: frozenset((name,)) for name in ALL - {"fraction"}} | {"number": frozenset(("integer", "fraction"))}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOWHERE = object()
MAX_PAIRS = 500_000


class TooLargeError(Exception):
    """The schemas are too large or too deep to be compared."""


@dataclass(slots=True)
class Document:
    """A whole schema, in which `#/…` references are looked up."""

    root: Any
    left: int = field(default=MAX_PAIRS)

    def resolved(self, schema: Any) -> Any:
        """What a schema that is nothing but a reference, or a choice of one, stands for."""
        met: set[int] = set()
        while isinstance(schema, Mapping) and id(schema) not in met:
            met.add(id(schema))
            if "$ref" not in schema and not {"allOf", "anyOf", "oneOf"}.intersection(schema):
                break
            [*keys] = schema.keys() - ASIDE
            value = schema[keys[0]] if len(keys) == 1 else None
            if keys == ["$ref"] and self.leads(value):
                schema = self.target(value)
            elif isinstance(value, list) and len(value) == 1 and keys[0] in ("allOf", "anyOf", "oneOf"):
                schema = value[0]
        return schema

    def target(self, reference: Any) -> Any:
        """What a reference leads to; meaningless unless `leads(reference)`."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return _NOWHERE
        here = self.root
        for part in unquote(reference).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif isinstance(here, list) and part.isdecimal() and len(part) < 10 and int(part) < len(here):
                here = here[int(part)]
            else:
                return _NOWHERE
        return here

    def leads(self, reference: Any) -> bool:
        """True when a reference leads to a part of this document."""
        return self.target(reference) is not _NOWHERE

    def nests_ids(self) -> bool:
        """True when a part of the document is a resource of its own, in which references start elsewhere."""
        parts = [*_inside(self.root)]
        while parts:
            part = parts.pop()
            if isinstance(part, Mapping) and any(isinstance(part.get(key), str) for key in ("$id", "$anchor")):
                return True
            parts += _inside(part)
        return False

    def same(self, mine: Any, other: Document, others: Any) -> bool:
        """True when two parts are written the same and so is all that their references lead to."""
        met: set[tuple[Any, Any]] = set()

        def led(old: Any, new: Any) -> Iterable[Pair] | None:
            self.left -= 1
            if self.left < 0:
                raise TooLargeError
            if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
                return ()
            pair = (old.get("$ref"), new.get("$ref"))
            if not isinstance(pair[0], str) or not isinstance(pair[1], str) or pair in met:
                return ()
            met.add(pair)
            if self.leads(pair[0]) and other.leads(pair[1]):
                return [(self.target(pair[0]), other.target(pair[1]))]
            return None if pair[0].startswith("#") else ()

        return same(mine, others, led)


def _inside(part: Any) -> Iterable[Any]:
    return part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()


def bare(schema: Any) -> bool:
    """True for a schema that allows everything."""
    return schema is True or (isinstance(schema, Mapping) and not schema.keys() - ASIDE)


def types(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """The types `type` allows, a number as an integer or a fraction; None when it can't be read."""
    written = schema.get("type", _NOWHERE)
    if written is _NOWHERE:
        return ALL
    found = written if isinstance(written, list) else [written]
    if not found or not all(isinstance(name, str) and name in _TYPES for name in found):
        return None
    return frozenset().union(*(_TYPES[name] for name in found))


def type_words(allowed: frozenset[str]) -> str:
    """Types as a schema writes them."""
    shown = {"number" if name == "fraction" else name for name in allowed}
    shown -= {"integer"} if "number" in shown else set()
    return "any" if allowed == ALL else " or ".join(sorted(shown)) or "none"


def value_types(values: Iterable[Any]) -> frozenset[str]:
    """The types of values."""
    return frozenset(map(_value_type, values))


def _value_type(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "fraction"
    kinds = ((bool, "boolean"), (int, "integer"), (str, "string"), (Mapping, "object"), ((list, tuple), "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def listed(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values `enum` and `const` leave, of the types allowed; None when they list none."""
    values = schema.get("enum")
    if "const" in schema:
        only = value_key(schema["const"])
        values = [v for v in values if value_key(v) == only] if isinstance(values, list) else [schema["const"]]
    if not isinstance(values, list):
        return None
    allowed = types(schema) or ALL
    return [value for value in values if _value_type(value) in allowed]


def value_key(value: Any) -> tuple[str, Any]:
    """Equal for values JSON Schema takes as equal: 1 and 1.0, but not 1 and true."""
    kind = "number" if _value_type(value) == "fraction" else _value_type(value)
    if kind in ("array", "object"):
        try:
            return kind, json.dumps(value, sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            return kind, id(value)
    return ("number", str(value) if value != value else value) if kind in ("integer", "number") else (kind, value)


def names(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """The names in `required`; None when it can't be read."""
    found = schema.get("required", [])
    if not isinstance(found, (list, tuple)) or not all(isinstance(name, str) for name in found):
        return None
    return frozenset(found)


def alternatives(schema: Mapping[str, Any]) -> list[Any] | None:
    """The schemas of which one must hold, when the schema says nothing else; None when it does."""
    found = schema.get("anyOf")
    return found if isinstance(found, list) and found and schema.keys() - ASIDE == {"anyOf"} else None


def split_by_type(schema: Mapping[str, Any]) -> list[Any]:
    """The same schema as alternatives of one type each."""
    found = schema.get("type")
    if not isinstance(found, list) or len(found) < 2:
        return [schema]
    return [{**schema, "type": name} for name in found]


def label(schema: Any, *, loose: bool) -> Any:
    """What tells an alternative from the others: types, and unless `loose` title and fixed properties."""
    if not isinstance(schema, Mapping):
        return brief(schema)
    properties = schema.get("properties")
    inner = properties.items() if isinstance(properties, Mapping) else ()
    fixed = sorted((brief(k), brief(v["const"])) for k, v in inner if isinstance(v, Mapping) and "const" in v)
    return types(schema), loose or (brief(schema.get("title")), tuple(fixed))


def called(schema: Any, resolved: Any) -> str:
    """An alternative in a few words: its definition's name, title, values or types."""
    if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
        return brief(schema["$ref"].rsplit("/", 1)[-1])
    if not isinstance(resolved, Mapping):
        return brief(resolved)
    if isinstance(resolved.get("title"), str):
        return brief(resolved["title"])
    values = listed(resolved)
    return " or ".join(map(brief, values[:5])) if values else type_words(types(resolved) or ALL)


def member(path: str, name: Any) -> str:
    """The path of a property."""
    plain = isinstance(name, str) and _PLAIN_NAME.fullmatch(name)
    return f"{path}.{name}" if plain else f"{path}[{brief(name)}]"
