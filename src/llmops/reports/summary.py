"""What a run came to: the numbers every report shows, from one pass over its results."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from llmops.aggregate import Aggregate
from llmops.columns import FAILED
from llmops.stats.descriptive import mean, quantile
from llmops.types import MetricInfo, Results, RunRecord, Usage, VariantInfo

BINS = 20
TOP_REASONS = 5
MAX_TAGS = 200


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cases in bins of equal width from `low` to `high`; the last bin includes `high`."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric of one variant over cases, repeats averaged. Figures are None when no case was scored.

    `deviation` is the sample standard deviation (None below two cases). `reasons` says why cases are
    unscored, the most frequent first. `by_tag` maps a tag to the mean and the scored cases it is over.
    """

    info: MetricInfo
    scored: int
    unscored: int
    reasons: tuple[tuple[str, int], ...]
    mean: float | None
    deviation: float | None
    minimum: float | None
    maximum: float | None
    histogram: Histogram | None
    by_tag: Mapping[str, tuple[float, int]]

    @property
    def worth_noting(self) -> tuple[tuple[str, int], ...]:
        """Reasons but for failed cases, which are counted as errors already."""
        return tuple(pair for pair in self.reasons if pair[0] != FAILED)


@dataclass(frozen=True, slots=True)
class VariantSummary:
    """One variant. `errors` counts trials, `error_share` is averaged over cases; latencies are in seconds.

    `first_token_p50` and `first_token_p95` are of answers that were streamed, None where none was.
    `usage` is what was paid for; `tokens_per_case` and `cost_per_case` (dollars) also count cached answers.
    """

    info: VariantInfo
    baseline: bool
    trials: int
    cases: int
    errors: int
    error_share: float
    error_kinds: Mapping[str, int]
    cached: int
    usage: Usage
    tokens_per_case: float | None
    cost_per_case: float | None
    latency_mean: float | None
    latency_p50: float | None
    latency_p95: float | None
    first_token_p50: float | None
    first_token_p95: float | None
    metrics: Mapping[str, MetricSummary]

    @property
    def name(self) -> str:
        return self.info.name


@dataclass(frozen=True)
class Summary:
    """A run's head, its variants in the suite's order, and the aggregate they were read from."""

    record: RunRecord
    variants: tuple[VariantSummary, ...]
    aggregate: Aggregate

    @property
    def cases(self) -> int:
        """Distinct cases seen in any variant."""
        return self.aggregate.total_cases

    @property
    def streamed(self) -> bool:
        """True where the time to the first token of some answer is known."""
        return any(variant.first_token_p50 is not None for variant in self.variants)

    @property
    def leading_metric(self) -> MetricInfo | None:
        """The first metric that has a better end and scored something: what cases are ranked by."""
        for info in self.record.metrics:
            if info.direction != "none" and any(v.metrics[info.name].scored for v in self.variants):
                return info
        return None

    @property
    def answers(self) -> int:
        """Finished trials of all variants: cases x repeats x variants when the run is complete."""
        return sum(variant.trials for variant in self.variants)

    def is_best(self, metric: MetricSummary) -> bool:
        """True for the better mean, or one of the best, where variants differ and the metric has a better end."""
        means = [variant.metrics[metric.info.name].mean for variant in self.variants]
        known = [value for value in means if value is not None]
        if metric.mean is None or metric.info.direction == "none" or len(set(known)) < 2:
            return False
        return metric.mean == (max(known) if metric.info.direction == "higher" else min(known))

    def value(self, name: str, variant: str, tag: str | None = None, group: str | None = None) -> float | None:
        """A number by name, as gates ask for it; see `Aggregate.value`."""
        return self.aggregate.value(name, variant, tag=tag, group=group)


def summarize(record: RunRecord, results: Results, aggregate: Aggregate | None = None) -> Summary:
    """Read all results once, unless they were counted into `aggregate` already.

    Memory grows by some hundred bytes a case, not with the size of outputs.
    """
    if aggregate is None:
        aggregate = Aggregate.of(record)
        for result in results:
            aggregate.add(result)
    known = {info.name: info for info in record.variants}
    for name in aggregate.variants:  # a run file may hold a variant its head doesn't describe
        known.setdefault(name, VariantInfo(name, ""))
    ranges = {info.name: _range(info, aggregate) for info in record.metrics}
    variants = tuple(_variant(info, record, aggregate, ranges) for info in known.values())
    return Summary(record, variants, aggregate)


def _variant(
    info: VariantInfo,
    record: RunRecord,
    aggregate: Aggregate,
    ranges: Mapping[str, tuple[float, float] | None],
) -> VariantSummary:
    name = info.name
    seconds, tokens, first = aggregate.latencies(name), aggregate.tokens(name), aggregate.first_tokens(name)
    return VariantSummary(
        info=info,
        baseline=name == record.baseline,
        trials=aggregate.trials(name),
        cases=aggregate.cases(name),
        errors=aggregate.errors(name),
        error_share=aggregate.error_share(name),
        error_kinds=aggregate.error_kinds(name),
        cached=aggregate.cached(name),
        usage=aggregate.usage(name),
        tokens_per_case=mean(tokens) if tokens else None,
        cost_per_case=aggregate.value("cost_per_case", name),
        latency_mean=mean(seconds) if seconds else None,
        latency_p50=quantile(seconds, 0.5) if seconds else None,
        latency_p95=quantile(seconds, 0.95) if seconds else None,
        first_token_p50=quantile(first, 0.5) if first else None,
        first_token_p95=quantile(first, 0.95) if first else None,
        metrics={m.name: _metric(m, name, aggregate, ranges[m.name]) for m in record.metrics},
    )


def _metric(info: MetricInfo, variant: str, aggregate: Aggregate, span: tuple[float, float] | None) -> MetricSummary:
    values = aggregate.values(variant, info.name)
    reasons = aggregate.unscored(variant, info.name)
    return MetricSummary(
        info=info,
        scored=len(values),
        unscored=sum(reasons.values()),
        reasons=tuple(list(reasons.items())[:TOP_REASONS]),
        mean=mean(values) if values else None,
        deviation=_deviation(values),
        minimum=min(values) if values else None,
        maximum=max(values) if values else None,
        histogram=_histogram(values, span) if values and span else None,
        by_tag=_by_tag(info.name, variant, aggregate),
    )


def _by_tag(metric: str, variant: str, aggregate: Aggregate) -> dict[str, tuple[float, int]]:
    found = {}
    for tag in list(aggregate.tags)[:MAX_TAGS]:
        values = aggregate.values(variant, metric, tag=tag)
        if values:
            found[tag] = (mean(values), len(values))
    return found


def _deviation(values: array[float]) -> float | None:
    if len(values) < 2:
        return None
    middle = mean(values)
    spread = math.sqrt(math.fsum((value - middle) * (value - middle) for value in values) / (len(values) - 1))
    return spread if math.isfinite(spread) else None


def _range(info: MetricInfo, aggregate: Aggregate) -> tuple[float, float] | None:
    """One range for all variants, so that their histograms can be compared."""
    ends = [end for end in (info.low, info.high) if end is not None]
    observed = False
    for variant in aggregate.variants:
        values = aggregate.values(variant, info.name)
        if values:
            observed = True
            ends += [min(values), max(values)]
    if not observed:
        return None
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _histogram(values: array[float], span: tuple[float, float]) -> Histogram:
    low, high = span
    counts = [0] * BINS
    width = high / BINS - low / BINS
    for value in values:
        place = int((value - low) / width) if width else 0
        counts[min(max(place, 0), BINS - 1)] += 1
    return Histogram(low, high, tuple(counts))
