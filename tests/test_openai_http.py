"""The OpenAI-compatible backend against a scripted loopback server: what goes out and what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.openai_http import OpenAIHttp
from llmops.backends.openai_shapes import tool_arguments, whole_text
from llmops.errors import (
    BadResponseError,
    InputError,
    RequestRejectedError,
)
from llmops.types import Request, ToolCall, Usage
from openai_requests import ASK, TOOL, run
from stub_server import Reply, StubServer


@pytest.mark.parametrize("stream", [False, True])
def test_text_usage_and_everything_else_of_an_answer(stream: bool) -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    with StubServer([Reply(text="Paris, of course", usage=usage)]) as server:
        completion = run(server, stream=stream)
    assert completion.text == "Paris, of course"
    assert completion.usage == Usage(30, 9, 20, 0, 4, 1, "exact")
    assert (completion.finish_reason, completion.model, completion.cached) == ("stop", "stub-model", False)
    assert completion.latency_s is not None and completion.latency_s > 0
    if stream:
        assert completion.first_token_s is not None and 0 < completion.first_token_s <= completion.latency_s
    else:
        assert completion.first_token_s is None


@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_unknown_when_the_server_does_not_say(stream: bool) -> None:
    with StubServer([Reply(usage=None)]) as server:
        assert run(server, stream=stream).usage == Usage(requests=1, certainty="unknown")


def test_a_request_carries_everything() -> None:
    schema = {"title": "An answer!", "type": "object", "properties": {"a": {"type": "string"}}}
    request = Request(
        messages=({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi \ud800 é"}),
        model="other",
        parameters={"temperature": 0, "max_tokens": 5, "seed": 7, "stop": ["\n"], "stream": True, "messages": []},
        tools=(
            {"name": "look", "parameters": {"type": "object"}},
            {"type": "function", "function": {"name": "b"}},
        ),
        output_schema=schema,
    )
    with StubServer() as server:
        run(server, request)
        body = server.bodies[0]
    assert body == {
        "model": "other",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi \ud800 é"}],
        "temperature": 0,
        "max_tokens": 5,
        "seed": 7,
        "stop": ["\n"],
        "tools": [
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "b"}},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "An_answer", "strict": True, "schema": schema},
        },
    }


def test_a_request_without_a_model_is_bad_input() -> None:
    with StubServer() as server, pytest.raises(InputError, match="no model"):
        run(server, model="")
    assert server.count == 0


def test_parameters_that_json_cannot_hold_are_refused_before_sending() -> None:
    with StubServer() as server, pytest.raises(RequestRejectedError, match="JSON"):
        run(server, Request(ASK.messages, parameters={"temperature": float("nan")}))
    assert server.count == 0


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_with_their_arguments(stream: bool) -> None:
    broken = {"id": "c2", "type": "function", "function": {"name": "say", "arguments": '{"half'}}
    reply = Reply(text="", tool_calls=[TOOL, broken], finish_reason="tool_calls")
    with StubServer([reply]) as server:
        completion = run(server, stream=stream)
    assert completion.text == ""
    assert completion.tool_calls == (
        ToolCall("look", {"city": "Paris"}, "c1"),
        ToolCall("say", {"_raw": '{"half'}, "c2"),
    )
    assert completion.finish_reason == "tool_calls"


@given(st.one_of(st.text(), st.dictionaries(st.text(), st.integers()), st.none()))
def test_no_tool_arguments_are_lost(value: Any) -> None:
    read = tool_arguments(value)
    if isinstance(value, dict):
        assert read == value
    elif value and set(read) == {"_raw"}:
        assert read["_raw"] == value


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            {"content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}, {"type": "image"}]},
            "Paris",
        ),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": None}, ""),
        ({"role": "assistant"}, ""),
    ],
)
def test_content_in_other_forms(message: dict[str, Any], text: str) -> None:
    with StubServer([Reply(body={"choices": [{"message": message}]})]) as server:
        assert run(server).text == text


def test_half_surrogates_are_joined_or_replaced() -> None:
    assert whole_text("a\ud83d\ude00b") == "a😀b"
    assert whole_text("a\ud83db") == "a�b"
    with StubServer([Reply(pieces=["\ud83d", "\ude00!"])]) as server:
        assert run(server, stream=True).text == "😀!"


def test_a_server_that_ignores_stream_is_understood() -> None:
    body = {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}], "usage": None}
    with StubServer([Reply(body=body)]) as server:
        assert run(server, stream=True).text == "whole"


def test_streaming_yields_the_pieces_then_the_whole() -> None:
    async def parts(url: str) -> list[Any]:
        backend = OpenAIHttp(url, "m")
        found = [part async for part in backend.stream(ASK)]
        await backend.aclose()
        return found

    with StubServer([Reply(text="one two three")]) as server:
        found = asyncio.run(parts(server.url))
        assert server.bodies[0]["stream_options"] == {"include_usage": True}
    assert found[:-1] == ["one ", "two ", "three"]
    assert found[-1].text == "one two three" and found[-1].usage.certainty == "exact"


def test_leaving_a_stream_early_leaves_nothing_open() -> None:
    async def first(url: str) -> str:
        backend = OpenAIHttp(url, "m")
        stream = backend.stream(ASK)
        try:
            async for part in stream:
                assert isinstance(part, str)
                return part
        finally:
            await stream.aclose()
            await backend.aclose()
        return ""

    with StubServer([Reply(text="one two three", ending="hang", after_pieces=1)]) as server:
        assert asyncio.run(first(server.url)) == "one "


def test_embeddings_come_in_order_and_in_batches() -> None:
    texts = ["x" * (i % 97) for i in range(600)]

    async def embed(url: str) -> list[list[float]]:
        backend = OpenAIHttp(url, "e")
        try:
            return await backend.embed(texts)
        finally:
            await backend.aclose()

    with StubServer() as server:
        vectors = asyncio.run(embed(server.url))
        assert [len(body["input"]) for body in server.bodies] == [256, 256, 88]
        assert {seen.path for seen in server.seen} == {"/v1/embeddings"}
    assert vectors == [[float(len(text)), 1.0] for text in texts]


@pytest.mark.parametrize("body", [{"data": []}, {"data": [{"embedding": "x"}]}, {"data": [3]}, {"data": [{}]}, []])
def test_embeddings_that_are_not(body: Any) -> None:
    async def embed(url: str) -> None:
        backend = OpenAIHttp(url, "e")
        try:
            await backend.embed(["one"])
        finally:
            await backend.aclose()

    with StubServer([Reply(body=body)]) as server, pytest.raises(BadResponseError):
        asyncio.run(embed(server.url))


def test_connections_are_reused_and_one_backend_serves_several_loops() -> None:
    backend_for: dict[str, OpenAIHttp] = {}

    async def ten(url: str) -> None:
        backend = backend_for.setdefault(url, OpenAIHttp(url, "m"))
        for number in range(10):
            request = Request(ASK.messages, parameters={"seed": number})
            assert (await backend.complete(request)).text == "ok"
        streamed = [part async for part in backend.stream(ASK)]
        assert streamed[-1].text == "ok"
        await backend.complete(ASK)
        await backend.aclose()

    with StubServer() as server:
        asyncio.run(ten(server.url))
        assert server.connections == 1
        asyncio.run(ten(server.url))
        assert server.connections == 2 and server.count == 24


def test_a_stream_whose_end_comes_late_keeps_its_connection() -> None:
    async def twice(url: str) -> None:
        backend = OpenAIHttp(url, "m", stream=True)
        for _ in range(2):
            assert (await backend.complete(ASK)).text == "ok"
        await backend.aclose()

    with StubServer(default=Reply(ending="late_end")) as server:
        asyncio.run(twice(server.url))
        assert server.connections == 1
