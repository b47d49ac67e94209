"""The text of a `*.prompt.md` file as front matter and messages, each with the line it starts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmops.errors import PromptError
from llmops.yamlfile import Document, load_yaml

SUFFIX = ".prompt.md"
MAX_SOURCE_BYTES = 200_000
MAX_MESSAGES = 500

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {"system:": "system", "user:": "user", "assistant:": "assistant"}


@dataclass(frozen=True, slots=True)
class MessageSource:
    """A message's template as written, and its first line's number in the file."""

    role: Role
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """Front matter (data with line numbers) and messages."""

    front: Document
    messages: tuple[MessageSource, ...]


def decode(data: bytes, name: str) -> str:
    """UTF-8 text with `\\n` line ends. Raises `PromptError` on anything else."""
    if len(data) > MAX_SOURCE_BYTES:
        raise PromptError(f"larger than {MAX_SOURCE_BYTES:,} bytes", where=f"{name}:1")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise PromptError("not UTF-8 text", where=f"{name}:{line}", hint="save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str, name: str) -> ParsedFile:
    """Split a prompt file. `name` is the file as errors show it."""
    lines = text.split("\n")
    start, front = 0, Document({}, name, {})
    if lines[0].rstrip(" \t") == "---":
        end = next((i for i in range(1, len(lines)) if lines[i].rstrip(" \t") == "---"), 0)
        if not end:
            raise PromptError("the front matter has no end", where=f"{name}:1", hint="close it with a line ---")
        front = load_yaml("\n".join(lines[1:end]), name=name, first_line=2, error=PromptError)
        start = end + 1
    return ParsedFile(front, _messages(lines, start, name))


def _messages(lines: list[str], start: int, name: str) -> tuple[MessageSource, ...]:
    opens = [i for i in range(start, len(lines)) if lines[i] in ROLES]
    if len(opens) > MAX_MESSAGES:
        raise PromptError(f"more than {MAX_MESSAGES} messages", where=f"{name}:{opens[MAX_MESSAGES] + 1}")
    if not opens:
        return (_message("user", lines, start, len(lines), name),)
    for i in range(start, opens[0]):
        if lines[i].strip():
            raise PromptError(
                f"text before the first message, {lines[opens[0]]!r}",
                where=f"{name}:{i + 1}",
                hint="put it under system: or user:",
            )
    ends = [*opens[1:], len(lines)]
    return tuple(_message(ROLES[lines[i]], lines, i + 1, end, name) for i, end in zip(opens, ends, strict=True))


def _message(role: Role, lines: list[str], start: int, end: int, name: str) -> MessageSource:
    """Lines `start` to `end`, without the blank ones around them."""
    opened = start
    while start < end and not lines[start].strip(" \t"):
        start += 1
    while end > start and not lines[end - 1].strip(" \t"):
        end -= 1
    if start == end:
        hint = f"write the text below {role}:" if opened else "write the message below the front matter"
        raise PromptError(f"the {role} message is empty", where=f"{name}:{max(opened, 1)}", hint=hint)
    return MessageSource(role, "\n".join(lines[start:end]), start + 1)
