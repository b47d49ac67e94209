"""What differs between two variants as a run records them: settings, and messages of the prompt word by word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from llmops.reports.figures import plural
from llmops.reports.plain import as_text
from llmops.types import VariantInfo

if TYPE_CHECKING:
    from llmops.prompts.comparison.message_changes import MessageChange

PROMPT = "prompt_text"
MAX_MESSAGES = 200
MAX_TEXT = 200_000
"""Characters of a prompt, all messages together, that are compared."""
MAX_ROLE = 100
MAX_DEPTH = 4
_DERIVED = ("content_id", "overrides", "sha256")  # what they come from is shown itself where the texts are known


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that differs, nested ones by dotted path. None where a side doesn't have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything recorded that differs from one variant to another."""

    settings: tuple[Setting, ...] = ()
    messages: tuple[MessageChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.settings or self.messages)

    @property
    def summary(self) -> str:
        """`2 messages of the prompt, model, parameters.temperature`."""
        parts = [f"{plural(len(self.messages), 'message')} of the prompt"] if self.messages else []
        names = [setting.name for setting in self.settings]
        return ", ".join([*parts, *names[:4], *([f"{len(names) - 4} more"] if len(names) > 4 else [])])


def changes(info_a: VariantInfo, info_b: VariantInfo) -> Changes:
    """What differs from `info_a` to `info_b`.

    `details["prompt_text"]`, a list of `[role, text]`, is compared by words; all other details by value.
    """
    old, new = _messages(info_a), _messages(info_b)
    known = bool(old and new)
    hidden = (PROMPT, *_DERIVED) if known else (PROMPT,)
    before, after = (
        dict(_flat({"kind": info.kind, **{k: v for k, v in info.details.items() if k not in hidden}}))
        for info in (info_a, info_b)
    )
    names = dict.fromkeys([*before, *after])
    differing = (Setting(name, before.get(name), after.get(name)) for name in names)
    settings = tuple(one for one in differing if one.before != one.after)
    return Changes(settings, _changed_messages(old, new) if known and old != new else ())


def _changed_messages(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> tuple[MessageChange, ...]:
    from llmops.prompts.comparison.message_changes import message_changes

    return message_changes(cast(Any, old), cast(Any, new))


def _messages(info: VariantInfo) -> list[tuple[str, str]]:
    given = info.details.get(PROMPT)
    if not isinstance(given, (list, tuple)):
        return []
    pairs = [pair for pair in given[:MAX_MESSAGES] if isinstance(pair, (list, tuple)) and len(pair) == 2]
    made, room = [], MAX_TEXT
    for role, text in pairs:
        made.append((as_text(role)[:MAX_ROLE], as_text(text)[:room]))
        room -= len(made[-1][1])
    return made


def _flat(details: Mapping[str, Any], path: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    for key, value in details.items():
        if isinstance(value, Mapping) and value and depth < MAX_DEPTH:
            yield from _flat(value, f"{path}{key}.", depth + 1)
        else:
            yield f"{path}{key}", as_text(value)
