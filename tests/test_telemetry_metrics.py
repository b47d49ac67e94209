"""Calls as metrics: what they add up to, that the sums arrive, and that OpenTelemetry's own SDK makes the same ones."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.errors import ConfigError
from llmops.identity import new_id
from llmops.telemetry.metrics import Aggregate, measurements
from llmops.telemetry.settings import destination_of, metrics_destination_of
from llmops.types import Attribution, Call, Cost, Usage

pytest.importorskip("opentelemetry.proto", reason="needs the extra: telemetry")
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from llmops.telemetry.metric_encoding import encoded_metrics
from llmops.telemetry.metric_sink import MetricSink
from llmops.telemetry.otlp import OtlpSink, sink_of
from otlp_collector import Collector, attributes, points

USAGE = Usage(1000, 100, 600, 50, 40, requests=1, certainty="exact", audio_input_tokens=30)
BASE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "server.address": "api.example.com",
    "server.port": 8443,
}
SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]


def call(**known) -> Call:
    given = {
        "id": new_id(), "started_at": 1_800_000_000.25, "backend": "hosted", "provider": "openai",
        "address": "api.example.com:8443", "model_asked": "gpt-4o", "model_served": "gpt-4o-2024-08-06",
        "outcome": "success", "state": "settled", "usage": USAGE, "cost": Cost(2_750_001), "first_token_s": 0.125,
        "duration_s": 1.5, "stream": True, "attribution": Attribution(user="u7", run="r1", team="search"), **known,
    }  # fmt: skip
    return Call(**given)


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def summed(calls, sets=2000):
    made = Aggregate(sets)
    for one in calls:
        made.add(one)
    return made.points


def sent(calls, **more):
    """The metrics of these calls by name, encoded and read again."""
    [(body, _)] = encoded_metrics(summed(calls, **more), {}, 1, 2, delta=False)
    [whole] = ExportMetricsServiceRequest.FromString(body).resource_metrics
    return {metric.name: metric for metric in whole.scope_metrics[0].metrics}


def key(**more):
    return frozenset({**BASE, **{name.replace("_DOT_", "."): value for name, value in more.items()}}.items())


def with_type(kind):
    return frozenset({**BASE, "gen_ai.token.type": kind}.items())


# What a call adds


def test_the_metrics_of_a_streamed_call_have_the_conventions_names_units_and_bounds():
    found = sent([call()])
    assert {(name, metric.unit, metric.WhichOneof("data")) for name, metric in found.items()} == {
        ("gen_ai.client.token.usage", "{token}", "histogram"),
        ("gen_ai.client.operation.duration", "s", "histogram"),
        ("gen_ai.client.operation.time_to_first_chunk", "s", "histogram"),
        ("gen_ai.client.inference.duration", "s", "histogram"),
        ("gen_ai.client.inference.time_to_first_chunk", "s", "histogram"),
        ("gen_ai.client.inference.usage.input_tokens", "{token}", "sum"),
        ("gen_ai.client.inference.usage.output_tokens", "{token}", "sum"),
        ("gen_ai.client.inference.usage.cache_read.input_tokens", "{token}", "sum"),
        ("gen_ai.client.inference.usage.cache_write.input_tokens", "{token}", "sum"),
        ("gen_ai.client.inference.usage.reasoning.output_tokens", "{token}", "sum"),
        ("llmops.client.cost", "{USD}", "sum"),
        ("llmops.client.calls", "{call}", "sum"),
    }
    usage, took = points(found["gen_ai.client.token.usage"]), points(found["gen_ai.client.operation.duration"])
    assert usage.keys() == {with_type("input"), with_type("output")} and took.keys() == {frozenset(BASE.items())}
    assert list(usage[with_type("input")].explicit_bounds) == TOKENS
    assert list(took[frozenset(BASE.items())].explicit_bounds) == SECONDS
    made = usage[with_type("input")]
    assert (made.count, made.sum, made.min, made.max) == (1, 1000, 1000, 1000)
    assert list(made.bucket_counts) == [0] * 5 + [1] + [0] * 9
    [first] = points(found["gen_ai.client.operation.time_to_first_chunk"]).values()
    assert first.sum == 0.125
    counted = points(found["gen_ai.client.inference.usage.input_tokens"])
    modality = "gen_ai.token.modality"
    assert {dict(kind)[modality]: point.as_int for kind, point in counted.items()} == {"unknown": 970, "audio": 30}
    assert all(metric.sum.is_monotonic for metric in found.values() if metric.HasField("sum"))


def test_dollars_are_exact_to_the_nano_dollar_and_say_how_sure_they_are():
    calls = [call(cost=Cost(nanos)) for nanos in (1, 10**9, 333_333_333)]
    calls += [call(cost=Cost(7, certainty="estimated")), call(cost=None)]
    calls += [call(cost=None, usage=Usage(), outcome="cancelled"), call(cost=None, outcome="unsent", usage=Usage())]
    found = sent(calls)
    dollars = {dict(of)["llmops.cost.status"]: point.as_double
               for of, point in points(found["llmops.client.cost"]).items()}  # fmt: skip
    assert dollars == {"exact": 1.333333334, "estimated": 7e-9}
    number = {dict(of).get("llmops.cost.status"): point.as_int
              for of, point in points(found["llmops.client.calls"]).items()}  # fmt: skip
    assert number == {"exact": 3, "estimated": 1, "unpriced": 1, "unknown": 1, None: 1}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_any_dollars_can_be_read_back_to_the_last_nano_dollar(nanos):
    [point] = points(sent([call(cost=Cost(one)) for one in nanos])["llmops.client.cost"]).values()
    assert round(Fraction(point.as_double) * 10**9) == sum(nanos)


def test_no_attribute_names_a_user_a_run_or_a_call():
    one = call(attribution=Attribution("judge", "r1", "qa", "b", "docs/answer@3", "abc", "search", "f", "u7",
                                       (("conversation", "c9"),)), response_id="chatcmpl-1")  # fmt: skip
    names = {name for _, known, _ in measurements(one) for name, _ in known}
    assert names == {*BASE, "gen_ai.token.type", "gen_ai.token.modality", "llmops.call.purpose", "llmops.cost.status"}


@pytest.mark.parametrize(
    ("known", "error"),
    [
        ({"outcome": "error", "error": "rate_limited"}, "rate_limited"),
        ({"outcome": "timeout"}, "timeout"),
        ({"outcome": "cancelled"}, None),
        ({"outcome": "abandoned"}, None),
    ],
)
def test_only_durations_tell_errors(known, error):
    found = {one.name: dict(of) for one, of, _ in measurements(call(usage=Usage(5, 2, certainty="exact"), **known))}
    with_error = {name for name, of in found.items() if "error.type" in of}
    assert found["gen_ai.client.operation.duration"].get("error.type") == error
    durations = {"gen_ai.client.operation.duration", "gen_ai.client.inference.duration"}
    assert with_error == (durations if error else set())


def test_what_nobody_knows_is_left_out():
    names = {one.name for one, _, _ in measurements(call(usage=Usage(), cost=None, duration_s=None, stream=False))}
    assert names == {"llmops.client.calls"}
    refused = call(outcome="error", usage=Usage(certainty="exact"), cost=Cost(0))
    assert "gen_ai.client.token.usage" not in {one.name for one, _, _ in measurements(refused)}
    empty = call(usage=Usage(7, 0, certainty="exact"))
    usage = [value for one, _, value in measurements(empty) if one.name == "gen_ai.client.token.usage"]
    assert usage == [7, 0]


def test_embeddings_are_no_inference_and_write_nothing():
    found = list(measurements(call(operation="embeddings", stream=False, usage=Usage(9, 0, certainty="exact"))))
    assert Counter(one.name for one, _, _ in found) == Counter(
        ["gen_ai.client.operation.duration", "gen_ai.client.token.usage", "llmops.client.calls", "llmops.client.cost"]
    )


def test_names_without_end_become_one_set():
    found = sent([call(model_asked=f"m{number}") for number in range(50)], sets=10)
    for metric in found.values():
        kept = points(metric)
        assert len(kept) == 10 and frozenset({("otel.metric.overflow", True)}) in kept
    assert sum(point.as_int for point in points(found["llmops.client.calls"]).values()) == 50


def test_long_metrics_are_split(monkeypatch):
    from llmops.telemetry import metric_encoding

    monkeypatch.setattr(metric_encoding, "MAX_REQUEST_BYTES", 2000)
    made = summed([call(model_asked=f"m{number}") for number in range(30)])
    bodies = list(encoded_metrics(made, {"service.name": "shop"}, 1, 2, delta=False))
    assert len(bodies) > 5 and all(len(body) < 3500 for body, _ in bodies)
    seen = Counter()
    for body, count in bodies:
        [whole] = ExportMetricsServiceRequest.FromString(body).resource_metrics
        here = [(metric.name, of) for metric in whole.scope_metrics[0].metrics for of in points(metric)]
        assert len(here) == count and attributes(whole.resource) == {"service.name": "shop"}
        seen.update(here)
    assert len(seen) == sum(map(len, made.values())) and set(seen.values()) == {1}


# OpenTelemetry's own SDK


def plain_points(metrics, *, scales=()):
    """Everything that a metric says, in a form that can be compared."""
    found = {}
    for metric in metrics:
        data = getattr(metric, metric.WhichOneof("data"))
        for of, point in points(metric).items():
            if metric.HasField("histogram"):
                value = (point.count, point.sum, point.min, point.max, *point.bucket_counts, *point.explicit_bounds)
            else:
                value = getattr(point, point.WhichOneof("value")) / dict(scales).get(metric.name, 1)
            found[metric.name, metric.unit, data.aggregation_temporality, of] = value
    return found


def official(calls, *exporters):
    """The same measurements, aggregated by OpenTelemetry's SDK and encoded by its exporter."""
    sdk = pytest.importorskip("opentelemetry.sdk.metrics", reason="needs opentelemetry-sdk")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.common", reason="needs OpenTelemetry's OTLP exporter")
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader

    memory = InMemoryMetricReader()
    readers = [PeriodicExportingMetricReader(one, export_interval_millis=math.inf) for one in exporters]
    provider = sdk.MeterProvider([memory, *readers], shutdown_on_exit=False)
    meter, made = provider.get_meter("llmops"), {}
    for one in calls:
        for of, known, value in measurements(one):
            if of not in made:
                made[of] = (
                    meter.create_histogram(of.name, of.unit, of.description,
                                           explicit_bucket_boundaries_advisory=list(of.bounds)).record
                    if of.bounds else meter.create_counter(of.name, of.unit, of.description).add
                )  # fmt: skip
            made[of](value, dict(known))
    [whole] = encode_metrics(memory.get_metrics_data()).resource_metrics
    provider.force_flush()
    provider.shutdown()
    return plain_points(whole.scope_metrics[0].metrics, scales=SCALES)


