"""Verdicts that must not come out by accident: no answers, no counterpart, no limit, no spread between groups."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gitrepo import ENVIRONMENT
from llmops import evaluate
from llmops.aggregate import Aggregate
from llmops.errors import InputError
from llmops.evals.comparing import compare_metric
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.estimates import Labels, Paired
from llmops.evals.gating import is_beyond, parse_gate
from llmops.evidence import Wanted, lacks
from llmops.reports.comparison_markdown import overall
from llmops.runs import Run
from llmops.stats.prediction import ppi
from llmops.types import Case, GateOutcome, MetricInfo, Output, Result, Sample, Score, Usage
from test_promotion import a_run

Answer = Callable[[int], Any]


def run_of(tmp_path: Path, old: Answer, new: Answer, gates: list[Any], cases: int = 60, **more: Any) -> Run:
    """A run of two functions on numbered cases: true is right, false is wrong, None fails."""

    def variant(answer: Answer) -> Callable[[str], str]:
        def answered(number: str) -> str:
            said = answer(int(number))
            if said is None:
                raise RuntimeError("no answer")
            return "right" if said else "wrong"

        return answered

    rows = [{"id": f"q{i}", "number": str(i), "expected": "right"} for i in range(cases)]
    return evaluate(
        dataset=rows, variants={"old": variant(old), "new": variant(new)}, baseline="old", gates=gates,
        **{"metrics": ["exact_match"], "store": tmp_path / "runs.db", **more},
    )  # fmt: skip


def always(_: int) -> bool:
    return True


def fails(_: int) -> None:
    return None


def test_where_every_answer_failed_no_gate_lets_it_pass(tmp_path: Path) -> None:
    run = run_of(tmp_path, fails, fails, ["no-regression: exact_match", "errors <= 100%"], cases=30)
    [gate] = [gate for gate in run.gates if gate.rule.startswith("no-regression")]
    assert (gate.outcome, gate.strict) == ("undecided", True)
    assert "100.0% of the candidate's answers failed" in gate.detail
    assert run.exit_code == 3


def test_times_of_the_answers_that_came_say_nothing_where_many_did_not(tmp_path: Path) -> None:
    gates = ["no-worse: latency_mean within 10s", "errors <= 60%"]
    run = run_of(tmp_path, always, lambda i: None if i % 2 else True, gates, cases=80)
    assert [gate.outcome for gate in run.gates if gate.variant == "new"] == ["undecided", "pass"]
    assert run.exit_code == 3


@pytest.mark.parametrize("margin", ["1e400", "1e400s"])
def test_a_margin_without_an_end_is_refused(tmp_path: Path, margin: str) -> None:
    with pytest.raises(InputError, match="lets everything pass"):
        run_of(tmp_path, always, always, [{"no-worse": "latency_mean", "margin": margin}])


class Huge:
    """Scores that can't be squared."""

    info = MetricInfo("huge", None, None)

    def score(self, sample: Sample) -> Score:
        return Score(1e308 if sample.text == "right" else -1e308)


def test_scores_too_large_to_compare_end_in_no_verdict_and_no_traceback(tmp_path: Path) -> None:
    run = run_of(tmp_path, always, lambda i: i % 3 > 0, ["no-regression: huge"], metrics=[Huge()], repeats=2)
    [metric] = [one for one in run.record.comparisons[0].metrics if one.guard]
    assert (run.record.status, metric.verdict, metric.n) == ("finished", "inconclusive", 0)


def test_files_with_such_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"id": "a", "scores": {"m": 1e145}}\n', "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "llmops", "compare", str(path), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "scores.jsonl:1" in done.stderr


