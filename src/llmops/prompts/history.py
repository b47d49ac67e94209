"""A prompt's history: its edits, releases and label moves, from git where there is git, else from the files alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmops import git
from llmops.errors import InputError, LlmopsError
from llmops.prompts.labels import FILE as LABELS
from llmops.prompts.labels import Label, read_labels
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.reading import Reading
from llmops.prompts.releases import release_number, versions
from llmops.prompts.skill_releases import is_skill
from llmops.prompts.trees import RELEASES, RevisionTree, WorkTree


@dataclass(frozen=True, slots=True)
class Entry:
    """What one commit did to a prompt; without a commit, what the files say. `date` is ISO 8601 or empty."""

    events: tuple[str, ...]
    date: str = ""
    author: str = ""
    commit: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """Entries, newest first, and what couldn't be told (no git, a shallow clone)."""

    entries: tuple[Entry, ...]
    note: str = ""


def history(root: Path, name: str, limit: int = 20) -> History:
    """What happened to a prompt. Never fails for want of git: then releases and labels are listed as they are now."""
    tree = WorkTree(root)
    try:
        entries = _from_git(tree, name, limit)
        shallow = git.is_shallow(root)
    except InputError as problem:
        return History(tuple(_from_files(tree, name)), f"no git history: {problem.message}")
    uncommitted = _uncommitted(tree, name)
    note = "this is a shallow clone, older commits are missing (git fetch --unshallow)" if shallow else ""
    return History((*uncommitted, *entries)[:limit], note)


def _from_git(tree: WorkTree, name: str, limit: int) -> list[Entry]:
    root, prefix = tree.root, git.prefix(tree.root)
    skill = is_skill(tree, name)
    place = root / (name if skill else name + SUFFIX)
    edits = git.log(root, [place], follow=not skill, limit=limit)
    partials = _partials(tree, name)
    others = git.log(root, [root / RELEASES / name, root / LABELS, *partials], limit=None)
    found = {commit["commit"]: commit for commit in edits}
    for commit in others:
        files = {**commit["files"], **found.get(commit["commit"], commit)["files"]}
        found[commit["commit"]] = {**commit, "files": files}
    entries: list[Entry] = []
    own = {path for commit in edits for path in commit["files"] if skill or path.endswith(SUFFIX)}
    for commit in sorted(found.values(), key=lambda one: one["date"], reverse=True):
        events = tuple(_events(commit, root, prefix, name, own))
        if events:
            entries.append(Entry(events, commit["date"], commit["author"], commit["commit"], commit["subject"]))
        if len(entries) >= limit:
            break
    return entries


def _partials(tree: WorkTree, name: str) -> list[Path]:
    try:
        return list(Reading(tree, name + SUFFIX, name).files[1:])
    except LlmopsError:
        return []


def _events(commit: git.Commit, root: Path, prefix: str, name: str, own: set[str]) -> Iterator[str]:
    folder = f"{prefix}{RELEASES}/{name}/"
    seen: set[str] = set()
    for event in _all_events(commit, root, prefix, name, own, folder):
        if event not in seen:
            seen.add(event)
            yield event


def _all_events(commit: git.Commit, root: Path, prefix: str, name: str, own: set[str], folder: str) -> Iterator[str]:
    for path, status in commit["files"].items():
        if path == prefix + LABELS:
            yield from _moves(root, name, commit["commit"])
        elif path.startswith(folder):
            number = release_number(path[len(folder) :])
            if number is not None:
                yield f"{_RELEASE.get(status, 'changed release')} {number}"
        elif path in own:
            yield _EDIT.get(status, "edited")
        else:
            yield f"{_EDIT.get(status, 'edited')} {path.removeprefix(prefix)}"


_EDIT = {"A": "added", "D": "deleted", "R": "moved"}
_RELEASE = {"A": "released", "D": "deleted release"}


def _moves(root: Path, name: str, commit: str) -> Iterator[str]:
    """How a commit moved the labels of a prompt."""
    after, before = _labels_at(root, name, commit), _labels_at(root, name, f"{commit}~1")
    for label in {**before, **after}:
        old, new = before.get(label), after.get(label)
        if new is None:
            yield f"{label} removed"
        elif old is None or (old.version, old.route) != (new.version, new.route):
            yield f"{label} → {shown_target(new)}"


def shown_target(label: Label) -> str:
    """Where a label leads, in words."""
    if label.version is not None:
        return str(label.version)
    return ", ".join(f"{target} {share:g} %" for target, share in label.route.items())


def _labels_at(root: Path, name: str, revision: str) -> dict[str, Label]:
    try:
        return dict(read_labels(RevisionTree(root, revision)).get(name, {}))
    except InputError:  # before the first commit, or a file that was broken then
        return {}


def _uncommitted(tree: WorkTree, name: str) -> list[Entry]:
    """What differs from the last commit."""
    mine = f"{RELEASES}/{name}/"
    changed = {path.relative_to(tree.root).as_posix() for path in _changed(tree.root)}
    events = ["edited"] if name + SUFFIX in changed else []
    numbers = (release_number(file[len(mine) :]) for file in changed if file.startswith(mine))
    events += [f"released {number}" for number in sorted(number for number in numbers if number is not None)]
    if LABELS in changed:
        before = _labels_at(tree.root, name, "HEAD")
        for label, one in read_labels(tree).get(name, {}).items():
            if label not in before or before[label].version != one.version:
                events.append(f"{label} → {shown_target(one)}")
    return [Entry(tuple(events), subject="not committed yet")] if events else []


def _changed(root: Path) -> set[Path]:
    try:
        real = root.resolve()
        inside = (path for path in git.changed_files("HEAD", root) if path.is_relative_to(real))
        return {root / path.relative_to(real) for path in inside}
    except InputError:  # no commit yet
        return set()


def _from_files(tree: WorkTree, name: str) -> Iterator[Entry]:
    for label in read_labels(tree).get(name, {}).values():
        date, author = str(label.facts.get("at", "")), str(label.facts.get("by", ""))
        yield Entry((f"{label.name} → {shown_target(label)}",), date, author)
    for number in reversed(versions(tree, name)):
        yield Entry((f"released {number}",))
