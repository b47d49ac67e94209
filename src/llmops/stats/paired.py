"""A candidate against a baseline on the same cases: the mean of the paired differences, its interval and p-value.

Every difference is oriented: above 0 the candidate is better. `n` counts cases, `alpha` is the two-sided level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.stats.special import beta_quantile, binomial_cdf, binomial_pmf, normal_quantile, t_quantile, t_tail

Differences = Sequence[float] | NDArray[Any]

_ROUNDING = 1e-12
_LARGEST = 1e140
_MOST_ENUMERATED = 16
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference with its standard error, degrees of freedom (inf: normal), interval and two-sided p-value."""

    mean: float
    se: float
    df: float
    lo: float
    hi: float
    p: float


def tango(gained: int, lost: int, n: int, z: float) -> tuple[float, float]:
    """Score interval for the difference of two paired rates, `(gained - lost) / n`.

    `gained` are the cases that only the candidate passes, `lost` those that only the baseline passes. The interval is
    every difference whose score statistic is within `z` (Tango, Statistics in Medicine 1998). It has a width also when
    no case differs: +-z^2 / (n + z^2).
    Raises `ValueError` unless 0 <= gained + lost <= n and n > 0.
    """
    _check_counts(gained, lost, n)
    if not gained and not lost:
        edge = z * z / (n + z * z)
        return -edge, edge
    return -_tango_upper(lost, gained, n, z), _tango_upper(gained, lost, n, z)


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Two-sided mid-p of McNemar's test: twice the binomial tail less the probability of what was seen.

    Fagerland, Lydersen & Laake, BMC Medical Research Methodology 13:91 (2013). 1 when as many were gained as lost.
    """
    _check_counts(gained, lost, gained + lost or 1)
    pairs, smaller = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    return 2 * binomial_cdf(smaller, pairs, 0.5) - binomial_pmf(smaller, pairs, 0.5)


def binary_interval(gained: int, lost: int, n: int, alpha: float = 0.05) -> Interval:
    """Tango's interval with McNemar's mid-p, for one pass or fail per case and side.

    When the p-value is above `alpha`, the interval is widened to touch 0, so that it never claims what the test does
    not. At .10, .05 and .01 it holds 0 exactly when p is above alpha; at levels of .005 and less it may touch 0 with a
    smaller p, so a claim needs both. `se` is that of the mean of the differences. Raises `ValueError` as `tango` does.
    """
    lo, hi = tango(gained, lost, n, normal_quantile(1 - alpha / 2))
    p = mcnemar_mid_p(gained, lost)
    net = gained - lost
    se = math.sqrt(max(gained + lost - net * net / n, 0.0) / n / (n - 1)) if n > 1 else math.inf
    return with_zero(Interval(net / n, se, math.inf, lo, hi, p), alpha)


def paired_t(differences: Differences, alpha: float = 0.05) -> Interval:
    """Student's t interval and test for the mean difference, on n - 1 degrees of freedom.

    When all differences are equal there is no spread to go by: the interval is their value, and the p-value that of
    the sign-flip test, 2^(1-n) (1 when they are 0). One case alone says nothing: an infinite interval, p 1. In all
    cases a p-value above `alpha` puts 0 inside. Raises `ValueError` when there are no differences.
    """
    values = clean(differences)
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(mean, math.inf, 0.0, -math.inf, math.inf, 1.0)
    se = standard_error(values)
    return t_interval(mean, se, n - 1, n, alpha)


def skew_safe_bound(
    differences: Differences, span: float, alpha: float = 0.05, effective_n: float | None = None
) -> float:
    """Lower bound for the mean difference that holds when drops are rare and deep, where the t interval does not.

    The cases get Dirichlet(1, ..., 1) weights and half a case more, at -span, is added; the weighted mean is matched
    in its first two moments to a beta distribution on [-span, largest difference], whose `alpha / 2` quantile is the
    bound. It is a half-weight version of Gaffke's bound (2005). `span` is the range of the metric: no difference is
    below -span (if one is, it takes that place). `effective_n` is n over the design effect, for clustered cases.
    """
    values = clean(differences)
    n = len(values) if effective_n is None or not math.isfinite(effective_n) else effective_n
    bottom = max(span, -float(values.min()))
    width = float(values.max()) + bottom
    if width <= _ROUNDING * bottom or n <= 0:
        return -bottom
    total = n + 0.5
    mean = (n * float(values.mean()) - bottom / 2) / total
    square = (n * float(values @ values) / len(values) + bottom * bottom / 2) / total
    m = (mean + bottom) / width
    v = (square - mean * mean) / (total + 1) / (width * width)
    if not 0 < m < 1 or v <= 0:
        return max(-bottom, min(mean, -bottom + width))
    k = m * (1 - m) / v - 1
    return -bottom + width * beta_quantile(alpha / 2, m * k, (1 - m) * k)


def sign_flip_p(differences: Differences, seed: int = 0, draws: int = 99_999) -> float:
    """Two-sided p-value of the sign-flip permutation test that the mean difference is 0.

    Exact up to 16 differences that are not 0, and when all have one size (it is then McNemar's exact test); otherwise
    from `draws` random flips, (1 + hits) / (1 + draws). Takes draws x differences steps: meant for small samples.
    """
    values = clean(differences)
    values = values[values != 0]
    if not len(values):
        return 1.0
    sizes = np.abs(values)
    if np.ptp(sizes) <= _ROUNDING * sizes.max():
        return min(1.0, 2 * binomial_cdf(min(int((values > 0).sum()), int((values < 0).sum())), len(values), 0.5))
    seen = abs(float(values.sum())) - 1e-9 * float(sizes.sum())
    if len(values) <= _MOST_ENUMERATED:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate((sums - size, sums + size))
        return float((np.abs(sums) >= seen).mean())
    return (1 + _random_hits(sizes, seen, np.random.default_rng(seed), draws)) / (1 + draws)


def _random_hits(sizes: NDArray[Any], seen: float, generator: np.random.Generator, draws: int) -> int:
    hits, rows = 0, max(1, _CHUNK // len(sizes))
    for start in range(0, draws, rows):
        ups = generator.integers(0, 2, (min(rows, draws - start), len(sizes)), dtype=np.int8)
        hits += int((np.abs(2 * (ups @ sizes) - sizes.sum()) >= seen).sum())
    return hits


def clean(differences: Differences) -> NDArray[Any]:
    """Differences as a float array, with what is only rounding (1e-12 of the largest, or of 1) set to 0.

    Raises `ValueError` when there are none, or one isn't finite or too large to be squared.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or not len(values) or not (np.abs(values) < _LARGEST).all():
        raise ValueError("differences are a list of one or more finite numbers below 1e140")
    return np.where(np.abs(values) < _ROUNDING * max(1.0, float(np.abs(values).max())), 0.0, values)


def standard_error(values: NDArray[Any]) -> float:
    """Standard error of the mean of two or more values; 0 when they differ by rounding only."""
    if np.ptp(values) <= _ROUNDING * float(np.abs(values).max()):
        return 0.0
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def t_interval(mean: float, se: float, df: float, units: int, alpha: float) -> Interval:
    """Mean +- t x se with its p-value; `units` that could have flipped their sign give the p-value when `se` is 0."""
    if se > 0:
        reach = t_quantile(1 - alpha / 2, df) * se
        return with_zero(Interval(mean, se, df, mean - reach, mean + reach, 2 * t_tail(abs(mean) / se, df)), alpha)
    return with_zero(Interval(mean, 0.0, df, mean, mean, 2.0 ** (1 - units) if mean else 1.0), alpha)


def with_zero(interval: Interval, alpha: float) -> Interval:
    """The interval, widened to touch 0 if its p-value is above `alpha`."""
    if interval.p <= alpha or interval.lo <= 0 <= interval.hi:
        return interval
    lo, hi = min(interval.lo, 0.0), max(interval.hi, 0.0)
    return Interval(interval.mean, interval.se, interval.df, lo, hi, interval.p)


def _check_counts(gained: int, lost: int, n: int) -> None:
    if gained < 0 or lost < 0 or gained + lost > n or n < 1:
        raise ValueError(f"gained and lost are counts within n, not {gained} and {lost} of {n}")


def _tango_upper(gained: int, lost: int, n: int, z: float) -> float:
    """Upper end, by bisection between the estimate and 1: the score statistic falls as the difference grows."""
    inside, outside = (gained - lost) / n, 1.0
    while True:
        middle = (inside + outside) / 2
        if not inside < middle < outside:
            return outside if inside == (gained - lost) / n else inside
        spread = middle * (1 - middle)
        b = (2 * n - gained + lost) * middle - gained - lost
        root = math.sqrt(max(b * b + 8 * n * lost * spread, 0.0))
        q = (root - b) / (4 * n) if b <= 0 else 2 * lost * spread / (root + b)
        gap = n * middle - (gained - lost)
        if gap * gap <= z * z * n * (2 * q + spread):
            inside = middle
        else:
            outside = middle
