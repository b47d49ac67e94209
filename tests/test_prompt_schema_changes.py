"""Differences of JSON Schemas, with jsonschema as the judge of what narrower means."""

from __future__ import annotations

import copy
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from llmops.prompts.comparison.schema_changes import schema_changes

SCALARS = [None, True, False, 0, 1, 2, 5, -1, 1.5, "", "a", "b", "ab", "abc"]
LISTS = [[], [1], [1, 1], ["a"], ["a", "b", 1], [None, "a"], [[1]], [{}]]
OBJECTS = [
    {}, {"a": 1}, {"a": "a"}, {"b": 1}, {"a": 1, "b": "b"}, {"a": "ab", "b": None}, {"a": {"a": 1}}, {"a": {"b": "a"}},
    {"a": [1]}, {"b": ["a", "b"]}, {"a": {}, "b": {}}, {"a": 1, "b": 1, "c": 1}, {"c": "abc"}, {"a": {"a": {"a": 1}}},
]  # fmt: skip
INSTANCES = [*SCALARS, *LISTS, *OBJECTS, *([value] for value in SCALARS), *({"a": value} for value in SCALARS)]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]


SMALL = st.integers(0, 3)
PLAIN = {
    "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
    "enum": st.lists(st.sampled_from(INSTANCES), min_size=1, max_size=4), "const": st.sampled_from(SCALARS),
    "minimum": SMALL, "maximum": SMALL, "exclusiveMinimum": SMALL, "exclusiveMaximum": SMALL,
    "multipleOf": st.sampled_from([1, 2, 0.5]),
    "minLength": SMALL, "maxLength": SMALL, "pattern": st.sampled_from(["a", "b$", ""]),
    "minItems": SMALL, "maxItems": SMALL, "uniqueItems": st.booleans(), "minProperties": SMALL, "maxProperties": SMALL,
    "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True), "unevaluatedProperties": st.booleans(),
    "$ref": st.sampled_from(["#/$defs/x", "#/$defs/x", "#/$defs/y", "#/properties/a", "#"]),
    "title": st.just("T"), "description": st.text(max_size=3),
}  # fmt: skip
NESTED = [
    "additionalProperties", "allOf", "anyOf", "contains", "if", "items", "not", "oneOf", "patternProperties",
    "prefixItems", "properties", "then",
]  # fmt: skip


@st.composite
def keyword(draw, key: str, focus: list[str], depth: int) -> object:
    """A value of a keyword."""
    if key in PLAIN:
        return copy.deepcopy(draw(PLAIN[key]))
    inner = schemas(focus, depth - 1)
    if key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        return draw(st.lists(inner, min_size=1, max_size=3))
    if key in ("patternProperties", "properties"):
        return draw(st.dictionaries(st.sampled_from("abc"), inner, max_size=2))
    return draw(inner)


