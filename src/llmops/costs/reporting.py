"""`llmops cost report` and `llmops cost top` as functions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.costs.accepting import accepted_answers, chosen_run
from llmops.costs.moments import Moment
from llmops.costs.opening import open_calls, open_prices
from llmops.costs.plotting import plotted
from llmops.costs.pruned import NOTHING_PRUNED, missing, pruned_of, sums_of
from llmops.costs.selecting import Selection, select
from llmops.reports.cost_lines import TIMES, CostLine, CostReport, Spender, UnpricedModel, together
from llmops.types import Usage
from llmops.usage.conditions import Where, holds
from llmops.usage.prices_yaml import UNKNOWN

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls, Totals

REPRICE = "there is a price now: llmops cost reprice"
_COUNTS = ("requests", "unsent", "pending", "errors", "unpriced", "unknown", "first_tokens")
_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def report(
    by: str | Sequence[str] = ("model",),
    since: Moment = None,
    until: Moment = None,
    where: Where = (),
    *,
    run: str = "",
    accepted: str | Sequence[str] = (),
    store: str | Path | None = None,
    now: float | None = None,
) -> CostReport:
    """What calls cost, by anything they can be told apart by: `report(by=["team", "model"], since="7d")`.

    `run` keeps the calls of one run (an id, the start of one, `latest`); with `accepted`, a rule such as
    `correct >= 1`, the report has the cost per answer that meets it. Several rules must all hold.
    Raises `InputError` for an unknown field or time, `NotFoundError` without a call log or run, `StoreError`.
    """
    now = time.time() if now is None else now
    chosen = select(by or ("model",), since, until, where, now=now)
    rules = [accepted] if isinstance(accepted, str) else list(accepted)
    found = chosen_run(run, [rule for rule in rules if rule.strip()], store)
    if found is not None:
        chosen = replace(chosen, where={**chosen.where, "run": found.run.id})
    with open_calls(store) as calls:
        before = sums_of(calls, chosen)
        lines, purposes = _grouped(calls, chosen)
        total = together(lines)
        if before is None:
            pruned = NOTHING_PRUNED
        elif "user" in chosen.where:
            pruned = pruned_of(calls, chosen)
        else:  # the lines were read from the calls
            pruned = missing(before, (total.requests, total.exact + total.estimated))
        field, times, series = plotted(calls, chosen, lines, now)
        return CostReport(
            by=chosen.by,
            lines=tuple(_ordered(lines, chosen.by)),
            total=total,
            purposes=tuple(_ordered(purposes, ("purpose",))),
            since=chosen.since,
            until=chosen.until,
            where=chosen.where,
            unpriced=_unpriced(calls, chosen) if total.unpriced else (),
            accepted=accepted_answers(calls, found) if found is not None else (),
            times=times,
            series=series,
            series_by=field,
            made_at=now,
            pruned=pruned,
        )


def top(
    by: str | Sequence[str] = ("prompt", "model"),
    since: Moment = "7d",
    until: Moment = None,
    where: Where = (),
    *,
    store: str | Path | None = None,
    now: float | None = None,
) -> list[Spender]:
    """Who spends most, dearest first, each with its share and its cost in the window of the same length before."""
    now = time.time() if now is None else now
    chosen = select(by or ("model",), since, until, where, now=now)
    with open_calls(store) as calls:
        lines = sorted(lines_of(calls, chosen), key=_dearest)
        earlier: dict[tuple[str, ...], CostLine] = {}
        if chosen.since is not None:
            length = -(-((chosen.until or now) - chosen.since) // 3600) * 3600  # whole hours are added up already
            past = replace(chosen, since=chosen.since - length, until=chosen.since)
            earlier = {line.key: line for line in lines_of(calls, past)}
    whole = together(lines).cost
    return [_spender(line, earlier.get(line.key), whole, compared=chosen.since is not None) for line in lines]


def _spender(line: CostLine, past: CostLine | None, whole: int | None, *, compared: bool) -> Spender:
    before = None if not compared else past.cost if past is not None else 0
    return Spender(line, before, line.cost / whole if whole and line.cost is not None else None)


def lines_of(calls: Calls, chosen: Selection) -> list[CostLine]:
    """A line for each group of calls, with what judges and guards are of it."""
    return _grouped(calls, chosen)[0]


def _grouped(calls: Calls, chosen: Selection) -> tuple[list[CostLine], list[CostLine]]:
    """The lines, and the same by purpose, from one reading of the sums."""
    by = tuple(dict.fromkeys((*chosen.by, "purpose", "state")))
    groups: dict[tuple[str, ...], list[CostLine]] = defaultdict(list)
    purposes: dict[tuple[str, ...], list[CostLine]] = defaultdict(list)
    for totals in _by_purpose(calls, chosen, by):
        line = line_of(totals, tuple(str(totals.key[name]) for name in chosen.by))
        groups[line.key].append(line)
        purposes[(str(totals.key["purpose"]),)].append(line)
    lines, parts = ([together(one, key) for key, one in found.items()] for found in (groups, purposes))
    return lines, parts


def _by_purpose(calls: Calls, chosen: Selection, by: tuple[str, ...]) -> list[Totals]:
    """Sums by fields that purpose and state are of.

    Those by user read every call, so purpose isn't asked for needlessly; by state they are summed anyhow.
    """
    since, until, where = chosen.since, chosen.until, chosen.where
    if "user" in by and "purpose" not in (*chosen.by, *where):
        purposes = calls.totals(by=("purpose",), since=since, until=until, where=where)
        if len(purposes) == 1:
            without = tuple(name for name in by if name != "purpose")
            found = calls.totals(by=without, since=since, until=until, where=where)
            return [replace(totals, key={**totals.key, **purposes[0].key}) for totals in found]
    return calls.totals(by=by, since=since, until=until, where=where)


def line_of(totals: Totals, key: tuple[str, ...]) -> CostLine:
    """The store's totals as a line. By purpose, calls are known to be judges' or guards'; by state, to be uncounted."""
    purpose = totals.key.get("purpose")
    known = totals.cost_exact + totals.cost_estimated
    figures: dict[str, Any] = {name: getattr(totals, name) for name in (*_COUNTS, *_TOKENS)}
    return CostLine(
        key=key,
        exact=totals.cost_exact,
        estimated=totals.cost_estimated,
        judges=known if purpose == "judge" else 0,
        guards=known if purpose == "guard" else 0,
        uncounted=totals.unpriced if totals.key.get("state") == "unknown" else 0,
        duration_s=totals.duration_s,
        first_token_s=totals.first_token_s,
        parts=(
            totals.cost_input, totals.cost_cache_read, totals.cost_cache_write,
            totals.cost_output, totals.cost_reasoning, totals.cost_fees,
        ),
        **figures,
    )  # fmt: skip


