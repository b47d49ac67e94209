"""Calls as spans: what each says, that they arrive, and that no collector can hurt who makes the calls."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import clean_environment
from llmops.errors import ConfigError, InputError, MissingExtraError
from llmops.identity import new_id
from llmops.store.call_totals import Totals
from llmops.telemetry import encoding, prometheus
from llmops.telemetry.delivery import Delivery
from llmops.telemetry.otlp import OtlpSink, sink_of
from llmops.telemetry.posting import Poster
from llmops.telemetry.settings import destination_of
from llmops.telemetry.spans import span_of
from llmops.types import Attribution, Call, CallText, Cost, Usage

pytest.importorskip("opentelemetry.proto", reason="needs the extra: telemetry")
from otlp_collector import Collector, attributes

USAGE = Usage(1000, 100, cache_read_tokens=600, requests=1, certainty="exact")
COST = Cost(2_750_000, input=1_000_000, cache_read=750_000, output=1_000_000, source="yaml", price="gpt-4o")


def call(**known) -> Call:
    """A call that went well: 1,000 tokens in, 600 of them cached, 100 out, $0.00275."""
    given = {
        "id": new_id(), "started_at": 1_800_000_000.25, "backend": "hosted", "provider": "openai",
        "address": "api.example.com:8443", "model_asked": "gpt-4o", "model_served": "gpt-4o-2024-08-06",
        "outcome": "success", "state": "settled", "usage": USAGE, "cost": COST, "first_token_s": 0.125,
        "duration_s": 1.5, "finish_reason": "stop", "response_id": "chatcmpl-1", **known,
    }  # fmt: skip
    return Call(**given)


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


# What a span says


def test_a_span_has_the_conventions_names_and_the_calls_times():
    made = span_of(call(stream=True))
    assert made.name == "chat gpt-4o"
    assert (made.start_ns, made.end_ns) == (1_800_000_000_250_000_000, 1_800_000_001_750_000_000)
    assert made.error == ""
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.125,
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 600,
        "server.address": "api.example.com",
        "server.port": 8443,
        "llmops.call.purpose": "app",
        "llmops.call.outcome": "success",
        "llmops.call.state": "settled",
        "llmops.call.attempt": 1,
        "llmops.cost.usd": 0.00275,
        "llmops.cost.status": "exact",
        "llmops.cost.cache_read.usd": 0.00075,
        "gen_ai.usage.cost": 0.00275,
    }.items() <= dict(made.attributes).items()
    assert json.loads(str(made.attributes["mlflow.llm.cost"]))["total_cost"] == 0.00275


def test_a_span_says_whom_a_call_is_for():
    whom = Attribution(
        purpose="judge", run="r1", suite="qa", variant="b", prompt="docs/answer@3", prompt_id="abc", team="search",
        feature="answers", user="u7", tags=(("conversation", "c9"), ("tier", "gold")), fallback_from="local",
    )  # fmt: skip
    made = span_of(call(attribution=whom, guards=(("pii", "redact"),), service_tier="batch", attempt=2)).attributes
    assert {
        "llmops.call.purpose": "judge",
        "llmops.run.id": "r1",
        "llmops.suite.name": "qa",
        "llmops.variant.name": "b",
        "gen_ai.prompt.name": "docs/answer",
        "llmops.prompt.version": "3",
        "llmops.prompt.id": "abc",
        "llmops.team": "search",
        "llmops.feature": "answers",
        "user.id": "u7",
        "gen_ai.conversation.id": "c9",
        "llmops.tag.tier": "gold",
        "llmops.fallback.from": "local",
        "llmops.guard.pii": "redact",
        "llmops.service_tier": "batch",
        "llmops.call.attempt": 2,
    }.items() <= dict(made).items()


@pytest.mark.parametrize(
    ("outcome", "error", "expected"),
    [
        ("success", "", ""),
        ("error", "rate_limited", "rate_limited"),
        ("error", "", "error"),
        ("timeout", "backend_timeout", "backend_timeout"),
        ("timeout", "", "timeout"),
        ("unsent", "backend_unavailable", "backend_unavailable"),
        ("cancelled", "", ""),
        ("abandoned", "", ""),
        ("pending", "", ""),
    ],
)
def test_what_failed_is_an_error_and_what_the_caller_ended_is_not(outcome, error, expected):
    made = span_of(call(outcome=outcome, error=error))
    assert made.error == expected
    assert made.attributes.get("error.type", "") == expected
    assert made.attributes["llmops.call.outcome"] == outcome


@pytest.mark.parametrize(
    ("usage", "cost", "outcome", "status", "tokens"),
    [
        (USAGE, COST, "success", "exact", True),
        (USAGE, Cost(5, input=5, certainty="estimated"), "abandoned", "estimated", True),
        (USAGE, Cost(0, source="not billed"), "error", "exact", True),
        (USAGE, None, "success", "unpriced", True),
        (Usage(requests=1), None, "cancelled", "unknown", False),
        (Usage(requests=1), None, "unsent", None, False),
    ],
)
def test_no_price_and_no_count_are_never_shown_as_zero(usage, cost, outcome, status, tokens):
    made = span_of(call(usage=usage, cost=cost, outcome=outcome)).attributes
    assert made.get("llmops.cost.status") == status
    for name in ("llmops.cost.usd", "gen_ai.usage.cost", "mlflow.llm.cost"):
        assert (name in made) is (cost is not None)
    assert ("gen_ai.usage.input_tokens" in made) is tokens
    if cost is not None:
        assert made["llmops.cost.usd"] == cost.total / 1e9


def test_cache_writes_go_by_both_names_and_other_classes_by_their_own():
    usage = Usage(1000, 100, 0, 300, 40, 1, "exact", cache_write_1h_tokens=200, audio_input_tokens=7, images=2)
    made = span_of(call(usage=usage)).attributes
    assert made["gen_ai.usage.cache_write.input_tokens"] == made["gen_ai.usage.cache_creation.input_tokens"] == 300
    assert made["gen_ai.usage.reasoning.output_tokens"] == 40
    assert made["llmops.usage.cache_write_1h_tokens"] == 200
    assert made["llmops.usage.audio_input_tokens"] == 7
    assert made["llmops.usage.images"] == 2
    assert "gen_ai.usage.cache_read.input_tokens" not in made


@pytest.mark.parametrize(
    ("provider", "shown"),
    [
        ("vllm", "vllm"),
        ("bedrock", "aws.bedrock"),
        ("azure", "azure.ai.openai"),
        ("mistral", "mistral_ai"),
        ("", "hosted"),
    ],
)
def test_providers_have_their_conventional_names(provider, shown):
    assert span_of(call(provider=provider)).attributes["gen_ai.provider.name"] == shown


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("localhost:8000", "localhost", 8000),
        ("[::1]:9", "::1", 9),
        ("example.com", "example.com", None),
        ("", None, None),
    ],
)
def test_an_address_is_a_host_and_a_port(address, host, port):
    made = span_of(call(address=address)).attributes
    assert (made.get("server.address"), made.get("server.port")) == (host, port)


def test_a_trace_is_found_by_the_calls_id():
    one = call()
    made = span_of(one)
    assert made.trace_id == one.id.replace("-", "")
    assert made.span_id == made.trace_id[16:]
    assert made.attributes["llmops.call.id"] == one.id
    other = span_of(call(id="not a uuid"))
    assert len(other.trace_id) == 32 and other.trace_id == span_of(call(id="not a uuid")).trace_id


texts = st.text(st.characters(), max_size=20)
counts = st.integers(0, 10**12)


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts, counts, counts, st.integers(0, 10**18), st.floats(0, 4e9), st.floats(0, 1e5))
def test_any_call_can_be_sent_and_read_back(model, tag, error, tokens, more, nanos, start, seconds):
    one = call(
        model_asked=model, error=error, outcome="error", started_at=start, duration_s=seconds, cost=Cost(nanos),
        usage=Usage(tokens, more, certainty="estimated"), attribution=Attribution(tags=(("t", tag),), user=tag),
    )  # fmt: skip
    said = CallText(({"role": "user", "content": tag},), error)
    [(body, count)] = encoding.encoded([span_of(one, said)], {"service.name": model})
    request = encoding_of(body)
    [span] = request.resource_spans[0].scope_spans[0].spans
    found = attributes(span)
    assert count == 1
    assert found["gen_ai.usage.input_tokens"] == tokens
    assert round(Decimal(found["llmops.cost.usd"]) * 10**9) == pytest.approx(nanos, rel=1e-15)
    assert span.end_time_unix_nano >= span.start_time_unix_nano
    assert json.loads(found["gen_ai.input.messages"])[0]["role"] == "user"


def encoding_of(body):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest.FromString(body)


# What was said


def test_what_was_said_is_sent_only_when_asked_for(collector):
    said = CallText(({"role": "user", "content": "my secret question"},), "my secret answer")
    for content in (False, True):
        sink = OtlpSink(collector.endpoint, content=content)
        sink.record(call(), said)
        sink.close()
    without, having = collector.requests
    assert b"my secret" not in without.SerializeToString()
    found = attributes(having.resource_spans[0].scope_spans[0].spans[0])
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "my secret question"}]}
    ]
    assert json.loads(found["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "my secret answer"}], "finish_reason": "stop"}
    ]


def test_messages_of_every_shape_become_parts():
    messages = (
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "input_audio", "input_audio": {"data": "BBBB"}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "t1", "function": {"name": "look", "arguments": '{"at": 1}'}},
            {"id": "t2", "function": {"arguments": "{"}},
        ]},
        {"role": "tool", "tool_call_id": "t1", "content": "a cat"},
    )  # fmt: skip
    made = json.loads(str(span_of(call(), CallText(messages)).attributes["gen_ai.input.messages"]))
    assert [message["role"] for message in made] == ["system", "user", "assistant", "tool"]
    kinds = [part["type"] for part in made[1]["parts"]]
    assert kinds == ["text", "text", "uri", "text"]
    assert "AAAA" not in str(made) and "BBBB" not in str(made)
    assert made[2]["parts"][0] == {"type": "tool_call", "id": "t1", "name": "look", "arguments": {"at": 1}}
    assert made[2]["parts"][1]["arguments"] == "{"
    assert made[3]["parts"] == [{"type": "tool_call_response", "id": "t1", "response": "a cat"}]


# Arriving


def test_calls_arrive_with_headers_resource_and_scope(collector):
    sink = OtlpSink(collector.endpoint, {"x-api-key": "k1"}, resource={"service.name": "shop", "replica": 3})
    calls = [call() for _ in range(1200)]
    for one in calls:
        sink.record(one, None)
    assert sink.flush(30)
    assert sink.sent == 1200 and sink.dropped == 0
    assert {span.trace_id.hex() for span in collector.spans} == {one.id.replace("-", "") for one in calls}
    assert all(seen["x-api-key"] == "k1" for seen in collector.headers)
    assert collector.headers[0]["content-type"] == "application/x-protobuf"
    assert len(collector.requests) <= 4  # in batches
    whole = collector.requests[0].resource_spans[0]
    assert attributes(whole.resource) == {"service.name": "shop", "replica": 3}
    assert whole.scope_spans[0].scope.name == "llmops"
    [span] = [span for span in collector.spans if span.trace_id.hex() == calls[7].id.replace("-", "")]
    assert span.kind == span.SPAN_KIND_CLIENT
    assert span.status.code == span.status.STATUS_CODE_UNSET and not span.parent_span_id
    sink.close()


def test_an_error_has_an_error_status(collector):
    sink = OtlpSink(collector.endpoint)
    sink.record(call(outcome="error", error="rate_limited"), None)
    sink.close()
    [span] = collector.spans
    assert span.status.code == span.status.STATUS_CODE_ERROR and span.status.message == "rate_limited"


def test_long_texts_are_split_over_requests(collector):
    sink = OtlpSink(collector.endpoint, content=True)
    for _ in range(4):
        sink.record(call(), CallText(({"role": "user", "content": "x" * 1_600_000},)))
    sink.close()
    assert len(collector.spans) == 4 and len(collector.requests) == 4


def test_a_call_that_cannot_be_told_takes_no_other_along(collector, caplog):
    sink = OtlpSink(collector.endpoint)
    sink.record(call(started_at=float("nan")), None)
    sink.record(call(), None)
    sink.close()
    assert (sink.sent, sink.dropped, len(collector.spans)) == (1, 1, 1)


def test_a_call_joins_the_span_it_starts_in(collector):
    trace = pytest.importorskip("opentelemetry.trace")
    ours = trace.SpanContext(0xABC, 0xDEF, False, trace.TraceFlags(1), trace.TraceState([("vendor", "1")]))
    unsampled = trace.SpanContext(0xABC, 0xDEF, False, trace.TraceFlags(0))
    sink = OtlpSink(collector.endpoint)
    streamed, direct, alone, unseen = (call(finish_reason=word) for word in ("streamed", "direct", "alone", "unseen"))
    sink.begun(alone)
    with trace.use_span(trace.NonRecordingSpan(ours)):
        sink.begun(streamed)
        sink.record(direct, None)
        sink.record(alone, None)
    with trace.use_span(trace.NonRecordingSpan(unsampled)):
        sink.record(unseen, None)
    sink.record(streamed, None)
    sink.close()
    found = {attributes(span)["gen_ai.response.finish_reasons"][0]: span for span in collector.spans}
    for word in ("streamed", "direct"):
        assert found[word].trace_id.hex() == f"{0xABC:032x}"
        assert found[word].parent_span_id.hex() == f"{0xDEF:016x}"
        assert found[word].trace_state == "vendor=1"
    for one in (alone, unseen):
        span = found[one.finish_reason]
        assert span.trace_id.hex() == one.id.replace("-", "") and not span.parent_span_id


def test_what_is_left_is_sent_when_the_process_ends(collector):
    run_script(f"""
