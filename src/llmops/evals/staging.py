"""The order in which a comparison's cases run, and the looks at which it may end early."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmops.types import Case, Stopping

Placed = tuple[int, Case]


@dataclass(frozen=True)
class Stages:
    """Cases with their places in the dataset, in blocks; after each block `ended` says whether the answer is clear.

    `ended` gets the number of the look, from 0, and is asked after all variants have run the block.
    """

    blocks: tuple[tuple[Placed, ...], ...]
    ended: Callable[[int], bool]


@dataclass(frozen=True)
class Schedule:
    """Blocks of cases in random order, and for each look the level its intervals are made at.

    The levels are those of a two-sided Lan–DeMets boundary that spends `alpha` · t² (Kim & DeMets 1987), so that all
    looks together are wrong no more often than one at `alpha`.
    """

    blocks: tuple[tuple[Placed, ...], ...]
    levels: tuple[float, ...]

    def stopping(self, look: int) -> Stopping:
        """Where the comparison stands after a look (from 0)."""
        sizes = [len(block) for block in self.blocks]
        return Stopping(look + 1, len(sizes), sum(sizes[: look + 1]), sum(sizes))


def schedule(cases: Sequence[Case], *, alpha: float, most: int, seed: str) -> Schedule:
    """Blocks of at least 20 cases, at most `most` of them. A group's cases stay together."""
    from llmops.stats.sequential import boundary, looks, nominal_alpha

    order = shuffled(cases, seed)
    ends = _ends([case.group for _, case in order], looks(len(order), most))
    blocks = tuple(tuple(order[start:end]) for start, end in zip((0, *ends), ends, strict=False))
    fractions = [end / len(order) for end in ends]
    return Schedule(blocks, tuple(nominal_alpha(z) for z in boundary(fractions, alpha)))


def shuffled(cases: Sequence[Case], seed: str) -> list[Placed]:
    """A random order in which every tag is spread evenly and the cases of a group follow each other."""
    units: dict[object, list[Placed]] = {}
    for place, case in enumerate(cases):
        units.setdefault(("group", case.group) if case.group is not None else place, []).append((place, case))
    strata: dict[tuple[str, ...], list[list[Placed]]] = {}
    for unit in units.values():
        strata.setdefault(tuple(sorted(unit[0][1].tags)), []).append(unit)
    random_of = random.Random(seed)
    placed = list(_spread(strata, random_of))
    placed.sort(key=lambda pair: pair[0])
    return [one for _, unit in placed for one in unit]


def _spread(
    strata: dict[tuple[str, ...], list[list[Placed]]], random_of: random.Random
) -> Iterator[tuple[float, list[Placed]]]:
    for tags in sorted(strata):
        members = strata[tags]
        random_of.shuffle(members)
        shift = random_of.random()
        for place, unit in enumerate(members):
            yield (place + shift) / len(members), unit


def _ends(groups: Sequence[str | None], counts: Sequence[int]) -> tuple[int, ...]:
    """Where blocks end: at the looks' counts, or where the group that runs there ends."""
    ends: list[int] = []
    for count in counts:
        end = count
        while end < len(groups) and groups[end] is not None and groups[end] == groups[end - 1]:
            end += 1
        if not ends or end > ends[-1]:
            ends.append(end)
    return tuple(ends)
