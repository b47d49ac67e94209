"""Tracked by a library's callbacks and by what sends for it: every request still has one row."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
import warnings
from contextvars import copy_context

import pytest

from kept_calls import kept
from llmops.attribution import track
from llmops.errors import BudgetExceededError
from llmops.integrations.afterwards import AFTERWARDS
from llmops.integrations.openai import tracked
from llmops.types import Completion
from llmops.usage.tracked import TrackedBackend
from provider_server import Answer, ProviderServer, Tokens

openai = pytest.importorskip("openai", reason="the openai package isn't installed")
pytest.importorskip("langchain_core", reason="langchain-core isn't installed")

from langchain_core.language_models import BaseChatModel  # noqa: E402
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage  # noqa: E402
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult  # noqa: E402

from llmops.integrations.langchain import CallTracker  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
MESSAGES = [{"role": "user", "content": "Where is the Louvre?"}]
ASK = {"model": "m", "messages": MESSAGES}
COUNTED = {"stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def _server():
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(_server):
    """A server with nothing scripted; `new()` says how many requests came in this test."""
    before = _server.count
    _server.answers, _server.default = iter(()), Answer(usage=Tokens(100, 7))
    _server.new = lambda: _server.count - before
    return _server


@pytest.fixture
def made(server):
    """Makes clients, tracked if they get a tracker."""
    opened = []

    def make(tracker=None, kind="OpenAI", max_retries=0):
        client = getattr(openai, kind)(base_url=server.url, api_key="x", max_retries=max_retries)
        opened.append(client)
        return client if tracker is None else tracked(client, tracker=tracker, backend="wire")

    yield make
    for client in opened:
        done = client.close()
        if done is not None:
            asyncio.run(done)


class Chat(BaseChatModel):
    """A chat model that asks an OpenAI client, as `ChatOpenAI` does."""

    client: object
    before: object = None

    @property
    def _llm_type(self):
        return "chat"

    def _get_ls_params(self, **_):
        return {"ls_provider": "openai", "ls_model_name": "m"}

    def _said(self, messages):
        return {"model": "m", "messages": [{"role": "user", "content": message.content} for message in messages]}

    def _generate(self, messages, stop=None, run_manager=None, **_):
        answer = self.client.chat.completions.create(**self._said(messages))
        return self._result(answer)

    async def _agenerate(self, messages, stop=None, run_manager=None, **_):
        if isinstance(self.client, openai.OpenAI):
            return await super()._agenerate(messages, stop, run_manager)
        return self._result(await self.client.chat.completions.create(**self._said(messages)))

    def _result(self, answer):
        counts = {"input_tokens": 100, "output_tokens": 7, "total_tokens": 107}
        message = AIMessage(answer.choices[0].message.content, usage_metadata=counts)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages, stop=None, run_manager=None, **_):
        for chunk in self.client.chat.completions.create(**self._said(messages), stream=True, **COUNTED):
            yield self._chunk(chunk)

    async def _astream(self, messages, stop=None, run_manager=None, **_):
        chunks = await self.client.chat.completions.create(**self._said(messages), stream=True, **COUNTED)
        async for chunk in chunks:
            yield self._chunk(chunk)

    def _chunk(self, chunk):
        text = chunk.choices[0].delta.content or "" if chunk.choices else ""
        return ChatGenerationChunk(message=AIMessageChunk(text))


def config(tracker):
    return {"callbacks": [CallTracker(tracker=tracker, backend="chain")], "metadata": {"team": "search"}}


def rows(log):
    return [
        (c.outcome, c.state, c.usage.total_tokens, c.attempt, c.backend, c.attribution.team, c.attribution.feature)
        for c in log.calls
    ]


def row(attempt=1, outcome="success", tokens=107):
    return (outcome, "settled", tokens, attempt, "wire", "search", "answers")


WAYS = ("invoke", "ainvoke", "threaded", "stream", "astream", "batch", "abatch", "task")


def ask(way, make, tracker, **options):
    """Ask a LangChain model whose client is tracked, in a way of LangChain's; how often it asks."""
    told = config(tracker)
    if way in ("ainvoke", "astream", "abatch", "task"):

        async def story():
            model = Chat(client=make(tracker, "AsyncOpenAI", **options))
            if way == "astream":
                assert [piece async for piece in model.astream("x", config=told)]
            elif way == "abatch":
                await model.abatch(["x", "y", "z"], config=told)
            else:
                asked = model.ainvoke("x", config=told)
                await (asyncio.create_task(asked) if way == "task" else asked)
            await model.client.close()

        asyncio.run(story())
    else:
        model = Chat(client=make(tracker, **options))
        if way == "stream":
            assert list(model.stream("x", config=told))
        elif way == "threaded":
            asyncio.run(model.ainvoke("x", config=told))
        elif way == "batch":
            model.batch(["x", "y", "z"], config=told)
        else:
            model.invoke("x", config=told)
    return 3 if "batch" in way else 1


