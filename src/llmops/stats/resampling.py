"""Bootstrap over cases by weights: how often each case was drawn, many draws at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 2000
_CELLS = 4_000_000
_MOST_UNITS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; None where the data can't tell it (a spread of 0, a group without cases)."""

    value: float | None
    lo: float | None = None
    hi: float | None = None


def codes(values: Sequence[Hashable]) -> NDArray[np.intp]:
    """Each value's number, in order of first appearance."""
    known: dict[Hashable, int] = {}
    return np.fromiter((known.setdefault(value, len(known)) for value in values), dtype=np.intp, count=len(values))


def summed_by(features: Floats, groups: Sequence[Hashable] | None) -> Floats:
    """Rows (n × k) summed within each group (G × k); as they are without groups."""
    if groups is None:
        return features
    numbers = codes(groups)
    summed = np.zeros((int(numbers.max()) + 1, features.shape[1]))
    np.add.at(summed, numbers, features)
    return summed


def bootstrap_sums(
    features: Floats, statistic: Callable[[Floats], Floats], *, draws: int = DRAWS, seed: int = 0
) -> Floats:
    """`statistic` of the column sums of resampled rows: `draws` values.

    For every statistic that is a function of sums over cases, drawing cases with replacement is drawing their
    weights from a multinomial (Efron 1979). `features` is cases × columns; `statistic` takes draws × columns. More than
    2,000 cases are drawn in 2,000 random groups, whose sums vary as much, so that time doesn't grow with the data.
    """
    generator = np.random.default_rng(seed)
    if len(features) > _MOST_UNITS:
        shuffled = features[generator.permutation(len(features))]
        features = np.add.reduceat(shuffled, np.arange(_MOST_UNITS) * len(features) // _MOST_UNITS, axis=0)
    cases = len(features)
    step = max(1, _CELLS // max(cases, features.shape[1]))
    chances = np.full(cases, 1 / cases)
    found = []
    for start in range(0, draws, step):
        weights = generator.multinomial(cases, chances, size=min(step, draws - start))
        found.append(statistic(weights @ features))
    return np.concatenate(found)


def percentiles(values: Floats, alpha: float) -> tuple[float, float] | None:
    """The α/2 and 1 − α/2 quantiles of draws; None when over a tenth of them could not be computed."""
    sound = values[~np.isnan(values)]
    if len(sound) < 0.9 * len(values):
        return None
    lo, hi = np.quantile(sound, [alpha / 2, 1 - alpha / 2])
    return float(lo), float(hi)


def estimated(value: float, draws: Floats, alpha: float) -> Estimate:
    """A statistic and the percentile interval of its draws, as an `Estimate`."""
    if np.isnan(value):
        return Estimate(None)
    found = percentiles(draws, alpha)
    return Estimate(value) if found is None else Estimate(value, *found)
