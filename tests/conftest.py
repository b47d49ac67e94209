"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("call_behaviours", "store_behaviours")

# How long one example takes says how busy the machine is, so no example has a deadline. What has to be fast is measured
# in processor time, by tests of its own.
settings.register_profile("patient", deadline=None, print_blob=True)
settings.load_profile("patient")

# Examples that differ at every run find more, and belong on a developer's machine; where a change is judged, they are
# the same for the same test: `pytest --hypothesis-profile=same`.
settings.register_profile("same", settings.get_profile("patient"), derandomize=True)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the repository; tests that need it skip without it."""
    for folder in ROOT.parents:
        found = folder / "shared" / "data"
        if found.is_dir():
            return found
    pytest.skip("no shared/data beside the repository")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that changes what llmops does or prints."""
    drop = ("LLMOPS_", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "OPENAI_", "PYTEST_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    return {**kept, "PYTHONWARNINGS": "error::ResourceWarning", **more}


@pytest.fixture
def llmops(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own: `llmops("eval", "suite.yaml", cwd=…)`."""

    def run(*arguments: str | Path, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmops", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd or tmp_path, env=clean_environment(**more), capture_output=True, text=True, timeout=120
        )

    return run
