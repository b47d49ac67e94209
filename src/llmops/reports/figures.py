"""Numbers as people read them; what wasn't measured is an en dash."""

from __future__ import annotations

import math
import re
from datetime import datetime

from llmops.types import Direction, GateOutcome, RunRecord

MISSING = "–"
_TIME = re.compile(r"latency_(?:mean|p\d+)(?:\s|$)")
ARROWS: dict[Direction, str] = {"higher": "↑", "lower": "↓", "none": ""}


def number(value: float | None, unit: str = "") -> str:
    """Three decimals for small numbers, none for large or whole ones, and the unit."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size >= 1e7 or 0 < size < 5e-4:
        text = f"{value:.3g}"
    else:
        whole = size >= 2 and value == round(value)
        text = f"{value:,.{0 if whole else 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"
    return f"{text} {unit}" if unit else text


def seconds(value: float | None) -> str:
    """Milliseconds below a second, else seconds."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 0.0995:
        return f"{value * 1000:.1f} ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"


def dollars(value: float | None) -> str:
    """Dollars with two significant digits at least: `$12.30`, `$0.012`, `$0.0000042`."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if not size:
        return "$0"
    places = 2 if size >= 0.1 else min(12, 2 - math.floor(math.log10(size)))
    text = f"{size:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if places > 2 else text
    return f"{'-' if value < 0 else ''}${text}"


def share(value: float | None) -> str:
    """A share of 1 as a percentage; a small one is never rounded to 0 %."""
    if value is None or not math.isfinite(value):
        return MISSING
    percent = value * 100
    return f"{percent:.0f}%" if percent == round(percent) else f"{percent:.{1 if percent >= 0.1 else 3}f}%"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def plural(amount: int, noun: str) -> str:
    """`1 case`, `1,200 cases`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def gate_value(gate: GateOutcome) -> str:
    """The value a gate saw, in the unit its rule is written in; of a comparison the change."""
    demand, _, name = gate.rule.partition(": ")
    if demand in ("no-regression", "no-worse", "better") and gate.value is not None:
        kind = seconds if _TIME.match(name) else dollars if name.startswith("cost_per_case") else number
        size = kind(abs(gate.value))
        return f"{'−' if gate.value < 0 else '+' if gate.value > 0 else '±'}{size}"
    if "%" in gate.rule:
        return share(gate.value)
    if gate.rule.lstrip().startswith("cost_per_case"):
        return dollars(gate.value)
    return seconds(gate.value) if gate.rule.lstrip().startswith("latency") else number(gate.value)


def duration(record: RunRecord) -> str:
    """How long the run took, or nothing when it hasn't ended."""
    try:
        began = datetime.fromisoformat(record.started_at)
        took = (datetime.fromisoformat(record.ended_at or "") - began).total_seconds()
    except (ValueError, TypeError):
        return ""
    if took < 0:
        return ""
    if took < 120:
        return seconds(took)
    minutes, rest = divmod(round(took), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
