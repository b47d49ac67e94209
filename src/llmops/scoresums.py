"""Scores, seconds and tokens of one variant while a file of them is read, summed by case in one go."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llmops.columns import NANO, Columns
from llmops.errors import InputError

_LARGEST = 1e120  # squares of scores and of their differences are summed


class Trials:
    """The scores of one variant while they are read; `finish` sums them by case."""

    def __init__(self, where: Callable[[int], str]) -> None:
        self._where = where
        self._places, self._errors = array("q"), array("q")
        self._values: dict[str, tuple[array[int], array[float]]] = {}
        self._failed: dict[str, array[int]] = {}

    def fail(self, place: int) -> None:
        """A trial without an answer."""
        self._places.append(place)
        self._errors.append(place)

    def put(self, place: int, name: str, value: Any, number: int) -> None:
        """A trial with one score."""
        self.add(place, {name: value}, number)

    def add(self, place: int, scores: Mapping[str, Any], number: int) -> None:
        """A trial; a score that is None is a failed answer."""
        self._places.append(place)
        for name, value in scores.items():
            if value is None:
                self._lists(name)
                self._failed.setdefault(name, array("q")).append(place)
                continue
            if not (type(value) is float and -_LARGEST < value < _LARGEST):
                value = self._number(value, name, number)
            places, values = self._values.get(name) or self._lists(name)
            places.append(place)
            values.append(value)

    def add_alike(self, places: Sequence[int], scores: Sequence[Any], key: str = "") -> bool:
        """Many trials at once, if all have numbers for the same metrics; else False, with nothing added.

        A score is a number, or with a `key` an object that has it there.
        """
        if {*map(type, scores)} != {dict}:
            return False
        names = scores[0].keys()
        if not all(one.keys() == names for one in scores):
            return False
        try:
            if key:
                found = {name: array("d", [one[name][key] for one in scores]) for name in names}
            else:
                found = {name: array("d", [one[name] for one in scores]) for name in names}
        except (TypeError, KeyError, OverflowError):
            return False
        if not all((np.abs(np.frombuffer(values)) < _LARGEST).all() for values in found.values()):
            return False
        self._places.extend(places)
        for name, values in found.items():
            to_places, to_values = self._lists(name)
            to_places.extend(places)
            to_values.extend(values)
        return True

    def scored(self, place: int, scores: Mapping[str, Any], number: int) -> None:
        """A trial of a run, whose scores are objects; one without a number is unscored, which is no failure."""
        found = {name: score.get("value") for name, score in scores.items() if type(score) is dict}
        self.add(place, {n: v for n, v in found.items() if isinstance(v, (int, float))}, number)

    def finish(self, columns: Columns) -> None:
        """Add everything to a variant's columns."""
        if self._places:
            columns.reach(int(np.frombuffer(self._places, dtype=np.int64).max()))
        columns.expect(self._values)
        size = len(columns.trials)
        _sum_into(columns.trials, self._places, size)
        _sum_into(columns.errors, self._errors, size)
        for name, (places, values) in self._values.items():
            made, weights = columns.scores[name], np.frombuffer(values) if values else np.zeros(0)
            _sum_into(made.counts, places, size)
            _sum_into(made.sums, places, size, weights)
            _sum_into(made.squares, places, size, weights * weights)
            _sum_into(made.failed, self._failed.get(name, array("q")), size)

    def _lists(self, name: str) -> tuple[array[int], array[float]]:
        return self._values.setdefault(name, (array("q"), array("d")))

    def _number(self, value: Any, name: str, number: int) -> float:
        try:
            if isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < _LARGEST:
                return float(value)
        except OverflowError:
            pass
        shown = f"{brief(name)} is {brief(value)}, not a finite number"
        raise InputError(shown, where=self._where(number), hint="null stands for a failed answer")


class Measures:
    """Seconds, tokens and dollars of a variant while its run is read."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._timed, self._seconds = array("q"), array("d")
        self._counted, self._tokens = array("q"), array("d")
        self._priced, self._dollars = array("q"), array("d")

    def add(self, places: Sequence[int], outputs: Sequence[Mapping[str, Any]]) -> None:
        """The seconds, tokens and dollars of outputs as they are saved, where they are known."""
        for place, output in zip(places, outputs, strict=True):
            self._columns.cached += output.get("cached") is True
            seconds: Any = output.get("latency_s")
            usage = output.get("usage")
            measured = type(seconds) is float or type(seconds) is int
            if measured and not output.get("error") and 0 <= seconds < _LARGEST:
                self._timed.append(place)
                self._seconds.append(seconds)
            if type(usage) is dict:
                asked, said = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
                known = type(asked) is int and type(said) is int and 0 <= asked + said < _LARGEST
                if known and (asked + said or usage.get("certainty", "unknown") != "unknown"):
                    self._counted.append(place)
                    self._tokens.append(asked + said)
                cost = usage.get("cost")
                answered = not output.get("error")
                if answered and type(cost) is int and 0 <= cost < _LARGEST and not usage.get("unpriced"):
                    self._priced.append(place)
                    self._dollars.append(cost / NANO)

    def finish(self) -> None:
        """Add everything to the columns, which have room for every case."""
        columns, size = self._columns, len(self._columns.trials)
        _sum_into(columns.timed, self._timed, size)
        _sum_into(columns.seconds, self._timed, size, np.frombuffer(self._seconds) if self._seconds else None)
        _sum_into(columns.counted, self._counted, size)
        _sum_into(columns.tokens, self._counted, size, np.frombuffer(self._tokens) if self._tokens else None)
        _sum_into(columns.priced, self._priced, size)
        _sum_into(columns.dollars, self._priced, size, np.frombuffer(self._dollars) if self._dollars else None)


def _sum_into(column: array[int] | array[float], places: array[int], size: int, weights: Any = None) -> None:
    """Add at each place its weight, or 1."""
    if not places:
        return
    added = np.bincount(np.frombuffer(places, dtype=np.int64), weights=weights, minlength=size)
    view = np.frombuffer(column, dtype=np.dtype(column.typecode))
    view += added.astype(view.dtype)


def brief(value: Any) -> str:
    """A value in a message, which it can't flood."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > 10**20:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
