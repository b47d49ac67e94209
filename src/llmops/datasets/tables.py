"""Parquet files, and folders as Hugging Face's `datasets` saves them. Only pyarrow is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.datasets.reading import Row, unreadable
from llmops.datasets.strict_json import printable, shown
from llmops.datasets.values import plain
from llmops.errors import DatasetError, MissingExtraError

_BATCH = 256
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?\.parquet", re.IGNORECASE)


def folder_source(folder: Path, split: str, display: str, where: str) -> ParquetFiles | ArrowFiles:
    """The reader of a folder. Raises `DatasetError` at `where` when it holds no data, or several splits."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise unreadable(error, display) from None
    if "dataset_dict.json" in names:
        splits = [name for name in names if (folder / name / "dataset_info.json").is_file()]
        chosen = folder / _pick(split, splits, display, where)
        return folder_source(chosen, "", f"{display}/{chosen.name}", where)
    arrows = [name for name in names if name.endswith(".arrow")]
    if "dataset_info.json" in names or arrows:
        files = _listed(folder) or arrows
        if files:
            return ArrowFiles(tuple(folder / name for name in files), display)
    parquets = [name for name in names if name.lower().endswith(".parquet")]
    if not parquets:
        hint = "it needs .parquet files, or dataset_info.json with .arrow files"
        raise DatasetError(f"the folder {display} holds no data", where=where, hint=hint)
    shards = {name: match[1] if (match := _SHARD.fullmatch(name)) else "" for name in parquets}
    if split or len(set(shards.values())) > 1:
        wanted = _pick(split, sorted(set(shards.values()) - {""}), display, where)
        parquets = [name for name in parquets if shards[name] == wanted]
    return ParquetFiles(tuple(folder / name for name in parquets), display)


def _pick(split: str, splits: list[str], display: str, where: str) -> str:
    if split in splits:
        return split
    listed = ", ".join(shown(name)[1:-1] for name in splits) or "none"
    message = f"{display} has no split {shown(split)}" if split else f"{display} has several splits"
    hint = f"its splits are {listed}; write path#split" if splits else "it has none; leave #… out"
    raise DatasetError(message, where=where, hint=hint)


def _listed(folder: Path) -> list[str]:
    """The data files `state.json` lists, in their order; none when it can't be used."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        names = [entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    inside = all(isinstance(name, str) and Path(name).name == name for name in names)
    return names if inside else []


def _pyarrow(display: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("parquet", needed_for="reading Parquet and Arrow", where=display) from None
    return pyarrow


@dataclass(frozen=True)
class ParquetFiles:
    """Rows of Parquet files, a batch at a time. A null is absent."""

    paths: tuple[Path, ...]
    display: str
    cells = False
    sparse = True

    def rows(self) -> Iterator[Row]:
        yield from _rows(self.paths, self.display, _parquet_batches)


@dataclass(frozen=True)
class ArrowFiles:
    """Rows of Arrow IPC streams or files, a batch at a time. A null is absent."""

    paths: tuple[Path, ...]
    display: str
    cells = False
    sparse = True

    def rows(self) -> Iterator[Row]:
        yield from _rows(self.paths, self.display, _arrow_batches)


def _rows(paths: tuple[Path, ...], display: str, batches: Callable[[Path], Iterator[Any]]) -> Iterator[Row]:
    arrow = _pyarrow(display)
    for path in paths:
        file = printable(path.name)
        name = display if display.endswith(file) else f"{display}/{file}"
        number = 0
        try:
            for batch in batches(path):
                _check_columns(batch.schema.names, name)
                for row in batch.to_pylist():
                    number += 1
                    yield _row(row, f"{name}:row {number}")
        except DatasetError:
            raise
        except (arrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
            reason = printable(str(error).partition("\n")[0][:200]) or type(error).__name__
            message = f"can't be read as {path.suffix.removeprefix('.')}: {reason}"
            where = f"{name}:row {number + 1}"
            raise DatasetError(message, where=where, hint="write the file again") from None


def _check_columns(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            hint = "give every column its own name"
            raise DatasetError(f"two columns are called {shown(name)}", where=where, hint=hint)


def _row(row: dict[str, Any], where: str) -> Row:
    try:
        return where, {name: plain(value, sparse=True) for name, value in row.items()}
    except DatasetError as error:
        error.where = where
        return where, error


def _parquet_batches(path: Path) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_BATCH)


def _arrow_batches(path: Path) -> Iterator[Any]:
    from pyarrow import OSFile, ipc

    with OSFile(str(path), "rb") as file:
        if file.read(6) == b"ARROW1":
            reader = ipc.open_file(str(path))
            for index in range(reader.num_record_batches):
                yield from _slices(reader.get_batch(index))
            return
        file.seek(0)
        with ipc.open_stream(file) as stream:
            for batch in stream:
                yield from _slices(batch)


def _slices(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, _BATCH):
        yield batch.slice(start, _BATCH)
