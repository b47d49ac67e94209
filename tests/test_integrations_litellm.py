"""litellm, tracked by its callbacks: no call goes missing, and a guess of litellm's is never an exact count."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import os
import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budget_fakes import MemoryLog, Prices
from conftest import ROOT, clean_environment
from kept_calls import SeenBounds, kept
from llmops.attribution import CALL_LIMIT, track
from llmops.errors import BudgetExceededError, InputError, StoreError
from llmops.usage.budget_rules import parse_budgets
from llmops.usage.budgets import Budgets
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
            await litellm.acompletion(**asking(server), timeout=1)
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


@pytest.mark.parametrize("bound", [{"max_tokens": 50}, {}])  # without one, a hard budget can't be kept at all
def test_a_synchronous_call_that_is_over_budget_counts_in_every_budget(litellm, server, tracked, bound):
    tracker = tracked[1]
    tracker.log = log = MemoryLog()
    full, roomy, soft = rules = parse_budgets(
        [
            {"limit": "10 tokens", "per": "day"},
            {"limit": "1M tokens", "per": "month"},
            {"limit": "1 requests", "per": "total", "action": "warn"},
        ]
    )
    tracker.budgets = Budgets(rules, Prices(), patience_s=0, tell=lambda warning: None)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="litellm sends the request all the same"):
            litellm.completion(**asking(server, **bound))
        told()
    calls = list(log.calls.values())
    assert [(call.outcome, call.usage.total_tokens) for call in calls] == [("success", 107)] * 2
    assert [log.spent[rule.window(calls[0])] for rule in (full, roomy, soft)] == [214, 214, 2]
    assert not any(log.held.values())
    assert tracker.budgets.refuses


def test_the_limit_of_an_evaluation_does_not_keep_a_call_that_is_sent_from_the_log(litellm, server, tracked):
    log, _ = tracked

    class Full:
        def reserve_now(self, call, request, pricer):
            raise BudgetExceededError("the run's budget is spent")

    token = CALL_LIMIT.set(Full())
    try:
        with pytest.warns(RuntimeWarning, match="litellm sends the request all the same"):
            litellm.completion(**asking(server))
    finally:
        CALL_LIMIT.reset(token)
    told()
    assert (log.only.outcome, log.only.usage.input_tokens) == ("success", 100)


UNCOUNTED = ("completion", "openai", "text_completion", "embedding", "router", "acompletion", "aembedding", "astream",
             "second_try")  # fmt: skip


@pytest.mark.parametrize("way", UNCOUNTED)
def test_tokens_that_the_server_did_not_count_are_estimated_never_zero(litellm, server, tracked, way):
    log, _ = tracked
    server.default = Answer(usage=None)
    words, whole = "Where is the Louvre? " * 10, {"api_base": server.url, "api_key": "x", "max_retries": 0}
    said, asked = [{"role": "user", "content": words}], {"model": "openai/m", **whole}
    if way in ("completion", "openai"):
        litellm.completion(**{**asked, "model": "hosted_vllm/m" if way == "completion" else "openai/m"}, messages=said)
    elif way == "text_completion":
        litellm.text_completion(**{**asked, "model": "text-completion-openai/m"}, prompt=words)
    elif way == "embedding":
        litellm.embedding(**asked, input=[words])
    elif way == "router":
        models = [{"model_name": "m", "litellm_params": asked}]
        litellm.Router(models, num_retries=0).completion(model="m", messages=said)
    elif way == "acompletion":
        asyncio.run(litellm.acompletion(**asked, messages=said))
    elif way == "aembedding":
        asyncio.run(litellm.aembedding(**asked, input=[words]))
    elif way == "astream":
        asyncio.run(_read(litellm, **asked, messages=said))
    else:
        server.answers = iter([Answer(status=500), Answer(usage=None)])
        litellm.completion(**asked, messages=said, num_retries=1)
    told()
    call = log.calls[-1]
    assert (call.outcome, call.state, call.usage.certainty) == ("success", "estimated", "estimated")
    assert 50 <= call.usage.input_tokens <= 80
    assert (call.usage.output_tokens == 0) is ("embedding" in way)


class Spent:
    """Budgets that have room for so many more calls."""

    def __init__(self, left=0):
        self.left = left

    def holds(self, call, request):
        return ("hold",)

    def begin_now(self, log, call, holds):
        self.left -= 1
        if self.left < 0:
            raise BudgetExceededError("$1 a day is spent")
        log.begin_now(call, ())

    async def begin(self, log, call, holds):
        self.begin_now(log, call, holds)

    def settled(self, call, holds):
        pass


WAYS = {
    "completion": {"messages": MESSAGES},
    "stream": {"messages": MESSAGES, "stream": True},
    "text_completion": {"prompt": "Where is the Louvre?"},
    "embedding": {"input": ["a"]},
    "retries": {"messages": MESSAGES, "num_retries": 3},
    "fallbacks": {"messages": MESSAGES, "fallbacks": ["hosted_vllm/b"]},
    "router": {"messages": MESSAGES},
}


def synchronous(litellm, server, way):
    """A synchronous function, and arguments to call it with."""
    from llmops.integrations.litellm import tracked as made

    whole = {"api_base": server.url, "api_key": "x"}
    if way == "router":
        models = [{"model_name": "m", "litellm_params": {"model": "hosted_vllm/m", **whole}}]
        return made(litellm.Router(models, num_retries=2).completion), {"model": "m", **WAYS[way]}
    name = way if way in ("text_completion", "embedding") else "completion"
    return made(getattr(litellm, name)), {"model": "hosted_vllm/m", "max_retries": 0, **whole, **WAYS[way]}


@pytest.mark.parametrize("way", WAYS)
def test_a_tracked_synchronous_function_is_refused_before_anything_is_sent(litellm, server, tracked, way):
    log, tracker = tracked
    function, arguments = synchronous(litellm, server, way)
    before, tracker.budgets = server.count, Spent()
    with pytest.raises(BudgetExceededError, match="is spent"):
        function(**arguments)
    tracker.budgets, log.fail = None, StoreError("the disk is full")
    with pytest.raises(StoreError):
        function(**arguments)
    assert server.count == before and log.calls == []
    log.fail = None
    assert function(**arguments)
    told()
    assert server.count == before + 1 and len(log.calls) == 1


def test_a_tracked_function_is_refused_a_second_try_that_the_budget_has_no_room_for(litellm, server, tracked):
    log, tracker = tracked
    function, arguments = synchronous(litellm, server, "retries")
    before, tracker.budgets, server.default = server.count, Spent(1), Answer(status=500)
    with pytest.raises(BudgetExceededError):
        function(**arguments)
    told()
    assert server.count == before + 1 and [call.outcome for call in log.calls] == ["error"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_each_model_that_litellm_falls_back_to_has_a_row_of_its_own(litellm, server, tracked, way):
    log, _ = tracked
    server.answers = iter([Answer(status=400)])
    arguments = asking(server, fallbacks=["hosted_vllm/b"])
    if way == "sync":
        litellm.completion(**arguments)
        told()
    else:
        run(litellm.acompletion(**arguments))
    assert [(call.outcome, call.model_asked) for call in log.calls] == [("error", "m"), ("success", "b")]


def test_a_tracked_function_wants_a_logger_and_leaves_asynchronous_ones_alone(litellm, server, tracked):
    from llmops.integrations.litellm import CallLogger
    from llmops.integrations.litellm import tracked as made

    assert made(litellm.acompletion) is litellm.acompletion
    log, tracker = tracked
    litellm.callbacks.clear()
    litellm.input_callback.clear()
    before = server.count
    with pytest.raises(InputError, match=r"no CallLogger .*litellm.callbacks = \[CallLogger\(\)\]"):
        made(litellm.completion)(**asking(server))
    assert server.count == before
    made(litellm.completion)(**asking(server, callbacks=[CallLogger(tracker=tracker)]))
    told()
    assert log.only.outcome == "success"


def whom(log):
    """Whom the last call was for: user, team and tags."""
    made = log.calls[-1].attribution
    return made.user, made.team, dict(made.tags)


@pytest.mark.parametrize(
    ("given", "user", "team", "tags"),
    [
        ({"metadata": {"tags": ["prod", "team:search", "env:eu", "beta"]}}, "", "search",
         {"env": "eu", "litellm_tags": "beta,prod"}),
        ({"metadata": {"tags": ["team:search", "tenant:b"], "team": "ads", "tenant": "a"}}, "", "ads", {"tenant": "a"}),
        ({"litellm_metadata": {"tags": ["env:eu"], "team": "ads"}}, "", "ads", {"env": "eu"}),
        ({"metadata": {"request_tags": ["env:eu"]}, "litellm_metadata": {"tags": ["b", "env:us"]}}, "", "",
         {"env": "eu", "litellm_tags": "b"}),
        ({"user": "u1"}, "u1", "", {}),
        ({"user": "u1", "metadata": {"tags": ["user:u2"]}}, "u2", "", {}),
        ({"user": "u1", "metadata": {"user": "u3", "tags": ["user:u2"]}}, "u3", "", {}),
        ({"metadata": {"tags": ["https://a.b", "model:x", "a b:c", "x:", ":y"]}}, "", "",
         {"litellm_tags": ":y,a b:c,https://a.b,model:x,x:"}),
        ({"metadata": {"tags": "solo"}}, "", "", {"litellm_tags": "solo"}),
    ],
)  # fmt: skip
def test_litellms_own_ways_to_say_whom_a_call_is_for(litellm, server, tracked, given, user, team, tags):
    log, _ = tracked
    litellm.completion(**asking(server, **copy.deepcopy(given)))
    told()
    assert whom(log) == (user, team, tags)
    run(litellm.acompletion(**asking(server, **copy.deepcopy(given))))
    assert whom(log) == (user, team, tags)


def test_a_routers_own_tags_count_as_well(litellm, server, tracked):
    log, _ = tracked
    of = {"model": "hosted_vllm/m", "api_base": server.url, "api_key": "x", "tags": ["pool:a"]}
    router = litellm.Router([{"model_name": "m", "litellm_params": of}])
    router.completion(model="m", messages=MESSAGES, metadata={"tags": ["env:eu"]}, user="u1")
    told()
    assert whom(log) == ("u1", "", {"env": "eu", "pool": "a"})


class Hostile(str):
    """Text that can't be read."""

    def __str__(self):
        raise RuntimeError("no")

    __hash__ = str.__hash__


