"""action.yml: its shape, and its steps run with bash in a shallow clone, against a loopback stand-in for GitHub."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from action_runner import Ran, Runner
from conftest import ROOT, clean_environment
from fake_forge import FakeGitHub
from gitrepo import ISOLATED, Repository, git

TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = ACTION["runs"]["steps"]
SUITE = """dataset: {path: cases.jsonl, fields: {inputs.question: question, contexts: contexts, expected: expected}}
variants:
  calm: {prompt: docs/answer, backend: extractive}
metrics: [token_f1]
gates: ["token_f1 >= 0.8"]
"""
PROMPT = """---
inputs: {question: {type: string}, contexts: {type: array, items: string, default: []}}
---
system:
Answer from the passages alone.

user:
{{ contexts | join("\\n\\n") }}

Question: {{ question }}
"""
WORSE = PROMPT.replace('{{ contexts | join("\\n\\n") }}', "{{ contexts | last }}")
CASES = [
    {
        "id": f"q{days}",
        "question": f"How long is the plan{days} trial?",
        "contexts": [f"The plan{days} trial lasts {days} days.", "Ask the office about trial prices.\n::error::boo"],
        "expected": f"The plan{days} trial lasts {days} days.",
    }
    for days in range(10, 160)
]


class Project:
    """A repository on a forge, and pull requests of it as a workflow gets them: one merge commit, nothing more."""

    def __init__(self, folder: Path, forge: FakeGitHub) -> None:
        self.folder = folder
        self.forge = forge
        self.origin = Repository.new(folder / "origin")
        self.origin.write("docs/answer.prompt.md", PROMPT)
        self.write("evals/answers.yaml", SUITE)
        self.write("evals/cases.jsonl", "".join(json.dumps(case) + "\n" for case in CASES))
        self.write(".gitignore", ".llmops/\n")
        self.origin.commit("Begin")
        self.jobs = 0

    def write(self, name: str, text: str) -> None:
        path = self.origin.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def branch(self, name: str) -> None:
        self.origin.git("switch", "--quiet", "--create", name, "main")

    def push(self, message: str) -> str:
        """Commit the branch; what a pull request of it merges to is on refs/pull/7/merge."""
        head = self.origin.commit(message)
        self.origin.git("update-ref", "refs/pull/7/merge", head)
        return head

    def job(self, head: str, *, fork: bool = False, pull_request: bool = True, **inputs: str) -> Ran:
        """What the action does in a new job for the pull request's commit."""
        self.jobs += 1
        workspace = self.folder / f"job{self.jobs}"
        workspace.mkdir()
        git(workspace, "init", "--quiet")
        git(workspace, "remote", "add", "origin", self.origin.top.as_uri())
        git(workspace, "fetch", "--quiet", "--depth=1", "origin", head)
        git(workspace, "checkout", "--quiet", "FETCH_HEAD")
        return self.runner(workspace, head, fork=fork, pull_request=pull_request).run(**inputs)

    def runner(self, workspace: Path, head: str, *, fork: bool = False, pull_request: bool = True) -> Runner:
        environment = self._environment(head, fork, pull_request)
        return Runner(ROOT / "action.yml", workspace, self.folder / f"temp{self.jobs}", environment)

    def _environment(self, head: str, fork: bool, pull_request: bool) -> dict[str, str]:
        event: dict[str, Any] = {"ref": "refs/heads/main"}
        if pull_request:
            theirs = {"full_name": "mallory/shop" if fork else "ann/shop"}
            base = {"repo": {"full_name": "ann/shop"}}
            event = {"pull_request": {"number": 7, "head": {"sha": head, "repo": theirs}, "base": base}}
        (self.folder / "event.json").write_text(json.dumps(event), "utf-8")
        path = os.pathsep.join([str(commands(self.folder)), os.environ["PATH"]])
        return clean_environment(
            **ISOLATED,
            PATH=path,
            GITHUB_ACTIONS="true",
            GITHUB_API_URL=self.forge.url,
            GITHUB_BASE_REF="main" if pull_request else "",
            GITHUB_EVENT_NAME="pull_request" if pull_request else "push",
            GITHUB_EVENT_PATH=str(self.folder / "event.json"),
            GITHUB_REPOSITORY="ann/shop",
            GITHUB_ACTOR="ann",
            GITHUB_RUN_ID="99",
            GITHUB_RUN_ATTEMPT="1",
            GITHUB_SERVER_URL="https://github.example",
            GITHUB_SHA=head,
            RUNNER_OS="Linux",
        )


