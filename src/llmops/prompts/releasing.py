"""Releasing what is sound: prompts and skills by name."""

from __future__ import annotations

from llmops.errors import InputError, PromptError
from llmops.prompts.agent_skills.skill_releases import is_skill, release_skill
from llmops.prompts.agent_skills.skill_rules import lint_skill
from llmops.prompts.agent_skills.skills import find_skills
from llmops.prompts.checking import check_prompt
from llmops.prompts.problems import Problem
from llmops.prompts.references import check_name
from llmops.prompts.release_files import Release
from llmops.prompts.releases import release
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import WorkTree


def releasable(store: PromptStore) -> list[str]:
    """Names of all working prompts and skills, sorted."""
    skills = (folder.relative_to(store.root).as_posix() for folder in find_skills(store.root))
    return sorted({*store.names(), *skills})


def release_one(store: PromptStore, name: str) -> tuple[Release, bool]:
    """Release a prompt or skill; false when nothing changed since the version that is returned.

    Raises `PromptError` for the first thing that `llmops prompt check` would call an error, `NotFoundError` for an
    unknown name, and `StoreError` when files can't be written.
    """
    tree = WorkTree(store.root)
    if "@" in name:
        raise InputError(f"{name!r:.80}: a working prompt is released, not a version", hint="write the name alone")
    check_name(name)
    if is_skill(tree, name):
        if name in store.names():
            raise PromptError(f"{name} is a prompt and a skill", hint="rename one of them")
        _refuse(lint_skill(store.root / name, store.root))
        return release_skill(tree, name)
    store.load(name)  # raises, with what may be meant
    _refuse(check_prompt(tree, name))
    return release(tree, name)


def _refuse(problems: list[Problem]) -> None:
    for one in problems:
        if one.level == "error":
            raise PromptError(one.message, where=one.where, hint=one.hint)
