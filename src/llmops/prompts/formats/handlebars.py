"""dotprompt's Handlebars as messages of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from llmops.errors import PromptError
from llmops.prompts.formats.double_braces import MAX_DEPTH, Literal, Tag, read_tags
from llmops.prompts.formats.draft import Draft, slug
from llmops.prompts.formats.jinja_text import literal, member, quoted
from llmops.prompts.formats.plain import shown

_WORD = re.compile(r"""(?:[^\s"'=|()\[\]]+=)?(?:"[^"]*"|'[^']*')|(?:\[[^\[\]]*\]|[^\s"'|\[])+|\|[^|]*\|""")
_KEY = re.compile(r"\[[^\[\]]*\]|[^./\[\]]+")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
_LOOP_VALUES = {"@index": "loop.index0", "@first": "loop.first", "@last": "loop.last"}
_OPERATORS = {"ifEquals": "==", "unlessEquals": "!="}


@dataclass(slots=True)
class _Scope:
    word: str
    base: str | None = None  # what plain names are fields of; None when the block keeps the outer one
    ends: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)  # block parameters


class Handlebars:
    """Reads one template into `draft`'s messages."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.scopes: list[_Scope] = []
        self.role = "user"
        self.made: list[str] = []
        self.line = 1
        self.written = 0

    def read(self, template: str, first_line: int) -> None:
        """Add the messages of a template. Raises `PromptError` with the line."""
        self.line = first_line
        for tag in read_tags(template, self.draft.file, first_line, handlebars=True):
            if isinstance(tag, Literal):
                self.made.append(literal(tag.text))
            else:
                self.made.append(self._tag(tag))
        if self.scopes:
            where = f"{self.draft.file}:{self.line}"
            raise PromptError(f"the block {shown(self.scopes[-1].word)} is never closed", where=where)
        self._close()

    def _close(self) -> None:
        text = "".join(self.made)
        self.made = []
        lines = text.split("\n")
        while lines and not lines[0].strip(" \t"):
            lines.pop(0)
        while lines and not lines[-1].strip(" \t"):
            lines.pop()
        if lines:
            whole = "\n".join(lines)
            if whole != text:
                self.draft.lose("line breaks at the start and the end of messages")
            self.written += 1
            self.draft.add(self.role, whole, f"message {self.written}")

    def _tag(self, tag: Tag) -> str:
        words = _WORD.findall(tag.inner)
        self.line = tag.line
        if tag.kind == "!":
            return f"{{# {tag.inner.strip()} #}}" if "#}" not in tag.inner else ""
        if tag.kind == ">":
            return self._partial(words, tag)
        if tag.kind in ("#", "^"):
            return self._open(words, tag)
        if tag.kind == "/":
            return self._end(words, tag)
        if words[:1] == ["else"]:
            return self._else(words[1:], tag)
        return self._value(words, tag)

    def _value(self, words: list[str], tag: Tag) -> str:
        helper, *rest = words or [""]
        options = dict(word.split("=", 1) for word in rest if "=" in word and not word.startswith(('"', "'")))
        if helper == "role" and len(rest) == 1:
            return self._new_message(rest[0].strip("\"'"), tag)
        if helper == "history" and not rest:
            self.draft.lose(f"line {tag.line}: {{{{history}}}}, the place of earlier messages")
            return self._new_message("model", tag)
        if helper == "media" and (url := self.value(options.get("url", ""))):
            if "contentType" in options:
                self.draft.lose(f"line {tag.line}: the content type of the media")
            return f"{{{{ {url} | image }}}}"
        if helper == "json" and rest and (value := self.value(rest[0])):
            self.draft.lose(f"line {tag.line}: JSON is written with spaces behind commas and colons here")
            return f"{{{{ {value} | tojson }}}}"
        value = "" if rest else self.value(helper)
        return f"{{{{ {value} }}}}" if value else self._unknown(tag)

    def _unknown(self, tag: Tag) -> str:
        self.draft.lose(f"line {tag.line}: {shown(tag.source)} stays as text")
        return literal(tag.source)

    def _new_message(self, role: str, tag: Tag) -> str:
        if self.scopes:
            message = "a message that starts inside a block can't be one of ours"
            raise PromptError(message, where=f"{self.draft.file}:{tag.line}", hint="move {{role}} out of the block")
        self._close()
        self.role = role
        return ""

    def _partial(self, words: list[str], tag: Tag) -> str:
        name, *given = words or [""]
        *folder, last = (slug(name.strip("\"'")) or "partial").split("/")
        file = "/".join([*folder, f"_{last}.md"])
        self.draft.lose(f"line {tag.line}: the partial {shown(name)}; save it as {file}")
        if given:
            self.draft.lose(f"line {tag.line}: what is passed to the partial, {shown(' '.join(given))}")
        return f"{{% include {quoted(file)} %}}"

    def _open(self, words: list[str], tag: Tag) -> str:
        word, *rest = words or [""]
        named = [w.strip("| ").split() for w in rest if w.startswith("|")]
        rest = [w for w in rest if not w.startswith("|") and w != "as"]
        scope = _Scope(word)
        self.scopes.append(scope)
        if len(self.scopes) > MAX_DEPTH:
            raise PromptError(f"nested more than {MAX_DEPTH} deep", where=f"{self.draft.file}:{tag.line}")
        value = self.value(rest[0], len(self.scopes) - 1) if rest else ""
        if tag.kind == "^" and not rest:
            word, value, scope.word = "unless", self.value(word, len(self.scopes) - 1), word
        elif word in _OPERATORS and len(rest) == 2:
            other = self.value(rest[1], len(self.scopes) - 1)
            value = f"{value} {_OPERATORS[word]} {other}" if value and other else ""
            word = "if"
        if not value or word not in ("if", "unless", "each", "with"):
            return self._unknown(tag)
        return self._block(word, value, scope, named[0] if named else [])

    def _block(self, word: str, value: str, scope: _Scope, named: list[str]) -> str:
        if word == "each":
            item = self.draft.names.fresh("item")
            scope.base, scope.ends = item, ["{% endfor %}"]
            scope.known = dict(zip(named, (item, "loop.index0"), strict=False))
            return f"{{% for {item} in {value} %}}"
        scope.ends = ["{% endif %}"]
        if word == "with":
            scope.base, scope.known = value, dict(zip(named, (value,), strict=False))
        return f"{{% if {'not ' if word == 'unless' else ''}{value} %}}"

    def _else(self, words: list[str], tag: Tag) -> str:
        scope = self.scopes[-1] if self.scopes else _Scope("")
        if not scope.ends:
            return self._unknown(tag)
        value = self.value(words[1]) if len(words) == 2 and words[0] in ("if", "unless") else ""
        if scope.base is not None:
            scope.base = self._outer(len(self.scopes) - 1)
        if not words:
            return "{% else %}"
        if not value:
            raise PromptError(f"{shown(tag.source)} isn't supported", where=f"{self.draft.file}:{tag.line}")
        test = f"{'not ' if words[0] == 'unless' else ''}{value}"
        if scope.ends[-1] == "{% endif %}":
            return f"{{% elif {test} %}}"
        scope.ends.append("{% endif %}")
        return f"{{% else %}}{{% if {test} %}}"

    def _end(self, words: list[str], tag: Tag) -> str:
        if not self.scopes or words[:1] != [self.scopes[-1].word]:
            raise PromptError(f"{shown(tag.source)} closes nothing", where=f"{self.draft.file}:{tag.line}")
        scope = self.scopes.pop()
        return "".join(reversed(scope.ends)) if scope.ends else literal(tag.source)

    def value(self, word: str, depth: int | None = None) -> str:
        """A path or a constant as an expression of ours; nothing for what can't be one."""
        depth = len(self.scopes) if depth is None else depth
        if word[:1] in "\"'" and len(word) > 1:
            return quoted(word[1:-1])
        if _NUMBER.fullmatch(word) or word in ("true", "false"):
            return word
        if word in _LOOP_VALUES:
            return _LOOP_VALUES[word] if any(s.ends[:1] == ["{% endfor %}"] for s in self.scopes[:depth]) else ""
        while word.startswith("../"):
            depth = max((i for i in range(depth) if self.scopes[i].base is not None), default=-1)
            word = word[3:]
            if depth < 0:
                return ""
        if word.startswith("@root."):
            depth, word = 0, word[6:]
        return self._path(word, depth)

    def _path(self, word: str, depth: int) -> str:
        keys = [key.strip("[]") for key in _KEY.findall(word)]
        if word in (".", "this"):
            return self._outer(depth)
        if not keys or not all(keys) or word.startswith("@") or re.search(r"[()\"'=|~{}]", word):
            return ""
        known = next((s.known[keys[0]] for s in reversed(self.scopes[:depth]) if keys[0] in s.known), "")
        base = self._outer(depth)
        if known:
            base, keys = known, keys[1:]
        elif keys[0] == "this":
            keys = keys[1:]
        if not base and keys:
            base, keys = self.draft.names.name(keys[0]), keys[1:]
        for key in keys:
            base = member(base, key)
        return base

    def _outer(self, depth: int) -> str:
        """What plain names are fields of, seen from within the first `depth` blocks; nothing at the top."""
        return next((s.base for s in reversed(self.scopes[:depth]) if s.base is not None), "")
