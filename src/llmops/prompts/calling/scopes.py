"""Which names of Python code are bound to what, and which bindings a use of a name may see."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Step = tuple[ast.AST, str]
Place = tuple[Step, ...]
"""Where a statement stands in its function: from outside to inside, each branching statement and which part of it."""

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_EXCLUSIVE = (ast.If, ast.Match)


class Known(Enum):
    """What an import binds: the function that loads prompts, or something it may be an attribute of."""

    FUNCTION = "function"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """A name gets one of `values`; none of them is known when it is empty. `time` counts bindings in source order."""

    values: tuple[ast.expr | Known | Scope, ...]
    time: int
    path: Place


@dataclass(slots=True, eq=False)
class Scope:
    """The names of a module, class, function or comprehension.

    A class has the `bases` written for it and the `attributes` that were set on it or its instances; a function
    what it `returns`, and whether reading it as an attribute already calls it (`is_property`).
    """

    kind: Literal["module", "class", "function", "comprehension"]
    parent: Scope | None = None
    names: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: dict[str, Scope] = field(default_factory=dict)
    bases: Sequence[ast.expr] = ()
    attributes: dict[str, list[Binding]] = field(default_factory=dict)
    returns: list[ast.expr] = field(default_factory=list)
    is_property: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """Where a name is used: its scope, the bindings made before it in the source, and its place."""

    scope: Scope
    time: int
    path: Place

    def bindings(self, name: str) -> list[Binding]:
        """The bindings of `name` that may hold here."""
        scope: Scope | None = self.scope
        direct = True  # nothing but comprehensions between the use and the scope
        while scope is not None:
            found = scope.names.get(name)
            if found and (direct or scope.kind != "class"):
                return self._reaching(found) if direct else found
            direct = direct and scope.kind == "comprehension"
            scope = scope.parent
        return []

    def _reaching(self, bindings: list[Binding]) -> list[Binding]:
        before = [b for b in bindings if b.time <= self.time and not _exclude(b.path, self.path)]
        sure = [b for b in before if self.path[: len(b.path)] == b.path]
        last = sure[-1] if sure else Binding((), 0, ())
        # A loop goes round: what its later lines bind is seen too, unless the loop binds the name anew first.
        inside = [(node, part) for node, part in self.path[len(last.path) :] if isinstance(node, _LOOPS)]
        again = [b for b in bindings if b not in before and any(step in b.path for step in inside)]
        return [b for b in before if b.time >= last.time] + again


def _exclude(one: Place, other: Place) -> bool:
    """True when only one of two places is reached, such as the two branches of an `if`."""
    for (node, part), (other_node, other_part) in zip(one, other, strict=False):
        if node is not other_node:
            return False
        if part != other_part:
            return isinstance(node, _EXCLUSIVE)
    return False
