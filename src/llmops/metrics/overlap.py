"""How much an output overlaps with the expected answers: edit similarity, ROUGE, BLEU, chrF.

The three n-gram measures come from the libraries that papers report (rouge-score, sacrebleu), at sentence level
and scaled to 0–1.
"""

from __future__ import annotations

from typing import Any, Literal

from llmops.errors import InputError, MissingExtraError
from llmops.metrics.expected import nonempty_references, references
from llmops.types import MetricInfo, Sample, Score

MAX_CHARACTERS = 100_000
BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]


class EditSimilarity:
    """1 - Levenshtein distance / length of the longer text, for the closest expected answer."""

    def __init__(self, ignore_case: bool = False) -> None:
        from rapidfuzz.distance import Levenshtein

        self.info = MetricInfo("edit_similarity", description="share of characters that need no edit")
        self._similarity = Levenshtein.normalized_similarity
        self._ignore_case = ignore_case

    def score(self, sample: Sample) -> Score:
        found = references(sample.case.expected)
        if isinstance(found, Score):
            return found
        own, similarity = self._plain(sample.output.text), self._similarity
        return Score(max(float(similarity(own, self._plain(text))) for text in found))

    def _plain(self, text: str) -> str:
        text = text.strip()
        return text.casefold() if self._ignore_case else text


class _Rouge:
    """F-measure of overlapping n-grams (Lin 2004, aclanthology.org/W04-1013), the best expected answer counts."""

    _kind = ""
    _description = ""

    def __init__(self, use_stemmer: bool = False) -> None:
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError:
            raise MissingExtraError("text", needed_for=self._kind) from None
        self.info = MetricInfo(self._kind, description=self._description)
        self._scorer = RougeScorer([self._kind], use_stemmer=use_stemmer)

    def score(self, sample: Sample) -> Score:
        found = nonempty_references(sample.case.expected)
        if isinstance(found, Score):
            return found
        readable = [text for text in found if any(c.isascii() and c.isalnum() for c in text)]
        if not readable:
            return Score.unscored("ROUGE reads only a-z and 0-9, and the expected answer has neither; try chrf")
        text = sample.output.text[:MAX_CHARACTERS]
        scored = self._scorer.score_multi([r[:MAX_CHARACTERS] for r in readable], text)
        return Score(float(scored[self._kind].fmeasure))


class Rouge1(_Rouge):
    """ROUGE-1: overlap of words."""

    _kind = "rouge1"
    _description = "overlap of words with the best expected answer (F-measure)"


class Rouge2(_Rouge):
    """ROUGE-2: overlap of pairs of neighbouring words."""

    _kind = "rouge2"
    _description = "overlap of word pairs with the best expected answer (F-measure)"


class RougeL(_Rouge):
    """ROUGE-L: the longest common subsequence of words."""

    _kind = "rougeL"
    _description = "longest common word sequence with the best expected answer (F-measure)"


class Bleu:
    """Sentence BLEU over all expected answers together, orders without n-grams left out (effective order)."""

    def __init__(self, tokenize: BleuTokenizer = "13a", lowercase: bool = False) -> None:
        library = _sacrebleu("bleu")
        self.info = MetricInfo("bleu", description="sentence BLEU against all expected answers, 0-1")
        self._metric = library.BLEU(effective_order=True, tokenize=tokenize, lowercase=lowercase)

    def score(self, sample: Sample) -> Score:
        return _sentence_score(self._metric, sample)


class Chrf:
    """Sentence chrF: F-score of character n-grams; `word_order: 2` makes it chrF++."""

    def __init__(self, word_order: int = 0, lowercase: bool = False) -> None:
        if not 0 <= word_order <= 10:
            raise InputError(f"chrf: word_order is {word_order}", hint="write 0 for chrF or 2 for chrF++")
        library = _sacrebleu("chrf")
        self.info = MetricInfo("chrf", description="overlap of character n-grams with the best expected answer")
        self._metric = library.CHRF(word_order=word_order, lowercase=lowercase)

    def score(self, sample: Sample) -> Score:
        return _sentence_score(self._metric, sample)


def _sacrebleu(needed_for: str) -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise MissingExtraError("text", needed_for=needed_for) from None
    return metrics


def _sentence_score(metric: Any, sample: Sample) -> Score:
    found = nonempty_references(sample.case.expected)
    if isinstance(found, Score):
        return found
    value = metric.sentence_score(sample.output.text[:MAX_CHARACTERS], list(found)).score
    return Score(min(float(value) / 100, 1.0))
