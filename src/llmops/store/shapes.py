"""Records, cases, outputs and results as plain data and back; what is at its default isn't written."""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import MISSING, fields
from typing import Any, Literal

from llmops.store.checks import (
    BOOL,
    INT,
    INT_OR_NONE,
    NUMBER,
    NUMBER_OR_NONE,
    TEXT,
    TEXT_OR_NONE,
    Check,
    ShapeError,
    build,
    many,
    mapping,
    object_with,
    of,
    one_of,
)
from llmops.store.comparison_shapes import comparison_data, comparison_of
from llmops.store.encoding import number
from llmops.types import (
    Case,
    Context,
    Direction,
    Failure,
    GateOutcome,
    MetricInfo,
    Output,
    Result,
    RunRecord,
    RunStatus,
    Score,
    TokenCertainty,
    ToolCall,
    Usage,
    VariantInfo,
)


def flat(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults; nested dataclasses are left to the caller."""
    made = {}
    for name, default in _defaults(type(value)):  # type: ignore[arg-type]  # a type is hashable
        item = getattr(value, name)
        if item is not default and item != default:
            made[name] = item
    return made


@functools.cache
def _defaults(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (entry.name, entry.default if entry.default_factory is MISSING else entry.default_factory())
        for entry in fields(kind)
    )


def case_data(case: Case) -> dict[str, Any]:
    """A case without its id and group, which have columns of their own."""
    data: dict[str, Any] = {}
    if case.inputs:
        data["inputs"] = case.inputs
    if case.expected is not None:
        data["expected"] = case.expected
    if case.contexts:
        data["contexts"] = [flat(context) for context in case.contexts]
    if case.relevant is not None:
        data["relevant"] = case.relevant
    if case.tags:
        data["tags"] = case.tags
    if case.metadata:
        data["metadata"] = case.metadata
    if case.where:
        data["where"] = case.where
    return data


def output_data(output: Output) -> dict[str, Any]:
    """The whole output."""
    data: dict[str, Any] = {"text": output.text}
    if output.contexts:
        data["contexts"] = [flat(context) for context in output.contexts]
    if output.tool_calls:
        data["tool_calls"] = [flat(call) for call in output.tool_calls]
    if output.messages:
        data["messages"] = output.messages
    if output.usage is not _NO_USAGE and (usage := flat(output.usage)):
        data["usage"] = usage
    if output.latency_s is not None:
        data["latency_s"] = number(output.latency_s)
    if output.error is not None:
        data["error"] = flat(output.error)
    if output.cached:
        data["cached"] = True
    if output.metadata:
        data["metadata"] = output.metadata
    return data


def result_data(result: Result) -> dict[str, Any]:
    """A whole result, its case included."""
    case = {"id": result.case.id, **case_data(result.case)}
    if result.case.group is not None:
        case["group"] = result.case.group
    return {
        "variant": result.variant,
        "repeat": result.repeat,
        "case": case,
        "output": output_data(result.output),
        "scores": {name: _score_data(finite(score)) for name, score in result.scores.items()},
    }


def _score_data(score: Score) -> dict[str, Any]:
    return {"value": score.value, "reason": score.reason} if score.reason else {"value": score.value}


def record_data(record: RunRecord) -> dict[str, Any]:
    """The whole head of a run."""
    data = flat(record)
    for name in ("variants", "metrics", "gates"):
        if name in data:
            data[name] = [flat(item) for item in data[name]]
    if record.comparisons:
        data["comparisons"] = [comparison_data(comparison) for comparison in record.comparisons]
    return data


def record_of(data: Any) -> RunRecord:
    """The record `record_data` was given. Raises `ShapeError`."""
    return build(RunRecord, _RECORD, data)


def case_of(case_id: str, group: str | None, data: Any) -> Case:
    """The case `case_data` was given. Raises `ShapeError`."""
    return build(Case, _CASE, {**mapping(data), "id": case_id, "group": group})


def output_of(data: Any) -> Output:
    """The output `output_data` was given. Raises `ShapeError`."""
    return build(Output, _OUTPUT, data)


def result_of(data: Any) -> Result:
    """The result `result_data` was given. Raises `ShapeError`."""
    return build(Result, _RESULT, data)


def _grades(value: Any) -> Any:
    if value is None or (isinstance(value, dict) and all(isinstance(grade, (int, float)) for grade in value.values())):
        return value
    raise ShapeError("is not an object of numbers")


def _score(value: Any) -> Score:
    return finite(build(Score, _SCORE, value))


def finite(score: Score) -> Score:
    """The score, or unscored when its value is no number that statistics can use."""
    value = score.value
    if value is None or (type(value) is float and -_LARGEST <= value <= _LARGEST):
        return score
    made = number(value)
    if made is not None and math.isfinite(made):
        return Score(made, score.reason)
    shown = "a number too large" if isinstance(value, int) else repr(value)[:80]
    return Score(None, score.reason or f"the metric gave {shown}")


def _scores(value: Any) -> dict[str, Score]:
    return {name: _score(score) for name, score in mapping(value).items()}


_LARGEST = sys.float_info.max
_NO_USAGE = Usage()
_CONTEXTS = many(of(Context, {"text": TEXT, "id": TEXT, "score": NUMBER_OR_NONE}))
_CALLS = many(of(ToolCall, {"name": TEXT, "arguments": mapping, "id": TEXT}))
_USAGE = {entry.name: INT for entry in fields(Usage)} | {
    "certainty": one_of(TokenCertainty),
    "cost": lambda value: None if value is None else INT(value),
    "estimated_cost": BOOL,
}
_FAILURE = {"kind": TEXT, "message": TEXT, "retryable": BOOL, "attempts": INT}
_SCORE = {"value": NUMBER_OR_NONE, "reason": TEXT}
_CASE: dict[str, Check] = {
    "id": TEXT,
    "inputs": mapping,
    "expected": lambda value: value,
    "contexts": _CONTEXTS,
    "relevant": _grades,
    "tags": many(TEXT),
    "group": TEXT_OR_NONE,
    "metadata": mapping,
    "where": TEXT,
}
_OUTPUT: dict[str, Check] = {
    "text": TEXT,
    "contexts": _CONTEXTS,
    "tool_calls": _CALLS,
    "messages": many(mapping),
    "usage": of(Usage, _USAGE),
    "latency_s": NUMBER_OR_NONE,
    "error": lambda value: None if value is None else build(Failure, _FAILURE, value),
    "cached": BOOL,
    "metadata": mapping,
}
_RESULT: dict[str, Check] = {
    "variant": TEXT,
    "case": of(Case, _CASE),
    "output": output_of,
    "repeat": INT,
    "scores": _scores,
}
_METRIC = dict.fromkeys(("name", "unit", "description"), TEXT) | {
    "low": NUMBER_OR_NONE,
    "high": NUMBER_OR_NONE,
    "direction": one_of(Direction),
}
_GATE = dict.fromkeys(("rule", "variant", "detail"), TEXT) | {
    "outcome": one_of(Literal["pass", "fail", "undecided"]),
    "value": NUMBER_OR_NONE,
    "strict": BOOL,
}
_COMPARISON = object_with({"alpha": NUMBER, "power": NUMBER, "margin": TEXT, "early_stop": BOOL, "looks": INT})
_STOPPING = object_with({"alpha": NUMBER, "look": INT, "looks": INT, "cases": INT, "planned": INT})
_SPENDING = object_with({"paid": of(Usage, _USAGE), "reused": of(Usage, _USAGE), "estimated": INT})
_SPENT = object_with({"answering": _SPENDING, "judging": lambda value: value and _SPENDING(value), "partial": BOOL})
_RECORD: dict[str, Check] = dict.fromkeys(("id", "suite", "suite_hash", "dataset", "fingerprint"), TEXT) | {
    "variants": many(of(VariantInfo, {"name": TEXT, "kind": TEXT, "details": mapping, "note": TEXT})),
    "metrics": many(of(MetricInfo, _METRIC)),
    "baseline": TEXT_OR_NONE,
    "repeats": INT,
    "cases": INT,
    "seed": INT_OR_NONE,
    "status": one_of(RunStatus),
    "started_at": TEXT,
    "ended_at": TEXT_OR_NONE,
    "environment": object_with({"git": mapping, "process": object_with({"pid": INT})}),
    "config": object_with(
        {"path": TEXT, "only": many(TEXT), "sample": INT_OR_NONE, "variants": many(TEXT)}
        | {"counterparts": mapping, "comparison": _COMPARISON, "stopping": _STOPPING, "max_repeats": INT, "pooled": INT}
        | {"spent": _SPENT}
    ),
    "gates": many(of(GateOutcome, _GATE)),
    "comparisons": many(comparison_of),
    "note": TEXT,
}
