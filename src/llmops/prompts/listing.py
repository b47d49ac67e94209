"""What there is: every prompt with its newest version, its labels, and whether the working file has moved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmops.errors import InputError, LlmopsError
from llmops.prompts.agent_skills.skill_releases import is_skill
from llmops.prompts.agent_skills.skills import find_skills, folder_content_id
from llmops.prompts.history import shown_target
from llmops.prompts.labels import read_labels
from llmops.prompts.parallel import mapped
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.reading import Reading
from llmops.prompts.releases import content_of, released_names, versions
from llmops.prompts.trees import WorkTree, working_names

USUAL = "production"


@dataclass(frozen=True, slots=True)
class Listed:
    """One prompt. `state` compares the working file with what production holds, or with the newest release.

    `content_id` is the working file's, empty when there is none or it can't be read.
    """

    name: str
    state: str
    version: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    content_id: str = ""
    changed: bool = False


def listed(root: Path, start: str = "") -> list[Listed]:
    """Prompts whose name starts with `start`, sorted, those with releases but no working file among them.

    Raises `PromptError` when the labels can't be read; a prompt that can't be read says so in its `state`.
    """
    tree = WorkTree(root)
    skills = {folder.relative_to(tree.root).as_posix() for folder in find_skills(tree.root)}
    working = {*working_names(tree), *skills}
    names = sorted({*working, *released_names(root)})
    names = [name for name in names if name.startswith(start)]
    labels = read_labels(tree)
    contents = dict(zip(names, mapped(partial(_contents, root), names), strict=True))
    rows: list[Listed] = []
    for name in names:
        known, mine = versions(tree, name), labels.get(name, {})
        held = mine[USUAL].version if USUAL in mine else None
        content, problem = contents[name] if name in working else ("", "no working file")
        state, changed = (problem, False) if problem else _state(tree, name, content, known, held)
        targets = {label.name: shown_target(label) for label in mine.values()}
        rows.append(Listed(name, state, known[-1] if known else None, targets, content, changed))
    return rows


def _contents(root: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Content id of each working prompt, and why there is none."""
    tree = WorkTree(root)
    return [_content(tree, name) for name in names]


def _content(tree: WorkTree, name: str) -> tuple[str, str]:
    try:
        if is_skill(tree, name):
            return folder_content_id(tree.root / name), ""
        return Reading(tree, name + SUFFIX, name).content_id, ""
    except LlmopsError as error:
        return "", f"broken: {error}"


def _state(tree: WorkTree, name: str, content: str, known: list[int], held: int | None) -> tuple[str, bool]:
    if not known:
        return "never released", True
    version, what = (held, f"{USUAL} ({held})") if held is not None else (known[-1], f"version {known[-1]}")
    try:
        same = content_of(tree, name, version) == content
    except InputError as error:
        return f"broken: {error}", False
    return (f"as {what}", False) if same else (f"changed since {what}", True)
