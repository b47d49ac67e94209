"""Labels from people, and a judge's verdicts on the same answers, from JSONL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmops.calibration.saved import answer_hash
from llmops.datasets.json_files import JsonLines
from llmops.datasets.strict_json import shown
from llmops.errors import DatasetError, InputError, did_you_mean

Value = float | str
Kind = Literal["binary", "scale", "choice"]
CHOICES = ("1", "2", "tie")
LARGEST = 1e12
_KEYS = ("id", "variant", "repeat", "human", "judge", "judge_swapped", "annotators", "answer", "length")
_HINT = 'a label is true, false, a number, or a choice: "1", "2" or "tie"'


@dataclass(frozen=True, slots=True)
class Label:
    """What people said of an answer, or of a pair of answers, and what the judge said.

    Verdicts are numbers (0 and 1 for no and yes), or of a pair `1`, `2` (which is better) or `tie`. `judge` is None
    when its answer couldn't be read as a verdict; `judged` is false when it wasn't asked. `swapped` is its verdict with
    the pair shown in the other order, said in the original order. `answer` is the answer's hash; `lengths` holds one
    length, or two of a pair; `people` what each annotator said.
    """

    id: str
    human: Value
    judge: Value | None = None
    judged: bool = True
    variant: str = ""
    repeat: int = 0
    answer: str = ""
    lengths: tuple[float, ...] = ()
    swapped: Value | None = None
    has_swapped: bool = False
    people: Mapping[str, Value] = field(default_factory=dict)
    where: str = ""


def read_labels(path: Path) -> list[Label]:
    """The labels of a JSONL file (`.gz` too).

    Raises `InputError` with `file:line` for what is no label, for a second label of one answer, for choices mixed with
    numbers, and for a file without labels.
    """
    found: list[Label] = []
    seen: dict[tuple[str, str, int, str], str] = {}
    try:
        for where, row in JsonLines(path, str(path)).rows():
            if isinstance(row, DatasetError):
                raise row
            label = _label(row, where)
            key = (label.id, label.variant, label.repeat, label.answer)
            if key in seen:
                hint = 'give the labels of several people as "annotators"'
                raise InputError(f"a second label of {shown(label.id)}, after {seen[key]}", where=where, hint=hint)
            seen[key] = where
            found.append(label)
    except ValueError as error:  # a NUL byte in the path
        raise InputError(f"can't read {str(path)!r}: {error}") from None
    if not found:
        raise InputError("no labels", where=str(path), hint='write one {"id": …, "human": …} a line')
    _check_kinds(found)
    return found


def kind_of(labels: Sequence[Label]) -> Kind:
    """`choice` for pairs, `binary` when all verdicts are 0 or 1, else `scale`."""
    if isinstance(labels[0].human, str):
        return "choice"
    values = {value for label in labels for value in (label.human, label.judge) if value is not None}
    return "binary" if values <= {0.0, 1.0} else "scale"


def _label(row: Mapping[str, Any], where: str) -> Label:
    unknown = next((key for key in row if key not in _KEYS), None)
    if unknown is not None:
        raise InputError(f"{shown(unknown)} is no key of a label", where=where, hint=did_you_mean(unknown, _KEYS))
    if row.get("human") is None:
        raise InputError("a label has no human verdict", where=where, hint=_HINT)
    answer = row.get("answer")
    return Label(
        id=_id(row.get("id"), where),
        human=_value(row["human"], "human", where),
        judge=None if row.get("judge") is None else _value(row["judge"], "judge", where),
        judged="judge" in row,
        variant=_text(row, "variant", where),
        repeat=_repeat(row.get("repeat", 0), where),
        answer=answer_hash(answer) if isinstance(answer, str) else "",
        lengths=_lengths(row, where),
        swapped=None if row.get("judge_swapped") is None else _value(row["judge_swapped"], "judge_swapped", where),
        has_swapped="judge_swapped" in row,
        people=_people(row.get("annotators"), where),
        where=where,
    )


def _id(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise InputError("a label needs an id: the case's, as text or a whole number", where=where)
    return str(value)


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{key} is text, not {shown(value)}", where=where)
    return value or ""


def _repeat(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1_000_000:
        raise InputError(f"repeat is a whole number from 0, not {shown(value)}", where=where)
    return value


def _value(value: Any, key: str, where: str) -> Value:
    if isinstance(value, str) and value.strip().lower() in CHOICES:
        return value.strip().lower()
    if isinstance(value, (bool, int, float)) and abs(value) <= LARGEST:
        return float(value)
    raise InputError(f"{key} is {shown(value)}", where=where, hint=_HINT)


def _lengths(row: Mapping[str, Any], where: str) -> tuple[float, ...]:
    """One length or two: as given, else of the answer's text, in characters."""
    given, is_length = (row["length"], True) if row.get("length") is not None else (row.get("answer"), False)
    if given is None:
        return ()
    parts = given if isinstance(given, list) else [given]
    if len(parts) not in (1, 2) or (len(parts) == 1 and isinstance(given, list)):
        raise InputError("length or answer: one of an answer, a list of two of a pair", where=where)
    if not is_length:
        if not all(isinstance(part, str) for part in parts):
            raise InputError(f"answer is text, or a list of two texts, not {shown(given)}", where=where)
        return tuple(float(len(part)) for part in parts)
    if any(isinstance(part, (bool, str)) or not isinstance(part, (int, float)) for part in parts):
        raise InputError(f"length is a number, or a list of two, not {shown(given)}", where=where)
    if not all(0 <= part <= LARGEST for part in parts):
        raise InputError(f"length is not negative and at most {LARGEST:g}, not {shown(given)}", where=where)
    return tuple(map(float, parts))


def _people(given: Any, where: str) -> dict[str, Value]:
    """What each annotator said, by name; by place in a list. Those who said nothing are left out."""
    if given is None:
        return {}
    if isinstance(given, list):
        given = {str(place): value for place, value in enumerate(given, 1)}
    if not isinstance(given, dict):
        raise InputError(f"annotators is a list, or an object by name, not {shown(given)}", where=where)
    return {name: _value(value, "an annotator", where) for name, value in given.items() if value is not None}


def _check_kinds(labels: Sequence[Label]) -> None:
    pairs = isinstance(labels[0].human, str)
    for label in labels:
        values = (label.human, label.judge, label.swapped, *label.people.values())
        if any(isinstance(value, str) != pairs for value in values if value is not None):
            one, other = ("choices", "a number") if pairs else ("numbers", "a choice")
            raise InputError(f"{other} in a file of {one}", where=label.where, hint=_HINT)
        if len(label.lengths) == 2 and not pairs:
            raise InputError("two answers or lengths, but the label is no choice", where=label.where)
        if label.has_swapped and not pairs:
            raise InputError("judge_swapped is for pairs, with choices as verdicts", where=label.where)
        if pairs and len(label.lengths) == 1:
            raise InputError("a choice is between two: give a list of two", where=label.where)
