"""How many cases one metric needs to show a drop, what a dataset shows, and the ways from one to the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.estimates import MIN_BINARY, MIN_CASES, MIN_GROUPS
from llmops.evals.spread import Spread, range_of
from llmops.stats.planning import (
    MOST_CASES,
    SEQUENTIAL_CAP,
    SEQUENTIAL_EXPECTED,
    best_repeats,
    bounded_floor,
    cases_needed,
)
from llmops.stats.sequential import expected_share, looks
from llmops.types import MetricInfo


@dataclass(frozen=True, slots=True)
class Way:
    """A way to notice the drop. `answers` is what a run then asks two variants for; on average, if it may stop."""

    kind: Literal["more cases", "early stopping", "repeats", "cases and repeats", "bigger drop"]
    cases: int
    repeats: int
    answers: int
    drop: float


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """What one metric needs. `drop` and `mde` are in the metric's unit.

    `mde` is the smallest drop that the dataset as it is reliably shows, None when it is too small for any verdict.
    `sequential` are the cases to have ready and those seen on average when a run stops once the answer is clear.
    """

    info: MetricInfo
    drop: float
    needed: int
    mde: float | None
    enough: bool
    spread: Spread
    sequential: tuple[int, int]
    ways: tuple[Way, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a dataset is enough for: `cases` in `groups` (None: each its own), `repeats` answers a case.

    `case_cost` is the price of one more case, in answers.
    """

    cases: int
    groups: int | None
    repeats: int
    settings: ComparisonSettings
    case_cost: float | None

    def plan(self, info: MetricInfo, drop: float, spread: Spread) -> MetricPlan:
        """The plan of one metric; `drop` is in its unit."""
        unit = range_of(info) or 1.0
        share = drop / unit
        bounded = range_of(info) is not None
        needed = self._needed(spread, share, self.repeats, bounded)
        mde = self._mde(spread, self.repeats, bounded)
        cap, expected = self._sequential(needed)
        enough = needed <= self.cases
        ways = [replace(way, drop=way.drop * unit) for way in self._ways(spread, share, needed, mde, bounded)]
        return MetricPlan(
            info, drop, needed, None if mde is None else mde * unit, enough, spread, (cap, expected),
            tuple(ways), tuple(self._notes(spread, needed)),
        )  # fmt: skip

    def _needed(self, spread: Spread, drop: float, repeats: float, bounded: bool) -> int:
        settings, effect = self.settings, self._effect(spread)
        wanted = cases_needed(spread.variance(drop, repeats), drop, settings.alpha, settings.power, effect)
        if spread.binary:
            wanted = max(wanted, MIN_BINARY)
        else:
            floor = math.ceil(bounded_floor(drop, alpha=settings.alpha) * effect) if bounded else 1
            wanted = max(wanted, floor, MIN_CASES)
        return math.ceil(wanted / spread.scored - 1e-9)

    def _effect(self, spread: Spread) -> float:
        return spread.design_effect or 1.0 if self.groups is not None else 1.0

    def _mde(self, spread: Spread, repeats: float, bounded: bool) -> float | None:
        """The smallest drop that the cases at hand are enough for."""
        high = 1.0 if bounded else 10 * math.sqrt(spread.variance(0.0, repeats) or 1.0)
        if self._needed(spread, high, repeats, bounded) > self.cases:
            return None
        low = 0.0
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            fits = self._needed(spread, middle, repeats, bounded) <= self.cases
            low, high = (low, middle) if fits else (middle, high)
        return high

    def _sequential(self, needed: int) -> tuple[int, int]:
        settings = self.settings
        most = len(looks(math.ceil(SEQUENTIAL_CAP * needed), settings.looks))
        cap, expected = SEQUENTIAL_CAP, SEQUENTIAL_EXPECTED
        if most != 10 or (settings.alpha, settings.power) != (0.05, 0.8):
            cost = expected_share(1.0, [look / most for look in range(1, most + 1)], settings.alpha, settings.power)
            cap, expected = cost.cap, cost.expected
        return math.ceil(cap * needed - 1e-4), math.ceil(expected * needed - 1e-4)

    def _ways(self, spread: Spread, drop: float, needed: int, mde: float | None, bounded: bool) -> Iterator[Way]:
        """The cheapest first; a bigger drop, which costs nothing, last."""
        repeats, (cap, expected) = self.repeats, self._sequential(needed)
        found = [Way("early stopping", cap, repeats, 2 * repeats * expected, drop)] if expected < needed else []
        if needed > self.cases:
            found.append(Way("more cases", needed, repeats, 2 * repeats * needed, drop))
            found += self._by_repeating(spread, drop, bounded)
        yield from sorted(found, key=lambda way: way.answers)
        if needed > self.cases and mde is not None:
            yield Way("bigger drop", self.cases, repeats, 2 * repeats * self.cases, mde)

    def _by_repeating(self, spread: Spread, drop: float, bounded: bool) -> Iterator[Way]:
        if not spread.within:
            return
        if self._needed(spread, drop, math.inf, bounded) <= self.cases:
            few, many = self.repeats, 2 * self.repeats
            while self._needed(spread, drop, many, bounded) > self.cases and many < 1024:
                few, many = many, 2 * many
            while many - few > 1:
                middle = (few + many) // 2
                few, many = (
                    (few, middle) if self._needed(spread, drop, middle, bounded) <= self.cases else (middle, many)
                )
            if self._needed(spread, drop, many, bounded) <= self.cases:
                yield Way("repeats", self.cases, many, 2 * many * self.cases, drop)
        if self.case_cost is not None:
            best = best_repeats(spread.between, spread.within, self.case_cost, 2.0)
            cases = self._needed(spread, drop, best, bounded)
            if best != self.repeats and cases > self.cases:
                yield Way("cases and repeats", cases, best, 2 * best * cases, drop)

    def _notes(self, spread: Spread, needed: int) -> Iterator[str]:
        if needed >= MOST_CASES:
            yield "no dataset is that large: ask for a bigger drop"
        if spread.scored < 0.95:
            yield f"{1 - spread.scored:.0%} of the questions have no score, and so tell nothing"
        if self.groups is None:
            return
        if self.groups < MIN_GROUPS:
            yield f"{self.cases:,} questions are in {self.groups} groups; a verdict needs at least {MIN_GROUPS}"
        if spread.design_effect is None:
            yield "questions are grouped, and no past run shows what that costs: it may take several times as many"
        elif spread.design_effect >= 1.05:
            yield f"grouped questions tell less: {spread.design_effect:.1f} of them count as one"
