"""What changed between two JSON Schemas, for code that reads what they describe.

A keyword is a condition of its own, so a schema is narrower when one of its conditions is, and wider when one is.
Keywords this doesn't know are compared whole, with all their references lead to: changed ones count as breaking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llmops.prompts.comparison.schema_conditions import (
    CONDITIONS,
    Finding,
    Kind,
    allowed,
    bound_findings,
    guarantee_findings,
    required_findings,
    type_findings,
    unclear,
)
from llmops.prompts.comparison.schema_parts import (
    ASIDE,
    TEXTS,
    Document,
    TooLargeError,
    alternatives,
    bare,
    called,
    label,
    member,
    names,
    split_by_type,
)
from llmops.prompts.comparison.values import brief, change, same

MAX_DEPTH = 100
MAX_STEPS = 100_000
_CHOICES = ("allOf", "anyOf", "oneOf")
_KNOWN = ASIDE | CONDITIONS | {"$ref", "additionalProperties", "items", "properties", *_CHOICES}
_NO_TEXTS = dict.fromkeys(TEXTS)
_UNEVALUATED = {"unevaluatedItems", "unevaluatedProperties"}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference. `path` is a JSON path into the data the schema describes, `$` for the whole.

    `narrowed`: data that was valid may not be. `widened`: data is valid that wasn't. `changed`: either, or nobody can
    tell. `added`: a property that may be left out. `text`: nothing about the data.
    """

    path: str
    text: str
    kind: Kind
    breaking: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def schema_changes(old: Any, new: Any) -> tuple[SchemaChange, ...]:
    """Differences of two schemas (Draft 2020-12), each once.

    All are breaking for code that reads the data but optional properties added, further ones allowed, bounds
    loosened, and texts. Never raises, whatever the two are.
    """
    if same(old, new):
        return ()
    comparison = _Comparison(Document(old), Document(new))
    try:
        comparison.whole()
    except (RecursionError, TooLargeError):
        comparison.add("$", unclear("too large or too deep to compare"))
    if not comparison.found:
        comparison.add("$", Finding("written in another way, for the same data", "text", False))
    return tuple(dict.fromkeys(comparison.found))


