"""`llmops cost report|top|prices`, and the door to the other commands about money."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli import cost_calls, cost_changes, cost_files, cost_limits
from llmops.cli.cost_files import plain
from llmops.cli.cost_options import By, Since, Store, Until, Where, say_widened
from llmops.cli.reports import write_atomically
from llmops.cli.terminal import AsJson, out, print_json, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.reports.cost_lines import CostReport, Spender
    from llmops.usage.entries import Entry

app = typer.Typer(no_args_is_help=True, help="What calls to models cost: reports, prices, budgets, exports.")

BY_SUFFIX = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".csv": "csv", ".txt": "terminal"}
PARQUET = ".parquet"


@app.command()
def report(
    by: By = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    run: Annotated[
        str | None, typer.Option(help="Only calls of this run: an id, the start of one, latest.", metavar="RUN")
    ] = None,
    accepted: Annotated[
        list[str] | None,
        typer.Option(help="With --run: the cost per answer that meets this, 'token_f1 >= 0.8'.", metavar="RULE"),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="Write a file: .html, .csv, .json, .parquet or .md.", metavar="FILE"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            help="At most this many lines, in files and JSON too; without it, 30 are printed.",
            min=1,
            metavar="N",
        ),
    ] = None,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """What calls cost, how sure that is, and what went into judging them."""
    from llmops import costs
    from llmops.costs.whole_files import check_place

    for path in output or ():
        _check_suffix(path)
        check_place(path)
    if run is not None and not run.strip():
        raise InputError("--run names no run", hint="an id, the start of one, or latest")
    rules = accepted or ()
    made = costs.report(by or ("model",), since, until, where or (), run=run or "", accepted=rules, store=store or None)
    say_widened(since, until)
    shorter, hidden = _first_lines(made, limit) if output or as_json else (made, "")
    for path in output or ():
        _write(path, shorter)
    if as_json:
        from llmops.reports.cost_rows import cost_data

        print_json(plain(cost_data(shorter)))
    if hidden:
        say(f"{hidden}: left out by -n {limit}")
    if as_json:
        return
    if not made.total.requests:
        _say_none(bool(since or until or where or run))
    elif not output:
        from llmops.reports.cost_terminal import MOST_LINES, print_cost

        print_cost(made, out(), limit or MOST_LINES)


@app.command()
def top(
    by: By = None,
    since: Since = "7d",
    until: Until = None,
    where: Where = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", help="At most this many, in JSON too; without it, 10 are printed.", min=1, metavar="N"
        ),
    ] = None,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Who spends most, and how that changed against the time before."""
    from llmops import costs
    from llmops.costs.pruned import pruned_in
    from llmops.reports.cost_words import pruned_words

    words = by or ["prompt,model"]
    fields = list(dict.fromkeys(name.strip() for word in words for name in word.split(",") if name.strip()))
    spenders = costs.top(fields or words, since, until, where or (), store=store or None)
    lost = pruned_in(fields, since, until, where or (), store=store or None)
    if lost.requests:
        say(pruned_words(lost))
    say_widened(since, until)
    if as_json:
        print_json({"by": fields, "spenders": [_spender(one, fields) for one in spenders[:limit]]})
    elif not spenders:
        say(f"no calls since {since}; llmops cost report shows all there are")
    else:
        from llmops.reports.cost_terminal import print_spenders

        most = limit or 10
        print_spenders(spenders[:most], fields, out(), compared=bool(since))
        if len(spenders) > most:
            say(f"{len(spenders) - most:,} more: -n {len(spenders)} shows all")


@app.command()
def prices(
    search: Annotated[
        str, typer.Argument(help="Words that a provider's and model's name must hold.", metavar="SEARCH")
    ] = "",
    model: Annotated[
        str, typer.Option(help="The price of this model alone: gpt-4o, openai/gpt-4o.", metavar="NAME")
    ] = "",
    at: Annotated[
        str | None, typer.Option(help="Prices in force on this day; without it, now.", metavar="DATE")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", help="At most this many, in JSON too; without it, 30 are printed.", min=1, metavar="N"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prices in dollars per million tokens: whose they are, and since when."""
    from llmops import costs

    found = costs.prices(search, model=model, at=at)
    if as_json:
        print_json({"prices": [entry.as_dict() for entry in found[:limit]]})
        return
    if not found:
        say(
            "no price has such a name"
            if search
            else "no prices: pip install 'llmops[prices]', or prices: in llmops.yaml"
        )
        return
    most = limit or 30
    _print_prices(found[:most])
    if len(found) > most:
        say(f"{len(found) - most:,} more: -n {len(found)} shows all, a longer SEARCH fewer")


def _first_lines(made: CostReport, limit: int | None) -> tuple[CostReport, str]:
    """A report of at most so many lines, and what is left out of it."""
    from dataclasses import replace

    from llmops.reports.cost_words import shown_first

    if limit is None:
        return made, ""
    lines, hidden = shown_first(made, limit)
    return replace(made, lines=lines), hidden


def _say_none(chosen: bool) -> None:
    from llmops.costs.opening import NO_CALLS

    say("no such calls; llmops cost report without --since and --where shows all there are" if chosen else NO_CALLS)


def _print_prices(entries: list[Entry]) -> None:
    from llmops.reports.cost_terminal import print_table
    from llmops.usage.entries import plain as rate_text

    names = ("input", "cache_read", "cache_write", "output")
    rows = []
    for entry in entries:
        given = entry.rates.given()
        name = f"{entry.provider}/{entry.model}" if entry.provider else entry.model
        cells = [f"${rate_text(given[rate])}" if rate in given else "–" for rate in names]
        dates = " to ".join(part for part in (entry.valid_from, entry.valid_until) if part)
        rows.append([name, entry.source, *cells, dates or "–", _more(entry)])
    heads = ["model", "source", *(name.replace("_", " ") for name in names), "valid from", "also"]
    print_table(out(), heads, rows, left=2, spare=("cache write", "valid from", "also", "cache read"))


def _more(entry: Entry) -> str:
    """What a line of prices has no column for."""
    known = entry.as_dict()
    also = [name.replace("_", " ") for name in ("tiers", "per_request", "per_image") if name in known]
    return ", ".join([*also, *(known.get("service_tiers") or {})]) or "–"


def _spender(one: Spender, by: list[str]) -> dict[str, object]:
    from llmops.reports.cost_rows import figures, in_dollars

    key = dict(zip(by, one.line.key, strict=False))
    return plain(
        {**key, **figures(one.line), "share": one.share, "before_usd": in_dollars(one.before), "change": one.change}
    )


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in (*BY_SUFFIX, PARQUET):
        hint = f"end it in one of {', '.join((*BY_SUFFIX, PARQUET))}"
        raise InputError(f"--output {path}: no cost report ends in {path.suffix or 'nothing'!r}", hint=hint)


def _write(path: Path, made: CostReport) -> None:
    from llmops.costs.whole_files import make_folder
    from llmops.reports.cost_rendering import render_cost

    make_folder(path)
    if path.suffix.lower() == PARQUET:
        from llmops.costs.whole_files import WholeFile
        from llmops.reports.cost_rows import write_cost_parquet

        with WholeFile(path) as part:
            write_cost_parquet(made, part)
    else:
        write_atomically(path, lambda write: render_cost(BY_SUFFIX[path.suffix.lower()], made, write))
    say(f"wrote {path}")


cost_calls.add_to(app)
cost_changes.add_to(app)
cost_files.add_to(app)
cost_limits.add_to(app)
