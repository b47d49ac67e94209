"""Which message became which, and what changed in its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmops.prompts.comparison.words import Segment, line_blocks, tokens, word_diff
from llmops.prompts.parsing import Role

Texts = Sequence[tuple[Role, str]]
Pair = tuple[int | None, int | None]
MAX_PAIRS = 10_000  # of messages compared with each other for likeness
LEAST_LIKENESS = 0.4
SAMPLE = 2000  # characters of a message that its likeness is judged by


@dataclass(frozen=True, slots=True)
class MessageChange:
    """A message that changed, was added or was removed. Places count from 1; 0 where it doesn't exist.

    `segments` lead from the old text to the new one (see `word_diff`): one deletion for a message that was removed,
    one insertion for one that was added.
    """

    kind: Literal["changed", "added", "removed"]
    role: Role
    old_place: int
    new_place: int
    segments: tuple[Segment, ...]

    def to_json(self) -> dict[str, Any]:
        """The change as plain JSON data."""
        return {
            "kind": self.kind,
            "role": self.role,
            "old_place": self.old_place,
            "new_place": self.new_place,
            "segments": [{"op": op, "text": text} for op, text in self.segments],
        }


def message_changes(old: Texts, new: Texts) -> tuple[MessageChange, ...]:
    """Differences of two lists of messages, in order.

    Messages are matched when they are equal, else when they have the same role and much the same words, else when
    they are all there is of their role between two matches.
    """
    return tuple(_change(old, new, *pair) for pair in _matched(old, new) if not _equal(old, new, *pair))


def _equal(old: Texts, new: Texts, i: int | None, j: int | None) -> bool:
    return i is not None and j is not None and tuple(old[i]) == tuple(new[j])


def _change(old: Texts, new: Texts, i: int | None, j: int | None) -> MessageChange:
    before, after = "" if i is None else old[i][1], "" if j is None else new[j][1]
    kind: Literal["changed", "added", "removed"] = "added" if i is None else "removed" if j is None else "changed"
    role = old[i][0] if i is not None else new[j or 0][0]
    places = (0 if i is None else i + 1, 0 if j is None else j + 1)
    return MessageChange(kind, role, *places, word_diff(before, after))


def _matched(old: Texts, new: Texts) -> Iterator[Pair]:
    """Places in both lists, each once, in order; None where there is no counterpart."""
    for block in line_blocks(*([f"{role}:{text}" for role, text in side] for side in (old, new))):
        before, after = range(block.old_start, block.old_end), range(block.new_start, block.new_end)
        if block.equal:
            yield from zip(before, after, strict=True)
        else:
            yield from _between(old, new, before, after)


def _between(old: Texts, new: Texts, before: range, after: range) -> Iterator[Pair]:
    """Match messages of which none is equal."""
    i, j = before.start, after.start
    for i_next, j_next in [*_most_alike(old, new, before, after), (before.stop, after.stop)]:
        yield from _by_role(old, new, range(i, i_next), range(j, j_next))
        if i_next < before.stop:
            yield i_next, j_next
        i, j = i_next + 1, j_next + 1


def _most_alike(old: Texts, new: Texts, before: range, after: range) -> list[tuple[int, int]]:
    """Pairs in order of which the likenesses sum up to the most (the usual alignment by dynamic programming)."""
    if not before or not after or len(before) * len(after) > MAX_PAIRS:
        return []
    old_words, new_words = {i: _words(old[i][1]) for i in before}, {j: _words(new[j][1]) for j in after}
    best = [[0.0] * (len(after) + 1) for _ in range(len(before) + 1)]
    alike = [[0.0] * len(after) for _ in before]
    for a in reversed(range(len(before))):
        for b in reversed(range(len(after))):
            i, j = before[a], after[b]
            if old[i][0] == new[j][0]:
                alike[a][b] = _likeness(old_words[i], new_words[j])
            best[a][b] = max(best[a + 1][b], best[a][b + 1], alike[a][b] + best[a + 1][b + 1])
    found, a, b = [], 0, 0
    while a < len(before) and b < len(after):
        if alike[a][b] and best[a][b] == alike[a][b] + best[a + 1][b + 1]:
            found.append((before[a], after[b]))
            a, b = a + 1, b + 1
        elif best[a][b] == best[a + 1][b]:
            a += 1
        else:
            b += 1
    return found


def _words(text: str) -> Counter[str]:
    return Counter(word for word in tokens(text[:SAMPLE]) if not word.isspace())


def _likeness(old: Counter[str], new: Counter[str]) -> float:
    """Share of words both have (Dice's coefficient of the two bags), 0 when it is too small to mean anything."""
    whole = old.total() + new.total()
    both = sum(min(count, new[word]) for word, count in old.items() if word in new)
    share = 2 * both / whole if whole else 0.0
    return share if share >= LEAST_LIKENESS else 0.0


def _by_role(old: Texts, new: Texts, before: range, after: range) -> Iterator[Pair]:
    """Match what is left between two matches when both sides have the same roles in the same order."""
    if [old[i][0] for i in before] == [new[j][0] for j in after]:
        yield from zip(before, after, strict=True)
        return
    yield from ((i, None) for i in before)
    yield from ((None, j) for j in after)
