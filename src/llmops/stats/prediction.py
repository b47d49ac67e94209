"""Differences measured by a judge, corrected by labels from people (prediction-powered inference)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops.stats.special import t_quantile, t_tail

Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """A mean difference with its interval; `weight` is how much the judge counts (0 to 1), `labelled` the pairs used.

    `p` is two-sided, for a difference of 0. `df` belongs to Student's t.
    """

    mean: float
    se: float
    df: float
    lo: float
    hi: float
    p: float
    weight: float
    labelled: int


@dataclass(frozen=True, slots=True)
class BiasTest:
    """The mean of people minus judge over `n` labels, its interval, and the two-sided p-value that it is 0."""

    mean: float
    se: float
    df: float
    lo: float
    hi: float
    p: float
    n: int


def ppi(
    human: Values,
    judge: Values,
    judge_unlabelled: Values,
    alpha: float = 0.05,
    *,
    groups: Sequence[int] | NDArray[np.int64] | None = None,
) -> PredictionPowered:
    """PPI++ for a mean difference: what the judge says of every case, corrected where people spoke too.

    `human` and `judge` are the differences (candidate minus baseline) of m labelled pairs, in one order;
    `judge_unlabelled` those of N further pairs that only the judge saw. The labelled pairs must be a random sample.

    weight λ = clip(Cov(H, J) / ((1 + m/N) Var(J)), 0, 1); mean = λ mean(J_unlabelled) + mean(H − λJ);
    SE² = λ² Var(J_unlabelled)/N + Var(H − λJ)/m; interval by t with m − 1 degrees of freedom.
    (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453.) With λ = 0 it is the paired t-test on the labels alone.
    With `groups`, codes of the labelled pairs' clusters and then of the others', what each pair moves the mean by is
    summed by cluster first: SE² = G/(G − 1) Σ S_g², by t with one degree of freedom less than there are clusters with
    labels. Raises `ValueError` for fewer than 2 labelled pairs, lists of different lengths, or labels of one cluster.
    """
    h, j = _paired(human, judge)
    others = _finite(judge_unlabelled)
    weight = _weight(h, j, others.size)
    rectified = h - weight * j
    mean, variance = float(rectified.mean()), float(rectified.var(ddof=1)) / h.size
    if weight:
        mean += weight * float(others.mean())
        variance += weight**2 * float(others.var(ddof=1)) / others.size
    df = h.size - 1
    if groups is not None:
        moves = (rectified - rectified.mean()) / h.size
        moves = np.concatenate((moves, weight * (others - others.mean()) / others.size)) if others.size else moves
        variance, df = _clustered(moves, np.asarray(groups), h.size)
    se = math.sqrt(variance)
    lo, hi, p = _t_interval(mean, se, df, alpha)
    return PredictionPowered(mean, se, df, lo, hi, p, weight, h.size)


def _clustered(moves: NDArray[np.float64], groups: NDArray[np.int64], labelled: int) -> tuple[float, int]:
    """Variance of a sum of `moves` that go together within groups, and its degrees of freedom."""
    told = len(np.unique(groups[:labelled]))
    if groups.shape != moves.shape or told < 2:
        raise ValueError("each pair has one group, and the labelled ones have two or more")
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=moves)
    return float(sums @ sums) * len(sums) / (len(sums) - 1), told - 1


def judge_bias(human: Values, judge: Values, alpha: float = 0.05) -> BiasTest:
    """Paired t-test that people and judge give the same on average: mean(H − J) = 0, for scores or for differences.

    Above 0, people give more than the judge. Raises `ValueError` as `ppi` does.
    """
    h, j = _paired(human, judge)
    error = h - j
    mean, se = float(error.mean()), float(error.std(ddof=1)) / math.sqrt(h.size)
    lo, hi, p = _t_interval(mean, se, h.size - 1, alpha)
    return BiasTest(mean, se, h.size - 1, lo, hi, p, h.size)


def bias_difference(first: Values, second: Values, alpha: float = 0.05) -> BiasTest:
    """Welch's test that two groups of different cases have the same mean: mean(second) − mean(first).

    SE² = s₁²/n₁ + s₂²/n₂, degrees of freedom after Welch & Satterthwaite. Raises `ValueError` below 2 values a group.
    """
    a, b = _finite(first), _finite(second)
    if min(a.size, b.size) < 2:
        raise ValueError("two groups of at least 2 values are needed")
    parts = float(a.var(ddof=1)) / a.size, float(b.var(ddof=1)) / b.size
    variance = sum(parts)
    mean, se, df = float(b.mean() - a.mean()), math.sqrt(variance), float(a.size + b.size - 2)
    if variance > 0:
        df = 1 / ((parts[0] / variance) ** 2 / (a.size - 1) + (parts[1] / variance) ** 2 / (b.size - 1))
    lo, hi, p = _t_interval(mean, se, df, alpha)
    return BiasTest(mean, se, df, lo, hi, p, a.size + b.size)


def _weight(h: NDArray[np.float64], j: NDArray[np.float64], unlabelled: int) -> float:
    spread = float(j.var(ddof=1))
    if unlabelled < 2 or spread <= 0:
        return 0.0
    covariance = float((h - h.mean()) @ (j - j.mean())) / (h.size - 1)
    return min(max(covariance / ((1 + h.size / unlabelled) * spread), 0.0), 1.0)


def _t_interval(mean: float, se: float, df: float, alpha: float) -> tuple[float, float, float]:
    # Values that are all equal leave rounding, not a spread: 1e-17 must not count as a sure difference.
    if se <= 1e-12 * max(abs(mean), 1e-300):
        return mean, mean, 1.0 if abs(mean) < 1e-12 else 0.0
    half = t_quantile(1 - alpha / 2, df) * se
    return mean - half, mean + half, min(1.0, 2 * t_tail(abs(mean) / se, df))


def _paired(human: Values, judge: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    h, j = _finite(human), _finite(judge)
    if h.size != j.size:
        raise ValueError(f"{h.size} values from people and {j.size} from the judge are no pairs")
    if h.size < 2:
        raise ValueError("at least 2 labelled pairs are needed")
    return h, j


def _finite(values: Values) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError("values must be one row of finite numbers")
    return found
