"""A case worth reading, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmops.reports.figures import number
from llmops.reports.plain import as_text, printable, question, retrieved
from llmops.reports.selection import CaseView
from llmops.reports.summary import Summary
from llmops.types import Result

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

NARROW = 60
LINES = 3


def case_lines(view: CaseView, summary: Summary, width: int) -> Iterator[Text | Table]:
    """The case's id and tags, question, expected answer and what each variant made of it."""
    from rich.text import Text

    case = view.case
    head = Text("\n").append(printable(case.id, 80, one_line=True), style="bold")
    if case.tags:
        head.append(f"  {printable(', '.join(case.tags), 80, one_line=True)}", style="dim")
    yield head
    rows = [("question", _short(question(case), width), "")]
    if case.expected is not None:
        rows.append(("expected", _short(as_text(case.expected), width), ""))
    for variant in summary.variants:
        for result in view.results.get(variant.name, [])[:1]:
            rows += _result_rows(result, view, summary, width)
    yield _layout(rows, width)


def _layout(rows: list[tuple[str, str, str]], width: int) -> Table:
    """Labels beside their text, or above it where there is no room."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    if width < NARROW:
        table.add_column(overflow="fold")
        for label, text, style in rows:
            if label:
                table.add_row(Text(label, style="dim"))
            table.add_row(Padding(Text(text, style=style), (0, 0, 0, 2)))
        return table
    table.add_column(max_width=24, style="dim", overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    for label, text, style in rows:
        table.add_row(Text(label), Text(text, style=style))
    return table


def _result_rows(result: Result, view: CaseView, summary: Summary, width: int) -> list[tuple[str, str, str]]:
    name = printable(result.variant, 40, one_line=True)
    scores = _scores(view.results[result.variant], summary)
    output = result.output
    rows = []
    if output.error is not None:
        said = f"{output.error.kind}: {output.error.message}" if output.error.message else output.error.kind
        rows.append((name, f"✗ {_short(said, width)}", "red"))
        if output.text:
            rows.append(("", _short(output.text, width), ""))
    else:
        rows.append((name, _short(output.text, width) or "(empty answer)", ""))
    if scores:
        rows.append(("", scores, "dim"))
    if output.contexts:
        rows.append(("", retrieved(view.case, output.contexts), "dim"))
    return rows


def _scores(repeats: list[Result], summary: Summary) -> str:
    shown = []
    for info in summary.record.metrics:
        scores = [repeat.scores[info.name].value for repeat in repeats if info.name in repeat.scores]
        values = [value for value in scores if value is not None]
        if values:
            shown.append(f"{info.name} {number(sum(values) / len(values), info.unit)}")
    repeated = f" (mean of {len(repeats)} repeats)" if len(repeats) > 1 and shown else ""
    return printable(" · ".join(shown) + repeated, 300, one_line=True)


def _short(text: str, width: int) -> str:
    """At most about three lines of a text column."""
    return printable(text, max(60, (min(width, 120) - 14) * LINES), one_line=True)
