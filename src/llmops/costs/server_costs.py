"""`llmops cost servers`: what servers of one's own cost, used and idle, beside the calls we logged on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.costs.moments import Moment
from llmops.costs.opening import open_calls, open_prices
from llmops.costs.reporting import lines_of
from llmops.costs.selecting import select
from llmops.errors import BackendError, InputError, NotFoundError, did_you_mean
from llmops.reports.cost_lines import CostLine
from llmops.usage.money import NANOS

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls
    from llmops.usage.self_hosting import ServerRates, WindowCost
    from llmops.usage.server_metrics import ServerSnapshot


@dataclass(frozen=True)
class ServerCost:
    """A server of one's own. Money is in nano-dollars, rates in dollars per million tokens.

    `rates` are those its calls are priced with. `logged` are the calls in the log in the window: it begins at `since`
    (Unix time), which is the first call's in the log when the time asked for is earlier (`from_first`), and lasts
    `hours`. `paid` is what the server cost in it, by its price an hour, and `usage` the part of it in which the server
    was busy, by logged tokens over those it can make. All three are None without a call, `usage` also where its speed
    isn't known. `measured` is what its own counters say since it started, None without a scrape; `problem` says why
    there is none.
    """

    name: str
    per_hour: Decimal
    rates: ServerRates
    logged: CostLine
    hours: float | None
    paid: int | None
    usage: int | None = None
    since: float | None = None
    from_first: bool = False
    measured: WindowCost | None = None
    problem: str = ""

    @property
    def idle(self) -> int | None:
        """Nano-dollars paid while the server was not busy with logged calls: `paid` less `usage`."""
        return None if self.paid is None or self.usage is None else self.paid - self.usage


def servers(
    names: tuple[str, ...] = (),
    since: Moment = "7d",
    until: Moment = None,
    *,
    scrape: bool = False,
    store: str | Path | None = None,
    now: float | None = None,
) -> list[ServerCost]:
    """Every server under `servers:` of the project's prices, or those named.

    The window of each begins with its first call in the log at the earliest: since when it was paid for before, nobody
    says. `scrape` reads the counters of each vLLM server whose backend has a `base_url`; a server that can't be reached
    is shown with the reason. Raises `NotFoundError` for a name that isn't there, `InputError` for a server that the
    prices describe wrongly.
    """
    from llmops.usage.self_hosting import dollars_per_second

    known = open_prices().servers
    for name in names:
        if name not in known:
            raise NotFoundError(f"no server is called {name[:60]!r}", hint=did_you_mean(name, known))
    now = time.time() if now is None else now
    chosen = select(("backend",), since, until, now=now)
    with open_calls(store) as calls:
        lines = {line.key[0]: line for line in lines_of(calls, chosen)}
        firsts = {name: _first_call(calls, name) for name in names or tuple(known)}
    end = min(chosen.until or now, now)
    found = []
    for name, first in firsts.items():
        per_second = dollars_per_second(known[name])
        begin = first if first is None or chosen.since is None else max(first, chosen.since)
        seconds = None if begin is None or begin >= end else Decimal(repr(end - begin))
        paid = None if seconds is None else round(per_second * seconds * NANOS)
        logged = lines.get(name, CostLine((name,)))
        measured, problem = _scraped(name, known[name]) if scrape else (None, "")
        found.append(
            ServerCost(
                name=name,
                per_hour=per_second * 3600,
                rates=_rates(name, known[name], measured),
                logged=logged,
                hours=None if seconds is None else float(seconds) / 3600,
                paid=paid,
                usage=None if paid is None or seconds is None else _usage(known[name], logged, paid, seconds),
                since=None if seconds is None else begin,
                from_first=seconds is not None and begin == first,
                measured=measured,
                problem=problem,
            )
        )
    return found


def _rates(name: str, server: Mapping[str, Any], measured: WindowCost | None) -> ServerRates:
    """Those in the settings; for a server whose speed they don't state, those that its counters show."""
    from llmops.usage.self_hosting import rates_of

    try:
        return rates_of(server, where=f"servers: {name}")
    except InputError:
        if measured is None or measured.allocation_rates is None:
            raise
        return measured.allocation_rates


def _first_call(calls: Calls, name: str) -> float | None:
    """When the first call to a server began; to the hour, when it was pruned."""
    where = {"backend": name}
    hours = [str(one.key["hour"]) for one in calls.totals(by=("hour",), since=None, until=None, where=where)]
    if not hours:
        return None
    earliest = datetime.strptime(min(hours)[:13], "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()
    for call in calls.rows(where=where, limit=1):
        return call.started_at if call.started_at // 3600 == earliest // 3600 else earliest
    return earliest


def _usage(server: Mapping[str, Any], logged: CostLine, paid: int, seconds: Decimal) -> int | None:
    """Nano-dollars of the time in which a server was busy: tokens made over tokens possible, at most all of it."""
    from llmops.usage.self_hosting import OUTPUT_INPUT_RATIO

    speeds = [server.get(name) for name in ("tokens_per_second", "input_tokens_per_second", "output_tokens_per_second")]
    together, read, written = (Decimal(str(speed)) if speed else None for speed in speeds)
    if together is not None:
        busy = logged.total_tokens / (together * seconds)
    elif read is not None and written is not None:  # both at once, at full load
        ratio = Decimal(str(server.get("output_input_ratio") or OUTPUT_INPUT_RATIO))
        ratio = Decimal(1) if server.get("method", "flat") == "flat" else ratio
        made = logged.input_tokens / ratio + logged.output_tokens
        busy = made / ((read / ratio + written) * seconds)
    else:
        return None
    return min(paid, round(paid * busy))


def _scraped(name: str, server: Mapping[str, Any]) -> tuple[WindowCost | None, str]:
    """What a server's own counters say since it started, or the reason why they don't."""
    from llmops.config import load_config
    from llmops.usage.self_hosting import window_cost
    from llmops.usage.server_metrics import scrape

    url = base_url(load_config().backends.get(name))
    if not url:
        return None, f"no backend {name} with a base_url in llmops.yaml"
    try:
        after = asyncio.run(scrape(url))
        if after.started_at is None:
            return None, "its metrics don't say when it started"
        return window_cost(_start(after), after, server), ""
    except (BackendError, InputError) as error:
        return None, str(error)


def _start(after: ServerSnapshot) -> ServerSnapshot:
    """The reading a server would have given when it began: every counter at 0."""

    def zero(value: float | None) -> float | None:
        return None if value is None else 0.0

    return replace(
        after,
        at=after.started_at or 0.0,
        prompt_tokens=0.0,
        generation_tokens=0.0,
        cached_tokens=zero(after.cached_tokens),
        requests=zero(after.requests),
        prefill_s=zero(after.prefill_s),
        decode_s=zero(after.decode_s),
        queue_s=zero(after.queue_s),
    )


def base_url(backend: Any) -> str:
    """The address in a backend's short form, or empty."""
    if not isinstance(backend, Mapping):
        return ""
    for value in (backend, *backend.values()):
        if isinstance(value, Mapping) and isinstance(value.get("base_url"), str):
            return str(value["base_url"])
    return ""
