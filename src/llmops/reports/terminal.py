"""The report for people at a terminal: what `llmops eval` ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmops.aggregate import Aggregate
from llmops.reports.figures import ARROWS, count, duration, gate_value, number, plural, seconds, share
from llmops.reports.plain import encodable, printable
from llmops.reports.selection import worth_reading
from llmops.reports.summary import MetricSummary, Summary, VariantSummary, summarize
from llmops.reports.terminal_cases import case_lines
from llmops.types import GateOutcome, Results, RunRecord

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 100
_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "undecided": ("?", "yellow")}


def write_terminal(record: RunRecord, results: Results, write: Callable[[str], object]) -> None:
    """The terminal report as plain text, 100 columns wide and without colour."""
    from rich.console import Console

    console = Console(width=PIPE_WIDTH, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as capture:
        print_report(record, results, console)
    write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def print_report(
    record: RunRecord,
    results: Results,
    console: Console,
    *,
    limit_cases: int = 5,
    saved: str = "",
    aggregate: Aggregate | None = None,
) -> None:
    """Print the summary, up to `limit_cases` cases worth reading, gates and what to do next.

    `saved` says where the run was stored; `aggregate` holds the results' statistics if they were counted. Fits any width from 40 columns; text from models and data is
    printed without its control characters and never read as markup.
    """
    from rich.rule import Rule
    from rich.text import Text

    summary = summarize(record, results, aggregate)
    for line in _head(summary):
        console.print(line)
    console.print()
    _print_variants(summary, console)
    said = _notes(summary)
    if said:
        console.print()
    for note in said:
        console.print(Text(note, style="dim"))
    views = worth_reading(summary, results, limit_cases) if limit_cases > 0 else []
    if views:
        console.print()
        console.print(Rule(Text("Cases worth reading", style="bold"), align="left", style="dim"))
    for view in views:
        for part in case_lines(view, summary, console.width):
            console.print(part)
    if record.gates:
        console.print()
        console.print(Rule(Text("Gates", style="bold"), align="left", style="dim"))
    for gate in record.gates:
        console.print(_gate(gate))
    _print_next(record, console, saved)


def _head(summary: Summary) -> list[Text]:
    from rich.text import Text

    record = summary.record
    title = Text(printable(record.suite, 200, one_line=True) or "run", style="bold")
    if record.dataset:
        title.append(f"  {printable(record.dataset, 200, one_line=True)}", style="not bold dim")
    facts = [plural(summary.cases, "case"), plural(len(summary.variants), "variant")]
    if record.repeats > 1:
        facts.append(plural(record.repeats, "repeat"))
    if duration(record):
        facts.append(duration(record))
    lines = [title, Text(" · ".join(facts))]
    if record.status != "finished":
        done = f"{record.status}: {summary.cases:,} of {max(record.cases, summary.cases):,} cases seen"
        lines.append(Text(done, style="yellow"))
    if record.note:
        lines.append(Text(printable(record.note, 500, one_line=True), style="yellow"))
    return lines


def _print_variants(summary: Summary, console: Console) -> None:
    """A table where it fits without cutting anything, else a list a variant."""
    from rich.measure import Measurement

    table = _table(summary)
    wanted = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    if wanted <= console.width:
        console.print(table)
        return
    for variant in summary.variants:
        for line in _variant_list(variant):
            console.print(line)


def _table(summary: Summary) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    rows = [_figures(variant) for variant in summary.variants]
    table.add_column(Text("variant"), no_wrap=True)
    for label, _ in rows[0] if rows else []:
        table.add_column(Text(label), justify="right", vertical="bottom", no_wrap=True)
    for variant, figures in zip(summary.variants, rows, strict=True):
        table.add_row(_name(variant), *(Text(value) for _, value in figures))
    return table


def _name(variant: VariantSummary) -> Text:
    from rich.text import Text

    name = Text(printable(variant.name, 40, one_line=True), style="cyan")
    return name.append(" (baseline)", style="dim") if variant.baseline else name


def _figures(variant: VariantSummary) -> list[tuple[str, str]]:
    """Label and value of everything the table shows about a variant; a label's lines are parted by newlines."""
    figures = [(_metric_label(metric), number(metric.mean)) for metric in variant.metrics.values()]
    errors = f"{variant.errors:,} ({share(variant.error_share)})" if variant.errors else "0"
    return [
        *figures,
        ("errors", errors),
        ("p50", seconds(variant.latency_p50)),
        ("p95", seconds(variant.latency_p95)),
        ("tokens\n/case", count(variant.tokens_per_case)),
        *([("cached", count(variant.cached))] if variant.cached else []),
    ]


