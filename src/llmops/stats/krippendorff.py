"""Krippendorff's α: agreement of any number of raters, with ratings missing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from llmops.stats.resampling import DRAWS, Estimate, Floats, bootstrap_sums, estimated, summed_by

Level = Literal["nominal", "interval"]
Ratings = Sequence[Sequence[Hashable | None]]


def krippendorff_alpha(
    ratings: Ratings,
    *,
    level: Level = "nominal",
    groups: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Krippendorff's α over `ratings[unit][rater]` (None is missing), at most 1; with a bootstrap over units.

    α = 1 − D_o/D_e. Nominal: 1 − (N − 1) Σ_{c≠k} o_ck / Σ_{c≠k} n_c n_k over the coincidence matrix; interval: the same
    with squared distances (Krippendorff 2011). A unit with fewer than 2 ratings counts for nothing; N is the number of
    ratings that count. No value when there are no such units or all ratings are equal. Raises `ValueError` for a level
    that isn't known or, at the interval level, for a rating that isn't a finite number.
    """
    if level not in ("nominal", "interval"):
        raise ValueError(f"the level is nominal or interval, not {level!r}")
    kept = [[value for value in unit if value is not None] for unit in ratings]
    counted = [number for number, unit in enumerate(kept) if len(unit) > 1]
    if not counted:
        return Estimate(None)
    units = [kept[number] for number in counted]
    features = _nominal(units) if level == "nominal" else _interval(units)
    statistic = _nominal_alpha if level == "nominal" else _interval_alpha
    value = float(statistic(features.sum(0, keepdims=True))[0])
    if np.isnan(value):
        return Estimate(None)
    cases = summed_by(features, None if groups is None else [groups[number] for number in counted])
    return estimated(value, bootstrap_sums(cases, statistic, draws=draws, seed=seed), alpha)


def _nominal(units: list[list[Hashable]]) -> Floats:
    """For each unit its disagreeing coincidences, (m² − Σ n_c²)/(m − 1), then its count of each value."""
    numbers: dict[Hashable, int] = {}
    for unit in units:
        for value in unit:
            numbers.setdefault(value, len(numbers))
    rows = np.zeros((len(units), 1 + len(numbers)))
    for row, unit in zip(rows, units, strict=True):
        for value in unit:
            row[1 + numbers[value]] += 1
        row[0] = (len(unit) ** 2 - (row[1:] ** 2).sum()) / (len(unit) - 1)
    return rows


def _nominal_alpha(sums: Floats) -> Floats:
    total = sums[:, 1:].sum(1)
    expected = total**2 - (sums[:, 1:] ** 2).sum(1)
    return _alpha((total - 1) * sums[:, 0], expected)


def _interval(units: list[list[Hashable]]) -> Floats:
    """For each unit the sum of squared distances of its pairs over m − 1, then m, Σx and Σx²."""
    rows = np.zeros((len(units), 4))
    try:
        values = [np.asarray(unit, dtype=np.float64) for unit in units]
    except (TypeError, ValueError, OverflowError):
        raise ValueError("ratings at the interval level are numbers") from None
    if not all(np.isfinite(found).all() for found in values):
        raise ValueError("ratings at the interval level are finite numbers")
    centre = float(np.mean(np.concatenate(values)))  # far from 0, squares would drown the distances
    for row, found in zip(rows, values, strict=True):
        moved = found - centre
        apart = 2 * len(moved) * float(((moved - moved.mean()) ** 2).sum())
        row[:] = apart / (len(moved) - 1), len(moved), moved.sum(), (moved**2).sum()
    return rows


def _interval_alpha(sums: Floats) -> Floats:
    apart, total, first, second = sums.T
    return _alpha((total - 1) * apart, 2 * (total * second - first**2))


def _alpha(observed: Floats, expected: Floats) -> Floats:
    return 1 - np.divide(observed, expected, out=np.full_like(observed, np.nan), where=expected > 1e-12)
