"""The litellm backend against a loopback server that speaks each provider's API: counts, failures, ends of streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import clean_environment
from kept_calls import kept
from litellm_leftovers import ITS_WARNINGS, NEEDS_LITELLM, close_clients, forget
from llmops.backends.litellm import LiteLLM
from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    ConfigError,
    InputError,
    RateLimitedError,
    RequestRejectedError,
)
from llmops.http.client import SENDING
from llmops.types import Completion, Request, Usage
from llmops.usage.providers import kind_at_an_address, provider_of
from llmops.usage.tracked import TrackedBackend
from provider_server import Answer, ProviderServer, Tokens, wire
from stream_endings import answer as stream_answer
from stub_server import Reply, StubServer

pytestmark = [NEEDS_LITELLM, ITS_WARNINGS]
SHAPES = ["openai", "hosted_vllm", "anthropic", "gemini"]
MODELS = {
    "openai": "openai/m",
    "hosted_vllm": "hosted_vllm/m",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}
ASK = Request(({"role": "user", "content": "Capital of France?"},), parameters={"max_tokens": 50})
TOKENS = Tokens(100, 20, cache_read=30)
KEY = "sk-loopback-1234567890"


class Heard:
    def __init__(self) -> None:
        self.sent = False
        self.text = ""
        self.beside = ""
        self.usage: Usage | None = None

    def received(self, text: str) -> None:
        self.text += text

    def wrote(self, text: str) -> None:
        self.beside += text

    def counted(self, usage: Usage) -> None:
        self.usage = usage


@pytest.fixture(autouse=True, scope="module")
def leftovers() -> Iterator[None]:
    yield
    forget()


def backend(server: ProviderServer, shape: str, **options: Any) -> LiteLLM:
    base = {"anthropic": server.root, "gemini": f"{server.root}/v1beta"}.get(shape, server.url)
    os.environ["LLMOPS_TEST_KEY"] = KEY
    return LiteLLM(MODELS[shape], **{"api_base": base, "api_key_env": "LLMOPS_TEST_KEY", **options})


def ask(made: LiteLLM, request: Request = ASK) -> tuple[Completion | BaseException, Heard]:
    async def once() -> tuple[Completion | BaseException, Heard]:
        heard = Heard()
        SENDING.set(heard)
        try:
            return await made.complete(request), heard
        except Exception as error:
            return error, heard
        finally:
            await close_clients()

    return asyncio.run(once())


def answered(shape: str, answer: Answer, **options: Any) -> tuple[Completion | BaseException, Heard]:
    with ProviderServer(default=answer) as server:
        found = ask(backend(server, shape, **options))
        assert server.count == 1, "litellm tried again by itself"
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_are_those_the_server_counted(shape: str, stream: bool) -> None:
    tokens = {
        "openai": Tokens(100, 20, 30, reasoning=4),
        "hosted_vllm": Tokens(100, 20, 30),
        "anthropic": Tokens(100, 20, 30, 10, 5),
        "gemini": Tokens(100, 20, 30, reasoning=4),
    }[shape]
    found, heard = answered(shape, Answer(usage=tokens, finish_reason="length"), stream=stream)
    assert isinstance(found, Completion)
    writes = {"cache_write_tokens": 15, "cache_write_1h_tokens": 5} if shape == "anthropic" else {}
    usage = Usage(100, 20, 30, reasoning_tokens=tokens.reasoning, requests=1, certainty="exact", **writes)
    assert found.usage == usage
    assert (found.text, found.finish_reason) == ("Paris is it.", "length")
    assert found.model == MODELS[shape].partition("/")[2]
    assert heard.sent and found.latency_s is not None
    if stream:
        assert found.first_token_s is not None and found.first_token_s <= found.latency_s
        assert (heard.text, heard.usage) == (found.text, usage)
    if shape != "anthropic" or stream:  # litellm drops Anthropic's id of a whole answer
        assert found.response_id == "gen-1"
    else:
        assert found.response_id == ""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_cost_is_only_what_the_provider_reports(shape: str, stream: bool) -> None:
    found, _ = answered(shape, Answer(cost="0.000125", service_tier="flex"), stream=stream)
    assert isinstance(found, Completion)
    assert found.reported_cost == (125_000 if shape in ("openai", "hosted_vllm") else None)
    if shape != "gemini":
        assert found.service_tier == "flex"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_without_usage_is_not_counted_by_guess(shape: str) -> None:
    found, heard = answered(shape, Answer(usage=None), stream=True)
    assert isinstance(found, Completion)
    assert found.usage == Usage(requests=1, certainty="unknown") and heard.usage is None
    assert found.text == "Paris is it."


@pytest.mark.parametrize("shape", ["openai", "hosted_vllm"])
def test_an_answer_without_usage_is_unknown_and_not_zero(shape: str) -> None:
    found, _ = answered(shape, Answer(usage=None))
    assert isinstance(found, Completion)
    assert found.usage == Usage(requests=1, certainty="unknown")


@pytest.mark.parametrize("ending", ["cut", "short"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_cut_between_and_inside_events_is_an_error_or_whole(shape: str, ending: Any) -> None:
    answer = Answer(usage=TOKENS, id="x")
    body = {"model": MODELS[shape].partition("/")[2], "stream_options": {"include_usage": True}}
    name = "openai" if shape == "hosted_vllm" else shape
    events = wire(name, answer, body, "x", stream=True, path="/models/gemini-2.5-flash:")
    ends = [sum(map(len, events[: n + 1])) for n in range(len(events))]
    offsets = sorted({at + shift for at in (0, *ends[:-1]) for shift in (0, 40)})

    async def every(server: ProviderServer) -> list[tuple[int, Completion | BaseException]]:
        made = backend(server, shape, stream=True)

        async def one(at: int) -> tuple[int, Completion | BaseException]:
            try:
                return at, await made.complete(Request(({"role": "user", "content": str(at)},)))
            except BackendError as error:
                return at, error

        found = [await one(at) for at in offsets]
        await close_clients()
        return found

    def decide(body: Any, _: int) -> Answer:
        turn = (body.get("messages") or body.get("contents"))[-1]
        content = turn.get("content", turn.get("parts"))
        text = content if isinstance(content, str) else content[0]["text"]
        return Answer(usage=TOKENS, id="x", ending=ending, cut_at=int(text))

    with ProviderServer(decide) as server:
        found = asyncio.run(every(server))
    exact = Usage(100, 20, 30, requests=1, certainty="exact")
    for at, outcome in found:
        if isinstance(outcome, Completion):
            assert outcome.text == "Paris is it.", (at, outcome)
            assert outcome.usage == exact or outcome.usage.certainty == "unknown", (at, outcome)
        else:
            assert isinstance(outcome, BackendError) and outcome.retryable, (at, outcome)
    assert not isinstance(found[0][1], Completion)


REFUSALS = [
    (429, {"Retry-After": "7"}, RateLimitedError),
    (503, {"Retry-After": "7"}, RateLimitedError),
    (500, {}, BackendUnavailableError),
    (529, {}, BackendUnavailableError),
    (400, {}, RequestRejectedError),
    (401, {}, RequestRejectedError),
    (404, {}, RequestRejectedError),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_server_refuses(shape: str, stream: bool) -> None:
    for status, headers, kind in REFUSALS:
        error, heard = answered(shape, Answer(status=status, headers=headers), stream=stream)
        assert type(error) is kind, (status, error)
        assert isinstance(error, BackendError)
        assert (error.status, heard.sent) == (status, True)
        assert "scripted" in str(error) and "Exception" not in str(error) and KEY not in str(error)
        if isinstance(error, RateLimitedError):
            assert error.retry_after_s == 7


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_breaks(shape: str, stream: bool) -> None:
    error, heard = answered(shape, Answer(ending="reset"), stream=stream)
    assert type(error) is BackendUnavailableError and error.status is None and heard.sent
    error, heard = answered(shape, Answer(ending="silence"), stream=stream, read_timeout_s=0.3)
    assert type(error) is BackendTimeoutError and error.status is None and heard.sent
    if not stream:
        error, _ = answered(shape, Answer(ending="short", cut_at=60))
        assert type(error) is BadResponseError


@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_that_is_not_there_never_got_the_request(shape: str) -> None:
    with ProviderServer() as server:
        pass
    error, heard = ask(backend(server, shape))
    assert type(error) is BackendUnavailableError and not heard.sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_is_marked_as_sent_before_the_server_has_it(shape: str, stream: bool) -> None:
    heard, marked = Heard(), []

    def look(body: Any, number: int) -> Answer:
        marked.append(heard.sent)
        return Answer()

    async def once(made: LiteLLM) -> None:
        SENDING.set(heard)
        await made.complete(ASK)
        await close_clients()

    with ProviderServer(look) as server:
        asyncio.run(once(backend(server, shape, stream=stream)))
    assert marked == [True]


@pytest.mark.parametrize("shape", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("code", [400, 429, 503])
def test_an_error_in_an_answer_that_began_well_was_sent(shape: str, code: int) -> None:
    for kind in ("text", "nothing"):
        error, heard = answered(shape, stream_answer(shape, kind, "never", f"error {code}"), stream=True)
        assert isinstance(error, BackendError) and error.has_begun, error
        assert heard.sent
    body = {"error": {"code": code, "message": "no", "status": "RESOURCE_EXHAUSTED"}}
    with StubServer([Reply(body=body)]) as server:
        error, heard = ask(LiteLLM(MODELS[shape], api_base=server.url, api_key_env="LLMOPS_TEST_KEY"))
    assert heard.sent


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("nosuch/m", {}), ("gemini/gemini-2.5-flash", {"tool_choice": {"type": 7}, "reasoning_effort": "no such"})],
)
def test_what_litellm_refuses_itself_was_never_sent(model: str, parameters: dict[str, Any]) -> None:
    request = Request(ASK.messages, parameters=parameters)
    for stream in (False, True):
        with ProviderServer() as server:
            os.environ["LLMOPS_TEST_KEY"] = KEY
            made = LiteLLM(model, api_base=server.root, api_key_env="LLMOPS_TEST_KEY", stream=stream)
            error, heard = ask(made, request)
            assert server.count == 0 and isinstance(error, Exception)
        assert not heard.sent, error


def test_a_call_that_is_cancelled_while_litellm_is_imported_was_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> Any:
        importing = asyncio.Event()

        async def library() -> Any:
            importing.set()
            await asyncio.Event().wait()

        monkeypatch.setattr("llmops.backends.litellm._library", library)
        log, tracker = kept()
        task = asyncio.create_task(TrackedBackend(LiteLLM("openai/m"), tracker).complete(ASK))
        await importing.wait()
        task.cancel()
        await asyncio.wait([task])
        return log.only

    assert asyncio.run(story()).outcome == "unsent"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cancelling_closes_the_connection(shape: str, stream: bool) -> None:
    async def cancelled(server: ProviderServer) -> None:
        made = backend(server, shape, stream=stream)
        task = asyncio.create_task(made.complete(ASK))
        await asyncio.to_thread(server.wait_for, lambda s: s.active == 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_for, lambda s: s.served[0].outcome == "client_gone")
        await close_clients()

    with ProviderServer(default=Answer(ending="silence")) as server:
        asyncio.run(cancelled(server))


@pytest.mark.parametrize("shape", SHAPES)
def test_leaving_a_stream_early_closes_the_connection(shape: str) -> None:
    async def left(server: ProviderServer) -> None:
        made = backend(server, shape)
        async with contextlib.aclosing(made.stream(ASK)) as parts:
            async for part in parts:
                assert part == "Paris "
                break
        await asyncio.to_thread(server.wait_for, lambda s: s.served[0].outcome == "client_gone")
        await close_clients()

    with ProviderServer(default=Answer(pause_s=0.2, text="Paris " * 50)) as server:
        asyncio.run(left(server))


def test_what_goes_out() -> None:
    request = Request(
        ({"role": "user", "content": "Hi"},),
        parameters={"temperature": 0, "mock_response": "no", "num_retries": 3},
        tools=({"name": "look", "parameters": {"type": "object", "properties": {}}},),
        output_schema={"title": "A", "type": "object", "properties": {"a": {"type": "string"}}},
    )
    with ProviderServer() as server:
        found, _ = ask(backend(server, "openai", headers={"X-Team": "${LLMOPS_TEST_KEY}"}), request)
        seen = server.served[0]
    assert isinstance(found, Completion) and found.text == "Paris is it."
    assert seen.body["temperature"] == 0 and seen.body["model"] == "m"
    assert seen.body["tools"][0]["function"]["name"] == "look"
    assert seen.body["response_format"]["json_schema"]["name"] == "A"
    assert not {"mock_response", "num_retries", "no-log", "metadata"} & set(seen.body)
    headers = {name.lower(): value for name, value in seen.headers.items()}
    assert (headers["authorization"], headers["x-team"]) == (f"Bearer {KEY}", KEY)


def test_tool_calls_come_back() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Paris"}'}}
    for stream in (False, True):
        with StubServer([Reply(tool_calls=[call], finish_reason="tool_calls", pieces=[])]) as server:
            made = LiteLLM("hosted_vllm/m", api_base=server.url, stream=stream)
            found, _ = ask(made)
        assert isinstance(found, Completion)
        assert [(c.name, dict(c.arguments), c.id) for c in found.tool_calls] == [("look", {"city": "Paris"}, "c1")]


@pytest.mark.parametrize(
    ("model", "api_base", "provider"),
    [
        ("openai/gpt-4o", "http://localhost:8000/v1", "openai_compatible"),
        ("gpt-4o", "http://localhost:8000/v1", "openai_compatible"),
        ("azure/gpt-4o", "https://acme.openai.azure.com", "azure"),
        ("azure/gpt-4o", "http://gateway.example", "openai_compatible"),
        ("openai/gpt-4o", "https://api.openai.com/v1", "openai"),
        ("openai/llama", "https://api.groq.com/openai/v1", "groq"),
        ("ollama/llama3", "http://localhost:11434", "ollama"),
        ("anthropic/claude-haiku-4-5", "http://gateway.example", "openai_compatible"),
        ("gemini/gemini-2.5-pro", "http://gateway.example", "openai_compatible"),
        ("anthropic/claude-haiku-4-5", "https://api.anthropic.com", "anthropic"),
        ("anthropic/claude-haiku-4-5", "", "anthropic"),
    ],
)
def test_who_runs_the_server_follows_from_its_address(model: str, api_base: str, provider: str) -> None:
    made = LiteLLM(model, api_base=api_base)
    assert (made.provider or provider_of(made.base_url, kind_at_an_address(made.server_kind))) == provider


def test_identity_and_readiness() -> None:
    made = LiteLLM("anthropic/claude-haiku-4-5", options={"api_version": "1"}, headers={"X-Key": "${SECRET_X}"})
    assert made.provider == "anthropic"
    assert made.identity["model"] == "anthropic/claude-haiku-4-5" and "SECRET_X" not in str(made.identity)
    assert made.identity != LiteLLM("anthropic/claude-haiku-4-5").identity
    with pytest.raises(ConfigError, match="SECRET_X"):
        made.check_ready()
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        LiteLLM("openai/m", api_key_env="NO_SUCH_KEY").check_ready()
    for wrong in ({"options": {"api_key": "sk"}}, {"read_timeout_s": 0}, {"api_base": "ftp://x"}):
        with pytest.raises(InputError):
            LiteLLM("openai/m", **wrong)


def test_a_missing_key_is_a_mistake_in_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    error, heard = ask(LiteLLM("anthropic/claude-haiku-4-5", api_base="http://127.0.0.1:9"))
    assert type(error) is ConfigError and not heard.sent


def test_it_is_imported_late_and_offline() -> None:
    code = """
import sys, socket
from llmops.backends.litellm import LiteLLM, load
LiteLLM("openai/m", api_key_env="K")
assert "litellm" not in sys.modules
def no(*a, **k): raise AssertionError(f"a look-up: {a}")
socket.getaddrinfo = no
before = set(sys.modules)
litellm = load()
import threading, os
assert litellm.telemetry is False and not litellm.callbacks and not litellm.success_callback
assert [t.name for t in threading.enumerate() if t is not threading.main_thread()] == [], threading.enumerate()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), timeout=120
    )
    assert done.returncode == 0, done.stderr
