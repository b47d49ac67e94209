"""What an output does besides being right: declining, length, time, tokens."""

from __future__ import annotations

from typing import Any, Literal

from llmops.metrics.declining import declines
from llmops.types import Case, MetricInfo, Sample, Score

_NO = frozenset(("false", "no", "0", "0.0"))
_PASS = Score(1.0)


class Refusal:
    """1 when the output declines to answer or says that it doesn't know; neither end is better."""

    def __init__(self) -> None:
        self.info = MetricInfo("refusal", direction="none", description="the output declines, or doesn't know")

    def score(self, sample: Sample) -> Score:
        """1 or 0."""
        return Score(float(declines(sample.output.text)))


class Abstention:
    """1 when the output abstains exactly where it should: on cases that can't be answered.

    A case can't be answered when its metadata says `answerable: false` or it has the tag `unanswerable`.
    """

    def __init__(self) -> None:
        self.info = MetricInfo("abstention", description="abstains on unanswerable cases, and only there")

    def score(self, sample: Sample) -> Score:
        """1 or 0; an empty output is 0."""
        text = sample.output.text
        if not text.strip():
            return Score(0.0, "the output is empty")
        abstains = declines(text)
        if is_answerable(sample.case):
            return Score(0.0, "abstains, though there is an answer") if abstains else _PASS
        return _PASS if abstains else Score(0.0, "answers, though there is no answer")


def is_answerable(case: Case) -> bool:
    """False for a case with `answerable: false` in its metadata, or the tag `unanswerable`."""
    if "unanswerable" in case.tags:
        return False
    said: Any = case.metadata.get("answerable")
    return said is None or str(said).strip().lower() not in _NO  # in a CSV file everything is text


class Length:
    """Length of the output in characters, or in words (what space separates)."""

    def __init__(self, unit: Literal["characters", "words"] = "characters") -> None:
        self.info = MetricInfo(
            "length", high=None, direction="none", unit=unit, description=f"length of the output in {unit}"
        )
        self._words = unit == "words"

    def score(self, sample: Sample) -> Score:
        """0 or more."""
        text = sample.output.text
        return Score(float(len(text.split()) if self._words else len(text)))


class Latency:
    """Seconds from asking to the whole output."""

    def __init__(self) -> None:
        self.info = MetricInfo(
            "latency", high=None, direction="lower", unit="s", description="time to the whole output"
        )

    def score(self, sample: Sample) -> Score:
        """Seconds; unscored when nobody measured them."""
        seconds = sample.output.latency_s
        return Score.unscored("the latency is unknown") if seconds is None else Score(float(seconds))


class Tokens:
    """Tokens of all requests behind an output: `total`, `input` or `output`."""

    def __init__(self, kind: Literal["total", "input", "output"] = "total") -> None:
        name = "tokens" if kind == "total" else f"{kind}_tokens"
        self.info = MetricInfo(
            name, high=None, direction="lower", unit="tokens", description=f"{kind} tokens of all requests"
        )
        self._kind = kind

    def score(self, sample: Sample) -> Score:
        """0 or more; unscored when nobody counted."""
        usage = sample.output.usage
        if usage.certainty == "unknown":
            return Score.unscored("the token usage is unknown")
        if self._kind == "total":
            return Score(float(usage.total_tokens))
        return Score(float(usage.input_tokens if self._kind == "input" else usage.output_tokens))
