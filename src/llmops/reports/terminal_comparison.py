"""Verdicts of comparisons at a terminal: a line each, with what proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmops.reports.plain import printable
from llmops.reports.verdicts import (
    evidence,
    headline,
    is_cost,
    leading,
    left_out,
    sentence,
    stopped,
    wanted_alpha,
    worst_first,
)
from llmops.types import Comparison, MetricComparison, RunRecord, Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_METRICS = 20
_MARKS: dict[Verdict, tuple[str, str]] = {
    "improved": ("✓", "green"),
    "equivalent": ("✓", "green"),
    "regressed": ("✗", "red"),
    "inconclusive": ("?", "yellow"),
}


def print_comparisons(record: RunRecord, console: Console) -> None:
    """The verdicts of each comparison, worst first, on any width from 40 columns."""
    from rich.text import Text

    for comparison in record.comparisons:
        console.print()
        sides = (printable(name, 100, one_line=True) for name in (comparison.candidate, comparison.baseline))
        console.print(Text(" against ".join(sides), style="bold"))
        console.print(_verdicts(comparison, wanted_alpha(record)))
        for said in (
            stopped(comparison),
            left_out(comparison),
            *(printable(note, 300, one_line=True) for note in comparison.notes[:6]),
        ):
            if said:
                console.print(Text(said, style="dim"))


def _verdicts(comparison: Comparison, alpha: float) -> Table:
    """A table of two columns, so that text is broken beside its mark."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    shown = worst_first(leading(comparison))
    costs = [m for m in comparison.metrics if is_cost(m) and m not in shown]
    for metric in (*shown[:MAX_METRICS], *costs):
        mark, colour = _MARKS[metric.verdict]
        line = Text(f"{headline(metric)}.", style="" if metric in costs else "bold")
        line.append(f" {_said(metric, alpha, brief=metric in costs)}", style="not bold")
        table.add_row(Text(mark, style=colour), line)
    hidden = len(shown) - MAX_METRICS
    if hidden > 0:
        table.add_row("", f"and {hidden} more")
    return table


def _said(metric: MetricComparison, alpha: float, *, brief: bool) -> str:
    if not brief or metric.verdict == "inconclusive":
        return sentence(metric, alpha)
    return evidence(metric, alpha) if metric.verdict == "equivalent" else ""
