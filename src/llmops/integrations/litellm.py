"""Tracking for litellm: `litellm.callbacks = [CallLogger()]`, and every request has a row before it is sent."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
import time
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from llmops.door import is_in_a_loop
from llmops.errors import BackendError, BackendUnavailableError, BudgetExceededError, LlmopsError, MissingExtraError
from llmops.flushing import before_flush, flush
from llmops.http.client import SENDING
from llmops.integrations import which_tracker
from llmops.integrations.litellm_labels import attributed_as
from llmops.integrations.litellm_reading import (
    early,
    has_begun,
    messages_of,
    request_of,
    server,
    succeeded,
    succeeded_raw,
)
from llmops.integrations.litellm_refusing import opened_over_budget, refuse, tracked
from llmops.integrations.open_calls import OpenCalls, as_ours, never_sent
from llmops.usage.nested import apart_from

if TYPE_CHECKING:
    from llmops.usage.tracker import OpenCall, Tracker

    CallLogger: Any

__all__ = ["CallLogger", "flush", "tracked"]
_EMBEDS = ("embedding", "aembedding")  # they write nothing: a budget sets nothing aside for an answer
_OPENED_EARLY = ("acompletion", "atext_completion", "aembedding")
_COSTS_TOKENS = (*_OPENED_EARLY, "completion", "text_completion", "embedding", "responses", "aresponses",
                 "anthropic_messages", "generate_content", "agenerate_content")  # fmt: skip
_LIBRARY = "litellm"
_MOST_TRIES = 10_000
_POLL_S = 0.005
_COLLECT_S = 0.5


def __getattr__(name: str) -> Any:
    if name == "CallLogger":
        return _made_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _wait_for_ends(timeout_s: float) -> None:
    """Wait until the calls that are open now are over and litellm has told of it: from queues of its own, later than
    the answers are there. Not on an event loop, which would have to go on for that."""
    if is_in_a_loop():
        return
    deadline = time.monotonic() + timeout_s
    collected = -math.inf
    _tell_rest()
    begun = _OPEN.keys()
    while not _OPEN.are_over(begun) and time.monotonic() < deadline:
        if time.monotonic() - collected > _COLLECT_S:  # litellm's objects of streams that were left are in cycles
            gc.collect()
            collected = time.monotonic()
        time.sleep(_POLL_S)


def _tell_rest() -> None:
    """Have litellm run the callbacks that still wait in its queue."""
    with contextlib.suppress(Exception):
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

        worker: Any = GLOBAL_LOGGING_WORKER
        worker._flush_on_exit()


_OPEN = OpenCalls(_LIBRARY, _tell_rest)
before_flush(_wait_for_ends)


@cache
def _made_class() -> type:
    """`CallLogger`, made when it is asked for: litellm takes seconds to import, and is an extra."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        from litellm.integrations.custom_logger import CustomLogger
    except ImportError:
        raise MissingExtraError("litellm", needed_for="tracking of litellm") from None

    return type("CallLogger", (Hooks, CustomLogger), {"__doc__": Hooks.__doc__})


