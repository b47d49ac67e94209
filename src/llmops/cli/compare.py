"""`llmops compare`: a candidate against a baseline, with a verdict for every metric."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from llmops.cli.outputs import check_output, report_format, write_report
from llmops.cli.terminal import AsJson, out, print_json
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.comparing import Outcome
    from llmops.types import MetricKind

IDS = 8  # of cases shown in a line


class Kind(StrEnum):
    """What the scores are."""

    auto = "auto"
    binary = "binary"
    bounded = "bounded"
    ordinal = "ordinal"
    preference = "preference"
    number = "number"


def compare(
    a: Annotated[
        str, typer.Argument(help="The baseline: a run, an exported run, or a file of scores or pairs.", metavar="A")
    ],
    b: Annotated[
        str | None, typer.Argument(help="The candidate. Not for pairs, nor for two variants of a run.", metavar="B")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric. Repeatable.", metavar="NAME")] = None,
    kind: Annotated[Kind, typer.Option(help="What the scores are.")] = Kind.auto,
    range_: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="Lowest and highest score.", metavar="LO HI")
    ] = None,
    lower: Annotated[
        list[str] | None, typer.Option(help="A metric of which less is better. Repeatable.", metavar="NAME")
    ] = None,
    margin: Annotated[
        str, typer.Option(help="Biggest drop to tolerate: 0.03 in the metric's unit, or 3% of its range.")
    ] = "5%",
    alpha: Annotated[float, typer.Option(help="Two-sided level: 0.05 makes 95 % intervals.")] = 0.05,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            help="no-regression (as without), no-worse, better, none, or a rule such as 'better: accuracy'. "
            "Repeatable.",
        ),
    ] = None,
    variant_a: Annotated[str, typer.Option(help="Which variant of run A.", metavar="NAME")] = "",
    variant_b: Annotated[str, typer.Option(help="Which variant of run B.", metavar="NAME")] = "",
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="Also write a report: .html .md .json .xml. Repeatable.", metavar="FILE"),
    ] = None,
    store: Annotated[str, typer.Option(help="Where runs are kept.", metavar="PATH|URL")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare two runs, run files or score files, paired by case id.

    Exit codes: 0 pass, 1 regressed (or a gate failed), 2 bad input, 3 can't tell under a strict gate.
    """
    for path in output or ():
        check_output(path)
        if report_format(path) == "csv":
            raise InputError(f"--output {path}: a comparison has no rows", hint="write .html, .md, .json or .xml")
    from llmops.comparing import compare as compared
    from llmops.evals.comparison_rules import ComparisonSettings
    from llmops.score_kinds import CompareOptions, check_options

    options = CompareOptions(
        metrics=tuple(metric or ()),
        kind=None if kind is Kind.auto else cast("MetricKind", kind.value),
        range=range_,
        lower=tuple(lower or ()),
        gates=_gates(gate),
        settings=ComparisonSettings(alpha=alpha, margin=margin.replace(" ", "")),
        variant_a=variant_a,
        variant_b=variant_b,
        store=store or None,
    )
    check_options(options, dashes="--")
    outcome = compared(a, b, options)
    try:
        if as_json:
            print_json(_machine(outcome))
        else:
            _show(outcome)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # `| head` (rich exits): reports and the exit code still tell the verdict
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for path in output or ():
        write_report(path, outcome)
    raise typer.Exit(outcome.exit_code)


def _gates(given: list[str] | None) -> tuple[str, ...]:
    if given is None:
        return ("no-regression",)
    if "none" in given and len(given) > 1:
        raise InputError("--gate none and another gate can't go together", hint="drop one")
    return () if given == ["none"] else tuple(given)


def _machine(outcome: Outcome) -> dict[str, Any]:
    from llmops.reports.comparison_data import comparison_data
    from llmops.reports.rows import jsonable

    gates = [jsonable(gate) for gate in outcome.gates]
    return {**comparison_data(outcome.comparison), "gates": gates, "exit_code": outcome.exit_code}


def _show(outcome: Outcome) -> None:
    from rich.text import Text

    from llmops.reports.figures import plural
    from llmops.reports.plain import printable
    from llmops.reports.terminal import gate_line
    from llmops.reports.terminal_comparison import print_comparisons

    console, comparison = out(), outcome.comparison
    print_comparisons(outcome.record, console)
    lists = [
        (f"{m.metric} {what}", ids)
        for m in comparison.metrics
        for what, ids in (("broke", m.broke), ("fixed", m.fixed))
    ]
    for name, ids in ((comparison.baseline, comparison.only_a), (comparison.candidate, comparison.only_b)):
        lists.append((f"{plural(len(ids), 'case')} only in {name}", ids))
    shown = [(what, ids) for what, ids in lists if ids]
    if shown:
        console.print()
    for what, ids in shown:
        more = f" and {len(ids) - IDS:,} more" if len(ids) > IDS else ""
        line = Text(f"{printable(what, 120, one_line=True)}  ", style="dim")
        console.print(line.append(printable(", ".join(ids[:IDS]), 600, one_line=True) + more, style="default"))
    if outcome.gates:
        console.print()
    for gate in outcome.gates:
        console.print(gate_line(gate))
