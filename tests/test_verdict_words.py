"""Verdicts in words: the report lines of the specification, in every unit and direction."""

from __future__ import annotations

import html
import io
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from comparison_samples import hostile_comparison, pull_request, score_files
from llmops.evals.comparing import compare_metric
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.estimates import Paired
from llmops.reports.compared_cases import compared_cases
from llmops.reports.comparison_data import comparison_data
from llmops.reports.machine import write_json
from llmops.reports.rendering import render
from llmops.reports.terminal import print_report
from llmops.reports.verdicts import (
    amount,
    cautions,
    change,
    confidence,
    evidence,
    headline,
    interval,
    is_cost,
    leading,
    limit,
    mark,
    reading,
    sentence,
    signed,
    stopped,
    title,
    wanted_alpha,
    worst_first,
)
from llmops.types import Case, Comparison, Failure, MetricComparison, MetricInfo, Output, Result, Score, Stopping
from report_samples import Stream, record

PASS_RATE = MetricInfo("pass_rate")
LATENCY = MetricInfo("latency_mean", 0.0, None, "lower", "s")
TOKENS = MetricInfo("tokens_per_case", 0.0, None, "lower", "tokens")
RATING = MetricInfo("rating", 1.0, 5.0)


def made(info: MetricInfo = PASS_RATE, **changes: object) -> MetricComparison:
    """A pass rate that fell from 78 to 71 %."""
    fields: dict[str, object] = {
        "info": info, "kind": "binary", "n": 200, "mean_a": 0.78, "mean_b": 0.71, "diff": -0.07, "ci": (-0.13, -0.014),
        "p": 0.01, "lo_safe": -0.13, "method": "Tango", "verdict": "regressed", "margin": 0.05,
        "broke": tuple("b" * 24), "fixed": tuple("f" * 10),
    }  # fmt: skip
    return MetricComparison(**{**fields, **changes})  # type: ignore[arg-type]


def bounded(name: str, **changes: object) -> MetricComparison:
    return made(MetricInfo(name), **{"kind": "bounded", "broke": (), "fixed": (), **changes})


def test_a_drop_is_told_as_the_specification_tells_it() -> None:
    metric = made()
    assert headline(metric) == "Pass rate fell 7.0 points (78.0 % → 71.0 %)"
    assert sentence(metric) == (
        "24 answers broke, 10 were fixed. Not luck: the true drop is between 1.4 and 13.0 points (95 % sure)."
    )
    assert mark(metric) == "❌"
    assert mark(metric, ascii=True) == "[worse]"


def test_no_meaningful_drop_names_the_worst_case_and_the_limit() -> None:
    metric = bounded(
        "faithfulness", verdict="equivalent", n=120, mean_a=0.785, mean_b=0.793, ci=(-0.012, 0.028), lo_safe=-0.014
    )
    assert headline(metric) == "Faithfulness: no meaningful drop"
    assert sentence(metric) == "0.785 → 0.793; at worst 1.4 points lower (your limit: 5). 120 cases."
    assert mark(metric) == "✅"


def test_a_gain_names_what_got_better_first() -> None:
    metric = bounded("helpfulness", verdict="improved", diff=0.041, ci=(0.009, 0.074), broke=("a",), fixed=("b", "c"))
    assert headline(metric) == "Helpfulness up 4.1 points (0.780 → 0.710)"
    assert sentence(metric) == (
        "2 answers got clearly better, 1 clearly worse. "
        "Not luck: the true gain is between 0.9 and 7.4 points (95 % sure)."
    )


def test_what_cannot_be_told_says_what_would_tell() -> None:
    metric = made(verdict="inconclusive", n=120, diff=-0.015, ci=(-0.062, 0.031), mde=0.078, n_needed=495)
    assert headline(metric) == "Pass rate: can't tell yet"
    assert sentence(metric) == (
        "−1.5 points; anything from −6.2 to +3.1 points fits. With 120 cases this check only catches drops of 8+ "
        "points; to catch 5, use about 375 more."
    )
    assert mark(metric) == "⚪"
    assert mark(metric, ascii=True) == "[?]"


