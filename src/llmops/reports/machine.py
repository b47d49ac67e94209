"""The report for programs: one JSON object, documented in docs/reports.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmops.reports.comparison_data import comparison_data
from llmops.reports.rows import jsonable, result_row, summary_row
from llmops.reports.spent import spending_of, spent_data
from llmops.reports.summary import summarize
from llmops.types import Results, RunRecord

FORMAT = 1
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_json(
    record: RunRecord, results: Results, write: Callable[[str], object], *, with_results: bool = False
) -> None:
    """The run's head, a summary a variant, comparisons and gates; `with_results` adds every trial, a line each."""
    summary = summarize(record, results)
    head = jsonable(replace(record, comparisons=()))
    del head["comparisons"]
    gates = head.pop("gates")
    head["config"].pop("spent", None)
    comparisons = [comparison_data(one) for one in record.comparisons]
    body = {
        "format": FORMAT,
        "run": head,
        "variants": summary_row(summary),
        "spent": jsonable(spent_data(spending_of(summary))),
        "comparisons": comparisons,
        "gates": gates,
    }
    text = dumps(body, indent=2)
    if not with_results:
        write(text + "\n")
        return
    write(text.removesuffix("\n}") + ',\n  "results": [')
    separator = "\n    "
    for result in results:
        write(separator + dumps(result_row(result)))
        separator = ",\n    "
    write("\n  ]\n}\n")


def dumps(value: Any, indent: int | None = None) -> str:
    """Strict JSON in Unicode; half surrogate pairs stay as escapes, so that it can be written as UTF-8."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
