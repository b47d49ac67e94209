"""What CI systems say in environment variables, checked before it is used in an address or a comment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops.errors import InputError
from llmops.http import check_url
from llmops.http.addresses import header_value

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_IN_MARKDOWN = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&*+,;=%-]+")


def event(environment: Mapping[str, str]) -> dict[str, Any]:
    """GitHub's description of what started the workflow; empty when there is none. Raises `InputError`."""
    import json

    place = environment.get("GITHUB_EVENT_PATH")
    if not place:
        return {}
    try:
        found = json.loads(Path(place).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"GITHUB_EVENT_PATH: {place} can't be read as JSON") from None
    return found if isinstance(found, dict) else {}


def inside(value: Any, *keys: str) -> Any:
    """What stands under nested keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def token(environment: Mapping[str, str], name: str, hint: str) -> str:
    """A token that can be sent as a header. Raises `InputError`, never showing it."""
    text = environment.get(name, "").strip()
    if not text:
        raise InputError(f"{name} isn't set, so nothing can be posted", hint=hint)
    return header_value(name, text)


def commit(text: Any) -> str:
    """A whole commit id, or nothing."""
    return text if isinstance(text, str) and _COMMIT.fullmatch(text) else ""


def number(text: Any) -> int:
    """A positive number, or 0."""
    found = str(text)
    return int(found) if found.isascii() and found.isdecimal() and len(found) < 19 else 0


def link(label: str, url: str) -> str:
    """A Markdown link of our own, or the label alone when the address isn't one."""
    try:
        safe = check_url(url) if _IN_MARKDOWN.fullmatch(url) else ""
    except InputError:
        safe = ""
    return f"[{label}]({safe})" if safe else label
