"""The gain of a candidate with its interval, p-value and pass bound, by the estimator that fits the data.

Tango's score interval with McNemar's mid-p for independent pass/fail cases, the paired t interval with a skew-safe
bound for other scores, CR2 standard errors with Bell–McCaffrey degrees of freedom for clustered cases, and
prediction-powered inference where people's labels say that the judge errs differently on the two sides.
docs/statistics.md says why.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmops.evals.comparison_rules import ComparisonSettings
from llmops.stats.clusters import clustered_t
from llmops.stats.paired import binary_interval, paired_t, sign_flip_p, skew_safe_bound
from llmops.stats.planning import binary_se
from llmops.stats.special import t_quantile, t_tail
from llmops.types import MetricInfo, MetricKind

MIN_BINARY, MIN_CASES, MIN_GROUPS = 10, 20, 6
FEW = 30  # below this many cases the sign-flip test is shown beside t
TANGO = "Tango score interval, McNemar mid-p"
Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Noise:
    """Variance of a mean difference, estimated from repeats, with Welch–Satterthwaite degrees of freedom."""

    variance: float
    df: float


@dataclass(frozen=True)
class Paired:
    """Scores of two sides by case: `a` the baseline's, `b` the candidate's, repeats averaged, none of them NaN.

    `groups` are codes of clusters, None when every case is its own. `errors_a` and `errors_b` count cases with a
    failed answer, which scored the worst value; `failed_a` and `failed_b` are the shares of answers that failed.
    `noise` is what the answers' own randomness does to the mean difference, None without repeats.
    `places` say where the cases stand in the table they are from.
    """

    ids: Sequence[str]
    a: Numbers
    b: Numbers
    groups: Codes | None = None
    errors_a: int = 0
    errors_b: int = 0
    failed_a: float = 0.0
    failed_b: float = 0.0
    unscored_a: int = 0
    unscored_b: int = 0
    noise: Noise | None = None
    places: Codes | None = None

    @property
    def unscored(self) -> int:
        """Cases left out because one side has no score."""
        return self.unscored_a + self.unscored_b

    def of(self, places: Codes) -> Paired:
        """The pairs at these places alone, without ids."""
        groups = None if self.groups is None else clusters(self.groups[places])
        return Paired((), self.a[places], self.b[places], groups)


@dataclass(frozen=True)
class Labels:
    """People's labels of both sides' answers: differences candidate − baseline by people and by the judge.

    `cases` are the ids they are of, in the same order; the judge's other cases are the unlabelled ones.
    """

    human: Numbers
    judge: Numbers
    cases: Collection[str] = ()


@dataclass(frozen=True)
class Estimate:
    mean: float
    se: float
    lo: float
    hi: float
    p: float
    lo_safe: float
    method: str
    groups: int | None = None
    design_effect: float = 1.0
    sign_flip: float | None = None
    too_few: str = ""


def kind_of(info: MetricInfo, a: Numbers, b: Numbers) -> MetricKind:
    """What the values are: pass or fail, grades, shares of a range, or amounts without one."""
    both = np.concatenate([a, b])
    if info.low is None or info.high is None or info.high <= info.low:
        return "number"
    if bool(np.all((both == info.low) | (both == info.high))):
        return "binary"
    whole = bool(np.all(both == np.floor(both)))
    return "ordinal" if whole and info.high - info.low > 1 else "bounded"


def clusters(codes: Codes) -> Codes | None:
    """Codes of clusters, or None when no two cases share one. -1 is a case on its own."""
    own = codes < 0
    grouped = np.sort(codes[~own])
    if not (grouped[1:] == grouped[:-1]).any():
        return None
    if own.any():
        codes = codes.copy()
        codes[own] = codes.max(initial=0) + 1 + np.arange(int(own.sum()))
    return codes


def range_of(info: MetricInfo, kind: MetricKind, pairs: Paired) -> tuple[float, float]:
    """The metric's range, widened by scores outside of it: a bound must not rest on a range that doesn't hold."""
    if kind == "preference":  # who won, on one side, or on both with opposite signs
        return (0.0, 1.0) if float(np.abs(pairs.b - pairs.a).max()) <= 1 else (-1.0, 1.0)
    seen = (float(min(pairs.a.min(), pairs.b.min())), float(max(pairs.a.max(), pairs.b.max())))
    low = seen[0] if info.low is None or kind == "number" else min(info.low, seen[0])
    high = seen[1] if info.high is None or kind == "number" else max(info.high, seen[1])
    return low, high


@dataclass(frozen=True)
class Measured:
    """Pairs measured: their gains in the metric's unit, its range, and the estimate of the mean gain.

    `flips` is True when each case has one outcome of two on each side. Repeats that differ are no longer that.
    """

    kind: MetricKind
    low: float
    high: float
    gains: Numbers
    found: Estimate
    flips: bool = False

    @property
    def span(self) -> float:
        return self.high - self.low


def measure(
    info: MetricInfo,
    pairs: Paired,
    settings: ComparisonSettings,
    alpha: float,
    kind: MetricKind | None = None,
    labels: Labels | None = None,
) -> Measured:
    """The estimate of a metric's mean gain over one pair or more, by the estimator that fits them."""
    kind = kind or kind_of(info, pairs.a, pairs.b)
    low, high = range_of(info, kind, pairs)
    span = high - low
    sign = -1.0 if info.direction == "lower" else 1.0
    gains = sign * (pairs.b - pairs.a)
    gains[np.abs(gains) < 1e-12 * max(span, 1e-300)] = 0.0
    ends = (pairs.a == low) | (pairs.a == high), (pairs.b == low) | (pairs.b == high)
    flips = kind == "binary" and all(bool(side.all()) for side in ends)
    if settings.population == "fixed":
        found = _fixed(gains, pairs, alpha)
    elif labels is not None:
        labelled = frozenset(labels.cases)
        alone = np.array([case not in labelled for case in pairs.ids], dtype=bool)
        groups = None if pairs.groups is None else _groups_of(pairs, labels, alone)
        found = _prediction_powered(gains[alone], sign * labels.human, sign * labels.judge, span, alpha, groups)
    elif pairs.groups is not None:
        found = _clustered(gains, span, pairs.groups, alpha, flips)
    elif flips:
        found = _pass_or_fail(gains, span, alpha)
    else:
        found = _paired(gains, span, alpha)
    return Measured(kind, low, high, gains, found if kind == "number" else _within(found, span), flips)


