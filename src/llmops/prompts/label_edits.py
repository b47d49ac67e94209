"""A label set in the text of `labels.yaml`: its line replaced or added, every other byte left as it is.

A file that we begin has a blank line behind each prompt and a comment at its end, so that what two branches add and
move never touches: git joins changes by itself only when a line that neither changed is between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmops.prompts.writing import scalar
from llmops.yamlfile import Document

HEADER = "# Which release each label points at, one line a label: `llmops prompt promote` moves them, and so may you."
FOOTER = "# The end: new prompts go above this line, each with a blank line below it, so that branches merge."
_LINE = re.compile("[^\n\r\x85\u2028\u2029]*(?:\r\n|[\n\r\x85\u2028\u2029]|$)")
_COMMENT = re.compile(r"#[^\n\r\x85\u2028\u2029]*")
_BREAKS = "\n\r\x85\u2028\u2029"


def is_whole(text: str) -> bool:
    """False for an empty file, and for one that begins like ours and doesn't end like ours: it was cut off."""
    first, _, rest = text.partition("\n")
    if not rest:
        return not HEADER.startswith(first.rstrip("\r"))
    return first.rstrip("\r") != HEADER or any(line.strip() == FOOTER for line in rest.split("\n"))


def with_label(text: str, document: Document, name: str, label: str, written: str) -> str | None:
    """The text with one label set. `document` is the text, read; `written` the label's line without its indent.

    None when it is laid out so that this can't be done; the result has to be read and compared all the same.
    """
    lines = [line for line in _LINE.findall(text) if line]  # YAML's own idea of lines, as line numbers count them
    newline = "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"
    data = document.data or {}
    if not lines:
        return newline.join([HEADER, "", f"{scalar(name)}:", f"  {written}", "", FOOTER, ""])
    ended = lines[-1][-1] in _BREAKS
    if not ended:
        lines[-1] += newline
    try:
        if name not in data:
            _add_prompt(lines, document, name, [f"{scalar(name)}:{newline}", f"  {written}{newline}"], newline)
        elif label in (data[name] or {}):
            _replace(lines, document.line((name, label)) - 1, label, written, newline)
        else:
            _add_label(lines, document, name, data[name] or {}, written + newline)
    except _LayoutError:
        return None
    return "".join(lines) if ended else "".join(lines).removesuffix(newline)


class _LayoutError(Exception):
    """The text isn't laid out as block YAML where it has to be."""


def _replace(lines: list[str], start: int, label: str, written: str, newline: str) -> None:
    """Put a label's line in place of what it has; comments within go above it, those behind stay."""
    end = _end_of(start, lines)
    entry = "".join(lines[start:end])
    key_at, _, value_end = _extent(entry, label)
    indent = entry[:key_at]
    inside = [f"{indent}{comment}{newline}" for comment in _comments(entry[:value_end])]
    lines[start:end] = [*inside, indent + written + entry[value_end:]]


def _add_label(lines: list[str], document: Document, name: str, mine: Mapping[str, Any], line: str) -> None:
    if mine:
        if document.line((name, next(iter(mine)))) == document.line((name,)):  # all on one line
            raise _LayoutError
        first, last = (document.line((name, one)) - 1 for one in (next(iter(mine)), list(mine)[-1]))
        at = _end_of(last, lines)
        lines[at:at] = [_indent(lines[first]) + line]
        return
    start = document.line((name,)) - 1
    end = _end_of(start, lines)
    entry = "".join(lines[start:end])
    key_at, key_end, value_end = _extent(entry, name)
    if value_end > key_end + 1 and entry[value_end - 1] != ":":  # a written `{}` or `null`
        lines[start:end] = [f"{entry[:key_end]}:{entry[value_end:]}"]
        end = start + 1
    lines[end:end] = [f"{entry[:key_at]}  {line}"]


def _add_prompt(lines: list[str], document: Document, name: str, added: list[str], newline: str) -> None:
    """Insert a new prompt by the alphabet, below the blank line or comment that ends the one before it."""
    data = document.data or {}
    known = [document.line((other,)) - 1 for other in data]
    later = [document.line((other,)) - 1 for other in data if other > name]
    feet = [at for at, line in enumerate(lines) if line.strip() == FOOTER]
    at = min([*later, *feet], default=len(lines))
    top = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    while later and at > top and lines[at - 1].startswith("#") and lines[at - 1].strip() != FOOTER:
        at -= 1  # a comment belongs to what is below it, but the file's own at its top
    indent = _indent(lines[min(known)]) if known else ""
    section = [indent + line for line in added]
    spaced = bool(feet) or (at > 0 and not lines[at - 1].strip())
    if spaced and at < len(lines):
        section.append(newline)
    if feet and at and lines[at - 1].strip():
        section.insert(0, newline)
    lines[at:at] = section


def _end_of(start: int, lines: list[str]) -> int:
    """Behind the last line of what starts on line `start` (from 0): before the next that isn't indented deeper."""
    if start >= len(lines):
        raise _LayoutError
    own = len(_indent(lines[start]))
    end = start + 1
    while end < len(lines) and lines[end].strip() and len(_indent(lines[end])) > own:
        end += 1
    return end


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _extent(entry: str, key: str) -> tuple[int, int, int]:
    """Where the key of a `key: value` starts and ends, and where the value ends: before the comment behind it."""
    import yaml

    try:
        node = yaml.compose(entry, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        raise _LayoutError from None
    if not isinstance(node, yaml.MappingNode) or node.flow_style or len(node.value) != 1:
        raise _LayoutError
    key_node, value = node.value[0]
    if key_node.value != key or entry[: key_node.start_mark.index].strip():
        raise _LayoutError
    return key_node.start_mark.index, key_node.end_mark.index, _node_end(value)


def _node_end(node: Any) -> int:
    """Where a value's own text ends; the parser has the end of a block behind the comments that follow it."""
    if node.id == "scalar" or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _node_end(last[1] if node.id == "mapping" else last)


def _comments(text: str) -> Iterator[str]:
    """Comments in a piece of YAML: what is written between its tokens."""
    import yaml

    end = 0
    try:
        for token in yaml.scan(text, Loader=yaml.BaseLoader):
            yield from _COMMENT.findall(text[end : token.start_mark.index])
            end = max(end, token.end_mark.index)
    except yaml.YAMLError:
        raise _LayoutError from None
