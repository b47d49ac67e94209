"""Reading the price lists in the background, so that the first answer doesn't wait for them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmops.usage.price_book import PriceBook

LONGEST_WARMING_S = 5.0
_WARMING: list[threading.Thread] = []


def warm(book: PriceBook) -> None:
    """Have `book` read its lists in a thread. A fork waits until that is done."""
    thread = threading.Thread(target=book.warm, name="llmops-prices", daemon=True)
    thread.start()
    _WARMING[:] = [one for one in (*_WARMING, thread) if one.is_alive()]


def _before_fork() -> None:
    """A lock that the price lists' readers hold would be held in the child for ever."""
    while _WARMING:
        _WARMING.pop().join(LONGEST_WARMING_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
