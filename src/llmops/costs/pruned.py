"""Calls that sums by user lack: whose they were was forgotten with them, what they cost was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.costs.moments import Moment
from llmops.costs.opening import open_calls
from llmops.costs.selecting import Selection, select
from llmops.reports.cost_lines import NOTHING_PRUNED, Pruned
from llmops.usage.conditions import Condition, Where

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls, Totals

__all__ = ["NOTHING_PRUNED", "Pruned", "missing", "pruned_in", "pruned_of", "sums_of"]

Sums = tuple[int, int]
"""Requests, and nano-dollars."""


def pruned_of(calls: Calls, chosen: Selection) -> Pruned:
    """Requests and nano-dollars of a window that are in its sums by the hour, and among its calls no more.

    Nothing, unless the selection is by user: all else is in the sums by the hour. With `user=…` as a condition it is
    what all users' pruned calls come to.
    """
    before = sums_of(calls, chosen)
    if before is None:
        return NOTHING_PRUNED
    left = calls.totals(by=("user",), since=chosen.since, until=chosen.until, where=_others(chosen))
    return missing(before, _sum(left))


def sums_of(calls: Calls, chosen: Selection) -> Sums | None:
    """What the sums by the hour come to, to be read before the calls are: some may be added. None unless by user."""
    if "user" not in (*chosen.by, *chosen.where):
        return None
    return _sum(calls.totals(by=(), since=chosen.since, until=chosen.until, where=_others(chosen)))


def missing(before: Sums, left: Sums) -> Pruned:
    """What is in the sums by the hour, and among the calls no more."""
    requests, cost = (a - b for a, b in zip(before, left, strict=True))
    return Pruned(requests, max(cost, 0)) if requests > 0 else NOTHING_PRUNED


def _others(chosen: Selection) -> dict[str, Condition]:
    return {name: value for name, value in chosen.where.items() if name != "user"}


def pruned_in(
    by: str | Sequence[str] = (),
    since: Moment = None,
    until: Moment = None,
    where: Where = (),
    *,
    store: str | Path | None = None,
) -> Pruned:
    """The same of what the caller wrote. Raises `InputError`, `NotFoundError`, `StoreError`."""
    chosen = select(by, since, until, where)
    with open_calls(store) as calls:
        return pruned_of(calls, chosen)


def _sum(totals: Iterable[Totals]) -> Sums:
    found = [(one.requests, one.cost_exact + one.cost_estimated) for one in totals]
    return sum(count for count, _ in found), sum(cost for _, cost in found)
