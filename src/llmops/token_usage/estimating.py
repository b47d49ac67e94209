"""Tokens nobody counted, estimated from text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from llmops.types import Message, ToolCall, Usage

CHARACTERS_A_TOKEN = 4  # English text in the tokenizers of GPT, Llama and Claude: 3.5 to 4.5
_FIRST_COUNT = 16  # counts from before the end are small: Claude's first piece tells of 1 to 8 tokens
_MOST_TIMES = 8  # an eighth of these tokens, 32 ASCII characters for one, is what only runs of one character have
_MESSAGE = 4  # what a chat template adds to a message


def text_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its ASCII characters, and every other character for one."""
    if not text:
        return 0
    ascii_only = text if text.isascii() else text.encode("ascii", "ignore").decode()
    return max(1, -(-len(ascii_only) // CHARACTERS_A_TOKEN) + len(text) - len(ascii_only))


def message_tokens(messages: Iterable[Message]) -> int:
    """About how many tokens messages have, tool calls included. Pictures and sound count for nothing."""
    return sum(_MESSAGE + text_tokens(_text(message)) for message in messages)


def estimated_usage(
    messages: Iterable[Message],
    answer: str,
    *,
    tools: Iterable[Mapping[str, Any]] = (),
    tool_calls: Iterable[ToolCall] = (),
) -> Usage:
    """Usage of one request, estimated from what was sent, tools included, and what came back."""
    asked = message_tokens(messages) + sum(text_tokens(str(tool)) for tool in tools)
    said = text_tokens(answer) + sum(_MESSAGE + text_tokens(f"{call.name}{call.arguments}") for call in tool_calls)
    return Usage(asked, said, requests=1, certainty="estimated")


def believable(told: Usage | None, estimate: Usage) -> Usage:
    """What a server told of an answer that is here whole, beside an `estimate` of what was sent and received.

    No tokens for a prompt that is there is a count nobody made, and a handful that is far too few for what was received
    (0, or the first piece's) is one from before the end: that part is estimated. Everything is when nothing was told.
    """
    if told is None:
        return estimate
    read, wrote = told.input_tokens or estimate.input_tokens, told.output_tokens
    if wrote <= _FIRST_COUNT and estimate.output_tokens > _MOST_TIMES * wrote:
        wrote = estimate.output_tokens
    if (read, wrote) == (told.input_tokens, told.output_tokens) and told.certainty != "unknown":
        return told
    return replace(told, input_tokens=read, output_tokens=wrote, certainty="estimated")


def so_far(told: Usage, estimate: Usage) -> Usage:
    """What a server told before the end of an answer: an estimate, of no less than was received."""
    read, wrote = told.input_tokens or estimate.input_tokens, max(told.output_tokens, estimate.output_tokens)
    return replace(told, input_tokens=read, output_tokens=wrote, certainty="estimated")


def _text(message: Message) -> str:
    content: Any = message.get("content")
    if isinstance(content, (list, tuple)):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    calls = message.get("tool_calls")
    return f"{content or ''}{calls or ''}"
