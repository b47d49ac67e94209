"""Few-shot examples: pairs of a question and its answer, in the front matter or in a file beside the prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.parsing import Role
from llmops.yamlfile import Document, load_yaml

SIDES: tuple[Role, Role] = ("user", "assistant")
Pairs = tuple[Mapping[str, str], ...]


def read_few_shot(value: Any, front: Document, find: Callable[[str, str], tuple[str, str]]) -> Pairs:
    """The rows under `few_shot:`: a list of `{user, assistant}`, or a `.jsonl` or `.yaml` file with such rows.

    `find` reads a file: (name, where it is asked for) → (the file as errors show it, text). Raises `PromptError`
    with `file:line`.
    """
    where = front.where(("few_shot",))
    if isinstance(value, str):
        shown, text = find(value, where)
        return tuple(_pair(row, at) for row, at in _rows(value, shown, text, where))
    if not isinstance(value, list):
        raise PromptError(
            "few_shot is a file or a list", where=where, hint="such as few_shot: _examples.jsonl, a pair a line"
        )
    return tuple(_pair(row, front.where(("few_shot", i))) for i, row in enumerate(value))


def _rows(name: str, shown: str, text: str, where: str) -> Iterable[tuple[Any, str]]:
    if name.endswith((".yaml", ".yml")):
        document = load_yaml(text, name=shown, error=PromptError)
        if not isinstance(document.data, list):
            raise PromptError("few-shot examples are a list", where=f"{shown}:1")
        for i, row in enumerate(document.data):
            yield row, document.where((i,))
    elif name.endswith(".jsonl"):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _json(line, f"{shown}:{number}"), f"{shown}:{number}"
    else:
        raise PromptError(f"few_shot: {name!r:.80} is no .jsonl or .yaml file", where=where)


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise PromptError(f"not JSON: {problem}", where=where) from None


def _pair(row: Any, where: str) -> Mapping[str, str]:
    if not isinstance(row, Mapping) or set(row) != set(SIDES):
        raise PromptError("a few-shot example has user and assistant", where=where, hint='{"user": …, "assistant": …}')
    for side in SIDES:
        text = row[side]
        if not isinstance(text, str) or not text.strip():
            raise PromptError(f"{side} is a text that isn't blank", where=where)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PromptError(f"{side} holds half of a surrogate pair, which isn't text", where=where) from None
    return {side: row[side] for side in SIDES}
