"""The call log and price book of the project that a command runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmops.errors import NotFoundError

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls, Totals, Window
    from llmops.store.space import Space
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

    def find(self, call_id: str) -> Call:
        raise NotFoundError(f"no call {call_id!r:.60}", hint=NO_CALLS)

    def ledger(self) -> list[Window]:
        return []

    def reprice(self, rule: object, since: object = None, until: object = None) -> None:
        return None

    def prune(self, before: float, *, dry_run: bool = False) -> int:
        return 0

    prune_text = prune_windows = prune

    def space(self) -> Space:
        from llmops.store.space import Space

        return Space(0, 0)

    give_back = space


@contextlib.contextmanager
def open_calls(store: str | Path | None = None) -> Iterator[Calls]:
    """The call log at `store`, or the project's, which is empty before the first call.

    Raises `NotFoundError` when there is none at a place that somebody named, `StoreError`.
    """
    from llmops.config import store_location
    from llmops.store.call_queries import Calls
    from llmops.store.urls import mask

    location = store_location(str(store) if store else None)
    try:
        calls = Calls.open(location, create=False)
    except NotFoundError:
        if named := _named_by(bool(store)):
            made = f"named by {named}; the first call that is logged makes it"
            hint = "llmops db path says where calls are kept without --store" if store else made
            raise NotFoundError(f"no store at {mask(location)}", hint=hint) from None
        yield cast("Calls", _NoCalls())
        return
    with calls:
        yield calls


def _named_by(explicit: bool) -> str:
    """Who says where the calls are; empty where nobody does."""
    import os

    from llmops.config import DATABASE_URL, load_config

    if explicit:
        return "--store"
    if os.environ.get(DATABASE_URL):
        return DATABASE_URL
    config = load_config()
    return f"store: in {config.where_of('store')}" if config.store else ""


def open_prices(start: Path | None = None) -> PriceBook:
    """The project's price book: its own prices and servers over those of installed price lists.

    A server whose speed the prices don't state has no price a token.
    """
    from llmops.config import load_config
    from llmops.connecting import price_book

    return price_book(load_config(start))
