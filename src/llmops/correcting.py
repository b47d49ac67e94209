"""People's labels beside a run: where a judge is known to err, its comparison rests on both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.calibration.correcting import FEWEST_PAIRS, Correction, needs_correction
from llmops.calibration.saved import Calibration, answer_hash, calibration_path, judge_identity, load_calibration
from llmops.types import MetricInfo, Result, RunRecord

if TYPE_CHECKING:
    from llmops.evals.estimates import Labels


def load_calibrations(root: Path, metrics: Iterable[MetricInfo]) -> dict[str, Calibration]:
    """Those of a project's metrics, kept under `evals/calibration`. Raises `InputError` for one that is damaged."""
    paths = {info.name: calibration_path(info.name, root) for info in metrics}
    return {name: load_calibration(path) for name, path in paths.items() if path.is_file()}


@dataclass
class _Seen:
    """A variant's answers and scores of labelled cases, by case id; scores by metric first."""

    answers: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


class Corrections:
    """The calibrations of a run's metrics, and what the run answered to the cases that people labelled."""

    def __init__(self, record: RunRecord, calibrations: Mapping[str, Calibration]) -> None:
        self._record = record
        self._calibrations = calibrations
        self._cases = {label.id for one in self._calibrations.values() for label in one.labels}
        self._seen: dict[str, _Seen] = {}

    def __bool__(self) -> bool:
        return bool(self._calibrations)

    def see(self, result: Result) -> None:
        """Note an answer, if people may have labelled it."""
        if result.repeat or result.case.id not in self._cases:
            return
        seen = self._seen.setdefault(result.variant, _Seen())
        seen.answers[result.case.id] = answer_hash(result.output.text)
        for name, score in result.scores.items():
            if name in self._calibrations and score.value is not None:
                seen.scores.setdefault(name, {})[result.case.id] = score.value

    def may_still_apply(self, metric: str, candidate: str, baseline: str, share: float) -> bool:
        """True when the labelled pairs among this share of the cases are too few to correct by, and all would do."""
        found = self._compared(metric, candidate, baseline)
        return found is not None and not found[0].possible and found[0].labelled >= share * FEWEST_PAIRS

    def labels(self, metric: str, candidate: str, baseline: str) -> Labels | None:
        """The labels that a comparison has to use; None where the judge needs no correction."""
        found = self._compared(metric, candidate, baseline)
        if found is None or not found[0].needed:
            return None
        import numpy as np

        from llmops.evals.estimates import Labels

        _, human, judge, cases = found
        return Labels(np.array(human), np.array(judge), tuple(cases))

    def notes(self, candidate: str, baseline: str) -> list[str]:
        """What reports say of each calibrated metric."""
        said = []
        for metric, calibration in self._calibrations.items():
            found = self._compared(metric, candidate, baseline)
            agreement = _agreement(calibration)
            said += [f"{metric}: {agreement}"] if agreement else []
            said += [f"{metric}: {found[0].reason}" + "; corrected by the labels" * found[0].needed] if found else []
        return said

    def _compared(
        self, metric: str, candidate: str, baseline: str
    ) -> tuple[Correction, Sequence[float], Sequence[float], Sequence[str]] | None:
        calibration = self._calibrations.get(metric)
        sides = [self._seen.get(name, _Seen()) for name in (baseline, candidate)]
        if calibration is None:
            return None
        before, after = sides
        scores = (before.scores.get(metric), after.scores.get(metric))
        human, judge = calibration.labelled_pairs(before.answers, after.answers, *scores)
        now = judge_identity(self._record, metric)
        found = needs_correction(human, judge, judge_then=calibration.judge, judge_now=now)
        return found, human, judge, calibration.labelled_cases(before.answers, after.answers)


def _agreement(calibration: Calibration) -> str:
    """`judge agreement with humans 91 % (120 labels)`, for verdicts that can agree exactly."""
    judged = [label for label in calibration.labels if label.judge is not None]
    if calibration.kind == "scale" or not judged:
        return ""
    from llmops.stats.intervals import wilson

    agreed = sum(label.judge == label.human for label in judged)
    low, high = wilson(agreed, len(judged))
    return f"judge agreement with humans {agreed / len(judged):.0%} ({low:.0%}–{high:.0%}, {len(judged)} labels)"
