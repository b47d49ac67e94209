"""One row a request that is tracked twice: by a library's callbacks, and by what sends it for that library.

The callbacks begin a call first, and whatever sends the request takes that call over: it sees every try, the server and
the server's own counts.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING

from llmops.types import Call, CallLog, Message, Request

if TYPE_CHECKING:
    from llmops.usage.open_call import OpenCall


_FAILED = ("error", "timeout", "unsent", "cancelled")


class Around:
    """A call that a library's callbacks began, and the library has yet to end.

    Its request is sent before any of the answer came, by code of the Python package `library` or below that. `take` has
    the callbacks forget the call, and is True once.
    """

    __slots__ = ("_call", "_is_taken", "_log", "_take", "begun", "is_over", "library")

    def __init__(self, call: OpenCall, library: str, take: Callable[[], bool]) -> None:
        self.library = library
        self.begun = call.call
        self.is_over = False
        self._call: OpenCall | None = call
        self._is_taken = False
        self._log = call.log
        self._take = take

    def sends(self, log: CallLog) -> bool:
        """Whether a request that is about to be written to `log` may be sent for this call."""
        return not self.is_over and self._log is log and is_below(self.library)

    def taken(self) -> OpenCall | None:
        """The call, for whoever asks first and before an answer came."""
        call = self._call
        if self._is_taken or call is None or not call.is_waiting or not self._take():
            return None
        self._is_taken = True
        return call

    @property
    def is_tried_again(self) -> bool:
        """Whether the first try was taken, and failed: then another request is the next one."""
        return self._is_taken and self._call is not None and self._call.call.outcome in _FAILED

    def end(self) -> None:
        """The library has told of the end."""
        self.is_over, self._call = True, None


AROUND: ContextVar[tuple[Around, ...]] = ContextVar("llmops_around", default=())
"""The calls that libraries have begun here, the first one first."""


def put_around(around: Around) -> None:
    """Have requests that are sent from here on take over a library's call."""
    AROUND.set((*(one for one in AROUND.get() if not one.is_over), around))


@contextlib.contextmanager
def apart_from(library: str) -> Iterator[None]:
    """What is begun inside is no request of the calls that `library` began: one may still be open that is over."""
    token = AROUND.set(tuple(around for around in AROUND.get() if around.library != library))
    try:
        yield
    finally:
        AROUND.reset(token)


def taken_over(
    log: CallLog, call: Call, messages: Sequence[Message], request: Request | None
) -> tuple[OpenCall | None, Call]:
    """The library's call that the request of `call` belongs to, changed to what `call` knows of it.

    None when there is none, or an earlier try has it: then the second is `call` for whom the library's is.
    """
    around_it = [around for around in reversed(AROUND.get()) if around.sends(log)]
    for around in around_it:
        outer = around.taken()
        if outer is not None:
            outer.sent_as(replace(call, attempt=around.begun.attempt + call.attempt - 1), messages, request)
            return outer, outer.call
    tried = next((around for around in around_it if around.is_tried_again), None)
    if tried is not None:
        call = replace(call, attribution=tried.begun.attribution, backend=call.backend or tried.begun.backend)
    return None, call


def is_below(package: str, *, past: str = "") -> bool:
    """Whether code of `package` called the code that runs, be it through other code.

    With `past`, what that package did last doesn't count: only what called for it from outside.
    """
    frame, is_past = sys._getframe(1), not past
    while frame.f_back is not None:
        frame = frame.f_back
        name = f"{frame.f_globals.get('__name__')}."
        is_past = is_past or not name.startswith((f"{past}.", "llmops."))
        if is_past and name.startswith(f"{package}."):
            return True
    return False
