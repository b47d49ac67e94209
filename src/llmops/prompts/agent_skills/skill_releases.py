"""Releases of Agent Skills: the folder's files copied under their version, and a manifest with their content id."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

from llmops.errors import NotFoundError, PromptError, StoreError
from llmops.prompts import atomic
from llmops.prompts.agent_skills.skills import Skill, folder_content_id, read_skill, skill_content_id
from llmops.prompts.release_files import HINT, Release, prepare, versions
from llmops.prompts.trees import RELEASES, Tree, WorkTree
from llmops.prompts.writing import block

MANIFEST = ".skill.yaml"
_LINES = re.compile(
    r"skill: (?P<skill>.+)\nversion: (?P<version>[0-9]+)\n(?:.*\n)*?content_id: (?P<id>[0-9a-f]{64})\n?"
)


def manifest_file(name: str, version: int) -> str:
    """Where a skill's release is described, from the prompts folder; its files are in the folder beside it."""
    return f"{RELEASES}/{name}/{version}{MANIFEST}"


def is_skill(tree: Tree, name: str, version: int | None = None) -> bool:
    """True when a name is a skill's: its folder has a SKILL.md, or with `version` its release has a manifest."""
    if version is not None:
        return tree.read(manifest_file(name, version)) is not None
    return any(tree.read(f"{name}/{file}") is not None for file in ("SKILL.md", "skill.md"))


def released_folder(tree: WorkTree, name: str, version: int) -> Path:
    """The files of a skill's release."""
    return tree.root / RELEASES / name / str(version)


def skill_content(tree: WorkTree, name: str, version: int) -> str:
    """The content id of a skill's release. Raises `PromptError` when its files aren't what was released."""
    file = manifest_file(name, version)
    data, where = tree.read(file), f"{tree.shown(file)}:1"
    if data is None:
        raise NotFoundError(f"{name} has no version {version}")
    found = _LINES.fullmatch(data.decode("utf-8", "replace").replace("\r\n", "\n"))
    if found is None:
        raise PromptError("no manifest of a skill's release", where=where, hint=HINT)
    if not data.decode("utf-8", "replace").startswith(block({"skill": name, "version": version})):
        raise PromptError(f"not {name} version {version}: it names another skill or version", where=where, hint=HINT)
    folder = released_folder(tree, name, version)
    if not folder.is_dir() or folder_content_id(folder) != found["id"]:
        raise PromptError("not what was released: the files don't match this content id", where=where, hint=HINT)
    return found["id"]


def release_skill(tree: WorkTree, name: str) -> tuple[Release, bool]:
    """Copy a skill's files as its next version; false with the newest version when nothing changed.

    Raises `PromptError` when it can't be read as a skill, and `StoreError` when the files can't be written.
    """
    skill = read_skill(tree.root / name, tree.root)
    content_id = skill_content_id(skill)
    prepare(tree.root)
    with atomic.one_at_a_time(tree.root / RELEASES):
        last = max(versions(tree, name), default=0)
        if last and skill_content(tree, name, last) == content_id:
            return Release(name, last, manifest_file(name, last), content_id), False
        made = Release(name, last + 1, manifest_file(name, last + 1), content_id)
        _copy(skill, content_id, released_folder(tree, name, made.version))
        about = {"description": skill.description} if skill.description else {}
        text = block({"skill": name, "version": made.version, **about}) + f"content_id: {content_id}\n"
        if not atomic.create(tree.root / made.file, text.encode()):
            raise PromptError("released by another process just now; try again", where=tree.shown(made.file))
    return made, True


def _copy(skill: Skill, content_id: str, target: Path) -> None:
    """The skill's files at `target`, whole or not at all. A folder without its manifest is what a crash left."""
    draft = target.with_name(f"{atomic.TEMPORARY}{secrets.token_hex(6)}")
    try:
        draft.mkdir(parents=True)
        for file in skill.files:
            place = draft / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(skill.folder / file, place)
            shutil.copymode(skill.folder / file, place)
            with place.open("rb") as copied:
                os.fsync(copied.fileno())
        if folder_content_id(draft) != content_id:
            raise PromptError("changed while it was copied; release it again", where=skill.name)
        if target.exists():
            shutil.rmtree(target)
        os.rename(draft, target)  # noqa: PTH104
    except OSError as problem:
        raise StoreError(f"{target} can't be written: {problem.strerror or problem}") from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(draft, ignore_errors=True)
