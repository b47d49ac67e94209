"""Metrics that look for text: equal, contained, matching a pattern, at the start or the end."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llmops.errors import InputError
from llmops.metrics.expected import nonempty_references, references, shown, wanted_texts
from llmops.metrics.squad import normalize_answer
from llmops.types import MetricInfo, Sample, Score

MAX_SEARCHED = 100_000
PASS = Score(1.0)
NOWHERE = "   "
"""In no text with single spaces."""
Group = list[tuple[str, str]]
"""Texts of which one is enough: as written, and prepared for looking."""


class ExactMatch:
    """1 when the output is the expected answer, or one of them; a mapping is compared as JSON."""

    def __init__(self, ignore_case: bool = False, strip: bool = True, normalize: bool = False) -> None:
        self.info = MetricInfo("exact_match", description="the output is exactly an expected answer")
        self._ignore_case = ignore_case
        self._normalize = normalize
        self._strip = strip

    def score(self, sample: Sample) -> Score:
        expected, text = sample.case.expected, sample.output.text
        if not isinstance(expected, str) and _is_structured(expected):
            return _match_json(text, expected)
        found = references(expected)
        if isinstance(found, Score):
            return found
        own = self._plain(text)
        for reference in found:
            if own == self._plain(reference):
                return PASS
        return Score(0.0, f"not {_listed(found)}")

    def _plain(self, text: str) -> str:
        if self._normalize:
            return normalize_answer(text)
        text = text.strip() if self._strip else text
        return text.casefold() if self._ignore_case else text


class Contains:
    """1 when the output contains the value, or one of them; without a value, an expected answer."""

    def __init__(self, value: Any = None, ignore_case: bool = False, normalize: bool = False) -> None:
        self.info = MetricInfo("contains", description="the output contains the text, or one of several")
        self._prepare = _preparation(ignore_case, normalize)
        self._fixed = None if value is None else _prepared(wanted_texts(value, option="contains"), self._prepare)

    def score(self, sample: Sample) -> Score:
        wanted = self._fixed
        if wanted is None:
            texts = nonempty_references(sample.case.expected)
            if isinstance(texts, Score):
                return texts
            wanted = _prepared(texts, self._prepare)
        own = self._prepare(sample.output.text)
        for _, prepared in wanted:
            if prepared in own:
                return PASS
        return Score(0.0, f"without {_listed([text for text, _ in wanted])}")


class ContainsAny(Contains):
    """1 when the output contains at least one of the values; without values, of the expected answers."""

    def __init__(self, values: Any = None, ignore_case: bool = False, normalize: bool = False) -> None:
        super().__init__(values, ignore_case, normalize)
        self.info = MetricInfo("contains_any", description="the output contains at least one of the texts")


class ContainsAll:
    """1 when the output contains every value; without values, every item of the expected list."""

    def __init__(self, values: Any = None, ignore_case: bool = False, normalize: bool = False) -> None:
        self.info = MetricInfo("contains_all", description="the output contains all of the texts")
        self._prepare = _preparation(ignore_case, normalize)
        self._fixed: list[Group] | None = None
        if values is not None:
            wanted_texts(values, option="contains_all")
            groups = self._groups(values)
            assert not isinstance(groups, Score)
            self._fixed = groups

    def score(self, sample: Sample) -> Score:
        groups = self._fixed if self._fixed is not None else self._groups(sample.case.expected)
        if isinstance(groups, Score):
            return groups
        own = self._prepare(sample.output.text)
        missing = [group[0][0] for group in groups if not any(prepared in own for _, prepared in group)]
        return Score(0.0, f"without {', '.join(map(shown, missing[:5]))}") if missing else PASS

    def _groups(self, values: Any) -> list[Group] | Score:
        """One group an item, because a number or a boolean can be written in two ways."""
        everything = references(values)
        if isinstance(everything, Score):
            return everything
        groups: list[Group] = []
        for item in values if isinstance(values, (list, tuple)) else [values]:
            texts = nonempty_references(item)
            if not isinstance(texts, Score):
                groups.append(_prepared(texts, self._prepare))
        return groups or nonempty_failure(values)


class NotContains:
    """1 when the output contains none of the values."""

    def __init__(self, value: Any, ignore_case: bool = False, normalize: bool = False) -> None:
        self.info = MetricInfo("not_contains", description="the output contains none of the texts")
        self._prepare = _preparation(ignore_case, normalize)
        self._unwanted = _prepared(wanted_texts(value, option="not_contains"), self._prepare)

    def score(self, sample: Sample) -> Score:
        own = self._prepare(sample.output.text)
        for text, prepared in self._unwanted:
            if prepared in own:
                return Score(0.0, f"contains {shown(text)}")
        return PASS


class Regex:
    """1 when the pattern is found anywhere in the output (Python's `re`, the first 100,000 characters)."""

    def __init__(self, pattern: str, ignore_case: bool = False) -> None:
        self.info = MetricInfo("regex", description="the pattern is found in the output")
        self._pattern = _compiled(pattern, ignore_case, "regex")

    def score(self, sample: Sample) -> Score:
        if self._pattern.search(sample.output.text, 0, MAX_SEARCHED):
            return PASS
        return Score(0.0, f"nothing matches {shown(self._pattern.pattern)}")


class NotRegex:
    """1 when the pattern is found nowhere in the output (the first 100,000 characters)."""

    def __init__(self, pattern: str, ignore_case: bool = False) -> None:
        self.info = MetricInfo("not_regex", description="the pattern is not found in the output")
        self._pattern = _compiled(pattern, ignore_case, "not_regex")

    def score(self, sample: Sample) -> Score:
        found = self._pattern.search(sample.output.text, 0, MAX_SEARCHED)
        return Score(0.0, f"{shown(found.group())} matches {shown(self._pattern.pattern)}") if found else PASS


class StartsWith:
    """1 when the output starts with the value, or one of them; without a value, an expected answer."""

    _test: Callable[..., bool] = str.startswith
    _name = "starts_with"
    _description = "the output starts with the text, or one of several"

    def __init__(self, value: Any = None, ignore_case: bool = False, strip: bool = True) -> None:
        self.info = MetricInfo(self._name, description=self._description)
        plain = _preparation(ignore_case, normalize=False)
        self._prepare: Callable[[str], str] = (lambda text: plain(text.strip())) if strip else plain
        self._fixed = None if value is None else _prepared(wanted_texts(value, option=self._name), self._prepare)

    def score(self, sample: Sample) -> Score:
        wanted = self._fixed
        if wanted is None:
            texts = nonempty_references(sample.case.expected)
            if isinstance(texts, Score):
                return texts
            wanted = _prepared(texts, self._prepare)
        own, test = self._prepare(sample.output.text), type(self)._test
        for _, prepared in wanted:
            if test(own, prepared):
                return PASS
        return Score(0.0, f"{self._name.replace('_', ' ')} none of {_listed([text for text, _ in wanted])}")


class EndsWith(StartsWith):
    """1 when the output ends with the value, or one of them; without a value, an expected answer."""

    _test = str.endswith
    _name = "ends_with"
    _description = "the output ends with the text, or one of several"


def nonempty_failure(values: Any) -> Score:
    """Why `values` hold nothing to look for."""
    found = nonempty_references(values)
    return found if isinstance(found, Score) else Score.unscored("there is nothing to look for")


def _preparation(ignore_case: bool, normalize: bool) -> Callable[[str], str]:
    if normalize:
        return _whole_words
    return str.casefold if ignore_case else str


def _whole_words(text: str) -> str:
    """Normalised and between spaces, so that `in` finds whole words only."""
    return f" {normalize_answer(text)} "


def _prepared(texts: Iterable[str], prepare: Callable[[str], str]) -> Group:
    # what has no words once normalised (such as "The") is nowhere, also not in an output without words
    return [(text, own if (own := prepare(text)).strip() else NOWHERE) for text in texts]


def _listed(texts: list[str] | tuple[str, ...]) -> str:
    more = f" or {len(texts) - 3} others" if len(texts) > 3 else ""
    return " or ".join(map(shown, texts[:3])) + more


def _is_structured(expected: Any) -> bool:
    kinds = (Mapping, list, tuple)
    if isinstance(expected, Mapping):
        return True
    return isinstance(expected, (list, tuple)) and any(isinstance(item, kinds) for item in expected)


def _match_json(text: str, expected: Any) -> Score:
    from llmops.metrics.structure import parse_json, same_json

    value, problem = parse_json(text)
    if problem:
        return Score(0.0, problem)
    alternatives = [expected] if isinstance(expected, Mapping) else expected
    if any(same_json(value, alternative) for alternative in alternatives):
        return PASS
    return Score(0.0, "the JSON differs from what is expected")


def _compiled(pattern: str, ignore_case: bool, name: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "possible nested set": not worth a line on stderr
            return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        hint = "write it in Python's re syntax, in single quotes"
        raise InputError(f"{name}: {pattern!r} isn't a pattern: {error}"[:200], hint=hint) from None
