"""`connect`: a client for one backend, tracked and retried, for synchronous and asynchronous code alike."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops import door
from llmops.config import load_config
from llmops.connecting import Backends, project_tracker
from llmops.errors import InputError, StoreError
from llmops.evals.sender import Sender
from llmops.evals.suite import Limits
from llmops.requesting import request_of
from llmops.types import Backend, Completion, Message

if TYPE_CHECKING:
    from llmops.usage.tracker import Tracker

_END = object()


class Client:
    """Completes messages on one backend. Every request is a call in the project's log, with its tokens and its price.

    `concurrency` requests are sent at once at most from one event loop (synchronous calls share one), each tried
    `retries` times more while that can help, and given `timeout_s` seconds. The same client serves threads and event
    loops. Errors are `LlmopsError`s.
    """

    def __init__(
        self,
        backend: Backend,
        tracker: Tracker | None = None,
        *,
        concurrency: int = 64,
        retries: int = 2,
        timeout_s: float | None = 300.0,
    ) -> None:
        self.backend = backend
        self._tracker = tracker
        self._limits = _limits(concurrency, retries, timeout_s)
        self._senders: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = weakref.WeakKeyDictionary()

    def complete(self, messages: str | Sequence[Message], **options: Any) -> Completion:
        """The completion of messages, or of one user message as text.

        Options are `model`, `tools`, `output_schema` (a JSON Schema) and the model's parameters: by name
        (`max_tokens=200, temperature=0`), or as a mapping in `parameters`. Raises `BackendError` when there is no
        answer, and `BudgetExceededError` before anything is sent.
        """
        return door.run(self.acomplete(messages, **options))

    async def acomplete(self, messages: str | Sequence[Message], **options: Any) -> Completion:
        """`complete` for asynchronous code."""
        request = request_of(messages, **options)
        return await self._sender().send(lambda: self.backend.complete(request))

    def stream(self, messages: str | Sequence[Message], **options: Any) -> Iterator[str | Completion]:
        """Pieces of text as they come, then the whole as a `Completion`; options as for `complete`.

        A stream that is left early ends the request. Streams are not tried again.
        """
        parts = self.astream(messages, **options)
        door.end_with_process(parts)
        try:
            while (part := door.run(_next(parts))) is not _END:
                yield part
        finally:
            if not door.is_closed():
                door.run(_close(parts))

    async def astream(self, messages: str | Sequence[Message], **options: Any) -> AsyncIterator[str | Completion]:
        """`stream` for asynchronous code. Leave it with `contextlib.aclosing` to end the request at once."""
        request = request_of(messages, **options)
        streaming: Any = self.backend
        if not hasattr(streaming, "stream"):
            completion = await self.acomplete(messages, **options)
            yield completion.text
            yield completion
            return
        async with contextlib.aclosing(self._sender().stream(streaming.stream(request))) as parts:
            async for part in parts:
                yield part

    def close(self) -> None:
        """Close the connections that synchronous calls opened, and wait until all calls are in the log.

        Raises `StoreError` when they can't be written, or warns of it with `calls: {on_failure: warn}`. At the end of a
        `with` it is raised only when no call has told, and not over an exception that ends the block.
        """
        if door.is_closed():  # done already
            return
        door.run(self._disconnect())
        if self._tracker is not None:
            self._tracker.flush(exporters=False)

    async def aclose(self) -> None:
        """`close` for the running event loop's connections."""
        await self._disconnect()
        if self._tracker is not None:
            flush = functools.partial(self._tracker.flush, exporters=False)
            await asyncio.get_running_loop().run_in_executor(None, flush)

    async def _disconnect(self) -> None:
        close = getattr(self.backend, "aclose", None)
        if close is not None:
            await close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with self._saying_news(error):
            self.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        with self._saying_news(error):
            await self.aclose()

    @contextlib.contextmanager
    def _saying_news(self, error: BaseException | None) -> Iterator[None]:
        """A log that can't be written is raised here only if no call has told, and never over what ends the block."""
        try:
            yield
        except StoreError:
            if error is None and not (self._tracker is not None and self._tracker.is_told):
                raise

    def _sender(self) -> Sender:
        loop = asyncio.get_running_loop()
        found = self._senders.get(loop)
        if found is None:
            found = self._senders[loop] = Sender(self._limits)
        return found


def connect(
    backend: Any,
    *,
    root: str | Path | None = None,
    store: str | Path | None = None,
    concurrency: int = 64,
    retries: int = 2,
    timeout_s: float | None = 300.0,
) -> Client:
    """A client for a backend: its name in llmops.yaml, or a short form such as `{"openai_http": {"base_url": …}}`.

    The project is the one around `root` (the current folder), its call log is in its store or in `store`. Raises
    `InputError` for an unknown name or wrong options, and `StoreError` when the log can't be opened.
    """
    start = None if root is None else Path(root)
    config = load_config(start)
    backends = Backends(config, config.root)
    made = backends.make(backend)
    ready = getattr(made.backend, "check_ready", None)
    if ready is not None:
        ready()
    limits: dict[str, Any] = {"concurrency": concurrency, "retries": retries, "timeout_s": timeout_s}
    _limits(**limits)  # before anything is opened
    tracker = project_tracker(start, store) if backends.any_tracked else None
    backends.use(tracker)
    client = Client(made.backend, tracker, **limits)
    door.close_with(client, made.backend)
    door.register_at_exit()
    return client


def _limits(concurrency: int, retries: int, timeout_s: float | None) -> Limits:
    if type(concurrency) is not int or concurrency < 1:
        raise InputError(f"concurrency is {concurrency!r}", hint="a number of requests, 1 or more")
    if type(retries) is not int or retries < 0:
        raise InputError(f"retries is {retries!r}", hint="how often more a request is tried, 0 or more")
    if timeout_s is not None and not (isinstance(timeout_s, (int, float)) and timeout_s > 0):
        raise InputError(f"timeout_s is {timeout_s!r}", hint="seconds above 0, or None")
    return Limits(concurrency=concurrency, retries=retries, timeout_s=timeout_s)


async def _next(parts: AsyncIterator[Any]) -> Any:
    return await anext(parts, _END)


async def _close(parts: Any) -> None:
    await parts.aclose()
