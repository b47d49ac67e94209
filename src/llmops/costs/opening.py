"""The call log and price book of the project that a command runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmops.errors import NotFoundError

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls, Totals, Window
    from llmops.types import Call
    from llmops.usage.price_book import PriceBook

NO_CALLS = (
    "no calls yet: llmops eval SUITE logs those it sends (extractive and recorded backends send none); "
    "docs/track.md says how an app logs its"
)


class _NoCalls:
    """The call log of a project that has none yet."""

    def totals(self, **chosen: Any) -> list[Totals]:
        return []

    def rows(self, **chosen: Any) -> Iterator[Call]:
        return iter(())

    def ledger(self) -> list[Window]:
        return []

    def reprice(self, rule: object, since: object = None, until: object = None) -> None:
        return None

    def prune(self, before: float) -> int:
        return 0

    prune_text = prune


@contextlib.contextmanager
def open_calls(store: str | Path | None = None) -> Iterator[Calls]:
    """The call log at `store`, or the project's, which is empty before the first call.

    Raises `NotFoundError` when there is none at `store`, `StoreError`.
    """
    from llmops.config import store_location
    from llmops.store.call_queries import Calls

    try:
        calls = Calls.open(store_location(str(store) if store else None), create=False)
    except NotFoundError:
        if store:
            hint = "llmops db path says where calls are kept without --store"
            raise NotFoundError(f"no store at {store}", hint=hint) from None
        yield cast("Calls", _NoCalls())
        return
    with calls:
        yield calls


def open_prices(start: Path | None = None) -> PriceBook:
    """The project's price book: its own prices and servers over those of installed price lists.

    A server whose speed the prices don't state has no price a token.
    """
    from llmops.config import load_config
    from llmops.connecting import price_book

    return price_book(load_config(start))
