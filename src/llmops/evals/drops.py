"""Drops as people write them: `3` and `3%` of a metric's range, `0.2units` in the metric's own unit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from llmops.errors import InputError
from llmops.evals.spread import range_of
from llmops.types import MetricInfo

HINT = "write 3 or 3% (points of 100 of a metric's range), or 0.2units (in the metric's own unit)"
_DROP = re.compile(r"(?P<number>\d+\.?\d*|\.\d+)\s*(?P<unit>.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Amount:
    """A drop as written: a share of the metric's range, or (`unit`) a number in a unit: `units` is the metric's own."""

    number: float
    unit: str = ""


def parse_drop(text: str) -> Amount:
    """Read `3`, `3%`, `0.2units` or `20ms`. A bare number below 1 could mean either, so it is refused."""
    found = _DROP.fullmatch(text.strip()) if len(text) < 100 else None
    number = float(found["number"]) if found else 0.0
    if found is None or not 0 < number < math.inf:
        raise InputError(f"--drop {text[:80]!r} isn't a drop above 0", hint=HINT)
    unit = found["unit"].strip()
    if unit not in ("", "%"):
        return Amount(number, "units" if unit == "unit" else unit)
    if not unit and number < 1:
        hint = f"write {number:g}% for points of 100, or {number:g}units for the metric's own unit"
        raise InputError(f"--drop {text!r} could mean two things", hint=hint)
    if number >= 100:
        raise InputError(f"--drop {text!r} is the whole range of a metric", hint=HINT)
    return Amount(number / 100)


def parse_margin(text: str) -> Amount:
    """A suite's margin, `3%` of the range or a number in the metric's unit, as a drop."""
    return parse_drop(text if text[-1:] in ("%", "s") else f"{text}units")


def amount_of(wanted: Amount, info: MetricInfo) -> float:
    """The drop in the metric's unit. Raises `InputError` when the metric has no such drop."""
    span = range_of(info)
    if info.direction == "none":
        raise InputError(f"{info.name} doesn't say whether higher or lower is better")
    if not wanted.unit:
        if span is None:
            raise InputError(f"{info.name} has no range to take a share of", hint="write --drop 20units")
        return wanted.number * span
    scales = {"units": 1.0, info.unit: 1.0, **({"ms": 0.001} if info.unit == "s" else {})}
    if wanted.unit not in scales:
        raise InputError(f"{info.name} isn't measured in {wanted.unit[:40]!r}", hint=HINT)
    amount = wanted.number * scales[wanted.unit]
    if span is not None and amount >= span:
        raise InputError(f"a drop of {amount:g} is the whole range of {info.name}", hint="ask for a smaller one")
    return amount
