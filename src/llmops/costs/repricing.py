"""Stored costs computed anew from stored usage, and what the same calls would have cost on another model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.costs.gpu_time import REPORTED, shared_bills
from llmops.costs.moments import Moment, instant
from llmops.costs.opening import open_calls, open_prices
from llmops.costs.selecting import Selection, select
from llmops.errors import InputError
from llmops.types import Call, Cost
from llmops.usage.conditions import Condition, Where
from llmops.usage.open_call import NOT_BILLED, price

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls
    from llmops.types import Pricer
    from llmops.usage.price_book import PriceBook

ALL_MODELS = "model"
_WITHOUT_COST = ("pending", "unsent")
Rule = Callable[[Call], Cost | None]


@dataclass
class Repricing:
    """What repricing does, or would do: counts of calls, and nano-dollars before and after of those that change.

    `changed` calls get another amount; `renamed` ones keep theirs, and only where it is from is noted anew. `kept`
    calls have a cost that no price list knows any more; `reported` ones have the provider's own figure. Both stay as
    they are.
    """

    calls: int = 0
    changed: int = 0
    renamed: int = 0
    newly_priced: int = 0
    unpriced: int = 0
    kept: int = 0
    reported: int = 0
    before: int = 0
    after: int = 0
    revision: str = ""
    written: bool = False

    @property
    def difference(self) -> int:
        return self.after - self.before

    def count(self, call: Call, cost: Cost | None) -> None:
        """Note what happens to one call."""
        old = call.cost
        self.calls += 1
        if cost is None and old is None:
            self.unpriced += 1
        elif cost is not None and old is not None and cost.total == old.total:
            self.renamed += cost != old
        elif cost is not None:
            self.changed += 1
            self.newly_priced += old is None
            self.before += old.total if old else 0
            self.after += cost.total


def reprice(
    as_of: Moment = None,
    since: Moment = None,
    until: Moment = None,
    *,
    dry_run: bool = False,
    store: str | Path | None = None,
    now: float | None = None,
) -> Repricing:
    """Compute stored costs anew from stored usage and write them, at once: only `dry_run` leaves them as they are.

    Each call is priced as on its own day, with `as_of` (a date) as on that one. Calls to servers with
    `method: time_share` get their shares of the hours that are over. What budgets have counted doesn't change. Raises
    `InputError`, `NotFoundError`, `StoreError`, and `RepricingInterruptedError` on Ctrl-C.
    """
    chosen = select((), since, until, now=now)
    at = None if as_of is None else instant(as_of, "--as-of", time.time() if now is None else now)
    prices = open_prices()
    done = Repricing(revision=prices.revision, written=not dry_run)
    with open_calls(store) as calls:
        moment = time.time() if now is None else now
        last = min(moment, moment if chosen.until is None else chosen.until)
        shares = shared_bills(calls, prices.servers, chosen.since, last, prices.revision)
        rule = _counting(done, _rule(prices, at, done, shares))
        if dry_run:
            for call in calls.rows(since=chosen.since, until=chosen.until):
                if call.outcome not in _WITHOUT_COST:
                    rule(call)
        else:
            try:
                calls.reprice(rule, since=chosen.since, until=chosen.until)
            except KeyboardInterrupt:
                raise RepricingInterruptedError(done) from None
    return done


def _rule(prices: Pricer, at: float | None, done: Repricing, shares: Mapping[str, Cost]) -> Rule:
    def new_cost(call: Call) -> Cost | None:
        source = call.cost.source if call.cost is not None else ""
        done.reported += source == REPORTED
        if call.state in ("pending", "unknown") or source in (REPORTED, NOT_BILLED):
            return call.cost
        if call.id in shares:
            return shares[call.id]
        asked = call if at is None else replace(call, started_at=at)
        cost = price(prices, asked, call.usage, call.model_served, call.service_tier)
        old = call.cost
        if old is not None and cost is None:
            done.kept += 1
            return old
        return _as_sure_as_before(cost, old)

    return new_cost


def _as_sure_as_before(cost: Cost | None, old: Cost | None) -> Cost | None:
    """The same amount by the same price is as sure as it was: what else was billed stands in no row."""
    if cost is None or old is None or old.certainty == "exact":
        return cost
    same = (cost.source, cost.price, cost.total) == (old.source, old.price, old.total)
    return replace(cost, certainty=old.certainty) if same else cost


def _counting(done: Repricing, rule: Rule) -> Rule:
    def counted(call: Call) -> Cost | None:
        cost = rule(call)
        done.count(call, cost)
        return cost

    return counted


class RepricingInterruptedError(KeyboardInterrupt):
    """Ctrl-C while costs were written: of the calls in `done`, all but the last thousands are. Repeating it is safe."""

    def __init__(self, done: Repricing) -> None:
        super().__init__()
        self.done = done


@dataclass
class WhatIfLine:
    """Calls of one group: nano-dollars as they were, and on the other model. Only calls priced both ways are summed."""

    key: tuple[str, ...]
    calls: int = 0
    now: int = 0
    then: int = 0
    left_out: int = 0

    @property
    def difference(self) -> int:
        return self.then - self.now


@dataclass(frozen=True)
class WhatIf:
    """What calls would have cost on `new` in place of `old` (`model` for any), dearest first. Nothing is written."""

    old: str
    new: str
    by: tuple[str, ...]
    lines: tuple[WhatIfLine, ...]
    total: WhatIfLine
    hint: str = ""
    where: Mapping[str, Condition] = field(default_factory=dict)


def what_if(
    change: str,
    by: str | Sequence[str] = ("model",),
    since: Moment = None,
    until: Moment = None,
    where: Where = (),
    *,
    store: str | Path | None = None,
    now: float | None = None,
) -> WhatIf:
    """What the same calls, token for token, would have cost on another model: `old=new`, or `model=new` for all.

    `new` may be `provider/model`. Prices are those of each call's day, or today's where the model had none then.
    Another model would use more or fewer tokens: only the prices are exchanged. Raises `InputError`.
    """
    old, _, new = (part.strip() for part in change.partition("="))
    if not old or not new:
        raise InputError(
            f"--what-if {change[:60]!r} isn't a change", hint="write gpt-4o=gpt-4o-mini, or model=gpt-4o-mini"
        )
    chosen = select(by or ("model",), since, until, where, now=now)
    prices = open_prices()
    named = prices.named(new)
    places = (named,) if named else (("", new),)
    lines: dict[tuple[str, ...], WhatIfLine] = {}
    with open_calls(store) as calls:
        for call in _chosen_calls(calls, chosen, old):
            key = tuple(field_of(call, name) for name in chosen.by)
            line = lines.setdefault(key, WhatIfLine(key))
            then = _price_on(prices, places, call)
            line.calls += 1
            if then is None or call.cost is None:
                line.left_out += 1
            else:
                line.now += call.cost.total
                line.then += then.total
    ordered = tuple(sorted(lines.values(), key=lambda line: (-line.now, -line.calls, line.key)))
    total = WhatIfLine(())
    for line in ordered:
        total.calls, total.left_out = total.calls + line.calls, total.left_out + line.left_out
        total.now, total.then = total.now + line.now, total.then + line.then
    priced = total.calls > total.left_out
    provider, _, model = new.rpartition("/")
    hint = "" if priced or not total.calls else prices.hint(provider, model)
    return WhatIf(old, new, chosen.by, ordered, total, hint, chosen.where)


def _chosen_calls(calls: Calls, chosen: Selection, old: str) -> Iterator[Call]:
    for call in calls.rows(since=chosen.since, until=chosen.until, where=chosen.where):
        is_of = old == ALL_MODELS or old in (call.model_served, call.model_asked)
        billed = call.cost is None or call.cost.source != NOT_BILLED
        if is_of and billed and call.outcome not in _WITHOUT_COST:
            yield call


def _price_on(prices: PriceBook, places: tuple[tuple[str, str], ...], call: Call) -> Cost | None:
    """The call's usage at the prices of its day of the first of `places` that has any, else at today's."""
    for provider, model in places:
        for at in (call.started_at, None):
            cost = prices.cost(
                call.usage, provider=provider or call.provider, model=model, at=at, service_tier=call.service_tier
            )
            if cost is not None:
                return cost
    return None


def field_of(call: Call, name: str) -> str:
    """What a call that ended says of a field that reports can be by."""
    of, cost = call.attribution, call.cost
    if name.startswith("tag:"):
        return dict(of.tags).get(name.removeprefix("tag:"), "")
    if name in ("hour", "day", "month"):
        form = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[name]
        return datetime.fromtimestamp(call.started_at, UTC).strftime(form)
    if name in ("source", "price", "revision"):
        return str(getattr(cost, name)) if cost else ""
    named, at, _ = of.prompt.rpartition("@")
    special = {
        "prompt": named if at else of.prompt,
        "version": of.prompt,
        "model": call.model_served or call.model_asked,
        "tokens": call.usage.certainty,
        "certainty": cost.certainty if cost else "unpriced",
    }
    return special[name] if name in special else str(getattr(of if hasattr(of, name) else call, name))
