"""What calls to servers of one's own cost by the time they took: every hour's bill, shared among its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmops.types import Call, Cost
from llmops.usage.entries import HOUR
from llmops.usage.money import NANOS
from llmops.usage.open_call import NOT_BILLED

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls

METHOD = "time_share"
REPORTED = "reported"


def shared_bills(
    calls: Calls, servers: Mapping[str, Mapping[str, Any]], since: float | None, until: float, revision: str
) -> dict[str, Cost]:
    """Costs by call id, for servers with `method: time_share`, of the hours between two times that are over.

    An hour's bill goes to the calls that began in it and whose tokens are known, by the seconds they took (waiting in
    the server's queue included), and adds up to it to the nano-dollar; an hour without such calls is idle. Needs memory
    for the calls to those servers.
    """
    from llmops.usage.self_hosting import dollars_per_second, time_shares

    costs: dict[str, Cost] = {}
    for name, server in servers.items():
        if server.get("method") != METHOD:
            continue
        bill = round(dollars_per_second(server) * HOUR * NANOS)
        first = None if since is None else -(-since // HOUR) * HOUR
        last = until // HOUR * HOUR
        for hour in _by_hour(calls, name, first, last).values():
            shares = time_shares(bill, [seconds for _, seconds in hour])
            costs |= {
                identity: Cost(
                    share, fees=share, certainty="estimated", source=f"server:{name}", price=METHOD, revision=revision
                )
                for (identity, _), share in zip(hour, shares, strict=True)
            }
    return costs


def _by_hour(calls: Calls, backend: str, first: float | None, last: float) -> dict[float, list[tuple[str, float]]]:
    """Ids and seconds of the calls to a server, by the hour that they began in."""
    found: dict[float, list[tuple[str, float]]] = defaultdict(list)
    if first is not None and first >= last:
        return found
    for call in calls.rows(since=first, until=last, where={"backend": backend}):
        if is_shared(call):
            found[call.started_at // HOUR].append((call.id, call.duration_s or 0.0))
    return found


def is_shared(call: Call) -> bool:
    """Whether a call took time of the server, isn't still doing so, and has no cost that is someone else's word."""
    told = call.cost is not None and call.cost.source in (NOT_BILLED, REPORTED)
    ended = call.state in ("settled", "estimated") and call.outcome != "unsent"
    return ended and not told and bool(call.duration_s)
