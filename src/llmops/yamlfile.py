"""YAML read safely and with line numbers.

Scalars follow YAML 1.2's core schema, so `no`, `on`, `12:30` and `2024-01-01` stay the text the author wrote.
Tags are refused, duplicate keys are errors, and anchors can't blow up memory.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from llmops.errors import InputError
from llmops.secrets import longest_first, looks_secret
from llmops.variables import fill_in

Node = Any  # yaml.MappingNode, SequenceNode or ScalarNode; the stubs don't say that each has an `id`

MAX_NODES = 2_000_000
MAX_DEPTH = 100
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Data from a YAML text, and the line each part of it stands on."""

    data: Any
    name: str
    lines: Mapping[Path, int]
    overrides: Mapping[Path, str] = field(default_factory=dict)  # values given elsewhere, by path
    secrets: tuple[str, ...] = ()  # values from the environment that must not be shown

    def line(self, path: Path) -> int:
        """Line (from 1) of the value at `path`, or of the nearest parent that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: Path = ()) -> str:
        """`file:line` of the value at `path`, or the override that gave it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return f"{self.name}, --set {self.overrides[path[:length]]}"
        return f"{self.name}:{self.line(path)}"


def load_yaml(text: str, *, name: str, first_line: int = 1, error: type[InputError] = InputError) -> Document:
    """Parse one YAML document. Raises `error` with `name:line` on anything that isn't plain data."""
    import yaml

    try:
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        reader = _Reader(name, first_line, error)
        data = None if node is None else reader.read(node, (), 0)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        last = text.rstrip("\n").count("\n")  # what is never closed is reported at the end of the file
        line = first_line + min(mark.line if mark else 0, last)
        raise error(f"not valid YAML: {problem.problem or problem.context}", where=f"{name}:{line}") from None
    except yaml.YAMLError as problem:  # reader errors: characters YAML doesn't allow
        line = first_line + text.count("\n", 0, getattr(problem, "position", 0) or 0)
        raise error(f"not valid YAML: {str(problem).splitlines()[0]}", where=f"{name}:{line}") from None
    except RecursionError:
        raise error("nested too deeply", where=f"{name}:{first_line}") from None
    except UnicodeEncodeError:
        raise error("holds half of a surrogate pair, which isn't text", where=f"{name}:{first_line}") from None
    return Document(data, name, reader.lines)


@cache
def _loader() -> Any:
    """PyYAML's loader in C, when there is one, that leaves it to `_Reader` what a plain scalar means."""
    import yaml

    tags = {
        yaml.ScalarNode: "tag:yaml.org,2002:str",
        yaml.MappingNode: "tag:yaml.org,2002:map",
        yaml.SequenceNode: "tag:yaml.org,2002:seq",
    }
    base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

    def resolve(self: Any, kind: Any, value: Any, implicit: Any) -> str:
        return tags[kind]

    return type("Loader", (base,), {"resolve": resolve})


