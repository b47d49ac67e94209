"""A call as an OpenTelemetry span: name, times, status and attributes. Standard library only."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.telemetry import semconv
from llmops.telemetry.messages import input_messages, output_messages
from llmops.types import Call, CallText, Cost

Value = str | bool | int | float | tuple[str, ...]

_NANO = 1_000_000_000
_FAILED = ("error", "timeout", "unsent")
_PARTS = ("input", "cache_read", "cache_write", "output", "reasoning", "fees")


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of the caller's own that a call is made in: ids in hex, and W3C trace state."""

    trace_id: str
    span_id: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span of kind CLIENT. Ids are hex, times Unix nanoseconds, `error` is empty unless it failed."""

    name: str
    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    error: str = ""
    parent: Parent | None = None


def span_of(call: Call, text: CallText | None = None, parent: Parent | None = None) -> Span:
    """The span of a settled call, a child of `parent` or a trace of its own.

    Its ids are the call's own (the trace's is the whole id, the span's its second half), so that a call is found by
    its id. `text` puts what was said into it.
    """
    ids = _ids(call.id)
    start = _nanoseconds(call.started_at)
    attributes = dict(_attributes(call))
    if text is not None:
        attributes[semconv.INPUT_MESSAGES] = input_messages(text.messages)
        attributes[semconv.OUTPUT_MESSAGES] = output_messages(text.answer, call.finish_reason)
    return Span(
        name=f"{call.operation} {call.model_asked or call.model_served}".strip(),
        trace_id=parent.trace_id if parent else ids,
        span_id=ids[16:],
        start_ns=start,
        end_ns=start + _nanoseconds(call.duration_s or 0),
        attributes=attributes,
        error=error_type(call),
        parent=parent,
    )


def _nanoseconds(seconds: float) -> int:
    """Exact: a product of a float with 10⁹ would lose some hundreds of them."""
    whole, rest = divmod(seconds, 1)
    return int(whole) * _NANO + round(rest * _NANO)


def _ids(call_id: str) -> str:
    """32 hex digits: a UUID's own, or a hash of any other id."""
    try:
        return uuid.UUID(call_id).hex
    except ValueError:
        return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:32]


def error_type(call: Call) -> str:
    """The kind of a call's error, empty for one that went well or that the caller ended."""
    return (call.error or call.outcome) if call.outcome in _FAILED else ""


def cost_status(call: Call) -> str:
    """How sure a call's dollars are: `exact`, `estimated`, without a price `unpriced`, without tokens `unknown`.

    Empty for a call without a cost that was never sent.
    """
    if call.cost is not None:
        return call.cost.certainty
    if call.outcome == "unsent":
        return ""
    return "unknown" if call.usage.certainty == "unknown" else "unpriced"


def request_attributes(call: Call) -> tuple[tuple[str, Value | None], ...]:
    """What is known of a call before it is answered: operation, provider, model and server."""
    provider = call.provider or call.backend
    host, port = _server(call.address)
    return (
        (semconv.OPERATION, call.operation),
        (semconv.PROVIDER, semconv.PROVIDERS.get(provider, provider)),
        (semconv.REQUEST_MODEL, call.model_asked),
        (semconv.SERVER_ADDRESS, host),
        (semconv.SERVER_PORT, port),
    )


def _attributes(call: Call) -> Iterator[tuple[str, Value]]:
    """Attributes of everything that is known; what isn't is left out, never sent as zero or as empty text."""
    for name, value in (*_request(call), *_answer(call), *_ours(call)):
        if value is not None and value != "":
            yield name, value
    yield from _tokens(call)
    yield from _money(call)


def _request(call: Call) -> tuple[tuple[str, Value | None], ...]:
    known = request_attributes(call)
    return (*known, (semconv.SYSTEM, dict(known)[semconv.PROVIDER]), (semconv.REQUEST_STREAM, call.stream or None))


