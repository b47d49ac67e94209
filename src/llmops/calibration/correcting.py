"""When a comparison by a judge has to be corrected by people's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_PAIRS = 30


@dataclass(frozen=True, slots=True)
class Correction:
    """Whether a comparison needs its labels, and why in one sentence. `p` tests that judge and people agree on average.

    `possible` is false below 30 labelled pairs, where neither the test nor the corrected interval can be relied on.
    """

    needed: bool
    reason: str
    p: float | None
    labelled: int
    possible: bool = True


def needs_correction(
    human: Sequence[float], judge: Sequence[float], *, judge_then: str = "", judge_now: str = "", alpha: float = 0.05
) -> Correction:
    """Decide whether to gate on the prediction-powered interval instead of the judge's own.

    `human` and `judge` are the differences of the labelled pairs (`Calibration.labelled_pairs`). With 30 or more it is
    needed when mean(H − J) = 0 is rejected at `alpha` (paired t), or when the judge is another than the calibrated one:
    `judge_then` and `judge_now` are its identities, empty when not known. Raises `ValueError` for unequal lists.
    """
    from llmops.stats.prediction import judge_bias

    stale = bool(judge_then and judge_now and judge_then != judge_now)
    if len(human) != len(judge):
        raise ValueError(f"{len(human)} differences of people and {len(judge)} of the judge are no pairs")
    labelled = len(human)
    if labelled < FEWEST_PAIRS:
        changed = "; the judge has changed since it was calibrated" if stale else ""
        reason = f"{labelled} labelled pairs, {FEWEST_PAIRS} are needed to check the judge{changed}"
        return Correction(False, reason, None, labelled, possible=False)
    test = judge_bias(human, judge, alpha)
    if test.p <= alpha:
        favours = "baseline" if test.mean > 0 else "candidate"
        reason = (
            f"the judge favours the {favours} by {abs(test.mean):.3g} compared with people ({labelled} labelled pairs)"
        )
        return Correction(True, reason, test.p, labelled)
    if stale:
        reason = f"the judge has changed since it was calibrated ({labelled} labelled pairs)"
        return Correction(True, reason, test.p, labelled)
    reason = f"no bias of the judge found ({labelled} labelled pairs)"
    return Correction(False, reason, test.p, labelled)
