"""A user's Python function as a metric: `{python: metrics.py:polite}`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from llmops.errors import BudgetExceededError, InputError, StoreError, did_you_mean
from llmops.loading import load_callable
from llmops.types import Build, Direction, MetricInfo, Sample, Score

ARGUMENTS: dict[str, Callable[[Sample], Any]] = {
    "sample": lambda sample: sample,
    "case": lambda sample: sample.case,
    "output": lambda sample: sample.output,
    "text": lambda sample: sample.output.text,
    "expected": lambda sample: sample.case.expected,
    "inputs": lambda sample: sample.case.inputs,
    "contexts": lambda sample: sample.output.contexts,
    "relevant": lambda sample: sample.case.relevant,
    "metadata": lambda sample: sample.case.metadata,
}
_MAX_REASON = 500


class PythonMetric:
    """Calls a function, sync or async, with a sample or the parts of it that its parameters name.

    A function whose first parameter has none of the names in `ARGUMENTS` gets the `Sample` there. `with` adds
    keyword arguments. A class is made once, with `with`, and its instance is called. The function returns a number,
    a bool, a `Score`, None (unscored), `(value, reason)`, or a mapping with `value` or `score` and `reason`.

    `blocks` says that the function is sync, so that a run calls `score` in a thread.
    """

    def __init__(
        self,
        build: Build,
        target: str | Callable[..., Any],
        with_: dict[str, Any] | None = None,
        low: float | None = 0,
        high: float | None = 1,
        direction: Direction = "higher",
        name: str = "",
    ) -> None:
        if low is not None and high is not None and not low < high:
            raise InputError(f"low is {low:g} and high {high:g}", hint="low must be below high")
        function = load_callable(target, base=build.base, where=build.where) if isinstance(target, str) else target
        self._name = name or _name_of(function)
        self._extra = dict(with_ or {})
        if inspect.isclass(function):
            function = self._instance(function)
        self._function = function
        called = getattr(function, "__call__", None)  # noqa: B004  (an instance with `async def __call__`)
        self.blocks = not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called))
        self._plan = _Plan(self._name, function, self._extra)
        described = (inspect.getdoc(function) or "").partition("\n")[0]
        self.info = MetricInfo(self._name, low, high, direction, description=described)

    def _instance(self, made: type) -> Callable[..., Any]:
        try:
            instance = made(**self._extra)
        except Exception as error:
            raise InputError(
                f"making {self._name} raised {type(error).__name__}: {error}"[:_MAX_REASON], hint="check with:"
            ) from error
        self._extra = {}
        if not callable(instance):
            raise InputError(f"{self._name} makes objects that can't be called", hint="give it a __call__ method")
        called: Callable[..., Any] = instance
        return called

    def score(self, sample: Sample) -> Score | Awaitable[Score]:
        """What the function returned as a score; unscored, with the reason, when it raised or that is no score."""
        try:
            positional, named = self._plan.arguments(sample)
            returned = self._function(*positional, **named)
        except (BudgetExceededError, StoreError):
            raise
        except Exception as error:
            return self._failed(error)
        if inspect.isawaitable(returned):
            return self._awaited(returned)
        return self._read(returned)

    async def _awaited(self, returned: Awaitable[Any]) -> Score:
        try:
            value = await returned
        except (BudgetExceededError, StoreError):
            raise
        except Exception as error:
            return self._failed(error)
        return self._read(value)

    def _failed(self, error: Exception) -> Score:
        try:
            text = str(error)
        except Exception:
            text = "(its message can't be shown)"
        return Score.unscored(f"{self._name} raised {type(error).__name__}: {text}"[:_MAX_REASON])

    def _read(self, returned: Any) -> Score:
        try:
            return to_score(returned)
        except (ValueError, TypeError, OverflowError) as error:
            return Score.unscored(f"{self._name} returned {error}"[:_MAX_REASON])


class _Plan:
    """Which part of a sample goes to which parameter, worked out once."""

    def __init__(self, target: str, function: Callable[..., Any], extra: Mapping[str, Any]) -> None:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # some built-ins have no signature
            parameters = [inspect.Parameter("sample", inspect.Parameter.POSITIONAL_ONLY)]
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
        parameters = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        self._extra = extra
        self._positional: list[Callable[[Sample], Any]] = []
        self._named: list[tuple[str, Callable[[Sample], Any]]] = []
        first = parameters[0] if parameters else None
        takes_sample = (
            first is not None and first.name not in {*ARGUMENTS, *extra} and first.kind is not first.KEYWORD_ONLY
        )
        if takes_sample:
            self._positional.append(ARGUMENTS["sample"])
        for parameter in parameters[takes_sample:]:
            self._add(target, parameter, takes_sample)
        if not self._positional and not self._named:
            hint = f"give it a parameter: {', '.join(ARGUMENTS)}"
            raise InputError(f"{target} takes nothing of a sample", hint=hint)
        self._check_extra(target, {p.name for p in parameters}, open_ended)

    def _add(self, target: str, parameter: inspect.Parameter, takes_sample: bool) -> None:
        name = parameter.name
        if name in self._extra and parameter.kind is not parameter.POSITIONAL_ONLY:
            return
        part = ARGUMENTS.get(name)
        if part is not None and parameter.kind is parameter.POSITIONAL_ONLY:
            self._positional.append(part)
        elif part is not None:
            self._named.append((name, part))
        elif parameter.default is parameter.empty:
            known = "a metric's function gets " + ", ".join(ARGUMENTS)
            hint = did_you_mean(name, ARGUMENTS)
            raise InputError(
                f"{target} has a parameter {name!r} that nothing is known for",
                hint=f"{hint if hint.startswith('did') else known}; or set it in with:",
            )

    def _check_extra(self, target: str, names: set[str], open_ended: bool) -> None:
        for name in self._extra:
            if name not in names and not open_ended:
                hint = did_you_mean(name, names - set(ARGUMENTS))
                raise InputError(f"{target} has no parameter {name!r}", hint=hint)

    def arguments(self, sample: Sample) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments for `sample`."""
        positional = [part(sample) for part in self._positional]
        return positional, {**{name: part(sample) for name, part in self._named}, **self._extra}


def to_score(returned: Any) -> Score:
    """A `Score` from what a function may return. Raises `TypeError` or `ValueError` on anything else."""
    if isinstance(returned, Score):
        return returned if returned.value is None else replace(returned, value=_number(returned.value))
    if isinstance(returned, tuple) and len(returned) == 2:
        return _with_reason(*returned)
    if isinstance(returned, Mapping):
        key = next((key for key in ("value", "score") if key in returned), None)
        if key is None:
            raise TypeError("a mapping without value or score")
        return _with_reason(returned[key], returned.get("reason"))
    return _with_reason(returned, None)


def _with_reason(value: Any, reason: Any) -> Score:
    text = "" if reason is None else str(reason)
    if value is None:
        return Score.unscored(text or "the function returned no score")
    return Score(_number(value), text)


def _number(value: Any) -> float:
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:  # a number of numpy's, or torch's
        value = value.item()
    if not isinstance(value, Real):
        raise TypeError(f"{type(value).__name__}, not a score")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("a number too large for a score") from None
    if not math.isfinite(number):
        raise ValueError(f"{number}, not a finite number")
    return number


def _name_of(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__name__", None) or type(function).__name__
    return "lambda" if name == "<lambda>" else name
