"""Values and differences of a compared metric in its unit: points, seconds, tokens or its own."""

from __future__ import annotations

import math
import re

from llmops.reports.figures import MISSING, count, dollars, number, seconds
from llmops.types import MetricComparison, MetricInfo

_UNIT = re.compile(r"[\w%/$€£¥° -]{1,16}")


def reading(value: float | None, m: MetricComparison) -> str:
    """A mean in the metric's unit: `78.0 %` for pass or fail, `0.785`, `1.20 s`, `412 tokens`."""
    if value is None or not math.isfinite(value):
        return MISSING
    if m.kind == "binary" and points_of(m.info) == 100:
        return f"{100 * value:.1f} %"
    if m.info.unit == "s":
        return _time(value)
    if _is_tokens(m.info):
        return count(value)
    if _is_money(m.info):
        return dollars(value)
    return (number(value) if points_of(m.info) == 100 else _short(value)) + _unit(m.info)


def amount(value: float, m: MetricComparison) -> str:
    """The size of a difference, without its sign: `7.0 points`, `120 ms`, `35 tokens`, `0.4`."""
    return MISSING if not math.isfinite(value) else size_in(abs(value), m.info) + tail_of(m.info)


def signed(value: float, m: MetricComparison) -> str:
    """A gain as people see the change: `−1.5 points`; a gain in latency is `−120 ms`."""
    seen = -value if m.info.direction == "lower" else value
    return MISSING if not math.isfinite(value) else _signed(seen, m.info) + tail_of(m.info)


def limit(m: MetricComparison) -> str:
    """The drop that is tolerated, short: `5` for points, `100 ms`."""
    points = points_of(m.info)
    return f"{points * m.margin:.3g}" if points else amount(m.margin, m)


def change(m: MetricComparison) -> str:
    """`78.0 % → 71.0 %`, or nothing when a mean is unknown."""
    if m.mean_a is None or m.mean_b is None:
        return ""
    unit = "" if m.info.unit == "s" or _is_money(m.info) else _unit(m.info)  # a time has its own, s or ms
    return f"{reading(m.mean_a, m).removesuffix(unit)} → {reading(m.mean_b, m)}"


def interval(m: MetricComparison) -> str:
    """The interval as people see the change: `−13.0 to −1.4 points`; nothing when it isn't finite."""
    if not all(map(math.isfinite, m.ci)):
        return ""
    low, high = sorted(m.ci) if m.info.direction != "lower" else sorted(-end for end in m.ci)
    unit = tail_of(m.info)
    return f"{_signed(low, m.info)} to {_signed(high, m.info)}{unit}"


def points_of(info: MetricInfo) -> float:
    """Points in one unit of the metric: 100 for shares of 1, 1 for percentages, 0 where points mean nothing."""
    if (info.low, info.high) == (0, 1):
        return 100.0
    return 1.0 if (info.low, info.high, info.unit) == (0, 100, "%") else 0.0


def tail_of(info: MetricInfo) -> str:
    """What stands once behind one or two sizes."""
    if points_of(info):
        return " points"
    if info.unit == "s" or _is_money(info):
        return ""  # each time has its own, s or ms, and each amount its $
    return " tokens" if _is_tokens(info) else _unit(info)


def size_in(value: float, info: MetricInfo) -> str:
    """A size of 0 or more, without the unit that `tail_of` has."""
    points = points_of(info)
    if points:
        value *= points
        if not math.isfinite(value):
            return MISSING
        return f"{value:.1f}" if value >= 0.05 or not value else f"{value:.1g}"
    if info.unit == "s":
        return _time(value)
    if _is_tokens(info):
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    if _is_money(info):
        return dollars(value)
    return _short(value)


def _is_tokens(info: MetricInfo) -> bool:
    return info.unit == "tokens" or info.name == "tokens_per_case"


def _is_money(info: MetricInfo) -> bool:
    return info.unit == "$" and info.name == "cost_per_case"


def _unit(info: MetricInfo) -> str:
    """The unit with a space before it; nothing for one that isn't short and plain."""
    return f" {info.unit}" if _UNIT.fullmatch(info.unit) else ""


def _time(value: float) -> str:
    return f"{1000 * value:.0f} ms" if 0.00995 <= abs(value) < 0.9995 else seconds(value)


def _short(value: float) -> str:
    """A number without zeros at its end."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _signed(value: float, info: MetricInfo) -> str:
    return ("−" if value < 0 else "+" if value > 0 else "±") + size_in(abs(value), info)
