"""Gates: the rules people write, what they measure, and the exit code they lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.aggregate import Aggregate
from llmops.errors import InputError, SuiteError
from llmops.evals.gating import Gate, decide, exit_code, parse_gate, unfinished_gates
from llmops.types import Case, Failure, Output, Result, Score, Usage

METRICS = ["token_f1", "recall@5", "latency", "exact_match"]


def parse(rule: str) -> Gate:
    return parse_gate(rule, metrics=METRICS, variants=["a", "b"], where="s.yaml:7")


def aggregate_of(*rows: tuple[str, float | None, dict]) -> Aggregate:
    aggregate = Aggregate(["token_f1"])
    for case_id, value, more in rows:
        error = Failure("timeout", "no answer") if more.get("failed") else None
        output = Output("x", error=error, latency_s=more.get("latency"), usage=more.get("usage", Usage()))
        score = Score(value) if value is not None else Score.unscored("no expected answer")
        case = Case(case_id, tags=more.get("tags", ()), group=more.get("group"))
        aggregate.add(Result("a", case, output, more.get("repeat", 0), {"token_f1": score}))
    return aggregate


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("token_f1 >= 0.6", ("token_f1", ">=", 0.6, None, None)),
        ("recall@5>=80%", ("recall@5", ">=", 0.8, None, None)),
        ("recall@5 >= 0.8 for tag:hard", ("recall@5", ">=", 0.8, "hard", None)),
        ("errors <= 1%", ("errors", "<=", 0.01, None, None)),
        ("latency_p95 <= 2s", ("latency_p95", "<=", 2.0, None, None)),
        ("latency_p95 <= 1500ms", ("latency_p95", "<=", 1.5, None, None)),
        ("tokens_per_case <= 900", ("tokens_per_case", "<=", 900.0, None, None)),
        ("exact_match > 1e-3 for variant:b", ("exact_match", ">", 0.001, None, "b")),
        ("token_f1 >= .5 for tag:two words", ("token_f1", ">=", 0.5, "two words", None)),
    ],
)
def test_rules_people_write(rule, expected):
    gate = parse(rule)
    assert (gate.name, gate.comparison, pytest.approx(gate.threshold), gate.tag, gate.variant) == expected


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("token_f1", "isn't a rule"),
        ("token_f1 >= high", "isn't a rule"),
        ("token_f1 >= 0.6 of tag:x", "isn't a rule"),
        ("token_f1 => 0.6", "isn't a rule"),
        ("", "isn't a rule"),
        ("tokn_f1 >= 0.6", "did you mean 'token_f1'?"),
        ("recall >= 0.6", "did you mean 'recall@5'?"),
        ("token_f1 >= 2s", "isn't a time"),
        ("latency_p95 <= 2", "seconds or milliseconds"),
        ("latency_p95 <= 2%", "isn't a share"),
        ("tokens_per_case <= 9%", "isn't a share"),
        ("token_f1 >= 0.5 for variant:c", "no variant is called 'c'"),
        ("token_f1 >= 0.5 for tag:hard variant:a", "one scope at a time"),
        ("token_f1 >= 0.5 for tag:hard for variant:a", "one scope at a time"),
    ],
)
def test_broken_rules_say_what_and_where(rule, said):
    with pytest.raises(SuiteError) as caught:
        parse(rule)
    assert str(caught.value).startswith("s.yaml:7: gate")
    assert said in str(caught.value)


@given(st.text(max_size=60))
def test_no_text_crashes_the_parser(rule):
    try:
        parse(rule)
    except InputError as error:
        assert "\n" not in str(error)


def outcome(rule: str, aggregate: Aggregate, variants=("a",)):
    return decide([parse(rule)], aggregate, list(variants))[0]


def test_the_mean_is_over_scored_cases_and_says_how_many_were_left_out():
    aggregate = aggregate_of(("1", 1.0, {}), ("2", 0.5, {}), ("3", None, {}))
    found = outcome("token_f1 >= 0.75", aggregate)
    assert (found.outcome, found.value, found.detail) == ("pass", 0.75, "2 cases, 1 without a value")
    assert outcome("token_f1 > 0.75", aggregate).outcome == "fail"


def test_repeats_are_averaged_before_the_mean():
    aggregate = aggregate_of(("1", 1.0, {}), ("1", 0.0, {"repeat": 1}), ("1", 0.0, {"repeat": 2}), ("2", 1.0, {}))
    assert outcome("token_f1 >= 0", aggregate).value == pytest.approx((1 / 3 + 1) / 2)


def test_tags_restrict_what_is_measured():
    aggregate = aggregate_of(("1", 1.0, {"tags": ("hard",)}), ("2", 0.0, {}))
    assert outcome("token_f1 >= 0.9 for tag:hard", aggregate).outcome == "pass"
    assert outcome("token_f1 >= 0.9", aggregate).outcome == "fail"


def test_nothing_to_measure_is_undecided_and_never_a_pass():
    aggregate = aggregate_of(("1", None, {}))
    for rule in ("token_f1 >= 0", "token_f1 >= 0 for tag:absent", "latency_p95 <= 9s", "tokens_per_case <= 9"):
        assert outcome(rule, aggregate).outcome == "undecided", rule
    assert "no expected answer" in outcome("token_f1 >= 0", aggregate).detail
    assert outcome("token_f1 >= 0", aggregate, variants=("b",)).outcome == "undecided"


def test_errors_latency_and_tokens():
    used = Usage(70, 30, requests=1, certainty="exact")
    aggregate = aggregate_of(
        *((str(i), 1.0, {"latency": float(i), "usage": used}) for i in range(1, 10)),
        ("10", None, {"failed": True}),
    )
    assert outcome("errors <= 10%", aggregate).outcome == "pass"
    assert outcome("errors <= 9%", aggregate).outcome == "fail"
    assert outcome("latency_p50 <= 5s", aggregate).value == 5.0
    assert outcome("tokens_per_case <= 100", aggregate).outcome == "pass"


def test_exit_codes():
    aggregate = aggregate_of(("1", 0.5, {}))
    passed, failed = outcome("token_f1 >= 0.5", aggregate), outcome("token_f1 > 0.5", aggregate)
    undecided = outcome("latency_p95 <= 1s", aggregate)
    assert exit_code([]) == 0
    assert exit_code([passed]) == 0
    assert exit_code([passed, undecided]) == 3
    assert exit_code([undecided, failed]) == 1


def test_a_rule_on_errors_that_always_holds_is_refused():
    for rule in ("errors <= 1", "errors < 2"):
        with pytest.raises(SuiteError, match="share"):
            parse(rule)
    assert parse("errors <= 0").threshold == 0
    assert parse("errors <= 0.05").threshold == parse("errors <= 5%").threshold


def test_gates_of_an_unfinished_run_are_open_unless_they_failed():
    aggregate = aggregate_of(("1", 0.5, {}))
    rules = [parse("token_f1 >= 0.5"), parse("token_f1 > 0.5")]
    found = unfinished_gates(decide(rules, aggregate, ["a"]), 1, 200)
    assert [gate.outcome for gate in found] == ["undecided", "fail"]
    assert "1 of 200" in found[0].detail


@pytest.mark.parametrize("percent", range(1, 100))
def test_percent_is_exact(percent):
    assert parse(f"token_f1 >= {percent}%").threshold == percent / 100


def test_a_metric_that_raised_for_many_cases_decides_nothing():
    aggregate = aggregate_of(("1", 1.0, {}))
    for number in range(3):
        score = Score.unscored("token_f1 raised KeyError: 'x'")
        aggregate.add(Result("a", Case(f"r{number}"), Output("x"), 0, {"token_f1": score}))
    found = outcome("token_f1 >= 0.9", aggregate)
    assert (found.outcome, found.detail) == ("undecided", "the metric raised an error for 3 cases")


def test_a_gate_on_a_variant_that_is_not_there_is_open():
    [found] = decide([parse("token_f1 >= 0 for variant:b")], aggregate_of(("1", 1.0, {})), ["a"])
    assert (found.variant, found.outcome) == ("b", "undecided")
