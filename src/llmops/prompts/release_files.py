"""Where releases are on file, how they are numbered, and what all of them have in common."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llmops.prompts import atomic
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.trees import RELEASES, Tree, WorkTree

ATTRIBUTES = """\
# Releases are the same bytes everywhere. Labels of different prompts, moved in two branches, merge by themselves.
* -text
labels.yaml text merge=union
"""
ENDINGS = (SUFFIX, ".skill.yaml")
HINT = "a release never changes: restore the file, and release the change as a new version"


@dataclass(frozen=True, slots=True)
class Release:
    """A release on file: its number, its file from the prompts folder, and its content id."""

    name: str
    version: int
    file: str
    content_id: str


def release_file(name: str, version: int) -> str:
    """Where a release is, from the prompts folder."""
    return f"{RELEASES}/{name}/{version}{SUFFIX}"


def versions(tree: Tree, name: str) -> list[int]:
    """Numbers of a prompt's releases, sorted."""
    folder = f"{RELEASES}/{name}"
    if isinstance(tree, WorkTree):
        try:
            found = os.listdir(tree.root / folder)  # noqa: PTH208  (names are all that is wanted)
        except OSError:
            found = []
    else:
        found = [file[len(folder) + 1 :] for file in tree.files(folder)]
    return sorted(number for file in found if (number := release_number(file)) is not None)


def release_number(file: str) -> int | None:
    """The version in the own name of a release's file or manifest, or None for any other file."""
    number, dot, ending = file.partition(".")
    usual = number.isascii() and number.isdigit() and (number == "0" or number[0] != "0")
    return int(number) if usual and len(number) < 10 and dot + ending in ENDINGS else None


def prepare(root: Path) -> None:
    """Make the folder of releases, with what git must know about it."""
    attributes = root / RELEASES / ".gitattributes"
    if not attributes.exists():
        atomic.create(attributes, ATTRIBUTES.encode())
