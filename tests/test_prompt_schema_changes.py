"""Differences of JSON Schemas, with jsonschema as the judge of what narrower means."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from llmops.prompts.schema_changes import schema_changes

SCALARS = [None, True, False, 0, 1, 2, 5, -1, 1.5, "", "a", "b", "ab", "abc"]
LISTS = [[], [1], [1, 1], ["a"], ["a", "b", 1], [None, "a"], [[1]], [{}]]
OBJECTS = [
    {}, {"a": 1}, {"a": "a"}, {"b": 1}, {"a": 1, "b": "b"}, {"a": "ab", "b": None}, {"a": {"a": 1}}, {"a": {"b": "a"}},
    {"a": [1]}, {"b": ["a", "b"]}, {"a": {}, "b": {}}, {"a": 1, "b": 1, "c": 1}, {"c": "abc"}, {"a": {"a": {"a": 1}}},
]  # fmt: skip
INSTANCES = [*SCALARS, *LISTS, *OBJECTS, *([value] for value in SCALARS), *({"a": value} for value in SCALARS)]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]


def keywords(inner: st.SearchStrategy) -> dict[str, st.SearchStrategy]:
    small = st.integers(0, 3)
    some = st.lists(inner, min_size=1, max_size=3)
    return {
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
        "enum": st.lists(st.sampled_from(INSTANCES), min_size=1, max_size=4),
        "const": st.sampled_from(SCALARS),
        "minimum": small, "maximum": small, "exclusiveMinimum": small, "exclusiveMaximum": small,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": small, "maxLength": small, "pattern": st.sampled_from(["a", "b$", ""]),
        "minItems": small, "maxItems": small, "uniqueItems": st.booleans(), "items": inner, "contains": inner,
        "prefixItems": some, "minProperties": small, "maxProperties": small,
        "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        "patternProperties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=1),
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "additionalProperties": st.just(False) | inner, "unevaluatedProperties": st.booleans(),
        "anyOf": some, "oneOf": some, "allOf": some, "not": inner, "if": inner, "then": inner,
        "$ref": st.sampled_from(["#/$defs/x", "#/$defs/x", "#/$defs/y", "#/properties/a", "#"]),
        "title": st.just("T"), "description": st.text(max_size=3),
    }  # fmt: skip


@st.composite
def schemas(draw, depth: int = 2) -> object:
    """A small schema: few keywords, nested `depth` deep at most."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.booleans())
    known = KEYWORDS[depth]
    keys = draw(st.lists(st.sampled_from([*sorted(known), *["$ref"] * 4]), max_size=3, unique=True))
    return {key: draw(known[key]) for key in keys}


KEYWORDS = [keywords(st.booleans()), keywords(st.deferred(lambda: schemas(0))), keywords(st.deferred(lambda: schemas(1)))]


@st.composite
def documents(draw) -> object:
    schema = draw(schemas())
    if isinstance(schema, dict):
        schema = {**schema, "$defs": {"x": draw(schemas(1)), "y": draw(schemas(1))}}
    return schema


def _places(schema: object) -> list[dict]:
    found, waiting = [], [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found.append(part)
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found


@st.composite
def edited(draw) -> tuple[object, object]:
    """A document, and one that differs from it in a few keywords."""
    old = draw(documents())
    new = copy.deepcopy(old)
    known = KEYWORDS[1]
    for _ in range(draw(st.integers(1, 2))):
        places = _places(new)
        if not places:
            return old, draw(documents())
        place = places[draw(st.integers(0, len(places) - 1))]
        key = draw(st.sampled_from([*sorted(known), *sorted(place)]))
        if key in place and draw(st.booleans()):
            del place[key]
        else:
            place[key] = copy.deepcopy(draw(known.get(key, schemas(1))))
    return (old, new) if draw(st.booleans()) else (new, old)


def _goes_round(document: object) -> bool:
    """True when some part of a schema needs itself to judge one and the same value, so that no judge would end."""

    def leads(part: object, way: tuple[int, ...]) -> bool:
        if not isinstance(part, dict):
            return False
        if id(part) in way:
            return True
        way = (*way, id(part))
        inner = [part[key] for key in ("not", "if", "then") if key in part]
        inner += [one for key in ("allOf", "anyOf", "oneOf") for one in part.get(key, [])]
        if "$ref" in part:
            target = document
            for name in part["$ref"].split("/")[1:]:
                target = target[name]
            inner.append(target)
        return any(leads(one, way) for one in inner)

    return any(leads(part, ()) for part in _places(document))


def _valid(schema: object) -> list[str] | None:
    """The instances a schema allows; None when it can't be used at all: it refers to nothing, or goes round."""
    try:
        Draft202012Validator.check_schema(schema)
        if _goes_round(schema):
            return None
    except (SchemaError, KeyError, TypeError, AttributeError):
        return None
    validator = Draft202012Validator(schema)
    return [json.dumps(value) for value in INSTANCES if validator.is_valid(value)]


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(edited())
def test_what_was_valid_stays_so_unless_a_narrower_schema_is_reported(pair):
    old, new = pair
    kinds = {change.kind for change in schema_changes(old, new)}
    before, after = _valid(old), _valid(new)
    if before is None or after is None:
        return
    if kinds <= {"widened", "text"}:
        assert set(before) <= set(after)
    if kinds <= {"narrowed", "text"}:
        assert set(after) <= set(before)
