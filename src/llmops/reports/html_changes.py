"""What differs between two variants, as HTML: their settings, and their prompts word by word."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from llmops.reports.changes import Setting, changes
from llmops.reports.figures import plural
from llmops.reports.html_tables import safe
from llmops.reports.plain import printable
from llmops.types import VariantInfo

if TYPE_CHECKING:
    from llmops.prompts.comparison.message_changes import MessageChange

MAX_SETTINGS = 40
MAX_MESSAGES = 40
MAX_TEXT = 40_000
"""Characters of one comparison's prompts that a page holds."""
CONTEXT = 160
"""Characters of unchanged text shown on each side of a change."""
_TAGS = {"insert": "ins", "delete": "del"}


def changed(before: VariantInfo | None, after: VariantInfo | None) -> str:
    """Changed settings as a list and changed messages as inline differences; nothing when nothing is known."""
    if before is None or after is None:
        return ""
    found = changes(before, after)
    if found:
        return _settings(found.settings) + _messages(found.messages)
    return "<p class=quiet>Nothing that is recorded of the two differs.</p>\n" if before.details else ""


def _settings(settings: Sequence[Setting]) -> str:
    rows = "".join(
        f"<div><dt>{safe(one.name, 80)}</dt><dd>{_value('del', one.before)} → {_value('ins', one.after)}</dd></div>"
        for one in settings[:MAX_SETTINGS]
    )
    hidden = len(settings) - MAX_SETTINGS
    more = f"<p class=quiet>and {plural(hidden, 'more setting')}</p>\n" if hidden > 0 else ""
    return f"<dl class=settings>{rows}</dl>\n{more}" if rows else ""


def _value(tag: str, text: str | None) -> str:
    return "<span class=quiet>not set</span>" if text is None else f"<{tag}>{safe(text, 400) or '(empty)'}</{tag}>"


def _messages(messages: Sequence[MessageChange]) -> str:
    made, room = [], MAX_TEXT
    for message in messages[:MAX_MESSAGES]:
        if room <= 0:
            break
        body = ""
        for place, (op, text) in enumerate(message.segments):
            shown = _shortened(op, text, place > 0, place < len(message.segments) - 1)[: max(room, 0)]
            room -= len(shown)
            tag = _TAGS.get(op)
            body += f"<{tag}>{escape(printable(shown))}</{tag}>" if tag and shown else escape(printable(shown))
        kind = "" if message.kind == "changed" else f' <span class="pill quiet">{message.kind}</span>'
        made.append(f"<h4>{safe(message.role, 40)} message{kind}</h4><p class=words>{body or '(empty)'}</p>\n")
    hidden = len(messages) - len(made)
    more = f"<p class=quiet>and {plural(hidden, 'more changed message')}</p>\n" if hidden > 0 else ""
    cut = "" if room > 0 else "<p class=quiet>The rest of the prompt is left out: it is too long for this page.</p>\n"
    return f"<div class=prompt>{''.join(made)}</div>\n{more}{cut}" if made else ""


def _shortened(op: str, text: str, head: bool, tail: bool) -> str:
    """Unchanged text but for what is next to a change."""
    if op != "equal" or len(text) <= CONTEXT * (head + tail) + 40:
        return text
    return f"{text[:CONTEXT] if head else ''} ⋯ {text[-CONTEXT:] if tail else ''}"
