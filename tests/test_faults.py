"""Servers that misbehave, processes that are killed, disks that fill up, stores that are locked."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from conftest import clean_environment
from stub_server import Reply, StubServer

CASES = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "llmops.yaml").write_text("prompts: prompts\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.prompt.md").write_text("user:\n{{ question }}\n")
    rows = ({"id": f"c{i}", "question": f"question {i}", "expected": "ok"} for i in range(CASES))
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def suite(project: Path, server: StubServer, *, concurrency: int = 8, more: str = "", **options: object) -> Path:
    backend = json.dumps({"openai_http": {"base_url": server.url, "model": "m", **options}})
    path = project / "suite.yaml"
    path.write_text(
        f"dataset: cases.jsonl\nvariants:\n  served: {{prompt: ask, backend: {backend}}}\nmetrics: [contains]\n"
        f"limits: {{concurrency: {concurrency}, retries: 6}}\n{more}"
    )
    return path


def stored(project: Path) -> list[tuple[str, str | None]]:
    """Case ids and error kinds in the only run of the project's store."""
    with closing(sqlite3.connect(project / ".llmops" / "llmops.db")) as db:
        return db.execute("SELECT case_id, error_kind FROM outputs").fetchall()


def question(body) -> str:
    return body["messages"][0]["content"]


def test_429_with_retry_after_is_waited_for_and_concurrency_falls(llmops, project):
    def decide(body, number):
        return Reply(status=429, headers={"Retry-After": "1"}) if number < 8 else Reply()

    with StubServer(decide) as server:
        suite(project, server)
        done = llmops("eval", "suite.yaml")
        assert done.returncode == 0, done.stderr
        assert Counter(question(body) for body in server.bodies).most_common(1)[0][1] == 2
    assert sorted(kind for _, kind in stored(project) if kind) == []
    assert len(stored(project)) == CASES


@pytest.mark.parametrize(
    ("broken", "options"),
    [
        (Reply(status=500, body="oops"), {}),
        (Reply(status=503), {}),
        (Reply(body="<html>not json</html>"), {}),
        (Reply(body={"unexpected": True}), {}),
        (Reply(ending="cut"), {}),
        (Reply(ending="close"), {}),
        (Reply(pieces=["half ", "an ", "answer"], ending="cut", after_pieces=1), {"stream": True}),
        (Reply(ending="hang"), {"read_timeout_s": 1}),
    ],
    ids=["500", "503", "garbage", "wrong-shape", "cut", "closed", "half-a-stream", "silence"],
)
def test_passing_trouble_is_retried_until_every_case_has_its_answer(llmops, project, broken, options):
    failed: set[str] = set()

    def decide(body, number):
        if question(body) in failed or number % 6:
            return Reply()
        failed.add(question(body))
        return broken

    with StubServer(decide) as server:
        suite(project, server, **options)
        done = llmops("eval", "suite.yaml")
        assert done.returncode == 0, done.stderr
        least = CASES + len(failed)  # on a busy machine other answers may take as long as one that never comes
        assert server.count >= least if "read_timeout_s" in options else server.count == least
    assert Counter(stored(project)) == Counter((f"c{i}", None) for i in range(CASES))


def test_a_rejected_request_is_one_failed_case_and_is_not_repeated(llmops, project):
    def decide(body, number):
        return Reply(status=400, body={"error": {"message": "too long"}}) if question(body) == "question 7" else Reply()

    with StubServer(decide) as server:
        suite(project, server, more='gates: ["errors <= 5%"]\n')
        done = llmops("eval", "suite.yaml", "--json")
        assert done.returncode == 0, done.stderr
        assert server.count == CASES
    assert [row for row in stored(project) if row[1]] == [("c7", "request_rejected")]


