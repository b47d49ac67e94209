"""`llmops runs` and `llmops db` in processes of their own: what is printed, what is refused, what is left alone."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.cli.reference import reference
from llmops.identity import new_id
from llmops.store.database import Store
from llmops.store.runfile import open_run_file
from llmops.types import (
    Case,
    Failure,
    GateOutcome,
    MetricInfo,
    Output,
    Result,
    RunRecord,
    RunStatus,
    Score,
    Usage,
    VariantInfo,
)

EVIL = "evil\x1b[2J[red]x[/red]"


def record(suite: str) -> RunRecord:
    variants = (VariantInfo("small", "python"), VariantInfo("large", "python"))
    return RunRecord(new_id(), suite, "a" * 64, "cases.jsonl", "b" * 64, variants, cases=2, status="finished")


def results() -> list[tuple[Result, int]]:
    usage = Usage(3, 2, requests=1, certainty="exact")
    failed = Output(error=Failure("timeout", "too slow"))
    return [
        (Result("small", Case("one", {"q": "a"}), Output("x", usage=usage), 0, {"f1": Score(0.5)}), 0),
        (Result("small", Case("two", {"q": "b"}), failed), 1),
        (Result("large", Case("one", {"q": "a"}), Output("z\x1b[31m", usage=usage), 0, {"f1": Score(1.0)}), 0),
    ]


@pytest.fixture
def saved(tmp_path) -> tuple[Path, RunRecord, RunRecord]:
    """A store with an older run of `docs` and a newer one of a suite whose name is hostile."""
    path, old, new = tmp_path / "runs.db", record("docs"), record(EVIL)
    with Store.open(path) as store:
        for one in (old, new):
            store.create_run(one)
            with store.writer(one.id) as writer:
                for result, position in results():
                    writer.put(result, position)
    return path, old, new


def test_ls_is_newest_first_and_keeps_to_limit_and_suite(llmops, saved):
    path, old, new = saved

    def ids(*more: str) -> list[str]:
        return [run["id"] for run in json.loads(llmops("runs", "ls", "--json", "--store", path, *more).stdout)["runs"]]

    assert ids() == [new.id, old.id]
    assert ids("--limit", "1") == [new.id]
    assert ids("--suite", "docs") == [old.id]


@pytest.mark.parametrize("width", ["60", "200"])
@pytest.mark.parametrize("command", ["ls", "show"])
def test_names_can_neither_control_the_terminal_nor_use_markup(llmops, saved, command, width):
    shown = llmops("runs", command, "--store", saved[0], COLUMNS=width).stdout
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown


def test_show_counts_each_variant(llmops, saved):
    path, old, _ = saved
    shown = json.loads(llmops("runs", "show", "docs", "--json", "--store", path).stdout)
    assert shown["id"] == old.id
    assert {name: counts["errors"] for name, counts in shown["variants"].items()} == {"small": 1, "large": 0}
    assert "large" in llmops("runs", "show", old.id[-12:], "--store", path).stdout


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("runs", "document", ("ls",)),
        ("runs", "document", ("show",)),
        ("runs", "document", ("export",)),
        ("outputs", "body", ("show",)),
        ("cases", "body", ("show", "--json")),
        ("cases", "body", ("export", "--to", "run.jsonl")),
    ],
)
def test_a_damaged_run_is_one_line_and_can_be_deleted(llmops, saved, tmp_path, table, column, words):
    path, old, new = saved
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {table} SET {column} = '{{' WHERE {'' if table == 'runs' else 'run_'}key = 2")
    done = llmops("runs", *words, "--store", path)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"llmops: {path}: ")
    assert f"of run {new.id} is damaged" in done.stderr
    assert not (tmp_path / "run.jsonl").exists()
    assert llmops("runs", "rm", new.id, "--yes", "--store", path).returncode == 0
    assert old.id in llmops("runs", "ls", "--store", path).stdout


def test_export_makes_no_folders(llmops, saved, tmp_path):
    done = llmops("runs", "export", "--to", "missing/dir/x.jsonl", "--store", saved[0])
    assert done.returncode == 2
    assert "no folder missing/dir" in done.stderr
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("name", ["latest~7", "nothing", "%%%%", "\udcff"])
def test_an_unknown_run_is_one_line(llmops, saved, name):
    done = llmops("runs", "show", name, "--store", saved[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "llmops runs ls" in done.stderr or "surrogate" in done.stderr


def test_rm_without_a_terminal_needs_yes_and_then_deletes_only_what_is_named(llmops, saved):
    path, old, new = saved
    refused = llmops("runs", "rm", "latest", "--store", path)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert llmops("runs", "rm", new.id, "--yes", "--store", path).returncode == 0
    with Store.open(path) as store:
        assert [run.id for run in store.runs()] == [old.id]
        assert len(list(store.results(old.id))) == 3


def test_rm_deletes_nothing_when_one_of_the_names_is_wrong(llmops, saved):
    path, _, _ = saved
    assert llmops("runs", "rm", "latest", "nothing", "--yes", "--store", path).returncode == 2
    with Store.open(path) as store:
        assert len(store.runs()) == 2


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_an_exported_file_holds_the_same_run(llmops, saved, tmp_path, name):
    path, old, _ = saved
    with Store.open(path) as store:
        old = store.update_run(old.id, status="stopped")  # a finished one has a result for every trial
    assert llmops("runs", "export", "docs", "--to", tmp_path / name, "--store", path).returncode == 0
    head, rows = open_run_file(tmp_path / name)
    with Store.open(path) as store:
        assert head == old
        assert list(rows) == list(store.results(old.id))


def test_a_file_that_lost_its_end_is_no_whole_run(llmops, saved, tmp_path):
    lines = llmops("runs", "export", "docs", "--store", saved[0]).stdout
    (tmp_path / "cut.jsonl").write_text(lines)
    done = llmops("report", tmp_path / "cut.jsonl")
    assert done.returncode == 2
    assert "after 3 of 4 results" in done.stderr


def test_export_without_a_file_prints_json_lines(llmops, saved):
    lines = llmops("runs", "export", "docs", "--store", saved[0]).stdout.splitlines()
    assert json.loads(lines[0])["llmops_run"] == 1
    assert len([json.loads(line) for line in lines]) == 4


@pytest.mark.parametrize("name", ["x.csv", "x.gz", "x", "x.jsonl.txt"])
def test_export_writes_no_file_that_report_would_not_read(llmops, saved, tmp_path, name):
    done = llmops("runs", "export", "--to", name, "--store", saved[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert ".jsonl or .jsonl.gz" in done.stderr
    assert not (tmp_path / name).exists()


def save(path: Path, status: RunStatus, *outcomes: str) -> RunRecord:
    """A run of `docs` with these gates on its one metric."""
    gates = tuple(GateOutcome(f"f1 >= 0.{i}", "small", outcome, 0.5) for i, outcome in enumerate(outcomes))  # type: ignore[arg-type]
    made = replace(
        record("docs"),
        status=status,
        gates=gates,
        metrics=(MetricInfo("f1"),),
        started_at="2025-11-24T16:00:00.5+00:00",
        note="the budget is spent" if status == "stopped" else "",
    )
    with Store.open(path) as store:
        store.create_run(made)
        with store.writer(made.id) as writer:
            for result, position in results():
                writer.put(result, position)
    return made


ENDINGS: list[tuple[RunStatus, tuple[str, ...], str, str]] = [
    ("finished", ("pass", "pass"), "finished", "✓ 2 passed"),
    ("finished", ("pass", "fail", "undecided"), "finished", "✗ 1 of 3 failed"),
    ("finished", ("pass", "undecided"), "finished", "? 1 of 2 undecided"),
    ("finished", (), "finished", "–"),
    ("stopped", ("pass", "pass"), "stopped", "? 2 of 2 undecided"),
    ("stopped", ("fail", "undecided"), "stopped", "✗ 1 of 2 failed"),
    ("interrupted", ("pass",), "interrupted", "? 1 of 1 undecided"),
    ("failed", ("pass",), "failed", "? 1 of 1 undecided"),
    ("running", ("pass",), "running", "? 1 of 1 undecided"),
]


@pytest.mark.parametrize("width", ["40", "120"])
def test_ls_shows_how_a_run_ended_and_never_a_pass_for_one_that_did_not(llmops, tmp_path, width):
    runs = [save(tmp_path / "runs.db", status, *outcomes) for status, outcomes, _, _ in ENDINGS]
    shown = llmops("runs", "ls", "--store", "runs.db", COLUMNS=width, TZ="UTC").stdout
    for run, (_, _, status, gates) in zip(runs, ENDINGS, strict=True):
        entry = " ".join(re.split(r"\n(?=\w{8}-)", shown[shown.index(run.id) :])[0].split()).replace("gates: ", "")
        words = [run.id, "docs", status, "2 cases" if width == "40" else "2", gates, "2025-11-24 16:00 UTC"]
        assert entry.replace(",", "") == " ".join(words)


def test_times_are_those_of_this_machine_and_say_their_zone(llmops, tmp_path):
    save(tmp_path / "runs.db", "finished")
    assert "2025-11-24 17:00 CET" in llmops("runs", "ls", "--store", "runs.db", TZ="CET-1").stdout
    assert "2025-11-24 17:00 CET" in llmops("runs", "show", "--store", "runs.db", TZ="CET-1").stdout


def test_show_says_how_each_variant_did_and_what_the_gates_said(llmops, tmp_path):
    save(tmp_path / "runs.db", "finished", "pass", "fail")
    lines = llmops("runs", "show", "--store", "runs.db").stdout.splitlines()
    at = lines.index("variant  small: 2 cases, 1 error, 0 cached, 5 tokens")
    assert lines[at + 1] == "         f1 ↑ 0.500"
    assert "         f1 ↑ 1.000" in lines
    assert lines[-2:] == ["gate     ✓ pass  f1 >= 0.0  small  0.500", "gate     ✗ fail  f1 >= 0.1  small  0.500"]
    found = json.loads(llmops("runs", "show", "--json", "--store", "runs.db").stdout)
    assert found["variants"]["large"]["metrics"] == {"f1": 1.0}


def test_show_says_how_far_an_unfinished_run_came(llmops, tmp_path):
    save(tmp_path / "runs.db", "stopped", "undecided")
    shown = llmops("runs", "show", "--store", "runs.db").stdout
    assert "status   stopped after 3 of 4 answers: the budget is spent\n" in shown
    assert "gate     ? undecided" in shown


def test_ls_tells_a_mistyped_suite_from_a_missing_store(llmops, saved, tmp_path):
    done = llmops("runs", "ls", "--suite", "dcs", "--store", saved[0])
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "no runs of suite 'dcs'; did you mean 'docs'?\n"
    assert "\x1b" not in llmops("runs", "ls", "--suite", "zzzz", "--store", saved[0]).stderr
    done = llmops("runs", "ls", "--store", "nope.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("llmops: no store at nope.db; ")
    assert "no runs yet" in llmops("runs", "ls").stderr


def test_a_terminal_that_knows_only_ascii_gets_signs_it_can_show(llmops, tmp_path):
    save(tmp_path / "runs.db", "finished", "pass", "fail", "undecided")
    shown = llmops("report", "--store", "runs.db", PYTHONIOENCODING="ascii", LC_ALL="C").stdout
    assert shown.isascii()
    for expected in ("+ pass  f1 >= 0.0", "x fail  f1 >= 0.1", "? undecided  f1 >= 0.2", "f1 ^", "2 cases - 2"):
        assert expected in shown, shown
    assert shown.count("?") == 1
    listed = llmops("runs", "ls", "--store", "runs.db", PYTHONIOENCODING="ascii", LC_ALL="C").stdout
    assert "x 1 of 3 failed" in listed


@pytest.mark.parametrize("words", [("runs", "ls"), ("runs", "show"), ("report",)])
def test_no_line_in_a_pipe_ends_in_blanks(llmops, saved, words):
    lines = llmops(*words, "--store", saved[0]).stdout.split("\n")
    assert len(lines) > 2
    assert [line for line in lines if line != line.rstrip()] == []


def test_forgetting_answers_without_a_terminal_needs_yes(llmops, tmp_path):
    (tmp_path / "llmops.yaml").touch()
    refused = llmops("cache", "clear")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("llmops: forgetting kept answers needs --yes")
    assert len(refused.stderr.splitlines()) == 1
    assert "no response cache" in llmops("cache", "clear", "--yes").stderr


def test_the_reference_sets_defaults_as_code():
    assert "Where to put it. Default: `.`. |" in reference()


@pytest.mark.parametrize("words", [("ls",), ("show",), ("rm", "latest", "--yes"), ("export",)])
def test_looking_makes_no_store(llmops, tmp_path, words):
    llmops("runs", *words)
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_the_flags_then_the_environments_then_the_files(llmops, tmp_path):
    def place(*more: str, **environment: str) -> str:
        return llmops("db", "path", *more, **environment).stdout.strip()

    (tmp_path / "evals").mkdir()
    assert place() == str(tmp_path / ".llmops" / "llmops.db")
    (tmp_path / "llmops.yaml").write_text("store: kept/runs.db\n")
    assert place() == str(tmp_path / "kept" / "runs.db")
    assert place(LLMOPS_DATABASE_URL="/else/where.db") == "/else/where.db"
    assert place("--store", "/a/flag.db", LLMOPS_DATABASE_URL="/else/where.db") == "/a/flag.db"


@pytest.mark.parametrize("url", ["://me:hunter2@db.example/runs", "://me@db.example/runs?password=hunter2"])
def test_db_path_hides_the_password(llmops, url):
    done = llmops("db", "path", LLMOPS_DATABASE_URL=f"postgresql{url}")
    assert "hunter2" not in done.stdout + done.stderr
    assert "db.example/runs" in done.stdout


def test_a_home_folder_is_meant_by_a_tilde(llmops, tmp_path):
    (tmp_path / "llmops.yaml").write_text("store: ~/kept/runs.db\n")
    assert llmops("db", "path", HOME=str(tmp_path / "home")).stdout.strip() == str(tmp_path / "home/kept/runs.db")
    (tmp_path / "llmops.yaml").write_text("\nstore: ~no-such-user/runs.db\n")
    done = llmops("db", "path")
    assert done.returncode == 2
    assert "llmops.yaml:2: " in done.stderr


def test_a_file_of_settings_goes_over_other_marks_of_a_project(llmops, tmp_path):
    inner = tmp_path / "repository" / "service" / "evals"
    inner.mkdir(parents=True)
    (inner.parent / "pyproject.toml").touch()
    (tmp_path / "llmops.yaml").write_text("store: outside.db\n")
    default = str(Path(".llmops") / "llmops.db")

    def place() -> str:
        return str(Path(llmops("db", "path", cwd=inner).stdout.strip()).relative_to(tmp_path))

    assert place() == "outside.db"
    (tmp_path / "repository" / ".git").touch()  # a worktree's is a file
    assert place() == f"repository/service/{default}"
    (tmp_path / "repository" / "llmops.yaml").write_text("store: top.db\n")
    assert place() == "repository/top.db"


@pytest.mark.parametrize("written", ["${}", "${1x}", "${A", "${A-b}", "${ A }", "${A:-${B}}"])
@pytest.mark.parametrize("name", ["llmops.yaml", "suite.yaml"])
def test_a_reference_that_can_not_be_read_names_its_line(llmops, tmp_path, written, name):
    (tmp_path / name).write_text(f"# settings\nstore: '{written}'\n")
    words = ("db", "path") if name == "llmops.yaml" else ("eval", name)
    done = llmops(*words, A="a", B="b")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{name}:2: " in done.stderr
    assert "$${" in done.stderr


def test_migrating_a_new_store_makes_it_and_again_changes_nothing(llmops, tmp_path):
    first = json.loads(llmops("db", "migrate", "--json", "--store", tmp_path / "new.db").stdout)
    again = json.loads(llmops("db", "migrate", "--json", "--store", tmp_path / "new.db").stdout)
    assert again["from"] == again["to"] == first["to"]
