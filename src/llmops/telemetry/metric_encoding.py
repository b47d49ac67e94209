"""Metrics as OTLP's protobuf messages. The library (extra `telemetry`) is loaded when they are first encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmops.telemetry.encoding import MAX_REQUEST_BYTES, attribute_messages, fill_scope
from llmops.telemetry.metrics import Attributes, Instrument, Point, Points
from llmops.telemetry.spans import Value


def encoded_metrics(
    points: Points, resource: Mapping[str, Value], start_ns: int, now_ns: int, *, delta: bool
) -> Iterator[tuple[bytes, int]]:
    """Bodies of `ExportMetricsServiceRequest`, each of about `MAX_REQUEST_BYTES` at most, and their points' number.

    `start_ns` and `now_ns` are Unix nanoseconds: from when the figures count, and until when.
    """
    request, metrics = _request(resource)
    count = size = 0
    for instrument, found in points.items():
        metric: Any = None
        for attributes, point in found.items():
            if size > MAX_REQUEST_BYTES:
                yield bytes(request.SerializeToString()), count
                request, metrics = _request(resource)
                metric, count, size = None, 0, 0
            if metric is None:
                metric = _metric(metrics, instrument, delta=delta)
            made = _point(metric, instrument, attributes, point)
            made.start_time_unix_nano, made.time_unix_nano = start_ns, now_ns
            count, size = count + 1, size + made.ByteSize()
    if count:
        yield bytes(request.SerializeToString()), count


def _request(resource: Mapping[str, Value]) -> tuple[Any, Any]:
    """An empty request, and where its metrics go."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    whole = request.resource_metrics.add()
    whole.resource.attributes.extend(attribute_messages(resource.items()))
    scoped = whole.scope_metrics.add()
    fill_scope(scoped.scope)
    return request, scoped.metrics


def _metric(metrics: Any, instrument: Instrument, *, delta: bool) -> Any:
    """The part of a new metric that takes its points."""
    from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

    metric = metrics.add(name=instrument.name, unit=instrument.unit, description=instrument.description)
    data = metric.histogram if instrument.bounds else metric.sum
    data.aggregation_temporality = (
        AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        if delta
        else AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    if not instrument.bounds:
        data.is_monotonic = True
    return data


def _point(data: Any, instrument: Instrument, attributes: Attributes, point: Point) -> Any:
    made = data.data_points.add()
    made.attributes.extend(attribute_messages(attributes))
    if instrument.bounds:
        made.count, made.sum, made.min, made.max = point.count, point.total, point.least, point.most
        made.explicit_bounds.extend(instrument.bounds)
        made.bucket_counts.extend(point.buckets)
    elif instrument.scale == 1:
        made.as_int = point.total
    else:
        made.as_double = point.total / instrument.scale  # of integers: rounded once
    return made
