"""litellm, tracked by its callbacks: no call goes missing, and a guess of litellm's is never an exact count."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import warnings

import pytest

from conftest import ROOT, clean_environment
from kept_calls import SeenBounds, kept
from llmops.attribution import track
from llmops.errors import BudgetExceededError, StoreError
from provider_server import Answer, ProviderServer, Tokens

if importlib.util.find_spec("litellm") is None:
    pytest.skip("litellm isn't installed", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
USAGE = Tokens(100, 7, cache_read=60)
MESSAGES = [{"role": "user", "content": "Where is the Louvre?"}]


@pytest.fixture(scope="module")
def litellm():
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_OFFLINE_MODE="true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm as library
    library.suppress_debug_info = True
    return library


@pytest.fixture(scope="module")
def _server():
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(_server):
    _server.answers, _server.default = iter(()), Answer(usage=USAGE)
    return _server


@pytest.fixture
def tracked(litellm):
    """A log and its tracker, told by a logger that is the only callback."""
    from llmops.integrations.litellm import CallLogger

    names = [name for name in dir(litellm) if name.endswith(("callback", "callbacks")) and name.count("_") <= 3]
    lists = [name for name in names if isinstance(getattr(litellm, name), list)]
    for name in lists:
        getattr(litellm, name).clear()
    log, tracker = kept()
    litellm.callbacks.append(CallLogger(tracker=tracker, tags=["tenant"]))
    yield log, tracker
    for name in lists:
        getattr(litellm, name).clear()


def asking(server, model="hosted_vllm/m", **more):
    base = server.root if model.startswith("anthropic") else server.url
    return {"model": model, "api_base": base, "api_key": "x", "messages": MESSAGES, "max_retries": 0, **more}


def told():
    from llmops.integrations.litellm import flush

    flush(20)


def run(story):
    result = asyncio.run(story)
    told()
    return result


@pytest.mark.parametrize("model", ["hosted_vllm/m", "openai/m", "anthropic/claude-haiku-4-5"])
def test_calls_count_as_the_server_does(litellm, server, tracked, model):
    log, _ = tracked
    metadata = {"team": "search", "tenant": "acme", "thread": "17"}
    with track(feature="answers"):
        litellm.completion(**asking(server, model, metadata=dict(metadata)))
        told()
        run(litellm.acompletion(**asking(server, model, metadata=dict(metadata))))
    for call in log.calls:
        assert (call.outcome, call.state, call.model_asked) == ("success", "settled", model.partition("/")[2])
        assert (call.usage.input_tokens, call.usage.output_tokens, call.usage.cache_read_tokens) == (100, 7, 60)
        assert (call.attribution.team, call.attribution.feature) == ("search", "answers")
        assert (call.attribution.tags, call.address) == ((("tenant", "acme"),), f"127.0.0.1:{server.port}")
    assert log.answers() == ["Paris is it."] * 2


def test_the_row_is_there_before_the_server_is_asked(litellm, server, tracked):
    log, _ = tracked
    seen = []
    server.default = Answer(text=lambda body: seen.append(len(log.calls)) or "x")
    litellm.completion(**asking(server))
    run(litellm.acompletion(**asking(server)))
    assert seen == [1, 2]


async def _read(litellm, **asked):
    return [chunk async for chunk in await litellm.acompletion(**asked, stream=True)]


def test_a_stream_that_litellm_counted_itself_is_an_estimate(litellm, server, tracked):
    log, _ = tracked
    list(litellm.completion(**asking(server), stream=True))
    told()
    list(litellm.completion(**asking(server), stream=True, stream_options={"include_usage": True}))
    told()
    server.default = Answer(usage=None)  # asked for, and not given
    list(litellm.completion(**asking(server), stream=True, stream_options={"include_usage": True}))
    told()
    assert [call.state for call in log.calls] == ["estimated", "settled", "estimated"]
    assert log.calls[1].usage.cache_read_tokens == 60
    assert all(call.first_token_s is not None for call in log.calls)


def test_streams_that_are_left_keep_their_rows(litellm, server, tracked):
    log, _ = tracked
    for chunk in litellm.completion(**asking(server), stream=True):
        assert chunk
        break
    del chunk
    told()

    async def leave():
        async for chunk in await litellm.acompletion(**asking(server), stream=True):
            assert chunk
            break

    run(leave())
    assert [(call.outcome, call.state) for call in log.calls] == [("abandoned", "unknown")] * 2


def test_cancelled_late_and_failed_calls_keep_their_rows(litellm, server, tracked):
    log, _ = tracked

    async def story():
        server.default = Answer(ending="silence")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(litellm.acompletion(**asking(server)), 0.3)
        with pytest.raises(litellm.Timeout):
            await litellm.acompletion(**asking(server), timeout=0.3)
        server.default = Answer(status=429)
        with pytest.raises(litellm.RateLimitError):
            await litellm.acompletion(**asking(server))
        with pytest.raises(litellm.BadRequestError):
            await litellm.acompletion(model="nosuch", messages=MESSAGES)
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(**asking(server, api_base="http://127.0.0.1:9/v1"))
        await asyncio.sleep(0)

    run(story())
    assert [(call.outcome, call.state) for call in log.calls] == [
        ("cancelled", "unknown"),
        ("timeout", "unknown"),
        ("error", "settled"),
        ("unsent", "settled"),
        ("unsent", "settled"),
    ]
    assert log.calls[2].cost.total == 0


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_second_try_is_a_second_row_with_its_tokens(litellm, server, tracked, way):
    log, _ = tracked
    server.answers = iter([Answer(status=500)])
    if way == "sync":
        litellm.completion(**asking(server), num_retries=2)
        told()
    else:
        run(litellm.acompletion(**asking(server), num_retries=2))
    assert [(call.outcome, call.attempt) for call in log.calls] == [("error", 1), ("success", 2)]
    assert (log.calls[1].state, log.calls[1].usage.input_tokens) == ("settled", 100)


def test_no_row_is_lost_among_many(litellm, server, tracked):
    log, _ = tracked

    async def story():
        await asyncio.gather(*(litellm.acompletion(**asking(server)) for _ in range(30)))

    run(story())
    assert [call.state for call in log.calls] == ["settled"] * 30


@pytest.mark.parametrize("error", [BudgetExceededError("$1 a day is spent"), StoreError("the disk is full")])
def test_what_the_log_refuses_is_never_sent(litellm, server, tracked, error):
    log, _ = tracked
    before, log.fail = server.count, error
    with pytest.raises(type(error)):
        run(litellm.acompletion(**asking(server)))
    assert server.count == before


def test_a_synchronous_call_that_is_over_budget_is_recorded_all_the_same(litellm, server, tracked):
    log, tracker = tracked

    class Spent:
        def holds(self, call, request):
            return ("hold",)

        def begin_now(self, log, call, holds):
            raise BudgetExceededError("$1 a day is spent")

    tracker.budgets = Spent()
    with pytest.warns(RuntimeWarning, match="litellm sends the request all the same"):
        litellm.completion(**asking(server))
    told()
    assert (log.only.outcome, log.only.usage.input_tokens) == ("success", 100)


def test_embeddings_are_tracked(litellm, server, tracked):
    log, _ = tracked
    run(litellm.aembedding(model="hosted_vllm/e", api_base=server.url, api_key="x", input=["a", "b"]))
    assert (log.only.outcome, log.only.usage.input_tokens, log.only.usage.output_tokens) == ("success", 100, 0)


@pytest.mark.parametrize("texts", [["word", "word " * 900], [*range(900)], [[1, 2], [*range(900)]]])
def test_an_embedding_is_bounded_by_its_input_alone(litellm, server, tracked, texts):
    _, tracker = tracked
    tracker.budgets = SeenBounds()
    asked = {"model": "hosted_vllm/e", "api_base": server.url, "api_key": "x", "input": texts}
    run(litellm.aembedding(**asked))
    litellm.embedding(**asked)
    told()
    assert [bound.output_tokens for bound in tracker.budgets.bounds] == [0, 0]
    assert all(bound.input_tokens > 900 for bound in tracker.budgets.bounds)


def test_tools_and_schemas_count_in_the_bound_of_an_asynchronous_call(litellm, server, tracked):
    _, tracker = tracked
    tracker.budgets = SeenBounds()
    function = {"name": "find", "description": "word " * 900, "parameters": {"type": "object", "properties": {}}}
    for more in ({}, {"tools": [{"type": "function", "function": function}]}):
        run(litellm.acompletion(**asking(server), max_tokens=9, **more))
    plain, with_tools = tracker.budgets.bounds
    assert (plain.output_tokens, with_tools.output_tokens) == (9, 9)
    assert with_tools.input_tokens > plain.input_tokens + 4500


def test_what_a_backend_of_ours_sends_has_its_row_already(litellm, server, tracked):
    from llmops.http.client import SENDING

    log, _ = tracked

    async def story():
        token = SENDING.set(object())
        await litellm.acompletion(**asking(server))
        SENDING.reset(token)

    run(story())
    assert log.calls == []


def test_a_process_that_ends_settles_its_rows(server):
    code = f"""
import asyncio, litellm
from kept_calls import SeenBounds, kept
from llmops.integrations.litellm import CallLogger
import atexit
log, tracker = kept()
atexit.register(lambda: print([call.outcome for call in log.calls]))
litellm.callbacks = [CallLogger(tracker=tracker)]
asked = dict(model="hosted_vllm/m", api_base={server.url!r}, api_key="x", messages={MESSAGES!r})
asyncio.run(litellm.acompletion(**asked))
left = litellm.completion(**asked, stream=True)
next(left)
"""
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_OFFLINE_MODE": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(PYTHONPATH=str(ROOT / "tests"), **offline), text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "['success', 'abandoned']", done.stderr


def test_without_litellm_one_line_says_what_to_install():
    code = """
import sys
sys.modules["litellm"] = None
import llmops.integrations.litellm as made
from llmops.errors import MissingExtraError
try:
    made.CallLogger
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=120)
    assert done.stdout.strip() == "tracking of litellm needs: pip install 'llmops[litellm]'"
