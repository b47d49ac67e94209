"""Intervals for one rate: as counted, and corrected for a judge that errs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmops.stats.special import beta_quantile, normal_quantile


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """An estimated rate and its interval, all from 0 to 1."""

    value: float
    lo: float
    hi: float


def wilson(successes: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's score interval for a rate (Journal of the American Statistical Association 1927).

    Covers 1 - alpha on average; (0, 1) when n is 0. Raises `ValueError` unless 0 <= successes <= n.
    """
    _check_counts(successes, n)
    if n == 0:
        return 0.0, 1.0
    square = normal_quantile(1 - alpha / 2) ** 2
    centre = (successes + square / 2) / (n + square)
    reach = math.sqrt(square * (successes * (n - successes) / n + square / 4)) / (n + square)
    return max(0.0, centre - reach) if successes else 0.0, min(1.0, centre + reach) if successes < n else 1.0


def clopper_pearson(successes: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Clopper & Pearson's exact interval for a rate (Biometrika 1934).

    Covers 1 - alpha at least; (0, 1) when n is 0. Raises `ValueError` unless 0 <= successes <= n.
    """
    _check_counts(successes, n)
    failures = n - successes
    lo = beta_quantile(alpha / 2, successes, failures + 1) if successes else 0.0
    hi = beta_quantile(1 - alpha / 2, successes + 1, failures) if failures else 1.0
    return lo, hi


def rogan_gladen(
    positives: float, n: float, sensitivity: float, specificity: float, m1: float, m0: float, alpha: float = 0.05
) -> RateEstimate:
    """The true rate behind `positives` of `n` counted by a judge that errs, with Lang & Reiczigel's interval.

    `sensitivity` was estimated on `m1` truly positive cases, `specificity` on `m0` truly negative ones. The estimate is
    (positives/n + specificity - 1) / (sensitivity + specificity - 1), cut to 0..1 (Rogan & Gladen 1978); the interval
    carries the uncertainty of all three rates (Preventive Veterinary Medicine 2014). It is (0, 1) if the labels are so
    few that the judge may know nothing. Raises `ValueError` for counts or rates out of range, n of 0, or a judge that
    is no better than chance (sensitivity + specificity <= 1).
    """
    _check_counts(positives, n)
    if n <= 0 or m1 < 0 or m0 < 0 or not (0 <= sensitivity <= 1 and 0 <= specificity <= 1):
        raise ValueError("rates are from 0 to 1, and counts are not negative")
    if sensitivity + specificity <= 1:
        raise ValueError("a judge with sensitivity + specificity of at most 1 is no better than chance")
    value = _within_unit((positives / n + specificity - 1) / (sensitivity + specificity - 1))
    z = normal_quantile(1 - alpha / 2)
    trials = n + z * z
    p = (positives + z * z / 2) / trials
    q1, q0 = (m1 * sensitivity + 1) / (m1 + 2), (m0 * specificity + 1) / (m0 + 2)
    gain = q1 + q0 - 1
    if gain <= 0:
        return RateEstimate(value, 0.0, 1.0)
    rate = (p + q0 - 1) / gain
    spread1, spread0 = q1 * (1 - q1) / (m1 + 2), q0 * (1 - q0) / (m0 + 2)
    centre = rate + 2 * z * z * (rate * spread1 - (1 - rate) * spread0)
    reach = z * math.sqrt(p * (1 - p) / trials + (1 - rate) ** 2 * spread0 + rate**2 * spread1) / gain
    return RateEstimate(value, min(value, _within_unit(centre - reach)), max(value, _within_unit(centre + reach)))


def _check_counts(successes: float, n: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"successes are counted from 0 to n, not {successes} of {n}")


def _within_unit(value: float) -> float:
    return min(1.0, max(0.0, value))