def commands(folder: Path) -> Path:
    """`python` and `llmops` of this environment; `pip install` only writes down what it was asked for."""
    place = folder / "bin"
    place.mkdir(exist_ok=True)
    pip = f'printf "%s\\n" "$@" > "{folder}/installed"'
    python = f'#!/bin/bash\nif [ "$1 $2" = "-m pip" ]; then {pip}; else exec "{sys.executable}" "$@"; fi\n'
    for name, text in (("python", python), ("llmops", f'#!/bin/bash\nexec "{sys.executable}" -m llmops "$@"\n')):
        (place / name).write_text(text, "utf-8")
        (place / name).chmod(0o755)
    return place


@pytest.fixture
def forge() -> Iterator[FakeGitHub]:
    with FakeGitHub(TOKEN) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, forge: FakeGitHub) -> Project:
    return Project(tmp_path, forge)


def test_a_pull_request_gets_a_comment_then_the_same_one_updated_and_checks(project, forge):
    project.branch("reword")
    project.origin.write("docs/answer.prompt.md", WORSE)
    worse = project.push("Ask about the last passage only")
    ran = project.job(worse, token=TOKEN)
    assert ran.exit_code == 1, ran.logs
    [comment] = forge.comments
    assert comment["body"].startswith("<!-- llmops:answers -->\n")
    assert "calm@origin/main" in comment["body"]
    assert f"commit {worse[:10]}" in comment["body"]
    assert (forge.checks[-1]["conclusion"], forge.checks[-1]["head_sha"]) == ("failure", worse)
    assert ran.outputs["exit-code"] == "1"
    assert ran.outputs["conclusion"] == "failure"
    assert "::error file=evals/answers.yaml,line=5," in ran.logs["Summarize"]
    assert ran.summary.startswith("<!-- llmops:answers -->\n")
    assert {path.name for path in Path(ran.outputs["reports"]).glob("report*")} == {
        "report.md", "report.html", "report.json", "report.xml",
    }  # fmt: skip
    assert TOKEN not in "".join(ran.logs.values())

    project.origin.write("docs/answer.prompt.md", PROMPT.replace("alone", "only"))
    better = project.push("Say it in other words")
    ran = project.job(better, token=TOKEN)
    assert ran.exit_code == 0, ran.logs
    assert [one["id"] for one in forge.comments] == [comment["id"]]
    assert f"commit {better[:10]}" in forge.comments[0]["body"]
    assert (forge.checks[-1]["conclusion"], forge.checks[-1]["head_sha"]) == ("success", better)


def test_what_a_model_says_can_t_command_the_runner(project):
    project.branch("reword")
    project.origin.write("docs/answer.prompt.md", WORSE)
    log = project.job(project.push("Reword"), token=TOKEN).logs["Evaluate"]
    lines = log.splitlines()
    [start] = [at for at, line in enumerate(lines) if line.startswith("::stop-commands::")]
    secret = lines[start].rpartition("::")[2]
    assert len(secret) == 32
    [end] = [at for at, line in enumerate(lines) if line == f"::{secret}::"]
    assert all(start < at < end for at, line in enumerate(lines) if "token_f1" in line)


def test_a_fork_is_judged_like_any_other_without_a_comment_or_a_check(project, forge):
    forge.read_only = True
    project.branch("theirs")
    project.origin.write("docs/answer.prompt.md", WORSE)
    head = project.push("Reword")
    ran = project.job(head, fork=True, token=TOKEN)
    assert ran.exit_code == 1
    assert forge.comments == forge.checks == []
    for step in ("Comment", "Set the check"):
        assert "a pull request from a fork has a token that may only read" in ran.logs[step]
        assert "::warning" not in ran.logs[step]
    assert "<!-- llmops:answers -->" in ran.summary


