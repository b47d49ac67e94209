"""What counts as evidence for a promotion, and who would break by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.config import Config
from llmops.errors import InputError, NotFoundError
from llmops.promotion import Promoter, lacks
from llmops.prompts.calling.callers import Caller
from llmops.prompts.labels import read_labels
from llmops.prompts.releases import content_of, release
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import WorkTree
from llmops.runs import Run, make_run
from llmops.soundness import SuiteUse, caller_problems, check_project
from llmops.types import Case, Failure, GateOutcome, MetricInfo, Output, Result, RunRecord, Score, VariantInfo

PROMPT = "---\ninputs: {question: string, tone: {type: string, default: calm}}\n---\n{{ tone }}: {{ question }} (1)\n"
PASSED = GateOutcome("token_f1 >= 0.5", "new", "pass", 0.9)


@pytest.fixture
def project(tmp_path: Path) -> Config:
    """A prompt with versions 1 and 2; production asks for evidence."""
    root = tmp_path / "prompts"
    (root / "docs").mkdir(parents=True)
    (root / "docs/answer.prompt.md").write_text(PROMPT, "utf-8")
    release(WorkTree(root), "docs/answer")
    (root / "docs/answer.prompt.md").write_text(PROMPT.replace("(1)", "(2)"), "utf-8")
    release(WorkTree(root), "docs/answer")
    return Config(tmp_path, prompts_dir=root, require_evidence=("production",))


def content(project: Config, version: int) -> str:
    return content_of(WorkTree(project.prompts_dir), "docs/answer", version)


def a_run(
    variants: dict[str, str], gates: Iterable[GateOutcome] = (PASSED,), errors: int = 0, **changes: object
) -> Run:
    """A finished run of 50 cases; `variants` are content ids by name."""
    infos = tuple(VariantInfo(name, "prompt", {"content_id": one}) for name, one in variants.items())
    record = RunRecord(
        "run-1", "suite", "hash", "cases", "fingerprint", infos, (MetricInfo("token_f1"),), cases=50,
        status="finished", gates=tuple(gates),
    )  # fmt: skip
    failure = Failure("timeout", "no answer")
    results = [
        Result(name, Case(str(i)), Output(error=failure if i < errors else None), scores={"token_f1": Score(0.9)})
        for name in variants
        for i in range(50)
    ]
    return make_run(replace(record, **changes), results)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda new, old: a_run({"new": new, "old": old}), ""),
        (lambda new, old: a_run({"old": old}), "never ran this content"),
        (lambda new, old: a_run({"new": new}), "didn't compare with what the label holds now"),
        (lambda new, old: a_run({"new": new, "old": old}, gates=[]), "it has no gates"),
        (lambda new, old: a_run({"new": new, "old": old}, gates=[replace(PASSED, variant="old")]), "it has no gates"),
        (lambda new, old: a_run({"new": new, "old": old}, gates=[PASSED, replace(PASSED, outcome="fail")]), "failed"),
        (lambda new, old: a_run({"new": new, "old": old}, gates=[replace(PASSED, outcome="undecided")]), "undecided"),
        (lambda new, old: a_run({"new": new, "old": old}, gates=[PASSED, replace(PASSED, variant="old", outcome="fail")]),
         ""),
        (lambda new, old: a_run({"new": new, "old": old}, status="interrupted"), "it is interrupted"),
        (lambda new, old: a_run({"new": new, "old": old}, config={"sample": 5}), "a part of the cases"),
        (lambda new, old: a_run({"new": new, "old": old}, config={"only": ["tag:easy"]}), "a part of the cases"),
        (lambda new, old: a_run({"new": new, "old": old}, errors=5), "too many of its cases failed"),
    ],
)  # fmt: skip
def test_evidence_is_a_passed_run_of_this_content_against_what_is_held(project: Config, run: object, says: str) -> None:
    new, old = content(project, 2), content(project, 1)
    made: Run = run(new, old)  # type: ignore[operator]
    found = lacks(made, new, old, must_pass=True)
    assert says in found
    assert bool(says) == bool(found)
    promoter = Promoter(project, "Ann")
    promoter.promote("docs/answer", "production", 1, a_run({"new": old}))
    if says:
        with pytest.raises(InputError, match="doesn't justify docs/answer version 2 as production") as caught:
            promoter.promote("docs/answer", "production", 2, made)
        assert "--against production" in caught.value.hint
        assert read_labels(WorkTree(project.prompts_dir))["docs/answer"]["production"].version == 1
    else:
        promoter.promote("docs/answer", "production", 2, made)
        label = read_labels(WorkTree(project.prompts_dir))["docs/answer"]["production"]
        assert (label.version, label.before) == (2, (1,))
        assert label.facts["run"] == "run-1"
        assert label.facts["dataset"] == "fingerprint"
        assert label.facts["verdict"] == "passed"


def test_other_labels_move_freely_and_keep_what_a_run_said(project: Config) -> None:
    promoter = Promoter(project, "Ann")
    assert promoter.promote("docs/answer", "staging", None, None).new == 2
    assert not promoter.promote("docs/answer", "staging", 2, None).changed
    failed = a_run({"new": content(project, 1)}, gates=[replace(PASSED, outcome="fail")])
    assert promoter.promote("docs/answer", "staging", 1, failed).facts["verdict"] == "not passed"
    with pytest.raises(InputError, match="it never ran this content"):
        promoter.promote("docs/answer", "staging", 2, failed)
    with pytest.raises(NotFoundError, match="no version 7"):
        promoter.promote("docs/answer", "staging", 7, None)
    with pytest.raises(InputError, match="can't be a label"):
        promoter.promote("docs/answer", "latest", 1, None)
    with pytest.raises(NotFoundError, match="no prompt 'docs/other'"):
        promoter.promote("docs/other", "staging", None, None)


def test_rollbacks_go_back_step_by_step(project: Config) -> None:
    promoter = Promoter(project, "Ann")
    for version in (1, 2, 1):
        promoter.promote("docs/answer", "staging", version, None)
    assert promoter.rollback("docs/answer", "staging").new == 2
    assert promoter.rollback("docs/answer", "staging").new == 1
    with pytest.raises(InputError, match="held nothing before"):
        promoter.rollback("docs/answer", "staging")


def test_a_promotion_that_breaks_a_caller_is_refused(project: Config) -> None:
    promoter = Promoter(project, "Ann")
    promoter.promote("docs/answer", "staging", 1, None)
    promoter.route("docs/answer", "live", {"staging": 50, "1": 50})
    text = PROMPT.replace("question", "query")
    (project.prompts_dir / "docs/answer.prompt.md").write_text(text, "utf-8")
    release(WorkTree(project.prompts_dir), "docs/answer")
    code = project.root / "app.py"
    code.write_text(
        "from llmops import load_prompt\n\n"
        'load_prompt("docs/answer@live", key=user).render(question="Why?")\n', "utf-8",
    )  # fmt: skip
    with pytest.raises(InputError, match="has no variable 'question'") as caught:
        promoter.promote("docs/answer", "staging", 3, None)
    assert caught.value.where == "app.py:3"
    assert promoter.promote("docs/answer", "staging", 3, None, force=True).new == 3


def problems(project: Config, *code: Caller, suites: Iterable[SuiteUse] = ()) -> list[str]:
    return list(map(str, caller_problems(PromptStore(project.prompts_dir), code, suites)))


def caller(reference: str, *given: str, open: bool = False) -> Caller:
    return Caller(reference, "app.py:1", frozenset(given), open)


def test_callers_have_to_fit_what_they_name_and_what_will_follow(project: Config) -> None:
    Promoter(project, "Ann").promote("docs/answer", "staging", 1, None)
    assert problems(project, caller("docs/answer", "question"), caller("docs/answer@staging", "question")) == []
    assert "needs 'question'" in problems(project, caller("docs/answer@1", "tone"))[0]
    assert "did you mean 'tone'" in problems(project, caller("docs/answer@1", "question", "tine"))[0]
    assert problems(project, caller("docs/answer@1", open=True)) == []
    assert "no label 'prod'" in problems(project, caller("docs/answer@prod", "question"))[0]
    assert "did you mean 'docs/answer'" in problems(project, caller("docs/anwser", "question"))[0]
    (project.prompts_dir / "docs/answer.prompt.md").write_text(PROMPT.replace("question", "query"), "utf-8")
    assert problems(project, caller("docs/answer@1", "question")) == []  # a number never moves
    [unknown, missing] = problems(project, caller("docs/answer@staging", "question"))
    assert "no variable 'question' (in the working file)" in unknown
    assert "needs 'query', which isn't passed (in the working file)" in missing
    both = PROMPT.replace("question: string", "question: {type: string, default: ''}, query: {default: ''}")
    (project.prompts_dir / "docs/answer.prompt.md").write_text(both.replace("{{ q", "{{ query }}{{ q"), "utf-8")
    assert problems(project, caller("docs/answer@staging", "question")) == []


def test_a_suite_passes_what_its_cases_have(project: Config) -> None:
    def use(*columns: str, fixed: tuple[str, ...] = ()) -> SuiteUse:
        return SuiteUse("docs/answer", "evals/a.yaml:3", frozenset(fixed), frozenset(columns))

    assert problems(project, suites=[use("question", "spare")]) == []
    assert "needs 'question'" in problems(project, suites=[use("spare")])[0]
    assert problems(project, suites=[use(fixed=("question",))]) == []
    assert "no variable 'mood'" in problems(project, suites=[use("question", fixed=("mood",))])[0]


def test_the_whole_project_is_checked(project: Config) -> None:
    evals = project.root / "evals"
    evals.mkdir()
    (evals / "cases.jsonl").write_text('{"id": "a", "input": "x"}\n', "utf-8")
    (evals / "a.yaml").write_text(
        "dataset: {path: cases.jsonl, fields: {inputs.question: input}}\n"
        "variants:\n  calm: {prompt: docs/answer, backend: extractive}\n  old: {prompt: docs/answr}\nmetrics: [token_f1]\n",
        "utf-8",
    )
    found = check_project(project)
    assert [str(one) for one in found.problems] == [
        "evals/a.yaml:4: no prompt 'docs/answr'; did you mean 'docs/answer'?"
    ]
    assert (found.prompts, found.releases) == (1, 2)
    assert check_project(project, callers=False).problems == []
