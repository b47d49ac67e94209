"""What Python code passes to `evaluate`, checked as a suite file is: anything wrong is one line."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmops.assembly import as_spec
from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.evals.comparison_rules import gate_rule
from llmops.evals.suite import Limits, MetricSpec, VariantSpec
from llmops.registry import names

MAX_NAME = 100


def whole(name: str, value: Any, low: int, high: int = 2**62) -> int:
    """`value` as a whole number from `low` to `high`. Raises `InputError` for anything else, booleans included."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not low <= number <= high:
        bounds = f", {low:,} to {high:,}" if high < 2**62 else f", {low:,} or more" if low >= 0 else ""
        raise InputError(f"{name} is {_shown(value)}", hint=f"give a whole number{bounds}")
    return number


def path_of(name: str, value: Any) -> Path:
    """A path from text or a path. Raises `InputError` for what can't be one."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(text := os.fspath(value), str):
        raise InputError(f"{name} is {_shown(value)}, not a path")
    if not text or "\0" in text:
        raise InputError(f"{name} is {_shown(text)}, which is no path")
    return Path(text)


def text_of(name: str, value: Any) -> str:
    """Text that can be saved. Raises `InputError` for anything else."""
    if not isinstance(value, str):
        raise InputError(f"{name} is {_shown(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} is {_shown(value)}, which holds half a character (a lone surrogate)") from None
    return value


def texts_of(name: str, value: Any, example: str) -> tuple[str, ...]:
    """A list of texts. One text alone is an `InputError`, because a string is also a sequence of letters."""
    items = _listed(name, value, example)
    return tuple(text_of(f"{name}[{place}]", item) for place, item in enumerate(items))


def gates_of(value: Any) -> tuple[str, ...]:
    """Gates as a suite writes them, each as one line of text. Raises `InputError` for anything else."""
    items = _listed("gates", value, 'gates=["token_f1 >= 0.6", {"no-regression": "token_f1"}]')
    rules = (
        gate_rule(item, f"gates[{place}]") if isinstance(item, Mapping) else item for place, item in enumerate(items)
    )
    return tuple(text_of(f"gates[{place}]", rule) for place, rule in enumerate(rules))


def rows_of(value: Any) -> Iterable[Any]:
    """The rows of a dataset given as objects. Raises `InputError` when it isn't a list of them."""
    if isinstance(value, Mapping):
        raise InputError("dataset is one mapping", hint="rows are a list: dataset=[{…}, {…}]")
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        raise InputError(f"dataset is {_shown(value)}", hint="give a path, or a list of mappings or Cases")
    return value


def variants_of(value: Any) -> tuple[VariantSpec, ...]:
    """Variants from a mapping of names to functions, mappings as in a suite file, or `Variant`s."""
    if not isinstance(value, Mapping):
        raise InputError(f"variants is {_shown(value)}", hint="a mapping of names: variants={'mine': function}")
    for name in value:
        if not 1 <= len(text_of("a variant's name", name)) <= MAX_NAME:
            raise InputError(f"a variant's name has {len(name)} characters", hint=f"1 to {MAX_NAME}")
    return tuple(variant_spec(name, variant) for name, variant in value.items())


def variant_spec(name: str, value: Any) -> VariantSpec:
    """A variant from Python: a mapping as in a suite file, a function, a LangChain runnable or a `Variant`."""
    if isinstance(value, Mapping):
        kinds = [kind for kind in names("variants") if kind in value]
        if len(kinds) != 1:
            raise InputError(f"variant {name!r} needs exactly one of {', '.join(names('variants'))}")
        return VariantSpec(name, kinds[0], dict(value))
    if inspect.isclass(value) and hasattr(value, "answer") and hasattr(value, "info"):
        raise InputError(f"variant {name!r} is the class {value.__name__}", hint="pass an object of it")
    runnable = hasattr(value, "ainvoke")
    if not (runnable or callable(value) or (hasattr(value, "answer") and hasattr(value, "info"))):
        raise InputError(f"variant {name!r} is {_shown(value)}, not a function, a mapping or a variant")
    kind = "langchain" if runnable else "python"
    return VariantSpec(name, kind, {kind: value})


def metrics_of(value: Any) -> tuple[MetricSpec, ...]:
    """Metrics from a list of names, short forms, functions and `Metric`s."""
    metrics = _listed("metrics", value, 'metrics=["token_f1", my_function]')
    for place, metric in enumerate(metrics):
        if not (isinstance(metric, (str, Mapping)) or callable(metric) or _is_metric(metric)):
            what = "a name, a mapping as in a suite file, a function or a Metric"
            raise InputError(f"metrics[{place}] is {_shown(metric)}", hint=f"a metric is {what}")
    _check_names(metrics)
    return tuple(as_spec(metric) for metric in metrics)


def limits_of(old: Limits, value: Any) -> Limits:
    """`old` with what `value` gives, checked as `limits:` of a suite file is."""
    from pydantic import ValidationError

    from llmops.evals.suite_schema import LimitsEntry

    if not isinstance(value, Mapping):
        raise InputError(f"limits is {_shown(value)}", hint='a mapping, such as limits={"concurrency": 4}')
    known = list(LimitsEntry.model_fields)
    for key in value:
        if key not in known:
            raise InputError(f"limits: unknown key {_shown(key)}", hint=did_you_mean(str(key), known))
    try:
        return Limits(**LimitsEntry.model_validate({**asdict(old), **value}).model_dump())
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        shown = _shown(error["input"])
        raise InputError(f"limits: {error['loc'][0]} is {shown}: {error['msg'].lower()}") from None
    except OverflowError:
        raise InputError("limits: a number is too large") from None


def baseline_of(value: Any, variants: Sequence[VariantSpec]) -> str:
    """The name of one of the variants. Raises `NotFoundError` with the closest one."""
    known = [variant.name for variant in variants]
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else f"known: {', '.join(known)}"
        raise NotFoundError(f"baseline: no variant is called {_shown(value)}", hint=hint)
    return str(value)


def _listed(name: str, value: Any, example: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InputError(f"{name} is a list, not {_shown(value)}", hint=f"write {example}")
    return list(value)


def _is_metric(value: Any) -> bool:
    return hasattr(value, "score") and hasattr(value, "info")


def _check_names(metrics: Sequence[Any]) -> None:
    """A name twice, where a function is one of the two: a suite file's way out of it doesn't help in Python."""
    seen: dict[str, bool] = {}
    for metric in metrics:
        from_python = not isinstance(metric, (str, Mapping)) and not _is_metric(metric)
        name = metric if isinstance(metric, str) else _function_name(metric) if from_python else ""
        if name == "<lambda>" and name in seen:
            raise InputError("two metrics are lambdas", hint="make them functions with names: def polite(sample): …")
        if name in seen and (from_python or seen[name]):
            hint = "wrap the function in one with another name: def other_name(sample): …"
            raise InputError(f"two metrics are called {name!r}", hint=hint)
        if name:
            seen[name] = from_python


def _function_name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _shown(value: Any) -> str:
    """A value in a message: plain data as it is written, anything else by its type."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "a huge number"
    if value is None or isinstance(value, (bool, int, float, str)):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:79]}…"
    return f"of type {type(value).__name__}"
