"""Finds the question and the context in the messages of a prompt, the way people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmops.types import Message

_MARK = r"[\s#>*_]*+"
_QUESTION = re.compile(rf"{_MARK}(?:user\s+)?(?:question|q)[\s*_]*+:[\s*_]*+(.*)", re.IGNORECASE)
_QUESTION_HEADING = re.compile(r"\s*#+\s*(?:user\s+)?question\s*", re.IGNORECASE)
_CONTEXT = re.compile(
    rf"{_MARK}(?:(?:the|given|retrieved|relevant)\s+)*(?:contexts?|passages?|documents?|sources?|docs)[\s*_]*+(?::[\s*_]*+(.*)|)",
    re.IGNORECASE,
)
_ANSWER = re.compile(rf"{_MARK}(?:your\s+|final\s+)?(?:answer|a|response)[\s*_]*+:[\s*_]*+", re.IGNORECASE)
_TAG_LINE = re.compile(r"\s*</?[A-Za-z][\w-]{0,40}(?:\s[^<>]{0,200})?/?>\s*")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and the text that may hold its answer."""

    question: str
    context: str


def find_question(messages: Sequence[Message]) -> Asked:
    """Question and context of a chat.

    The question follows the last line that starts with `Question:` or `Q:` (or stands in `<question>` tags);
    else it is the last line of the last user message that ends in `?`; else that message's last line. The
    context is the rest of the user messages, from a line such as `Context:` on if there is one, after the
    `Context:` line of system messages that have one.
    """
    users = [content_text(m.get("content")) for m in messages if m.get("role") == "user"]
    systems = [content_text(m.get("content")) for m in messages if m.get("role") in ("system", "developer")]
    lines = "\n\n".join(users).splitlines()
    question, taken = _question(lines, len(users[-1].splitlines()) if users else 0)
    given = [part for text in systems if (part := _section(text.splitlines(), required=True)) is not None]
    rest = _section(_after_examples(lines, taken), required=False) or []
    context = [line for part in (*given, rest) for line in (*part, "")]
    return Asked(question, "\n".join(line for line in context if not _TAG_LINE.fullmatch(line)))


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which the text ones count."""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        parts = (p if isinstance(p, str) else p.get("text") if isinstance(p, dict) else None for p in content)
        return "\n".join(p for p in parts if isinstance(p, str))
    return ""


def _question(lines: list[str], last_message: int) -> tuple[str, range]:
    """The question and the lines it takes."""
    tagged = _tagged("\n".join(lines))
    if tagged is not None:
        return tagged
    for number in range(len(lines) - 1, -1, -1):
        match = _QUESTION.match(lines[number])
        if match is not None or _QUESTION_HEADING.fullmatch(lines[number]):
            return _marked(lines, number, match[1] if match else "")
    own = range(len(lines) - 1, len(lines) - 1 - last_message, -1)
    for wanted in (lambda line: line.rstrip("*_\"' ").endswith(("?", "？")), str.strip):
        for number in own:
            if wanted(lines[number]) and not _ANSWER.fullmatch(lines[number]):
                return lines[number].strip(), range(number, number + 1)
    return "", range(0)


def _tagged(text: str) -> tuple[str, range] | None:
    """The last question in `<question>` tags, and its lines."""
    lower = text.lower() if text.isascii() else text  # lower-casing other text may move positions
    end = lower.rfind("</question>")
    start = lower.rfind("<question>", 0, max(end, 0))
    if start < 0:
        return None
    first = text.count("\n", 0, start)
    return " ".join(text[start + len("<question>") : end].split()), range(first, text.count("\n", 0, end) + 1)


def _marked(lines: list[str], number: int, inline: str) -> tuple[str, range]:
    """A question that begins on its marker's line or below it, and ends at a blank line or another marker."""
    end = number + 1
    words = [inline.strip()] if inline.strip() else []
    while end < len(lines):
        line = lines[end].strip()
        if (not line and words) or _ANSWER.match(line) or (line and _CONTEXT.fullmatch(line)):
            break
        words += [line] if line else []
        end += 1
    return " ".join(words), range(number, end)


def _after_examples(lines: list[str], taken: range) -> list[str]:
    """The lines but the question's; worked examples before it are dropped when it has a context of its own."""
    first = 0
    for number in range(taken.start - 1, -1, -1):
        if _QUESTION.match(lines[number]):
            own = range(number + 1, taken.start)
            first = next((n for n in own if _CONTEXT.fullmatch(lines[n])), 0)
            break
    return [line for n, line in enumerate(lines) if n >= first and n not in taken and not _ANSWER.fullmatch(line)]


def _section(lines: list[str], *, required: bool) -> list[str] | None:
    """What follows the first `Context:` line; without one all lines, or None when it is `required`."""
    for number, line in enumerate(lines):
        match = _CONTEXT.fullmatch(line) if line.strip() else None
        if match is not None:
            return [match[1] or "", *lines[number + 1 :]]
    return None if required else lines
