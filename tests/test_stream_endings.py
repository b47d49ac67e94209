"""Each way in × each way a stream ends × usage told or not: no row says more, or less, than what is known."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from budget_fakes import MemoryLog, Prices
from kept_calls import NoPrices, kept
from litellm_leftovers import ITS_WARNINGS, NEEDS_LITELLM, close_clients, forget
from llmops.backends.openai_http import OpenAIHttp
from llmops.errors import BudgetExceededError
from llmops.integrations.afterwards import AFTERWARDS
from llmops.token_usage.estimating import text_tokens
from llmops.types import Call, Hold, Request
from llmops.usage.budget_rules import parse_budgets
from llmops.usage.budgets import Budgets, amount_used
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker
from provider_server import Answer, ProviderServer
from stream_endings import CASES, INPUT, OUTPUT, PIECE, PIECES, answer

pytestmark = ITS_WARNINGS
SAID = ({"role": "user", "content": "Where is the Louvre?"},)
MODELS = {
    "openai": ("openai/m", "/v1"),
    "anthropic": ("anthropic/claude-haiku-4-5", ""),
    "gemini": ("gemini/gemini-2.5-flash", "/v1beta"),
}
WORST = 5000
FEW = 3
Pieces = AsyncIterator[Any]
Way = Callable[[ProviderServer, Tracker], Callable[[], Pieces]]


def over_http(server: ProviderServer, tracker: Tracker) -> Callable[[], Pieces]:
    return _of_backend(OpenAIHttp(server.url, model="m"), tracker)


def by_litellm(shape: str) -> Way:
    def opened(server: ProviderServer, tracker: Tracker) -> Callable[[], Pieces]:
        from llmops.backends.litellm import LiteLLM

        model, path = MODELS[shape]
        return _of_backend(LiteLLM(model, api_base=server.root + path, api_key_env="LLMOPS_TEST_KEY"), tracker)

    return opened


def _of_backend(backend: Any, tracker: Tracker) -> Callable[[], Pieces]:
    made = TrackedBackend(backend, tracker, provider="p")
    return lambda: made.stream(Request(SAID, parameters={"max_tokens": 100}))


def by_openai(server: ProviderServer, tracker: Tracker) -> Callable[[], Pieces]:
    openai = pytest.importorskip("openai")
    from llmops.integrations.openai import tracked

    async def pieces() -> Pieces:
        async with tracked(
            openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0), tracker=tracker
        ) as client:
            stream = await client.chat.completions.create(model="m", messages=list(SAID), stream=True, max_tokens=100)
            async with stream:
                async for chunk in stream:
                    yield chunk

    return pieces


def by_callbacks(shape: str, *, sync: bool = False) -> Way:
    def opened(server: ProviderServer, tracker: Tracker) -> Callable[[], Pieces]:
        import litellm

        from llmops.integrations.litellm import CallLogger

        litellm.suppress_debug_info = True
        for name in dir(litellm):
            if name.endswith(("callback", "callbacks")) and isinstance(getattr(litellm, name), list):
                getattr(litellm, name).clear()
        litellm.callbacks.append(CallLogger(tracker=tracker))
        model, path = MODELS[shape]
        asked: dict[str, Any] = {
            "model": model,
            "api_base": server.root + path,
            "api_key": "x",
            "max_retries": 0,
            "max_tokens": 100,
        }

        async def pieces() -> Pieces:
            stream = await litellm.acompletion(**asked, messages=list(SAID), stream=True)
            async with contextlib.aclosing(stream):
                async for chunk in stream:
                    yield chunk

        async def pieces_in_a_thread() -> Pieces:
            stream = await asyncio.to_thread(litellm.completion, **asked, messages=list(SAID), stream=True)
            while (chunk := await asyncio.to_thread(next, stream, None)) is not None:
                yield chunk

        return pieces_in_a_thread if sync else pieces

    return opened


WAYS: dict[str, tuple[str, Way]] = {
    "openai_http": ("openai", over_http),
    "openai client": ("openai", by_openai),
    **{f"litellm {shape}": (shape, by_litellm(shape)) for shape in MODELS},
    **{f"CallLogger {shape}": (shape, by_callbacks(shape)) for shape in MODELS},
    **{f"CallLogger sync {shape}": (shape, by_callbacks(shape, sync=True)) for shape in MODELS},
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LLMOPS_TEST_KEY", "sk-loopback")
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_OFFLINE_MODE="true")
    yield
    forget()


async def _read(server: ProviderServer, pieces: Pieces, kind: str, end: str) -> None:
    """Read to the end, leave after `FEW` pieces, or be cancelled while the rest is waited for."""
    got = 0
    has_few = asyncio.Event()

    async def read() -> None:
        nonlocal got
        async with contextlib.aclosing(pieces) as open_pieces:  # type: ignore[type-var]
            async for _ in open_pieces:
                got += 1
                if got == FEW:
                    has_few.set()
                    if end == "left":
                        return

    task = asyncio.create_task(read())
    if end == "cancelled":
        if kind == "nothing":
            await asyncio.to_thread(server.wait_for, lambda s: s.count and s.served[-1].outcome == "silence")
        else:
            await asyncio.wait_for(has_few.wait(), 30)
        task.cancel()
    await asyncio.wait([task], timeout=30)
    assert task.done()
    if not task.cancelled():
        task.exception()


def check(call: Call, kind: str, told: str, end: str, *, tokenized: bool) -> None:
    """`tokenized` says that litellm's own tokenizer estimates, which makes fewer tokens of these words."""
    pieces = 0 if kind == "nothing" else FEW if end in ("left", "cancelled") else PIECES
    came = text_tokens(PIECE * pieces) * 3 // 4 if tokenized else text_tokens(PIECE * pieces)
    assert call.outcome != "unsent", "the server was asked"
    used = amount_used(Hold("w", "tokens", 10**6, WORST, hard=True), call)
    if end == "refused":
        assert (call.state, call.usage.total_tokens, used) == ("settled", 0, 0)
        return
    if call.state == "settled":
        assert (told, end) == ("end", "stop"), "nobody told the whole"
        assert (call.usage.input_tokens, call.usage.output_tokens) == (INPUT, OUTPUT)
        assert used == INPUT + OUTPUT
        return
    assert used >= WORST
    if call.state == "estimated":
        assert call.usage.input_tokens > 0
        assert call.usage.output_tokens >= came, "less than was received"


