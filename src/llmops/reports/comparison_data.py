"""A comparison as plain data, the same in `llmops compare --json` and in the JSON report of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llmops.reports.rows import jsonable
from llmops.types import Comparison, MetricComparison


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison in JSON's types: `metrics` by name, `slices` as rows; what isn't finite is null."""
    return {
        "baseline": comparison.baseline,
        "candidate": comparison.candidate,
        "cases": comparison.cases,
        "metrics": {metric.metric: _metric_data(metric) for metric in comparison.metrics},
        "slices": [jsonable(asdict(one)) for one in comparison.slices],
        "only_a": list(comparison.only_a),
        "only_b": list(comparison.only_b),
        "stopping": None if comparison.stopping is None else asdict(comparison.stopping),
        "pooled": comparison.pooled,
        "notes": list(comparison.notes),
    }


def _metric_data(metric: MetricComparison) -> dict[str, Any]:
    info = metric.info
    row = {
        "kind": metric.kind,
        "direction": info.direction,
        "range": [info.low, info.high],
        "unit": info.unit,
        "n": metric.n,
        "groups": metric.groups,
        "mean_a": metric.mean_a,
        "mean_b": metric.mean_b,
        "diff": metric.diff,
        "ci": list(metric.ci),
        "p": metric.p,
        "p_holm": metric.p_holm,
        "p_sign_flip": metric.p_sign_flip,
        "lo_safe": metric.lo_safe,
        "method": metric.method,
        "verdict": metric.verdict,
        "guard": metric.guard,
        "margin": metric.margin,
        "alpha": metric.alpha,
        "mde": metric.mde,
        "n_needed": metric.n_needed,
        "broke": metric.broke,
        "fixed": metric.fixed,
        "flaky": metric.flaky,
        "errors_a": metric.errors_a,
        "errors_b": metric.errors_b,
        "unscored": metric.unscored,
        "why": metric.why,
    }
    return {key: jsonable(value) for key, value in row.items()}
