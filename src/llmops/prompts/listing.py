"""What there is: every prompt with its newest version, its labels, and whether the working file has moved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmops.errors import InputError, LlmopsError
from llmops.prompts.agent_skills.skills import find_skills, folder_content_id
from llmops.prompts.history import shown_target
from llmops.prompts.labels import Labels, read_labels
from llmops.prompts.parallel import mapped
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.reading import Reading
from llmops.prompts.release_checks import release_folders
from llmops.prompts.releases import content_of
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
    tree, there = WorkTree(root), _There()
    skills = {folder.relative_to(tree.root).as_posix() for folder in find_skills(tree.root)}
    working = [(name, name in skills) for name in sorted({*working_names(tree), *skills}) if name.startswith(start)]
    found = mapped(partial(_contents, root), working, meanwhile=partial(there.read, tree))
    contents = {name: content for (name, _), content in zip(working, found, strict=True)}
    names = sorted({*contents, *(name for name in there.released if name.startswith(start))})
    return [_listed(tree, name, contents.get(name, ("", "no working file")), there) for name in names]


@dataclass
class _There:
    """Releases and labels of a store."""

    released: dict[str, list[int]] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)

    def read(self, tree: WorkTree) -> None:
        self.labels = read_labels(tree)
        self.released = {folder.name: sorted(folder.files) for folder in release_folders(tree)[0]}


def _listed(tree: WorkTree, name: str, content: tuple[str, str], there: _There) -> Listed:
    known, mine = there.released.get(name, []), there.labels.get(name, {})
    content_id, problem = content
    held = mine[USUAL].version if USUAL in mine else None
    state, changed = (problem, False) if problem else _state(tree, name, content_id, known, held)
    targets = {label.name: shown_target(label) for label in mine.values()}
    return Listed(name, state, known[-1] if known else None, targets, content_id, changed)


def _contents(root: Path, names: Sequence[tuple[str, bool]]) -> list[tuple[str, str]]:
    """Content id of each working prompt or skill, and why there is none."""
    tree = WorkTree(root, keep=True)
    return [_content(tree, name, skill) for name, skill in names]


def _content(tree: WorkTree, name: str, skill: bool) -> tuple[str, str]:
    try:
        if skill:
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