sink = OtlpSink({collector.endpoint!r})
for _ in range(3):
    sink.record(Call(new_id(), 1.0), None)
""")
    assert len(collector.spans) == 3


def test_a_forked_process_sends_its_own_calls_and_only_those(collector):
    run_script(f"""
import os, warnings
warnings.simplefilter("ignore")
sink = OtlpSink({collector.endpoint!r})
sink.record(Call(new_id(), 1.0, finish_reason="parent"), None)
child = os.fork()
if not child:
    sink.record(Call(new_id(), 1.0, finish_reason="child"), None)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
""")
    found = sorted(attributes(span)["gen_ai.response.finish_reasons"][0] for span in collector.spans)
    assert found == ["child", "parent"]


def test_workers_of_multiprocessing_send_theirs(collector):
    run_script(f"""
import multiprocessing, warnings
warnings.simplefilter("ignore")
sink = OtlpSink({collector.endpoint!r})
worker = multiprocessing.get_context("fork").Process(target=lambda: sink.record(Call(new_id(), 1.0), None))
worker.start()
worker.join()
""")
    assert len(collector.spans) == 1


def run_script(text: str) -> None:
    head = "import sys\nfrom llmops.identity import new_id\nfrom llmops.telemetry.otlp import OtlpSink\n"
    head += "from llmops.types import Call\n"
    done = subprocess.run(
        [sys.executable, "-c", head + text], env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


# Not hurting anybody


def test_a_collector_that_refuses_is_said_once_with_a_count_and_no_secret(caplog):
    refusals = [(401, {}, b"bad key sk-very-secret")] * 3
    with Collector(refusals) as collector, caplog.at_level(logging.WARNING, "llmops.telemetry"):
        sink = OtlpSink(collector.endpoint, {"Authorization": "Bearer sk-very-secret"})
        for _ in range(3):
            sink.record(call(), None)
            assert sink.flush(30)
        assert (sink.sent, sink.dropped) == (0, 3)
        sink.close()
        sink.close()
    first, last = (record.getMessage() for record in caplog.records)
    assert "1 call was not exported, more may follow" in first and "401 Unauthorized; check telemetry: headers" in first
    assert "3 calls were not exported in all" in last
    assert "secret" not in caplog.text and "secret" not in repr(
        destination_of({"otlp": "http://a", "headers": {"a": "secret"}})
    )


def test_calls_that_the_collector_leaves_out_are_counted(caplog):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    with Collector([(200, {}, answer.SerializeToString())]) as collector:
        sink = OtlpSink(collector.endpoint)
        for _ in range(5):
            sink.record(call(), None)
        sink.close()
    assert (sink.sent, sink.dropped) == (3, 2)


def test_no_collector_at_all(caplog):
    with Collector() as collector:
        endpoint = collector.endpoint
    sink = OtlpSink(endpoint)
    sink.record(call(), None)
    sink.close()
    assert (sink.sent, sink.dropped) == (0, 1)
    assert "can't be reached (ConnectionRefusedError)" in caplog.text


def test_a_collector_that_hangs_makes_nobody_wait(caplog):
    with Collector(hold=True) as collector:
        sink = OtlpSink(collector.endpoint, queue_size=10)
        sink.record(call(), None)
        assert collector.arrived.wait(30)
        for _ in range(25):
            sink.record(call(), None)  # would never come back if it waited
        assert sink.dropped == 15
        assert not sink.flush(0.01)
        sink.close(0.01)
        assert sink.dropped == 26
        sink.record(call(), None)
        assert sink.dropped == 27
        collector.release()
    assert sink.sent == 0


def test_the_end_of_a_process_waits_as_long_as_is_said_for_spans_and_metrics_together():
    with Collector(hold=True) as collector:
        settings = {"otlp": collector.url, "metrics": True, "exit_timeout_s": 3}
        # what is registered first is called last: after the exporters are given up
        code = f"""
