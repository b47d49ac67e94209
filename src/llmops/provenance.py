"""What else may have decided a run's outcome: git, Python, libraries, the machine, the time."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops.process import this_process

LIBRARIES = (
    "llmops",
    "aiohttp",
    "jinja2",
    "langchain-core",
    "pydantic",
    "rapidfuzz",
    "rouge-score",
    "sacrebleu",
    "sqlmodel",
)


def environment(folder: Path) -> dict[str, Any]:
    """What else may have decided the outcome: git, Python, libraries, and which process it was."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from llmops.git import describe

    packages: dict[str, str] = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "git": dict(describe(folder)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "process": this_process(),
    }


def now() -> str:
    """This moment in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
