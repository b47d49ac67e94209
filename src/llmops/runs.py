"""A saved run as Python sees it: its head, its results, its statistics, and what it exits with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.aggregate import Aggregate
from llmops.config import store_location
from llmops.errors import (
    EXIT_BACKEND_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    InputError,
    NotFoundError,
    StoreError,
    did_you_mean,
)
from llmops.evals.gating import MAX_ERROR_SHARE, exit_code
from llmops.reports.completeness import state
from llmops.store.database import Store
from llmops.store.runfile import open_run_file
from llmops.types import GateOutcome, Result, Results, RunRecord

# A gate that says how many errors of a variant are acceptable: one on all its cases, not on those of a tag.
_ABOUT_ERRORS = re.compile(r"errors\s*[<=>!]+[^a-z]*(?:for variant:.+)?")


@dataclass
class Run:
    """A saved run: its head (`record`) and its `results`, read from the store a row at a time."""

    record: RunRecord
    results: Results
    aggregate_of: Callable[[], Aggregate]

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def aggregate(self) -> Aggregate:
        """Statistics of the run: `run.aggregate.values(variant, metric)` and more."""
        return self.aggregate_of()

    @property
    def gates(self) -> tuple[GateOutcome, ...]:
        """What each gate said for each variant: `pass`, `fail` or `undecided`, with the value seen."""
        return self.record.gates

    @property
    def exit_code(self) -> int:
        """What `llmops eval` exits with for this run."""
        return run_exit_code(self.record, self.aggregate)

    def mean(self, variant: str, metric: str) -> float | None:
        """Mean of a metric over scored cases, repeats averaged first; None when nothing was scored.

        Raises `NotFoundError` when the run has no such variant or metric.
        """
        for what, name, known in (("variant", variant, self.record.variants), ("metric", metric, self.record.metrics)):
            there = [info.name for info in known]
            if name not in there:
                raise NotFoundError(f"the run has no {what} {name!r}", hint=did_you_mean(str(name), there))
        values = self.aggregate.values(variant, metric)
        return sum(values) / len(values) if len(values) else None

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat mapping a result: variant, case, repeat, inputs, expected, text, error and each metric."""
        return [_flat(result) for result in self.results]

    def render(self, report: str = "terminal") -> str:
        """The run as `terminal`, `markdown`, `html`, `json`, `junit` or `csv` text."""
        from llmops.reports.rendering import render

        parts: list[str] = []
        render(report, self.record, self.results, write=parts.append)
        return "".join(parts)

    def _repr_html_(self) -> str:
        from html import escape

        page = escape(self.render("html"), quote=True)
        style = "width:100%;height:640px;border:1px solid #8884;border-radius:6px"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        yield Text.from_ansi(self.render("terminal"))

    def __repr__(self) -> str:
        return f"<Run {self.record.id} of {self.record.suite}: {state(self.record)}, {self.record.cases} cases>"


def _flat(result: Result) -> dict[str, Any]:
    output = result.output
    row: dict[str, Any] = {
        "variant": result.variant,
        "case": result.case.id,
        "repeat": result.repeat,
        "inputs": dict(result.case.inputs),
        "expected": result.case.expected,
        "text": output.text,
        "contexts": [context.id or context.text for context in output.contexts],
        "latency_s": output.latency_s,
        "tokens": output.usage.total_tokens if output.usage.certainty != "unknown" else None,
        "cached": output.cached,
        "error": output.error.message if output.error else None,
    }
    scores = {f"{name}_score" if name in row else name: score.value for name, score in result.scores.items()}
    return row | scores


def run_exit_code(record: RunRecord, aggregate: Aggregate) -> int:
    """0 pass, 1 a gate failed, 3 stopped or undecided, 4 too much failed to say, 130 interrupted."""
    by_status = {"interrupted": EXIT_INTERRUPTED, "failed": EXIT_BACKEND_FAILED, "running": EXIT_BACKEND_FAILED}
    if record.status in by_status:
        return by_status[record.status]
    if too_many_errors(record, aggregate):
        return EXIT_BACKEND_FAILED
    code = exit_code(record.gates)
    return EXIT_INCONCLUSIVE if record.status == "stopped" and code == 0 else code


def too_many_errors(record: RunRecord, aggregate: Aggregate) -> list[str]:
    """Variants of which more cases failed than can be overlooked, unless a gate speaks of errors."""
    decided = {gate.variant for gate in record.gates if _ABOUT_ERRORS.fullmatch(gate.rule)}
    return [v for v in aggregate.variants if v not in decided and aggregate.error_share(v) > MAX_ERROR_SHARE]


class StoredResults:
    """Results of a saved run, read anew from its store at each pass."""

    def __init__(self, location: str, run_id: str, only: Sequence[str] = ()) -> None:
        self._location = location
        self._run_id = run_id
        self._only = only

    def __iter__(self) -> Iterator[Result]:
        with Store.open(self._location) as store:
            results = store.results(self._run_id)
            yield from results.of_cases(self._only) if self._only else results

    def of_cases(self, case_ids: Sequence[str]) -> StoredResults:
        """The results of these cases alone, found without reading the others."""
        return StoredResults(self._location, self._run_id, case_ids)


def is_readable(results: Results) -> bool:
    """True for a run that can be read to its end: a damaged one must not cost a run that was just paid for."""
    try:
        for _ in results:
            pass
    except (StoreError, InputError):
        return False
    return True


def open_saved(location: str, record: RunRecord, aggregate: Aggregate | None = None) -> Run:
    """A `Run` over what a store holds."""
    return make_run(record, StoredResults(location, record.id), aggregate)


def make_run(record: RunRecord, results: Results, aggregate: Aggregate | None = None) -> Run:
    """A `Run` over any results; its statistics are counted when first asked for."""
    kept = [aggregate] if aggregate is not None else []

    def aggregate_of() -> Aggregate:
        if not kept:
            counted = Aggregate.of(record)
            for result in results:
                counted.add(result)
            kept.append(counted)
        return kept[0]

    return Run(record, results, aggregate_of)


def unfinished(store: Store, *, suite: str = "", reference: str = "") -> RunRecord:
    """The run to resume: the one named, or the latest of the suite that didn't finish."""
    if reference:
        return store.find(reference)
    for record in store.runs(limit=1000, suite=suite):
        if record.status != "finished" and "scored_from" not in record.environment:
            return record
    what = f"of {suite} " if suite else ""
    raise NotFoundError(f"no unfinished run {what}to resume", hint="llmops runs ls shows what there is")


def open_run(reference: str | Path = "latest", *, store: str | Path | None = None) -> Run:
    """A saved run: an id, the start of one, `latest`, a suite's name, or the path of an exported run file.

    Raises `NotFoundError` when there is no such run or file.
    """
    text = str(reference)
    if text.endswith((".jsonl", ".jsonl.gz")):
        if not os.path.isfile(text):  # noqa: PTH113  (Path.is_file raises on a name too long for a file)
            raise NotFoundError(f"no file {text[:200]!r}", hint="llmops runs export writes run files")
        return make_run(*open_run_file(Path(text)))
    location = store_location(None if store is None else str(store))
    with Store.open(location, create=False) as opened:
        return open_saved(location, opened.find(text))
