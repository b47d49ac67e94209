"""What an evaluation needs as its dataset grows: time, CPU a case, and peak memory, which should stay flat.

Each row is a whole process in a new folder, its printed report included. Cases are about 300 bytes; every answer is
scored with `contains` and `token_f1` and saved. The second pipeline is a prompt on the extractive backend, so that
every answer also goes through the response cache. `--reports` adds machine output and every report file at the largest
size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PLACES = ("Lyon", "Porto", "Turin", "Ghent", "Bergen", "Graz", "Brno", "Malmö")
FILLER = "Parcels that arrive after six wait until the next working day, and the clerk writes both dates in the ledger."
PIPELINE = """\
def answer(question, context):
    return context.partition(". ")[0]
"""
PROMPT = """\
system:
Answer from the context alone.
user:
Context:
{{ context }}

Question: {{ question }}
"""
SUITE = """\
dataset: {path: cases.jsonl, fields: {id: id, inputs.question: question, inputs.context: context, expected: answer}}
variants:
  pipeline: {python: pipeline.py:answer}
  prompt: {prompt: ask, backend: extractive}
metrics: [contains, token_f1]
"""
REPORTS = (("--json",), ("-o", "report.html"), ("-o", "junit.xml"), ("-o", "report.csv"), ("-o", "report.md"))


class Cost(NamedTuple):
    """One process: seconds on the clock, seconds of CPU, and peak resident memory in MB."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def project(folder: Path, cases: int) -> None:
    """A project with a dataset, a pipeline, a prompt and a suite."""
    (folder / "prompts").mkdir()
    (folder / "llmops.yaml").write_text("prompts: prompts\n")
    (folder / "prompts" / "ask.prompt.md").write_text(PROMPT)
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "suite.yaml").write_text(SUITE)
    with (folder / "cases.jsonl").open("w", encoding="utf-8") as file:
        for number in range(cases):
            place = f"{PLACES[number % len(PLACES)]} depot {number}"
            row = {
                "id": f"case-{number}",
                "question": f"Where is parcel {number} kept?",
                "context": f"Parcel {number} is kept at {place}. {FILLER}",
                "answer": place,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def evaluate(folder: Path, *options: str) -> Cost:
    """`llmops eval` with these options, in a process of its own. Ends the program if it fails."""
    command = [sys.executable, "-m", "llmops", "eval", "suite.yaml", "--quiet", *options]
    began = time.perf_counter()
    with (folder / "printed.txt").open("wb") as printed, (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=printed, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[3:]} exited with {process.returncode}:\n{(folder / 'errors.txt').read_text()}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(cases: int, *options: str) -> Cost:
    """One evaluation of a dataset of `cases` rows in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        project(Path(name), cases)
        return evaluate(Path(name), *options)


def compare(sizes: Sequence[int], *, reports: bool) -> None:
    print(f"{'':32}{'cases':>9}{'wall s':>9}{'CPU s':>9}{'CPU ms/case':>13}{'peak MB':>9}")
    for variant in ("pipeline", "prompt"):
        for cases in sizes:
            show(variant, cases, measure(cases, "--variant", variant))
    if reports:
        for options in REPORTS:
            name = " ".join(("pipeline", *options))
            show(name, sizes[-1], measure(sizes[-1], "--variant", "pipeline", *options))


def show(name: str, cases: int, cost: Cost) -> None:
    figures = f"{cost.wall_s:9.2f}{cost.cpu_s:9.2f}{1000 * cost.cpu_s / cases:13.3f}{cost.memory_mb:9.0f}"
    print(f"{name:32}{cases:9,}{figures}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--reports", action="store_true", help="also time report files at the largest size")
    arguments = parser.parse_args()
    compare(sorted(arguments.cases), reports=arguments.reports)
