"""Word-level differences of two texts, bounded in time and memory and without confetti.

Lines are aligned first, then words inside what changed. Small equal islands between two changes are taken into them
(the idea of diff-match-patch's semantic clean-up), so that a rewritten sentence reads as one change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from llmops.prompts.segments import segments

Op = Literal["equal", "delete", "insert"]
MAX_CELLS = 100_000_000  # of one alignment: 12 MB, some 20 ms
MAX_WORK = 800_000_000  # of all alignments of two texts
MAX_TAG = 200
MAX_ISLAND_WORDS = 3

_MARKS = (  # what belongs to the letter before it
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u1ab0-\u1aff"
    "\u1dc0-\u1dff\u200c\u200d\u20d0-\u20f0\ufe00-\ufe0f\U0001f3fb-\U0001f3ff"
)
_SPACELESS_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3"
_SPACELESS = (  # scripts written without spaces: Thai to Khmer, Chinese, Japanese
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTERS = rf"(?:(?![{_SPACELESS}])[\w{_MARKS}])++"
_TOKEN = re.compile(
    rf"\n|[^\S\n]++|[{_SPACELESS}][{_SPACELESS_MARKS}{_MARKS}]*+|\d++(?:[.,]\d++)++"
    rf"|{_LETTERS}(?:['’]{_LETTERS})*+|.[{_MARKS}]*+",
    re.S,
)
_WORD = re.compile(r"\w")


class Segment(NamedTuple):
    """A stretch of text that both texts have, or only the old (`delete`) or the new one (`insert`)."""

    op: Op
    text: str


class Block(NamedTuple):
    """`old[old_start:old_end]` against `new[new_start:new_end]`; the same when `equal`."""

    equal: bool
    old_start: int
    old_end: int
    new_start: int
    new_end: int


@dataclass(slots=True)
class _Allowance:
    """Cells that the alignments of one comparison may still compute."""

    cells: int = MAX_WORK

    def take(self, cells: int) -> bool:
        if cells > min(self.cells, MAX_CELLS):
            return False
        self.cells -= cells
        return True


def word_diff(old: str, new: str) -> tuple[Segment, ...]:
    """The segments that lead from `old` to `new`.

    Equal and delete segments joined are `old`, equal and insert segments joined `new`. No two neighbours have the
    same op; where both change, the deletion comes first. Texts too large to align become a deletion and an insertion
    between what they start and end with.
    """
    if old == new:
        return (Segment("equal", old),) if old else ()
    before, after = tokens(old), tokens(new)
    blocks = _joined(_without_islands(list(_word_blocks(before, after)), before, after))
    made: list[Segment] = []
    for block in blocks:
        gone = "".join(before[block.old_start : block.old_end])
        if block.equal:
            made.append(Segment("equal", gone))
            continue
        come = "".join(after[block.new_start : block.new_end])
        made += [Segment("delete", gone)] * bool(gone) + [Segment("insert", come)] * bool(come)
    return tuple(made)


def old_text(found: Sequence[Segment]) -> str:
    """The text the segments lead from."""
    return "".join(segment.text for segment in found if segment.op != "insert")


def new_text(found: Sequence[Segment]) -> str:
    """The text the segments lead to."""
    return "".join(segment.text for segment in found if segment.op != "delete")


def line_blocks(old: Sequence[str], new: Sequence[str]) -> tuple[Block, ...]:
    """Two lists of lines (or of anything else in texts) aligned; too many of them become one change."""
    return tuple(_joined(list(_aligned(old, new, _Allowance()))))


def tokens(text: str) -> list[str]:
    """Words, numbers, runs of blanks, line ends, signs, and whole template tags; joined they are `text`."""
    made: list[str] = []
    for kind, start, end in segments(text):
        if kind in ("print", "tag") and end - start <= MAX_TAG:
            made.append(text[start:end])
        else:
            made += _TOKEN.findall(text, start, end)
    return made


def _word_blocks(before: list[str], after: list[str]) -> Iterator[Block]:
    allowance = _Allowance()
    old_lines, new_lines = _line_starts(before), _line_starts(after)
    lines = _aligned(_lines(before, old_lines), _lines(after, new_lines), allowance)
    for found in list(_joined(list(lines))):
        i, i_end = old_lines[found.old_start], old_lines[found.old_end]
        j, j_end = new_lines[found.new_start], new_lines[found.new_end]
        if found.equal:
            yield Block(True, i, i_end, j, j_end)
            continue
        for block in _aligned(before[i:i_end], after[j:j_end], allowance):
            yield Block(block.equal, i + block.old_start, i + block.old_end, j + block.new_start, j + block.new_end)


def _line_starts(words: list[str]) -> list[int]:
    starts = [0, *(i + 1 for i, word in enumerate(words) if word == "\n")]
    return starts if starts[-1] == len(words) else [*starts, len(words)]


def _lines(words: list[str], starts: list[int]) -> list[str]:
    return ["".join(words[start:end]) for start, end in pairwise(starts)]


def _aligned(old: Sequence[str], new: Sequence[str], allowance: _Allowance) -> Iterator[Block]:
    """Blocks in order, without gaps, of a longest common subsequence."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    n, m = len(old) - tail, len(new) - tail
    if head:
        yield Block(True, 0, head, 0, head)
    if n > head and m > head and allowance.take((n - head) * (m - head)):
        for equal, i, i_end, j, j_end in _subsequence(old[head:n], new[head:m]):
            yield Block(equal, head + i, head + i_end, head + j, head + j_end)
    elif n > head or m > head:
        yield Block(False, head, n, head, m)
    if tail:
        yield Block(True, n, len(old), m, len(new))


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    pairs = enumerate(zip(old, new, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))