@pytest.mark.parametrize("way", WAYS)
def test_langchain_and_its_client_make_one_row(server, made, way):
    log, tracker = kept()
    with track(feature="answers"):
        count = ask(way, made, tracker)
    assert rows(log) == [row()] * count
    assert server.new() == count


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_each_try_of_the_client_is_a_row_for_whom_the_chain_asks(server, made, way):
    log, tracker = kept()
    server.answers = iter([Answer(status=429, headers={"retry-after-ms": "1"}), Answer(usage=Tokens(100, 7))])
    with track(feature="answers"):
        ask(way, made, tracker, max_retries=2)
    assert rows(log) == [row(1, "error", 0), row(2)]


def test_several_prompts_of_one_generate_have_a_row_each(server, made):
    log, tracker = kept()
    with track(feature="answers"):
        prompts = [[HumanMessage("x")], [HumanMessage("y")]]
        Chat(client=made(tracker)).generate(prompts, **config(tracker))
    assert rows(log) == [row()] * 2


def test_a_model_around_a_model_has_one_row(server, made):
    log, tracker = kept()

    class Outer(Chat):
        def _generate(self, messages, stop=None, run_manager=None, **_):
            answer = self.client.invoke("y", config={"callbacks": [CallTracker(tracker=tracker)]})
            return ChatResult(generations=[ChatGeneration(message=answer)])

        async def _agenerate(self, messages, stop=None, run_manager=None, **_):
            answer = await self.client.ainvoke("y", config={"callbacks": [CallTracker(tracker=tracker)]})
            return ChatResult(generations=[ChatGeneration(message=answer)])

    async def story():
        client = made(tracker, "AsyncOpenAI")
        await Outer(client=Chat(client=client)).ainvoke("x", config=config(tracker))
        await client.close()

    with track(feature="answers"):
        Outer(client=Chat(client=made(tracker))).invoke("x", config=config(tracker))
        asyncio.run(story())
    assert rows(log) == [row()] * 2


def test_a_failing_model_has_one_row(server, made):
    log, tracker = kept()
    server.default = Answer(status=400)
    with track(feature="answers"), pytest.raises(openai.BadRequestError):
        ask("invoke", made, tracker)
    assert rows(log) == [row(1, "error", 0)]


def test_what_is_asked_beside_a_chain_keeps_its_own_row(server, made):
    log, tracker = kept()
    beside = made(tracker)
    model = Chat(client=made())  # only LangChain tells of it
    model.invoke("x", config=config(tracker))
    beside.chat.completions.create(**ASK)
    for _ in model.stream("x", config=config(tracker)):
        beside.chat.completions.create(**ASK)
        break
    beside.chat.completions.create(**ASK)
    assert [(call.backend, call.attribution.team) for call in log.calls] == [
        ("chain", "search"),
        ("wire", ""),
        ("chain", "search"),
        ("wire", ""),
        ("wire", ""),
    ]
    assert all(call.outcome in ("success", "abandoned") for call in log.calls)


def test_what_is_asked_instead_of_a_call_that_was_given_up_keeps_its_own_row(server, made):
    log, tracker = kept()

    async def story():
        plain, beside = made(None, "AsyncOpenAI"), made(tracker, "AsyncOpenAI")
        server.answers = iter([Answer(latency_s=30)])
        try:
            async with asyncio.timeout(0.5):
                await Chat(client=plain).ainvoke("x", config=config(tracker))
        except TimeoutError:
            await beside.chat.completions.create(**ASK)
            await Chat(client=plain).ainvoke("x", config=config(tracker))
        await plain.close()
        await beside.close()

    asyncio.run(story())
    AFTERWARDS.wait()
    found = [(call.backend, call.outcome, call.attribution.team) for call in log.calls]
    assert found == [("chain", "cancelled", "search"), ("wire", "success", ""), ("chain", "success", "search")]


