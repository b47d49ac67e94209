"""The proof that a prompt store is sound: every release is what was released, every label leads somewhere, every
working prompt loads, declares what it uses and uses what it declares, and none holds a secret.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmops.errors import InputError, LlmopsError
from llmops.prompts.atomic import TEMPORARY
from llmops.prompts.labels import Labels, read_labels
from llmops.prompts.leaks import find_secrets, has_marks
from llmops.prompts.parallel import mapped
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.problems import Problem
from llmops.prompts.reading import Reading
from llmops.prompts.releases import MARK, release_file, release_number, verified
from llmops.prompts.skill_releases import MANIFEST, skill_content
from llmops.prompts.trees import RELEASES, WorkTree, working_names

ORDINARY = frozenset(("labels.yaml", ".gitattributes", ".gitignore", ".gitkeep"))


@dataclass
class Checked:
    """What a check went through: how many of each, content ids by prompt and version, and what was wrong."""

    problems: list[Problem] = field(default_factory=list)
    prompts: int = 0
    skills: int = 0
    releases: int = 0
    labels: int = 0
    content_ids: dict[str, dict[int, str]] = field(default_factory=dict)

    def fail(self, error: LlmopsError, rule: str) -> None:
        """Keep an error as a problem."""
        self.problems.append(Problem(error.where, error.message, error.hint, rule))


def check_store(root: Path) -> Checked:
    """Check all prompts, releases and labels under a prompts folder. Skills and callers are checked elsewhere."""
    found, tree = Checked(), WorkTree(root)
    _check_releases(tree, found)
    _check_labels(tree, found)
    released = [(name, tuple(found.content_ids.get(name, {}).values())) for name in working_names(tree)]
    found.prompts = len(released)
    for problems in mapped(partial(_check_prompts, root), released):
        found.problems += problems
    return found


def _check_prompts(root: Path, released: Sequence[tuple[str, Collection[str]]]) -> list[list[Problem]]:
    tree = WorkTree(root)
    return [check_prompt(tree, name, content_ids) for name, content_ids in released]


def check_prompt(tree: WorkTree, name: str, released: Collection[str] = ()) -> list[Problem]:
    """What is wrong with one working prompt.

    One whose content id is among those `released` passed this check before its release, and isn't parsed again.
    """
    file = name + SUFFIX
    try:
        data = tree.read(file) or b""
        read = Reading(tree, file, name, data=data)
        if read.content_id in released:
            return []
        read.check()
    except InputError as error:
        return [Problem(error.where, error.message, error.hint, "prompt")]
    return [*_declarations(read), *_secrets(tree, file, data)]


def _declarations(read: Reading) -> Iterator[Problem]:
    declared, used = read.front.inputs, read.used
    if declared is None and used:
        name = next(iter(used))
        message = f"{', '.join(used)} {'is' if len(used) == 1 else 'are'} not declared"
        where = read.sources.where(used[name])
        yield Problem(where, message, f"add inputs: {{{name}: string}} to the front matter", "undeclared", "warning")
    for name, one in (declared or {}).items():
        if name not in used:
            yield Problem(one.where, f"input {name} is declared but no template uses it", "", "unused")


def _secrets(tree: WorkTree, file: str, data: bytes) -> Iterator[Problem]:
    if has_marks(data):
        hint = "take it out, and replace it where it is valid: it is in the history"
        for line, kind in find_secrets(data.decode("utf-8", "replace")):
            yield Problem(f"{tree.shown(file)}:{line}", f"holds what looks like {kind}", hint, "secret")


def _check_releases(tree: WorkTree, found: Checked) -> None:
    """Every file under releases/. Written for tens of thousands: no parsing, one read and one hash a file."""
    top = os.fspath(tree.root / RELEASES)
    waiting = [top] if os.path.isdir(top) else []  # noqa: PTH112  (strings throughout: Path objects cost as much)
    while waiting:
        folder = waiting.pop()
        name = folder[len(top) + 1 :].replace(os.sep, "/")
        numbers: dict[int, str] = {}
        folders: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                number = release_number(entry.name)
                if number is not None:
                    numbers[number] = entry.name
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.name not in ORDINARY:
                    _check_stray(tree, name, entry.name, found)
        copies = {str(number) for number, file in numbers.items() if file.endswith(MANIFEST)}
        waiting += [
            f"{folder}{os.sep}{one}" for one in folders if one not in copies and _is_kept(tree, name, one, found)
        ]
        if numbers:
            _check_numbers(tree, name, sorted(numbers), found)
            found.content_ids[name] = _content_ids(tree, folder, name, numbers, found)


def _is_kept(tree: WorkTree, name: str, folder: str, found: Checked) -> bool:
    if folder.startswith(TEMPORARY):
        _check_stray(tree, name, folder, found)
        return False
    return True


def _check_stray(tree: WorkTree, name: str, file: str, found: Checked) -> None:
    where = tree.shown(f"{RELEASES}/{name}/{file}" if name else f"{RELEASES}/{file}")
    if file.startswith(TEMPORARY):
        problem = Problem(where, "left behind by a write that was interrupted", "delete it", "stray", "warning")
    else:
        problem = Problem(where, "no release", "releases are files such as 1.prompt.md", "stray", "warning")
    found.problems.append(problem)


def _check_numbers(tree: WorkTree, name: str, numbers: list[int], found: Checked) -> None:
    missing = sorted(set(range(1, numbers[-1] + 1)).difference(numbers))
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        message = f"{name} has version {numbers[-1]} but not {shown}"
        where = tree.shown(release_file(name, numbers[-1]))
        found.problems.append(Problem(where, message, "restore what was deleted", "gap"))
    if numbers[0] == 0:
        found.problems.append(Problem(tree.shown(release_file(name, 0)), "versions start at 1", "", "gap"))


def _content_ids(tree: WorkTree, folder: str, name: str, numbers: Mapping[int, str], found: Checked) -> dict[int, str]:
    """Content ids by version; empty for a release that isn't what was released."""
    known: dict[int, str] = {}
    opening = b"---\nprompt: %s\nversion: " % name.encode()
    for number, file in numbers.items():
        found.releases += 1
        known[number] = ""
        try:
            if file.endswith(MANIFEST):
                known[number] = skill_content(tree, name, number)
                continue
            data = _bytes(f"{folder}{os.sep}{number}{SUFFIX}")
            mark = MARK.search(data)
            start = opening + b"%d\n" % number
            if mark and data.startswith(start) and hashlib.sha256(data[mark.end() :]).hexdigest().encode() == mark[1]:
                known[number] = mark[1].decode()
            else:
                known[number] = verified(data, name, number, tree.shown(release_file(name, number)))
        except OSError as problem:
            where = tree.shown(release_file(name, number))
            found.problems.append(Problem(where, f"can't be read: {problem.strerror}", "", "release"))
        except InputError as error:
            found.fail(error, "release")
        else:
            if number == max(numbers):  # older ones were the newest once, and git has them anyway
                found.problems += _secrets(tree, release_file(name, number), data)
    return known


def _bytes(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, 65536)
        while len(data) >= 65536 and (more := os.read(handle, 1 << 20)):
            data += more
        return data
    finally:
        os.close(handle)


def _check_labels(tree: WorkTree, found: Checked) -> None:
    try:
        labels = read_labels(tree)
    except InputError as error:
        found.fail(error, "label")
        return
    found.labels = sum(map(len, labels.values()))
    found.problems += _lost_labels(labels, found)


def _lost_labels(labels: Labels, found: Checked) -> Iterator[Problem]:
    for name, mine in labels.items():
        known = found.content_ids.get(name, {})
        for label in mine.values():
            targets = [label.version, *label.before] if label.version else [int(t) for t in label.route if t.isdigit()]
            for target in targets:
                if target not in known:
                    hint = f"released: {', '.join(map(str, sorted(known)))}" if known else f"{name} has no release"
                    yield Problem(label.where, f"{label.name} of {name}: there is no version {target}", hint, "label")