@dataclass(slots=True)
class _Comparison:
    old: Document
    new: Document
    found: list[SchemaChange] = field(default_factory=list)
    seen: set[tuple[int, int, bool]] = field(default_factory=set)
    made: list[Any] = field(default_factory=list)  # schemas made up on the way: kept, so that no id comes twice
    exclusive: bool = False  # inside oneOf, where a wider choice may overlap with another and so forbid both

    def add(self, path: str, finding: Finding) -> None:
        text, kind, breaking = finding
        if self.exclusive and kind in ("narrowed", "widened"):
            text, kind, breaking = f"{text} (in oneOf: taken as breaking)", "changed", True
        self.found.append(SchemaChange(path, text, kind, breaking))

    def whole(self) -> None:
        old, new = self.old.root, self.new.root
        if isinstance(old, Mapping) and isinstance(new, Mapping) and not same(old.get("$schema"), new.get("$schema")):
            self.add("$", unclear(f"$schema: {change(old.get('$schema'), new.get('$schema'))}"))
        if self.old.nests_ids() or self.new.nests_ids():
            self.add("$", unclear("changed, with $id or $anchor inside, which aren't followed"))
        self.schemas(old, new, "$", 0)

    def schemas(self, old: Any, new: Any, path: str, depth: int) -> None:
        """Add what differs between two schemas for the same part of the data."""
        self.texts(old, new, path)
        before, after = self.old.resolved(old), self.new.resolved(new)
        key = (id(before), id(after), self.exclusive)
        if key in self.seen or (bare(before) and bare(after)):
            return
        self.seen.add(key)
        if depth > MAX_DEPTH or len(self.seen) > MAX_STEPS:
            raise TooLargeError
        if before is not old or after is not new:
            self.texts(before, after, path)
        if before is False or after is False:
            self.nothing(before, after, path)
            return
        before, after = ({} if side is True else side for side in (before, after))
        self.made += [before, after]
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            if not same(before, after):
                self.add(path, unclear(change(before, after)))
        elif not self.either(before, after, path, depth):
            self.conditions(before, after, path, depth)

    def texts(self, old: Any, new: Any, path: str) -> None:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in sorted(TEXTS & {*old, *new}):
                if not same(old.get(key), new.get(key)):
                    words = f"{key}: {change(old.get(key), new.get(key))}"
                    self.add(path, Finding(words, "text", False))

    def nothing(self, old: Any, new: Any, path: str) -> None:
        if old is not False:
            self.add(path, Finding("no value is allowed any more", "narrowed"))
        elif new is not False:
            self.add(path, Finding("values are allowed where none was", "widened"))

    def conditions(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int) -> None:
        for finding in type_findings(old, new):
            self.add(path, finding)
        if not allowed(old) & allowed(new):
            return  # nothing in common: the rest says nothing more
        for finding in (*bound_findings(old, new), *guarantee_findings(old, new)):
            self.add(path, finding)
        self.properties(old, new, path, depth)
        if self.holds_schemas(old, new, "items", path):
            self.schemas(old.get("items", True), new.get("items", True), f"{path}[*]", depth + 1)
        for key in _CHOICES:
            self.choices(old, new, key, path, depth)
        self.reference(old, new, path, depth)
        self.others(old, new, path, depth)

    def others(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int) -> None:
        """Keywords this doesn't know, and those whose meaning depends on all the others."""
        for key in sorted({*old, *new} - _KNOWN, key=str):
            if key in ("patternProperties", "prefixItems") and self.parts(old.get(key), new.get(key), path, depth):
                continue
            if not (key in old and key in new and self.alike(old[key], new[key])):
                self.add(path, unclear(f"{brief(key)}: {change(old.get(key), new.get(key))}"))
        if _UNEVALUATED & {*old, *new} and not self.alike(*({**side, **_NO_TEXTS} for side in (old, new))):
            self.add(path, unclear("changed beside unevaluatedProperties or unevaluatedItems"))

    def parts(self, old: Any, new: Any, path: str, depth: int) -> bool:
        """Compare schemas by pattern or by place; False when they aren't for the same ones."""
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
            places = [(f"{path}[/{brief(key)}/]", old[key], new[key]) for key in old]
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            places = [(f"{path}[{i}]", *both) for i, both in enumerate(zip(old, new, strict=True))]
        else:
            return False
        for place, before, after in places:
            self.schemas(before, after, place, depth + 1)
        return True

    def alike(self, old: Any, new: Any) -> bool:
        return self.old.same(old, self.new, new)

    def holds_schemas(self, old: Mapping[str, Any], new: Mapping[str, Any], key: str, path: str) -> bool:
        """False, and a difference is added, when `key` isn't a schema on both sides."""
        before, after = old.get(key, True), new.get(key, True)
        if isinstance(before, (bool, Mapping)) and isinstance(after, (bool, Mapping)):
            return True
        if not self.alike(before, after):
            self.add(path, unclear(f"{key}: {change(before, after)}"))
        return False

    def properties(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            if not self.alike(before, after):
                self.add(path, unclear(f"properties: {change(before, after)}"))
            before = after = {}
        removed, added = frozenset(before.keys() - after.keys()), frozenset(after.keys() - before.keys())
        for name, finding in required_findings(old, new, removed, added):
            self.add(member(path, name) if name else path, finding)
        for name in before:
            if name in after:
                self.schemas(before[name], after[name], member(path, name), depth + 1)
            else:
                self.add(member(path, name), Finding("property removed", "changed"))
        if self.holds_schemas(old, new, "additionalProperties", path):
            self.added(old, new, [name for name in after if name in added], path, depth)
            self.additional(old, new, path, depth)

    def added(self, old: Mapping[str, Any], new: Mapping[str, Any], added: list[str], path: str, depth: int) -> None:
        """Properties not declared before, which had to meet what further properties had to."""
        others = old.get("additionalProperties", True)
        open_before = others is not False or "patternProperties" in {*old, *new} or self.exclusive
        required, now_required = names(old) or (), names(new) or ()
        for name in added:
            if others is not False and (not bare(others) or name in required):
                self.schemas(others, new["properties"][name], member(path, name), depth + 1)
            if name not in now_required:
                words = Finding("optional property added", "added" if open_before else "widened", False)
                self.add(member(path, name), words)

    def additional(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int) -> None:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if before is False and after is not False:
            self.add(path, Finding("further properties are allowed now", "widened", False))
        elif after is False and before is not False:
            self.add(path, Finding("further properties are no longer allowed", "narrowed"))
        elif before is not False:
            self.schemas(before, after, f"{path}.*", depth + 1)

    def reference(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int) -> None:
        """A reference that stands beside other conditions or can't be followed."""
        before, after = old.get("$ref"), new.get("$ref")
        if self.old.leads(before) and self.new.leads(after):
            self.schemas(self.old.target(before), self.new.target(after), path, depth + 1)
        elif not same(before, after) or (isinstance(before, str) and before.startswith("#")):
            self.add(path, unclear(f"$ref: {change(before, after)}"))

    def either(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int) -> bool:
        """Compare alternatives when that is all there is on one side; on the other, types may be alternatives."""
        before, after = alternatives(old), alternatives(new)
        if (before is None and (after is None or "anyOf" in old)) or (after is None and "anyOf" in new):
            return False
        self.pairs(before or split_by_type(old), after or split_by_type(new), path, depth)
        return True

    def choices(self, old: Mapping[str, Any], new: Mapping[str, Any], key: str, path: str, depth: int) -> None:
        before, after = old.get(key), new.get(key)
        if before is None and after is None:
            return
        if not isinstance(before, list) or not isinstance(after, list):
            if before is None and isinstance(after, list):
                self.add(path, Finding(f"{key} added", "narrowed"))
            elif after is None and isinstance(before, list):
                self.add(path, Finding(f"{key} dropped", "widened"))
            elif not self.alike(before, after):
                self.add(path, unclear(f"{key}: {change(before, after)}"))
            return
        with self.within(key):
            self.pairs(before, after, path, depth, all_hold=key == "allOf")

    @contextmanager
    def within(self, key: str) -> Iterator[None]:
        outside, self.exclusive = self.exclusive, self.exclusive or key == "oneOf"
        yield
        self.exclusive = outside

    def pairs(self, old: list[Any], new: list[Any], path: str, depth: int, *, all_hold: bool = False) -> None:
        """Compare lists of schemas whose order means nothing; what has no counterpart was added or dropped."""
        self.made += [*old, *new]
        for loose in (False, True):
            old, new = self.paired(old, new, path, depth, loose)
        for one in old:
            words = "a condition dropped" if all_hold else "no longer possible"
            name = called(one, self.old.resolved(one))
            self.add(path, Finding(f"{words}: {name}", "widened" if all_hold else "narrowed"))
        for one in new:
            words = "a condition added" if all_hold else "now also possible"
            name = called(one, self.new.resolved(one))
            self.add(path, Finding(f"{words}: {name}", "narrowed" if all_hold else "widened"))

    def paired(self, old: list[Any], new: list[Any], path: str, depth: int, loose: bool) -> tuple[list[Any], list[Any]]:
        """Compare those with the same label, the same ones with each other first; gives back all others."""
        waiting: dict[Any, list[Any]] = {}
        for schema in new:
            waiting.setdefault(label(self.new.resolved(schema), loose=loose), []).append(schema)
        differing: list[tuple[Any, list[Any]]] = []
        for schema in old:
            like = waiting.setdefault(label(self.old.resolved(schema), loose=loose), [])
            place = next((i for i, other in enumerate(like) if self.alike(schema, other)), None)
            if place is None:
                differing.append((schema, like))
            else:
                like.pop(place)
        gone: list[Any] = []
        for schema, like in differing:
            if like:
                self.schemas(schema, like.pop(0), path, depth + 1)
            else:
                gone.append(schema)
        return gone, [schema for like in waiting.values() for schema in like]
