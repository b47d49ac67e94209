"""What litellm's callbacks are given, read: the request, the server, the answer and where its token counts are from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmops.backends.litellm_counts import counted_by_server
from llmops.backends.litellm_failures import has_status
from llmops.errors import BadResponseError
from llmops.integrations.open_calls import server_of
from llmops.token_usage import read_usage, service_tier, usage_in, written, written_beside
from llmops.types import Message, Request, Usage
from llmops.usage.providers import provider_name
from llmops.usage.tracker import OpenCall

_NOT_PARAMETERS = ("extra_body", "stream", "stream_options")
_BOUNDING = ("max_tokens", "max_completion_tokens", "n", "best_of", "service_tier", "tools", "functions", "response_format")  # fmt: skip  # noqa: E501
"""What a budget's worst case follows from, beside the messages."""


def early(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an asynchronous call before litellm has looked at it."""
    name = str(kwargs.get("model") or "")
    model, kind, url = (
        name,
        str(kwargs.get("custom_llm_provider") or ""),
        kwargs.get("api_base") or kwargs.get("base_url"),
    )
    with contextlib.suppress(Exception):  # a model of no known provider: litellm itself is about to say so
        from litellm import get_llm_provider

        model, kind, _, url = get_llm_provider(name, kwargs.get("custom_llm_provider"), url)
    said = messages_of(kwargs.get("messages") or kwargs.get("input") or kwargs.get("prompt"))
    provider, address = server_of(str(url or ""), provider_name(kind))
    parameters = {name: kwargs[name] for name in _BOUNDING if name in kwargs}
    if "input" in kwargs:  # an embedding writes nothing: a budget sets nothing aside for an answer
        parameters["max_tokens"] = 0
    return {
        "model": model,
        "provider": provider,
        "address": address,
        "stream": kwargs.get("stream") is True,
        "messages": said,
        "request": request_of(said, model, parameters),
    }


def request_of(messages: tuple[Message, ...], model: str, parameters: Mapping[str, Any]) -> Request:
    return Request(messages, model, {n: value for n, value in parameters.items() if n not in _NOT_PARAMETERS})


def server(kwargs: Mapping[str, Any]) -> tuple[str, str]:
    parameters = kwargs.get("litellm_params") or {}
    return server_of(str(parameters.get("api_base") or ""), provider_name(str(kwargs.get("custom_llm_provider") or "")))


def messages_of(given: Any) -> tuple[Message, ...]:
    listed = given if isinstance(given, (list, tuple)) else [given]
    if listed and all(type(item) is int for item in listed):  # one text, as token ids
        listed = [listed]
    said = [item if isinstance(item, Mapping) else {"role": "user", "content": _as_text(item)} for item in listed]
    return tuple(message for message in said if message.get("content") is not None)


def _as_text(item: Any) -> Any:
    """Token ids as text of no fewer bytes than tokens, which a budget counts on; anything else as it is."""
    ids = isinstance(item, (list, tuple)) and all(type(one) is int for one in item)
    return " ".join(map(str, item)) if ids else item


def has_begun(call: OpenCall, kwargs: Mapping[str, Any]) -> bool:
    """Whether a stream that failed had begun: litellm notes its first piece, and counts what came where it can.

    A refusal is the answer's own status; one that litellm read in the stream is not. A single token may be the count of
    a first piece.
    """
    if not call.call.stream:
        return False
    counted, error = read_usage(_dumped(kwargs.get("combined_usage_object"))), kwargs.get("exception")
    if counted is not None and counted.output_tokens > 1:
        call.counted(counted)
    reported = isinstance(error, BaseException) and hasattr(error, "status_code") and not has_status(error)
    return counted is not None or kwargs.get("completion_start_time") is not None or reported


def succeeded(call: OpenCall, kwargs: Mapping[str, Any], response: Any) -> None:
    answer = _dumped(response)
    told = _dumped(getattr(response, "usage", None)) or answer.get("usage")
    usage = counted_by_server(read_usage(told) or Usage(requests=1), _full_name(kwargs))
    if call.call.stream and usage.certainty == "exact" and _is_guess(kwargs, told, usage):
        usage = replace(usage, certainty="estimated")
    call.wrote(_beside(answer))
    call.succeeded(
        usage,
        model=_text(answer.get("model")),
        finish_reason=next((_text(choice.get("finish_reason")) for choice in _choices(answer)), ""),
        response_id=_text(answer.get("id")),
        service_tier=service_tier({**answer, "usage": told}),
        text=_said(answer),
        first_token_s=_first_token_s(kwargs) if call.call.stream else None,
    )


def succeeded_raw(call: OpenCall, raw: str) -> None:
    """The end of a call by its answer as the provider sent it; what isn't an answer is a failure."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, Mapping) or not (usage_in(answer) or answer.get("choices")):
        call.failed(BadResponseError("no answer"))
        return
    call.wrote(_beside(answer))
    call.succeeded(
        read_usage(usage_in(answer)),
        model=_text(answer.get("model") or answer.get("modelVersion")),
        response_id=_text(answer.get("id")),
        service_tier=service_tier(answer),
        text=_said(answer),
    )


def _choices(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = answer.get("choices")
    return [choice for choice in listed if isinstance(choice, Mapping)] if isinstance(listed, (list, tuple)) else []


def _said(answer: Mapping[str, Any]) -> str:
    messages = [(choice.get("message"), choice.get("text")) for choice in _choices(answer)]
    return "".join(_text(m.get("content") if isinstance(m, Mapping) else text) for m, text in messages)


def _beside(answer: Mapping[str, Any]) -> str:
    """What the model wrote that isn't in `_said`: all of it where a provider has no choices."""
    return written_beside(answer.get("choices")) if _choices(answer) else written(answer)


def _dumped(value: Any) -> Mapping[str, Any]:
    """A model of pydantic, or a mapping, as a mapping."""
    dump = getattr(value, "model_dump", None)
    made = value if dump is None else dump()
    return made if isinstance(made, Mapping) else {}


def _full_name(kwargs: Mapping[str, Any]) -> str:
    """The model with its provider in front."""
    kind, model = _text(kwargs.get("custom_llm_provider")), _text(kwargs.get("model"))
    return model if not kind or model.startswith(f"{kind}/") else f"{kind}/{model}"


def _is_guess(kwargs: Mapping[str, Any], told: Any, usage: Usage) -> bool:
    """Whether litellm counted a stream's tokens itself, for want of a count by the server: it doesn't say.

    A server's count comes with details, or was asked for; one that was asked for and equals litellm's own count is not
    told apart from it.
    """
    if isinstance(told, Mapping) and told.get("prompt_tokens_details"):
        return False
    options = kwargs.get("stream_options") or (kwargs.get("optional_params") or {}).get("stream_options") or {}
    if not options.get("include_usage"):
        return True
    with contextlib.suppress(Exception):
        from litellm import token_counter

        return bool(token_counter(model=kwargs.get("model"), messages=kwargs.get("messages")) == usage.input_tokens)
    return True


def _first_token_s(kwargs: Mapping[str, Any]) -> float | None:
    began, first = kwargs.get("api_call_start_time"), kwargs.get("completion_start_time")
    try:
        return max((first - began).total_seconds(), 0.0) if began and first else None
    except (TypeError, AttributeError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
