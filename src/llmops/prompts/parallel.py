"""Work on thousands of prompts shared between the machine's cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")
FEWEST = 400
MOST_PROCESSES = 4


def mapped(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    meanwhile: Callable[[], object] | None = None,
) -> list[Result]:
    """`function` over slices of `items`, its results in their order; in processes when there are many items.

    Only where processes can be forked: starting new ones would take longer than the work. `meanwhile` is called once,
    while the others are at work already; this process takes a smaller slice then.
    """
    besides = meanwhile or (lambda: None)
    processes = min(os.cpu_count() or 1, MOST_PROCESSES, len(items) // FEWEST)
    if processes < 2 or not hasattr(os, "fork"):
        besides()
        return function(items)
    from multiprocessing import get_context

    own = len(items) // (2 * processes if meanwhile else processes)
    size = -(-(len(items) - own) // (processes - 1))
    slices = [items[:own], *(items[start : start + size] for start in range(own, len(items), size))]
    context = get_context("fork")
    started = []
    for part in slices[1:]:
        try:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_send, args=(sender, function, part), daemon=True)
            process.start()
        except OSError:  # no more processes or files: this one does it all
            besides()
            return function(items)
        sender.close()
        started.append((process, receiver, part))
    besides()
    found = function(slices[0])
    for process, receiver, part in started:
        try:
            found += receiver.recv()
        except (EOFError, OSError):  # it failed or was killed: here the same failure has a traceback
            found += function(part)
        receiver.close()
        process.join()
    return found


def _send(sender: Connection, function: Callable[[Sequence[Item]], list[Result]], part: Sequence[Item]) -> None:
    """Work on a slice in a process of its own."""
    with contextlib.suppress(BaseException):  # Ctrl-C reaches this process, too; the first one says so
        sender.send(function(part))
