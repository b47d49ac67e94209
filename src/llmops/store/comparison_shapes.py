"""Comparisons as plain data and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llmops.store.checks import (
    BOOL,
    INT,
    INT_OR_NONE,
    NUMBER,
    NUMBER_OR_NONE,
    TEXT,
    Check,
    ShapeError,
    build,
    many,
    of,
    one_of,
)
from llmops.types import (
    Comparison,
    Direction,
    MetricComparison,
    MetricInfo,
    MetricKind,
    SliceComparison,
    Stopping,
    Verdict,
)


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison."""
    return asdict(comparison)


def comparison_of(data: Any) -> Comparison:
    """The comparison `comparison_data` was given. Raises `ShapeError`."""
    return build(Comparison, _COMPARISON, data)


def _interval(value: Any) -> tuple[float, float]:
    ends = many(NUMBER)(value)
    if len(ends) != 2:
        raise ShapeError("is not two numbers")
    return (float(ends[0]), float(ends[1]))


_TEXTS = many(TEXT)
_METRIC: dict[str, Check] = dict.fromkeys(("name", "unit", "description"), TEXT) | {
    "low": NUMBER_OR_NONE,
    "high": NUMBER_OR_NONE,
    "direction": one_of(Direction),
}
_ONE: dict[str, Check] = {
    "info": of(MetricInfo, _METRIC),
    "kind": one_of(MetricKind),
    "verdict": one_of(Verdict),
    "ci": _interval,
    "method": TEXT,
    "guard": BOOL,
    **dict.fromkeys(("n", "errors_a", "errors_b", "unscored"), INT),
    **dict.fromkeys(("groups", "n_needed"), INT_OR_NONE),
    **dict.fromkeys(("diff", "p", "lo_safe", "margin", "alpha"), NUMBER),
    **dict.fromkeys(("mean_a", "mean_b", "mde", "p_holm", "p_sign_flip"), NUMBER_OR_NONE),
    **dict.fromkeys(("broke", "fixed", "flaky", "why"), _TEXTS),
}
_SLICE: dict[str, Check] = {
    **dict.fromkeys(("tag", "metric"), TEXT),
    **dict.fromkeys(("mean_a", "mean_b", "diff", "p"), NUMBER),
    "n": INT,
    "ci": _interval,
    "notable": BOOL,
}
_STOPPING = of(Stopping, dict.fromkeys(("look", "looks", "cases", "planned"), INT))
_COMPARISON: dict[str, Check] = {
    **dict.fromkeys(("baseline", "candidate"), TEXT),
    **dict.fromkeys(("cases", "pooled"), INT),
    "metrics": many(of(MetricComparison, _ONE)),
    "slices": many(of(SliceComparison, _SLICE)),
    **dict.fromkeys(("only_a", "only_b", "notes"), _TEXTS),
    "stopping": lambda value: None if value is None else _STOPPING(value),
}
