"""A prompt being read: what was found so far, what was left out, and the checks at the end."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError

from llmops.errors import PromptError
from llmops.prompts.environment import environment
from llmops.prompts.formats.jinja_text import Names, fit
from llmops.prompts.formats.plain import shown
from llmops.prompts.formats.shapes import Imported
from llmops.prompts.formats.variables import kinds, unsupported
from llmops.prompts.parsing import MAX_SOURCE_BYTES, Role, parse

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "ai": "assistant", "model": "assistant",
}  # fmt: skip
_ORDER = ("description", "model", "parameters", "inputs", "output", "tools", "tags", "owner")
_SUFFIXES = re.compile(r"(\.prompt)?\.(prompty|prompt|json|ya?ml|txt|j2|jinja2?|md)$")


class Draft:
    """Collects one prompt. `file` is the file as errors show it; `name` what the source calls the prompt."""

    def __init__(self, file: str, name: Any = None) -> None:
        self.file = file
        self.name = (slug(name) if isinstance(name, str) else "") or stem(file)
        self.front: dict[str, Any] = {}
        self.names = Names()
        self.inputs: dict[str, dict[str, Any]] = {}
        self._messages: list[tuple[Role, str, int]] = []
        self._lost: list[str] = []

    def lose(self, line: str) -> None:
        """Note what isn't carried over."""
        self._lost.append("".join(c if c.isprintable() else "?" for c in line[:300]))

    def lose_keys(self, data: Mapping[str, Any], known: Collection[str], where: str = "") -> None:
        """Note every key that isn't known and has a value."""
        for key, value in data.items():
            if key not in known and value is not None and value not in ("", [], {}):
                self.lose(f"{where}{key!r:.60}: there is no place for it")

    def keep(self, key: str, value: Any) -> None:
        """Put a value into the front matter, unless there is none."""
        if value is not None and value not in ("", [], {}):
            self.front[key] = value

    def parameter(self, key: str, value: Any) -> None:
        """Put a value under `parameters`."""
        if value is not None:
            self.front.setdefault("parameters", {})[key] = value

    def declare(self, theirs: str, form: Mapping[str, Any]) -> str:
        """Declare an input by the source's name for it. Returns ours."""
        ours = self.names.name(theirs)
        self.inputs.setdefault(ours, {}).update(form)
        return ours

    def add(self, role: Any, source: str, where: str, line: int = 0) -> None:
        """Add a message's template. `line` is where in the file it starts, 0 if that isn't known."""
        ours = _ROLES.get(role.lower()) if isinstance(role, str) else None
        if ours is None:
            self.lose(f"{where}: left out, since there is no role {shown(role)}")
            return
        if str(role).lower() == "developer":
            self.lose(f"{where}: the role developer became system")
        self._messages.append((ours, source, line))

    @property
    def count(self) -> int:
        return len(self._messages)

    def finish(self) -> Imported:
        """The prompt. Raises `PromptError` when it could not be one of ours."""
        if not self._messages:
            raise PromptError("there is no message to import", where=self.file)
        if sum(len(source) for _, source, _ in self._messages) > MAX_SOURCE_BYTES:
            raise PromptError(f"larger than {MAX_SOURCE_BYTES:,} bytes as a prompt file", where=self.file)
        messages = [(role, self._checked(source, n, line)) for n, (role, source, line) in enumerate(self._messages, 1)]
        for theirs, ours in self.names.renamed.items():
            self.lose(f"variable {shown(theirs)} is called {ours} here")
        if self.inputs:
            self.front["inputs"] = {name: _short(form) for name, form in self.inputs.items()}
        front = {key: self.front[key] for key in _ORDER if key in self.front}
        made = Imported(self.name, front, messages, tuple(dict.fromkeys(self._lost)))
        self._check_file(made)
        return made

    def _checked(self, source: str, number: int, line: int) -> str:
        """A message's template in the form a file holds, once its variables are declared."""
        where = f"{self.file}:{line}" if line else self.file
        try:
            made = fit(source)
            tree = environment().parse(made)
            left_over = unsupported(tree)
            found = kinds(tree)
        except TemplateSyntaxError as problem:
            where = f"{self.file}:{line + problem.lineno - 1}" if line else self.file
            raise PromptError(f"message {number}: {problem.message}", where=where) from None
        except (RecursionError, MemoryError, SyntaxError):
            raise PromptError(f"message {number} is nested too deeply", where=where) from None
        except (ValueError, OverflowError, AssertionError) as problem:
            raise PromptError(f"message {number} isn't a template: {shown(str(problem))}", where=where) from None
        for name, kind in found.items():
            self.inputs.setdefault(name, {}).setdefault("type", kind)
        for what in left_over:
            self.lose(f"message {number}: {what}")
        return made

    def _check_file(self, made: Imported) -> None:
        """Read the file back, as it will be."""
        from llmops.prompts.frontmatter import read_front_matter

        for name in made.front.get("inputs", ()):
            if not name.isidentifier():
                raise PromptError(f"{shown(name)} can't be a variable's name", where=self.file)
        try:
            text = made.text
            if len(text.encode()) > MAX_SOURCE_BYTES:
                raise PromptError(f"larger than {MAX_SOURCE_BYTES:,} bytes as a prompt file")
            read_front_matter(parse(text, self.file).front, lambda value, front: ())
        except UnicodeEncodeError:
            raise PromptError("holds half of a surrogate pair, which isn't text", where=self.file) from None
        except PromptError as problem:
            raise PromptError(problem.message, where=self.file, hint=problem.hint) from None


def _short(form: Mapping[str, Any]) -> Any:
    full = {"type": "any", **form}
    return full["type"] if set(full) == {"type"} and isinstance(full["type"], str) else full


def slug(text: str) -> str:
    """A name that a prompt file can have, or nothing."""
    parts = (re.sub(r"[^\w.-]+", "-", part).strip("-. ")[:80] for part in text.split("/")[:8])
    return "/".join(part for part in parts if part and part.isprintable())


def stem(file: str) -> str:
    """A prompt's name from its file's."""
    return slug(_SUFFIXES.sub("", file.replace("\\", "/").rsplit("/", 1)[-1])) or "prompt"
