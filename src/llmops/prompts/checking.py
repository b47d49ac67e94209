"""The proof that a prompt store is sound: every release is what was released, every label leads somewhere, every
working prompt loads, declares what it uses and uses what it declares, and none holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmops.errors import InputError, LlmopsError
from llmops.prompts.labels import Labels, read_labels, without_labels
from llmops.prompts.parallel import mapped
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.problems import Problem
from llmops.prompts.reading import Reading
from llmops.prompts.references import check_name
from llmops.prompts.release_checks import check_folders, release_folders, secrets_in
from llmops.prompts.trees import WorkTree, working_names

CONFLICT = re.compile(rb"^<<<<<<< ", re.M)
CONFLICT_MIDDLE = re.compile(rb"^=======\r?$", re.M)
# Lines that look meant to start a message: another spelling of a role, or a role of other formats.
ROLE_LIKE = re.compile(
    rb"^((?:System|SYSTEM|User|USER|Assistant|ASSISTANT|sytem|sistem|systen|usr|uesr|users|asistant|assitant|"
    rb"assistent|ai|AI|human|Human|developer|Developer|model|tool|function):)[ \t\r]*$",
    re.M,
)


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
    folders, found.problems = release_folders(tree)
    for folder, (content_ids, problems) in zip(folders, mapped(partial(check_folders, root), folders), strict=True):
        found.releases += len(content_ids)
        found.content_ids[folder.name] = content_ids
        found.problems += problems
    _check_labels(tree, found)
    released = [(name, tuple(found.content_ids.get(name, {}).values())) for name in working_names(tree)]
    found.prompts = len(released)
    for problems in mapped(partial(_check_prompts, root), released):
        found.problems += problems
    return found


def _check_prompts(root: Path, released: Sequence[tuple[str, Collection[str]]]) -> list[list[Problem]]:
    tree = WorkTree(root, keep=True)
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
    conflict = CONFLICT.search(data) if b"<<<<<<< " in data else None
    if conflict and CONFLICT_MIDDLE.search(data, conflict.end()):
        line = data.count(b"\n", 0, conflict.start()) + 1
        message = "a merge conflict is left in it"
        yield Problem(f"{tree.shown(file)}:{line}", message, "keep one side, and delete the markers", "conflict")
    yield from secrets_in(tree, file, data)
    body = max(data.find(b"\n---", 3), 0) if data.startswith(b"---") else 0  # keys of the front matter are no messages
    if main and (odd := ROLE_LIKE.search(data, body)):
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
