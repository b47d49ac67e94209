"""Retries, single flight, the cache, budgets: what happens between a variant and its backend."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import pytest

from llmops.backends import cache as caching
from llmops.backends.cache import FolderCache, SqliteCache, key_of, request_text
from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BudgetExceededError,
    InputError,
    NotRecordedError,
    RateLimitedError,
    RequestRejectedError,
    StoreError,
)
from llmops.evals import sender as sending
from llmops.evals.limits import Budget
from llmops.evals.sender import METER, Meter, Sender
from llmops.evals.sending import SentBackend
from llmops.evals.suite import Limits
from llmops.types import Completion, Hold, Request, Usage
from llmops.usage.budgets import BudgetRefusedError, parse_budgets


class Scripted:
    """A backend that answers from a script: an exception is raised, anything else is the text."""

    identity: ClassVar = {"kind": "scripted"}

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.calls = 0

    async def complete(self, request: Request) -> Completion:
        self.calls += 1
        step = self.script.pop(0) if self.script else "ok"
        await asyncio.sleep(0)
        if isinstance(step, Exception):
            raise step
        return Completion(str(step), Usage(3, 2, requests=1, certainty="exact"), latency_s=0.5)


@pytest.fixture
def pauses(monkeypatch):
    """Retry pauses are noted instead of slept."""
    noted: list[float] = []

    def pause(number, error):
        asked = getattr(error, "retry_after_s", None)
        noted.append(number if asked is None else asked)
        return 0

    monkeypatch.setattr(sending, "pause_s", pause)
    return noted


def request(text: str = "hello", **changes) -> Request:
    return Request(({"role": "user", "content": text},), **changes)


def sent(backend, *, limits=None, cache=None, budget=None, cost_bound=None) -> SentBackend:
    made = SentBackend(backend, Sender(limits or Limits()), budget or Budget(), request_text, cost_bound)
    made.cache = cache
    return made


def test_retryable_failures_are_tried_again(pauses):
    backend = Scripted(BackendUnavailableError("down"), RateLimitedError("slow", retry_after_s=7), "fine")
    assert asyncio.run(sent(backend).complete(request())).text == "fine"
    assert backend.calls == 3
    assert pauses == [1, 7]


def test_rejected_requests_are_not_tried_again(pauses):
    backend = Scripted(RequestRejectedError("bad request"))
    with pytest.raises(RequestRejectedError):
        asyncio.run(sent(backend).complete(request()))
    assert backend.calls == 1
    assert pauses == []


def test_the_last_error_carries_its_attempts(pauses):
    backend = Scripted(*[BackendUnavailableError("down")] * 3)
    with pytest.raises(BackendUnavailableError) as caught:
        asyncio.run(sent(backend, limits=Limits(retries=2)).complete(request()))
    assert caught.value.attempts == 3


def test_a_server_that_asks_to_wait_for_an_hour_is_given_up_on(pauses):
    backend = Scripted(RateLimitedError("come back tomorrow", retry_after_s=3600))
    with pytest.raises(RateLimitedError):
        asyncio.run(sent(backend).complete(request()))
    assert backend.calls == 1


def test_an_attempt_that_takes_too_long_is_a_timeout():
    class Silent(Scripted):
        async def complete(self, request):
            await asyncio.Event().wait()

    with pytest.raises(BackendTimeoutError, match=r"within 0\.01 s"):
        asyncio.run(sent(Silent(), limits=Limits(timeout_s=0.01, retries=0)).complete(request()))


def test_delays_grow_stay_bounded_and_never_undercut_retry_after():
    for number in range(1, 12):
        full = min(sending.LONGEST_DELAY_S, sending.FIRST_DELAY_S * 2 ** (number - 1))
        assert full / 2 <= sending.pause_s(number, BackendUnavailableError("down")) <= full
    assert 42.0 <= sending.pause_s(1, RateLimitedError("slow", retry_after_s=42.0)) <= 42.1
    assert sending.pause_s(4, RateLimitedError("slow", retry_after_s=0.0)) >= 2.0  # "now" doesn't mean all at once


def test_identical_requests_at_the_same_time_are_sent_once(tmp_path):
    async def body():
        backend = Scripted()
        cache = SqliteCache(tmp_path / "cache.db")
        wrapped = sent(backend, cache=cache)
        answers = await asyncio.gather(*(wrapped.complete(request()) for _ in range(20)))
        cache.close()
        return backend.calls, [answer.cached for answer in answers]

    calls, cached = asyncio.run(body())
    assert calls == 1
    assert sorted(cached) == [False] + [True] * 19


def test_a_cancelled_first_request_does_not_fail_those_that_joined_it(tmp_path):
    async def body():
        release = asyncio.Event()

        class Slow(Scripted):
            async def complete(self, request):
                self.calls += 1
                if self.calls == 1:
                    await release.wait()
                return Completion("ok")

        backend = Slow()
        cache = SqliteCache(tmp_path / "cache.db")
        wrapped = sent(backend, cache=cache)
        first = asyncio.create_task(wrapped.complete(request()))
        await asyncio.sleep(0)
        second = asyncio.create_task(wrapped.complete(request()))
        await asyncio.sleep(0)
        first.cancel()
        answer = await second
        cache.close()
        return answer.text, backend.calls

    assert asyncio.run(body()) == ("ok", 2)


def test_errors_are_never_kept(tmp_path, pauses):
    async def body():
        backend = Scripted(RequestRejectedError("no"), "yes")
        cache = SqliteCache(tmp_path / "cache.db")
        wrapped = sent(backend, cache=cache)
        with pytest.raises(RequestRejectedError):
            await wrapped.complete(request())
        answer = await wrapped.complete(request())
        cache.close()
        return answer

    answer = asyncio.run(body())
    assert (answer.text, answer.cached) == ("yes", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"parameters": {"temperature": 1}},
        {"tools": ({"type": "function"},)},
        {"output_schema": {"type": "object"}},
        {"repeat": 1},
    ],
)
def test_everything_that_decides_an_answer_is_in_its_key(changes):
    identity: ClassVar = {"kind": "x", "base_url": "http://a"}
    base = key_of(request_text(identity, request()))
    assert key_of(request_text(identity, request(**changes))) != base
    assert key_of(request_text({**identity, "base_url": "http://b"}, request())) != base
    assert key_of(request_text(identity, request("other"))) != base
    assert key_of(request_text(dict(reversed(identity.items())), request())) == base


def test_a_kept_answer_survives_the_process_and_is_marked(tmp_path):
    path = tmp_path / "cache.db"
    kept = Completion("ünï\ud800\x00", Usage(5, 6, 1, 2, 3, 1, "exact"), finish_reason="stop", model="m", latency_s=1.5)
    first = SqliteCache(path)
    first.put("k", "{}", kept, "s/v/c")
    assert first.get("k").text == kept.text  # readable before it is flushed
    first.close()
    second = SqliteCache(path)
    found = second.get("k")
    second.close()
    assert found == Completion(kept.text, kept.usage, (), "stop", "m", 1.5, cached=True)


def test_refresh_asks_again_and_replaces(tmp_path):
    async def ask(text, refresh):
        cache = SqliteCache(tmp_path / "cache.db", refresh=refresh)
        answer = await sent(Scripted(text), cache=cache).complete(request())
        cache.close()
        return answer.text, answer.cached

    assert asyncio.run(ask("old", False)) == ("old", False)
    assert asyncio.run(ask("new", True)) == ("new", False)
    assert asyncio.run(ask("never asked", False)) == ("new", True)


def test_a_file_that_is_no_cache_is_one_clear_error(tmp_path):
    path = tmp_path / "cache.db"
    path.write_bytes(b"not a database, really" * 100)
    with pytest.raises(StoreError, match="--no-cache"):
        SqliteCache(path)


def test_recorded_answers_replay_and_a_missing_one_is_never_asked_for(tmp_path):
    async def body():
        recording = FolderCache(tmp_path / "answers", write=True)
        await sent(Scripted("kept"), cache=recording).complete(request())
        backend = Scripted("must not be asked")
        replaying = sent(backend, cache=FolderCache(tmp_path / "answers", write=False))
        answer = await replaying.complete(request())
        with pytest.raises(NotRecordedError):
            await replaying.complete(request("new"))
        return answer, backend.calls

    answer, calls = asyncio.run(body())
    assert (answer.text, answer.cached, calls) == ("kept", True, 0)
    [file] = (tmp_path / "answers").iterdir()
    assert json.loads(file.read_text())["request"]["messages"][0]["content"] == "hello"


def test_max_requests_counts_every_attempt(pauses):
    async def body():
        backend = Scripted(*[BackendUnavailableError("down")] * 10)
        meter = Meter()
        METER.set(meter)
        with pytest.raises(BudgetExceededError):
            await sent(backend, budget=Budget(max_requests=3)).complete(request())
        return backend.calls, meter.stopped

    calls, stopped = asyncio.run(body())
    assert calls == 3
    assert stopped is not None  # so that a pipeline that swallows the error still ends the run


def test_a_token_budget_needs_a_bound_on_the_answer():
    backend = sent(Scripted(), budget=Budget(max_tokens=1000))
    with pytest.raises(InputError, match="max_tokens"):
        backend.worst_case_tokens(request())
    assert backend.worst_case_tokens(request(parameters={"max_tokens": 50})) >= 50 + len("hello")


def test_meter_adds_up_what_a_trial_used(tmp_path):
    async def body():
        meter = Meter()
        METER.set(meter)
        wrapped = sent(Scripted(), cache=SqliteCache(tmp_path / "cache.db"))
        await wrapped.complete(request("a"))
        await wrapped.complete(request("b"))
        await wrapped.complete(request("a"))
        wrapped.cache.close()
        return meter

    meter = asyncio.run(body())
    assert (meter.requests, meter.cached, meter.usage.total_tokens) == (3, 1, 15)
    assert meter.replayed_s == 0.5


def test_unknown_failures_are_not_swallowed():
    backend = Scripted(BackendError("strange"))
    with pytest.raises(BackendError, match="strange"):
        asyncio.run(sent(backend).complete(request()))


def test_embeddings_are_retried_and_only_offered_by_backends_that_embed(pauses):
    class Embedding(Scripted):
        async def embed(self, texts):
            self.calls += 1
            if self.calls == 1:
                raise BackendUnavailableError("down")
            return [[1.0] for _ in texts]

    assert asyncio.run(sent(Embedding()).embed(["a", "b"])) == [[1.0], [1.0]]
    assert not hasattr(sent(Scripted()), "embed")


def test_a_server_that_stays_down_is_not_waited_for_again_and_again(pauses):
    """After enough requests given up on in a row, each gets one try, until one succeeds."""

    async def body():
        down = [True]

        class Down(Scripted):
            async def complete(self, request):
                self.calls += 1
                if down[0]:
                    raise BackendUnavailableError("down")
                return Completion("up")

        backend = Down()
        wrapped = sent(backend, limits=Limits(retries=2))
        for number in range(sending.GIVE_UP_AFTER):
            with pytest.raises(BackendUnavailableError):
                await wrapped.complete(request(str(number)))
        assert backend.calls == 3 * sending.GIVE_UP_AFTER
        with pytest.raises(BackendUnavailableError):
            await wrapped.complete(request("quick"))
        assert backend.calls == 3 * sending.GIVE_UP_AFTER + 1
        down[0] = False
        assert (await wrapped.complete(request("works"))).text == "up"
        down[0] = True
        with pytest.raises(BackendUnavailableError):
            await wrapped.complete(request("slow again"))
        assert backend.calls == 3 * sending.GIVE_UP_AFTER + 5

    asyncio.run(body())


def test_rejections_do_not_make_a_busy_server_hopeless(pauses):
    """Requests that were wrong say nothing about the server: a later 429 is waited for."""

    async def body():
        script = [RequestRejectedError("bad")] * sending.GIVE_UP_AFTER + [
            RateLimitedError("slow", retry_after_s=1),
            "ok",
        ]
        wrapped = sent(Scripted(*script))
        for number in range(sending.GIVE_UP_AFTER):
            with pytest.raises(RequestRejectedError):
                await wrapped.complete(request(str(number)))
        return (await wrapped.complete(request("last"))).text

    assert asyncio.run(body()) == "ok"


def test_waiting_for_others_is_not_latency():
    """Six requests side by side through one place: the time spent waiting for it counts once, and not as work."""

    async def body():
        class Slow(Scripted):
            async def complete(self, request):
                await asyncio.sleep(0.03)
                return Completion("ok")

        meter = Meter()
        METER.set(meter)
        wrapped = sent(Slow(), limits=Limits(concurrency=1))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(wrapped.complete(request(str(n))) for n in range(6)))
        return loop.time() - began, meter.waited_s

    elapsed, waited = asyncio.run(body())
    assert 0 < waited <= elapsed


def test_who_joins_a_request_that_the_budget_stopped_is_stopped_too(tmp_path):
    async def body():
        wrapped = sent(Scripted(), budget=Budget(max_requests=0), cache=SqliteCache(tmp_path / "cache.db"))
        meters = []

        async def ask():
            meters.append(Meter())
            METER.set(meters[-1])
            with pytest.raises(BudgetExceededError):
                await wrapped.complete(request())

        await asyncio.gather(asyncio.create_task(ask()), asyncio.create_task(ask()))
        wrapped.cache.close()
        return [meter.stopped is not None for meter in meters]

    assert asyncio.run(body()) == [True, True]


def test_embeddings_are_counted_and_never_sent_in_a_replay(tmp_path, pauses):
    class Embedding(Scripted):
        async def embed(self, texts):
            self.calls += 1
            return [[1.0] for _ in texts]

    async def body():
        limited = sent(Embedding(), budget=Budget(max_requests=1))
        await limited.embed(["a"])
        with pytest.raises(BudgetExceededError):
            await limited.embed(["b"])
        (tmp_path / "answers").mkdir()
        replayed = sent(Embedding(), cache=FolderCache(tmp_path / "answers", write=False))
        with pytest.raises(NotRecordedError):
            await replayed.embed(["a"])
        return limited.backend.calls, replayed.backend.calls

    assert asyncio.run(body()) == (1, 0)


def test_another_process_that_writes_holds_nobody_up(tmp_path):
    """While the cache is locked, answers stay pending and readable; they are written when it is free."""
    import sqlite3
    import time
    from contextlib import closing

    path = tmp_path / "cache.db"
    cache = SqliteCache(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put("k", "{}", Completion("kept"), "s/v/c")
        began = time.monotonic()
        cache.flush()
        assert time.monotonic() - began < 5
        assert cache.get("k").text == "kept"
        other.execute("ROLLBACK")
    cache.close()
    again = SqliteCache(path)
    assert again.get("k").text == "kept"
    again.close()


def test_writing_in_another_thread_holds_up_neither_reading_nor_new_answers(tmp_path, monkeypatch):
    import sqlite3
    import threading
    from contextlib import closing

    monkeypatch.setattr(caching, "QUICK_S", 30.0)
    path = tmp_path / "cache.db"
    cache = SqliteCache(path)
    cache.put("old", "{}", Completion("old"), "s/v/c")
    cache.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put("a", "{}", Completion("first"), "s/v/c")
        flushing = threading.Thread(target=cache.flush)
        flushing.start()
        while not cache._writing.locked():
            pass
        cache.put("a", "{}", Completion("second"), "s/v/c")
        cache.put("b", "{}", Completion("new"), "s/v/c")
        assert [cache.get(key).text for key in ("old", "a", "b")] == ["old", "second", "new"]
        assert flushing.is_alive()
        other.execute("ROLLBACK")
        flushing.join()
    cache.close()
    with closing(sqlite3.connect(path)) as db:
        kept = dict(db.execute("SELECT key, answer ->> 'text' FROM answers"))
    assert kept == {"old": "old", "a": "second", "b": "new"}


def test_a_cache_of_an_earlier_version_is_read_and_written(tmp_path):
    import sqlite3
    from contextlib import closing

    path = tmp_path / "cache.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL,"
            " origin TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID"
        )
        db.execute("""INSERT INTO answers VALUES ('old', '{}', '{"text": "kept"}', 's/v/c', 1.0)""")
        db.commit()
    cache = SqliteCache(path)
    cache.put("new", "{}", Completion("also"), "s/v/c")
    cache.close()
    again = SqliteCache(path)
    assert (again.get("old").text, again.get("new").text) == ("kept", "also")
    again.close()


class Priced(Scripted):
    """Answers that cost what the script says; None has no price."""

    async def complete(self, request: Request) -> Completion:
        self.calls += 1
        await asyncio.sleep(0)
        cost = self.script.pop(0) if self.script else 0
        if isinstance(cost, Exception):
            raise cost
        return Completion("ok", Usage(3, 2, requests=1, certainty="exact", cost=cost, unpriced=int(cost is None)))


def test_a_limit_in_money_is_settled_with_what_answers_cost(pauses):
    async def body():
        budget = Budget(max_cost=100)
        backend = Priced(30, None, RequestRejectedError("bad"), BackendTimeoutError("late"))
        wrapped = sent(backend, limits=Limits(retries=0), budget=budget, cost_bound=lambda request, backend: 20)
        costs = []
        for error in (None, None, RequestRejectedError, BackendTimeoutError):
            if error is None:
                await wrapped.complete(request())
            else:
                with pytest.raises(error):
                    await wrapped.complete(request())
            costs.append(budget.cost)
        await wrapped.complete(request())
        meter = Meter()
        METER.set(meter)
        budget.cost = 81
        with pytest.raises(BudgetExceededError, match="may cost"):
            await wrapped.complete(request())
        return costs, backend.calls, meter.stopped

    costs, calls, stopped = asyncio.run(body())
    # 30 as said; 20, since the answer has no price; nothing for what was rejected; 20 for what may have been billed
    assert costs == [30, 50, 50, 70]
    assert calls == 5
    assert stopped is not None


def test_a_limit_in_money_refuses_what_has_no_price_before_anything_is_sent():
    def unpriced(request, backend):
        raise InputError("m has no price", hint="add its price")

    backend = Priced()
    with pytest.raises(InputError, match="m has no price"):
        sent(backend, budget=Budget(max_cost=100), cost_bound=unpriced).check(request())
    with pytest.raises(InputError, match="--max-cost needs prices"):
        sent(backend, budget=Budget(max_cost=100)).check(request())
    sent(backend, budget=Budget(max_requests=1), cost_bound=unpriced).check(request())
    assert backend.calls == 0


def test_embeddings_count_as_money_with_an_answer_of_nothing():
    class Embedding(Priced):
        async def embed(self, texts):
            return [[1.0] for _ in texts]

    asked = []

    def bound(request, backend):
        asked.append(request)
        return 60

    budget = Budget(max_cost=100)
    wrapped = sent(Embedding(), budget=budget, cost_bound=bound)
    asyncio.run(wrapped.embed(["a", "b"]))
    assert budget.cost == 60
    assert [message["content"] for message in asked[0].messages] == ["a", "b"]
    assert asked[0].parameters["max_tokens"] == 0
    with pytest.raises(BudgetExceededError):
        asyncio.run(wrapped.embed(["c"]))


@pytest.mark.parametrize("action", ["refuse", "stop"])
def test_a_budget_of_the_project_that_stops_runs_ends_this_one(action):
    """Its refusal means that nothing was sent; a pipeline that swallows it goes on only when the budget lets it."""
    [rule] = parse_budgets([{"limit": "1 requests", "per": "total", "action": action}])
    refusal = BudgetRefusedError(rule, Hold("requests/total", "requests", 1, 1), BudgetExceededError("no room"))

    async def body():
        budget = Budget(max_requests=5)
        wrapped = sent(Priced(refusal), budget=budget)
        meter = Meter()
        METER.set(meter)
        with pytest.raises(BudgetRefusedError):
            await wrapped.complete(request())
        return budget.requests, meter.stopped

    assert asyncio.run(body()) == (0, refusal if action == "stop" else None)
