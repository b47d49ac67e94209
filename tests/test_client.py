"""`connect`: a client by a name of the project, tracked in its log, for threads, tasks and streams."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

import llmops
from llmops.connecting import project_tracker
from llmops.errors import InputError, NotFoundError, RequestRejectedError
from llmops.store.call_queries import Calls
from llmops.types import Completion
from stub_server import Reply, StubServer

SETTINGS = """\
backends:
  local: {{openai_http: {{base_url: "{url}", model: small, provider: vllm}}}}
  twice: {{fallback: [local, other]}}
  other: {{openai_http: {{base_url: "{url}", model: large, provider: vllm}}}}
prices:
  models:
    - {{model: stub-model, provider: vllm, input: 1, output: 2}}
"""


@pytest.fixture
def server():
    with StubServer(default=Reply(text="7 days", pieces=["7 ", "days"])) as running:
        yield running


@pytest.fixture
def project(tmp_path, server):
    (tmp_path / "llmops.yaml").write_text(SETTINGS.format(url=server.url))
    yield tmp_path
    tracker = project_tracker(tmp_path)
    tracker.close()


def rows(project):
    project_tracker(project).flush()
    with Calls.open(project / ".llmops" / "llmops.db") as calls:
        return list(calls.rows())


def test_complete_by_name_is_a_row_with_tokens_and_dollars(project):
    with llmops.connect("local", root=project) as client:
        completion = client.complete("How long may films be kept?")
    assert completion.text == "7 days" and completion.backend == "local"
    [call] = rows(project)
    assert (call.backend, call.provider, call.model_asked, call.model_served) == (
        "local",
        "vllm",
        "small",
        "stub-model",
    )
    assert (call.outcome, call.state, call.usage.input_tokens, call.usage.output_tokens) == (
        "success",
        "settled",
        11,
        7,
    )
    assert call.cost is not None and call.cost.total == completion.usage.cost == 11_000 + 14_000


def test_a_stream_gives_pieces_then_the_whole(project):
    with llmops.connect("local", root=project) as client:
        *pieces, whole = client.stream("How long?")
    assert pieces == ["7 ", "days"] and isinstance(whole, Completion) and whole.usage.cost == 25_000
    [call] = rows(project)
    assert call.stream and call.first_token_s is not None


def test_a_stream_left_early_is_abandoned(project, server):
    with llmops.connect("local", root=project) as client:
        for _ in client.stream("How long?"):
            break
    [call] = rows(project)
    assert (call.outcome, call.state) == ("abandoned", "estimated")


def test_async_twins_and_many_at_once(project, server):
    async def go():
        async with llmops.connect("local", root=project) as client:
            with llmops.track(team="search"):
                await asyncio.gather(*(client.acomplete(f"question {i}") for i in range(20)))
            async with contextlib.aclosing(client.astream("How long?")) as parts:
                return [part async for part in parts]

    assert asyncio.run(go())[-1].text == "7 days"
    calls = rows(project)
    assert len(calls) == server.count == 21
    assert sum(call.attribution.team == "search" for call in calls) == 20
    assert len({call.id for call in calls}) == 21


def test_threads_share_a_client(project):
    with llmops.connect("local", root=project) as client:
        threads = [threading.Thread(target=client.complete, args=(f"question {i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(rows(project)) == 8


def test_every_retry_is_a_row(project, server):
    server.replies = iter([Reply(status=500), Reply(text="at last")])
    with llmops.connect("local", root=project) as client:
        assert client.complete("How long?").text == "at last"
    first, second = sorted(rows(project), key=lambda call: call.attempt)
    assert (first.outcome, first.attempt, second.outcome, second.attempt) == ("error", 1, "success", 2)


def test_a_refusal_is_an_error_and_a_row(project, server):
    server.replies = iter([Reply(status=400, body={"error": {"message": "no"}})])
    with llmops.connect("local", root=project) as client, pytest.raises(RequestRejectedError, match="no"):
        client.complete("How long?")
    [call] = rows(project)
    assert (call.outcome, call.state, call.error) == ("error", "settled", "request_rejected")
    assert call.cost is not None and call.cost.total == 0


def test_a_fallback_records_the_switch(project, server):
    server.decide = lambda body, number: Reply(status=500) if body["model"] == "small" else Reply(text="from large")
    with llmops.connect("twice", root=project, retries=0) as client:
        completion = client.complete("How long?")
    assert (completion.text, completion.backend) == ("from large", "other")
    failed, answered = rows(project)
    assert (failed.backend, failed.outcome, failed.attribution.fallback_from) == ("local", "error", "")
    assert (answered.backend, answered.outcome, answered.attribution.fallback_from) == ("other", "success", "local")


def test_an_unknown_name_says_what_there_is(project):
    with pytest.raises(NotFoundError, match="local"):
        llmops.connect("locl", root=project)


def test_a_backend_that_is_made_of_itself_is_refused(project):
    (project / "llmops.yaml").write_text(
        "backends:\n  a: {fallback: [b, extractive]}\n  b: {fallback: [a, extractive]}\n"
    )
    with pytest.raises(InputError, match="made of itself"):
        llmops.connect("a", root=project)


@pytest.mark.parametrize("wrong", [[], ["text"], [1]])
def test_wrong_messages_are_one_line(project, wrong):
    with llmops.connect("local", root=project) as client, pytest.raises(InputError, match="messages"):
        client.complete(wrong)


def test_a_budget_refuses_before_sending(project, server):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + "budgets:\n  - {limit: 2 requests, per: day}\n")
    with llmops.connect("local", root=project) as client:
        client.complete("one")
        client.complete("two")
        with pytest.raises(llmops.LlmopsError, match="2 requests"):
            client.complete("three")
    assert server.count == 2 and len(rows(project)) == 2
