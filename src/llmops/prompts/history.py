"""A prompt's history: its edits, releases and label moves, from git where there is git, else from the files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops import git
from llmops.errors import InputError, LlmopsError, PromptError
from llmops.prompts import git_log
from llmops.prompts.agent_skills.skill_releases import is_skill
from llmops.prompts.git_log import Change, log
from llmops.prompts.labels import FILE as LABELS
from llmops.prompts.labels import Label, read_labels
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.reading import Reading
from llmops.prompts.release_files import release_number, versions
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
        entries = (*_uncommitted(tree, name), *_from_git(tree, name, limit))[:limit]
        shallow = git.is_shallow(root)
    except InputError as problem:
        return History(tuple(_from_files(tree, name)), f"no git history: {problem}")
    if not entries:
        return History(tuple(_from_files(tree, name)), f"no git history: no commit holds {name}")
    return History(entries, _SHALLOW if shallow else "")


_SHALLOW = (
    "this is a shallow clone: its oldest commit seems to have made everything (git fetch --unshallow brings the rest)"
)


def _from_git(tree: WorkTree, name: str, limit: int) -> list[Entry]:
    root, prefix = tree.root, git.prefix(tree.root)
    skill = is_skill(tree, name)
    place = prefix + (name if skill else name + SUFFIX)
    edits = log(root, [place], follow=not skill, limit=limit)
    edited = {commit.commit: commit.files for commit in edits}
    earlier = {file for files in edited.values() for file in files}  # what the file was called before
    below = [prefix + file for file in (f"{RELEASES}/{name}", LABELS, *_partials(tree, name))]
    entries: list[Entry] = []
    commits = log(root, [place, *below] if skill else [*sorted({place, *earlier}), *below])
    moves = _Moves(root, name, [commit.files[prefix + LABELS] for commit in commits if prefix + LABELS in commit.files])
    for commit in commits:
        own = set(edited.get(commit.commit, ()))
        files = {file: change for file, change in commit.files.items() if file in own or file not in earlier}
        events = tuple(dict.fromkeys(_events(files, prefix, name, own, moves)))
        if events:
            entries.append(Entry(events, commit.date, commit.author, commit.commit, commit.subject))
        if len(entries) >= limit:
            break
    return entries


def _partials(tree: WorkTree, name: str) -> list[str]:
    """What a working prompt includes, from the prompts folder."""
    try:
        return Reading(tree, name + SUFFIX, name).sources.files[1:]
    except LlmopsError:
        return []


def _events(files: Mapping[str, Change], prefix: str, name: str, own: set[str], moves: _Moves) -> Iterator[str]:
    folder = f"{prefix}{RELEASES}/{name}/"
    for path, change in files.items():
        if path == prefix + LABELS:
            yield from moves.of(change)
        elif path.startswith(folder):
            number = release_number(path[len(folder) :])
            if number is not None:
                yield f"{_RELEASE.get(change.status, 'changed release')} {number}"
        elif path in own:
            yield _EDIT.get(change.status, "edited")
        else:
            yield f"{_EDIT.get(change.status, 'edited')} {path.removeprefix(prefix)}"


_AT_ONCE = 50
_EDIT = {"A": "added", "D": "deleted", "R": "moved"}
_RELEASE = {"A": "released", "D": "deleted release"}


class _Moves:
    """How changes of the labels' file moved those of one prompt. What has the same lines in both isn't parsed."""

    def __init__(self, root: Path, name: str, changes: Sequence[Change]) -> None:
        self.root = root
        self.name = name
        self._waiting = list(changes)
        self._blobs: dict[str, bytes] = {}
        start = "|".join(re.escape(key) for key in (name, f'"{name}"', f"'{name}'"))
        self._section = re.compile(rf"^(?:{start}):.*\n(?:[ \t#].*\n|\n)*".encode(), re.M)

    def of(self, change: Change) -> Iterator[str]:
        """Events of one change; changes are asked for in the order they were given."""
        if change in self._waiting:
            self._fetch(self._waiting.index(change))
        old, new = self._blobs.get(change.before, b""), self._blobs.get(change.after, b"")
        sections = self._section.findall(old), self._section.findall(new)
        if sections[0] != sections[1] or len(sections[0]) != 1:
            yield from _moved(self._labels(old), self._labels(new))

    def _fetch(self, start: int) -> None:
        """Read the files of the next changes at once: a process each would take seconds in a long history."""
        part, self._waiting = self._waiting[start : start + _AT_ONCE], self._waiting[start + _AT_ONCE :]
        self._blobs = git_log.blobs(self.root, [one for change in part for one in (change.before, change.after)])

    def _labels(self, data: bytes) -> Mapping[str, Label]:
        try:
            return read_labels(_File(data)).get(self.name, {})
        except InputError:  # it was broken then
            return {}


class _File(WorkTree):
    """A tree with one file in it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(Path())
        self.data = data

    def read(self, name: str, *, where: str = "", limit: int = 0) -> bytes | None:
        return self.data


