"""`llmops cost servers`: what servers of one's own cost, used and idle, beside the calls we logged on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.costs.opening import open_calls, open_prices
from llmops.costs.reporting import lines_of
from llmops.costs.selecting import Moment, select
from llmops.errors import BackendError, InputError, NotFoundError, did_you_mean
from llmops.reports.cost_lines import CostLine

if TYPE_CHECKING:
    from llmops.usage.self_hosting import ServerRates, WindowCost
    from llmops.usage.server_metrics import ServerSnapshot


@dataclass(frozen=True)
class ServerCost:
    """A server of one's own. Money is in nano-dollars, rates in dollars per million tokens.

    `rates` are those its calls are priced with. `logged` are the calls in the log in the window asked for, and `paid`
    what the server cost in it, by its price an hour. `measured` is what its own counters say since it started, None
    without a scrape; `problem` says why there is none.
    """

    name: str
    per_hour: Decimal
    rates: ServerRates
    logged: CostLine
    hours: float | None
    paid: int | None
    measured: WindowCost | None = None
    problem: str = ""

    @property
    def idle(self) -> int | None:
        """Nano-dollars paid that no logged call stands for; below 0 when the rates assume too little work."""
        return None if self.paid is None else self.paid - (self.logged.cost or 0)


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

    `scrape` reads the counters of each vLLM server whose backend has a `base_url`; a server that can't be reached is
    shown with the reason. Raises `InputError` when the project prices no server.
    """
    from llmops.usage.self_hosting import dollars_per_second, rates_of

    known = open_prices().servers
    if not known:
        hint = "servers: {local: {gpu_per_hour: 2.50, gpus: 1, tokens_per_second: 2500, utilisation: 0.4}}"
        raise InputError("the project's prices name no server", hint=f"add {hint}")
    for name in names:
        if name not in known:
            raise NotFoundError(f"no server is called {name[:60]!r}", hint=did_you_mean(name, known))
    now = time.time() if now is None else now
    chosen = select(("backend",), since, until, now=now)
    with open_calls(store) as calls:
        lines = {line.key[0]: line for line in lines_of(calls, chosen)}
    hours = None if chosen.since is None else (min(chosen.until or now, now) - chosen.since) / 3600
    found = []
    for name in names or tuple(known):
        per_second = dollars_per_second(known[name])
        paid = None if hours is None else round(per_second * Decimal(repr(hours)) * 3600 * 10**9)
        cost = ServerCost(
            name=name,
            per_hour=per_second * 3600,
            rates=rates_of(known[name], where=f"servers: {name}"),
            logged=lines.get(name, CostLine((name,))),
            hours=hours,
            paid=paid,
        )
        found.append(_scraped(cost, known[name]) if scrape else cost)
    return found


def _scraped(cost: ServerCost, server: Mapping[str, Any]) -> ServerCost:
    from llmops.config import load_config
    from llmops.usage.self_hosting import window_cost
    from llmops.usage.server_metrics import scrape

    url = base_url(load_config().backends.get(cost.name))
    if not url:
        return replace(cost, problem=f"no backend {cost.name} with a base_url in llmops.yaml")
    try:
        after = asyncio.run(scrape(url))
        if after.started_at is None:
            return replace(cost, problem="its metrics don't say when it started")
        return replace(cost, measured=window_cost(_start(after), after, server))
    except (BackendError, InputError) as error:
        return replace(cost, problem=str(error))


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
