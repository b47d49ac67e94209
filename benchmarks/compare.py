"""What `llmops compare` costs: two files of 100,000 cases, and 50 cases beside a bare Typer program with numpy.

Every figure is of a whole process. The two small programs take turns: a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run import Cost, measure, median

SECONDS = 3.0
TIMES_BARE = 2.5
BARE = """\
import numpy
import typer

app = typer.Typer()


@app.command()
def hello(name: str = "you") -> None:
    print(f"hello {name}")


app()
"""
LLMOPS = "from llmops.cli.main import main; main()"


def scores(path: Path, cases: int, seed: int, extra: Callable[[int], dict[str, Any]]) -> Path:
    """Two metrics a case: pass or fail, and a share."""
    draw = random.Random(seed)
    with path.open("w") as file:
        for i in range(cases):
            made = {"exact": float(draw.random() < 0.8), "f1": round(draw.random(), 4)}
            file.write(json.dumps({"id": f"case-{i}", "scores": made, **extra(i)}) + "\n")
    return path


def run_file(path: Path, cases: int, seed: int) -> Path:
    """An exported run with one metric."""
    draw = random.Random(seed)
    head = {
        "llmops_run": 1, "id": str(seed), "suite": "s", "suite_hash": "h", "dataset": "d", "fingerprint": "f",
        "variants": [{"name": "v", "kind": "prompt"}], "metrics": [{"name": "f1", "low": 0.0, "high": 1.0}],
        "cases": cases, "status": "finished",
    }  # fmt: skip
    with path.open("w") as file:
        file.write(json.dumps(head) + "\n")
        for i in range(cases):
            case = {"id": f"case-{i}", "inputs": {"question": "Which city is the capital? " * 4}, "expected": "Paris"}
            usage = {"input_tokens": 120, "output_tokens": 30, "certainty": "exact"}
            output = {"text": "Paris is the capital. " * 5, "latency_s": draw.random(), "usage": usage}
            row = {"variant": "v", "case": case, "output": output, "scores": {"f1": {"value": round(draw.random(), 4)}}}
            file.write(json.dumps(row) + "\n")
    return path


def compare(folder: Path, *arguments: str | Path) -> Cost:
    return measure([sys.executable, "-c", LLMOPS, "compare", *map(str, arguments), "--gate", "none"], folder)


def big(folder: Path, cases: int, rounds: int) -> bool:
    """Two large files, as they come. True when each takes less than it may."""
    kinds: dict[str, Callable[[int], dict[str, Any]]] = {
        "scores": lambda i: {},
        "scores, groups": lambda i: {"group": f"doc-{i // 5}"},
        "scores, tags": lambda i: {"tags": [f"t{i % 7}", "hard" if i % 3 else "easy"]},
        "scores, groups and tags": lambda i: {"group": f"doc-{i // 5}", "tags": [f"t{i % 7}"]},
    }
    print(f"two files of {cases:,} cases, less than {SECONDS:g} s\n{'':34}{'wall s':>8}{'cpu s':>8}{'MB':>8}")
    good = True
    for name in (*kinds, "exported runs", "exported runs, --json"):
        extra = kinds.get(name)
        sides = [
            scores(folder / f"{side}.jsonl", cases, seed, extra)
            if extra is not None
            else run_file(folder / f"{side}.jsonl", cases, seed)
            for seed, side in enumerate("ab")
        ]
        more = ["--json"] if name.endswith("--json") else []
        cost = median([compare(folder, *sides, *more) for _ in range(rounds)])
        good = good and cost.wall_s < SECONDS
        print(f"{name:34}{cost.wall_s:8.2f}{cost.cpu_s:8.2f}{cost.memory_mb:8.0f}")
    return good


def small(folder: Path, rounds: int) -> bool:
    """50 cases beside a bare program. True when the median ratio of seconds on the clock isn't above what it may be."""
    (folder / "bare.py").write_text(BARE)
    a, b = (scores(folder / f"small-{side}.jsonl", 50, seed, lambda i: {}) for seed, side in enumerate("ab"))
    print(f"\n50 cases beside a bare Typer program with numpy, at most {TIMES_BARE:g} times it")
    print(f"{'':34}{'wall s':>8}{'cpu s':>8}{'MB':>8}{'wall':>8}{'cpu':>8}")
    good = True
    for name, more in (("terminal", []), ("--json", ["--json"])):
        turns = [
            (compare(folder, a, b, *more), measure([sys.executable, "bare.py"], folder)) for _ in range(rounds + 1)
        ]
        turns = turns[1:]  # the first fills the caches
        ours, bare = (median(list(side)) for side in zip(*turns, strict=True))
        wall = statistics.median(mine.wall_s / its.wall_s for mine, its in turns)
        cpu = statistics.median(mine.cpu_s / its.cpu_s for mine, its in turns)
        good = good and wall <= TIMES_BARE
        print(f"{name:34}{ours.wall_s:8.3f}{ours.cpu_s:8.3f}{ours.memory_mb:8.0f}{wall:7.2f}x{cpu:7.2f}x")
        print(f"{'  bare':34}{bare.wall_s:8.3f}{bare.cpu_s:8.3f}{bare.memory_mb:8.0f}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held = [big(folder, given.cases, given.rounds), small(folder, 2 * given.rounds)]
    print("\nboth hold" if all(held) else "\nNOT held")
    raise SystemExit(not all(held))


if __name__ == "__main__":
    main()
