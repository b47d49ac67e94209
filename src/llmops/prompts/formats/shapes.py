"""What an import gives and what an export gives, each with a list of what could not be carried over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmops.prompts.parsing import Role


@dataclass(frozen=True, slots=True)
class Imported:
    """A prompt read from another tool's format.

    `name` is a name a prompt file can have, `front` its front matter and `messages` its templates by role. `lost`
    says what was left out or changed, one line each.
    """

    name: str
    front: dict[str, Any]
    messages: list[tuple[Role, str]]
    lost: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of the prompt file."""
        from llmops.prompts.writing import prompt_text

        return prompt_text(self.front, self.messages)


@dataclass(frozen=True, slots=True)
class Exported:
    """A prompt in another tool's format, and what that format has no place for, one line each."""

    text: str
    lost: tuple[str, ...] = ()
