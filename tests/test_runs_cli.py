"""`llmops runs` and `llmops db` in processes of their own: what is printed, what is refused, what is left alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmops.identity import new_id
from llmops.store.database import Store
from llmops.store.runfile import open_run_file
from llmops.types import Case, Failure, Output, Result, RunRecord, Score, Usage, VariantInfo

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
    assert "llmops runs ls" in done.stderr


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
    assert llmops("runs", "export", "docs", "--to", tmp_path / name, "--store", path).returncode == 0
    head, rows = open_run_file(tmp_path / name)
    with Store.open(path) as store:
        assert head == old
        assert list(rows) == list(store.results(old.id))


def test_export_without_a_file_prints_json_lines(llmops, saved):
    lines = llmops("runs", "export", "docs", "--store", saved[0]).stdout.splitlines()
    assert json.loads(lines[0])["llmops_run"] == 1
    assert len([json.loads(line) for line in lines]) == 4


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
