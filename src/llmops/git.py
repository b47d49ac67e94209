"""What git knows about a folder, by asking the `git` program. Never waits for a password, a lock or a pager."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TypedDict

from llmops.errors import InputError

TIMEOUT_S = 30.0
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_STEP = re.compile(r"(?:~([0-9]*)|\^[0-9]*)$")


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
        status = text(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "-z")
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
    top = Path(text(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
    commit = commit_id(ref, top)
    changed = text(top, "diff", "--name-only", "-O/dev/null", "--no-renames", "--no-ext-diff", "-z", commit, "--")
    untracked = text(top, "ls-files", "--others", "--exclude-standard", "-z")
    return {top / name for name in (*changed.split("\0"), *untracked.split("\0")) if name}


def prefix(folder: Path) -> str:
    """A folder's place in its repository, ending in `/`; empty at the top."""
    real = folder.resolve()
    at = existing(real)
    below = real.relative_to(at).as_posix()
    return text(at, "rev-parse", "--show-prefix").removesuffix("\n") + ("" if below == "." else below + "/")


def is_shallow(folder: Path) -> bool:
    """True when older commits were not fetched."""
    return text(existing(folder), "rev-parse", "--is-shallow-repository").strip() == "true"


def existing(folder: Path) -> Path:
    """The folder itself, or the nearest one around it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def exactly(name: str) -> str:
    """A name from the repository's top as git's commands take one, with nothing in it that stands for other names."""
    return f":(top,literal){name}"


def has_commit(folder: Path) -> bool:
    """False when what is checked out has no commit yet. Raises `InputError` without git or a repository."""
    try:
        text(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    except _GitError:
        return False
    return True


def is_revision(text: str, folder: Path) -> bool:
    """True when git knows a commit by this name in the repository of `folder`; false without git or a repository."""
    try:
        commit_id(text, existing(folder))
    except InputError:
        return False
    return True


def author(folder: Path) -> str:
    """Who git would say made a commit here (GIT_AUTHOR_NAME, else `user.name`), or empty."""
    try:
        return text(existing(folder), "var", "GIT_AUTHOR_IDENT").partition(" <")[0].strip()
    except InputError:
        return ""


def commit_id(ref: str, folder: Path) -> str:
    """The full id of the commit that a revision names in the repository of `folder`, which has to exist.

    Raises `InputError` that says what would bring it here.
    """
    if ref.strip() and "\0" not in ref and not ref.startswith("-"):
        try:
            found = text(folder, "rev-parse", "--verify", "--quiet", ref + "^{commit}").strip()
            if _COMMIT_ID.fullmatch(found):
                return found
        except _GitError:
            pass
    raise InputError(f"git knows no revision {ref!r:.100}", hint=_what_to_do(ref, folder))


def _what_to_do(ref: str, folder: Path) -> str:
    if not text(folder, "for-each-ref", "--count=1"):
        return "this repository has no commits yet"
    if is_shallow(folder):
        return f"this is a shallow clone: {_what_to_fetch(ref, folder)}"
    if text(folder, "rev-parse", "--show-superproject-working-tree").strip():
        return "this is a submodule: name one of its own revisions"
    if re.fullmatch(r"[0-9a-f]{7,64}", ref):
        return f"git fetch origin {ref} brings it, unless it was squashed or rebased away"
    return "check `git branch -a` and `git tag`"


def _what_to_fetch(ref: str, folder: Path) -> str:
    """The smallest fetch that brings a revision into a shallow clone."""
    base, steps = ref, 0
    while found := _STEP.search(base):
        steps += 1 if found[0] == "^" else int(found[1] or 1) if found[0].startswith("~") else 1
        base = base[: found.start()]
    depth = steps + 1
    if steps and is_revision(base, folder):
        return f"it needs {depth} commits (git fetch --depth={depth}, or fetch-depth: {depth} in CI)"
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", base):
        return f"git fetch --depth={depth} origin {base} brings that commit, or fetch-depth: 0 in CI all of them"
    if base.startswith("origin/"):
        branch = base.removeprefix("origin/")
        return f"git fetch --depth={depth} origin {branch}:refs/remotes/{base} brings that branch at depth {depth}"
    if re.fullmatch(r"[0-9a-f]{7,64}", base):
        return "git fetch --unshallow, or fetch-depth: 0 in CI, brings the whole history"
    if re.fullmatch(r"[\w.][\w./+-]*", base):
        return (
            f"git fetch --depth={depth} origin tag {base} brings a tag, and git fetch --depth={depth} origin "
            f"{base}:refs/remotes/origin/{base} a branch, as origin/{base}"
        )
    return "git fetch --unshallow --tags, or fetch-depth: 0 in CI, brings the whole history"


class _GitError(InputError):
    """git ran, and failed."""


def text(folder: Path, *arguments: str) -> str:
    """What git prints, as text. Raises as `run` does."""
    return os.fsdecode(run(folder, *arguments))


def run(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What git prints when it is run in `folder` and `given` this on stdin.

    Raises `InputError` when there is no git, no repository, or when git fails.
    """
    command = ["git", *_SETTINGS, "--no-pager", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(),
            input=given,
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
        if "dubious ownership" in said:
            place = said.partition("'")[2].rpartition("'")[0]
            hint = f"git config --global --add safe.directory {place}"
            raise InputError(f"the repository {place} is another user's, so git doesn't read it", hint=hint)
        raise _GitError(f"git {arguments[0]} failed: {said or f'exit code {done.returncode}'}")
    return done.stdout


_SETTINGS = tuple(
    part
    for setting in (
        "core.fsmonitor=false",
        "core.quotePath=false",
        "diff.relative=false",
        "log.showRoot=true",
        "log.showSignature=false",
    )
    for part in ("-c", setting)
)
"""What somebody's configuration must not change in what is asked of git."""


def _environment() -> dict[str, str]:
    """Ours without the variables by which a git hook would point git at another repository."""
    kept = {k: v for k, v in os.environ.items() if k not in _REDIRECTS}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


_REDIRECTS = frozenset(
    (
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_ATTR_SOURCE",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_GLOB_PATHSPECS",
        "GIT_GRAFT_FILE",
        "GIT_ICASE_PATHSPECS",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    )
)
