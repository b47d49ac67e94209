"""Any LangChain `Runnable` as a variant: `{langchain: chain.py:chain, input: question}`."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from llmops.errors import InputError, LlmopsError, MissingExtraError, PipelineError, did_you_mean
from llmops.identity import content_hash
from llmops.loading import is_path, load_object
from llmops.token_usage import read_usage
from llmops.types import Build, Case, Context, Output, ToolCall, Trial, Usage, VariantInfo

_TEXT_KEYS = ("text", "answer", "output", "result")
_CONTEXT_KEYS = ("contexts", "context", "documents", "source_documents")


class LangChainVariant:
    """Invokes a `Runnable` (a chain, a model, a graph) with a case's inputs.

    `target` names the object, or a function that makes it: without parameters, or called with `with`. `input`
    picks one input to pass by itself instead of the mapping of all. Text is taken from a string, a message, the
    last of a graph's `messages`, or the keys text, answer, output or result; contexts from contexts, context,
    documents or source_documents. Usage is counted by a callback handler made for each trial.
    """

    def __init__(self, build: Build, target: str | Any, input: str = "", with_: dict[str, Any] | None = None) -> None:
        _import_core()
        found = load_object(target, base=build.base, where=build.where) if isinstance(target, str) else target
        self.target = target if isinstance(target, str) else type(target).__name__
        self._input = input
        self._runnable = self._made(found, with_, build)
        self.info = VariantInfo("", "langchain", self._details(build, with_ or {}))

    def _made(self, found: Any, extra: Mapping[str, Any] | None, build: Build) -> Any:
        from langchain_core.runnables import Runnable

        if isinstance(found, Runnable):
            if extra:
                hint = "name a function that makes the chain"
                message = f"{self.target} is a Runnable, which takes no with:"
                raise InputError(message, where=build.where, hint=hint)
            return found
        if not callable(found):
            raise InputError(f"{self.target} is {type(found).__name__}, not a Runnable", where=build.where)
        _check_arguments(found, extra or {}, self.target, build.where)
        try:
            made = found(**(extra or {}))
        except LlmopsError:
            raise
        except Exception as error:
            message = f"{self.target} failed: {type(error).__name__}: {error}"
            raise InputError(message, where=build.where) from error
        if not isinstance(made, Runnable):
            kind = type(made).__name__
            raise InputError(f"{self.target} returned {kind}, not a Runnable", where=build.where)
        return made

    def _details(self, build: Build, extra: Mapping[str, Any]) -> dict[str, Any]:
        details: dict[str, Any] = {"runnable": self.target, "input": self._input, "with": dict(extra)}
        place = self.target.rpartition(":")[0]
        if place and is_path(place):
            details["sha256"] = hashlib.sha256((build.base / place).read_bytes()).hexdigest()
        try:
            content_hash(details)
        except (TypeError, ValueError):
            details["with"] = repr(extra)
        return {name: value for name, value in details.items() if value}

    def check(self, case: Case) -> None:
        """Raise `InputError` when the case lacks the input that `input` names."""
        if self._input and self._input not in case.inputs:
            hint = did_you_mean(self._input, list(case.inputs))
            message = f"{self.target} needs {self._input!r}, which the case doesn't have"
            raise InputError(message, where=case.where, hint=hint)

    async def answer(self, trial: Trial) -> Output:
        """Invoke the runnable. Raises `PipelineError` when it returns nothing that can be read as an output."""
        inputs = trial.case.inputs
        if self._input and self._input not in inputs:
            raise PipelineError(f"case {trial.case.id!r} has no input {self._input!r}")
        handler = _handler_class()()
        config = {
            "callbacks": [handler],
            "tags": ["llmops", *trial.case.tags],
            "metadata": {"case": trial.case.id, "repeat": trial.repeat},
            "run_name": f"llmops {trial.case.id}",
        }
        began = time.perf_counter()
        given = inputs[self._input] if self._input else dict(inputs)
        returned = await self._runnable.ainvoke(given, config=config)
        latency = time.perf_counter() - began
        return _output(returned, handler.total(returned), latency, self.target)


def _import_core() -> None:
    try:
        import langchain_core.runnables  # noqa: F401
    except ImportError:
        raise MissingExtraError("langchain", needed_for="a langchain variant") from None


def _check_arguments(factory: Any, extra: Mapping[str, Any], target: str, where: str) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    parameters = signature.parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in extra:
            if name not in parameters:
                hint = did_you_mean(name, parameters)
                raise InputError(f"{target} has no parameter {name!r}", where=where, hint=hint)
    try:
        signature.bind(**extra)
    except TypeError as error:
        raise InputError(f"{target}: {error}", where=where, hint="give it in with:") from None


@cache
def _handler_class() -> Any:
    """Made on first use, since the base class comes from LangChain."""
    from langchain_core.callbacks import AsyncCallbackHandler

    class UsageCounter(AsyncCallbackHandler):
        """Adds up what every model call of one trial used, whatever the model is called."""

        def __init__(self) -> None:
            self.usage = Usage()

        async def on_llm_end(self, response: Any, **_: Any) -> None:
            message = next((getattr(g, "message", None) for row in response.generations for g in row), None)
            counted = read_usage(getattr(message, "usage_metadata", None))
            self.usage = self.usage + (counted or Usage(requests=1))

        async def on_llm_error(self, error: BaseException, **_: Any) -> None:
            self.usage = self.usage + Usage(requests=1)

        def total(self, returned: Any) -> Usage:
            """What was counted, or what the returned message itself says when no call was seen."""
            own = read_usage(getattr(returned, "usage_metadata", None))
            return self.usage if self.usage.requests or own is None else own

    return UsageCounter


def _output(returned: Any, usage: Usage, latency_s: float, target: str) -> Output:
    if isinstance(returned, Output):
        return returned
    messages = _messages(returned)
    text = _text(returned, messages)
    calls = tuple(call for message in messages for call in _tool_calls(message))
    contexts = _contexts(returned, target)
    if text is None and not calls:
        keys = f"a mapping with the keys {sorted(map(str, returned))}" if isinstance(returned, Mapping) else ""
        hint = f"return text, a message or one of {', '.join(_TEXT_KEYS)}"
        raise PipelineError(f"{target} returned {keys or type(returned).__name__}"[:300], hint=hint)
    return Output(text or "", contexts, calls, usage=usage, latency_s=latency_s)


def _messages(returned: Any) -> Sequence[Any]:
    from langchain_core.messages import BaseMessage

    if isinstance(returned, BaseMessage):
        return [returned]
    if not isinstance(returned, Mapping):
        return []
    usual = next((returned[k] for k in _TEXT_KEYS if returned.get(k) is not None), None)
    found = returned.get("messages") or usual
    found = found if isinstance(found, list) else [found]
    return [message for message in found if isinstance(message, BaseMessage)]


def _text(returned: Any, messages: Sequence[Any]) -> str | None:
    if isinstance(returned, str):
        return returned
    if isinstance(returned, Mapping):
        value = next((returned[k] for k in _TEXT_KEYS if returned.get(k) is not None), None)
        if isinstance(value, (str, int, float)):
            return str(value)
    if isinstance(returned, (bool, int, float)):
        return str(returned)
    return _content(messages[-1].content) if messages else None


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = (p if isinstance(p, str) else p.get("text") if isinstance(p, Mapping) else None for p in content)
    return "".join(p for p in parts if isinstance(p, str))


def _tool_calls(message: Any) -> list[ToolCall]:
    calls = getattr(message, "tool_calls", None) or ()
    return [ToolCall(str(c["name"]), dict(c["args"]), str(c.get("id") or "")) for c in calls]


def _contexts(returned: Any, target: str) -> tuple[Context, ...]:
    if not isinstance(returned, Mapping):
        return ()
    found = next((returned[k] for k in _CONTEXT_KEYS if returned.get(k) is not None), ())
    items = [found] if isinstance(found, str) else found
    if not isinstance(items, (list, tuple)):
        raise PipelineError(f"{target} returned contexts that are {type(items).__name__}, not a list")
    return tuple(_context(item, target) for item in items)


def _context(item: Any, target: str) -> Context:
    if isinstance(item, Context):
        return item
    if isinstance(item, tuple) and len(item) == 2:  # (document, score), as similarity searches return
        made = _context(item[0], target)
        return Context(made.text, made.id, float(item[1]))
    if isinstance(item, str):
        return Context(item)
    parts = ("page_content", "id", "metadata")
    data = item if isinstance(item, Mapping) else {name: getattr(item, name, None) for name in parts}
    text = next((data[k] for k in ("page_content", "text", "content") if isinstance(data.get(k), str)), None)
    if text is None:
        raise PipelineError(f"{target} returned a context that is {type(item).__name__}, not text or a Document")
    more = data.get("metadata")
    metadata: Mapping[str, Any] = more if isinstance(more, Mapping) else {}
    key = next((v for v in (data.get("id"), metadata.get("id"), metadata.get("source")) if v is not None), "")
    score = next((v for v in (data.get("score"), metadata.get("score")) if isinstance(v, (int, float))), None)
    return Context(text, str(key), None if score is None else float(score))
