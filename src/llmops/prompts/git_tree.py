"""A folder at a git revision, read from git's objects: nothing is checked out, the index isn't touched."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from llmops import git
from llmops.errors import InputError

MAX_LINKS = 10
_LINK = "120000"
_SUBMODULE = "160000"


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    kind: str
    object_id: str
    size: int


class GitTree:
    """A folder's files at a revision.

    `folder` need not exist now. Works in linked work trees, submodules and bare repositories. Raises `InputError`
    when there is no git, no repository, or no such revision.
    """

    def __init__(self, folder: Path, revision: str) -> None:
        self.revision = revision
        self._at = git.existing(folder.resolve())
        self.commit = git.commit_id(revision, self._at)
        self.prefix = git.prefix(folder)

    def read(self, name: str, limit: int) -> bytes | None:
        """A file's bytes; None when it isn't there at that revision. Links are followed inside the folder.

        Raises `InputError` for more than `limit` bytes, for a link that leads nowhere good, and for a file that is
        in a submodule.
        """
        for _ in range(MAX_LINKS):
            if not name or posixpath.normpath(name) != name or name.startswith(("/", "../")):
                return None
            entry = self._entry(self.prefix + name)
            if entry is None:
                through = self._through_link(name)
                if through is None:
                    return None
                name = through
            elif entry.kind != "blob":
                return None
            elif entry.mode == _LINK:
                name = self._target(name, entry)
            elif entry.size > limit:
                raise InputError(f"{self.revision}:{self.prefix}{name} is larger than {limit:,} bytes")
            else:
                return git.run(self._at, "cat-file", "blob", entry.object_id)
        raise InputError(f"{self.revision}:{self.prefix}{name} is a link that leads to itself")

    def names(self, folder: str = "") -> list[str]:
        """Names of all files in a folder and below, from this tree's own folder."""
        place = (self.prefix + folder).rstrip("/")
        asked = ["--", git.exactly(place)] if place else []
        listed = git.text(self._at, "ls-tree", "-r", "-z", "--full-tree", "--name-only", self.commit, *asked)
        return [name[len(self.prefix) :] for name in listed.split("\0") if name.startswith(self.prefix) and name]

    def _entry(self, path: str) -> _Entry | None:
        said = git.text(self._at, "ls-tree", "-l", "-z", "--full-tree", self.commit, "--", git.exactly(path))
        for line in said.split("\0"):
            about, _, found = line.partition("\t")
            if found == path:
                mode, kind, object_id, size = about.split()
                return _Entry(mode, kind, object_id, int(size) if size.isdigit() else 0)
        return None

    def _through_link(self, name: str) -> str | None:
        """The name without the link that one of its folders is."""
        path = self.prefix + name
        for cut in (at for at, sign in enumerate(path) if sign == "/"):
            entry = self._entry(path[:cut])
            if entry is None:
                return None
            if entry.mode == _SUBMODULE:
                hint = "git submodule update --init, then name a revision of the submodule"
                raise InputError(f"{path[:cut]} is a submodule at {self.revision}", hint=hint)
            if entry.mode == _LINK:
                folder = path[len(self.prefix) : cut]
                return posixpath.join(self._target(folder, entry), path[cut + 1 :]) if folder else None
        return None

    def _target(self, name: str, link: _Entry) -> str:
        """Where a link leads, from this tree's own folder."""
        shown = f"{self.revision}:{self.prefix}{name}"
        if link.size > 4096:  # longer than any path
            raise InputError(f"{shown} is a link that leads nowhere")
        data = git.run(self._at, "cat-file", "blob", link.object_id)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), os.fsdecode(data)))
        if target.startswith(("/", "../")) or target == ".." or "\0" in target:
            raise InputError(f"{shown} is a link that leads outside the folder")
        return target