@pytest.mark.parametrize(("fork", "exits"), [(True, 3), (False, 0)])
def test_too_few_cases_are_neutral_and_where_no_check_can_say_so_not_green(project, forge, fork, exits):
    forge.read_only = fork
    project.write("evals/cases.jsonl", "".join(json.dumps(case) + "\n" for case in CASES[:5]))
    project.origin.commit("Keep five cases")
    project.branch("theirs")
    project.origin.write("docs/answer.prompt.md", PROMPT.replace("alone", "only"))
    ran = project.job(project.push("Reword"), fork=fork, token=TOKEN)
    assert ran.outputs["exit-code"] == "0"  # no-regression lets pass what can't be told
    assert (ran.exit_code, [check["conclusion"] for check in forge.checks]) == (exits, [] if fork else ["neutral"])
    assert ("::warning title=llmops::the run can't tell yet" in ran.logs["Result"]) == fork


def test_missing_permissions_are_a_warning_and_the_gates_still_decide(project, forge):
    forge.read_only = True
    ran = project.job(head_of(project), token=TOKEN)
    assert ran.exit_code == 0
    for step in ("Comment", "Set the check"):
        assert "permissions: {pull-requests: write, checks: write}" in ran.logs[step]
        assert "::warning title=llmops::" in ran.logs[step]


def head_of(project: Project) -> str:
    return project.origin.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("inputs", "read_only", "exits", "checks"),
    [
        ({}, False, 0, ["neutral"]),
        ({"fail_on_inconclusive": "true"}, False, 3, ["failure"]),
        ({"check": "false"}, False, 3, []),
        ({}, True, 3, []),
    ],
)
def test_what_can_t_be_told_is_neutral_and_never_green_by_itself(project, forge, inputs, read_only, exits, checks):
    forge.read_only = read_only
    ran = project.job(head_of(project), token=TOKEN, args="--max-requests 1", comment="false", **inputs)
    assert (ran.exit_code, [check["conclusion"] for check in forge.checks]) == (exits, checks), ran.logs
    assert ran.outputs["exit-code"] == "3"
    assert "Comment" not in ran.steps
    assert "::warning title=llmops::the run can't tell yet" in ran.logs["Result"]


def test_bad_input_fails_the_check_and_says_so(project, forge):
    project.write("evals/answers.yaml", SUITE + "oops: 1\n")
    ran = project.job(project.push("Break the suite"), token=TOKEN)
    assert ran.exit_code == 2
    assert "oops" in ran.logs["Evaluate"]
    assert forge.checks[0]["output"]["title"] == "Bad input or configuration (exit code 2)"
    assert forge.comments == []
    assert "::error title=llmops::bad input" in ran.logs["Result"]


def test_a_push_is_evaluated_and_compared_with_nothing(project, forge):
    ran = project.job(head_of(project), pull_request=False, token=TOKEN)
    assert ran.exit_code == 0, ran.logs
    assert "origin/main" not in ran.logs["Evaluate"]
    assert "no pull request here" in ran.logs["Comment"]
    assert forge.checks[0]["conclusion"] == "success"


def test_tags_commits_and_labels_can_be_compared_with(project):
    first = head_of(project)
    project.origin.git("tag", "v1")
    project.origin.write("docs/answer.prompt.md", PROMPT.replace("alone", "only"))
    project.origin.release("docs/answer")
    project.origin.promote("docs/answer", "production")
    head = project.push("Reword")
    for against, name in (("v1", "v1"), (first, first), ("production", "production"), ("none", "")):
        ran = project.job(head, token=TOKEN, against=against, comment="false", check="false")
        assert ran.exit_code == 0, (against, ran.logs)
        assert (f"calm@{name}" in ran.summary) == bool(name)
    assert project.job(head, token=TOKEN, against="no/such-branch").exit_code == 2


def test_a_whole_clone_stays_whole(project):
    project.write("more.txt", "More")
    head = project.origin.commit("More")
    whole = project.folder / "whole"
    git(project.folder, "clone", "--quiet", project.origin.top.as_uri(), "whole")
    assert project.runner(whole, head).run(token=TOKEN).exit_code == 0
    assert git(whole, "rev-parse", "--is-shallow-repository") == "false"


QUIET = {"token": TOKEN, "against": "none", "comment": "false", "check": "false"}
HOSTILE = '$(touch PWNED) `touch PWNED` ; touch PWNED & "${{ github.token }}" \' '


