"""Judges against people: labels, what they show of a judge, and saved calibrations that correct comparisons."""

from __future__ import annotations

from llmops.calibration.correcting import Correction, needs_correction
from llmops.calibration.saved import Calibration, answer_hash, calibration_path, judge_identity, load_calibration

__all__ = [
    "Calibration",
    "Correction",
    "answer_hash",
    "calibration_path",
    "judge_identity",
    "load_calibration",
    "needs_correction",
]
