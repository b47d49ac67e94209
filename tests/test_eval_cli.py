"""`llmops eval` as its users meet it: processes, files, exit codes, and what is printed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from stub_server import Reply, StubServer

PIPELINE = """\
def answer(question, shout=False):
    if "explode" in question:
        raise ValueError("it exploded")
    text = {"capital?": "Paris", "river?": "Seine"}.get(question, "no idea")
    return {"text": text.upper() if shout else text, "contexts": [{"id": "d1", "text": "about " + question}]}
"""
ROWS = [
    {"id": "a", "question": "capital?", "answer": "Paris", "gold": ["d1"], "tags": ["easy"]},
    {"id": "b", "question": "river?", "answer": "Seine", "gold": ["d2"], "tags": ["easy"]},
    {"id": "c", "question": "mountain?", "answer": "Mont Blanc", "gold": ["d1"], "tags": ["hard"]},
]
SUITE = """\
dataset: {path: cases.jsonl, fields: {id: id, inputs.question: question, expected: answer, relevant: gold, tags: tags}}
variants:
  plain: {python: pipe.py:answer}
  loud: {python: pipe.py:answer, with: {shout: true}}
baseline: plain
metrics: [exact_match, {recall: {k: 5}}]
gates: ["exact_match >= 0.5 for variant:plain", "errors <= 1%"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "llmops.yaml").write_text("prompts: prompts\n")
    (tmp_path / "pipe.py").write_text(PIPELINE)
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


def served(project: Path, url: str, more: str = "") -> None:
    """A suite that asks a model server about each question."""
    (project / "prompts").mkdir(exist_ok=True)
    (project / "prompts" / "ask.prompt.md").write_text("user:\n{{ question }}\n")
    (project / "suite.yaml").write_text(
        "dataset: {path: cases.jsonl, fields: {id: id, inputs.question: question, expected: answer}}\n"
        f"variants:\n  served: {{prompt: ask, backend: {{openai_http: {{base_url: '{url}', model: m}}}}}}\n"
        f"metrics: [exact_match]\n{more}"
    )


def runs(project: Path) -> int:
    path = project / ".llmops" / "llmops.db"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as db:
        count = db.execute("SELECT count(*) FROM runs").fetchone()[0]
    db.close()
    return count


def machine(done) -> dict:
    return json.loads(done.stdout)


def test_a_suite_is_scored_saved_and_gated(llmops, project):
    done = llmops("eval", "suite.yaml")
    assert done.returncode == 0, done.stderr
    for word in ("plain", "loud", "exact_match", "recall@5", "0.667", "mountain?", "Mont Blanc", "no idea", "✓"):
        assert word in done.stdout, word
    assert runs(project) == 1


def test_a_gate_that_fails_is_exit_1_and_one_that_measures_nothing_3(llmops, project):
    assert llmops("eval", "suite.yaml", "--set", "gates.0=exact_match >= 0.9 for variant:plain").returncode == 1
    assert llmops("eval", "suite.yaml", "--set", "gates.0=exact_match >= 0 for tag:absent").returncode == 3


def test_json_has_everything_on_stdout_and_nothing_else(llmops, project):
    done = llmops("eval", "suite.yaml", "--json")
    found = machine(done)
    assert found["exit_code"] == 0
    [run] = found["runs"]
    assert done.stderr == ""
    assert {gate["outcome"] for gate in run["gates"]} == {"pass"}


