"""Where a prompt's files are read from: the work tree, or a revision of the git repository it is in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from llmops.errors import InputError, PromptError
from llmops.git import GitTree
from llmops.prompts.parsing import MAX_SOURCE_BYTES, SUFFIX

RELEASES = "releases"


class Tree(Protocol):
    """Files by their name from the prompts folder, with `/` between folders."""

    def read(self, name: str, *, where: str = "") -> bytes | None:
        """A file's bytes, or None when there is none; at most one more than the largest source.

        Raises `PromptError` when it can't be read or lies outside the folder.
        """
        ...

    def files(self, folder: str = "") -> Iterator[str]:
        """Names of all files in a folder and below."""
        ...

    def shown(self, name: str) -> str:
        """A file's name as errors show it."""
        ...

    def path(self, name: str) -> Path | None:
        """The file's path, where there is one."""
        ...


class WorkTree:
    """A folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def read(self, name: str, *, where: str = "") -> bytes | None:
        path = self.root / name
        if not is_file(path):
            return None
        if not is_inside(path, self.root):
            raise PromptError(f"{name!r:.80} leads outside the prompts folder", where=where)
        try:
            with path.open("rb") as file:
                return file.read(MAX_SOURCE_BYTES + 1)
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", "") or problem
            raise PromptError(f"can't be read: {reason}", where=f"{self.shown(name)}:1") from None

    def files(self, folder: str = "") -> Iterator[str]:
        top = self.root / folder if folder else self.root
        for path in top.rglob("*"):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    def shown(self, name: str) -> str:
        path, here = self.root / name, Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def path(self, name: str) -> Path | None:
        return self.root / name


class RevisionTree:
    """The same folder at a git revision, read from git's objects; the work tree isn't touched."""

    def __init__(self, root: Path, revision: str) -> None:
        self.root = root.absolute()
        self.git = GitTree(self.root, revision)

    def read(self, name: str, *, where: str = "") -> bytes | None:
        try:
            return self.git.read(name)
        except InputError as problem:
            raise PromptError(problem.message, where=where, hint=problem.hint) from None

    def files(self, folder: str = "") -> Iterator[str]:
        yield from self.git.names(folder)

    def shown(self, name: str) -> str:
        return f"{self.git.revision}:{self.git.prefix}{name}"

    def path(self, name: str) -> Path | None:
        return None


def working_names(tree: Tree) -> list[str]:
    """Names of all working prompts, sorted; releases and hidden folders are not among them."""
    found = (name.removesuffix(SUFFIX) for name in tree.files() if name.endswith(SUFFIX))
    return sorted(name for name in found if not name.startswith((RELEASES + "/", ".")) and "/." not in name)


def is_file(path: Path) -> bool:
    """True for a regular file; false for names no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_inside(path: Path, root: Path) -> bool:
    """True when `path` is in `root` once symbolic links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return False
