"""Whom calls are for: everything inside `with track(team="search"):` is counted for it, across threads and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from llmops.errors import InputError
from llmops.types import Attribution

_NOBODY = Attribution()
ATTRIBUTION: ContextVar[Attribution] = ContextVar("llmops_attribution", default=_NOBODY)
_LONGEST = 200


@contextmanager
def attributed(**known: Any) -> Iterator[Attribution]:
    """Calls inside have these fields of `Attribution`, and the others that hold outside. For our own code."""
    made = replace(ATTRIBUTION.get(), **known)
    token = ATTRIBUTION.set(made)
    try:
        yield made
    finally:
        ATTRIBUTION.reset(token)


@contextmanager
def track(*, team: str = "", feature: str = "", user: str = "", **tags: str) -> Iterator[Attribution]:
    """Attribute every model call made inside to a team, a feature, a user, and tags of your own.

    Works across tasks, and across threads that are started with the context (`asyncio.to_thread` does). Inside of one
    another, the inner one's words win and the others stay. Raises `InputError` for anything but short text.
    """
    given = {"team": team, "feature": feature, "user": user, **tags}
    for name, value in given.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise InputError(f"track: {name} is {value!r}"[:120], hint=f"text of at most {_LONGEST} characters")
    outer = ATTRIBUTION.get()
    known: dict[str, Any] = {name: given[name] for name in ("team", "feature", "user") if given[name]}
    merged = {**dict(outer.tags), **tags}
    with attributed(**known, tags=tuple(sorted(merged.items()))) as made:
        yield made
