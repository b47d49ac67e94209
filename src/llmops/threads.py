"""Threads for users' sync functions: daemons, so that a call that never returns can't keep the process alive."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IDLE_S = 10.0


@dataclass
class _Call:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Threads:
    """Runs functions off the event loop. A thread is made when all are busy, and reused: last used, first taken.

    One that nothing is given for `idle_s` seconds ends.
    """

    def __init__(self, name: str, *, idle_s: float = IDLE_S) -> None:
        self._name = name
        self._idle_s = idle_s
        self._idle: list[queue.SimpleQueue[_Call | None]] = []
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, function: Callable[..., Any], *positional: Any, **named: Any) -> Any:
        """What the function returns or raises, in a thread that sees this task's context variables."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        call = _Call(lambda: context.run(function, *positional, **named), loop, loop.create_future())
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name=self._name, daemon=True).start()
        inbox.put(call)
        return await call.done

    def close(self) -> None:
        """Let idle threads go; a busy one ends with its call."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def _next(self, inbox: queue.SimpleQueue[_Call | None]) -> _Call | None:
        while True:
            with contextlib.suppress(queue.Empty):
                return inbox.get(timeout=self._idle_s)
            with self._lock:
                if inbox in self._idle:  # else something is about to be put in
                    self._idle.remove(inbox)
                    return None

    def _work(self, inbox: queue.SimpleQueue[_Call | None]) -> None:
        while (call := self._next(inbox)) is not None:
            result, error = None, None
            try:
                result = call.function()
            except BaseException as problem:
                error = problem
            with self._lock:
                stays = not self._closed
                if stays:
                    self._idle.append(inbox)
            _deliver(call, result, error)
            del call, result, error
            if not stays:
                return


def _deliver(call: _Call, result: Any, error: BaseException | None) -> None:
    def settle() -> None:
        if call.done.done():  # cancelled, or given up on
            return
        if error is None:
            call.done.set_result(result)
        elif isinstance(error, StopIteration):  # a future can't hold one
            raised = RuntimeError("raised StopIteration, as next() does at the end")
            call.done.set_exception(raised.with_traceback(error.__traceback__))
        else:
            call.done.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        call.loop.call_soon_threadsafe(settle)
