"""`llmops cost budgets|servers`: limits and what is left of them, and what servers of one's own cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.cost_options import Store
from llmops.cli.terminal import AsJson, out, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.costs.budget_windows import BudgetWindow
    from llmops.costs.server_costs import ServerCost
    from llmops.usage.self_hosting import ServerRates, WindowCost


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command()(budgets)
    app.command()(servers)


def budgets(
    past: Annotated[bool, typer.Option("--past", help="Also windows that are over.")] = False,
    empty: Annotated[bool, typer.Option("--all", help="Also windows in which nothing is spent or set aside.")] = False,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Every budget's window: limit, spent, set aside for calls in flight, left, and when it begins anew."""
    import time

    from llmops import costs

    now = time.time()
    found = costs.budgets(store or None, past=past, empty=empty, now=now)
    if as_json:
        print_json({"budgets": [_budget_data(one) for one in found]})
        return
    if not found:
        say("no budgets: llmops.yaml takes budgets: [{limit: $50, per: day, by: team}]")
        return
    from llmops.reports.cost_terminal import print_table

    rows = [_budget_row(one, now) for one in found]
    heads = ["budget", "window", "limit", "spent", "reserved", "left", "resets in", ""]
    print_table(out(), heads, rows, left=2, spare=("reserved", "left", "budget", "resets in"))


def _budget_row(one: BudgetWindow, now: float) -> list[str]:
    used = one.spent + one.reserved
    full = used / one.limit if one.limit else 1.0
    state = "ended" if not one.current else "" if not one.rule else "full" if full >= 1 else f"{full:.0%} used"
    state += "" if one.is_hard else ", warns"
    figures = [_amount(one, value) for value in (one.limit, one.spent, one.reserved, one.left)]
    rest = "–" if one.ends_at is None or one.ends_at <= now else _time_left(one.ends_at - now)
    return [one.rule or "(no rule any more)", _readable(one.window) or "nothing counted yet", *figures, rest, state]


