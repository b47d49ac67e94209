"""Finding skills by reference, as prompts are found: the working folder, or a release by number, label or content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmops.errors import InputError, NotFoundError
from llmops.prompts.agent_skills.skill_releases import is_skill, released_folder, skill_content
from llmops.prompts.agent_skills.skills import folder_content_id
from llmops.prompts.references import LATEST, Reference, parse_reference
from llmops.prompts.release_files import versions
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import WorkTree


@dataclass(frozen=True, slots=True)
class FoundSkill:
    """A skill's files: the working folder (`version` is None) or a release."""

    name: str
    folder: Path
    content_id: str
    version: int | None = None
    label: str = ""


def names_a_skill(store: PromptStore, reference: str) -> bool:
    """True when a reference names a skill rather than a prompt."""
    name, tree = parse_reference(reference).name, WorkTree(store.root)
    known = versions(tree, name)
    return is_skill(tree, name) or (bool(known) and is_skill(tree, name, known[-1]))


def find_skill(store: PromptStore, reference: str) -> FoundSkill:
    """The skill that a reference names. Raises as `PromptStore.load` does, and when a release was changed."""
    wanted, tree = parse_reference(reference), WorkTree(store.root)
    if wanted.revision:
        raise InputError(f"{reference!r:.80}: skills are not read from git revisions", hint="release it, and name that")
    if not wanted.version:
        folder = store.root / wanted.name
        return FoundSkill(wanted.name, folder, folder_content_id(folder))
    version, label = _version(store, tree, wanted), wanted.version if wanted.is_movable else ""
    content_id = skill_content(tree, wanted.name, version)
    folder = released_folder(tree, wanted.name, version)
    return FoundSkill(wanted.name, folder, content_id, version, "" if label == LATEST else label)


def _version(store: PromptStore, tree: WorkTree, wanted: Reference) -> int:
    if wanted.number is not None:
        return wanted.number
    if wanted.is_content_id:
        for version in reversed(versions(tree, wanted.name)):
            if skill_content(tree, wanted.name, version).startswith(wanted.version):
                return version
        raise NotFoundError(f"{wanted.name} has no content {wanted.version[:12]}", hint="it was never released")
    if wanted.version == LATEST:
        known = versions(tree, wanted.name)
        if not known:
            raise NotFoundError(f"{wanted.name} was never released", hint=f"llmops prompt release {wanted.name}")
        return known[-1]
    label = store.label(wanted.name, wanted.version)
    if label.version is None:
        raise InputError(f"{wanted}: a route between skills needs its target named", where=label.where)
    return label.version