class Hooks:
    """A row in the call log for every call that litellm makes, sync, async and streamed.

    `tracker` says whose log (the project's when None), `backend` the name the servers have in the project. A
    call's metadata says whom it is for: `metadata={"team": "search"}`, with `feature`, `user`, `prompt`, and what
    else `tags` names, and litellm's own list of tags. `with track(…)` holds where the metadata says nothing.

    Rows are written before the request is sent. In asynchronous calls `BudgetExceededError` and `StoreError` stop
    it; in synchronous ones litellm swallows what a callback raises, so a warning is all there is, unless the function
    is `tracked`. Retries inside of a provider's own client are one row; set `max_retries=0` for a row each.
    """

    refuses = True
    """For `tracked`, which knows a logger by it."""

    def __init__(self, *, tracker: Tracker | None = None, backend: str = "", tags: Collection[str] = ()) -> None:
        super().__init__()
        self._find = which_tracker(tracker)
        self._backend = backend
        self._tags = tuple(tags)
        self._tries: dict[str, int] = {}

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        kind, key = getattr(call_type, "value", call_type), _key(kwargs)
        if kind not in _OPENED_EARLY or not isinstance(key, str) or _is_ours():
            return
        found, open_already = early(kwargs), _OPEN.get(key)
        if open_already is not None and not open_already.sent and open_already.call.model_asked == found["model"]:
            return  # told twice of one request: for itself, and as the first of its fallbacks
        self._end_last_try(key)
        with attributed_as(kwargs, kwargs.get("user"), self._tags), apart_from(_LIBRARY):
            try:
                call = await self._tracker().open(**found, backend=self._backend, attempt=self._next_try(key))
            except LlmopsError as error:
                refuse(error)  # in a synchronous function with fallbacks, which litellm would go on to
                raise
        call.sent = False  # until `log_pre_api_call`
        self._keep(key, call)
        # nothing is told of a stream that is left, or of a call that is cancelled: then its object goes
        _OPEN.forget_with(kwargs.get("litellm_logging_obj"), key)

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: dict[str, Any]) -> None:
        key = kwargs.get("litellm_call_id")
        if kwargs.get("call_type") not in _COSTS_TOKENS or not isinstance(key, str) or _is_ours():
            return
        call = _OPEN.get(key)
        if call is None or call.sent:
            self._end_last_try(key)
            call = self._begin(key, messages, kwargs)
            if call is None:
                return
            self._keep(key, call)
            _OPEN.forget_with(sys._getframe(1).f_locals.get("self"), key)  # that object is in no argument here
        call.sent = True
        provider, address = server(kwargs)
        call.call = replace(
            call.call,
            provider=provider,
            address=address,
            model_asked=str(model),
            stream=kwargs.get("stream") is True,
        )

    def log_post_api_call(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Keeps the raw answer: of one that came at a second try, litellm tells nothing more."""
        raw, key = kwargs.get("original_response"), kwargs.get("litellm_call_id", "")
        if isinstance(raw, str) and kwargs.get("stream") is not True:
            _OPEN.unless_told(key, lambda call: succeeded_raw(call, raw))

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        key = kwargs.get("litellm_call_id", "")
        self._tries.pop(key, None)
        with _OPEN.ending(key) as call:
            if call is not None:
                call.sent = kwargs.get("cache_hit") is not True
                succeeded(call, kwargs, response_obj)

    def log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        key = kwargs.get("litellm_call_id", "")
        call = _OPEN.get(key)
        if call is not None and _seconds(end_time) >= call.call.started_at:  # else told late, of a try before this one
            self._failed(key, kwargs.get("exception"), has_begun=has_begun(call, kwargs))

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    async def async_post_call_success_deployment_hook(self, request_data: Any, response: Any, call_type: Any) -> None:
        """Settles whole answers at once; those told by the queue alone may be lost when the event loop ends."""
        key = _key(request_data)
        call = _OPEN.get(key)
        if call is not None and call.sent and not call.call.stream and getattr(response, "usage", None) is not None:
            known = {name: request_data.get(name) for name in ("model", "custom_llm_provider")}
            self.log_success_event({**known, "litellm_call_id": key}, response, None, None)

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: Exception, call_type: Any, **_: Any
    ) -> None:
        self._failed(_key(request_data), exception)

    def _failed(self, key: str, error: Any, *, has_begun: bool = False) -> None:
        with _OPEN.ending(key) as call:
            if call is None:
                return
            if never_sent(error) and not has_begun:
                call.sent = False
            made = as_ours(error) if isinstance(error, BaseException) else BackendUnavailableError("no answer")
            if has_begun and isinstance(made, BackendError):
                made.has_begun = True
            call.failed(made)

    def _end_last_try(self, key: str) -> None:
        """litellm tries again without a word of how the last try ended; it didn't end well."""
        self._failed(key, BackendUnavailableError("tried again"))

    def _keep(self, key: str, call: OpenCall) -> None:
        _OPEN.add(key, call)
        if len(self._tries) > _MOST_TRIES:
            self._tries.clear()
        self._tries[key] = call.call.attempt

    def _next_try(self, key: str) -> int:
        return self._tries.get(key, 0) + 1

    def _tracker(self) -> Tracker:
        return self._find()

    def _begin(self, key: str, messages: Any, kwargs: dict[str, Any]) -> OpenCall | None:
        """A call's row; outside of `tracked`, litellm sends the request whatever happens, so it had better be there."""
        parameters = kwargs.get("optional_params") or {}
        if kwargs.get("call_type") in _EMBEDS:
            parameters = {**parameters, "max_tokens": 0}
        said = messages_of(messages)
        known: dict[str, Any] = {
            "model": str(kwargs.get("model") or ""),
            "stream": kwargs.get("stream") is True,
            "backend": self._backend,
            "attempt": self._next_try(key),
            "messages": said,
            "request": request_of(said, str(kwargs.get("model") or ""), parameters),
        }
        known["provider"], known["address"] = server(kwargs)
        with attributed_as(kwargs.get("litellm_params") or {}, kwargs.get("user"), self._tags), apart_from(_LIBRARY):
            try:
                return self._tracker().open_now(**known)
            except BudgetExceededError as error:
                refuse(error)
                _warn(f"{error}; litellm sends the request all the same: see tracked() in llmops.integrations.litellm")
                return opened_over_budget(self._tracker(), **known)
            except LlmopsError as error:
                refuse(error)
                _warn(f"a call of litellm is not recorded: {error}")
                return None


def _key(kwargs: Mapping[str, Any]) -> Any:
    """A call's id as the events after this hook tell it: with `fallbacks`, each has an id that no event tells."""
    return getattr(kwargs.get("litellm_logging_obj"), "litellm_call_id", None) or kwargs.get("litellm_call_id")


def _is_ours() -> bool:
    """Whether a backend of llmops sends this, which keeps the row itself."""
    return SENDING.get() is not None


def _seconds(moment: Any) -> float:
    return float(moment.timestamp()) if isinstance(moment, datetime) else math.inf


def _warn(text: str) -> None:
    with contextlib.suppress(Warning):  # where warnings are errors, litellm would swallow it with the row
        warnings.warn(text, RuntimeWarning, stacklevel=4)
