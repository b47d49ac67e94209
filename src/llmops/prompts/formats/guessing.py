"""Which tool a file is of, by its suffix and by what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops.errors import InputError, PromptError
from llmops.prompts.formats.plain import read_json

_SUFFIXES = {".prompty": "prompty", ".prompt": "dotprompt", ".txt": "promptfoo", ".j2": "promptfoo"}


def guess(path: Path, text: str) -> str:
    """The format's name. Raises `InputError` with the list of formats."""
    from llmops.prompts.formats import FORMATS
    from llmops.prompts.formats.promptfoo import is_yaml

    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    found = ""
    if suffix == ".json" or text.lstrip()[:1] in ("{", "["):
        try:
            found = _shape(read_json(text.removeprefix("\ufeff"), str(path)))
        except PromptError:
            found = ""
    elif suffix in (".yaml", ".yml") and is_yaml(text):
        found = "promptfoo"
    if not found:
        hint = f"say which: {', '.join(FORMATS)}"
        raise InputError("can't tell which tool's prompt this is", where=str(path), hint=hint)
    return found


def _shape(data: Any) -> str:
    """The format of a JSON value, by the keys only one of them has."""
    if isinstance(data, list):
        first = data[0] if data else None
        if isinstance(first, Mapping) and "role" in first:
            return "openai"
        return _shape(first) if isinstance(first, Mapping) else ""
    if not isinstance(data, Mapping):
        return ""
    if "lc" in data or data.get("_type") == "prompt":
        return "langchain"
    if isinstance(data.get("messages"), list):
        return "openai"
    if isinstance(data.get("prompt"), (str, list)):
        return "langfuse"
    if "template" in data or "mlflow.prompt.text" in str(data.get("tags")):
        return "mlflow"
    inner = data.get("prompts", data.get("data"))
    if isinstance(inner, list) and inner and isinstance(inner[0], Mapping) and (found := _shape(inner)) in (
        "langfuse", "mlflow",
    ):  # fmt: skip
        return found
    return "promptfoo" if "prompts" in data else ""