@st.composite
def schemas(draw, focus: list[str], depth: int) -> object:
    """A small schema of the keywords in `focus`, nested `depth` deep at most."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.booleans())
    usable = [key for key in focus if depth or key in PLAIN]
    keys = draw(st.lists(st.sampled_from(usable), max_size=3, unique=True)) if usable else []
    return {key: draw(keyword(key, focus, depth)) for key in keys}


@st.composite
def documents(draw, focus: list[str] | None = None) -> object:
    """A schema of a few keywords only, so that these meet."""
    if focus is None:
        focus = draw(st.lists(st.sampled_from([*sorted(PLAIN), *NESTED]), min_size=2, max_size=6, unique=True))
    schema = draw(schemas(focus, 2))
    if isinstance(schema, dict) and "$ref" in focus:
        schema = {**schema, "$defs": {"x": draw(schemas(focus, 1)), "y": draw(schemas(focus, 1))}}
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
    focus = draw(st.lists(st.sampled_from([*sorted(PLAIN), *NESTED]), min_size=2, max_size=6, unique=True))
    old = draw(documents(focus))
    new = copy.deepcopy(old)
    for _ in range(draw(st.integers(1, 2))):
        places = _places(new)
        if not places:
            return old, draw(documents(focus))
        place = places[draw(st.integers(0, len(places) - 1))]
        there = [key for key in sorted(place) if key in PLAIN or key in NESTED]
        what = draw(st.sampled_from(["change", "change", "drop", "add"] if there else ["add"]))
        key = draw(st.sampled_from(focus if what == "add" else there))
        if what == "drop":
            del place[key]
        else:
            place[key] = draw(keyword(key, focus, 1))
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


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
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


def told(old: object, new: object) -> dict[str, bool]:
    """Each change as told, and whether it is breaking."""
    return {str(change): change.breaking for change in schema_changes(old, new)}


def answer(**properties: object) -> dict:
    return {"type": "object", "properties": properties}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
BREAKING = [
    (answer(a=TEXT, b=TEXT), answer(a=TEXT), "$.b: property removed"),
    (answer(a=TEXT), answer(a=NUMBER), "$.a: type: string → number"),
    (answer(a=NUMBER), answer(a={"type": "integer"}), "$.a: type: number → integer"),
    (answer(a=TEXT), answer(a={"type": ["string", "null"]}), "$.a: type: string → null or string"),
    (answer(a={"enum": ["x", "y"]}), answer(a={"enum": ["x"]}), '$.a: "y" is no longer a value'),
    (answer(a={"enum": ["x"]}), answer(a={"enum": ["x", "y"]}), '$.a: "y" is a new value'),
    (answer(a={"enum": [1]}), answer(a={"enum": [True]}), "$.a: true is a new value"),
    (answer(a={"const": "x"}), answer(a=TEXT), "$.a: any value is possible now, not only those listed"),
    (answer(a=TEXT), answer(a={**TEXT, "enum": ["x"]}), '$.a: only "x" now'),
    ({**answer(a=TEXT), "required": ["a"]}, answer(a=TEXT), "$.a: no longer guaranteed to be there"),
    (answer(a=TEXT), {**answer(a=TEXT), "required": ["a"]}, "$.a: required now"),
    (answer(), {**answer(a=TEXT), "required": ["a"]}, "$.a: required property added"),
    ({**answer(), "required": ["a"]}, {**answer(a=TEXT), "required": ["a"]}, "$.a: type: any → string"),
    (answer(a=TEXT), {**answer(a=TEXT), "additionalProperties": False}, "$: further properties are no longer allowed"),
    ({"additionalProperties": TEXT}, {"additionalProperties": NUMBER}, "$.*: type: string → number"),
    ({"additionalProperties": TEXT}, {"additionalProperties": True}, "$.*: type: string → any"),
    (answer(a=NUMBER), answer(a={**NUMBER, "minimum": 0}), "$.a: minimum: null → 0 (tighter)"),
    (answer(a={**TEXT, "maxLength": 9}), answer(a={**TEXT, "maxLength": 5}), "$.a: maxLength: 9 → 5 (tighter)"),
    (answer(a={**TEXT, "format": "date"}), answer(a=TEXT), '$.a: format no longer guaranteed: "date"'),
    ({"items": answer(a=TEXT)}, {"items": answer(a=NUMBER)}, "$[*].a: type: string → number"),
    ({"prefixItems": [TEXT, TEXT]}, {"prefixItems": [TEXT, NUMBER]}, "$[1]: type: string → number"),
    ({"anyOf": [TEXT, {"type": "null"}]}, TEXT, "$: no longer possible: null"),
    (TEXT, {"anyOf": [TEXT, {"type": "null"}]}, "$: now also possible: null"),
    ({"type": ["string", "null"]}, {"anyOf": [{"type": "null"}, NUMBER]}, "$: now also possible: number"),
    ({"allOf": [TEXT, {}, {"minLength": 1}]}, {"allOf": [TEXT, {}]}, "$: a condition dropped: any"),
    ({"oneOf": [TEXT, {"maximum": 5}]}, {"oneOf": [TEXT, {"maximum": 6}]},
     "$: maximum: 5 → 6 (looser) (in oneOf: taken as breaking)"),
    (answer(**{"a b": TEXT}), answer(**{"a b": NUMBER}), '$["a b"]: type: string → number'),
    ({}, False, "$: no value is allowed any more"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), BREAKING)
def test_what_breaks_readers_is_told_with_its_path(old, new, line):
    assert told(old, new).get(line) is True, told(old, new)


COMPATIBLE = [
    (answer(a=TEXT), answer(a=TEXT, b=NUMBER), "$.b: optional property added"),
    ({**answer(), "additionalProperties": False}, answer(), "$: further properties are allowed now"),
    (answer(a={**TEXT, "maxLength": 5}), answer(a={**TEXT, "maxLength": 9}), "$.a: maxLength: 5 → 9 (looser)"),
    (answer(a={**NUMBER, "minimum": 0}), answer(a=NUMBER), "$.a: minimum: 0 → null (looser)"),
    (answer(a=TEXT), answer(a={**TEXT, "description": "D"}), '$.a: description: null → "D"'),
    (answer(a=TEXT), answer(a={**TEXT, "default": ""}), '$.a: default: null → ""'),
    ({"type": ["string", "null"]}, {"anyOf": [{"type": "null"}, TEXT]}, "$: written in another way, for the same data"),
    (TEXT, {"$ref": "#/$defs/t", "$defs": {"t": TEXT}}, "$: written in another way, for the same data"),
    ({"enum": ["x", "y"]}, {"enum": ["y", "x"]}, "$: written in another way, for the same data"),
    ({"enum": ["x"]}, {"const": "x", "type": "string"}, "$: written in another way, for the same data"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), COMPATIBLE)
def test_what_readers_need_not_mind(old, new, line):
    assert told(old, new) == {line: False}


def test_references_are_followed_into_definitions_once():
    def tree(value: object) -> dict:
        node = {"type": "object", "properties": {"value": value, "next": {"$ref": "#/$defs/node"}}}
        return {"properties": {"a": {"$ref": "#/$defs/node"}, "b": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}

    assert told(tree(TEXT), tree(NUMBER)) == {"$.a.value: type: string → number": True}
    inline = {
        "properties": {"a": tree(TEXT)["$defs"]["node"], "b": {"$ref": "#/$defs/node"}},
        "$defs": tree(TEXT)["$defs"],
    }
    assert not any(told(tree(TEXT), inline).values())


def test_a_definition_behind_an_unknown_keyword_counts():
    def schema(inner: object) -> dict:
        return {"not": {"$ref": "#/$defs/x"}, "$defs": {"x": inner}}

    [change] = schema_changes(schema(TEXT), schema(NUMBER))
    assert change.breaking and "not" in change.text and "can't tell" in change.text


def test_alternatives_are_matched_by_what_they_are():
    def shape(kind: str, **more: object) -> dict:
        return answer(kind={"const": kind}, **more)

    old = {"anyOf": [shape("circle", r=NUMBER), shape("square", a=NUMBER)]}
    new = {"anyOf": [shape("square", a=NUMBER), shape("circle", r=NUMBER, x=NUMBER)]}
    assert told(old, new) == {"$.x: optional property added": False}
    assert any(told(old, {"anyOf": [shape("circle", r=TEXT), shape("square", a=NUMBER)]}).values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*PLAIN, *NESTED, "$defs", "$id", "$anchor"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, JSON)
def test_any_json_is_compared(old, new):
    assert schema_changes(old, copy.deepcopy(old)) == ()
    for change in schema_changes(old, new):
        assert str(change).startswith("$") and "\n" not in str(change)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_only_a_title_changed_is_only_a_title_changed(schema):
    if not isinstance(schema, dict) or _valid(schema) is None:
        return
    if '"#"' in json.dumps(schema):
        return  # what refers to the whole, title included, may stand behind a keyword that is compared as written
    assert {change.kind for change in schema_changes(schema, {**copy.deepcopy(schema), "title": "other"})} == {"text"}


def _deep(levels: int, end: object) -> object:
    for _ in range(levels):
        end = {"properties": {"a": end}}
    return end


NEXT = [{"$ref": f"#/$defs/{i + 1}"} for i in range(60)]
CHAIN = {str(i): answer(a=one, b=one, c={"not": one}) for i, one in enumerate(NEXT)}  # 2**60 ways to its end
HARD = [
    (_deep(100_000, True), _deep(100_000, False)),
    ({"$ref": "#"}, {"$ref": "#", "title": "T"}),
    ({}, {**answer(**{str(i): TEXT for i in range(10_000)}), "required": [str(i) for i in range(0, 10_000, 2)]}),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"$ref": "#/nowhere"}),
    ({"enum": [10**5000]}, {"enum": [10**5000 + 1], "minimum": float("nan")}),
    ({"anyOf": [{"title": str(i)} for i in range(3000)]}, {"anyOf": [{"title": f"{i}!"} for i in range(3000)]}),
    ({"anyOf": [{"minimum": i} for i in range(3000)]}, {"anyOf": [{"maximum": i} for i in range(3000)]}),
    ({"$defs": CHAIN, "$ref": "#/$defs/0"}, {"$defs": {**CHAIN, "60": TEXT}, "$ref": "#/$defs/0"}),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), HARD, ids=range(len(HARD)))
def test_hostile_schemas_end_soon(old, new):
    start = time.process_time()
    assert schema_changes(old, new)
    assert time.process_time() - start < 10
