"""New windows of budgets begin with what was spent in them, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from call_behaviours import HOUR, NOON, begin, ended, new_call, place_of, reading
from conftest import clean_environment
from llmops.identity import new_id
from llmops.process import this_process
from llmops.store import call_batches
from llmops.store.call_log import open_call_log
from llmops.store.call_writer import CallWriter
from llmops.types import Attribution, Call, Cost, Hold
from llmops.usage.budget_rules import BudgetRule, parse_budgets
from llmops.usage.budget_scopes import DIMENSIONS
from llmops.usage.budgets import amount_used

MIDNIGHT = NOON - 12 * HOUR
WORKER = Path(__file__).parent / "window_worker.py"
UNITS = {"nanodollars": "$5", "tokens": "5M tokens", "requests": "500 requests"}


@pytest.fixture
def location(each_store):
    return each_store


def rule(**written) -> BudgetRule:
    return parse_budgets([{"limit": "$5", "per": "day", **written}])[0]


def hold_of(found: BudgetRule, call: Call, amount: int = 1000) -> Hold:
    window = found.window(call)
    assert window is not None
    return Hold(window, found.unit, found.limit, amount, hard=found.is_hard)


def ledger(location: str) -> dict[str, tuple[int, int]]:
    with reading(location) as calls:
        return {one.window: (one.spent, one.reserved) for one in calls.ledger()}


def various() -> list[Call]:
    """Calls of several hours and days that differ in all that budgets know."""
    made = []
    for number in range(48):
        value = ("", "a", "b/c", "long" * 40)[number % 4]
        names = ("purpose", "team", "feature", "user", "run", "suite", "variant")
        whose = {name: value if (number >> place) % 2 else "other" for place, name in enumerate(names)}
        whose["purpose"] = ("app", "eval")[number % 2]
        tags = (("customer", value), ("a/b=c", "1"))[: number % 3]
        whose |= {"prompt": f"docs/p{number % 2}@{number % 5}", "tags": tags}
        call = new_call(MIDNIGHT + (number - 20) * HOUR, attribution=Attribution(**whose), provider=value or "openai")
        made.append(replace(call, backend=value, model_asked=f"m{number % 3}"))
    return made


RULES = [
    *({"by": name} for name in (*DIMENSIONS, "tag:customer", "tag:a/b=c")),
    *({"per": per} for per in ("hour", "week", "month", "total")),
    *({"per": per, "by": ["user", "team"]} for per in ("hour", "total")),
    {"per": "run"},
    {"per": "run", "by": "user"},
    {"where": {"team": ["a", "other"], "prompt": "docs/p1"}, "by": ["team", "model"]},
    {"where": {"user": "long" * 40}},
    {"where": {"tag:customer": ["", "b/c"], "purpose": "app"}, "per": "month"},
]


@pytest.mark.parametrize("unit", UNITS)
def test_a_new_budget_begins_with_what_the_log_has(location, unit):
    """Whatever it is by: a window for each value, with what its calls used until then."""
    calls = various()
    ends = [ended(call, 10 * number) for number, call in enumerate(calls)]
    ends[4:8] = [ended(ends[4], 40, outcome="unsent"), ended(ends[5], None), *ends[6:8]]
    skewed = replace(ended(calls[30], 77), id=new_id())  # its id says another time
    with open_call_log(location) as log:
        for call in (*ends, skewed):
            log.settle(call)
        log.flush()
        for written in RULES:
            found = rule(limit=UNITS[unit], **written)
            expected: Counter[str] = Counter()
            for call in (*ends, skewed):
                if found.window(call) is not None:
                    known = call.cost is not None or unit != "nanodollars"
                    expected[str(found.window(call))] += amount_used(Hold("", unit, 1, 0), call) if known else 0
            own = next(call for call in reversed(calls) if found.window(call) is not None)
            call = replace(own, id=new_call(own.started_at).id)
            begin(log, call, holds=(hold_of(found, call, 3),))
            stamp = found.window(call).rpartition("/")[2] if found.per not in ("run", "total") else ""
            got = {name: spent for name, (spent, _) in ledger(location).items() if same(found, name)}
            assert {name: spent for name, spent in got.items() if spent} == {
                name: spent for name, spent in expected.items() if spent and name.endswith(stamp)
            }, written
            assert ledger(location)[str(found.window(call))][1] >= 3
            log.discard(call, (hold_of(found, call, 3),))
            log.flush()


def same(found: BudgetRule, window: str) -> bool:
    from llmops.usage.budget_scopes import same_rules

    return same_rules(found.scope, window)


def test_a_limit_counts_what_was_spent_before_it_was_written(location):
    found = rule(limit="$0.000001", by="team")
    with open_call_log(location) as log:
        for cost in (300, 400):
            log.settle(ended(new_call(NOON - HOUR), cost))
        log.settle(ended(new_call(MIDNIGHT - 1), 900))  # yesterday
        log.flush()
        call = new_call(NOON)
        [refused] = begin(log, call, holds=(hold_of(found, call, 301),))
        assert (refused.used, refused.left) == (700, 300)
        assert begin(log, call, holds=(hold_of(found, call, 300),)) == [None]


def test_calls_in_flight_count_once_they_end_and_hold_what_other_budgets_say(location):
    old, new = rule(by="team"), rule(by="user")
    with closing(CallWriter(place_of(location))) as other, open_call_log(location) as log:
        held, free, theirs = new_call(NOON), new_call(NOON), new_call(NOON)
        begin(log, held, holds=(hold_of(old, held, 500),))
        begin(log, free)
        begin(other, theirs, holds=(hold_of(old, theirs, 70),))
        first = new_call(NOON + 1)
        begin(log, first, holds=(hold_of(new, first, 9),))
        assert ledger(location)[new.window(first)] == (0, 579)
        other.settle(ended(theirs, 30), (hold_of(old, theirs, 70),))
        other.flush()
        log.settle(ended(free, 200))
        log.settle(ended(held, state="unknown"), (hold_of(old, held, 500),))
        log.flush()
        assert ledger(location)[new.window(first)] == (730, 9)
        assert ledger(location)[old.window(first)] == (530, 0)
        log.settle(ended(first, 5), (hold_of(new, first, 9),))
        log.flush()
        assert ledger(location)[new.window(first)] == (735, 0)


def test_a_call_in_flight_is_counted_in_every_budget_that_was_added_to_it(location):
    first, second = rule(by="team"), rule(limit="5 requests", by="user")
    with open_call_log(location) as log:
        flying, discarded = new_call(NOON), new_call(NOON)
        begin(log, flying, discarded)
        for found in (first, second):
            call = new_call(NOON)
            begin(log, call, holds=(hold_of(found, call, 1),))
            log.settle(ended(call, 1), (hold_of(found, call, 1),))
        log.discard(discarded)
        log.settle(ended(flying, 50))
        log.flush()
        assert ledger(location) == {first.window(flying): (51, 0), second.window(flying): (3, 0)}


def test_a_dead_process_has_spent_what_was_set_aside_for_it_later(location, monkeypatch):
    old, new = rule(by="team"), rule(by="user")
    open_call_log(location).close()
    with closing(CallWriter(place_of(location))) as dead, open_call_log(location) as log:
        lost, first = new_call(NOON), new_call(NOON)
        begin(log, first)  # it looks for the dead before there is one
        with monkeypatch.context() as context:
            context.setattr(call_batches, "this_process", lambda: {**this_process(), "started": "1"})
            begin(dead, lost, holds=(hold_of(old, lost, 60),))
        begin(log, replace(first, id=new_call(NOON).id), holds=(hold_of(new, first, 9),))
        assert ledger(location)[new.window(lost)] == (0, 69)
        with reading(location) as calls:
            assert calls.settle_dead() == 1
        assert ledger(location)[new.window(lost)] == (60, 9)
        assert ledger(location)[old.window(lost)] == (60, 0)


def test_once_a_budget_is_there_its_new_windows_look_nothing_up(location, monkeypatch):
    from llmops.store import call_seeds

    seeded: list[str] = []
    monkeypatch.setattr(call_seeds, "_seed", lambda driver, scope, like: seeded.append(scope.name))
    found = rule(by="user")
    with open_call_log(location) as log:
        for user in "abc":
            call = new_call(NOON, attribution=Attribution(user=user))
            begin(log, call, holds=(hold_of(found, call),))
    with closing(CallWriter(place_of(location))) as other:  # and in another process
        call = new_call(NOON, attribution=Attribution(user="d"))
        begin(other, call, holds=(hold_of(found, call),))
    assert seeded == ["nanodollars/day/user=*/2026-06-01"]


def test_processes_that_race_for_a_new_window_count_every_call_once(location):
    at = time.time() // 86_400 * 86_400
    with open_call_log(location) as log:
        for team in "ab":
            log.settle(ended(new_call(at, attribution=Attribution(team=team, user="x")), 1_000_000))
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), location, kind, str(seed), str(at)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        )
        for seed, kind in enumerate(("OLD", "OLD", "NEW", "NEW", "NEW"))
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n", worker.communicate(timeout=60)
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
        said = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(30)
    assert [worker.returncode for worker in workers] == [0] * 5, json.dumps(said)[-3000:]
    lines = [line.split() for out, _ in said for line in out.splitlines()]
    teams, users = Counter({"a": 1_000_000, "b": 1_000_000}), Counter({("a", "x"): 1_000_000, ("b", "x"): 1_000_000})
    for team, user, cost in lines:
        teams[team] += int(cost)
        users[team, user] += int(cost)
    day = time.strftime("%Y-%m-%d", time.gmtime(at))
    got = {name: state for name, state in ledger(location).items() if name.endswith(day)}
    assert got == {
        **{f"nanodollars/day/team={team}/{day}": (cost, 0) for team, cost in teams.items()},
        **{f"nanodollars/day/team={team}/user={user}/{day}": (cost, 0) for (team, user), cost in users.items()},
        f"requests/day/{day}": (len(lines) + 2, 0),
    }


@pytest.mark.parametrize(
    ("state", "cost", "wanted"), [("estimated", 900, 900), ("estimated", 90, 500), ("settled", 90, 90)]
)
def test_a_hard_budget_counts_an_estimate_as_its_worst_case_or_more(state, cost, wanted):
    call = Call("1", 0.0, outcome="error", state=state, cost=Cost(cost))
    assert amount_used(Hold("w", "dollars", 10_000, 500, hard=True), call) == wanted
    assert amount_used(Hold("w", "dollars", 10_000, 500, hard=False), call) == cost
