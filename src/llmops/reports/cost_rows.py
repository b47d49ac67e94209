"""A cost report for machines: flat rows, JSON, CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from llmops.reports.cost_lines import PARTS, TOKEN_CLASSES, AcceptedAnswers, CostLine, CostReport
from llmops.reports.cost_tables import plain, write_csv_table, write_parquet_table
from llmops.usage.conditions import as_data
from llmops.usage.money import decimal_dollars

COUNTS = ("requests", "unsent", "pending", "errors", "unpriced", "unknown", "uncounted")
MONEY = ("cost", "exact", "estimated", "judges", "guards", "per_request", "per_thousand")


def in_dollars(nanodollars: int | None) -> Decimal | None:
    """Nano-dollars as exact dollars."""
    return None if nanodollars is None else decimal_dollars(nanodollars)


def columns(report: CostReport) -> list[str]:
    """Names of the columns of `cost_rows`, in order."""
    fields = [name.replace(":", "_") for name in report.by]
    money = [f"{name}_usd" for name in (*MONEY, *(f"{part}_part" for part in PARTS))]
    return [*fields, *COUNTS, *TOKEN_CLASSES, *money, "mean_duration_s", "mean_first_token_s"]


def cost_rows(report: CostReport) -> Iterator[dict[str, Any]]:
    """A mapping a line, money as `Decimal` dollars, None without a price."""
    names = [name.replace(":", "_") for name in report.by]
    for line in report.lines:
        yield dict(zip(names, line.key, strict=True)) | figures(line)


def figures(line: CostLine) -> dict[str, Any]:
    """Everything a line says, without its key."""
    row: dict[str, Any] = {name: getattr(line, name) for name in (*COUNTS, *TOKEN_CLASSES)}
    row |= {f"{name}_usd": in_dollars(getattr(line, name)) for name in MONEY}
    row |= {f"{part}_part_usd": in_dollars(amount) for part, amount in zip(PARTS, line.parts, strict=True)}
    ended = line.requests - line.pending - line.unsent
    row["mean_duration_s"] = line.duration_s / ended if ended > 0 and line.duration_s else None
    row["mean_first_token_s"] = line.first_token_mean_s
    return row


def write_cost_csv(report: CostReport, write: Callable[[str], object]) -> None:
    """A row a line; money in dollars to the last digit, an empty cell without a price."""
    write_csv_table(columns(report), cost_rows(report), write)


def write_cost_parquet(report: CostReport, path: Path) -> None:
    """The same rows as a Parquet file with decimal dollars. Raises `MissingExtraError` without pyarrow."""
    whole = {*COUNTS, *TOKEN_CLASSES}
    fields = {name.replace(":", "_") for name in report.by}
    kinds: dict[str, type] = {
        name: str if name in fields else int if name in whole else Decimal if name.endswith("_usd") else float
        for name in columns(report)
    }
    write_parquet_table(kinds, cost_rows(report), path)


def write_cost_json(report: CostReport, write: Callable[[str], object]) -> None:
    """The whole report as one JSON object."""
    write(json.dumps(cost_data(report), indent=2, ensure_ascii=False, default=plain) + "\n")


def cost_data(report: CostReport) -> dict[str, Any]:
    """The report as plain values; money in dollars, times in ISO 8601 (UTC)."""
    return {
        "by": list(report.by),
        "since": _iso(report.since),
        "until": _iso(report.until),
        "where": {name: as_data(wanted) for name, wanted in report.where.items()},
        "total": figures(report.total),
        "purposes": {line.key[0]: figures(line) for line in report.purposes},
        "lines": list(cost_rows(report)),
        "unpriced": [
            {"provider": m.provider, "model": m.model, "requests": m.requests, "tokens": m.tokens, "hint": m.hint}
            for m in report.unpriced
        ],
        "pruned": {"requests": report.pruned.requests, "cost_usd": in_dollars(report.pruned.cost)},
        "accepted": [_accepted(answers) for answers in report.accepted],
        "over_time": {
            "times": list(report.times),
            "series": {series.name: [in_dollars(cost) for cost in series.costs] for series in report.series},
        },
    }


def _accepted(answers: AcceptedAnswers) -> dict[str, Any]:
    return {
        "variant": answers.variant,
        "rule": answers.rule,
        "accepted": answers.accepted,
        "answers": answers.answers,
        "reused": answers.reused,
        "unpriced": answers.unpriced,
        "cost_usd": in_dollars(answers.cost),
        "checking_usd": in_dollars(answers.checking),
        "per_accepted_usd": in_dollars(answers.each),
        "per_accepted_sent_usd": in_dollars(answers.each_sent),
        "per_accepted_with_checking_usd": in_dollars(answers.each_with_checking),
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
