"""Intervals as a forest plot: a row a metric, each in units of its own limit, so that rows can be compared.

Labels and figures are HTML, which wraps on a phone; the SVG between them holds only marks, placed in per cent of the
width it is given. 0 is no change, -1 the biggest drop that is tolerated, and right is better, whatever the metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmops.reports.html_tables import safe
from llmops.reports.verdicts import cautions, change, interval, is_cost, signed, title
from llmops.types import MetricComparison

ICONS = {
    "improved": '<path d="M8 12V4M4.5 7.5 8 4l3.5 3.5"/>',
    "equivalent": '<path d="M4.5 8.5 7 11l4.5-5.5"/>',
    "regressed": '<path d="M5 5l6 6M11 5l-6 6"/>',
    "inconclusive": '<path d="M5.9 6.1a2.1 2.1 0 1 1 3 1.9c-.6.3-.9.7-.9 1.4M8 11.9v.1"/>',
}
MOST = 5.0
"""Limits either way that a plot shows; what lies beyond is an arrow at its edge."""


ROOM = 25
"""Per cent of a plot's width that words over the zone beyond the limit need."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a plot: what it shows, its label and note as HTML, and whether it is drawn strong."""

    metric: MetricComparison
    label: str
    note: str = ""
    strong: bool = True


def icon(verdict: str) -> str:
    """A verdict's sign in a disc: cross, tick, arrow up or question mark."""
    return (
        f'<svg class="sign {verdict}" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="8"/>'
        f"{ICONS[verdict]}</svg>"
    )


def row_of(m: MetricComparison) -> Row:
    """A metric with its verdict's sign and both means."""
    held = cautions(m)[:1] if is_cost(m) and m.verdict == "inconclusive" else []  # the cards say it of the others
    return Row(m, f"{icon(m.verdict)}{safe(title(m), 80)}", safe(" · ".join([change(m), *held]).removeprefix(" · ")))


def plot(rows: Sequence[Row], label: str, scale: Scale, *, heading: bool = True) -> str:
    """Rows on one scale, with the scale's words above them and each row's limit under it."""
    body = "".join(_row(row, scale) for row in rows)
    return f'{scale.heading() if heading else ""}<div class=forest role=list aria-label="{safe(label)}">{body}</div>\n'


def small_plot(rows: Sequence[Row], label: str) -> str:
    """Rows of one metric on a scale of their own, whose limit is told elsewhere."""
    scale = Scale.of((row.metric for row in rows), most=2 * MOST)
    body = "".join(_row(row, scale, ticks=False) for row in rows)
    return f'<div class="forest small" role=list aria-label="{safe(label)}">{body}</div>\n'


@dataclass(frozen=True, slots=True)
class Scale:
    """What a plot shows, from `low` to `high`, in limits; `limited` when any row has a limit."""

    low: float
    high: float
    limited: bool

    @classmethod
    def of(cls, metrics: Iterable[MetricComparison], most: float = MOST) -> Scale:
        """Room for every finite end, the limit and some air, but no more than `most` limits either way."""
        known = [m for m in metrics if m.margin > 0]
        ends = [x / m.margin for m in known for x in (*m.ci, m.lo_safe, m.diff) if math.isfinite(x / m.margin)]
        low, high = min([-1.5, *ends]) * 1.06, max([1.0, *ends]) * 1.06
        return cls(max(low, -most), min(high, most), bool(known))

    def over(self, other: Scale) -> Scale:
        """Room for both."""
        return Scale(min(self.low, other.low), max(self.high, other.high), self.limited or other.limited)

    def unit(self, m: MetricComparison) -> float:
        """What one step of the scale is in the metric's unit; without a limit, what makes its interval fit."""
        if m.margin > 0:
            return m.margin
        ends = [abs(x) for x in (*m.ci, m.diff) if math.isfinite(x)]
        return max([*ends, 1e-300]) / (0.9 * min(-self.low, self.high))

    def at(self, steps: float) -> float:
        """Per cent of the width, from 0 to 100, whatever the value."""
        if math.isnan(steps):
            return self.at(0.0)
        return 100 * (min(max(steps, self.low), self.high) - self.low) / (self.high - self.low)

    def heading(self) -> str:
        """Words over the lines for no change and the limit."""
        words = f'<span class=zero style="left:{self.at(0):.2f}%">no change</span>'
        if self.limited and self.at(-1) >= ROOM:
            words += f'<span class=edge style="right:{100 - self.at(-1):.2f}%">worse than your limit</span>'
            words += "<span class=only-narrow>← worse</span>"
        else:
            words += "<span>← worse</span>"
        return (
            f"<div class=axis aria-hidden=true><span></span><div>{words}<span class=better>better →</span></div>"
            "<span></span></div>"
        )


