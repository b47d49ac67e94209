"""Python code to look through: the files of a project, and the code cells of notebooks. Nothing is ever imported."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".py", ".ipynb")
_SKIPPED = frozenset(["__pycache__", "build", "dist", "node_modules", "site-packages"])
OWN_FOLDERS = frozenset(["pyvenv.cfg", "llmops.yaml"])  # what tells a virtual environment, and a project in a project
_PYTHON_MAGICS = frozenset(["capture", "prun", "time", "timeit"])
_MAGIC = re.compile(r"^(\s*)(?:[%!?]|[\w.,\s]+=\s*[%!]|[\w.]+\?+\s*$).*$", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """Parsed code of one file. A notebook's cells follow each other in `tree`, as if they were one module.

    `starts` has the line of `tree` before each part, `places` what to write before a line's number in it.
    """

    tree: ast.Module
    starts: tuple[int, ...]
    places: tuple[str, ...]

    def where(self, line: int) -> str:
        """`file:line` of a line of `tree`, or `file.ipynb:cell 3:line 2`."""
        part = bisect_right(self.starts, line - 1) - 1
        return f"{self.places[part]}{line - self.starts[part]}"


def python_files(root: Path) -> Iterator[str]:
    """Every Python file and notebook under `root`, a folder's own files first, sorted by name.

    Leaves out hidden folders, virtual environments, folders of installed or built code, and symbolic links to
    folders. What can't be read is left out.
    """
    top = os.fspath(root)
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        if folder != top and any(entry.name in OWN_FOLDERS for entry in found):
            continue
        yield from (e.path for e in found if e.name.endswith(SUFFIXES) and _is(e, folder=False))
        inner = [e.path for e in found if e.name[0] != "." and e.name not in _SKIPPED and _is(e, folder=True)]
        waiting.extend(reversed(inner))


def _is(entry: os.DirEntry[str], *, folder: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) if folder else entry.is_file()
    except OSError:
        return False


def read_code(file: str, shown: str, needle: bytes) -> Code | None:
    """The code of a file that holds `needle`; None when it doesn't, or can't be read or parsed.

    `shown` is how places in it name the file.
    """
    data = _read(file)
    if needle not in data:
        return None
    return _notebook(data, shown) if file.endswith(".ipynb") else _module(data, shown)


def _read(file: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe would never end  # noqa: PTH116
            return b""
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - thousands of them, in no time
            return opened.read()
    except (OSError, ValueError):
        return b""


def _module(data: bytes, shown: str) -> Code | None:
    tree = _parse(data)
    return Code(tree, (0,), (f"{shown}:",)) if tree else None


def _parse(source: str | bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the code that is read, which isn't ours
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _notebook(data: bytes, shown: str) -> Code | None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    tree, starts, places, line = ast.Module([], []), [], [], 0
    for number, source in _cells(content):
        parsed = _parse(source) or _parse(_MAGIC.sub(r"\1pass", source))
        if parsed:
            tree.body += ast.increment_lineno(parsed, line).body
            starts.append(line)
            places.append(f"{shown}:cell {number}:line ")
            line += source.count("\n") + source.count("\r") + 1
    return Code(tree, tuple(starts), tuple(places)) if starts else None


def _cells(content: Any) -> Iterator[tuple[int, str]]:
    """The code cells of a notebook, with each one's place among all cells (the first is 1)."""
    cells = content.get("cells") if isinstance(content, dict) else None
    for number, cell in enumerate(cells if isinstance(cells, list) else (), 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source")
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if not isinstance(source, str):
            continue
        magic = re.match(r"\s*%%(\w+)", source)
        if not magic or magic[1] in _PYTHON_MAGICS:
            yield number, source