def test_more_cases_are_not_asked_for_where_something_else_is_in_the_way() -> None:
    few = made(verdict="inconclusive", n=8, mde=0.5, n_needed=495, why=("8 cases, pass or fail needs 10",))
    assert "use about 487 more. 8 cases, pass or fail needs 10." in sentence(few)
    failed = made(
        verdict="inconclusive", n=120, mde=0.5, n_needed=495, why=("40.0% of the candidate's answers failed",)
    )
    assert sentence(failed).endswith("fits. 40.0% of the candidate's answers failed.")


def test_enough_cases_that_still_cannot_tell_are_not_asked_to_be_more() -> None:
    said = evidence(made(verdict="inconclusive", mde=0.04, n_needed=150, ci=(-0.06, 0.01)))
    assert "more" not in said
    assert "catches drops of 4+ points" in said


def test_numbers_of_cases_beyond_reason_are_not_spelled_out() -> None:
    assert "would take more than 1,000,000 cases" in evidence(
        made(verdict="inconclusive", mde=0.2, margin=1e-9, n_needed=10**30)
    )


def test_nothing_to_compare_makes_no_figures_up() -> None:
    nothing = made(
        verdict="inconclusive", n=0, mean_a=None, mean_b=None, diff=0.0, ci=(-math.inf, math.inf), lo_safe=-math.inf
    )
    assert evidence(nothing) == "No case has a score on both sides."
    one = made(verdict="inconclusive", n=1, ci=(-math.inf, math.inf), lo_safe=-math.inf)
    assert evidence(one) == "−7.0 points. 1 case."
    assert interval(one) == ""
    assert change(nothing) == ""


def test_a_small_real_drop_is_not_called_nothing() -> None:
    metric = bounded("faithfulness", verdict="equivalent", ci=(-0.03, -0.01), lo_safe=-0.031)
    assert headline(metric) == "Faithfulness: small real drop, within your limit"
    assert "at worst 3.1 points lower" in sentence(metric)


def test_a_pass_bound_at_or_above_zero() -> None:
    assert "at worst 0.4 points higher" in evidence(bounded("f", verdict="equivalent", lo_safe=0.004))
    assert "at worst the same" in evidence(bounded("f", verdict="equivalent", lo_safe=0.0))


def test_latency_is_told_by_the_clock_and_by_what_is_better() -> None:
    worse = made(
        LATENCY, kind="number", mean_a=1.2, mean_b=1.32, diff=-0.12, ci=(-0.2, -0.05), margin=0.1, broke=(), fixed=()
    )
    assert headline(worse) == "Mean latency up 120 ms (1.20 s → 1.32 s): worse"
    assert evidence(worse) == "Not luck: the true rise is between 50 ms and 200 ms (95 % sure)."
    assert interval(worse) == "+50 ms to +200 ms"
    unclear = made(
        LATENCY, kind="number", diff=-0.12, ci=(-0.2, 0.05), margin=0.1, mde=0.2, n_needed=300, verdict="inconclusive",
        guard=True,
    )  # fmt: skip
    assert evidence(replace(unclear, guard=False)) == "+120 ms."
    assert evidence(unclear) == (
        "+120 ms; anything from −50 ms to +200 ms fits. With 200 cases this check only catches rises of 200 ms or "
        "more; to catch 100 ms, use about 100 more."
    )
    fine = made(
        LATENCY, kind="number", verdict="equivalent", mean_a=1.2, mean_b=1.21, ci=(-0.05, 0.03), lo_safe=-0.05,
        margin=0.1,
    )  # fmt: skip
    assert headline(fine) == "Mean latency: no meaningful rise"
    assert "at worst 50 ms higher (your limit: 100 ms)" in evidence(fine)


def test_tokens_and_other_units() -> None:
    fewer = made(TOKENS, kind="number", mean_a=812.0, mean_b=640.0, diff=172.0, ci=(120.0, 220.0), verdict="improved")
    assert headline(fewer) == "Tokens per case down 172 tokens (812 → 640): better"
    assert "the true fall is between 120 and 220 tokens" in evidence(fewer)
    rating = made(RATING, kind="ordinal", mean_a=4.2, mean_b=3.8, diff=-0.4, ci=(-0.6, -0.2), margin=0.2)
    assert headline(rating) == "Rating fell 0.4 (4.2 → 3.8)"
    graded = made(MetricInfo("score", 0.0, 100.0, unit="%"), kind="bounded", mean_a=71.0, mean_b=69.0, diff=-2.0)
    assert headline(graded) == "Score fell 2.0 points (71 → 69 %)"