@pytest.mark.parametrize("way", [pytest.param(w, marks=NEEDS_LITELLM if "http" not in w else ()) for w in WAYS])
def test_no_row_says_more_than_is_known(way: str) -> None:
    shape, opened = WAYS[way]
    wrong: list[str] = []
    script: list[Answer] = []
    with ProviderServer(lambda body, number: script[-1]) as server:
        for case in CASES:
            kind, told, end = case
            if "sync" in way and end == "cancelled":  # a thread can't be
                continue
            script.append(answer(shape, kind, told, end))
            before = server.count
            log, tracker = kept()

            async def story(case: Any = case, tracker: Tracker = tracker) -> None:
                await _read(server, opened(server, tracker)(), case[0], case[2])
                await close_clients()

            asyncio.run(story())
            if way.startswith("CallLogger"):
                from llmops.integrations.litellm import flush

                flush(10)
            AFTERWARDS.wait()
            tracker.settle_lost()
            try:
                assert server.count == before + 1 and len(log.calls) == 1, (server.count - before, log.calls)
                check(log.only, kind, told, end, tokenized=way.startswith("CallLogger"))
            except AssertionError as error:
                made = [(c.outcome, c.state, c.usage.input_tokens, c.usage.output_tokens, c.error) for c in log.calls]
                wrong.append(f"{case}: {made}: {str(error).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("way", [pytest.param(w, marks=NEEDS_LITELLM if "http" not in w else ()) for w in WAYS])
def test_a_hard_budget_holds_for_streams_that_end_in_errors(way: str) -> None:
    """One after another in one task: each has its row, and the server counts no more than the limit."""
    shape, opened = WAYS[way]
    limit, most_a_call = 2000, 300 + text_tokens(PIECE * PIECES)  # the prompt has far fewer than 300 tokens
    ends = ["error 400", "error 429", "error 503", "cut"] * 4
    told = "never"
    rules = parse_budgets([{"limit": f"{limit} tokens", "per": "total"}])
    log = MemoryLog()
    tracker = Tracker(log, NoPrices(), budgets=Budgets(rules, Prices(), patience_s=0))

    async def story(server: ProviderServer) -> int:
        refused = 0
        ask = opened(server, tracker)
        for _ in ends:
            try:
                async with contextlib.aclosing(ask()) as pieces:  # type: ignore[type-var]
                    async for _piece in pieces:
                        pass
            except BudgetExceededError:
                refused += 1
            except Exception as error:
                assert "budget" not in str(error), error
        await close_clients()
        return refused

    with ProviderServer(lambda body, number: answer(shape, "text", told, ends[number])) as server:
        refused = asyncio.run(story(server))
        if way.startswith("CallLogger"):
            from llmops.integrations.litellm import flush

            flush(10)
    assert len(log.calls) == server.count
    if "sync" not in way:  # there litellm swallows what a callback raises
        assert server.count + refused == len(ends) and refused
        assert server.count * most_a_call <= limit
    assert all(call.state in ("estimated", "unknown") for call in log.calls.values())
