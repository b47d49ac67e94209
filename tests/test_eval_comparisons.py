"""`llmops eval` with something to compare with: what is sent, when it ends, what is pooled, and what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exam_stub import PLAIN, REWORDED, WORSE, Exam, changing, reply, rows
from llmops import evaluate
from llmops.arguments import gates_of, metrics_of, variants_of
from llmops.calibration import Calibration, answer_hash, calibration_path
from llmops.calibration.saved import Labelled
from llmops.comparing import compare
from llmops.datasets import dataset_of
from llmops.deciding import level_of
from llmops.errors import InputError, NotFoundError, SuiteError
from llmops.evals.comparing import compare_metric
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.estimates import Labels, Paired
from llmops.evals.staging import schedule, shuffled
from llmops.evals.suite import Suite, load_suite
from llmops.evaluation import Evaluation, RunOptions
from llmops.evidence import Wanted, lacks
from llmops.registry import BUILT_INS
from llmops.rescoring import Rescoring
from llmops.resuming import resumable
from llmops.runs import Run
from llmops.score_kinds import CompareOptions
from llmops.sdk import compared_with, delete_run, open_run, score_run
from llmops.stats.multiplicity import holm
from llmops.stats.prediction import ppi
from llmops.store.runfile import export_run
from llmops.types import Case, MetricComparison, MetricInfo, Request, Sample, Score
from stub_server import Reply, StubServer

FIELDS = {"inputs.item": "item", "expected": "code"}
Answer = Callable[[int], str]


def good(number: int) -> str:
    return f"C{number}"


def wrong_for(every: int, at: int = 1) -> Answer:
    return lambda number: "no idea" if number % every == at else f"C{number}"


class Bench:
    """Suites of functions, without files: fast, and every call is noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.called: dict[str, list[int]] = {}

    def variant(self, name: str, answer: Answer) -> Any:
        noted = self.called.setdefault(name, [])

        async def answered(item: str) -> str:
            noted.append(int(item))
            return answer(int(item))

        return answered

    def suite(
        self,
        variants: Mapping[str, Answer],
        gates: Sequence[Any] = ({"no-regression": "exact_match", "margin": "5%"},),
        metrics: Sequence[Any] = ("exact_match",),
        repeats: tuple[int, int] = (1, 0),
        **settings: Any,
    ) -> Suite:
        made = {name: self.variant(name, answer) for name, answer in variants.items()}
        return Suite(
            "bench", self.folder, "", None, variants_of(made), metrics_of(list(metrics)), baseline="before",
            gates=tuple((rule, "") for rule in gates_of(list(gates))), repeats=repeats[0], max_repeats=repeats[1],
            comparison=ComparisonSettings(**settings),
        )  # fmt: skip

    def evaluation(self, suite: Suite, cases: Sequence[Mapping[str, Any]], **options: Any) -> Evaluation:
        for noted in self.called.values():
            noted.clear()
        fields = {**FIELDS, **{name: name for name in ("group", "tags") if name in cases[0]}}
        chosen = RunOptions(store=str(self.folder / "runs.db"), **options)
        return Evaluation(suite, chosen, dataset=dataset_of(cases, fields=fields))

    def run(self, suite: Suite, cases: Sequence[Mapping[str, Any]], **options: Any) -> Run:
        return self.evaluation(suite, cases, **options).run()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer(reply) as running:
        yield running


def metric_of(run: Run, name: str = "exact_match", candidate: str = "") -> MetricComparison:
    comparison = next(one for one in run.record.comparisons if candidate in ("", one.candidate))
    return next(metric for metric in comparison.metrics if metric.metric == name)


def outcomes(run: Run) -> list[tuple[str, bool]]:
    return [(gate.outcome, gate.strict) for gate in run.gates]


def said(run: Run) -> list[Any]:
    """Everything a run says but for times."""
    made = []
    for one in run.record.comparisons:
        metrics = tuple(metric for metric in one.metrics if metric.info.unit not in ("s", "tokens"))
        made.append(replace(one, metrics=metrics, notes=tuple(n for n in one.notes if not n.startswith("latency"))))
    return [made, run.gates]


def sent(server: StubServer, run: Callable[[], object]) -> int:
    """How many requests `run` sends."""
    before = server.count
    run()
    return server.count - before


# --- one request for both sides ---------------------------------------------------------------------------------------

TWO = """\
  before: {prompt: before, backend: BACKEND}
  after: {prompt: after, backend: BACKEND}
"""
HALF = PLAIN + "{% if item | int < 10 %} Please.{% endif %}"


def two_prompts(folder: Path, url: str, after: str, count: int = 40, more: str = "", gates: str = "") -> Exam:
    exam = Exam(folder, url, count)
    exam.prompt(PLAIN, "before")
    exam.prompt(after, "after")
    exam.suite(gates or "[{no-regression: exact_match}]", "baseline: before\n" + more, TWO)
    return exam


