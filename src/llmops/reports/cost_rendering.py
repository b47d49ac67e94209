"""The one door to cost reports, by format name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from llmops.errors import NotFoundError, did_you_mean
from llmops.reports.cost_lines import CostReport

FORMATS = {
    "terminal": "cost_terminal:write_cost_terminal",
    "markdown": "cost_markdown:write_cost_markdown",
    "html": "cost_html:write_cost_html",
    "json": "cost_rows:write_cost_json",
    "csv": "cost_rows:write_cost_csv",
}


def render_cost(format: str, report: CostReport, write: Callable[[str], object]) -> None:
    """Write a cost report piece by piece. Raises `NotFoundError` for an unknown format."""
    target = FORMATS.get(format)
    if target is None:
        raise NotFoundError(f"no cost report is called {format!r}", hint=did_you_mean(format, FORMATS))
    module, _, name = target.partition(":")
    made: Any = getattr(importlib.import_module(f"llmops.reports.{module}"), name)
    made(report, write)
