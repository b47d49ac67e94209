"""A prompt diff as text: styled lines for a terminal, marked words for a pipe, Markdown for a pull request.

Prompts may be anybody's: control and invisible characters are shown as escapes, and in Markdown everything untrusted
stands in code, where nothing can become HTML, a link or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llmops.prompts.comparison.diffing import PromptDiff
from llmops.prompts.comparison.message_changes import MessageChange
from llmops.prompts.comparison.values import visible
from llmops.prompts.comparison.words import Block, Segment, line_blocks, new_text, old_text

Line = tuple[tuple[str, str], ...]
"""Pieces of one line: a style as rich writes it ("" for none), and text without line ends."""

HEADING, NOTE, BREAKING, DELETE, INSERT = "bold", "dim", "bold red", "red", "green"
CONTEXT_LINES = 3
MAX_CHARACTERS = 59_000  # GitHub's limit of a comment is 65,536
MAX_BLOCK = 20_000
_MARKS = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}
_STYLES = {"equal": "", "delete": DELETE, "insert": INSERT}
_BLANKS = str.maketrans({" ": "·", "\t": "\\t", "\n": "↵\n"})
_TICKS = re.compile("`+")


def diff_lines(diff: PromptDiff, *, width: int = 100, color: bool = True) -> Iterator[Line]:
    """The diff for people, a line at a time; nothing for an empty one.

    With `color`, styles tell what was deleted and inserted; without, `[-marks-]` and `{+marks+}` do. Equal stretches
    longer than `width` characters are shortened to some words beside each change.
    """
    if diff.breaking:
        yield ((BREAKING, "Breaking"),)
        yield from (((BREAKING, "  ! "), ("", visible(one, one_line=True))) for one in diff.breaking)
    for title, lines in _sections(diff):
        yield ((HEADING, title),)
        yield from ((("", f"  {visible(line, one_line=True)}"),) for line in lines)
    for message in diff.messages:
        yield ((HEADING, _title(message)),)
        yield from _message_lines(message.segments, width, color)


def diff_markdown(diff: PromptDiff) -> str:
    """The diff as a comment on a pull request: reasons and lists first, then a `diff` block for each message.

    At most `MAX_CHARACTERS` long; what doesn't fit is left out, which it says.
    """
    made = ""
    for section in _markdown(diff):
        if len(made) + len(section) > MAX_CHARACTERS:
            return made + "\n*More was left out, to stay within the size of a comment.*\n"
        made += section
    return made


def _sections(diff: PromptDiff) -> Iterator[tuple[str, list[str]]]:
    groups: tuple[tuple[str, Iterable[object]], ...] = (
        ("Variables", diff.variables),
        ("Settings", diff.settings),
        ("Metadata", diff.metadata),
    )
    for title, changes in groups:
        lines = list(map(str, changes))
        if lines:
            yield title, lines


def _title(message: MessageChange) -> str:
    place = message.new_place or message.old_place
    moved = f" (was {message.old_place})" if message.old_place not in (0, place) else ""
    return f"Message {place}{moved}, {message.role}: {message.kind}"


def _message_lines(segments: tuple[Segment, ...], width: int, color: bool) -> Iterator[Line]:
    """Segments broken at line ends, each line's pieces closed by their own marks."""
    line: list[tuple[str, str]] = []
    for number, (op, text) in enumerate(segments):
        if op == "equal":
            text = visible(_shortened(text, width, first=number == 0, last=number == len(segments) - 1))
        else:
            text = visible(text.translate(_BLANKS) if text.isspace() else text)
        opening, closing = ("", "") if color else _MARKS[op]
        for place, piece in enumerate(text.split("\n")):
            if place:
                yield (("", "  "), *line) if line else ()
                line = []
            if piece:
                line.append((_STYLES[op] if color else "", f"{opening}{piece}{closing}"))
    if line:
        yield (("", "  "), *line)


def _shortened(text: str, width: int, *, first: bool, last: bool) -> str:
    """An equal stretch with its middle left out, or the end that has no change beside it."""
    if len(text) <= width:
        return text
    room = max(width // 2, 10)
    head = "" if first else _cut(text[:room], -1)
    tail = "" if last else _cut(text[-room:], 0)
    gap = "\n" if "\n" in text[len(head) : len(text) - len(tail)] else " "
    return f"{head}{gap if head else ''}…{gap if tail else ''}{tail}"


def _cut(text: str, end: int) -> str:
    """`text` without the part of a word, and without blanks, at the cut end (0 is the start)."""
    found = list(re.finditer(r"\s+", text))
    if not found:
        return text
    return text[: found[-1].start()] if end else text[found[0].end() :]


def _markdown(diff: PromptDiff) -> Iterator[str]:
    yield f"### {_code(diff.old)} → {_code(diff.new)}\n\n"
    if diff.is_empty:
        yield "No changes.\n"
        return
    if diff.breaking:
        yield _bullets("⚠️ **Breaking**", diff.breaking)
    for title, lines in _sections(diff):
        yield _bullets(f"**{title}**", lines)
    for message in diff.messages:
        yield f"**{_title(message)}**\n\n{_block(message)}\n"


def _bullets(title: str, lines: Iterable[str]) -> str:
    return "\n".join((f"{title}\n", *(f"- {_code(line)}" for line in lines), "\n"))


def _code(text: str) -> str:
    """Untrusted text as a code span, on one line."""
    shown = visible(text, one_line=True)
    ticks = "`" * (_longest(shown) + 1)
    pad = " " if shown[:1] in "` " or shown[-1:] in "` " else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def _block(message: MessageChange) -> str:
    """A message's lines in a `diff` block with a fence that nothing in it can close."""
    body = "\n".join(_marked_lines(message.segments))
    if len(body) > MAX_BLOCK:
        body = body[:MAX_BLOCK].rsplit("\n", 1)[0] + "\n…"
    fence = "`" * max(_longest(body) + 1, 3)
    return f"{fence}diff\n{body}\n{fence}\n"


def _longest(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)


def _marked_lines(segments: tuple[Segment, ...]) -> Iterator[str]:
    """Lines of the old and the new text marked `-` and `+`, with some lines around each change."""
    texts = (old_text(segments), new_text(segments))
    old, new = ([visible(line) for line in text.split("\n")] if text else [] for text in texts)
    blocks = line_blocks(old, new)
    for number, block in enumerate(blocks):
        if block.equal:
            yield from _context(old, block, first=number == 0, last=number == len(blocks) - 1)
        else:
            yield from (f"-{line}" for line in old[block.old_start : block.old_end])
            yield from (f"+{line}" for line in new[block.new_start : block.new_end])


def _context(lines: list[str], block: Block, *, first: bool, last: bool) -> Iterator[str]:
    shown = lines[block.old_start : block.old_end]
    head, tail = 0 if first else CONTEXT_LINES, 0 if last else CONTEXT_LINES
    if len(shown) > head + tail + 1:
        yield from (f" {line}" for line in shown[:head])
        yield "@@ … @@"
        shown = shown[len(shown) - tail :]
    yield from (f" {line}" for line in shown)
