"""A pull request, end to end: a repository, branches that change a prompt, and what reviewers are told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from exam_stub import BETTER, PLAIN, REWORDED, WORSE, Exam, reply, rows
from gitrepo import ENVIRONMENT
from stub_server import StubServer

CASES = 160
GATES = "gates: [{no-regression: exact_match, margin: 5%}]"
BROKEN = {f"i{n}" for n in range(CASES) if n % 4 == 1}  # what "guess" makes wrong, all of them right before


class PullRequest(Exam):
    """A clone whose `origin/main` has the prompt as it was, and what a reviewer types in it."""

    def __init__(self, folder: Path, server: StubServer) -> None:
        super().__init__(folder, server.url, CASES)
        self.server = server
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Write the prompt")
        self.git("init", "--quiet", "--bare", "../origin.git")
        self.git("remote", "add", "origin", "../origin.git")
        self.git("push", "--quiet", "origin", "main")
        self.git("fetch", "--quiet", "origin")

    def branch(self, name: str, system: str) -> None:
        self.git("checkout", "--quiet", "-b", name, "main")
        self.prompt(system)
        self.commit(f"Change the prompt: {name}")

    def run(self, *words: str, exits: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "llmops", *words], cwd=self.folder, env={**ENVIRONMENT, "NO_COLOR": "1", **more},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == exits, (words, done.stdout, done.stderr)
        return done

    def compare(self, *more: str, exits: int = 0) -> dict[str, Any]:
        """`llmops eval … --against origin/main --json`: its run."""
        done = self.run("eval", "evals/codes.yaml", "--against", "origin/main", "--json", *more, exits=exits)
        found = json.loads(done.stdout)
        assert found["exit_code"] == exits
        [run] = found["runs"]
        return dict(run)


@pytest.fixture
def pull_request(tmp_path: Path) -> Iterator[PullRequest]:
    with StubServer(reply) as server:
        yield PullRequest(tmp_path / "work", server)


def guarded(run: dict[str, Any], metric: str = "exact_match") -> dict[str, Any]:
    [comparison] = run["comparisons"]
    found = comparison["metrics"]
    return dict(found[metric] if isinstance(found, dict) else next(m for m in found if m["metric"] == metric))


def test_a_branch_that_makes_it_worse_is_red_and_names_the_cases(pull_request: PullRequest, tmp_path: Path) -> None:
    pull_request.branch("guessing", WORSE)
    out = tmp_path / "out"
    files = [str(out / f"report.{ending}") for ending in ("md", "json", "xml", "html")]
    asked = [word for file in files for word in ("-o", file)]
    done = pull_request.run("eval", "evals/codes.yaml", "--against", "origin/main", *asked, exits=1)

    run = json.loads((out / "report.json").read_text("utf-8"))
    metric = guarded(run)
    assert metric["verdict"] == "regressed"
    assert metric["ci"][1] < 0
    assert metric["broke"]
    assert set(metric["broke"]) <= BROKEN
    assert not metric["fixed"]
    worst = metric["broke"][0]

    text = " ".join(done.stdout.split())
    assert "lookup against lookup@origin/main" in text
    assert f"{len(metric['broke'])} answers broke, none were fixed. Not luck" in text
    assert "✗ fail no-regression: exact_match within 5%" in text
    assert worst in text
    markdown = (out / "report.md").read_text("utf-8")
    assert "❌" in markdown.splitlines()[0] + markdown.splitlines()[1] + markdown.splitlines()[2]
    assert worst in markdown
    assert "or guess it" in markdown  # the prompt's difference
    assert worst in (out / "report.html").read_text("utf-8")

    tree = ElementTree.parse(out / "report.xml").getroot()
    [gate] = [case for case in tree.iter("testcase") if case.get("name", "").startswith("no-regression")]
    [failure] = gate.findall("failure")
    assert f"regressed: {worst}, " in failure.get("message", "")
    assert tree.get("failures") == "1"
    assert worst in {case.get("name") for case in tree.iter("testcase")}

    annotations = pull_request.run("ci", "annotate", files[1], GITHUB_WORKSPACE=str(pull_request.folder)).stdout
    [line] = annotations.splitlines()
    at = (pull_request.folder / "evals/codes.yaml").read_text("utf-8").splitlines().index(GATES) + 1
    assert line.startswith(f"::error file=evals/codes.yaml,line={at},")
    assert f"regressed: {worst}, " in line
    said = pull_request.run("report", "--as", "github").stdout
    assert said.startswith("::error file=evals/codes.yaml")
    assert "Exact match fell" in said


def test_a_branch_that_changes_wording_only_is_green(pull_request: PullRequest) -> None:
    pull_request.branch("polite", REWORDED)
    run = pull_request.compare()
    metric = guarded(run)
    assert metric["verdict"] == "equivalent"
    assert metric["lo_safe"] > -0.05
    assert [gate["outcome"] for gate in run["gates"]] == ["pass"]
    assert set(metric["broke"]) <= {"i3", "i43"}
    said = pull_request.run("report").stdout
    assert "Exact match: no meaningful drop." in said

    # Nothing at all has changed: each request is sent once for both sides, and answers that are there not at all.
    pull_request.git("checkout", "--quiet", "main")
    (pull_request.folder / ".llmops/cache.db").unlink()
    before = pull_request.server.count
    run = pull_request.compare("--no-early-stop")
    assert pull_request.server.count - before == CASES
    metric = guarded(run)
    assert (metric["verdict"], metric["diff"], metric["broke"]) == ("equivalent", 0.0, [])


def test_a_tiny_dataset_says_how_many_cases_it_takes(pull_request: PullRequest) -> None:
    pull_request.branch("tiny", REWORDED)
    pull_request.cases(rows(12))
    run = pull_request.compare()
    metric = guarded(run)
    assert metric["verdict"] == "inconclusive"
    assert metric["n_needed"] > 100
    assert metric["mde"] > 0.1
    assert [(gate["outcome"], gate["strict"]) for gate in run["gates"]] == [("undecided", False)]
    said = " ".join(pull_request.run("report").stdout.split())
    assert "Exact match: can't tell yet." in said
    assert f"to catch 5, use about {metric['n_needed'] - 12} more" in said

    pull_request.suite("[{no-worse: exact_match, margin: 5%}]")
    run = pull_request.compare(exits=3)
    assert [(gate["outcome"], gate["strict"]) for gate in run["gates"]] == [("undecided", True)]


def test_a_better_prompt_improves(pull_request: PullRequest) -> None:
    pull_request.branch("thinking", BETTER)
    pull_request.suite("[{better: exact_match}]")
    metric = guarded(pull_request.compare())
    assert metric["verdict"] == "improved"
    assert metric["ci"][0] > 0
    assert len(metric["fixed"]) > 5
    assert not metric["broke"]

    # The same demand of a prompt that isn't better is not met.
    pull_request.prompt(PLAIN)
    assert guarded(pull_request.compare(exits=1))["verdict"] == "equivalent"
