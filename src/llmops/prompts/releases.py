"""Releases: numbered prompts as files that never change, each with the hash of its own content.

A release's front matter starts with what names it and what is written for people. Everything below its content id
decides requests, in one fixed form, and the content id is the sha256 of exactly those bytes: a file proves itself.
"""

from __future__ import annotations

import hashlib
import os
import re

from llmops.errors import NotFoundError, PromptError, did_you_mean
from llmops.prompts import atomic
from llmops.prompts.parsing import MAX_SOURCE_BYTES, SUFFIX
from llmops.prompts.reading import Reading
from llmops.prompts.references import check_name
from llmops.prompts.release_files import HINT, Release, prepare, release_file, versions
from llmops.prompts.trees import RELEASES, Tree, WorkTree, working_names
from llmops.prompts.writing import block

MARK = re.compile(rb"^content_id: ([0-9a-f]{64})\n", re.M)
# All that may stand above the content id: what names the release, and what is written for people.
HEAD = re.compile(
    rb"---\nprompt: ([^\n]+)\nversion: ([0-9]+)\n(?:description: [^\n]*\n)?(?:tags:[^\n]*\n(?:  - [^\n]*\n)*)?"
    rb"(?:owner: [^\n]*\n)?content_id: ([0-9a-f]{64})\n"
)
LF = b"\n"


def release_text(read: Reading, version: int) -> str:
    """A prompt as its release `version`."""
    head = block({"prompt": read.name, "version": version, **read.front.about()})
    return f"---\n{head}content_id: {read.content_id}\n{read.frozen}"


def verified(data: bytes, name: str, version: int, shown: str) -> str:
    """The content id of a release's bytes. Raises `PromptError` when they aren't what was released."""
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    head = HEAD.match(data)  # nearly always all there is to do
    if head and head[1] == os.fsencode(name) and head[2] == b"%d" % version and _is_hash(head[3], data[head.end() :]):
        return head[3].decode()
    mark = MARK.search(data)
    if mark is None:
        raise PromptError("not a whole release: it has no content id", where=f"{shown}:1", hint=HINT)
    line = data.count(b"\n", 0, mark.start()) + 1
    if b"<<<<<<< " in data:
        where = f"{shown}:{data.count(LF, 0, data.index(b'<<<<<<< ')) + 1}"
        hint = "two branches released this number: keep one, and release the other's change as the next version"
        raise PromptError("a merge conflict is left in it", where=where, hint=hint)
    if not _is_hash(mark[1], data[mark.end() :]):
        message = "not what was released: the text below doesn't match this content id"
        raise PromptError(message, where=f"{shown}:{line}", hint=HINT)
    if not data.startswith(f"---\n{block({'prompt': name, 'version': version})}".encode()):
        message = f"not {name} version {version}: its first lines name another prompt or version"
        raise PromptError(message, where=f"{shown}:2", hint=HINT)
    if HEAD.match(data) is None:
        message = "not what was released: only description, tags and owner may stand above the content id"
        raise PromptError(message, where=f"{shown}:{line}", hint=HINT)
    return mark[1].decode()


def _is_hash(digits: bytes, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest().encode() == digits


def read_release(tree: Tree, name: str, version: int, where: str = "") -> Reading:
    """A release, verified. Raises `NotFoundError` when there is none and `PromptError` when it was changed."""
    file = release_file(name, version)
    data = tree.read(file, where=where)
    if data is None:
        known = versions(tree, name)
        hint = f"released: {', '.join(map(str, known))}" if known else f"llmops prompt release {name} makes the first"
        raise NotFoundError(f"{name} has no version {version}", where=where, hint=hint)
    content_id = verified(data, name, version, tree.shown(file))
    read = Reading(tree, file, name, released=True, data=data)
    read.__dict__["content_id"] = content_id
    return read


def content_of(tree: Tree, name: str, version: int) -> str:
    """The content id of a release, of a prompt or a skill, verified but not parsed."""
    data = tree.read(release_file(name, version))
    if data is None and isinstance(tree, WorkTree):
        from llmops.prompts.agent_skills.skill_releases import skill_content

        return skill_content(tree, name, version)
    if data is None:
        raise NotFoundError(f"{name} has no version {version}")
    return verified(data, name, version, tree.shown(release_file(name, version)))


def find_content(tree: Tree, name: str, start: str) -> Release | None:
    """The newest release whose content id starts with `start`."""
    for version in reversed(versions(tree, name)):
        content_id = content_of(tree, name, version)
        if content_id.startswith(start):
            return Release(name, version, release_file(name, version), content_id)
    return None


def release(tree: WorkTree, name: str) -> tuple[Release, bool]:
    """Freeze a working prompt as its next version; false with the newest version when nothing that decides changed.

    Raises `PromptError` when the prompt is wrong, and `StoreError` when the file can't be written.
    """
    file = check_name(name) + SUFFIX
    if tree.read(file) is None:
        raise NotFoundError(f"no prompt {name!r:.80}", hint=did_you_mean(name, working_names(tree)))
    read = Reading(tree, file, name)
    read.check()
    prepare(tree.root)
    with atomic.one_at_a_time(tree.root / RELEASES):
        last = max(versions(tree, name), default=0)
        if last and content_of(tree, name, last) == read.content_id:
            return Release(name, last, release_file(name, last), read.content_id), False
        made = Release(name, last + 1, release_file(name, last + 1), read.content_id)
        data = release_text(read, made.version).encode()
        if len(data) > MAX_SOURCE_BYTES:
            what = f"with its partials and examples larger than {MAX_SOURCE_BYTES:,} bytes"
            raise PromptError(what, where=f"{tree.shown(file)}:1")
        _check_same(tree, read, data, made)
        if not atomic.create(tree.root / made.file, data):
            raise PromptError("released by another process just now; try again", where=tree.shown(made.file))
    return made, True


def _check_same(tree: WorkTree, read: Reading, data: bytes, made: Release) -> None:
    """Read the bytes that are about to be frozen for good; they have to give what the working file gives."""
    verified(data, made.name, made.version, tree.shown(made.file))
    again = Reading(tree, made.file, made.name, released=True, data=data)
    if (again.texts, again.front, again.content_id) != (read.texts, read.front, read.content_id):
        message = "can't be frozen without a change; please report it with the prompt"
        raise PromptError(message, where=f"{tree.shown(read.file)}:1")
