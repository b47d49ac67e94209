"""Streams that end early, at every byte: a whole answer with its own count, or no count that looks like one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.openai_http import OpenAIHttp
from llmops.backends.streamed_completion import StreamedCompletion
from llmops.errors import BackendError, BackendUnavailableError
from llmops.http.client import SENDING
from llmops.types import Completion, Request, Usage
from provider_server import Answer, Ending, ProviderServer, Tokens, wire

TOKENS = Tokens(11, 7, cache_read=5)
TEXT = "Zürich it is"
WHOLE = Answer(text=TEXT, usage=TOKENS, id="x", model="m")
ASKS = {"model": "m", "stream_options": {"include_usage": True}}
COUNTED = Usage(11, 7, 5, requests=1, certainty="exact")
LENGTH = sum(map(len, wire("openai", WHOLE, ASKS, "x", stream=True)))
END_OF_USAGE = LENGTH - len(b"data: [DONE]\n\n")
END_OF_ANSWER = sum(map(len, wire("openai", WHOLE, {"model": "m"}, "x", stream=True))) - len(b"data: [DONE]\n\n")


class Heard:
    """What stands where a tracked call does."""

    def __init__(self) -> None:
        self.sent = False
        self.text = ""
        self.usage: Usage | None = None

    def received(self, text: str) -> None:
        self.text += text

    def counted(self, usage: Usage) -> None:
        self.usage = usage


def every_offset(ending: Ending) -> list[tuple[int, Completion | BackendError, Heard]]:
    """What becomes of the same stream that ends after each of its bytes."""

    def decide(body: Mapping[str, Any], _: int) -> Answer:
        return Answer(text=TEXT, usage=TOKENS, id="x", model="m", ending=ending, cut_at=int(body["seed"]))

    async def ask(backend: OpenAIHttp, at: int) -> tuple[int, Completion | BackendError, Heard]:
        heard = Heard()
        SENDING.set(heard)  # in a task of its own
        request = Request(({"role": "user", "content": "Where?"},), parameters={"seed": at})
        try:
            return at, await backend.complete(request), heard
        except BackendError as error:
            return at, error, heard

    async def all_of_them(url: str) -> list[tuple[int, Completion | BackendError, Heard]]:
        backend = OpenAIHttp(url, model="m", stream=True)
        found = []
        for start in range(0, LENGTH, 50):
            some = range(start, min(start + 50, LENGTH))
            found += await asyncio.gather(*(asyncio.create_task(ask(backend, at)) for at in some))
        await backend.aclose()
        return found

    with ProviderServer(decide) as server:
        found = asyncio.run(all_of_them(server.url))
        assert server.count == LENGTH
    return found


def test_a_connection_cut_at_any_byte_is_an_error_until_the_usage_is_here() -> None:
    for at, outcome, heard in every_offset("cut"):
        assert heard.sent and TEXT.startswith(heard.text)
        if at >= END_OF_USAGE:
            assert isinstance(outcome, Completion), at
            assert (outcome.text, outcome.usage, outcome.response_id) == (TEXT, COUNTED, "x")
        else:
            assert isinstance(outcome, BackendUnavailableError), at
            assert heard.usage in (None, COUNTED)


def test_a_stream_ended_at_any_byte_is_never_counted_wrong() -> None:
    for at, outcome, heard in every_offset("short"):
        if at >= END_OF_USAGE - 2:  # the last event's blank line may be missing
            assert isinstance(outcome, Completion), at
            assert (outcome.text, outcome.usage) == (TEXT, COUNTED)
        elif at >= END_OF_ANSWER - 2:
            assert isinstance(outcome, Completion), at
            assert (outcome.text, outcome.usage) == (TEXT, Usage(requests=1, certainty="unknown"))
        else:
            assert isinstance(outcome, BackendError) and outcome.retryable, at
            assert heard.usage is None and TEXT.startswith(heard.text)


def chunk(usage: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": finish}
    return json.dumps({"id": "r1", "choices": [choice], "usage": usage, **more}).encode()


def told(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.booleans(), st.integers(0, 6))
def test_a_count_so_far_is_never_exact(counts: list[int], ends: bool, cut: int) -> None:
    """A server that counts in every chunk, as vLLM does on request."""
    events = [chunk(told(9, n)) for n in counts[:-1]]
    events.append(chunk(told(9, counts[-1]), "stop"))
    built = StreamedCompletion("u", "m")
    for event in events if ends else events[:cut]:
        built.add(event)
    if ends:
        built.add(b"[DONE]")
    if ends or cut >= len(events):
        assert built.completion(1.0, None).usage == Usage(9, counts[-1], requests=1, certainty="exact")
    elif cut:
        assert built.usage == Usage(9, counts[cut - 1], requests=1, certainty="estimated")
        with pytest.raises(BackendUnavailableError):
            built.completion(1.0, None)
    else:
        assert built.usage.certainty == "unknown"


def test_usage_that_came_before_the_end_counts_when_the_end_mark_did() -> None:
    built = StreamedCompletion("u", "m")
    last = {"id": "r1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    for event in (chunk(told(9, 3)), json.dumps(last).encode()):
        built.add(event)
    assert built.completion(1.0, None).usage.certainty == "estimated"
    built.add(b"[DONE]")
    assert built.completion(1.0, None).usage == Usage(9, 3, requests=1, certainty="exact")


@pytest.mark.parametrize("delta", [{"content": "a" * 40}, {"reasoning_content": "a" * 40}])
def test_usage_that_more_of_the_answer_came_after_is_an_estimate_of_no_less_than_came(delta: dict[str, str]) -> None:
    built = StreamedCompletion("u", "m")
    last = {"id": "r1", "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}
    for event in (chunk(told(9, 1)), json.dumps(last).encode(), b"[DONE]"):
        built.add(event)
    assert built.completion(1.0, None).usage == Usage(9, 11, requests=1, certainty="estimated")


def test_id_tier_and_cost_of_a_stream() -> None:
    answer = Answer(id="gen-7", service_tier="flex", cost="0.0000125")
    with ProviderServer(default=answer) as server:

        async def once(stream: bool) -> Completion:
            backend = OpenAIHttp(server.url, model="m", stream=stream)
            try:
                return await backend.complete(Request(({"role": "user", "content": "Hi"},)))
            finally:
                await backend.aclose()

        for stream in (True, False):
            found = asyncio.run(once(stream))
            assert (found.response_id, found.service_tier, found.reported_cost) == ("gen-7", "flex", 12_500)
