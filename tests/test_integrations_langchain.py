"""LangChain, tracked by callbacks: every end that it tells of, and those that it doesn't."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment
from kept_calls import kept
from llmops.attribution import ATTRIBUTION, attributed, track
from llmops.errors import BudgetExceededError, StoreError
from llmops.integrations.afterwards import AFTERWARDS
from llmops.integrations.langchain import CallTracker
from llmops.integrations.open_calls import labelled

core = pytest.importorskip("langchain_core", reason="langchain-core isn't installed")

from langchain_core.caches import InMemoryCache  # noqa: E402
from langchain_core.language_models import BaseChatModel, FakeListChatModel, FakeListLLM  # noqa: E402
from langchain_core.messages import AIMessage, AIMessageChunk  # noqa: E402
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult  # noqa: E402
from langchain_core.prompts import ChatPromptTemplate  # noqa: E402
from pydantic import Field  # noqa: E402

USAGE = {
    "input_tokens": 100,
    "output_tokens": 7,
    "total_tokens": 107,
    "input_token_details": {"cache_read": 60},
    "output_token_details": {"reasoning": 5},
}


class Chat(BaseChatModel):
    """A chat model that counts its tokens; asked "boom" it fails."""

    sent: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "chat"

    def _get_ls_params(self, **_):
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o"}

    def _generate(self, messages, stop=None, run_manager=None, **_):
        self.sent.append(messages[-1].content)
        if messages[-1].content == "boom":
            raise ConnectionRefusedError("no server")
        said = {"model_name": "gpt-4o-2024-08-06", "finish_reason": "stop", "id": "gen-1", "service_tier": "flex"}
        message = AIMessage("Paris.", usage_metadata=USAGE, response_metadata=said)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **_):
        return self._generate(messages)

    def _stream(self, messages, stop=None, run_manager=None, **_):
        for piece, usage in (("Pa", None), ("ris", None), (".", USAGE)):
            chunk = ChatGenerationChunk(message=AIMessageChunk(piece, usage_metadata=usage))
            if run_manager is not None:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk


def tracked(**options):
    log, tracker = kept()
    return log, {"callbacks": [CallTracker(tracker=tracker, **options)]}


def test_a_call_has_a_row_with_usage_and_attribution():
    log, config = tracked(tags=["tenant"], backend="hosted")
    metadata = {"team": "search", "tenant": "acme", "thread": "17"}
    with track(team="other", feature="answers"):
        Chat().invoke("Where is the Louvre?", config={**config, "metadata": metadata})
    call = log.only
    assert (call.outcome, call.state, call.model_asked) == ("success", "settled", "gpt-4o")
    assert (call.model_served, call.response_id, call.service_tier) == ("gpt-4o-2024-08-06", "gen-1", "flex")
    assert (call.usage.input_tokens, call.usage.output_tokens) == (100, 7)
    assert (call.usage.cache_read_tokens, call.usage.reasoning_tokens) == (60, 5)
    assert (call.attribution.team, call.attribution.feature) == ("search", "answers")
    assert (call.attribution.tags, call.backend, call.provider) == ((("tenant", "acme"),), "hosted", "openai")
    assert log.answers() == ["Paris."]


def test_a_server_of_ones_own_isnt_taken_for_openai(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gpu-7:8000/v1")
    log, config = tracked()
    Chat().invoke("x", config=config)
    assert (log.only.provider, log.only.address) == ("openai_compatible", "gpu-7:8000")


def test_chains_batches_and_plain_models_are_tracked():
    log, config = tracked()
    chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | Chat()
    chain.batch([{"q": "a"}, {"q": "b"}], config=config)
    FakeListLLM(responses=["x"]).generate(["a", "b"], callbacks=config["callbacks"])
    assert [call.state for call in log.calls] == ["settled", "settled", "estimated", "estimated"]


def test_a_stream_has_its_usage_and_first_token():
    log, config = tracked()
    assert "".join(chunk.content for chunk in Chat().stream("x", config=config)) == "Paris."
    assert (log.only.state, log.only.usage.output_tokens, log.only.stream) == ("settled", 7, True)
    assert log.only.first_token_s is not None


def test_a_stream_without_usage_is_an_estimate():
    log, config = tracked()

    async def story():
        return [chunk async for chunk in FakeListChatModel(responses=["Paris."]).astream("x", config=config)]

    asyncio.run(story())
    assert (log.only.outcome, log.only.state) == ("success", "estimated")


def test_a_stream_that_is_left_is_abandoned():
    log, config = tracked()
    stream = Chat().stream("x", config=config)
    next(stream)
    stream.close()
    assert (log.only.outcome, log.only.state, log.answers()) == ("abandoned", "estimated", ["Pa"])


def test_an_asynchronous_stream_that_is_left_is_abandoned():
    log, config = tracked()

    async def story():
        stream = Chat().astream("x", config=config)
        await anext(stream)
        await stream.aclose()

    asyncio.run(story())
    assert (log.only.outcome, log.answers()) == ("abandoned", ["Pa"])


def test_a_cancelled_call_is_unknown_though_langchain_says_nothing():
    log, config = tracked()
    began = asyncio.Event()

    class Silent(Chat):
        async def _agenerate(self, *_, **__):
            began.set()
            await asyncio.get_running_loop().create_future()

    async def story():
        task = asyncio.create_task(Silent().ainvoke("x", config=config))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        del task
        gc.collect()
        AFTERWARDS.wait()
        return log.only.outcome

    assert asyncio.run(story()) == "cancelled"
    assert (log.only.state, log.only.cost) == ("unknown", None)


def test_errors_end_rows():
    log, config = tracked()
    with pytest.raises(ConnectionRefusedError):
        Chat().invoke("boom", config=config)
    assert log.only.outcome == "unsent"

    class Limited(Exception):
        status_code = 429

    log, config = tracked()
    model = Chat()
    model.__dict__["_generate"] = lambda *_, **__: (_ for _ in ()).throw(Limited())
    with pytest.raises(Limited):
        model.invoke("x", config=config)
    assert (log.only.outcome, log.only.error, log.only.cost.total) == ("error", "rate_limited", 0)


def test_an_answer_from_langchains_cache_costs_nothing():
    log, config = tracked()
    model = Chat(cache=InMemoryCache())
    model.invoke("x", config=config)
    model.invoke("x", config=config)
    assert [call.outcome for call in log.calls] == ["success", "unsent"]
    assert log.calls[1].usage.total_tokens == 0


@pytest.mark.parametrize("error", [BudgetExceededError("$1 a day is spent"), StoreError("the disk is full")])
def test_what_the_log_refuses_is_never_sent(error):
    log, tracker = kept()
    log.fail = error
    model = Chat()
    config = {"callbacks": [CallTracker(tracker=tracker)]}
    with pytest.raises(type(error)):
        model.invoke("x", config=config)
    with pytest.raises(type(error)):
        asyncio.run(model.ainvoke("x", config=config))
    assert model.sent == []


def test_two_handlers_make_one_row():
    log, tracker = kept()
    Chat().invoke("x", config={"callbacks": [CallTracker(tracker=tracker), CallTracker(tracker=tracker)]})
    assert len(log.calls) == 1


def test_installed_it_tracks_every_model_once():
    code = """
