"""Agent Skills: folders with a `SKILL.md` that an agent loads when a task fits the description."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.agent_skills.skill_files import (
    MAX_BYTES,
    MAX_DEPTH,
    SKILL_FILES,
    SkillError,
    chunks,
    is_inside,
    left_out,
    list_files,
    read_bytes,
    reason,
    shown,
)
from llmops.prompts.parsing import MAX_SOURCE_BYTES, decode
from llmops.yamlfile import Document, load_yaml

RELEASES = "releases"


@dataclass(frozen=True, slots=True)
class Source:
    """A `SKILL.md` taken apart: the YAML between the lines of dashes, and the body with its first line's number."""

    file: str
    document: Document
    front_text: str
    body: str
    body_line: int


@dataclass(frozen=True)
class Skill:
    """A skill as its folder holds it; `lint_skill` says what is wrong with it.

    `name` is the folder's path from the prompts root, such as `skills/pdf`; `declared` and `description` are what
    its front matter says, empty where it says nothing. `files` are all files, sorted, relative to `folder`; hidden
    ones, `__pycache__` and `.pyc` files are not among them, nor what `skill_content_id` refuses.
    """

    name: str
    folder: Path
    declared: str
    description: str
    front: Mapping[str, Any]
    body: str
    files: tuple[Path, ...]
    source: Source = field(repr=False, compare=False)


def read_skill(folder: Path, root: Path) -> Skill:
    """Read the skill in `folder`, a folder under `root`.

    Raises `PromptError` with the file and line when it can't be read as a skill: no `SKILL.md`, no front matter, or
    front matter that isn't a YAML mapping.
    """
    source = read_source(folder)
    front = source.document.data
    declared, description = front.get("name"), front.get("description")
    files, _ = list_files(folder)
    return Skill(
        name=_name(folder, root),
        folder=folder,
        declared=declared.strip() if isinstance(declared, str) else "",
        description=description.strip() if isinstance(description, str) else "",
        front=front,
        body=source.body,
        files=tuple(Path(file.name) for file in files),
        source=source,
    )


def read_source(folder: Path) -> Source:
    """Read and split the `SKILL.md` of `folder`. Raises `SkillError` that names the broken rule, S1 to S3."""
    file = skill_file(folder)
    name = shown(folder / file)
    if not is_inside(folder / file, folder):
        hint = "copy what it points at"
        raise SkillError("is a link that leads outside the skill's folder", where=name, hint=hint)
    data = read_bytes(folder, file, MAX_SOURCE_BYTES + 1)
    try:
        text = decode(data, name)
    except PromptError as problem:
        raise SkillError(problem.message, where=problem.where, hint=problem.hint) from None
    if "\0" in text:
        raise SkillError("holds a NUL byte", where=f"{name}:{text.count(chr(10), 0, text.index(chr(0))) + 1}")
    if data.startswith(b"\xef\xbb\xbf"):
        hint = "save it as UTF-8 without BOM"
        raise SkillError("starts with a byte order mark, not with ---", where=f"{name}:1", hint=hint, rule="S2")
    return _split(file, text, name)


def _split(file: str, text: str, name: str) -> Source:
    lines = text.split("\n")
    if lines[0].rstrip(" \t") != "---":
        hint = "write the front matter between two lines ---"
        raise SkillError("doesn't start with a line ---", where=f"{name}:1", hint=hint, rule="S2")
    end = next((i for i in range(1, len(lines)) if lines[i].rstrip(" \t") == "---"), 0)
    if not end:
        hint = "close it with a line ---"
        raise SkillError("the front matter has no end", where=f"{name}:1", hint=hint, rule="S2")
    front = "\n".join(lines[1:end])
    try:
        document = load_yaml(front, name=name, first_line=2, error=PromptError)
    except PromptError as problem:
        raise SkillError(problem.message, where=problem.where, hint=problem.hint, rule="S3") from None
    if not isinstance(document.data, dict):
        hint = "write name: and description:"
        raise SkillError("the front matter isn't a mapping of keys", where=f"{name}:1", hint=hint, rule="S3")
    return Source(file, document, front, "\n".join(lines[end + 1 :]), end + 2)


def skill_file(folder: Path) -> str:
    """`SKILL.md`, or `skill.md` as the folder spells it. Raises `SkillError` when there is neither."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except (OSError, ValueError) as problem:
        raise SkillError(f"can't be read: {reason(problem)}", where=shown(folder)) from None
    for name in SKILL_FILES:
        if name in names:
            return name
    close = sorted(name for name in names if name.lower() == "skill.md")
    hint = f"rename {close[0]} to SKILL.md" if close else "a skill is a folder with a SKILL.md"
    raise SkillError("holds no SKILL.md", where=shown(folder), hint=hint)


def skill_content_id(skill: Skill) -> str:
    """sha256 (64 hex digits) over the names, executable bits and bytes of a skill's files, wherever the folder is.

    Raises `PromptError` for a link that leads outside the folder, a file that can't be read, and a folder of more
    than 2,000 files or 50 MB.
    """
    return folder_content_id(skill.folder)


def folder_content_id(folder: Path) -> str:
    """`skill_content_id` of the skill in `folder`, which isn't read as one."""
    files, problems = list_files(folder)
    if problems:
        raise problems[0]
    whole, left = hashlib.sha256(), MAX_BYTES
    for file in files:
        content = hashlib.sha256()
        for data in chunks(folder, file.name, left + 1):
            content.update(data)
            left -= len(data)
        if left < 0:
            raise SkillError("grew while it was read", where=shown(folder))
        name = os.fsencode(file.name)
        whole.update(b"%d:%s:%d:" % (len(name), name, file.executable) + content.digest())
    return whole.hexdigest()


def find_skills(root: Path) -> list[Path]:
    """Folders under `root` that hold a `SKILL.md` or `skill.md`, sorted.

    Hidden folders, `releases/` and links are not looked into, nor is a skill's own folder.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(root):
        here = Path(place)
        if here != root and any(name in files for name in SKILL_FILES):
            found.append(here)
            folders.clear()
        if len(here.parts) - len(root.parts) >= MAX_DEPTH:
            folders.clear()
        folders[:] = [f for f in folders if not left_out(f) and not (here == root and f == RELEASES)]
    return sorted(found)


def _name(folder: Path, root: Path) -> str:
    place, base = folder.absolute(), root.absolute()
    return place.relative_to(base).as_posix() if place.is_relative_to(base) else place.name
