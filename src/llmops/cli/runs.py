"""`llmops runs ls|show|rm|export`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import AsJson, out, print_json, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.runs import Run
    from llmops.types import RunRecord

app = typer.Typer(no_args_is_help=True, help="Saved runs: list, look at, delete, export.")

Store = Annotated[str, typer.Option(help="Where runs are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")]
RunName = Annotated[
    str, typer.Argument(help="An id, the start of one, latest, latest~1, or a suite's name.", metavar="RUN")
]


@app.command("ls")
def list_runs(
    suite: Annotated[str, typer.Option(help="Only runs of this suite.")] = "",
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """List saved runs, newest first."""
    from llmops import sdk

    records = sdk.list_runs(suite=suite, limit=limit, store=store or None)
    if as_json:
        print_json({"runs": [_head(record) for record in records]})
        return
    if not records:
        say("no runs yet: llmops eval evals/NAME.yaml makes the first")
        return
    _table(records)


def _table(records: list[RunRecord]) -> None:
    from rich.table import Table
    from rich.text import Text

    from llmops.reports.plain import printable

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "suite", "status", "cases", "gates", "started"):
        table.add_column(name, justify="right" if name == "cases" else "left", overflow="fold")
    for record in records:
        failed = sum(gate.outcome != "pass" for gate in record.gates)
        gates = "" if not record.gates else ("✗ " + str(failed) if failed else "✓")
        cells = (
            record.id,
            record.suite,
            record.status,
            f"{record.cases:,}",
            gates,
            record.started_at[:16].replace("T", " "),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console = out()
    if console.width < 90:
        for record in records:
            console.print(
                printable(f"{record.id}\n  {record.suite}, {record.status}, {record.cases:,} cases"), markup=False
            )
        return
    console.print(table)


@app.command()
def show(run: RunName = "latest", store: Store = "", as_json: AsJson = False) -> None:
    """What a run was made of, and how each variant did."""
    from llmops import sdk

    found = sdk.open_run(run, store=store or None)
    if as_json:
        print_json({**_head(found.record), **_counts(found), "exit_code": found.exit_code})
        return
    _print_head(found)


def _print_head(run: Run) -> None:
    from llmops.reports.plain import printable

    record, console = run.record, out()
    git = record.environment.get("git") or {}
    commit = f"{str(git.get('commit'))[:12]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else "–"
    lines = {
        "run": record.id,
        "suite": f"{record.suite} ({record.suite_hash[:12]})",
        "dataset": f"{record.dataset} ({record.fingerprint[:12]}), {record.cases:,} cases",
        "status": record.status,
        "started": record.started_at,
        "ended": record.ended_at or "–",
        "git": commit,
        "repeats": str(record.repeats),
        "note": record.note,
    }
    for name, value in lines.items():
        if value:
            console.print(printable(f"{name:9}{value}"), markup=False, soft_wrap=True)
    for name, counts in _counts(run)["variants"].items():
        line = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        console.print(printable(f"variant  {name}: {line}"), markup=False, soft_wrap=True)


@app.command("rm")
def remove(
    runs: Annotated[list[str], typer.Argument(help="Runs to delete.", metavar="RUN...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    store: Store = "",
) -> None:
    """Delete saved runs with everything in them."""
    from llmops.config import store_location
    from llmops.store.database import Store

    with Store.open(store_location(store or None), create=False) as opened:
        found = dict(opened.name(run) for run in runs)
        if not yes:
            if not sys.stdin.isatty():
                raise InputError(f"deleting {len(found)} run(s) needs --yes when nobody can be asked")
            names = ", ".join(f"{suite} {run_id}" for run_id, suite in found.items())
            typer.confirm(f"Delete {names}?", abort=True)
        for run_id in found:
            opened.delete(run_id)
            say(f"deleted {run_id}")


@app.command()
def export(
    run: RunName = "latest",
    to: Annotated[
        Path | None, typer.Option("--to", help="A .jsonl or .jsonl.gz file; stdout without it.", metavar="FILE")
    ] = None,
    store: Store = "",
) -> None:
    """Write a run as one portable JSONL file: a line about the run, then a line a result."""
    from llmops import sdk
    from llmops.store.runfile import export_run

    found = sdk.open_run(run, store=store or None)
    lines = export_run(found.record, found.results, to if to is not None else sys.stdout)
    if to is not None:
        say(f"wrote {lines:,} lines to {to}")


def _head(record: RunRecord) -> dict[str, Any]:
    return asdict(record)


def _counts(run: Run) -> dict[str, Any]:
    aggregate = run.aggregate
    return {
        "variants": {
            name: {
                "cases": aggregate.cases(name),
                "errors": aggregate.errors(name),
                "cached": aggregate.cached(name),
                "tokens": aggregate.usage(name).total_tokens,
            }
            for name in aggregate.variants
        }
    }
