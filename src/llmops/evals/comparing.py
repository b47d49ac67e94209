"""One metric of a candidate against a baseline: its estimate, and the verdict that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmops.evals.comparison_rules import CANDIDATE_UNSCORED, ComparisonSettings
from llmops.evals.estimates import MIN_BINARY, MIN_CASES, TANGO, Estimate, Labels, Measured, Numbers, Paired, measure
from llmops.stats.multiplicity import holm
from llmops.stats.planning import binary_variance, bounded_floor, cases_needed, smallest_drop
from llmops.types import MetricComparison, MetricInfo, MetricKind, SliceComparison, Verdict

MIN_CORPUS = 50
MAX_ERROR_SHARE = 0.02
BASELINE_UNSCORED = "cases have no score of the baseline's"
CANDIDATE_FAILED, BASELINE_FAILED = "of the candidate's answers failed", "of the baseline's answers failed"


def compare_metric(
    info: MetricInfo,
    pairs: Paired,
    *,
    margin: float,
    settings: ComparisonSettings,
    alpha: float | None = None,
    kind: MetricKind | None = None,
    labels: Labels | None = None,
) -> MetricComparison:
    """The comparison of one metric, as if it were the only guard (see `with_holm`).

    `margin` is in the metric's unit; `alpha` is the level of this look, the settings' when it is None. `kind` is
    found from the values when it isn't given; `labels` make it prediction-powered. Without any pair the verdict is
    inconclusive.
    """
    level = settings.alpha if alpha is None else alpha
    size = len(pairs.a)
    if not size:
        return _nothing(info, kind or "bounded", margin, level, pairs)
    made = measure(info, pairs, settings, level, kind, labels)
    found = made.found
    verdict = decide(found.lo, found.hi, found.p, found.lo_safe, margin, level)
    why = _holds_back(found, pairs)
    broke, fixed = _moved(made, pairs.ids, margin)
    return MetricComparison(
        info=replace(info, low=made.low, high=made.high) if made.kind != "number" else info,
        kind=made.kind,
        n=size,
        groups=found.groups,
        mean_a=_rounded(float(pairs.a.mean())),
        mean_b=_rounded(float(pairs.b.mean())),
        diff=found.mean,
        ci=(found.lo, found.hi),
        p=found.p,
        lo_safe=found.lo_safe,
        method=found.method,
        verdict="inconclusive" if why else verdict,
        margin=margin,
        alpha=level,
        mde=_mde(made, settings),
        n_needed=_needed(made, margin, settings),
        broke=broke,
        fixed=fixed,
        errors_a=pairs.errors_a,
        errors_b=pairs.errors_b,
        unscored=pairs.unscored,
        p_sign_flip=found.sign_flip,
        why=tuple(why),
    )


def compare_slice(
    tag: str,
    info: MetricInfo,
    pairs: Paired,
    settings: ComparisonSettings,
    alpha: float | None = None,
    kind: MetricKind | None = None,
) -> SliceComparison:
    """One metric on the cases with a tag; see `compare_metric`. There is one pair or more."""
    level, sampled = settings.alpha if alpha is None else alpha, replace(settings, population="sample")
    found = measure(info, pairs, sampled, level, kind).found
    mean_a, mean_b = _rounded(float(pairs.a.mean())), _rounded(float(pairs.b.mean()))
    return SliceComparison(tag, info.name, len(pairs.a), mean_a, mean_b, found.mean, (found.lo, found.hi), found.p)


def compare_percentile(
    info: MetricInfo,
    q: float,
    pairs: Paired,
    *,
    margin: float,
    settings: ComparisonSettings,
    alpha: float | None = None,
) -> MetricComparison:
    """The `q` quantile (0 to 1) of each side, by a paired (cluster) bootstrap."""
    from llmops.stats.bootstrap import paired_bootstrap

    level = settings.alpha if alpha is None else alpha
    size = len(pairs.a)
    if not size:
        return _nothing(info, "number", margin, level, pairs)
    sign = -1.0 if info.direction == "lower" else 1.0

    def statistic(values: Numbers, axis: int = -1) -> Any:
        return sign * np.quantile(values, q, axis=axis)

    found = paired_bootstrap(statistic, pairs.a, pairs.b, pairs.groups, alpha=level)
    groups = None if pairs.groups is None else len(np.unique(pairs.groups))
    few = f"{size} cases, a percentile needs {MIN_CORPUS}" if size < MIN_CORPUS else ""
    made = Estimate(
        found.mean, found.se, found.lo, found.hi, found.p, found.lo, "paired bootstrap", groups, too_few=few
    )
    why = _holds_back(made, pairs)
    verdict = decide(made.lo, made.hi, made.p, made.lo_safe, margin, level)
    return MetricComparison(
        info, "number", size, float(np.quantile(pairs.a, q)), float(np.quantile(pairs.b, q)), made.mean,
        (made.lo, made.hi), made.p, made.lo_safe, made.method, "inconclusive" if why else verdict, margin, level,
        groups, smallest_drop(made.se, settings.alpha, settings.power), None, why=tuple(why),
    )  # fmt: skip


def decide(lo: float, hi: float, p: float, lo_safe: float, margin: float, alpha: float) -> Verdict:
    """The verdict that an interval, a p-value and a pass bound of the gain allow. `p` is adjusted for the guards."""
    no_worse = lo_safe > -margin if margin > 0 else lo > 0
    if lo > 0 and p <= alpha and no_worse:
        return "improved"
    if no_worse:
        return "equivalent"
    return "regressed" if hi < 0 and p <= alpha else "inconclusive"


def with_holm(metrics: Sequence[MetricComparison]) -> list[MetricComparison]:
    """Guard metrics with p-values adjusted for all of them, and their verdicts made again with those.

    Only falls count for a regression: a gain's p-value is 1 among the others'.
    """
    guards = [i for i, metric in enumerate(metrics) if metric.guard]
    adjusted = dict(zip(guards, holm([metrics[i].p if metrics[i].diff < 0 else 1.0 for i in guards]), strict=True))
    return [
        replace(m, p_holm=adjusted[i], verdict=_with_p(m, adjusted[i])) if i in adjusted else m
        for i, m in enumerate(metrics)
    ]


def _with_p(metric: MetricComparison, p: float) -> Verdict:
    if metric.verdict != "regressed" or p <= metric.alpha:
        return metric.verdict
    return "inconclusive"


def _holds_back(found: Estimate, pairs: Paired) -> list[str]:
    why = [found.too_few] if found.too_few else []
    why += _too_many_failed(pairs)
    most = MAX_ERROR_SHARE * (pairs.unscored + len(pairs.a))
    why += [f"{count} {whose}" for count, whose in _lacking(pairs) if count > most]
    return why


def _too_many_failed(pairs: Paired) -> list[str]:
    shares = ((pairs.failed_a, BASELINE_FAILED), (pairs.failed_b, CANDIDATE_FAILED))
    return [f"{share:.1%} {whose}" for share, whose in shares if share > MAX_ERROR_SHARE]


def _lacking(pairs: Paired) -> tuple[tuple[int, str], ...]:
    return ((pairs.unscored_a, BASELINE_UNSCORED), (pairs.unscored_b, CANDIDATE_UNSCORED))


def _moved(made: Measured, ids: Sequence[str], margin: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cases that fell or rose by more than is tolerated of the mean, worst and best first."""
    least = 0.0 if made.kind in ("binary", "preference") else max(margin, 1e-9 * made.span)
    if made.kind == "ordinal":
        least = 1 - 1e-9  # a step
    order = np.argsort(made.gains, kind="stable")
    ordered = made.gains[order]
    broke, fixed = order[ordered < -least], order[ordered > least]
    fixed = fixed[np.argsort(-made.gains[fixed], kind="stable")]
    return tuple([ids[i] for i in broke.tolist()]), tuple([ids[i] for i in fixed.tolist()])


