"""What a reference to a prompt says: `docs/answer`, and behind an @ which version and which git revision."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmops.errors import InputError
from llmops.prompts.parsing import SUFFIX

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
NUMBER = re.compile(r"[1-9][0-9]{0,8}")  # longer ones are content ids that happen to have no letter
CONTENT_ID = re.compile(r"[0-9a-f]{12,64}")
LATEST = "latest"
RESERVED = frozenset((LATEST, "git", "working"))
GIT = "git:"
FORMS = "name, or name@ with a number, a label, latest, a content id or git:<revision>"


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart. `version` is empty for the working file; `revision` for what is on disk."""

    name: str
    version: str = ""
    revision: str = ""

    def __str__(self) -> str:
        version = f"@{self.version}" if self.version else ""
        return f"{self.name}{version}" + (f"@{GIT}{self.revision}" if self.revision else "")

    @property
    def number(self) -> int | None:
        """The version, when it is a release's number."""
        return int(self.version) if NUMBER.fullmatch(self.version) else None

    @property
    def is_content_id(self) -> bool:
        return self.number is None and CONTENT_ID.fullmatch(self.version) is not None

    @property
    def is_movable(self) -> bool:
        """True for a label and for `latest`: what they name changes."""
        return bool(self.version) and self.number is None and not self.is_content_id


def check_name(name: str, where: str = "") -> str:
    """`name`, if a prompt or skill may be called that: `folder/name`, printable, without `@`, `\\`, `.` and `..` parts.

    Raises `InputError` otherwise.
    """
    parts = name.split("/")
    hint = "write folder/name"
    if name.endswith(SUFFIX):
        hint = f"write it without {SUFFIX}"
    elif parts[0] == "releases":
        hint = "releases/ holds releases; write name@2 for one"
    elif not any(part in ("", ".", "..") for part in parts) and not re.search(r"[@\\\"]", name) and name.isprintable():
        return name
    raise InputError(f"{name!r:.80} can't be a prompt's name", where=where, hint=hint)


def parse_reference(text: str, where: str = "") -> Reference:
    """Take a reference apart. `docs/answer@production@git:main` is what production was at main.

    Raises `InputError` for a text that can't be a reference.
    """
    if not isinstance(text, str):
        raise InputError(f"a reference is a text, not {type(text).__name__}", where=where, hint="such as docs/answer@2")
    rest, marker, revision = text.partition("@" + GIT)
    name, at, version = rest.partition("@")
    if not name.strip() or (name.startswith("/") and not name.endswith(SUFFIX)):
        raise InputError(f"{text!r:.80} doesn't name a prompt", where=where, hint="write folder/name")
    if (at and not version) or (marker and not revision):
        raise InputError(f"{text!r:.80} has nothing after @", where=where, hint=f"a reference is a {FORMS}")
    found = Reference(name, version, revision)
    if version and found.number is None and not found.is_content_id and not is_label(version) and version != LATEST:
        raise InputError(f"{text!r:.80}: {version!r:.60} is no version", where=where, hint=f"a reference is a {FORMS}")
    return found


def is_label(text: str) -> bool:
    """True for a name that a label may have: one that can't be taken for a number or a content id."""
    return bool(LABEL.fullmatch(text)) and text not in RESERVED and not CONTENT_ID.fullmatch(text)
