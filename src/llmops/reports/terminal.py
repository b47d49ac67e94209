"""The report for people at a terminal: what `llmops eval` ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmops.aggregate import Aggregate
from llmops.reports.completeness import incomplete
from llmops.reports.figures import duration, gate_value, plural
from llmops.reports.plain import encodable, printable
from llmops.reports.selection import worth_reading
from llmops.reports.spent import spending_of, spent_lines
from llmops.reports.summary import MetricSummary, Summary, summarize
from llmops.reports.terminal_cases import case_lines
from llmops.reports.terminal_comparison import print_comparisons
from llmops.reports.terminal_variants import print_variants
from llmops.types import GateOutcome, Results, RunRecord

if TYPE_CHECKING:
    from rich.console import Console
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

    `saved` is the store to name in the next command, if it isn't the default one; `aggregate` holds the results'
    statistics if they were counted. Fits any width from 40 columns; text from models and data is printed without
    its control characters and never read as markup.
    """
    from rich.rule import Rule
    from rich.text import Text

    summary = summarize(record, results, aggregate)
    for line in _head(summary):
        console.print(line)
    print_comparisons(record, console)
    if _has_answers(summary):
        console.print()
        print_variants(summary, console)
    spent = spent_lines(spending_of(summary))
    if spent:
        console.print()
    for place, sentence in enumerate(spent):
        console.print(Text(sentence, style="dim" if place else ""))
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
        console.print(gate_line(gate))
    _print_next(record, console, saved)


def _head(summary: Summary) -> list[Text]:
    from rich.text import Text

    record = summary.record
    title = Text(printable(record.suite, 200, one_line=True) or "run", style="bold")
    if record.dataset:
        title.append(f"  {printable(record.dataset, 200, one_line=True)}", style="not bold dim")
    facts = [plural(summary.cases, "case"), plural(len(summary.variants), "variant")] if _has_answers(summary) else []
    if record.repeats > 1:
        facts.append(plural(record.repeats, "repeat"))
    if duration(record):
        facts.append(duration(record))
    lacking = incomplete(record, summary.answers)
    note = Text(printable(lacking or record.note, 600, one_line=True), style="yellow")
    lines = [title, Text("INCOMPLETE  ", style="bold yellow").append_text(note) if lacking else note]
    return [line for line in (*lines, Text(" · ".join(facts))) if line]


def _has_answers(summary: Summary) -> bool:
    """False for a comparison of nothing but scores, which has no figures of variants."""
    return bool(summary.answers) or not summary.record.comparisons


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


def gate_line(gate: GateOutcome) -> Text:
    """A gate on one line: outcome, rule, variant, value, detail."""
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
    place = f" --store {printable(encodable(saved), 300, one_line=True)}" if saved else ""
    console.print()
    console.print(Text(f"Run {run}", style="dim"), soft_wrap=True)
    console.print(Text(f"Next: llmops report {run} --to report.html{place}", style="dim"), soft_wrap=True)
