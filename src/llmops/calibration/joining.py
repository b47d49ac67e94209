"""A judge's scores from a saved run, for labels that hold people's verdicts only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from llmops.calibration.labels import Label
from llmops.calibration.saved import answer_hash
from llmops.calibration.scales import check_range, rescaled
from llmops.datasets.strict_json import shown
from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.types import MetricInfo, Result, RunRecord


@dataclass(frozen=True)
class Joined:
    """Labels with the run's scores, and how many were left out: of no answer in the run, or of another answer."""

    labels: list[Label]
    absent: int = 0
    outdated: int = 0


def join(
    labels: Sequence[Label],
    record: RunRecord,
    results: Iterable[Result],
    metric: str,
    human_range: tuple[float, float] | None = None,
) -> Joined:
    """Give each label the score that `metric` has in the run for the answer it is about.

    A label with the answer's text belongs to that text, whichever repeat gave it; without, to the repeat it names. A
    label may leave the variant out when the run has only one. Raises `NotFoundError` for a metric or variant that the
    run doesn't have, `InputError` for labels that can't be joined or that are outside of the metric's range, to which
    `human_range` is moved.
    """
    infos = {info.name: info for info in record.metrics}
    if metric not in infos:
        raise NotFoundError(f"the run has no metric {metric!r}", hint=did_you_mean(metric, infos))
    wanted: dict[tuple[str, str], list[int]] = {}
    for number, label in enumerate(labels):
        wanted.setdefault((_variant(label, record), label.id), []).append(number)
    found: dict[int, Label] = {}
    answered: set[int] = set()
    for result in results:
        for number in wanted.get((result.variant, result.case.id), ()):
            if number in found or result.output.error is not None:
                continue
            answered.add(number)
            joined = _scored(labels[number], result, metric)
            if joined is not None:
                found[number] = joined
    kept = [found[number] for number in sorted(found)]
    if not kept:
        hint = "label answers of this run: the ids are those of its cases"
        raise InputError("no label is about an answer of the run", where=labels[0].where, hint=hint)
    if human_range is not None:
        kept = rescaled(kept, *human_range, _range(infos[metric]))
    check_range(kept, infos[metric])
    return Joined(kept, len(labels) - len(answered), len(answered) - len(found))


def _range(info: MetricInfo) -> tuple[float, float]:
    return 0.0 if info.low is None else info.low, 1.0 if info.high is None else info.high


def _variant(label: Label, record: RunRecord) -> str:
    if label.judged:
        hint = "leave out --run, or the judge's verdict"
        raise InputError("the label has a judge's verdict, and a run was given", where=label.where, hint=hint)
    if isinstance(label.human, str):
        hint = 'put the judge\'s choice beside it as "judge", without --run'
        raise InputError("a choice between two can't be joined with a run's scores", where=label.where, hint=hint)
    known = [info.name for info in record.variants]
    if not label.variant and len(known) == 1:
        return known[0]
    if label.variant not in known:
        what = f"the run has no variant {shown(label.variant)}" if label.variant else "the label names no variant"
        raise InputError(what, where=label.where, hint=did_you_mean(label.variant, known))
    return label.variant


def _scored(label: Label, result: Result, metric: str) -> Label | None:
    answer = answer_hash(result.output.text)
    if (label.answer and label.answer != answer) or (not label.answer and label.repeat != result.repeat):
        return None
    score = result.scores.get(metric)
    value = None if score is None else score.value
    return replace(
        label,
        judge=value,
        judged=value is not None,
        variant=result.variant,
        repeat=result.repeat,
        answer=answer,
        lengths=label.lengths or (float(len(result.output.text)),),
    )
