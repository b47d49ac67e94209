"""Tracking for LangChain: `chain.invoke(…, config={"callbacks": [CallTracker()]})`, or `install()` once for all."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from llmops.errors import MissingExtraError
from llmops.http.client import SENDING
from llmops.integrations import which_tracker
from llmops.integrations.open_calls import OpenCalls, as_ours, labelled, never_sent, server_of
from llmops.token_usage import read_usage, written_beside
from llmops.token_usage.estimating import so_far, text_tokens
from llmops.types import Message, Request, Usage
from llmops.usage.nested import apart_from, is_below

if TYPE_CHECKING:
    from llmops.usage.tracker import OpenCall, Tracker

    CallTracker: Any

_LIBRARY = "langchain_core"
_OPEN = OpenCalls(_LIBRARY)
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool"}
_ADDRESSES = ("base_url", "openai_api_base", "azure_endpoint", "endpoint", "anthropic_api_url", "endpoint_url")


def install(*, tracker: Tracker | None = None, backend: str = "", tags: Collection[str] = ()) -> None:
    """Track every model that LangChain calls in this process from now on, without passing a callback around.

    A call that has a `CallTracker` of its own is tracked by that one. Raises `MissingExtraError`.
    """
    try:
        from langchain_core.tracers.context import register_configure_hook
    except ImportError:
        raise MissingExtraError("langchain", needed_for="tracking of LangChain") from None
    made = _made_class()
    found = _INSTALLED.get("handler")
    handler = made(tracker=tracker, backend=backend, tags=tags)
    if found is not None:
        found.__dict__.update(handler.__dict__)
        return
    _INSTALLED["handler"] = handler
    variable: ContextVar[Any] = ContextVar("llmops_call_tracker", default=handler)
    register_configure_hook(variable, inheritable=True, handle_class=made)


_INSTALLED: dict[str, Any] = {}


def __getattr__(name: str) -> Any:
    if name == "CallTracker":
        return _made_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _made_class() -> type:
    """`CallTracker`, made when it is asked for: langchain-core is slow to import, and an extra."""
    try:
        from langchain_core.callbacks import BaseCallbackHandler
    except ImportError:
        raise MissingExtraError("langchain", needed_for="tracking of LangChain") from None

    return type("CallTracker", (Hooks, BaseCallbackHandler), {"__doc__": Hooks.__doc__})


class Hooks:
    """A row in the call log for every model LangChain calls, sync, async and streamed.

    `tracker` says whose log (the project's when None), `backend` the name the server has in the project. The
    run's metadata says whom a call is for: `config={"metadata": {"team": "search"}}`, with `feature`, `user`,
    `prompt`, and what else `tags` names. `with track(…)` holds where the metadata says nothing.

    The row is written before the request is sent; `BudgetExceededError` and `StoreError` stop it. What a
    provider's own client retries is one row here.
    """

    raise_error = True  # or a refused call would be sent all the same
    run_inline = True  # or each token of an asynchronous stream would cost a hop to a thread

    def __init__(self, *, tracker: Tracker | None = None, backend: str = "", tags: Collection[str] = ()) -> None:
        self._tracker = which_tracker(tracker)
        self._backend = backend
        self._tags = tuple(tags)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: Any, metadata: Any = None, **kwargs: Any
    ) -> None:
        said = tuple(_message(message) for turn in messages for message in turn)
        self._open(serialized, said, run_id, metadata, kwargs)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: Any, metadata: Any = None, **kwargs: Any) -> None:
        said = tuple({"role": "user", "content": prompt} for prompt in prompts)
        self._open(serialized, said, run_id, metadata, kwargs)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: Any, **kwargs: Any) -> None:
        call = _OPEN.get(run_id.int)
        if call is None:
            return
        if not call.call.stream:  # only now it shows
            call.call = replace(call.call, stream=True)
        message = getattr(chunk, "message", None)
        _received(call, token, message)
        usage = read_usage(getattr(message, "usage_metadata", None))
        if usage is not None and usage.certainty == "exact" and usage.output_tokens:
            call.counted(usage)

    def on_llm_end(self, response: Any, *, run_id: Any, **kwargs: Any) -> None:
        with _OPEN.ending(run_id.int) as call:
            if call is not None:
                _succeeded(call, response)

    def on_llm_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        with _OPEN.ending(run_id.int) as call:
            if call is not None:
                _failed(call, error)

    def _open(self, serialized: Any, messages: tuple[Message, ...], run_id: Any, metadata: Any, details: Any) -> None:
        if run_id.int in _OPEN or SENDING.get() is not None:  # another handler has it, or a backend of ours
            return
        known = metadata if isinstance(metadata, Mapping) else {}
        asked = details.get("invocation_params")
        asked = asked if isinstance(asked, Mapping) else {}
        address = _address(serialized, known)
        provider, host = server_of(address, str(known.get("ls_provider") or ""))
        model = str(known.get("ls_model_name") or asked.get("model") or asked.get("model_name") or "")
        is_nested = is_below(f"{_LIBRARY}.language_models", past=_LIBRARY)  # a model that asks another
        with labelled(known, self._tags), nullcontext() if is_nested else apart_from(_LIBRARY):
            call = self._tracker().open_now(
                backend=self._backend,
                provider=provider,
                address=host,
                model=model,
                stream=asked.get("stream") is True,
                messages=messages,
                request=Request(messages, model, {k: v for k, v in asked.items() if k not in ("model", "stream")}),
            )
        _OPEN.add(run_id.int, call)
        # LangChain tells of no end when a task that waits for a whole answer is cancelled: then its id goes
        _OPEN.forget_with(run_id, run_id.int)


def _message(message: Any) -> Message:
    role = _ROLES.get(getattr(message, "type", ""), "user")
    return {"role": role, "content": getattr(message, "content", "")}


def _content(token: Any) -> str:
    """The text of a token that is a list of content blocks."""
    blocks = token if isinstance(token, list) else [token]
    return "".join(str(block.get("text") or "") if isinstance(block, Mapping) else str(block) for block in blocks)


def _received(call: OpenCall, token: Any, message: Any) -> None:
    """A piece of an answer: its text, and what was written beside it."""
    text = token if isinstance(token, str) else _content(token)
    if text:
        call.received(text)
    else:
        call.first_token()
    beside = _beside(message)
    if beside:
        call.wrote(beside)


def _beside(message: Any) -> str:
    """Reasoning and arguments of tool calls in a message or a piece of one."""
    calls = getattr(message, "tool_call_chunks", None) or getattr(message, "tool_calls", None)
    content = getattr(message, "content", None)
    said = content if isinstance(content, list) else None
    found = written_beside([{"tool_calls": calls}, getattr(message, "additional_kwargs", None)])
    return found or written_beside(said)


def _address(serialized: Any, metadata: Mapping[str, Any]) -> str:
    """The server's address, as far as a model's description or the environment names one."""
    given = serialized.get("kwargs") if isinstance(serialized, Mapping) else None
    found = next((given[n] for n in _ADDRESSES if isinstance(given.get(n), str)), "") if given else ""
    if not found and metadata.get("ls_provider") == "openai":
        found = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or ""
    return str(found)


def _succeeded(call: OpenCall, response: Any) -> None:
    generations: Sequence[Any] = [made for several in response.generations for made in several]
    output = response.llm_output if isinstance(response.llm_output, Mapping) else {}
    message = getattr(generations[0], "message", None) if generations else None
    counted = getattr(message, "usage_metadata", None)
    said = getattr(message, "response_metadata", None) or {}
    said = {**output, **(getattr(generations[0], "generation_info", None) or {} if generations else {}), **said}
    if isinstance(counted, Mapping) and counted.get("total_cost") == 0:  # LangChain's mark of an answer from its cache
        call.sent = False
    usage = read_usage(counted) or read_usage(said.get("token_usage")) or read_usage(said.get("usage"))
    text = "".join(str(getattr(made, "text", "")) for made in generations)
    if usage is not None and call.is_behind:  # the sum of its counts is one of the answer so far
        usage = so_far(usage, Usage(0, text_tokens(text)))
    if not call.call.stream:
        call.wrote(_beside(message))
    call.succeeded(
        usage,
        model=_first(said, "model_name", "model", "model_id"),
        finish_reason=_first(said, "finish_reason", "stop_reason", "done_reason"),
        response_id=_first(said, "id", "response_id"),
        service_tier=_first(said, "service_tier"),
        text=text,
    )


def _first(values: Mapping[str, Any], *names: str) -> str:
    return next((values[n] for n in names if isinstance(values.get(n), str) and values[n]), "")


def _failed(call: OpenCall, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):
        call.abandoned()
    elif not isinstance(error, Exception):
        call.cancelled()
    else:
        if never_sent(error):
            call.sent = False
        call.failed(as_ours(error))
