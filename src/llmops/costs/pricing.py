"""`llmops cost prices`: what the price book knows, and why a model has the price it has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmops.costs.moments import Moment, instant
from llmops.costs.opening import open_prices
from llmops.errors import NotFoundError

if TYPE_CHECKING:
    from llmops.usage.entries import Entry


def prices(search: str = "", *, model: str = "", at: Moment = None, now: float | None = None) -> list[Entry]:
    """Prices in force at a time, your own first: those whose names hold every word of `search`, or that of one model.

    `model` may be `provider/model`. Raises `NotFoundError` with the lines to add for a model without a price.
    """
    book = open_prices()
    today = time.time() if now is None else now
    moment = today if at is None else instant(at, "--at", today)
    if not model:
        return list(book.entries(search, moment))
    provider, slash, name = model.partition("/")
    named = book.named(model, moment) or ((provider, name) if slash else ("", model))
    entry = book.entry(*named, moment)
    if entry is not None:
        return [entry]
    others = [found for found in book.entries(name if slash else model, moment) if not slash]
    if others:
        return others
    lines = " / ".join(line.strip() for line in book.hint(*named).splitlines())
    raise NotFoundError(f"no price of {model[:80]!r}", hint=f"add to models: of the project's prices: {lines}")
