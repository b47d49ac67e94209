"""A second, slow implementation of the comparison of two variants, to check the first one with.

It was written from the formulas of the papers alone (Tango 1998; Fagerland, Lydersen and Laake 2013; Bell and
McCaffrey 2002; Gaffke 2005; Holm 1979), with plain loops, scipy and statsmodels, and shares no code with `llmops`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

MIN_CASES = {"binary": 10, "other": 20}
MIN_GROUPS = 6
MOST_ERRORS = 0.02


@dataclass(frozen=True)
class Pair:
    """One case: the scores of every repeat on both sides (None is an error), and its document."""

    id: str
    a: tuple[float | None, ...]
    b: tuple[float | None, ...]
    group: str | None = None


@dataclass
class Verdict:
    """What the reference says of one metric."""

    n: int
    groups: int | None
    mean_a: float
    mean_b: float
    diff: float
    lo: float
    hi: float
    p: float
    lo_safe: float
    se: float
    mde: float | None
    n_needed: int | None
    method: str
    verdict: str = ""
    broke: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)


# ---- binary


def tango_root(gained: int, lost: int, n: int, z: float, *, upper: bool) -> float:
    """The end of Tango's interval: the difference whose score statistic is z, found by scipy's Brent."""

    def statistic(delta: float) -> float:
        a = 2 * n
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * q + delta * (1 - delta))
        top = gained - lost - n * delta
        if variance <= 0:
            return math.inf * top if top else 0.0
        return top / math.sqrt(variance)

    centre = (gained - lost) / n
    end, target = (1 - 1e-14, -z) if upper else (-1 + 1e-14, z)
    if abs(end - centre) < 1e-12:
        return math.copysign(1.0, end)
    inner = centre + (1e-13 if upper else -1e-13)
    low, high = sorted((inner, end))
    value_low, value_high = statistic(low) - target, statistic(high) - target
    if value_low * value_high > 0:
        return math.copysign(1.0, end)
    return float(optimize.brentq(lambda delta: statistic(delta) - target, low, high, xtol=1e-13))


def mid_p(gained: int, lost: int) -> float:
    """McNemar's mid-p value, from the definition."""
    if gained == lost:
        return 1.0
    pairs, fewer = gained + lost, min(gained, lost)
    return float(2 * stats.binom.cdf(fewer, pairs, 0.5) - stats.binom.pmf(fewer, pairs, 0.5))


def binary(gained: int, lost: int, n: int, alpha: float) -> tuple[float, float, float]:
    """Tango's interval, widened to touch 0 where the mid-p value does not reject, and that p-value."""
    z = float(stats.norm.ppf(1 - alpha / 2))
    lo = tango_root(gained, lost, n, z, upper=False)
    hi = tango_root(gained, lost, n, z, upper=True)
    p = mid_p(gained, lost)
    if p > alpha:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
    return lo, hi, p


# ---- everything else


def paired_t(differences: Sequence[float], alpha: float) -> tuple[float, float, float, float]:
    """Standard error, interval and p-value by scipy's one-sample t test."""
    values = np.asarray(differences, dtype=float)
    se = float(stats.sem(values)) if len(values) > 1 else math.inf
    if len(values) < 2:
        return se, -math.inf, math.inf, 1.0
    if np.ptp(values) < 1e-12:
        return (0.0, *constant(float(values.mean()), len(values), alpha))
    result = stats.ttest_1samp(values, 0.0)
    interval = result.confidence_interval(1 - alpha)
    return se, float(interval.low), float(interval.high), float(result.pvalue)


def constant(mean: float, units: int, alpha: float) -> tuple[float, float, float]:
    """Interval and p-value without any spread: the sign-flip test of that many units of one sign, and its hull."""
    p = 2.0 ** (1 - units) if abs(mean) > 1e-12 else 1.0
    ends = (mean, mean) if p <= alpha else (min(mean, 0.0), max(mean, 0.0))
    return (*ends, p)