def _row(row: Row, scale: Scale, ticks: bool = True) -> str:
    m = row.metric
    note = f"<small>{row.note}</small>" if row.note else ""
    spread = safe(interval(m)) or "no interval"
    look = m.verdict if row.strong else "faint"
    figures = f"<b>{safe(signed(m.diff, m))}</b><small>{spread}</small>"
    return (
        f'<div class="line {look}" role=listitem><div class=what><span>{row.label}</span>{note}</div>'
        f"{_marks(m, scale, ticks)}<div class=figures>{figures}</div></div>\n"
    )


def _marks(m: MetricComparison, scale: Scale, ticks: bool) -> str:
    unit = scale.unit(m)
    ends, change = [end / unit for end in m.ci], m.diff / unit
    lo, hi = (scale.at(end) for end in ends)
    marks = _limit(m, scale, ticks) if m.margin > 0 else ""
    marks += f'<line class=zero x1="{scale.at(0):.2f}%" x2="{scale.at(0):.2f}%" y1="0" y2="32"/>'
    marks += f'<rect class=spread x="{lo:.2f}%" width="{max(hi - lo, 0.4):.2f}%" y="12" height="8" rx="4"/>'
    if m.margin > 0 and math.isfinite(m.lo_safe):
        x = scale.at(m.lo_safe / unit)
        marks += f'<line class=whisker x1="{x:.2f}%" x2="{lo:.2f}%" y1="16" y2="16"/>'
        marks += f'<line class=bound x1="{x:.2f}%" x2="{x:.2f}%" y1="8" y2="24"/>'
    marks += _arrow(0, "M0 10 -7 16 0 22z") if ends[0] < scale.low else ""
    marks += _arrow(100, "M0 10 7 16 0 22z") if ends[1] > scale.high else ""
    if scale.low <= change <= scale.high:
        marks += f'<circle class=dot cx="{scale.at(change):.2f}%" cy="16" r="5.5"/>'
    return f'<svg class=track role="img" aria-label="{_described(m)}" height="{48 if ticks else 32}">{marks}</svg>'


def _limit(m: MetricComparison, scale: Scale, ticks: bool) -> str:
    """The zone beyond the limit, its edge, and what the limit is in the metric's own unit."""
    edge = f"{scale.at(-1):.2f}%"
    zone = f'<rect class=beyond x="0" width="{edge}" y="0" height="32"/>'
    line = f'<line class=edge x1="{edge}" x2="{edge}" y1="0" y2="32"/>'
    tick = f'<text x="{edge}" y="44" text-anchor="middle">{safe(signed(-m.margin, m), 40)}</text>'
    return f"{zone}{line}{tick if ticks else ''}"


def _arrow(x: int, path: str) -> str:
    return f'<svg class=arrowhead x="{x}%" overflow="visible"><path d="{path}"/></svg>'


def _described(m: MetricComparison) -> str:
    parts = [f"{title(m)}: {signed(m.diff, m)}", f"interval {interval(m)}" if interval(m) else "no interval"]
    if m.margin > 0:
        parts.append(f"your limit {signed(-m.margin, m)}")
    return safe(", ".join(parts))


def hatching() -> str:
    """The pattern of the zone beyond the limit, once a page: a zone is told by more than its colour."""
    return (
        '<svg class=defs width="0" height="0" aria-hidden="true"><defs><pattern id="hatch" width="7" height="7" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" class=ground />'
        '<line x1="0" x2="0" y1="0" y2="7"/></pattern></defs></svg>\n'
    )
