"""What changed between two prompts: words of messages, meaning of variables, settings, tools and output schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmops.prompts.inputs import Input
from llmops.prompts.message_changes import MessageChange, message_changes
from llmops.prompts.schema_changes import schema_changes
from llmops.prompts.values import brief, change, same
from llmops.prompts.variable_changes import VariableChange, variable_changes
from llmops.prompts.words import line_blocks

if TYPE_CHECKING:
    from llmops.prompts.template import FilePrompt

Part = Literal["model", "backend", "parameters", "inputs", "tools", "few_shot", "output", "metadata"]
MAX_REASONS = 3


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One difference beside messages and variables, in a line of plain words."""

    part: Part
    text: str
    breaking: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """What changed from the prompt `old` to the prompt `new` (references). Parts that are the same aren't held.

    `metadata` is what no request depends on: description, tags, owner.
    """

    old: str
    new: str
    messages: tuple[MessageChange, ...] = ()
    variables: tuple[VariableChange, ...] = ()
    settings: tuple[SettingChange, ...] = ()
    metadata: tuple[SettingChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when nothing at all changed, metadata included."""
        return not (self.messages or self.variables or self.settings or self.metadata)

    @property
    def breaking(self) -> tuple[str, ...]:
        """Why code that fills in the prompt or reads its answer may fail, a line each."""
        variables = [f"variable {one}" for one in self.variables if one.breaking]
        return (*variables, *(one.text for one in self.settings if one.breaking))

    @property
    def summary(self) -> str:
        """The diff in one line."""
        counts = [*_counts(self.messages), *_variable_counts(self.variables)]
        for part in dict.fromkeys(one.part for one in self.settings):
            counts.append(f"{part.replace('_', '-')} changed")
        if self.metadata:
            counts.append("metadata changed")
        reasons = [_reason(one) for one in (*self.variables, *self.settings) if one.breaking]
        if reasons:
            more = [f"{len(reasons) - MAX_REASONS} more"] if len(reasons) > MAX_REASONS else []
            counts.append(f"breaking: {', '.join([*reasons[:MAX_REASONS], *more])}")
        return "; ".join(counts) or "no changes"

    def to_json(self) -> dict[str, Any]:
        """The diff as plain JSON data."""
        return {
            "old": self.old,
            "new": self.new,
            "summary": self.summary,
            "breaking": list(self.breaking),
            "messages": [one.to_json() for one in self.messages],
            "variables": [asdict(one) for one in self.variables],
            "settings": [asdict(one) for one in self.settings],
            "metadata": [asdict(one) for one in self.metadata],
        }


def diff_prompts(old: FilePrompt, new: FilePrompt) -> PromptDiff:
    """Compare two prompts. Reads nothing but the two, and takes bounded time on texts of any size."""
    return PromptDiff(
        old.reference,
        new.reference,
        message_changes(old.texts, new.texts),
        variable_changes(_inputs(old), _inputs(new)),
        tuple(_settings(old, new)),
        tuple(_metadata(old, new)),
    )


def _inputs(prompt: FilePrompt) -> Mapping[str, Input]:
    """Declared variables; where none are declared, those the template uses, each of any type."""
    if prompt.front.inputs is not None:
        return prompt.front.inputs
    return {name: Input(name) for name in sorted(prompt.variables)}


def _settings(old: FilePrompt, new: FilePrompt) -> Iterator[SettingChange]:
    yield from _values("model", "model", old.model or None, new.model or None)
    yield from _values("backend", "backend", old.backend, new.backend)
    for key in dict.fromkeys((*old.parameters, *new.parameters)):
        absent = SettingChange("parameters", "")
        before, after = old.parameters.get(key, absent), new.parameters.get(key, absent)
        name = brief(key)[1:-1] if isinstance(key, str) else brief(key)
        yield from _values("parameters", name, before, after, absent)
    if (old.front.inputs is None) != (new.front.inputs is None):
        text = "inputs: declared now, others are refused" if old.front.inputs is None else "inputs: no longer declared"
        yield SettingChange("inputs", text)
    yield from _tools(old, new)
    yield from _few_shot(old, new)
    yield from _output(old.output_schema, new.output_schema)
