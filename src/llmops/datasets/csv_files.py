"""CSV and TSV rows, as RFC 4180 writes them, with the line each row starts on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from llmops.datasets.reading import MAX_LINE, Row, lines_of, not_utf8, nul_byte
from llmops.datasets.strict_json import shown
from llmops.errors import DatasetError


@dataclass(frozen=True)
class CsvRows:
    """A header and rows of as many cells. Quoted cells may span lines; an empty cell is absent.

    A .csv file whose header has no comma outside quotes, but semicolons or tabs, is separated by those, as
    spreadsheets write it where the comma is the decimal sign.
    """

    path: Path
    display: str
    cells = True
    sparse = True

    def rows(self) -> Iterator[Row]:
        if csv.field_size_limit() < MAX_LINE:  # one limit for the process: only ever raised
            csv.field_size_limit(MAX_LINE)
        texts, delimiter = self._texts(), "\t"
        if not self.path.name.lower().endswith(".tsv"):
            texts, delimiter = _with_delimiter(texts)
        reader = csv.reader(texts, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            where = f"{self.display}:{reader.line_num + 1}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _explained(error, where) from None
            if not cells:
                continue
            if header is None:
                header = _header(cells, delimiter, where)
            elif len(cells) == len(header):
                yield where, {name: cell or None for name, cell in zip(header, cells, strict=True)}
            else:
                yield where, _wrong_width(len(cells), len(header), delimiter, where)

    def _texts(self) -> Iterator[str]:
        for number, line in lines_of(self.path, self.display):
            where = f"{self.display}:{number}"
            if b"\0" in line:
                raise nul_byte(where)
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(error, where) from None


def _with_delimiter(texts: Iterator[str]) -> tuple[Iterator[str], str]:
    """The same texts, and what separates the cells of the first line that isn't blank."""
    read: list[str] = []
    for text in texts:
        read.append(text)
        if not text.isspace():
            break
    plain = "".join("".join(read).split('"')[::2])  # what stands outside quotes
    found = [sign for sign in ";\t" if sign in plain]
    return chain(read, texts), found[0] if len(found) == 1 and "," not in plain else ","


def _header(cells: list[str], delimiter: str, where: str) -> list[str]:
    names = [name.strip() for name in cells]
    for number, name in enumerate(names, 1):
        if not name:
            raise DatasetError(f"column {number} of the header has no name", where=where, hint="name or remove it")
        if name in names[: number - 1]:
            message = f"the header names {shown(name)} twice"
            raise DatasetError(message, where=where, hint="give every column its own name")
    if len(names) == 1 and any(sign in names[0] for sign in ";\t,|"):
        sign = "tabs" if delimiter == "\t" else "commas"
        hint = f"separate columns by {sign}; tabs go with .tsv and commas with .csv"
        raise DatasetError(f"the header {shown(names[0])} is one column", where=where, hint=hint)
    return names


def _wrong_width(found: int, wanted: int, delimiter: str, where: str) -> DatasetError:
    name = {",": "a comma", ";": "a semicolon", "\t": "a tab"}[delimiter]
    hint = f'put quotes (") around cells that hold {name}' if found > wanted else "fill the row up"
    separated = "" if delimiter == "," else f" (separated by {name.removeprefix('a ')}s)"
    return DatasetError(f"{found} cells under a header of {wanted}{separated}", where=where, hint=hint)


def _explained(error: csv.Error, where: str) -> DatasetError:
    text = str(error)
    if "field limit" in text:
        return DatasetError(f"a cell of over {MAX_LINE:,} characters", where=where, hint="is a quote left open?")
    if "new-line" in text:
        hint = "end lines with a line feed, or quote the cell"
        return DatasetError("a lone carriage return outside quotes", where=where, hint=hint)
    if "unexpected end" in text:
        return DatasetError("a quoted cell never ends", where=where, hint='close it with "')
    return DatasetError(f"not valid CSV: {text}", where=where, hint='write a quote inside a quoted cell as ""')
