"""Calls that sums by user lack: whose they were was forgotten with them, what they cost was not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.costs.opening import open_calls
from llmops.costs.selecting import Moment, Selection, select
from llmops.reports.cost_lines import NOTHING_PRUNED, Pruned

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls, Totals

__all__ = ["NOTHING_PRUNED", "Pruned", "pruned_in", "pruned_of"]


def pruned_of(calls: Calls, chosen: Selection) -> Pruned:
    """Requests and nano-dollars of a window that are in its sums by the hour, and among its calls no more.

    Nothing, unless the selection is by user: all else is in the sums by the hour. With `user=…` as a condition it is
    what all users' pruned calls come to.
    """
    if "user" not in (*chosen.by, *chosen.where):
        return NOTHING_PRUNED
    where = {name: value for name, value in chosen.where.items() if name != "user"}
    kept = calls.totals(by=(), since=chosen.since, until=chosen.until, where=where)  # first: calls may be added
    left = calls.totals(by=("user",), since=chosen.since, until=chosen.until, where=where)
    requests, cost = (a - b for a, b in zip(_sum(kept), _sum(left), strict=True))
    return Pruned(requests, max(cost, 0)) if requests > 0 else NOTHING_PRUNED


def pruned_in(
    by: str | Sequence[str] = (),
    since: Moment = None,
    until: Moment = None,
    where: Mapping[str, str] | Iterable[str] = (),
    *,
    store: str | Path | None = None,
) -> Pruned:
    """The same of what the caller wrote. Raises `InputError`, `NotFoundError`, `StoreError`."""
    chosen = select(by, since, until, where)
    with open_calls(store) as calls:
        return pruned_of(calls, chosen)


def _sum(totals: Iterable[Totals]) -> tuple[int, int]:
    found = [(one.requests, one.cost_exact + one.cost_estimated) for one in totals]
    return sum(count for count, _ in found), sum(cost for _, cost in found)
