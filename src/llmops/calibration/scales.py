"""People's labels in the unit of the judged metric: without that, differences of the two mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmops.calibration.labels import Label, Value
from llmops.errors import InputError
from llmops.types import MetricInfo


def rescaled(labels: Sequence[Label], low: float, high: float, to: tuple[float, float]) -> list[Label]:
    """Labels with what people said moved from `low`..`high` to the range `to`, in a straight line.

    Raises `InputError` for a range without width, choices, or a label outside of the range, with its line.
    """
    if not low < high:
        raise InputError(f"--human-range {low:g} {high:g} is no range", hint="give the lowest and the highest label")
    start, end = to

    def moved(value: Value, where: str) -> float:
        if isinstance(value, str):
            raise InputError("--human-range is for numbers, not for choices", where=where)
        if not low <= value <= high:
            raise InputError(f"a label of {value:g} is outside of {low:g} to {high:g}", where=where)
        return start + (value - low) / (high - low) * (end - start)

    return [
        replace(
            label,
            human=moved(label.human, label.where),
            people={name: moved(value, label.where) for name, value in label.people.items()},
        )
        for label in labels
    ]


def check_range(labels: Sequence[Label], info: MetricInfo) -> None:
    """Raises `InputError` for a label that the metric could never give, with its line."""
    for label in labels:
        low, high = info.low, info.high
        value = float(label.human)
        if (low is not None and value < low) or (high is not None and value > high):
            ends = f"{'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'}"
            hint = "say what people's labels run from and to: --human-range LO HI"
            what = f"a label of {value:g} is outside of the metric's range, {ends}"
            raise InputError(what, where=label.where, hint=hint)


def different_scales(labels: Sequence[Label]) -> bool:
    """True when one side stays within 0 to 1 and the other leaves it: a share against points."""
    if isinstance(labels[0].human, str):
        return False
    sides = (
        [float(label.human) for label in labels],
        [float(label.judge) for label in labels if label.judge is not None],
    )
    shares = [all(0 <= value <= 1 for value in side) for side in sides if side]
    return len(set(shares)) > 1
