"""How many cases a paired comparison needs, and the smallest drop that the cases at hand can show."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmops.stats.special import beta_cdf, normal_quantile

Array = NDArray[np.float64]

DISCORDANCE = 0.16  # pass rates of about 80 %, correlated by one half: a share of .16 differs between two variants
DEVIATION = 0.25  # of the differences of a score, as a share of the metric's range
SEQUENTIAL_CAP = 1.081  # ten looks: cases to have ready, as a multiple of what a single test needs,
SEQUENTIAL_EXPECTED = 0.76  # and the average seen when the drop is as big as planned (`sequential.expected_share`)
MOST_CASES = 10**12


def cases_needed(
    variance: float, drop: float, alpha: float = 0.05, power: float = 0.8, design_effect: float = 1.0
) -> int:
    """Cases, each answered by both variants, to notice a drop of `drop` with chance `power`.

    n = (z_{1-alpha/2} + z_power)**2 * variance / drop**2 * design_effect, rounded up; two-sided level `alpha`.
    `variance` is that of the differences by case, in the unit of `drop` squared; at least 1 case. Raises `ValueError`
    for a negative variance, a drop or design effect not above 0, an `alpha` or `power` outside (0, 1).
    """
    if not 0 <= variance < math.inf or not 0 < drop < math.inf or not 0 < design_effect < math.inf:
        raise ValueError("variance is not negative, drop and design effect are above 0")
    exact = _detectable(alpha, power) ** 2 * (variance / drop / drop) * design_effect
    return max(1, math.ceil(min(exact, MOST_CASES) - 1e-9))


def binary_variance(discordance: float, drop: float) -> float:
    """Variance of pass/fail differences when a share `discordance` of cases differs and the mean falls by `drop`.

    discordance - drop**2, at least 0. `discordance` is p_A + p_B - 2 p_AB, in [0, 1].
    """
    if not 0 <= discordance <= 1:
        raise ValueError("discordance is a share of cases, from 0 to 1")
    return max(0.0, discordance - drop * drop)


def smallest_drop(se: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest drop noticed with chance `power` at standard error `se`, in its unit.

    (z_{1-alpha/2} + z_power) * se, which is 2.80 standard errors by default. Raises `ValueError` for a negative
    `se`, an `alpha` or `power` outside (0, 1).
    """
    if not se >= 0:
        raise ValueError("a standard error is not negative")
    return _detectable(alpha, power) * se


def binary_se(gained: int, lost: int, n: int) -> float:
    """Standard error of a difference of pass rates that isn't 0 when no case differs: sqrt((b + c + 2)/(n + 2)/n)."""
    if min(gained, lost) < 0 or n < max(1, gained + lost):
        raise ValueError("counts are not negative, and pairs are at least as many as those that differ")
    return math.sqrt((gained + lost + 2) / (n + 2) / n)


@lru_cache(maxsize=256)
def bounded_floor(drop: float, span: float = 1.0, alpha: float = 0.05) -> int:
    """Fewest cases that can rule out rare failures worth a mean drop of `drop`, even if none of them differs at all.

    The first n at which the skew-safe bound of n zero differences isn't below -`drop`: the 1 - alpha/2 quantile of
    Beta(1/2, n) is `drop`/`span` at most. 50, 83 and 125 for 5, 3 and 2 % of the range. Raises `ValueError` when `drop`
    isn't above 0 or `span` isn't finite.
    """
    share = drop / span
    if not 0 < span < math.inf or not share > 0:
        raise ValueError("drop and span are above 0")
    if share >= 1:
        return 1
    few, many = 0.5, 1.0
    while beta_cdf(share, 0.5, many) < 1 - alpha / 2:
        few, many = many, many * 2
        if many > MOST_CASES:
            return MOST_CASES
    while many - few > 1e-6 * many:
        middle = (few + many) / 2
        few, many = (middle, many) if beta_cdf(share, 0.5, middle) < 1 - alpha / 2 else (few, middle)
    return max(1, math.ceil(many - 1e-4))


def repeated_variance(between: float, within: float, repeats: float) -> float:
    """Variance of differences by case when each answer is the mean of `repeats`: omega**2 + sigma**2 / K.

    `between` (omega**2) is the variance between cases of the difference of their true means, `within` (sigma**2) the
    sum of both variants' variances between answers to one case (Miller 2024). `repeats` may be infinite.
    """
    if min(between, within) < 0 or not repeats >= 1:
        raise ValueError("variances are not negative, and repeats at least 1")
    return between + within / repeats


