"""A variant's sums by case, in compact arrays: what every statistic is made of."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

from llmops.types import Result, Score, Usage

NANO = 1_000_000_000
MAX_DISTINCT = 200
OTHER = "other reasons"
FAILED = "the case failed"


class Scores:
    """One metric of one variant: sums and counts over repeats by case, and why a case has no score."""

    __slots__ = ("counts", "failed", "reasons", "squares", "sums", "why")

    def __init__(self) -> None:
        self.sums, self.squares = array("d"), array("d")
        self.counts: array[int] = array("I")
        self.failed: array[int] = array("I")  # trials in which this metric alone has a failed answer
        self.why: array[int] = array("B")
        self.reasons: dict[str, int] = {}

    @property
    def arrays(self) -> list[array[int] | array[float]]:
        return [self.sums, self.squares, self.counts, self.failed, self.why]

    def add(self, place: int, score: Score | None, failed: bool) -> None:
        value, reason = _number(score, failed)
        if value is not None:
            self.sums[place] += value
            self.squares[place] += value * value
            self.counts[place] += 1
        elif not self.why[place]:
            if reason not in self.reasons and len(self.reasons) >= MAX_DISTINCT:
                reason = OTHER
            self.why[place] = self.reasons.setdefault(reason, len(self.reasons) + 1)


class Columns:
    """One variant: an item a case in each array."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.trials: array[int] = array("I")
        self.errors: array[int] = array("I")
        self.seconds: array[float] = array("d")
        self.timed: array[int] = array("I")
        self.first: array[float] = array("d")  # seconds to the first token
        self.streamed: array[int] = array("I")
        self.tokens: array[float] = array("d")
        self.counted: array[int] = array("I")
        self.dollars: array[float] = array("d")
        self.priced: array[int] = array("I")
        self.scores = {metric: Scores() for metric in metrics}
        self.kinds: Counter[str] = Counter()
        self.usage = Usage()
        self.cached = 0
        self._arrays: list[array[int] | array[float]] = [self.trials, self.errors, self.seconds]
        self._arrays += [self.timed, self.first, self.streamed, self.tokens, self.counted, self.dollars, self.priced]
        for scores in self.scores.values():
            self._arrays += scores.arrays

    def add(self, place: int, result: Result) -> None:
        self.reach(place)
        output = result.output
        self.trials[place] += 1
        if output.error is not None:
            self.errors[place] += 1
            kind = output.error.kind[:100]
            self.kinds[kind if kind in self.kinds or len(self.kinds) < MAX_DISTINCT else "other"] += 1
        elif output.latency_s is not None and math.isfinite(output.latency_s):
            self.seconds[place] += output.latency_s
            self.timed[place] += 1
            first = output.metadata.get("first_token_s")
            if type(first) is float and 0 <= first < math.inf:
                self.first[place] += first
                self.streamed[place] += 1
        self._count_tokens(place, output.usage, output.cached)
        if output.error is None:
            self._count_dollars(place, output.usage)
        for name, scores in self.scores.items():
            scores.add(place, result.scores.get(name), output.error is not None)

    def expect(self, names: Iterable[str]) -> None:
        """Make room for metrics, so that they are counted."""
        for name in names:
            if name not in self.scores:
                self._new(name)

    def _new(self, name: str) -> Scores:
        made = self.scores[name] = Scores()
        for column in made.arrays:
            column.frombytes(bytes(len(self.trials) * column.itemsize))
        self._arrays += made.arrays
        return made

    def reach(self, place: int) -> None:
        """Make room for the cases up to the one at `place`."""
        if place >= len(self.trials):
            missing = place + 1 - len(self.trials)
            for column in self._arrays:
                column.frombytes(bytes(missing * column.itemsize))

    def _count_tokens(self, place: int, usage: Usage, cached: bool) -> None:
        if usage.certainty != "unknown" or usage.total_tokens:
            self.tokens[place] += usage.total_tokens
            self.counted[place] += 1
        if cached:
            self.cached += 1
        else:
            self.usage = self.usage + usage

    def _count_dollars(self, place: int, usage: Usage) -> None:
        """What an answer costs; a trial that failed has none."""
        if usage.cost is not None and not usage.unpriced:
            self.dollars[place] += usage.cost / NANO
            self.priced[place] += 1


def _number(score: Score | None, failed: bool) -> tuple[float | None, str]:
    if score is None:
        return None, FAILED if failed else "no score"
    if score.value is None:
        return None, score.reason[:200] or "no reason given"
    try:
        value = float(score.value)
    except OverflowError:
        value = math.inf
    return (value, "") if math.isfinite(value) else (None, "the score isn't a finite number")
