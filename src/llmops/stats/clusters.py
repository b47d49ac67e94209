"""Differences of cases that belong together (one document, user or template): the robust interval for their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.stats.paired import Differences, clean, standard_error, t_interval


@dataclass(frozen=True, slots=True)
class ClusteredInterval:
    """A mean difference of clustered cases.

    `groups` counts the clusters. `design_effect` is the variance over what it were with independent cases: n over it
    is the number of independent cases that say as much.
    """

    mean: float
    se: float
    df: float
    lo: float
    hi: float
    p: float
    groups: int
    design_effect: float


def clustered_t(
    differences: Differences, groups: Sequence[int] | NDArray[Any], alpha: float = 0.05
) -> ClusteredInterval:
    """CR2 standard error with Bell & McCaffrey's degrees of freedom for the mean; `groups` has a code for each case.

    With N cases, n_g in cluster g, e_g the sum of its residuals and w_g = 1 / (1 - n_g/N): se = sqrt(sum w_g e_g^2) / N
    and df = N^2 / (sum n_g^2 + sum_{g != h} w_g w_h n_g^2 n_h^2 / N^2), which is the number of clusters less 1 when all
    have one size (Bell & McCaffrey 2002; Pustejovsky & Tipton, arXiv 1601.01981). A single cluster says nothing: an
    infinite interval, p 1, design effect N. When all clusters agree exactly, as `paired_t` with clusters for cases.
    Raises `ValueError` when there are no differences or not one code for each.
    """
    values = clean(differences)
    codes = np.asarray(groups)
    if codes.shape != values.shape:
        raise ValueError("each difference has one group")
    _, index, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    cases, count, mean = len(values), len(sizes), float(values.mean())
    if count == 1:
        return ClusteredInterval(mean, math.inf, 0.0, -math.inf, math.inf, 1.0, 1, float(cases))
    n = sizes.astype(float)
    weights = cases / (cases - n)
    residuals = np.bincount(index, weights=values - mean, minlength=count)
    residuals[np.abs(residuals) <= 1e-12 * n * np.abs(values).max()] = 0.0
    se = math.sqrt(float(weights @ (residuals * residuals))) / cases
    independent = standard_error(values)
    effect = (se / independent) ** 2 if independent else 1.0
    interval = t_interval(mean, se, _degrees_of_freedom(n, weights), count, alpha)
    return ClusteredInterval(mean, se, interval.df, interval.lo, interval.hi, interval.p, count, effect)


def _degrees_of_freedom(n: NDArray[Any], weights: NDArray[Any]) -> float:
    """The double sum over pairs of clusters as one running sum of terms above 0, which loses no digits."""
    cases = float(n.sum())
    terms = weights * (n / cases) ** 2
    off_diagonal = 2 * float(terms[1:] @ np.cumsum(terms)[:-1])
    return 1 / (float(((n / cases) ** 2).sum()) + off_diagonal)
