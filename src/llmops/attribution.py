"""Whom calls are for: everything inside `with track(team="search"):` is counted for it, across threads and tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol, get_args

from llmops.errors import InputError
from llmops.types import Attribution, Call, Message, Prompt, Purpose, Request, Usage

_NOBODY = Attribution()
ATTRIBUTION: ContextVar[Attribution] = ContextVar("llmops_attribution", default=_NOBODY)
_LONGEST = 200
_KNOWN_BY_ITSELF = ("backend", "fallback_from", "model", "prompt_id", "provider", "run", "suite", "tags", "variant", "version")  # fmt: skip  # noqa: E501


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

Release = Callable[[Call | None], None]
"""Told how a call ended for which something was set aside; None when it was never begun."""


class CallLimit(Protocol):
    """What calls are held to where they are made. `pricer` knows the prices of the project that logs the call."""

    async def reserve(self, call: Call, request: Request, pricer: Any) -> Release:
        """Set aside what the call may use at worst. Raises `BudgetExceededError` when that doesn't fit."""
        ...

    def reserve_now(self, call: Call, request: Request, pricer: Any) -> Release:
        """The same for threads without an event loop."""
        ...


CALL_LIMIT: ContextVar[CallLimit | None] = ContextVar("llmops_call_limit", default=None)
"""The limits of the evaluation that a call is made in, for calls that the evaluation doesn't send itself."""


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
    *,
    team: str = "",
    feature: str = "",
    user: str = "",
    prompt: Prompt | str | None = None,
    purpose: Purpose | None = None,
    **tags: str,
) -> Iterator[Attribution]:
    """Attribute every model call made inside to a team, a feature, a user, a prompt, and tags of your own.

    `prompt` is a loaded prompt, or its reference as text (`docs/answer@2`). `purpose` is what the calls are made for:
    `app` (what calls are outside of evaluations), `eval`, `judge` or `guard`.
    Messages rendered by a prompt and handed to `connect(…).complete` know their prompt by themselves.
    Works across tasks, and across threads that are started with the context (`asyncio.to_thread` does). Inside of one
    another, the inner one's words win and the others stay. Raises `InputError` for anything but short text, and for
    tags named like what a call knows by itself.
    """
    words = {"team": team, "feature": feature, "user": user, "prompt": prompt if isinstance(prompt, str) else ""}
    _check_words(words, tags, purpose)
    known: dict[str, Any] = {name: word for name, word in words.items() if word}
    known["tags"] = tuple(sorted({**dict(ATTRIBUTION.get().tags), **tags}.items()))
    if purpose is not None:
        known["purpose"] = purpose
    if isinstance(prompt, str) and prompt:
        known["prompt_id"] = ""  # of an outer prompt
    elif prompt is not None and not isinstance(prompt, str):
        if not hasattr(prompt, "reference"):
            hint = 'load_prompt(…), or text such as "docs/answer@2"'
            raise InputError(f"track: prompt is {prompt!r}"[:120], hint=hint)
        known |= _prompt(prompt, known["tags"])
    with attributed(**known) as made:
        yield made


def _check_words(words: dict[str, str], tags: dict[str, str], purpose: object) -> None:
    for name, value in {**words, **tags}.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise InputError(f"track: {name} is {value!r}"[:120], hint=f"text of at most {_LONGEST} characters")
    for name in tags:
        if name in _KNOWN_BY_ITSELF:
            raise InputError(f"track: {name} can't be a tag: a call has its own", hint=f"another name: app_{name}")
    if purpose is not None and purpose not in get_args(Purpose):
        raise InputError(f"track: purpose is {purpose!r}"[:120], hint=", ".join(get_args(Purpose)))
