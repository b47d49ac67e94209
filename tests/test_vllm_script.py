"""`scripts/vllm-cpu` where nothing is installed or can be; what it installs is proved by `test_vllm.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import clean_environment


def script(root: Path, folder: Path, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, with Python to run before it."""
    path = root / "scripts" / "vllm-cpu"
    code = f"import runpy, sys; sys.argv = {[str(path), *words, '--folder', str(folder)]!r}; {before}\n"
    code += f"runpy.run_path({str(path)!r}, run_name='__main__')"
    command = [sys.executable, "-B", "-c", code]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)


def test_env_says_how_to_start_a_server(root: Path, tmp_path: Path) -> None:
    done = script(root, tmp_path, "env", "--port", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "scripts/vllm-cpu serve --background" in done.stderr


def test_stop_without_a_server_is_done(root: Path, tmp_path: Path) -> None:
    assert script(root, tmp_path, "stop").returncode == 0


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ("import platform; platform.machine = lambda: 'sparc'", "sparc"),
        ("sys.version_info = (3, 9, 1)", "needs Python 3.11"),
        ("import shutil; shutil.disk_usage = lambda _: shutil._ntuple_diskusage(1, 1, 0)", "disk"),
    ],
)
def test_a_machine_that_cannot_have_it_is_told_apart_from_a_failure(
    root: Path, tmp_path: Path, machine: str, says: str
) -> None:
    done = script(root, tmp_path, "serve", before=machine)
    assert done.returncode == 3, done.stderr
    assert says in done.stderr
    assert not (tmp_path / "venv").exists()
