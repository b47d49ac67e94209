"""Skills that get in each other's way: the same name in two places, and descriptions an agent can't tell apart."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmops.errors import PromptError
from llmops.prompts.agent_skills.skill_files import SKILL_FILES, shown
from llmops.prompts.agent_skills.skills import Skill, folder_content_id, skill_content_id
from llmops.prompts.problems import Problem

NEAR = 90.0  # of 100: share of characters that two descriptions have in common, words sorted
_WORD = re.compile(r"\w+")


def shadowed(skills: Sequence[Skill], scopes: Sequence[Path]) -> Iterator[Problem]:
    """W5: a name that is declared twice, or stands in a scope with other content; clients load only one of them."""
    first: dict[str, Skill] = {}
    for skill in skills:
        if not skill.declared:
            continue
        earlier = first.setdefault(skill.declared, skill)
        if earlier is not skill and not _same(earlier.folder, skill.folder):
            yield _shadow(skill, earlier.folder)
        for scope in scopes:
            other = scope / skill.declared
            if _holds_skill(other) and not _same(other, skill.folder) and not _same_content(other, skill):
                yield _shadow(skill, other)


def _shadow(skill: Skill, other: Path) -> Problem:
    message = f"another skill is called {skill.declared!r:.60}: {shown(other)}"
    where = skill.source.document.where(("name",))
    return Problem(where, message, "clients load one of them; rename one, or make them equal", "W5", "warning")


def _holds_skill(folder: Path) -> bool:
    try:
        return any((folder / name).is_file() for name in SKILL_FILES)
    except (OSError, ValueError):
        return False


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _same_content(other: Path, skill: Skill) -> bool:
    """A copy, as an installed skill is one, is no other skill."""
    try:
        return folder_content_id(other) == skill_content_id(skill)
    except PromptError:
        return False


def same_descriptions(skills: Sequence[Skill]) -> Iterator[Problem]:
    """W7: descriptions equal to an earlier skill's but for some words: an agent can't know which skill to take."""
    from rapidfuzz import fuzz, process

    described = [skill for skill in skills if skill.description]
    texts = [_sorted_words(skill.description) for skill in described]
    first: dict[str, int] = {}
    different: list[str] = []  # each text once, so that copies don't make it slow
    owners: list[Skill] = []
    for skill, text in zip(described, texts, strict=True):
        if text in first:
            yield _same_trigger(skill, owners[first[text]], "the same as")
            continue
        near = process.extractOne(text, different, scorer=fuzz.ratio, score_cutoff=NEAR) if text else None
        first[text] = len(different)
        different.append(text)
        owners.append(skill)
        if near is not None:
            yield _same_trigger(skill, owners[near[2]], "nearly the same as")


def _same_trigger(skill: Skill, other: Skill, how: str) -> Problem:
    where = skill.source.document.where(("description",))
    message = f"description is {how} that of {shown(other.folder)}"
    return Problem(where, message, "say when to use this one and not the other", "W7", "warning")


def _sorted_words(text: str) -> str:
    return " ".join(sorted(_WORD.findall(text.casefold())))
