"""What an evaluation costs beside a bare aiohttp loop doing the same requests: `make bench`.

10,000 cases, one prompt, one `contains` metric, concurrency 64, against a loopback OpenAI-compatible stub that answers
at once or after 200 ms. Every figure is of a whole process; start-up is measured by an evaluation of one case.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SUITE = """\
dataset: {{path: cases.jsonl, fields: {{id: id, inputs.question: question, expected: answer}}}}
variants:
  stub: {{prompt: ask, backend: {{openai_http: {{base_url: "http://127.0.0.1:{port}/v1", model: stub}}}}}}
metrics: [contains]
limits: {{concurrency: {concurrency}}}
"""


@dataclass
class Cost:
    """One process: seconds on the clock, seconds of CPU, and peak resident memory in MB."""

    wall_s: float
    cpu_s: float
    memory_mb: float


@contextmanager
def stub(delay: float) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "stub.py"), "--delay", str(delay)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def measure(command: list[str], folder: Path) -> Cost:
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:3]} exited with {process.returncode}:\n{complaint.decode()[-2000:]}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def project(folder: Path, cases: int, port: int, concurrency: int) -> None:
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "ask.prompt.md").write_text("user:\n{{ question }}\n")
    (folder / "suite.yaml").write_text(SUITE.format(port=port, concurrency=concurrency))
    rows = ({"id": f"case-{i}", "question": f"Which city, question {i}?", "answer": "Paris"} for i in range(cases))
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluate(folder: Path, *more: str) -> Cost:
    """One evaluation with an empty store and cache."""
    store = tempfile.mkdtemp(dir=folder)
    script = "from llmops.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        script,
        "eval",
        "suite.yaml",
        "--quiet",
        "--refresh",
        "--store",
        f"{store}/runs.db",
    ]
    return measure([*command, *more], folder)


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(c, f) for c in costs) for f in ("wall_s", "cpu_s", "memory_mb")))


def row(name: str, cases: int, cost: Cost, start: Cost) -> None:
    wall, cpu = cost.wall_s - start.wall_s, cost.cpu_s - start.cpu_s
    print(
        f"{name:34}{cost.wall_s:8.2f}{wall:10.2f}{cases / wall:10,.0f}{1000 * cpu / cases:12.3f}{cost.memory_mb:8.0f}"
    )


def compare(delay: float, cases: int, concurrency: int, rounds: int) -> None:
    with stub(delay) as port, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder, cases, port, concurrency)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        bare_command = [
            sys.executable,
            str(HERE / "bare_loop.py"),
            url,
            "cases.jsonl",
            "answers.jsonl",
            str(concurrency),
        ]
        start = median([evaluate(folder, "--sample", "1") for _ in range(3)])
        (folder / "one.jsonl").write_text((folder / "cases.jsonl").read_text().split("\n", 1)[0] + "\n")
        bare_start = median([measure([*bare_command[:3], "one.jsonl", *bare_command[4:]], folder) for _ in range(3)])
        bare, ours = [], []
        for _ in range(rounds):  # side by side, so that a machine that slows down slows both
            bare.append(measure(bare_command, folder))
            ours.append(evaluate(folder))
        print(f"\n{cases:,} cases, concurrency {concurrency}, answers after {1000 * delay:.0f} ms, median of {rounds}")
        print(f"{'':34}{'wall s':>8}{'less start':>10}{'cases/s':>10}{'CPU ms/case':>12}{'MB':>8}")
        row("bare aiohttp loop, JSONL out", cases, median(bare), bare_start)
        row("llmops eval, saved run and cache", cases, median(ours), start)
        ideal = cases / concurrency * delay
        ratio = statistics.median(
            (b.wall_s - bare_start.wall_s) / (o.wall_s - start.wall_s) for b, o in zip(bare, ours, strict=True)
        )
        print(
            f"start-up of llmops eval: {start.wall_s:.2f} s, {start.memory_mb:.0f} MB; "
            f"rate against the bare loop: {ratio:.2f}"
        )
        if ideal:
            over = (median(ours).wall_s - start.wall_s) / ideal - 1
            print(f"N ÷ concurrency × latency = {ideal:.2f} s; llmops eval after start-up: {100 * over:+.1f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for delay in (0.0, 0.2):
        compare(delay, arguments.cases, arguments.concurrency, arguments.rounds if not delay else 1)
