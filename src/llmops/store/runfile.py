"""A run as one portable file: JSONL, a line about the run, then a line a result."""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

from llmops.errors import InputError, StoreError
from llmops.jsonlines import MAX_LINE_BYTES, parse_row
from llmops.store.checks import ShapeError
from llmops.store.encoding import dumps, revive
from llmops.store.shapes import record_data, record_of, result_data, result_of
from llmops.types import Result, Results, RunRecord

FORMAT = 1
_MARK = "llmops_run"


def export_run(record: RunRecord, results: Results, target: Path | IO[str]) -> int:
    """Write a run to a file (gzip when it ends in `.gz`) or an open text stream; returns the number of lines.

    A file appears whole or not at all. Raises `InputError` when there is no such folder, and `StoreError` when the
    file can't be written.
    """
    if not isinstance(target, Path):
        return _write(record, results, target)
    try:
        if target.is_dir():
            raise InputError("is a folder", where=str(target), hint="name a file, such as run.jsonl.gz")
        if not target.parent.is_dir():
            raise InputError(f"can't write {target.name}: no folder {target.parent}", hint="make the folder first")
        return _write_file(record, results, target)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", where=str(target)) from None
    except ValueError as error:  # a NUL byte or a lone surrogate in the name
        raise InputError(f"can't write {str(target)!r}: {error}") from None


def _write_file(record: RunRecord, results: Results, target: Path) -> int:
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with contextlib.ExitStack() as stack:
            file: Any = stack.enter_context(os.fdopen(handle, "wb"))
            if target.suffix == ".gz":
                # No name and no time inside: equal runs make equal files.
                file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
            lines = _write(record, results, _Ascii(file))
        part.chmod(0o666 & ~_umask())
        part.replace(target)
        return lines
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class _Ascii:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode("ascii"))


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write(record: RunRecord, results: Results, target: Any) -> int:
    target.write(dumps({_MARK: FORMAT, **record_data(record)}) + "\n")
    lines = 1
    for result in results:
        target.write(dumps(result_data(result)) + "\n")
        lines += 1
    return lines


def open_run_file(path: Path) -> tuple[RunRecord, Results]:
    """A run's head and its results, read from the file anew at each pass.

    Raises `InputError` with `file:line`, for results while they are read.
    """
    lines = _lines(path)
    where = f"{path}:1"
    with contextlib.closing(lines):
        _, line = next(lines, (1, b""))
    hint = "llmops runs export writes run files"
    if not line.strip():
        raise InputError("an empty file, not a run", where=where, hint=hint)
    head = _parse(line, where)
    version = head.get(_MARK)
    if version is None:
        raise InputError("not a run file: its first line has no llmops_run", where=where, hint=hint)
    if version != FORMAT:
        raise InputError(f"a run file of format {version!r:.40}", where=where, hint="upgrade: pip install -U llmops")
    try:
        record = record_of(head)
        return record, _FileResults(path, record)
    except ShapeError as error:
        raise InputError(f"not a run: {error}", where=where) from None


class _FileResults:
    def __init__(self, path: Path, record: RunRecord) -> None:
        self._path = path
        complete = record.status == "finished"
        self._expected = record.cases * record.repeats * len(record.variants) if complete else 0

    def __iter__(self) -> Iterator[Result]:
        number = found = 0
        for number, line in _lines(self._path):
            if number == 1 or not line.strip():
                continue
            where = f"{self._path}:{number}"
            try:
                yield result_of(_parse(line, where))
            except ShapeError as error:
                raise InputError(f"not a result: {error}", where=where) from None
            found += 1
        if found < self._expected:
            message = f"the file ends after {found:,} of {self._expected:,} results"
            raise InputError(message, where=f"{self._path}:{number}", hint="copy it again: it is cut short")


def _parse(line: bytes, where: str) -> dict[str, Any]:
    row = parse_row(line, where=where)
    if b'"$float"' not in line:
        return row
    try:
        return {key: revive(value) for key, value in row.items()}
    except (ValueError, TypeError, IndexError, KeyError, RecursionError):
        raise InputError("a number in it can't be read", where=where) from None


def _lines(path: Path) -> Generator[tuple[int, bytes], None, None]:
    number = 0
    try:
        with path.open("rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    message = f"a line of more than {MAX_LINE_BYTES // 1_048_576} MB"
                    raise InputError(message, where=f"{path}:{number}")
                yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        hint = "copy it again: it is cut short or damaged"
        raise InputError(f"can't be unpacked: {error}", where=f"{path}:{number + 1}", hint=hint) from None
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from None
    except ValueError as error:
        raise InputError(f"can't read {str(path)!r}: {error}") from None
