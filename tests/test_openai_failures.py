"""How servers fail, and which error each failure becomes."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.backends.openai_http import OpenAIHttp
from llmops.backends.openai_shapes import parse_completion
from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    RateLimitedError,
    RequestRejectedError,
)
from llmops.http import retry_after_s
from openai_requests import ASK, failure, run
from stub_server import Reply, StubServer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_slow_down(status: int, stream: bool) -> None:
    error = failure(Reply(status=status, headers={"Retry-After": "2.5"}), stream=stream)
    assert isinstance(error, RateLimitedError) and error.retryable and error.retry_after_s == 2.5


def test_a_used_up_account_is_not_worth_retrying() -> None:
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    error = failure(Reply(status=429, body=body))
    assert isinstance(error, RequestRejectedError) and not error.retryable and "quota" in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "999999999"}, 86_400),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0),
        ({"x-ratelimit-reset": "12"}, 12),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s", "x-ratelimit-remaining-tokens": "10"}, None),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "1s"}, 1),
        ({"x-ratelimit-reset": "x" * 1000}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == (None if seconds is None else pytest.approx(seconds))


def test_waiting_until_a_moment() -> None:
    soon = time.time() + 40
    for text in (str(int(soon)), str(int(soon * 1000))):
        found = retry_after_s({"x-ratelimit-reset": text})
        assert found is not None and 35 <= found <= 41
    found = retry_after_s({"Retry-After": formatdate(soon, usegmt=True)})
    assert found is not None and 35 <= found <= 41


@given(st.dictionaries(st.sampled_from(["Retry-After", "retry-after-ms", "x-ratelimit-reset", "Date"]), st.text()))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    found = retry_after_s(headers)
    assert found is None or 0 <= found <= 86_400


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [500, 502, 504, 529])
def test_server_errors_are_worth_retrying(status: int, stream: bool) -> None:
    error = failure(Reply(status=status, text="out of memory"), stream=stream)
    assert isinstance(error, BackendUnavailableError) and f"answered {status}: out of memory" in str(error)


@pytest.mark.parametrize(("status", "hint"), [(400, ""), (401, "api_key_env"), (404, "base_url"), (413, ""), (422, "")])
def test_rejections_show_the_servers_own_words(status: int, hint: str) -> None:
    error = failure(Reply(status=status, text="no \x1b[31mred\x1b[0m\n\x07 " + "long " * 200))
    assert isinstance(error, RequestRejectedError) and not error.retryable
    assert "no red long long" in error.message and len(error.message) < 400
    assert error.message.isprintable() and hint in error.hint


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "plain"}, "plain"),
        ({"detail": "from FastAPI"}, "from FastAPI"),
        ({"message": "from vLLM", "type": "BadRequestError"}, "from vLLM"),
        ({"detail": [{"loc": ["body"]}]}, '"loc"'),
        ("<html>nginx</html>", "<html>nginx</html>"),
        (b"\xff\xfe", "answered 400"),
        ({"error": {"message": None, "code": ["odd"]}}, "odd"),
        ("[" * 100_000, "[[["),
    ],
)
def test_messages_in_every_shape(body: Any, said: str) -> None:
    assert said in str(failure(Reply(status=400, body=body)))


def test_a_redirect_is_not_followed() -> None:
    with StubServer() as other:
        error = failure(Reply(status=307, headers={"Location": other.url + "/chat/completions"}))
        assert other.count == 0
    assert isinstance(error, RequestRejectedError) and other.url in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        "<html>",
        b"\xff\xfe\x00",
        "null",
        "3",
        "[]",
        "{}",
        {"choices": []},
        {"choices": "x"},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": 3}}]},
        {"choices": [{"message": {"content": [3]}}]},
        {"choices": [{"message": {"tool_calls": 3}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {}}]}}]},
        "[" * 100_000,
        "1" * 5000,
    ],
)
def test_answers_that_are_not_the_protocol(body: Any) -> None:
    error = failure(Reply(body=body))
    assert isinstance(error, BadResponseError) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("code", "kind"), [(429, RateLimitedError), (500, BackendUnavailableError), ("x", BadResponseError)]
)
def test_an_error_inside_of_a_200(code: Any, kind: type[BackendError]) -> None:
    error = failure(Reply(body={"error": {"message": "upstream broke", "code": code}}))
    assert type(error) is kind and "upstream broke" in str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "usage",
                    "error",
                    "code",
                    "arguments",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(json_values)
def test_no_answer_breaks_the_parser(value: Any) -> None:
    for body in (
        value,
        {"choices": [{"message": value}]},
        {"choices": [{"message": {"content": value}}], "usage": value},
    ):
        try:
            completion = parse_completion(json.dumps(body).encode(), "http://x")
        except BackendError:
            continue
        assert isinstance(completion.text, str) and completion.usage.total_tokens >= 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["close", "cut"])
def test_connections_that_break(ending: Any, stream: bool) -> None:
    error = failure(Reply(text="one two three four", ending=ending), stream=stream)
    assert isinstance(error, BackendUnavailableError) and error.retryable


def test_a_stream_that_ends_too_early_is_not_an_answer() -> None:
    error = failure(Reply(text="one two three", ending="no_done"), stream=True)
    assert isinstance(error, BackendUnavailableError) and "the stream was cut" in str(error)


def test_a_stream_without_done_but_with_a_finish_reason_is_whole() -> None:
    chunk = {"choices": [{"delta": {"content": "all"}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk)}"  # not even a last newline
    with StubServer([Reply(body=body, headers={"Content-Type": "text/event-stream"})]) as server:
        assert run(server, stream=True).text == "all"


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ("data: {not json\n\n", BadResponseError),
        ("data: [DONE]\n\n", BadResponseError),
        ("data: [1]\n\n", BadResponseError),
        ('data: {"choices": [{"delta": 3}]}\n\n', BadResponseError),
        ('data: {"choices": [{"delta": {"tool_calls": [3]}}]}\n\n', BadResponseError),
        ('data: {"error": {"message": "gone", "code": 500}}\n\n', BackendUnavailableError),
        ('event: error\ndata: {"error": {"message": "slow", "code": 429}}\n\n', RateLimitedError),
        ("", BackendUnavailableError),
        ('data: {"choices": [{"delta": {"content": "ha', BackendUnavailableError),
    ],
)
def test_streams_that_are_not_the_protocol(events: str, kind: type[BackendError]) -> None:
    assert type(failure(Reply(body=events, headers={"Content-Type": "text/event-stream"}), stream=True)) is kind


PAGE = "<!doctype html><html><body>Log in</body></html>"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_a_page_names_itself(kind: str, stream: bool) -> None:
    error = failure(Reply(body=f"\n{PAGE}", headers={"Content-Type": kind}), stream=stream)
    assert isinstance(error, BadResponseError) and error.retryable  # a proxy may be starting up
    assert f"answered something that isn't JSON: '{PAGE}'; is the address right?" in str(error)


def test_other_text_instead_of_a_stream_names_itself() -> None:
    error = failure(Reply(body="starting up", headers={"Content-Type": "text/plain"}), stream=True)
    assert isinstance(error, BadResponseError) and error.retryable and "isn't JSON: 'starting up'" in str(error)


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream"])
@pytest.mark.parametrize("begins", ["data:", ": hello\n\ndata:", "\ufeffdata:", "event: x\ndata:"])
def test_a_stream_with_another_content_type_is_read(begins: str, kind: str) -> None:
    chunk = {"choices": [{"delta": {"content": "all"}, "finish_reason": "stop"}]}
    body = f"{begins} {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    with StubServer([Reply(body=body, headers={"Content-Type": kind})]) as server:
        assert run(server, stream=True).text == "all"


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_whole_answer_instead_of_a_stream_is_read_whatever_it_is_called(kind: str) -> None:
    body = json.dumps({"choices": [{"message": {"content": "all"}}]})
    with StubServer([Reply(body=body, headers={"Content-Type": kind})]) as server:
        assert run(server, stream=True).text == "all"


@pytest.mark.parametrize(("stream", "after"), [(False, None), (True, None), (True, 1)])
def test_silence_is_a_timeout(stream: bool, after: int | None) -> None:
    error = failure(Reply(text="a b c", ending="hang", after_pieces=after), stream=stream, read_timeout_s=0.05)
    assert isinstance(error, BackendTimeoutError) and error.retryable and "0.05 s" in str(error)


def test_no_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def once() -> None:
        backend = OpenAIHttp(f"http://127.0.0.1:{port}", "m")
        try:
            await backend.complete(ASK)
        finally:
            await backend.aclose()

    with pytest.raises(BackendUnavailableError, match="no connection") as caught:
        asyncio.run(once())
    assert caught.value.retryable


def test_a_server_that_does_not_speak_http() -> None:
    async def once() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail ready\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        backend = OpenAIHttp(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "m")
        try:
            await backend.complete(ASK)
        finally:
            await backend.aclose()
            server.close()
            await server.wait_closed()

    with pytest.raises(BackendError) as caught:
        asyncio.run(once())
    assert isinstance(caught.value, (BadResponseError, BackendUnavailableError))
