"""What a run spent: counted as it goes, saved with it, and told by every report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import report_samples
from llmops.evals.answering import taken
from llmops.evals.sender import Meter
from llmops.reports.machine import write_json
from llmops.reports.rendering import render
from llmops.reports.spent import spending_of, spent_lines
from llmops.reports.summary import summarize
from llmops.store.checks import ShapeError
from llmops.store.encoding import dumps, loads
from llmops.store.shapes import record_data, record_of
from llmops.types import Completion, Output, Usage
from llmops.usage.spending import RunSpending, Spending, spent_before

DOLLAR = 1_000_000_000
EXACT = Usage(100, 20, requests=1, certainty="exact", cost=DOLLAR)
GUESS = Usage(50, 10, requests=1, certainty="estimated", cost=DOLLAR // 4, estimated_cost=True)
UNPRICED = Usage(30, 5, requests=1, certainty="exact", unpriced=1)
counts = st.integers(0, 10**12)
usages = st.builds(
    Usage, counts, counts, counts, counts, counts, counts, st.sampled_from(["exact", "estimated", "unknown"]),
    cost=st.none() | counts, unpriced=counts, estimated_cost=st.booleans(),
)  # fmt: skip
spendings = st.builds(Spending, usages, counts, usages)


def rendered(format: str, spending: RunSpending | None, **changes: object) -> str:
    config = {} if spending is None else {"spent": spending.as_data()}
    record = report_samples.record(config=config, **changes)
    rows = [report_samples.result(f"c{i}", variant, token_f1=0.5) for i in range(3) for variant in ("small", "large")]
    parts: list[str] = []
    render(format, record, rows, write=parts.append)
    return "".join(parts)


@given(st.lists(st.tuples(usages, st.booleans()), max_size=6))
def test_exact_and_estimated_dollars_add_up_and_the_cache_costs_nothing(trials):
    total = sum((Spending.of(usage, cached=cached) for usage, cached in trials), Spending())
    paid = [usage for usage, cached in trials if not cached]
    assert (total.paid.cost or 0) == sum(usage.cost or 0 for usage in paid) == total.exact + total.estimated
    assert total.estimated == sum(usage.cost or 0 for usage in paid if usage.estimated_cost)
    assert total.paid.unpriced == sum(u.unpriced for u in paid if u.requests or u.total_tokens or u.cost or u.unpriced)


@given(spendings, st.none() | spendings, st.booleans())
def test_what_is_saved_is_what_is_read(answering, judging, partial):
    spending = RunSpending(answering, judging, partial)
    record = report_samples.record(config={"spent": spending.as_data()})
    kept = record_of(loads(dumps(record_data(record))))
    assert RunSpending.from_data(kept.config["spent"]) == spending


@pytest.mark.parametrize(
    "wrong", [[], {"answering": 3}, {"answering": {"paid": {"cost": "dear"}}}, {"judging": {"estimated": "some"}}]
)
def test_saved_spending_of_another_shape_is_refused(wrong):
    with pytest.raises(ShapeError):
        record_of({**record_data(report_samples.record()), "config": {"spent": wrong}})


def test_a_trial_that_asked_a_model_and_the_cache_paid_for_the_model_alone():
    meter = Meter()
    meter.add(Completion("a", EXACT))
    meter.add(Completion("b", GUESS, cached=True))
    spending = taken(Output("b", usage=meter.usage), meter)
    assert (spending.paid, spending.reused) == (EXACT, GUESS)
    assert (spending.exact, spending.estimated) == (DOLLAR, 0)


def test_a_pipeline_that_counts_for_itself_is_believed():
    own = Usage(900, 90, requests=3, certainty="exact", cost=5)
    assert taken(Output("a", usage=own), Meter()) == Spending(own)
    assert taken(Output("a", usage=own, cached=True), Meter()) == Spending(reused=own)


SPENT = RunSpending(
    Spending(EXACT + GUESS + UNPRICED, DOLLAR // 4, replace(EXACT, cost=DOLLAR // 2)),
    Spending(replace(EXACT, cost=2 * DOLLAR)),
)


@pytest.mark.parametrize("format", ["terminal", "markdown", "html"])
def test_every_report_tells_the_total_its_certainty_and_judging_apart(format):
    text = " ".join(rendered(format, SPENT).split())
    assert "Cost $3.2500: $1.2500 for answers, $2.0000 for judging them" in text
    assert "$3.0000 exact, $0.2500 estimated, and 1 request without a price, in no sum" in text
    assert "4 requests, 280 tokens in, 55 out; some of it estimated" in text
    assert "1 more request answered from the cache, for nothing ($0.50 saved)" in text


def test_the_json_report_has_both_parts_and_their_sum():
    found = json.loads(rendered("json", SPENT))
    assert "spent" not in found["run"]["config"], "one place"
    spent = found["spent"]
    assert [spent[part]["cost"] for part in ("answering", "judging", "total")] == [
        5 * DOLLAR // 4,
        2 * DOLLAR,
        13 * DOLLAR // 4,
    ]
    total = spent["total"]
    assert (total["exact"], total["estimated"], total["unpriced"]) == (3 * DOLLAR, DOLLAR // 4, 1)
    assert (total["requests"], total["input_tokens"], total["output_tokens"]) == (4, 280, 55)
    assert (total["from_cache"]["requests"], total["from_cache"]["cost"]) == (1, DOLLAR // 2)


def test_requests_without_a_price_are_counted_and_never_free():
    unpriced = RunSpending(Spending(UNPRICED + UNPRICED))
    for format in ("terminal", "markdown", "html"):
        text = rendered(format, unpriced)
        assert "Cost unknown: no request has a price (2 requests)" in text and "$0" not in text
    assert json.loads(rendered("json", unpriced))["spent"]["total"]["cost"] is None


def test_a_run_from_the_cache_cost_nothing():
    text = rendered("terminal", RunSpending(Spending(reused=EXACT)))
    assert "Cost $0: everything came from the cache, which would have cost $1.00" in text


def test_a_run_of_before_tells_what_its_answers_took_and_that_judging_was_not_counted():
    record = report_samples.record()
    rows = [report_samples.result("c1", "small"), report_samples.result("c2", "small")]
    rows = [replace(row, output=Output("a", usage=EXACT)) for row in rows]
    rows[1] = replace(rows[1], output=Output("b", usage=EXACT, cached=True))
    lines = spent_lines(spending_of(summarize(record, rows)))
    assert lines == ["Cost $1.0000: all of it exact; judging was not counted", "1 request, 100 tokens in, 20 out"]
    assert spending_of(summarize(replace(record, id=""), rows)) is None, "a comparison of two runs spends nothing"
    assert spending_of(summarize(replace(record, environment={"scored_from": "x"}), rows)) is None
    parts: list[str] = []
    write_json(replace(record, id=""), rows, parts.append)
    assert json.loads("".join(parts))["spent"] is None


def test_a_run_that_is_resumed_goes_on_from_what_it_had_spent():
    record = report_samples.record(config={"spent": SPENT.as_data()})
    assert spent_before(record, ()) == SPENT
    rows = [replace(report_samples.result("c1", "small"), output=Output("a", usage=GUESS))]
    assert spent_before(report_samples.record(), rows) == RunSpending(Spending(GUESS, DOLLAR // 4), None)


def test_nothing_asked_is_nothing_said():
    assert spent_lines(RunSpending()) == [] and spent_lines(None) == []
    assert "Cost" not in rendered("terminal", RunSpending())
