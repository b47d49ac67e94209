"""What every export shares: a prompt's messages, and the list of what the other format has no place for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmops.prompts.formats.jinja_text import literal
from llmops.prompts.formats.parts import Part, take_apart
from llmops.prompts.inputs import Input
from llmops.prompts.parsing import Role
from llmops.prompts.template import FilePrompt

Message = tuple[Role, str, tuple[Part, ...]]


class Leaving:
    """An export being written. `messages` are roles, templates and what these are made of."""

    def __init__(self, prompt: FilePrompt, tool: str) -> None:
        self.prompt = prompt
        self.tool = tool
        self.lost: list[str] = []
        self.messages: list[Message] = [(role, text, take_apart(text)) for role, text in self._texts()]

    def _texts(self) -> Iterator[tuple[Role, str]]:
        rows, at = self.prompt.front.few_shot, self.prompt.few_shot_at
        if rows:
            self.lose(f"few_shot: its {len(rows)} examples are messages like the others now")
            if at is None:
                self.lose("few_shot: the messages that the template makes of it")
        sides: tuple[Role, Role] = ("user", "assistant")
        for number, (role, text) in enumerate([*self.prompt.texts, ("user", "")]):
            if number == at:
                yield from ((side, literal(row[side])) for row in rows for side in sides)
            if number < len(self.prompt.texts):
                yield role, text

    def lose(self, line: str) -> None:
        """Note what isn't carried over."""
        if line not in self.lost:
            self.lost.append(line)

    def lose_front(self, *kept: str) -> None:
        """Note every part of the front matter that isn't kept."""
        front = self.prompt.front
        for key in ("description", "backend", "model", "parameters", "output", "tools", "tags", "owner"):
            value = getattr(front, key)
            if key not in kept and value is not None and value not in ("", (), {}):
                self.lose(f"{key}: {self.tool} has no place for it here")
        if "inputs" not in kept:
            said = [name for name, one in self.prompt.inputs.items() if says_more(one, "default" in kept)]
            if said:
                self.lose(f"inputs: what is declared of {', '.join(said)}")


def says_more(one: Input, default_kept: bool = False) -> bool:
    """True when a declaration says more than that there is a text of that name."""
    plain = one.types in (("string",), ("any",)) and not one.items and not one.description and one.enum is None
    kept = default_kept or not one.has_default
    return not (plain and kept and one.example is None and (one.required or one.has_default))


def model_settings(prompt: FilePrompt) -> dict[str, Any]:
    """Model, parameters, tools and output schema as an OpenAI request has them."""
    made: dict[str, Any] = {"model": prompt.model} if prompt.model else {}
    made.update(prompt.parameters)
    if prompt.tools:
        made["tools"] = [openai_tool(tool) for tool in prompt.tools]
    if prompt.output_schema is not None:
        schema = {"name": "answer", "schema": prompt.output_schema}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    return made


def openai_tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool in OpenAI's form, whichever of the two it is written in."""
    return tool if isinstance(tool.get("function"), Mapping) else {"type": "function", "function": tool}
