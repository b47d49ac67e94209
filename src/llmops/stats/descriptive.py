"""Means and quantiles."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence


def mean(values: Sequence[float] | array[float]) -> float:
    """Arithmetic mean. Raises `ValueError` when there are no values."""
    if not len(values):
        raise ValueError("the mean of nothing")
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # the sum is beyond a float, the mean isn't
        return sum(value / len(values) for value in values)


def quantile(values: Sequence[float] | array[float], q: float) -> float:
    """The `q` quantile (0 to 1), interpolated linearly (type 7 of Hyndman & Fan 1996, numpy's default).

    Raises `ValueError` when there are no values or `q` is out of range.
    """
    if not len(values) or not 0 <= q <= 1:
        raise ValueError("a quantile needs values, and q from 0 to 1")
    ordered = sorted(values)
    position = (len(ordered) - 1) * q
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
