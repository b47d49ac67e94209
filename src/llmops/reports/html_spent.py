"""What the run spent, as a section of the HTML report."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from llmops.reports.cost_words import in_column
from llmops.reports.figures import MISSING
from llmops.reports.spent import amount, spending_of, spent_lines
from llmops.reports.summary import Summary
from llmops.usage.spending import RunSpending, Spending

_OPTIONAL: tuple[tuple[str, Callable[[Spending], int]], ...] = (
    ("Cache read", lambda one: one.paid.cache_read_tokens),
    ("Cache write", lambda one: one.paid.cache_write_tokens),
)


def spent_section(summary: Summary) -> str:
    """Sentences, then a row for answers, judging and both with requests, tokens by class and dollars by certainty."""
    spending = spending_of(summary)
    lines = spent_lines(spending)
    if spending is None or not lines:
        return ""
    said = "".join(
        f"<p{'' if place == 0 else ' class=quiet'}>{escape(line)}.</p>\n" for place, line in enumerate(lines)
    )
    return f"<section><h2>Cost</h2>\n{said}{_table(spending)}</section>\n"


def _table(spending: RunSpending) -> str:
    parts = [("Answers", spending.answering)]
    if spending.judging:
        parts += [("Judging", spending.judging), ("Total", spending.total)]
    columns = _columns(spending.total)
    heads = "".join(f"<th scope=col>{name}</th>" for name, _ in columns)
    rows = "".join(
        f"<tr><th scope=row>{name}</th>{''.join(_cell(head, cell(part)) for head, cell in columns)}</tr>\n"
        for name, part in parts
    )
    return (
        '<div class=scroll tabindex=0 role=region aria-label="Cost"><table class="figures spent">\n'
        f"<thead><tr><th scope=col></th>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _columns(total: Spending) -> list[tuple[str, Callable[[Spending], str]]]:
    """Columns that would hold nothing are left out."""
    paid, top = total.paid, total.paid.cost or 0
    made: list[tuple[str, Callable[[Spending], str]]] = []
    if paid.cost is not None or paid.unpriced:
        made.append(("Cost", lambda one: f"<b>{escape(amount(one, top))}</b>"))
    if total.estimated:
        made.append(("Exact", lambda one: _money(one, one.exact, top)))
        made.append(("Estimated", lambda one: _money(one, one.estimated, top)))
    if paid.unpriced:
        made.append(("No price", lambda one: _count(one.paid.unpriced)))
    made.append(("Requests", lambda one: _count(one.paid.requests)))
    made.append(("Tokens in", lambda one: _count(one.paid.input_tokens)))
    made += [(name, lambda one, of=of: _count(of(one))) for name, of in _OPTIONAL if of(total)]  # type: ignore[misc]
    made.append(("Tokens out", lambda one: _count(one.paid.output_tokens)))
    if paid.reasoning_tokens:
        made.append(("Reasoning", lambda one: _count(one.paid.reasoning_tokens)))
    if total.reused.requests:
        made.append(("From cache, free", lambda one: _count(one.reused.requests)))
    return made


def _cell(head: str, content: str) -> str:
    return f'<td data-label="{head}">{content}</td>'


def _money(part: Spending, nanodollars: int, top: int) -> str:
    return MISSING if part.paid.cost is None or not nanodollars else escape(in_column(nanodollars, top))


def _count(number: int) -> str:
    return f"{number:,}" if number else MISSING
