"""The cases a comparison turns on: those that broke worst and those that were fixed best, with both answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Literal

from llmops.reports.verdicts import is_cost, leading
from llmops.types import Case, Comparison, MetricComparison, Result, Results

Kind = Literal["broke", "fixed"]


@dataclass(slots=True)
class ComparedCase:
    """A case that moved on `metric`, with both sides' answers; None where no answer was kept.

    Of several repeats, those are shown that moved most: the baseline's best and the candidate's worst of a case that
    broke, the other way round of one that was fixed.
    """

    id: str
    kind: Kind
    metric: MetricComparison
    case: Case | None = None
    before: Result | None = None
    after: Result | None = None


def compared_cases(comparison: Comparison, results: Results, limit: int = 5) -> list[ComparedCase]:
    """Up to `limit` cases that broke, worst first, then up to `limit` that were fixed, best first.

    Guard metrics that regressed (or improved) take turns; if there are none, all of them. Reads the results once at
    most, and only these cases where a store can do that.
    """
    found = [*islice(_moved(comparison, "broke"), limit)]
    taken = {one.id for one in found}
    found += islice((one for one in _moved(comparison, "fixed") if one.id not in taken), limit)
    wanted = {one.id: one for one in found}
    for result in _of_cases(results, list(wanted)):
        if result.case.id in wanted:
            _keep(wanted[result.case.id], result, comparison)
    return found


def turning(comparison: Comparison, kind: Kind) -> list[MetricComparison]:
    """The metrics whose cases tell most: those that regressed (or improved), else all that lead.

    Answers are read for what they say: seconds and tokens count only when nothing else is compared.
    """
    leads = leading(comparison)
    metrics = [m for m in leads if not is_cost(m)] or leads
    verdict = "regressed" if kind == "broke" else "improved"
    return [m for m in metrics if m.verdict == verdict and moved(m, kind)] or metrics


def moved(metric: MetricComparison, kind: Kind) -> tuple[str, ...]:
    """Ids of the metric's cases of this kind, those that moved most first."""
    return metric.broke if kind == "broke" else metric.fixed


def _moved(comparison: Comparison, kind: Kind) -> Iterator[ComparedCase]:
    metrics = turning(comparison, kind)
    seen: set[str] = set()
    for turn in zip_longest(*(moved(m, kind) for m in metrics)):
        for metric, case_id in zip(metrics, turn, strict=True):
            if case_id is not None and case_id not in seen:
                seen.add(case_id)
                yield ComparedCase(case_id, kind, metric)


def _of_cases(results: Results, ids: list[str]) -> Iterable[Result]:
    narrow = getattr(results, "of_cases", None)  # a store finds a few cases without reading all
    if not ids:
        return ()
    return narrow(ids) if narrow is not None else results


def _keep(view: ComparedCase, result: Result, comparison: Comparison) -> None:
    view.case = view.case or result.case
    if result.variant == comparison.baseline:
        view.before = _telling(view.before, result, view, best=view.kind == "broke")
    elif result.variant == comparison.candidate:
        view.after = _telling(view.after, result, view, best=view.kind == "fixed")


def _telling(old: Result | None, new: Result, view: ComparedCase, *, best: bool) -> Result:
    if old is None:
        return new
    values = (_value(old, view.metric), _value(new, view.metric))
    return new if (values[1] > values[0] if best else values[1] < values[0]) else old


def _value(result: Result, metric: MetricComparison) -> float:
    """The result's score, higher being better; a failed or unscored answer is the worst."""
    score = result.scores.get(metric.metric)
    if result.output.error is not None or score is None or score.value is None:
        return float("-inf")
    return -score.value if metric.info.direction == "lower" else score.value
