"""Several backends in order: the next one is asked when one can't answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from typing import Any

from llmops.attribution import attributed
from llmops.errors import BackendError, InputError
from llmops.registry import parse_short_form
from llmops.types import Backend, Build, Completion, Request


class Fallback:
    """Asks `backends` in order until one answers.

    The next one is asked when a backend is down, too slow, limits the rate or answers with something else: after any
    error that is worth trying again. A request that was rejected, a key that isn't set and a budget that is used up end
    it. A prompt's or variant's model is asked of the first; a later one that has a model of its own is asked for that.
    `backend` of a completion says who answered, and the call that was made instead of one that failed names it
    (`fallback_from`).
    """

    def __init__(self, build: Build, backends: list[Any]) -> None:
        if len(backends) < 2:
            raise InputError("fallback needs two backends or more", hint="write {fallback: [local, hosted]}")
        self.backends: tuple[Backend, ...] = tuple(build.backend(form) for form in backends)
        self._names = tuple(_name(form) for form in backends)
        self.model = str(getattr(self.backends[0], "model", "") or "")
        self.local = all(getattr(backend, "local", False) for backend in self.backends)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The identities of all, in order: any of them may answer."""
        return {"kind": "fallback", "backends": [dict(backend.identity) for backend in self.backends]}

    async def complete(self, request: Request) -> Completion:
        """The first completion there is. Raises the last backend's error."""
        failed = ""
        for position in range(len(self.backends)):
            try:
                with _instead_of(failed):
                    completion = await self.backends[position].complete(self._request(request, position))
                return self._named(completion, position)
            except BackendError as error:
                if not self._goes_on(error, position):
                    raise
                failed = self._names[position]
        raise AssertionError("the last backend's error is raised")

    async def stream(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        """Pieces of text, then the whole. Once a piece was given, an error is final: the rest would not fit it."""
        failed = ""
        for position in range(len(self.backends)):
            given = False
            try:
                parts = _parts(self.backends[position], self._request(request, position))
                async with contextlib.aclosing(parts):
                    while (part := await _next(parts, failed)) is not None:
                        given = True
                        yield self._named(part, position) if isinstance(part, Completion) else part
                return
            except BackendError as error:
                if given or not self._goes_on(error, position):
                    raise
                failed = self._names[position]

    async def aclose(self) -> None:
        """Close the connections of all."""
        for backend in self.backends:
            close = getattr(backend, "aclose", None)
            if close is not None:
                await close()

    def check_ready(self) -> None:
        """Raises `ConfigError` when any of them lacks its key."""
        for backend in self.backends:
            check = getattr(backend, "check_ready", None)
            if check is not None:
                check()

    def _goes_on(self, error: BackendError, position: int) -> bool:
        return error.retryable and position + 1 < len(self.backends)

    def _request(self, request: Request, position: int) -> Request:
        if not position or not request.model or not getattr(self.backends[position], "model", None):
            return request
        return replace(request, model="")

    def _named(self, completion: Completion, position: int) -> Completion:
        return completion if completion.backend else replace(completion, backend=self._names[position])


def _name(form: Any) -> str:
    if isinstance(form, str):
        return form
    spec = parse_short_form(form, what="backend")
    return spec.label or spec.name


@contextlib.contextmanager
def _instead_of(failed: str) -> Iterator[None]:
    if not failed:
        yield
        return
    with attributed(fallback_from=failed):
        yield


async def _next(parts: AsyncGenerator[str | Completion, None], failed: str) -> str | Completion | None:
    """The next part, attributed only while it is waited for: between parts the context is the reader's."""
    with _instead_of(failed):
        return await anext(parts, None)


async def _parts(backend: Any, request: Request) -> AsyncGenerator[str | Completion, None]:
    """A stream of any backend: of one that can't, its answer in one piece."""
    if hasattr(backend, "stream"):
        async with contextlib.aclosing(backend.stream(request)) as parts:
            async for part in parts:
                yield part
        return
    completion = await backend.complete(request)
    if completion.text:
        yield completion.text
    yield completion
