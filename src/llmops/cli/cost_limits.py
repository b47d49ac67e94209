"""`llmops cost budgets|servers`: limits and what is left of them, and what servers of one's own cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import AsJson, out, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.costs.budget_windows import BudgetWindow
    from llmops.costs.server_costs import ServerCost
    from llmops.usage.self_hosting import ServerRates, WindowCost

Store = Annotated[
    str, typer.Option(help="Where calls are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command()(budgets)
    app.command()(servers)


def budgets(
    past: Annotated[bool, typer.Option("--past", help="Also windows that are over.")] = False,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Every budget's window: limit, spent, set aside for calls in flight, and left."""
    from llmops import costs

    found = costs.budgets(store or None, past=past)
    if as_json:
        print_json({"budgets": [{**asdict(one), "left": one.left} for one in found]})
        return
    if not found:
        say("no budgets: llmops.yaml takes budgets: [{limit: $50, per: day, by: team}]")
        return
    from llmops.reports.cost_terminal import print_table

    rows = [_budget_row(one) for one in found]
    heads = ["budget", "window", "limit", "spent", "reserved", "left", ""]
    print_table(out(), heads, rows, left=2, spare=("limit", "reserved"))


def _budget_row(one: BudgetWindow) -> list[str]:
    used = one.spent + one.reserved
    full = used / one.limit if one.limit else 1.0
    state = "over" if not one.current else "full" if full >= 1 else f"{full:.0%} used"
    state += "" if one.is_hard else ", warns"
    figures = [_amount(one, value) for value in (one.limit, one.spent, one.reserved, one.left)]
    return [one.rule or "(no rule any more)", _readable(one.window) or "nothing counted yet", *figures, state]


def _readable(window: str) -> str:
    """`team=search · 2026-12-01` for `nanodollars/day/team=search/2026-12-01`."""
    from urllib.parse import unquote

    return " · ".join(unquote(part) for part in window.split("/")[2:]) or ("all calls" if window else "")


def _amount(one: BudgetWindow, value: int) -> str:
    from llmops.usage.money import dollars

    return dollars(value) if one.unit == "nanodollars" else f"{value:,}"


def servers(
    names: Annotated[list[str] | None, typer.Argument(help="Only these servers.", metavar="[NAME]...")] = None,
    since: Annotated[str, typer.Option(help="The window of logged calls: 24h, 7d, 2026-11-01.", metavar="TIME")] = "7d",
    until: Annotated[str, typer.Option(help="Its end; without it, now.", metavar="TIME")] = "",
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
    if one.paid is not None and one.idle is not None and one.hours is not None:
        rest = (
            f"{money(one.idle)} idle" if one.idle >= 0 else f"{money(-one.idle)} more than was paid: rates are too high"
        )
        yield f"  paid for {one.hours:,.0f} h: {money(one.paid)}; {rest}"
    if one.problem:
        yield f"  ! its counters: {one.problem}"
    if one.measured is not None:
        yield from _measured(one.measured)


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
        "hours": one.hours,
        "paid_usd": _number(in_dollars(one.paid)),
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


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
