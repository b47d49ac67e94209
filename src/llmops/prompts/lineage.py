"""A prompt as each commit left it, along the first parents of a commit: what can have broken it, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmops import git
from llmops.errors import InputError, LlmopsError, NotFoundError
from llmops.prompts.git_log import Commit, log
from llmops.prompts.parsing import MAX_SOURCE_BYTES, SUFFIX
from llmops.prompts.references import Reference
from llmops.prompts.store import PromptStore
from llmops.prompts.template import FilePrompt
from llmops.prompts.trees import Tree


@dataclass(frozen=True, slots=True)
class Version:
    """A prompt as a commit left it; as it is in the work tree when `commit` is empty.

    `reference` names exactly this one, `date` is the author's (ISO 8601). `problem` says why there is no `prompt`.
    """

    reference: Reference
    commit: str = ""
    date: str = ""
    author: str = ""
    subject: str = ""
    prompt: FilePrompt | None = field(default=None, compare=False)
    problem: LlmopsError | None = field(default=None, compare=False)

    @property
    def content_id(self) -> str:
        """The prompt's; empty when it can't be loaded."""
        return self.prompt.content_id if self.prompt is not None else ""

    def is_as(self, other: Version) -> bool:
        """True when both have the same content, or can't be loaded for the same reason."""
        if self.prompt is None or other.prompt is None:
            return self.prompt is other.prompt and _said(self) == _said(other)
        return self.content_id == other.content_id


def lineage(root: Path, wanted: Reference, last: str, first: str = "") -> list[Version]:
    """What `wanted` (a name, perhaps with a release or label) was at `first` and after each commit up to `last`.

    Oldest first; commits that leave the content as it was aren't in it. Only first parents are followed, so a merge
    is one commit. Goes past renames of a working file inside the folder `root`. `first` and `last` are full ids;
    without `first`, it begins with the oldest commit that has the prompt. Raises `NotFoundError` when there is no such
    prompt at `first` or `last`, and `InputError` without git or a repository.
    """
    found, oldest = _walk(root, wanted, last, first)
    if first:
        [commit] = log(root, [], line=first, limit=1)
        base = _State(root, replace(oldest, revision=""), first)
        if isinstance(base.problem, NotFoundError):
            raise base.problem
        found.append(base.version(commit))
    found.reverse()
    return list(distinct(found))


def working_version(root: Path, wanted: Reference) -> Version:
    """What `wanted` is in the work tree. Raises `NotFoundError` when it isn't there."""
    try:
        prompt = PromptStore(root, watch=False).load(str(wanted))
    except NotFoundError:
        raise
    except LlmopsError as problem:
        return Version(wanted, subject=_UNCOMMITTED, problem=problem)
    return Version(wanted, subject=_UNCOMMITTED, prompt=prompt)


_UNCOMMITTED = "not committed yet"


def _walk(root: Path, wanted: Reference, last: str, first: str) -> tuple[list[Version], Reference]:
    """Versions newest first, and the prompt's reference where they begin. What isn't touched can't change."""
    place = git.prefix(root)
    commits = log(root, [place] if place else [], line=f"{first}..{last}" if first else last)
    state = _State(root, wanted, last)
    if isinstance(state.problem, NotFoundError):
        raise state.problem
    found: list[Version] = []
    for commit in commits:
        if not state.may_change(_below(place, commit)):
            continue
        if not isinstance(state.problem, NotFoundError):
            found.append(state.version(commit))
        elif state.wanted.version:  # a release or label that isn't there yet; how to look for it is everybody's
            break
        before = state.before(commit.commit, place)
        if before is None:
            break
        state = before
    return found, state.wanted


def _below(place: str, commit: Commit) -> Iterator[str]:
    return (file[len(place) :] for file in commit.files if file.startswith(place))


class _State:
    """A prompt at a commit, with the files that decided it."""

    def __init__(self, root: Path, wanted: Reference, commit: str) -> None:
        self.root = root
        self.wanted = wanted
        self.prompt: FilePrompt | None = None
        self.problem: LlmopsError | None = None
        store = PromptStore(root, commit, watch=False)
        store.tree = self._seen = _Seen(store.tree)
        try:
            self.prompt = store.load(str(Reference(wanted.name, wanted.version)))
        except LlmopsError as problem:
            self.problem = problem

    def version(self, commit: Commit) -> Version:
        reference = Reference(self.wanted.name, self.wanted.version, commit.commit)
        return Version(reference, commit.commit, commit.date, commit.author, commit.subject, self.prompt, self.problem)

    def may_change(self, files: Iterable[str]) -> bool:
        """False when none of `files` was read, looked for or listed."""
        folders = tuple(folder and folder + "/" for folder in self._seen.folders)
        return any(file in self._seen.names or file.startswith(folders) for file in files)

    def before(self, commit: str, place: str) -> _State | None:
        """The state before a commit, by the name the prompt had then; None before the first commit."""
        at = git.existing(self.root)
        try:
            parent = git.commit_id(f"{commit}^", at)
        except InputError:
            return None
        state = _State(self.root, self.wanted, parent)
        if isinstance(state.problem, NotFoundError) and not self.wanted.version:
            old = _old_name(at, parent, commit, f"{place}{self.wanted.name}{SUFFIX}")
            if old.startswith(place) and old.endswith(SUFFIX):
                return _State(self.root, Reference(old[len(place) : -len(SUFFIX)]), parent)
        return state


def _old_name(at: Path, parent: str, commit: str, file: str) -> str:
    """What a file was called before a commit that renamed it, or empty."""
    said = git.text(at, "diff-tree", "-r", "-z", "-M", "--name-status", "--diff-filter=R", parent, commit)
    fields = said.split("\0")
    return dict(zip(fields[2::3], fields[1::3], strict=False)).get(file, "")


def distinct(versions: Iterable[Version]) -> Iterator[Version]:
    """Without those that are as the one before."""
    kept: Version | None = None
    for version in versions:
        if kept is None or not version.is_as(kept):
            yield version
        kept = version


def _said(version: Version) -> str:
    return version.problem.message if version.problem is not None else ""


class _Seen:
    """A tree that notes what is read and listed, and reads a file once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.names: dict[str, bytes | None] = {}
        self.folders: set[str] = set()

    def read(self, name: str, *, where: str = "", limit: int = MAX_SOURCE_BYTES) -> bytes | None:
        if name not in self.names:
            self.names[name] = None  # noted before it is read, for it may not be readable
            self.names[name] = self._tree.read(name, where=where, limit=limit)
        return self.names[name]

    def files(self, folder: str = "") -> Iterator[str]:
        self.folders.add(folder)
        return self._tree.files(folder)

    def shown(self, name: str) -> str:
        return self._tree.shown(name)

    def path(self, name: str) -> Path | None:
        return self._tree.path(name)
