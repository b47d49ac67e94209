"""Totals of calls as Prometheus text, to be scraped or put into a file for node_exporter's textfile collector.

Formats: Prometheus exposition format 0.0.4 and OpenMetrics 1.0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from llmops.telemetry import semconv

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TOKEN_PARTS = ("input", "cache_read", "cache_write", "output", "reasoning")
_COST_PARTS = (*_TOKEN_PARTS, "fees")
_OWN_LABELS = ("class", "part", "certainty", "le", "quantile")


class CallTotals(Protocol):
    """What is read of `Totals`: money in nano-dollars, seconds as floats; `key` has a value for each grouping."""

    @property
    def key(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    kind: Literal["counter", "gauge", "summary"]
    help: str
    samples: Callable[[Any], Iterable[tuple[str, Mapping[str, str], str]]]


def render(totals: Iterable[CallTotals], *, openmetrics: bool = False) -> str:
    """`Totals` rows of the log of calls as metrics; each row's `key` becomes labels.

    Token classes don't overlap (`input` is what was neither read from nor written to a cache, `output` excludes
    reasoning), so that sums over `class` are right. Dollars are exact decimals. Counters come from the log, so they
    go on where they were after a restart; they can go down when calls are priced again or deleted.
    """
    rows = list(totals)
    names = _label_names(rows)
    labelled = [(_labels(row.key, names), row) for row in rows]
    lines: list[str] = []
    for metric in _METRICS:
        name = metric.name if metric.kind != "counter" or openmetrics else f"{metric.name}_total"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        for labels, row in labelled:
            for suffix, more, value in metric.samples(row):
                lines.append(f"{metric.name}{suffix}{_braced({**labels, **more})} {value}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _label_names(rows: Sequence[CallTotals]) -> dict[str, str]:
    """A distinct valid label name for each grouping; `tag:team name` becomes `tag_team_name`."""
    names: dict[str, str] = {}
    for key in dict.fromkeys(key for row in rows for key in row.key):
        name = re.sub(r"[^a-zA-Z0-9_]", "_", key)
        if name in _OWN_LABELS or not re.match(r"[a-zA-Z]", name):
            name = f"by_{name}"
        while name in names.values():
            name += "_"
        names[key] = name
    return names


def _labels(key: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Every row has every label: rows of one metric may not differ in them."""
    return {name: "" if key.get(by) is None else str(key[by]) for by, name in names.items()}


def _braced(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    value = value.encode("utf-8", "replace").decode("utf-8")
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _dollars(nanos: int) -> str:
    """Exact: 2750000 nano-dollars are 0.00275."""
    whole, rest = divmod(abs(nanos), 1_000_000_000)
    text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nanos < 0 else text


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else "NaN"


def _one(attribute: str, suffix: str = "_total") -> Callable[[Any], Iterable[tuple[str, Mapping[str, str], str]]]:
    return lambda row: ((suffix, {}, str(getattr(row, attribute))),)


def _tokens(row: Any) -> Iterable[tuple[str, Mapping[str, str], str]]:
    counts = (
        row.input_tokens - row.cache_read_tokens - row.cache_write_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.output_tokens - row.reasoning_tokens,
        row.reasoning_tokens,
    )
    return (("_total", {"class": part}, str(count)) for part, count in zip(_TOKEN_PARTS, counts, strict=True))


def _cost(row: Any) -> Iterable[tuple[str, Mapping[str, str], str]]:
    yield "_total", {"certainty": "exact"}, _dollars(row.cost_exact)
    yield "_total", {"certainty": "estimated"}, _dollars(row.cost_estimated)


def _cost_parts(row: Any) -> Iterable[tuple[str, Mapping[str, str], str]]:
    return (("_total", {"part": part}, _dollars(getattr(row, f"cost_{part}"))) for part in _COST_PARTS)


def _durations(row: Any) -> Iterable[tuple[str, Mapping[str, str], str]]:
    yield "_sum", {}, _number(row.duration_s)
    yield "_count", {}, str(row.requests - row.pending)


def _first_tokens(row: Any) -> Iterable[tuple[str, Mapping[str, str], str]]:
    yield "_sum", {}, _number(row.first_token_s)
    yield "_count", {}, str(row.first_tokens)


_METRICS = (
    _Metric(semconv.METRIC_REQUESTS, "counter", "Requests to models.", _one("requests")),
    _Metric(semconv.METRIC_UNSENT, "counter", "Requests that never reached the server.", _one("unsent")),
    _Metric(semconv.METRIC_PENDING, "gauge", "Requests without an end so far.", _one("pending", "")),
    _Metric(semconv.METRIC_ERRORS, "counter", "Requests that failed.", _one("errors")),
    _Metric(semconv.METRIC_UNPRICED, "counter", "Requests without a price: not in any dollars.", _one("unpriced")),
    _Metric(
        semconv.METRIC_UNKNOWN, "counter", "Requests whose tokens nobody knows: not in any tokens.", _one("unknown")
    ),
    _Metric(semconv.METRIC_TOKENS, "counter", "Tokens by class; classes don't overlap.", _tokens),
    _Metric(semconv.METRIC_COST, "counter", "US dollars by how sure they are.", _cost),
    _Metric(semconv.METRIC_COST_PARTS, "counter", "The same dollars by what they were for.", _cost_parts),
    _Metric(semconv.METRIC_DURATION, "summary", "Seconds from sending to the end.", _durations),
    _Metric(semconv.METRIC_FIRST_TOKEN, "summary", "Seconds to the first token, where it was seen.", _first_tokens),
)
