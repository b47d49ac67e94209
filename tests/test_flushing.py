"""`llmops.flush`: what is over is committed, whichever way it was made, also where the process ends without a word."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

import llmops
from conftest import clean_environment
from kept_calls import KeptCalls, NoPrices
from llmops import flushing
from llmops.errors import StoreError
from llmops.integrations import which_tracker
from llmops.integrations.open_calls import OpenCalls
from llmops.store.call_queries import Calls
from llmops.usage.tracker import Tracker
from stub_server import Reply, StubServer

SETTINGS = """\
backends:
  local: {{openai_http: {{base_url: "{url}", model: small, provider: vllm}}}}
"""
WAYS = {
    "connect": "print(llmops.connect('local').complete('How long?').text)",
    "openai": """
from openai import OpenAI
from llmops.integrations.openai import tracked
client = tracked(OpenAI(base_url="{url}/v1", api_key="x"))
asked = [{{"role": "user", "content": "How long?"}}]
print(client.chat.completions.create(model="small", messages=asked).choices[0].message.content)
""",
}


@pytest.fixture
def server():
    with StubServer(default=Reply(text="7 days")) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_in_the_log_when_the_process_is_ended_at_once(tmp_path, server, way):
    if way == "openai":
        pytest.importorskip("openai")
    (tmp_path / "llmops.yaml").write_text(SETTINGS.format(url=server.url))
    # the writer gathers what has ended for a minute, so that nothing is committed by chance
    code = (
        "import os, llmops, llmops.store.call_writer as writer\nwriter.GATHER_S = 60\n"
        f"{WAYS[way].format(url=server.url)}\nllmops.flush()\nos._exit(0)\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    with Calls.open(tmp_path / ".llmops" / "llmops.db") as calls:
        [call] = calls.rows()
    assert (call.outcome, call.state, call.usage.input_tokens, call.usage.output_tokens) == (
        "success",
        "settled",
        11,
        7,
    )


def test_nothing_open_is_no_error(monkeypatch):
    monkeypatch.setattr(flushing, "_OPEN", set())
    llmops.flush()


def test_a_tracker_that_was_given_is_flushed_and_every_one_is_although_one_fails(monkeypatch):
    monkeypatch.setattr(flushing, "_OPEN", set())
    flushed = []

    class Log(KeptCalls):
        def flush(self, timeout_s=30):
            flushed.append(self)
            raise StoreError("the disk is full")

    trackers = [Tracker(Log(), NoPrices()) for _ in range(2)]
    for tracker in trackers:
        which_tracker(tracker)
    with pytest.raises(StoreError, match="the disk is full"):
        llmops.flush()
    assert {id(log) for log in flushed} == {id(tracker.log) for tracker in trackers}
    flushed.clear()
    for tracker in trackers:
        tracker.on_failure = "warn"
    with pytest.warns(RuntimeWarning, match="no longer recorded"):
        llmops.flush()
    assert len(flushed) == 2


def test_exporters_are_waited_for_only_when_asked(monkeypatch):
    monkeypatch.setattr(flushing, "_OPEN", set())
    told = []

    class Sink:
        def record(self, call, text):
            pass

        def flush(self):
            told.append(True)

    tracker = Tracker(KeptCalls(), NoPrices(), sinks=[Sink()])
    flushing.keep_flushed(tracker)
    llmops.flush()
    assert not told
    llmops.flush(telemetry=True)
    assert told


def test_litellm_has_no_flush_of_its_own_and_its_calls_are_waited_for(monkeypatch):
    from llmops.integrations import litellm

    assert litellm.flush is llmops.flush
    kept = KeptCalls()
    tracker = Tracker(kept, NoPrices())
    open_calls = OpenCalls("library")
    monkeypatch.setattr(litellm, "_OPEN", open_calls)
    monkeypatch.setattr(litellm, "_tell_rest", lambda: told.set())
    told = threading.Event()
    open_calls.add("first", tracker.open_now())

    def end():
        told.wait(30)
        open_calls.add("later", tracker.open_now())  # begun meanwhile: not waited for
        with open_calls.ending("first") as call:
            call.succeeded()

    thread = threading.Thread(target=end)
    thread.start()
    llmops.flush(timeout_s=30)
    assert [call.outcome for call in kept.calls] == ["success", "pending"]
    thread.join()

    async def on_a_loop():  # which has to go on for the call to end
        llmops.flush(timeout_s=30)

    asyncio.run(asyncio.wait_for(on_a_loop(), 20))
    with open_calls.ending("later") as call:
        call.cancelled()
