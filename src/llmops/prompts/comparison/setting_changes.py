"""What changed in a prompt beside its messages and variables: a line each, and whether it breaks readers of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmops.prompts.comparison.schema_changes import schema_changes
from llmops.prompts.comparison.values import brief, change, same, visible
from llmops.prompts.comparison.words import line_blocks

if TYPE_CHECKING:
    from llmops.prompts.frontmatter import FrontMatter

Part = Literal["model", "backend", "parameters", "inputs", "tools", "few_shot", "output", "metadata"]
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One difference in a line of plain words."""

    part: Part
    text: str
    breaking: bool = False

    def __str__(self) -> str:
        return self.text


def setting_changes(old: FrontMatter, new: FrontMatter) -> tuple[SettingChange, ...]:
    """Differences in what decides a request: model, backend, parameters, tools, few-shot examples, output schema.

    Breaking: a tool removed, and what `schema_changes` calls so in a tool's parameters and in the output schema; a
    schema given or taken away as a whole too.
    """
    return (
        *_values("model", "model", old.model or _ABSENT, new.model or _ABSENT),
        *_values("backend", "backend", _present(old.backend), _present(new.backend)),
        *_values("parameters", "parameters", old.parameters, new.parameters),
        *_declared(old, new),
        *_tools(old.tools, new.tools),
        *_few_shot(old.few_shot, new.few_shot),
        *_output(old.output, new.output),
    )


def metadata_changes(old: FrontMatter, new: FrontMatter) -> tuple[SettingChange, ...]:
    """Differences in what is written for people only: description, tags, owner."""
    return (
        *_values("metadata", "description", old.description or _ABSENT, new.description or _ABSENT),
        *_values("metadata", "tags", list(old.tags) or _ABSENT, list(new.tags) or _ABSENT),
        *_values("metadata", "owner", old.owner or _ABSENT, new.owner or _ABSENT),
    )


def _present(value: Any) -> Any:
    return _ABSENT if value is None else value


def _values(part: Part, name: str, old: Any, new: Any) -> Iterator[SettingChange]:
    """Changes of a value, or of each key in a mapping that both sides have."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            shown = visible(str(key), one_line=True)
            inner = f"{name}.{shown}" if name != "parameters" else shown
            yield from _values(part, inner, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif old is not new and not same(old, new):
        if old is _ABSENT:
            yield SettingChange(part, f"{name} added: {brief(new)}")
        elif new is _ABSENT:
            yield SettingChange(part, f"{name} removed (was {brief(old)})")
        else:
            yield SettingChange(part, f"{name}: {change(old, new)}")


def _declared(old: FrontMatter, new: FrontMatter) -> Iterator[SettingChange]:
    if old.inputs is None and new.inputs is not None:
        yield SettingChange("inputs", "inputs are declared now: variables that aren't are refused")
    elif old.inputs is not None and new.inputs is None:
        yield SettingChange("inputs", "inputs are no longer declared: nothing is checked")


def _tools(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[SettingChange]:
    before, after = _by_name(old), _by_name(new)
    for name, tool in before.items():
        if name not in after:
            yield SettingChange("tools", f"tool {name} removed", True)
        elif not same(tool, after[name]):
            yield from _tool(name, tool, after[name])
    yield from (SettingChange("tools", f"tool {name} added") for name in after if name not in before)
    if before.keys() == after.keys() and [*before] != [*after]:
        yield SettingChange("tools", "tools in another order")


def _by_name(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Tools by name; a name's second tool is called `name (2)`."""
    times: Counter[str] = Counter()
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        name = visible(str(_function(tool).get("name")), one_line=True)[:80]
        times[name] += 1
        found[name if times[name] == 1 else f"{name} ({times[name]})"] = tool
    return found


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) else tool


def _tool(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[SettingChange]:
    before, after = _function(old), _function(new)
    for one in schema_changes(before.get("parameters", True), after.get("parameters", True)):
        yield SettingChange("tools", f"tool {name}, parameters {one}", one.breaking)
    for key in dict.fromkeys((*before, *after)):
        if key not in ("parameters", "name"):
            yield from _values("tools", f"tool {name}, {key}", before.get(key, _ABSENT), after.get(key, _ABSENT))
    if before is not old or after is not new:
        outer = [{k: v for k, v in side.items() if k != "function"} for side in (old, new)]
        yield from _values("tools", f"tool {name}", *outer)


def _few_shot(old: Sequence[Mapping[str, str]], new: Sequence[Mapping[str, str]]) -> Iterator[SettingChange]:
    before, after = ([repr(sorted(row.items())) for row in rows] for rows in (old, new))
    if before == after:
        return
    changed = added = removed = 0
    for block in line_blocks(before, after):
        if not block.equal:
            gone, come = block.old_end - block.old_start, block.new_end - block.new_start
            changed += min(gone, come)
            added += max(come - gone, 0)
            removed += max(gone - come, 0)
    counts = ((changed, "changed"), (added, "added"), (removed, "removed"))
    words = ", ".join(f"{count} {what}" for count, what in counts if count)
    if sorted(before) == sorted(after):
        words = "in another order"
    yield SettingChange("few_shot", f"few_shot: {words} ({len(old)} → {len(new)} examples)")


def _output(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[SettingChange]:
    if old is None and new is not None:
        yield SettingChange("output", "output schema added: answers are JSON now", True)
    elif new is None and old is not None:
        yield SettingChange("output", "output schema dropped: answers are any text now", True)
    else:
        for one in schema_changes(old, new):
            yield SettingChange("output", f"output {one}", one.breaking)
