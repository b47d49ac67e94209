"""A user's Python function as a variant: `{python: path.py:answer, with: {k: 3}}`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llmops.errors import InputError, LlmopsError, PipelineError, did_you_mean, said
from llmops.identity import content_hash
from llmops.loading import load_callable
from llmops.requesting import request_of
from llmops.threads import Threads
from llmops.types import Backend, Build, Case, Completion, Message, Output, Request, Trial, VariantInfo
from llmops.variants.returned import to_output


class PythonVariant:
    """Calls a function, sync or async, with a case's inputs.

    A function whose first parameter has the name of an input gets the inputs by name; any other gets the
    mapping of inputs as its first argument. `with` adds keyword arguments. A parameter called `backend` gets
    the suite's backend (or the built-in extractive one), cached, counted and limited by the runner:
    `await backend.complete(messages)`, or without `await` in a sync function. Sync functions run in threads.
    A class is made once, with `with`, and its instance is called.
    """

    def __init__(
        self,
        build: Build,
        target: str | Callable[..., Any],
        with_: dict[str, Any] | None = None,
        backend: Any = None,
    ) -> None:
        self._extra = dict(with_ or {})
        function = load_callable(target, base=build.base, where=build.where) if isinstance(target, str) else target
        self.target = target if isinstance(target, str) else getattr(target, "__qualname__", type(target).__name__)
        if inspect.isclass(function):
            function = self._instance(function, build)
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  (an instance with `async def __call__`)
        )
        self._parameters = _parameters(function)
        self._open = any(p.kind is p.VAR_KEYWORD for p in self._parameters.values())
        self._check_extra(build)
        wants_backend = "backend" in self._parameters and "backend" not in self._extra
        if backend is not None and not wants_backend and not self._open:
            raise InputError(
                f"{self.target} has no parameter called backend",
                where=build.where,
                hint="add one, or drop backend:",
            )
        self._backend = build.backend(backend or "extractive") if wants_backend or backend is not None else None
        self._threads = Threads("llmops-pipeline")
        self.info = self._describe()

    def _instance(self, made: type, build: Build) -> Callable[..., Any]:
        try:
            instance = made(**self._extra)
        except (KeyboardInterrupt, LlmopsError):
            raise
        except BaseException as error:
            problem = f"{type(error).__name__}: {said(error)}"
            raise InputError(f"making {self.target}: {problem}", where=build.where, hint="check with:") from None
        self._extra = {}
        if not callable(instance):
            raise InputError(f"{self.target} makes objects that can't be called", where=build.where)
        called: Callable[..., Any] = instance
        return called

    def _check_extra(self, build: Build) -> None:
        for name in self._extra:
            if name not in self._parameters and not self._open:
                hint = did_you_mean(name, [p for p in self._parameters if p != "backend"])
                raise InputError(f"{self.target} has no parameter {name!r}", where=build.where, hint=hint)

    def _describe(self) -> VariantInfo:
        details: dict[str, Any] = {"function": self.target, "with": self._extra}
        note = ""
        if self._backend is not None:
            details["backend"] = dict(self._backend.identity)
            note = getattr(self._backend, "note", "")
        try:
            content_hash(details)
        except (TypeError, ValueError):
            details["with"] = repr(self._extra)
        return VariantInfo("", "python", details, note)

    def check(self, case: Case) -> None:
        """Raise `InputError` when the case lacks an input the function needs."""
        if not self._by_name(case.inputs):
            return
        for name, parameter in self._parameters.items():
            given = name in case.inputs or name in self._extra or name == "backend"
            optional = parameter.default is not parameter.empty or parameter.kind in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if not given and not optional:
                hint = did_you_mean(name, list(case.inputs))
                raise InputError(
                    f"{self.target} needs {name!r}, which the case doesn't have", where=case.where, hint=hint
                )

    async def answer(self, trial: Trial) -> Output:
        """Call the function and turn what it returns into an `Output`. Raises `PipelineError` on anything else."""
        positional, named = self._arguments(trial)
        if self._is_async:
            return to_output(await self._function(*positional, **named), self.target)
        returned = await self._threads.run(self._function, *positional, **named)
        if inspect.isawaitable(returned):
            returned = await returned
        return to_output(returned, self.target)

    async def aclose(self) -> None:
        """Let the threads go. One that is still in the user's code isn't waited for."""
        self._threads.close()

    def _by_name(self, inputs: Mapping[str, Any]) -> bool:
        first = next((n for n in self._parameters if n not in self._extra and n != "backend"), None)
        return first is None or first in inputs or self._parameters[first].kind is inspect.Parameter.VAR_KEYWORD

    def _arguments(self, trial: Trial) -> tuple[tuple[Any, ...], dict[str, Any]]:
        inputs = trial.case.inputs
        named = dict(self._extra)
        if self._backend is not None:
            loop = None if self._is_async else asyncio.get_running_loop()
            named["backend"] = PipelineBackend(self._backend, trial.repeat, loop)
        if not self._by_name(inputs):
            return (dict(inputs),), named
        wanted = inputs if self._open else {k: v for k, v in inputs.items() if k in self._parameters}
        return (), {**wanted, **named}


class PipelineBackend:
    """The backend a pipeline calls: `complete(messages, max_tokens=50)`; awaited in async functions only."""

    def __init__(self, backend: Backend, repeat: int, loop: asyncio.AbstractEventLoop | None) -> None:
        self._backend = backend
        self._repeat = repeat
        self._loop = loop

    def complete(self, messages: Iterable[Message] | str, **options: Any) -> Any:
        """A `Completion` (in an async function, something to await). A string is one user message.

        Options are those of `llmops.connect(…).complete`. Raises `PipelineError` for messages that aren't any.
        """
        try:
            request = request_of(messages, repeat=self._repeat, **options)
        except InputError as error:  # the pipeline's mistake, perhaps on this case alone
            raise PipelineError(error.message, hint=error.hint) from None
        if self._loop is None or _running_loop() is self._loop:  # a sync wrapper around an async function
            return self._backend.complete(request)
        return asyncio.run_coroutine_threadsafe(self._completed(request), self._loop).result()

    async def _completed(self, request: Request) -> Completion:
        return await self._backend.complete(request)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-ins have no signature
        return {}


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
