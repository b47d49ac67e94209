"""GitHub annotations: one command a failed or undecided gate, with GitHub's escapes."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from comparison_samples import hostile_comparison, pull_request
from llmops.reports.annotations import command
from llmops.reports.rendering import formats, render
from llmops.types import GateOutcome, Result, RunRecord
from report_samples import HOSTILE, record

COMMAND = re.compile(
    r"::(?P<level>error|warning) (?:file=(?P<file>[^,:\n]*),line=(?P<line>\d+),)?"
    r"title=(?P<title>[^,:\n]*)::(?P<text>[^\n]*)\n"
)
SUITE = {"path": "evals/docs_qa.yaml"}


def annotated(head: RunRecord, results: list[Result] | None = None) -> list[dict[str, str]]:
    """The commands that are written, with GitHub's escapes undone."""
    written: list[str] = []
    render("github", head, results or [], write=written.append)
    text, found, place = "".join(written), [], 0
    while place < len(text):
        match = COMMAND.match(text, place)
        assert match, text[place : place + 200]
        place = match.end()
        found.append({key: unescaped(value or "") for key, value in match.groupdict().items()})
    return found


def unescaped(text: str) -> str:
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_an_error_for_a_failed_gate_a_warning_for_an_undecided_one_and_nothing_for_a_pass() -> None:
    gates = (
        GateOutcome("token_f1 >= 0.6", "small", "fail", 0.561, "60 cases"),
        GateOutcome("token_f1 >= 0.5", "small", "pass", 0.561),
        GateOutcome("latency_p95 <= 2s", "large", "undecided", None, "nothing was measured"),
        GateOutcome("errors <= 5%", "large", "fail", 0.1),
    )
    assert annotated(record(gates=gates, config=SUITE)) == [
        {"level": "error", "file": "evals/docs_qa.yaml", "line": "1", "title": "token_f1 >= 0.6 (small)",
         "text": "failed at 0.561: 60 cases"},
        {"level": "error", "file": "evals/docs_qa.yaml", "line": "1", "title": "errors <= 5% (large)",
         "text": "failed at 10%"},
        {"level": "warning", "file": "evals/docs_qa.yaml", "line": "1", "title": "latency_p95 <= 2s (large)",
         "text": "can't be decided: nothing was measured"},
    ]  # fmt: skip
    assert annotated(record(gates=gates[1:2], config=SUITE)) == []
    assert "github" in formats()


def test_a_gate_on_a_comparison_says_the_verdict_in_words() -> None:
    head, results = pull_request(120)
    rule = "no-regression: pass, faithfulness"
    [failed] = annotated(replace(head, gates=(GateOutcome(rule, "answer", "fail"),), config=SUITE), results)
    assert failed["title"] == f"{rule} (answer)"
    assert re.match(r"Pass fell [\d.]+ points \([\d.]+ % → [\d.]+ %\)\. \d+ answers broke, ", failed["text"])
    assert "Not luck" in failed["text"]
    assert "Faithfulness" not in failed["text"]  # it did not regress


def test_a_metric_is_found_by_its_whole_name() -> None:
    head, results = pull_request(120)
    [failed] = annotated(replace(head, gates=(GateOutcome("no-regression: pass@3", "answer", "fail"),)), results)
    assert failed["text"] == "failed"
    assert failed["file"] == ""


def test_an_unfinished_run_is_warned_of_even_when_no_gate_failed() -> None:
    [said] = annotated(
        record(status="interrupted", cases=5, gates=(GateOutcome("errors <= 5%", "small", "pass", 0.0),))
    )
    assert said["level"] == "warning"
    assert said["text"].startswith("interrupted after 0 of 10 answers")


def test_no_more_are_written_than_github_shows() -> None:
    gates = tuple(GateOutcome(f"m{i} >= 1", "small", "fail", 0.0) for i in range(14))
    found = annotated(record(gates=gates))
    assert len(found) == 10
    assert found[-1]["text"] == "and 5 more gates"


@given(st.text(max_size=60) | st.sampled_from(HOSTILE), st.text(max_size=60), st.text(max_size=60))
def test_no_text_can_end_a_command_or_start_another(title: str, message: str, file: str) -> None:
    made = command("error", title, message, file)
    assert COMMAND.fullmatch(made)
    assert made.count("\n") == 1


def test_escapes_are_githubs_own() -> None:
    assert command("error", "a: b, 5 %", "100 %\nnext: one, two", "evals/a,b:c.yaml", 3) == (
        "::error file=evals/a%2Cb%3Ac.yaml,line=3,title=a%3A b%2C 5 %25::100 %25%0Anext: one, two\n"
    )


def test_a_hostile_run_writes_nothing_but_commands() -> None:
    assert annotated(*hostile_comparison())
