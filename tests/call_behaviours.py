"""What every call log does, whatever database it is in. A test file imports these beside its own `location` fixture."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.errors import BudgetExceededError, InputError, NotFoundError, StoreError
from llmops.identity import new_id
from llmops.process import this_process
from llmops.store import call_batches, call_writer
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.store.database import Store
from llmops.types import Attribution, Call, CallText, Cost, Hold, Usage

HOUR = 3600
NOON = 1_780_315_200.0  # 2026-06-01T12:00Z
WORDS = st.text(st.characters(exclude_categories=()), max_size=8)  # NUL and lone surrogates too
COUNTS = st.integers(0, 2**40)
SECONDS = st.none() | st.floats(0, 1e6)
PAIRS = st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple)
COSTS = st.builds(
    Cost, *[COUNTS] * 7, certainty=st.sampled_from(["exact", "estimated"]), source=WORDS, price=WORDS, revision=WORDS
)
USAGES = st.builds(
    Usage, *[COUNTS] * 6, st.sampled_from(["exact", "estimated", "unknown"]), *[COUNTS] * 4,
    st.none() | COUNTS, COUNTS, st.booleans(),
)  # fmt: skip
ATTRIBUTIONS = st.builds(Attribution, st.sampled_from(["app", "eval", "judge", "guard"]), *[WORDS] * 8, PAIRS, WORDS)
CALLS = st.builds(
    Call,
    id=st.just(""),
    started_at=st.floats(0, 4e9),
    **dict.fromkeys(("backend", "provider", "address", "model_asked", "model_served"), WORDS),
    attribution=ATTRIBUTIONS,
    outcome=st.sampled_from(["success", "error", "timeout", "cancelled", "abandoned", "unsent"]),
    state=st.sampled_from(["settled", "estimated", "unknown"]),
    usage=USAGES,
    cost=st.none() | COSTS,
    first_token_s=SECONDS,
    duration_s=SECONDS,
    **dict.fromkeys(("finish_reason", "response_id", "service_tier", "error"), WORDS),
    attempt=st.integers(1, 2**40),
    stream=st.booleans(),
    guards=PAIRS,
)


def new_call(at: float | None = None, **changes) -> Call:
    """A call on its way, its id made when it started."""
    at = time.time() if at is None else at
    stamp = f"{int(at * 1000):012x}"
    whose = Attribution(team="search", user="ann", prompt="docs/answer@2", tags=(("app", "web"),))
    call = Call(f"{stamp[:8]}-{stamp[8:]}{new_id()[13:]}", at, "local", "openai", "host:1", "gpt-5", attribution=whose)
    return replace(call, **changes)


def ended(call: Call, total: int | None = 700, **changes) -> Call:
    """The call with an answer that cost `total` nano-dollars."""
    cost = None if total is None else Cost(total, total - 200, output=200, source="user", price="gpt-5")
    usage = Usage(100, 20, 40, requests=1, certainty="exact", cost=total, unpriced=int(total is None))
    made = replace(call, outcome="success", state="settled", usage=usage, cost=cost, duration_s=1.5, response_id="r1")
    return replace(replace(made, model_served="gpt-5-2026", finish_reason="stop", first_token_s=0.25), **changes)


def begin(log, *calls: Call, holds: tuple[Hold, ...] = ()) -> list:
    """Begin calls at once; what each raised, or None."""

    async def run() -> list:
        return await asyncio.gather(*(log.begin(call, holds) for call in calls), return_exceptions=True)

    return asyncio.run(run())


def save(location, *calls: Call) -> None:
    with open_call_log(location) as log:
        for call in calls:
            log.settle(call)


@contextmanager
def reading(location):
    with Calls.open(location) as calls:
        yield calls


def rows(location, **chosen) -> list[Call]:
    with reading(location) as calls:
        return list(calls.rows(**chosen))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(call=CALLS, other=CALLS)
def test_whatever_a_call_holds_comes_back(location, call, other):
    call, other = replace(call, id=new_id()), replace(other, id=new_id())
    pending = replace(call, outcome="pending", state="pending")
    with open_call_log(location) as log, reading(location) as calls:
        log.begin_now(pending)
        assert calls.find(call.id) == pending
        log.settle(call)
        log.settle(other)
        log.flush()
        assert calls.find(call.id) == call
        assert calls.find(other.id) == other
        assert {call.id, other.id} <= {found.id for found in calls.rows(since=-1, until=5e9)}


def test_a_call_is_there_before_it_is_sent_and_once_when_it_ended(location):
    call = new_call()
    with open_call_log(location) as log:
        assert begin(log, call) == [None]
        assert rows(location) == [call]
        log.settle(ended(call))
        log.flush()
        assert rows(location) == [ended(call)]


def test_a_thread_begins_a_call_too(location):
    call = new_call()
    with open_call_log(location) as log:
        log.begin_now(call)
        assert rows(location) == [call]


def test_calls_with_the_same_response_id_are_all_kept(location):
    save(location, *(ended(new_call(), response_id="cmpl-0") for _ in range(50)))
    assert len(rows(location)) == 50


def test_an_id_that_is_none_is_refused(location):
    with open_call_log(location) as log:
        for call_id in ("chatcmpl-12", "", "x" * 32, "12" * 17):
            with pytest.raises(StoreError, match="no id of a call"):
                log.settle(new_call(id=call_id))


def test_a_call_that_is_settled_again_is_replaced_with_all_it_counts(location):
    call = new_call()
    save(location, ended(call), ended(call, 900))
    save(location, ended(call, 5000))
    assert rows(location) == [ended(call, 5000)]
    with reading(location) as calls:
        [sums] = calls.totals()
        assert (sums.requests, sums.cost_exact) == (1, 5000)


def test_nothing_is_lost_where_few_may_wait(location, monkeypatch):
    monkeypatch.setattr(call_writer, "MAX_WAITING", 7)
    monkeypatch.setattr(call_batches, "MAX_BATCH", 5)
    made = [new_call() for _ in range(300)]
    with open_call_log(location) as log:
        assert begin(log, *made) == [None] * 300
        for call in made:
            log.settle(ended(call))
    assert Counter(found.id for found in rows(location)) == Counter(call.id for call in made)


def test_text_is_kept_apart_and_goes_first(location):
    old, new = ended(new_call(NOON)), ended(new_call(NOON + 60))
    text = CallText(({"role": "user", "content": "hi \ud800\0"}, {"role": "tool", "parts": [1, None]}), "answer")
    with open_call_log(location) as log, reading(location) as calls:
        for call in (old, new):
            log.settle(call, (), text)
        log.settle(other := ended(new_call(NOON)))
        log.flush()
        assert calls.text(old.id) == text
        assert calls.text(other.id) is None
        assert calls.prune_text(NOON + 30) == 1
        assert (calls.text(old.id), calls.text(new.id)) == (None, text)
        assert calls.prune(NOON + 61) == 3
        assert calls.text(new.id) is None
        assert list(calls.rows()) == []
        [sums] = calls.totals()
        assert sums.requests == 3


def test_one_open_log_a_process_and_the_last_to_close_ends_it(location):
    with open_call_log(location) as first:
        with open_call_log(location) as second:
            assert second is first
        first.settle(ended(new_call()))
    with pytest.raises(StoreError, match="closed"):
        first.settle(ended(new_call()))
    with open_call_log(location) as third:
        third.settle(ended(new_call()))
    assert len(rows(location)) == 2


# Budgets


def hold(amount: int = 10, limit: int = 100, *, window: str = "team=search/2026-06-01", **more) -> Hold:
    return Hold(window, more.pop("unit", "nanodollars"), limit, amount, **more)


def window(location, name: str = "team=search/2026-06-01"):
    with reading(location) as calls:
        return next(found for found in calls.ledger() if found.window == name)


def test_a_call_holds_its_worst_case_until_it_is_known_what_it_used(location):
    call = new_call()
    with open_call_log(location) as log:
        assert begin(log, call, holds=(hold(90),)) == [None]
        assert (window(location).spent, window(location).reserved) == (0, 90)
        log.settle(ended(call, 33), (hold(90),))
        log.flush()
        assert (window(location).spent, window(location).reserved) == (33, 0)


@pytest.mark.parametrize(
    ("unit", "changes", "spent"),
    [
        ("requests", {}, 1), ("tokens", {}, 120), ("nanodollars", {}, 700), ("nanodollars", {"cost": None}, 50),
        ("tokens", {"state": "unknown", "usage": Usage()}, 50), ("nanodollars", {"outcome": "unsent"}, 0),
        ("tokens", {"outcome": "unsent"}, 0), ("requests", {"outcome": "unsent"}, 0),
    ],
)  # fmt: skip
def test_what_a_call_used_in_each_unit(location, unit, changes, spent):
    call, holds = new_call(), (hold(50, 10_000, unit=unit),)
    with open_call_log(location) as log:
        begin(log, call, holds=holds)
        log.settle(ended(call, **changes), holds)
    assert (window(location).spent, window(location).reserved) == (spent, 0)


def test_a_call_that_does_not_fit_is_refused_and_not_written_and_the_others_are(location):
    made = [new_call() for _ in range(8)]
    with open_call_log(location) as log:
        outcomes = begin(log, *made, holds=(hold(30), hold(1, window="other")))
        refused = [one for one in outcomes if one is not None]
        assert len(refused) == 5
        for error in refused:
            assert isinstance(error, BudgetExceededError)
            assert (error.could_fit, error.window, error.left) == (True, "team=search/2026-06-01", 10)
        begun = [call for call, outcome in zip(made, outcomes, strict=True) if outcome is None]
        assert {call.id for call in rows(location)} == {call.id for call in begun}
        assert window(location, "other").reserved == 3
        for call in begun:
            log.settle(ended(call, 30), (hold(30), hold(1, window="other")))
        log.flush()
        [error] = begin(log, new_call(), holds=(hold(30),))
        assert (error.could_fit, error.left) == (False, 10)
        assert begin(log, new_call(), holds=(hold(30, hard=False),)) == [None]


def test_a_discarded_call_gives_back_what_it_held_and_one_never_begun_leaves_nothing(location):
    call, never = new_call(), new_call()
    with open_call_log(location) as log:
        begin(log, call, holds=(hold(90),))
        log.discard(call, (hold(90),))
        log.discard(never, (hold(90),))
        log.flush()
        assert (window(location).spent, window(location).reserved) == (0, 0)
        [found] = rows(location)
        assert (found.id, found.outcome) == (call.id, "unsent")


def test_a_discard_after_an_end_changes_nothing(location):
    call = new_call()
    with open_call_log(location) as log:
        begin(log, call, holds=(hold(90),))
        log.settle(ended(call, 20), (hold(90),))
        log.discard(call, (hold(90),))
        log.flush()
        log.discard(call, (hold(90),))
    assert rows(location) == [ended(call, 20)]
    assert (window(location).spent, window(location).reserved) == (20, 0)


def test_two_writers_never_spend_more_than_there_is(location):
    """Each has its own connection and holds two windows in different order, as two processes would."""
    holds = hold(7, 1000), hold(1, 200, window="b", unit="requests")
    refused: list[BudgetExceededError] = []

    async def spend(log, order) -> None:
        rng = random.Random(3)
        for _ in range(4):
            call = new_call()
            try:
                await log.begin(call, order)
            except BudgetExceededError as error:
                refused.append(error)
                continue
            log.settle(ended(call, rng.randint(200, 700) // 100), order)

    async def run() -> None:
        with (
            closing(call_writer.CallWriter(place_of(location))) as one,
            closing(call_writer.CallWriter(place_of(location))) as two,
        ):
            await asyncio.gather(*(spend(log, order) for _ in range(32) for log, order in
                                   ((one, holds), (two, holds[::-1]))))  # fmt: skip

    open_call_log(location).close()
    asyncio.run(run())
    assert refused
    first, second = window(location), window(location, "b")
    assert (first.reserved, second.reserved) == (0, 0)
    assert first.spent <= 1000
    assert second.spent <= 200
    with reading(location) as calls:
        [sums] = calls.totals()
        assert (sums.cost_exact, sums.requests) == (first.spent, second.spent)


def place_of(location):
    from llmops.store.location import open_place

    return open_place(location, create=True)


# Dead processes


def dead_process(monkeypatch) -> None:
    monkeypatch.setattr(call_batches, "this_process", lambda: {**this_process(), "started": "1"})


def test_calls_of_a_dead_process_become_unknown_and_their_holds_spent(location, monkeypatch):
    lost, kept = new_call(), new_call()
    with open_call_log(location) as log:
        begin(log, kept, holds=(hold(5),))
        with monkeypatch.context() as context:
            dead_process(context)
            with closing(call_writer.CallWriter(place_of(location))) as other:
                begin(other, lost, holds=(hold(60),))
        with reading(location) as calls:
            assert calls.settle_dead() == 1
            assert calls.settle_dead() == 0
            found = {call.id: call for call in calls.rows()}
        assert (found[lost.id].state, found[lost.id].attribution) == ("unknown", lost.attribution)
        assert found[kept.id] == kept
        assert (window(location).spent, window(location).reserved) == (60, 5)
        log.settle(ended(lost, 10), (hold(60),))  # it lived on another machine after all
        log.flush()
        assert (window(location).spent, window(location).reserved) == (60, 5)
        assert {call.id: call for call in rows(location)}[lost.id] == ended(lost, 10)


def test_calls_of_another_machine_are_given_up_only_when_they_are_old(location, monkeypatch):
    old, new, own = new_call(time.time() - 2 * HOUR), new_call(), new_call(time.time() - 2 * HOUR)
    open_call_log(location).close()
    with closing(call_writer.CallWriter(place_of(location))) as other:
        with monkeypatch.context() as context:
            context.setattr(call_batches, "this_process", lambda: {**this_process(), "host": "elsewhere"})
            begin(other, old, new, holds=(hold(40),))
        with open_call_log(location) as log, reading(location) as calls:
            begin(log, own)
            assert calls.settle_dead() == 0
            assert calls.settle_dead(older_than_s=HOUR) == 1
            assert {call.id: call.state for call in calls.rows()} == {
                old.id: "unknown", new.id: "pending", own.id: "pending",
            }  # fmt: skip
            assert (window(location).spent, window(location).reserved) == (40, 40)
            for call in (old, new):
                other.settle(ended(call, 10), (hold(40),))  # both were alive
            other.flush()
            assert {call.id for call in calls.rows(where={"state": "settled"})} == {old.id, new.id}
            assert (window(location).spent, window(location).reserved) == (20, 0)


def test_closing_one_of_two_waits_until_all_is_written(location, monkeypatch):
    monkeypatch.setattr(call_writer, "GATHER_S", 60)
    with open_call_log(location):
        save(location, ended(new_call()))
        assert len(rows(location)) == 1


def test_opening_a_log_settles_what_the_dead_left(location, monkeypatch):
    with monkeypatch.context() as context:
        dead_process(context)
        with open_call_log(location) as log:
            begin(log, new_call(), holds=(hold(60),))
    save(location, ended(new_call()))
    assert (window(location).spent, window(location).reserved) == (60, 0)


# Totals


def expected(calls, by) -> dict:
    """The sums that rows add up to, counted the slow way."""
    sums: dict = defaultdict(Counter)
    for call in calls:
        key = tuple(
            {
                "team": call.attribution.team, "model": call.model_served or call.model_asked,
                "outcome": call.outcome, "user": call.attribution.user, "version": call.attribution.prompt,
                "hour": time.strftime("%Y-%m-%dT%H", time.gmtime(call.started_at)),
                "month": time.strftime("%Y-%m", time.gmtime(call.started_at)),
                "tag:app": dict(call.attribution.tags).get("app", ""),
                "certainty": call.cost.certainty if call.cost else "unpriced" if priced(call) else "",
            }[name]
            for name in by
        )  # fmt: skip
        line, cost = sums[key], call.cost
        line["requests"] += 1
        line[call.outcome] += 1
        line["errors"] += call.outcome in ("error", "timeout")
        line["unpriced"] += cost is None and priced(call)
        line["unknown"] += call.state == "unknown" and call.outcome != "unsent"
        for name in ("input", "cache_read", "cache_write", "output", "reasoning"):
            line[f"{name}_tokens"] += getattr(call.usage, f"{name}_tokens")
        if cost is not None:
            line[f"cost_{cost.certainty}"] += cost.total
            for name in ("input", "cache_read", "cache_write", "output", "reasoning", "fees"):
                line[f"cost_{name}"] += getattr(cost, name)
        line["first_tokens"] += call.first_token_s is not None
    return dict(sums)


def priced(call: Call) -> bool:
    return call.outcome not in ("unsent", "pending")


def check(calls: Calls, model: list[Call], by=(), since=None, until=None, where=None) -> None:
    chosen = [
        call for call in model
        if (since is None or call.started_at >= since) and (until is None or call.started_at < until)
    ]  # fmt: skip
    found = {tuple(sums.key.values()): sums for sums in calls.totals(by=by, since=since, until=until)}
    wanted = expected(chosen, by)
    if not by and not wanted:
        wanted = {(): Counter()}
    assert set(found) == set(wanted)
    for key, line in wanted.items():
        sums = found[key]
        for entry in fields(sums):
            if entry.name not in ("key", "duration_s", "first_token_s"):
                assert getattr(sums, entry.name) == line[entry.name], (key, entry.name)


def random_call(rng: random.Random) -> Call:
    call = new_call(
        NOON + rng.uniform(-5 * HOUR, 5 * HOUR) - rng.choice([0, 0, 0, 90 * 86_400]),
        model_asked=rng.choice(["gpt-5", "slm"]),
        attribution=Attribution(
            team=rng.choice(["a", "b"]), user=rng.choice(["u", "v"]), prompt=rng.choice(["p@1", "p@2", "q", ""]),
            tags=rng.choice([(), (("app", "x"),), (("app", "y"), ("z", "1"))]),
        ),
    )  # fmt: skip
    if rng.random() < 0.1:
        call = replace(call, started_at=call.started_at - rng.choice([2, 3, 50]) * HOUR)
    return call


def random_end(call: Call, rng: random.Random) -> Call:
    outcome = rng.choice(["success", "success", "error", "timeout", "cancelled", "unsent"])
    made = ended(call, rng.choice([None, 500, 900]), outcome=outcome, model_served=rng.choice(["", "gpt-5-x"]))
    if outcome != "success":
        made = replace(made, state="unknown", usage=Usage(requests=1), first_token_s=None)
    if made.cost is not None and rng.random() < 0.3:
        made = replace(made, cost=replace(made.cost, certainty="estimated"))
    return made


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_totals_equal_the_rows_whatever_happened(location, seed, monkeypatch):
    monkeypatch.setattr("llmops.store.call_queries.PAGE", 11)
    monkeypatch.setattr("llmops.store.call_upkeep.PAGE", 11)
    rng = random.Random(seed)
    open_ones: dict[str, Call] = {}
    model: dict[str, Call] = {}
    with open_call_log(location) as log, reading(location) as calls:
        for _ in range(60):
            step = rng.random()
            if step < 0.4:
                made = [random_call(rng) for _ in range(rng.randint(1, 5))]
                begin(log, *made)
                open_ones |= {call.id: call for call in made}
            elif step < 0.9:
                ids = rng.sample(sorted(open_ones), min(4, len(open_ones)))
                ids += rng.sample(sorted(model), min(1, len(model)))  # again
                for call_id in ids:
                    call = random_end(open_ones.pop(call_id, None) or model[call_id], rng)
                    model[call_id] = call
                    log.settle(call)
            else:
                log.flush()
                total = rng.choice([None, 123, 900])
                cost = None if total is None else Cost(total, total)
                since = NOON - HOUR
                calls.reprice(lambda call, cost=cost: cost if call.model_asked == "slm" else call.cost, since)
                for call in list(model.values()):
                    if call.model_asked == "slm" and call.started_at >= since and call.outcome != "unsent":
                        model[call.id] = replace(call, cost=cost)
        log.flush()
        everything = [*model.values(), *open_ones.values()]
        found = {call.id: replace(call, usage=Usage()) for call in calls.rows()}
        assert found == {call.id: replace(call, usage=Usage()) for call in everything}
        for by in ((), ("team", "model"), ("hour",), ("month",), ("tag:app", "outcome"), ("certainty",), ("version",),
                   ("user",)):  # fmt: skip
            check(calls, everything, by)
        for since, until in ((NOON, None), (NOON - 1000, NOON + 1700), (NOON + 60, NOON + 120), (None, NOON + 1)):
            for by in ((), ("hour",), ("user", "team")):
                check(calls, everything, by, since, until)
            ids = [call.id for call in calls.rows(since=since, until=until)]
            assert sorted(ids) == sorted(
                call.id for call in everything
                if (since is None or call.started_at >= since) and (until is None or call.started_at < until)
            )  # fmt: skip
        gone = calls.prune(NOON)
        assert gone == sum(call.started_at < NOON for call in model.values())
        check(calls, everything, ("team", "hour"))  # the sums stay
        assert {call.id for call in calls.rows()} == {
            call.id for call in everything if call.started_at >= NOON or call.id in open_ones
        }


def test_calls_are_chosen_and_ordered(location):
    made = [
        ended(new_call(NOON + n, attribution=Attribution(team=f"t{n % 2}", tags=(("n", str(n)),))), 1000 + 7 * n % 50)
        for n in range(20)
    ]
    pending = new_call(NOON + 100)
    with open_call_log(location) as log, reading(location) as calls:
        for call in made:
            log.settle(call)
        log.begin_now(pending)
        log.flush()
        assert list(calls.rows()) == [*made, pending]
        assert list(calls.rows(order="newest", limit=2)) == [pending, made[-1]]
        assert list(calls.rows(where={"team": "t1"})) == made[1::2]
        assert list(calls.rows(where={"tag:n": "7"})) == [made[7]]
        dearest = sorted(made, key=lambda call: -call.cost.total)
        assert [c.cost.total for c in calls.rows(order="dearest", limit=3)] == [c.cost.total for c in dearest[:3]]
        [sums] = calls.totals(by=["team"], where={"team": "t1", "day": "2026-06-01"})
        assert (sums.key, sums.requests) == ({"team": "t1"}, 10)
        for ask in (lambda: calls.totals(by=["colour"]), lambda: calls.rows(where={"tag:": "x"})):
            with pytest.raises(InputError, match="calls can't be"):
                ask()
        with pytest.raises(NotFoundError):
            calls.find(new_id())


def test_a_call_that_ends_while_calls_are_read_is_told_of_once(location):
    call = new_call()
    with open_call_log(location) as log, reading(location) as calls:
        log.begin_now(call)
        found = calls.rows()
        log.settle(ended(call))
        log.flush()
        assert list(found) == [call]
        assert list(calls.rows()) == [ended(call)]


def test_pricing_again_changes_only_what_has_another_price(location):
    made = [ended(new_call(NOON + n), None if n % 2 else 700) for n in range(10)]
    save(location, *made)
    with reading(location) as calls:
        done = calls.reprice(lambda call: Cost(700, 500, output=200, source="user", price="gpt-5"))
        assert (done.count, done.changed) == (10, 5)
        found = list(calls.rows())
        assert [call.cost.total for call in found] == [700] * 10
        assert all((call.usage.cost, call.usage.unpriced) == (700, 0) for call in found)
        [sums] = calls.totals(by=["certainty"])
        assert (sums.key, sums.cost_exact, sums.unpriced) == ({"certainty": "exact"}, 7000, 0)


def test_pricing_again_beside_a_writer_counts_nothing_twice(location):
    made = [ended(new_call(NOON + n)) for n in range(200)]
    save(location, *made)
    with open_call_log(location) as log, reading(location) as calls:

        def rule(call: Call) -> Cost:
            if int(call.started_at) % 10 == 0:
                log.settle(ended(call, 5))  # changes while its new price is worked out
                log.flush()
            return Cost(11, 11)

        calls.reprice(rule)
        found = list(calls.rows())
        [sums] = calls.totals()
        assert sums.cost_exact == sum(call.cost.total for call in found) == 180 * 11 + 20 * 5


def test_runs_and_calls_share_a_store(location):
    save(location, ended(new_call()))
    with Store.open(location) as store:
        assert store.runs() == []
