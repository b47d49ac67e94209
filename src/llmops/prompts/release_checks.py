"""The proof that releases are what was released. Written for tens of thousands: one read and one hash a file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops.errors import InputError, PromptError
from llmops.prompts.agent_skills.skill_releases import MANIFEST, skill_content
from llmops.prompts.atomic import TEMPORARY
from llmops.prompts.leaks import find_secrets, has_marks
from llmops.prompts.parsing import MAX_SOURCE_BYTES, SUFFIX
from llmops.prompts.problems import Problem
from llmops.prompts.release_files import release_file, release_number
from llmops.prompts.releases import verified
from llmops.prompts.trees import RELEASES, WorkTree

ORDINARY = frozenset(("labels.yaml", ".gitattributes", ".gitignore", ".gitkeep"))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with releases of one prompt or skill: file names by version, and which of them are no regular files."""

    path: str
    name: str
    files: dict[int, str]
    odd: Collection[int] = ()


def release_folders(tree: WorkTree) -> tuple[list[Folder], list[Problem]]:
    """Every folder with releases, sorted by name, and what lies among them that is none."""
    top = os.fspath(tree.root / RELEASES)
    waiting = [top] if os.path.isdir(top) else []  # noqa: PTH112  (strings throughout: Path objects cost as much)
    found: list[Folder] = []
    problems: list[Problem] = []
    while waiting:
        path = waiting.pop()
        one, below, strays = _looked_at(path, path[len(top) + 1 :].replace(os.sep, "/"))
        found += [one] if one.files else []
        problems += [_stray(tree, one.name, file) for file in strays]
        waiting += [f"{path}{os.sep}{folder}" for folder in below]
    return sorted(found, key=lambda one: one.name), problems


def _looked_at(path: str, name: str) -> tuple[Folder, list[str], list[str]]:
    """A folder's releases, the folders in it that may hold more, and what belongs to neither."""
    files: dict[int, str] = {}
    folders: list[str] = []
    strays: list[str] = []
    odd: set[int] = set()
    with os.scandir(path) as entries:
        for entry in entries:
            number = release_number(entry.name)
            if number is not None:
                files[number] = entry.name
                if not entry.is_file(follow_symlinks=False):
                    odd.add(number)
            elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith(TEMPORARY):
                folders.append(entry.name)
            elif entry.name not in ORDINARY:
                strays.append(entry.name)
    copies = {str(number) for number, file in files.items() if file.endswith(MANIFEST)}
    return Folder(path, name, files, odd), [one for one in folders if one not in copies], strays


def _stray(tree: WorkTree, name: str, file: str) -> Problem:
    where = tree.shown(f"{RELEASES}/{name}/{file}" if name else f"{RELEASES}/{file}")
    if file.startswith(TEMPORARY):
        return Problem(where, "left behind by a write that was interrupted", "delete it", "stray", "warning")
    return Problem(where, "no release", "releases are files such as 1.prompt.md", "stray", "warning")


def check_folders(root: Path, folders: Sequence[Folder]) -> list[tuple[dict[int, str], list[Problem]]]:
    """For each folder the content ids by version, empty for a release that isn't what was released, and why."""
    tree = WorkTree(root)
    made = []
    for folder in folders:
        problems = list(_gaps(tree, folder))
        made.append((_content_ids(tree, folder, problems), problems))
    return made


def _gaps(tree: WorkTree, folder: Folder) -> Iterator[Problem]:
    numbers = sorted(folder.files)
    missing = sorted(set(range(1, numbers[-1] + 1)).difference(numbers))
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        message = f"{folder.name} has version {numbers[-1]} but not {shown}"
        where = tree.shown(release_file(folder.name, numbers[-1]))
        yield Problem(where, message, "restore what was deleted", "gap")
    if numbers[0] == 0:
        yield Problem(tree.shown(release_file(folder.name, 0)), "versions start at 1", "", "gap")


def _content_ids(tree: WorkTree, folder: Folder, problems: list[Problem]) -> dict[int, str]:
    known: dict[int, str] = {}
    name, newest = folder.name, max(folder.files)
    for number, file in folder.files.items():
        known[number] = ""
        try:
            if file.endswith(MANIFEST):
                known[number] = skill_content(tree, name, number)
                continue
            odd = number in folder.odd
            data = _linked(tree, name, number) if odd else _bytes(f"{folder.path}{os.sep}{number}{SUFFIX}")
            known[number] = verified(data, name, number, tree.shown(release_file(name, number)))
        except OSError as problem:
            where = tree.shown(release_file(name, number))
            problems.append(Problem(where, f"can't be read: {problem.strerror}", "", "release"))
        except InputError as error:
            problems.append(Problem(error.where, error.message, error.hint, "release"))
        else:
            if number == newest:  # older ones were the newest once, and git has them anyway
                problems += secrets_in(tree, release_file(name, number), data)
    return known


def _linked(tree: WorkTree, name: str, number: int) -> bytes:
    data = tree.read(release_file(name, number))
    if data is None:
        raise PromptError("is no file", where=tree.shown(release_file(name, number)))
    return data


def _bytes(path: str) -> bytes:
    """A regular file's bytes, up to more than a prompt may have."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, 65536)
        while 65536 <= len(data) <= MAX_SOURCE_BYTES and (more := os.read(handle, 1 << 20)):
            data += more
        return data
    finally:
        os.close(handle)


def secrets_in(tree: WorkTree, file: str, data: bytes) -> Iterator[Problem]:
    """Secrets in a file's bytes."""
    if has_marks(data):
        hint = "take it out, and replace it where it is valid: it is in the history"
        for line, kind in find_secrets(data.decode("utf-8", "replace")):
            yield Problem(f"{tree.shown(file)}:{line}", f"holds what looks like {kind}", hint, "secret")
