"""Writes a Python module that tells type checkers which variables every prompt takes."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from llmops.prompts.inputs import Input

_WIDTH = 88
_LONGEST_NAME = 50
_MAX_INTEGER = 2**63  # type checkers don't read larger literals
_TYPES = {
    "array": "Sequence[object]",
    "boolean": "bool",
    "integer": "int",
    "null": "None",
    "number": "float",
    "object": "Mapping[str, object]",
    "string": "str",
}
_TAKEN = frozenset(
    ["LoadedPrompt", "Literal", "Mapping", "Message", "Never", "Path", "Protocol", "Sequence", "TypeAlias"]
)
_RESULT = "tuple[Message, ...]"
_ANY_MAPPING = "variables: Mapping[str, object] | None = None"

Inputs = Mapping[str, Input] | None

_HEAD = '''\
"""The prompts of this project, with the variables each takes."""

# Written by: {command}
# Don't change it: run that again when a prompt or its inputs have changed.
# fmt: off
# ruff: noqa

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import {typing}

import llmops
{message}

class LoadedPrompt(Protocol):
    """What every prompt has."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int | None: ...

    @property
    def label(self) -> str: ...

    @property
    def route(self) -> str: ...

    @property
    def reference(self) -> str: ...

    @property
    def content_id(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def backend(self) -> object: ...

    @property
    def parameters(self) -> Mapping[str, object]: ...

    @property
    def tools(self) -> Sequence[Mapping[str, object]]: ...

    @property
    def output_schema(self) -> Mapping[str, object] | None: ...
'''


def typed_module(prompts: Mapping[str, Inputs], *, command: str) -> str:
    """The text of a module with a `load_prompt` that knows `prompts`: declared inputs by reference.

    For a type checker its `load_prompt` takes no other reference, and `render` takes no other variables than those
    declared, each of its type, and all that are required; what runs is `llmops.load_prompt`. A prompt that declares
    no inputs (None) takes any. A prompt with an input that can't be the name of a parameter (`class`, `__x`) takes
    its variables as one mapping, unchecked. `command` is what wrote the module, for a comment in it.
    """
    classes = _classes(prompts)
    first: dict[str, str] = {}
    known: dict[str, list[str]] = {}
    for name, (render, references) in classes.items():
        known.setdefault(first.setdefault(render, name), []).extend(references)
    bodies = [f"class {name}(LoadedPrompt, Protocol):\n{render}" for render, name in first.items()]
    # Checkers compare signatures pairwise, so prompts that take the same have only other names for one class.
    aliases = [f"{name}: TypeAlias = {first[render]}\n" for name, (render, _) in classes.items() if name not in known]
    parts = [_head(command, len(known), bool(aliases)), *bodies, "".join(aliases), _loaders(known)]
    return "\n\n".join(part for part in parts if part)


def _head(command: str, signatures: int, has_aliases: bool) -> str:
    typing = {0: ["Never"], 1: ["Literal", "cast"]}.get(signatures, ["Literal", "overload"])
    aliases = ["TypeAlias"] if has_aliases else []
    return _HEAD.format(
        message="from llmops.types import Message\n" if signatures else "",
        command="".join(c if c.isprintable() else "�" for c in command),
        typing=", ".join(sorted(["Protocol", *typing, *aliases], key=lambda name: (name.islower(), name))),
    )


def _classes(prompts: Mapping[str, Inputs]) -> dict[str, tuple[str, list[str]]]:
    """A `render` and references, by class name: a class for each prompt, more where its versions differ."""
    groups: dict[tuple[str, str], list[str]] = {}
    for reference in sorted(prompts, key=_order):
        groups.setdefault((reference.partition("@")[0], _render(prompts[reference])), []).append(reference)
    classes: dict[str, tuple[str, list[str]]] = {}
    for (_, render), references in groups.items():
        classes[_class_name(references[0], classes)] = (render, references)
    return classes


def _order(reference: str) -> tuple[str, int, int, str]:
    """A prompt's working file, then its labels, then its releases as they were made."""
    name, at, version = reference.partition("@")
    if version.isascii() and version.isdigit():
        return name, 2, len(version.lstrip("0")), version
    return name, len(at), 0, version


def _class_name(reference: str, taken: Iterable[str]) -> str:
    words = re.split(r"[\W_]+", unicodedata.normalize("NFKC", reference))
    name = unicodedata.normalize("NFKC", "".join(word[:1].upper() + word[1:] for word in words))
    if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN:
        name = f"Prompt{name}"
    if not name.isidentifier():
        name = "Prompt" + re.sub(r"\W", "", name, flags=re.ASCII).removeprefix("Prompt")
    name = name[:_LONGEST_NAME]
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _render(inputs: Inputs) -> str:
    if inputs is None:
        return _function("render", ["self", _ANY_MAPPING, "/", "**values: object"], _RESULT, indent="    ")
    optional = {name: not one.required or one.has_default for name, one in inputs.items()}
    if not all(map(_is_parameter, inputs)):
        mapping = [_ANY_MAPPING] if all(optional.values()) else ["variables: Mapping[str, object]"]
        return _function("render", ["self", *mapping, "/"], _RESULT, indent="    ")
    names = sorted(inputs, key=lambda name: (optional[name], name))
    parameters = [_parameter(name, inputs[name], " = ..." if optional[name] else "") for name in names]
    return _function("render", ["self", *["*"][: len(names)], *parameters], _RESULT, indent="    ")


def _is_parameter(name: str) -> bool:
    """False when a name can't be passed as `name=…` to a method: Python reads it as something else."""
    plain = name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name
    return plain and not name.startswith("__") and name != "self"


def _parameter(name: str, one: Input, default: str) -> str:
    choices = _choices(one)
    if choices in ([], ["None"]):
        return f"{name}: {'None' if choices else _type(one)}{default}"
    after = f" | None{default}" if "None" in choices else default
    return _literal(f"{name}: ", [choice for choice in choices if choice != "None"], after, " " * 8)


def _choices(one: Input) -> list[str]:
    """The values of an enum as code; none when there is no enum, or a value that can't be in a `Literal`."""
    values = [value for value in one.enum or () if not one.problem(value)]
    if not all(_is_literal(value) for value in values):
        return []
    return list(dict.fromkeys(_quoted(value) if isinstance(value, str) else repr(value) for value in values))


def _is_literal(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) < _MAX_INTEGER
    return value is None or isinstance(value, str)


def _type(one: Input) -> str:
    items = f"Sequence[{_union(one.items, _TYPES)}]" if one.items else "Sequence[object]"
    return _union(one.types, {**_TYPES, "array": items})


def _union(names: Sequence[str], types: Mapping[str, str]) -> str:
    parts = [types.get(name, "object") for name in names]
    if not parts or "object" in parts:
        return "object"
    kept = [part for part in dict.fromkeys(parts) if part != "int" or "float" not in parts]
    return " | ".join(sorted(kept, key=lambda part: part == "None"))


def _quoted(text: str) -> str:
    """`text` as code, in the quotes that need fewer escapes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    escapes = {"'": "'", '"': '"', quote: f"\\{quote}"}
    return quote + "".join(escapes[c] if c in escapes else repr(c)[1:-1] for c in text) + quote


def _literal(before: str, values: Sequence[str], after: str, indent: str) -> str:
    """`before` and a `Literal` of `values`, one on each line when the line would be too long."""
    line = f"{before}Literal[{', '.join(values)}]{after}"
    if len(indent) + len(line) < _WIDTH:
        return line
    last = "," if len(values) > 1 else ""
    return f"{before}Literal[\n{indent}    " + f",\n{indent}    ".join(values) + f"{last}\n{indent}]{after}"


def _function(name: str, parameters: Sequence[str], result: str, *, indent: str = "", body: str = " ...") -> str:
    listed = parameters[0]
    if len(parameters) > 1:
        listed = "".join(f"\n{indent}    {parameter}," for parameter in parameters) + f"\n{indent}"
    return f"{indent}def {name}({listed}) -> {result}:{body}\n"


def _loaders(classes: Mapping[str, Sequence[str]]) -> str:
    """`load_prompt`: one signature for each class, and what runs."""
    passed_on = "llmops.load_prompt(reference, root=root, key=key, reload=reload)"
    known = {
        name: _literal("reference: ", [_quoted(reference) for reference in references], "", "    ")
        for name, references in classes.items()
    }
    if len(known) == 1:  # a single signature can't be an overload
        [(name, reference)] = known.items()
        return _loader(reference, name, f'\n    loaded = {passed_on}\n    return cast("{name}", loaded)')
    runs = _loader("reference: str" if known else "reference: Never", "object", f"\n    return {passed_on}")
    return "\n\n".join([*(f"@overload\n{_loader(reference, name)}" for name, reference in known.items()), runs])


def _loader(reference: str, result: str, body: str = " ...") -> str:
    options = ("root: str | Path | None = None", "key: str | None = None", "reload: bool = False")
    return _function("load_prompt", [reference, "*", *options], result, body=body)
