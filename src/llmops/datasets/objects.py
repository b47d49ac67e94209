"""Rows that come as objects: from YAML, and from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.datasets.reading import Row, as_row, text_of
from llmops.datasets.values import plain
from llmops.errors import DatasetError
from llmops.types import Case


@dataclass(frozen=True)
class YamlList:
    """A YAML list of mappings, held in memory."""

    path: Path
    display: str
    cells = False
    sparse = False

    def rows(self) -> Iterator[Row]:
        from llmops.yamlfile import load_yaml

        document = load_yaml(text_of(self.path, self.display), name=self.display, error=DatasetError)
        if document.data is None:
            return
        if not isinstance(document.data, list):
            hint = "write a list of mappings, each starting with '- '"
            raise DatasetError("doesn't hold a list", where=document.where(), hint=hint)
        for index, value in enumerate(document.data):
            where = document.where((index,))
            try:
                yield as_row(plain(value), where)
            except DatasetError as error:
                error.where = where
                yield where, error


@dataclass(frozen=True)
class RowsSource:
    """Python objects: mappings or cases."""

    given: tuple[Any, ...]
    display = "rows"
    cells = False
    sparse = False

    def rows(self) -> Iterator[Row]:
        for number, row in enumerate(self.given, 1):
            where = f"row {number}"
            if isinstance(row, Case):
                where = row.where or where
                row = _row_of(row)
            try:
                yield as_row(plain(row), where)
            except DatasetError as error:
                error.where = where
                yield where, error


def _row_of(case: Case) -> dict[str, Any]:
    """A case as the row it could have come from, so that it is checked like one."""
    return {
        "id": case.id,
        "inputs": case.inputs,
        "expected": case.expected,
        "contexts": [{"text": c.text, "id": c.id or None, "score": c.score} for c in case.contexts],
        "relevant": case.relevant,
        "tags": case.tags,
        "group": case.group,
        "metadata": case.metadata,
    }
