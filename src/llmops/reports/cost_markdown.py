"""A cost report in Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Callable

from llmops.reports.cost_lines import CostReport
from llmops.reports.cost_terminal import accepted_lines, table
from llmops.reports.cost_words import (
    MOST_UNPRICED,
    averages,
    checking,
    conditions,
    doubts,
    headline,
    pruned_words,
    shown_first,
    span_of,
    unpriced_line,
)
from llmops.reports.markup import prose, row, span
from llmops.usage.conditions import NO_VALUE

MOST_ROWS = 200


def write_cost_markdown(report: CostReport, write: Callable[[str], object]) -> None:
    """A heading, the figures in sentences, a table, and what the sums can't tell."""
    where = conditions(report)
    write("## Cost of model calls\n\n")
    write(f"{span_of(report)}{f', {span(where, 200)}' if where else ''}\n\n")
    write(f"**{headline(report.total)}**\n\n")
    for text in (averages(report.total), checking(report.total)):
        if text:
            write(f"{text}.\n\n")
    _table(report, write)
    for text in (pruned_words(report.pruned), *doubts(report.total)):
        if text:
            write(f"- {text}\n")
    for model in report.unpriced[:MOST_UNPRICED]:
        write(f"- {span(unpriced_line(model), 200)}{f': {span(model.hint, 300)}' if model.hint else ''}\n")
    for text in accepted_lines(report.accepted):
        write(f"- {prose(text, 200)}\n")


def _table(report: CostReport, write: Callable[[str], object]) -> None:
    if not report.lines:
        write("No calls.\n\n")
        return
    shown, hidden = shown_first(report, MOST_ROWS)
    heads, rows = table(report, shown)
    by = len(report.by)
    write(row(prose(head, 60) for head in heads))
    write(row("---" if place < by else "---:" for place in range(len(heads))))
    for cells in rows:
        write(row([*(text if text == NO_VALUE else span(text) for text in cells[:by]), *cells[by:]]))
    if hidden:
        write(f"\n{hidden}.\n")
    write("\n")