@pytest.mark.parametrize("mode", ["cache", "no cache", "refresh", "record"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_request_that_both_sides_make_is_sent_once(
    tmp_path: Path, server: StubServer, mode: str, repeats: int
) -> None:
    exam = two_prompts(tmp_path, server.url, HALF, more=f"repeats: {repeats}\ncomparison: {{early_stop: false}}\n")
    options: dict[str, dict[str, Any]] = {
        "cache": {}, "no cache": {"cache": False}, "refresh": {"refresh": True}, "record": {"record": tmp_path / "rec"},
    }  # fmt: skip
    suite = exam.folder / "evals/codes.yaml"
    if mode == "refresh":
        evaluate(suite)
    wanted = (40 + 10) * repeats  # ten questions are asked in other words
    assert sent(server, lambda: evaluate(suite, **options[mode])) == wanted
    run = open_run("latest", store=tmp_path / ".llmops/llmops.db")
    assert metric_of(run).n == 40
    assert metric_of(run).diff == 0
    if mode in ("no cache", "refresh"):  # within the run only
        assert sent(server, lambda: evaluate(suite, **options[mode])) == wanted
    if mode == "record":
        assert sent(server, lambda: evaluate(suite, replay=tmp_path / "rec", cache=False)) == 0


class Judge:
    """A metric that asks a model about the answer, as a judge would."""

    def __init__(self, build: Any, backend: Any) -> None:
        self._backend = build.backend(backend)
        self.info = MetricInfo("judged")

    async def score(self, sample: Sample) -> Score:
        message = {"role": "user", "content": f"Is {sample.text} the code of item {sample.inputs['item']}?"}
        completion = await self._backend.complete(Request((message,)))
        return Score(float(sample.text in completion.text))


@pytest.mark.parametrize("cache", [True, False])
def test_identical_answers_are_judged_once(
    tmp_path: Path, server: StubServer, cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_INS["metrics"], "judged", f"{__name__}:Judge")
    exam = two_prompts(tmp_path, server.url, REWORDED + " As a word.")
    backend = f"{{openai_http: {{base_url: '{server.url}', model: judge}}}}"
    suite = exam.suite("[no-regression]", "baseline: before\n", TWO, f"[judged: {{backend: {backend}}}]")
    evaluate(suite, cache=cache)
    asked = Counter(body["model"] for body in server.bodies)
    assert asked["m"] == 80  # the prompts differ
    # 38 answers are the same on both sides; of items 3 and 7 one side knows the code. Unknown ones read alike.
    assert asked["judge"] == 42


# --- blocks -----------------------------------------------------------------------------------------------------------


def cases_of(count: int, groups: int = 0, tags: Sequence[str] = ()) -> list[Case]:
    return [
        Case(f"i{n}", group=f"g{n % groups}" if groups else None, tags=(tags[n % len(tags)],) if tags else ())
        for n in range(count)
    ]


def test_the_order_is_random_and_the_same_each_time() -> None:
    cases = cases_of(200)
    order = [place for place, _ in shuffled(cases, "fingerprint")]
    assert sorted(order) == list(range(200))
    assert order != sorted(order)
    assert order == [place for place, _ in shuffled(cases, "fingerprint")]
    assert order != [place for place, _ in shuffled(cases, "another")]
    code = (
        "from llmops.types import Case; from llmops.evals.staging import shuffled\n"
        "print([p for p, _ in shuffled([Case(f'i{n}', tags=('a', 'b')[n % 2:]) for n in range(60)], 'x')])"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


@pytest.mark.parametrize(("count", "groups"), [(200, 0), (200, 37), (200, 7), (45, 2), (19, 0), (1, 0)])
def test_blocks_hold_every_case_once_and_groups_whole(count: int, groups: int) -> None:
    made = schedule(cases_of(count, groups), alpha=0.05, most=10, seed="s")
    assert sorted(place for block in made.blocks for place, _ in block) == list(range(count))
    assert all(len(block) >= min(20, count) for block in made.blocks[:1])
    assert len(made.blocks) <= 10
    owners: dict[str, int] = {}
    for look, block in enumerate(made.blocks):
        for _, case in block:
            if case.group is not None:
                assert owners.setdefault(case.group, look) == look
    assert len(made.levels) == len(made.blocks)
    assert all(0 < level <= 0.05 for level in made.levels)
    assert sum(made.levels) >= 0.05 * 0.99  # all of alpha is spent
    if len(made.blocks) == 1:
        assert made.levels == pytest.approx([0.05], rel=1e-6)


def test_every_block_has_its_share_of_each_tag() -> None:
    made = schedule(cases_of(400, tags=["easy", "easy", "easy", "hard"]), alpha=0.05, most=10, seed="s")
    shares = [sum("hard" in case.tags for _, case in block) / len(block) for block in made.blocks]
    assert all(0.15 <= share <= 0.35 for share in shares), shares


# --- early stopping ---------------------------------------------------------------------------------------------------


def test_a_clear_answer_ends_the_run_at_a_look(bench: Bench) -> None:
    cases = rows(200)
    suite = bench.suite({"before": good, "after": wrong_for(3)})
    run = bench.run(suite, cases)
    stopping = run.record.comparisons[0].stopping
    assert stopping is not None
    assert (stopping.looks, stopping.planned) == (10, 200)
    assert stopping.cases == 20 * stopping.look < 200
    assert run.record.cases == stopping.cases == metric_of(run).n
    assert {name: len(numbers) for name, numbers in bench.called.items()} == dict.fromkeys(
        ("before", "after"), stopping.cases
    )
    assert metric_of(run).verdict == "regressed"
    assert metric_of(run).alpha < 0.05
    assert run.exit_code == 1
    everything = bench.run(replace(suite, comparison=replace(suite.comparison, early_stop=False)), cases)
    assert everything.record.comparisons[0].stopping is None
    assert (metric_of(everything).n, metric_of(everything).alpha) == (200, 0.05)
    assert set(metric_of(run).broke) <= set(metric_of(everything).broke)


def test_the_run_goes_to_the_end_when_nothing_is_clear(bench: Bench) -> None:
    run = bench.run(bench.suite({"before": wrong_for(9, 2), "after": wrong_for(11, 3)}), rows(160))
    stopping = run.record.comparisons[0].stopping
    assert stopping is not None
    assert (stopping.look, stopping.cases) == (stopping.looks, 160)
    assert metric_of(run).verdict == "inconclusive"
    assert outcomes(run) == [("undecided", False)]
    assert run.exit_code == 0


def test_whole_groups_run_before_a_look(bench: Bench) -> None:
    cases = rows(200, group=lambda n: f"g{n // 7}")
    run = bench.run(bench.suite({"before": good, "after": wrong_for(2)}), cases)
    stopping = run.record.comparisons[0].stopping
    assert stopping is not None
    assert stopping.cases < 200
    ran = Counter(number // 7 for number in bench.called["after"])
    assert all(count == 7 or group == 28 for group, count in ran.items()), ran
    assert metric_of(run).method.startswith("CR2")


def test_no_meaningful_drop_is_no_answer_to_better(bench: Bench) -> None:
    """A gain of 10 points: no drop is clear long before the gain is."""
    cases = rows(400)
    variants = {"before": wrong_for(10), "after": good}
    asked = bench.run(bench.suite(variants, [{"no-regression": "exact_match", "margin": "20%"}]), cases)
    assert metric_of(asked).verdict == "equivalent"
    better = bench.run(bench.suite(variants, [{"better": "exact_match", "margin": "20%"}]), cases)
    assert metric_of(better).verdict == "improved"
    assert better.exit_code == 0
    assert better.record.cases > asked.record.cases


def test_a_threshold_that_is_close_keeps_the_run_going(bench: Bench) -> None:
    variants = {"before": wrong_for(5), "after": wrong_for(5)}
    guard: Any = {"no-regression": "exact_match", "margin": "20%"}
    far = bench.run(bench.suite(variants, [guard, "exact_match >= 0.5"]), rows(200))
    close = bench.run(bench.suite(variants, [guard, "exact_match >= 0.79"]), rows(200))
    assert far.record.cases < 200
    assert close.record.cases == 200
    assert {gate.outcome for gate in close.gates} == {"pass"}
    all_of = bench.run(bench.suite({"before": good, "after": good}, [guard, "exact_match >= 1"]), rows(200))
    assert all_of.record.cases == 200  # one failure would break it


def test_fixed_cases_all_run(bench: Bench) -> None:
    answers = iter(range(10**6))

    def unsteady(number: int) -> str:
        return f"C{number}" if next(answers) % 7 else "no idea"

    suite = bench.suite({"before": good, "after": unsteady}, repeats=(2, 0), population="fixed")
    run = bench.run(suite, rows(120))
    assert metric_of(run).method.startswith("fixed cases")
    assert metric_of(run).n == 120
    assert run.record.comparisons[0].stopping is None
    alone = bench.run(bench.suite({"before": good, "after": good}, population="fixed"), rows(40))
    assert metric_of(alone).verdict == "inconclusive"
    assert "needs repeats" in metric_of(alone).why[0]


def test_several_candidates_share_the_level(bench: Bench) -> None:
    """Holm over the guards of all candidates together."""
    variants = {"before": good, "one": wrong_for(25), "two": wrong_for(30), "three": good}
    gates = [{"no-regression": ["exact_match", "contains"]}]
    run = bench.run(bench.suite(variants, gates, ["exact_match", "contains"], early_stop=False), rows(150))
    guards = [metric for one in run.record.comparisons for metric in one.metrics if metric.guard]
    assert len(guards) == 6
    expected = holm([metric.p if metric.diff < 0 else 1.0 for metric in guards])
    assert [metric.p_holm for metric in guards] == pytest.approx(expected)
    one = metric_of(run, candidate="one")
    assert one.p_holm is not None
    assert one.p < 0.05 < one.p_holm
    assert one.verdict != "regressed"
    assert [one.candidate for one in run.record.comparisons] == ["one", "two", "three"]


# --- runs that break off ----------------------------------------------------------------------------------------------


def blocks_of(exam: Exam) -> tuple[tuple[tuple[int, Case], ...], ...]:
    assembly = Evaluation(load_suite(exam.folder / "evals/codes.yaml"), RunOptions()).assembly
    return schedule(list(assembly.dataset), alpha=0.05, most=10, seed=assembly.survey.fingerprint).blocks


def middling(folder: Path, url: str) -> Exam:
    """A comparison that takes several looks of 20 cases."""
    return two_prompts(folder, url, REWORDED, 200, "limits: {concurrency: 4}\n", "[{no-regression: exact_match}]")


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    limit = [10**9]
    process: list[subprocess.Popen[bytes]] = []

    def decide(body: Any, number: int) -> Reply:
        if number >= limit[0]:
            process[0].kill()
        return reply(body)

    with StubServer(decide) as server:
        whole = evaluate(middling(tmp_path / "whole", server.url).folder / "evals/codes.yaml")
        stopping = whole.record.comparisons[0].stopping
        assert stopping is not None
        assert 3 <= stopping.look < stopping.looks
        exam = middling(tmp_path / "killed", server.url)
        limit[0] = server.count + 110  # in the third block
        command = [sys.executable, "-m", "llmops", "eval", "evals/codes.yaml", "--quiet"]
        process.append(subprocess.Popen(command, cwd=exam.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert process[0].wait(60) == -signal.SIGKILL
        limit[0] = 10**9
        resumed = resumable(exam.folder / "evals/codes.yaml", RunOptions(), "").run()
    assert resumed.record.status == "finished"
    assert said(resumed) == said(whole)
    assert level_of(resumed.record.config) == level_of(whole.record.config)


@pytest.mark.parametrize("after", [7, 39, 40, 41, 75, 100])
def test_a_run_that_was_stopped_anywhere_ends_the_same(tmp_path: Path, server: StubServer, after: int) -> None:
    """Answers of a later block must not count at a look that was made before them."""
    gates = "[{no-regression: exact_match, margin: 5%}]"
    whole_exam = two_prompts(tmp_path / "whole", server.url, WORSE, 120, gates=gates)
    exam = two_prompts(tmp_path / "stopped", server.url, WORSE, 120, gates=gates)
    whole = evaluate(whole_exam.folder / "evals/codes.yaml")
    stopped = evaluate(exam.folder / "evals/codes.yaml", max_requests=after)
    if stopped.record.status == "finished":
        pytest.skip("it was over before")
    assert stopped.exit_code in (1, 3)
    assert "pass" not in {gate.outcome for gate in stopped.gates}
    resumed = resumable(exam.folder / "evals/codes.yaml", RunOptions(), "").run()
    assert said(resumed) == said(whole)


def test_a_look_that_was_made_is_not_made_again_with_more(tmp_path: Path) -> None:
    """Nothing is wrong in the first block, and everything after it: that must not end the run at its first look."""
    late: set[str] = set()

    def decide(body: Any, _: int) -> Reply:
        texts = [message["content"] for message in body["messages"]]
        found = re.findall(r"item (\d+)", texts[1])[0]
        return Reply(text="no idea" if "guess" in texts[0] and f"i{found}" in late else f"C{found}")

    with StubServer(decide) as server:
        exam = two_prompts(tmp_path, server.url, WORSE, 100)
        suite = exam.folder / "evals/codes.yaml"
        late.update(case.id for block in blocks_of(exam)[1:] for _, case in block)
        assert evaluate(suite, max_requests=76).record.status == "stopped"  # 18 of 20 cases into the second block
        run = resumable(suite, RunOptions(), "").run()
    stopping = run.record.comparisons[0].stopping
    assert stopping is not None
    assert (stopping.look, stopping.cases, metric_of(run).n) == (2, 40, 40)
    assert len(metric_of(run).broke) == 20


def test_an_interrupted_run_decides_nothing_and_can_be_finished(tmp_path: Path) -> None:
    process: list[subprocess.Popen[str]] = []

    def decide(body: Any, number: int) -> Reply:
        if number == 60:
            process[0].send_signal(signal.SIGINT)
        return replace(reply(body), latency_s=0.005)

    with StubServer(decide) as server:
        exam = two_prompts(tmp_path, server.url, PLAIN + " Now.", 160)
        command = [sys.executable, "-m", "llmops", "eval", "evals/codes.yaml", "--json"]
        process.append(subprocess.Popen(command, cwd=exam.folder, stdout=subprocess.PIPE, text=True))
        out, _ = process[0].communicate(timeout=60)
        assert process[0].returncode == 130
        [run] = json.loads(out)["runs"]
        assert run["run"]["status"] == "interrupted"
        assert [gate["outcome"] for gate in run["gates"]] == ["undecided"]
        finished = resumable(exam.folder / "evals/codes.yaml", RunOptions(), run["run"]["id"]).run()
    assert finished.record.status == "finished"
    assert outcomes(finished) == [("pass", False)]


def test_a_resumed_run_keeps_how_it_was_to_be_compared(tmp_path: Path, server: StubServer) -> None:
    exam = two_prompts(tmp_path, server.url, WORSE, 120)
    suite = exam.folder / "evals/codes.yaml"
    evaluate(suite, max_requests=10, early_stop=False)
    exam.suite("[{no-worse: exact_match}]", "baseline: before\ncomparison: {alpha: 0.2, looks: 3}\n", TWO)
    run = resumable(suite, RunOptions(), "").run()
    assert run.record.comparisons[0].stopping is None
    assert metric_of(run).alpha == 0.05
    assert [gate.rule.partition(":")[0] for gate in run.gates] == ["no-regression"]
    exam.suite("[{no-regression: exact_match}]", "baseline: before\n", TWO)
    evaluate(suite, max_requests=10, refresh=True)
    exam.suite("[{no-regression: exact_match}]", "baseline: before\ncomparison: {alpha: 0.2, looks: 3}\n", TWO)
    stopping = resumable(suite, RunOptions(), "").run().record.comparisons[0].stopping
    assert stopping is not None
    assert stopping.looks == 6


def test_failed_cases_of_a_run_that_ended_early_are_asked_again(tmp_path: Path) -> None:
    broken: list[str] = []

    def decide(body: Any, _: int) -> Reply:
        return Reply(status=400) if body["messages"][-1]["content"] in broken else reply(body)

    with StubServer(decide) as server:
        exam = two_prompts(tmp_path, server.url, WORSE, 120)
        [(_, case), *_] = blocks_of(exam)[0]
        broken.append(f"What is the code of item {case.inputs['item']}?")
        first = evaluate(exam.folder / "evals/codes.yaml")
        assert first.record.comparisons[0].stopping is not None
        assert first.aggregate.errors("after") == 1
        broken.clear()
        options = RunOptions(retry_errors=True, store=str(tmp_path / ".llmops/llmops.db"))
        part = resumable(exam.folder / "evals/codes.yaml", replace(options, max_requests=0), first.id).run().record
        assert (part.status, part.cases, part.config.get("stopping")) == ("stopped", 120, None)
        again = resumable(exam.folder / "evals/codes.yaml", options, first.id).run()
    assert metric_of(again).errors_b == 0
    assert again.record.status == "finished"
    assert metric_of(again).verdict == "regressed"
    assert again.record.cases == again.record.comparisons[0].stopping.cases  # type: ignore[union-attr]


# --- what is kept of a run that ended early ---------------------------------------------------------------------------


def test_an_early_end_survives_files_reports_and_scoring(tmp_path: Path, server: StubServer) -> None:
    exam = two_prompts(tmp_path, server.url, WORSE, 160)
    run = evaluate(exam.folder / "evals/codes.yaml")
    store = tmp_path / ".llmops/llmops.db"
    export_run(run.record, run.results, tmp_path / "run.jsonl")
    for other in (open_run(run.id, store=store), open_run(tmp_path / "run.jsonl")):
        assert other.record == run.record
        assert json.loads(other.render("json")) == json.loads(run.render("json"))
        text = " ".join(other.render("terminal").split())
        assert f"Stopped after {run.record.cases} of 160 cases" in text
        assert other.exit_code == 1

    scored = score_run(run.id, exam.folder / "evals/codes.yaml", store=store)
    assert said(scored) == said(run)
    assert scored.record.comparisons[0].stopping == run.record.comparisons[0].stopping
    assert scored.record.config["stopping"] == run.record.config["stopping"]
    outcome = compare(run.id, None, CompareOptions(store=str(store)))
    assert (outcome.comparison.stopping, outcome.comparison.metrics[0].alpha) == (
        run.record.comparisons[0].stopping, metric_of(run).alpha,
    )  # fmt: skip
    assert outcome.comparison.metrics[0].ci == metric_of(run).ci
    [old, new] = [one["content_id"] for one in (info.details for info in run.record.variants)]
    for one in (run, scored):
        assert lacks(one, Wanted(new, old)).startswith("gate no-regression: exact_match failed")


def test_an_early_end_is_evidence_for_a_promotion(tmp_path: Path, server: StubServer) -> None:
    exam = two_prompts(tmp_path, server.url, PLAIN + " Now.", 200)
    suite = exam.folder / "evals/codes.yaml"
    run = evaluate(suite)
    assert run.record.cases < 200
    assert outcomes(run) == [("pass", False)]
    [old, new] = [info.details["content_id"] for info in run.record.variants]
    assert lacks(run, Wanted(new, old)) == ""
    scored = score_run(run.id, suite, store=tmp_path / ".llmops/llmops.db")
    assert lacks(scored, Wanted(new, old)) == ""
    exam.cases(rows(201))
    scored = score_run(run.id, suite, store=tmp_path / ".llmops/llmops.db")
    assert lacks(scored, Wanted(new, old)) == "it was scored with 200 of the suite's 201 cases"


@pytest.mark.parametrize(
    "config",
    [{"stopping": {"alpha": 5}}, {"stopping": {"alpha": 0.01}}, {"comparison": {"alpha": 7.0}},
     {"comparison": {"margin": "lots"}}],
)  # fmt: skip
def test_a_head_that_nobody_wrote_is_no_evidence(tmp_path: Path, server: StubServer, config: dict[str, Any]) -> None:
    exam = two_prompts(tmp_path, server.url, PLAIN + " Now.", 100)
    run = evaluate(exam.folder / "evals/codes.yaml")
    [old, new] = [info.details["content_id"] for info in run.record.variants]
    edited = replace(run, record=replace(run.record, config={**run.record.config, **config}))
    assert "can't be read" in lacks(edited, Wanted(new, old))


# --- a saved run as the baseline --------------------------------------------------------------------------------------


class Saved(Exam):
    """A project whose first run was made with the plain prompt."""

    def __init__(self, folder: Path, server: StubServer, count: int = 100) -> None:
        super().__init__(folder, server.url, count)
        self.server = server
        self.path = self.suite()
        self.first = evaluate(self.path)
        self.store = folder / ".llmops/llmops.db"

    def against(self, reference: str | Path = "latest", **options: Any) -> Run:
        return evaluate(self.path, baseline_run=reference, **options)


@pytest.fixture
def saved(tmp_path: Path, server: StubServer) -> Saved:
    return Saved(tmp_path, server)


def test_a_saved_run_is_compared_with_and_not_asked_again(saved: Saved) -> None:
    saved.prompt(WORSE)
    label = saved.first.id[-8:]
    asked = saved.server.count
    run = saved.against(early_stop=False)
    assert saved.server.count - asked == 100
    assert metric_of(run).verdict == "regressed"
    assert [info.name for info in run.record.variants] == [f"lookup@{label}", "lookup"]
    assert run.record.baseline == f"lookup@{label}"
    assert run.exit_code == 1
    export_run(saved.first.record, saved.first.results, saved.folder / "old.jsonl")
    (saved.folder / "elsewhere").mkdir()
    store = saved.folder / "elsewhere/runs.db"
    again = saved.against(saved.folder / "old.jsonl", early_stop=False, store=store)
    assert said(again) == said(run)
    assert saved.server.count - asked == 100  # the candidate's came from the cache


def test_saved_answers_are_scored_with_todays_metrics(saved: Saved) -> None:
    saved.suite("[{no-regression: contains}]", metrics="[exact_match, contains]")
    run = saved.against()
    assert metric_of(run, "contains").n == run.record.cases
    # A corrected expectation is no other question: the old answer stands, and is scored anew.
    cases = rows(100)
    cases[7]["code"] = "no idea"
    saved.cases(cases)
    run = saved.against(saved.first.id, early_stop=False)
    [old] = [one for one in run.results if one.case.id == "i7" and one.variant != "lookup"]
    assert old.scores["exact_match"].value == 1.0
    assert metric_of(run).n == 100


def test_every_metric_is_guarded_when_no_gate_says_otherwise(saved: Saved) -> None:
    saved.suite("")
    saved.prompt(WORSE)
    run = saved.against()
    scored = score_run(run.id, saved.path, store=saved.store)
    for one in (run, scored):
        assert [(gate.rule, gate.outcome) for gate in one.gates] == [("no-regression: exact_match", "fail")]
        assert one.exit_code == 1


def test_questions_that_changed_are_left_out_and_named(saved: Saved) -> None:
    cases = rows(110)
    cases[3]["item"] = "8"
    saved.cases(cases)
    run = saved.against(saved.first.id, early_stop=False)
    [comparison] = run.record.comparisons
    assert comparison.cases == 99
    assert comparison.only_a == ()
    assert set(comparison.only_b) == {"i3", *(f"i{n}" for n in range(100, 110))}
    assert run.record.status == "finished"
    export_run(run.record, run.results, saved.folder / "run.jsonl")
    outcome = compare(saved.folder / "run.jsonl", None, CompareOptions())
    assert (outcome.comparison.cases, outcome.comparison.only_b) == (99, comparison.only_b)
    evaluation = _prepared(saved, saved.first.id)
    assert evaluation.assembly.total == 110 + 99
    finished = evaluation.run()
    assert evaluation.counters.done == evaluation.counters.total
    assert finished.record.status == "finished"


def _prepared(saved: Saved, reference: str) -> Evaluation:
    suite, _ = compared_with(load_suite(saved.path), baseline_run=reference, early_stop=False, store=saved.store)
    return Evaluation(suite, RunOptions())


def test_a_baseline_that_has_nothing_in_common_is_told_before_anything_is_sent(saved: Saved) -> None:
    saved.cases([{**row, "id": f"other-{row['id']}"} for row in rows(100)])
    asked = saved.server.count
    with pytest.raises(InputError, match="no answer to any of these cases"):
        saved.against()
    assert saved.server.count == asked


def test_variants_are_matched_by_name_or_because_there_is_one(saved: Saved) -> None:
    backend = "backend: BACKEND"
    saved.suite(variants=f"  renamed: {{prompt: lookup, {backend}}}\n")
    assert saved.against().record.comparisons[0].candidate == "renamed"
    saved.suite(variants=f"  lookup: {{prompt: lookup, {backend}}}\n  new: {{prompt: lookup, {backend}}}\n")
    suite, notes = compared_with(load_suite(saved.path), baseline_run=saved.first.id, store=saved.store)
    assert list(suite.counterparts.values()) == ["lookup"]
    assert notes == ("new isn't in the baseline run, so it is compared with nothing",)
    run = saved.against(saved.first.id)
    assert [(gate.variant, gate.outcome, gate.strict) for gate in run.gates] == [
        ("lookup", "pass", False), ("new", "undecided", False),
    ]  # fmt: skip
    assert "nothing to compare with" in run.gates[1].detail
    saved.suite(variants=f"  one: {{prompt: lookup, {backend}}}\n  two: {{prompt: lookup, {backend}}}\n")
    with pytest.raises(InputError, match="no variant of the suite's names; it has lookup"):
        saved.against(saved.first.id)


def test_what_can_t_be_a_baseline(saved: Saved) -> None:
    with pytest.raises(NotFoundError, match="no run 'nowhere'"):
        saved.against("nowhere")
    with pytest.raises(NotFoundError, match="no file"):
        saved.against("old.jsonl")
    with pytest.raises(InputError) as both:
        evaluate(saved.path, against="main", baseline_run="latest")
    assert str(both.value).count("\n") == 0
    assert "give one of them" in str(both.value)


def test_an_unfinished_baseline_is_used_and_said(saved: Saved) -> None:
    saved.prompt(REWORDED)
    part = evaluate(saved.path, max_requests=60)
    assert part.record.status == "stopped"
    _, notes = compared_with(load_suite(saved.path), baseline_run=part.id, store=saved.store)
    assert notes == ("the baseline run is stopped: it has a part of the cases",)
    run = saved.against(part.id, early_stop=False)
    assert run.record.comparisons[0].cases == part.aggregate.total_cases


def test_a_baseline_with_failed_answers_is_no_win(tmp_path: Path) -> None:
    failing = [True]

    def decide(body: Any, _: int) -> Reply:
        number = int(re.findall(r"item (\d+)", body["messages"][-1]["content"])[0])
        return Reply(status=400) if failing[0] and number % 4 == 0 else reply(body)

    with StubServer(decide) as server:
        saved = Saved(tmp_path, server)
        failing[0] = False
        run = saved.against(saved.first.id)
    metric = metric_of(run)
    assert metric.errors_a == 25
    assert metric.verdict == "inconclusive"
    assert metric.why == ("25.0% of the baseline's answers failed",)
    assert outcomes(run) == [("undecided", False)]


def test_repeats_of_a_saved_run(saved: Saved) -> None:
    """What both sides have is compared: repeats are averaged on each."""
    saved.suite(more="repeats: 2\n")
    twice = saved.against(saved.first.id, early_stop=False)
    assert (metric_of(twice).n, metric_of(twice).diff) == (100, 0.0)
    counts = Counter(one.variant for one in twice.results)
    assert counts == {f"lookup@{saved.first.id[-8:]}": 100, "lookup": 200}
    saved.suite()
    once = saved.against(twice.id, early_stop=False)
    assert Counter(one.variant for one in once.results).total() == 200


def test_a_run_against_a_saved_one_is_resumed(saved: Saved) -> None:
    saved.prompt(WORSE)
    whole = saved.against(saved.first.id)
    (saved.folder / ".llmops/cache.db").unlink()
    part = saved.against(saved.first.id, max_requests=30)
    assert part.record.status == "stopped"
    resumed = resumable(saved.path, RunOptions(), part.id).run()
    assert said(resumed) == said(whole)
    part = saved.against(saved.first.id, max_requests=0, refresh=True)
    delete_run(saved.first.id, store=saved.store)
    with pytest.raises(InputError, match="isn't in the store"):
        resumable(saved.path, RunOptions(), part.id)


# --- running again until it passes ------------------------------------------------------------------------------------


def flaky_exam(folder: Path, server: StubServer) -> Exam:
    exam = two_prompts(folder, server.url, WORSE, 60, "comparison: {early_stop: false}\n")
    exam.git("init", "--quiet", "--initial-branch=main")
    exam.commit("Write it")
    return exam


def test_runs_of_one_commit_are_pooled(tmp_path: Path) -> None:
    """The first run is bad luck, the second good luck: together they are neither."""

    def wrong(system: str, number: int, before: int) -> bool:
        return "guess" in system and before == 0 and number % 3 == 0

    with StubServer(changing(wrong)) as server:
        exam = flaky_exam(tmp_path, server)
        suite = exam.folder / "evals/codes.yaml"
        first = evaluate(suite, cache=False)
        assert metric_of(first).verdict == "regressed"
        assert first.record.comparisons[0].pooled == 1
        second = evaluate(suite, refresh=True)
        [comparison] = second.record.comparisons
        assert comparison.pooled == 2
        assert "run 2 of the same commit and cases: its verdicts are of both runs together" in comparison.notes
        assert metric_of(second).diff == pytest.approx(metric_of(first).diff / 2)
        assert metric_of(second).n == 60
        assert second.mean("after", "exact_match") == 1.0  # what this run saw stays what it saw
        [old, new] = [info.details["content_id"] for info in second.record.variants]
        if second.exit_code == 1:
            assert "failed" in lacks(second, Wanted(new, old))

        # Answers from the cache are the second run's: they count once, and the first run still counts.
        third = evaluate(suite)
        assert said(third)[0][0].metrics == said(second)[0][0].metrics
        assert third.record.comparisons[0].pooled == 2

        # Scoring a run again makes no new answers, and no evidence of one that was lucky.
        scored = score_run(third.id, suite, store=tmp_path / ".llmops/llmops.db")
        assert "only count together" in lacks(scored, Wanted(new, old))
        fourth = evaluate(suite, cache=False)
        assert fourth.record.comparisons[0].pooled == 3
        assert metric_of(fourth).diff == pytest.approx(metric_of(first).diff / 3)

        # A changed prompt, other cases or another commit begin anew.
        exam.prompt(WORSE + " Quickly.", "after")
        assert evaluate(suite, cache=False).record.comparisons[0].pooled == 1
        exam.prompt(WORSE + " Slowly.", "after")
        score_run(first.id, suite, store=tmp_path / ".llmops/llmops.db")  # another prompt's answers
        assert evaluate(suite, cache=False).record.comparisons[0].pooled == 1
        exam.prompt(WORSE, "after")
        exam.cases(rows(61))
        assert evaluate(suite, cache=False).record.comparisons[0].pooled == 1
        exam.cases(rows(60))
        assert evaluate(suite, cache=False, only=["!id:i0"]).record.comparisons[0].pooled == 1
        exam.git("commit", "--quiet", "--allow-empty", "-m", "Again")
        assert evaluate(suite, cache=False).record.comparisons[0].pooled == 1


def test_an_answer_that_both_sides_share_stays_shared_in_a_pool(tmp_path: Path) -> None:
    def wrong(system: str, number: int, before: int) -> bool:
        return (number + before) % 2 == 0

    with StubServer(changing(wrong)) as server:
        exam = two_prompts(tmp_path, server.url, PLAIN, 60, "comparison: {early_stop: false}\n")
        exam.git("init", "--quiet", "--initial-branch=main")
        exam.commit("Write it")
        suite = exam.folder / "evals/codes.yaml"
        evaluate(suite, cache=False)
        second = evaluate(suite, cache=False)
    assert second.record.comparisons[0].pooled == 2
    metric = metric_of(second)
    assert (metric.diff, metric.broke, metric.fixed) == (0.0, (), ())
    assert (metric.mean_a, metric.mean_b) == (0.5, 0.5)


# --- more answers where they help -------------------------------------------------------------------------------------


def test_only_changed_cases_get_more_answers_and_the_verdict_stays(tmp_path: Path) -> None:
    def wrong(system: str, number: int, before: int) -> bool:
        lasting, passing = number % 10 == 1, number % 10 == 2 and before == 0
        return "guess" in system and (lasting or passing)

    def run(folder: Path, repeats: str, gates: str = "[{no-regression: exact_match}]") -> tuple[Run, Counter[str]]:
        with StubServer(changing(wrong)) as server:
            exam = two_prompts(folder, server.url, WORSE, 60, repeats + "comparison: {early_stop: false}\n", gates)
            made = evaluate(exam.folder / "evals/codes.yaml")
            asked = Counter(re.findall(r"item \d+", body["messages"][-1]["content"])[0] for body in server.bodies)
        return made, asked

    plain, _ = run(tmp_path / "plain", "")
    more, asked = run(tmp_path / "more", "repeats: {min: 1, max: 4}\n")
    changed = {n for n in range(60) if n % 10 in (1, 2)}
    assert {item: count for item, count in asked.items() if count > 2} == {f"item {n}": 8 for n in changed}
    one, other = metric_of(plain), metric_of(more)
    assert set(other.flaky) == {f"i{n}" for n in changed if n % 10 == 2}
    assert other.broke[: len(changed) // 2] == tuple(case for case in one.broke if case not in other.flaky)
    assert set(other.broke) == set(one.broke)
    assert replace(other, broke=one.broke, flaky=()) == one
    assert more.mean("after", "exact_match") == plain.mean("after", "exact_match")
    assert "6 of them changed back when asked again" in " ".join(more.render("markdown").split())

    store = tmp_path / "more/.llmops/llmops.db"
    scored = score_run(more.id, tmp_path / "more/evals/codes.yaml", store=store)
    assert said(scored) == said(more)
    assert json.loads(open_run(more.id, store=store).render("json")) == json.loads(more.render("json"))


def test_cases_at_a_threshold_get_more_answers(bench: Bench) -> None:
    """The gate is on hard cases: easy ones at its threshold are of no interest."""
    answers = {0: "the code is C0", 1: "the code is C1"}

    def half(number: int) -> str:
        return answers.get(number, f"C{number}")

    cases = rows(30, tags=lambda n: ["hard"] if n % 2 else ["easy"])
    suite = bench.suite(
        {"before": half, "after": half}, ["token_f1 >= 0.5 for tag:hard"], ["token_f1"], (1, 3), early_stop=False
    )
    bench.run(suite, cases)
    assert Counter(bench.called["after"]) == {n: 3 if n == 1 else 1 for n in range(30)}


def test_extra_answers_are_finished_by_a_resumed_run(tmp_path: Path, server: StubServer) -> None:
    more = "repeats: {min: 1, max: 3}\ncomparison: {early_stop: false}\n"
    exam = two_prompts(tmp_path, server.url, WORSE, 40, more)
    suite = exam.folder / "evals/codes.yaml"
    part = evaluate(suite, max_requests=90)  # of 80 and 40
    assert part.record.status == "stopped"
    evaluation = resumable(suite, RunOptions(), part.id)
    run = evaluation.run()
    assert evaluation.counters.done == evaluation.counters.total == 120
    assert metric_of(run).flaky == ()
    assert metric_of(run).n == 40


# --- latency and tokens -----------------------------------------------------------------------------------------------


def test_latency_and_tokens_are_guarded_like_metrics(tmp_path: Path) -> None:
    def decide(body: Any, _: int) -> Reply:
        slow = "guess" in body["messages"][0]["content"]
        tokens = {"prompt_tokens": 10, "completion_tokens": 30 if slow else 10}
        return replace(reply(body), text="C", latency_s=0.03 if slow else 0.0, usage=tokens)

    gates = "[{no-regression: [latency_mean, latency_p50, tokens_per_case]}, {no-worse: exact_match}]"
    with StubServer(decide) as server:
        exam = two_prompts(tmp_path, server.url, WORSE, 60, "comparison: {early_stop: false}\n", gates)
        run = evaluate(exam.folder / "evals/codes.yaml")
        for name in ("latency_mean", "latency_p50", "tokens_per_case"):
            metric = metric_of(run, name)
            assert (metric.verdict, metric.guard, metric.diff < 0) == ("regressed", True, True), metric
        assert metric_of(run, "tokens_per_case").diff == -20
        exam.suite("[{no-regression: latency_mean, margin: 10s}]", "baseline: before\n", TWO)
        assert metric_of(evaluate(exam.folder / "evals/codes.yaml"), "latency_mean").verdict == "equivalent"


# --- judges -----------------------------------------------------------------------------------------------------------


def calibrated(
    folder: Path, metric: str, cases: Sequence[int], truth: Callable[[int], bool], judged: Mapping[str, Answer]
) -> None:
    """People's labels of both variants' answers to these cases, beside what the metric says of them."""
    labels = [
        Labelled(f"i{n}", name, answer_hash(answer(n)), float(truth(n)), float(answer(n) == f"C{n}"))
        for n in cases
        for name, answer in judged.items()
    ]
    made = Calibration(metric, "binary", tuple(labels))
    path = calibration_path(metric, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(made.lines()), "utf-8")


def test_a_judge_that_people_contradict_is_corrected(bench: Bench) -> None:
    (bench.folder / "llmops.yaml").write_text("", "utf-8")
    variants = {"before": wrong_for(4), "after": wrong_for(8, 5)}  # the metric says: better
    suite = bench.suite(variants, early_stop=False)
    plain = bench.run(suite, rows(200))
    assert metric_of(plain).diff > 0
    # People say that both are equally good.
    calibrated(bench.folder, "exact_match", range(100), lambda n: n % 3 > 0, variants)
    corrected = bench.run(suite, rows(200))
    metric = metric_of(corrected)
    assert metric.method == "prediction-powered (PPI++), 100 labelled pairs"
    assert metric.verdict != metric_of(plain).verdict
    notes = corrected.record.comparisons[0].notes
    assert any("the judge favours the candidate" in note and "corrected by the labels" in note for note in notes)
    assert any("judge agreement with humans" in note for note in notes)
    assert "corrected by the labels" in " ".join(corrected.render("terminal").split())
    # So are the runs that are scored again.
    evaluation = bench.evaluation(suite, rows(200))
    assert metric_of(Rescoring(plain, evaluation).run()).method == metric.method


def test_a_comparison_does_not_end_before_its_labels_can_be_used(bench: Bench) -> None:
    """At the first looks fewer than 30 labelled pairs have come by: the judge alone must not end the run."""
    (bench.folder / "llmops.yaml").write_text("", "utf-8")
    variants = {"before": wrong_for(2), "after": good}
    suite = bench.suite(variants, [{"better": "exact_match"}])
    early = bench.run(suite, rows(200))
    assert early.record.cases < 100
    calibrated(bench.folder, "exact_match", range(1, 200, 3), lambda n: n % 5 > 0, variants)
    run = bench.run(suite, rows(200))
    assert metric_of(run).method.startswith("prediction-powered")
    assert metric_of(run).verdict != "improved"


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_labels_have_the_metrics_direction(direction: Any) -> None:
    """People see a fall of half, the judge none: whichever end is better, it is worse."""
    info = MetricInfo("judged", direction=direction)
    sign = 1.0 if direction == "higher" else -1.0
    ids = [f"i{n}" for n in range(300)]
    scores = np.array([n % 2 for n in range(300)], dtype=float)
    human = -sign * np.array([n % 2 for n in range(60)], dtype=float)
    labels = Labels(human, np.zeros(60), frozenset(ids[:60]))
    made = compare_metric(
        info, Paired(ids, scores, scores.copy()), margin=0.05, settings=ComparisonSettings(), labels=labels
    )
    assert (made.verdict, round(made.diff, 3)) == ("regressed", -0.5)


def test_thirty_labels_that_all_say_the_same_are_no_proof() -> None:
    ids = [f"i{n}" for n in range(60)]
    before, after = np.zeros(60), np.array([n % 3 == 0 for n in range(60)], dtype=float)
    labels = Labels(np.zeros(30), after[:30], frozenset(ids[:30]))
    made = compare_metric(
        MetricInfo("judged"), Paired(ids, before, after), margin=0.05, settings=ComparisonSettings(), labels=labels
    )
    assert made.verdict == "inconclusive"
    assert made.ci[0] < -0.05 < 0 < made.ci[1]
    assert made.ci[0] == made.lo_safe


def test_judged_cases_without_labels_are_the_ones_that_count_as_such() -> None:
    """The formula adds what the judge says of cases that people didn't label to what both say of those they did."""
    random = np.random.default_rng(5)
    ids = [f"i{n}" for n in range(200)]
    judged = random.choice([-1.0, 0.0, 1.0], 200, p=[0.2, 0.6, 0.2])
    human = np.where(random.random(80) < 0.8, judged[:80], 0.0) - 0.1
    made = compare_metric(
        MetricInfo("judged", -2, 2), Paired(ids, np.zeros(200), judged), margin=0.05, settings=ComparisonSettings(),
        labels=Labels(human, judged[:80], frozenset(ids[:80])),
    )  # fmt: skip
    expected = ppi(human, judged[:80], judged[80:])
    assert (made.diff, made.ci, made.p) == (expected.mean, (expected.lo, expected.hi), expected.p)


def test_a_damaged_calibration_is_told_before_a_run_begins(bench: Bench) -> None:
    (bench.folder / "llmops.yaml").write_text("", "utf-8")
    path = calibration_path("exact_match", bench.folder)
    path.parent.mkdir(parents=True)
    path.write_text("{}\n", "utf-8")
    with pytest.raises(InputError, match="not a saved calibration"):
        bench.run(bench.suite({"before": good, "after": good}), rows(30))
    assert not (bench.folder / "runs.db").exists()


# --- suites -----------------------------------------------------------------------------------------------------------

FORMS = [
    ("no-regression", "no-regression"),
    ("'no-regression: exact_match'", "no-regression: exact_match"),
    ("{no-regression: exact_match}", "no-regression: exact_match"),
    ("{no-regression: [exact_match, recall@5], margin: 3%}",
     "no-regression: exact_match within 3%, recall@5 within 3%"),
    ("{no-regression: {exact_match: 3%, recall@5: 0.05}}",
     "no-regression: exact_match within 3%, recall@5 within 0.05"),
    ("{no-worse: latency_mean, margin: 200ms}", "no-worse: latency_mean within 200ms"),
    ("{no-worse: latency_p95, margin: 2 s}", "no-worse: latency_p95 within 2s"),
    ("{better: exact_match, variant: after}", "better: exact_match for variant:after"),
    ("{better: }", "better"),
    ("{no-regression: {exact_match: , recall@5: 1%}, margin: 0.02}",
     "no-regression: exact_match within 0.02, recall@5 within 1%"),
    ("{no-worse: tokens_per_case, margin: 5}", "no-worse: tokens_per_case within 5"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "rule"), FORMS)
def test_every_form_of_a_gate(tmp_path: Path, written: str, rule: str) -> None:
    exam = two_prompts(tmp_path, "http://127.0.0.1:9/v1", PLAIN)
    path = exam.suite(f"[{written}]", "baseline: before\n", TWO, "[exact_match, {recall: 5}]")
    suite = load_suite(path)
    assert [given for given, _ in suite.gates] == [rule]
    assert Evaluation(suite, RunOptions()).assembly.rules == (rule,)


MISTAKES = [
    ("[{no-regression: exact_match, margin: 3%}, {no-worse: exact_match, margin: 5%}]", "two margins for exact_match"),
    ("[{no-regression: exact_matsh}]", "nothing is measured as 'exact_matsh'"),
    ("[{no-regression: length}]", "doesn't say whether higher or lower is better"),
    ("[{no-regression: exact_match, margin: 200ms}]", "margin '200ms': the metric isn't a time"),
    ("[{no-regression: exact_match, margin: -1}]", "margin '-1' isn't an amount"),
    ("[{no-regression: exact_match, margin: lots}]", "margin 'lots' isn't an amount"),
    ("[{no-regression: exact_match, margin: .inf}]", "isn't an amount"),
    ("[{no-regression: exact_match, margin: 1e999}]", "isn't an amount"),
    ("[{no-regression: exact_match, margins: 3%}]", "unknown key 'margins' of a gate"),
    ("[{no-regresion: exact_match}]", "a gate can't start with 'no-regresion'"),
    ("[{no-regression: []}]", "names one or more metrics"),
    ("[{no-regression: [exact_match, 3]}]", "names one or more metrics"),
    ("[{no-regression: , margin: 3%}]", "name the metrics it is for"),
    ("[{no-regression: exact_match, variant: nobody}]", "no variant is called 'nobody'"),
    ("[{no-regression: exact_match, variant: before}]", "is on the baseline itself"),
    ("[{no-regression: exact_match, variant: [after]}]", "variant of a gate"),
    ("[[no-regression]]", "a gate is text or a mapping"),
    ("['no-regression:']", "names no metric"),
    ("[3]", "a gate is text or a mapping"),
]


@pytest.mark.parametrize(("gates", "problem"), MISTAKES)
def test_every_mistake_in_a_gate_is_one_line_with_its_place(tmp_path: Path, gates: str, problem: str) -> None:
    exam = two_prompts(tmp_path, "http://127.0.0.1:9/v1", PLAIN)
    path = exam.suite(gates, "baseline: before\n", TWO, "[exact_match, length]")
    line = path.read_text("utf-8").splitlines().index(f"gates: {gates}") + 1
    with pytest.raises(InputError) as caught:
        Evaluation(load_suite(path), RunOptions())
    text = str(caught.value)
    assert problem in text
    assert text.startswith(f"{path}:{line}: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("settings", "problem"),
    [("{alpha: 0}", "alpha"), ("{alpha: 0.5}", "alpha"), ("{margin: lots}", "margin 'lots'"), ("{looks: 0}", "looks"),
     ("{population: all}", "population"), ("{early: true}", "unknown key 'comparison.early'"), ("3", "comparison")],
)  # fmt: skip
def test_mistakes_in_the_settings_of_comparisons(tmp_path: Path, settings: str, problem: str) -> None:
    exam = two_prompts(tmp_path, "http://127.0.0.1:9/v1", PLAIN)
    path = exam.suite("", f"baseline: before\ncomparison: {settings}\n", TWO)
    line = next(at for at, text in enumerate(path.read_text("utf-8").splitlines(), 1) if "comparison" in text)
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(("demand", "code"), [("no-regression", 0), ("no-worse", 3), ("better", 3)])
def test_a_gate_with_nothing_to_compare_with_is_undecided(bench: Bench, demand: str, code: int) -> None:
    suite = replace(bench.suite({"only": good}, [{demand: "exact_match"}]), baseline=None)
    run = bench.run(suite, rows(60))
    assert outcomes(run) == [("undecided", demand != "no-regression")]
    assert "--against REF" in run.gates[0].detail
    assert run.exit_code == code
    assert len(bench.called["only"]) == 60


def test_variants_left_out_are_not_compared(tmp_path: Path, server: StubServer) -> None:
    exam = two_prompts(
        tmp_path, server.url, PLAIN, 60, gates="[{no-worse: exact_match, variant: after}, no-regression]"
    )
    suite = load_suite(exam.folder / "evals/codes.yaml")

    def run(*variants: str) -> Run:
        from llmops.assembly import Selection

        return Evaluation(suite, RunOptions(Selection(variants=variants))).run()

    assert [(gate.variant, gate.outcome) for gate in run("after").gates] == [("after", "undecided")] * 2
    assert [(gate.variant, gate.outcome) for gate in run("before").gates] == [("before", "undecided")]
    assert run("after").record.comparisons == ()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--against", "main", "--baseline", "latest"], "--against and --baseline both say what to compare with"),
        (["--resume", "--no-early-stop"], "--no-early-stop and --resume can't go together"),
        (["--baseline", "nowhere"], "no runs yet"),
    ],
)
def test_the_command_line_refuses_what_contradicts(
    tmp_path: Path, llmops: Callable[..., subprocess.CompletedProcess[str]], words: list[str], problem: str
) -> None:
    two_prompts(tmp_path, "http://127.0.0.1:9/v1", PLAIN)
    done = llmops("eval", "evals/codes.yaml", *words)
    assert done.returncode == 2
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / ".llmops").exists()
