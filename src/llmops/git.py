"""What git knows about a folder, by asking the `git` program. Never waits for a password, a lock or a pager."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TypedDict

from llmops.errors import InputError

TIMEOUT_S = 30.0


class Revision(TypedDict):
    """The commit checked out (40 or 64 hex digits), whether tracked files differ from it, and the branch."""

    commit: str | None
    dirty: bool | None
    branch: str | None


def describe(folder: Path) -> Revision:
    """The revision `folder` is at. Everything is None without git, a repository or a first commit; never raises.

    Untracked files don't make it dirty. `branch` is None when no branch is checked out.
    """
    found: Revision = {"commit": None, "dirty": None, "branch": None}
    try:
        status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "-z")
    except InputError:
        return found
    entries = [line for line in status.split("\0") if line]
    head = dict(line[2:].split(" ", 1) for line in entries if line.startswith("# ") and " " in line[2:])
    if head.get("branch.oid", "(initial)") != "(initial)":
        found["commit"] = head["branch.oid"]
        found["dirty"] = any(not line.startswith("# ") for line in entries)
    if head.get("branch.head", "(detached)") != "(detached)":
        found["branch"] = head["branch.head"]
    return found


def changed_files(ref: str, folder: Path) -> set[Path]:
    """Absolute paths of files that differ between `ref` and the work tree of `folder`'s repository.

    Counts committed, staged and unsaved changes, untracked files that aren't ignored, and both names of a renamed
    file. Raises `InputError` when there is no git, no repository or no such revision.
    """
    top = Path(_git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
    commit = _commit(ref, top)
    changed = _git(top, "diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", commit, "--")
    untracked = _git(top, "ls-files", "--others", "--exclude-standard", "-z")
    return {top / name for name in (*changed.split("\0"), *untracked.split("\0")) if name}


def _commit(ref: str, top: Path) -> str:
    if ref.strip() and "\0" not in ref:
        try:
            found = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", ref + "^{commit}")
            return found.strip()
        except _GitError:
            pass
    hint = "check `git branch -a` and `git tag`"
    if _git(top, "rev-parse", "--is-shallow-repository").strip() == "true":
        hint = "this is a shallow clone: fetch the history first (git fetch --unshallow, or fetch-depth: 0 in CI)"
    raise InputError(f"git knows no revision {ref!r:.100}", hint=hint)


class _GitError(InputError):
    """git ran, and failed."""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-pager", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        if not folder.is_dir():
            raise InputError(f"no folder {folder}") from None
        raise InputError("the program git isn't installed") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git {arguments[0]} took more than {TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as problem:
        raise InputError(f"git can't be run in {folder}: {problem}") from None
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().split("\n")[0].removeprefix("fatal: ")
        if "not a git repository" in said:
            raise InputError(f"{folder} is not in a git repository")
        raise _GitError(f"git {arguments[0]} failed: {said or f'exit code {done.returncode}'}")
    return os.fsdecode(done.stdout)


def _environment() -> dict[str, str]:
    """Ours without the variables by which a git hook would point git at another repository."""
    kept = {k: v for k, v in os.environ.items() if k not in _REDIRECTS}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


_REDIRECTS = frozenset(
    (
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
    )
)
