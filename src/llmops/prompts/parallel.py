"""Work on thousands of prompts shared between the machine's cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
FEWEST = 400
MOST_PROCESSES = 4


def mapped(function: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """`function` over slices of `items`, its results in their order; in processes when there are many items.

    Only where processes can be forked: starting new ones would take longer than the work.
    """
    processes = min(os.cpu_count() or 1, MOST_PROCESSES, len(items) // FEWEST)
    if processes < 2 or not hasattr(os, "fork"):
        return function(items)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    size = -(-len(items) // processes)
    slices = [items[start : start + size] for start in range(0, len(items), size)]
    with ProcessPoolExecutor(processes - 1, mp_context=get_context("fork")) as pool:
        waiting = [pool.submit(function, part) for part in slices[1:]]
        found = function(slices[0])
        for one in waiting:
            found += one.result()
    return found
