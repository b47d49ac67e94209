"""`connect`: a client by a name of the project, tracked in its log, for threads, tasks and streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import llmops
from conftest import clean_environment
from llmops.config import load_config
from llmops.connecting import Backends, project_tracker
from llmops.errors import (
    BackendTimeoutError,
    ConfigError,
    InputError,
    NotFoundError,
    RequestRejectedError,
    StoreError,
    UnboundedCallError,
)
from llmops.evals.sender import Sender
from llmops.evals.suite import Limits
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


def test_a_name_without_a_project_says_where_it_was_looked_for_and_what_to_write(tmp_path):
    (tmp_path / ".git").mkdir()
    for form in ("local", {"fallback": ["local", "extractive"]}):
        with pytest.raises(NotFoundError) as none_found:
            llmops.connect(form, root=tmp_path)
        assert f"no llmops.yaml is in {tmp_path} or above" in str(none_found.value)
        assert "write backends: {local: {openai_http: {base_url: …, model: …}}} there" in str(none_found.value)
    (tmp_path / "llmops.yaml").write_text("store: runs.db\n")
    with pytest.raises(NotFoundError) as no_backends:
        llmops.connect("local", root=tmp_path)
    assert f"{tmp_path / 'llmops.yaml'} has no backends" in str(no_backends.value)
    with pytest.raises(NotFoundError, match="did you mean 'extractive'"):
        llmops.connect("extractiv", root=tmp_path)


@pytest.mark.parametrize("address", ["http://localhost:8931/v1", "localhost:8931/v1", "10.0.0.7:80"])
def test_an_address_is_told_how_to_be_written(project, address):
    with pytest.raises(NotFoundError) as refused:
        llmops.connect(address, root=project)
    assert f'{{"openai_http": "http://{address.removeprefix("http://")}"}}' in str(refused.value)


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


@pytest.mark.parametrize(
    ("unit", "why"), [("$1", "small has no price"), ("100 tokens", "needs a bound on every answer")]
)
def test_a_call_that_a_budget_cant_be_held_to_is_refused_like_any_other(project, server, unit, why):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + f"budgets:\n  - {{limit: {unit}, per: day}}\n")
    asked = {"max_tokens": 5} if unit == "$1" else {}
    with llmops.connect("local", root=project) as client:
        with pytest.raises(llmops.BudgetExceededError, match=why) as refused:
            client.complete("one", **asked)
        assert isinstance(refused.value, UnboundedCallError) and refused.value.exit_code == 2
    assert server.count == 0 and rows(project) == []


def script(project, code, **options):
    """Run a program of a user of the library; its calls."""
    (project / "program.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=project, env=clean_environment(), capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip
    with Calls.open(project / ".llmops" / "llmops.db") as calls:
        return done, list(calls.rows())


def test_a_program_that_never_closes_its_client_loses_nothing_and_says_nothing(project):
    done, calls = script(project, "import llmops\nprint(llmops.connect('local').complete('How long?').text)\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 days\n", "")
    assert [call.outcome for call in calls] == ["success"]


def test_a_program_that_ends_with_a_stream_open_ends_it(project):
    code = "import llmops\nparts = llmops.connect('local').stream('How long?')\nprint(next(parts))\n"
    done, calls = script(project, code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 \n", "")
    assert [(call.outcome, call.state) for call in calls] == [("abandoned", "estimated")]


def test_a_program_that_closes_its_client_at_exit(project):
    code = (
        "import atexit, llmops\nclient = llmops.connect('local')\natexit.register(client.close)\nclient.complete('x')\n"
    )
    done, calls = script(project, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert [call.outcome for call in calls] == ["success"]


def test_ctrl_c_in_a_program_cancels_its_call(project, server):
    def decide(body, number):
        os.kill(program.pid, signal.SIGINT)
        return Reply(latency_s=60)

    server.decide = decide
    ctrl_c_works = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # not when in the background
    )
    (project / "program.py").write_text(f"{ctrl_c_works}import llmops\nllmops.connect('local').complete('x')\n")
    words = [sys.executable, "program.py"]
    with subprocess.Popen(words, cwd=project, env=clean_environment(), stderr=subprocess.PIPE) as program:
        _, complaint = program.communicate(timeout=60)
    assert program.returncode and b"KeyboardInterrupt" in complaint
    assert [(call.outcome, call.state) for call in rows(project)] == [("cancelled", "unknown")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("used", [False, True])
def test_workers_of_multiprocessing_lose_nothing(project, used):
    code = (
        "import multiprocessing, llmops\nclient = llmops.connect('local')\n"
        f"if {used}:\n    client.complete('before')\n"
        "worker = multiprocessing.get_context('fork').Process(target=client.complete, args=('x',))\n"
        "worker.start()\nworker.join()\n"
    )
    done, calls = script(project, code)
    assert done.returncode == 0
    assert [call.outcome for call in calls] == ["success"] * (1 + used)


def test_a_stream_has_its_time_and_its_place_like_any_call(project, server):
    with llmops.connect("local", root=project, concurrency=1, timeout_s=2) as client:
        client.complete("How long?")  # what takes its time at the first call alone
        server.decide = lambda body, number: Reply(pieces=["7 ", "days"], ending="hang", after_pieces=1)
        with pytest.raises(BackendTimeoutError, match="within 2 s"):
            list(client.stream("How long?"))
        with pytest.raises(BackendTimeoutError):  # the place was given back
            list(client.stream("How long?"))
    assert [(call.outcome, call.state) for call in rows(project)][1:] == [("timeout", "estimated")] * 2


def test_the_time_of_whoever_reads_a_stream_doesnt_count(project, monkeypatch):
    with llmops.connect("local", root=project, timeout_s=5) as client:
        now = time.monotonic
        parts = client.stream("How long?")
        first = next(parts)
        monkeypatch.setattr(time, "monotonic", lambda: now() + 100)
        assert [first, *parts][-1].text == "7 days"


def test_the_time_of_a_call_around_it_counts_as_its_own(project, server):
    async def go():
        async with llmops.connect("local", root=project) as client:
            await client.acomplete("How long?")  # what takes its time at the first call alone
            server.decide = lambda body, number: Reply(latency_s=60)
            outer = Sender(Limits(retries=0, timeout_s=2))
            await outer.send(lambda: client.acomplete("How long?"))

    with pytest.raises(BackendTimeoutError):
        asyncio.run(go())
    assert [call.outcome for call in rows(project)] == ["success", "timeout"]


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"retries": -1}, {"timeout_s": 0}, {"concurrency": "8"}])
def test_wrong_limits_are_one_line(project, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        llmops.connect("local", root=project, **wrong)


def test_a_closed_tracker_is_made_anew(project):
    with llmops.connect("local", root=project) as client:
        client.complete("one")
    project_tracker(project).close()
    with llmops.connect("local", root=project) as client:
        client.complete("two")
    assert len(rows(project)) == 2


def test_prices_that_change_count_from_the_next_client_on(project):
    with llmops.connect("local", root=project) as client:
        assert client.complete("one").usage.cost == 25_000
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text.replace("input: 1,", "input: 2,"))
    with llmops.connect("local", root=project) as client:
        assert client.complete("one").usage.cost == 36_000
        assert project_tracker(project) is project_tracker(project)


def test_closing_a_fallbacks_client_writes_its_calls(project):
    with llmops.connect("twice", root=project) as client:
        client.complete("How long?")
    with Calls.open(project / ".llmops" / "llmops.db") as calls:
        assert [call.outcome for call in calls.rows()] == ["success"]


def test_a_store_that_cant_be_opened_refuses_or_only_warns(project):
    (project / ".llmops").mkdir()
    (project / ".llmops" / "llmops.db").write_text("no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        llmops.connect("local", root=project)
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + "calls: {on_failure: warn}\n")
    with llmops.connect("local", root=project) as client, pytest.warns(RuntimeWarning, match="no longer recorded"):
        assert client.complete("How long?").text == "7 days"


class Full:
    """A log on a disk that fills up: `begins` and `ends` say what can still be written."""

    def __init__(self, tracker, *, begins=False, ends=False):
        self._log, self._begins, self._ends = tracker.log, begins, ends

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def begin(self, call, holds=()):
        if not self._begins:
            raise StoreError("the disk is full")
        await self._log.begin(call, holds)

    def flush(self, timeout_s=30):
        self._log.flush(timeout_s)
        if not self._ends:
            raise StoreError("the disk is full")


def closing(client, way):
    if way == "exit":
        with client:
            pass
    elif way == "close":
        client.close()
    else:
        asyncio.run(client.aclose())


@pytest.mark.parametrize("way", ["exit", "close", "aclose"])
def test_calls_go_on_without_a_log_that_fails_later_with_one_warning(project, way):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + "calls: {on_failure: warn}\n")
    client = llmops.connect("local", root=project)
    tracker = project_tracker(project)
    tracker.log = Full(tracker)
    with pytest.warns(RuntimeWarning, match="no longer recorded: the disk is full") as warned:
        assert [client.complete("How long?").text for _ in range(3)] == ["7 days"] * 3
        closing(client, way)
    assert len(warned) == 1
    tracker.log = tracker.log._log


def test_the_end_of_a_client_says_only_what_no_call_has_said(project):
    client = llmops.connect("local", root=project)
    tracker = project_tracker(project)
    log = tracker.log
    tracker.log = Full(tracker, begins=True)
    with pytest.raises(StoreError, match="full"), client:  # news: the call was let through
        client.complete("How long?")
    with pytest.raises(ValueError, match="mine"), client:
        raise ValueError("mine")
    tracker.log = Full(tracker)
    with client, pytest.raises(StoreError, match="full"):
        client.complete("How long?")

    async def go():
        async with client:
            with pytest.raises(StoreError, match="full"):
                await client.acomplete("How long?")

    asyncio.run(go())
    with pytest.raises(StoreError, match="full"):  # asked for by name, it says whether all is in the log
        client.close()
    tracker.log = log


def test_no_text_is_kept_in_any_file_of_the_store(project):
    with llmops.connect("local", root=project) as client:
        client.complete("PROMPTED")
        list(client.stream("PROMPTED"))
        files = [path for path in (project / ".llmops").iterdir() if path.name.startswith("llmops.db")]
        assert any(b"stub-model" in path.read_bytes() for path in files)
        assert not [path for path in files if b"PROMPTED" in path.read_bytes() or b"7 days" in path.read_bytes()]


def test_parameters_are_given_by_name_or_as_a_mapping(project, server):
    with llmops.connect("local", root=project) as client:
        client.complete("x", max_tokens=50, temperature=0)
        client.complete("x", parameters={"max_tokens": 50}, temperature=0)
        list(client.stream("x", max_tokens=50, top_k=3))
        with pytest.raises(InputError, match="max_tokens is given twice"):
            client.complete("x", max_tokens=5, parameters={"max_tokens": 50})
        with pytest.raises(InputError, match="parameters is 50"):
            client.complete("x", parameters=50)
    first, second, third = (body for body in server.bodies)
    assert first == second and (first["max_tokens"], first["temperature"]) == (50, 0)
    assert (third["max_tokens"], third["top_k"]) == (50, 3)


QUIET_ENDS = {
    "a synchronous with around awaited calls": """
