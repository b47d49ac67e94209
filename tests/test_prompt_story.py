"""One prompt's life in a throw-away repository, told through the command line and the SDK alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "GITHUB_", "LLMOPS_"))},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
    "NO_COLOR": "1",
}
PROMPT = """---
description: Answers a question from passages.
inputs:
  question: {type: string, example: How long is the trial?}
  contexts: {type: array, items: string, default: []}
---
system:
Answer from the passages alone.
{% include "_style.md" %}

user:
{{ contexts | join("\\n\\n") }}

Question: {{ question }}
"""
SUITE = """dataset: {path: cases.jsonl, fields: {inputs.question: question, contexts: contexts, expected: expected}}
variants:
  calm: {prompt: docs/answer, backend: extractive}
metrics: [token_f1]
gates: ["token_f1 >= 0.3"]
"""
CASES = [
    {
        "id": f"q{days}",
        "question": f"How long is the {name} trial?",
        "contexts": [f"The {name} trial lasts {days} days.", "The price is shown on the invoice."],
        "expected": f"The {name} trial lasts {days} days.",
    }
    for name, days in [("basic", 30), ("team", 14), ("school", 90)]
]
CALLER = """from llmops import load_prompt

messages = load_prompt("docs/answer@production").render(question="How long?")
"""


class Project:
    """A folder and what a person types in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8")

    def run(self, *words: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmops", *words]
        done = subprocess.run(command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == exits, (words, done.stdout, done.stderr)
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def commit(self, message: str) -> None:
        for words in (["add", "-A"], ["commit", "-qm", message]):
            subprocess.run(["git", *words], cwd=self.folder, env=ENVIRONMENT, check=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "shop")
    made.folder.mkdir()
    subprocess.run(["git", "init", "-qb", "main"], cwd=made.folder, env=ENVIRONMENT, check=True)
    made.write("llmops.yaml", "require_evidence: [production]\n")
    made.write(".gitignore", ".llmops/\n")
    made.write("prompts/docs/answer.prompt.md", PROMPT)
    made.write("prompts/docs/_style.md", "Be brief.\n")
    made.write("evals/answers.yaml", SUITE)
    made.write("evals/cases.jsonl", "".join(json.dumps(case) + "\n" for case in CASES))
    return made


def test_a_prompt_from_the_first_draft_to_a_copied_folder(project: Project, tmp_path: Path) -> None:
    project.commit("Write the prompt")

    # Release. The partial is in the release; the same content is never released twice.
    assert "released version 1" in project.run("prompt", "release", "docs/answer").stdout
    assert "Be brief." in project.read("prompts/releases/docs/answer/1.prompt.md")
    assert "nothing that decides a request changed" in project.run("prompt", "release", "docs/answer").stdout

    # Production asks for evidence; a run that passed with exactly this content is.
    refused = project.run("prompt", "promote", "docs/answer", "--to", "production", exits=2).stderr
    assert "no saved run passed with docs/answer version 1" in refused
    assert refused.count("\n") == 1
    first_run = project.json("eval", "evals/answers.yaml")["runs"][0]["run"]["id"]
    moved = project.json("prompt", "promote", "docs/answer", "--to", "production")
    assert (moved["old"], moved["new"], moved["run"], moved["verdict"]) == (None, 1, first_run, "passed")
    assert moved["by"] == "Ann"
    assert moved["dataset"]
    project.commit("Promote the first version")
    production = project.json("prompt", "render", "docs/answer@production", "-v", "question=How long?")

    # Edit the partial: the prompt has changed, and what production gives has not.
    project.write("prompts/docs/_style.md", "Be brief, and polite.\n")
    assert project.json("prompt", "ls")["prompts"][0]["state"] == "changed since production (1)"
    assert project.json("prompt", "render", "docs/answer@production", "-v", "question=How long?") == production
    assert "released version 2" in project.run("prompt", "release", "docs/answer").stdout

    # A run of the new content alone is no evidence against what production holds: it has to be compared.
    project.run("eval", "evals/answers.yaml")
    refused = project.run("prompt", "promote", "docs/answer", "--to", "production", exits=2).stderr
    assert "--against production" in refused
    refused = project.run("prompt", "promote", "docs/answer", "--to", "production", "--run", "latest", exits=2).stderr
    assert "didn't compare with what the label holds now" in refused
    compared = project.json("eval", "evals/answers.yaml", "--against", "production")["runs"][0]
    assert compared["run"]["baseline"] == "calm@production"
    moved = project.json("prompt", "promote", "docs/answer", "--to", "production")
    assert (moved["old"], moved["new"], moved["run"]) == (1, 2, compared["run"]["id"])
    project.commit("Promote the polite version")

    # Roll back: one line of labels.yaml.
    assert "production → version 1 (was 2)" in project.run("prompt", "rollback", "docs/answer").stdout
    changed = subprocess.run(
        ["git", "diff", "--numstat"], cwd=project.folder, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert changed == "1\t1\tprompts/releases/labels.yaml\n"
    assert project.json("prompt", "render", "docs/answer@production", "-v", "question=How long?") == production
    assert "held nothing before" in project.run("prompt", "rollback", "docs/answer", exits=2).stderr
    project.commit("Roll back")

    # The history tells it all, newest first.
    events = [entry["events"] for entry in project.json("prompt", "log", "docs/answer")["entries"]]
    assert events[0] == ["production → 1 (rolled back from 2)"]
    assert f"production → 2 (run {compared['run']['id']}: passed)" in events[1]
    assert "released 2" in events[1]
    assert set(events[-1]) == {"added docs/_style.md", "added"}

    # Rename a variable: the check fails and names the caller, who uses the label.
    project.write("src/app.py", CALLER)
    project.run("prompt", "check")
    project.write("prompts/docs/answer.prompt.md", PROMPT.replace("question", "query"))
    said = project.run("prompt", "check", exits=2).stdout
    assert "src/app.py:3" in said
    assert "'question'" in said
    assert "evals/answers.yaml:3" in said

    # Only prompts/ elsewhere, no git: production still gives the same, byte for byte.
    elsewhere = Project(tmp_path / "server")
    elsewhere.folder.mkdir()
    shutil.copytree(project.folder / "prompts", elsewhere.folder / "prompts")
    shutil.rmtree(project.folder / ".git")
    assert elsewhere.json("prompt", "render", "docs/answer@production", "-v", "question=How long?") == production
    source = elsewhere.run("prompt", "show", "docs/answer@production", "--source").stdout
    assert source == project.read("prompts/releases/docs/answer/1.prompt.md")


def test_against_a_revision_compares_with_the_prompt_as_it_was(project: Project) -> None:
    project.commit("Write the prompt")
    project.write("prompts/docs/_style.md", "Be brief, and polite.\n")
    done = project.json("eval", "evals/answers.yaml", "--against", "HEAD")
    variants = {one["name"]: one["details"] for one in done["runs"][0]["run"]["variants"]}
    assert list(variants) == ["calm@HEAD", "calm"]
    assert variants["calm@HEAD"]["prompt"] == "docs/answer@git:HEAD"
    assert variants["calm@HEAD"]["content_id"] != variants["calm"]["content_id"]
    said = project.run("eval", "evals/answers.yaml", "--against", "origin/main", exits=2).stderr
    assert "git knows no revision 'origin/main'" in said
    said = project.run("eval", "evals/answers.yaml", "--against", "staging", exits=2).stderr
    assert "neither a version or label of the suite's prompts nor a git revision" in said


def test_gates_judge_the_candidate_not_what_was_there_before(project: Project) -> None:
    project.write("prompts/docs/answer.prompt.md", "---\ninputs: {question: string}\n---\n{{ question }}\n")
    project.commit("Write a prompt that shows no passages")
    assert project.run("eval", "evals/answers.yaml", exits=1)
    project.write("prompts/docs/answer.prompt.md", PROMPT)
    project.run("eval", "evals/answers.yaml", "--against", "HEAD")