def test_another_projects_log_has_a_row_of_its_own(server, made):
    log, tracker = kept()
    other, others = kept()
    Chat(client=made(others)).invoke("x", config=config(tracker))
    assert (log.only.backend, other.only.backend) == ("chain", "wire")


class Room:
    """Budgets with room for one call at a time."""

    def __init__(self):
        self.begun = 0

    def holds(self, call, request):
        return ("hold",)

    def begin_now(self, log, call, holds):
        self.begun += 1
        if self.begun > 1:
            raise BudgetExceededError("spent")
        log.begin_now(call)

    def settled(self, call, holds):
        pass


def test_a_budget_sets_aside_for_one_request_once(server, made):
    log, tracker = kept()
    tracker.budgets = Room()
    Chat(client=made(tracker)).invoke("x", config=config(tracker))
    assert log.only.outcome == "success"


class Asking:
    """A backend of a user's own that asks a client."""

    def __init__(self, client):
        self.client = client
        self.identity = {"kind": "asking"}

    async def complete(self, request):
        answer = await self.client.chat.completions.create(**ASK)
        return Completion(answer.choices[0].message.content)


def test_a_backend_keeps_the_row_of_what_a_tracked_client_or_chain_sends_for_it(server, made):
    log, tracker = kept()

    async def story():
        from llmops.types import Request

        client = made(tracker, "AsyncOpenAI")
        await TrackedBackend(Asking(client), tracker, name="own").complete(Request(tuple(MESSAGES), "m"))
        await client.close()

    asyncio.run(story())
    assert (log.only.backend, log.only.outcome) == ("own", "success")


def test_a_model_that_asks_a_backend_has_one_row(server, made):
    from llmops.backends.openai_http import OpenAIHttp
    from llmops.types import Request

    log, tracker = kept()

    class Wrapped(Chat):
        async def _agenerate(self, messages, stop=None, run_manager=None, **_):
            answer = await self.client.complete(Request(tuple(MESSAGES)))
            return ChatResult(generations=[ChatGeneration(message=AIMessage(answer.text))])

    async def story():
        backend = OpenAIHttp(server.url, model="m")
        model = Wrapped(client=TrackedBackend(backend, tracker, name="wire"))
        await model.ainvoke("x", config=config(tracker))
        await backend.aclose()

    with track(feature="answers"):
        asyncio.run(story())
    assert rows(log) == [row()]


needs_litellm = pytest.mark.skipif(importlib.util.find_spec("litellm") is None, reason="litellm isn't installed")


@pytest.fixture
def litellm():
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_OFFLINE_MODE="true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm as library
    library.suppress_debug_info = True
    names = [name for name in dir(library) if name.endswith(("callback", "callbacks")) and name.count("_") <= 3]
    lists = [getattr(library, name) for name in names if isinstance(getattr(library, name), list)]
    for one in lists:
        one.clear()
    yield library
    for one in lists:
        one.clear()


def told():
    from llmops.integrations.litellm import flush

    flush(20)


def asking(**more):
    return {"model": "openai/m", "messages": MESSAGES, "max_retries": 0, "metadata": {"team": "search"}, **more}


@needs_litellm
@pytest.mark.parametrize("way", ["completion", "stream", "acompletion", "astream", "text_completion", "embedding",
                                 "aembedding", "router", "thread"])  # fmt: skip
