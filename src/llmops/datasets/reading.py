"""What every reader of rows shares: the protocol, bytes to lines and text, and the errors of broken files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from llmops.datasets.values import kind
from llmops.errors import DatasetError

Row = tuple[str, Mapping[str, Any] | DatasetError]
"""`file:line` and the row that starts there, or what is wrong with it."""

MAX_LINE = 100_000_000
_BOM = b"\xef\xbb\xbf"


class Source(Protocol):
    """Rows that can be read again and again. `cells`: all values are text. `sparse`: null means absent."""

    @property
    def display(self) -> str: ...
    @property
    def cells(self) -> bool: ...
    @property
    def sparse(self) -> bool: ...
    def rows(self) -> Iterator[Row]: ...


def lines_of(path: Path, display: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a file, plain or gzip; a byte order mark is dropped. Raises `DatasetError`."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(partial(file.readline, MAX_LINE), b""), 1):
                if len(line) >= MAX_LINE:
                    hint = "is it a data file? Write one row a line"
                    raise DatasetError(f"a line of over {MAX_LINE:,} bytes", where=f"{display}:{number}", hint=hint)
                yield number, line.removeprefix(_BOM) if number == 1 else line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        reason = str(error).partition("(")[0].strip().lower()
        raise DatasetError(
            f"broken gzip: {reason}", where=f"{display}:{number + 1}", hint="compress the file again"
        ) from None
    except OSError as error:
        raise unreadable(error, display) from None


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def unreadable(error: OSError, display: str) -> DatasetError:
    """The error for a file the system won't read."""
    reason = (error.strerror or type(error).__name__).lower()
    return DatasetError(f"can't be read: {reason}", where=display, hint="check the file and its permissions")


def not_utf8(error: UnicodeDecodeError, where: str) -> DatasetError:
    """The error for bytes in another encoding."""
    byte = error.object[error.start]
    message = f"byte 0x{byte:02x} at position {error.start - error.object.rfind(10, 0, error.start)} isn't UTF-8"
    return DatasetError(message, where=where, hint="save the file as UTF-8")


def nul_byte(where: str) -> DatasetError:
    """The error for binary data, or UTF-16, under a text format's suffix."""
    return DatasetError("holds a NUL byte", where=where, hint="save it as UTF-8 text; is it a data file at all?")


def text_of(path: Path, display: str) -> str:
    """A whole text file. Raises `DatasetError` with the line of the first byte that isn't text."""
    try:
        data = path.read_bytes().removeprefix(_BOM)
    except OSError as error:
        raise unreadable(error, display) from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, f"{display}:{data.count(10, 0, error.start) + 1}") from None
    if "\0" in text:
        raise nul_byte(f"{display}:{text.count(chr(10), 0, text.index(chr(0))) + 1}")
    return text


def as_row(value: Any, where: str) -> Row:
    """A parsed value as a row."""
    if isinstance(value, dict):
        return where, value
    hint = "write each row as an object of names and values"
    return where, DatasetError(f"the row is {kind(value)}, not an object", where=where, hint=hint)