def cr2(differences: Sequence[float], groups: Sequence[str], alpha: float) -> tuple[float, float, float, float, float]:
    """CR2 standard error, interval, p-value and Bell-McCaffrey degrees of freedom, by double loops."""
    n = len(differences)
    mean = sum(differences) / n
    members: dict[str, list[float]] = {}
    for value, group in zip(differences, groups, strict=True):
        members.setdefault(group, []).append(value)
    if len(members) < 2:
        return math.inf, -math.inf, math.inf, 1.0, 0.0
    weights = {g: 1 / (1 - len(v) / n) for g, v in members.items()}
    total = 0.0
    for group, values in members.items():
        total += weights[group] * (sum(values) - len(values) * mean) ** 2
    se = math.sqrt(total) / n
    below = sum(float(len(v)) ** 2 for v in members.values())
    for g, h in itertools.permutations(members, 2):
        below += weights[g] * weights[h] * len(members[g]) ** 2 * len(members[h]) ** 2 / n**2
    df = n**2 / below
    if se < 1e-12:
        return (0.0, *constant(mean, len(members), alpha), df)
    half = float(stats.t.ppf(1 - alpha / 2, df)) * se
    return se, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / se, df)), df


def safe_bound(differences: Sequence[float], span: float, alpha: float, effective: float) -> float:
    """The skew-safe lower bound: a half-weight pseudo-case at -span, matched to a beta distribution."""
    n = len(differences)
    mean = sum(differences) / n
    square = sum(d * d for d in differences) / n
    weight = effective + 0.5
    m1 = (effective * mean - 0.5 * span) / weight
    m2 = ((effective * square + 0.5 * span * span) / weight - m1 * m1) / (weight + 1)
    width = max(differences) + span
    if width <= 0:
        return -span
    m, v = (m1 + span) / width, m2 / width**2
    k = m * (1 - m) / v - 1
    return -span + width * float(stats.beta.ppf(alpha / 2, m * k, (1 - m) * k))


def sign_flip(differences: Sequence[float]) -> float:
    """The exact two-sided sign-flip p-value: every assignment of signs to the non-zero differences."""
    values = [d for d in differences if d]
    seen = abs(sum(values))
    signs = itertools.product((1, -1), repeat=len(values))
    sums = [abs(sum(s * v for s, v in zip(each, values, strict=True))) for each in signs]
    return sum(total >= seen - 1e-9 * max(seen, 1.0) for total in sums) / len(sums)


# ---- the whole


def power_factor(alpha: float) -> float:
    """z at alpha/2 plus z at 80 % power: 2.80."""
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(0.8))


def floor_for(margin: float, span: float, alpha: float) -> int:
    """The fewest cases with which equal scores are no meaningful drop, counted up one by one (50, 83, 125)."""
    n = 1
    while safe_bound([0.0] * n, span, alpha, n) <= -margin:
        n += 1
    return n


def needed(
    gains: Sequence[float], single: bool, method: str, span: float, margin: float, alpha: float, deff: float
) -> int | None:
    """Cases for a drop of `margin`, from the variance seen; for shares the one that the smallest drop is made from."""
    if margin <= 0 or len(gains) < 2:
        return None
    variance = float(np.var(gains, ddof=1))
    if single:
        differ = max(sum(d != 0 for d in gains) / len(gains), 2 / (len(gains) + 2))
        variance = max(max(differ, margin / span) * span**2 - margin**2, 0.0)
    exact = power_factor(alpha) ** 2 * variance / margin**2 * deff
    least = MIN_CASES["binary"] if method == "tango" else floor_for(margin, span, alpha)
    return max(math.ceil(exact - 1e-9), least)


def oriented(pairs: Sequence[Pair], worst: float, lower: bool) -> tuple[list[float], list[float], list[float], float]:
    """Case means of both sides (an error being the worst score), gains, and the share of pairs with an error."""
    a = [float(np.mean([worst if x is None else x for x in pair.a])) for pair in pairs]
    b = [float(np.mean([worst if x is None else x for x in pair.b])) for pair in pairs]
    gains = [(x - y) if lower else (y - x) for x, y in zip(a, b, strict=True)]
    sides = ([p.a for p in pairs], [p.b for p in pairs])
    return a, b, gains, max(float(np.mean([one.count(None) / len(one) for one in side])) for side in sides)