import atexit, time
atexit.register(lambda: print(time.monotonic() - began))
from llmops.identity import new_id
from llmops.telemetry.otlp import sink_of
from llmops.types import Call
sink_of({settings!r}).record(Call(new_id(), 1.0), None)
began = time.monotonic()
"""
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, env=clean_environment(), capture_output=True, text=True, timeout=60)
        collector.release()
    assert 3 <= float(done.stdout) < 5.9 and "1 call was not exported in all" in done.stderr


def test_busy_answers_are_tried_again_after_as_long_as_is_asked_for():
    waits = []
    with Collector([(503, {"Retry-After": "7"}, b""), 429, 502]) as collector:
        done = Poster(collector.endpoint, {}).post(b"", 1, lambda seconds: bool(waits.append(seconds)))
        assert done == (0, "")
        assert len(collector.paths) == 4
    assert waits == [7.0, 2.0, 4.0]


def test_what_may_have_been_taken_is_not_sent_twice():
    """Some collectors count a span that comes twice twice."""
    with Collector(hold=True) as collector:
        lost, why = Poster(collector.endpoint, {}, timeout_s=0.05).post(b"", 3, lambda _: False)
        assert lost == 3 and "gave no answer (TimeoutError)" in why
        assert len(collector.paths) == 1
    for status in (400, 504):
        with Collector([status]) as collector:
            lost, why = Poster(collector.endpoint, {}).post(b"", 3, lambda _: False)
            assert lost == 3 and f"answered {status}" in why
            assert len(collector.paths) == 1


def test_trying_again_ends():
    with Collector([503] * 9) as collector:
        waits = []
        poster = Poster(collector.endpoint, {}, give_up_s=3)
        assert poster.post(b"", 5, lambda seconds: bool(waits.append(seconds)))[0] == 5
        assert waits == [1.0, 2.0]
        assert Poster(collector.endpoint, {}).post(b"", 5, lambda _: True)[0] == 5


def test_a_redirect_gets_no_headers():
    with Collector() as other, Collector([(307, {"Location": other.endpoint}, b"")]) as collector:
        lost, why = Poster(collector.endpoint, {"x-api-key": "k"}).post(b"", 1, lambda _: True)
        assert lost == 1 and "307" in why
    assert other.paths == []


def test_a_collector_on_this_machine_is_not_asked_for_through_a_proxy(collector, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert Poster(collector.endpoint, {}).post(b"", 1, lambda _: True) == (0, "")


def test_flushing_after_the_end_waits_for_nothing(collector):
    sink = OtlpSink(collector.endpoint)
    assert sink.flush(0)
    sink.record(call(), None)
    sink.close()
    assert sink.flush(0)


def test_headers_of_the_environment_go_to_no_other_collector(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-honeycomb-team=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    sink = sink_of({"otlp": collector.url})
    sink.record(call(), None)
    sink.close()
    assert "x-honeycomb-team" not in collector.headers[0]


def test_recording_survives_a_finaliser_in_the_middle_of_it():
    """`put` is called from `__del__` of streams that nobody closed: in the same thread, at any point."""
    done = []
    delivery = Delivery(lambda batch, _: (done.extend(batch), (0, ""))[1], of="items")

    class Item:
        def __del__(self):
            delivery.put("from a finaliser")

    for _ in range(50):
        delivery.put(Item())
    assert delivery.flush(30)
    done.clear()
    assert delivery.flush(30)
    delivery.close(30)
    assert done == ["from a finaliser"] * 50 and delivery.lost == 0


def test_many_threads_lose_no_count():
    held = threading.Event()
    delivery = Delivery(lambda batch, _: (held.wait(30), (len(batch), "no"))[1], of="items", limit=100, report=len)
    threads = [threading.Thread(target=lambda: [delivery.put(i) for i in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held.set()
    delivery.close(30)
    assert delivery.sent == 0 and delivery.lost == 2000


def test_nothing_of_opentelemetry_is_loaded_before_a_span_is_sent():
    run_script("""
