"""What changed in a JSON Schema's conditions that hold no other schema: types, values, bounds, required names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from llmops.prompts.comparison.schema_parts import ALL, listed, names, type_words, types, value_key, value_types
from llmops.prompts.comparison.values import brief, change, same

Kind = Literal["narrowed", "widened", "changed", "added", "text"]
Schema = Mapping[str, Any]
LOWER = frozenset(("exclusiveMinimum", "minItems", "minLength", "minProperties", "minimum"))
UPPER = frozenset(("exclusiveMaximum", "maxItems", "maxLength", "maxProperties", "maximum"))
GUARANTEES = frozenset(("contentEncoding", "contentMediaType", "format", "multipleOf", "pattern", "uniqueItems"))
CONDITIONS = LOWER | UPPER | GUARANTEES | {"const", "enum", "required", "type"}


class Finding(NamedTuple):
    """A difference in plain words, what it does to the data, and whether code that reads them may fail."""

    text: str
    kind: Kind
    breaking: bool = True


def unclear(text: str) -> Finding:
    """A difference of which nobody can tell what it means."""
    return Finding(f"{text} (can't tell what it means for readers: taken as breaking)", "changed")


def type_findings(old: Schema, new: Schema) -> Iterator[Finding]:
    """Changes of `type`, `enum` and `const`."""
    for key, odd in (("type", None in (types(old), types(new))), ("enum", _odd_enum(old) or _odd_enum(new))):
        if odd and not same(old.get(key), new.get(key)):
            yield unclear(f"{key}: {change(old.get(key), new.get(key))}")
    one_of, now_one_of = listed(old), listed(new)
    if one_of is not None and now_one_of is not None:
        yield from _enums(one_of, now_one_of)
        return
    if one_of is not None:
        yield Finding("any value is possible now, not only those listed", "widened")
    if now_one_of is not None:
        yield Finding(f"only {', '.join(map(brief, now_one_of[:10])) or 'no value'} now", "narrowed")
    before, after = allowed(old), allowed(new)
    if before != after:
        kind: Kind = "widened" if before < after else "narrowed" if after < before else "changed"
        yield Finding(f"type: {type_words(before)} → {type_words(after)}", kind)


def allowed(schema: Schema) -> frozenset[str]:
    """The types of the values a schema allows."""
    values, declared = listed(schema), types(schema) or ALL
    return declared if values is None else value_types(values)


def _odd_enum(schema: Schema) -> bool:
    return "enum" in schema and not isinstance(schema["enum"], list)


def _enums(old: list[Any], new: list[Any]) -> Iterator[Finding]:
    before, after = {value_key(value) for value in old}, {value_key(value) for value in new}
    yield from (Finding(f"{brief(v)} is no longer a value", "narrowed") for v in old if value_key(v) not in after)
    yield from (Finding(f"{brief(v)} is a new value", "widened") for v in new if value_key(v) not in before)


def bound_findings(old: Schema, new: Schema) -> Iterator[Finding]:
    """Changes of bounds on numbers, lengths and counts."""
    for key in sorted((LOWER | UPPER) & {*old, *new}):
        before, after = _bound(old, key), _bound(new, key)
        words = f"{key}: {change(old.get(key), new.get(key))}"
        if isinstance(before, str) or isinstance(after, str):
            if not same(old.get(key), new.get(key)):
                yield unclear(words)
        elif before != after:
            looser = after is None or (before is not None and (after < before) == (key in LOWER))
            yield (
                Finding(f"{words} (looser)", "widened", False) if looser else Finding(f"{words} (tighter)", "narrowed")
            )


def _bound(schema: Schema, key: str) -> float | str | None:
    """A bound; None when there is none, a text when it isn't a number."""
    value = schema.get(key)
    if value is None and key not in schema:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return brief(value)
    return None if key in ("minItems", "minLength", "minProperties") and value <= 0 else value


def guarantee_findings(old: Schema, new: Schema) -> Iterator[Finding]:
    """Changes of what every text, number or list is said to be like."""
    for key in sorted(GUARANTEES & {*old, *new}):
        before, after = (side.get(key) or None for side in (old, new))
        if same(before, after):
            continue
        if before is None:
            yield Finding(f"{key} added: {brief(after)}", "narrowed")
        elif after is None:
            yield Finding(f"{key} no longer guaranteed: {brief(before)}", "widened")
        else:
            yield unclear(f"{key}: {change(before, after)}")


def required_findings(
    old: Schema, new: Schema, removed: frozenset[str], added: frozenset[str]
) -> Iterator[tuple[str, Finding]]:
    """Changes of `required`, with the property's name ("" for all). `removed` and `added` are declared ones."""
    before, after = names(old), names(new)
    if before is None or after is None:
        if not same(old.get("required"), new.get("required")):
            yield "", unclear(f"required: {change(old.get('required'), new.get('required'))}")
        return
    for name in sorted(after - before):
        yield (
            name,
            Finding("required property added", "changed") if name in added else Finding("required now", "narrowed"),
        )
    for name in sorted(before - after - removed):
        yield name, Finding("no longer guaranteed to be there", "widened")