def test_the_head_line_claims_no_more_than_the_gates_and_metrics_say(tmp_path: Path) -> None:
    undecided = run_of(tmp_path, always, always, ["no-regression: exact_match", "exact_match >= 0.5 for tag:none"], 200)
    assert undecided.exit_code == 3
    assert overall(undecided.record).startswith("⚪")
    unguarded = run_of(
        tmp_path, always, lambda i: i % 2, ["no-regression: latency_mean within 100s"], 100, early_stop=False
    )
    assert unguarded.exit_code == 0
    assert overall(unguarded.record) == "⚠️ No gate failed, but something got worse"


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """A work tree in which the prompt has another name, and another text, than at `base`."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "llmops.yaml").write_text("", "utf-8")
    rows = [{"id": f"q{i}", "question": f"What is {i}?", "expected": f"{i}"} for i in range(30)]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    prompt = tmp_path / "prompts" / "answer.prompt.md"
    prompt.write_text("---\ninputs: {question: string}\n---\n{{ question }}\n", "utf-8")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "One"], ["branch", "base"]):
        subprocess.run(["git", *words], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    prompt.rename(prompt.with_name("reply.prompt.md"))
    return tmp_path


@pytest.mark.parametrize("baseline", ["", "baseline: code\n"])
def test_a_prompt_without_a_counterpart_is_never_a_pass(renamed: Path, baseline: str) -> None:
    (renamed / "pipe.py").write_text("def answer(question):\n    return question\n", "utf-8")
    suite = renamed / "suite.yaml"
    suite.write_text(
        "dataset: cases.jsonl\nvariants:\n  a: {prompt: reply, backend: extractive}\n"
        f"  code: {{python: pipe.py:answer}}\n{baseline}metrics: [token_f1]\n",
        "utf-8",
    )
    run = evaluate(suite, against="base")
    assert not run.record.comparisons  # least of all with the suite's own baseline
    assert [gate.outcome for gate in run.gates if gate.variant == "a"] == ["undecided"]


CONTENTS = {"new": "N", "old": "O"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"config": {"set": ["comparison.margin=90%"]}}, "it ran with --set comparison.margin"),
        ({"config": {"comparison": {"population": "fixed"}}, "scores": {"new": 0.5, "old": 0.9}}, "regressed"),
        (
            {"errors": {"new": 20}, "gates": (GateOutcome("errors <= 50%", "new", "pass"),),
             "config": {"gates": ["errors <= 50%"]}},
            "token_f1 regressed: 20 cases broke",
        ),
    ],
)  # fmt: skip
def test_evidence_is_not_had_by_comparing_less_strictly(changes: dict[str, Any], says: str) -> None:
    assert says in lacks(a_run(CONTENTS, **changes), Wanted("N", "O"))


def labelled(seed: int, groups: int = 20, size: int = 10, told: int = 10) -> tuple[Paired, Labels]:
    """Nothing changed on the whole, documents differ, the judge favours the candidate, and people saw some of them."""
    draw = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), size)
    human = np.repeat(draw.normal(0, 0.15, groups), size) + draw.normal(0, 0.15, groups * size)
    judge = human + 0.1 + draw.normal(0, 0.1, groups * size)
    ids = [str(i) for i in range(groups * size)]
    pairs = Paired(ids, np.zeros(groups * size), judge, codes)
    return pairs, Labels(human[: told * size], judge[: told * size], tuple(ids[: told * size]))


def test_labels_of_clustered_cases_are_no_independent_labels() -> None:
    info, settings = MetricInfo("judged", -3, 3), ComparisonSettings()
    made = [
        compare_metric(info, pairs, margin=0.05, settings=settings, labels=labels)
        for pairs, labels in map(labelled, range(300))
    ]
    assert made[0].groups == 20
    assert sum(one.verdict == "regressed" for one in made) / len(made) <= 0.025 + 3 * 0.009
    assert sum(one.ci[0] <= 0 <= one.ci[1] for one in made) / len(made) >= 0.92
    few = compare_metric(info, *labelled(1, told=3)[:1], margin=0.05, settings=settings, labels=labelled(1, told=3)[1])
    assert (few.verdict, few.why) == ("inconclusive", ("people's labels are of 3 groups, clustered cases need 6",))
    one = compare_metric(info, *labelled(1, size=40, told=1)[:1], margin=0.05, settings=settings,
                         labels=labelled(1, size=40, told=1)[1])  # fmt: skip
    assert one.verdict == "inconclusive"


def test_groups_of_one_case_each_are_as_no_groups() -> None:
    draw = np.random.default_rng(5)
    human, judge, others = draw.normal(0, 1, 60), draw.normal(0, 1, 60), draw.normal(0, 1, 100)
    plain, grouped = ppi(human, judge, others), ppi(human, judge, others, groups=np.arange(160))
    assert grouped.mean == plain.mean
    assert grouped.se == pytest.approx(plain.se, rel=0.02)
    with pytest.raises(ValueError, match="two or more"):
        ppi(human, judge, others, groups=np.zeros(160, dtype=int))


def test_a_gate_on_a_rare_tag_waits_for_its_case(tmp_path: Path) -> None:
    for number in range(5):
        rows = [
            {"id": f"{number}-{i}", "number": str(i), "expected": "right", "tags": ["rare" if i == 7 else "common"]}
            for i in range(300)
        ]
        run = evaluate(
            dataset=rows, variants={"old": lambda number: "right", "new": lambda number: "right"}, baseline="old",
            metrics=["exact_match"], gates=["no-regression: exact_match", "exact_match >= 0.5 for tag:rare"],
            store=tmp_path / "runs.db",
        )  # fmt: skip
        assert {gate.outcome for gate in run.gates} == {"pass"}


def test_a_gate_on_errors_waits_until_their_share_is_clear(tmp_path: Path) -> None:
    gates = ["no-regression: latency_mean within 10s", "errors <= 1%"]
    for shift in range(0, 30, 10):
        run = run_of(tmp_path, always, lambda i, shift=shift: None if i % 30 == shift else True, gates, cases=300)  # type: ignore[misc]
        assert [gate.outcome for gate in run.gates if gate.variant == "new" and "errors" in gate.rule] == ["fail"]
        assert run.exit_code == 1


@pytest.mark.parametrize(
    ("gate", "seconds", "ends"),
    [("latency_p50 <= 1s", 0.1, True), ("latency_p95 <= 1s", 0.1, False), ("latency_mean <= 1s", 0.9, False),
     ("latency_mean <= 1s", 0.1, True), ("errors <= 50%", 0.1, True), ("errors <= 1%", 0.1, True),
     ("tokens_per_case <= 10", 0.1, True), ("tokens_per_case <= 2", 0.1, True)],
)  # fmt: skip
def test_what_twenty_cases_say_of_a_gate(gate: str, seconds: float, ends: bool) -> None:
    table = Aggregate(["m"])
    for i in range(20):
        spread = 0.3 * (i % 2)
        output = Output("x", latency_s=seconds + spread, usage=Usage(2, 1, requests=1, certainty="exact"))
        table.add(Result("new", Case(f"q{i}"), output, scores={"m": Score(1.0)}))
    rule = parse_gate(gate, metrics=["m"], variants=["new"])
    assert is_beyond(rule, table, ["new"], 0.01) == ends