OtlpSink("http://127.0.0.1:9")
heavy = ("google.protobuf", "opentelemetry.sdk", "opentelemetry.trace", "opentelemetry.exporter")
assert not [name for name in sys.modules if name.startswith(heavy) or name.endswith("_pb2")]
""")


def test_without_the_library_there_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(encoding, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"sending calls over OTLP needs: pip install 'llmops\[telemetry\]'"):
        sink_of({"otlp": "http://localhost:6006"}, "llmops.yaml:3")
    assert sink_of({}) is None


# Settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("ENDPOINT", "HEADERS", "PROTOCOL", "TRACES_ENDPOINT", "TRACES_HEADERS", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("given", [{}, {"otlp": None}, {"otlp": "", "content": True}, {"otlp": "env"}])
def test_nothing_is_sent_unless_it_is_asked_for(given, monkeypatch):
    assert destination_of(given) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert (destination_of(given) is None) is (given.get("otlp") != "env")


@pytest.mark.parametrize(
    ("otlp", "endpoint"),
    [
        ("http://localhost:6006", "http://localhost:6006/v1/traces"),
        ("http://localhost:6006/", "http://localhost:6006/v1/traces"),
        ("https://api.smith.langchain.com/otel", "https://api.smith.langchain.com/otel/v1/traces"),
        ("https://trace.wandb.ai/otel/v1/traces", "https://trace.wandb.ai/otel/v1/traces"),
        ("http://a/x?project=1", "http://a/x/v1/traces?project=1"),
    ],
)
def test_an_address_may_be_whole_or_a_base(otlp, endpoint):
    assert destination_of({"otlp": otlp}).endpoint == endpoint


def test_headers_take_secrets_from_the_environment(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "k1")
    made = destination_of({"otlp": "http://a", "headers": {"Authorization": "Bearer ${TEST_KEY}"}, "service": "shop",
                           "resource": {"openinference.project.name": "p"}})  # fmt: skip
    assert made.headers == {"Authorization": "Bearer k1"}
    assert made.resource == {"service.name": "shop", "openinference.project.name": "p"}


def test_opentelemetrys_own_variables(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20a%3D%3D, x-b=${not a variable}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=search")
    made = destination_of({"otlp": "env", "headers": {"x-c": "3"}})
    assert made.endpoint == "http://collector:4318/base/v1/traces"
    assert made.headers == {"Authorization": "Basic a==", "x-b": "${not a variable}", "x-c": "3"}
    assert made.resource == {"service.name": "shop", "team": "search"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/as-is")
    assert destination_of({"otlp": "env"}).endpoint == "http://traces:4318/as-is"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="only HTTP is spoken"):
        destination_of({"otlp": "env"})
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert destination_of({"otlp": "env"}) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"oltp": "http://a"}, "did you mean 'otlp'"),
        ({"headers": {"a": "b"}}, "telemetry has no otlp"),
        ({"otlp": 4318}, "otlp is 4318"),
        ({"otlp": "localhost:4318"}, "not an http\\(s\\) address"),
        ({"otlp": "https://user:pw@host/"}, "user name or password"),
        ({"otlp": "https://host/?api_key=x"}, "holds a secret"),
        ({"otlp": "http://a", "content": "yes"}, "content is 'yes'; true or false"),
        ({"otlp": "http://a", "headers": ["a"]}, "headers is a mapping"),
        ({"otlp": "http://a", "headers": {"a": "${NO_SUCH_VARIABLE}"}}, "needs \\$NO_SUCH_VARIABLE"),
        ({"otlp": "http://a", "headers": {"a": 3}}, "isn't text"),
        ({"otlp": "http://a", "service": 3}, "service is 3"),
        ({"otlp": "http://a", "exit_timeout_s": "5s"}, "exit_timeout_s is '5s'; a number of seconds"),
        ({"otlp": "http://a", "resource": {"a": []}}, "resource is a mapping"),
    ],
)
def test_wrong_settings_are_one_line_that_says_where(given, says):
    with pytest.raises(ConfigError, match=f"^llmops.yaml:7: .*{says}"):
        sink_of(given, "llmops.yaml:7")


def test_an_endpoint_in_code_is_an_address_too():
    with pytest.raises(InputError, match="not an http"):
        OtlpSink("file:///etc/passwd")


# Prometheus


def parsed(text):
    """The samples of an exposition, read as its grammar says: name, labels, value."""
    found, kinds, left = {}, {}, text
    while left:
        line, _, left = left.partition("\n")
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, "a family is declared once"
            kinds[name] = kind
        elif not line.startswith("#"):
            name, labels, place = "", {}, 0
            while line[place] not in "{ ":
                name, place = name + line[place], place + 1
            if line[place] == "{":
                place += 1
                while line[place] != "}":
                    equals = line.index('="', place)
                    label, place, value = line[place:equals], equals + 2, ""
                    while line[place] != '"':
                        if line[place] == "\\":
                            place += 1
                            value += {"n": "\n", "\\": "\\", '"': '"'}[line[place]]
                        else:
                            value += line[place]
                        place += 1
                    place += 1 + (line[place + 1] == ",")
                    assert label not in labels
                    labels[label] = value
                place += 1
            sample = (name, tuple(labels.items()))
            assert sample not in found, "a sample is written once"
            found[sample] = line[place + 1 :]
    return found, kinds


def test_totals_as_prometheus_text():
    row = Totals(
        {"team": "search", "tag:cost center": 'a"\\\n'}, requests=9, unsent=1, pending=2, errors=1, unpriced=3,
        unknown=4, input_tokens=1000, cache_read_tokens=600, cache_write_tokens=100, output_tokens=100,
        reasoning_tokens=40, cost_exact=2_750_000, cost_estimated=1, cost_input=1_000_000, cost_fees=5,
        duration_s=12.5, first_token_s=0.5, first_tokens=4,
    )  # fmt: skip
    found, kinds = parsed(prometheus.render([row]))
    labels = (("team", "search"), ("tag_cost_center", 'a"\\\n'))
    assert found["llmops_requests_total", labels] == "9"
    assert found["llmops_requests_pending", labels] == "2"
    assert found["llmops_requests_unpriced_total", labels] == "3"
    assert found["llmops_requests_unknown_tokens_total", labels] == "4"
    tokens = {key[1][-1][1]: value for key, value in found.items() if key[0] == "llmops_tokens_total"}
    assert tokens == {"input": "300", "cache_read": "600", "cache_write": "100", "output": "60", "reasoning": "40"}
    assert found["llmops_cost_dollars_total", (*labels, ("certainty", "exact"))] == "0.00275"
    assert found["llmops_cost_dollars_total", (*labels, ("certainty", "estimated"))] == "0.000000001"
    assert found["llmops_cost_part_dollars_total", (*labels, ("part", "input"))] == "0.001"
    assert found["llmops_request_duration_seconds_sum", labels] == "12.5"
    assert found["llmops_request_duration_seconds_count", labels] == "7"
    assert found["llmops_time_to_first_token_seconds_count", labels] == "4"
    assert kinds["llmops_requests_total"] == "counter" and kinds["llmops_requests_pending"] == "gauge"


def test_totals_as_openmetrics():
    text = prometheus.render([Totals({})], openmetrics=True)
    found, kinds = parsed(text)
    assert text.endswith("\n# EOF\n")
    assert kinds["llmops_requests"] == "counter" and found["llmops_requests_total", ()] == "0"


names = st.sampled_from(["team", "tag:a b", "tag:a.b", "class", "certainty", "part", "1st", "prompt"])
keys = st.lists(st.dictionaries(names, st.one_of(st.none(), texts)), max_size=5)


@given(keys, st.integers(-(10**18), 10**18), st.booleans())
@settings(deadline=None)
def test_any_totals_can_be_read_back_to_the_last_nano_dollar(rows, nanos, openmetrics):
    rows = [{**row, "prompt": str(number)} for number, row in enumerate(rows)]  # groups differ
    found, _ = parsed(prometheus.render([Totals(row, cost_exact=nanos) for row in rows], openmetrics=openmetrics))
    dollars = [
        value for (name, labels), value in found.items()
        if name == "llmops_cost_dollars_total" and labels[-1] == ("certainty", "exact")
    ]  # fmt: skip
    assert len(dollars) == len(rows)
    assert all(Decimal(value) * 10**9 == nanos for value in dollars)
    for row in rows:
        wanted = {(text or "").encode("utf-8", "replace").decode() for text in row.values()}
        assert any(wanted <= {value for _, value in labels} | {""} for _, labels in found)
