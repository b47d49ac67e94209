"""Plain data checked while it becomes a dataclass: every mistake names the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args

T = TypeVar("T")
Check = Callable[[Any], Any]


class ShapeError(ValueError):
    """Plain data that isn't the thing it should be."""


def build(made: type[T], checks: Mapping[str, Check], data: Any) -> T:
    """Fields this version doesn't know are left out: a newer version wrote them."""
    values = {}
    for name, value in mapping(data).items():
        check = checks.get(name)
        if check is not None:
            try:
                values[name] = check(value)
            except ShapeError as error:
                raise ShapeError(f"{name}: {error}" if "is " in str(error) else str(error)) from None
    try:
        return made(**values)
    except TypeError:
        needed = {e.name for e in fields(made) if e.default is MISSING and e.default_factory is MISSING}  # type: ignore[arg-type]
        raise ShapeError(f"lacks {', '.join(sorted(needed - set(values)))}") from None


def is_a(kind: type | tuple[type, ...], what: str, *, none: bool = False) -> Check:
    def check(value: Any) -> Any:
        if (value is None and none) or (isinstance(value, kind) and (kind is bool or value is not True)):
            return value
        raise ShapeError(f"is {type(value).__name__}, not {what}")

    return check


def one_of(literal: Any) -> Check:
    known = get_args(literal)

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in known:
            return value
        raise ShapeError(f"is none of {', '.join(known)}")

    return check


def many(build: Check) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise ShapeError(f"is {type(value).__name__}, not a list")
        return tuple(map(build, value))

    return check


def of(made: type[T], checks: Mapping[str, Check]) -> Callable[[Any], T]:
    return lambda value: build(made, checks, value)


def mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ShapeError(f"is {type(value).__name__}, not an object")


def object_with(known: Mapping[str, Check]) -> Check:
    """An object of anything, where what we read ourselves has its shape."""

    def check(value: Any) -> Any:
        for name in known.keys() & mapping(value).keys():
            try:
                known[name](value[name])
            except ShapeError as error:
                raise ShapeError(f"{name} {error}") from None
        return value

    return check


TEXT = is_a(str, "text")
TEXT_OR_NONE = is_a(str, "text", none=True)
INT = is_a(int, "a whole number")
INT_OR_NONE = is_a(int, "a whole number", none=True)
NUMBER_OR_NONE = is_a((int, float), "a number", none=True)
BOOL = is_a(bool, "true or false")
NUMBER = is_a((int, float), "a number")
