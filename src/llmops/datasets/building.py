"""One row to one case."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.datasets import strict_json, values
from llmops.datasets.fields import ABSENT, OPTIONAL, RESERVED, Fields, dig, no_column
from llmops.datasets.strict_json import canonical, shown
from llmops.errors import DatasetError
from llmops.types import Case, Context

_JSON_CELLS = ("inputs", "contexts", "relevant", "tags", "metadata")
_MAX_PLANS = 256


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which columns of rows with the same keys are inputs and metadata: worked out once, not for every row."""

    inputs: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...]


class CaseBuilder:
    """Builds the cases of one pass over a file, and remembers what only the whole pass can tell.

    `cells`: values are text, in which lists and objects are JSON (CSV). `sparse`: null means absent (tables).
    """

    def __init__(self, fields: Fields, *, cells: bool, sparse: bool) -> None:
        self._fields = fields
        self._cells = cells
        self._sparse = sparse or cells
        self._inputs = fields.part("inputs")
        self._metadata = fields.part("metadata")
        self._maps_inputs = fields.maps_inputs
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._unseen = {t for t in fields.columns if t in OPTIONAL or t.startswith("metadata.")}
        self._seen_columns: dict[str, None] = {}
        self._has_ids: bool | None = None
        self._first = ""

    def build(self, row: Mapping[str, Any], where: str) -> Case:
        """The case of a row. Raises `DatasetError` at `where`."""
        try:
            return self._build(row, where)
        except DatasetError as error:
            error.where = error.where or where
            raise
        except RecursionError:
            raise DatasetError("nested too deeply", where=where, hint="flatten the row") from None

    def _build(self, row: Mapping[str, Any], where: str) -> Case:
        plan = self._plan(row)
        take = self._take
        label = self._label(row, where)
        inputs = self._named(row, "inputs", plan.inputs)
        expected = take(row, "expected")
        contexts = values.passages(take(row, "contexts"))
        relevant = values.grades(take(row, "relevant"))
        tags = values.tag_names(take(row, "tags"))
        group = values.group_name(take(row, "group"))
        metadata = self._named(row, "metadata", plan.metadata)
        if not inputs and expected is None and relevant is None and not contexts:
            hint = "give it inputs, or map columns with fields"
            raise DatasetError("the row has nothing to evaluate", hint=hint)
        if label is None:
            label = _derived_id(inputs, expected, contexts, relevant, tags, group, metadata)
        return Case(label, inputs, expected, contexts, relevant, tags, group, metadata, where)

    @property
    def has_ids(self) -> bool:
        """True when the rows bring their own ids."""
        return bool(self._has_ids)

    def unused(self, where: str) -> Iterator[DatasetError]:
        """An error for every mapped column that no row had: a typo."""
        for target, columns in self._fields.columns.items():
            if target in self._unseen:
                yield no_column(columns[0], target, self._seen_columns, self._fields.where or where)

    def _label(self, row: Mapping[str, Any], where: str) -> str | None:
        columns = self._fields.columns.get("id")
        value = self._column(row, "id", columns[0]) if columns else row.get("id", ABSENT)
        if value is None and self._sparse:
            value = ABSENT
        if self._has_ids is None:
            self._has_ids, self._first = value is not ABSENT, where
        if value is ABSENT:
            if self._has_ids:
                raise DatasetError("no id", hint="give every row an id, or none of them")
            return None
        if not self._has_ids:
            first = place(self._first)
            raise DatasetError(
                f"has an id, but the row on {first} has none", hint="give every row an id, or none of them"
            )
        return values.identifier(value, "id")

    def _take(self, row: Mapping[str, Any], target: str) -> Any:
        columns = self._fields.columns.get(target)
        if columns is None:
            value = row.get(target)
        else:
            found = [dig(row, column, cells=self._cells) for column in columns]
            if target in self._unseen and any(value is not ABSENT for value in found):
                self._unseen.discard(target)
            found = [value for value in found if value is not ABSENT and value is not None]
            value = (found[0] if found else None) if len(columns) == 1 else self._merged(target, found)
        return self._opened(target, value) if self._cells and isinstance(value, str) else value

    def _merged(self, target: str, found: list[Any]) -> Any:
        if target == "tags":
            return [tag for value in found for tag in values.tag_names(self._opened("tags", value))]
        return found or None

    def _opened(self, target: str, value: Any) -> Any:
        """A cell's JSON, where the target is one that may hold some; ids with commas between them as a list."""
        if not self._cells or target not in _JSON_CELLS or not isinstance(value, str):
            return value
        if value.lstrip()[:1] in ("[", "{"):
            try:
                return strict_json.parse(value)
            except DatasetError as error:
                error.message = f"{target}: {error.message}"
                raise
        if target == "relevant":
            return [part for part in (p.strip() for p in value.split(",")) if part]
        return value

    def _column(self, row: Mapping[str, Any], target: str, column: str) -> Any:
        value = dig(row, column, cells=self._cells)
        if value is ABSENT:
            raise no_column(column, target, row, "")
        if value is None and self._sparse:
            raise DatasetError(f"column {shown(column)} for {target} is empty here", hint="fill it in")
        return value

    def _named(self, row: Mapping[str, Any], target: str, plan: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """The inputs or metadata of a row: an object, columns by name, or both."""
        found: dict[str, Any] = {}
        columns = self._fields.columns
        if target in columns or (target in row and not (target == "inputs" and self._maps_inputs)):
            if target == "inputs" and target in columns:
                found = values.mapping(self._opened(target, self._column(row, target, columns[target][0])), target)
            else:
                found = values.mapping(self._take(row, target), target)
        for name, column in plan:
            value = row[column]
            if value is not None or not self._sparse:
                _add(found, target, name, value)
        for name, column in (self._inputs if target == "inputs" else self._metadata).items():
            if target == "inputs":
                _add(found, target, name, self._column(row, f"inputs.{name}", column))
            elif (value := dig(row, column, cells=self._cells)) is not ABSENT:
                self._unseen.discard(f"metadata.{name}")
                if value is not None or not self._sparse:
                    _add(found, target, name, value)
        return found

    def _plan(self, row: Mapping[str, Any]) -> _Plan:
        keys = tuple(row)
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:  # rows of ever new keys must not fill the memory
                self._plans.clear()
            plan = self._plans[keys] = self._make_plan(keys)
            if len(self._seen_columns) < 1000:
                self._seen_columns.update(dict.fromkeys(keys))
        return plan

    def _make_plan(self, keys: tuple[str, ...]) -> _Plan:
        taken = {*RESERVED, *self._fields.roots(keys)}
        metadata = _dotted(keys, "metadata", taken)
        if self._maps_inputs:
            return _Plan((), metadata)
        inputs = _dotted(keys, "inputs", taken)
        rest = [k for k in keys if k not in taken and not k.startswith(("inputs.", "metadata."))]
        if "inputs" not in keys and not inputs:
            return _Plan(tuple((key, key) for key in rest), metadata)
        for key in rest:
            close = difflib.get_close_matches(key, RESERVED, n=1, cutoff=0.8)
            if close:
                hint = f"did you mean {close[0]!r}? To leave the column out, map inputs with fields"
                raise DatasetError(f"no such part of a case: {shown(key)}", hint=hint)
        return _Plan(inputs, metadata)


def _dotted(keys: tuple[str, ...], target: str, taken: set[str]) -> tuple[tuple[str, str], ...]:
    prefix = target + "."
    return tuple((k.removeprefix(prefix), k) for k in keys if k.startswith(prefix) and k != prefix and k not in taken)


def _add(found: dict[str, Any], target: str, name: str, value: Any) -> None:
    if name in found:
        raise DatasetError(f"{target}.{shown(name)} is given twice", hint="keep one of them")
    found[name] = value


def content(case: Case) -> str:
    """Canonical JSON of all a case says: the same from every file format, and without its place."""
    contexts = [[c.text, c.id, c.score] for c in case.contexts]
    return canonical(
        [case.id, case.inputs, case.expected, contexts, case.relevant, case.tags, case.group, case.metadata]
    )


def _derived_id(
    inputs: Any, expected: Any, contexts: tuple[Context, ...], relevant: Any, tags: Any, group: Any, metadata: Any
) -> str:
    case = Case("", inputs, expected, contexts, relevant, tags, group, metadata)
    return hashlib.sha256(content(case).encode()).hexdigest()[:12]


def place(where: str) -> str:
    """`line 3` from `file:3`, and `row 3` from `file:row 3`."""
    last = where.rpartition(":")[2]
    return f"line {last}" if last.isdigit() else last