def best_repeats(between: float, within: float, case_cost: float, answer_cost: float) -> int:
    """Answers by case and variant that make a comparison cheapest: sqrt(sigma**2/omega**2 * c0/c1), at least 1.

    `case_cost` (c0) is the price of one more case, `answer_cost` (c1) that of one more answer of both variants to it,
    in the same unit (Miller 2024). With cases for nothing it is 1. At most 1,000.
    """
    if min(between, within, case_cost) < 0 or not answer_cost > 0:
        raise ValueError("variances and costs are not negative, and an answer costs something")
    if within * case_cost == 0:
        return 1
    exact = math.sqrt(within * case_cost / answer_cost / between) if between > 0 else math.inf
    below = max(1, math.floor(min(exact, 1000.0)))

    def cost(repeats: int) -> float:
        return repeated_variance(between, within, repeats) * (case_cost + repeats * answer_cost)

    return min(below, min(below + 1, 1000), key=cost)


def mid_p_power(n: int, discordance: float, drop: float, alpha: float = 0.05) -> float:
    """Exact chance that the McNemar mid-p test of `n` pairs notices a mean fall of `drop`; see `mcnemar_power`."""
    return mcnemar_power(n, discordance, drop, alpha)


def mcnemar_power(
    n: int,
    discordance: float,
    drop: float,
    alpha: float = 0.05,
    test: Literal["mid-p", "asymptotic", "exact"] = "mid-p",
) -> float:
    """Exact chance, by enumeration, that a two-sided McNemar test of `n` pairs rejects at `alpha`, in either direction.

    A share `discordance` of pairs differs, (discordance + drop)/2 of them to the worse. The tests are those compared by
    Fagerland, Lydersen & Laake 2013: at n = 100, .16 and .10 the powers are .736 (mid-p), .741 (asymptotic) and .660
    (exact conditional). Raises `ValueError` for fewer than 1 pair or a drop greater than the discordance.
    """
    if n < 1 or not 0 < discordance <= 1 or not abs(drop) <= discordance or not 0 < alpha < 1:
        raise ValueError("a power needs pairs, a discordance in (0, 1], and a drop that isn't greater")
    logs = _log_factorials(n)
    worse = (1 + drop / discordance) / 2
    spread = 12 * math.sqrt(n * discordance * (1 - discordance)) + 12
    first, last = max(0, math.floor(n * discordance - spread)), min(n, math.ceil(n * discordance + spread))
    differing = np.arange(first, last + 1)
    chances = _binomial(n, discordance, differing, logs)
    return math.fsum(
        float(chance) * _rejection(int(m), worse, alpha, test, logs)
        for m, chance in zip(differing, chances, strict=True)
        if chance > 1e-18
    )


def _rejection(m: int, worse: float, alpha: float, test: str, logs: Array) -> float:
    """Chance that `m` differing pairs, each to the worse with chance `worse`, lead to a rejection."""
    smaller = np.arange(m // 2 + 1)
    fair = _binomial(m, 0.5, smaller, logs)
    if test == "asymptotic":
        rejected = (m - 2 * smaller) ** 2 > normal_quantile(1 - alpha / 2) ** 2 * m
    else:
        p = 2 * np.cumsum(fair) - (fair if test == "mid-p" else 0)
        rejected = (p <= alpha) & (2 * smaller < m)
    edge = int(rejected.sum())  # fewer than this on one side reject
    few = np.arange(edge)
    return float(_binomial(m, worse, few, logs).sum() + _binomial(m, 1 - worse, few, logs).sum())


def _binomial(n: int, p: float, k: NDArray[np.int64], logs: Array) -> Array:
    if p in (0.0, 1.0):
        return np.asarray(k == n * p, float)
    found: Array = np.exp(logs[n] - logs[k] - logs[n - k] + k * math.log(p) + (n - k) * math.log1p(-p))
    return found


@lru_cache(maxsize=4)
def _log_factorials(n: int) -> Array:
    logs: Array = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    return logs


def _detectable(alpha: float, power: float) -> float:
    """Standard errors between the null and a drop that is noticed with chance `power`."""
    if not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError("alpha and power are between 0 and 1")
    return max(0.0, normal_quantile(1 - alpha / 2) + normal_quantile(power))
