"""Telemetry with the product: what a collector gets from `connect` and `llmops eval` is what `cost report` says."""

from __future__ import annotations

import json
import multiprocessing.util
import socket
import subprocess
import sys

import pytest

from conftest import clean_environment
from llmops.store.call_queries import Calls
from provider_server import ProviderServer
from tracked_project import APPLICATION, QUESTIONS, answer_to, write_project

pytest.importorskip("opentelemetry.proto", reason="needs the extra: telemetry")
from llmops.telemetry.delivery import Delivery
from otlp_collector import Collector, attributes, points


@pytest.fixture
def provider():
    with ProviderServer(answer_to) as running:
        yield running


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def run_application(folder, script=APPLICATION):
    """Runs it in a process of its own, which ends as soon as it can."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=120
    )


def report(llmops, folder):
    done = llmops("cost", "report", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["total"]


def summed(spans, name):
    return sum(attributes(span).get(name, 0) for span in spans)


def nanos(spans, name):
    return sum(round(attributes(span).get(name, 0) * 1e9) for span in spans)


def test_a_script_that_ends_at_once_delivers_the_reports_tokens_and_dollars(tmp_path, provider, collector, llmops):
    write_project(tmp_path, provider, collector.url)
    done = run_application(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "RequestRejectedError\n", "")
    spans, total = collector.spans, report(llmops, tmp_path)
    assert len(spans) == len({span.span_id for span in spans}) == total["requests"] == provider.count == 7
    assert summed(spans, "gen_ai.usage.input_tokens") == total["input_tokens"]
    assert summed(spans, "gen_ai.usage.output_tokens") == total["output_tokens"]
    assert summed(spans, "gen_ai.usage.cache_read.input_tokens") == total["cache_read_tokens"] == 1124
    assert summed(spans, "gen_ai.usage.reasoning.output_tokens") == total["reasoning_tokens"] == 40
    assert nanos(spans, "llmops.cost.usd") == round(total["cost_usd"] * 1e9) > 0
    found = [attributes(span) for span in spans]
    outcomes = sorted(one["llmops.call.outcome"] for one in found)
    assert outcomes == ["abandoned", "error", "success", "success", "success", "success", "success"]
    assert sum(one["llmops.cost.status"] == "estimated" for one in found) == 2  # left early, and nobody counted
    assert {one["llmops.team"] for one in found} == {"search"} and {one["user.id"] for one in found} == {"u1"}
    assert not any("gen_ai.input.messages" in one or "gen_ai.output.messages" in one for one in found)


def test_a_scripts_metrics_are_the_reports_tokens_and_dollars(tmp_path, provider, collector, llmops):
    write_project(tmp_path, provider, collector.url, metrics=True)
    done = run_application(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "RequestRejectedError\n", "")
    total, metrics = report(llmops, tmp_path), collector.metrics
    assert len(collector.spans) == total["requests"] == 7 and len(collector.metric_requests) == 1
    calls, cost = points(metrics["llmops.client.calls"]), points(metrics["llmops.client.cost"])
    assert sum(point.as_int for point in calls.values()) == 7
    assert sum(round(point.as_double * 1e9) for point in cost.values()) == round(total["cost_usd"] * 1e9) > 0
    usage = points(metrics["gen_ai.client.token.usage"])
    for kind in ("input", "output"):
        tokens = sum(point.sum for of, point in usage.items() if dict(of)["gen_ai.token.type"] == kind)
        assert tokens == total[f"{kind}_tokens"]
    cached = points(metrics["gen_ai.client.inference.usage.cache_read.input_tokens"])
    assert sum(point.as_int for point in cached.values()) == total["cache_read_tokens"] == 1124
    durations = points(metrics["gen_ai.client.operation.duration"])
    failed = [point.count for of, point in durations.items() if "error.type" in dict(of)]
    assert sum(point.count for point in durations.values()) == 7 and failed == [1]
    assert not any("u1" in str(of) or "search" in str(of) for metric in metrics.values() for of in points(metric))


def test_an_evaluation_and_its_judges_own_client_send_each_call_once(tmp_path, provider, collector, llmops):
    write_project(tmp_path, provider, collector.url, content=True)
    assert llmops("prompt", "release", "docs/answer", cwd=tmp_path).returncode == 0
    done = llmops("eval", "evals/qa.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [run] = json.loads(done.stdout)["runs"]
    found = [attributes(span) for span in collector.spans]
    assert len(found) == len({one["llmops.call.id"] for one in found}) == provider.count == 6
    answers, judgements = ([one for one in found if one["llmops.call.purpose"] == what] for what in ("eval", "judge"))
    assert len(answers) == len(judgements) == 3
    about = {(one["llmops.run.id"], one["llmops.suite.name"], one["llmops.variant.name"]) for one in found}
    assert about == {(run["run"]["id"], "qa", "a")}
    assert {(one["gen_ai.prompt.name"], one["llmops.prompt.version"]) for one in answers} == {("docs/answer", "1")}
    asked = json.dumps([one["gen_ai.input.messages"] for one in answers])
    assert all(question in asked for question in QUESTIONS)
    assert nanos(collector.spans, "llmops.cost.usd") == round(report(llmops, tmp_path)["cost_usd"] * 1e9) > 0


def test_texts_are_kept_and_sent_apart(tmp_path, provider, collector, llmops):
    """`calls: {keep_text: true}` keeps them in the store; only `content: true` puts them into spans."""
    write_project(tmp_path, provider, collector.url, calls={"keep_text": True})
    run_application(tmp_path)
    assert len(collector.spans) == 7
    assert not any(b"Louvre" in request.SerializeToString() for request in collector.requests)
    store = tmp_path / ".llmops" / "llmops.db"
    with Calls.open(store) as calls:
        ids = [call.id for call in calls.rows()]
        assert sum("Louvre" in str(calls.text(one)) for one in ids) == 1
        assert calls.prune_text(calls.text(ids[0]) and 4e9) == 7  # all of them are older than the year 2096
    assert report(llmops, tmp_path)["requests"] == 7
    with Calls.open(store) as calls:
        assert not any(calls.text(one) for one in ids)


def test_a_collector_that_is_gone_changes_nothing_but_a_line_on_stderr(tmp_path, provider, llmops):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        write_project(tmp_path, provider, f"http://127.0.0.1:{taken.getsockname()[1]}")
        llmops("prompt", "release", "docs/answer", cwd=tmp_path)
        done = llmops("eval", "evals/qa.yaml", "--json", cwd=tmp_path)
        assert done.returncode == 0
        assert json.loads(done.stdout)["exit_code"] == 0
        assert "calls were not exported (127.0.0.1" in done.stderr and "Traceback" not in done.stderr
    assert report(llmops, tmp_path)["requests"] == 6


def test_exporters_that_were_closed_leave_nothing_to_do_at_the_end_of_the_process():
    before = len(multiprocessing.util._finalizer_registry)
    for _ in range(3):
        delivery = Delivery(lambda batch, _: (0, ""), of="calls")
        delivery.put("one")
        delivery.close(30)
        assert delivery.sent == 1
    assert len(multiprocessing.util._finalizer_registry) == before
