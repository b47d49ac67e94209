"""Every request to a model gets a row before it is sent, and an end: answered, failed, cancelled or abandoned."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from llmops.attribution import CALL_LIMIT, Release, attribution_of
from llmops.errors import LlmopsError, StoreError
from llmops.identity import new_id
from llmops.types import (
    Call,
    CallLog,
    CallSink,
    CallText,
    Cost,
    Hold,
    Message,
    Pricer,
    Request,
    Usage,
)
from llmops.usage.nested import AROUND, taken_over
from llmops.usage.open_call import OpenCall, price

__all__ = ["OpenCall", "OnFailure", "Tracker"]

if TYPE_CHECKING:
    from llmops.usage.budgets import Budgets

OnFailure = Literal["raise", "warn"]


class Tracker:
    """Opens and settles calls: writes them to the log, prices them, holds them to budgets, tells the exporters.

    `keep_text` keeps what was said, apart from the calls. When the log can't be written, `on_failure` says whether
    the call is refused (`raise`, so that no call goes missing) or goes on unrecorded with a warning (`warn`); `lost`
    counts those.
    """

    def __init__(
        self,
        log: CallLog,
        pricer: Pricer,
        *,
        budgets: Budgets | None = None,
        sinks: Sequence[CallSink] = (),
        keep_text: bool = False,
        on_failure: OnFailure = "raise",
    ) -> None:
        self.log = log
        self.pricer = pricer
        self.budgets = budgets
        self.keep_text = keep_text
        self.on_failure = on_failure
        self.lost = 0
        self.is_closed = False
        self.is_told = False  # a call was refused for want of the log, and none was begun since
        self.wants_text = keep_text or bool(sinks)
        self.lost_calls: deque[OpenCall] = deque()  # whose owners are gone: settled at the next opportunity
        self._sinks = tuple(sinks)
        self._warned = False

    async def open(
        self,
        *,
        backend: str = "",
        provider: str = "",
        address: str = "",
        model: str = "",
        stream: bool = False,
        attempt: int = 1,
        messages: Sequence[Message] = (),
        request: Request | None = None,
    ) -> OpenCall:
        """A call whose row is committed. Raises `BudgetExceededError` before anything is sent, and `StoreError`.

        Where a library's callbacks have begun one for the same request, it is that one.
        """
        call = _new_call(backend, provider, address, model, stream, attempt, messages)
        if AROUND.get():
            begun, call = taken_over(self.log, call, messages, request)
            if begun is not None:
                return begun
        limit = CALL_LIMIT.get()
        if limit is None:
            return await self._open(call, messages, request)
        release = await limit.reserve(call, request or Request(tuple(messages), model), self.pricer)
        with _released_on_error(release):
            return await self._open(call, messages, request, release)

    async def _open(
        self, call: Call, messages: Sequence[Message], request: Request | None, release: Release | None = None
    ) -> OpenCall:
        holds = self._holds(call, messages, request)
        try:
            if holds and self.budgets is not None:
                await self.budgets.begin(self.log, call, holds)
            else:
                await self.log.begin(call, holds)
        except StoreError as error:
            self._lose(error, holds)
            return OpenCall(self, call, (), messages, request, recorded=False, release=release)
        except BaseException as error:
            self._discard(call, holds, error)
            raise
        self._begun(call)
        return OpenCall(self, call, holds, messages, request, release=release)

    def open_now(
        self,
        *,
        backend: str = "",
        provider: str = "",
        address: str = "",
        model: str = "",
        stream: bool = False,
        attempt: int = 1,
        messages: Sequence[Message] = (),
        request: Request | None = None,
    ) -> OpenCall:
        """The same for threads without an event loop; waits for the row to be committed."""
        call = _new_call(backend, provider, address, model, stream, attempt, messages)
        if AROUND.get():
            begun, call = taken_over(self.log, call, messages, request)
            if begun is not None:
                return begun
        limit = CALL_LIMIT.get()
        if limit is None:
            return self._open_now(call, messages, request)
        release = limit.reserve_now(call, request or Request(tuple(messages), model), self.pricer)
        with _released_on_error(release):
            return self._open_now(call, messages, request, release)

    def _open_now(
        self, call: Call, messages: Sequence[Message], request: Request | None, release: Release | None = None
    ) -> OpenCall:
        holds = self._holds(call, messages, request)
        try:
            if holds and self.budgets is not None:
                self.budgets.begin_now(self.log, call, holds)
            else:
                self.log.begin_now(call, holds)
        except StoreError as error:
            self._lose(error, holds)
            return OpenCall(self, call, (), messages, request, recorded=False, release=release)
        except BaseException as error:
            self._discard(call, holds, error)
            raise
        self._begun(call)
        return OpenCall(self, call, holds, messages, request, release=release)

    def flush(self, timeout_s: float = 30, *, exporters: bool = True) -> None:
        """Wait until everything is committed and the exporters were told. Raises `StoreError`, or warns of it."""
        self.settle_lost()
        with self._only_warned():
            self.log.flush(timeout_s)
        for sink in self._sinks if exporters else ():
            flush = getattr(sink, "flush", None)
            if flush is not None:
                with contextlib.suppress(Exception):
                    flush()

    def close(self) -> None:
        """End the exporters, then the log. Raises `StoreError` when something couldn't be written, or warns of it."""
        if self.is_closed:
            return
        self.is_closed = True
        self.settle_lost()
        for sink in self._sinks:
            with contextlib.suppress(Exception):  # an exporter that breaks must not keep calls from the log
                getattr(sink, "close", _nothing)()
        with self._only_warned():
            getattr(self.log, "close", _nothing)()

    def settle_lost(self) -> None:
        """End the calls that nobody holds any more: streams that were left while their event loop was closed."""
        while self.lost_calls:
            with contextlib.suppress(IndexError):  # another thread took it
                self.lost_calls.popleft().abandoned()

    def settle(self, call: Call, holds: tuple[Hold, ...], text: CallText | None, *, recorded: bool) -> None:
        """Hand a finished call over. A log that can't be written says so at the next call: an answer that was paid
        for must not be lost to it."""
        if recorded:
            try:
                self.log.settle(call, holds, text if self.keep_text else None)
            except StoreError as error:
                self.lost += 1
                self._warn(error)
        if self.budgets is not None and holds:
            self.budgets.settled(call, holds)
        for sink in self._sinks:
            with contextlib.suppress(Exception):
                sink.record(call, text)

    def price(self, call: Call, usage: Usage, served: str = "", service_tier: str = "") -> Cost | None:
        """The cost of `usage` by the model that served a call, else by the one it asked for."""
        return price(self.pricer, call, usage, served, service_tier)

    def _discard(self, call: Call, holds: tuple[Hold, ...], error: BaseException) -> None:
        """After a cancel or Ctrl-C while the row was being written, nobody knows whether it was: nothing was sent."""
        if not isinstance(error, LlmopsError):
            with contextlib.suppress(StoreError):  # what ended it is what is raised
                self.log.discard(call, holds)

    def _begun(self, call: Call) -> None:
        """Exporters note the caller's own trace where the call starts."""
        self.is_told = False
        for sink in self._sinks:
            begun = getattr(sink, "begun", None)
            if begun is not None:
                with contextlib.suppress(Exception):
                    begun(call)

    def _holds(self, call: Call, messages: Sequence[Message], request: Request | None) -> tuple[Hold, ...]:
        if self.lost_calls:
            self.settle_lost()
        if self.budgets is None:
            return ()
        return self.budgets.holds(call, request or Request(tuple(messages), call.model_asked))

    def _lose(self, error: StoreError, holds: tuple[Hold, ...]) -> None:
        if self.on_failure == "raise" or any(hold.hard for hold in holds):  # a hard budget that nobody counts isn't one
            self.is_told = True
            raise error
        self.lost += 1
        self._warn(error)

    @contextlib.contextmanager
    def _only_warned(self) -> Iterator[None]:
        """Where calls go on without the log, an end that can't be written is no error either."""
        try:
            yield
        except StoreError as error:
            if self.on_failure == "raise":
                raise
            self._warn(error)

    def _warn(self, error: StoreError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"calls are no longer recorded: {error}", RuntimeWarning, stacklevel=4)


@contextlib.contextmanager
def _released_on_error(release: Release) -> Iterator[None]:
    try:
        yield
    except BaseException:
        release(None)
        raise


def _nothing() -> None:
    """What a log or an exporter without `close` does."""


def _new_call(
    backend: str, provider: str, address: str, model: str, stream: bool, attempt: int, messages: Sequence[Message]
) -> Call:
    return Call(
        id=new_id(),
        started_at=time.time(),
        backend=backend,
        provider=provider,
        address=address,
        model_asked=model,
        attribution=attribution_of(messages),
        stream=stream,
        attempt=attempt,
    )
