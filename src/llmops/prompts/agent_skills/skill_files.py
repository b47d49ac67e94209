"""The files of a skill's folder: listed within limits, with links followed only as far as the folder goes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llmops.errors import PromptError

MAX_FILES = 2_000
MAX_BYTES = 50_000_000
MAX_DEPTH = 40
SKILL_FILES = ("SKILL.md", "skill.md")
_CHUNK = 1 << 20

Inode = tuple[int, int]


class SkillError(PromptError):
    """A folder that isn't a skill, or a file of one that can't be used. `rule` is the broken rule's short name."""

    def __init__(self, message: str, *, where: str = "", hint: str = "", rule: str = "S1") -> None:
        self.rule = rule
        super().__init__(message, where=where, hint=hint)


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One regular file: its name from the folder, with `/`, its size in bytes and whether it may be executed."""

    name: str
    size: int
    executable: bool


def list_files(folder: Path) -> tuple[list[SkillFile], list[SkillError]]:
    """All files of a skill, sorted by name, and what is wrong with entries that aren't among them.

    Hidden entries, `__pycache__` and `.pyc` files are left out. Links are followed inside the folder only.
    """
    walk = _Walk(folder)
    try:
        status = folder.stat()
        walk.read(folder, "", ((status.st_dev, status.st_ino),))
    except SkillError as problem:
        walk.problems.append(problem)
    except (OSError, ValueError) as problem:
        walk.problems.append(SkillError(f"can't be read: {reason(problem)}", where=shown(folder)))
    return sorted(walk.files, key=lambda file: os.fsencode(file.name)), walk.problems


class _Walk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[SkillFile] = []
        self.problems: list[SkillError] = []
        self.entries = 0
        self.bytes = 0

    def read(self, place: Path, prefix: str, above: tuple[Inode, ...]) -> None:
        """Collect what is in `place`; `above` are the folders around it, which a link must not lead back to."""
        with os.scandir(place) as entries:
            found = [entry for entry in self.counted(entries) if not left_out(entry.name)]
        for entry in sorted(found, key=lambda entry: os.fsencode(entry.name)):
            try:
                self.add(entry, prefix + entry.name, above)
            except OSError as problem:
                self.report(prefix + entry.name, f"can't be read: {reason(problem)}")

    def counted(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            self.entries += 1
            if self.entries > MAX_FILES:
                hint = "a skill holds instructions and what they refer to; move the rest elsewhere"
                raise SkillError(
                    f"holds more than {MAX_FILES:,} files and folders", where=shown(self.folder), hint=hint
                )
            yield entry

    def add(self, entry: os.DirEntry[str], name: str, above: tuple[Inode, ...]) -> None:
        if entry.is_symlink() and not is_inside(Path(entry.path), self.folder):
            self.report(name, "is a link that leads outside the skill's folder", "copy what it points at")
            return
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            inode = (status.st_dev, status.st_ino)
            if inode in above or len(above) > MAX_DEPTH:
                trouble = "is a link back to a folder around it" if inode in above else "is nested too deeply"
                self.report(name, trouble)
            else:
                self.read(Path(entry.path), name + "/", (*above, inode))
        elif stat.S_ISREG(status.st_mode):
            self.count_bytes(status.st_size)
            self.files.append(SkillFile(name, status.st_size, bool(status.st_mode & 0o111)))
        else:
            self.report(name, "isn't a regular file", "take it out")

    def count_bytes(self, size: int) -> None:
        self.bytes += size
        if self.bytes > MAX_BYTES:
            hint = "keep large data outside the skill"
            raise SkillError(f"holds more than {MAX_BYTES // 1_000_000} MB", where=shown(self.folder), hint=hint)

    def report(self, name: str, message: str, hint: str = "") -> None:
        self.problems.append(SkillError(message, where=shown(self.folder / name), hint=hint))


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is in `folder` once links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def left_out(name: str) -> bool:
    """Hidden files and what Python compiles are no part of a skill."""
    return name.startswith(".") or name == "__pycache__" or name.endswith(".pyc")


def read_bytes(folder: Path, name: str, limit: int = MAX_BYTES) -> bytes:
    """A file's first `limit` bytes. Raises `SkillError` when it can't be read or isn't a regular file."""
    return b"".join(chunks(folder, name, limit))


def chunks(folder: Path, name: str, limit: int = MAX_BYTES) -> Iterator[bytes]:
    """A file's first `limit` bytes, piece by piece. Raises `SkillError`."""
    path = folder / name
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for a writer
            raise SkillError("isn't a regular file", where=shown(path))
        with path.open("rb") as file:
            while limit > 0 and (data := file.read(min(limit, _CHUNK))):
                limit -= len(data)
                yield data
    except (OSError, ValueError) as problem:
        raise SkillError(f"can't be read: {reason(problem)}", where=shown(path)) from None


def shown(path: Path) -> str:
    """A path on one line, as errors show it: from the current folder if it is below."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return printable(text)


def printable(text: str) -> str:
    """A name on one line: what a terminal would obey, or can't encode, is written as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def reason(problem: Exception) -> str:
    """What the operating system says, without the path."""
    return str(getattr(problem, "strerror", "") or problem)


def folder_names(names: list[str]) -> set[str]:
    """Every folder that a file's name goes through."""
    return {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}