def test_a_failed_case_is_data_and_the_run_goes_on(llmops, project):
    rows = [*ROWS, {"id": "x", "question": "explode", "answer": "?"}]
    (project / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = llmops("eval", "suite.yaml", "--variant", "plain")
    assert done.returncode == 1  # the gate on errors
    assert "ValueError: it exploded at pipe.py:3" in done.stdout.replace("\n", " ")
    assert "0.667" in done.stdout  # the mean over the three that were scored, not over four


def test_many_failures_are_never_a_pass_without_a_gate_on_errors(llmops, project):
    rows = [*ROWS, {"id": "x", "question": "explode", "answer": "?"}]
    (project / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = llmops("eval", "suite.yaml", "--variant", "plain", "--set", "gates=[exact_match >= 0]")
    assert done.returncode == 4
    assert "25% of the cases failed" in done.stderr


def test_filters_samples_and_variants(llmops, project):
    def cases(*more):
        [run] = machine(llmops("eval", "suite.yaml", "--json", "--set", "gates=[]", *more))["runs"]
        return run["run"]["cases"], [v["name"] for v in run["variants"]]

    assert cases("--only", "tag:easy") == (2, ["plain", "loud"])
    assert cases("--sample", "1", "--seed", "3", "--variant", "loud") == (1, ["loud"])
    done = llmops("eval", "suite.yaml", "--only", "tag:hrad")
    assert done.returncode == 2
    assert "hard" in done.stderr  # the tags that there are


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval"], "which suite?"),
        (["eval", "absent.yaml"], "can't read absent.yaml"),
        (["eval", "suite.yaml", "--variant", "plan"], "did you mean 'plain'?"),
        (["eval", "suite.yaml", "--set", "limits.concurency=2"], "did you mean 'concurrency'?"),
        (["eval", "suite.yaml", "--set", "metrics=[exact_mtch]"], "did you mean 'exact_match'?"),
        (["eval", "suite.yaml", "--set", "metrics=[{recall: {k: five}}]"], "recall: k is 'five'"),
        (["eval", "suite.yaml", "--set", "metrics=[exact_match, exact_match]"], "two metrics are called 'exact_match'"),
        (["eval", "suite.yaml", "--set", "gates=[exact >= 1]"], "did you mean 'exact_match'?"),
        (["eval", "suite.yaml", "--set", "dataset.path=absent.jsonl"], "absent.jsonl"),
        (["eval", "suite.yaml", "--set", "variants.plain={python: pipe.py:anser}"], "did you mean 'answer'?"),
        (["eval", "suite.yaml", "--record", "a", "--replay", "b"], "can't go together"),
        (["eval", "suite.yaml", "--replay", "absent"], "no folder absent"),
        (["eval", "suite.yaml", "--run", "x"], "goes with --resume"),
        (["eval", "suite.yaml", "-o", "report.pdf"], ".html"),
        (["eval", "--resume"], "no runs yet"),
        (["eval", "suite.yaml", "--changed", "main"], "git"),
        (["runs", "show", "nothing"], "no runs yet"),
        (["score", "latest", "--suite", "suite.yaml"], "no runs yet"),
        (["cache", "info"], "no response cache"),
    ],
)
def test_wrong_usage_is_one_line_exit_2_and_nothing_written(llmops, project, arguments, said):
    done = llmops(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert not (project / ".llmops").exists()


def test_a_dry_run_says_what_would_be_called_and_calls_nothing(llmops, project):
    with StubServer() as server:
        served(project, server.url, "repeats: 2\n")
        done = llmops("eval", "suite.yaml", "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "6 requests to m" in done.stdout
        assert server.count == 0
    assert not (project / ".llmops").exists()


def test_answers_are_cached_refreshed_and_explained(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url)
        llmops("eval", "suite.yaml")
        assert server.count == 3
        assert "3 cached" in llmops("eval", "suite.yaml").stderr
        assert server.count == 3
        llmops("eval", "suite.yaml", "--refresh")
        assert server.count == 6
        llmops("eval", "suite.yaml", "--no-cache")
        assert server.count == 9
        assert "served: cached" in llmops("cache", "why", "a", "--suite", "suite.yaml").stdout
        (project / "prompts" / "ask.prompt.md").write_text("user:\nPlease: {{ question }}\n")
        why = llmops("cache", "why", "a", "--suite", "suite.yaml").stdout
        assert "messages[0].content" in why
        assert "was  capital?" in why
        assert "is   Please: capital?" in why
        assert server.count == 9
    assert "3 answers" in llmops("cache", "info").stdout
    assert "forgot 3 answers" in llmops("cache", "clear", "--yes").stderr


def test_repeats_ask_again_and_are_cached_each(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url, "repeats: 3\n")
        llmops("eval", "suite.yaml")
        llmops("eval", "suite.yaml")
        assert server.count == 9


def test_record_and_replay_without_the_server(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url)
        assert llmops("eval", "suite.yaml", "--record", "answers").returncode == 0
    assert len(list((project / "answers").glob("*.json"))) == 3
    replayed = llmops("eval", "suite.yaml", "--replay", "answers", "--json")
    assert replayed.returncode == 0, replayed.stderr
    (project / "prompts" / "ask.prompt.md").write_text("user:\nChanged: {{ question }}\n")
    done = llmops("eval", "suite.yaml", "--replay", "answers")
    assert done.returncode == 4
    assert "no answer was recorded" in done.stdout.replace("\n", " ")


def test_a_request_budget_stops_cleanly_and_resume_finishes(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url, "limits: {concurrency: 1}\n")
        done = llmops("eval", "suite.yaml", "--max-requests", "2")
        assert done.returncode == 3
        assert "--resume" in done.stderr
        assert server.count == 2
        resumed = llmops("eval", "suite.yaml", "--resume", "--json")
        assert resumed.returncode == 0, resumed.stderr
        assert server.count == 3
    assert machine(resumed)["runs"][0]["run"]["status"] == "finished"
    assert runs(project) == 1


def test_a_token_budget_needs_a_bound_and_holds(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url, "limits: {concurrency: 1}\n")
        done = llmops("eval", "suite.yaml", "--max-tokens", "100")
        assert done.returncode == 2
        assert "max_tokens" in done.stderr
        done = llmops(
            "eval", "suite.yaml", "--max-tokens", "80", "--set", "variants.served.parameters={max_tokens: 20}"
        )
        assert done.returncode == 3
        assert 0 < server.count < 3


def test_resume_refuses_what_has_changed(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url, "limits: {concurrency: 1}\n")
        llmops("eval", "suite.yaml", "--max-requests", "1")
        (project / "prompts" / "ask.prompt.md").write_text("user:\nOther: {{ question }}\n")
        done = llmops("eval", "suite.yaml", "--resume")
        assert done.returncode == 2
        assert "changed since run" in done.stderr
        assert server.count == 1


def test_score_uses_other_metrics_without_asking_again(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url)
        llmops("eval", "suite.yaml")
        text = (project / "suite.yaml").read_text()
        (project / "other.yaml").write_text(text.replace("[exact_match]", "[{length: words}, contains]"))
        done = llmops("score", "latest", "--suite", "other.yaml", "--json")
        assert done.returncode == 0, done.stderr
        assert server.count == 3
    assert runs(project) == 2
    assert "contains" in done.stdout


def test_a_run_travels_as_a_file(llmops, project):
    llmops("eval", "suite.yaml")
    assert llmops("runs", "export", "latest", "--to", "run.jsonl.gz").returncode == 0
    elsewhere = project / "elsewhere"
    (elsewhere / ".git").mkdir(parents=True)
    done = llmops("report", "../run.jsonl.gz", "--as", "csv", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 7


def test_reports_are_written_by_suffix(llmops, project):
    done = llmops(
        "eval", "suite.yaml", *(a for s in ("html", "md", "json", "xml", "csv") for a in ("-o", f"out/r.{s}"))
    )
    assert done.returncode == 0, done.stderr
    assert {p.suffix for p in (project / "out").iterdir()} == {".html", ".md", ".json", ".xml", ".csv"}


def test_runs_are_listed_shown_and_deleted(llmops, project):
    llmops("eval", "suite.yaml")
    listed = json.loads(llmops("runs", "ls", "--json").stdout)["runs"]
    assert [run["suite"] for run in listed] == ["suite"]
    shown = llmops("runs", "show", "suite").stdout
    assert listed[0]["id"] in shown
    assert "3 cases" in shown
    refused = llmops("runs", "rm", "latest")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert llmops("runs", "rm", "latest", "--yes").returncode == 0
    assert runs(project) == 0


def test_a_narrow_terminal_and_a_pipe(llmops, project):
    done = llmops("eval", "suite.yaml", COLUMNS="40")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Next: ")]  # a command stays in one piece
    assert max(map(len, lines)) <= 40
    assert "\x1b[" not in done.stdout


def test_several_suites_give_the_worst_exit_code(llmops, project):
    (project / "other.yaml").write_text(SUITE.replace("exact_match >= 0.5", "exact_match >= 0.9"))
    assert llmops("eval", "suite.yaml", "other.yaml").returncode == 1
    assert runs(project) == 2


def test_a_new_project_runs_at_once(llmops, tmp_path):
    assert llmops("init", "fresh").returncode == 0
    done = llmops("eval", "evals/first.yaml", cwd=tmp_path / "fresh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no language model" in done.stdout.replace("\n", " ")  # it says what the extractive backend is
    again = llmops("init", "fresh")
    assert "kept" in again.stderr
    assert "wrote" not in again.stderr


def test_the_schema_is_printed(llmops):
    assert json.loads(llmops("eval", "--schema").stdout)["title"] == "llmops suite"


def test_reports_of_two_suites_with_one_name_are_refused_before_anything_runs(llmops, project):
    for folder in ("a", "b"):
        (project / folder).mkdir()
        (project / folder / "x.yaml").write_text(
            SUITE.replace("cases.jsonl", "../cases.jsonl").replace("pipe", "../pipe")
        )
    done = llmops("eval", "a/x.yaml", "b/x.yaml", "-o", "r.csv")
    assert done.returncode == 2
    assert "one file" in done.stderr
    assert not (project / ".llmops").exists()


def test_a_resumed_run_keeps_asking_anew(llmops, project):
    with StubServer(default=Reply(text="Paris")) as server:
        served(project, server.url, "limits: {concurrency: 1}\n")
        llmops("eval", "suite.yaml")
        llmops("eval", "suite.yaml", "--refresh", "--max-requests", "1")
        assert server.count == 4
        assert llmops("eval", "suite.yaml", "--resume").returncode == 0
        assert server.count == 6  # not from the answers kept by the first run


def test_failed_cases_of_a_finished_run_are_run_again(llmops, project):
    def decide(body, number):
        return Reply(status=400, body={"error": {"message": "no"}}) if number < 3 else Reply(text="Paris")

    with StubServer(decide) as server:
        served(project, server.url)
        assert llmops("eval", "suite.yaml").returncode == 4
        done = llmops("eval", "suite.yaml", "--resume", "--retry-errors", "--json")
        assert done.returncode == 0, done.stderr
        assert server.count == 6
    assert runs(project) == 1
