"""What counts as evidence for a promotion, and who would break by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.config import Config
from llmops.errors import InputError, NotFoundError
from llmops.evidence import Wanted, lacks
from llmops.promotion import Promoter
from llmops.prompts.calling.callers import Caller
from llmops.prompts.labels import read_labels
from llmops.prompts.releases import content_of, release
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import WorkTree
from llmops.runs import Run, make_run
from llmops.soundness import SuiteUse, caller_problems, check_project
from llmops.types import Case, Failure, GateOutcome, MetricInfo, Output, Result, RunRecord, Score, VariantInfo

PROMPT = "---\ninputs: {question: string, tone: {type: string, default: calm}}\n---\n{{ tone }}: {{ question }} (1)\n"
GATE = "token_f1 >= 0.5"


@pytest.fixture
def project(tmp_path: Path) -> Config:
    """A prompt with versions 1 and 2; production asks for evidence."""
    root = tmp_path / "prompts"
    (root / "docs").mkdir(parents=True)
    (root / "docs/answer.prompt.md").write_text(PROMPT, "utf-8")
    release(WorkTree(root), "docs/answer")
    (root / "docs/answer.prompt.md").write_text(PROMPT.replace("(1)", "(2)"), "utf-8")
    release(WorkTree(root), "docs/answer")
    return Config(tmp_path, prompts_dir=root, require_evidence={"production": ()})


def content(project: Config, version: int) -> str:
    return content_of(WorkTree(project.prompts_dir), "docs/answer", version)


def a_run(
    variants: dict[str, str],
    scores: dict[str, float] | None = None,
    errors: dict[str, int] | None = None,
    details: dict[str, dict[str, object]] | None = None,
    unscored: dict[str, int] | None = None,
    **changes: object,
) -> Run:
    """A finished run of 50 cases. `variants` are content ids by name; the first of `errors` cases failed."""
    infos = tuple(
        VariantInfo(name, "prompt", {"content_id": one, **(details or {}).get(name, {})})
        for name, one in variants.items()
    )
    config = {"gates": [GATE], "path": "evals/answers.yaml", **changes.pop("config", {})}  # type: ignore[dict-item]
    record = RunRecord(
        "run-1", "answers", "hash", "cases", "fingerprint", infos, (MetricInfo("token_f1"),), cases=50,
        status="finished", config=config,
    )  # fmt: skip
    failure = Failure("timeout", "no answer")
    results = [
        Result(
            name,
            Case(str(i)),
            Output(error=failure if i < (errors or {}).get(name, 0) else None),
            scores={} if i < (unscored or {}).get(name, 0) else {"token_f1": Score((scores or {}).get(name, 0.9))},
        )
        for name in variants
        for i in range(50)
    ]
    return make_run(replace(record, **changes), results)  # type: ignore[arg-type]


OVERRIDE = {"overrides": {"model": "other"}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"only_old": True}, "never ran this content"),
        ({"only_new": True}, "didn't compare with what the label holds now"),
        ({"config": {"gates": []}}, "it has no gates"),
        ({"config": {"gates": [GATE + " for variant:old"]}}, "it has no gates"),
        ({"scores": {"new": 0.4, "old": 0.3}}, "gate token_f1 >= 0.5 failed"),
        ({"scores": {"new": 0.8, "old": 0.9}}, "token_f1 regressed: 50 cases broke"),
        ({"scores": {"new": 0.9, "old": 0.3}}, ""),
        ({"scores": {"old": 0.3}, "config": {"gates": [GATE, "token_f1 >= 2"]}}, "gate token_f1 >= 2 failed"),
        ({"config": {"gates": ["no rule"]}}, "its gates can't be read"),
        ({"config": {"gates": [GATE + " for tag:hard"]}}, "is undecided"),
        ({"gates": (GateOutcome("x", "new", "fail"),), "config": {"gates": [GATE]}}, ""),
        ({"status": "interrupted"}, "it is interrupted"),
        ({"cases": 60}, "it holds 50 of 60 cases"),
        ({"config": {"sample": 5}}, "a part of the cases (--sample)"),
        ({"config": {"only": ["tag:easy"]}}, "a part of the cases (--only)"),
        ({"config": {"set": ["gates=[]"]}}, "it ran with --set gates"),
        ({"config": {"set": ["limits.concurrency=2"]}}, ""),
        ({"errors": {"new": 5}}, "too many of its cases failed"),
        ({"errors": {"old": 5}}, ""),  # what is broken in production can be replaced
        ({"config": {"path": ""}}, "it isn't of a suite file as it is written"),
        ({"config": {"suite_cases": 60}}, "it was scored with 50 of the suite's 60 cases"),
        ({"config": {"gates": [GATE, "token_f1 >= 2 for variant:left_out"]}}, ""),
        ({"config": {"counterparts": {"old": "new"}}, "details": {"old": {"variables": {"tone": "calm"}}}}, ""),
        ({"config": {"counterparts": {"new": "old"}}}, "it ran this content only as what was there before"),
        ({"unscored": {"new": 20}}, "token_f1: 20 cases have no score of the candidate's"),
        ({"unscored": {"old": 20}}, ""),
        ({"scores": {"old": 0.9, "also": 0.2}, "also": True}, "token_f1 regressed: 50 cases broke"),
        ({"details": {"new": OVERRIDE}}, "didn't run alike"),
        ({"details": {"new": OVERRIDE, "old": OVERRIDE}}, ""),
        ({"details": {"old": {"variables": {"contexts": []}}}}, "didn't run alike"),
    ],
)
def test_evidence_is_a_passed_run_of_this_content_against_what_is_held(
    project: Config, changes: dict[str, object], says: str
) -> None:
    new, old = content(project, 2), content(project, 1)
    variants = {"new": new, "old": old}
    for name, other in (("only_old", "new"), ("only_new", "old")):
        if name in changes:
            variants.pop(other)
    if changes.get("also"):  # a second candidate with the same content, which did badly
        variants["also"] = new
        changes = {**changes, "config": {"gates": [GATE + " for variant:new", GATE.replace("5", "1")]}}
    changes = {key: value for key, value in changes.items() if key != "also" and not key.startswith("only_")}
    made = a_run(variants, **changes)  # type: ignore[arg-type]
    found = lacks(made, Wanted(new, old))
    assert says in found
    assert bool(says) == bool(found), found
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
        facts = {key: label.facts[key] for key in ("run", "dataset", "verdict", "content", "by")}
        assert facts == {
            "run": "run-1", "dataset": "fingerprint", "verdict": "passed", "content": new[:12], "by": "Ann",
        }  # fmt: skip
        assert check_project(project, callers=False).problems == []


def test_a_suite_can_be_named_whose_runs_count(project: Config) -> None:
    made = a_run({"new": content(project, 2)})
    for suite, problem in [("evals/answers.yaml", ""), ("answers", ""), ("evals/other.yaml", "it is of the suite")]:
        assert problem in lacks(made, Wanted(content(project, 2), suites=(suite, "more")))


def test_the_newest_run_of_each_suite_that_speaks_decides(project: Config) -> None:
    new, old = content(project, 2), content(project, 1)
    both = {"new": new, "old": old}
    promoter = Promoter(project, "Ann")
    promoter.promote("docs/answer", "production", 1, a_run({"new": old}))
    passed, failed = a_run(both, id="passed"), a_run(both, scores={"new": 0.4}, id="failed")
    narrowed, alone = a_run(both, id="narrowed", config={"sample": 3}), a_run({"new": new}, id="alone")
    other = a_run({"new": "c" * 64}, id="other")

    def chosen(*runs: Run) -> str:
        return promoter.search(runs, "docs/answer", "production", None).id

    assert chosen(other, narrowed, alone, passed, failed) == "passed"
    with pytest.raises(InputError, match=r"run failed of answers doesn't: gate token_f1 >= 0\.5 failed"):
        chosen(other, failed, passed)
    assert chosen(failed, a_run(both, id="elsewhere", suite="more")) == "elsewhere"
    with pytest.raises(InputError, match="no saved run passed with docs/answer version 2 and what production holds"):
        chosen(other)
    with pytest.raises(InputError, match="run alone of answers doesn't: it didn't compare"):
        chosen(alone)


def test_labels_that_ask_for_evidence_are_checked(project: Config) -> None:
    promoter = Promoter(project, "Ann")
    promoter.promote("docs/answer", "production", 1, a_run({"new": content(project, 1)}))
    labels = project.prompts_dir / "releases/labels.yaml"
    text = labels.read_text("utf-8")

    def rules() -> list[str]:
        return [one.rule for one in check_project(project, callers=False).problems]

    assert rules() == []
    labels.write_text(text.replace("version: 1", "version: 2"), "utf-8")
    assert rules() == ["label"]  # the run that is noted is about another content
    labels.write_text(text.replace(text.partition("production: ")[2].partition("\n")[0], "2"), "utf-8")
    assert rules() == ["evidence"]
    labels.write_text(text, "utf-8")
    both = {"new": content(project, 2), "old": content(project, 1)}
    promoter.promote("docs/answer", "production", 2, a_run(both))
    promoter.rollback("docs/answer", "production")
    assert rules() == []


def test_promoting_what_a_label_holds_adds_the_evidence_that_is_missing(project: Config) -> None:
    promoter = Promoter(project, "Ann")
    labels = project.prompts_dir / "releases/labels.yaml"
    promoter.promote("docs/answer", "production", 1, a_run({"new": content(project, 1)}))
    line = labels.read_text("utf-8").partition("  production: ")[2].partition("\n")[0]
    labels.write_text(labels.read_text("utf-8").replace(line, "{version: 2, before: [1]}"), "utf-8")
    assert [one.rule for one in check_project(project, callers=False).problems] == ["evidence"]
    both = {"new": content(project, 2), "old": content(project, 1)}
    with pytest.raises(InputError, match="didn't compare with what the label holds now"):
        promoter.promote("docs/answer", "production", 2, a_run({"new": content(project, 2)}))
    assert promoter.promote("docs/answer", "production", 2, a_run(both)).changed
    label = read_labels(WorkTree(project.prompts_dir))["docs/answer"]["production"]
    assert (label.version, label.before, label.facts["verdict"]) == (2, (1,), "passed")
    assert check_project(project, callers=False).problems == []
    assert not promoter.promote("docs/answer", "production", 2, None).changed


def test_other_labels_move_freely_and_keep_what_a_run_said(project: Config) -> None:
    promoter = Promoter(project, "Ann")
    assert promoter.promote("docs/answer", "staging", None, None).new == 2
    assert not promoter.promote("docs/answer", "staging", 2, None).changed
    failed = a_run({"new": content(project, 1)}, scores={"new": 0.4})
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
    with pytest.raises(InputError, match="asks for evidence, and a route has none"):
        promoter.route("docs/answer", "production", {"1": 100})
    with pytest.raises(InputError, match="staging of docs/answer holds version 1"):
        promoter.route("docs/answer", "staging", {"1": 100})
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
    with pytest.raises(InputError, match="would break a caller of live"):
        promoter.route("docs/answer", "live", {"3": 100})
    assert promoter.promote("docs/answer", "staging", 3, None, force=True).new == 3
    assert promoter.promote("docs/answer", "staging", 2, None).new == 2
    code.write_text(code.read_text().replace("question=", "other="), "utf-8")
    assert promoter.promote("docs/answer", "staging", 1, None).new == 1  # broken before is no reason


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
        "variants:\n  calm: {prompt: docs/answer, backend: extractive}\n  old: {prompt: docs/answr}\n"
        "metrics: [token_f1]\n",
        "utf-8",
    )
    found = check_project(project)
    assert [str(one) for one in found.problems] == [
        "evals/a.yaml:4: no prompt 'docs/answr'; did you mean 'docs/answer'?"
    ]
    assert (found.prompts, found.releases) == (1, 2)
    assert check_project(project, callers=False).problems == []
