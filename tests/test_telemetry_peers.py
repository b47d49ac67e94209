"""Real Phoenix and MLflow servers are sent real calls, and show the same tokens and dollars as we do.

Skipped unless `LLMOPS_TEST_PHOENIX` and `LLMOPS_TEST_MLFLOW` name their executables: `scripts/peers.sh` installs both.
Prices in dollars per million tokens, published by OpenAI and Anthropic: gpt-4o 2.50 in, 1.25 cached, 10 out;
claude-haiku-4-5 1 in, 0.10 cache read, 1.25 cache write, 5 out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from conftest import clean_environment
from llmops.identity import new_id
from llmops.store.call_queries import Calls
from llmops.telemetry.otlp import OtlpSink, sink_of
from llmops.types import Attribution, Call, CallText, Cost, Usage
from provider_server import ProviderServer
from tracked_project import APPLICATION, answer_to, write_project

pytest.importorskip("opentelemetry.proto", reason="needs the extra: telemetry")
pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("peers")]

START_S = 300  # a first start imports 600 MB of Python and makes a database
GPT_4O = Cost(2_750_000, input=1_000_000, cache_read=750_000, output=1_000_000)  # 400 × 2.5 + 600 × 1.25 + 100 × 10
HAIKU = Cost(1_030_000, input=500_000, cache_read=30_000, cache_write=250_000, output=250_000)
OWN = Cost(123_456_789, input=100_000_000, output=23_456_789)


def calls(*, priced):
    """Three calls: two that everybody has a price for, and one of a model that only we have a price for."""
    started = time.time() - 10
    haiku = {"provider": "anthropic", "model_asked": "claude-haiku-4-5", "model_served": "claude-haiku-4-5-20251001"}
    made = [
        ({"provider": "openai", "model_asked": "gpt-4o"}, Usage(1000, 100, 600, requests=1, certainty="exact"), GPT_4O),
        (haiku, Usage(1000, 50, 300, 200, requests=1, certainty="exact"), HAIKU),
        ({"provider": "vllm", "model_asked": "my-slm"}, Usage(7, 3, requests=1, certainty="exact"), OWN),
    ]
    whom = Attribution(prompt="docs/answer@2", user="u1", tags=(("conversation", "c1"),))
    return [
        Call(new_id(), started, outcome="success", state="settled", duration_s=1.5, attribution=whom, usage=usage,
             cost=cost if priced else None, **of)
        for of, usage, cost in made
    ]  # fmt: skip


def executable(variable):
    """The program that a variable names; skips without one."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no executable; scripts/peers.sh installs one")
    found = shutil.which(named)
    assert found, f"{variable}: {named} can't be run"
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    try:
        return json.loads(text)
    except ValueError:
        return text


