"""Candidates of a run against their baselines: every metric, the guards with Holm, tags, and what the gates say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llmops.aggregate import Aggregate
from llmops.evals.comparing import CANDIDATE_FAILED, compare_metric, compare_percentile, compare_slice, with_holm
from llmops.evals.comparison_rules import MEASURES, ComparisonGate, ComparisonSettings, margin_amount
from llmops.evals.estimates import Labels
from llmops.evals.pairing import cases_of, is_measure, paired
from llmops.stats.multiplicity import benjamini_hochberg
from llmops.types import (
    Comparison,
    GateOutcome,
    MetricComparison,
    MetricInfo,
    MetricKind,
    SliceComparison,
    Stopping,
)

MAX_SLICES = 40
NAMED = 5  # broken cases that a failed gate names
MIN_SLICE = 5
FALSE_DISCOVERY = 0.10
SHOWN = ("latency_mean", "tokens_per_case", "cost_per_case")
UNEVEN_CACHE = 0.2

LabelsFor = Callable[[str, str, str], Labels | None]
"""People's labels for a metric, a candidate and its baseline, where comparing them needs correction."""


@dataclass(frozen=True)
class Compared:
    """What is compared and how. `pairs` are candidate and baseline; `kinds` those of metrics that were told.

    `shown` are measures that are compared, where they were taken, though no gate is about them.
    """

    metrics: Sequence[MetricInfo]
    pairs: Sequence[tuple[str, str]]
    gates: Sequence[ComparisonGate] = ()
    settings: ComparisonSettings = field(default_factory=ComparisonSettings)
    kinds: Mapping[str, MetricKind] = field(default_factory=dict)
    labels: LabelsFor | None = None
    shown: Sequence[str] = SHOWN

    def margins(self, candidate: str) -> dict[str, str]:
        """Guard metrics of a candidate with their margins as written."""
        found: dict[str, str] = {}
        for gate in self.gates:
            if gate.variant in (None, candidate):
                for name, margin in gate.metrics:
                    found[name] = found.get(name) or margin
        return found


def compare_all(
    wanted: Compared,
    aggregate: Aggregate,
    *,
    alpha: float | None = None,
    stopping: Stopping | None = None,
    slices: bool = True,
) -> tuple[Comparison, ...]:
    """A comparison for each pair. `alpha` is the level of this look; Holm is over the guards of all pairs."""
    ids = aggregate.ids
    raw = [_metrics(wanted, aggregate, ids, candidate, baseline, alpha) for candidate, baseline in wanted.pairs]
    adjusted = iter(with_holm([metric for metrics in raw for metric in metrics]))
    made = []
    for (candidate, baseline), metrics in zip(wanted.pairs, raw, strict=True):
        both, only_a, only_b = cases_of(aggregate, baseline, candidate)
        made.append(
            Comparison(
                baseline,
                candidate,
                both,
                tuple(next(adjusted) for _ in metrics),
                _slices(wanted, aggregate, ids, candidate, baseline, alpha) if slices else (),
                only_a,
                only_b,
                stopping,
            )
        )
    return tuple(made)


def _metrics(
    wanted: Compared, aggregate: Aggregate, ids: Sequence[str], candidate: str, baseline: str, alpha: float | None
) -> list[MetricComparison]:
    guards = wanted.margins(candidate)
    infos = {info.name: info for info in wanted.metrics if info.direction != "none"}
    infos |= {name: MEASURES[name] for name in (*wanted.shown, *guards) if name in MEASURES and name not in infos}
    ordered = [*guards, *(name for name in infos if name not in guards)]
    made = []
    for name in ordered:
        info = infos[name]
        pairs = paired(aggregate, baseline, candidate, info, ids, wanted.kinds.get(info.name))
        # How times vary between answers isn't kept, so they are a sample of their kind in any case.
        timed = is_measure(aggregate, baseline, name)
        settings = replace(wanted.settings, population="sample") if timed else wanted.settings
        if not len(pairs.a) and name in MEASURES and name not in guards:
            continue
        mean = float(pairs.a.mean()) if len(pairs.a) else 0.0
        margin = margin_amount(guards.get(name) or wanted.settings.margin, info, mean)
        percentile = _percentile(name) if timed else 0
        if percentile:
            one = compare_percentile(info, percentile / 100, pairs, margin=margin, settings=settings, alpha=alpha)
        else:
            labels = wanted.labels(name, candidate, baseline) if wanted.labels is not None else None
            one = compare_metric(
                info,
                pairs,
                margin=margin,
                settings=settings,
                alpha=alpha,
                kind=wanted.kinds.get(name),
                labels=labels,
            )
        if timed and name.startswith("latency_"):
            one = _measured_alike(one, aggregate, baseline, candidate)
        made.append(replace(one, guard=name in guards))
    return made


