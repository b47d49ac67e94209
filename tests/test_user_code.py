"""Users' pipelines and metrics that misbehave: a case fails, and nothing else."""

from __future__ import annotations

import json
import signal
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
        more="limits: {timeout_s: 3, retries: 0}\n",
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "llmops", "eval", "suite.yaml"],
        cwd=project, env=clean_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no answer within 3 s" in done.stdout.replace("\n", " ")
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


def test_a_sync_wrapper_around_an_async_pipeline_gets_its_backend(llmops, project):
    suite(
        project,
        "import functools\ndef traced(f):\n    @functools.wraps(f)\n    def inner(*a, **k):\n"
        "        return f(*a, **k)\n    return inner\n@traced\nasync def answer(question, backend):\n"
        "    return 'good' + (await backend.complete(question)).text\n",
    )
    assert llmops("eval", "suite.yaml").returncode == 0


def test_a_pipeline_that_swallows_everything_can_not_outlive_ctrl_c(project):
    suite(
        project,
        "import asyncio, os, signal\nasync def answer(question):\n    try:\n        if question == 'q1':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n        await asyncio.sleep(0 if question == 'q0' else 30)\n"
        "    except BaseException:\n        pass\n    return 'good'\n",
        more="limits: {concurrency: 2}\n",
    )
    done = subprocess.run(
        [sys.executable, "-m", "llmops", "eval", "suite.yaml"],
        cwd=project, env=clean_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "1/6 answers" in done.stderr


def test_ctrl_c_is_heard_while_user_code_blocks_the_loop(project):
    suite(
        project,
        "def answer(question): return 'good'\n",
        metrics="[{python: metric.py:stuck}]",
    )
    (project / "metric.py").write_text(
        "import os, signal, threading, time\ndef stuck(sample):\n    pid = os.getpid()\n"
        "    threading.Timer(0.2, os.kill, (pid, signal.SIGINT)).start()\n"
        "    threading.Timer(0.4, os.kill, (pid, signal.SIGINT)).start()\n    time.sleep(600)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "llmops", "eval", "suite.yaml"],
        cwd=project, env=clean_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 130


def test_a_metric_that_raises_cancelled_error_is_unscored(llmops, project):
    suite(project, "def answer(question): return 'good'\n", metrics="[contains, {python: metric.py:odd}]")
    (project / "metric.py").write_text("import asyncio\ndef odd(sample):\n    raise asyncio.CancelledError()\n")
    done = llmops("eval", "suite.yaml")
    assert done.returncode == 0, done.stderr
    assert "CancelledError" in done.stdout


def test_a_gate_on_errors_of_one_variant_says_nothing_of_another(llmops, project):
    suite(project, "def answer(question): return 'good'\ndef broken(question): raise ValueError(question)\n")
    text = (project / "suite.yaml").read_text().replace("answer}}", "answer}, w: {python: pipe.py:broken}}")
    for gate in ("errors <= 20% for variant:v", "errors <= 100% for tag:none"):
        (project / "suite.yaml").write_text(text.replace("errors <= 20%", gate))
        assert llmops("eval", "suite.yaml").returncode == 4, gate
    (project / "suite.yaml").write_text(text.replace("errors <= 20%", "errors <= 100%"))
    assert llmops("eval", "suite.yaml").returncode == 0


def test_a_users_metric_may_be_called_like_a_measure(llmops, project):
    suite(project, "def answer(question): return 'good'\n", metrics="[{python: metric.py:latency_per_token}]")
    (project / "metric.py").write_text("def latency_per_token(sample):\n    return 0.5\n")
    text = (project / "suite.yaml").read_text()
    (project / "suite.yaml").write_text(text.replace("errors <= 20%", "latency_per_token >= 0.5"))
    assert llmops("eval", "suite.yaml").returncode == 0


def test_an_edited_pipeline_is_loaded_anew_in_one_process(project):
    from llmops import evaluate

    for word in ("one", "two"):
        (project / "edited.py").write_text(f"def answer(question): return {word!r}\n")
        run = evaluate(
            dataset=[{"id": "1", "question": "q", "expected": word}],
            variants={"v": {"python": str(project / "edited.py") + ":answer"}},
            metrics=["exact_match"],
            store=project / "runs.db",
        )
        assert run.mean("v", "exact_match") == 1.0


def test_what_was_scored_again_is_not_resumed(llmops, project):
    (project / "suite.yaml").write_text(
        "dataset: cases.jsonl\nvariants: {v: {python: pipe.py:answer}}\nmetrics: [{length: words}]\n"
        "limits: {concurrency: 1}\n"
    )
    (project / "pipe.py").write_text(
        "async def answer(question, backend):\n    return (await backend.complete(question)).text\n"
    )
    assert llmops("eval", "suite.yaml", "--max-requests", "2").returncode == 3
    assert llmops("score", "latest", "--suite", "suite.yaml").returncode == 3
    refused = llmops("eval", "suite.yaml", "--resume", "--run", "latest")
    assert refused.returncode == 2
    assert "scored again" in refused.stderr
    done = llmops("eval", "suite.yaml", "--resume", "--json")  # the one before it
    assert done.returncode == 0, done.stderr
    assert llmops("eval", "suite.yaml", "--resume", "--only", "id:c1").returncode == 2


def test_sync_metrics_run_in_threads_side_by_side_and_keep_their_attribution(llmops, project):
    """Six that wait for each other can only end when they run at the same time."""
    suite(project, "def answer(question): return 'good'\n", metrics="[{python: metric.py:waits}]")
    (project / "metric.py").write_text(
        f"import threading\nfrom llmops.attribution import ATTRIBUTION\ntogether = threading.Barrier({CASES})\n"
        "def waits(sample):\n    together.wait(timeout=20)\n    return ATTRIBUTION.get().purpose == 'judge'\n"
    )
    done = llmops("eval", "suite.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "1.000" in llmops("report").stdout


def test_a_metric_that_never_returns_does_not_hold_the_exit(project):
    suite(project, "def answer(question): return 'good'\n", metrics="[{python: metric.py:sleeps}]")
    (project / "metric.py").write_text(
        "import time\ndef sleeps(sample):\n    print('ASLEEP', flush=True)\n    time.sleep(600)\n"
    )
    words = [sys.executable, "-m", "llmops", "eval", "suite.yaml"]
    with subprocess.Popen(words, cwd=project, env=clean_environment(), stderr=subprocess.PIPE, text=True) as run:
        while "ASLEEP" not in run.stderr.readline():
            pass
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=30)
    assert run.returncode == 130
