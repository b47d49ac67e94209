"""The cases an HTML report embeds, as JSON that can stand inside a script element."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from llmops.reports.figures import plural
from llmops.reports.html_flips import changed_cases, changed_places
from llmops.reports.machine import dumps
from llmops.reports.plain import as_text, printable, question
from llmops.reports.rows import jsonable
from llmops.reports.selection import Ranking
from llmops.reports.summary import Summary
from llmops.types import Case, Result, Results
from llmops.usage.money import dollars

MAX_CASES = 2_000
MAX_BYTES = 16_000_000
MAX_TEXT = 20_000
MAX_CONTEXTS = 20
MAX_REPEATS = 5
MAX_RELEVANT = 200
_TABLE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def case_data(summary: Summary, results: Results) -> Iterator[str]:
    """Pieces of one JSON object: metrics, variants, a note, and cases with the most telling first.

    Reads `results` twice: once to see what fits, then to take it. Only what fits is held in memory.
    """
    ranking = Ranking(summary)
    order = ranking.order(MAX_CASES, seed=summary.record.id)
    changed = changed_places(summary)
    if changed:  # what a comparison names is there to be read, whatever else is
        order = list(dict.fromkeys([*changed, *order]))[:MAX_CASES]
    kept = _fitting(order, _sizes(summary, results, set(order)))
    if changed:
        kept.sort(key=ranking.key)
    yield embed({**_head(summary, len(kept)), "changes": changed_cases(summary, kept)}).removesuffix("}") + ',"cases":['
    found: dict[int, list[str]] = {}
    for place, piece in _pieces(summary, results, set(kept)):
        found.setdefault(place, []).append(piece)
    separator = "\n"
    for place in kept:
        head, *rows = found.get(place, [])
        yield f'{separator}{head.removesuffix("}")},"results":[{",".join(rows)}]}}'
        separator = ",\n"
    yield "]}"


def embed(value: Any) -> str:
    """JSON without a character that could end the script element or confuse a parser around it."""
    return dumps(value).translate(_TABLE)


def _sizes(summary: Summary, results: Results, wanted: set[int]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for place, piece in _pieces(summary, results, wanted):
        sizes[place] = sizes.get(place, 0) + len(piece.encode()) + 20
    return sizes


def _fitting(order: list[int], sizes: dict[int, int]) -> list[int]:
    """The first cases of `order` that fit in the file, passing over those that don't."""
    kept, room = [], MAX_BYTES
    for place in order:
        if place in sizes and sizes[place] <= room:
            kept.append(place)
            room -= sizes[place]
    return kept


def _pieces(summary: Summary, results: Results, wanted: set[int]) -> Iterator[tuple[int, str]]:
    """For each wanted case its own JSON object, then one for each of its results, as they come."""
    names = {variant.name: i for i, variant in enumerate(summary.variants)}
    metrics = [info.name for info in summary.record.metrics]
    seen: dict[int, dict[int, int]] = {}
    for result in results:
        place = summary.aggregate.index(result.case.id)
        variant = names.get(result.variant)
        if place is None or place not in wanted or variant is None:
            continue
        if place not in seen:
            yield place, embed(_case(result.case))
        repeats = seen.setdefault(place, {})
        repeats[variant] = repeats.get(variant, 0) + 1
        if repeats[variant] <= MAX_REPEATS:
            yield place, embed(_result(result, variant, metrics))


def _head(summary: Summary, kept: int) -> dict[str, Any]:
    left = summary.cases - kept
    note = ""
    if left > 0:
        note = (
            f"{kept:,} of {plural(summary.cases, 'case')} are in this file: the most telling ones and a random "
            "draw of the rest. All figures above are over all cases."
        )
    leading = summary.leading_metric
    return {
        "metrics": [
            {
                "name": _line(m.name),
                "low": jsonable(m.low),
                "high": jsonable(m.high),
                "direction": m.direction,
                "unit": _line(m.unit),
            }
            for m in summary.record.metrics
        ],
        "variants": [{"name": _line(v.name), "baseline": v.baseline} for v in summary.variants],
        "leading": _line(leading.name) if leading else "",
        "repeats": summary.record.repeats,
        "note": note,
    }


def _case(case: Case) -> dict[str, Any]:
    relevant = None
    if case.relevant is not None:
        relevant = [[_line(key), jsonable(grade)] for key, grade in list(case.relevant.items())[:MAX_RELEVANT]]
    return {
        "id": printable(case.id, 300, one_line=True),
        "question": _cut(question(case)),
        "inputs": [[_line(key), _cut(as_text(value))] for key, value in list(case.inputs.items())[:20]],
        "expected": None if case.expected is None else _cut(as_text(case.expected)),
        "tags": [_line(tag) for tag in case.tags[:50]],
        "group": None if case.group is None else _line(case.group),
        "relevant": relevant,
    }


def _result(result: Result, variant: int, metrics: list[str]) -> dict[str, Any]:
    output, usage = result.output, result.output.usage
    scores = [result.scores.get(name) for name in metrics]
    known = usage.certainty != "unknown" or usage.total_tokens > 0
    return {
        "variant": variant,
        "repeat": result.repeat,
        "text": _cut(output.text),
        "error": None if output.error is None else [_line(output.error.kind), _cut(output.error.message, 2000)],
        "latency": jsonable(output.latency_s),
        "first_token": _first_token(output.metadata.get("first_token_s")),
        "cost": None if usage.cost is None or usage.unpriced else dollars(usage.cost),
        "tokens": [usage.input_tokens, usage.output_tokens] if known else None,
        "cached": output.cached,
        "scores": [None if s is None else [jsonable(s.value), printable(s.reason, 1000)] for s in scores],
        "contexts": [
            [_line(c.id), jsonable(c.score), _cut(c.text), _is_relevant(result.case, c.id)]
            for c in output.contexts[:MAX_CONTEXTS]
        ],
        "more_contexts": max(len(output.contexts) - MAX_CONTEXTS, 0),
        "missed": _missed(result),
        "tools": [[_line(t.name), _cut(as_text(t.arguments), 2000)] for t in output.tool_calls[:MAX_CONTEXTS]],
    }


def _first_token(value: Any) -> float | None:
    """Seconds, from metadata that a pipeline may have filled with anything."""
    return value if type(value) is float and value >= 0 and value != math.inf else None


def _is_relevant(case: Case, passage: str) -> bool | None:
    return None if case.relevant is None else case.relevant.get(passage, 0) > 0


def _missed(result: Result) -> list[str]:
    """Relevant passages that a retriever didn't return; nothing for variants that retrieve nothing."""
    if not result.output.contexts or result.case.relevant is None:
        return []
    got = {context.id for context in result.output.contexts}
    missed = [key for key, grade in result.case.relevant.items() if grade > 0 and key not in got]
    return [_line(key) for key in missed[:MAX_RELEVANT]]


def _line(text: str) -> str:
    return printable(text, 200, one_line=True)


def _cut(text: str, limit: int = MAX_TEXT) -> str:
    """Safe text; a cut one says so at its end."""
    if len(text) <= limit:
        return printable(text)
    return f"{printable(text[:limit])}\n… cut: {limit:,} of {len(text):,} characters are shown"
