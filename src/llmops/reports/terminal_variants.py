"""The figures of all variants, side by side where there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmops.reports.figures import ARROWS, count, dollars, number, seconds, share
from llmops.reports.plain import printable
from llmops.reports.summary import MetricSummary, Summary, VariantSummary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

BEST = "*"


def print_variants(summary: Summary, console: Console) -> None:
    """The table that fits without cutting anything, else a list a variant.

    With fewer variants than figures a row is a figure, so that its values stand side by side; with more, a row is
    a variant.
    """
    from rich.measure import Measurement
    from rich.text import Text

    figures = [_figures(summary, variant) for variant in summary.variants]
    if not figures:
        return
    tables = [_by_figure(summary, figures), _by_variant(summary, figures)]
    if len(figures) > len(summary.record.metrics):
        tables.reverse()
    for table in tables:
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            console.print(table)
            break
    else:
        _print_lists(summary, figures, console)
    if any(value.startswith(BEST) for values in figures for _, value in values):
        console.print(Text(f"{BEST} the better mean", style="dim"))


def _figures(summary: Summary, variant: VariantSummary) -> list[tuple[str, str]]:
    """Label and value of everything shown about a variant; a label's lines are parted by newlines."""
    figures = [(_metric_label(metric), _mean(summary, metric)) for metric in variant.metrics.values()]
    errors = f"{variant.errors:,} ({share(variant.error_share)})" if variant.errors else "0"
    cached = any(other.cached for other in summary.variants)
    priced = any(other.cost_per_case is not None for other in summary.variants)
    return [
        *figures,
        ("errors", errors),
        ("p50", seconds(variant.latency_p50)),
        ("p95", seconds(variant.latency_p95)),
        *_first_token(summary, variant),
        ("tokens\n/case", count(variant.tokens_per_case)),
        *([("cost\n/case", dollars(variant.cost_per_case))] if priced else []),
        *([("cached", count(variant.cached))] if cached else []),
    ]


def _first_token(summary: Summary, variant: VariantSummary) -> list[tuple[str, str]]:
    if not summary.streamed:
        return []
    return [
        ("first\ntoken p50", seconds(variant.first_token_p50)),
        ("first\ntoken p95", seconds(variant.first_token_p95)),
    ]


def _metric_label(metric: MetricSummary) -> str:
    info = metric.info
    name = f"{printable(info.name, 40, one_line=True)} {ARROWS[info.direction]}".rstrip()
    return f"{name}\n{printable(info.unit, 12, one_line=True)}" if info.unit else name


def _mean(summary: Summary, metric: MetricSummary) -> str:
    value = number(metric.mean)
    return f"{BEST} {value}" if summary.is_best(metric) else value


def _flat(label: str) -> str:
    return label.replace("\n", " ").replace(" /", "/")


def _cell(value: str) -> Text:
    from rich.text import Text

    return Text(value, style="bold" if value.startswith(BEST) else "")


def _name(variant: VariantSummary) -> Text:
    from rich.text import Text

    name = Text(printable(variant.name, 40, one_line=True), style="cyan")
    return name.append(" (baseline)", style="dim") if variant.baseline else name


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")


def _by_figure(summary: Summary, figures: list[list[tuple[str, str]]]) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("", no_wrap=True)
    for variant in summary.variants:
        table.add_column(_name(variant), justify="right", no_wrap=True)
    for row in zip(*figures, strict=True):
        table.add_row(Text(_flat(row[0][0])), *(_cell(value) for _, value in row))
    return table


def _by_variant(summary: Summary, figures: list[list[tuple[str, str]]]) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column(Text("variant"), no_wrap=True)
    for label, _ in figures[0]:
        table.add_column(Text(label), justify="right", vertical="bottom", no_wrap=True)
    for variant, values in zip(summary.variants, figures, strict=True):
        table.add_row(_name(variant), *(_cell(value) for _, value in values))
    return table


def _print_lists(summary: Summary, figures: list[list[tuple[str, str]]], console: Console) -> None:
    from rich.text import Text

    for variant, values in zip(summary.variants, figures, strict=True):
        console.print(_name(variant))
        wide = max(len(_flat(label)) for label, _ in values)
        for label, value in values:
            best = value.startswith(BEST)
            text = f"{value.removeprefix(BEST).strip()} {BEST}" if best else value
            console.print(Text(f"  {_flat(label).ljust(wide)}  ").append(text, style="bold" if best else ""))