def _time_left(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else _hours(hours)


def _readable(window: str) -> str:
    """`team=search · 2026-12-01` for `nanodollars/day/team=search/2026-12-01`; `(none)` for calls that have no team."""
    from llmops.usage.budget_scopes import scope_of, whose

    scope = scope_of(window)
    parts = [*(f"{name}={value}" for name, value in whose(window).items()), scope.stamp if scope else ""]
    return " · ".join(part for part in parts if part) or ("all calls" if window else "")


def _budget_data(one: BudgetWindow) -> dict[str, Any]:
    """Amounts end in their unit: `limit_usd`, `spent_tokens`."""
    is_money = one.unit == "nanodollars"
    unit = "usd" if is_money else one.unit
    amounts = {"limit": one.limit, "spent": one.spent, "reserved": one.reserved, "left": one.left}
    told = {f"{name}_{unit}": value / 1e9 if is_money else value for name, value in amounts.items()}
    return {
        "window": one.window, "rule": one.rule, "unit": unit, **told, "is_hard": one.is_hard, "current": one.current,
        "ends_at": None if one.ends_at is None else _iso(one.ends_at),
    }  # fmt: skip


def _amount(one: BudgetWindow, value: int) -> str:
    from llmops.usage.money import dollars

    return dollars(value) if one.unit == "nanodollars" else f"{value:,}"


def servers(
    names: Annotated[list[str] | None, typer.Argument(help="Only these servers.", metavar="[NAME]...")] = None,
    since: Annotated[
        str | None, typer.Option(help="The window of logged calls: 24h, 7d, 2026-11-01.", metavar="TIME")
    ] = "7d",
    until: Annotated[str | None, typer.Option(help="Its end; without it, now.", metavar="TIME")] = None,
    scrape: Annotated[bool, typer.Option("--scrape", help="Also read each vLLM server's own counters.")] = False,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Servers of your own: paid, used, idle, and dollars per million tokens."""
    from llmops import costs

    found = costs.servers(tuple(names or ()), since, until, scrape=scrape, store=store or None)
    if as_json:
        print_json({"servers": [_data(one) for one in found]})
        return
    if not found:
        example = "{local: {gpu_per_hour: 2.50, tokens_per_second: 2500, utilisation: 0.4}}"
        say(f"no servers: the project's prices take servers: {example}")
        return
    from llmops.reports.cost_terminal import say as line

    console = out()
    for place, one in enumerate(found):
        if place:
            console.print()
        for number, text in enumerate(_lines(one)):
            line(console, text, style="" if number else "bold")


def _lines(one: ServerCost) -> Iterator[str]:
    from llmops.reports.cost_words import money, short_tokens
    from llmops.reports.figures import plural

    yield f"{one.name}: ${one.per_hour:,.2f} an hour"
    yield f"  calls are priced at {_rates(one.rates)}"
    logged, tokens = one.logged, short_tokens(one.logged.total_tokens)
    yield f"  logged: {plural(logged.requests, 'request')}, {tokens} tokens, {money(logged.cost)}"
    yield from _paid(one)
    if one.problem:
        yield f"  ! its counters: {one.problem}"
    if one.measured is not None:
        yield from _measured(one.measured)


def _paid(one: ServerCost) -> Iterator[str]:
    from llmops.reports.cost_words import money

    if one.paid is None or one.hours is None:
        yield "  no call to it is in this window: nobody says how long it was paid for"
        return
    rest = "" if one.usage is None else f"; usage {money(one.usage)}, idle {money(one.idle)}"
    yield f"  paid for {_hours(one.hours)}{_began(one)}: {money(one.paid)}{rest}"
    if (one.logged.cost or 0) > one.paid:
        yield "  ! its calls were charged more than was paid: it is busier than the utilisation in its settings"


def _hours(hours: float) -> str:
    if hours < 2:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:,.1f} h" if hours < 10 and hours != round(hours) else f"{hours:,.0f} h"


def _began(one: ServerCost) -> str:
    from datetime import UTC, datetime

    if one.since is None or not one.from_first:
        return ""
    return f", since its first call ({datetime.fromtimestamp(one.since, UTC):%Y-%m-%d %H:%M} UTC)"


def _measured(cost: WindowCost) -> Iterator[str]:
    from llmops.reports.cost_words import money, short_tokens
    from llmops.reports.figures import share

    metrics = cost.metrics
    yield f"  since its start ({cost.gpu_hours:,.1f} h), by its own counters:"
    read, written = short_tokens(metrics.prompt_tokens), short_tokens(metrics.generation_tokens)
    yield f"    {read} tokens read, {written} written; busy {share(cost.busy_share)} by {cost.busy_from}"
    yield f"    allocation {money(cost.allocation)}, usage {money(cost.usage)}, idle {money(cost.idle)}"
    if cost.allocation_rates is not None:
        yield f"    with idle time {_rates(cost.allocation_rates)}"
    if cost.usage_rates is not None:
        yield f"    without it {_rates(cost.usage_rates)}"


def _rates(rates: ServerRates) -> str:
    how = f"{rates.method.replace('_', ' ')}, {'measured' if rates.measured else 'from settings'}"
    return f"${rates.input:,.4f} in, ${rates.output:,.4f} out per million tokens ({how})"


def _data(one: ServerCost) -> dict[str, Any]:
    from llmops.reports.cost_rows import in_dollars

    def rates(of: ServerRates | None) -> dict[str, Any] | None:
        if of is None:
            return None
        known = {"method": of.method, "basis": of.basis, "measured": of.measured}
        return {"input": float(of.input), "output": float(of.output), **known}

    data: dict[str, Any] = {
        "name": one.name,
        "per_hour_usd": float(one.per_hour),
        "rates": rates(one.rates),
        "requests": one.logged.requests,
        "tokens": one.logged.total_tokens,
        "logged_usd": _number(in_dollars(one.logged.cost)),
        "since": None if one.since is None else _iso(one.since),
        "from_first_call": one.from_first,
        "hours": one.hours,
        "paid_usd": _number(in_dollars(one.paid)),
        "usage_usd": _number(in_dollars(one.usage)),
        "idle_usd": _number(in_dollars(one.idle)),
        "problem": one.problem or None,
    }
    cost = one.measured
    if cost is not None:
        data["measured"] = {
            "hours": cost.gpu_hours, "prompt_tokens": cost.metrics.prompt_tokens,
            "generation_tokens": cost.metrics.generation_tokens, "busy_share": cost.busy_share,
            "busy_from": cost.busy_from, "allocation_usd": cost.allocation / 1e9, "usage_usd": cost.usage / 1e9,
            "idle_usd": cost.idle / 1e9, "allocation_rates": rates(cost.allocation_rates),
            "usage_rates": rates(cost.usage_rates),
        }  # fmt: skip
    return data


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
