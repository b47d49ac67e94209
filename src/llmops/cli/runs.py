"""`llmops runs ls|show|rm|export`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import AsJson, confirm, out, print_json, say
from llmops.errors import InputError, NotFoundError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.runs import Run
    from llmops.types import GateOutcome, RunRecord

app = typer.Typer(no_args_is_help=True, help="Saved runs: list, look at, delete, export.")

Store = Annotated[str, typer.Option(help="Where runs are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")]
RunName = Annotated[
    str, typer.Argument(help="An id, the start of one, latest, latest~1, or a suite's name.", metavar="RUN")
]


@app.command("ls")
def list_runs(
    suite: Annotated[str, typer.Option(help="Only runs of this suite.", metavar="NAME")] = "",
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1, metavar="N")] = 20,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """List saved runs, newest first."""
    records = _saved(suite, limit, store)
    if as_json:
        print_json({"runs": [_head(record) for record in records]})
    elif records:
        _print_runs(records)


def _saved(suite: str, limit: int, location: str) -> list[RunRecord]:
    """The runs asked for; if there are none, stderr says why. Raises `NotFoundError` when a named store is missing."""
    from llmops.config import store_location
    from llmops.store.database import Store

    try:
        with Store.open(store_location(location or None), create=False) as store:
            records = store.runs(limit=limit, suite=suite)
            others = {record.suite for record in store.runs(limit=1000)} if suite and not records else ()
    except NotFoundError:
        if location:
            hint = "llmops db path says where runs are kept without --store"
            raise NotFoundError(f"no store at {location}", hint=hint) from None
        records, others = [], ()
    if others:
        from llmops.reports.plain import printable

        say(printable(f"no runs of suite {suite!r}; {did_you_mean(suite, others)}", 500, one_line=True))
    elif not records:
        say("no runs yet: llmops eval evals/NAME.yaml makes the first")
    return records


def _print_runs(records: list[RunRecord]) -> None:
    from rich.table import Table
    from rich.text import Text

    from llmops.reports.plain import printable

    names = ("run", "suite", "status", "cases", "gates", "started")
    rows = [[printable(cell, one_line=True) for cell in _row(record)] for record in records]
    widest = sum(max(map(len, column)) + 2 for column in zip(names, *rows, strict=True))
    console = out()
    if widest > console.width:
        for run, suite, status, cases, gates, started in rows:
            text = f"{run}\n  {suite}, {status}, {cases} cases\n  gates: {gates}\n  {started}"
            console.print(text, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if name == "cases" else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _row(record: RunRecord) -> tuple[str, ...]:
    from llmops.reports.completeness import state

    started = _local_time(record.started_at)
    return record.id, record.suite, state(record), f"{record.cases:,}", _gates_in_short(record), started


def _gates_in_short(record: RunRecord) -> str:
    """`✓ 4 passed`, `✗ 1 of 4 failed` or `? 4 of 4 undecided`; no gate of an unfinished run counts as passed."""
    gates = record.gates
    if not gates:
        return "–"
    failed = sum(gate.outcome == "fail" for gate in gates)
    if failed:
        return f"✗ {failed} of {len(gates)} failed"
    passed = sum(gate.outcome == "pass" for gate in gates) if record.status == "finished" else 0
    return f"✓ {passed} passed" if passed == len(gates) else f"? {len(gates) - passed} of {len(gates)} undecided"


def _local_time(moment: str) -> str:
    """An ISO time in this machine's zone, named: `2025-11-24 17:00 CET`."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except (ValueError, OverflowError, OSError):
        return moment


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
    from llmops.reports.completeness import incomplete
    from llmops.reports.plain import printable

    record, console = run.record, out()
    git = record.environment.get("git") or {}
    commit = f"{str(git.get('commit'))[:12]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else "–"
    lines = {
        "run": record.id,
        "suite": f"{record.suite} ({record.suite_hash[:12]})",
        "dataset": f"{record.dataset} ({record.fingerprint[:12]}), {record.cases:,} cases",
        "status": incomplete(record, sum(run.aggregate.trials(name) for name in run.aggregate.variants)) or "finished",
        "started": _local_time(record.started_at),
        "ended": _local_time(record.ended_at) if record.ended_at else "–",
        "git": commit,
        "repeats": str(record.repeats),
        "note": "" if record.status != "finished" else record.note,  # else the status says it
    }
    for name, value in lines.items():
        if value:
            console.print(printable(f"{name:9}{value}"), markup=False, soft_wrap=True)
    for line in _outcome_lines(run):
        console.print(printable(line), markup=False, soft_wrap=True)


def _outcome_lines(run: Run) -> Iterator[str]:
    """Two lines a variant, counts and means, and one a gate."""
    from llmops.reports.figures import ARROWS, gate_value, number, plural

    for name, counts in _counts(run)["variants"].items():
        line = f"{plural(counts['cases'], 'case')}, {plural(counts['errors'], 'error')}"
        yield f"variant  {name}: {line}, {counts['cached']:,} cached, {plural(counts['tokens'], 'token')}"
        arrows = {info.name: ARROWS[info.direction] for info in run.record.metrics}
        means = [f"{f'{m} {arrows[m]}'.rstrip()} {number(mean)}" for m, mean in counts["metrics"].items()]
        if means:
            yield f"{'':9}{', '.join(means)}"
    for gate in run.record.gates:
        detail = f"  {gate.detail}" if gate.detail else ""
        yield f"gate     {_mark(gate)}  {gate.rule}  {gate.variant}  {gate_value(gate)}{detail}"


def _mark(gate: GateOutcome) -> str:
    return {"pass": "✓ pass", "fail": "✗ fail"}.get(gate.outcome, "? undecided")


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
            names = ", ".join(f"{suite} {run_id}" for run_id, suite in found.items())
            confirm(f"Delete {names}?", f"deleting {len(found)} run(s)")
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

    if to is not None and not to.name.endswith((".jsonl", ".jsonl.gz")):
        hint = "llmops report --to FILE writes .html, .csv and others"
        raise InputError(f"--to {to}: an exported run ends in .jsonl or .jsonl.gz", hint=hint)
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
                "metrics": {metric: aggregate.value(metric, name) for metric in aggregate.metrics},
            }
            for name in aggregate.variants
        }
    }
