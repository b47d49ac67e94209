"""`llmops cost export|reconcile`: the call log for other programs, and beside a provider's invoice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.cost_options import Since, Store, Until, Where, complete_fields, say_widened
from llmops.cli.terminal import AsJson, out, print_json, say
from llmops.errors import EXIT_GATE_FAILED, InputError

if TYPE_CHECKING:
    from llmops.reports.cost_reconciled import Reconciled

_BY_SUFFIX = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".prom": "prometheus"}


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command()(export)
    app.command()(reconcile)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is stdout.", metavar="FILE")],
    format: Annotated[
        str,
        typer.Option(help="focus, prometheus, jsonl, csv or parquet; without it, by the file's end.", metavar="FORMAT"),
    ] = "",
    since: Since = None,
    until: Until = None,
    where: Where = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Tags of FOCUS rows, labels of Prometheus.", metavar="FIELD", autocompletion=complete_fields),
    ] = None,
    unit: Annotated[str, typer.Option(help="A FOCUS row is one hour or day.", metavar="hour|day")] = "day",
    account: Annotated[str, typer.Option(help="FOCUS: the billing account.", metavar="ID")] = "default",
    organisation: Annotated[
        str, typer.Option(help="FOCUS: who provides self-hosted models.", metavar="NAME")
    ] = "Self-hosted",
    sub_account: Annotated[
        str,
        typer.Option(help="FOCUS: the field that is a sub-account.", metavar="FIELD", autocompletion=complete_fields),
    ] = "team",
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Write calls for other programs: FOCUS 1.2 for finance, Prometheus text, or the calls themselves."""
    from llmops import costs
    from llmops.reports.cost_focus import FocusAccount

    chosen = format or _BY_SUFFIX.get(output.suffix.lower(), "")
    if not chosen:
        raise InputError(f"--output {output} doesn't say the format", hint="add --format focus, or another")
    if as_json and str(output) == "-":
        raise InputError("--json and --output - both print on stdout", hint="drop one")
    who = FocusAccount(account, None, organisation, sub_account)
    done = costs.export(
        chosen, output, since, until, where or (), by=by or (), unit=unit, account=who, store=store or None
    )
    say_widened(since, until)
    if as_json:
        print_json({"path": str(done.path), "format": chosen, "rows": done.rows, "unpriced_left_out": done.unpriced,
                    "pruned_left_out": done.pruned.requests})  # fmt: skip
        return
    say(f"wrote {done.rows:,} rows to {'stdout' if str(done.path) == '-' else done.path}")
    if done.unpriced:
        say(f"left out {done.unpriced:,} requests without a price; llmops cost report says whose")
    if done.pruned.requests:
        from llmops.usage.money import dollars

        lost = f"{done.pruned.requests:,} requests ({dollars(done.pruned.cost)})"
        say(f"left out {lost} that were pruned: whose they were isn't known; without user they are in the sums")


def reconcile(
    invoice: Annotated[Path, typer.Argument(help="A provider's cost or usage export (CSV).", metavar="INVOICE.csv")],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Which column is what: date=Day,cost=Amount (also model, input, output).", metavar="ROLE=NAME"
        ),
    ] = None,
    provider: Annotated[str, typer.Option(help="Only our calls to this provider.", metavar="NAME")] = "",
    where: Where = None,
    fail_above: Annotated[
        str, typer.Option(help="Exit with 1 when the totals differ by more: 1%.", metavar="PERCENT")
    ] = "",
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Our cost by day and model beside a provider's invoice, with what may explain a difference."""
    from llmops import costs

    most = _share(fail_above) if fail_above else None
    roles = _roles(columns or [])
    made = costs.reconcile(invoice, roles, where or (), provider=provider, store=store or None)
    if as_json:
        print_json(plain(made.to_dict()))
    else:
        _print(made)
    if most is not None and (made.share is None or abs(made.share) > most):
        say(f"the totals differ by more than {fail_above}")
        raise typer.Exit(EXIT_GATE_FAILED)


def plain(value: object) -> dict[str, object]:
    """A value for `print_json`: money as numbers."""
    import json

    from llmops.reports.cost_tables import plain as number

    made: dict[str, object] = json.loads(json.dumps(value, default=number))
    return made


def _print(made: Reconciled) -> None:
    from llmops.reports.cost_reconciled import percent
    from llmops.reports.cost_terminal import print_table
    from llmops.reports.cost_terminal import say as line
    from llmops.reports.figures import plural

    console = out()
    unit = "" if made.in_dollars else " tokens"
    days = made.first if made.first == made.last else f"{made.first} to {made.last}"
    line(console, f"{made.file}, {days} UTC")
    gap = f"{made.signed(made.difference)}, {percent(made.difference, made.theirs)}"
    line(console, f"ours {made.amount(made.ours)}, theirs {made.amount(made.theirs)}{unit}: {gap}", style="bold")
    console.print()
    heads, rows = made.table()
    print_table(console, heads, rows, left=2, spare=("%",))
    if made.skipped:
        console.print()
        line(console, f"! {plural(made.skipped, 'row')} of the file without a date or an amount: left out")
    reasons = list(made.explanations()) if made.difference else []
    if reasons:
        console.print()
        line(console, "What may explain it:")
        for reason in reasons:
            line(console, f"- {reason}")


def _roles(words: list[str]) -> dict[str, str]:
    pairs = [part.partition("=") for word in words for part in word.split(",") if part.strip()]
    for role, equals, name in pairs:
        if not equals or not name.strip():
            raise InputError(f"--columns {role[:40]!r} has no =", hint="write --columns date=Day,cost=Amount")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _share(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if found is None:
        raise InputError(f"--fail-above {text[:40]!r} isn't a percentage", hint="write 1%")
    return float(found[1]) / 100
