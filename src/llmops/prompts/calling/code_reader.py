"""Reads the syntax tree of Python code: what its names are bound to, and where they are used."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmops.prompts.calling.scopes import Binding, Known, Place, Scope, Use

FUNCTION = "load_prompt"
_FOREIGN = frozenset(["langchain", "langchain_classic", "langchain_community", "langchain_core", "mlflow"])
"""Libraries with a `load_prompt` of their own, which takes other references."""
_ANY_TIME: Place = ((ast.Pass(), ""),)
"""The place of what a function binds outside itself: whenever it is called, so it never surely comes before a use."""


class Reader(ast.NodeVisitor):
    """Reads a module: fills its scopes, and keeps the uses of names, the calls and the attributes set."""

    def __init__(self) -> None:
        self.module = self.scope = Scope("module")
        self.time = 0
        self.path: Place = ()
        self.uses: dict[ast.Name, Use] = {}
        self.calls: list[ast.Call] = []
        self.set: list[tuple[ast.Attribute, Binding]] = []
        self.star = False

    def bind(self, name: str, *values: ast.expr | Known | Scope) -> None:
        self.time += 1
        scope, path = self.scope.elsewhere.get(name), self.path
        if scope is not None:
            path = _ANY_TIME
        else:
            scope = self.scope
        scope.names.setdefault(name, []).append(Binding(values, self.time, path))

    def assign(self, target: ast.expr, *values: ast.expr) -> None:
        """Bind what is assigned to: names, attributes, and tuples of them item by item."""
        if isinstance(target, ast.Name):
            self.bind(target.id, *values)
        elif isinstance(target, ast.Attribute):
            self.visit(target.value)
            self.set.append((target, Binding(values, self.time, self.path)))
        elif isinstance(target, ast.Tuple | ast.List):
            rows = [_items(value) for value in values]
            same = all(len(row) == len(target.elts) for row in rows) and not _starred(target.elts)
            for place, inner in enumerate(target.elts):
                self.assign(inner, *([row[place] for row in rows] if same else ()))
        elif isinstance(target, ast.Starred):
            self.assign(target.value)
        else:
            self.visit(target)

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        outer, outer_path = self.scope, self.path
        self.scope = scope
        if scope.kind != "comprehension":
            self.path = ()
        yield
        self.scope, self.path = outer, outer_path

    def block(self, statements: Sequence[ast.AST], node: ast.AST, part: str) -> None:
        outer = self.path
        self.path = (*outer, (node, part))
        for statement in statements:
            self.visit(statement)
        self.path = outer

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.uses[node] = Use(self.scope, self.time, self.path)
        else:
            self.bind(node.id)

    def visit_Call(self, node: ast.Call) -> None:
        self.calls.append(node)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.assign(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self.assign(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self.assign(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        inner = self.scope
        while self.scope.kind == "comprehension" and self.scope.parent is not None:
            self.scope = self.scope.parent
        self.assign(node.target, node.value)
        self.scope = inner

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.visit(node.value)
            self.scope.returns.append(node.value)

    def visit_Global(self, node: ast.Global) -> None:
        self.scope.elsewhere.update(dict.fromkeys(node.names, self.module))

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        outer = self.scope.parent
        while outer is not None and outer.kind != "function":
            outer = outer.parent
        self.scope.elsewhere.update(dict.fromkeys(node.names, outer or self.module))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            self.bind(alias.asname or top, *(() if top in _FOREIGN else (Known.IMPORTED,)))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        foreign = (node.module or "").partition(".")[0] in _FOREIGN and not node.level
        for alias in node.names:
            known = Known.FUNCTION if alias.name == FUNCTION else Known.IMPORTED
            self.bind(alias.asname or alias.name, *(() if foreign else (known,)))
            self.star = self.star or (alias.name == "*" and not foreign)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.block(node.body, node, "body")
        self.block(node.orelse, node, "else")

    def visit_While(self, node: ast.While) -> None:
        self.block([node.test, *node.body], node, "body")
        self.block(node.orelse, node, "else")

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        outer = self.path
        self.path = (*outer, (node, "body"))
        self.assign(node.target, *_items(node.iter))
        self.path = outer
        self.block(node.body, node, "body")
        self.block(node.orelse, node, "else")

    visit_AsyncFor = visit_For

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        self.block(node.body, node, "body")
        for handler in node.handlers:
            self.block([handler], node, f"except {id(handler)}")
        self.block(node.orelse, node, "else")
        for statement in node.finalbody:
            self.visit(statement)

    visit_TryStar = visit_Try

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            self.block([case], node, f"case {id(case)}")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.bind(node.rest)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outside in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(outside)
        scope = Scope("class", self.scope, bases=node.bases)
        self.bind(node.name, scope)
        with self.within(scope):
            for statement in node.body:
                self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        scope = Scope("function", self.scope, is_property=bool(names & {"property", "cached_property"}))
        self._function(node.args, scope, is_method=self.scope.kind == "class" and "staticmethod" not in names)
        self.bind(node.name, scope)
        with self.within(scope):
            for statement in node.body:
                self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        scope = Scope("function", self.scope)
        self._function(node.args, scope, is_method=False)
        with self.within(scope):
            self.visit(node.body)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._comprehension(node.generators, node.elt)

    visit_SetComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, node.key, node.value)

    def _comprehension(self, generators: Sequence[ast.comprehension], *results: ast.expr) -> None:
        self.visit(generators[0].iter)
        with self.within(Scope("comprehension", self.scope)):
            for place, one in enumerate(generators):
                if place:
                    self.visit(one.iter)
                self.assign(one.target, *_items(one.iter))
                for condition in one.ifs:
                    self.visit(condition)
            for result in results:
                self.visit(result)

    def _function(self, arguments: ast.arguments, scope: Scope, *, is_method: bool) -> None:
        plain = [*arguments.posonlyargs, *arguments.args]
        defaults = dict(zip(reversed([a.arg for a in plain]), reversed(arguments.defaults), strict=False))
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if default is not None:
                defaults[argument.arg] = default
        for default in defaults.values():
            self.visit(default)
        owner = self.scope
        rest = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
        with self.within(scope):
            for place, argument in enumerate([*plain, *arguments.kwonlyargs, *rest]):
                if is_method and not place:
                    self.bind(argument.arg, owner)
                else:
                    self.bind(argument.arg, *([defaults[argument.arg]] if argument.arg in defaults else ()))


def _items(value: ast.expr) -> list[ast.expr]:
    """What a tuple, list or set written out holds; nothing when that isn't known."""
    if isinstance(value, ast.Tuple | ast.List | ast.Set) and not _starred(value.elts):
        return value.elts
    return []


def _starred(items: Sequence[ast.expr]) -> bool:
    return any(isinstance(item, ast.Starred) for item in items)
