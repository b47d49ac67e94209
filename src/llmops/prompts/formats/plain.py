"""Untrusted JSON and YAML as plain data, and the checks every reader makes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from llmops.errors import PromptError
from llmops.yamlfile import Document, load_yaml

MAX_DEPTH = 50


def read_json(text: str, file: str) -> Any:
    """The value of a JSON text. Raises `PromptError` with the line."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except json.JSONDecodeError as problem:
        where = f"{file}:{problem.lineno}"
        raise PromptError(f"not valid JSON: {problem.msg} at column {problem.colno}", where=where) from None
    except RecursionError:
        raise PromptError("nested too deeply", where=file) from None
    except _Refused as problem:
        raise PromptError(str(problem), where=file) from None
    except ValueError:
        raise PromptError("a number has too many digits", where=file, hint="write it as text") from None
    return shallow(value, file)


class _Refused(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"the key {shown(twice)} is written twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise _Refused(f"{name} isn't a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"{text[:40]} is too large for a number")
    return value


def read_yaml(text: str, file: str, first_line: int = 1) -> Document:
    """One YAML document, not nested deeper than JSON may be. Raises `PromptError` with the line."""
    document = load_yaml(text, name=file, first_line=first_line, error=PromptError)
    shallow(document.data, file)
    return document


def shallow(value: Any, file: str) -> Any:
    """`value`, unless it is nested too deeply for what comes next."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise PromptError(f"nested more than {MAX_DEPTH} deep", where=file)


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def shown(value: Any, limit: int = 60) -> str:
    """Untrusted data as a message may show it: quoted, without line breaks or control signs, short."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        text = type(value).__name__
    text = repr(text[: limit + 1]) if isinstance(value, str) else text
    return text if len(text) <= limit else text[:limit] + "…"


def mapping(value: Any, what: str, file: str) -> Mapping[str, Any]:
    """`value` as a mapping; an empty one for null. Raises `PromptError`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PromptError(f"{what} is a mapping, not {shown(value)}", where=file)
    return value


def items(value: Any, what: str, file: str) -> list[Any]:
    """`value` as a list; an empty one for null. Raises `PromptError`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise PromptError(f"{what} is a list, not {shown(value)}", where=file)
    return value


def text_of(value: Any, what: str, file: str) -> str:
    """`value` as text; nothing for null. Raises `PromptError`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PromptError(f"{what} is a text, not {shown(value)}", where=file)
    return value


def split_front(text: str, file: str) -> tuple[Document, str, int]:
    """Front matter between two `---` lines, the text below it, and that text's first line number."""
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    if lines[start].rstrip() != "---":
        return Document({}, file, {}), text, 1
    end = next((i for i in range(start + 1, len(lines)) if lines[i].rstrip() == "---"), 0)
    if not end:
        raise PromptError("the front matter has no end", where=f"{file}:{start + 1}", hint="close it with a line ---")
    front = read_yaml("\n".join(lines[start + 1 : end]), file, start + 2)
    if front.data is not None and not isinstance(front.data, Mapping):
        raise PromptError("the front matter is a mapping of keys", where=f"{file}:{start + 2}")
    return front, "\n".join(lines[end + 1 :]), end + 2
