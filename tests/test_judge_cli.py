"""`llmops judge calibrate`, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.calibration import load_calibration

SUITE = """\
dataset: cases.jsonl
variants:
  old: {recorded: old.jsonl}
  new: {recorded: new.jsonl}
metrics: [token_f1, exact_match]
"""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def verdicts(cases: int = 120) -> list[dict[str, Any]]:
    """People say yes to three in four; the judge misses every tenth case."""
    return [
        {
            "id": n,
            "human": n % 4 > 0,
            "judge": (n % 4 > 0) != (n % 10 == 0),
            "variant": "ab"[n % 2],
            "length": 10 + n % 7,
        }
        for n in range(cases)
    ]


@pytest.fixture
def scored(llmops, tmp_path):
    """A folder with a saved run of two variants."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    write(tmp_path / "cases.jsonl", [{"id": f"c{n}", "question": "?", "expected": "yes"} for n in range(40)])
    for name, every in (("old", 4), ("new", 2)):
        texts = [{"id": f"c{n}", "text": "no" if n % every == 0 else "yes"} for n in range(40)]
        write(tmp_path / f"{name}.jsonl", texts)
    done = llmops("eval", "suite.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    return tmp_path


def labels_of_the_run(folder: Path) -> Path:
    rows = [
        {"id": f"c{n}", "variant": name, "human": int(n % every > 0 or n % 8 == 0)}
        for name, every in (("old", 4), ("new", 2))
        for n in range(40)
    ]
    return write(folder / "labels.jsonl", rows)


def test_a_file_with_both_verdicts(llmops, tmp_path):
    done = llmops("judge", "calibrate", write(tmp_path / "labels.jsonl", verdicts()))
    assert (done.returncode, done.stderr) == (0, "")
    assert "120 labels of 120 cases" in done.stdout
    for figure in ("agreement", "90.0%", "Cohen's kappa", "Gwet's AC1", "sensitivity", "specificity", "people - judge"):
        assert figure in done.stdout
    assert done.stdout.splitlines()[-1].endswith(".")


def test_json_holds_every_figure(llmops, tmp_path):
    done = llmops("judge", "calibrate", write(tmp_path / "labels.jsonl", verdicts()), "--json")
    found = json.loads(done.stdout)
    assert found["agreement"]["value"] == pytest.approx(0.9)
    assert found["agreement"]["lo"] < 0.9 < found["agreement"]["hi"]
    assert {"kappa", "ac1", "sensitivity", "specificity", "length", "variants", "recommendation"} <= found.keys()
    assert found["saved"] is None


def test_a_run_brings_the_judges_verdicts_and_the_calibration_is_kept(llmops, scored):
    labels = labels_of_the_run(scored)
    done = llmops("judge", "calibrate", labels, "--run", "latest", "--metric", "exact_match", "--keep", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["n"], found["cases"]) == (80, 40)
    assert found["agreement"]["value"] == pytest.approx(70 / 80)
    kept = load_calibration(scored / "evals" / "calibration" / "exact_match.jsonl")
    assert (kept.metric, kept.kind, len(kept.labels), len(kept.judge)) == ("exact_match", "binary", 80, 12)
    assert all(label.answer for label in kept.labels)
    again = llmops("judge", "calibrate", labels, "--run", "latest", "--metric", "exact_match", "--keep")
    assert again.returncode == 0
    assert "saved" in again.stderr


def test_labels_of_other_answers_are_counted_and_left_out(llmops, scored):
    rows = [{"id": f"c{n}", "variant": "old", "human": 1, "answer": "yes"} for n in range(40)]
    rows.append({"id": "gone", "variant": "old", "human": 1})
    labels = write(scored / "labels.jsonl", rows)
    done = llmops("judge", "calibrate", labels, "--run", "latest", "--metric", "exact_match")
    assert done.returncode == 0, done.stderr
    assert "30 labels" in done.stdout
    assert "10 labels of another answer" in done.stdout
    assert "1 labels of cases" in done.stdout


def test_points_are_moved_to_the_metrics_range(llmops, scored):
    rows = [{"id": f"c{n}", "variant": "old", "human": 5 if n % 4 else 1} for n in range(40)]
    labels = write(scored / "labels.jsonl", rows)
    options = ("--run", "latest", "--metric", "exact_match", "--save", "points.jsonl")
    done = llmops("judge", "calibrate", labels, *options)
    assert done.returncode == 2
    assert "labels.jsonl:1" not in done.stderr  # the first label is 1, which fits
    assert "labels.jsonl:2: a label of 5 is outside" in done.stderr
    done = llmops("judge", "calibrate", labels, *options, "--human-range", "1", "5")
    assert done.returncode == 0, done.stderr
    assert {label.human for label in load_calibration(scored / "points.jsonl").labels} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["labels.jsonl", "--run", "latest"], "--run needs --metric"),
        (["labels.jsonl", "--keep"], "a calibration is of a metric"),
        (["labels.jsonl", "--metric", "m", "--keep", "--save", "x.jsonl"], "two places"),
        (["labels.jsonl", "--metric", "m", "--save", "labels.jsonl"], "another file is there"),
        (["labels.jsonl", "--metric", "m", "--save", "."], "name a file"),
        (["labels.jsonl", "--metric", "m", "--save", "labels.jsonl/x"], "can't save"),
        (["labels.jsonl", "--metric", "m", "--run", "nothing"], "no runs yet"),
        (["labels.jsonl", "--threshold", "nan"], "no usable number"),
        (["labels.jsonl", "--threshold", "high"], "--threshold"),
        (["labels.jsonl", "--human-range", "1", "1"], "no range"),
        (["none.jsonl"], "none.jsonl"),
        (["broken.jsonl"], "broken.jsonl:2"),
        (["points.jsonl", "--metric", "m", "--keep"], "different scales"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(llmops, tmp_path, words, problem):
    write(tmp_path / "labels.jsonl", verdicts(40))
    write(tmp_path / "points.jsonl", [{"id": n, "human": 1 + n % 4, "judge": n % 4 / 4} for n in range(40)])
    (tmp_path / "broken.jsonl").write_text('{"id": 1, "human": 1, "judge": 1}\n{"id": 2, "human": "\\ud800"}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = llmops("judge", "calibrate", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_names_from_files_drive_no_terminal_and_fit_any_encoding(llmops, tmp_path):
    rows = [
        {"id": n, "human": n % 2, "judge": n % 2, "variant": name, "annotators": {"\x1b[31mA": 1, "B\ud800": n % 2}}
        for n in range(40)
        for name in ("\x1b]0;x\x07", "é\u202e")
    ]
    done = llmops("judge", "calibrate", write(tmp_path / "labels.jsonl", rows), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()


def test_a_hundred_thousand_labels_take_seconds(llmops, tmp_path):
    import os

    def used() -> float:
        return os.times().children_user + os.times().children_system

    labels = write(tmp_path / "labels.jsonl", verdicts(100_000))
    before = used()
    done = llmops("judge", "calibrate", labels)
    assert done.returncode == 0, done.stderr
    assert "100,000 labels" in done.stdout
    assert used() - before < 30
