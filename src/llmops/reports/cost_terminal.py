"""A cost report on a terminal: what it comes to, the table, and what the sums can't tell."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from llmops.reports.cost_lines import AcceptedAnswers, CostLine, CostReport, Spender
from llmops.reports.cost_words import (
    MOST_UNPRICED,
    averages,
    checking,
    conditions,
    cost_words,
    doubts,
    headline,
    in_column,
    money,
    pruned_words,
    short_tokens,
    shown_first,
    span_of,
    title_of,
    unpriced_line,
    value_of,
)
from llmops.reports.figures import MISSING, plural, share
from llmops.reports.plain import printable

if TYPE_CHECKING:
    from rich.console import Console

MOST_LINES = 30
_WIDEST = 60
_NARROW = 60  # columns of a terminal
_SHORTEST = 12  # columns that still tell names apart


def write_cost_terminal(report: CostReport, write: Callable[[str], object]) -> None:
    """The report as text, 100 columns wide."""
    from rich.console import Console

    buffer = io.StringIO()
    print_cost(report, Console(file=buffer, width=100, highlight=False, color_system=None))
    write("\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")


def print_cost(report: CostReport, console: Console, limit: int = MOST_LINES) -> None:
    """Print a report; a table that doesn't fit becomes a block a line."""
    total = report.total
    where = conditions(report)
    say(console, f"{span_of(report)}{f' · {where}' if where else ''}")
    say(console, headline(total), style="bold")
    for text in (averages(total), checking(total)):
        if text:
            say(console, text)
    console.print()
    shown, hidden = shown_first(report, limit)
    heads, rows = table(report, shown)
    print_table(console, heads, rows, left=len(report.by), spare=_SPARE)
    if hidden:
        say(console, f"{hidden}: -n {len(report.lines)} shows all, -o FILE.csv writes them")
    notes = [*accepted_lines(report.accepted), *_doubt_lines(report)]
    if notes:
        console.print()
    for text in notes:
        say(console, text, whole=text.lstrip().startswith("- {"))


def _doubt_lines(report: CostReport) -> Iterator[str]:
    for text in (pruned_words(report.pruned), *doubts(report.total)):
        if text:
            yield f"! {text}"
    for model in report.unpriced[:MOST_UNPRICED]:
        yield f"  {unpriced_line(model)}"
        if model.hint:
            yield f"    {model.hint}"
    if len(report.unpriced) > MOST_UNPRICED:
        yield f"  and {plural(len(report.unpriced) - MOST_UNPRICED, 'more model')} without a price"


def table(report: CostReport, lines: Sequence[CostLine]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows; columns that would be empty are left out."""
    heads = [title_of(name).lower() for name in report.by]
    rows = [[value_of(value) for value in line.key] for line in lines]
    for head, cell in _columns(report.total, lines):
        heads.append(head)
        for row, line in zip(rows, lines, strict=True):
            row.append(cell(line))
    return heads, rows


def _columns(total: CostLine, lines: Sequence[CostLine]) -> Iterator[tuple[str, Callable[[CostLine], str]]]:
    whole = total.cost or 0
    dearest = max((line.per_thousand or 0 for line in lines), default=0)
    yield "cost", lambda line: cost_words(line, whole)
    if whole:
        yield "share", lambda line: MISSING if line.cost is None else share(line.cost / whole)
    if total.estimated:
        yield "estimated", lambda line: in_column(line.estimated, whole) if line.estimated else MISSING
    if total.checking:
        yield "judges+guards", lambda line: in_column(line.checking, whole) if line.checking else MISSING
    yield "requests", lambda line: f"{line.requests:,}"
    if total.no_price:
        yield "unpriced", lambda line: f"{line.no_price:,}" if line.no_price else MISSING
    if total.uncounted:
        yield "unknown", lambda line: f"{line.uncounted:,}" if line.uncounted else MISSING
    yield "input", lambda line: short_tokens(line.input_tokens)
    if total.cache_read_tokens:
        yield "cached", lambda line: short_tokens(line.cache_read_tokens)
    yield "output", lambda line: short_tokens(line.output_tokens)
    yield "per 1,000", lambda line: in_column(line.per_thousand, dearest)


_SPARE = ("cached", "output", "input", "share", "estimated", "judges+guards", "per 1,000", "unknown", "unpriced")


def print_table(
    console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, spare: Sequence[str] = ()
) -> None:
    """A table with its first `left` columns to the left; its lines are never broken.

    Where it would be wider than the terminal, the columns of `spare` are left out one after another, then those to the
    left are cut; a line below says which. If that isn't enough, and on a terminal of less than 60 columns, every row
    becomes a block with all of them. In a pipe without COLUMNS nothing is left out: a line is a row.
    """
    safe = [[printable(cell, _WIDEST, one_line=True) for cell in row] for row in rows]
    shown = fitting(heads, safe, left, spare, _width(console))
    if shown is None:
        _print_blocks(console, heads, safe, left)
        return
    for number, row in enumerate([list(heads), *safe]):
        cells = [fixed(row[place], width, right=place >= left) for place, width in shown.items()]
        _print_line(console, "  ".join(cells).rstrip(), "" if number else "bold")
    missing = [head for place, head in enumerate(heads) if place not in shown]
    if missing:
        say(console, f"(no room for {', '.join(missing)})")


def _width(console: Console) -> int | None:
    """How wide lines may be; None in a pipe, unless COLUMNS says."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS") else None


