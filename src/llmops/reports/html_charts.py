"""Score histograms as inline SVG: a row a metric, one chart a variant on the same axes."""

from __future__ import annotations

from llmops.reports.figures import ARROWS, number, plural
from llmops.reports.html_tables import PALETTE, safe, swatch
from llmops.reports.summary import BINS, Histogram, MetricSummary, Summary
from llmops.types import MetricInfo

WIDTH, HEIGHT, FOOT = 280, 84, 18
MAX_CHARTS = 60


def distributions(summary: Summary) -> str:
    """All charts, or nothing when nothing was scored."""
    rows, room = [], MAX_CHARTS
    for info in summary.record.metrics:
        charts = [(i, v.name, v.metrics[info.name]) for i, v in enumerate(summary.variants)]
        drawn = [chart for chart in charts if chart[2].histogram][:room]
        room -= len(drawn)
        if drawn:
            rows.append(_row(info, drawn))
    few = " few" if len(summary.variants) <= 2 else ""
    return f'<div class="distributions{few}">{"".join(rows)}</div>' if rows else ""


def _row(info: MetricInfo, charts: list[tuple[int, str, MetricSummary]]) -> str:
    top = max(max(m.histogram.counts) for _, _, m in charts if m.histogram)
    figures = "".join(_figure(place, name, metric, top) for place, name, metric in charts)
    unit = f" <span class=quiet>{safe(info.unit, 12)}</span>" if info.unit else ""
    head = f"<h3>{safe(info.name, 60)} <span class=arrow>{ARROWS[info.direction]}</span>{unit}</h3>"
    return f"<div class=metric>{head}<div class=charts>{figures}</div></div>\n"


def _figure(place: int, name: str, metric: MetricSummary, top: int) -> str:
    shape = metric.histogram
    if shape is None or metric.mean is None:
        return ""
    caption = f"{swatch(place)}{safe(name, 60)}<span>mean {number(metric.mean)}"
    caption += f" · SD {number(metric.deviation)}</span>" if metric.deviation is not None else "</span>"
    label = f"{safe(name, 60)}: {plural(metric.scored, 'case')}, mean {number(metric.mean)}"
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{label}">'
        f"{_bars(shape, top, place)}{_mean_line(shape, metric.mean)}{_axis(shape)}</svg></figure>"
    )


def _bars(shape: Histogram, top: int, place: int) -> str:
    step = WIDTH / BINS
    width = (shape.high - shape.low) / BINS
    bars = []
    for i, amount in enumerate(shape.counts):
        if not amount:
            continue
        height = max(amount / top * (HEIGHT - 6), 1.5)
        span = f"{number(shape.low + i * width)} to {number(shape.low + (i + 1) * width)}"
        bars.append(
            f'<rect class="v{place % PALETTE}" x="{i * step + 1:.1f}" y="{HEIGHT - height:.1f}" '
            f'width="{step - 2:.1f}" height="{height:.1f}" rx="1.5">'
            f"<title>{span}: {plural(amount, 'case')}</title></rect>"
        )
    return "".join(bars)


def _mean_line(shape: Histogram, value: float) -> str:
    x = (value - shape.low) / (shape.high - shape.low) * WIDTH
    return f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'


def _axis(shape: Histogram) -> str:
    middle = shape.low / 2 + shape.high / 2
    marks = ((0, "start", shape.low), (WIDTH / 2, "middle", middle), (WIDTH, "end", shape.high))
    labels = "".join(
        f'<text x="{x:g}" y="{HEIGHT + 14}" text-anchor="{anchor}">{value:,.4g}</text>' for x, anchor, value in marks
    )
    return f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{labels}'
