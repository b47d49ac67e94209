"""`--set KEY=VALUE`: keys of a suite changed from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmops.errors import InputError
from llmops.secrets import secret_values
from llmops.yamlfile import load_yaml


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set a dotted key: `limits.concurrency=4`. The value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {override!r} isn't key=value", hint="for example --set limits.concurrency=4")
    value = load_yaml(text, name=f"--set {key}").data
    parts = key.split(".")
    node: Any = data
    for part in parts[:-1]:
        node = _step(node, part, key)
    if isinstance(node, list):
        node[_index(node, parts[-1], key)] = value
    else:
        node[parts[-1]] = value


def _step(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, key)]
    child = node.setdefault(part, {})
    if isinstance(child, str):  # dataset: path → dataset: {path: …}
        child = node[part] = {"path": child}
    if not isinstance(child, (dict, list)):
        raise InputError(f"--set {key}: {part} is {child!r}, not a mapping")
    return child


def _index(node: list[Any], part: str, key: str) -> int:
    if part.isdigit() and int(part) < len(node):
        return int(part)
    raise InputError(f"--set {key}: {part!r} isn't a position in a list of {len(node)}")


def secrets_of(override: str) -> Iterator[str]:
    key, _, text = override.partition("=")
    return secret_values(load_yaml(text, name=f"--set {key}").data, key.split("."))


def path_of(override: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in override.partition("=")[0].split("."))
