"""`llmops ci` on GitLab, as a process of its own against a loopback stand-in for the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_forge import FakeGitLab, Trouble
from llmops.reports.markdown import marker

TOKEN = "glpat-3xampleTokenOfAProject"
HEAD = "d" * 40
TEXT = f"{marker('docs-qa')}\n### `docs-qa`\n\nAll well.\n"


@pytest.fixture
def forge() -> Iterator[FakeGitLab]:
    with FakeGitLab(TOKEN) as running:
        yield running


@pytest.fixture
def ci(tmp_path: Path, llmops: Callable[..., Any], forge: FakeGitLab) -> Callable[..., Any]:
    (tmp_path / "report.md").write_text(TEXT, "utf-8")

    def run(*words: str, exits: int = 0, **more: str) -> Any:
        environment = {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": f"{forge.url}/api/v4",
            "CI_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_COMMIT_SHA": HEAD,
            "CI_JOB_URL": "https://gitlab.example/ann/shop/-/jobs/3",
            "GITLAB_TOKEN": TOKEN,
            "GITHUB_REPOSITORY": "",
        }
        done = llmops("ci", *words, **{**environment, **more})
        assert done.returncode == exits, (done.stdout, done.stderr)
        assert TOKEN not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_the_first_report_is_a_new_note_and_the_second_updates_it(ci, forge):
    assert ci("comment", "report.md").stdout == "created the comment\n"
    assert ci("comment", "report.md").stdout == "updated the comment\n"
    [note] = forge.notes
    assert note["body"].startswith(marker("docs-qa") + "\n")
    assert f"commit {HEAD[:10]}" in note["body"]
    assert "[job](https://gitlab.example/ann/shop/-/jobs/3)" in note["body"]
    assert [call.method for call in forge.requests if "notes" in call.path] == ["GET", "POST", "GET", "PUT"]


def test_the_earlier_note_is_found_on_the_last_page_and_others_notes_are_left_alone(ci, forge):
    forge.page_size = 2
    forge.notes = [forge.note(TEXT, 6), *(forge.note("talk", 6) for _ in range(4)), forge.note(TEXT, 5)]
    ci("comment", "report.md")
    assert [note["body"] == TEXT for note in forge.notes] == [True, False, False, False, False, False]
    assert "<sub>" in forge.notes[-1]["body"]
    assert len(forge.notes) == 6


def test_long_reports_fit_into_a_note(ci, forge, tmp_path):
    (tmp_path / "report.md").write_text(TEXT + "x" * 200_000, "utf-8")
    ci("comment", "report.md")
    assert len(forge.notes[0]["body"]) > 200_000
    (tmp_path / "report.md").write_text(TEXT + "x" * 1_000_000, "utf-8")
    assert "GitLab takes 1,000,000" in ci("comment", "report.md", exits=2).stderr


def test_an_answer_that_got_lost_makes_no_second_note(ci, forge):
    forge.troubles = [("POST", "notes", Trouble(502, done=True))]
    ci("comment", "report.md")
    assert len(forge.notes) == 1


def test_a_fork_s_pipeline_has_no_token_which_is_said_and_no_failure(ci, forge):
    fork = {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "43", "CI_MERGE_REQUEST_PROJECT_ID": "42", "CI_PROJECT_ID": "43"}
    done = ci("comment", "report.md", GITLAB_TOKEN="", **fork)
    assert "a pipeline of a fork has no GITLAB_TOKEN" in done.stderr
    assert done.stderr.count("\n") == 1
    assert forge.requests == []
    ci("comment", "report.md", **fork)  # a member's pipeline for a fork has one: the note goes to the target project
    assert len(forge.notes) == 1


@pytest.mark.parametrize(
    ("variables", "code", "says"),
    [
        ({"GITLAB_TOKEN": ""}, 2, "project access token"),
        ({"GITLAB_TOKEN": "glpat-wrong-wrong"}, 4, "GITLAB_TOKEN is wrong or has expired"),
        ({"CI_PROJECT_ID": ""}, 2, "aren't set"),
    ],
)
def test_what_is_missing_is_one_line_that_says_what_to_do(ci, variables, code, says):
    done = ci("comment", "report.md", exits=code, **variables)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "glpat" not in done.stderr


def test_missing_rights_are_an_error_that_says_which(ci, forge):
    forge.read_only = True
    assert "the scope api and the role Reporter" in ci("comment", "report.md", exits=4).stderr


def test_outside_a_merge_request_there_is_nothing_to_comment_on(ci, forge):
    assert "no pull request here" in ci("comment", "report.md", CI_MERGE_REQUEST_IID="").stderr
    assert forge.requests == []


def test_the_job_s_exit_code_is_the_check(ci):
    assert "allow_failure: {exit_codes: [3]}" in ci("check", "--exit-code", "0", exits=2).stderr


def test_the_example_warns_on_doubt_keeps_the_cache_and_comments_whatever_happened(root):
    [job] = yaml.safe_load((root / "examples/ci/gitlab-ci.yml").read_text("utf-8")).values()
    assert job["allow_failure"] == {"exit_codes": [3]}
    assert job["cache"]["when"] == job["artifacts"]["when"] == "always"
    assert set(job["cache"]["paths"]) == {".llmops/cache.db", ".llmops/llmops.db"}
    assert "llmops ci comment" in job["after_script"][0]
    assert job["artifacts"]["reports"]["junit"] == "report/report*.xml"