def _moved(before: Mapping[str, Label], after: Mapping[str, Label]) -> Iterator[str]:
    for label in {**before, **after}:
        old, new = before.get(label), after.get(label)
        if new is None:
            yield f"{label} removed"
        elif old is None or (old.version, old.route) != (new.version, new.route):
            yield _move(new)


def _move(label: Label) -> str:
    """A label's move, with what its line says about it: a rollback, the run that justified it, the reason."""
    facts = label.facts
    notes = [f"rolled back from {facts['rolled_back']}"] if "rolled_back" in facts else []
    notes += [f"run {facts['run']}: {facts.get('verdict', '')}"] if "run" in facts else []
    notes += [str(facts["reason"])] if "reason" in facts else []
    return f"{label.name} → {shown_target(label)}" + (f" ({'; '.join(notes)})" if notes else "")


def shown_target(label: Label) -> str:
    """Where a label leads, in words."""
    if label.version is not None:
        return str(label.version)
    return ", ".join(f"{target} {share:g} %" for target, share in label.route.items())


def _uncommitted(tree: WorkTree, name: str) -> list[Entry]:
    """What differs from the last commit."""
    mine = f"{RELEASES}/{name}/"
    changed = _changed(tree.root)
    own = name + "/" if is_skill(tree, name) else name + SUFFIX
    events = ["edited"] if any(file == own or file.startswith(own) for file in changed) else []
    events += [f"edited {file}" for file in _partials(tree, name) if file in changed]
    numbers = (release_number(file[len(mine) :]) for file in changed if file.startswith(mine))
    events += [f"released {number}" for number in sorted(number for number in numbers if number is not None)]
    if LABELS in changed:
        try:
            events += _moved(_committed_labels(tree.root, name), read_labels(tree).get(name, {}))
        except PromptError as problem:
            events.append(f"labels can't be read: {problem}")
    return [Entry(tuple(events), subject="not committed yet")] if events else []


def _committed_labels(root: Path, name: str) -> Mapping[str, Label]:
    try:
        return read_labels(RevisionTree(root, "HEAD")).get(name, {})
    except InputError:  # before the first commit, or a file that was broken then
        return {}


def _changed(root: Path) -> set[str]:
    """Files that differ from the last commit, from the prompts folder."""
    real = root.resolve()
    try:
        if git.has_commit(root):
            paths = git.changed_files("HEAD", root)
            return {path.relative_to(real).as_posix() for path in paths if path.is_relative_to(real)}
    except InputError:  # a bare repository has no files
        pass
    return set()


def _from_files(tree: WorkTree, name: str) -> Iterator[Entry]:
    for label in read_labels(tree).get(name, {}).values():
        date, author = str(label.facts.get("at", "")), str(label.facts.get("by", ""))
        yield Entry((_move(label),), date, author)
    for number in reversed(versions(tree, name)):
        yield Entry((f"released {number}",))
