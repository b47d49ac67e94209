"""Several tests at once: p-values adjusted so that the whole family keeps its promise."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order: below alpha, with any false claim at most that likely.

    p~_(i) = max over j <= i of min(1, (m - j + 1) p_(j)) (Scandinavian Journal of Statistics 1979). Valid whatever the
    dependence. Raises `ValueError` for values outside 0 to 1.
    """
    order, m = _ascending(p_values), len(p_values)
    adjusted, highest = [0.0] * m, 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (m - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the given order, of which those below q hold at most a share q of false ones on average.

    p~_(i) = min over j >= i of min(1, m p_(j) / j) (Journal of the Royal Statistical Society B 1995), for tests that
    are independent or positively dependent. Raises `ValueError` for values outside 0 to 1.
    """
    order, m = _ascending(p_values), len(p_values)
    adjusted, lowest = [0.0] * m, 1.0
    for rank, at in reversed(list(enumerate(order, start=1))):
        lowest = min(lowest, m / rank * p_values[at])
        adjusted[at] = lowest
    return adjusted


def _ascending(p_values: Sequence[float]) -> list[int]:
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values are from 0 to 1")
    return sorted(range(len(p_values)), key=lambda at: p_values[at])
