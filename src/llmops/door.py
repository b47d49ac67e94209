"""The door from synchronous code: one event loop a process, in a thread of its own, wound up when the process ends."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from llmops.errors import InputError

T = TypeVar("T")
ENDING_S = 5.0
HOLDS_UP: ContextVar[bool] = ContextVar("llmops_holds_up", default=False)
"""True in what is done here while another event loop stands still for it: what waits for that one waits for ever."""


@dataclass(frozen=True)
class _Door:
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work, waited for in this thread; it sees this thread's context variables.

    Raises `InputError` where waiting would never end: on the loop itself, and when the process is ending.
    """
    try:
        door = _open_door()
    except BaseException:
        work.close()
        raise
    token = HOLDS_UP.set(is_in_a_loop())
    try:
        future = asyncio.run_coroutine_threadsafe(work, door.loop)
    finally:
        HOLDS_UP.reset(token)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # Ctrl-C: the request must not go on
        raise


def is_in_a_loop() -> bool:
    """True in a thread whose event loop is running: waiting here holds it up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_closed() -> bool:
    """True when the process is ending: everything that ran on the loop was cancelled and closed."""
    return os.getpid() in _CLOSED


def close_with(owner: object, resource: object) -> None:
    """Await `resource.aclose()` on the loop once `owner` is gone, and before the process ends."""
    if hasattr(resource, "aclose"):
        _RESOURCES[id(owner)] = resource
        weakref.finalize(owner, _close_soon, id(owner)).atexit = False


def register_at_exit() -> None:
    """Have the loop wound up before whatever was registered to end with the process until now."""
    atexit.unregister(_end)
    atexit.register(_end)


def _open_door() -> _Door:
    with _LOCK:
        door = _DOORS.get(os.getpid())
        if door is not None and threading.current_thread() is door.thread:
            hint = "use acomplete and astream"
            raise InputError("a synchronous call inside of asynchronous code would wait for itself", hint=hint)
        if is_closed():
            raise InputError(
                "the process is ending: no more calls", hint="make them before, or register with atexit later"
            )
        if door is None:
            loop = asyncio.new_event_loop()
            door = _DOORS[os.getpid()] = _Door(loop, threading.Thread(target=loop.run_forever, daemon=True))
            door.thread.name = "llmops-door"
            door.thread.start()
            register_at_exit()
        return door


def _end() -> None:
    """Daemon threads stand still once the interpreter is torn down: whoever waited for this one then would hang."""
    with _LOCK:
        _CLOSED.add(os.getpid())
        door = _DOORS.pop(os.getpid(), None)
    if door is None:
        return
    future = asyncio.run_coroutine_threadsafe(_wind_up(), door.loop)
    with contextlib.suppress(Exception):
        future.result(ENDING_S)
    door.loop.call_soon_threadsafe(door.loop.stop)
    door.thread.join(1.0)
    if not door.thread.is_alive():
        door.loop.close()


def end_with_process(stream: AsyncIterator[Any]) -> None:
    """Close a stream before the process ends, unless it is gone by then."""
    _STREAMS.add(stream)


def _close_soon(owner: int) -> None:
    """Called by the garbage collector, in any thread: takes no lock and waits for nothing."""
    resource, door = _RESOURCES.pop(owner, None), _DOORS.get(os.getpid())
    if resource is not None and door is not None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            door.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(_closed(resource)))


async def _closed(resource: Any) -> None:
    with contextlib.suppress(Exception):  # a connection that won't close isn't news
        await resource.aclose()


async def _wind_up() -> None:
    """End what is under way, so that it is in the log as cancelled or abandoned, and close the connections."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for stream in list(_STREAMS):  # from the outside: asyncio would close it and all inside of it at once
        with contextlib.suppress(Exception):
            await stream.aclose()
    await asyncio.get_running_loop().shutdown_asyncgens()
    for resource in list(_RESOURCES.values()):
        await _closed(resource)


def _after_fork() -> None:
    global _LOCK  # one that another thread held is never let go in the child
    _LOCK = threading.Lock()


_LOCK = threading.Lock()
_DOORS: dict[int, _Door] = {}  # by process: a fork has no thread to run its parent's
_CLOSED: set[int] = set()
_RESOURCES: dict[int, Any] = {}  # by the id of their owners
_STREAMS: weakref.WeakSet[Any] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
