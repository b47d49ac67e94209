"""`llmops cost calls` as functions: the last calls, and one of them whole."""

from __future__ import annotations

from pathlib import Path

from llmops.costs.moments import Moment
from llmops.costs.opening import open_calls
from llmops.costs.selecting import select
from llmops.types import Call, CallText
from llmops.usage.conditions import Where


def calls(
    since: Moment = None,
    until: Moment = None,
    where: Where = (),
    *,
    limit: int | None = 20,
    store: str | Path | None = None,
    now: float | None = None,
) -> list[Call]:
    """The last calls, newest first, those that have not ended among them; the window is to the second.

    Raises `InputError`, `NotFoundError` without a call log, `StoreError`.
    """
    chosen = select((), since, until, where, now=now, whole_hours=False)
    with open_calls(store) as log:
        found = log.rows(since=chosen.since, until=chosen.until, where=chosen.where, order="newest", limit=limit)
        return list(found)


def call(call_id: str, *, store: str | Path | None = None) -> tuple[Call, CallText | None]:
    """The call whose id begins so, and what was said in it, None where that wasn't kept.

    Raises `NotFoundError`, `InputError` where several begin so, `StoreError`.
    """
    with open_calls(store) as log:
        found = log.find(call_id)
        return found, log.text(found.id)