def _ordered(lines: list[CostLine], by: tuple[str, ...]) -> list[CostLine]:
    """Dearest first; where the first field is a time, in its order."""
    ordered = sorted(lines, key=_dearest)
    return sorted(ordered, key=lambda line: line.key[0]) if by[0] in TIMES else ordered


def _dearest(line: CostLine) -> tuple[int, int, tuple[str, ...]]:
    return -(line.cost or 0), -line.requests, line.key


def _unpriced(calls: Calls, chosen: Selection) -> tuple[UnpricedModel, ...]:
    """Models whose calls lack a price, with what gives them one. Calls with unknown tokens lack something else."""
    lacking = _lacking(calls, chosen)
    if not lacking:
        return ()
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    known: set[tuple[str, str]] = set()
    prices = open_prices()  # reads the price lists, which takes a while
    for totals in lacking:
        provider, model, backend = (str(totals.key[name] or "") for name in ("provider", "model", "backend"))
        counts[provider, model][0] += totals.unpriced
        counts[provider, model][1] += totals.input_tokens + totals.output_tokens
        used = Usage(totals.input_tokens, totals.output_tokens, requests=1, certainty="exact")
        if prices.cost(used, provider=provider, model=model, backend=backend) is not None:
            known.add((provider, model))
    found = [
        UnpricedModel(*name, requests, tokens, REPRICE if name in known else prices.hint(name[0] or UNKNOWN, name[1]))
        for name, (requests, tokens) in counts.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.requests, one.provider, one.model)))


def _lacking(calls: Calls, chosen: Selection) -> list[Totals]:
    """Calls by model and backend that have tokens and no price."""
    if not holds(chosen.where.get("certainty", "unpriced"), "unpriced"):
        return []
    where = {**chosen.where, "certainty": "unpriced"}
    by = ("provider", "model", "backend", "state")
    found = calls.totals(by=by, since=chosen.since, until=chosen.until, where=where)
    return [totals for totals in found if totals.unpriced and totals.key["state"] != "unknown"]
