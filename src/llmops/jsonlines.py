"""JSONL read a line at a time, every mistake with `file:line`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmops.errors import InputError

MAX_LINE_BYTES = 64 * 1024 * 1024


def open_rows(path: Path, *, shown_as: str, where: str = "") -> Iterator[tuple[int, int, bytes]]:
    """Line number (from 1), byte offset and bytes of each line that isn't blank. Raises `InputError`."""
    try:
        with path.open("rb") as file:
            offset = 0
            for number, line in enumerate(_lines(file, shown_as), 1):
                if line.strip() and line != b"\xef\xbb\xbf":
                    yield number, offset, line
                offset += len(line)
    except OSError as error:
        hint = "" if error.filename is None else f"looked for {path}"
        raise InputError(f"can't read {shown_as}: {error.strerror}", where=where, hint=hint) from None
    except ValueError as error:  # a NUL byte in the name
        raise InputError(f"can't read {shown_as!r}: {error}", where=where) from None


def _lines(file: Any, shown_as: str) -> Iterator[bytes]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            message = f"a line of more than {MAX_LINE_BYTES // 1_048_576} MB"
            raise InputError(message, where=f"{shown_as}:{number}", hint="JSONL has one object a line")
        yield line


def parse_row(line: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object on a line. Raises `InputError` on anything else."""
    try:
        row = json.loads(line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8"))
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=where, hint="save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error.msg} at column {error.colno}", where=where) from None
    except (ValueError, RecursionError):
        raise InputError("not plain JSON: nested too deeply or a number too long", where=where) from None
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise InputError(f"a row must be a JSON object, not {kind}", where=where, hint="write one {…} a line")
    return row