def _answer(call: Call) -> tuple[tuple[str, Value | None], ...]:
    return (
        (semconv.RESPONSE_MODEL, call.model_served),
        (semconv.RESPONSE_ID, call.response_id),
        (semconv.FINISH_REASONS, (call.finish_reason,) if call.finish_reason else None),
        (semconv.TIME_TO_FIRST_CHUNK, call.first_token_s),
        (semconv.SERVICE_TIER, call.service_tier),
        (semconv.ERROR_TYPE, error_type(call) or call.error),
    )


def _ours(call: Call) -> tuple[tuple[str, Value], ...]:
    whom = call.attribution
    prompt, _, version = whom.prompt.partition("@")
    tags = dict(whom.tags)
    return (
        (semconv.CALL_ID, call.id),
        (semconv.PURPOSE, whom.purpose),
        (semconv.OUTCOME, call.outcome),
        (semconv.STATE, call.state),
        (semconv.ATTEMPT, call.attempt),
        (semconv.BACKEND, call.backend),
        (semconv.FALLBACK_FROM, whom.fallback_from),
        (semconv.PROMPT_NAME, prompt),
        (semconv.PROMPT_VERSION, version),
        (semconv.PROMPT_ID, whom.prompt_id),
        (semconv.RUN, whom.run),
        (semconv.SUITE, whom.suite),
        (semconv.VARIANT, whom.variant),
        (semconv.TEAM, whom.team),
        (semconv.FEATURE, whom.feature),
        (semconv.USER, whom.user),
        (semconv.CONVERSATION, tags.get("conversation", "")),
        *((semconv.TAG.format(name=name), value) for name, value in whom.tags),
        *((semconv.GUARD.format(name=name), decision) for name, decision in call.guards),
    )


def _tokens(call: Call) -> Iterator[tuple[str, Value]]:
    usage = call.usage
    if usage.certainty == "unknown":
        return
    yield semconv.INPUT_TOKENS, usage.input_tokens
    yield semconv.OUTPUT_TOKENS, usage.output_tokens
    optional = (
        (semconv.CACHE_READ_TOKENS, usage.cache_read_tokens),
        (semconv.CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        (semconv.CACHE_CREATION_TOKENS, usage.cache_write_tokens),
        (semconv.CACHE_WRITE_1H_TOKENS, usage.cache_write_1h_tokens),
        (semconv.REASONING_TOKENS, usage.reasoning_tokens),
        (semconv.AUDIO_INPUT_TOKENS, usage.audio_input_tokens),
        (semconv.AUDIO_OUTPUT_TOKENS, usage.audio_output_tokens),
        (semconv.IMAGES, usage.images),
    )
    yield from ((name, count) for name, count in optional if count)


def _money(call: Call) -> Iterator[tuple[str, Value]]:
    """Dollars and how sure they are; without a price there is no figure, only `unpriced` or `unknown`."""
    cost = call.cost
    if status := cost_status(call):
        yield semconv.COST_STATUS, status
    if cost is None:
        return
    yield semconv.COST, cost.total / _NANO
    yield semconv.USAGE_COST, cost.total / _NANO
    yield semconv.MLFLOW_COST, _mlflow_cost(cost)
    for part in _PARTS:
        if nanos := getattr(cost, part):
            yield semconv.COST_PART.format(part=part), nanos / _NANO
    named = ((semconv.COST_SOURCE, cost.source), (semconv.COST_PRICE, cost.price))
    yield from ((name, value) for name, value in (*named, (semconv.COST_REVISION, cost.revision)) if value)


def _mlflow_cost(cost: Cost) -> str:
    """As MLflow stores it: two parts that add up to the total; fees count with the input."""
    output = cost.output + cost.reasoning
    shares: dict[str, Any] = {"input_cost": (cost.total - output) / _NANO, "output_cost": output / _NANO}
    return json.dumps({**shares, "total_cost": cost.total / _NANO})


def _server(address: str) -> tuple[str, int | None]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        return address.strip("[]"), None
    return host.strip("[]"), int(port)
