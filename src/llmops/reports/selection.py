"""Which cases are worth reading: large differences between variants first, then bad scores and errors."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmops.reports.summary import Summary
from llmops.types import Case, MetricInfo, Result, Results


@dataclass(slots=True)
class CaseView:
    """A case with what every variant answered, repeats in order."""

    case: Case
    results: dict[str, list[Result]] = field(default_factory=dict)


def worth_reading(summary: Summary, results: Results, limit: int) -> list[CaseView]:
    """Up to `limit` cases, the most telling first. Reads the results once more.

    Cases are ranked by the first metric with a direction: by the gap between variants when there are
    several, then by how bad the scores are. Up to two in five are cases that failed. Cases every variant
    got fully right aren't worth reading.
    """
    ranking = Ranking(summary)
    failed = heapq.nsmallest(limit, ranking.failed(), key=ranking.key)
    telling = heapq.nsmallest(limit, ranking.telling(), key=ranking.key)
    places = telling[: limit - min(len(failed), 2 * limit // 5)]
    for place in (*failed, *telling):
        if len(places) < limit and place not in places:
            places.append(place)
    return collect(summary, results, sorted(places, key=ranking.key))


def collect(summary: Summary, results: Iterable[Result], places: list[int]) -> list[CaseView]:
    """The cases at these places of the aggregate, in this order. Reads the results once."""
    wanted = set(places)
    narrow = getattr(results, "of_cases", None)  # a store finds a few cases without reading all
    ids = summary.aggregate.case_ids(wanted) if narrow is not None and places else None
    if narrow is not None and ids is not None:
        results = narrow(ids)
    found: dict[int, CaseView] = {}
    for result in results:
        place = summary.aggregate.index(result.case.id)
        if place in wanted and place is not None:
            view = found.setdefault(place, CaseView(result.case))
            view.results.setdefault(result.variant, []).append(result)
    for view in found.values():
        for repeats in view.results.values():
            repeats.sort(key=lambda result: result.repeat)
    return [found[place] for place in places if place in found]


class Ranking:
    """Orders cases by how much reading them tells."""

    def __init__(self, summary: Summary) -> None:
        self.metric: MetricInfo | None = summary.leading_metric
        aggregate, names = summary.aggregate, summary.aggregate.variants
        self._columns = [aggregate.column(name, self.metric.name) for name in names] if self.metric else []
        self._errors = [aggregate.error_counts(name) for name in names]
        self._cases = aggregate.total_cases
        self._sign = -1.0 if self.metric and self.metric.direction == "lower" else 1.0

    def key(self, place: int) -> tuple[float, float, int, int]:
        """Sorts the most telling case first: gap, badness, errors, then the order of the run."""
        values = self._values(place)
        gap = max(values) - min(values) if len(values) > 1 else 0.0
        badness = self._sign * sum(values) / len(values) if values else math.inf
        return (-gap, badness, -sum(column[place] for column in self._errors), place)

    def failed(self) -> Iterable[int]:
        """Cases with a failed trial in any variant."""
        return (i for i in range(self._cases) if any(column[i] for column in self._errors))

    def telling(self) -> Iterable[int]:
        """Scored cases, but those every variant got fully right."""
        return (i for i in range(self._cases) if self._values(i) and not self._perfect(i))

    def order(self, limit: int, *, seed: str) -> list[int]:
        """Up to `limit` cases, the most telling first; if there are more, half is a random draw of the rest."""
        if self._cases <= limit:
            return sorted(range(self._cases), key=self.key)
        worst = heapq.nsmallest(limit // 2, range(self._cases), key=self.key)
        taken = set(worst)
        rest = [i for i in range(self._cases) if i not in taken]
        return worst + sorted(random.Random(seed).sample(rest, limit - len(worst)), key=self.key)

    def _values(self, place: int) -> list[float]:
        return [column[place] for column in self._columns if not math.isnan(column[place])]

    def _perfect(self, place: int) -> bool:
        best = self.metric and (self.metric.high if self.metric.direction == "higher" else self.metric.low)
        return best is not None and all(value == best for value in self._values(place))
