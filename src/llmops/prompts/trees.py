"""Where a prompt's files are read from: the work tree, or a revision of the git repository it is in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Protocol

from llmops.errors import InputError, PromptError
from llmops.prompts.git_tree import GitTree
from llmops.prompts.parsing import MAX_SOURCE_BYTES, SUFFIX

RELEASES = "releases"


class Tree(Protocol):
    """Files by their name from the prompts folder, with `/` between folders."""

    def read(self, name: str, *, where: str = "", limit: int = MAX_SOURCE_BYTES) -> bytes | None:
        """A file's bytes, or None when there is none; at most one more than `limit`.

        Raises `PromptError` when it can't be read, lies outside the folder, or in git is larger than that.
        """
        ...

    def files(self, folder: str = "") -> Iterator[str]:
        """Names of all files in a folder and below, but for hidden ones and, unless asked for, releases."""
        ...

    def shown(self, name: str) -> str:
        """A file's name as errors show it."""
        ...

    def path(self, name: str) -> Path | None:
        """The file's path, where there is one."""
        ...


class WorkTree:
    """A folder on disk. With `keep`, for one pass over many prompts, what they include is read once."""

    def __init__(self, root: Path, *, keep: bool = False) -> None:
        self.root = root.absolute()
        self._kept: dict[str, bytes | None] | None = {} if keep else None
        self._top = os.path.join(os.fspath(self.root), "")  # noqa: PTH118
        self._inside: dict[str, bool] = {}

    def read(self, name: str, *, where: str = "", limit: int = MAX_SOURCE_BYTES) -> bytes | None:
        if self._kept is None or name.endswith(SUFFIX):
            return self._read(name, where, limit)
        if name not in self._kept:
            self._kept[name] = self._read(name, where, limit)
        return self._kept[name]

    def _read(self, name: str, where: str, limit: int) -> bytes | None:
        path = f"{self._top}{name}"
        try:
            kind = os.lstat(path).st_mode
            if not stat.S_ISREG(kind) and not (stat.S_ISLNK(kind) and os.path.isfile(path)):  # noqa: PTH113
                return None
        except (OSError, ValueError):
            return None
        if not self._is_inside(path, stat.S_ISLNK(kind)):
            raise PromptError(f"{name!r:.80} leads outside the prompts folder", where=where)
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (Path objects cost as much as the reading)
                return _whole(file, limit + 1)
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", "") or problem
            raise PromptError(f"can't be read: {reason}", where=f"{self.shown(name)}:1") from None

    def _is_inside(self, path: str, link: bool) -> bool:
        """As `is_inside`; a folder is looked at once."""
        if link:
            return is_inside(Path(path), self.root)
        folder = path.rpartition("/")[0]
        if folder not in self._inside:
            self._inside[folder] = is_inside(Path(path).parent, self.root)
        return self._inside[folder]

    def files(self, folder: str = "") -> Iterator[str]:
        top = os.fspath(self.root / folder)
        cut = len(os.fspath(self.root)) + 1
        for place, folders, names in os.walk(top):
            below = place[cut:].replace(os.sep, "/") + "/" if len(place) > cut else ""
            folders[:] = [name for name in folders if name[0] != "." and below + name != RELEASES]
            yield from (below + name for name in names if name[0] != ".")

    def shown(self, name: str) -> str:
        return f"{self._shown_root}{name}"

    @cached_property
    def _shown_root(self) -> str:
        here = Path.cwd()
        if self.root == here:
            return ""
        if here == Path(here.anchor):  # a server started at the top: a path without its first / would mislead
            return f"{self.root}{os.sep}"
        return f"{self.root.relative_to(here) if self.root.is_relative_to(here) else self.root}{os.sep}"

    def path(self, name: str) -> Path | None:
        return self.root / name


class RevisionTree:
    """The same folder at a git revision, read from git's objects; the work tree isn't touched."""

    def __init__(self, root: Path, revision: str) -> None:
        self.root = root.absolute()
        self.git = GitTree(self.root, revision)

    def read(self, name: str, *, where: str = "", limit: int = MAX_SOURCE_BYTES) -> bytes | None:
        try:
            return self.git.read(name, limit)
        except InputError as problem:
            raise PromptError(problem.message, where=where, hint=problem.hint) from None

    def files(self, folder: str = "") -> Iterator[str]:
        hidden = (RELEASES + "/", ".") if not folder else (".",)
        for name in self.git.names(folder):
            if not name.startswith(hidden) and "/." not in name:
                yield name

    def shown(self, name: str) -> str:
        return f"{self.git.revision}:{self.git.prefix}{name}"

    def path(self, name: str) -> Path | None:
        return None


def _whole(file: FileIO, limit: int) -> bytes:
    """Up to `limit` bytes; one call may give fewer than are there."""
    data = file.read(limit) or b""
    while len(data) < limit and (more := file.read(limit - len(data))):
        data += more
    return data


def working_names(tree: Tree) -> list[str]:
    """Names of all working prompts, sorted; releases and hidden folders are not among them."""
    return sorted(name.removesuffix(SUFFIX) for name in tree.files() if name.endswith(SUFFIX))


def is_file(path: Path) -> bool:
    """True for a regular file; false for names no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_inside(path: Path, root: Path) -> bool:
    """True when `path` is in `root` once symbolic links are followed."""
    try:
        inside, top = os.path.realpath(path), os.path.realpath(root)
        return inside == top or inside.startswith(os.path.join(top, ""))  # noqa: PTH118
    except (OSError, RuntimeError, ValueError):
        return False
