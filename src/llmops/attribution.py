"""Whom calls are for: everything inside `with track(team="search"):` is counted for it, across threads and tasks."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Protocol, TypeVar, cast, get_args

from llmops.errors import InputError
from llmops.types import Attribution, Call, Message, Prompt, Purpose, Request, Usage

Function = TypeVar("Function", bound=Callable[..., Any])

_NOBODY = Attribution()
_OUTER: ContextVar[tuple[tuple[Any, Attribution], ...]] = ContextVar("llmops_outer_attributions", default=())
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


class Tracking:
    """What `track` gives: a context manager, also twice or inside itself, and a decorator of functions."""

    def __init__(self, words: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._words, self._tags = words, tags

    def __enter__(self) -> Attribution:
        outer = ATTRIBUTION.get()
        tags = tuple(sorted({**dict(outer.tags), **self._tags}.items()))
        _OUTER.set((*_OUTER.get(), (self, outer)))
        made = replace(outer, **self._words, tags=tags)
        ATTRIBUTION.set(made)
        return made

    def __exit__(self, *_: object) -> None:
        *before, (whose, outer) = _OUTER.get() or ((None, _NOBODY),)
        if whose is self:  # a generator that is cleaned up elsewhere leaves what holds there alone
            _OUTER.set(tuple(before))
            ATTRIBUTION.set(outer)

    def __call__(self, function: Function) -> Function:
        """`function` with everything in it attributed; an `async` one while it runs, not while it is made."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            name = getattr(function, "__qualname__", "it")
            raise InputError(f"track can't decorate {name}, a generator", hint="write `with track(…):` inside of it")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def later(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("Function", later)

        @wraps(function)
        def now(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return cast("Function", now)


def track(
    *,
    team: str = "",
    feature: str = "",
    user: str = "",
    prompt: Prompt | str | None = None,
    purpose: Purpose | None = None,
    **tags: str,
) -> Tracking:
    """Attribute every model call made inside to a team, a feature, a user, a prompt, and tags of your own.

    `with track(team="search"):`, or `@track(team="search")` before a function, an `async` one too. `prompt` is a loaded
    prompt, or its reference as text (`docs/answer@2`). `purpose` is what the calls are made for: `app` (what calls are
    outside of evaluations), `eval`, `judge` or `guard`.
    Messages rendered by a prompt and handed to `connect(…).complete` know their prompt by themselves.
    Works across tasks, and across threads that are started with the context (`asyncio.to_thread` does). Inside of one
    another, the inner one's words win and the others stay. Raises `InputError` for anything but short text, for tags
    named like what a call knows by itself, and before a generator.
    """
    words = {"team": team, "feature": feature, "user": user, "prompt": prompt if isinstance(prompt, str) else ""}
    _check_words(words, tags, purpose)
    known: dict[str, Any] = {name: word for name, word in words.items() if word}
    if purpose is not None:
        known["purpose"] = purpose
    if isinstance(prompt, str) and prompt:
        known["prompt_id"] = ""  # of an outer prompt
    elif prompt is not None and not isinstance(prompt, str):
        if not hasattr(prompt, "reference"):
            hint = 'load_prompt(…), or text such as "docs/answer@2"'
            raise InputError(f"track: prompt is {prompt!r}"[:120], hint=hint)
        found = _prompt(prompt, ())
        tags = {**tags, **dict(found.pop("tags"))}
        known |= found
    return Tracking(known, tags)


def _check_words(words: dict[str, str], tags: dict[str, str], purpose: object) -> None:
    for name, value in {**words, **tags}.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise InputError(f"track: {name} is {value!r}"[:120], hint=f"text of at most {_LONGEST} characters")
    for name in tags:
        if name in _KNOWN_BY_ITSELF:
            raise InputError(f"track: {name} can't be a tag: a call has its own", hint=f"another name: app_{name}")
    if purpose is not None and purpose not in get_args(Purpose):
        raise InputError(f"track: purpose is {purpose!r}"[:120], hint=", ".join(get_args(Purpose)))