from langchain_core.language_models import FakeListChatModel
from kept_calls import kept
from llmops.integrations.langchain import CallTracker, install
log, tracker = kept()
install()
install(tracker=tracker)
model = FakeListChatModel(responses=["x"])
model.invoke("a")
model.invoke("b", config={"callbacks": [CallTracker(tracker=tracker)]})
print([call.outcome for call in log.calls])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=clean_environment(PYTHONPATH=str(ROOT / "tests")), text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "['success', 'success']", done.stderr


def test_without_langchain_one_line_says_what_to_install():
    code = """
import sys
sys.modules["langchain_core"] = None
import llmops.integrations.langchain as made
from llmops.errors import MissingExtraError
for ask in (lambda: made.CallTracker, made.install):
    try:
        ask()
    except MissingExtraError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=120)
    assert done.stdout.splitlines() == ["tracking of LangChain needs: pip install 'llmops[langchain]'"] * 2


def test_the_run_that_metadata_names_is_the_calls_unless_an_evaluation_runs():
    with labelled({"run": "r1", "team": "search"}, ()):
        made = ATTRIBUTION.get()
    assert (made.run, made.team) == ("r1", "search")
    with attributed(run="evaluation"), labelled({"run": "r1"}, ()):
        assert ATTRIBUTION.get().run == "evaluation"


class Scripted(Chat):
    """A model that streams the chunks it is given."""

    chunks: list[AIMessageChunk] = Field(default_factory=list)
    breaks: bool = False

    def _stream(self, messages, stop=None, run_manager=None, **_):
        for message in self.chunks:
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:
                run_manager.on_llm_new_token(message.content, chunk=chunk)
            yield chunk
        if self.breaks:
            raise ValueError("no more")


def _usage(read, wrote):
    return {"input_tokens": read, "output_tokens": wrote, "total_tokens": read + wrote}


WORDS = "some words of an answer " * 10
CALLED = {"name": "look", "args": WORDS, "id": "c1", "index": 0}


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize(
    ("chunks", "wanted"),
    [
        # as langchain-anthropic does where the last event counts the output alone
        ([AIMessageChunk(WORDS), AIMessageChunk("", usage_metadata=_usage(0, 60))], (9, 60)),
        ([AIMessageChunk("So ", usage_metadata=_usage(1000, 1)), AIMessageChunk(WORDS)], (1000, 61)),
        ([AIMessageChunk(WORDS), AIMessageChunk("", usage_metadata=_usage(1000, 0))], (1000, 60)),
        ([AIMessageChunk("", tool_call_chunks=[CALLED])], (9, 61)),
        ([AIMessageChunk([{"type": "thinking", "thinking": WORDS, "index": 0}])], (9, 60)),
        ([AIMessageChunk("", additional_kwargs={"reasoning_content": WORDS})], (9, 60)),
    ],
)
def test_no_count_of_a_stream_is_exact_that_cannot_be_the_whole(chunks, wanted, breaks):
    log, config = tracked()
    model = Scripted(chunks=chunks, breaks=breaks)
    if breaks:
        with pytest.raises(ValueError, match="no more"):
            list(model.stream("Where is the Louvre?", config=config))
    else:
        list(model.stream("Where is the Louvre?", config=config))
    row = log.only
    assert (row.outcome, row.state) == ("error" if breaks else "success", "estimated")
    if not breaks or wanted[0] == 9:
        assert (row.usage.input_tokens, row.usage.output_tokens) == wanted
    assert row.usage.output_tokens >= 60