@pytest.mark.parametrize("unit", ["<b>", "@team", "www.evil.example", "x" * 40, "a\nb", "`"])
def test_a_unit_that_is_no_unit_is_left_out(unit: str) -> None:
    metric = made(MetricInfo("m", 0.0, 9.0, unit=unit), kind="bounded")
    assert unit not in headline(metric) + sentence(metric) + reading(3.0, metric)


@pytest.mark.parametrize(
    ("alpha", "own", "said"),
    [
        (0.05, 0.05, "95 % sure"),
        (0.01, 0.01, "99 % sure"),
        (0.1, 0.1, "90 % sure"),
        (0.001, 0.001, "99.9 % sure"),
        (0.05, 0.0005, "95 % interval, valid at every look"),
    ],
)
def test_confidence_is_the_one_that_was_asked_for(alpha: float, own: float, said: str) -> None:
    assert confidence(made(alpha=own), alpha) == said
    assert said in sentence(made(alpha=own), alpha)


@pytest.mark.parametrize(
    ("config", "alpha"),
    [
        ({}, 0.05),
        ({"comparison": {"alpha": 0.01}}, 0.01),
        ({"comparison": {"alpha": 7}}, 0.05),
        ({"comparison": "x"}, 0.05),
    ],
)
def test_the_level_is_read_from_the_suite(config: dict[str, object], alpha: float) -> None:
    assert wanted_alpha(record(config=config)) == alpha


def test_cautions() -> None:
    said = cautions(made(errors_a=1, errors_b=3, unscored=2, why=("8 cases, scores need 20",)))
    assert said == [
        "3 answers of the candidate and 1 of the baseline failed: counted as the worst score.",
        "2 cases left out: a side has no score.",
        "8 cases, scores need 20.",
    ]
    assert cautions(made(LATENCY, errors_b=3)) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("token_f1", "token_f1"), ("exact_match", "Exact match"), ("recall@5", "recall@5"), ("latency_p95", "Latency p95"),
     ("latency_mean", "Mean latency"), ("", "(no name)"), ("\x1b[31mred\n", "Red")],
)  # fmt: skip
def test_titles(name: str, said: str) -> None:
    assert title(made(MetricInfo(name))) == said


def test_sizes() -> None:
    metric = made()
    assert (amount(-0.07, metric), signed(-0.015, metric), signed(0.0, metric)) == (
        "7.0 points",
        "−1.5 points",
        "±0.0 points",
    )
    assert (amount(0.0004, metric), limit(metric), limit(made(margin=0.025))) == ("0.04 points", "5", "2.5")
    assert (reading(0.78, metric), reading(0.785, bounded("f")), reading(None, metric)) == ("78.0 %", "0.785", "–")
    assert (reading(0.0123, made(LATENCY)), reading(12.3, made(LATENCY))) == ("12 ms", "12.30 s")
    assert amount(math.inf, metric) == signed(math.nan, metric) == "–"


def test_stopping_early_says_what_it_saved() -> None:
    metric, unclear = made(guard=True), made(verdict="inconclusive", guard=True)
    early = Stopping(6, 10, 120, 200)
    clear = Comparison("a", "b", 120, (metric,), stopping=early)
    assert stopped(clear) == "Stopped after 120 of 200 cases: answer already clear, 40 % of calls saved."
    assert stopped(Comparison("a", "b", 120, (metric, unclear), stopping=early)) == "Stopped after 120 of 200 cases."
    assert stopped(Comparison("a", "b", 200, (metric,), stopping=Stopping(10, 10, 200, 200))) == ""
    assert stopped(Comparison("a", "b", 200, (metric,))) == ""