def _within(found: Estimate, span: float) -> Estimate:
    """No mean gain is beyond the range of the metric, whatever an interval of few cases says."""
    lo, hi, lo_safe = (min(max(end, -span), span) for end in (found.lo, found.hi, found.lo_safe))
    return replace(found, lo=lo, hi=hi, lo_safe=lo_safe)


def _too_few(size: int, flips: bool, groups: int | None = None) -> str:
    """What holds a verdict back because there is too little of it, or nothing."""
    if groups is not None and groups < MIN_GROUPS:
        of = "group" if groups == 1 else "groups"
        return f"the cases are of {groups} {of} (one document, one user), and it takes {MIN_GROUPS} groups to tell"
    what, least = ("pass or fail needs", MIN_BINARY) if flips else ("scores need", MIN_CASES)
    return f"{size} {'case' if size == 1 else 'cases'}, {what} {least}" if size < least else ""


def _pass_or_fail(gains: Numbers, span: float, alpha: float) -> Estimate:
    size, unit = len(gains), span or 1.0
    gained, lost = int(np.count_nonzero(gains > 0)), int(np.count_nonzero(gains < 0))
    found = binary_interval(gained, lost, size, alpha)
    se = binary_se(gained, lost, size)  # no case that differs is no proof that none can
    return Estimate(
        found.mean * unit,
        se * unit,
        found.lo * unit,
        found.hi * unit,
        found.p,
        found.lo * unit,
        TANGO,
        too_few=_too_few(size, True),
    )


def _paired(gains: Numbers, span: float, alpha: float) -> Estimate:
    size = len(gains)
    few = _too_few(size, False)
    found = paired_t(gains, alpha)
    safe = min(found.lo, skew_safe_bound(gains, span, alpha)) if span > 0 and size > 1 else found.lo
    flip = sign_flip_p(gains) if 1 < size < FEW else None
    made = Estimate(found.mean, found.se, found.lo, found.hi, found.p, safe, "paired t", sign_flip=flip, too_few=few)
    return _with_width(made, span)


