"""Whom calls are for: everything inside `with track(team="search"):` is counted for it, across threads and tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from llmops.errors import InputError
from llmops.types import Attribution, Message, Prompt, Usage

_NOBODY = Attribution()
ATTRIBUTION: ContextVar[Attribution] = ContextVar("llmops_attribution", default=_NOBODY)
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which try of a request this is, from 1, and until when it may take (`time.monotonic`)."""

    number: int = 1
    deadline: float | None = None

    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


ATTEMPT: ContextVar[Attempt | None] = ContextVar("llmops_attempt", default=None)
COUNTER: ContextVar[Callable[[Usage], None] | None] = ContextVar("llmops_counter", default=None)
"""Who else is told what an answered call used: the trial of an evaluation that it was made in. May be any thread."""


class RenderedMessages(tuple[Message, ...]):
    """Messages that know which prompt they were rendered from."""

    prompt: Prompt


def rendered(messages: Iterable[Message], prompt: Prompt) -> RenderedMessages:
    """`messages`, marked as `prompt`'s."""
    made = RenderedMessages(messages)
    made.prompt = prompt
    return made


def attribution_of(messages: object) -> Attribution:
    """What holds here, with the prompt that the messages were rendered from."""
    found = ATTRIBUTION.get()
    prompt = getattr(messages, "prompt", None)
    return found if prompt is None else replace(found, **_prompt(prompt, found.tags))


def _prompt(prompt: Prompt, tags: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    labels = {"label": prompt.label, "route": prompt.route}
    merged = {**dict(tags), **{name: value for name, value in labels.items() if value}}
    return {"prompt": prompt.reference, "prompt_id": prompt.content_id, "tags": tuple(sorted(merged.items()))}


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
def track(
    *, team: str = "", feature: str = "", user: str = "", prompt: Prompt | None = None, **tags: str
) -> Iterator[Attribution]:
    """Attribute every model call made inside to a team, a feature, a user, a prompt, and tags of your own.

    Messages rendered by a prompt and handed to `connect(…).complete` know their prompt by themselves.
    Works across tasks, and across threads that are started with the context (`asyncio.to_thread` does). Inside of one
    another, the inner one's words win and the others stay. Raises `InputError` for anything but short text.
    """
    given = {"team": team, "feature": feature, "user": user, **tags}
    for name, value in given.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise InputError(f"track: {name} is {value!r}"[:120], hint=f"text of at most {_LONGEST} characters")
    outer = ATTRIBUTION.get()
    known: dict[str, Any] = {name: given[name] for name in ("team", "feature", "user") if given[name]}
    known["tags"] = tuple(sorted({**dict(outer.tags), **tags}.items()))
    if prompt is not None:
        known |= _prompt(prompt, known["tags"])
    with attributed(**known) as made:
        yield made