def test_a_server_that_is_not_there_fails_the_run_with_exit_4(llmops, project):
    with StubServer() as server:
        suite(project, server)
    done = llmops("eval", "suite.yaml", "--set", "limits.retries=0")
    assert done.returncode == 4
    assert "100% of the cases failed" in done.stderr


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "llmops", "eval", "suite.yaml", *arguments]
    return subprocess.Popen(
        command, cwd=project, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_kill_9_at_random_points_loses_nothing_and_repeats_nothing(project):
    """Thirty kills of one run: at the end every case is there once, and nothing that was finished was asked again."""
    cases = 400
    saved: set[str] = set()
    repeated: list[str] = []
    victim: list[subprocess.Popen[str]] = []
    rng = random.Random(7)
    left = [0]

    def decide(body, number):
        if question(body) in saved:
            repeated.append(question(body))
        left[0] -= 1
        if left[0] == 0 and victim:
            victim[0].send_signal(signal.SIGKILL)  # while this request, and others, are in flight
            victim.clear()
            return Reply(ending="close")
        return Reply(latency_s=rng.uniform(0, 0.02))

    rows = ({"id": f"c{i}", "question": f"question {i}", "expected": "ok"} for i in range(cases))
    (project / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with StubServer(decide) as server:
        suite(project, server, concurrency=4)
        for kill in range(30):
            left[0] = rng.randint(1, 24)
            process = start(project, *(["--resume"] if kill else []), "--quiet")
            victim.append(process)
            _, complaint = process.communicate(timeout=60)
            assert process.returncode == -signal.SIGKILL, complaint
            saved.update(f"question {case_id[1:]}" for case_id, _ in stored(project))
        left[0] = -1
        process = start(project, "--resume", "--quiet")
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
        assert server.count < cases + 30 * 8  # what was in flight, four at a time, and a little that was on its way
    assert Counter(stored(project)) == Counter((f"c{i}", None) for i in range(cases))
    assert repeated == []


def test_ctrl_c_saves_what_was_done_and_resume_finishes(project):
    asked: list[str] = []
    resumed: list[bool] = []
    victim: list[subprocess.Popen[str]] = []

    def decide(body, number):
        asked.append(question(body))
        if number == 20:
            victim[0].send_signal(signal.SIGINT)
        return Reply(ending="hang") if number >= 20 and not resumed else Reply()

    with StubServer(decide) as server:
        suite(project, server)
        victim.append(start(project))
        _, complaint = victim[0].communicate(timeout=60)
        assert victim[0].returncode == 130, complaint
        assert "--resume" in complaint
        assert "Traceback" not in complaint
        done = len(stored(project))
        assert done >= 10
        resumed.append(True)
        process = start(project, "--resume")
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    assert Counter(stored(project)) == Counter((f"c{i}", None) for i in range(CASES))
    assert len(asked) <= CASES + 8


def test_two_evaluations_at_once_on_one_store(project):
    with StubServer(default=Reply(latency_s=0.01)) as server:
        suite(project, server)
        processes = [start(project, "--no-cache", "--quiet") for _ in range(2)]
        for process in processes:
            _, complaint = process.communicate(timeout=60)
            assert process.returncode == 0, complaint
    assert Counter(case for case, _ in stored(project)) == Counter({f"c{i}": 2 for i in range(CASES)})


def test_a_locked_store_is_waited_for_then_named(llmops, project):
    with StubServer() as server:
        suite(project, server)
        assert llmops("eval", "suite.yaml").returncode == 0
        database = project / ".llmops" / "llmops.db"
        with closing(sqlite3.connect(database, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            done = llmops("eval", "suite.yaml", LLMOPS_STORE_TIMEOUT_S="0.3")
            assert done.returncode == 4
            assert "llmops.db" in done.stderr
            assert "locked" in done.stderr
            assert "Traceback" not in done.stderr
            holder.execute("ROLLBACK")
        assert llmops("eval", "suite.yaml").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_disk_is_one_line_and_what_was_done_is_intact(llmops, project, tmp_path_factory):
    small = tmp_path_factory.mktemp("small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("mounting isn't allowed here")
    try:
        with StubServer(default=Reply(text="x" * 60_000)) as server:
            suite(project, server, concurrency=2)
            done = llmops("eval", "suite.yaml", "--no-cache", "--store", small / "runs.db")
        assert done.returncode == 4, done.stderr
        assert "full" in done.stderr and "try again with llmops eval --resume" in done.stderr
        assert "Traceback" not in done.stderr
        with closing(sqlite3.connect(f"file:{small / 'runs.db'}?mode=ro", uri=True)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*) FROM outputs").fetchone()[0] >= 1
    finally:
        subprocess.run(["umount", "-l", small], check=True)
