"""A backend without a language model: it answers with the sentences of the context that fit the question best."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llmops.backends.question_context import content_text, find_question
from llmops.backends.sentences import Unit, split_units
from llmops.errors import InputError, RequestRejectedError
from llmops.types import Completion, Request, Usage

UNKNOWN = "I don't know: the given context doesn't say."
VERSION = 1
SMALLEST_COVERAGE = 0.15
"""Share of the question's weight that a sentence must hold to count as an answer."""
SECOND_BEST = 0.75
"""A further sentence must score this much of the best one."""
HEADING_WEIGHT = 0.5
NEIGHBOUR_WEIGHT = 0.15
PHRASE_WEIGHT = 0.3
TYPE_BONUS = 0.2
LENGTH_WEIGHT = 0.1
NAME_WEIGHT = 2.0
"""How much more a name or a number in the question counts than another word."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces: a character counts as a word
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:\.\d+)*")
_COMMON = """
    a about according all also am an and any are as at be been being but by can could did do does doing for from
    had has have having he her here hers him his how i if in into is it its itself just like many may me might much
    must my no not now of on one only or other our out over please question s shall she should so some such t tell
    than that the their them then there these they this those to too us use used using very was we were what when
    where which while who whom whose why will with would you your
"""
_STOP_WORDS = frozenset(_COMMON.split())
_WANTS_NUMBER = re.compile(
    r"\bhow (?:many|much|long|often|old|far|big|large|fast|high|tall|deep)\b|\bwhen\b"
    r"|\b(?:what|which) (?:year|date|day|month|time|number|percent\w*|version|port|price|size|age|rate)\b",
    re.IGNORECASE,
)
_WANTS_NAME = re.compile(r"\b(?:who|whom|whose)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<=[\w,;:)] )[A-Z][\w'’-]+|^[A-Z][\w'’-]+ [A-Z][\w'’-]+")
_PRONOUN = re.compile(r"(?:It|Its|He|His|She|Her|They|Their|This|These|That|Those)\b")
_DIGIT = re.compile(r"\d")
_NAMED = re.compile(r"(?<=[\w,;:'\"(] )[^\W\d_]*[A-Z]\w*|(?<![\w])\w*\d\w*(?:\.\d+)*")
_stems: dict[str, str] = {}


class Extractive:
    """Picks sentences from the context in the messages. The same request always gets the same answer.

    Sentences are ranked by the words they share with the question, weighted by how rare each is in this context
    (inverse document frequency over its sentences), with a bonus for phrases, for numbers or names where the
    question asks for them, and for neighbours and headings that fit. `max_sentences` is the most it answers with.
    Parameters of a request: `max_sentences`, and `max_tokens`, where a token is a word or a punctuation mark: an
    estimate, also in usage.
    """

    note = "extractive: picks sentences from the context; no language model"

    local = True  # no server, so rates a minute don't apply

    def __init__(self, max_sentences: int = 2) -> None:
        if max_sentences < 1:
            raise InputError(f"max_sentences is {max_sentences}, not 1 or more")
        self._max_sentences = max_sentences

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "extractive", "version": VERSION, "max_sentences": self._max_sentences}

    async def complete(self, request: Request) -> Completion:
        """The best sentences in the order of the context, or that the context doesn't say."""
        return self._completion(request)

    def worst_case_tokens(self, request: Request) -> int:
        """Tokens the request will be counted as: exactly, since answering costs nothing."""
        return self._completion(request).usage.total_tokens

    def _completion(self, request: Request) -> Completion:
        limit = _whole(request.parameters, "max_sentences", self._max_sentences)
        asked = find_question(request.messages)
        text = answer(asked.question, asked.context, limit or 1)
        text, cut = _shortened(text, _whole(request.parameters, "max_tokens", None))
        read = sum(count_tokens(content_text(m.get("content"))) for m in request.messages)
        usage = Usage(input_tokens=read, output_tokens=count_tokens(text), requests=1, certainty="estimated")
        return Completion(text, usage, finish_reason="length" if cut else "stop", model="extractive")


def answer(question: str, context: str, max_sentences: int) -> str:
    """The sentences of `context` that answer `question` best, or `UNKNOWN`."""
    terms = list(dict.fromkeys(w for w in _words(question) if w not in _STOP_WORDS))
    if not terms:
        return UNKNOWN
    candidates = _candidates(split_units(context), question)
    ranking = _Ranking(terms, candidates, question)
    best = ranking.best(max_sentences)
    return _joined([candidates[i].unit.text for i in sorted(best)]) if best else UNKNOWN


def count_tokens(text: str) -> int:
    """Words and punctuation marks in `text`: an estimate of a tokenizer's count."""
    return len(_TOKEN.findall(text))


@dataclass(slots=True)
class _Candidate:
    """A unit, its words, and those of what it is about: its headings, and what its pronoun points back to."""

    unit: Unit
    words: list[str]
    about: frozenset[str]