def _print_blocks(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    for row in rows:
        say(console, " · ".join(row[:left]), style="bold")
        for head, cell in zip(heads[left:], row[left:], strict=True):
            if cell not in ("", MISSING):
                say(console, f"  {head}: {cell}" if head else f"  {cell}")


def fitting(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: int, spare: Sequence[str], width: int | None
) -> dict[int, int] | None:
    """The columns that fit side by side, by their place, each with its width; None when they are too few."""
    from rich.cells import cell_len

    shown = dict(enumerate(max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)))
    if width is None or _taken(shown) <= width:
        return shown
    if width < _NARROW:
        return None
    for name in spare:
        if name in heads:
            shown.pop(list(heads).index(name), None)
        if _taken(shown) <= width:
            return shown
    cut = [place for place in shown if place < left]
    while _taken(shown) > width:
        longest = max(cut, key=lambda place: shown[place], default=None)
        if longest is None or shown[longest] <= _SHORTEST:
            return None
        shown[longest] -= 1
    return shown


def _taken(shown: Mapping[int, int]) -> int:
    return sum(shown.values()) + 2 * (len(shown) - 1)


def fixed(text: str, width: int, *, right: bool) -> str:
    """`text` as wide as its column; one that is longer ends in `…`."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _print_line(console: Console, text: str, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(text, style=style), soft_wrap=True)


def accepted_lines(accepted: Sequence[AcceptedAnswers]) -> Iterator[str]:
    """The cost of an accepted answer, a variant a line."""
    for answers in accepted:
        head = f"{answers.variant}: {answers.accepted:,} of {plural(answers.answers, 'answer')} accepted"
        yield f"{head} ({answers.rule})"
        if answers.each is None:
            from_cache = answers.reused and answers.reused >= answers.accepted
            why = "none was accepted" if not answers.accepted else "nothing in this run" if from_cache else "no price"
            yield f"  cost per accepted answer: {why}"
        else:
            more = f", {money(answers.each_with_checking)} with judging" if answers.checking else ""
            yield f"  cost per accepted answer: {money(answers.each)}{more}"
        if answers.reused:
            yield f"  {answers.reused:,} of them came from the cache and cost nothing here{_without_them(answers)}"
        if answers.unpriced:
            yield f"  {plural(answers.unpriced, 'request')} unpriced: the true cost is higher"


def _without_them(answers: AcceptedAnswers) -> str:
    return "" if answers.each_sent is None else f": without them {money(answers.each_sent)} each"


def print_spenders(spenders: Sequence[Spender], by: Sequence[str], console: Console, compared: bool) -> None:
    """The biggest spenders, a row each."""
    heads = [*(title_of(name).lower() for name in by), "cost", "share", "requests"]
    heads += ["before", "change"] if compared else []
    top = max((spender.line.cost or 0 for spender in spenders), default=0)
    rows = [_spender(spender, compared, top) for spender in spenders]
    print_table(console, heads, rows, left=len(by), spare=("share", "before", "requests"))


def _spender(spender: Spender, compared: bool, top: int) -> list[str]:
    line = spender.line
    row = [*map(value_of, line.key), cost_words(line, top), share(spender.share), f"{line.requests:,}"]
    return [*row, in_column(spender.before, top), change_words(spender)] if compared else row


def change_words(spender: Spender) -> str:
    """`+42%`, `−8%`, `new`, or `gone`."""
    if spender.before == 0 and spender.line.cost:
        return "new"
    if spender.change is None:
        return MISSING
    percent = round(100 * spender.change)
    return f"{'+' if percent > 0 else '−' if percent < 0 else '±'}{abs(percent):,}%"


def say(console: Console, text: str, style: str = "", *, whole: bool = False) -> None:
    """A line of text in which no name from the log can drive the terminal or start markup.

    A `whole` one is left for the terminal to break, so that it can be copied as one line.
    """
    from rich.text import Text

    console.print(Text(printable(text), style=style), soft_wrap=whole)
