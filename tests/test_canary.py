"""The same prompt on both sides, and cached answers that a provider no longer gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exam_stub import WORSE, Exam, changing, reply
from llmops import evaluate
from llmops.evals.suite import load_suite
from llmops.sdk import compared_with
from llmops.store.location import open_place
from stub_server import StubServer

CANARY = "comparison: {canary: 10%, early_stop: false}\n"


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer(reply) as started:
        yield started


def project(folder: Path, url: str, count: int, more: str = "", gates: str = "[{no-worse: exact_match}]") -> Exam:
    made = Exam(folder, url, count)
    made.suite(gates=gates, more=more)
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("Write the prompt")
    return made


def test_a_prompt_that_is_the_same_on_both_sides_is_no_worse_however_few_the_cases(
    tmp_path: Path, server: StubServer
) -> None:
    exam = project(tmp_path, server.url, 3)
    run = evaluate(exam.folder / "evals/codes.yaml", against="HEAD")
    [comparison] = run.record.comparisons
    assert [(m.verdict, m.ci, m.method) for m in comparison.metrics if m.guard] == [
        ("equivalent", (0.0, 0.0), "same requests")
    ]
    assert run.exit_code == 0
    assert any("the same on both sides" in note for note in comparison.notes)
    exam.prompt(WORSE)
    assert evaluate(exam.folder / "evals/codes.yaml", against="HEAD").exit_code == 3  # three cases can't tell


def test_another_model_or_other_parameters_are_not_the_same(tmp_path: Path, server: StubServer) -> None:
    variants = (
        "  old: {prompt: lookup, backend: BACKEND}\n  new: {prompt: lookup, backend: BACKEND, parameters: {seed: 2}}\n"
    )
    exam = project(tmp_path, server.url, 3)
    exam.suite(gates="[{no-worse: exact_match}]", variants=variants, more="baseline: old\n")
    run = evaluate(exam.folder / "evals/codes.yaml")
    assert [m.verdict for m in run.record.comparisons[0].metrics if m.guard] == ["inconclusive"]


def notes_of(exam: Exam) -> list[str]:
    run = evaluate(exam.folder / "evals/codes.yaml", against="HEAD")
    return [note for note in run.record.comparisons[0].notes if "asked again" in note]


def test_a_provider_that_changed_behind_the_cache_is_noticed(tmp_path: Path) -> None:
    """First it knows every code; from the second time it is asked, hardly any."""
    with StubServer(changing(lambda system, number, before: before > 0 and number % 10 != 0)) as server:
        exam = project(tmp_path, server.url, 100, CANARY)
        evaluate(exam.folder / "evals/codes.yaml")  # the baseline's answers are in the cache now
        asked = len(server.seen)
        exam.prompt(WORSE)
        [note] = notes_of(exam)
        assert "20 of the baseline's cached answers were asked again" in note and "--refresh" in note
        assert len(server.seen) - asked == 100 + 20


def test_a_provider_that_stayed_the_same_is_said_to_be(tmp_path: Path, server: StubServer) -> None:
    exam = project(tmp_path, server.url, 100, CANARY)
    evaluate(exam.folder / "evals/codes.yaml")
    exam.prompt(WORSE)
    [note] = notes_of(exam)
    assert "no drift" in note
    assert notes_of(exam) == []  # now both sides come from the cache: nothing to be unfair about


def test_without_a_canary_nothing_is_asked_twice(tmp_path: Path, server: StubServer) -> None:
    exam = project(tmp_path, server.url, 60)
    evaluate(exam.folder / "evals/codes.yaml")
    exam.prompt(WORSE)
    asked = len(server.seen)
    assert notes_of(exam) == []
    assert len(server.seen) - asked <= 60


def test_the_answers_asked_again_are_not_the_runs(tmp_path: Path, server: StubServer) -> None:
    exam = project(tmp_path, server.url, 100, CANARY)
    evaluate(exam.folder / "evals/codes.yaml")
    exam.prompt(WORSE)
    run = evaluate(exam.folder / "evals/codes.yaml", against="HEAD")
    assert {result.repeat for result in run.results} == {0}
    assert len(list(run.results)) == 200


def test_a_damaged_earlier_run_costs_nothing(tmp_path: Path, server: StubServer) -> None:
    exam = project(tmp_path, server.url, 30)
    exam.prompt(WORSE)
    suite = exam.folder / "evals/codes.yaml"
    first = evaluate(suite, against="HEAD", cache=False)
    place = open_place(exam.folder / ".llmops/llmops.db", create=False)
    with place.writing() as connection:
        connection.exec_driver_sql("UPDATE cases SET body = '[]'")
    place.engine.dispose()
    again = evaluate(suite, against="HEAD", cache=False)
    assert again.record.status == first.record.status == "finished"
    assert [comparison.pooled for comparison in again.record.comparisons] == [1]


def test_the_canary_of_a_suite_is_a_share(tmp_path: Path, server: StubServer) -> None:
    exam = project(tmp_path, server.url, 3, CANARY)
    suite, _ = compared_with(load_suite(exam.folder / "evals/codes.yaml"))
    assert suite.comparison.canary == pytest.approx(0.1)
