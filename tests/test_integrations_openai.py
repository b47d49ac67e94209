"""The client of the `openai` package, tracked: rows are the requests that the server saw."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import importlib
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept_calls import SeenBounds, kept
from llmops.attribution import track
from llmops.errors import BudgetExceededError, InputError, StoreError
from llmops.integrations.afterwards import AFTERWARDS
from llmops.integrations.openai import tracked
from llmops.integrations.openai_streams import UsageHider
from llmops.usage.tracker import Tracker
from provider_server import Answer, ProviderServer, Tokens, wire

openai = pytest.importorskip("openai", reason="the openai package isn't installed")
ASK = {"model": "m", "messages": [{"role": "user", "content": "Where is the Louvre?"}]}
USAGE = {"stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def _server():
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(_server):
    """A server with nothing scripted; `new()` says how many requests came in this test."""
    before = _server.count
    _server.answers, _server.default = iter(()), Answer()
    _server.new = lambda: _server.count - before
    return _server


@contextlib.contextmanager
def client(server, tracker, **options):
    made = openai.OpenAI(base_url=server.url, api_key="x", max_retries=options.pop("max_retries", 0))
    with made as opened:
        yield tracked(opened, tracker=tracker, **options)


def httpx_of_the_client():
    """`httpx`, or `httpx2` since 3.0."""
    made = next(made for made in openai.DefaultHttpxClient.__mro__ if made.__name__ == "Client")
    return importlib.import_module(made.__module__.partition(".")[0])


def run_async(server, tracker, story, **options):
    async def main():
        retries = options.pop("max_retries", 0)
        async with openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=retries) as made:
            return await story(tracked(made, tracker=tracker, **options))

    return asyncio.run(main())


def test_a_call_has_a_row_with_what_the_server_said(server):
    log, tracker = kept()
    usage = Tokens(100, 7, cache_read=60, reasoning=5)
    server.default = Answer(usage=usage, id="gen-x", model="m-2026", service_tier="flex")
    with client(server, tracker, backend="local") as c, track(team="search"):
        answer = c.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == "Paris is it."
    call = log.only
    assert (call.outcome, call.state, call.model_asked, call.model_served) == ("success", "settled", "m", "m-2026")
    assert (call.usage.input_tokens, call.usage.output_tokens) == (100, 7)
    assert (call.usage.cache_read_tokens, call.usage.reasoning_tokens, call.usage.certainty) == (60, 5, "exact")
    assert (call.response_id, call.finish_reason, call.service_tier) == ("gen-x", "stop", "flex")
    assert (call.backend, call.address, call.attribution.team) == ("local", f"127.0.0.1:{server.port}", "search")
    assert log.answers() == ["Paris is it."]


def test_the_row_is_there_before_the_server_is_asked(server):
    log, tracker = kept()
    seen = []
    server.default = Answer(text=lambda body: seen.append(len(log.calls)) or "x")
    with client(server, tracker) as c:
        c.chat.completions.create(**ASK)
    assert seen == [1]


def _responses(c, **more):
    return c.responses.create(model="m", input="Where is the Louvre?", **more)


@pytest.mark.parametrize(
    ("send", "tokens"),
    [
        (lambda c: c.chat.completions.create(**ASK), (11, 7)),
        (lambda c: list(c.chat.completions.create(**ASK, stream=True, extra_body=USAGE)), (11, 7)),
        (lambda c: c.chat.completions.with_raw_response.create(**ASK).parse(), (11, 7)),
        (lambda c: c.with_options(timeout=20).chat.completions.create(**ASK), (11, 7)),
        (lambda c: c.embeddings.create(model="m", input=["a", "b"]), (11, 0)),
        (lambda c: _responses(c), (11, 7)),
        (lambda c: list(_responses(c, stream=True)), (11, 7)),
    ],
    ids=["chat", "chat stream", "raw", "with_options", "embeddings", "responses", "responses stream"],
)
def test_every_way_to_ask_counts_as_the_server_does(server, send, tokens):
    log, tracker = kept()
    with client(server, tracker) as c:
        send(c)
    assert (log.only.outcome, log.only.state) == ("success", "settled")
    assert (log.only.usage.input_tokens, log.only.usage.output_tokens) == tokens
    assert log.only.stream == ("stream" in str(server.bodies[-1]) and server.served[-1].stream)


@pytest.mark.parametrize(
    "texts", ["word " * 900, ["word", "word " * 900], [*range(900)], [[1, 2], [*range(900)]]],
    ids=["text", "texts", "token ids", "token ids of texts"],
)  # fmt: skip
def test_an_embedding_is_bounded_by_its_input_alone(server, texts):
    _, tracker = kept()
    tracker.budgets = SeenBounds()
    with client(server, tracker) as c:
        c.embeddings.create(model="m", input=texts)
        c.completions.create(model="m", prompt=texts, max_tokens=5)
    [embedding, completion] = tracker.budgets.bounds
    assert embedding.output_tokens == 0 and completion.output_tokens == 5
    assert embedding.input_tokens == completion.input_tokens > 900


def test_streaming_and_parsing_helpers_are_tracked(server):
    pydantic = pytest.importorskip("pydantic")

    class Place(pydantic.BaseModel):
        city: str

    log, tracker = kept()
    server.default = Answer(text='{"city": "Paris"}')
    with client(server, tracker) as c:
        assert c.chat.completions.parse(**ASK, response_format=Place).choices[0].message.parsed.city == "Paris"
        with c.chat.completions.stream(**ASK, stream_options={"include_usage": True}) as events:
            assert events.get_final_completion().usage.total_tokens == 18
    assert [call.usage.total_tokens for call in log.calls] == [18, 18]


def test_a_stream_without_usage_is_an_estimate_and_the_request_is_left_alone(server):
    log, tracker = kept()
    with client(server, tracker) as c:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in c.chat.completions.create(**ASK, stream=True))
    assert text == "Paris is it."
    assert (log.only.state, log.only.usage.certainty, log.only.usage.output_tokens > 0) == (
        "estimated",
        "estimated",
        True,
    )
    assert log.only.first_token_s is not None
    assert "stream_options" not in server.bodies[-1]


def test_usage_can_be_asked_for_and_is_hidden_from_the_application(server):
    log, tracker = kept()
    with client(server, tracker, ask_usage=True) as c:
        chunks = list(c.chat.completions.create(**ASK, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Paris is it."
    assert (log.only.state, log.only.usage.input_tokens) == ("settled", 11)
    assert server.bodies[-1]["stream_options"] == {"include_usage": True}
    assert {**server.bodies[-1], "stream_options": None} == {**ASK, "stream": True, "stream_options": None}


def test_each_try_is_a_row(server):
    log, tracker = kept()
    server.answers = iter([Answer(status=500), Answer(status=429, headers={"retry-after-ms": "1"}), Answer()])
    with client(server, tracker, max_retries=2) as c:
        c.chat.completions.create(**ASK)
    assert [(call.outcome, call.error, call.attempt) for call in log.calls] == [
        ("error", "backend_unavailable", 1),
        ("error", "rate_limited", 2),
        ("success", "", 3),
    ]
    assert server.new() == 3


@pytest.mark.parametrize("leave", ["close", "garbage"])
def test_a_stream_that_is_left_keeps_its_row(server, leave):
    log, tracker = kept()
    server.default = Answer(pieces=["Paris ", "is ", "it."], pause_s=0.05)
    with client(server, tracker) as c:
        stream = c.chat.completions.create(**ASK, stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        if leave == "close":
            stream.close()
        del stream, chunk
        gc.collect()
        AFTERWARDS.wait()
    assert (log.only.outcome, log.only.state) == ("abandoned", "estimated")
    assert log.answers() == ["Paris "]


def test_a_stream_that_is_left_after_its_end_is_whole(server):
    log, tracker = kept()
    with client(server, tracker) as c:
        stream = c.chat.completions.create(**ASK, stream=True, extra_body=USAGE)
        for chunk in stream:
            if chunk.usage:
                break
        stream.close()
    assert (log.only.outcome, log.only.state, log.only.usage.input_tokens) == ("success", "settled", 11)


def test_an_asynchronous_stream_that_is_left_keeps_its_row(server):
    log, tracker = kept()
    server.default = Answer(pieces=["Paris ", "is ", "it."], pause_s=0.05)

    async def story(c):
        stream = await c.chat.completions.create(**ASK, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()

    run_async(server, tracker, story)
    assert (log.only.outcome, log.answers()) == ("abandoned", ["Paris "])


def test_a_cancelled_call_keeps_its_row_as_unknown(server):
    log, tracker = kept()
    server.default = Answer(ending="silence")

    async def story(c):
        with pytest.raises(TimeoutError):
            async with server.patience():
                await c.chat.completions.create(**ASK)

    run_async(server, tracker, story)
    assert (log.only.outcome, log.only.state, log.only.cost) == ("cancelled", "unknown", None)


def test_a_timeout_keeps_its_row_as_unknown(server):
    log, tracker = kept()
    server.default = Answer(ending="silence")
    with client(server, tracker) as c, pytest.raises(openai.APITimeoutError):
        c.with_options(timeout=0.2).chat.completions.create(**ASK)
    assert (log.only.outcome, log.only.state) == ("timeout", "unknown")


def test_no_connection_is_unsent():
    log, tracker = kept()
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=1) as made:
        c = tracked(made, tracker=tracker)
        with pytest.raises(openai.APIConnectionError):
            c.chat.completions.create(**ASK)
    assert [call.outcome for call in log.calls] == ["unsent", "unsent"]


@pytest.mark.parametrize("cut", range(0, 700, 41))
def test_streams_cut_anywhere_are_errors_unless_they_were_whole(server, cut):
    log, tracker = kept()
    server.default = Answer(ending="cut", cut_at=cut, force_usage=True)
    with client(server, tracker) as c, contextlib.suppress(Exception):  # whose error it is depends on the version
        list(c.chat.completions.create(**ASK, stream=True))
    whole = b"".join(wire("openai", Answer(force_usage=True), {**ASK, "stream": True}, "gen-00", stream=True))
    call = log.only
    if b"[DONE]" in whole[: cut - 10]:
        assert (call.outcome, call.state) == ("success", "settled")
    else:
        assert call.outcome == ("success" if call.finish_reason else "error")
        assert call.state in ("unknown", "estimated") or call.usage.input_tokens == 11


def test_a_compressed_answer_is_read(server):
    httpx = httpx_of_the_client()
    body = b"".join(wire("openai", Answer(force_usage=True), ASK, "gen-1", stream=True))

    class Pieces(httpx.SyncByteStream):
        def __iter__(self):
            packed = gzip.compress(body)
            yield from (packed[i : i + 50] for i in range(0, len(packed), 50))

    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, stream=Pieces()))
    log, tracker = kept()
    with openai.OpenAI(base_url="http://x/v1", api_key="x", http_client=httpx.Client(transport=transport)) as made:
        list(tracked(made, tracker=tracker).chat.completions.create(**ASK, stream=True))
    assert (log.only.outcome, log.only.usage.input_tokens, log.only.state) == ("success", 11, "settled")


def test_an_answer_that_a_transport_had_at_hand_is_read():
    httpx = httpx_of_the_client()
    body = b"".join(wire("openai", Answer(), ASK, "gen-1", stream=False))
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "application/json"}, content=body)
    )
    log, tracker = kept()
    with openai.OpenAI(base_url="http://x/v1", api_key="x", http_client=httpx.Client(transport=transport)) as made:
        tracked(made, tracker=tracker).chat.completions.create(**ASK)
    assert (log.only.outcome, log.only.usage.input_tokens) == ("success", 11)


@pytest.mark.parametrize("error", [BudgetExceededError("$1 a day is spent"), StoreError("the disk is full")])
def test_what_the_log_refuses_is_never_sent_nor_tried_again(server, error):
    log, tracker = kept()
    log.fail = error

    async def story(c):
        with pytest.raises(type(error)):
            await c.chat.completions.create(**ASK)

    with client(server, tracker, max_retries=3) as c, pytest.raises(type(error)):
        c.with_options(timeout=5).chat.completions.create(**ASK)
    run_async(server, tracker, story, max_retries=3)
    assert server.new() == 0


def test_a_broken_log_can_be_told_to_let_calls_go_on(server):
    log, tracker = kept()
    log.fail = StoreError("the disk is full")
    lenient = Tracker(log, tracker.pricer, on_failure="warn")
    with client(server, lenient) as c, pytest.warns(RuntimeWarning, match="no longer recorded"):
        assert c.chat.completions.create(**ASK).choices
    assert lenient.lost == 1


def test_what_is_no_model_call_passes_untouched(server):
    log, tracker = kept()
    with client(server, tracker) as c:
        assert [model.id for model in c.models.list()] == ["m"]
    assert log.calls == []


def test_tracking_twice_keeps_one_row(server):
    log, tracker = kept()
    other = kept()[0]
    with client(server, Tracker(other, tracker.pricer)) as c:
        tracked(c, tracker=tracker).with_options(timeout=9).with_options(max_retries=1).chat.completions.create(**ASK)
    assert (len(log.calls), len(other.calls)) == (1, 0)


def test_azure_clients_are_tracked(server):
    log, tracker = kept()
    made = openai.AzureOpenAI(azure_endpoint=server.root, api_key="x", api_version="2024-10-21", max_retries=0)
    with made:
        tracked(made, tracker=tracker, provider="azure").chat.completions.create(**ASK)
    assert (log.only.provider, log.only.model_asked, log.only.state) == ("azure", "m", "settled")


def test_anything_else_is_refused():
    with pytest.raises(InputError, match="no client of the openai package"):
        tracked(object())


def test_rows_are_the_requests_that_the_server_saw(server):
    """Random ends, many at once: none missing, and tokens as the server counts them."""
    log, tracker = kept()
    chance = random.Random(5)
    kinds = [
        Answer(),
        Answer(status=500),
        Answer(ending="cut", cut_at=200),
        Answer(ending="silence"),
        Answer(pause_s=0.01),
    ]

    ends = [chance.choice(kinds) for _ in range(60)]

    def decide(body, number):
        return replace(ends[int(body["user"])], force_usage=True)

    async def one(c, number):
        stream = number % 2 == 0
        timeout = 0.4 if ends[number].ending == "silence" else 60
        with contextlib.suppress(Exception):
            asked = c.chat.completions.create(**ASK, user=str(number), stream=stream, timeout=timeout)
            answer = await asyncio.wait_for(asked, 0.3 if number % 3 == 0 else 120)
            if stream:
                async for chunk in answer:
                    if number % 8 == 0 and chunk.choices and chunk.choices[0].delta.content:
                        break
                await answer.close()

    async def story(c):
        await asyncio.gather(*(one(c, number) for number in range(len(ends))))

    server.decide = decide
    try:
        run_async(server, tracker, story, max_retries=1)
    finally:
        server.decide = None
    gc.collect()
    AFTERWARDS.wait()
    sent = [call for call in log.calls if call.outcome != "unsent"]
    assert len(sent) == server.new()
    assert all(call.outcome != "pending" for call in log.calls)
    settled = [call for call in sent if call.outcome == "success"]
    assert settled
    assert sum(call.usage.input_tokens for call in settled) == 11 * len(settled)


events = st.lists(
    st.one_of(
        st.just('{"choices":[{"delta":{"content":"a"}}],"usage":null}'),
        st.just('{"choices": [], "prompt_filter_results": []}'),
        st.just("[DONE]"),
        st.just(": ping"),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(events, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(1, 40))
def test_only_the_usage_is_hidden_however_the_bytes_are_split(data, line, with_usage, size):
    def event(text):
        return f"{text if text.startswith(':') else 'data: ' + text}{line}{line}".encode()

    expected = b"".join(map(event, data))
    usage = event('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}') if with_usage else b""
    hider = UsageHider()
    sent = expected + usage + b"data: cut"
    got = b"".join(hider.feed(sent[i : i + size]) for i in range(0, len(sent), size)) + hider.rest()
    assert got == expected + b"data: cut"
