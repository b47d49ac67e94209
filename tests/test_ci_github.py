"""`llmops ci` on GitHub, as a process of its own against a loopback stand-in for the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_forge import FakeGitHub, Trouble
from llmops.ci.annotations import workflow_commands
from llmops.ci.api import Api
from llmops.ci.runs import RunReport
from llmops.ci.verdict import conclude
from llmops.errors import BackendError, RateLimitedError
from llmops.reports.markdown import marker
from llmops.types import GateOutcome

TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
HEAD = "a" * 40
MERGE = "b" * 40
TEXT = f"{marker('docs-qa')}\n### `docs-qa`\n\nAll well.\n"
AGAIN = {"Retry-After": "0"}


@pytest.fixture
def forge() -> Iterator[FakeGitHub]:
    with FakeGitHub(TOKEN) as running:
        yield running


@pytest.fixture
def ci(tmp_path: Path, llmops: Callable[..., Any], forge: FakeGitHub) -> Callable[..., Any]:
    """`ci("comment", "report.md")` in a workflow for pull request 7; `event` replaces what started it."""
    (tmp_path / "report.md").write_text(TEXT, "utf-8")

    def run(*words: str, event: Any = None, exits: int = 0, **more: str) -> Any:
        (tmp_path / "event.json").write_text(json.dumps(pull_request() if event is None else event), "utf-8")
        environment = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REPOSITORY": forge.repository,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "99",
            "GITHUB_SHA": MERGE,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_ACTOR": "ann",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_WORKSPACE": str(tmp_path),
        }
        done = llmops("ci", *words, **{**environment, **more})
        assert done.returncode == exits, (done.stdout, done.stderr)
        assert TOKEN not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def pull_request(head: str | None = "ann/shop") -> dict[str, Any]:
    repository = None if head is None else {"full_name": head}
    base = {"repo": {"full_name": "ann/shop"}}
    return {"pull_request": {"number": 7, "head": {"sha": HEAD, "repo": repository}, "base": base}}


def report(folder: Path, *outcomes: str, name: str = "report.json", strict: bool = True, **head: Any) -> str:
    gates = [
        {"rule": f"token_f1 >= 0.{at}", "variant": "new", "outcome": one, "value": 0.5, "detail": "", "strict": strict}
        for at, one in enumerate(outcomes, 1)
    ]
    run = {"suite": "docs-qa", "status": "finished", "config": {"path": "evals/docs-qa.yaml"}, **head}
    (folder / name).write_text(json.dumps({"format": 1, "run": run, "variants": [], "gates": gates}), "utf-8")
    return name


def test_the_first_report_is_a_new_comment_and_the_second_updates_it(ci, forge, tmp_path):
    first = ci("comment", "report.md")
    assert "created https://github.example/ann/shop/pull/7#issuecomment-" in first.stdout
    (tmp_path / "report.md").write_text(TEXT.replace("All well", "Worse"), "utf-8")
    assert "updated" in ci("comment", "report.md").stdout
    [comment] = forge.comments
    assert comment["body"].startswith(marker("docs-qa") + "\n")
    assert "Worse." in comment["body"]
    assert [call.method for call in forge.requests] == ["GET", "POST", "GET", "PATCH"]
    assert {call.headers["X-Github-Api-Version"] for call in forge.requests} == {"2022-11-28"}


def test_a_comment_names_the_commit_of_the_branch_and_links_the_job(ci, forge):
    ci("comment", "report.md")
    body = forge.comments[0]["body"]
    assert f"commit {HEAD[:10]}" in body
    assert MERGE[:10] not in body
    assert "[job](https://github.example/ann/shop/actions/runs/99)" in body


def test_the_earlier_comment_is_found_on_the_last_page(ci, forge):
    forge.page_size = 3
    forge.comments = [forge.comment(f"talk {i}", "ann", "User") for i in range(8)]
    forge.comments.append(forge.comment(TEXT.replace("\n", "\r\n"), "github-actions[bot]", "Bot"))
    ci("comment", "report.md")
    assert len(forge.comments) == 9
    assert [call.method for call in forge.requests] == ["GET", "GET", "GET", "PATCH"]


def test_several_suites_are_several_comments(ci, forge, tmp_path):
    (tmp_path / "other.md").write_text(TEXT.replace("docs-qa", "chat"), "utf-8")
    for _ in range(2):
        ci("comment", "report.md", "other.md")
    assert [comment["body"].partition("\n")[0] for comment in forge.comments] == [marker("docs-qa"), marker("chat")]


def test_a_person_who_writes_the_marker_keeps_their_comment(ci, forge):
    forge.comments = [forge.comment(TEXT, "mallory", "User")]
    ci("comment", "report.md")
    assert forge.comments[0]["body"] == TEXT
    assert len(forge.comments) == 2


def test_a_quoted_marker_further_down_is_no_earlier_comment(ci, forge):
    forge.comments = [forge.comment("see\n" + TEXT, "github-actions[bot]", "Bot")]
    ci("comment", "report.md")
    assert len(forge.comments) == 2


def test_a_person_s_token_updates_that_person_s_comment(ci, forge):
    forge.user = "ann"
    forge.comments = [forge.comment(TEXT, "mallory", "User"), forge.comment(TEXT, "ann", "User")]
    ci("comment", "report.md")
    assert "<sub>" not in forge.comments[0]["body"]
    assert "<sub>" in forge.comments[1]["body"]
    assert len(forge.comments) == 2


def test_the_workflow_s_own_bot_goes_before_others_and_another_s_comment_is_passed_over(ci, forge):
    forge.comments = [forge.comment(TEXT, "other[bot]", "Bot"), forge.comment(TEXT, "github-actions[bot]", "Bot")]
    ci("comment", "report.md")
    assert "<sub>" in forge.comments[1]["body"]
    del forge.comments[1]
    ci("comment", "report.md")
    assert len(forge.comments) == 2
    assert forge.comments[0]["body"] == TEXT


@pytest.mark.parametrize("status", [500, 502, 429])
def test_a_server_in_trouble_is_asked_again(ci, forge, status):
    forge.troubles = [("GET", "comments", Trouble(status, {"message": "busy"}, AGAIN)) for _ in range(2)]
    ci("comment", "report.md")
    assert len(forge.comments) == 1


def test_an_answer_that_got_lost_makes_no_second_comment(ci, forge):
    forge.troubles = [("POST", "comments", Trouble(502, {"message": "busy"}, done=True))]
    assert "updated" in ci("comment", "report.md").stdout
    assert len(forge.comments) == 1


def test_a_lost_connection_makes_no_second_comment(ci, forge):
    forge.troubles = [("POST", "comments", Trouble(0, done=True))]
    assert "updated" in ci("comment", "report.md").stdout
    assert len(forge.comments) == 1


def test_a_server_that_stays_in_trouble_is_an_error_in_one_line(ci, forge):
    forge.troubles = [("GET", "comments", Trouble(503, f"<h1>{TOKEN}</h1>", AGAIN)) for _ in range(9)]
    done = ci("comment", "report.md", exits=4)
    assert done.stderr.count("\n") == 1
    assert "answered 503" in done.stderr
    assert len(forge.requests) == 4


def test_a_server_that_asks_for_an_hour_is_not_waited_for():
    waited: list[float] = []
    with FakeGitHub(TOKEN) as forge:
        api = Api(forge.url, {"Authorization": f"Bearer {TOKEN}"}, TOKEN, sleep=waited.append)
        forge.troubles = [("GET", "user", Trouble(403, {"message": "slow down"}, {"Retry-After": "3600"}))]
        with pytest.raises(RateLimitedError, match="slow down"):
            api.call("GET", "/user")
        forge.troubles = [("GET", "check", Trouble(500)) for _ in range(9)]
        with pytest.raises(BackendError, match="answered 500"):
            api.call("GET", "/check")
    assert waited == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("head", ["mallory/shop", None])
@pytest.mark.parametrize("words", [["comment", "report.md"], ["check", "--exit-code", "0"]])
def test_a_fork_s_token_may_only_read_which_is_said_and_no_failure(ci, forge, head, words):
    forge.read_only = True
    done = ci(*words, event=pull_request(head))
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "a pull request from a fork has a token that may only read" in done.stderr


def test_dependabot_s_token_may_only_read(ci, forge):
    forge.read_only = True
    assert "Dependabot" in ci("comment", "report.md", GITHUB_ACTOR="dependabot[bot]").stderr


@pytest.mark.parametrize("words", [["comment", "report.md"], ["check", "--exit-code", "0"]])
def test_missing_permissions_are_an_error_that_says_which(ci, forge, words):
    forge.read_only = True
    done = ci(*words, exits=4)
    assert "permissions: {pull-requests: write, checks: write}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_token_is_an_error_that_doesn_t_show_it(ci):
    done = ci("comment", "report.md", exits=4, GITHUB_TOKEN="ghs_wrong_wrong_wrong")
    assert "401" in done.stderr
    assert "ghs_wrong" not in done.stderr


def test_the_token_follows_no_redirect_to_another_host(ci, forge):
    with FakeGitHub(TOKEN) as elsewhere:
        for status in (301, 302, 307):
            there = {"Location": f"{elsewhere.url}/repos/ann/shop/issues/7/comments"}
            forge.troubles = [("GET", "comments", Trouble(status, None, there))]
            assert "redirect" in ci("comment", "report.md", exits=4).stderr
        assert elsewhere.requests == []


def test_a_moved_repository_is_followed_on_the_same_host_with_the_same_method(ci, forge):
    there = {"Location": "/repos/ann/shop/issues/7/comments"}
    forge.troubles = [("POST", "comments", Trouble(307, None, there))]
    ci("comment", "report.md")
    assert [call.method for call in forge.requests] == ["GET", "POST", "POST"]
    assert len(forge.comments) == 1


def test_a_next_page_on_another_host_is_not_asked_for(ci, forge):
    with FakeGitHub(TOKEN) as elsewhere:
        link = {"Link": f'<{elsewhere.url}/repos/ann/shop/issues/7/comments?page=2>; rel="next"'}
        forge.troubles = [("GET", "comments", Trouble(200, [], link))]
        ci("comment", "report.md")
        assert elsewhere.requests == []


def test_without_a_pull_request_there_is_nothing_to_comment_on(ci, forge):
    assert (
        ci("comment", "report.md", event={"ref": "refs/heads/main"}).stderr == "no pull request here, so no comment\n"
    )
    assert forge.requests == []
    ci("comment", "report.md", "--pull-request", "7", event={})
    assert len(forge.comments) == 1
    assert "no pull request" in ci("comment", "report.md", event={"issue": {"number": 7}}).stderr


@pytest.mark.parametrize(
    ("event", "head"),
    [
        ({"issue": {"number": 7, "pull_request": {"url": "https://github.example/7"}}}, ""),
        ({"workflow_run": {"head_sha": "e" * 40, "pull_requests": [{"number": 7}]}}, "commit eeeeeeeeee"),
    ],
)
def test_other_events_lead_to_a_pull_request_too(ci, forge, event, head):
    ci("comment", "report.md", event=event)
    assert head in forge.comments[0]["body"]
    assert MERGE[:10] not in forge.comments[0]["body"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("### no marker\n", "isn't a Markdown report"),
        ("<!-- llmops:a b -->\nx\n", "isn't a Markdown report"),
        (TEXT + "x" * 65_536, "GitHub takes 65,536"),
        (b"\xff\xfe", "isn't UTF-8 text"),
        (None, "can't read"),
    ],
)
def test_what_is_no_report_is_refused_before_anything_is_posted(ci, forge, tmp_path, text, says):
    (tmp_path / "bad.md").unlink(missing_ok=True)
    if text is not None:
        (tmp_path / "bad.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = ci("comment", "bad.md", exits=2)
    assert says in done.stderr
    assert forge.sent("POST") == []


def test_two_reports_of_one_suite_are_refused(ci, forge, tmp_path):
    (tmp_path / "copy.md").write_text(TEXT, "utf-8")
    assert "one suite" in ci("comment", "report.md", "copy.md", exits=2).stderr


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN isn't set"),
        ({"GITHUB_TOKEN": "a\nX-Evil: 1"}, "can't be sent"),
        ({"GITHUB_REPOSITORY": "ann/../x"}, "OWNER/NAME"),
        ({"GITHUB_REPOSITORY": "ann/.."}, "OWNER/NAME"),
        ({"GITHUB_EVENT_PATH": "gone.json"}, "GITHUB_EVENT_PATH"),
        ({"GITHUB_API_URL": "file:///etc/passwd"}, "http"),
        ({"GITHUB_ACTIONS": "", "GITHUB_REPOSITORY": ""}, "neither GitHub Actions nor GitLab CI"),
    ],
)
def test_a_wrong_environment_is_one_line(ci, variables, says):
    done = ci("comment", "report.md", exits=2, **variables)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "outcomes", "options", "conclusion"),
    [
        ("0", ["pass", "pass"], [], "success"),
        ("0", ["pass", "undecided"], [], "neutral"),
        ("0", ["pass", "undecided"], ["--fail-on-inconclusive"], "neutral"),
        ("0", ["pass", "fail"], [], "failure"),
        ("1", ["pass", "fail"], [], "failure"),
        ("3", ["undecided"], [], "neutral"),
        ("3", ["undecided"], ["--fail-on-inconclusive"], "failure"),
        ("4", ["pass"], [], "failure"),
        ("130", ["pass"], [], "failure"),
        ("137", ["pass"], [], "failure"),
        (None, ["pass"], [], "success"),
        (None, ["fail"], [], "failure"),
        (None, ["undecided"], [], "neutral"),
        (None, ["undecided"], ["--fail-on-inconclusive"], "failure"),
    ],
)
def test_a_check_says_what_the_gates_and_the_exit_code_said(ci, forge, tmp_path, code, outcomes, options, conclusion):
    words = ["check", report(tmp_path, *outcomes), *options, *([f"--exit-code={code}"] if code else [])]
    assert ci(*words).stdout == f"{conclusion}\n"
    [check] = forge.checks
    assert (check["conclusion"], check["head_sha"], check["name"]) == (conclusion, HEAD, "llmops")
    assert check["status"] == "completed"
    assert check["details_url"] == "https://github.example/ann/shop/actions/runs/99"
    for at in range(1, len(outcomes) + 1):
        assert f"`token_f1 >= 0.{at}`" in check["output"]["summary"]


@pytest.mark.parametrize(("code", "says"), [("2", "Bad input"), ("4", "A backend"), ("130", "Interrupted")])
def test_a_run_without_a_report_fails_the_check_with_what_went_wrong(ci, forge, code, says):
    ci("check", "--exit-code", code)
    assert forge.checks[0]["conclusion"] == "failure"
    assert forge.checks[0]["output"]["title"].startswith(says)


def test_nothing_evaluated_is_neither_green_nor_red(ci, forge):
    ci("check", "--exit-code", "0")
    assert forge.checks[0]["conclusion"] == "neutral"
    assert "a check of what?" in ci("check", exits=2).stderr


@pytest.mark.parametrize(
    ("status", "conclusion"),
    [("stopped", "neutral"), ("interrupted", "failure"), ("running", "failure"), ("", "failure")],
)
def test_a_run_that_didn_t_finish_is_never_green(ci, forge, tmp_path, status, conclusion):
    ci("check", report(tmp_path, "pass", status=status))
    assert forge.checks[0]["conclusion"] == conclusion


def test_what_eval_printed_as_json_is_read_too(ci, forge, tmp_path):
    one = json.loads((tmp_path / report(tmp_path, "fail")).read_text("utf-8"))
    (tmp_path / "all.json").write_text(json.dumps({"runs": [one, one], "exit_code": 1}), "utf-8")
    ci("check", "all.json", "--name", "evals", "--commit", "c" * 40)
    assert forge.checks[0]["output"]["title"] == "2 of 2 gates failed"
    assert (forge.checks[0]["name"], forge.checks[0]["head_sha"]) == ("evals", "c" * 40)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"run": {}, "gates": [1]}', '{"run": {}, "gates": {}}', "[" * 100_000, "\x00", "{'run'}"]
)
def test_json_that_is_no_report_is_refused(ci, forge, tmp_path, text):
    (tmp_path / "bad.json").write_text(text, "utf-8")
    for command in ("check", "annotate"):
        assert ci(command, "bad.json", exits=2).stderr.count("\n") == 1
    assert forge.requests == []


def test_a_hostile_gate_stays_inside_its_code_span(ci, forge, tmp_path):
    text = json.dumps({"run": {"suite": "a`|<img src=x>", "status": "finished"}, "gates": [
        {"rule": "x >= 1 | y", "variant": "`](http://evil)\n# big", "outcome": "fail", "value": 1e999, "detail": "@all"}
    ]})  # fmt: skip
    (tmp_path / "hostile.json").write_text(text, "utf-8")
    ci("check", "hostile.json")
    [_, _, _, row] = [line for line in forge.checks[0]["output"]["summary"].splitlines() if line][:4]
    assert row.count("|") == 6
    assert row.count("`") == 6


def test_on_a_push_the_check_is_of_the_pushed_commit(ci, forge, tmp_path):
    ci("check", report(tmp_path, "pass"), event={"ref": "refs/heads/main"})
    assert forge.checks[0]["head_sha"] == MERGE


def test_annotations_stand_at_the_gate_s_line_in_the_suite(ci, forge, tmp_path):
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals/docs-qa.yaml").write_text('metrics: [token_f1]\ngates:\n  - "token_f1 >= 0.2"\n', "utf-8")
    lines = ci("annotate", report(tmp_path, "undecided", "fail"), GITHUB_TOKEN="").stdout.splitlines()
    assert lines[0].startswith("::error file=evals/docs-qa.yaml,line=3,title=llmops%3A docs-qa::token_f1 >= 0.2 failed")
    assert lines[1].startswith("::warning file=evals/docs-qa.yaml,line=1,")
    assert forge.requests == []


def test_more_than_ten_annotations_of_a_kind_end_in_how_many_more(ci, tmp_path):
    lines = ci("annotate", report(tmp_path, *["fail"] * 15)).stdout.splitlines()
    assert len(lines) == 10
    assert "6 more gates failed" in lines[-1]


hostile = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(["\n::error::x", "%0A::set-env", "a,b:c"])


@given(hostile, hostile, hostile)
def test_no_text_becomes_a_second_workflow_command(rule, variant, detail):
    gates = (GateOutcome(rule, variant, "fail", 0.5, detail),)
    for line in workflow_commands([RunReport(rule, variant, "finished", gates)], Path("/nowhere"), Path("/nowhere")):
        assert line.isprintable() or "\n" not in line
        assert len(line.splitlines()) == 1
        kind, _, rest = line[2:].partition(" ")
        assert kind == "error"
        assert "%" not in rest.replace("%25", "").replace("%3A", "").replace("%2C", "")


@given(st.lists(st.sampled_from(["pass", "fail", "undecided"]), max_size=4), st.booleans(), st.integers(0, 5))
def test_green_only_when_every_gate_passed(outcomes, strict, code):
    gates = tuple(GateOutcome("r", "v", outcome, strict=strict) for outcome in outcomes)
    made = conclude([RunReport("s", "", "finished", gates)], code)
    assert (made.outcome == "success") == (code == 0 and set(outcomes) <= {"pass"})
    assert len(made.summary) <= 65_535