def _subsequence(old: Sequence[str], new: Sequence[str]) -> Iterator[Block]:
    from rapidfuzz.distance import LCSseq

    numbers: dict[str, int] = {}
    before, after = ([numbers.setdefault(item, len(numbers)) for item in side] for side in (old, new))
    for code in LCSseq.opcodes(before, after):
        yield Block(code.tag == "equal", code.src_start, code.src_end, code.dest_start, code.dest_end)


def _joined(blocks: list[Block]) -> Iterator[Block]:
    """Neighbours of the same kind made one."""
    held: Block | None = None
    for block in blocks:
        if held is not None and held.equal == block.equal:
            held = Block(held.equal, held.old_start, block.old_end, held.new_start, block.new_end)
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def _without_islands(blocks: list[Block], before: list[str], after: list[str]) -> list[Block]:
    """Changes grown over the equal islands between them that a reader would only stumble over."""
    sizes, new_sizes = [0, *accumulate(map(len, before))], [0, *accumulate(map(len, after))]
    words = [0, *accumulate(1 if _WORD.search(word) else 0 for word in before)]
    lines = [0, *accumulate(1 if word == "\n" else 0 for word in before)]

    def extent(change: Block) -> int:
        gone = sizes[change.old_end] - sizes[change.old_start]
        return max(gone, new_sizes[change.new_end] - new_sizes[change.new_start])

    def tiny(change: Block, island: Block, following: Block) -> bool:
        start, end = island.old_start, island.old_end
        if lines[end] > lines[start]:
            return False  # lines stay apart, however much of them changed
        held = words[end] - words[start]
        smaller = min(extent(change), extent(following))
        return not held or (held <= MAX_ISLAND_WORDS and 2 * (sizes[end] - sizes[start]) <= smaller)

    made: list[Block] = []
    for block in _joined(blocks):
        made.append(block)
        while len(made) > 2 and not made[-1].equal and tiny(*made[-3:]):
            change, _, following = made[-3:]
            made[-3:] = [Block(False, change.old_start, following.old_end, change.new_start, following.new_end)]
    return made