@pytest.mark.parametrize("field", ["suites", "against", "args", "install", "name"])
def test_no_input_is_run_as_code(project, field):
    ran = project.job(head_of(project), **{**QUIET, field: HOSTILE})
    assert list(project.folder.rglob("PWNED")) == []
    assert field in ("name", "install") or ran.exit_code != 0


def test_arguments_are_quoted_as_in_a_shell(project):
    quoted = project.job(head_of(project), token=TOKEN, args="--only \"id:q30\" --only 'id:q14'")
    assert quoted.exit_code == 0, quoted.logs


def test_unclosed_quotes_in_arguments_are_said_in_one_line_before_anything_is_paid_for(project):
    ran = project.job(head_of(project), **QUIET, args='--only "id:q30')
    assert ran.exit_code != 0
    assert ran.logs["Evaluate"] == "args: No closing quotation\n"


def test_what_is_installed(project):
    for install, words in (("", [str(ROOT)]), ("'llmops[text]' -r more.txt", ["llmops[text]", "-r", "more.txt"])):
        project.job(head_of(project), **QUIET, suites="none.yaml", install=install)
        assert (project.folder / "installed").read_text("utf-8").splitlines()[5:] == words
        (project.folder / "installed").unlink()
    project.job(head_of(project), **QUIET, suites="none.yaml", install="none", python_version="")
    assert not (project.folder / "installed").exists()


def test_answers_are_kept_for_later_jobs_whatever_the_gates_say(project):
    project.origin.write("docs/answer.prompt.md", WORSE)
    ran = project.job(project.push("Reword"), token=TOKEN)
    assert ran.exit_code == 1
    restored, saved = ran.used["actions/cache/restore@v5"], ran.used["actions/cache/save@v5"]
    assert saved["key"] == restored["key"] == "llmops-llmops-Linux-99-1"
    assert restored["key"].startswith(restored["restore-keys"])
    assert saved["path"] == restored["path"]
    workspace = project.folder / "job1"
    for path in saved["path"].split():
        assert (workspace / path).is_file()
    assert not list((workspace / ".llmops").glob("*-wal"))
    assert ran.used["actions/upload-artifact@v6"]["path"] == ran.outputs["reports"]
    off = project.job(head_of(project), **QUIET, suites="none.yaml", cache="false")
    assert not [name for name in off.steps if "cache" in name]


def test_another_folder_holds_the_project(project):
    project.write("app/llmops.yaml", "")
    for name in ("evals", "prompts"):
        (project.origin.top / name).rename(project.origin.top / "app" / name)
    ran = project.job(project.origin.commit("Move"), token=TOKEN, working_directory="app", against="none")
    assert ran.exit_code == 0, ran.logs
    assert (project.folder / "job1/app/.llmops/llmops.db").is_file()
    assert "app/.llmops/cache.db" in ran.used["actions/cache/save@v5"]["path"]


def test_scripts_get_inputs_through_the_environment_alone():
    for step in STEPS:
        assert "${{" not in step.get("run", "")


def test_the_file_is_what_github_documents():
    assert set(ACTION) <= {"name", "author", "description", "branding", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    known = {"run", "shell", "if", "name", "id", "env", "working-directory", "uses", "with", "continue-on-error"}
    for step in STEPS:
        assert set(step) <= known
        assert ("uses" in step) != ("run" in step)
        assert ("shell" in step) == ("run" in step)
    for one in ACTION["inputs"].values():
        assert set(one) <= {"description", "required", "default", "deprecationMessage"}
        assert isinstance(one["default"], str)
    for one in ACTION["outputs"].values():
        assert set(one) == {"description", "value"}
    text = (ROOT / "action.yml").read_text("utf-8")
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(ACTION["inputs"])
    ids = {step["id"] for step in STEPS if "id" in step}
    assert set(re.findall(r"steps\.([a-z-]+)\.", text)) <= ids


def test_only_steps_that_run_none_of_the_project_s_code_get_the_token():
    with_token = [step["name"] for step in STEPS if "inputs.token" in json.dumps(step)]
    assert with_token == ["Comment", "Set the check"]


def test_the_example_workflow_gives_what_the_action_needs():
    text = (ROOT / "examples/ci/github-workflow.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write", "checks": "write"}
    [job] = workflow["jobs"].values()
    assert set(job["steps"][-1]["with"]) <= set(ACTION["inputs"])
    assert "pull_request_target" not in text
