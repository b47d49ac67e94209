"""What git knows about a folder, by asking the `git` program. Never waits for a password, a lock or a pager."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from llmops.errors import InputError

TIMEOUT_S = 30.0
MAX_LINKS = 10
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


class GitTree:
    """A folder's files at a revision, read from git's objects: nothing is checked out, the index isn't touched.

    `folder` need not exist now. Works in linked work trees, submodules and bare repositories. Raises `InputError`
    when there is no git, no repository, or no such revision.
    """

    def __init__(self, folder: Path, revision: str) -> None:
        self.revision = revision
        self._at = _existing(folder.resolve())
        self.commit = _commit(revision, self._at)
        self.prefix = prefix(folder)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None when it isn't there at that revision. Links are followed inside the folder."""
        for _ in range(MAX_LINKS):
            entry = _git(self._at, "ls-tree", "-z", "--full-tree", self.commit, "--", self.prefix + name)
            mode, _, blob = entry.partition("\t")[0].partition(" ")
            kind, _, object_id = blob.partition(" ")
            if kind != "blob":
                return None
            data = _run(self._at, "cat-file", "blob", object_id)
            if mode != "120000":
                return data
            target = os.path.normpath(os.path.join(os.path.dirname(name), os.fsdecode(data)))  # noqa: PTH118, PTH120
            if target.startswith(("/", "..")):
                raise InputError(f"{self.revision}:{self.prefix}{name} is a link that leads outside the folder")
            name = target
        raise InputError(f"{self.revision}:{self.prefix}{name} is a link that leads to itself")

    def names(self, folder: str = "") -> list[str]:
        """Names of all files in a folder and below, from this tree's own folder."""
        place = (self.prefix + folder).rstrip("/")
        asked = ["--", place] if place else []
        listed = _git(self._at, "ls-tree", "-r", "-z", "--full-tree", "--name-only", self.commit, *asked)
        return [name[len(self.prefix) :] for name in listed.split("\0") if name.startswith(self.prefix) and name]


class Commit(TypedDict):
    """One commit: full id, author's name, author's date (ISO 8601), first line, and files it touched (added: A, …)."""

    commit: str
    author: str
    date: str
    subject: str
    files: dict[str, str]


def log(folder: Path, paths: Sequence[Path], *, follow: bool = False, limit: int | None = None) -> list[Commit]:
    """Commits that touched any of `paths` in the repository of `folder`, newest first.

    `follow` goes past renames, for one path. Paths of `files` start at the repository's top; a renamed file has its
    new name. Raises `InputError` when there is no git or no repository.
    """
    at = _existing(folder)
    asked = ["--follow"] if follow else []
    asked += [f"--max-count={limit}"] if limit is not None else []
    try:
        said = _git(
            at, "log", "-z", "--name-status", "--no-ext-diff", "--format=%x02%H%x00%an%x00%aI%x00%s%x00", *asked, "--",
            *map(str, paths),
        )  # fmt: skip
    except _GitError as problem:
        if "does not have any commits" in problem.message:
            return []
        raise
    return [_commit_of(entry) for entry in said.split("\x02")[1:]]


def _commit_of(entry: str) -> Commit:
    commit, author, date, subject, *rest = entry.split("\0")
    fields = [field.removeprefix("\n") for field in rest if field.strip("\n")]
    files: dict[str, str] = {}
    while fields:
        status = fields.pop(0)
        names = [fields.pop(0) for _ in range(2 if status[:1] in "RC" else 1) if fields]
        if names:
            files[names[-1]] = status[:1]
    return {"commit": commit, "author": author, "date": date, "subject": subject, "files": files}


def prefix(folder: Path) -> str:
    """A folder's place in its repository, ending in `/`; empty at the top."""
    real = folder.resolve()
    at = _existing(real)
    below = real.relative_to(at).as_posix()
    return _git(at, "rev-parse", "--show-prefix").strip("\n") + ("" if below == "." else below + "/")


def is_shallow(folder: Path) -> bool:
    """True when older commits were not fetched."""
    return _git(_existing(folder), "rev-parse", "--is-shallow-repository").strip() == "true"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def is_revision(text: str, folder: Path) -> bool:
    """True when git knows a commit by this name in the repository of `folder`; false without git or a repository."""
    try:
        _commit(text, _existing(folder))
    except InputError:
        return False
    return True


def author(folder: Path) -> str:
    """Who git would say made a commit here (GIT_AUTHOR_NAME, else `user.name`), or empty."""
    try:
        return _git(_existing(folder), "var", "GIT_AUTHOR_IDENT").partition(" <")[0].strip()
    except InputError:
        return ""


def _commit(ref: str, top: Path) -> str:
    if ref.strip() and "\0" not in ref:
        try:
            found = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", ref + "^{commit}")
            return found.strip()
        except _GitError:
            pass
    hint = "check `git branch -a` and `git tag`"
    if _git(top, "rev-parse", "--is-shallow-repository").strip() == "true":
        hint = f"this is a shallow clone: {_what_to_fetch(ref)}"
    raise InputError(f"git knows no revision {ref!r:.100}", hint=hint)


def _what_to_fetch(ref: str) -> str:
    """The smallest fetch that brings a revision into a shallow clone."""
    base, steps = ref, 0
    while found := _STEP.search(base):
        steps += 1 if found[0] == "^" else int(found[1] or 1) if found[0].startswith("~") else 1
        base = base[: found.start()]
    if steps:
        return f"it needs {steps + 1} commits (git fetch --depth={steps + 1}, or fetch-depth: {steps + 1} in CI)"
    if re.fullmatch(r"[0-9a-f]{7,64}", base):
        return f"git fetch --depth=1 origin {base} brings that commit, or fetch-depth: 0 in CI all of them"
    if base.startswith("origin/"):
        branch = base.removeprefix("origin/")
        return f"git fetch --depth=1 origin {branch}:refs/remotes/origin/{branch} brings that branch at depth 1"
    return "git fetch --unshallow --tags, or fetch-depth: 0 in CI, brings the whole history"


class _GitError(InputError):
    """git ran, and failed."""


def _git(folder: Path, *arguments: str) -> str:
    return os.fsdecode(_run(folder, *arguments))


def _run(folder: Path, *arguments: str) -> bytes:
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
    return done.stdout


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
