"""Triton's generate endpoints, against a stub that answers as NVIDIA documents them; no Triton server is run."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import pytest

from llmops.backends.openai_http import OpenAIHttp
from llmops.backends.triton import Triton
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
from provider_server import Answer, ProviderServer, wire
from stub_server import Reply, StubServer

ASK = Request(({"role": "user", "content": "Capital of France?"},))


def ask(made: Any, request: Request = ASK) -> Completion:
    async def once() -> Completion:
        try:
            return await made.complete(request)
        finally:
            await made.aclose()

    return asyncio.run(once())


@pytest.mark.parametrize("stream", [False, True])
def test_text_comes_back_and_tokens_are_estimated(stream: bool) -> None:
    with ProviderServer() as server:
        found = ask(Triton(server.root, stream=stream))
        assert server.served[0].path == f"/v2/models/ensemble/generate{'_stream' if stream else ''}"
        assert server.bodies == [{"text_input": "Capital of France?", "max_tokens": 256, "stream": stream}]
    assert (found.text, found.model) == ("Paris is it.", "ensemble")
    assert found.usage == Usage(9, 3, requests=1, certainty="estimated")
    assert found.latency_s is not None and (found.first_token_s is not None) == stream


def test_parameters_messages_and_model() -> None:
    request = Request(
        ({"role": "system", "content": "Be {content}."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}),
        model="llama/8b",
        parameters={"max_tokens": 5, "temperature": 0, "top_p": 0.9, "seed": 7, "stop": "\n", "stream": True},
    )
    turn = "<|{role}|>{content}<|end|>"
    with ProviderServer() as server:
        found = ask(Triton(f"{server.root}/", turn=turn, answer_starts="<|assistant|>"), request)
        assert server.served[0].path == "/v2/models/llama/8b/generate"  # aiohttp decodes %2F
        assert server.bodies[0] == {
            "text_input": "<|system|>Be {content}.<|end|><|user|>Hi<|end|><|assistant|>",
            "max_tokens": 5,
            "temperature": 0,
            "top_p": 0.9,
            "random_seed": 7,
            "stop_words": ["\n"],
            "stream": False,
        }
    assert found.model == "llama/8b"


def test_a_model_that_repeats_the_prompt() -> None:
    with ProviderServer(default=Answer(text=lambda body: body["text_input"] + " Paris")) as server:
        assert ask(Triton(server.root, strip_prompt=True)).text == " Paris"
        assert ask(Triton(server.root)).text == "Capital of France? Paris"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(status=400), RequestRejectedError),
        (Answer(status=404), RequestRejectedError),
        (Answer(status=500), BackendUnavailableError),
        (Answer(status=503, headers={"Retry-After": "3"}), RateLimitedError),
        (Answer(ending="reset"), BackendUnavailableError),
        (Answer(ending="silence"), BackendTimeoutError),
        (Answer(ending="cut", cut_at=100), BackendUnavailableError),
    ],
)
def test_failures(answer: Answer, kind: type[BackendError], stream: bool) -> None:
    with ProviderServer(default=answer) as server, pytest.raises(BackendError) as caught:
        ask(Triton(server.root, stream=stream, read_timeout_s=0.3 if answer.ending == "silence" else 60))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": "out of memory"}', BadResponseError),
        (b'{"text_output": 3}', BadResponseError),
        (b"[]", BadResponseError),
        (b"nothing", BadResponseError),
    ],
)
def test_answers_that_are_none(body: bytes, kind: type[BackendError]) -> None:
    with StubServer(default=Reply(body=body)) as server, pytest.raises(kind):
        ask(Triton(server.root))
    events = b'data: {"text_output": "Pa"}\n\ndata: ' + body + b"\n\n"
    with StubServer(default=Reply(body=events)) as server, pytest.raises(kind):
        ask(Triton(server.root, stream=True))


def test_a_stream_cut_at_any_byte_gives_a_beginning_of_the_text_and_no_exact_count() -> None:
    text = "Zürich it is"
    length = sum(map(len, wire("triton", Answer(text=text), stream=True, path="/models/ensemble/")))

    async def every(server: ProviderServer) -> list[Completion | BackendError]:
        made = Triton(server.root, stream=True)
        found: list[Completion | BackendError] = []
        for at in range(length):
            try:
                found.append(await made.complete(Request(ASK.messages, parameters={"cut": at})))
            except BackendError as error:
                found.append(error)
        await made.aclose()
        return found

    for ending in ("cut", "short"):
        script = lambda body, _, ending=ending: Answer(text=text, ending=ending, cut_at=body["cut"])  # noqa: E731
        with ProviderServer(script) as server:
            for outcome in asyncio.run(every(server)):
                if isinstance(outcome, Completion):
                    assert ending == "short" and text.startswith(outcome.text)
                    assert outcome.usage.certainty == "estimated"
                else:
                    assert outcome.retryable


def test_leaving_a_stream_closes_it_and_marks_the_request_as_sent() -> None:
    class Heard:
        sent = False

    async def left(server: ProviderServer) -> None:
        heard = Heard()
        SENDING.set(heard)
        made = Triton(server.root)
        async with contextlib.aclosing(made.stream(ASK)) as parts:
            async for part in parts:
                assert part == "Paris "
                break
        assert heard.sent
        await asyncio.to_thread(server.wait_for, lambda s: s.served[0].outcome == "client_gone")
        await made.aclose()

    with ProviderServer(default=Answer(pause_s=0.2, text="Paris " * 50)) as server:
        asyncio.run(left(server))


def test_what_it_cannot_do_and_what_is_wrong() -> None:
    tools = Request(ASK.messages, tools=({"name": "look"},))
    for request in (tools, Request(ASK.messages, output_schema={}), Request(ASK.messages, parameters={"a": {1}})):
        with pytest.raises(RequestRejectedError):
            ask(Triton("http://127.0.0.1:9"), request)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY_HERE"):
        Triton("http://127.0.0.1:9", api_key_env="NO_SUCH_KEY_HERE").check_ready()
    for wrong in ({"base_url": "h:8000"}, {"turn": "x"}, {"max_tokens": 0}, {"read_timeout_s": 0}):
        with pytest.raises(InputError):
            Triton(**{"base_url": "http://127.0.0.1:9", **wrong})


def test_its_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_KEY_OF_TEST", "sk-triton-123456")
    made = Triton
    script = lambda body, _: Answer(status=400)  # noqa: E731
    with ProviderServer(script) as server:
        with pytest.raises(RequestRejectedError) as caught:
            ask(made(server.root, api_key_env="TRITON_KEY_OF_TEST"))
        assert server.served[0].headers["Authorization"] == "Bearer sk-triton-123456"
        assert "sk-triton" not in str(caught.value)
        assert "sk-triton" not in str(made(server.root, api_key_env="TRITON_KEY_OF_TEST").identity)
    assert os.environ["TRITON_KEY_OF_TEST"]


@pytest.mark.parametrize("stream", [False, True])
def test_trtllm_serve_is_openai_compatible(stream: bool) -> None:
    """What `trtllm-serve` answers: a null `prompt_tokens_details`, ids of its own."""
    usage = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16, "prompt_tokens_details": None}
    answer = Answer(usage=usage, id="chatcmpl-1f9c", model="TinyLlama-1.1B-Chat-v1.0", finish_reason="length")
    with ProviderServer(default=answer) as server:
        found = ask(OpenAIHttp(server.root, model="TinyLlama-1.1B-Chat-v1.0", stream=stream))
        assert server.served[0].path == "/v1/chat/completions"
    assert found.usage == Usage(12, 4, requests=1, certainty="exact")
    assert (found.response_id, found.model, found.finish_reason) == (
        "chatcmpl-1f9c",
        "TinyLlama-1.1B-Chat-v1.0",
        "length",
    )
