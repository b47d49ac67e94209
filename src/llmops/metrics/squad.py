"""SQuAD's answer normalisation, exact match and token F1.

Rajpurkar et al. 2016 (arXiv:1606.05250) for the two measures and the normalisation; 2018 (arXiv:1806.03822) for
questions without an answer: both sides empty is 1, one side empty is 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from llmops.metrics.expected import references, shown
from llmops.types import MetricInfo, Sample, Score

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PASS = Score(1.0)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, without the words a, an and the, single spaces."""
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub("", text.lower())).split())


def token_f1(prediction: list[str], reference: list[str]) -> float:
    """Harmonic mean of precision and recall over tokens, counted as often as they occur in both."""
    if not prediction or not reference:
        return float(prediction == reference)
    left = Counter(prediction)
    shared = 0
    for token in reference:
        if left[token] > 0:
            left[token] -= 1
            shared += 1
    return 2 * shared / (len(prediction) + len(reference))


class SquadExactMatch:
    """1 when output and an expected answer are equal after SQuAD's normalisation."""

    def __init__(self) -> None:
        self.info = MetricInfo("squad_exact_match", description="equal to an expected answer once normalised")

    def score(self, sample: Sample) -> Score:
        found = _normalized_references(sample)
        if isinstance(found, Score):
            return found
        return PASS if normalize_answer(sample.output.text) in found else Score(0.0, f"not {shown(found[0])}")


class TokenF1:
    """The best token F1 between the output and an expected answer, after SQuAD's normalisation."""

    def __init__(self) -> None:
        self.info = MetricInfo("token_f1", description="token overlap (F1) with the best expected answer")

    def score(self, sample: Sample) -> Score:
        found = _normalized_references(sample)
        if isinstance(found, Score):
            return found
        own = normalize_answer(sample.output.text).split()
        return Score(max(token_f1(own, reference.split()) for reference in found))


def _normalized_references(sample: Sample) -> list[str] | Score:
    """Normalised answers; those that normalise to nothing count only when all do (as SQuAD 2.0 scores)."""
    found = references(sample.case.expected)
    if isinstance(found, Score):
        return found
    return [text for text in map(normalize_answer, found) if text] or [""]
