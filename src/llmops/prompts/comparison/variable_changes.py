"""What changed in a prompt's variables, for code that fills them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from llmops.prompts.comparison.values import brief, change, same
from llmops.prompts.inputs import Input

Aspect = Literal["added", "removed", "type", "items", "enum", "default", "required", "optional", "text"]
_ALL = frozenset(("array", "boolean", "fraction", "integer", "null", "object", "string"))


@dataclass(frozen=True, slots=True)
class VariableChange:
    """One difference in how a variable is declared. `text` says it in a few words, without the name."""

    name: str
    aspect: Aspect
    text: str
    breaking: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"

    @property
    def reason(self) -> str:
        """The difference where there is little room."""
        short = {"added": f"{self.name} must be given", "removed": f"{self.name} removed"}
        return short.get(self.aspect, str(self))


def variable_changes(old: Mapping[str, Input], new: Mapping[str, Input]) -> tuple[VariableChange, ...]:
    """Differences of two sets of declared variables, in the old order, then the new one.

    Breaking for callers: a variable removed, one that must be given now, a default lost, a type or value no longer
    accepted.
    """
    found: list[VariableChange] = []
    for name, one in old.items():
        if name in new:
            found += _changed(one, new[name])
        else:
            found.append(VariableChange(name, "removed", "removed", True))
    for name, one in new.items():
        if name not in old:
            needed = _needed(one)
            words = "added, must be given" if needed else "added, may be left out"
            found.append(VariableChange(name, "added", f"{words} ({_shown(one.types)})", needed))
    return tuple(found)


def _needed(one: Input) -> bool:
    return one.required and not one.has_default


def _changed(old: Input, new: Input) -> Iterator[VariableChange]:
    name = old.name
    before, after = _accepted(old.types), _accepted(new.types)
    if before != after:
        yield VariableChange(name, "type", f"{_shown(old.types)} → {_shown(new.types)}", not before <= after)
    before, after = _accepted(old.items), _accepted(new.items)
    if before != after:
        words = f"items: {_shown(old.items)} → {_shown(new.items)}"
        yield VariableChange(name, "items", words, not before <= after)
    yield from _enum(old, new)
    yield from _default(old, new)
    if _needed(old) != _needed(new):
        words = "must be given now" if _needed(new) else "may be left out now"
        yield VariableChange(name, "required" if _needed(new) else "optional", words, _needed(new))
    elif old.required != new.required:  # a default stands in, so no caller sees it
        yield VariableChange(name, "text", f"required: {change(old.required, new.required)}", False)
    if old.description != new.description:
        yield VariableChange(name, "text", "description changed", False)
    if not same(old.example, new.example):
        yield VariableChange(name, "text", f"example: {change(old.example, new.example)}", False)


def _accepted(types: tuple[str, ...]) -> frozenset[str]:
    """The types a declaration accepts, a number as an integer or a fraction."""
    if not types or "any" in types:
        return _ALL
    return frozenset(types) | ({"integer", "fraction"} if "number" in types else set()) - {"number"}


def _shown(types: tuple[str, ...]) -> str:
    return " or ".join(types) or "any"


def _enum(old: Input, new: Input) -> Iterator[VariableChange]:
    if same(old.enum, new.enum):
        return
    if old.enum is None or new.enum is None:
        words = f"any value → {_list(new.enum)}" if new.enum is not None else f"{_list(old.enum)} → any value"
        yield VariableChange(old.name, "enum", words, new.enum is not None)
        return
    gone = [value for value in old.enum if not _among(value, new.enum)]
    come = [value for value in new.enum if not _among(value, old.enum)]
    if gone:
        yield VariableChange(old.name, "enum", f"no longer {_list(gone)}", True)
    if come:
        yield VariableChange(old.name, "enum", f"now also {_list(come)}", False)
    if not gone and not come:
        yield VariableChange(old.name, "text", "values in another order", False)


def _among(value: object, values: tuple[object, ...]) -> bool:
    return any(same(value, other) for other in values)


def _list(values: tuple[object, ...] | list[object] | None) -> str:
    shown = [brief(value) for value in values or ()]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _default(old: Input, new: Input) -> Iterator[VariableChange]:
    if old.has_default and new.has_default:
        if not same(old.default, new.default):
            yield VariableChange(old.name, "default", f"default: {change(old.default, new.default)}", False)
    elif old.has_default:
        yield VariableChange(old.name, "default", f"no default any more (was {brief(old.default)})", True)
    elif new.has_default:
        yield VariableChange(old.name, "default", f"has a default now: {brief(new.default)}", False)
