"""What is promised of the call log, against a server that counts for itself: no request goes missing, no count is made
up, no price that isn't known is zero.

Each test is a way in which trackers of tokens and costs have been wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import clean_environment
from litellm_leftovers import ITS_WARNINGS, NEEDS_LITELLM, close_clients, forget
from llmops.attribution import ATTEMPT, Attempt, attributed, track
from llmops.backends.fallback import Fallback
from llmops.backends.openai_http import OpenAIHttp
from llmops.backends.triton import Triton
from llmops.errors import BackendError
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.types import Backend, Build, Call, CallText, Completion, Request, Usage
from llmops.usage.price_book import PriceBook
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker
from provider_server import Answer, ProviderServer, Tokens

PRICES = {"models": [{"model": "m", "input": 1, "output": 2, "cache_read": 0.1, "cache_write": 1.25}]}
Work = Callable[[TrackedBackend], Awaitable[Any]]


def asked(text: str = "Capital of France?", model: str = "") -> Request:
    return Request(({"role": "user", "content": text},), model)


def tracker_in(folder: Path, sinks: tuple[Any, ...] = ()) -> Tracker:
    prices = PriceBook.load(None, PRICES, genai=False, litellm=False)
    return Tracker(open_call_log(folder / "calls.db"), prices, sinks=sinks)


def rows_of(
    folder: Path, work: Work, inner: Callable[[], Backend], *, name: str = "local", sinks: tuple[Any, ...] = ()
) -> list[Call]:
    """The rows of the log after `work` was done with a tracked backend, oldest first."""
    tracker = tracker_in(folder, sinks)

    async def go() -> None:
        made: Any = inner()
        try:
            await work(TrackedBackend(made, tracker, name=name, provider="vllm"))
        finally:
            await made.aclose()

    asyncio.run(go())
    tracker.close()
    return kept(folder)


def kept(folder: Path) -> list[Call]:
    with Calls.open(folder / "calls.db") as calls:
        return list(calls.rows())


def over_http(server: ProviderServer, **options: Any) -> Callable[[], Backend]:
    return lambda: OpenAIHttp(server.url, model="m", **options)


def one_row(folder: Path, work: Work, answer: Answer, **options: Any) -> tuple[Call, ProviderServer]:
    with ProviderServer(default=answer) as server:
        [row] = rows_of(folder, work, over_http(server, **options))
        assert server.count == 1
    return row, server


async def complete(backend: TrackedBackend) -> Completion:
    return await backend.complete(asked())


async def read_all(backend: TrackedBackend) -> list[Any]:
    return [part async for part in backend.stream(asked())]


@pytest.mark.parametrize("work", [complete, read_all])
def test_a_settled_row_is_what_the_server_counted(tmp_path: Path, work: Work) -> None:
    tokens = Tokens(100, 20, cache_read=60, reasoning=5)
    row, server = one_row(tmp_path, work, Answer(usage=tokens, id="r-1", service_tier="default"))
    assert (row.outcome, row.state, row.finish_reason, row.response_id) == ("success", "settled", "stop", "r-1")
    assert row.usage.input_tokens == server.claimed().input and row.usage.output_tokens == server.claimed().output
    assert (row.usage.cache_read_tokens, row.usage.reasoning_tokens, row.usage.certainty) == (60, 5, "exact")
    assert row.cost is not None and row.cost.total == (40 * 1000 + 60 * 100 + 20 * 2000)  # cached ones counted once
    assert (row.first_token_s is not None) == (work is read_all)
    assert row.first_token_s is None or row.duration_s is None or row.first_token_s <= row.duration_s


def test_a_stream_asks_for_its_usage(tmp_path: Path) -> None:
    row, server = one_row(tmp_path, read_all, Answer(usage=Tokens(11, 7)))
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    assert (row.usage.input_tokens, row.usage.output_tokens, row.state) == (11, 7, "settled")


@pytest.mark.parametrize("work", [complete, read_all])
def test_what_the_server_did_not_count_is_marked_as_an_estimate(tmp_path: Path, work: Work) -> None:
    row, _ = one_row(tmp_path, work, Answer(usage=None))
    assert (row.outcome, row.state, row.usage.certainty) == ("success", "estimated", "estimated")
    assert row.usage.input_tokens > 0 and row.usage.output_tokens > 0
    assert row.cost is not None and row.cost.certainty == "estimated" and row.cost.total > 0


def test_an_unknown_model_has_no_price_and_is_counted_as_such(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        completion = await backend.complete(asked(model="my-slm"))
        assert (completion.usage.cost, completion.usage.unpriced) == (None, 1)

    row, _ = one_row(tmp_path, work, Answer())
    assert row.cost is None and row.state == "settled"
    with Calls.open(tmp_path / "calls.db") as calls:
        [total] = calls.totals()
    assert (total.unpriced, total.cost_exact, total.cost_estimated) == (1, 0, 0)


def test_what_the_provider_reports_is_the_cost(tmp_path: Path) -> None:
    for number, work in enumerate((complete, read_all)):
        folder = tmp_path / str(number)
        folder.mkdir()
        row, _ = one_row(folder, work, Answer(cost="0.00012345"))
        assert row.cost is not None and (row.cost.total, row.cost.source) == (123_450, "reported")


def test_counts_that_contradict_each_other_are_no_exact_row(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 90}}
    row, _ = one_row(tmp_path, complete, Answer(usage=usage))
    assert (row.state, row.usage.input_tokens, row.usage.cache_read_tokens) == ("estimated", 10, 10)


@pytest.mark.parametrize("way", ["aclose", "break"])
def test_a_stream_that_is_left_keeps_its_row(tmp_path: Path, way: str) -> None:
    async def work(backend: TrackedBackend) -> None:
        parts = backend.stream(asked())
        async for part in parts:
            assert part == "Paris "
            break
        if way == "aclose":
            await parts.aclose()
        else:
            del parts
            gc.collect()

    row, server = one_row(tmp_path, work, Answer(pause_s=0.05, text="Paris " * 40))
    assert (row.outcome, row.state) == ("abandoned", "estimated")
    assert row.usage.output_tokens > 0 and row.usage.input_tokens > 0
    assert server.served[0].outcome == "client_gone"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_cancelled_keeps_its_row(tmp_path: Path, stream: bool) -> None:
    async def work(backend: TrackedBackend) -> None:
        task = asyncio.create_task(backend.complete(asked()))
        await asyncio.to_thread(server.wait_for, lambda s: s.active == 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with ProviderServer(default=Answer(ending="silence")) as server:
        [row] = rows_of(tmp_path, work, over_http(server, stream=stream))
    assert (row.outcome, row.state, row.cost) == ("cancelled", "unknown", None)


def test_time_that_is_over_is_a_row_too(tmp_path: Path) -> None:
    async def given_up(backend: TrackedBackend) -> None:
        with pytest.raises(TimeoutError):
            async with server.patience():
                await backend.complete(asked())

    async def silent(backend: TrackedBackend) -> None:
        with pytest.raises(BackendError):
            await backend.complete(asked())

    for number, (work, options, outcome) in enumerate(
        ((given_up, {}, "cancelled"), (silent, {"read_timeout_s": 0.2}, "timeout"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ProviderServer(default=Answer(ending="silence")) as server:
            [row] = rows_of(folder, work, over_http(server, **options))
            assert server.count == 1
        assert (row.outcome, row.state) == (outcome, "unknown")


def test_half_of_a_stream_is_not_recorded_as_nothing(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        with pytest.raises(BackendError):
            await read_all(backend)

    row, _ = one_row(tmp_path, work, Answer(text="Paris is the capital.", ending="cut", cut_at=600))
    assert (row.outcome, row.state, row.error) == ("error", "estimated", "backend_unavailable")
    assert row.usage.input_tokens > 0 and row.usage.output_tokens > 0


def test_half_of_a_stream_that_is_waited_for_whole_is_estimated_too(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        with pytest.raises(BackendError):
            await backend.complete(asked())

    row, _ = one_row(tmp_path, work, Answer(text="Paris is the capital.", ending="cut", cut_at=600), stream=True)
    assert (row.outcome, row.state) == ("error", "estimated")
    assert row.usage.output_tokens > 0


def test_ids_that_servers_repeat_lose_no_rows(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        await asyncio.gather(*(backend.complete(asked(str(n))) for n in range(40)))

    with ProviderServer(default=Answer(id="chatcmpl-0", usage=Tokens(11, 7))) as server:
        rows = rows_of(tmp_path, work, over_http(server))
        assert len(rows) == server.count == 40
    assert {row.response_id for row in rows} == {"chatcmpl-0"} and len({row.id for row in rows}) == 40
    assert sum(row.usage.input_tokens for row in rows) == server.claimed().input


def test_totals_are_whole_once_flushed_whatever_the_loop_does(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        await asyncio.gather(*(backend.complete(asked(str(n))) for n in range(300)))
        assert backend.tracker is not None
        await asyncio.to_thread(backend.tracker.flush)
        with Calls.open(tmp_path / "calls.db") as calls:
            [total] = calls.totals()
        assert (total.requests, total.pending, total.input_tokens) == (300, 0, 300 * 11)

    with ProviderServer() as server:
        assert len(rows_of(tmp_path, work, over_http(server))) == server.count == 300


def test_an_exporter_that_fails_loses_nothing(tmp_path: Path) -> None:
    class Broken:
        told = 0

        def record(self, call: Call, text: CallText | None) -> None:
            self.told += 1
            raise RuntimeError("broken")

    broken = Broken()
    with ProviderServer() as server:
        [row] = rows_of(tmp_path, complete, over_http(server), sinks=(broken,))
    assert row.state == "settled" and broken.told == 1


def test_whom_a_call_is_for_stays_with_it(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        async def for_user(user: str) -> None:
            with track(team="search", user=user, app_run="r1"), attributed(purpose="judge"):
                await backend.complete(asked(user))

        await asyncio.gather(*(for_user(f"u{n}") for n in range(20)))

    with ProviderServer() as server:
        rows = rows_of(tmp_path, work, over_http(server))
    assert sorted(row.attribution.user for row in rows) == sorted(f"u{n}" for n in range(20))
    assert {(r.attribution.team, r.attribution.purpose, r.attribution.tags) for r in rows} == {
        ("search", "judge", (("app_run", "r1"),))
    }


def test_a_request_that_never_left_is_told_apart(tmp_path: Path) -> None:
    async def work(backend: TrackedBackend) -> None:
        with pytest.raises(BackendError):
            await backend.complete(asked())

    with ProviderServer() as server:
        pass
    [row] = rows_of(tmp_path, work, over_http(server))
    assert (row.outcome, row.usage.total_tokens, row.cost) == ("unsent", 0, None)


def test_every_attempt_is_a_row(tmp_path: Path) -> None:
    script = [Answer(status=429), Answer(ending="reset"), Answer(usage=Tokens(9, 3))]

    async def work(backend: TrackedBackend) -> None:
        for number in (1, 2, 3):
            ATTEMPT.set(Attempt(number))
            with contextlib.suppress(BackendError):
                await backend.complete(asked())

    with ProviderServer(script) as server:
        rows = rows_of(tmp_path, work, over_http(server))
        assert server.count == 3
    assert [(row.attempt, row.outcome, row.error) for row in rows] == [
        (1, "error", "rate_limited"),
        (2, "error", "backend_unavailable"),
        (3, "success", ""),
    ]
    assert [row.state for row in rows] == ["settled", "unknown", "settled"]
    assert sum(row.usage.total_tokens for row in rows) == 12


def test_a_fallback_is_two_rows_and_says_whom_it_took_over_from(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)

    async def go(first: str, second: str) -> None:
        inner = {"local": OpenAIHttp(first, model="m"), "hosted": OpenAIHttp(second, model="m")}
        named = {name: TrackedBackend(made, tracker, name=name) for name, made in inner.items()}
        build = Build(Path(), lambda _: None, lambda form: named[form])  # type: ignore[arg-type, return-value]
        made = Fallback(build, ["local", "hosted"])
        assert (await made.complete(asked())).backend == "hosted"
        parts = [part async for part in made.stream(asked())]
        assert isinstance(parts[-1], Completion) and parts[-1].backend == "hosted"
        await made.aclose()

    with ProviderServer(default=Answer(status=503)) as first, ProviderServer() as second:
        asyncio.run(go(first.url, second.url))
        assert (first.count, second.count) == (2, 2)
    tracker.close()
    rows = kept(tmp_path)
    assert Counter((row.backend, row.outcome, row.attribution.fallback_from) for row in rows) == {
        ("local", "error", ""): 2,
        ("hosted", "success", "local"): 2,
    }


def test_triton_counts_nothing_so_we_estimate_and_say_so(tmp_path: Path) -> None:
    with ProviderServer() as server:
        [row] = rows_of(tmp_path, complete, lambda: Triton(server.root, model="m"))
    assert (row.outcome, row.state, row.usage.certainty) == ("success", "estimated", "estimated")


FATES: Mapping[str, Answer] = {
    "whole": Answer(usage=Tokens(50, 20, 30)),
    "slow": Answer(usage=Tokens(40, 10), latency_s=0.02, pause_s=0.002),
    "uncounted": Answer(usage=None),
    "repeated": Answer(usage=Tokens(7, 3), id="again"),
    "busy": Answer(status=429),
    "broken": Answer(status=500),
    "crash": Answer(ending="reset"),
    "cut": Answer(usage=Tokens(60, 30), ending="cut", cut_at=420),
    "cut late": Answer(usage=Tokens(60, 30), ending="cut", cut_at=900),
    "short": Answer(usage=Tokens(60, 30), ending="short", cut_at=700),
    "silence": Answer(ending="silence"),
}


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_every_request_has_one_row_and_settled_rows_are_what_the_server_counted(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    calls = [(f"{rng.choice(sorted(FATES))}/{n}", rng.choice("csax"), rng.uniform(0, 0.5)) for n in range(250)]

    async def one(backend: TrackedBackend, text: str, way: str, delay: float) -> None:
        with track(user=text), contextlib.suppress(BackendError, TimeoutError):
            async with asyncio.timeout(delay if way == "x" or text.startswith("silence") else None):
                if way in "cx":
                    await backend.complete(asked(text))
                    return
                async with contextlib.aclosing(backend.stream(asked(text))) as parts:
                    async for _ in parts:
                        if way == "a":
                            return

    async def work(backend: TrackedBackend) -> None:
        await asyncio.gather(*(one(backend, *call) for call in calls))

    with ProviderServer(lambda body, _: FATES[body["messages"][-1]["content"].partition("/")[0]]) as server:
        rows = rows_of(tmp_path, work, over_http(server))
        served = {seen.prompt: seen for seen in server.served if seen.body is not None}
    by_user = {row.attribution.user: row for row in rows}
    assert len(rows) == len(calls) == len(by_user)
    assert all(row.outcome != "pending" for row in rows)
    seen = set(served)
    assert seen <= {user for user, row in by_user.items() if row.outcome != "unsent"}, "a request has no row"
    given_up = {user for user, row in by_user.items() if row.outcome in ("cancelled", "timeout", "abandoned")}
    assert {user for user, row in by_user.items() if row.outcome != "unsent"} - seen <= given_up
    for user, row in by_user.items():
        if row.state != "settled" or row.outcome == "unsent":
            continue
        if row.outcome == "success":
            claimed = served[user].answer.usage  # type: ignore[union-attr]
            assert isinstance(claimed, Tokens)
            assert (row.usage.input_tokens, row.usage.output_tokens) == (claimed.input, claimed.output), row
        else:
            assert row.usage.total_tokens == 0 and served[user].outcome == "refused", row
    outcomes = Counter(row.outcome for row in rows)
    assert outcomes["success"] > 30 and outcomes["error"] > 30 and outcomes["cancelled"] + outcomes["unsent"] > 20
    with Calls.open(tmp_path / "calls.db") as log:
        [total] = log.totals()
    assert total.requests == len(rows)
    assert total.input_tokens == sum(row.usage.input_tokens for row in rows)
    assert total.cost_exact + total.cost_estimated == sum(row.cost.total for row in rows if row.cost is not None)


KILLED = """
import asyncio, sys
from llmops.backends.openai_http import OpenAIHttp
from llmops.store.call_log import open_call_log
from llmops.types import Request
from llmops.usage.price_book import PriceBook
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker

tracker = Tracker(open_call_log(sys.argv[1]), PriceBook.load(None, {"models": []}, genai=False, litellm=False))
backend = TrackedBackend(OpenAIHttp(sys.argv[2], model="m"), tracker, name="local")

async def main():
    texts = [f"{kind}/{n}" for n in range(20) for kind in ("whole", "silence")]
    await asyncio.gather(*(backend.complete(Request(({"role": "user", "content": t},))) for t in texts))

asyncio.run(main())
"""


def test_a_client_that_is_killed_leaves_a_row_for_every_request_the_server_saw(tmp_path: Path) -> None:
    location = tmp_path / "calls.db"
    script = lambda body, _: FATES[body["messages"][-1]["content"].partition("/")[0]]  # noqa: E731
    with ProviderServer(script) as server:
        client = subprocess.Popen([sys.executable, "-c", KILLED, str(location), server.url], env=clean_environment())
        try:
            server.wait_for(lambda s: sum(seen.outcome in ("answered", "silence") for seen in s.served) == 40, 60)
        finally:
            os.kill(client.pid, signal.SIGKILL)
            client.wait(30)
        assert server.count == 40
    with Calls.open(location) as calls:
        before = Counter(row.state for row in calls.rows())
        assert sum(before.values()) == 40 and before["pending"] >= 20
        calls.settle_dead()
        rows = list(calls.rows())
    assert len(rows) == 40 and all(row.state in ("settled", "unknown") for row in rows)
    counted = Usage(50, 20, 30, requests=1, certainty="exact", unpriced=1)
    assert all(row.usage == counted for row in rows if row.state == "settled")


PROVIDERS = {
    "anthropic": ("anthropic/claude-x", "", Tokens(100, 20, 60, 10, 5)),
    "gemini": ("gemini/gemini-x", "/v1beta", Tokens(100, 20, 60, reasoning=4)),
    "hosted_vllm": ("hosted_vllm/m", "/v1", Tokens(100, 20, 60)),
}


@NEEDS_LITELLM
@ITS_WARNINGS
@pytest.mark.parametrize("provider", PROVIDERS)
def test_through_litellm_every_end_has_its_row_and_its_count(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """litellm itself keeps no row of an abandoned or cancelled call, and counts by guess where a server doesn't."""
    from llmops.backends.litellm import LiteLLM

    monkeypatch.setenv("LLMOPS_TEST_KEY", "sk-loopback")
    model, path, tokens = PROVIDERS[provider]
    slow = Answer(usage=tokens, pause_s=0.1, text="Paris " * 30)
    script = [Answer(usage=tokens), Answer(usage=tokens), Answer(usage=None), slow, Answer(ending="silence")]

    async def work(backend: TrackedBackend) -> None:
        await complete(backend)
        await read_all(backend)
        await read_all(backend)
        async with contextlib.aclosing(backend.stream(asked())) as parts:
            async for _ in parts:
                break
        task = asyncio.create_task(backend.complete(asked()))
        await asyncio.to_thread(server.wait_for, lambda s: s.count == 5)
        task.cancel()
        await asyncio.wait([task])
        await close_clients()

    with ProviderServer(script) as server:
        made = lambda: LiteLLM(model, api_base=server.root + path, api_key_env="LLMOPS_TEST_KEY")  # noqa: E731
        rows = rows_of(tmp_path, work, made)
        assert server.count == 5
    forget()
    assert [(row.outcome, row.state) for row in rows] == [
        ("success", "settled"),
        ("success", "settled"),
        ("success", "estimated"),
        ("abandoned", "estimated"),
        ("cancelled", "unknown"),
    ]
    for row in rows[:2]:
        written = row.usage.cache_write_tokens, row.usage.cache_write_1h_tokens
        assert (row.usage.input_tokens, row.usage.output_tokens, row.usage.cache_read_tokens) == (100, 20, 60)
        assert written == ((15, 5) if provider == "anthropic" else (0, 0))
