"""What expressions of Python code may hold, as far as prompts are concerned."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmops.prompts.calling.code_reader import FUNCTION, Reader
from llmops.prompts.calling.scopes import Binding, Known, Scope


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """A call of `load_prompt`, and the references it may be given."""

    call: ast.Call
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Render:
    """The `render` of a loaded prompt, called or not."""

    load: Load


Value = str | Load | Render | Known | Scope
"""A text, a loaded prompt, its `render`, what an import gave, a class (or an instance of it) or a function."""


class Values:
    """Works out what the expressions that `reader` has read may hold. Each is worked out once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._known: dict[ast.expr, tuple[Value, ...]] = {}
        for target, binding in reader.set:
            for value in self.of(target.value):
                if isinstance(value, Scope):
                    value.attributes.setdefault(target.attr, []).append(binding)
        self._known.clear()  # what was worked out before all attributes were known

    def of(self, node: ast.expr) -> tuple[Value, ...]:
        """Everything known that `node` may hold; it may hold other things as well."""
        if node not in self._known:
            self._known[node] = ()  # for a name that is assigned from itself
            self._known[node] = tuple(dict.fromkeys(self._work_out(node)))
        return self._known[node]

    def _all(self, nodes: Iterable[ast.expr]) -> Iterator[Value]:
        for node in nodes:
            yield from self.of(node)

    def _work_out(self, node: ast.expr) -> Iterator[Value]:
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.Name():
                yield from self._name(node)
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                yield from self.of(value)
            case ast.IfExp(body=body, orelse=orelse):
                yield from self._all((body, orelse))
            case ast.BoolOp(values=values):
                yield from self._all(values)
            case ast.Attribute(value=value, attr=attribute):
                for owner in self.of(value):
                    yield from self._attribute(owner, attribute)
            case ast.Call(func=function):
                for called in self.of(function):
                    yield from self._call(called, node)

    def _name(self, node: ast.Name) -> Iterator[Value]:
        use = self.reader.uses.get(node)
        bindings = use.bindings(node.id) if use else []
        if not bindings and node.id == FUNCTION and self.reader.star:
            yield Known.FUNCTION
        yield from self._bound(bindings)

    def _bound(self, bindings: Iterable[Binding]) -> Iterator[Value]:
        for binding in bindings:
            for value in binding.values:
                if isinstance(value, ast.expr):
                    yield from self.of(value)
                else:
                    yield value

    def _attribute(self, owner: Value, name: str) -> Iterator[Value]:
        if owner is Known.IMPORTED:
            yield Known.FUNCTION if name == FUNCTION else Known.IMPORTED
        elif isinstance(owner, Load):
            if name == "render":
                yield Render(owner)
        elif isinstance(owner, Scope) and owner.kind == "class":
            for value in self._bound(_members(owner, name, self, set())):
                if isinstance(value, Scope) and value.is_property:
                    yield from self._all(value.returns)
                else:
                    yield value

    def _call(self, called: Value, call: ast.Call) -> Iterator[Value]:
        if called is Known.FUNCTION:
            yield Load(call, tuple(self._references(call)))
        elif isinstance(called, Scope) and called.kind == "class":
            yield called
        elif isinstance(called, Scope):
            yield from self._all(called.returns)

    def _references(self, call: ast.Call) -> Iterator[str]:
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        root = named.get("root")
        if root is not None and not (isinstance(root, ast.Constant) and root.value is None):
            return  # another store
        first = call.args[0] if call.args else named.get("reference")
        if first is not None:
            yield from (value for value in self.of(first) if isinstance(value, str))


def _members(owner: Scope, name: str, values: Values, seen: set[Scope]) -> list[Binding]:
    """What a class has under `name`, itself or from the classes in the same file that it extends."""
    found = [*owner.names.get(name, ()), *owner.attributes.get(name, ())]
    seen.add(owner)
    if not found:
        for base in (value for node in owner.bases for value in values.of(node)):
            if isinstance(base, Scope) and base not in seen:
                found += _members(base, name, values, seen)
    return found