def wait_for(what, seen, *, within_s, process=None):
    """Poll a server of another process until `seen()` is true; its result."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        assert process is None or process.poll() is None, f"{what}: the server has ended"
        try:
            if found := seen():
                return found
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {within_s} s")


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory):
    program, port = executable("LLMOPS_TEST_PHOENIX"), free_port()
    folder = tmp_path_factory.mktemp("phoenix")
    settings = {
        "PHOENIX_WORKING_DIR": str(folder), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()), "PHOENIX_TELEMETRY_ENABLED": "false",
    }  # fmt: skip
    yield from served([program, "serve"], settings, folder, f"http://127.0.0.1:{port}", "/healthz")


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    program, port = executable("LLMOPS_TEST_MLFLOW"), free_port()
    folder = tmp_path_factory.mktemp("mlflow")
    command = [
        program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    yield from served(command, settings, folder, f"http://127.0.0.1:{port}", "/health")


def served(command, settings, folder, url, health):
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(command[0], lambda: asked(url + health), within_s=START_S, process=process)
            yield url
        finally:
            os.killpg(process.pid, 15)  # the process and its workers: a session of their own
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # MLflow's workers don't end by themselves
                os.killpg(process.pid, 9)
                process.wait(30)


def send(sink, made):
    for one in made:
        sink.record(one, CallText(({"role": "user", "content": "Where is it?"},), "Over there."))
    assert sink.flush(60)
    sink.close()
    assert (sink.sent, sink.dropped) == (len(made), 0)


def logged(folder, otlp, **more):
    """The calls of an application that was run in a project with this telemetry, by id."""
    with ProviderServer(answer_to) as provider:
        write_project(folder, provider, otlp, **more)
        subprocess.run(
            [sys.executable, "-c", APPLICATION], cwd=folder, env=clean_environment(), check=True, timeout=300
        )
    with Calls.open(folder / ".llmops" / "llmops.db") as calls:
        found = {call.id: call for call in calls.rows()}
    assert len(found) == 7
    return found


def test_phoenix_shows_what_an_application_logged(phoenix, tmp_path):
    made = logged(tmp_path, phoenix, resource={"openinference.project.name": "application"})
    fields = "spanId tokenCountPrompt tokenCountCompletion costSummary { total { cost } }"
    query = f"{{ projects {{ edges {{ node {{ name spans(first: 50) {{ edges {{ node {{ {fields} }} }} }} }} }} }} }}"
    chats = {call.id.replace("-", "")[16:]: call for call in made.values() if call.model_asked == "gpt-4o"}

    def shown():
        projects = asked(f"{phoenix}/graphql", {"query": query})["data"]["projects"]["edges"]
        spans = [
            edge["node"] for project in projects if project["node"]["name"] == "application"
            for edge in project["node"]["spans"]["edges"]
        ]  # fmt: skip
        costs = {span["spanId"]: ((span["costSummary"] or {}).get("total") or {}).get("cost") for span in spans}
        priced = all(costs.get(one) is not None for one, call in chats.items() if call.usage.input_tokens)
        return len(spans) == len(made) and priced and (spans, costs)

    spans, costs = wait_for("Phoenix's costs", shown, within_s=60)
    assert sum(span["tokenCountPrompt"] or 0 for span in spans) == sum(one.usage.input_tokens for one in made.values())
    tokens = sum(span["tokenCountCompletion"] or 0 for span in spans)
    assert tokens == sum(one.usage.output_tokens for one in made.values())
    for one, call in chats.items():  # it has no price for embeddings
        assert (costs[one] or 0) == pytest.approx(call.cost.total / 1e9, abs=1e-12)


def test_mlflow_shows_what_an_application_logged(mlflow, tmp_path):
    experiment = asked(f"{mlflow}/api/2.0/mlflow/experiments/create", {"name": "application"})["experiment_id"]
    made = logged(tmp_path, mlflow, headers={"x-mlflow-experiment-id": experiment})
    where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]
    traces = asked(f"{mlflow}/api/3.0/mlflow/traces/search", {"locations": where})["traces"]
    found = {trace["trace_id"]: trace["trace_metadata"] for trace in traces}
    assert set(found) == {"tr-" + one.replace("-", "") for one in made}
    for one, call in made.items():
        metadata = found["tr-" + one.replace("-", "")]
        tokens, cost = (json.loads(metadata[f"mlflow.trace.{name}"]) for name in ("tokenUsage", "cost"))
        assert (tokens["input_tokens"], tokens["output_tokens"]) == (call.usage.input_tokens, call.usage.output_tokens)
        assert cost["total_cost"] == pytest.approx(call.cost.total / 1e9, abs=1e-12)


def test_phoenix_shows_our_tokens_and_computes_our_dollars(phoenix):
    made = calls(priced=True)
    send(sink_of({"otlp": phoenix, "content": True, "resource": {"openinference.project.name": "peers"}}), made)
    fields = "spanId spanKind tokenCountPrompt tokenCountCompletion costSummary { total { cost } }"
    query = f"{{ projects {{ edges {{ node {{ name spans(first: 50) {{ edges {{ node {{ {fields} }} }} }} }} }} }} }}"

    def priced():
        projects = asked(f"{phoenix}/graphql", {"query": query})["data"]["projects"]["edges"]
        spans = [
            edge["node"] for project in projects if project["node"]["name"] == "peers"
            for edge in project["node"]["spans"]["edges"]
        ]  # fmt: skip
        done = sum(span["costSummary"]["total"]["cost"] is not None for span in spans) >= 2
        return done and len(spans) >= 3 and {span["spanId"]: span for span in spans}, spans

    found, spans = wait_for("Phoenix's costs", lambda: (seen := priced())[0] and seen, within_s=60)
    assert len(spans) == 3
    for one in made:
        span = found[one.id.replace("-", "")[16:]]
        assert span["spanKind"] == "llm"
        tokens = (span["tokenCountPrompt"], span["tokenCountCompletion"])
        assert tokens == (one.usage.input_tokens, one.usage.output_tokens)
        if one.provider != "vllm":  # Phoenix has prices of its own only
            assert span["costSummary"]["total"]["cost"] == pytest.approx(one.cost.total / 1e9, abs=1e-12)
    listed = asked(f"{phoenix}/v1/projects/peers/spans")["data"]
    [own] = [span["attributes"] for span in listed if span["attributes"]["gen_ai.request.model"] == "my-slm"]
    assert own["llmops.cost.usd"] == OWN.total / 1e9 and own["llmops.prompt.version"] == "2"
    assert own["session.id"] == "c1" and own["user.id"] == "u1"
    assert "Where is it?" in json.dumps(own)


@pytest.mark.parametrize("priced", [False, True])
def test_mlflow_shows_our_tokens_and_dollars(mlflow, priced):
    """Without our dollars it computes the same ones; with them it shows ours, also where it has no price."""
    created = asked(f"{mlflow}/api/2.0/mlflow/experiments/create", {"name": f"peers {priced}"})
    experiment = created["experiment_id"]
    made = calls(priced=priced)
    send(OtlpSink(f"{mlflow}/v1/traces", {"x-mlflow-experiment-id": experiment}, content=True), made)
    where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]
    traces = asked(f"{mlflow}/api/3.0/mlflow/traces/search", {"locations": where})["traces"]
    found = {trace["trace_id"]: trace["trace_metadata"] for trace in traces}
    assert set(found) == {"tr-" + one.id.replace("-", "") for one in made}
    for one, ours in zip(made, (GPT_4O, HAIKU, OWN), strict=True):
        metadata = found["tr-" + one.id.replace("-", "")]
        tokens = json.loads(metadata["mlflow.trace.tokenUsage"])
        assert tokens["input_tokens"] == one.usage.input_tokens
        assert tokens["output_tokens"] == one.usage.output_tokens
        assert tokens.get("cache_read_input_tokens", 0) == one.usage.cache_read_tokens
        assert tokens.get("cache_creation_input_tokens", 0) == one.usage.cache_write_tokens
        cost = json.loads(metadata.get("mlflow.trace.cost", "null"))
        if priced or ours is not OWN:
            assert cost["total_cost"] == pytest.approx(ours.total / 1e9, abs=1e-12)
        else:
            assert cost is None
        assert metadata["mlflow.trace.session"] == "c1" and metadata["mlflow.trace.user"] == "u1"
