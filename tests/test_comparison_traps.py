"""What could make a comparison say more than it knows: outages, caches, margins too wide, runs that broke off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exam_stub import REWORDED, WORSE, Exam, reply
from llmops import compare, evaluate
from llmops.aggregate import Aggregate
from llmops.columns import Columns
from llmops.errors import InputError
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.comparisons import Compared, compare_all
from llmops.runs import Run
from llmops.store.runfile import export_run
from llmops.types import Case, MetricInfo, Output, Result, Score
from stub_server import Reply, StubServer


class Flaky:
    """A server that is down as long as `down` is set."""

    down = False
    fails: Callable[[object], bool] = staticmethod(lambda body: False)

    def __call__(self, body: object, number: int) -> Reply:
        return Reply(status=500) if self.down or self.fails(body) else reply(body, number)


@pytest.fixture
def flaky() -> Flaky:
    return Flaky()


@pytest.fixture
def exam(tmp_path: Path, flaky: Flaky) -> Iterator[Exam]:
    with StubServer(flaky) as server:
        made = Exam(tmp_path, server.url, 60)
        made.git("init", "--quiet", "--initial-branch=main")
        made.suite(more="limits: {retries: 0}\ncomparison: {early_stop: false}\n")
        made.commit("Write the prompt")
        yield made


def run_of(exam: Exam, **more: object) -> Run:
    return evaluate(exam.folder / "evals/codes.yaml", against="HEAD", **more)  # type: ignore[arg-type]


def test_an_outage_does_not_spoil_the_runs_after_it(exam: Exam, flaky: Flaky) -> None:
    exam.prompt(WORSE)
    flaky.down = True
    assert run_of(exam).exit_code == 4
    flaky.down = False
    run = run_of(exam)
    [guard] = [m for m in run.record.comparisons[0].metrics if m.guard]
    assert (guard.errors_a, guard.errors_b, guard.n, guard.verdict) == (0, 0, 60, "regressed")
    assert run.exit_code == 1


def test_a_runs_own_gates_are_about_its_own_answers(exam: Exam, flaky: Flaky) -> None:
    exam.suite(gates="[{no-regression: exact_match}, 'errors <= 1%']", more="limits: {retries: 0}\n")
    exam.commit("Guard errors")
    exam.prompt(WORSE)
    flaky.down = True
    run_of(exam)
    flaky.down = False
    assert [gate.outcome for gate in run_of(exam).gates if gate.rule.startswith("errors")] == ["pass"]


@pytest.mark.parametrize("margin", ["3", "1", "100%", "1.0"])
def test_a_margin_as_wide_as_the_metrics_range_is_refused(exam: Exam, margin: str) -> None:
    for gates, more in (
        (f"[{{no-regression: exact_match, margin: {margin}}}]", ""),
        (f"[{{no-worse: {{exact_match: {margin}}}}}]", ""),
        ("[{no-regression: exact_match}]", f"comparison: {{margin: {margin}}}\n"),
    ):
        exam.suite(gates=gates, more=more)
        with pytest.raises(InputError, match="is all of exact_match's range") as caught:
            run_of(exam)
        assert caught.value.where.startswith(str(exam.folder)) and "3% of that" in caught.value.hint


def test_population_fixed_without_repeats_is_refused_before_anything_is_asked(exam: Exam) -> None:
    exam.suite(more="comparison: {population: fixed}\n")
    with pytest.raises(InputError, match="population: fixed needs repeats"):
        run_of(exam)


def test_remembered_times_are_not_compared_with_measured_ones(exam: Exam) -> None:
    exam.suite(gates="[{no-worse: latency_mean, margin: 1000%}]", more="comparison: {early_stop: false}\n")
    exam.commit("Guard latency")
    evaluate(exam.folder / "evals/codes.yaml")  # the baseline's answers are in the cache now
    exam.prompt(WORSE)
    run = run_of(exam)
    [guard] = [m for m in run.record.comparisons[0].metrics if m.guard]
    assert guard.verdict == "inconclusive" and "100% of the baseline's answers" in guard.why[-1]
    assert run.exit_code == 3
    fresh = run_of(exam, refresh=True)
    [guard] = [m for m in fresh.record.comparisons[0].metrics if m.guard]
    assert guard.verdict in ("equivalent", "improved") and guard.why == ()


def test_a_prompt_that_is_new_is_said_to_have_nothing_to_compare_with(exam: Exam) -> None:
    exam.prompt(WORSE, "fresh")
    variants = "  lookup: {prompt: lookup, backend: BACKEND}\n  fresh: {prompt: fresh, backend: BACKEND}\n"
    exam.suite(variants=variants)
    [gate] = [gate for gate in run_of(exam).gates if gate.variant == "fresh"]
    assert (gate.outcome, gate.detail) == (
        "undecided", "nothing to compare with at HEAD: only prompts that run there have a counterpart"
    )  # fmt: skip


def test_an_interrupted_run_of_cases_in_order_has_no_verdict(exam: Exam) -> None:
    exam.prompt(WORSE)
    run = run_of(exam, max_requests=70)
    assert run.record.status == "stopped"
    assert {m.verdict for m in run.record.comparisons[0].metrics} == {"inconclusive"}
    assert any("broke off" in why for m in run.record.comparisons[0].metrics for why in m.why)
    assert run.exit_code == 3


def test_a_metric_that_nobody_guards_is_told_when_it_fell(exam: Exam) -> None:
    exam.suite(gates="[{no-regression: tokens_per_case}]", more="comparison: {early_stop: false}\n")
    exam.commit("Guard tokens")
    exam.prompt(WORSE)
    run = run_of(exam)
    for report in ("terminal", "markdown", "html"):
        assert "Exact match fell" in run.render(report), report


def test_a_tag_is_marked_only_where_its_interval_says_so() -> None:
    """At an early look the marks are as strict as the intervals beside them."""
    table = Aggregate(["m"])
    for i in range(40):
        for name, value in (("a", 1.0), ("b", 0.0 if i < 5 else 1.0)):
            case = Case(str(i), tags=("tag",) if i < 20 else ("other",))
            table.add(Result(name, case, Output("x"), scores={"m": Score(value)}))
    assert isinstance(table.columns("a"), Columns)
    wanted = Compared([MetricInfo("m")], [("b", "a")], (), ComparisonSettings())
    for level in (None, 0.05, 0.01, 0.001):
        for one in compare_all(wanted, table, alpha=level)[0].slices:
            assert not (one.notable and one.ci[0] <= 0 <= one.ci[1])
    assert any(one.notable for one in compare_all(wanted, table)[0].slices)
    assert not any(one.notable for one in compare_all(wanted, table, alpha=0.001)[0].slices)


def test_running_again_does_not_wash_failed_answers_out(exam: Exam, flaky: Flaky) -> None:
    """One answer in sixteen of the candidate fails, each time another: no number of runs makes that a pass."""
    exam.suite(gates="[{no-worse: exact_match, margin: 20%}, 'errors <= 20%']", more="limits: {retries: 0}\n")
    exam.commit("Allow some errors")
    exam.prompt(REWORDED)
    for run in range(4):
        flaky.fails = lambda body, run=run: (
            "Please" in str(body) and int(str(body).split("item ")[1][:2].strip("?'")) % 16 == run
        )
        done = run_of(exam, refresh=True, early_stop=False)
        [guard] = [m for m in done.record.comparisons[0].metrics if m.guard]
        assert guard.verdict == "inconclusive" and "answers failed" in guard.why[-1]
        assert done.exit_code == 3


def test_times_of_earlier_runs_are_not_pooled(exam: Exam) -> None:
    exam.suite(gates="[{no-worse: latency_mean, margin: 1000%}]", more="comparison: {early_stop: false}\n")
    exam.commit("Guard latency")
    exam.prompt(WORSE)
    first = run_of(exam, refresh=True)
    again = run_of(exam, refresh=True)
    [before], [now] = ([m for m in run.record.comparisons[0].metrics if m.guard] for run in (first, again))
    own = again.aggregate.value("latency_mean", "lookup")
    assert again.record.comparisons[0].pooled == 2 and now.mean_b == pytest.approx(own) and now.mean_b != before.mean_b


def test_an_exported_run_remembers_which_times_were_remembered(exam: Exam, tmp_path: Path) -> None:
    evaluate(exam.folder / "evals/codes.yaml")
    exam.prompt(WORSE)
    run = run_of(exam, store=tmp_path / "runs.db")
    file = tmp_path / "run.jsonl"
    export_run(run.record, run.results, file)
    outcome = compare(file, metrics=["latency_mean"], gates=["no-worse: latency_mean within 1000%"])
    assert (outcome.comparison.metrics[0].verdict, outcome.exit_code) == ("inconclusive", 3)


def test_pipelines_beside_prompts_are_still_compared_with_the_suites_own_baseline(exam: Exam) -> None:
    exam.write("pipe.py", "def old(item): return f'C{item}'\ndef new(item): return 'C1'\n")
    variants = (
        "  lookup: {prompt: lookup, backend: BACKEND}\n"
        "  old: {python: ../pipe.py:old}\n  new: {python: ../pipe.py:new}\n"
    )
    exam.suite(variants=variants, more="baseline: old\ncomparison: {early_stop: false}\n")
    exam.commit("Add pipelines")
    exam.prompt(WORSE)
    run = run_of(exam)
    assert [(c.candidate, c.baseline) for c in run.record.comparisons] == [("lookup", "lookup@HEAD"), ("new", "old")]
    assert {gate.variant: gate.outcome for gate in run.gates} == {"lookup": "fail", "new": "fail"}


def test_a_side_that_failed_throughout_scores_the_worst(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text("".join(f'{{"id": {i}, "scores": {{"accuracy": 1}}}}\n' for i in range(30)))
    bad.write_text("".join(f'{{"id": {i}, "error": "down"}}\n' for i in range(30)))
    outcome = compare(good, bad)
    [metric] = outcome.comparison.metrics
    assert (metric.mean_a, metric.mean_b, metric.errors_b, metric.verdict) == (1.0, 0.0, 30, "inconclusive")
    assert outcome.exit_code == 3