SCALES = (("llmops.client.cost", 10**9),)
counts = st.one_of(st.sampled_from([*TOKENS, 0]), st.integers(0, 10**8))
seconds = st.one_of(st.none(), st.sampled_from([*SECONDS, 0.0]), st.floats(0, 1e4))
any_call = st.builds(
    lambda model, outcome, tokens, nanos, took, first, known: call(
        model_asked=model, outcome=outcome, duration_s=took, first_token_s=first, cost=Cost(nanos),
        usage=Usage(*tokens, requests=1, certainty=known),
    ),
    st.sampled_from(["a", "b", ""]), st.sampled_from(["success", "error", "cancelled"]), st.tuples(counts, counts),
    st.integers(0, 10**12), seconds, seconds, st.sampled_from(["exact", "estimated", "unknown"]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(any_call, min_size=1, max_size=12))
def test_any_calls_come_to_the_same_figures_as_in_opentelemetrys_sdk(calls):
    assert plain_points(sent(calls).values()) == official(calls)


def test_what_arrives_is_what_opentelemetrys_exporter_sends(collector):
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    calls = [call(duration_s=number / 7, model_asked=f"m{number % 3}") for number in range(20)]
    official(calls, exporter.OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics"))
    theirs = plain_points(collector.metrics.values(), scales=SCALES)
    sink = MetricSink(f"{collector.url}/v1/metrics")
    for one in calls:
        sink.record(one, None)
    sink.close()
    assert plain_points(collector.metrics.values()) == theirs
    assert collector.paths == ["/v1/metrics"] * 2
    assert {seen["content-type"] for seen in collector.headers} == {"application/x-protobuf"}


# Arriving


def number_of(metrics):
    return sum(point.as_int for point in points(metrics["llmops.client.calls"]).values())


def test_sums_grow_from_export_to_export(collector):
    sink = MetricSink(f"{collector.url}/v1/metrics", {"x-api-key": "k"}, resource={"service.name": "shop"})
    for _ in range(3):
        sink.record(call(), None)
        assert sink.flush(30)
    sink.close()
    requests = collector.metric_requests
    assert len(requests) == 3 and collector.headers[0]["x-api-key"] == "k"
    assert (sink.sent, sink.dropped, number_of(collector.metrics)) == (3, 0, 3)
    of = [attributes(request.resource_metrics[0].resource) for request in requests]
    assert of[0]["service.name"] == "shop" and of[0]["service.instance.id"] and of[0] == of[1] == of[2]
    scope = requests[0].resource_metrics[0].scope_metrics[0].scope
    assert scope.name == "llmops" and attributes(scope) == {"llmops.semconv": "genai-0.1.0"}
    made = [
        next(iter(points(request.resource_metrics[0].scope_metrics[0].metrics[0]).values())) for request in requests
    ]
    assert len({point.start_time_unix_nano for point in made}) == 1
    assert made[0].start_time_unix_nano < made[0].time_unix_nano < made[1].time_unix_nano


def test_delta_sends_each_call_once(collector):
    sink = MetricSink(f"{collector.url}/v1/metrics", delta=True)
    for _ in range(3):
        sink.record(call(), None)
        assert sink.flush(30)
    assert sink.flush(30)  # nothing new: nothing sent
    sink.close()
    found = []
    for request in collector.metric_requests:
        [whole] = request.resource_metrics
        metrics = {metric.name: metric for metric in whole.scope_metrics[0].metrics}
        assert metrics["llmops.client.calls"].sum.aggregation_temporality == 1  # DELTA
        [point] = points(metrics["llmops.client.calls"]).values()
        found.append((number_of(metrics), point.start_time_unix_nano, point.time_unix_nano))
    assert [one[0] for one in found] == [1, 1, 1]
    assert found[0][2] == found[1][1] and found[1][2] == found[2][1]


def test_sums_are_sent_every_so_often_without_being_asked(collector):
    sink = MetricSink(f"{collector.url}/v1/metrics", every_s=0.01)
    sink.record(call(), None)
    assert collector.arrived.wait(30)
    sink.close()
    assert number_of(collector.metrics) == 1


def test_a_collector_that_was_gone_gets_everything_later(collector, caplog):
    with Collector([404, 404]) as failing:
        sink = MetricSink(f"{failing.url}/v1/metrics")
        for _ in range(3):
            sink.record(call(), None)
            assert sink.flush(30)
        assert (sink.sent, sink.dropped, number_of(failing.metrics)) == (3, 0, 3)
        sink.close()
    [said] = [record.getMessage() for record in caplog.records]
    assert "metrics were not exported" in said and "answered 404 Not Found; check the address's path" in said


@pytest.mark.parametrize("delta", [False, True])
def test_calls_whose_sums_never_arrived_are_counted(delta, caplog):
    with Collector([(200, {}, b""), 403, 403]) as failing:
        sink = MetricSink(f"{failing.url}/v1/metrics", delta=delta)
        sink.record(call(), None)
        assert sink.flush(30)
        for _ in range(2):
            sink.record(call(), None)
        sink.close()
    assert (sink.sent, sink.dropped) == (1, 2)
    assert "2 measured calls were not exported (127.0.0.1" in caplog.text


def test_a_call_that_cannot_be_measured_takes_no_other_along(collector):
    sink = MetricSink(f"{collector.url}/v1/metrics")
    sink.record(call(duration_s="long"), None)
    sink.record(call(), None)
    sink.close()
    assert (sink.sent, sink.dropped, number_of(collector.metrics)) == (1, 1, 1)


def test_a_collector_that_hangs_makes_nobody_wait():
    with Collector(hold=True) as hanging:
        sink = MetricSink(f"{hanging.url}/v1/metrics")
        sink.record(call(), None)
        assert not sink.flush(0.05)
        for _ in range(100):
            sink.record(call(), None)
        sink.close(0.01)
        hanging.release()
    assert sink.dropped >= 100


def _record_and_close(sink):
    sink.record(call(), None)
    sink.close()


def test_a_forked_process_is_an_instance_of_its_own(collector):
    sink = MetricSink(f"{collector.url}/v1/metrics")
    sink.record(call(), None)
    assert sink.flush(30)
    child = multiprocessing.get_context("fork").Process(target=_record_and_close, args=(sink,))
    child.start()
    child.join(60)
    sink.close()
    found = collector.metric_requests
    ids = {attributes(request.resource_metrics[0].resource)["service.instance.id"] for request in found}
    assert child.exitcode == 0 and len(found) == 2 == len(ids) and number_of(collector.metrics) == 1


# Settings


@pytest.mark.parametrize("metrics", [False, None])
def test_metrics_are_off_unless_they_are_asked_for(metrics, collector):
    given = {"otlp": collector.url} if metrics is None else {"otlp": collector.url, "metrics": metrics}
    assert metrics_destination_of(given) is None
    sink = sink_of(given)
    sink.record(call(), None)
    sink.close()
    assert collector.paths == ["/v1/traces"]


@pytest.mark.parametrize("metrics", [True, "cumulative", "delta"])
def test_metrics_and_spans_go_to_one_place(metrics, collector):
    sink = sink_of({"otlp": collector.url, "metrics": metrics, "headers": {"x-key": "k"}})
    assert isinstance(sink, OtlpSink)
    for _ in range(3):
        sink.record(call(), None)
    assert sink.flush(30)
    assert sorted(collector.paths) == ["/v1/metrics", "/v1/traces"] and len(collector.spans) == 3
    assert [seen["x-key"] for seen in collector.headers] == ["k", "k"]
    assert number_of(collector.metrics) == 3
    delta = collector.metrics["llmops.client.cost"].sum.aggregation_temporality == 1
    assert delta is (metrics == "delta")
    sink.close()


@pytest.mark.parametrize(
    ("otlp", "endpoint"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/metrics"),
        ("http://a/otel/v1/traces", "http://a/otel/v1/metrics"),
        ("http://a/otel/v1/metrics", "http://a/otel/v1/metrics"),
    ],
)
def test_where_metrics_go(otlp, endpoint):
    assert metrics_destination_of({"otlp": otlp, "metrics": True}).endpoint == endpoint
    assert destination_of({"otlp": otlp}).endpoint == endpoint.replace("metrics", "traces")


def test_opentelemetrys_own_variables_for_metrics(monkeypatch, collector):
    given = {"otlp": "env", "metrics": True}
    assert metrics_destination_of(given) is None and sink_of(given) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/own")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-m=1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-t=1")
    made = metrics_destination_of(given)
    assert (made.endpoint, made.headers) == (f"{collector.url}/own", {"x-m": "1"})
    assert isinstance(sink_of(given), MetricSink)  # and nothing says where spans go
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="set OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf"):
        metrics_destination_of(given)


@pytest.mark.parametrize("metrics", ["yes", 3, [], "http://a"])
def test_wrong_settings_say_what_is_right(metrics):
    with pytest.raises(ConfigError, match=r"^llmops.yaml:7: telemetry: metrics is .*true, false, cumulative or delta"):
        sink_of({"otlp": "http://a", "metrics": metrics}, "llmops.yaml:7")
