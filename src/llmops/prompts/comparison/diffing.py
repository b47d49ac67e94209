"""What changed between two prompts: words of messages, meaning of variables, settings, tools and output schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from llmops.prompts.comparison.message_changes import MessageChange, message_changes
from llmops.prompts.comparison.setting_changes import SettingChange, metadata_changes, setting_changes
from llmops.prompts.comparison.variable_changes import VariableChange, variable_changes
from llmops.prompts.inputs import Input

if TYPE_CHECKING:
    from llmops.prompts.template import FilePrompt

MAX_REASONS = 3


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """What changed from the prompt `old` to the prompt `new` (references). Parts that are the same aren't held.

    `settings` are model, backend, parameters, tools, few-shot examples and output schema; `metadata` is what no
    request depends on: description, tags, owner.
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
        parts = [
            *_counted("message", (one.kind for one in self.messages)),
            *_counted("variable", _kinds(self.variables)),
        ]
        parts += dict.fromkeys(f"{one.part} changed" for one in self.settings)
        parts += ["metadata changed"] * bool(self.metadata)
        reasons = [one.reason for one in self.variables if one.breaking]
        reasons += [one.text for one in self.settings if one.breaking]
        if reasons:
            more = [f"{len(reasons) - MAX_REASONS} more"] * (len(reasons) > MAX_REASONS)
            parts.append(f"breaking: {', '.join([*reasons[:MAX_REASONS], *more])}")
        return "; ".join(parts) or "no changes"

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
        setting_changes(old.front, new.front),
        metadata_changes(old.front, new.front),
    )


def _inputs(prompt: FilePrompt) -> Mapping[str, Input]:
    """Declared variables; where none are declared, those the template uses, each of any type."""
    if prompt.front.inputs is not None:
        return prompt.front.inputs
    return {name: Input(name) for name in sorted(prompt.variables)}


def _kinds(variables: Iterable[VariableChange]) -> Iterator[str]:
    """For each variable: added, removed or changed."""
    kinds = {one.name: one.aspect if one.aspect in ("added", "removed") else "changed" for one in variables}
    yield from kinds.values()


def _counted(what: str, kinds: Iterable[str]) -> Iterator[str]:
    counts = Counter(kinds)
    for kind in ("changed", "added", "removed"):
        if counts[kind]:
            yield f"{counts[kind]} {what}{'s' if counts[kind] > 1 else ''} {kind}"
