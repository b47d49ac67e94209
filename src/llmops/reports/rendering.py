"""The one door to all reports, by format name."""

from __future__ import annotations

from collections.abc import Callable

from llmops.registry import names, resolve
from llmops.types import Results, RunRecord

Write = Callable[[str], object]
_SHORT = {"md": "markdown"}


def render(format: str, record: RunRecord, results: Results, *, write: Write) -> None:
    """Write a run as `format` (terminal, markdown, html, json, junit, csv or a plugin's) piece by piece.

    `md` is short for `markdown`. A report is a function `report(record, results, write)`. It may read `results` more
    than once. What is written can always be encoded as UTF-8. Raises `NotFoundError` for an unknown format.
    """
    resolve("reports", _SHORT.get(format, format))(record, results, write)


def formats() -> list[str]:
    """All known formats, built in or from plugins, sorted."""
    return names("reports")