def _measured_alike(one: MetricComparison, aggregate: Aggregate, baseline: str, candidate: str) -> MetricComparison:
    """No verdict on times of which one side's were measured now and the other's are remembered."""
    timed = [(aggregate.cached(name), sum(aggregate.columns(name).timed)) for name in (baseline, candidate)]
    shares = [min(1.0, cached / max(1, all_of)) for cached, all_of in timed]
    if abs(shares[0] - shares[1]) <= UNEVEN_CACHE:
        return one
    said = f"{shares[0]:.0%} of the baseline's answers and {shares[1]:.0%} of the candidate's were not asked now"
    why = f"{said}: they have the time they took then; --against with --refresh measures both"
    return replace(one, verdict="inconclusive", mde=None, n_needed=None, why=(*one.why, why))


def _percentile(name: str) -> int:
    """95 of `latency_p95`, 0 of what is no percentile."""
    digits = name.removeprefix("latency_p") if name in MEASURES else ""
    return int(digits) if digits.isdigit() else 0


def _slices(
    wanted: Compared, aggregate: Aggregate, ids: Sequence[str], candidate: str, baseline: str, alpha: float | None
) -> tuple[SliceComparison, ...]:
    """Each metric by tag, most frequent tags first; what stands out after Benjamini–Hochberg is marked."""
    made: list[SliceComparison] = []
    tags = [tag for tag, cases in aggregate.tags.items() if cases >= MIN_SLICE][:MAX_SLICES]
    with_tag = {tag: np.asarray(aggregate.places(tag), dtype=np.int64) for tag in tags}
    for info in wanted.metrics if tags else ():
        if info.direction == "none" or is_measure(aggregate, baseline, info.name):
            continue
        pairs = paired(aggregate, baseline, candidate, info, ids, wanted.kinds.get(info.name))
        where = np.full(aggregate.total_cases, -1)
        where[pairs.places] = np.arange(len(pairs.a))
        for tag, places in with_tag.items():
            found = where[places]
            found = np.sort(found[found >= 0])
            if len(found) >= MIN_SLICE:
                kind = wanted.kinds.get(info.name)
                made.append(compare_slice(tag, info, pairs.of(found), wanted.settings, alpha, kind))
    adjusted = benjamini_hochberg([one.p for one in made])
    # At an early look the share of false marks shrinks as the level does, and a mark never contradicts its interval.
    most = FALSE_DISCOVERY * (1.0 if alpha is None else min(1.0, alpha / wanted.settings.alpha))
    return tuple(
        replace(one, notable=p <= most and not one.ci[0] <= 0 <= one.ci[1])
        for one, p in zip(made, adjusted, strict=True)
    )


def decide_comparisons(
    gates: Sequence[ComparisonGate], comparisons: Sequence[Comparison], candidates: Sequence[str], against: str = ""
) -> tuple[GateOutcome, ...]:
    """What each gate says of each candidate's metrics; without a baseline nothing is decided."""
    found = {comparison.candidate: comparison for comparison in comparisons}
    outcomes = []
    for gate in gates:
        for candidate in candidates:
            if gate.variant in (None, candidate):
                outcomes += [
                    _outcome(gate, name, margin, candidate, found.get(candidate), against)
                    for name, margin in gate.metrics
                ]
    return tuple(outcomes)


def _outcome(
    gate: ComparisonGate, name: str, margin: str, candidate: str, comparison: Comparison | None, against: str
) -> GateOutcome:
    rule = f"{gate.demand}: {name}" + (f" within {margin}" if margin else "")
    strict = gate.demand != "no-regression"
    one = next((m for m in comparison.metrics if m.metric == name), None) if comparison is not None else None
    if one is None:
        detail = "nothing to compare with: add --against REF, --baseline RUN, or a baseline: to the suite"
        if against:
            detail = f"nothing to compare with at {against}: only prompts that run there have a counterpart"
        return GateOutcome(rule, candidate, "undecided", None, detail, strict)
    passes = {
        "no-regression": ("improved", "equivalent"),
        "no-worse": ("improved", "equivalent"),
        "better": ("improved",),
    }
    fails = {"no-regression": ("regressed",), "no-worse": ("regressed",), "better": ("regressed", "equivalent")}
    detail = "; ".join((one.verdict, *one.why))
    change = -one.diff if one.info.direction == "lower" else one.diff
    if one.verdict in passes[gate.demand]:
        return GateOutcome(rule, candidate, "pass", change, detail, strict)
    if one.verdict in fails[gate.demand]:
        return GateOutcome(rule, candidate, "fail", change, detail + _broken(one), strict)
    too_many_failed = any(why.endswith(CANDIDATE_FAILED) for why in one.why)
    value = change if one.n else None
    return GateOutcome(rule, candidate, "undecided", value, detail, strict or too_many_failed)


def _broken(metric: MetricComparison) -> str:
    """`: i7, i12, i3 and 8 more broke`, the worst first; nothing for percentiles, which no case decides."""
    shown, more = ", ".join(metric.broke[:NAMED]), len(metric.broke) - NAMED
    return f": {shown}{f' and {more:,} more' * (more > 0)} broke" if shown else ""
