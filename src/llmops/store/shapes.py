"""Records, cases, outputs and results as plain data and back; what is at its default isn't written."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, get_args

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

T = TypeVar("T")
Check = Callable[[Any], Any]


class ShapeError(ValueError):
    """Plain data that isn't the thing it should be."""


def flat(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults; nested dataclasses are left to the caller."""
    made = {}
    for entry in fields(value):
        item = getattr(value, entry.name)
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        if item is not default and item != default:
            made[entry.name] = item
    return made


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
    return data


def record_of(data: Any) -> RunRecord:
    """The record `record_data` was given. Raises `ShapeError`."""
    return _build(RunRecord, _RECORD, data)


def case_of(case_id: str, group: str | None, data: Any) -> Case:
    """The case `case_data` was given. Raises `ShapeError`."""
    return _build(Case, _CASE, {**_mapping(data), "id": case_id, "group": group})


def output_of(data: Any) -> Output:
    """The output `output_data` was given. Raises `ShapeError`."""
    return _build(Output, _OUTPUT, data)


def result_of(data: Any) -> Result:
    """The result `result_data` was given. Raises `ShapeError`."""
    return _build(Result, _RESULT, data)


def _build(made: type[T], checks: Mapping[str, Check], data: Any) -> T:
    """Fields this version doesn't know are left out: a newer version wrote them."""
    values = {}
    for name, value in _mapping(data).items():
        check = checks.get(name)
        if check is not None:
            try:
                values[name] = check(value)
            except ShapeError as error:
                raise ShapeError(f"{name}: {error}" if "is " in str(error) else str(error)) from None
    try:
        return made(**values)
    except TypeError:
        needed = {e.name for e in fields(made) if e.default is MISSING and e.default_factory is MISSING}  # type: ignore[arg-type]
        raise ShapeError(f"lacks {', '.join(sorted(needed - set(values)))}") from None


def _is(kind: type | tuple[type, ...], what: str, *, none: bool = False) -> Check:
    def check(value: Any) -> Any:
        if (value is None and none) or (isinstance(value, kind) and (kind is bool or value is not True)):
            return value
        raise ShapeError(f"is {type(value).__name__}, not {what}")

    return check


def _one_of(literal: Any) -> Check:
    known = get_args(literal)

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in known:
            return value
        raise ShapeError(f"is none of {', '.join(known)}")

    return check


def _many(build: Check) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise ShapeError(f"is {type(value).__name__}, not a list")
        return tuple(map(build, value))

    return check


def _of(made: type[T], checks: Mapping[str, Check]) -> Callable[[Any], T]:
    return lambda value: _build(made, checks, value)


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ShapeError(f"is {type(value).__name__}, not an object")


def _with(known: Mapping[str, Check]) -> Check:
    """An object of anything, where what we read ourselves has its shape."""

    def check(value: Any) -> Any:
        for name in known.keys() & _mapping(value).keys():
            try:
                known[name](value[name])
            except ShapeError as error:
                raise ShapeError(f"{name} {error}") from None
        return value

    return check


def _grades(value: Any) -> Any:
    if value is None or (isinstance(value, dict) and all(isinstance(grade, (int, float)) for grade in value.values())):
        return value
    raise ShapeError("is not an object of numbers")


def _score(value: Any) -> Score:
    return finite(_build(Score, _SCORE, value))


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
    return {name: _score(score) for name, score in _mapping(value).items()}


_LARGEST = sys.float_info.max
_NO_USAGE = Usage()
_TEXT = _is(str, "text")
_TEXT_OR_NONE = _is(str, "text", none=True)
_INT = _is(int, "a whole number")
_INT_OR_NONE = _is(int, "a whole number", none=True)
_NUMBER_OR_NONE = _is((int, float), "a number", none=True)
_BOOL = _is(bool, "true or false")
_CONTEXTS = _many(_of(Context, {"text": _TEXT, "id": _TEXT, "score": _NUMBER_OR_NONE}))
_CALLS = _many(_of(ToolCall, {"name": _TEXT, "arguments": _mapping, "id": _TEXT}))
_USAGE = {entry.name: _INT for entry in fields(Usage)} | {"certainty": _one_of(TokenCertainty)}
_FAILURE = {"kind": _TEXT, "message": _TEXT, "retryable": _BOOL, "attempts": _INT}
_SCORE = {"value": _NUMBER_OR_NONE, "reason": _TEXT}
_CASE: dict[str, Check] = {
    "id": _TEXT,
    "inputs": _mapping,
    "expected": lambda value: value,
    "contexts": _CONTEXTS,
    "relevant": _grades,
    "tags": _many(_TEXT),
    "group": _TEXT_OR_NONE,
    "metadata": _mapping,
    "where": _TEXT,
}
_OUTPUT: dict[str, Check] = {
    "text": _TEXT,
    "contexts": _CONTEXTS,
    "tool_calls": _CALLS,
    "messages": _many(_mapping),
    "usage": _of(Usage, _USAGE),
    "latency_s": _NUMBER_OR_NONE,
    "error": lambda value: None if value is None else _build(Failure, _FAILURE, value),
    "cached": _BOOL,
    "metadata": _mapping,
}
_RESULT: dict[str, Check] = {
    "variant": _TEXT,
    "case": _of(Case, _CASE),
    "output": output_of,
    "repeat": _INT,
    "scores": _scores,
}
_METRIC = dict.fromkeys(("name", "unit", "description"), _TEXT) | {
    "low": _NUMBER_OR_NONE,
    "high": _NUMBER_OR_NONE,
    "direction": _one_of(Direction),
}
_GATE = dict.fromkeys(("rule", "variant", "detail"), _TEXT) | {
    "outcome": _one_of(Literal["pass", "fail", "undecided"]),
    "value": _NUMBER_OR_NONE,
}
_RECORD: dict[str, Check] = dict.fromkeys(("id", "suite", "suite_hash", "dataset", "fingerprint"), _TEXT) | {
    "variants": _many(_of(VariantInfo, {"name": _TEXT, "kind": _TEXT, "details": _mapping, "note": _TEXT})),
    "metrics": _many(_of(MetricInfo, _METRIC)),
    "baseline": _TEXT_OR_NONE,
    "repeats": _INT,
    "cases": _INT,
    "seed": _INT_OR_NONE,
    "status": _one_of(RunStatus),
    "started_at": _TEXT,
    "ended_at": _TEXT_OR_NONE,
    "environment": _with({"git": _mapping, "process": _with({"pid": _INT})}),
    "config": _with({"path": _TEXT, "only": _many(_TEXT), "sample": _INT_OR_NONE, "variants": _many(_TEXT)}),
    "gates": _many(_of(GateOutcome, _GATE)),
    "note": _TEXT,
}