class _Reader:
    def __init__(self, name: str, first_line: int, error: type[InputError]) -> None:
        self.name = name
        self.first_line = first_line
        self.error = error
        self.lines: dict[Path, int] = {}
        self.nodes = 0

    def fail(self, node: Node, message: str) -> InputError:
        return self.error(message, where=f"{self.name}:{node.start_mark.line + self.first_line}")

    def read(self, node: Node, path: Path, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.fail(node, "too many values once its anchors are expanded")
        if depth > MAX_DEPTH:
            raise self.fail(node, f"nested more than {MAX_DEPTH} deep")
        self.lines.setdefault(path, node.start_mark.line + self.first_line)
        if node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!"):
            raise self.fail(node, f"tags such as {node.tag!r} aren't supported")
        if node.id == "mapping":
            return self.mapping(node, path, depth)
        if node.id == "sequence":
            return [self.read(child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
        quoted = bool(getattr(node, "style", None)) or node.tag == "!"
        return node.value if quoted else self.scalar(node)

    def scalar(self, node: Node) -> Any:
        value: str = node.value
        if value in _WORDS:
            return _WORDS[value]
        if _INT.fullmatch(value):
            if len(value) > 1000:
                raise self.fail(node, "a number of more than 1,000 digits")
            return int(value, 0) if value[:2] in ("0o", "0x") else int(value)
        return float(value) if _FLOAT.fullmatch(value) else value

    def mapping(self, node: Node, path: Path, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in self.pairs(node, depth):
            if key_node.id != "scalar":
                raise self.fail(key_node, "a key must be a single value")
            key = key_node.value
            if key in found:
                raise self.fail(key_node, f"{key!r} is written twice")
            found[key] = self.read(value_node, (*path, key), depth + 1)
            self.lines[(*path, key)] = key_node.start_mark.line + self.first_line
        return found

    def pairs(self, node: Node, depth: int) -> Iterator[tuple[Node, Node]]:
        """Key and value nodes; a merge key (`<<`) adds those of the mapping it points at, unless written here."""
        if depth > MAX_DEPTH:
            raise self.fail(node, f"nested more than {MAX_DEPTH} deep")
        if all(k.value != "<<" for k, _ in node.value):
            yield from node.value
            return
        own = [(k, v) for k, v in node.value if not (k.value == "<<" and v.id == "mapping")]
        written = {k.value for k, _ in own if k.id == "scalar"}
        for key_node, value_node in node.value:
            if key_node.value == "<<" and value_node.id == "mapping":
                for k, v in self.pairs(value_node, depth + 1):
                    if k.id != "scalar" or k.value not in written:
                        written.add(k.value)
                        yield k, v
        yield from own


_FILLED_IN_LATER = ("telemetry", "headers")  # by whoever sends there; most commands don't
_FILLS_IN_HEADERS = ("http", "openai_http")  # kinds that take header values as written, to know what is secret


def expand(document: Document, *, error: type[InputError] = InputError) -> Document:
    """Replace `${VAR}` and `${VAR:-default}` in string values by the environment's; `$${` stands for `${`.

    The `headers` of `http` and `openai_http` are checked but left as written: those kinds fill them in when they
    send, and mask the values. Those of `telemetry` aren't even checked before something is sent. `secrets` of the
    result holds the values that came from variables named like secrets.
    Raises `error` with file and line for a variable that isn't set and has no default, and for any other `${`.
    """
    found: set[str] = set()
    data = _expand(document.data, (), document, error, found)
    return replace(document, data=data, secrets=longest_first(found))


def _secrets_in(headers: Any) -> set[str]:
    """Values from the environment in headers, of those variables that are set."""
    found: set[str] = set()
    for value in headers.values() if isinstance(headers, dict) else ():
        with contextlib.suppress(InputError):
            found.update(fill_in(str(value), missing=InputError, malformed=InputError)[1].values())
    return found


def _expand(value: Any, path: Path, document: Document, error: type[InputError], found: set[str]) -> Any:
    if path == _FILLED_IN_LATER:
        found.update(_secrets_in(value))
        return value
    if isinstance(value, dict):
        expanded = {key: _expand(item, (*path, key), document, error, found) for key, item in value.items()}
        own = (
            "headers" in value and "with" not in path
        )  # what `with` holds goes to the user's code, which expects it whole
        if own and (path[-1:] == ("openai_http",) or any(kind in value for kind in _FILLS_IN_HEADERS)):
            expanded["headers"] = value["headers"]
        return expanded
    if isinstance(value, list):
        return [_expand(item, (*path, index), document, error, found) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def missing(name: str) -> InputError:
        hint = f"set it, or write ${{{name}:-default}}"
        return error(f"the environment variable {name} isn't set", where=document.where(path), hint=hint)

    def malformed(reference: str) -> InputError:
        hint = "write ${NAME} or ${NAME:-default}, and $${ for a literal ${"
        return error(f"{reference!r} isn't a reference to a variable", where=document.where(path), hint=hint)

    text, taken = fill_in(value, missing=missing, malformed=malformed)
    found.update(taken[name] for name in taken if "headers" in path or looks_secret(name))
    return text