class HostileMapping(dict):
    def get(self, *_):
        raise RuntimeError("no")


ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=3),
              st.just(object()), st.just(Hostile("a:b")), st.just(HostileMapping())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.sampled_from(["tags", "request_tags", "team", "tenant"]), st.integers()), inner,
                        max_size=4)),
    max_leaves=12,
)  # fmt: skip


@given(ODD, ODD, ODD)
def test_no_shape_of_metadata_raises_or_makes_a_label_that_cannot_be_kept(metadata, more, user):
    from llmops.attribution import ATTRIBUTION
    from llmops.integrations.litellm_labels import attributed_as

    with attributed_as({"metadata": metadata, "litellm_metadata": more}, user, ["tenant"]):
        made = ATTRIBUTION.get()
    for name, text in (("u", made.user), ("t", made.team), *made.tags):
        assert type(text) is str and text.isprintable() and len(text) <= 200 and name.isprintable()
    with pytest.raises(RuntimeError), attributed_as(None, None, ()):
        raise RuntimeError("what is raised inside comes out")


def test_no_tag_is_named_like_what_a_call_knows_by_itself():
    from llmops.integrations.litellm_labels import _OF_A_CALL

    for name in _OF_A_CALL - {"purpose"}:
        with pytest.raises(InputError, match="can't be a tag"), track(**{name: "x"}):
            pass


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