def test_litellm_and_a_tracked_client_make_one_row(litellm, server, made, way):
    from llmops.integrations.litellm import CallLogger

    log, tracker = kept()
    litellm.callbacks = [CallLogger(tracker=tracker, backend="lite")]
    if way.startswith("a"):

        async def story():
            client = made(tracker, "AsyncOpenAI")
            if way == "aembedding":
                await litellm.aembedding(model="openai/m", input=["a"], metadata={"team": "search"}, client=client)
            else:
                answer = await litellm.acompletion(**asking(client=client), stream=way == "astream", **COUNTED)
                if way == "astream":
                    assert [chunk async for chunk in answer]
            await client.close()

        with track(feature="answers"):
            asyncio.run(story())
    else:
        client = made(tracker)
        with track(feature="answers"):
            if way == "embedding":
                litellm.embedding(model="openai/m", input=["a"], metadata={"team": "search"}, client=client)
            elif way == "text_completion":
                litellm.text_completion(model="text-completion-openai/m", prompt="x", metadata={"team": "search"},
                                        client=client)  # fmt: skip
            elif way == "stream":
                assert list(litellm.completion(**asking(client=client), stream=True, **COUNTED))
            elif way == "router":
                asked = {"model": "openai/m", "api_key": "x", "api_base": server.url}
                router = litellm.Router([{"model_name": "m", "litellm_params": asked}])
                router.completion(**asking(model="m", client=client))
            elif way == "thread":
                context = copy_context()
                thread = threading.Thread(target=lambda: context.run(litellm.completion, **asking(client=client)))
                thread.start()
                thread.join()
            else:
                litellm.completion(**asking(client=client))
    told()
    assert server.new() == 1
    assert rows(log) == [row(tokens=log.calls[0].usage.total_tokens)]
    assert log.only.usage.total_tokens > 0


@needs_litellm
def test_tries_of_a_client_that_litellm_is_given_are_rows(litellm, server, made):
    from llmops.integrations.litellm import CallLogger

    log, tracker = kept()
    litellm.callbacks = [CallLogger(tracker=tracker, backend="lite")]
    server.answers = iter([Answer(status=429, headers={"retry-after-ms": "1"}), Answer(usage=Tokens(100, 7))])
    with track(feature="answers"):
        litellm.completion(**asking(client=made(tracker, max_retries=2), max_retries=2))
    told()
    assert rows(log) == [row(1, "error", 0), row(2)]


@needs_litellm
def test_what_is_asked_beside_litellm_keeps_its_own_row(litellm, server, made):
    from llmops.integrations.litellm import CallLogger

    log, tracker = kept()
    litellm.callbacks = [CallLogger(tracker=tracker, backend="lite")]
    beside = made(tracker)
    where = {"api_base": server.url, "api_key": "x"}
    for _ in range(5):
        litellm.completion(**asking(**where))
        beside.chat.completions.create(**ASK)
        litellm.completion(**asking(**where))
    for _ in litellm.completion(**asking(**where), stream=True, **COUNTED):
        beside.chat.completions.create(**ASK)
    told()
    assert len(log.calls) == server.new()
    assert {call.outcome for call in log.calls} == {"success"}
    assert [call.attribution.team for call in log.calls if call.backend == "wire"] == [""] * (server.new() - 11)


@needs_litellm
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_langchain_litellm_and_a_client_make_one_row(litellm, server, made, way):
    from llmops.integrations.litellm import CallLogger

    log, tracker = kept()
    litellm.callbacks = [CallLogger(tracker=tracker, backend="lite")]

    class Lite(Chat):
        def _generate(self, messages, stop=None, run_manager=None, **_):
            return self._result(litellm.completion(**asking(client=self.client, metadata={})))

        async def _agenerate(self, messages, stop=None, run_manager=None, **_):
            return self._result(await litellm.acompletion(**asking(client=self.client, metadata={})))

    async def story():
        client = made(tracker, "AsyncOpenAI")
        plain = made(None, "AsyncOpenAI")
        await Lite(client=client).ainvoke("x", config=config(tracker))
        await Lite(client=plain).ainvoke("x", config=config(tracker))
        await client.close()
        await plain.close()

    with track(feature="answers"):
        if way == "ainvoke":
            asyncio.run(story())
        else:
            Lite(client=made(tracker)).invoke("x", config=config(tracker))
            Lite(client=made()).invoke("x", config=config(tracker))
    told()
    assert [(c.backend, c.attribution.team, c.outcome, c.usage.total_tokens) for c in log.calls] == [
        ("wire", "search", "success", 107),
        ("lite", "search", "success", 107),
    ]
