"""Which reader a path has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmops.datasets.csv_files import CsvRows
from llmops.datasets.json_files import JsonLines, JsonList
from llmops.datasets.objects import YamlList
from llmops.datasets.reading import Source
from llmops.datasets.strict_json import printable, shown
from llmops.datasets.tables import ParquetFiles, folder_source
from llmops.errors import DatasetError, did_you_mean

_READERS: dict[tuple[str, ...], Callable[[Path, str], Source]] = {
    (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"): JsonLines,
    (".json",): JsonList,
    (".csv", ".tsv"): CsvRows,
    (".yaml", ".yml"): YamlList,
    (".parquet",): lambda path, display: ParquetFiles((path,), display),
}
_KNOWN = ".jsonl, .ndjson, .jsonl.gz, .json, .csv, .tsv, .yaml, .yml, .parquet, and folders of Parquet or Arrow files"


def source_of(path: Path, where: str) -> Source:
    """The reader of a path. Raises `DatasetError` at `where` when there is no such file or no such format."""
    file, split = path, ""
    if "#" in path.name and not _kind_of(path, where):
        before, _, split = str(path).rpartition("#")
        file = Path(before)
    display = printable(str(file))
    found = _kind_of(file, where)
    if found == "folder":
        return folder_source(file, split, display, where)
    if split:  # only folders have splits
        file, found = path, ""
    if not found:
        raise DatasetError(f"no file {shown(str(file), 300)}", where=where, hint=_neighbour(file))
    if found == "other":
        raise DatasetError(f"{display} isn't a regular file", where=where, hint="save the rows to a file first")
    for suffixes, reader in _READERS.items():
        if file.name.lower().endswith(suffixes):
            return reader(file, display)
    raise DatasetError(f"{display} has no suffix of a known format", where=where, hint=f"known: {_KNOWN}")


def _kind_of(path: Path, where: str) -> str:
    try:
        if path.is_file():
            return "file"
        return "folder" if path.is_dir() else "other" if path.exists() else ""
    except OSError as error:
        message = f"can't read {shown(str(path), 300)}: {(error.strerror or 'unknown error').lower()}"
        raise DatasetError(message, where=where, hint="check the path and its permissions") from None


def _neighbour(path: Path) -> str:
    """What to do about a missing file; its folder was named already."""
    try:
        names = sorted(p.name for _, p in zip(range(1000), path.parent.iterdir(), strict=False))
    except (OSError, ValueError):
        return "its folder isn't there either: check the path"
    hint = did_you_mean(path.name, names)
    if hint.startswith("did"):
        return hint
    listed = ", ".join(printable(name[:60]) for name in names[:5]) + (", …" if len(names) > 5 else "")
    return f"its folder holds {listed}" if listed else "its folder is empty"
