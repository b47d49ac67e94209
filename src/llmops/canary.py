"""A few of the baseline's cached answers asked again: has the provider changed behind the cache?"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmops.aggregate import Aggregate
from llmops.deciding import Rules, conclude, guarding_all
from llmops.evals.runner import Round
from llmops.evals.staging import Placed
from llmops.types import MetricComparison, Result

FIRST_REPEAT = 1_000_000  # of requests no cache knows: each run draws its own
THEN, NOW = "as cached", "asked again"
FEWEST = 20


class Canary:
    """Remembers which cases a baseline answered from the cache while its candidate was asked anew.

    `share` of these are asked again, at least 20 where there are as many, with the run's id as the seed.
    """

    def __init__(self, rules: Rules, share: float, seed: str) -> None:
        self._rules = rules
        self._share = share if rules.metrics else 0.0
        self._seed = seed
        self._kept: dict[str, dict[str, tuple[Placed, Result]]] = {baseline: {} for _, baseline in rules.pairs}
        self._fresh: dict[str, set[str]] = {candidate: set() for candidate, _ in rules.pairs}
        self._found: dict[str, Aggregate] = {}

    def see(self, result: Result, position: int) -> None:
        """Note an answer of the run."""
        if not self._share or result.repeat or result.output.error is not None:
            return
        if result.variant in self._kept and result.output.cached:
            self._kept[result.variant][result.case.id] = ((position, result.case), result)
        elif result.variant in self._fresh and not result.output.cached:
            self._fresh[result.variant].add(result.case.id)

    def rounds(self) -> list[Round]:
        """What to ask again. Nothing, where a candidate's answers came from the cache too."""
        return [one for candidate, baseline in self._rules.pairs for one in self._round(candidate, baseline)]

    def _round(self, candidate: str, baseline: str) -> list[Round]:
        kept = self._kept[baseline]
        drawing = random.Random(f"{self._seed} {baseline}")
        cases = sorted(case for case in kept if case in self._fresh[candidate])
        if not cases or not self._share:
            return []
        chosen = drawing.sample(cases, min(len(cases), max(FEWEST, math.ceil(self._share * len(cases)))))
        found = self._found[candidate] = Aggregate([info.name for info in self._rules.metrics])
        for case in chosen:
            found.add(replace(kept[case][1], variant=THEN))
        repeat = FIRST_REPEAT + drawing.randrange(2**40)
        placed = tuple(kept[case][0] for case in chosen)

        def take(result: Result) -> None:
            found.add(replace(result, variant=NOW, repeat=0))

        return [Round(placed, range(repeat, repeat + 1), frozenset({baseline}), take)]

    def notes(self, candidate: str) -> list[str]:
        """What came out, for the report of a candidate's comparison."""
        found = self._found.get(candidate)
        if found is None or NOW not in found.variants:
            return []
        pairs = ((NOW, THEN),)
        rules = guarding_all(replace(self._rules, candidates=(NOW,), pairs=pairs, gates=(), comparison_gates=()))
        comparisons, _ = conclude(rules, found)
        moved = [m for m in comparisons[0].metrics if m.guard and m.verdict in ("regressed", "improved")]
        asked = f"{found.cases(NOW)} of the baseline's cached answers were asked again"
        if not moved:
            return [f"{asked}: no drift of the provider seen"]
        return [f"{asked}, and {_told(moved)}: the cache is out of date, run once with --refresh"]


def _told(moved: Sequence[MetricComparison]) -> str:
    means: Mapping[str, str] = {m.metric: f"{m.mean_a:.3g} → {m.mean_b:.3g}" for m in moved}
    return ", ".join(f"{name} went {change}" for name, change in means.items())
