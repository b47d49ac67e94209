"""Which values a field of calls must have to be chosen: one, one of several, or none of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NO_VALUE = "(none)"


@dataclass(frozen=True, slots=True)
class Among:
    """One of `values`; with `excluded`, none of them. The empty text is having no value."""

    values: tuple[str, ...]
    excluded: bool = False


Condition = str | Among
Where = Mapping[str, str | Iterable[str] | Among] | Iterable[str]
"""What callers write: `{"team": "search"}`, `{"team": ["search", "sales"]}`, or `["team=search,sales"]`."""


def holds(wanted: Condition, value: str) -> bool:
    """True where a field with `value` is as wanted."""
    return value == wanted if isinstance(wanted, str) else (value in wanted.values) != wanted.excluded


def in_words(name: str, wanted: Condition) -> str:
    """`team = search or sales`, `team is not (none)`."""
    values = (wanted,) if isinstance(wanted, str) else wanted.values
    is_not = isinstance(wanted, Among) and wanted.excluded
    return f"{name} {'is not' if is_not else '='} {' or '.join(value or NO_VALUE for value in values)}"


def as_data(wanted: Condition) -> str | list[str] | dict[str, list[str]]:
    """For JSON: a text, a list of those allowed, or `{"not": […]}`."""
    if isinstance(wanted, str):
        return wanted
    return {"not": list(wanted.values)} if wanted.excluded else list(wanted.values)