def _clustered(gains: Numbers, span: float, groups: Codes, alpha: float, flips: bool) -> Estimate:
    found = clustered_t(gains, groups, alpha)
    few = _too_few(len(gains), flips, found.groups)
    # Groups that even out by chance are no more cases than there are: uncapped, "no drop" is wrong up to 4.9 %.
    effect = max(1.0, found.design_effect) if math.isfinite(found.design_effect) else 1.0
    safe = min(found.lo, skew_safe_bound(gains, span, alpha, len(gains) / effect)) if span > 0 else found.lo
    method = "CR2 with Bell–McCaffrey degrees of freedom, by group"
    made = Estimate(found.mean, found.se, found.lo, found.hi, found.p, safe, method, found.groups, effect, too_few=few)
    return _with_width(made, span)


def _with_width(found: Estimate, span: float) -> Estimate:
    """Where nothing differs, or groups even out but for rounding: no interval without a width, and no test to pass."""
    if found.se > 0 or abs(found.mean) > 1e-12 * span:
        return found
    return replace(found, mean=0.0, lo=found.lo_safe, hi=-found.lo_safe, p=1.0)


def _fixed(gains: Numbers, pairs: Paired, alpha: float) -> Estimate:
    """Only the answers' own randomness counts: did this very set of cases get worse?"""
    mean, size = float(gains.mean()), len(gains)
    noise = pairs.noise
    if noise is None or noise.variance <= 0:
        few = "population: fixed needs repeats of every case"
        if noise is not None:
            few = "no repeat differs from another, so how much answers vary isn't known"
        return Estimate(mean, math.inf, -math.inf, math.inf, 1.0, -math.inf, "fixed cases", too_few=few)
    se = math.sqrt(noise.variance)
    width = t_quantile(1 - alpha / 2, noise.df) * se
    p, few = 2 * t_tail(abs(mean) / se, noise.df), _too_few(size, False)
    return Estimate(
        mean, se, mean - width, mean + width, p, mean - width, "fixed cases, answers' variance", too_few=few
    )


def _groups_of(pairs: Paired, labels: Labels, alone: NDArray[np.bool_]) -> Codes:
    """Groups of the labelled cases, then of the others; one that isn't among the pairs is a group of its own."""
    assert pairs.groups is not None
    known = dict(zip(pairs.ids, pairs.groups.tolist(), strict=True))
    more = int(pairs.groups.max()) + 1
    told = [known.get(case, more + place) for place, case in enumerate(labels.cases)]
    return np.concatenate((np.array(told, dtype=np.int64), pairs.groups[alone]))


def _prediction_powered(
    unlabelled: Numbers, human: Numbers, judge: Numbers, span: float, alpha: float, groups: Codes | None
) -> Estimate:
    from llmops.stats.prediction import ppi

    told = MIN_GROUPS if groups is None else len(np.unique(groups[: len(human)]))
    found = ppi(human, judge, unlabelled, alpha, groups=None if told == 1 else groups)
    few = f"people's labels are of {told} groups, clustered cases need {MIN_GROUPS}" if told < MIN_GROUPS else ""
    method = f"prediction-powered (PPI++), {found.labelled} labelled pairs{', by group' * (groups is not None)}"
    # What the labels never showed can still be there: the bound of the errors they correct, as of any other scores.
    seen = found.weight * float(unlabelled.mean()) if len(unlabelled) else 0.0
    corrected = human - found.weight * judge
    alike = float(corrected.var(ddof=1)) / len(human)
    effective = len(human) / max(1.0, found.se**2 / alike) if groups is not None and alike > 0 else None
    safe = min(found.lo, seen + skew_safe_bound(corrected, span * (1 + found.weight), alpha, effective))
    count = None if groups is None else len(np.unique(groups))
    made = Estimate(found.mean, found.se, found.lo, found.hi, found.p, safe, method, count, too_few=few)
    return _with_width(made, span)