def compare(
    pairs: Sequence[Pair],
    kind: str,
    *,
    lo: float = 0.0,
    hi: float = 1.0,
    lower: bool = False,
    alpha: float = 0.05,
    margin: float | None = None,
    holm: float | None = None,
    worst: float | None = None,
) -> Verdict:
    """One metric by the decision table, and its verdict; `holm` is the p-value adjusted for other guard metrics.

    `worst` is what a failed answer scores, the end of the range without.
    """
    span = hi - lo
    limit = 0.05 * span if margin is None else margin
    a, b, gains, wrong = oriented(pairs, (hi if lower else lo) if worst is None else worst, lower)
    n = len(pairs)
    # repeats that all agree are one outcome: pass or fail
    single = kind == "binary" and all(value in (lo, hi) for value in (*a, *b))
    labels = [p.id + "\0alone" if p.group is None else p.group for p in pairs]
    clustered = any(p.group is not None for p in pairs) and len(set(labels)) < n
    gained, lost = sum(d > 0 for d in gains), sum(d < 0 for d in gains)
    iid = paired_t(gains, alpha)[0]
    deff = 1.0
    if clustered:
        se, low, high, p, _ = cr2(gains, labels, alpha)
        # The notes have no cap; without one, "no drop" is wrong up to 4.9 % of the time on a margin of 5 points.
        deff = max(1.0, (se / iid) ** 2) if iid and se else 1.0
        safe = min(low, safe_bound(gains, span, alpha, n / deff)) if deff < math.inf else low
        method = "cr2"
    elif single:
        low, high, p = binary(gained, lost, n, alpha)
        low, high = span * low, span * high
        se = span * math.sqrt((gained + lost + 2) / (n + 2) / n)
        safe, method = low, "tango"
    else:
        se, low, high, p = paired_t(gains, alpha)
        safe, method = (min(low, safe_bound(gains, span, alpha, n)) if n > 1 else low), "t"
    if not se and abs(np.mean(gains)) < 1e-12:
        low, high = safe, -safe  # no interval without a width when nothing differs, or all groups even out
    count = len(set(labels)) if clustered else None
    enough = n >= MIN_CASES["binary" if single else "other"] and (count is None or count >= MIN_GROUPS)
    low, high, safe = (min(max(end, -span), span) for end in (low, high, safe))  # a gain can't be beyond the range
    factor = power_factor(alpha)
    mde = min(factor * se or float(np.mean(gains)) - safe, span) if math.isfinite(se) else None
    more = needed(gains, single, method, span, limit, alpha, deff) if math.isfinite(se) else None
    result = Verdict(
        n, count, float(np.mean(a)), float(np.mean(b)), float(np.mean(gains)), low, high, p, safe, se,
        mde, more, method,
        broke={pair.id for pair, d in zip(pairs, gains, strict=True) if d < 0},
        fixed={pair.id for pair, d in zip(pairs, gains, strict=True) if d > 0},
    )  # fmt: skip
    result.verdict = verdict_of(result, limit, alpha, p if holm is None else holm)
    if not enough or wrong > MOST_ERRORS:
        result.verdict = "inconclusive"
    return result


def verdict_of(result: Verdict, margin: float, alpha: float, p_guard: float) -> str:
    """The decision, word for word."""
    no_worse = result.lo_safe > -margin if margin else result.lo > 0
    if result.lo > 0 and result.p <= alpha and no_worse:
        return "improved"
    if no_worse:
        return "equivalent"
    if result.hi < 0 and p_guard <= alpha:
        return "regressed"
    return "inconclusive"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values by statsmodels."""
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values by statsmodels."""
    return [float(p) for p in multipletests(list(p_values), method="fdr_bh")[1]]


def single_rate(passed: int, n: int, alpha: float) -> tuple[float, float]:
    """Wilson's interval of one rate, by statsmodels."""
    lo, hi = proportion_confint(passed, n, alpha, method="wilson")
    return float(lo), float(hi)


def prediction_powered(
    human: Sequence[float], judge: Sequence[float], unlabelled: Sequence[float], alpha: float
) -> tuple[float, float, float, float]:
    """PPI++ of a mean: estimate, interval, p-value."""
    m, n = len(human), len(unlabelled)
    tuning = float(np.cov(human, judge)[0, 1] / ((1 + m / n) * np.var(judge, ddof=1))) if len(set(judge)) > 1 else 0.0
    tuning = min(max(tuning, 0.0), 1.0)
    rest = [h - tuning * j for h, j in zip(human, judge, strict=True)]
    mean = tuning * float(np.mean(unlabelled)) + float(np.mean(rest))
    se = math.sqrt(tuning**2 * float(np.var(unlabelled, ddof=1)) / n + float(np.var(rest, ddof=1)) / m)
    half = float(stats.t.ppf(1 - alpha / 2, m - 1)) * se
    return mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / se, m - 1))