def _metric_label(metric: MetricSummary) -> str:
    info = metric.info
    name = f"{printable(info.name, 40, one_line=True)} {ARROWS[info.direction]}".rstrip()
    return f"{name}\n{printable(info.unit, 12, one_line=True)}" if info.unit else name


def _variant_list(variant: VariantSummary) -> list[Text]:
    from rich.text import Text

    figures = [(label.replace("\n", " ").replace(" /", "/"), value) for label, value in _figures(variant)]
    wide = max(len(label) for label, _ in figures)
    return [_name(variant), *(Text(f"  {label.ljust(wide)}  {value}") for label, value in figures)]


def _notes(summary: Summary) -> list[str]:
    """What the table can't say: unscored cases with reasons, kinds of errors, what a variant is."""
    notes = []
    several = len(summary.variants) > 1
    for info in summary.record.metrics:
        shown = [(v.name, v.metrics[info.name]) for v in summary.variants]
        said = {name: _unscored(metric) for name, metric in shown if metric.worth_noting}
        same = len(set(said.values())) == 1 and len(said) == len(summary.variants)
        for name, text in list(said.items())[: 1 if same else None]:
            who = f" ({name})" if several and not same else ""
            notes.append(printable(f"{info.name}{who}: {text}", 500, one_line=True))
    for variant in summary.variants:
        if variant.error_kinds:
            kinds = ", ".join(f"{amount:,} {kind}" for kind, amount in list(variant.error_kinds.items())[:5])
            notes.append(printable(f"errors ({variant.name}): {kinds}", 500, one_line=True))
    described = [v for v in summary.variants if v.info.note]
    return notes + [printable(f"{v.name}: {v.info.note}", 500, one_line=True) for v in described]


def _unscored(metric: MetricSummary) -> str:
    if len(metric.reasons) == 1:
        return f"{plural(metric.unscored, 'case')} unscored: {metric.reasons[0][0]}"
    reasons = ", ".join(f"{reason} ({amount:,})" for reason, amount in metric.reasons[:3])
    return f"{plural(metric.unscored, 'case')} unscored: {reasons}"


def _gate(gate: GateOutcome) -> Text:
    from rich.text import Text

    mark, colour = _MARKS.get(gate.outcome, _MARKS["undecided"])
    line = Text(f"{mark} {gate.outcome}  ", style=colour).append(
        printable(gate.rule, 300, one_line=True), style="default"
    )
    if gate.variant:
        line.append(f"  {printable(gate.variant, 100, one_line=True)}", style="cyan")
    line.append(f"  {gate_value(gate)}", style=f"bold {colour}")
    if gate.detail:
        line.append(f"  {printable(gate.detail, 300, one_line=True)}", style="dim")
    return line


def _print_next(record: RunRecord, console: Console, saved: str) -> None:
    from rich.text import Text

    if not record.id:
        return
    run = printable(record.id, 100, one_line=True)
    place = f" in {printable(encodable(saved), 300, one_line=True)}" if saved else ""
    console.print()
    console.print(Text(f"Run {run}{place}", style="dim"), soft_wrap=True)
    console.print(Text(f"Next: llmops report {run} --as html --to report.html", style="dim"), soft_wrap=True)
