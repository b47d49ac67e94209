"""What scores without a description are: their metrics, ranges and kinds, as told or as they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llmops.aggregate import Aggregate
from llmops.columns import Columns, Scores
from llmops.errors import InputError, did_you_mean
from llmops.evals.comparison_rules import MEASURES, ComparisonSettings, check_margin
from llmops.evals.estimates import Numbers
from llmops.types import MetricInfo, MetricKind


@dataclass(frozen=True)
class CompareOptions:
    """What to compare, and how. `metrics` and `lower` are names; `range` is lowest and highest of those metrics.

    `variant_a` and `variant_b` choose from runs with several variants; `gates` are rules, without any nothing is asked.
    """

    metrics: tuple[str, ...] = ()
    kind: MetricKind | None = None
    range: tuple[float, float] | None = None
    lower: tuple[str, ...] = ()
    gates: tuple[str, ...] = ("no-regression",)
    settings: ComparisonSettings = field(default_factory=ComparisonSettings)
    variant_a: str = ""
    variant_b: str = ""
    store: str | None = None


def check_options(options: CompareOptions, *, dashes: str = "") -> None:
    """Raises `InputError` for a level, range or margin that can't be; `dashes` go before the option's name."""
    alpha, ends, margin = options.settings.alpha, options.range, options.settings.margin
    if not 0 < alpha < 0.5:
        raise InputError(f"{dashes}alpha {alpha:g}", hint="above 0 and below 0.5, such as 0.05")
    if ends is not None and not -1e150 < ends[0] < ends[1] < 1e150:
        hint = f"the lowest score goes first: {dashes}range 1 5"
        raise InputError(f"{dashes}range {ends[0]:g} {ends[1]:g}", hint=hint)
    check_margin(margin or "-", f"{dashes}margin", unit="s")


def metrics_of(
    table: Aggregate, variants: Sequence[str], described: Mapping[str, MetricInfo], options: CompareOptions
) -> list[MetricInfo]:
    """The metrics all variants have, as a run describes them, else as the scores look like.

    Raises `InputError` when a metric that is asked for isn't there, or a score lies outside of the range told.
    """
    columns = [table.columns(name) for name in variants]
    for one, other in (columns, columns[::-1]):
        if not one.scores and any(one.errors):  # a side of which every answer failed scores the worst of everything
            one.expect(other.scores)
    names = [name for name in columns[0].scores if name in columns[1].scores]
    for name in options.metrics:
        if name not in names and name not in MEASURES:
            raise InputError(f"no metric {name!r} on both sides", hint=did_you_mean(name, names))
    for name in options.lower:
        if name not in names:
            raise InputError(f"--lower: no metric {name!r} on both sides", hint=did_you_mean(name, names))
    wanted = [name for name in names if not options.metrics or name in options.metrics]
    measured = [MEASURES[name] for name in options.metrics if name in MEASURES and name not in names]
    for info in measured:
        taken = [{"tokens": one.counted, "$": one.priced}.get(info.unit, one.timed) for one in columns]
        if not all(map(any, taken)):
            raise InputError(f"{info.name} wasn't measured on both sides")
    if not wanted and not measured:
        there = ", ".join(sorted({name for one in columns for name in one.scores})) or "none"
        raise InputError("the two have no metric in common", hint=f"they have {there}")
    return [*(_info(name, described.get(name), columns, options) for name in wanted), *measured]


def _info(name: str, known: MetricInfo | None, columns: Sequence[Columns], options: CompareOptions) -> MetricInfo:
    values = np.concatenate([_means(one, name) for one in columns])
    whole = all(_whole(one.scores[name].sums) and _whole(one.scores[name].squares) for one in columns)
    info = known or MEASURES.get(name) or MetricInfo(name, *_guessed(values, options.kind, whole))
    if options.range is not None:
        low, high = options.range
        if len(values) and (values.min() < low or values.max() > high):
            worst = values.min() if values.min() < low else values.max()
            raise InputError(f"{name} has a score of {worst:g}", hint=f"--range {low:g} {high:g} says that it can't")
        info = replace(info, low=low, high=high)
    if options.kind == "bounded" and info.high is None:
        raise InputError(f"{name}: which range?", hint="--kind bounded needs --range LO HI")
    return replace(info, direction="lower") if name in options.lower else info


def _means(columns: Columns, name: str) -> Numbers:
    """Means of cases: a score outside of a range shows in them, if not always."""
    scores = columns.scores[name]
    counts = np.asarray(scores.counts)
    means: Numbers = np.asarray(scores.sums)[counts > 0] / counts[counts > 0]
    return means


def _whole(sums: Sequence[float]) -> bool:
    values = np.asarray(sums)
    return bool(np.all(values == np.floor(values)))


def _guessed(values: Numbers, kind: MetricKind | None, whole: bool) -> tuple[float | None, float | None]:
    """Lowest and highest of an undescribed metric: 0 to 1, 1 to 5, or none where it could be anything.

    `values` are means of cases, `whole` says that all scores are whole numbers.
    """
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if kind == "preference" or (kind is None and whole and -1 <= low < 0 and high <= 1):
        return 0.0, 1.0
    if kind == "number":
        return None, None
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if kind == "ordinal" or (kind is None and whole):
        return (1.0, 5.0) if low >= 1 and high <= 5 else (low, high) if kind == "ordinal" else (None, None)
    return None, None


def kinds_of(
    infos: Sequence[MetricInfo], table: Aggregate, variants: Sequence[str], options: CompareOptions
) -> dict[str, MetricKind]:
    """The kinds that are told, and those that only the values show. Raises `InputError` where the two differ."""
    kinds: dict[str, MetricKind] = {}
    for info in infos:
        columns = [table.columns(name) for name in variants]
        if info.name not in columns[0].scores:  # seconds or tokens
            continue
        if options.kind is not None:
            kinds[info.name] = options.kind
            for one in columns:
                _check_kind(info, options.kind, one.scores[info.name])
        elif (info.low, info.high) == (0, 1) and any((_means(one, info.name) < 0).any() for one in columns):
            kinds[info.name] = "preference"
    return kinds


def _check_kind(info: MetricInfo, kind: MetricKind, scores: Scores) -> None:
    """Raises `InputError` for a score that isn't one of its kind's. Repeats show in sums and squares alone."""
    sums, squares, counts = (np.asarray(x, dtype=float) for x in (scores.sums, scores.squares, scores.counts))
    allowed: tuple[float, ...]
    if kind == "binary":
        low, high = (0.0 if info.low is None else info.low), (1.0 if info.high is None else info.high)
        allowed, odd = (low, high), np.abs(squares - (low + high) * sums + low * high * counts) > 1e-9 * high * high
    elif kind == "preference":
        allowed = (-1.0, 0.0, 0.5, 1.0)
        odd = (~np.isin(sums, allowed) & (counts == 1)) | (squares > counts * (1 + 1e-9))
    else:
        return
    if odd.any():
        seen = float((sums[odd] / np.maximum(counts[odd], 1))[0])
        hint = f"--kind {kind} takes {', '.join(f'{value:g}' for value in allowed)}"
        raise InputError(f"{info.name} has a score of {seen:g}", hint=hint)