def _candidates(units: list[Unit], question: str) -> list[_Candidate]:
    headings: dict[str, frozenset[str]] = {}
    same = question.strip().rstrip("?").lower()
    found: list[_Candidate] = []
    antecedent = _Candidate(Unit("", "", -1), [], frozenset())
    for unit in units:
        if unit.heading not in headings:
            headings[unit.heading] = frozenset(_words(unit.heading))
        if unit.text.strip().rstrip("?").lower() == same:  # the question, repeated, is no answer
            continue
        about, words = headings[unit.heading], _words(unit.text)
        if _PRONOUN.match(unit.text) and antecedent.unit.block == unit.block:
            about = antecedent.about
        else:
            antecedent = _Candidate(unit, words, about.union(words))
        found.append(_Candidate(unit, words, about))
    return found


class _Ranking:
    def __init__(self, terms: list[str], candidates: list[_Candidate], question: str) -> None:
        self.terms = terms
        self.candidates = candidates
        self.sets = [set(c.words) for c in candidates]
        self.named = frozenset(_words(" ".join(_NAMED.findall(question))))
        self.weights = self._weights()
        self.total = sum(self.weights.values())
        self.mean_length = max(1.0, sum(len(c.words) for c in candidates) / max(1, len(candidates)))
        self.wanted = _DIGIT if _WANTS_NUMBER.search(question) else _NAME if _WANTS_NAME.search(question) else None
        self.pairs = list(pairwise(terms))

    def _weights(self) -> dict[str, float]:
        """A smoothed idf of each term over the context's sentences; a term that is nowhere counts as rare."""
        count = len(self.candidates)
        places = [(own, c.about) for own, c in zip(self.sets, self.candidates, strict=True)]
        seen = {t: sum(t in own or t in about for own, about in places) for t in self.terms}
        return {t: math.log(1 + count / max(n, 1)) * (NAME_WEIGHT if t in self.named else 1.0) for t, n in seen.items()}

    def best(self, count: int) -> list[int]:
        """Positions of the best sentences, at most `count`; none when all share too little with the question."""
        shared = [self._shared(i) for i in range(len(self.candidates))]
        scores = [self._score(i, shared) for i in range(len(shared))]
        order = sorted((i for i in range(len(scores)) if shared[i] > 0), key=lambda i: (-scores[i], i))
        if not order or max(shared) < SMALLEST_COVERAGE * self.total:
            return []
        chosen = [order[0]]
        for i in order[1:]:
            if len(chosen) == count or scores[i] < SECOND_BEST * scores[order[0]]:
                break
            if not any(_same(self.sets[i], self.sets[j]) for j in chosen):
                chosen.append(i)
        return chosen

    def _shared(self, i: int) -> float:
        own, about = self.sets[i], self.candidates[i].about
        total = 0.0
        for term, weight in self.weights.items():
            if term in own:
                total += weight
            elif term in about:
                total += weight * HEADING_WEIGHT
        return total

    def _score(self, i: int, shared: list[float]) -> float:
        if not shared[i]:
            return 0.0
        candidate = self.candidates[i]
        score = shared[i] + self._phrases(candidate.words, self.sets[i])
        score /= 1 + LENGTH_WEIGHT * max(0.0, len(candidate.words) / self.mean_length - 1)
        if self.wanted is not None and self.wanted.search(candidate.unit.text):
            score *= 1 + TYPE_BONUS
        near = [
            shared[j]
            for j in (i - 1, i + 1)
            if 0 <= j < len(shared) and self.candidates[j].unit.block == candidate.unit.block
        ]
        return score + NEIGHBOUR_WEIGHT * max(near, default=0.0)

    def _phrases(self, words: list[str], own: set[str]) -> float:
        total = 0.0
        for a, b in self.pairs:
            if a in own and b in own and any(x == a and y == b for x, y in pairwise(words)):
                total += PHRASE_WEIGHT * min(self.weights[a], self.weights[b])
        return total


def _same(one: set[str], other: set[str]) -> bool:
    """True for sentences that share nine tenths of their words: near-duplicates from overlapping chunks."""
    return len(one & other) >= 0.9 * max(len(one), len(other))


def _joined(texts: list[str]) -> str:
    return "\n".join(texts) if any("; " in t and ": " in t for t in texts) and len(texts) > 1 else " ".join(texts)


def _shortened(text: str, max_tokens: int | None) -> tuple[str, bool]:
    if max_tokens is None:
        return text, False
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number == max_tokens:
            return text[: token.start()].rstrip(), True
    return text, False


def _whole(parameters: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = parameters.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestRejectedError(f"{name} is {str(value)[:40]!r}, not a whole number of 1 or more")
    return value


def _words(text: str) -> list[str]:
    """Lower-case words with their endings cut."""
    stems = _stems
    if len(stems) > 50_000:
        stems.clear()
    found = []
    for word in _WORD.findall(text.lower()):
        stem = stems.get(word)
        if stem is None:
            stem = stems[word] = _stem(word)
        found.append(stem)
    return found


def _stem(word: str) -> str:
    """A light stemmer: plurals, -ed, -ing and a last e. `plans` and `plan`, `priced` and `price` become one."""
    if len(word) < 4 or not word.isalpha() or word in _STOP_WORDS:
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("sses", "xes", "ches", "shes", "zes")) else word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and any(vowel in rest for vowel in "aeiouy"):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
