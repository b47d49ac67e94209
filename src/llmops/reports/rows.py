"""Summaries and results as plain data that JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from llmops.reports.summary import Summary, VariantSummary
from llmops.types import Result

MAX_DEPTH = 60


def summary_row(summary: Summary) -> list[dict[str, Any]]:
    """One object a variant, as documented under `variants` in docs/reports.md."""
    return [_variant_row(variant) for variant in summary.variants]


def result_row(result: Result) -> dict[str, Any]:
    """One trial: variant, case, repeat, output and scores."""
    return {
        "variant": result.variant,
        "case": jsonable({k: v for k, v in _fields(result.case).items() if k != "where"}),
        "repeat": result.repeat,
        "output": jsonable(_fields(result.output)),
        "scores": {
            name: {"value": jsonable(score.value), "reason": score.reason} for name, score in result.scores.items()
        },
    }


def jsonable(value: Any, depth: int = 0) -> Any:
    """`value` in JSON's types: dataclasses as objects, NaN and infinities as null, anything else as text."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 1024 else f"{value:#x}"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > MAX_DEPTH:
        return "(nested too deeply)"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = _fields(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item, depth + 1) for item in value]
    return str(value)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _variant_row(variant: VariantSummary) -> dict[str, Any]:
    row = jsonable({k: v for k, v in _fields(variant).items() if k not in ("info", "metrics")})
    metrics = {}
    for name, metric in variant.metrics.items():
        figures = {k: v for k, v in _fields(metric).items() if k not in ("info", "reasons", "by_tag")}
        metrics[name] = jsonable(figures)
        metrics[name]["reasons"] = [{"reason": why, "cases": n} for why, n in metric.reasons]
        metrics[name]["by_tag"] = {tag: {"mean": m, "cases": n} for tag, (m, n) in metric.by_tag.items()}
    return {"name": variant.name, "kind": variant.info.kind, "note": variant.info.note, **row, "metrics": metrics}
