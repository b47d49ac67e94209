"""Where Python code loads and renders prompts, and whether it passes the variables they declare."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.errors import InputError, PromptError, did_you_mean
from llmops.prompts.calling.code_reader import FUNCTION, Reader
from llmops.prompts.calling.code_values import Load, Render, Values
from llmops.prompts.calling.python_code import SUFFIXES, Code, python_files, read_code
from llmops.prompts.inputs import Input
from llmops.prompts.problems import Problem


@dataclass(frozen=True, slots=True)
class Caller:
    """A place that renders a prompt, or that loads one which is never seen rendered.

    `reference` is as written (`docs/answer@production`); `where` is `file:line` (in a notebook
    `file.ipynb:cell 3:line 2`). `given` holds the variables seen to be passed, None when none can be seen: there is
    no rendering, or it passes on a mapping made elsewhere. `open` means that such a mapping may pass more.
    """

    reference: str
    where: str
    given: frozenset[str] | None
    open: bool


def find_callers(root: Path, files: Iterable[Path] | None = None) -> list[Caller]:
    """The callers of prompts in `files`, or in all Python files and notebooks under `root`, in order of the files.

    Code is read, never imported. What can't be read or parsed, and references that aren't written out, are left
    out, and so are calls with another `root=`. Assigned prompts are followed within a file.
    """
    top = root.absolute()
    names = python_files(top) if files is None else (os.fspath(file.absolute()) for file in files)
    needle = FUNCTION.encode()
    found: dict[Caller, None] = {}
    for name in names:
        if name.endswith(SUFFIXES) and (code := read_code(name, _shown(name, top), needle)):
            found.update(dict.fromkeys(_callers(code)))
    return list(found)


def _shown(name: str, top: Path) -> str:
    path = Path(name)
    text = path.relative_to(top).as_posix() if path.is_relative_to(top) else str(path)
    return "".join(c if c.isprintable() else "�" for c in text)


def _callers(code: Code) -> list[Caller]:
    try:
        reader = Reader()
        reader.visit(code.tree)
        values = Values(reader)
        return [caller for _, caller in sorted(_found(reader, values, code), key=lambda pair: pair[0])]
    except RecursionError:  # thousands of nested expressions: not code that somebody wrote
        return []


def _found(reader: Reader, values: Values, code: Code) -> Iterator[tuple[tuple[int, int], Caller]]:
    """The callers with their positions in the code."""
    loads: dict[Load, None] = {}
    rendered: set[Load] = set()
    for call in reader.calls:
        loads.update(dict.fromkeys(v for v in values.of(call) if isinstance(v, Load)))
        for render in values.of(call.func):
            if isinstance(render, Render):
                rendered.add(render.load)
                for reference in render.load.references:
                    yield _position(call), Caller(reference, code.where(call.lineno), *_given(call))
    for load in loads:
        if load not in rendered:
            for reference in load.references:
                yield _position(load.call), Caller(reference, code.where(load.call.lineno), None, False)


def _position(call: ast.Call) -> tuple[int, int]:
    return call.end_lineno or call.lineno, call.end_col_offset or call.col_offset


def _given(call: ast.Call) -> tuple[frozenset[str] | None, bool]:
    """The names of variables a call passes, and whether it may pass more."""
    passed = {name for part in (*call.args, *call.keywords) for name in _passed(part)}
    names = frozenset(name for name in passed if name is not None)
    more = None in passed
    return (None if more and not names else names), more


def _passed(part: ast.AST) -> Iterator[str | None]:
    """The names in an argument, and None when there may be others."""
    match part:
        case ast.keyword(arg=str(name)):
            yield name
        case ast.keyword(value=inner):
            yield from _passed(inner)
        case ast.Constant(value=None):
            pass
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value
                else:
                    yield from _passed(value) if key is None else (None,)
        case ast.Call(func=ast.Name(id="dict"), args=args, keywords=keywords):
            for one in (*args, *keywords):
                yield from _passed(one)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            yield from _passed(left)
            yield from _passed(right)
        case _:
            yield None


def check_callers(callers: Iterable[Caller], find: Callable[[str], Mapping[str, Input] | None]) -> list[Problem]:
    """What is wrong with `callers`: a variable the prompt doesn't declare, or a required one that isn't passed.

    `find` gives the declared inputs of a reference, None when the prompt declares none: then any are allowed. When
    it raises `NotFoundError` or another `InputError`, that is a problem of the caller; a `PromptError` isn't, since
    the prompt's file is at fault.
    """
    problems: list[Problem] = []
    known: dict[str, Mapping[str, Input] | InputError | None] = {}
    for caller in callers:
        if caller.reference not in known:
            try:
                known[caller.reference] = find(caller.reference)
            except InputError as error:
                known[caller.reference] = error
        inputs = known[caller.reference]
        if isinstance(inputs, InputError):
            if not isinstance(inputs, PromptError):
                problems.append(Problem(caller.where, inputs.message, inputs.hint, "caller"))
        elif inputs is not None:
            problems += _check(caller, inputs)
    return problems


def _check(caller: Caller, inputs: Mapping[str, Input]) -> Iterator[Problem]:
    if caller.given is None:
        return
    prompt = f"prompt {_printable(caller.reference)}"
    for name in sorted(caller.given - inputs.keys()):
        hint = did_you_mean(name, inputs)
        yield Problem(caller.where, f"{prompt} has no variable {name!r:.80}", hint, "caller")
    if caller.open:
        return
    for name, one in inputs.items():
        if name not in caller.given and one.required and not one.has_default:
            hint = f"pass {name}=… to render()"
            yield Problem(caller.where, f"{prompt} needs {name!r}, which isn't passed", hint, "caller")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text[:80])
