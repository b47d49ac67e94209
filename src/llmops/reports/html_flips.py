"""Which cases a comparison names, as places in a run and in the page's data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from llmops.reports.plain import printable
from llmops.reports.summary import Summary
from llmops.reports.verdicts import leading, title
from llmops.types import Comparison, MetricComparison

MAX_PLACES = 250
"""Cases by list that are embedded before others."""


def flip_words(m: MetricComparison) -> tuple[str, str]:
    """What cases of a metric did: broke and were fixed, else got clearly worse and better."""
    return ("broke", "fixed") if m.kind == "binary" else ("clearly worse", "clearly better")


class _Named(NamedTuple):
    key: str
    word: str
    comparison: Comparison
    metric: MetricComparison
    ids: tuple[str, ...]


def changed_places(summary: Summary) -> list[int]:
    """Places of the worst cases that broke and the best that were fixed, each once."""
    found: dict[int, None] = {}
    for named in _lists(summary):
        places = (summary.aggregate.index(one) for one in named.ids[:MAX_PLACES])
        found |= dict.fromkeys(place for place in places if place is not None)
    return list(found)


def changed_cases(summary: Summary, kept: list[int]) -> list[dict[str, Any]]:
    """For each list of broken or fixed cases its key, words, variants and metric, and the cases in the file."""
    at = {place: i for i, place in enumerate(kept)}
    variants = {variant.name: i for i, variant in enumerate(summary.variants)}
    metrics = {info.name: i for i, info in enumerate(summary.record.metrics)}
    several = len(summary.record.comparisons) > 1
    made = []
    for key, word, compared, m, ids in _lists(summary):
        places = (summary.aggregate.index(one) for one in ids)
        cases = list(dict.fromkeys(at[place] for place in places if place is not None and place in at))
        label = f"{title(m)}: {len(ids):,} {word}" + (f" ({compared.candidate})" if several else "")
        made.append(
            {
                "key": key,
                "label": printable(label, 120, one_line=True),
                "a": variants.get(compared.baseline),
                "b": variants.get(compared.candidate),
                "metric": metrics.get(m.metric),
                "cases": cases,
            }
        )
    return made


def _lists(summary: Summary) -> Iterator[_Named]:
    for place, compared in enumerate(summary.record.comparisons):
        shown = leading(compared)
        for i, m in enumerate(compared.metrics):
            if m not in shown:
                continue
            for side, word, ids in zip(("broke", "fixed"), flip_words(m), (m.broke, m.fixed), strict=True):
                if ids:
                    yield _Named(f"{place}:{i}:{side}", word, compared, m, ids)
