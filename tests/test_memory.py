"""Memory of a whole evaluation: it must not grow with the dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import clean_environment

PIPELINE = """\
def answer(question, context):
    return context.partition(". ")[0]


def retrieve(question, context):
    passages = [{"id": f"p{i}", "text": f"{question} {i} " + context * 13} for i in range(10)]
    return {"text": "It is in a depot", "contexts": passages}
"""
SUITE = """\
dataset: {path: cases.jsonl, fields: {id: id, inputs.question: question, inputs.context: context, expected: answer}}
variants:
  answer: {python: pipeline.py:answer}
  retrieve: {python: pipeline.py:retrieve}
metrics: [contains, token_f1]
"""
PADDING = "Parcels that come after six wait until the next working day, and the clerk writes both dates down. " * 30

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="peak memory of a process needs wait4")


def test_memory_stays_flat_while_cases_multiply(tmp_path):
    """10,000 more cases of 3 kB, with three reports, may cost 1 kB each; holding the cases alone would cost 3."""
    growth = peak_mb(tmp_path / "many", "answer", 11_000) - peak_mb(tmp_path / "few", "answer", 1_000)
    assert growth < 10, f"{growth:.1f} MB more"


def test_long_passages_wait_for_the_disk_in_a_bounded_queue(tmp_path):
    """Outputs of 400 kB come faster than they can be written: 300 MB of them must not pile up in memory."""
    growth = peak_mb(tmp_path / "many", "retrieve", 800) - peak_mb(tmp_path / "few", "retrieve", 50)
    assert growth < 100, f"{growth:.1f} MB more"


def peak_mb(folder: Path, variant: str, cases: int) -> float:
    """Peak resident memory of one evaluation and its reports, in MB."""
    folder.mkdir()
    (folder / "llmops.yaml").write_text("")
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "suite.yaml").write_text(SUITE)
    with (folder / "cases.jsonl").open("w") as file:
        for number in range(cases):
            row = {"id": f"c{number}", "question": f"Where is parcel {number}?", "answer": f"depot {number}"}
            file.write(json.dumps({**row, "context": f"It is in depot {number}. {PADDING}"}) + "\n")
    reports = ("-o", "junit.xml", "-o", "report.csv", "-o", "report.md")
    command = [sys.executable, "-m", "llmops", "eval", "suite.yaml", "--variant", variant, "--json", *reports]
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=printed, stderr=printed)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / "printed").read_text()
    return usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
