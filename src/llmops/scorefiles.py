"""Files of scores: `{"id", "scores": {…}, "group", "tags"}` a line, or `{"case_id", "score_a", "score_b", "cluster"}`.

A repeated id is a repeat of the case. A score that is null, or a row with an `error`, is a failed answer: it counts as
the metric's worst value. Exported run files are read the same way, for their scores alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Literal, cast

from llmops.aggregate import Aggregate
from llmops.errors import InputError
from llmops.rowstream import Source
from llmops.scoresums import Measures, Trials, brief
from llmops.types import Case

Shape = Literal["run", "scores", "pairs"]
PAIRED = "score"  # what a file of pairs measures
_HINT = 'a row is {"id": …, "scores": {"name": number}}, or {"case_id": …, "score_a": number, "score_b": number}'
_PARTS = ("case", "output", "scores")  # of a result


def shape_of(source: Source) -> Shape:
    """What a file holds, by its first row. Raises `InputError` for a file of another kind."""
    with closing(source.rows()) as found:
        for number, row in found:
            if "llmops_run" in row:
                return "run"
            if "score_a" in row or "score_b" in row:
                return "pairs"
            if "scores" in row or "error" in row:
                return "scores"
            raise InputError("neither scores, nor pairs, nor a run", where=source.where(number), hint=_HINT)
    raise InputError("an empty file", where=source.shown, hint=_HINT)


def read_scores(source: Source, cases: Cases, variant: str) -> None:
    """Add a file of scores to the cases' table as one variant. Raises `InputError` with `file:line`."""
    trials, place_of = Trials(source.where), cases.of(source, "id", "group")
    for numbers, rows in source.blocks():
        places = [place_of(row, number) for number, row in zip(numbers, rows, strict=True)]
        if not any("error" in row for row in rows) and trials.add_alike(places, [row.get("scores") for row in rows]):
            continue
        for place, number, row in zip(places, numbers, rows, strict=True):
            scores = row.get("scores")
            if row.get("error"):
                trials.fail(place)
            elif type(scores) is dict:
                trials.add(place, scores, number)
            else:
                raise InputError("scores is missing or no object", where=source.where(number), hint=_HINT)
    trials.finish(cases.into.filled(variant))


def read_pairs(source: Source, cases: Cases, baseline: str, candidate: str, metric: str = PAIRED) -> None:
    """Add a file of pairs to the cases' table as two variants. Raises `InputError` with `file:line`."""
    place_of = cases.of(source, "case_id", "cluster")
    sides = (("score_a", Trials(source.where)), ("score_b", Trials(source.where)))
    for number, row in source.rows():
        place = place_of(row, number)
        for key, trials in sides:
            if key not in row:
                raise InputError(f"{key} is missing", where=source.where(number), hint=_HINT)
            trials.put(place, metric, row[key], number)
    for name, (_, trials) in zip((baseline, candidate), sides, strict=True):
        trials.finish(cases.into.filled(name))


def read_run(source: Source, cases: Cases, variant: str, name: str, repeats: int | None = None) -> None:
    """Add a variant of an exported run, under the name given. Raises `InputError` with `file:line`.

    Of answers to one case only the first `repeats` count, if that is given.
    """
    trials, place_of, columns = Trials(source.where), cases.of(source, "id", "group"), cases.into.filled(name)
    measured = Measures(columns)
    for numbers, rows in source.blocks():
        found = [(number, row) for number, row in zip(numbers, rows, strict=True) if row.get("variant") == variant]
        if repeats is not None:
            found = [(n, row) for n, row in found if type(k := row.get("repeat", 0)) is int and k < repeats]
        parts: list[list[Any]] = [[row.get(key) for _, row in found] for key in _PARTS]
        if any({*map(type, part)} - {dict} for part in parts):
            number = next(n for n, row in found if not all(type(row.get(key)) is dict for key in _PARTS))
            raise InputError("not a result of a run", where=source.where(number))
        cases_here, outputs, scores = parts
        places = [place_of(case, number) for case, (number, _) in zip(cases_here, found, strict=True)]
        alike = not any(output.get("error") for output in outputs) and trials.add_alike(places, scores, "value")
        for place, (number, row) in zip(places, () if alike else found, strict=False):
            if row["output"].get("error"):
                trials.fail(place)
            else:
                trials.scored(place, row["scores"], number)
        measured.add(places, outputs)
    trials.finish(columns)
    measured.finish()


class _Row:
    """What `Aggregate.place` looks at of a case."""

    __slots__ = ("group", "id", "tags")
    id: str
    group: str | None
    tags: tuple[str, ...]


class Cases:
    """Where cases stand in a table, found by the ids that rows of any of its files have.

    `regrouped` are cases with another group in a later file, which keep the one they had.
    """

    def __init__(self, into: Aggregate) -> None:
        self.into = into
        self.regrouped: set[int] = set()
        self._known: dict[Any, tuple[int, Any]] = {}
        self._case = _Row()

    def of(self, source: Source, key: str, group_key: str) -> Callable[[Mapping[str, Any], int], int]:
        """Finds the case of a row of this file, made when it is new; the row's number is for `InputError`."""
        known = self._known.get

        def place(row: Mapping[str, Any], number: int) -> int:
            given = row.get(key)
            if type(given) is str or type(given) is int:
                found = known(given)
                if found is not None and row.get(group_key) == found[1]:
                    return found[0]
            return self._new(given, row, source, number, key, group_key)

        return place

    def _new(self, given: Any, row: Mapping[str, Any], source: Source, number: int, key: str, group_key: str) -> int:
        text = given if type(given) is str else _text(given, key, source.where(number))
        if not text:
            raise InputError(f"{key} is empty", where=source.where(number), hint=_HINT)
        group, tags = row.get(group_key), row.get("tags") or []
        if tags and not (type(tags) is list and set(map(type, tags)) == {str}):
            raise InputError("tags isn't a list of texts", where=source.where(number))
        case, before = self._case, self.into.total_cases
        case.id, case.tags = text, tuple(tags)
        named = group is None or type(group) is str
        case.group = group if named else _text(group, group_key, source.where(number))
        place = self.into.place(cast("Case", case))
        if place < before and case.group is not None:
            self.regroup(place, case.group)
        self._known.setdefault(given, (place, group))
        return place

    def regroup(self, place: int, group: str) -> None:
        """The group that a later file has for a case."""
        if not self.into.regroup(place, group):
            self.regrouped.add(place)


def _text(value: Any, key: str, where: str) -> str:
    if type(value) is not int:
        raise InputError(f"{key} is {brief(value)}, not text or a whole number", where=where, hint=_HINT)
    try:
        return str(value)
    except ValueError:
        raise InputError(f"{key} has too many digits", where=where) from None
