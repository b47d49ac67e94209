"""Rows as CSV, JSON lines or Parquet: money stays decimal to its last digit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from llmops.errors import MissingExtraError
from llmops.reports.plain import encodable
from llmops.reports.tabular import cell

Row = Mapping[str, Any]
_BATCH = 10_000


def write_csv_table(columns: Sequence[str], rows: Iterable[Row], write: Callable[[str], object]) -> int:
    """A line of names, then one a row; nothing for None, no text that a spreadsheet runs. Returns the number of rows.

    Lines end with CRLF (RFC 4180).
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([cell(name) for name in columns])
    count = 0
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
        count += 1
        if count % _BATCH == 0:
            _drain(buffer, write)
    _drain(buffer, write)
    return count


def write_json_lines(rows: Iterable[Row], write: Callable[[str], object]) -> int:
    """One JSON object a line, money as numbers. Returns the number of rows."""
    count = 0
    for row in rows:
        write(json.dumps(_encodable(row), ensure_ascii=False, default=plain) + "\n")
        count += 1
    return count


def plain(value: Any) -> Any:
    """What JSON has no type for: a `Decimal` becomes a number, anything else text.

    Dollars keep every billionth up to four million, where a double's steps (IEEE 754) become coarser than that.
    """
    return float(value) if isinstance(value, Decimal) else str(value)


def write_parquet_table(columns: Mapping[str, type], rows: Iterable[Row], path: Path) -> int:
    """A Parquet file (zstd) of `columns`, names to `str`, `int`, `float` or `Decimal`. Returns the number of rows.

    Raises `MissingExtraError` without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError("parquet", needed_for="a Parquet file") from None
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), Decimal: pa.decimal128(38, 12)}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist([_encodable(row) for row in batch], schema=schema))
            count += len(batch)
    return count


def _batches(rows: Iterable[Row]) -> Iterable[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _encodable(row: Row) -> dict[str, Any]:
    return {name: encodable(value) if isinstance(value, str) else value for name, value in row.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return _digits(value)
    return cell(value) if isinstance(value, str) else value


def _digits(value: Any) -> str:
    """A decimal without an exponent or needless zeros."""
    if not isinstance(value, Decimal):
        return str(value)
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _drain(buffer: io.StringIO, write: Callable[[str], object]) -> None:
    write(buffer.getvalue())
    buffer.seek(0)
    buffer.truncate()
