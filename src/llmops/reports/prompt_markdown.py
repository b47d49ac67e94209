"""What changed between two variants, as Markdown: settings as a list, the prompt with its words marked."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmops.reports.changes import Changes, Setting
from llmops.reports.markup import broken, code, fitting, fold, span
from llmops.reports.plain import printable

if TYPE_CHECKING:
    from llmops.prompts.comparison.message_changes import MessageChange

COLUMNS = 96
CONTEXT = 160
"""Characters of unchanged text shown on each side of a change."""
MAX_CHANGE = 3000
_TAGS = {"delete": ("<del>", "</del>"), "insert": ("<ins>", "</ins>"), "equal": ("", "")}
_WORD = re.compile(r"\s+|\S+")


def changes_section(found: Changes, room: int) -> str:
    """A folded section whose summary names what changed; nothing when nothing did."""
    if not found:
        return ""
    settings = fitting((_setting(one) for one in found.settings), room // 3, "setting")
    messages = fitting(map(_message, found.messages), room - len(settings) - 600, "message")
    return fold(f"What changed: {_summary(found)}", f"{settings}\n{messages}" if settings else messages)


def _summary(found: Changes) -> str:
    names = [one.name for one in found.settings]
    count = len(found.messages)
    parts = [f"{count} message{'s' if count > 1 else ''} of the prompt"] if count else []
    parts += [code(name, 40) for name in names[:4]]
    return ", ".join([*parts, *([f"{len(names) - 4} more"] if len(names) > 4 else [])])


def _setting(one: Setting) -> str:
    before, after = ("not set" if value is None else span(value, 160) for value in (one.before, one.after))
    return f"- {span(one.name)}: {before} → {after}\n"


def _message(change: MessageChange) -> str:
    place = change.new_place or change.old_place
    kind = "" if change.kind == "changed" else f" ({change.kind})"
    body = "".join(_pieces(change))
    return f"\nMessage {place}, {span(change.role, 40)}{kind}\n\n<pre>{body}</pre>\n"


def _pieces(change: MessageChange) -> Iterator[str]:
    """The text with what is gone and what is new in tags, escaped, in lines of at most `COLUMNS` characters."""
    column, last = 0, len(change.segments) - 1
    for number, (op, text) in enumerate(change.segments):
        kept = _shortened(text, number == 0, number == last) if op == "equal" else text
        shown = printable(kept, MAX_CHANGE)
        if op != "equal" and shown.isspace():
            shown = shown.replace("\n", "↵\n").replace(" ", "·")  # blanks that changed can be seen
        laid = "".join(broken(_WORD.findall(shown), COLUMNS, column))
        *ends, tail = laid.split("\n")
        column = len(tail) if ends else column + len(tail)
        opening, closing = _TAGS[op]
        yield f"{opening}{html.escape(laid, quote=False)}{closing}"


def _shortened(text: str, first: bool, last: bool) -> str:
    """Unchanged text with its middle left out, or the end that has no change beside it."""
    if len(text) <= 2 * CONTEXT + 40:
        return text
    head = "" if first else text[:CONTEXT].rsplit(None, 1)[0]
    tail = "" if last else text[-CONTEXT:].split(None, 1)[-1]
    return f"{head}{' ' * bool(head)}…{' ' * bool(tail)}{tail}"
