"""Users' pipelines and metrics that misbehave: a case fails, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import clean_environment

CASES = 6


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "llmops.yaml").write_text("")
    rows = ({"id": f"c{i}", "question": f"q{i}", "expected": "good"} for i in range(CASES))
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def suite(project: Path, body: str, *, more: str = "", metrics: str = "[contains]") -> None:
    (project / "pipe.py").write_text(body)
    (project / "suite.yaml").write_text(
        "dataset: cases.jsonl\nvariants: {v: {python: pipe.py:answer}}\n"
        f'metrics: {metrics}\ngates: ["errors <= 20%"]\n{more}'
    )


RAISES = """\
import asyncio, sys
class Odd(BaseException):
    pass
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")
{kind} answer(question):
    if question == "q3":
        {bad}
    return "good"
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("sys.exit()", "SystemExit"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("raise Odd('strange')", "Odd: strange"),
        ("raise Mute()", "Mute: (its text can't be read)"),
        ("raise asyncio.CancelledError()", "CancelledError"),
        ("next(iter(()))", "StopIteration"),
        ("raise KeyError('k')", "KeyError: 'k' at pipe.py:9"),
        ("return object()", "returned object"),
    ],
)
def test_whatever_a_pipeline_does_only_its_case_fails(llmops, project, kind, bad, said):
    suite(project, RAISES.format(kind=kind, bad=bad))
    done = llmops("eval", "suite.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    rows = llmops("report", "--as", "csv").stdout
    assert said in rows
    assert rows.count("good,") >= CASES - 1


def test_a_metric_that_exits_leaves_its_sample_unscored(llmops, project):
    suite(project, "def answer(question): return 'good'\n", metrics="[contains, {python: metric.py:leaves}]")
    (project / "metric.py").write_text("import sys\ndef leaves(sample):\n    sys.exit(0)\n")
    done = llmops("eval", "suite.yaml")
    assert done.returncode == 0, done.stderr
    assert "leaves raised SystemExit" in done.stdout.replace("\n", " ")


def test_a_pipeline_that_never_returns_times_out_and_does_not_hold_the_exit(project):
    suite(
        project,
        "import time\ndef answer(question):\n    if question == 'q0':\n        time.sleep(600)\n    return 'good'\n",
        more="limits: {timeout_s: 0.5, retries: 0}\n",
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "llmops", "eval", "suite.yaml"],
        cwd=project, env=clean_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no answer within 0.5 s" in done.stdout.replace("\n", " ")
    assert time.monotonic() - began < 30


def test_what_a_pipeline_prints_goes_to_stderr(llmops, project):
    suite(project, "print('NOISE')\ndef answer(question):\n    print('MORE')\n    return 'good'\n")
    done = llmops("eval", "suite.yaml", "--json")
    assert json.loads(done.stdout)["exit_code"] == 0
    assert "NOISE" in done.stderr
    assert "MORE" in done.stderr


def test_a_sync_pipeline_runs_in_threads_side_by_side(llmops, project):
    """Six calls that wait for each other can only end when they run at the same time."""
    suite(
        project,
        f"import threading\ntogether = threading.Barrier({CASES})\n"
        "def answer(question):\n    together.wait(timeout=20)\n    return 'good'\n",
    )
    assert llmops("eval", "suite.yaml").returncode == 0


def test_a_closed_pipe_keeps_the_exit_code(llmops, project):
    suite(project, "def answer(question): return 'good'\n")
    script = f"set -o pipefail; {sys.executable} -m llmops eval suite.yaml | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=project, env=clean_environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr
    assert "Traceback" not in done.stderr


def test_closed_standard_streams_are_no_reason_to_fail(project):
    suite(project, "def answer(question): return 'good'\n")
    script = f"{sys.executable} -m llmops eval suite.yaml >&-"
    done = subprocess.run(["bash", "-c", script], cwd=project, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_report_that_can_not_be_written_is_said_before_the_run(llmops, project):
    suite(project, "def answer(question): return 'good'\n")
    done = llmops("eval", "suite.yaml", "-o", "cases.jsonl/report.md")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (project / ".llmops").exists()


def test_changed_settings_are_kept_with_the_run_for_its_resume(llmops, project):
    suite(project, "def answer(question): return 'good'\n")
    (project / "prompts").mkdir()
    (project / "prompts" / "p.prompt.md").write_text("user:\nContext: {{ question }}\n\nQuestion: {{ question }}?\n")
    (project / "suite.yaml").write_text(
        "dataset: cases.jsonl\nvariants: {v: {prompt: p, backend: extractive}}\nmetrics: [contains]\n"
    )
    changed = ["--set", "metrics=[{length: words}]", "--only", "id:c1", "--only", "id:c2"]
    stopped = llmops("eval", "suite.yaml", *changed, "--max-requests", "1", "--set", "limits.concurrency=1")
    assert stopped.returncode == 3, stopped.stderr
    [hint] = [line for line in stopped.stderr.splitlines() if "finish it with" in line]
    command = hint.partition("finish it with  llmops ")[2].split()
    done = llmops(*command, "--json")
    assert done.returncode == 0, done.stderr
    [run] = json.loads(done.stdout)["runs"]
    assert run["run"]["status"] == "finished"
    assert run["run"]["cases"] == 2


def test_gates_of_a_stopped_run_are_not_passed(llmops, project):
    (project / "suite.yaml").write_text(
        "dataset: cases.jsonl\nvariants: {v: {python: pipe.py:answer, backend: extractive}}\n"
        'metrics: [{length: words}]\ngates: ["errors <= 5%"]\nlimits: {concurrency: 1}\n'
    )
    (project / "pipe.py").write_text(
        "async def answer(question, backend):\n    return (await backend.complete(question)).text\n"
    )
    done = llmops("eval", "suite.yaml", "--max-requests", "2", "--json")
    assert done.returncode == 3
    [gate] = json.loads(done.stdout)["runs"][0]["gates"]
    assert gate["outcome"] == "undecided"
    assert "2 of 6" in gate["detail"]
