"""How well two raters agree, or a judge with people: κ, AC1, α, sensitivity and specificity, with intervals.

Intervals are percentiles of a bootstrap over cases (`groups` names what rows belong to one case), seeded, so that the
same data give the same interval. Where nobody ever disagreed the bootstrap has no width; there the lower end comes from
Wilson's interval on the share of agreement.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmops.stats.intervals import wilson
from llmops.stats.resampling import DRAWS, Estimate, Floats, bootstrap_sums, estimated, summed_by

Weights = Literal["none", "linear", "quadratic"]
Labels = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Detection:
    """`sensitivity` is the share of the `positives` (people said yes) the judge found, `specificity` of the rest."""

    sensitivity: Estimate
    specificity: Estimate
    positives: int
    negatives: int


def confusion(first: Labels, second: Labels, categories: Labels | None = None) -> NDArray[np.int64]:
    """Counts of each pair of categories, K × K, in the order of `categories`, else of the sorted values.

    Raises `ValueError` for lists of different lengths, no values, or a value that is no category.
    """
    rows, known = _one_hot(first, second, categories)
    table: NDArray[np.int64] = rows.sum(0).astype(np.int64).reshape(known, known)
    return table


def observed_agreement(
    first: Labels, second: Labels, *, groups: Labels | None = None, alpha: float = 0.05, seed: int = 0
) -> Estimate:
    """The share of rows in which both say the same, 0 to 1. Wilson's interval, or with `groups` the bootstrap's."""
    rows, known = _one_hot(first, second, None)
    same = np.column_stack([rows[:, :: known + 1].sum(1), np.ones(len(rows))])
    share = float(same[:, 0].mean())
    if groups is None:
        return Estimate(share, *wilson(int(same[:, 0].sum()), len(same), alpha))
    cases = summed_by(same, groups)
    found = estimated(share, bootstrap_sums(cases, lambda sums: sums[:, 0] / sums[:, 1], seed=seed), alpha)
    if found.lo == found.hi:
        return Estimate(share, *wilson(round(share * len(cases)), len(cases), alpha))
    return found


def cohen_kappa(
    first: Labels,
    second: Labels,
    *,
    weights: Weights = "none",
    categories: Labels | None = None,
    groups: Labels | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Cohen's κ = (p_o − p_e)/(1 − p_e) with p_e = Σ r_k c_k, from −1 to 1 (Cohen 1960, 1968).

    Weighted: κ = 1 − Σ w_ij o_ij / Σ w_ij r_i c_j, with w = |i − j| or (i − j)² over the order of the categories; give
    all `categories` of a scale when some of them may not have been used. Undefined when both always say one thing.
    """
    rows, known = _one_hot(first, second, categories)
    statistic = partial(_kappa, known=known, cost=_cost(known, weights))
    return _with_interval(rows, known, statistic, groups, alpha, draws, seed)


