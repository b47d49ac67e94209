"""Cost over time as stacked bars in inline SVG, with labels in HTML so that they stay readable on a phone."""

from __future__ import annotations

from collections.abc import Iterator

from llmops.reports.cost_lines import CostReport, CostSeries
from llmops.reports.cost_words import PURPOSES, moment_words, money, value_of
from llmops.reports.html_tables import PALETTE, safe
from llmops.usage.money import dollars

WIDTH, HEIGHT = 1000, 240
_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_MOST_LABELS = 8
_WIDEST = 110


def plot(report: CostReport) -> str:
    """The plot and its legend, or nothing when there is nothing to draw."""
    totals = [sum(costs) for costs in zip(*(series.costs for series in report.series), strict=True)]
    top = max(totals, default=0)
    if not top:
        return ""
    ceiling, marks = scale(top)
    said = safe(f"Cost over time, {report.times[0]} to {report.times[-1]}, at most {money(top)}")
    places = max(len(money(mark).rpartition(".")[2]) for mark in marks)
    grid = "".join(
        f'<div class=tick style="bottom:{100 * mark / ceiling:.2f}%"><span>{safe(dollars(mark, places))}</span></div>'
        for mark in marks
    )
    return (
        f"<div class=plot><div class=area>{grid}"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f"{''.join(_bars(report, totals, ceiling))}</svg></div><div class=times>{_times(report.times)}</div></div>"
        f"{_legend(report)}"
    )


def scale(top: int) -> tuple[int, list[int]]:
    """A round top of the axis and its marks, in nano-dollars."""
    size = 10 ** (len(str(top)) - 1)
    ceiling = next(round(step * size) for step in _STEPS if step * size >= top)
    return ceiling, [ceiling // 2, ceiling]


def _bars(report: CostReport, totals: list[int], ceiling: int) -> Iterator[str]:
    step = WIDTH / len(report.times)
    wide = min(max(step * 0.76, min(step, 1)), _WIDEST)
    for place, moment in enumerate(report.times):
        if not totals[place]:
            continue
        base = float(HEIGHT)
        yield f"<g><title>{_told(report, place, moment, totals[place])}</title>"
        for number, series in enumerate(report.series):
            tall = series.costs[place] / ceiling * HEIGHT
            if tall <= 0:
                continue
            base -= tall
            yield (
                f'<rect class="{colour(number, series)}" x="{place * step + (step - wide) / 2:.1f}" y="{base:.2f}" '
                f'width="{wide:.1f}" height="{tall:.2f}"/>'
            )
        yield "</g>"


def _told(report: CostReport, place: int, moment: str, total: int) -> str:
    """What a bar says when pointed at: the time, its cost, and the parts."""
    parts = [f"{named(report, series)} {money(series.costs[place])}" for series in report.series if series.costs[place]]
    detail = f" ({', '.join(parts)})" if len(parts) > 1 else f", {parts[0]}" if parts else ""
    return safe(f"{moment_words(moment)}: {money(total)}{detail}", 600)


def _times(times: tuple[str, ...]) -> str:
    """Labels under their bars, few enough to be read; on a narrow screen every second one is hidden."""
    every = -(-len(times) // _MOST_LABELS)
    labels = []
    for number, place in enumerate(range(0, len(times), every)):
        middle = 100 * (place + 0.5) / len(times)
        look = " class=second" if number % 2 else ""
        labels.append(f'<span{look} style="left:{middle:.2f}%">{safe(moment_words(times[place]))}</span>')
    return "".join(labels)


def _legend(report: CostReport) -> str:
    """A colour, a name and a sum for each series; without any price there is no sum."""
    return f"<ul class=legend>{''.join(_entry(report, *entry) for entry in enumerate(report.series))}</ul>\n"


def _entry(report: CostReport, number: int, series: CostSeries) -> str:
    name, cost = safe(named(report, series), 60), sum(series.costs)
    if not cost and series.unpriced:
        return f"<li class=lacking>{name}<b>no price</b></li>"
    return f'<li><i class="swatch {colour(number, series)}"></i>{name}<b>{safe(money(cost))}</b></li>'


def named(report: CostReport, series: CostSeries) -> str:
    """A series' name as people say it."""
    return PURPOSES.get(series.name, series.name) if report.series_by == "purpose" else value_of(series.name)


def colour(number: int, series: CostSeries) -> str:
    """The class of a series' colour; what is left over is grey."""
    return "rest" if series.rest else f"v{number % PALETTE}"