def test_guards_lead_and_costs_do_not() -> None:
    guard, other, slow = made(guard=True), bounded("other", verdict="improved"), made(LATENCY)
    assert leading(Comparison("a", "b", 9, (other, guard, slow))) == [guard]
    fell = bounded("fell", verdict="regressed")
    assert leading(Comparison("a", "b", 9, (fell, guard, slow))) == [guard, fell]  # nobody asked, but it fell
    assert leading(Comparison("a", "b", 9, (other, slow))) == [other]
    assert leading(Comparison("a", "b", 9, (slow,))) == [slow]
    assert is_cost(made(TOKENS))
    assert not is_cost(made(MetricInfo("latency_mean")))  # a metric of the suite that happens to be called so
    fine, unclear = bounded("x", verdict="equivalent"), bounded("y", verdict="inconclusive")
    assert worst_first([fine, unclear, guard]) == [guard, unclear, fine]


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([PASS_RATE, LATENCY, TOKENS, RATING, MetricInfo("n", None, None, "none", "kB")]),
    st.sampled_from(["improved", "equivalent", "regressed", "inconclusive"]),
    st.tuples(numbers, numbers, numbers, numbers, numbers),
    st.integers(0, 10**6),
)
def test_any_figures_make_sentences(info: MetricInfo, verdict: str, figures: tuple[float, ...], n: int) -> None:
    diff, low, high, safe, mde = figures
    metric = made(info, verdict=verdict, diff=diff, ci=(low, high), lo_safe=safe, mde=mde, n=n, n_needed=n * 2)
    said = f"{headline(metric)}. {sentence(metric)} {interval(metric)}"
    assert "nan" not in said
    assert "inf" not in said
    assert said.isprintable()


# Cases


def answers(case: str, variant: str, values: list[float | None]) -> list[Result]:
    down = Failure("down", "x")
    return [
        Result(
            variant, Case(case), Output(f"{case} {variant} {i}", error=down if v is None else None), i,
            {} if v is None else {"pass_rate": Score(v)},
        )
        for i, v in enumerate(values)
    ]  # fmt: skip


def test_worst_broken_and_best_fixed_cases_with_the_repeats_that_moved_most() -> None:
    metric = made(broke=("q1", "q2", "q3"), fixed=("q4", "q5"), guard=True)
    results = [
        *answers("q1", "a", [0.0, 1.0]), *answers("q1", "b", [1.0, 0.0]), *answers("q4", "a", [1.0, 0.0]),
        *answers("q4", "b", [0.0, 1.0]), *answers("q2", "b", [1.0, None]), *answers("q9", "a", [1.0]),
    ]  # fmt: skip
    random.Random(3).shuffle(results)
    found = compared_cases(Comparison("a", "b", 6, (metric,)), results, 2)
    assert [(one.id, one.kind) for one in found] == [("q1", "broke"), ("q2", "broke"), ("q4", "fixed"), ("q5", "fixed")]
    texts = [(one.before and one.before.output.text, one.after and one.after.output.text) for one in found]
    assert texts == [("q1 a 1", "q1 b 1"), (None, "q2 b 1"), ("q4 a 1", "q4 b 1"), (None, None)]


def test_cases_of_metrics_that_regressed_come_before_others_and_metrics_take_turns() -> None:
    one, two = (bounded(name, broke=(f"{name}1", f"{name}2", "both"), guard=True) for name in "xy")
    fine = bounded("z", verdict="equivalent", broke=("z1",), guard=True)
    found = compared_cases(Comparison("a", "b", 9, (fine, one, two)), [], 4)
    assert [view.id for view in found] == ["x1", "y1", "x2", "y2"]
    assert [view.id for view in compared_cases(Comparison("a", "b", 9, (fine,)), [], 4)] == ["z1"]


def test_only_the_wanted_cases_are_read_where_a_store_can_find_them() -> None:
    asked: list[list[str]] = []

    class Narrow(Stream):
        def of_cases(self, ids: list[str]) -> list[Result]:
            asked.append(ids)
            return answers("q1", "a", [1.0])

    def never() -> list[Result]:
        raise AssertionError("everything was read")

    [view] = compared_cases(Comparison("a", "b", 9, (made(broke=("q1",), fixed=()),)), Narrow(never), 5)
    assert asked == [["q1"]]
    assert view.before is not None


# JSON and terminal