async def go():
    with llmops.connect("local") as client:
        print((await client.acomplete("x")).text)
asyncio.run(go())
""",
    "closed in a coroutine": """
async def go():
    client = llmops.connect("local")
    print((await client.acomplete("x")).text)
    client.close()
asyncio.run(go())
""",
    "never closed": """
client = llmops.connect("local")
async def go():
    print((await client.acomplete("x")).text)
asyncio.run(go())
""",
    "dropped while the loop goes on": """
async def go():
    print((await llmops.connect("local").acomplete("x")).text)
    gc.collect()
    await asyncio.sleep(0)
asyncio.run(go())
gc.collect()
""",
    "a loop closed by hand": """
async def go():
    print((await client.acomplete("x")).text)
client = llmops.connect("local")
loop = asyncio.new_event_loop()
loop.run_until_complete(go())
loop.close()
warnings.simplefilter("ignore", ResourceWarning)  # of Python's own: the transports can't be closed any more
""",
    "a loop that is never closed": """
async def go():
    print((await client.acomplete("x")).text)
client = llmops.connect("local")
loop = asyncio.new_event_loop()
loop.run_until_complete(go())
""",
    "a stream that is left": """
async def go():
    client = llmops.connect("local")
    async for piece in client.astream("x"):
        print("7 days")
        break
