"""CSV for spreadsheets: a row a trial. No cell can start a formula."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any

from llmops.reports.plain import as_text, encodable, question, without_controls
from llmops.types import Result, Results, RunRecord

COLUMNS = (
    "variant",
    "case",
    "repeat",
    "tags",
    "group",
    "question",
    "expected",
    "output",
    "error",
    "error_message",
)
FIGURES = ("latency_s", "input_tokens", "output_tokens", "cost_usd", "cached")
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_csv(record: RunRecord, results: Results, write: Callable[[str], object]) -> None:
    """One row a variant, case and repeat, with a column a metric; unscored is an empty cell.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; numbers are left alone.
    Lines end with CRLF (RFC 4180): open a file with `newline=""`.
    """
    metrics = [info.name for info in record.metrics]
    writer = csv.writer(_Sink(write))
    writer.writerow([*COLUMNS, *FIGURES, *map(cell, metrics)])
    for result in results:
        writer.writerow([*_texts(result), *_figures(result), *_scores(result, metrics)])


def cell(text: str) -> str:
    """Text that no spreadsheet reads as a formula, not even after leading blanks, and no terminal obeys."""
    text = without_controls(encodable(text))
    return f"'{text}" if text.lstrip(" ").startswith(_STARTS_FORMULA) else text


def _texts(result: Result) -> Iterator[Any]:
    case, output = result.case, result.output
    yield cell(result.variant)
    yield cell(case.id)
    yield result.repeat
    yield cell(", ".join(case.tags))
    yield cell(case.group or "")
    yield cell(question(case))
    yield case.expected if type(case.expected) in (int, float) else cell(as_text(case.expected))
    yield cell(output.text)
    yield cell(output.error.kind if output.error else "")
    yield cell(output.error.message if output.error else "")


def _figures(result: Result) -> Iterator[Any]:
    output, usage = result.output, result.output.usage
    known = usage.certainty != "unknown" or usage.total_tokens > 0
    yield output.latency_s
    yield usage.input_tokens if known else None
    yield usage.output_tokens if known else None
    yield None if usage.cost is None or usage.unpriced else usage.cost / 1_000_000_000
    yield int(output.cached)


def _scores(result: Result, metrics: list[str]) -> Iterator[float | None]:
    for name in metrics:
        score = result.scores.get(name)
        yield score.value if score else None


class _Sink:
    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
