"""The proof that a prompt store is sound: every release is what was released, every label leads somewhere, every
working prompt loads, declares what it uses and uses what it declares, and none holds a secret.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmops.errors import InputError, LlmopsError, PromptError
from llmops.prompts.agent_skills.skill_releases import MANIFEST, skill_content
from llmops.prompts.atomic import TEMPORARY
from llmops.prompts.labels import Labels, read_labels, without_labels
from llmops.prompts.leaks import find_secrets, has_marks
from llmops.prompts.parallel import mapped
from llmops.prompts.parsing import MAX_SOURCE_BYTES, SUFFIX
from llmops.prompts.problems import Problem
from llmops.prompts.reading import Reading
from llmops.prompts.references import check_name
from llmops.prompts.releases import HEAD, release_file, release_number, verified
from llmops.prompts.trees import RELEASES, WorkTree, working_names

CONFLICT = re.compile(rb"^<<<<<<< .*\n(?:.*\n)*?=======\n", re.M)
# Lines that look meant to start a message: another spelling of a role, or a role of other formats.
ROLE_LIKE = re.compile(
    rb"^[ \t]*((?:System|SYSTEM|User|USER|Assistant|ASSISTANT|sytem|sistem|systen|usr|uesr|users|asistant|assitant|"
    rb"assistent|ai|AI|human|Human|developer|Developer|model|tool|function):)[ \t\r]*$",
    re.M,
)
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
        check_name(name, tree.shown(file))
        data = tree.read(file) or b""
        read = Reading(tree, file, name, data=data)
        found = [problem for one in read.sources.files for problem in _file_problems(tree, one, data, one == file)]
        if read.content_id in released and read.front.inputs is not None:
            return found
        read.check()
    except InputError as error:
        return [Problem(error.where, error.message, error.hint, "prompt")]
    return [*found, *_declarations(read)]


def _file_problems(tree: WorkTree, file: str, data: bytes, main: bool) -> Iterator[Problem]:
    """What is wrong with the text of a prompt file, or of what it includes: conflicts, secrets, misspelt roles."""
    data = data if main else tree.read(file) or b""
    if b"<<<<<<< " in data and (conflict := CONFLICT.search(data)):
        line = data.count(b"\n", 0, conflict.start()) + 1
        message = "a merge conflict is left in it"
        yield Problem(f"{tree.shown(file)}:{line}", message, "keep one side, and delete the markers", "conflict")
    yield from _secrets(tree, file, data)
    if main and (odd := ROLE_LIKE.search(data)):
        line = data.count(b"\n", 0, odd.start()) + 1
        role = odd[1].decode()
        hint = "a message starts at a line that is exactly system:, user: or assistant:"
        yield Problem(f"{tree.shown(file)}:{line}", f"{role} starts no message", hint, "role", "warning")


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
        odd: set[int] = set()
        with os.scandir(folder) as entries:
            for entry in entries:
                number = release_number(entry.name)
                if number is not None:
                    numbers[number] = entry.name
                    odd |= set() if entry.is_file(follow_symlinks=False) else {number}
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.name not in ORDINARY:
                    _check_stray(tree, name, entry.name, found)
        copies = {str(number) for number, file in numbers.items() if file.endswith(MANIFEST)}
        waiting += [
            f"{folder}{os.sep}{one}" for one in folders if one not in copies and _is_kept(tree, name, one, found)
        ]
        if numbers:
            _check_numbers(tree, name, sorted(numbers), found)
            found.content_ids[name] = _content_ids(tree, folder, name, numbers, odd, found)


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


def _content_ids(
    tree: WorkTree, folder: str, name: str, numbers: Mapping[int, str], odd: Collection[int], found: Checked
) -> dict[int, str]:
    """Content ids by version; empty for a release that isn't what was released. `odd` ones are no regular files."""
    known: dict[int, str] = {}
    opening = b"---\nprompt: %s\nversion: " % os.fsencode(name)
    for number, file in numbers.items():
        found.releases += 1
        known[number] = ""
        try:
            if file.endswith(MANIFEST):
                known[number] = skill_content(tree, name, number)
                continue
            data = _linked(tree, name, number) if number in odd else _bytes(f"{folder}{os.sep}{number}{SUFFIX}")
            mark = HEAD.match(data)
            start = opening + b"%d\n" % number
            if mark and data.startswith(start) and hashlib.sha256(data[mark.end() :]).hexdigest().encode() == mark[3]:
                known[number] = mark[3].decode()
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


def _linked(tree: WorkTree, name: str, number: int) -> bytes:
    data = tree.read(release_file(name, number))
    if data is None:
        raise PromptError("is no file", where=tree.shown(release_file(name, number)))
    return data


def _bytes(path: str) -> bytes:
    """A regular file's bytes, up to more than a prompt may have."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, 65536)
        while 65536 <= len(data) <= MAX_SOURCE_BYTES and (more := os.read(handle, 1 << 20)):
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
    if not all(labels.values()):
        for name, where in without_labels(tree):
            hint = "two branches may have written the same line: write its label again, or delete the name"
            found.problems.append(Problem(where, f"{name} has no labels", hint, "label"))


def _lost_labels(labels: Labels, found: Checked) -> Iterator[Problem]:
    for name, mine in labels.items():
        known = found.content_ids.get(name, {})
        for label in mine.values():
            targets = [label.version, *label.before] if label.version else [int(t) for t in label.route if t.isdigit()]
            for target in targets:
                if target not in known:
                    hint = f"released: {', '.join(map(str, sorted(known)))}" if known else f"{name} has no release"
                    yield Problem(label.where, f"{label.name} of {name}: there is no version {target}", hint, "label")
