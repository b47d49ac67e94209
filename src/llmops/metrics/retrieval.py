"""Retrieval metrics: the ids of an output's contexts, in order, against a case's relevant ids and grades.

Definitions are trec_eval's: an id is relevant when its grade is above 0; precision@k divides by k even when fewer
were retrieved; nDCG uses the grade itself as gain and log2(rank + 1) as discount, against the ideal order of
everything relevant. An id that is retrieved again is dropped, so that later ones move up. A passage without an
id takes a rank and is never relevant.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from llmops.errors import InputError
from llmops.types import MetricInfo, Sample, Score

UNJUDGED = Score.unscored("the case has no relevant ids")
NOTHING_RELEVANT = Score.unscored("nothing is relevant for this case")
WITHOUT_IDS = Score.unscored("the retrieved contexts have no ids")
NOTHING_RETRIEVED = "nothing was retrieved"


class _Retrieval(ABC):
    """Gets the ranking as grades (0 for what isn't relevant) and the grades of all that is relevant."""

    _name = ""
    _description = ""

    def __init__(self, k: Any = None) -> None:
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise InputError(f"{self._name}: k is {k!r}, not a whole number of 1 or more"[:200])
        self.k: int | None = k
        name = self._name if k is None else f"{self._name}@{k}"
        within = "" if k is None else f" in the first {k}"
        self.info = MetricInfo(name, description=self._description.format(within=within))

    def score(self, sample: Sample) -> Score:
        judged = sample.case.relevant
        if judged is None:
            return UNJUDGED
        relevant = sorted((grade for grade in judged.values() if grade > 0), reverse=True)
        if not relevant:
            return NOTHING_RELEVANT
        contexts = sample.output.contexts
        if not contexts:
            return Score(0.0, NOTHING_RETRIEVED)
        if not any(context.id for context in contexts):
            return WITHOUT_IDS
        return Score(self.measure(graded_ranking([c.id for c in contexts], judged), relevant))

    @abstractmethod
    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        """`ranking`: grade of each retrieved passage, best first; `relevant`: all grades above 0, falling."""


def graded_ranking(ids: list[str], judged: Mapping[str, float]) -> list[float]:
    """The grade of each id in order, 0 where it isn't relevant; an id seen before is dropped."""
    seen: set[str] = set()
    ranking: list[float] = []
    for identifier in ids:
        if identifier and identifier in seen:
            continue
        seen.add(identifier)
        ranking.append(max(judged.get(identifier, 0.0), 0.0) if identifier else 0.0)
    return ranking


class Hit(_Retrieval):
    """1 when something relevant was retrieved (trec_eval: success)."""

    _name = "hit"
    _description = "something relevant was retrieved{within}"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return float(any(ranking[: self.k]))


class Precision(_Retrieval):
    """Share of the first k that is relevant (trec_eval: P_k); without k, of all retrieved (set_P)."""

    _name = "precision"
    _description = "share of what was retrieved{within} that is relevant"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return _count(ranking[: self.k]) / (self.k or len(ranking))


class Recall(_Retrieval):
    """Share of everything relevant that is among the first k (trec_eval: recall_k)."""

    _name = "recall"
    _description = "share of what is relevant that was retrieved{within}"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return _count(ranking[: self.k]) / len(relevant)


class F1(_Retrieval):
    """Harmonic mean of `precision` and `recall` with the same k."""

    _name = "f1"
    _description = "harmonic mean of precision and recall of what was retrieved{within}"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return 2 * _count(ranking[: self.k]) / ((self.k or len(ranking)) + len(relevant))


class Mrr(_Retrieval):
    """1 / rank of the first relevant passage, 0 when there is none (trec_eval: recip_rank)."""

    _name = "mrr"
    _description = "1 / rank of the first relevant passage{within}"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return next((1 / rank for rank, grade in enumerate(ranking[: self.k], 1) if grade), 0.0)


class AveragePrecision(_Retrieval):
    """Precision at each relevant passage's rank, summed and divided by all relevant (trec_eval: map, map_cut_k)."""

    _name = "map"
    _description = "average precision over the relevant passages{within}"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        found, total = 0, 0.0
        for rank, grade in enumerate(ranking[: self.k], 1):
            if grade:
                found += 1
                total += found / rank
        return total / len(relevant)


class Ndcg(_Retrieval):
    """Discounted cumulative gain over that of the ideal order (trec_eval: ndcg_cut_k, ndcg without k)."""

    _name = "ndcg"
    _description = "graded gain{within}, discounted by rank, over that of the ideal order"

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return _gain(ranking[: self.k]) / _gain(relevant[: self.k])


class RPrecision(_Retrieval):
    """Precision at the rank that equals the number of relevant passages (trec_eval: Rprec)."""

    _name = "r_precision"
    _description = "precision at the number of relevant passages"

    def __init__(self) -> None:
        super().__init__()

    def measure(self, ranking: list[float], relevant: list[float]) -> float:
        return _count(ranking[: len(relevant)]) / len(relevant)


def _count(ranking: list[float]) -> int:
    return sum(1 for grade in ranking if grade)


def _gain(grades: list[float]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1) if grade)