def _mde(made: Measured, settings: ComparisonSettings) -> float | None:
    """The smallest drop these cases show; where none of them differs, what the pass bound leaves open."""
    found = made.found
    if not math.isfinite(found.se):
        return None
    least = smallest_drop(found.se, settings.alpha, settings.power) or found.mean - found.lo_safe
    if made.kind == "number":
        return least or None
    return min(least, made.span)


def _needed(made: Measured, margin: float, settings: ComparisonSettings) -> int | None:
    """Cases with which a drop of `margin` would be noticed, judged by how much these cases differ."""
    gains, span, found = made.gains, made.span, made.found
    if margin <= 0 or span <= 0 or not math.isfinite(found.se) or len(gains) < 2:
        return None
    if made.flips:
        drop = margin / span
        share = np.count_nonzero(gains) / len(gains)  # where none differs, no more can be said than that few do
        variance = binary_variance(min(1.0, max(share, drop, 2 / (len(gains) + 2))), drop)
    else:
        variance, drop = float(gains.var(ddof=1)), margin
    wanted = cases_needed(variance, drop, settings.alpha, settings.power, found.design_effect) if variance > 0 else 1
    if made.kind == "number":
        return max(wanted, MIN_CASES)
    return max(wanted, MIN_BINARY if found.method == TANGO else bounded_floor(margin, span, settings.alpha))


def _nothing(info: MetricInfo, kind: MetricKind, margin: float, alpha: float, pairs: Paired) -> MetricComparison:
    why = [f"{count} {whose}" for count, whose in _lacking(pairs) if count] or ["no case has a score on both sides"]
    why += _too_many_failed(pairs)
    return MetricComparison(
        info, kind, 0, None, None, 0.0, (-math.inf, math.inf), 1.0, -math.inf, "none", "inconclusive", margin, alpha,
        unscored=pairs.unscored, why=tuple(why),
    )  # fmt: skip


def _rounded(value: float) -> float:
    """Without the last bits of a sum: 0.1 + 0.2 over 2 cases is 0.15."""
    return float(f"{value:.15g}")
