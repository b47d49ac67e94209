"""Correlation of two lists of scores, with intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmops.stats.resampling import DRAWS, Estimate, Floats, bootstrap_sums, estimated, summed_by

Values = Sequence[float] | NDArray[np.float64]


def pearson(
    x: Values,
    y: Values,
    *,
    groups: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Pearson's r, −1 to 1, with a percentile interval from a bootstrap over cases; no value without a spread."""
    moments = _moments(_standard(x), _standard(y))
    value = float(_r(moments.sum(0, keepdims=True))[0])
    if np.isnan(value):
        return Estimate(None)
    return estimated(value, bootstrap_sums(summed_by(moments, groups), _r, draws=draws, seed=seed), alpha)


def spearman(
    x: Values,
    y: Values,
    *,
    groups: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Spearman's ρ: Pearson's r of ranks, equal values sharing their mean rank.

    Resamples keep the ranks of the whole.
    """
    return pearson(ranks(x), ranks(y), groups=groups, alpha=alpha, draws=draws, seed=seed)


def correlation_gap(
    x: Values,
    first: Values,
    second: Values,
    *,
    groups: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """ρ(x, second) − ρ(x, first): how much closer `second` follows `x`, with a bootstrap over cases."""
    a, b, c = (_standard(ranks(values)) for values in (x, first, second))
    moments = np.hstack([_moments(a, b), _moments(a, c)])

    def gap(sums: Floats) -> Floats:
        return _r(sums[:, 6:]) - _r(sums[:, :6])

    value = float(gap(moments.sum(0, keepdims=True))[0])
    if np.isnan(value):
        return Estimate(None)
    return estimated(value, bootstrap_sums(summed_by(moments, groups), gap, draws=draws, seed=seed), alpha)


def ranks(values: Values) -> Floats:
    """Ranks from 1, equal values sharing their mean rank."""
    found = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(found, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.reshape(-1)])


def _standard(values: Values) -> Floats:
    """Mean 0 and spread 1, so that sums of squares keep their digits; all 0 without a spread."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise ValueError("values must be one row of finite numbers")
    spread = float(found.std())
    centred = found - found.mean()
    return centred / spread if spread > 1e-12 * max(1.0, float(np.abs(found).max())) else np.zeros_like(found)


def _moments(x: Floats, y: Floats) -> Floats:
    if x.size != y.size:
        raise ValueError("two lists of the same length are needed")
    return np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y])


def _r(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = sums.T
    spread = (n * xx - x * x) * (n * yy - y * y)
    shared = n * xy - x * y
    root = np.sqrt(np.where(spread > 0, spread, 0))
    r = np.divide(shared, root, out=np.full_like(shared, np.nan), where=root > 1e-9)
    return np.asarray(np.clip(r, -1, 1))
