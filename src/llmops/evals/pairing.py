"""The scores of two variants by case, from a run's sums: which cases pair up, and what stands for a failed answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmops.aggregate import Aggregate
from llmops.evals.comparison_rules import MEASURES
from llmops.evals.estimates import Codes, Noise, Numbers, Paired, clusters
from llmops.types import MetricInfo, MetricKind

LARGEST = 1e120  # of a score: squares of differences are summed

COST = "cost_per_case"


def paired(
    aggregate: Aggregate,
    baseline: str,
    candidate: str,
    info: MetricInfo,
    ids: Sequence[str] | None = None,
    kind: MetricKind | None = None,
) -> Paired:
    """The cases that both variants ran and this metric scores. A failed answer counts as the metric's worst value.

    `ids` are the table's, for who has them already. The pairs are in the order of their ids, so that nothing depends on
    which answer came first.
    """
    ids = aggregate.ids if ids is None else ids
    sides = [_Side(aggregate, name, info) for name in (baseline, candidate)]
    ran = (sides[0].trials > 0) & (sides[1].trials > 0)
    failed_a, failed_b = (side.error_share(ran) for side in sides)
    if is_measure(aggregate, baseline, info.name):  # failed answers have no time: what is left may be the quick ones
        a, b = (_measured(aggregate, name, info.name) for name in (baseline, candidate))
        pairs = _pairs(aggregate, ids, a, b, _places(aggregate, ~np.isnan(a) & ~np.isnan(b)))
        lacking = [_unpriced(side, ran, v) if info.name == COST else 0 for side, v in zip(sides, (a, b), strict=True)]
        return replace(pairs, failed_a=failed_a, failed_b=failed_b, unscored_a=lacking[0], unscored_b=lacking[1])
    worst = _worst(info, sides, kind)
    a, b = (side.values(worst) for side in sides)
    scored = ran & ~np.isnan(a) & ~np.isnan(b)
    judged = ran & ((sides[0].counts > 0) | (sides[1].counts > 0))
    places = _places(aggregate, scored & judged)
    pairs = _pairs(aggregate, ids, a, b, places)
    return replace(
        pairs,
        errors_a=int(np.count_nonzero(sides[0].errors[places])),
        errors_b=int(np.count_nonzero(sides[1].errors[places])),
        failed_a=failed_a,
        failed_b=failed_b,
        unscored_a=int(np.count_nonzero(judged & np.isnan(a))),
        unscored_b=int(np.count_nonzero(judged & np.isnan(b))),
        noise=_noise(sides, places),
    )


def is_measure(aggregate: Aggregate, variant: str, name: str) -> bool:
    """True for seconds, tokens and dollars, unless a metric has such a name."""
    return name in MEASURES and name not in aggregate.columns(variant).scores


def _places(aggregate: Aggregate, chosen: Any) -> Codes:
    order = np.asarray(aggregate.order, dtype=np.int64)
    places: Codes = order[chosen[order]]
    return places


def _pairs(aggregate: Aggregate, ids: Sequence[str], a: Numbers, b: Numbers, places: Codes) -> Paired:
    codes = np.asarray(aggregate.groups, dtype=np.int64)
    return Paired(_Chosen(ids, places), a[places], b[places], clusters(codes[places]), places=places)


class _Chosen(Sequence[str]):
    """Some of the ids: only those that are named are looked up."""

    def __init__(self, ids: Sequence[str], places: Codes) -> None:
        self._ids, self._places = ids, places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return (self._ids[i] for i in self._places.tolist())

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self._ids[i] for i in self._places[place].tolist()]
        return self._ids[self._places[place]]


class _Side:
    """One variant's sums by case, all of one length."""

    def __init__(self, aggregate: Aggregate, variant: str, info: MetricInfo) -> None:
        columns = aggregate.columns(variant)
        scores = columns.scores.get(info.name)
        size = aggregate.total_cases
        self.trials = _full(columns.trials, size)
        self.errors = _full(columns.errors, size) + _full(scores.failed if scores else (), size)
        self.sums = _full(scores.sums if scores else (), size)
        self.squares = _full(scores.squares if scores else (), size)
        self.counts = _full(scores.counts if scores else (), size)

    def values(self, worst: float) -> Numbers:
        total = self.counts + self.errors
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Numbers = np.where(total > 0, (self.sums + self.errors * worst) / total, np.nan)
            return np.where(np.abs(means) < LARGEST, means, np.nan)

    def error_share(self, ran: Any) -> float:
        return float((self.errors[ran] / self.trials[ran]).mean()) if ran.any() else 0.0


def _full(values: Any, size: int) -> Numbers:
    made = np.zeros(size)
    made[: len(values)] = values
    return made


def _worst(info: MetricInfo, sides: Sequence[_Side], kind: MetricKind | None) -> float:
    """The worst value the metric can give; the worst seen where it has no bound, or scores are beyond it."""
    seen = np.concatenate([side.sums[side.counts > 0] / side.counts[side.counts > 0] for side in sides])
    if kind == "preference":  # who won: by a sign on one side, or by 1 against 0
        signed = bool((seen < 0).any()) or any(not side.sums.any() for side in sides)
        return -1.0 if signed else 0.0
    lower = info.direction == "lower"
    bound = info.high if lower else info.low
    found = [] if bound is None else [float(bound)]
    if len(seen):
        found.append(float(seen.max() if lower else seen.min()))
    return (max(found) if lower else min(found)) if found else 0.0


def _noise(sides: Sequence[_Side], places: Any) -> Noise | None:
    """What the answers' randomness alone does to the mean difference; None unless every case has repeats."""
    total = weighed = 0.0
    for side in sides:
        counts, sums = side.counts[places], side.sums[places]
        if not len(counts) or counts.min() < 2:
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # squares of huge scores
            spread = np.maximum(side.squares[places] - sums * sums / counts, 0) / (counts - 1)
            total += float((spread / counts).sum())
            weighed += float((spread * spread / (counts * counts * (counts - 1))).sum())
    return Noise(total / len(places) ** 2, total * total / weighed if weighed else math.inf)


def _measured(aggregate: Aggregate, variant: str, name: str) -> Numbers:
    columns, size = aggregate.columns(variant), aggregate.total_cases
    taken = {
        "tokens_per_case": (columns.tokens, columns.counted),
        COST: (columns.dollars, columns.priced),
    }.get(name, (columns.seconds, columns.timed))
    sums, counts = (_full(column, size) for column in taken)
    known = counts > 0
    if name == COST:  # an answer without a price may be the dear one
        known &= counts >= _full(columns.trials, size) - _full(columns.errors, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, sums / counts, np.nan)


def _unpriced(side: _Side, ran: Any, values: Numbers) -> int:
    """Cases that were answered and have no cost."""
    return int(np.count_nonzero(ran & (side.trials > side.errors) & np.isnan(values)))


def cases_of(aggregate: Aggregate, baseline: str, candidate: str) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """How many cases both ran, and the ids of those that only the baseline or only the candidate ran."""
    a, b = (_full(aggregate.columns(name).trials, aggregate.total_cases) > 0 for name in (baseline, candidate))
    ids = aggregate.ids if (a != b).any() else []
    alone = [tuple(ids[i] for i in _places(aggregate, one).tolist()) if ids else () for one in (a & ~b, b & ~a)]
    return int((a & b).sum()), alone[0], alone[1]
