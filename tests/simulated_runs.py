"""Simulated runs: scores put into a run's statistics, and its own decision taken, look after look.

`SimulatedRun` does what `Stepping` does with a suite's results, with columns filled by the array instead of trial by
trial; `tests/test_simulations.py` checks that both end at the same look with the same verdicts.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from llmops.aggregate import Aggregate
from llmops.deciding import Level, Rules, conclude, is_clear
from llmops.evals import estimates
from llmops.evals.comparison_rules import ComparisonGate, ComparisonSettings
from llmops.evals.comparisons import LabelsFor
from llmops.evals.staging import Schedule, schedule
from llmops.types import Case, Comparison, MetricComparison, MetricInfo
from simulations import Numbers

OLD, NEW = "old", "new"
USUAL = ComparisonSettings()


@dataclass(frozen=True)
class Trials:
    """One side's scores of one metric by case: the means of `repeats` answers, and the means of their squares."""

    means: Numbers
    squares: Numbers | None = None
    repeats: int = 1


@dataclass(frozen=True)
class Ended:
    """How a run ended: its comparison after `cases` of its cases."""

    comparison: Comparison
    cases: int

    @property
    def guards(self) -> tuple[MetricComparison, ...]:
        return tuple(metric for metric in self.comparison.metrics if metric.guard)

    @property
    def regressed(self) -> bool:
        """True when any guard metric regressed: the build is red."""
        return any(metric.verdict == "regressed" for metric in self.guards)

    @property
    def passed(self) -> bool:
        """True when every guard metric improved or has no meaningful drop."""
        return all(metric.verdict in ("improved", "equivalent") for metric in self.guards)


class SimulatedRun:
    """A suite with a baseline, guard metrics with their margins, and cases that are the same in every run."""

    def __init__(
        self,
        margins: Mapping[MetricInfo, float],
        cases: Sequence[Case],
        *,
        early_stop: bool = False,
        settings: ComparisonSettings = USUAL,
    ) -> None:
        infos = tuple(margins)
        wanted = tuple((info.name, repr(margin)) for info, margin in margins.items())
        gate = ComparisonGate("no-regression", "no-regression", wanted)
        self.rules = Rules(infos, (NEW,), (), (gate,), ((NEW, OLD),), settings)
        self.schedule: Schedule | None = None
        order = list(cases)
        if early_stop:
            self.schedule = schedule(cases, alpha=settings.alpha, most=settings.looks, seed="simulated")
            order = [case for block in self.schedule.blocks for _, case in block]
        self.cases = order
        self.aggregate = Aggregate([info.name for info in infos])
        for case in order:
            self.aggregate.place(case)

    def end(self, old: Mapping[str, Trials], new: Mapping[str, Trials], labels: LabelsFor | None = None) -> Ended:
        """Run: scores are in the order of `cases`. Ends at the look at which the answer is clear."""
        with mock.patch.object(estimates, "FEW", 0):  # no sign-flip test: it is only shown, and takes the most time
            for look, cases in enumerate(self._ends()):
                self._fill(OLD, old, cases)
                self._fill(NEW, new, cases)
                level = self.level(look)
                if cases < len(self.cases) and is_clear(self.rules, self.aggregate, level, labels=labels):
                    break
            comparisons, _ = conclude(self.rules, self.aggregate, level, labels=labels)
        return Ended(comparisons[0], cases)

    def level(self, look: int) -> Level:
        """The level of a look, as `Stepping.level` has it."""
        if self.schedule is None:
            return Level()
        return Level(self.schedule.levels[look], self.schedule.stopping(look))

    def _ends(self) -> list[int]:
        if self.schedule is None:
            return [len(self.cases)]
        return [self.schedule.stopping(look).cases for look in range(len(self.schedule.blocks))]

    def _fill(self, variant: str, metrics: Mapping[str, Trials], cases: int) -> None:
        columns = self.aggregate.filled(variant)
        repeats = next(iter(metrics.values())).repeats
        columns.trials = array("I", [repeats]) * cases
        columns.errors = array("I", [0]) * cases
        for name, trials in metrics.items():
            scores, squares = columns.scores[name], trials.means**2 if trials.squares is None else trials.squares
            scores.sums = _floats(trials.means[:cases] * trials.repeats)
            scores.squares = _floats(squares[:cases] * trials.repeats)
            scores.counts = array("I", [trials.repeats]) * cases
            scores.failed = array("I", [0]) * cases


def plain_cases(count: int) -> list[Case]:
    """Cases that stand on their own."""
    return [Case(str(i), {}) for i in range(count)]


def grouped_cases(groups: NDArray[np.int64]) -> list[Case]:
    """Cases of documents, one code a case."""
    return [Case(str(i), {}, group=f"document {code}") for i, code in enumerate(groups.tolist())]


def _floats(values: Numbers) -> array[float]:
    made = array("d")
    made.frombytes(np.ascontiguousarray(values, dtype=float).tobytes())
    return made


@dataclass
class Tally:
    """Shares of runs that ended red or green, and the mean number of cases they took."""

    runs: int = 0
    red: int = 0
    green: int = 0
    cases: int = 0

    def add(self, ended: Ended) -> None:
        self.runs += 1
        self.red += ended.regressed
        self.green += ended.passed
        self.cases += ended.cases

    @property
    def regressed(self) -> float:
        return self.red / self.runs

    @property
    def passed(self) -> float:
        return self.green / self.runs

    @property
    def mean_cases(self) -> float:
        return self.cases / self.runs


def tally(repetitions: int, one: Callable[[], Ended]) -> Tally:
    """Run so often."""
    found = Tally()
    for _ in range(repetitions):
        found.add(one())
    return found
