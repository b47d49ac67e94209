"""The commits that touched a prompt's files, and those files as they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops import git


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit did to a file: a letter (A added, M changed, D deleted, R renamed), its blobs before and after."""

    status: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: full id, author's name, author's date (ISO 8601), first line, and the files it touched.

    Names start at the repository's top; a renamed file has its new one.
    """

    commit: str
    author: str
    date: str
    subject: str
    files: dict[str, Change]


def log(
    folder: Path, names: Sequence[str], *, follow: bool = False, limit: int | None = None, line: str = ""
) -> list[Commit]:
    """Commits that touched any of the files or folders `names`, newest first, children before their parents.

    Names start at the top of the repository that `folder` is in; without any, all files count. `follow` goes past
    renames, for one name. `line` (a commit, or `older..newer`) takes only first parents from there: a merge is one
    commit with all that it brought, and a renamed file is one deleted and one added. Raises `InputError` when there
    is no git or no repository.
    """
    at = git.existing(folder)
    if not git.has_commit(at):
        return []
    asked = [line, "--first-parent", "-m", "--no-renames"] if line else ["--follow" if follow else "--date-order"]
    asked += [f"--max-count={limit}"] if limit is not None else []
    said = git.text(
        at, "log", "-z", "--raw", "--no-abbrev", "-O/dev/null", "--no-ext-diff", "--no-color", "--encoding=UTF-8",
        "--format=%H%x00%an%x00%aI%x00%s", *asked, "--", *map(git.exactly, names),
    )  # fmt: skip
    return _commits(said.split("\0"))


def _commits(fields: list[str]) -> list[Commit]:
    """Commits from what git prints: four fields each, then `:modes blobs status` and one or two names a file."""
    found: list[Commit] = []
    left = iter(fields)
    for field in left:
        about = field.removeprefix("\n")
        if about.startswith(":"):
            _, _, before, after, status = about.split(" ")
            name = next(left)
            if status[0] in "RC":
                name = next(left)
            found[-1].files[name] = Change(status[0], before, after)
        elif about:
            found.append(Commit(about, next(left), next(left), next(left), {}))
    return found


def blobs(folder: Path, object_ids: Iterable[str]) -> dict[str, bytes]:
    """The contents of blobs by their ids, asked for all at once."""
    wanted = [one for one in dict.fromkeys(object_ids) if one.strip("0")]
    if not wanted:
        return {}
    said = git.run(git.existing(folder), "cat-file", "--batch", given="".join(f"{one}\n" for one in wanted).encode())
    found: dict[str, bytes] = {}
    start = 0
    for one in wanted:
        end = said.index(b"\n", start)
        about = said[start:end].split(b" ")
        start = end + 1
        if len(about) == 3:  # else: missing
            size = int(about[2])
            found[one] = said[start : start + size]
            start += size + 1
    return found
