"""`llmops cost reprice|prune`: what changes the call log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.cost_options import Store, complete_conditions, complete_fields, say_widened
from llmops.cli.terminal import AsJson, confirm, out, print_json, say
from llmops.errors import EXIT_INTERRUPTED, InputError

if TYPE_CHECKING:
    from llmops.costs.pruning import Pruning
    from llmops.costs.repricing import Repricing, WhatIf


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command()(reprice)
    app.command()(prune)


def reprice(
    as_of: Annotated[
        str | None, typer.Option(help="Price all as on this day; without it, each call as on its own.", metavar="DATE")
    ] = None,
    what_if: Annotated[
        str | None,
        typer.Option(
            help="gpt-4o=gpt-4o-mini, or model=NAME for all calls: only tells, never writes.", metavar="OLD=NEW"
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="With --what-if: what to tell apart by.", metavar="FIELD", autocompletion=complete_fields),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only calls since then: 7d, 2026-11-01.", metavar="TIME")] = None,
    until: Annotated[str | None, typer.Option(help="Only calls until then.", metavar="TIME")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="With --what-if: only such calls, team=search.",
            metavar="FIELD=VALUE",
            autocompletion=complete_conditions,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Compute stored costs anew from stored tokens, or say what another model would have cost."""
    from llmops import costs
    from llmops.costs.repricing import RepricingInterruptedError

    if what_if is not None:
        if as_of is not None:
            raise InputError("--what-if takes the prices of each call's own day", hint="drop --as-of")
        say_widened(since, until)
        made = costs.what_if(what_if, by or ("model",), since, until, where or (), store=store or None)
        print_json(_what_if_data(made)) if as_json else _print_what_if(made)
        return
    for flag, given in (("--by", by), ("--where", where)):
        if given:
            raise InputError(f"{flag} goes with --what-if", hint="repricing takes all calls of a window")
    say_widened(since, until)
    if not dry_run and not yes:
        confirm("Compute stored costs anew and write them?", "repricing")
    try:
        done = costs.reprice(as_of, since, until, dry_run=dry_run, store=store or None)
    except RepricingInterruptedError as interrupted:
        seen = f"interrupted after about {interrupted.done.calls:,} calls"
        say(f"{seen}: what was changed is saved, and running it again does the rest")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    print_json(_repricing_data(done)) if as_json else _print_repricing(done)


def _print_repricing(done: Repricing) -> None:
    from llmops.reports.cost_terminal import say as line
    from llmops.reports.figures import plural
    from llmops.usage.money import dollars

    console = out()
    verb = "changed" if done.written else "would change"
    line(console, f"{done.changed:,} of {plural(done.calls, 'call')} {verb}; prices {done.revision}")
    if done.changed:
        sign = "+" if done.difference >= 0 else "−"
        change = f"{sign}{dollars(abs(done.difference))}"
        line(console, f"  theirs together: {dollars(done.before)} before, {dollars(done.after)} after ({change})")
    notes = (
        (done.newly_priced, "had no price and got one"),
        (done.unpriced, "still without a price: llmops cost report says which"),
        (done.kept, "keep their cost: no price list has their model any more"),
        (done.reported, "keep what their provider said they cost"),
    )
    for count, text in notes:
        if count:
            line(console, f"  {count:,} {text}")


def _repricing_data(done: Repricing) -> dict[str, Any]:
    return {
        "written": done.written, "calls": done.calls, "changed": done.changed, "renamed": done.renamed,
        "newly_priced": done.newly_priced, "unpriced": done.unpriced, "kept": done.kept, "reported": done.reported,
        "before_usd": done.before / 1e9, "after_usd": done.after / 1e9, "revision": done.revision,
    }  # fmt: skip


def _print_what_if(made: WhatIf) -> None:
    from llmops.reports.cost_reconciled import percent
    from llmops.reports.cost_terminal import print_table
    from llmops.reports.cost_terminal import say as line
    from llmops.reports.cost_words import title_of, value_of
    from llmops.reports.figures import MISSING, plural
    from llmops.usage.money import dollars

    console, total = out(), made.total
    if not total.calls:
        which = "no calls" if made.old == "model" else f"no calls of {made.old}"
        say(f"{which} in this window")
        return
    priced = total.calls - total.left_out
    old = "all models" if made.old == "model" else made.old
    if priced:
        sign = "+" if total.difference >= 0 else "−"
        change = f"{sign}{dollars(abs(total.difference))}, {percent(total.difference, total.now)}"
        line(console, f"{plural(priced, 'call')} on {old}: {dollars(total.now)}", style="bold")
        line(console, f"token for token on {made.new}: {dollars(total.then)} ({change})", style="bold")
    if total.left_out:
        line(console, f"! {plural(total.left_out, 'call')} left out: no price now, or none on {made.new}")
    if made.hint:
        line(console, made.hint, whole=True)
    if len(made.lines) > 1 and priced:
        console.print()
        heads = [*(title_of(name).lower() for name in made.by), "calls", "now", "then", "change", "left out"]
        rows = [
            [*map(value_of, one.key), f"{one.calls:,}", dollars(one.now), dollars(one.then),
             percent(one.difference, one.now), f"{one.left_out:,}" if one.left_out else MISSING]
            for one in made.lines[:30]
        ]  # fmt: skip
        print_table(console, heads, rows, left=len(made.by))
    if priced:
        line(
            console, "Another model splits text into other tokens and answers at another length: these are prices only."
        )


def _what_if_data(made: WhatIf) -> dict[str, Any]:
    def data(one: Any) -> dict[str, Any]:
        sums = {"calls": one.calls, "left_out": one.left_out, "now_usd": one.now / 1e9, "then_usd": one.then / 1e9}
        return {**dict(zip(made.by, one.key, strict=False)), **sums, "difference_usd": one.difference / 1e9}

    return {"old": made.old, "new": made.new, "total": data(made.total), "lines": [data(one) for one in made.lines]}


def prune(
    days: Annotated[int | None, typer.Option(help="Forget calls older than this.", min=1, metavar="N")] = None,
    text_days: Annotated[
        int | None, typer.Option(help="Forget texts of calls older than this; the calls stay.", min=1, metavar="N")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Forget old calls, or only their texts, and give their space back.

    Without a number of days, as the project's `calls:` settings say. With calls go windows of budgets that are over.
    """
    from llmops.costs.pruning import keeping
    from llmops.costs.pruning import prune as forget

    kept = keeping(days, text_days)
    if not dry_run and not yes:
        confirm(f"Forget {kept}?", f"forgetting {kept}")
    done = forget(kept, store=store or None, dry_run=dry_run)
    if as_json:
        counts = {"calls": done.calls, "texts": done.texts, "budget_windows": done.windows}
        print_json({"written": not dry_run, **counts, "freed_bytes": done.freed, "empty_bytes": done.empty})
        return
    verb = "would forget" if dry_run else "forgot"
    if kept.days:
        say(f"{verb} {done.calls:,} calls; what they cost by the hour stays in reports")
        if done.windows:
            say(f"{verb} {done.windows:,} windows of budgets that are over")
    if kept.text_days:
        say(f"{verb} the texts of {done.texts:,} calls")
    _say_space(done, dry_run=dry_run)


def _say_space(done: Pruning, *, dry_run: bool) -> None:
    from llmops.cli.db import megabytes

    if done.freed:
        say(f"gave {megabytes(done.freed)} back to the disk")
    elif done.empty and not dry_run:
        say(f"{megabytes(done.empty)} of the file are empty; llmops db compact gives them back")
