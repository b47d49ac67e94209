"""A prompt file's text from its parts: YAML that is the same on every machine, and messages that read back as given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.parsing import ROLES, Role

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
_SHORT = 100


def prompt_text(front: Mapping[str, Any], messages: Sequence[tuple[Role, str]]) -> str:
    """The text of a prompt file: front matter, then each message under its role's line.

    Reading it back gives the same front matter and messages. Raises `PromptError` for a message that no file can
    hold as it is: one that is blank, starts or ends with a blank line, or has a line that would open another message.
    """
    head = f"---\n{block(front)}---\n" if front else ""
    return head + "\n".join(f"{role}:\n{_body(role, text)}\n" for role, text in messages)


def _body(role: Role, text: str) -> str:
    lines = text.split("\n")
    if not lines[0].strip(" \t") or not lines[-1].strip(" \t"):
        raise PromptError(f"the {role} message starts or ends with a blank line")
    for line in lines:
        if line in ROLES:
            raise PromptError(f"the {role} message has a line {line!r}", hint=f'write {{{{ "" }}}}{line}')
    return text


def block(data: Mapping[str, Any]) -> str:
    """A mapping as block YAML, one key a line; short lists and empty mappings stay on their line. Keys keep order."""
    return "".join(f"{line}\n" for line in _mapping(data, ""))


def _mapping(data: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{indent}{scalar(key)}:", value, indent)


def _entry(opening: str, value: Any, indent: str) -> Iterator[str]:
    """`opening` with `value` on its line when it fits there, else below it."""
    flat = flow(value) if not _nested(value) or not _nests(value) else ""
    if flat and (not _nested(value) or len(opening) + len(flat) < _SHORT):
        yield f"{opening} {flat}"
    else:
        yield opening
        if isinstance(value, Mapping):
            yield from _mapping(value, indent + "  ")
        else:
            for item in value:
                yield from _entry(f"{indent}  -", item, indent + "  ")


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple, Mapping)) and bool(value)


def _nests(value: Any) -> bool:
    return any(map(_nested, value.values() if isinstance(value, Mapping) else value))


def flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, (dict, Mapping)):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A text, number, flag or null in YAML. Texts are quoted unless nobody could take them for anything else."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else _quoted(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Double-quoted YAML; JSON's escapes, and `\\u` for all that YAML calls a line break or unprintable."""
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isascii() and "\x7f" not in quoted:
        return quoted
    return "".join(sign if sign.isprintable() else _escape(ord(sign)) for sign in quoted)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
