"""A prompt file read and checked, without compiling it: enough to say what it is and whether it is sound."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops.errors import PromptError, did_you_mean
from llmops.prompts.compiling import Checked, check_message
from llmops.prompts.expanding import Expanded, Sources, expand
from llmops.prompts.few_shot import read_few_shot
from llmops.prompts.frontmatter import FrontMatter, read_front_matter
from llmops.prompts.parsing import Role, decode, parse
from llmops.prompts.trees import Tree
from llmops.prompts.writing import block
from llmops.yamlfile import Document

FEW_SHOT = "few_shot"
Stamp = tuple[int, int, int, int] | None


class Reading:
    """One prompt file as it was read from a tree.

    `file` is its name from the prompts folder. Raises `PromptError` with `file:line` for what can't be read; `check`
    raises for what is wrong in the templates.
    """

    def __init__(self, tree: Tree, file: str, name: str, *, released: bool = False, data: bytes | None = None) -> None:
        self.name = name
        self.file = file
        self.tree = tree
        self.finder = _Finder(tree)
        self.sources = Sources(self.finder.partial, tree.shown, [file])
        shown = tree.shown(file)
        if data is None:
            data = tree.read(file)
        if data is None:
            raise PromptError("can't be read: no such file", where=f"{shown}:1")
        parsed = parse(decode(data, shown), shown)
        self.document = parsed.front
        self.front: FrontMatter = read_front_matter(parsed.front, self._rows, released=released)
        self.expanded: tuple[tuple[Role, Expanded], ...] = tuple(
            (message.role, expand(message.text, 0, message.line, self.sources)) for message in parsed.messages
        )
        self.texts: tuple[tuple[Role, str], ...] = tuple((role, one.text) for role, one in self.expanded)

    def _rows(self, value: Any, front: Document) -> tuple[Mapping[str, str], ...]:
        def find(name: str, where: str) -> tuple[str, str]:
            file, text = self.finder.partial(name, self.file, where, what="file")
            self.sources.add(file)
            return self.tree.shown(file), text

        return read_few_shot(value, front, find)

    @cached_property
    def frozen(self) -> str:
        """What a release holds below its content id: everything that decides a request, in one fixed form."""
        messages = "\n".join(f"{role}:\n{text}\n" for role, text in self.texts)  # which `expand` made fit for a file
        return f"{block(self.front.deciding())}---\n{messages}"

    @cached_property
    def content_id(self) -> str:
        """sha256 (64 hex digits) of what is frozen."""
        return hashlib.sha256(self.frozen.encode()).hexdigest()

    @cached_property
    def used(self) -> dict[str, int]:
        """Variables of the templates, and the numbered line each is first used on; few-shot examples aside."""
        found: dict[str, int] = {}
        for checked in self._checked:
            for variable, line in checked.variables.items():
                found.setdefault(variable, line)
        if self.front.few_shot:
            found.pop(FEW_SHOT, None)
        return found

    @cached_property
    def _checked(self) -> tuple[Checked, ...]:
        return tuple(check_message(one, self.sources) for _, one in self.expanded)

    def check(self) -> tuple[Checked, ...]:
        """The messages' syntax trees. Raises `PromptError` when a template is wrong or uses what isn't declared."""
        declared = self.front.inputs
        for name, line in self.used.items():
            if declared is not None and name not in declared:
                close = did_you_mean(name, declared)
                hint = close if close.startswith("did") else "add it to inputs in the front matter"
                message = f"the template uses {name!r}, which inputs doesn't declare"
                raise PromptError(message, where=self.sources.where(line), hint=hint)
        if self.front.few_shot and FEW_SHOT in (declared or {}):
            raise PromptError(f"{FEW_SHOT} can't be an input beside few_shot:", where=self.document.where((FEW_SHOT,)))
        return self._checked

    @property
    def few_shot_at(self) -> int | None:
        """The message that the few-shot examples go before: the last user message."""
        if not self.front.few_shot or any(FEW_SHOT in checked.variables for checked in self._checked):
            return None
        last = [i for i, (role, _) in enumerate(self.texts) if role == "user"]
        return last[-1] if last else len(self.texts)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file and all it includes, where they have paths."""
        return tuple(path for name in self.sources.files if (path := self.tree.path(name)))

    @property
    def stamps(self) -> Mapping[Path, Stamp]:
        """Stamps of included files, from before they were read."""
        return self.finder.stamps

    @property
    def absent(self) -> tuple[Path, ...]:
        """Where a partial was looked for before it was found."""
        return tuple(path for name in self.finder.absent if (path := self.tree.path(name)))


def stamp_of(path: Path) -> Stamp:
    """What changes when a file does; None when there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    # Two writes may fall into one tick of the clock: each has an inode of its own when it replaced the file.
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


class _Finder:
    """Finds partials for one prompt: beside the including file, then in the prompts folder, never outside it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.absent: list[str] = []
        self.stamps: dict[Path, Stamp] = {}

    def partial(self, name: str, includer: str, where: str, *, what: str = "partial") -> tuple[str, str]:
        parts = name.split("/")
        if not name.strip() or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            hint = "name a file in the prompt's folder or from the prompts folder"
            raise PromptError(f"include of {name!r:.80} isn't allowed", where=where, hint=hint)
        folder = posixpath.dirname(includer)
        for file in dict.fromkeys((posixpath.join(folder, name), name)):
            path = self.tree.path(file)
            if path is not None:
                self.stamps.setdefault(path, stamp_of(path))
            data = self.tree.read(file, where=where)
            if data is not None:
                return file, decode(data, self.tree.shown(file))
            self.absent.append(file)
        known = (posixpath.basename(file) for file in self.tree.files(folder) if posixpath.dirname(file) == folder)
        near = [file for file in known if file.startswith("_")]
        raise PromptError(f"no {what} {name!r:.80}", where=where, hint=did_you_mean(name, near))
