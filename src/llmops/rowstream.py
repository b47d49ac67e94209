"""Rows of JSONL files, fast: packed with gzip or not, on a disk or from a pipe that can be read once."""

from __future__ import annotations

import gzip
import os
import stat
import tempfile
import weakref
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from json import JSONDecoder
from pathlib import Path
from typing import IO, Any

from llmops.errors import InputError, NotFoundError, StoreError
from llmops.jsonlines import MAX_LINE_BYTES, parse_row

STDIN = "stdin"
_BLOCK = 1 << 14  # so few rows at a time stay in the processor's cache and wake no garbage collector
_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_DAMAGED = "copy it again: it is cut short or damaged"


class Source:
    """A file of rows: `path` is where its bytes are, `shown` what the user calls it, `name` a short form of that.

    What came from a pipe is kept in a file that goes away with this object, or with the process.
    """

    def __init__(self, path: Path, shown: str, *, kept: bool = False) -> None:
        self.path, self.shown = path, shown
        self.name = Path(shown).name or shown
        if kept:
            self.name = shown if shown == STDIN else "pipe"  # /dev/fd/63 says nothing to anybody
            weakref.finalize(self, path.unlink, missing_ok=True)

    def where(self, number: int) -> str:
        return f"{self.shown}:{number}"

    def rows(self) -> Generator[tuple[int, dict[str, Any]], None, None]:
        """Line numbers from 1 and objects of the lines that aren't blank. Raises `InputError` with `file:line`."""
        for numbers, rows in self.blocks():
            yield from zip(numbers, rows, strict=True)

    def blocks(self) -> Iterator[tuple[Sequence[int], list[dict[str, Any]]]]:
        """The same, thousands at a time."""
        decode = JSONDecoder().raw_decode
        for number, lines in self._lines():
            try:
                found = [decode(line) for line in lines]
            except (ValueError, TypeError, RecursionError):
                found = []
            rows = [row for row, end in found if type(row) is dict]
            if len(rows) == len(lines) and [end for _, end in found] == list(map(len, lines)):
                yield range(number, number + len(rows)), rows
            else:
                yield self._one_by_one(number, lines)

    def _one_by_one(self, first: int, lines: list[Any]) -> tuple[list[int], list[dict[str, Any]]]:
        numbers = [first + place for place, line in enumerate(lines) if line.strip()]
        whole = ((n, lines[n - first]) for n in numbers)
        return numbers, [parse_row(x if type(x) is bytes else x.encode(), where=self.where(n)) for n, x in whole]

    def _lines(self) -> Iterator[tuple[int, list[Any]]]:
        """The first line's number and lines as text; as bytes where one is no text, which parsing will say."""
        for number, block in self._blocks():
            start = len(_BOM) if number == 1 and block.startswith(_BOM) else 0
            ends = block.endswith(b"\n")
            try:
                lines: list[Any] = block[start:].decode().split("\n")
            except UnicodeDecodeError:
                lines = list(block[start:].split(b"\n"))
            yield number, lines[:-1] if ends else lines

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Whole lines, some thousand bytes of them, and the number of the first."""
        number, held, size = 1, [], 0
        try:
            with self._open() as file:
                while block := file.read(_BLOCK):
                    cut = block.rfind(b"\n") + 1
                    held.append(block[:cut] if cut else block)
                    size += len(held[-1])
                    if cut:
                        made = b"".join(held)
                        yield number, made
                        number, held = number + made.count(b"\n"), [block[cut:]]
                        size = len(held[0])
                    elif size > MAX_LINE_BYTES:
                        raise too_long(self.where(number))
                if size:
                    yield number, b"".join(held)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"can't be unpacked: {error}", where=self.where(number), hint=_DAMAGED) from None
        except OSError as error:
            raise InputError(f"can't read {self.shown}: {error.strerror or error}") from None

    def _open(self) -> Any:
        with self.path.open("rb") as file:
            packed = file.read(len(_MAGIC)) == _MAGIC
        return gzip.open(self.path, "rb") if packed else self.path.open("rb")


def too_long(where: str) -> InputError:
    message = f"a line of more than {MAX_LINE_BYTES // 1_048_576} MB"
    return InputError(message, where=where, hint="JSONL has one object a line")


def source_of(reference: str | Path) -> Source | None:
    """The file a reference names, None for what can only name a run. `-` is standard input.

    A pipe is read to its end. Raises `InputError` for a folder, `NotFoundError` for a file that isn't there.
    """
    text = os.fspath(reference)
    path = Path("/dev/stdin" if text == "-" else text)
    shown = STDIN if text in ("-", "/dev/stdin") else text
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        if text.endswith((".jsonl", ".jsonl.gz", ".json")) or os.sep in text:
            raise NotFoundError(
                f"no file {text[:200]!r}", hint="name a run, an exported run, or a file of scores"
            ) from None
        return None
    if stat.S_ISREG(mode):
        return Source(path, shown)
    if stat.S_ISDIR(mode):
        raise InputError(f"{text[:200]!r} is a folder", hint="name a run, an exported run, or a file of scores")
    return _kept(path, shown)


def _kept(path: Path, shown: str) -> Source:
    """A pipe's bytes in a file. Raises `InputError` at once for what can't be rows, which may have no end."""
    try:
        with path.open("rb") as pipe:
            start = pipe.read(_BLOCK)
            packed = start.startswith(_MAGIC)
            if not packed and start.removeprefix(_BOM).lstrip()[:1] not in (b"{", b""):
                parse_row(start.split(b"\n", 1)[0], where=f"{shown}:1")
            handle, name = tempfile.mkstemp(prefix="llmops-", suffix=".jsonl.gz" if packed else ".jsonl")
            made = Source(Path(name), shown, kept=True)
            with closing(os.fdopen(handle, "wb")) as file:
                _copy(start, pipe, file, shown)
    except OSError as error:
        if isinstance(error.filename, str) and error.filename == str(path):
            raise InputError(f"can't read {shown}: {error.strerror or error}") from None
        raise StoreError(f"can't keep what comes from {shown}: {error.strerror or error}") from None
    return made


def _copy(start: bytes, pipe: IO[bytes], file: IO[bytes], shown: str) -> None:
    size, lines, block = 0, 0, start
    while block:
        file.write(block)
        size, lines = size + len(block), lines + block.count(b"\n")
        if not lines and size > MAX_LINE_BYTES and not start.startswith(_MAGIC):
            raise too_long(f"{shown}:1")
        block = pipe.read(_BLOCK)