asyncio.run(go())
""",
}


@pytest.mark.parametrize("body", QUIET_ENDS.values(), ids=QUIET_ENDS)
def test_programs_end_quietly_however_they_leave_a_client(project, body):
    done, calls = script(project, f"import asyncio, gc, warnings, llmops\n{body}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 days\n", "")
    assert len(calls) == 1


def test_a_loop_that_ends_closes_its_connections(project, server):
    client = llmops.connect("local", root=project)

    async def go():
        await client.acomplete("x")
        [(_, session, _)] = client.backend.backend._client._sessions.values()
        return session

    assert asyncio.run(go()).closed


def test_a_header_for_telemetry_is_needed_only_where_something_is_sent(tmp_path, monkeypatch, server):
    monkeypatch.delenv("TRACES_KEY", raising=False)
    more = 'telemetry: {otlp: "http://127.0.0.1:9", headers: {Authorization: "Bearer ${TRACES_KEY}"}}\n'
    (tmp_path / "llmops.yaml").write_text(SETTINGS.format(url=server.url) + more)
    assert load_config(tmp_path).secrets == ()
    with pytest.raises(ConfigError, match="TRACES_KEY"):
        llmops.connect("local", root=tmp_path)
    monkeypatch.setenv("TRACES_KEY", "hush-hush")
    assert load_config(tmp_path).secrets == ("hush-hush",)


def test_one_price_line_serves_a_server_of_your_own_whoever_asks(tmp_path, server):
    server.decide = lambda body, number: Reply(model="gpt-4o")
    settings = (
        f"backends:\n"
        f"  plain: {{openai_http: {{base_url: '{server.url}', model: gpt-4o}}}}\n"
        f"  other: {{litellm: {{model: openai/gpt-4o, api_base: '{server.url}', api_key_env: A_KEY}}}}\n"
    )
    prices = "prices:\n  models:\n    - {model: gpt-4o, provider: openai_compatible, input: 1, output: 2}\n"
    for folder, text in ((tmp_path / "without", settings), (tmp_path / "with", settings + prices)):
        folder.mkdir()
        (folder / "llmops.yaml").write_text(text)
    with llmops.connect("plain", root=tmp_path / "without") as client:
        assert client.complete("x").usage.cost is None
    with llmops.connect("plain", root=tmp_path / "with") as client:
        assert client.complete("x").usage.cost == 25_000
    config = load_config(tmp_path / "with")
    made = [Backends(config, config.root).make(name).backend for name in ("plain", "other")]
    assert {backend.provider for backend in made} == {"openai_compatible"}
    for folder in ("without", "with"):
        project_tracker(tmp_path / folder).close()
