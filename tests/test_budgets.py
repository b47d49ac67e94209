"""Budgets: how they are read, which window a call counts in, what it sets aside, how it waits, what warns."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from budget_fakes import DAY, MemoryLog, Prices, new_call, settled
from llmops.errors import BudgetExceededError, ConfigError, InputError
from llmops.types import Call, Cost, Hold, Request
from llmops.usage.bounds import cost_bound, output_tokens_bound, prompt_tokens_bound, request_bound
from llmops.usage.budget_scopes import DIMENSIONS, Period, is_over, scope_of
from llmops.usage.budget_warnings import Watch
from llmops.usage.budgets import BudgetRefusedError, Budgets, amount_used, parse_budgets

DOLLAR = 1_000_000_000


def rule(**written):
    return parse_budgets([{"limit": "$1", "per": "day", **written}])[0]


def budgets(*written, pricer=None, **options) -> Budgets:
    return Budgets(parse_budgets(list(written)), pricer or Prices(), **options)


def request(text: str = "hello", **parameters) -> Request:
    return Request(({"role": "user", "content": text},), "m", {"max_tokens": 10, **parameters})


# Reading


@pytest.mark.parametrize(
    ("text", "limit", "unit"),
    [
        ("$50", 50 * DOLLAR, "nanodollars"),
        ("$0.000000001", 1, "nanodollars"),
        ("50 USD", 50 * DOLLAR, "nanodollars"),
        ("$1,250.50", 1_250_500_000_000, "nanodollars"),
        ("5M tokens", 5_000_000, "tokens"),
        ("1.5k tokens", 1500, "tokens"),
        ("2B tokens", 2_000_000_000, "tokens"),
        ("1 token", 1, "tokens"),
        ("1000 requests", 1000, "requests"),
        ("1,000 requests", 1000, "requests"),
        ("0 requests", 0, "requests"),
    ],
)
def test_limits_say_their_unit(text, limit, unit):
    found = rule(limit=text)
    assert (found.limit, found.unit) == (limit, unit)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"limit": 50}, "limit is 50"),
        ({"limit": "50"}, "limit is '50'"),
        ({"limit": "1.5 requests"}, "whole number"),
        ({"limit": "-$5"}, "isn't an amount of dollars"),
        ({"limit": "$0.0000000001"}, "finer than a billionth"),
        ({"limit": None}, "has no limit"),
        ({"limit": "$1,5"}, "'\\$1,5' isn't an amount of dollars"),
        ({"limit": "$1,00"}, "isn't an amount of dollars"),
        ({"limit": "1,5 tokens"}, "limit is '1,5 tokens'"),
        ({"limit": "1,0000 requests"}, "limit is '1,0000 requests'"),
        ({"media_tokens": -5}, "media_tokens is -5, not a number of tokens"),
        ({"limit": "9999999999B tokens"}, "whole number"),
        ({"per": "fortnight"}, "per is 'fortnight'.*hour, day"),
        ({"per": None}, "has no per"),
        ({"action": "explode"}, "action is 'explode'.*warn, refuse, stop"),
        ({"by": "taem"}, "by: 'taem'.*did you mean 'team'"),
        ({"by": "tag:"}, "by: 'tag:'"),
        ({"by": 3}, "by is 3"),
        ({"where": "team"}, "where is 'team'"),
        ({"where": {"team": 3}}, "where team is 3"),
        ({"where": {"purpose": "jugde"}}, "where purpose is 'jugde', as no call's is; did you mean 'judge'"),
        ({"where": {"purpose": ["app", "chat"]}}, "where purpose is 'chat', as no call's is; known: app, eval"),
        ({"where": {"teams": "a"}}, "where: 'teams'"),
        ({"limits": "$1"}, "unknown key 'limits'.*did you mean 'limit'"),
        ({"media_tokens": "many"}, "media_tokens is 'many'"),
    ],
)
def test_a_wrong_budget_says_what_and_where(written, said):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_budgets(
            [{"limit": "$1", "per": "day"}, {"limit": "$1", "per": "day", **written}],
            lambda path: f"llmops.yaml:{path[0] if path else ''}",
        )
    assert caught.value.where == "llmops.yaml:1"
    assert "budget 2" in str(caught.value)


def test_budgets_are_a_list():
    assert parse_budgets(None) == ()
    with pytest.raises(ConfigError, match="list"):
        parse_budgets({"limit": "$1"})
    with pytest.raises(ConfigError, match="not a mapping"):
        parse_budgets(["$1"])


def test_a_rule_reads_like_what_was_written():
    found = rule(limit="5M tokens", per="hour", by=["team", "model"], where={"purpose": ["app", "eval"]})
    assert str(found) == "5,000,000 tokens per hour by team, model where purpose app or eval"
    assert str(rule(limit="$1", per="day", where={"team": ["", "a"]})) == "$1.00 per day where team (none) or a"
    assert str(rule(per="total")) == "$1.00 in total"


# Windows


@pytest.mark.parametrize(
    ("per", "at", "stamp"),
    [
        ("hour", "2026-12-01T14:59:59", "2026-12-01T14"),
        ("day", "2026-12-01T23:59:59", "2026-12-01"),
        ("day", "2026-12-02T00:00:00", "2026-12-02"),
        ("week", "2027-01-03T23:00:00", "2026-W53"),  # a Sunday: ISO weeks belong to the year of their Thursday
        ("week", "2027-01-04T00:00:00", "2027-W01"),
        ("month", "2026-12-31T23:59:59", "2026-12"),
    ],
)
def test_windows_are_in_utc(per, at, stamp):
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
    assert rule(per=per).window(new_call(at=moment)) == f"nanodollars/{per}/{stamp}"


def test_every_value_of_by_has_a_window_of_its_own():
    found = rule(by=["team", "tag:customer"])
    call = new_call(team="search", tags=(("customer", "a/b=c"),))
    assert found.window(call) == "nanodollars/day/tag:customer=a%2Fb%3Dc/team=search/2026-12-01"
    assert found.window(new_call(team="")) == "nanodollars/day/tag:customer=/team=/2026-12-01"


@given(st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), min_size=2, max_size=2, unique=True))
def test_no_two_pairs_of_values_share_a_window(pairs):
    found = rule(by=["team", "user"])
    first, second = (found.window(new_call(team=team, user=user)) for team, user in pairs)
    assert first != second
    assert len(first) < 180


def test_only_calls_of_the_rule_count():
    found = rule(where={"feature": ["search", "answers"], "purpose": "app"})
    assert found.window(new_call(feature="search")) == found.window(new_call(feature="answers"))
    assert found.window(new_call(feature="other")) is None
    assert found.window(new_call(feature="search", purpose="judge")) is None


def test_a_prompt_is_counted_over_its_versions():
    found = rule(by="prompt")
    assert found.window(new_call(prompt="docs/answer@1")) == found.window(new_call(prompt="docs/answer@2"))


def test_a_budget_per_run_is_for_runs_only():
    found = rule(per="run")
    assert found.window(new_call()) is None
    assert found.window(new_call(run="r1")) == "nanodollars/run/run=r1"
    assert found.window(new_call(run="r1")) != found.window(new_call(run="r2"))


def test_changing_a_limit_or_an_action_keeps_what_was_counted():
    names = {
        rule(limit=limit, action=action).window(new_call()) for limit in ("$1", "$2") for action in ("warn", "stop")
    }
    assert len(names) == 1


@pytest.mark.parametrize("name", [*DIMENSIONS, "tag:x"])
def test_every_dimension_can_be_counted_by(name):
    assert rule(by=name, where={name: "app" if name == "purpose" else ""}).by == (name,)
    assert rule(by=name).window(new_call(run="r")) is not None


# What is set aside


def test_a_call_sets_its_worst_case_aside():
    found = budgets(
        {"limit": "$1", "per": "day"}, {"limit": "1M tokens", "per": "day"}, {"limit": "5 requests", "per": "day"}
    )
    bound = request_bound(request())
    money, tokens, requests = found.holds(new_call(), request())
    assert tokens.amount == bound.input_tokens + 10
    assert money == Hold("nanodollars/day/2026-12-01", "nanodollars", DOLLAR, bound.input_tokens * 1000 + 20_000)
    assert requests.amount == 1


def test_rules_over_the_same_calls_share_a_window_and_the_strictest_holds():
    found = budgets(
        {"limit": "$5", "per": "day", "by": "team"},
        {"limit": "$3", "per": "day", "where": {"team": "search"}},
        {"limit": "$1", "per": "day", "where": {"team": "search"}, "action": "warn"},
    )
    of_teams, of_search = found.holds(new_call(team="search"), request())
    assert (of_teams.limit, of_teams.hard) == (5 * DOLLAR, True)
    assert (of_search.limit, of_search.hard) == (3 * DOLLAR, True)
    [hold] = found.holds(new_call(team="other"), request())
    assert hold.limit == 5 * DOLLAR


SCOPES = st.builds(
    lambda per, by, only: rule(per=per, by=by, **({"where": only} if only else {})),
    st.sampled_from(get_args(Period)),
    st.lists(st.sampled_from([*DIMENSIONS, "tag:x", "tag:a/b=c,where"]), max_size=3, unique=True),
    st.dictionaries(
        st.sampled_from([*(name for name in DIMENSIONS if name != "purpose"), "tag:x"]),
        st.sampled_from(["", "a", ["a", "b/c"]]),
        max_size=2,
    ),
)


@given(SCOPES, st.sampled_from(["", "a", "b/c", "where", "*", "x" * 200]), st.floats(0, 4e9))
def test_a_window_says_by_its_name_which_calls_count_in_it(found, value, at):
    whose = dict.fromkeys(("team", "feature", "user", "run", "suite", "variant", "purpose"), value)
    call = new_call(at=at, prompt=value, model=value, tags=(("x", value), ("a/b=c,where", value)), **whose)
    call = replace(call, backend=value, provider=value)
    window = found.window(call)
    assume(window is not None)
    scope = scope_of(window)
    assert replace(scope, stamp="") == found.scope
    assert scope.window(call) == window
    assert scope_of(scope.name) == scope, "a scope is known by its own name"
    since, until = scope.span()
    if found.per in ("run", "total"):
        assert (since, until) == (None, None)
    else:
        assert since <= at < until
        assert found.window(replace(call, started_at=until)) != window
        assert found.window(replace(call, started_at=since)) == window
        assert (is_over(window, until), is_over(window, until - 1)) == (True, False)


@pytest.mark.parametrize("name", ["", "team=search/2026-06-01", "x/day/2026-06-01", "tokens/day/June", "tokens/day"])
def test_other_names_are_of_no_scope(name):
    assert scope_of(name) is None


def test_a_hard_budget_in_money_refuses_what_has_no_price():
    found = budgets({"limit": "$1", "per": "day"})
    with pytest.raises(InputError, match=r"p/other has no price; add its price: \{model: other"):
        found.holds(new_call(model="other"), request())
    [hold] = budgets({"limit": "$1", "per": "day", "action": "warn"}).holds(new_call(model="other"), request())
    assert (hold.hard, hold.amount) == (False, 0)


def test_a_hard_budget_needs_a_bound_on_the_answer():
    endless = Request(({"role": "user", "content": "hello"},), "m")
    found = budgets({"limit": "1M tokens", "per": "day"})
    with pytest.raises(InputError, match="bound on every answer; give the prompt or request parameters"):
        found.holds(new_call(), endless)
    known = budgets({"limit": "1M tokens", "per": "day"}, pricer=Prices(max_output=100))
    assert known.holds(new_call(), endless)[0].amount == prompt_tokens_bound(endless) + 256 + 100
    assert budgets({"limit": "9 requests", "per": "day"}).holds(new_call(), endless)[0].amount == 1


def test_a_picture_has_no_bound_unless_somebody_says_so():
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    seen = Request(
        ({"role": "user", "content": [{"type": "text", "text": "hello"}, picture]},), "m", {"max_tokens": 10}
    )
    with pytest.raises(InputError, match=r"picture or file.*media_tokens"):
        budgets({"limit": "1M tokens", "per": "day"}).holds(new_call(), seen)
    told = budgets({"limit": "1M tokens", "per": "day", "media_tokens": 1500})
    assert told.holds(new_call(), seen)[0].amount == request_bound(seen).input_tokens + 1500 + 10
    known = budgets({"limit": "1M tokens", "per": "day"}, pricer=Prices(max_input=128_000))
    assert known.holds(new_call(), seen)[0].amount == 128_010
    assert request_bound(seen).input_tokens == request_bound(request()).input_tokens


# Bounds


@given(st.lists(st.text(max_size=60), max_size=5))
def test_a_prompt_has_at_most_its_bytes_in_tokens(texts):
    messages = tuple({"role": "user", "content": text} for text in texts)
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    assert prompt_tokens_bound(Request(messages)) == size + 16 * (len(texts) + 1)
    parts = tuple({"role": "user", "content": [{"type": "text", "text": text}]} for text in texts)
    assert prompt_tokens_bound(Request(parts)) == prompt_tokens_bound(Request(messages))


def test_everything_that_is_sent_counts():
    plain = prompt_tokens_bound(request())
    tool = {"type": "function", "function": {"name": "f", "description": "gräßlich"}}
    answer = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}],
    }
    for longer, part in (
        (replace(request(), tools=(tool,)), tool),
        (replace(request(), output_schema={"type": "object"}), {"type": "object"}),
        (replace(request(), messages=(*request().messages, answer)), answer["tool_calls"]),
    ):
        assert prompt_tokens_bound(longer) >= plain + len(json.dumps(part, ensure_ascii=False).encode())
    assert request_bound(replace(request(), tools=(tool,))).input_tokens > prompt_tokens_bound(request()) + 1024


@pytest.mark.parametrize(
    ("parameters", "bound"),
    [
        ({}, None),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 70, "n": 3}, 210),
        ({"max_tokens": 50, "max_completion_tokens": 70}, 70),
        ({"max_tokens": 50, "n": None}, 50),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": True}, None),
        ({"max_tokens": "50"}, None),
    ],
)
def test_the_bound_of_an_answer(parameters, bound):
    assert output_tokens_bound(Request((), parameters=parameters)) == bound


def test_the_worst_cost_of_a_request():
    assert (
        cost_bound(Prices(), request(n=2), provider="p", model="m")
        == request_bound(request()).input_tokens * 1000 + 40_000
    )
    with pytest.raises(InputError, match="no price"):
        cost_bound(Prices(), request(), provider="p", model="x")


# Using them


def test_what_a_call_used():
    hold = Hold("w", "nanodollars", 100, 60)
    call = replace(settled(new_call(), 7, tokens=5))
    assert amount_used(hold, call) == 7
    assert amount_used(replace(hold, unit="tokens"), call) == 5
    assert amount_used(replace(hold, unit="requests"), call) == 1
    assert amount_used(hold, replace(call, state="unknown", cost=None)) == 60
    assert amount_used(replace(hold, unit="tokens"), replace(call, state="unknown")) == 60
    assert amount_used(hold, replace(call, cost=None)) == 60
    assert amount_used(replace(hold, unit="requests"), replace(call, outcome="unsent")) == 0
    assert amount_used(hold, replace(call, outcome="unsent", cost=Cost(0))) == 0


def test_a_call_waits_for_others_in_flight_and_goes_when_they_gave_back():
    async def body():
        refused = asyncio.Event()
        log, found = MemoryLog(on_refusal=refused.set), budgets({"limit": "$1", "per": "day"})
        first, second = new_call("1"), new_call("2")
        holds = (replace(found.holds(first, request())[0], amount=700_000_000),)
        await found.begin(log, first, holds)
        waiting = asyncio.create_task(found.begin(log, second, holds))
        await refused.wait()
        assert not waiting.done()
        log.settle(settled(first, 100_000_000), holds)
        await waiting
        assert log.held == {holds[0].window: 700_000_000}

    asyncio.run(body())


def test_a_spent_budget_refuses_at_once_in_the_words_of_its_rule():
    async def body():
        found = budgets({"limit": "$1", "per": "day", "by": "team"})
        log, call = MemoryLog(), new_call(team="search")
        holds = found.holds(call, request())
        log.spent[holds[0].window] = DOLLAR - 1000
        with pytest.raises(BudgetRefusedError) as caught:
            await found.begin(log, call, holds)
        assert log.tries == 1
        assert not log.calls
        return caught.value

    error = asyncio.run(body())
    assert isinstance(error, BudgetExceededError)
    assert (error.kind, error.stops, error.exit_code) == ("budget_exceeded", False, 3)
    assert error.window == "nanodollars/day/team=search/2026-12-01"
    assert error.window not in str(error)
    for said in (
        "the budget of $1.00 a day for team search has no room: $1.00 used, this call may take",
        "next day",
    ):
        assert said in str(error)


@pytest.mark.parametrize(
    ("written", "call", "words"),
    [
        ({"per": "run", "action": "stop"}, {"run": "r-1"}, "the budget of $1.00 a run for run r-1"),
        ({"per": "total"}, {}, "the budget of $1.00 in total"),
        ({"per": "hour", "by": ["team", "user"]}, {"user": "a/b=c, d"}, "an hour for team (none), user a/b=c, d"),
        ({"per": "week", "where": {"team": ["b", "a"]}}, {"team": "a"}, "a week for team a or b"),
        ({"per": "month", "by": "tag:customer"}, {"tags": (("customer", "Ac*me"),)}, "a month for customer Ac*me"),
        ({"per": "day", "by": "team"}, {"team": "long" * 30}, "a day for team longlong"),
        ({"per": "day", "limit": "5k tokens"}, {}, "the budget of 5,000 tokens a day"),
    ],
)
def test_a_budget_names_whose_window_it_is_in_words(written, call, words):
    found = rule(**{"limit": "$1", **written})
    said = found.words(found.window(new_call(**call)) or "")
    assert said.startswith("the budget of ")
    assert words in said
    assert "/202" not in said and "%2" not in said and len(said) < 120


def test_patience_ends():
    async def body():
        found = budgets({"limit": "1 requests", "per": "run", "action": "stop"}, patience_s=0.05)
        log = MemoryLog()
        call = new_call(run="r")
        holds = found.holds(call, request())
        await found.begin(log, call, holds)
        log_tries = log.tries
        with pytest.raises(BudgetRefusedError, match="1 request set aside") as caught:
            await found.begin(log, replace(call, id="2"), holds)
        with pytest.raises(BudgetRefusedError):
            found.begin_now(log, replace(call, id="3"), holds)
        assert log.tries > log_tries + 2
        return caught.value

    error = asyncio.run(body())
    assert error.stops
    assert error.could_fit


@pytest.mark.parametrize("now", [False, True])
def test_what_a_dead_process_set_aside_is_settled_before_anybody_waits_for_it(now):
    log = MemoryLog()
    window = "requests/total"
    log.held[window] = 1
    times = []

    def settle_dead() -> None:
        times.append(log.tries)
        log.held[window], log.spent[window] = 0, 1

    found = budgets({"limit": "1 requests", "per": "total"}, settle_dead=settle_dead)
    call = new_call()
    holds = found.holds(call, request())
    with pytest.raises(BudgetRefusedError, match="1 request used"):
        if now:
            found.begin_now(log, call, holds)
        else:
            asyncio.run(found.begin(log, call, holds))
    assert (times, log.tries) == ([1], 2)


@given(
    st.integers(0, 500),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), max_size=30),
)
def test_a_hard_budget_is_never_overspent(limit, calls):
    async def body():
        found, log = budgets({"limit": f"{limit} tokens", "per": "day"}, patience_s=60), MemoryLog()

        async def spend(number: int, worst: int, share: float) -> None:
            call = new_call(str(number))
            holds = tuple(replace(hold, amount=worst) for hold in found.holds(call, request()))
            await found.begin(log, call, holds)
            assert sum(log.spent.values()) + sum(log.held.values()) <= limit
            await asyncio.sleep(0)
            log.settle(settled(call, tokens=int(worst * share)), holds)

        done = await asyncio.gather(*(spend(i, *call) for i, call in enumerate(calls)), return_exceptions=True)
        assert all(result is None or isinstance(result, BudgetRefusedError) for result in done)
        assert sum(log.spent.values()) <= limit
        assert not sum(log.held.values())

    asyncio.run(body())


# Warnings


def used(found: Budgets, amount: int, **changes) -> None:
    call: Call = settled(new_call(**changes), amount)
    found.settled(call, found.holds(call, request()))


def test_a_window_warns_once_at_80_percent_and_once_when_it_is_reached():
    told: list[str] = []
    found = budgets({"limit": "$1", "per": "day", "action": "warn"}, tell=lambda warning: told.append(str(warning)))
    for _ in range(12):
        used(found, DOLLAR // 10)
    assert [text.split(":")[0] for text in told] == [
        "the budget of $1.00 a day is 80% used",
        "the budget of $1.00 a day is reached",
    ]
    assert "$0.80 of $1.00" in told[0]
    used(found, DOLLAR, at=DAY + 86_400)
    assert len(told) == 3  # past both at once: one warning, of the new day


def test_a_warning_counts_what_other_processes_used():
    told: list[str] = []
    shared = {"nanodollars/day/2026-12-01": 700_000_000}
    reads: list[str] = []

    def spent(windows):
        reads.extend(windows)
        return shared

    found = budgets({"limit": "$1", "per": "day", "action": "warn"}, tell=lambda w: told.append(str(w)), spent=spent)
    used(found, 50_000_000)
    used(found, 50_000_000)
    assert not told
    used(found, 50_000_000)
    assert len(told) == 1
    assert len(reads) == 1  # and not again for ten seconds


def test_what_others_used_is_read_again_after_a_while():
    now = [0.0]
    told: list[float] = []
    amounts = iter([{}, {"w": 900}])
    watch = Watch(lambda warning: told.append(warning.share), lambda windows: next(amounts), clock=lambda: now[0])
    warned = rule(limit="1000 tokens", action="warn")
    watch.add("w", 1, [warned])
    now[0] = 5.0
    watch.add("w", 1, [warned])
    assert not told
    now[0] = 10.0
    watch.add("w", 1, [warned])
    assert told == [0.8]


def test_a_hard_budget_warns_of_nothing_and_a_callback_that_fails_harms_no_call():
    heard = []

    def broken(warning):
        heard.append(warning)
        raise ValueError("no")

    used(budgets({"limit": "$1", "per": "day"}, tell=broken), 2 * DOLLAR)
    assert heard == []
    used(budgets({"limit": "$1", "per": "day", "action": "warn"}, tell=broken), 2 * DOLLAR)
    assert heard


def test_without_a_callback_python_warns(recwarn):
    import warnings

    warnings.simplefilter("always")
    used(budgets({"limit": "$1", "per": "day", "action": "warn"}), DOLLAR)
    assert "is reached" in str(recwarn.pop(RuntimeWarning).message)


def test_calls_no_budget_is_for_set_nothing_aside():
    found = budgets({"limit": "$1", "per": "day", "where": {"team": "search"}})
    assert found.holds(new_call(team="other", model="unpriced"), Request(())) == ()
