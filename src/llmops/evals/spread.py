"""How much a metric's differences between two variants spread from case to case, as past runs show it or by default."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops.aggregate import Aggregate
from llmops.evals.estimates import kind_of
from llmops.stats.clusters import clustered_t
from llmops.stats.planning import DEVIATION, DISCORDANCE, binary_variance, repeated_variance
from llmops.types import MetricInfo

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """Statistics of a past run, and the pairs of its variants (baseline, candidate) to learn from."""

    aggregate: Aggregate
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Variance of differences by case, in squares of the metric's range (of its unit where it has none).

    `discordance` is the share of cases that differ, of a metric that passes or fails. `between` is the variance
    between cases and `within` that between answers to one case, both variants' summed: None without repeats, when
    `between` holds all of it. `design_effect` is how many cases of one group count as one, None when unknown. `pairs`
    counts the pairs of scores that tell so, over `runs` runs: 0 for a default. `scored` is the share of cases that
    have a score of both variants.
    """

    between: float
    within: float | None = None
    discordance: float | None = None
    design_effect: float | None = None
    scored: float = 1.0
    pairs: int = 0
    runs: int = 0

    @property
    def binary(self) -> bool:
        return self.discordance is not None

    def variance(self, drop: float, repeats: float = 1) -> float:
        """The variance to expect with `repeats` answers a case when the mean falls by `drop`, in the same unit."""
        if self.discordance is not None:  # a mean that falls by `drop` needs as many cases that differ
            return binary_variance(min(1.0, max(self.discordance, drop)), drop)
        return self.between if self.within is None else repeated_variance(self.between, self.within, repeats)


def range_of(info: MetricInfo) -> float | None:
    """High minus low; None for a metric without a range."""
    if info.low is None or info.high is None or not 0 < info.high - info.low < math.inf:
        return None
    return info.high - info.low


def assumed_spread(binary: bool) -> Spread:
    """What to expect where nothing was seen: 16 % of cases differ, or a deviation of a quarter of the range."""
    return Spread(DISCORDANCE, discordance=DISCORDANCE) if binary else Spread(DEVIATION**2)


def looks_binary(info: MetricInfo, histories: Iterable[History]) -> bool:
    """Whether past runs gave this metric nothing but its lowest and highest score."""
    found = False
    for history in histories:
        for variant in history.aggregate.variants:
            if info.name in history.aggregate.metrics:
                values = np.asarray(history.aggregate.values(variant, info.name))
                if len(values) and kind_of(info, values, values) != "binary":
                    return False
                found = found or len(values) > 0
    return found


def seen_spread(info: MetricInfo, histories: Iterable[History]) -> Spread | None:
    """What past runs show, pooled over their pairs of variants; None when they show nothing.

    Variants that scored alike on every metric and case say nothing of how far a change can move a score, so they
    don't count.
    """
    seen = [
        (number, one)
        for number, history in enumerate(histories)
        for pair in history.pairs
        if info.name in history.aggregate.metrics and _differ(history.aggregate, *pair)
        if (one := _paired(info, history.aggregate, *pair)) is not None
    ]
    if not seen:
        return None
    runs, pairs = len({number for number, _ in seen}), [one for _, one in seen]
    return _pooled(pairs, runs)


@dataclass(frozen=True, slots=True)
class _Pair:
    size: int
    cases: int
    variance: float
    within: float | None
    repeats: float
    differing: int
    binary: bool
    design_effect: float | None


def _pooled(pairs: list[_Pair], runs: int) -> Spread:
    size = sum(pair.size for pair in pairs)
    scored = size / sum(pair.cases for pair in pairs)
    effects = [(pair.design_effect, pair.size) for pair in pairs if pair.design_effect is not None]
    effect = max(1.0, _mean(effects)) if effects else None
    repeated = [(pair, pair.within) for pair in pairs if pair.within is not None]
    if repeated:
        within = _mean((noise, pair.size) for pair, noise in repeated)
        left = [(pair.variance - noise / pair.repeats, pair.size - 1) for pair, noise in repeated]
        return Spread(max(0.0, _mean(left)), within, None, effect, scored, size, runs)
    variance = _mean((pair.variance, pair.size - 1) for pair in pairs)
    if not all(pair.binary for pair in pairs):
        return Spread(variance, None, None, effect, scored, size, runs)
    # No case that differed is no proof that none can: at least two in as many and two more.
    discordance = max(sum(pair.differing for pair in pairs) / size, 2 / (size + 2))
    return Spread(variance, None, discordance, effect, scored, size, runs)


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    values = list(weighted)
    return math.fsum(value * weight for value, weight in values) / math.fsum(weight for _, weight in values)


def _paired(info: MetricInfo, aggregate: Aggregate, baseline: str, candidate: str) -> _Pair | None:
    a, b = (np.asarray(aggregate.column(name, info.name)) for name in (baseline, candidate))
    there = np.isfinite(a) & np.isfinite(b)
    size = int(there.sum())
    if size < 2:
        return None
    unit = range_of(info) or 1.0
    differences = (b - a)[there] / unit
    variance = float(differences.var(ddof=1))
    if not math.isfinite(variance):
        return None
    noise = [_noise(aggregate, name, info.name, there) for name in (baseline, candidate)]
    within = None if None in noise else sum(one[0] for one in noise if one is not None) / unit**2
    repeats = min((one[1] for one in noise if one is not None), default=1.0)
    single = within is None and kind_of(info, a[there], b[there]) == "binary"
    effect = _design_effect(differences, np.asarray(aggregate.groups)[there])
    both = min(aggregate.cases(baseline), aggregate.cases(candidate))
    return _Pair(size, max(size, both), variance, within, repeats, int(np.count_nonzero(differences)), single, effect)


def _noise(aggregate: Aggregate, variant: str, metric: str, there: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Variance between answers to one case, averaged over cases, and the (harmonic) mean number of answers."""
    scores = aggregate.columns(variant).scores[metric]
    counts = _filled(scores.counts, len(there))[there]
    if counts.min() < 2:
        return None
    sums, squares = _filled(scores.sums, len(there))[there], _filled(scores.squares, len(there))[there]
    variances = np.maximum(squares - sums * sums / counts, 0.0) / (counts - 1)
    return float(variances.mean()), float(1 / np.mean(1 / counts))


def _filled(values: Iterable[float], size: int) -> Numbers:
    found: Numbers = np.zeros(size)
    given = np.asarray(values, float)
    found[: len(given)] = given
    return found


def _design_effect(differences: Numbers, groups: NDArray[np.int32]) -> float | None:
    """None when every case is its own group, or there is nothing to tell it by."""
    alone = groups < 0
    codes = groups.astype(np.int64)
    codes[alone] = codes.max() + 1 + np.arange(int(alone.sum()))
    distinct = len(np.unique(codes))
    if distinct < 2 or distinct == len(codes) or not differences.any():
        return None
    effect = clustered_t(differences, codes).design_effect
    return effect if 0 < effect < math.inf else None


def _differ(aggregate: Aggregate, baseline: str, candidate: str) -> bool:
    for metric in aggregate.metrics:
        a, b = (np.asarray(aggregate.column(name, metric)) for name in (baseline, candidate))
        with np.errstate(invalid="ignore"):
            if np.any(np.isfinite(a) & np.isfinite(b) & (a != b)):
                return True
    return False
