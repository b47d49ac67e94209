"""`llmops data check|show|stats`, through its own app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llmops.cli.data import app
from llmops.datasets import open_dataset
from llmops.errors import InputError, NotFoundError

ROWS = [
    {"id": "q1", "inputs": {"question": "Why?"}, "expected": "So", "tags": ["hard"], "group": "p1",
     "contexts": [{"id": "d1", "text": "passage one", "score": 0.5}], "relevant": {"d1": 2, "d2": 1},
     "metadata": {"page": 3}},
    {"id": "q2", "inputs": {"question": "How " + "very " * 100 + "so?"}, "tags": ["easy"]},
    {"id": "q3", "inputs": {"question": {"nested": ["ü"]}}, "tags": ["hard"]},
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "qa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(*arguments: str | Path, **env: str) -> Result:
    """Runs the command; an error other than an exit comes out, as `llmops` itself would see it."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_check_prints_one_line_a_file(data: Path) -> None:
    result = run("check", data, data)
    fingerprint = open_dataset(data).survey().fingerprint[:12]
    assert result.exit_code == 0
    assert result.stdout == f"ok  3 cases  fingerprint {fingerprint}  {data}\n" * 2


def test_check_reports_all_problems_of_all_files(data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": 1}\noops\n{"id": 2, "q": 1}\n{"id": 2, "q": 1}\n')
    result = run("check", bad, tmp_path / "none.csv", data)
    lines = result.stdout.splitlines()
    assert result.exit_code == 2
    assert [line.partition(": ")[0] for line in lines[:3]] == [f"{bad}:1", f"{bad}:2", f"{bad}:4"]
    assert lines[3].startswith("no file ") and lines[4].startswith("ok  3 cases") and len(lines) == 5


def test_check_stops_at_twenty_problems(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("oops\n" * 100)
    lines = run("check", bad).stdout.splitlines()
    assert len(lines) == 21 and lines[19].startswith(f"{bad}:20: ")
    assert lines[20] == f"… only the first 20 problems of {bad} are shown"


def test_check_as_json(data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("id,q\n1\n")
    result = run("check", data, bad, "--json")
    good, broken = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (good["ok"], good["cases"], good["problems"]) == (True, 3, [])
    assert good["fingerprint"] == open_dataset(data).survey().fingerprint
    assert broken["ok"] is False and broken["problems"][0]["where"] == f"{bad}:2"


def test_fields_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("qid,question,a1,a2,note\n7,Why?,x,y,n\n")
    fields = ["id=qid", "inputs.q=question", "expected=a1", "expected=a2"]
    result = run("show", path, "--json", *(part for f in fields for part in ("--field", f)))
    (case,) = json.loads(result.stdout)
    assert (case["id"], case["inputs"], case["expected"]) == ("7", {"q": "Why?"}, ["x", "y"])
    assert run("check", path, "--field", "id=nope").stdout.startswith(f"{path}:2: no column 'nope' for id")
    with pytest.raises(InputError, match="isn't TARGET=COLUMN"):
        run("stats", path, "--field", "id")
    with pytest.raises(InputError, match="did you mean 'expected'"):
        run("stats", path, "--field", "expectd=a1")


def test_show_prints_all_parts_of_a_case(data: Path) -> None:
    result = run("show", data, "--limit", "1", COLUMNS="100")
    assert result.stdout.splitlines() == [
        f"q1  tags hard  group p1  {data}:1",
        "  inputs.question: Why?",
        "  expected: So",
        "  context d1 0.5: passage one",
        "  relevant: d1 (2), d2",
        "  metadata.page: 3",
    ]


def test_show_cuts_long_text_unless_one_case_is_asked_for(data: Path) -> None:
    short = run("show", data, "--only", "tag:easy").stdout
    assert "… (507 characters)" in short and short.count("very") < 100
    full = run("show", data, "--case", "q2").stdout
    assert full.count("very") == 100 and "so?" in full
    assert '{"nested": ["ü"]}' in run("show", data, "--case", "q3").stdout


def test_show_filters_and_names_what_is_missing(data: Path) -> None:
    found = json.loads(run("show", data, "--only", "tag:hard", "--json").stdout)
    assert [case["id"] for case in found] == ["q1", "q3"]
    with pytest.raises(NotFoundError, match=r"^no case 'q_1'; did you mean 'q1'\?$"):
        run("show", data, "--case", "q_1")
    with pytest.raises(InputError) as caught:
        run("show", data, "--only", "tag:none")
    assert "tags in the data: hard, easy" in str(caught.value)


def test_narrow_terminals_and_long_words(data: Path) -> None:
    for line in run("show", data, "--case", "q2", COLUMNS="40").stdout.splitlines()[1:]:
        assert len(line) <= 40
    stats = run("stats", data, COLUMNS="40").stdout.splitlines()
    assert all(len(line) <= 40 for line in stats)


def test_stats_counts(data: Path) -> None:
    rows = dict(line.rsplit(None, 1) for line in run("stats", data).stdout.splitlines())
    assert rows["cases"] == "3" and rows["tag hard"] == "2" and rows["input question"] == "3"
    assert rows["groups"] == rows["with expected"] == rows["with relevant"] == "1"
    found = json.loads(run("stats", data, "--json", "--only", "tag:hard").stdout)
    assert found["cases"] == 2 and found["tags"] == {"hard": 2}


HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202edecoy\x7f[bold]x[/bold]\ud800\r\n\tend"


def test_hostile_text_is_harmless_and_markup_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = {"id": "a\x1b[2J", "inputs": {f"q{HOSTILE}": HOSTILE}, "tags": ["t\x1b["], "group": "[red]g"}
    path.write_text(json.dumps(row) + "\n")
    for arguments in (["show", path], ["show", path, "--case", "a\x1b[2J"], ["stats", path], ["check", path]):
        text = run(*arguments).stdout
        assert all(line.isprintable() for line in text.split("\n")), text
    assert "[bold]x[/bold]" in run("show", path).stdout
    shown = run("show", path, "--json").stdout
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(shown)[0]["inputs"] == {f"q{HOSTILE}": HOSTILE}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_any_terminal_encoding(data: Path, encoding: str, options: list[str]) -> None:
    code = "from llmops.cli.data import app; app()"
    run = subprocess.run(
        [sys.executable, "-c", code, "show", str(data), *options],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert run.returncode == 0 and not run.stderr
    assert b"q3" in run.stdout


def test_help_loads_nothing_heavy() -> None:
    heavy = ["pydantic", "sqlmodel", "httpx", "aiohttp", "yaml", "numpy", "pyarrow", "jinja2", "llmops.datasets"]
    code = (
        "import sys\nfrom llmops.cli.data import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]" and "check" in run.stdout


def test_joined_emoji_and_scripts_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": "a", "q": "👩\u200d👩\u200d👧 می\u200cخواهم a\u202eb\u200bc\ufeffd"}) + "\n")
    assert "👩\u200d👩\u200d👧 می\u200cخواهم abcd" in run("show", path).stdout


def test_what_ascii_lacks_is_written_with_signs_alike(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": "a", "q": "x" * 400 + "ü"}) + "\n")
    code = "from llmops.cli.data import app; app()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "show", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    ).stdout
    assert "... (401 characters)" in shown and "?" not in shown