def gwet_ac1(
    first: Labels,
    second: Labels,
    *,
    categories: Labels | None = None,
    groups: Labels | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Gwet's AC1 = (p_o − p_e)/(1 − p_e), p_e = Σ π_k(1 − π_k)/(K − 1), π_k = (r_k + c_k)/2 (Gwet 2008).

    It stays steady where one category is rare, where κ collapses although the raters agree.
    """
    rows, known = _one_hot(first, second, categories)
    return _with_interval(rows, known, partial(_ac1, known=known), groups, alpha, draws, seed)


def detection(human: Sequence[bool], judge: Sequence[bool | None], alpha: float = 0.05) -> Detection:
    """Sensitivity and specificity of yes/no verdicts with Wilson intervals; no verdict (None) counts as a miss."""
    if len(human) != len(judge):
        raise ValueError("as many verdicts as labels are needed")
    found = sum(1 for h, j in zip(human, judge, strict=True) if h and j is True)
    refused = sum(1 for h, j in zip(human, judge, strict=True) if not h and j is False)
    positives = sum(map(bool, human))
    negatives = len(human) - positives
    return Detection(_share(found, positives, alpha), _share(refused, negatives, alpha), positives, negatives)


def _share(count: int, n: int, alpha: float) -> Estimate:
    return Estimate(count / n, *wilson(count, n, alpha)) if n else Estimate(None)


def _one_hot(first: Labels, second: Labels, categories: Labels | None) -> tuple[Floats, int]:
    """A row a pair, with a 1 in the cell (of K × K) that the pair falls in; and K."""
    if len(first) != len(second) or not len(first):
        raise ValueError("two raters need the same cases, at least one")
    known = list(categories) if categories is not None else _sorted({*first, *second})
    numbers = {value: number for number, value in enumerate(known)}
    try:
        cells = [numbers[a] * len(known) + numbers[b] for a, b in zip(first, second, strict=True)]
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is none of the categories") from None
    rows = np.zeros((len(first), len(known) ** 2))
    rows[np.arange(len(first)), cells] = 1.0
    return rows, len(known)


def _sorted(values: set[Hashable]) -> list[Hashable]:
    try:
        return sorted(values)  # type: ignore[type-var]
    except TypeError:
        return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def _cost(known: int, weights: Weights) -> Floats:
    apart = np.abs(np.subtract.outer(np.arange(known), np.arange(known))).astype(np.float64)
    powers = {"none": 0.0, "linear": 1.0, "quadratic": 2.0}
    if weights not in powers:
        raise ValueError(f"weights are none, linear or quadratic, not {weights!r}")
    return np.where(apart > 0, apart ** powers[weights], 0.0)


def _margins(tables: Floats, known: int) -> tuple[Floats, Floats, Floats]:
    shares = tables.reshape(-1, known, known) / tables.sum(-1)[:, None, None]
    return shares, shares.sum(2), shares.sum(1)


def _kappa(tables: Floats, *, known: int, cost: Floats) -> Floats:
    shares, rows, columns = _margins(tables, known)
    by_chance = np.einsum("bi,ij,bj->b", rows, cost, columns)
    seen = (shares * cost).sum((1, 2))
    return np.asarray(1 - np.divide(seen, by_chance, out=np.full_like(seen, np.nan), where=by_chance > 1e-15))


def _ac1(tables: Floats, *, known: int) -> Floats:
    shares, rows, columns = _margins(tables, known)
    if known < 2:
        return np.full(len(shares), np.nan)
    half = (rows + columns) / 2
    by_chance = (half * (1 - half)).sum(1) / (known - 1)
    agreed = np.trace(shares, axis1=1, axis2=2)
    return np.asarray((agreed - by_chance) / (1 - by_chance))


def _with_interval(
    rows: Floats, known: int, statistic: partial[Floats], groups: Labels | None, alpha: float, draws: int, seed: int
) -> Estimate:
    table = rows.sum(0)
    value = float(statistic(table[None])[0])
    if np.isnan(value):
        return Estimate(None)
    if groups is None:  # drawing cases is drawing cells of the table: far fewer of them
        generator = np.random.default_rng(seed)
        drawn = generator.multinomial(len(rows), table / len(rows), size=draws).astype(np.float64)
        resampled = statistic(drawn)
    else:
        resampled = bootstrap_sums(summed_by(rows, groups), statistic, draws=draws, seed=seed)
    found = estimated(value, resampled, alpha)
    if value < 1:  # without a width, one of the two always said the same: the draws know nothing of what could vary
        return found if found.lo != found.hi else Estimate(value)
    # Nobody disagreed: every resample says 1. As many disagreements as Wilson leaves possible, at the same chance.
    cases = len(rows) if groups is None else len(set(groups))
    missing = 1 - wilson(cases, cases, alpha)[0]
    return Estimate(value, max(-1.0, 1 - missing * _per_disagreement(table, known, statistic)), 1.0)


def _per_disagreement(table: Floats, known: int, statistic: partial[Floats]) -> float:
    """How much of the coefficient a share of disagreement takes: 1/(1 − p_e), or 1 where that isn't defined."""
    _, rows, columns = _margins(table[None], known)
    half = (rows + columns) / 2
    by_chance = float((rows * columns).sum())
    if statistic.func is _ac1:
        by_chance = float((half * (1 - half)).sum()) / (known - 1)
    return 1 / (1 - by_chance) if by_chance < 1 else 1.0
