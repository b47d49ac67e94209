"""Spans as OTLP's protobuf messages, and what metrics share with them.

The library (extra `telemetry`) is loaded when the first span is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from llmops.errors import MissingExtraError
from llmops.telemetry import semconv
from llmops.telemetry.spans import Span, Value

MAX_REQUEST_BYTES = 3 * 1024 * 1024  # the smallest limit in common use is 4 MiB, of gRPC gateways
_PROTO = "opentelemetry.proto.collector.trace.v1"


def check_installed(where: str = "") -> None:
    """Raises `MissingExtraError` unless OTLP's messages can be imported. Loads none of them."""
    try:
        found = find_spec(_PROTO)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingExtraError("telemetry", needed_for="sending calls over OTLP", where=where)


def encoded(spans: Sequence[Span], resource: Mapping[str, Value]) -> Iterator[tuple[bytes, int]]:
    """Bodies of `ExportTraceServiceRequest`, each of at most `MAX_REQUEST_BYTES` unless one span is longer, and how
    many spans each holds."""
    batch: list[Any] = []
    size = 0
    for message in (_message(span) for span in spans):
        length = message.ByteSize()
        if batch and size + length > MAX_REQUEST_BYTES:
            yield _request(batch, resource), len(batch)
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield _request(batch, resource), len(batch)


def rejected(body: bytes) -> int:
    """How many spans or points the collector's answer says it refused; 0 for an answer that isn't OTLP's.

    The answers for metrics and for spans are the same bytes.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        answer = ExportTraceServiceResponse.FromString(body)
    except Exception:  # protobuf's DecodeError, whose module has no types
        return 0
    return max(0, int(answer.partial_success.rejected_spans))


def _request(messages: Sequence[Any], resource: Mapping[str, Value]) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    whole = request.resource_spans.add()
    whole.resource.attributes.extend(attribute_messages(resource.items()))
    scoped = whole.scope_spans.add()
    fill_scope(scoped.scope)
    scoped.spans.extend(messages)
    return bytes(request.SerializeToString())


def fill_scope(scope: Any) -> None:
    """Say in an OTLP scope who measured, and by which conventions."""
    scope.name, scope.version = "llmops", _version()
    scope.attributes.extend(attribute_messages([("llmops.semconv", semconv.VERSION)]))


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("llmops")
    except PackageNotFoundError:  # run from its source
        return ""


def _message(span: Span) -> Any:
    from opentelemetry.proto.trace.v1 import trace_pb2

    message = trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        name=_text(span.name),
        kind=trace_pb2.Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=attribute_messages(span.attributes.items()),
    )
    if span.parent is not None:
        message.parent_span_id = bytes.fromhex(span.parent.span_id)
        message.trace_state = _text(span.parent.state)
    if span.error:
        message.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        message.status.message = _text(span.error)
    return message


def attribute_messages(values: Iterable[tuple[str, Value]]) -> list[Any]:
    """OTLP's `KeyValue` of each name and value."""
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    return [KeyValue(key=_text(name), value=_value(value)) for name, value in values]


def _value(value: Value) -> Any:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, tuple):
        return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
    return AnyValue(string_value=_text(value))


def _text(value: str) -> str:
    """Half of a surrogate pair can't be encoded."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
