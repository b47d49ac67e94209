"""`--against`: which counterparts a suite gets, and what is said about those it doesn't get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import llmops
from llmops.against import with_counterparts
from llmops.errors import InputError
from llmops.evals.suite import load_suite
from llmops.prompts.labels import Label, set_label
from llmops.prompts.releases import release
from llmops.prompts.trees import WorkTree
from llmops.sdk import list_runs

SUITE = """dataset: {path: cases.jsonl, fields: {inputs.question: question, expected: answer}}
variants:
  calm: {prompt: docs/answer, backend: extractive, variables: {tone: calm}}
  code: {python: pipe.py:answer}
  short: {prompt: docs/short, backend: extractive}
baseline: code
metrics: [token_f1]
gates: ["token_f1 >= 0.0"]
"""
ANSWER = "---\ninputs: {question: string, tone: {default: kind}}\n---\n{{ tone }} {{ question }} (1)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "llmops.yaml").write_text("", "utf-8")
    (tmp_path / "prompts/docs").mkdir(parents=True)
    (tmp_path / "prompts/docs/answer.prompt.md").write_text(ANSWER, "utf-8")
    (tmp_path / "prompts/docs/short.prompt.md").write_text("{{ question }}\n", "utf-8")
    (tmp_path / "suite.yaml").write_text(SUITE, "utf-8")
    (tmp_path / "pipe.py").write_text("def answer(question):\n    return question\n", "utf-8")
    rows = [{"id": str(i), "question": f"How many {i}?", "answer": f"How many {i}?"} for i in range(4)]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path


def released(project: Path, name: str = "docs/answer", label: str = "") -> WorkTree:
    tree = WorkTree(project / "prompts")
    made, _ = release(tree, name)
    if label:
        set_label(tree, name, Label(label, made.version))
    return tree


def test_each_prompt_gets_the_counterpart_it_has(project: Path) -> None:
    old = "---\ninputs: {question: string}\n---\n{{ question }} (0)\n"
    (project / "prompts/docs/answer.prompt.md").write_text(old, "utf-8")
    released(project, label="production")
    (project / "prompts/docs/answer.prompt.md").write_text(ANSWER, "utf-8")
    made = with_counterparts(load_suite(project / "suite.yaml"), "production")
    assert [one.name for one in made.suite.variants] == ["calm@production", "calm", "code", "short"]
    counterpart = made.suite.variants[0]
    assert counterpart.options["prompt"] == "docs/answer@production"
    assert counterpart.options["variables"] == {}  # the old prompt takes no tone
    assert made.suite.counterparts == {"calm@production": "calm"}
    assert made.suite.baseline == "calm@production"
    assert made.notes == ("short has no counterpart at production: docs/short was never released",)


def test_a_label_that_only_other_prompts_have_is_no_mistake(project: Path) -> None:
    released(project, "docs/short", label="production")
    (project / "suite.yaml").write_text(
        SUITE.replace("  short: {prompt: docs/short, backend: extractive}\n", ""), "utf-8"
    )
    made = with_counterparts(load_suite(project / "suite.yaml"), "production")
    assert [one.name for one in made.suite.variants] == ["calm", "code"]
    assert made.suite.baseline == "code"
    assert "calm has no counterpart at production" in made.notes[0]


def test_what_can_t_be_rendered_with_these_cases_has_no_counterpart(project: Path) -> None:
    old = "---\ninputs: {question: string, passage: string}\n---\n{{ question }} {{ passage }}\n"
    (project / "prompts/docs/answer.prompt.md").write_text(old, "utf-8")
    released(project)
    (project / "prompts/docs/answer.prompt.md").write_text(ANSWER, "utf-8")
    made = with_counterparts(load_suite(project / "suite.yaml"), "1")
    assert "calm has no counterpart at 1: it needs 'passage', which case 0 doesn't have" in made.notes


def test_unchanged_prompts_are_compared_and_named(project: Path) -> None:
    released(project)
    made = with_counterparts(load_suite(project / "suite.yaml"), "latest")
    assert "calm is the same at latest: docs/answer hasn't changed" in made.notes
    assert "calm@latest" in made.suite.counterparts


@pytest.mark.parametrize("ref", ["origin/main", "HEAD", "v1.2", "0123abc"])
def test_without_git_a_revision_is_an_error(project: Path, ref: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite(project / "suite.yaml")
    with pytest.raises(InputError, match=r"not in a git repository|nor a git revision"):
        with_counterparts(suite, ref)
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(InputError, match=r"git isn't installed|nor a git revision"):
        with_counterparts(suite, ref)


def test_routes_and_names_that_are_taken_are_refused(project: Path) -> None:
    tree = released(project, label="production")
    set_label(tree, "docs/answer", Label("live", route={"production": 100}))
    with pytest.raises(InputError, match="that is a route; compare with one of its versions: --against production"):
        with_counterparts(load_suite(project / "suite.yaml"), "live")
    text = SUITE.replace("  code:", "  calm@production: {python: pipe.py:answer}\n  code:")
    (project / "suite.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError, match="there is a variant 'calm@production' already"):
        with_counterparts(load_suite(project / "suite.yaml"), "production")


def test_a_suite_without_prompts_runs_as_it_is(project: Path) -> None:
    text = SUITE.replace("  calm: {prompt: docs/answer, backend: extractive, variables: {tone: calm}}\n", "")
    text = text.replace("  short: {prompt: docs/short, backend: extractive}\n", "")
    (project / "suite.yaml").write_text(text, "utf-8")
    made = with_counterparts(load_suite(project / "suite.yaml"), "production")
    assert made.suite.counterparts == {}
    assert "no variant is a prompt" in made.notes[0]


def test_a_run_keeps_what_it_compared_when_it_is_scored_again(project: Path, llmops) -> None:
    released(project, label="production")
    done = llmops("eval", "suite.yaml", "--against", "production", "--only", "id:1", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    store = project / ".llmops/llmops.db"
    llmops("score", "latest", "--suite", "suite.yaml", cwd=project)
    for record in list_runs(store=store):
        assert {gate.variant for gate in record.gates} == {"calm", "code", "short"}
        assert record.config["only"] == ["id:1"]
    assert len(list_runs(store=store)) == 2
    refused = llmops("prompt", "promote", "docs/answer", "--to", "staging", "--run", "latest", cwd=project)
    assert refused.returncode == 0  # staging asks for no evidence; the line says what the run said
    assert "not passed" in refused.stdout


def test_what_python_code_replaces_is_no_run_of_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    as_written = llmops.evaluate("suite.yaml")
    assert as_written.record.config["path"] == "suite.yaml"
    assert llmops.evaluate("suite.yaml", gates=["token_f1 >= 0"]).record.config["path"] == ""
    assert llmops.evaluate("suite.yaml", sample=2).record.config["path"] == "suite.yaml"
