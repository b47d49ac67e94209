"""Untrusted text in GitHub's and GitLab's Markdown, inert whatever it says.

Short texts stand in code spans and long ones in code fences or `<pre>`: nothing in them can become HTML, a link, an
image, a mention, a reference to an issue or a quick action.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from llmops.reports.figures import MISSING, plural
from llmops.reports.plain import printable

_PLAIN = re.compile(r"(?!GH-)[^\W_](?:[^\W_]|[ ,;:()–—…+→’'=−]|%(?![^\W_])|-(?!-)|\.(?![^\W\d_]))*")
_WORD = re.compile(r"\s+|\S+")


def span(text: str, limit: int = 80) -> str:
    """Untrusted text on one line as a code span, safe in a table cell too."""
    safe = printable(text, limit, one_line=True).replace("`", "'").replace("|", "¦")
    return f"`{safe}`" if safe.strip() else MISSING


def prose(text: str, limit: int = 300) -> str:
    """Text on one line as it is where it reads as plain prose, else as a code span."""
    safe = printable(text, limit, one_line=True)
    return safe if _PLAIN.fullmatch(safe) else span(safe, limit)


def fence(text: str, limit: int) -> str:
    """Untrusted text as a code block that can't be closed from within."""
    safe = printable(text, limit).replace("```", "'''").replace("~~~", "---")
    return f"```text\n{safe}\n```\n"


def code(text: str, limit: int = 60) -> str:
    """Untrusted text on one line inside of HTML."""
    return f"<code>{html.escape(printable(text, limit, one_line=True), quote=False) or MISSING}</code>"


def pre(text: str, limit: int, columns: int) -> str:
    """Untrusted text as a block inside an HTML table: all on one line, as an empty one would end the table."""
    lines = html.escape(wrapped(printable(text, limit), columns), quote=False).expandtabs(4)
    return f"<pre>{lines.replace(chr(10), '&#10;') or MISSING}</pre>"


def wrapped(text: str, columns: int) -> str:
    """`text` with lines broken between words, and within words that are longer, so that none is wider."""
    return "".join(broken(_WORD.findall(text), columns))


def broken(words: Iterable[str], columns: int, column: int = 0) -> Iterator[str]:
    """Words and blanks with line ends where a line would be longer than `columns`; the first stands at `column`."""
    for word in words:
        if word.isspace():
            *ends, last = word.split("\n")
            column = len(last) if ends else column + len(word)
            yield word
            continue
        if column and column + len(word) > columns:
            yield "\n"
            column = 0
        for start in range(0, len(word), columns):
            yield ("\n" if start else "") + word[start : start + columns]
        column += len(word) if len(word) <= columns else (len(word) - 1) % columns + 1


def row(cells: Iterable[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |\n"


def fold(summary: str, body: str) -> str:
    """`body` folded away under `summary`, which is HTML. Nothing for an empty body."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body.rstrip()}\n\n</details>\n\n" if body else ""


def fitting(items: Iterable[str], room: int, noun: str) -> str:
    """Items joined as long as they fit into `room` characters; the last line says how many were left out."""
    made, hidden = "", 0
    for item in items:
        if hidden or len(made) + len(item) > room:
            hidden += 1
        else:
            made += item
    return made + (f"\n{plural(hidden, f'more {noun}')}.\n" if hidden else "")
