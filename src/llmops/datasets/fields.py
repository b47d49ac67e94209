"""`fields:` — which column of a file holds which part of a case."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.datasets import strict_json
from llmops.datasets.strict_json import printable, shown
from llmops.errors import DatasetError, did_you_mean

RESERVED = ("id", "inputs", "expected", "contexts", "relevant", "tags", "group", "metadata")
OPTIONAL = ("expected", "contexts", "relevant", "tags", "group", "metadata")
_PARTS = ("inputs", "metadata")
_MANY = ("tags", "expected")


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


@dataclass(frozen=True)
class Fields:
    """Parsed `fields`: columns by target, and the place they were written at."""

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = ""

    def part(self, target: str) -> dict[str, str]:
        """Names and columns of the dotted targets below `target`, such as `inputs.question`."""
        prefix = target + "."
        return {t.removeprefix(prefix): c[0] for t, c in self.columns.items() if t.startswith(prefix)}

    @property
    def maps_inputs(self) -> bool:
        return "inputs" in self.columns or bool(self.part("inputs"))

    def roots(self, keys: Collection[str]) -> set[str]:
        """The columns, among `keys`, that mapped paths start with: none of them is an input by default."""
        every = {column for columns in self.columns.values() for column in columns}
        return {column if column in keys else column.partition(".")[0] for column in every}


def parse_fields(fields: Mapping[str, Any] | None, where: str = "") -> Fields:
    """Check targets and columns. Raises `DatasetError` at `where`, with the closest target for a mistyped one."""
    if fields is None:
        return Fields(where=where)
    if not isinstance(fields, Mapping):
        hint = "write them as target: column"
        raise DatasetError(f"fields is {shown(fields)}, not a mapping", where=where, hint=hint)
    columns: dict[str, tuple[str, ...]] = {}
    for target, column in fields.items():
        _check_target(target, where)
        columns[target] = _columns(target, column, where)
    return Fields(columns, where)


def _check_target(target: Any, where: str) -> None:
    if isinstance(target, str):
        head, dot, name = target.partition(".")
        if target in RESERVED or (dot and name and head in _PARTS):
            return
    known = [*RESERVED, "inputs.<name>", "metadata.<name>"]
    raise DatasetError(
        f"fields has no target {shown(target)}", where=where, hint=did_you_mean(printable(str(target)[:60]), known)
    )


def _columns(target: str, column: Any, where: str) -> tuple[str, ...]:
    if isinstance(column, str) and column:
        return (column,)
    if target in _MANY and isinstance(column, (list, tuple)) and column:
        if all(isinstance(one, str) and one for one in column):
            return tuple(column)
    elif isinstance(column, (list, tuple)):
        hint = "only tags and expected take a list; map each input as inputs.<name>: column"
        raise DatasetError(f"fields maps {target!r} to a list", where=where, hint=hint)
    raise DatasetError(f"fields maps {target!r} to {shown(column)}", where=where, hint="write the name of a column")


def dig(value: Any, path: str, *, cells: bool = False) -> Any:
    """The value at a dotted path, or ABSENT. An exact key wins; numbers index lists; JSON in `cells` is opened."""
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        head, dot, rest = path.partition(".")
        return dig(value[head], rest, cells=cells) if dot and head in value else ABSENT
    if cells and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return dig(strict_json.parse(value), path)
        except DatasetError:
            return ABSENT
    if isinstance(value, list):
        head, dot, rest = path.partition(".")
        if head.isdecimal() and len(head) < 10 and int(head) < len(value):
            item = value[int(head)]
            return dig(item, rest, cells=cells) if dot else item
    return ABSENT


def no_column(column: str, target: str, known: Iterable[str], where: str) -> DatasetError:
    """The error for a mapped column that isn't there."""
    names = [printable(name[:60]) for name in known][:50]
    message = f"no column {shown(column)} for {target}"
    return DatasetError(message, where=where, hint=did_you_mean(column, names))