def test_json_has_the_keys_of_compare() -> None:
    head, results = pull_request(40)
    data = comparison_data(head.comparisons[0])
    metric = data["metrics"]["pass"]
    wanted = "n groups mean_a mean_b diff ci p lo_safe method verdict mde n_needed broke fixed"
    assert set(wanted.split()) <= set(metric)
    assert metric["ci"] == list(head.comparisons[0].metrics[0].ci)
    assert isinstance(metric["broke"], list)
    assert {"tag", "metric", "notable", "p"} <= set(data["slices"][0])
    written: list[str] = []
    write_json(head, results, written.append)
    page = json.loads("".join(written))
    assert page["comparisons"] == json.loads(json.dumps([data]))
    assert "comparisons" not in page["run"]


def test_json_of_unknown_and_hostile_figures_is_strict() -> None:
    nothing = made(mean_a=None, mean_b=None, ci=(-math.inf, math.inf), lo_safe=math.nan)
    metric = comparison_data(Comparison("a", "b", 0, (nothing,)))["metrics"]["pass_rate"]
    assert (metric["ci"], metric["lo_safe"], metric["mean_a"]) == ([None, None], None, None)
    json.dumps(comparison_data(hostile_comparison()[0].comparisons[0]), allow_nan=False)


@pytest.mark.parametrize("width", [40, 100])
def test_verdicts_open_the_terminal_report(width: int) -> None:
    head, results = pull_request(60)
    metric = next(m for m in head.comparisons[0].metrics if m.metric == "pass")
    console = Console(width=width, force_terminal=False, highlight=False)
    with console.capture() as capture:
        print_report(head, results, console, limit_cases=0)
    text = capture.get()
    assert max(map(len, text.splitlines())) <= max(width, 80)  # the last command isn't broken
    flat = " ".join(text.split())
    assert headline(metric) in flat
    assert sentence(metric) in flat
    assert flat.index(headline(metric)) < flat.index("p95 ")


def test_terminal_report_of_score_files_has_no_empty_table() -> None:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        print_report(*score_files(), console)
    assert "branch.jsonl against main.jsonl" in capture.get()
    assert "\n0 cases" not in capture.get()
    assert "p95 " not in capture.get().replace("Latency p95", "")


def test_terminal_verdicts_of_hostile_names_drive_nothing() -> None:
    console = Console(width=60, force_terminal=False)
    with console.capture() as capture:
        print_report(*hostile_comparison(), console)
    assert not set(capture.get()) & {chr(i) for i in (*range(9), *range(11, 32), 0x9B, 0x202E)}


COST = MetricInfo("cost_per_case", 0.0, None, "lower", "$")


def tied(cases: int, values: tuple[float, float], margin: float | None = None) -> MetricComparison:
    """A cost that is the same in both variants, from `values` on average up and down."""
    a = np.linspace(*values, cases)
    pairs = Paired([str(i) for i in range(cases)], a, a.copy())
    limit = 0.05 * float(a.mean()) if margin is None else margin
    return compare_metric(COST, pairs, margin=limit, settings=ComparisonSettings())


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (tied(5, (0.0012, 0.0012)), "The same on average, $0.0012. 5 cases, scores need 20."),
        (
            tied(30, (0.001, 0.002)),
            "The same on average, $0.0015. 30 cases can't rule out a rise of $0.000081 (your limit: $0.000075).",
        ),
        (
            tied(30, (0.0, 0.0)),
            "The same on average, $0. Your limit is 0 here, and that no rise is possible no number of cases shows.",
        ),
    ],
)
def test_costs_that_agree_and_are_no_verdict_say_why(one: MetricComparison, says: str) -> None:
    assert one.verdict == "inconclusive" and one.diff == 0
    assert sentence(one) == says
    run = record(comparisons=(Comparison("small", "large", one.n, (one,)),))
    console = Console(width=200, record=True, file=io.StringIO())
    print_report(run, [], console)
    assert says in console.export_text()
    for format in ("markdown", "html"):
        parts: list[str] = []
        render(format, run, [], write=parts.append)
        assert says.split(". ")[-1].rstrip(".") in html.unescape("".join(parts))


@pytest.mark.parametrize("one", [tied(20, (0.0012, 0.0012)), tied(50, (0.001, 0.002)), tied(200, (0.001, 0.002))])
def test_enough_costs_that_agree_are_no_meaningful_rise(one: MetricComparison) -> None:
    assert one.verdict == "equivalent" and one.diff == 0
    assert headline(one) == "Cost per case: no meaningful rise"
