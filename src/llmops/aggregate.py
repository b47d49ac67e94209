"""Running statistics over results, fed a result at a time, in compact arrays.

Gates and reports read the same numbers from here. Repeats of a case are averaged first, so every statistic
counts each case once, however often it was repeated.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from llmops.errors import NotFoundError, did_you_mean
from llmops.stats.descriptive import mean, quantile
from llmops.types import Case, Result, Score, Usage

MAX_DISTINCT = 200
OTHER = "other reasons"
FAILED = "the case failed"
NAMES = ("cases", "errors", "tokens_per_case", "latency_mean", "latency_p50", "latency_p95")
_LATENCY = re.compile(r"latency_p(\d{1,2}(?:\.\d+)?|100)")


class Aggregate:
    """Statistics by variant and metric; `add` takes results in any order.

    Memory is about 12 bytes a case, metric and variant plus about 150 bytes a case for its id.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = list(metrics)
        self._index: dict[str | bytes, int] = {}
        self._tags: dict[str, array[int]] = {}
        self._groups: dict[str, int] = {}
        self._group_of: array[int] = array("i")
        self._columns: dict[str, _Columns] = {}

    def add(self, result: Result) -> None:
        """Count one finished trial."""
        columns = self._columns.get(result.variant)
        if columns is None:
            columns = self._columns[result.variant] = _Columns(self.metrics)
        columns.add(self._place(result.case), result)

    @property
    def variants(self) -> list[str]:
        """Names of the variants seen, in the order they were first seen."""
        return list(self._columns)

    @property
    def tags(self) -> dict[str, int]:
        """Cases by tag, over all variants, most frequent first."""
        sizes = {tag: len(cases) for tag, cases in self._tags.items()}
        return dict(sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0])))

    @property
    def total_cases(self) -> int:
        """Distinct cases over all variants."""
        return len(self._index)

    def index(self, case_id: str) -> int | None:
        """Place of a case in `column` and `error_counts`; None for a case that wasn't seen."""
        return self._index.get(_key(case_id))

    def case_ids(self, places: Collection[int]) -> list[str] | None:
        """Ids of the cases at these places; None when one is too long to have been kept."""
        found = [key for key, place in self._index.items() if place in places]
        return [key for key in found if isinstance(key, str)] if not any(isinstance(k, bytes) for k in found) else None

    def cases(self, variant: str, *, tag: str | None = None, group: str | None = None) -> int:
        """Cases with at least one trial."""
        trials = self._of(variant).trials
        return sum(1 for i in self._chosen(tag, group) if i < len(trials) and trials[i])

    def trials(self, variant: str) -> int:
        """Finished trials: cases times repeats when the run is complete."""
        return sum(self._of(variant).trials)

    def errors(self, variant: str, *, tag: str | None = None, group: str | None = None) -> int:
        """Trials that ended in an error."""
        errors = self._of(variant).errors
        return sum(errors[i] for i in self._chosen(tag, group) if i < len(errors))

    def error_share(self, variant: str, *, tag: str | None = None, group: str | None = None) -> float:
        """Share of a case's trials that failed, averaged over cases; 0 when there are no cases."""
        columns = self._of(variant)
        shares = _ratios(columns.errors, columns.trials, self._chosen(tag, group))
        return mean(shares) if shares else 0.0

    def error_kinds(self, variant: str) -> dict[str, int]:
        """Failed trials by kind of error, most frequent first."""
        return dict(self._of(variant).kinds.most_common())

    def values(self, variant: str, metric: str, *, tag: str | None = None, group: str | None = None) -> array[float]:
        """One value a scored case, repeats averaged; cases without any score are left out."""
        scores = self._scores(variant, metric)
        return _ratios(scores.sums, scores.counts, self._chosen(tag, group))

    def latencies(self, variant: str, *, tag: str | None = None, group: str | None = None) -> array[float]:
        """Seconds by case, over trials that were measured and didn't fail."""
        of = self._of(variant)
        return _ratios(of.seconds, of.timed, self._chosen(tag, group))

    def tokens(self, variant: str, *, tag: str | None = None, group: str | None = None) -> array[float]:
        """Tokens by case, over trials whose tokens are known, cached answers included."""
        columns = self._of(variant)
        return _ratios(columns.tokens, columns.counted, self._chosen(tag, group))

    def cached(self, variant: str) -> int:
        """Trials that were answered without paying."""
        return self._of(variant).cached

    def usage(self, variant: str) -> Usage:
        """What was paid for: the usage of all trials but cached ones."""
        return self._of(variant).usage

    def unscored(self, variant: str, metric: str) -> dict[str, int]:
        """Cases without any score by the first reason given, most frequent first."""
        scores, trials = self._scores(variant, metric), self._of(variant).trials
        names = list(scores.reasons)
        cases = zip(scores.why, scores.counts, trials, strict=False)
        return dict(Counter(names[why - 1] for why, count, tried in cases if tried and not count).most_common())

    def column(self, variant: str, metric: str) -> array[float]:
        """One value for every case seen, by `index`; NaN where this variant has no score."""
        scores = self._scores(variant, metric)
        found = array("d", (s / n if n else math.nan for s, n in zip(scores.sums, scores.counts, strict=True)))
        found.extend([math.nan] * (self.total_cases - len(found)))
        return found

    def error_counts(self, variant: str) -> array[int]:
        """Failed trials for every case seen, by `index`."""
        counts = self._of(variant).errors[:]
        counts.extend([0] * (self.total_cases - len(counts)))
        return counts

    def value(self, name: str, variant: str, *, tag: str | None = None, group: str | None = None) -> float | None:
        """A number by name, or None when nothing was measured.

        Names: a metric (its mean), `cases`, `errors` (share of trials), `tokens_per_case`, `latency_mean`,
        and `latency_p50`, `latency_p95` or any other percentile. Raises `NotFoundError` for other names.
        """
        if name in self.metrics:
            return _mean_or_none(self.values(variant, name, tag=tag, group=group))
        if name == "cases":
            return float(self.cases(variant, tag=tag, group=group))
        if name == "errors":
            found = self.cases(variant, tag=tag, group=group)
            return self.error_share(variant, tag=tag, group=group) if found else None
        if name == "tokens_per_case":
            return _mean_or_none(self.tokens(variant, tag=tag, group=group))
        seconds, percentile = self.latencies(variant, tag=tag, group=group), _LATENCY.fullmatch(name)
        if name == "latency_mean":
            return _mean_or_none(seconds)
        if percentile:
            return quantile(seconds, float(percentile[1]) / 100) if seconds else None
        raise NotFoundError(f"nothing is measured as {name!r}", hint=did_you_mean(name, [*self.metrics, *NAMES]))

    def _of(self, variant: str) -> _Columns:
        return self._columns.get(variant) or _Columns(self.metrics)

    def _scores(self, variant: str, metric: str) -> _Scores:
        return self._of(variant).scores.get(metric) or _Scores()

    def _place(self, case: Case) -> int:
        key = _key(case.id)
        place = self._index.get(key)
        if place is None:
            place = self._index[key] = len(self._index)
            for tag in dict.fromkeys(case.tags):
                self._tags.setdefault(tag, array("I")).append(place)
            number = -1 if case.group is None else self._groups.setdefault(case.group, len(self._groups))
            self._group_of.append(number)
        return place

    def _chosen(self, tag: str | None, group: str | None) -> Iterable[int]:
        places: Iterable[int] = range(len(self._index)) if tag is None else self._tags.get(tag, ())
        if group is None:
            return places
        number = self._groups.get(group, -2)
        return [i for i in places if self._group_of[i] == number]


class _Scores:
    """One metric of one variant: sums and counts over repeats by case, and why a case has no score."""

    __slots__ = ("counts", "reasons", "sums", "why")

    def __init__(self) -> None:
        self.sums: array[float] = array("d")
        self.counts: array[int] = array("I")
        self.why: array[int] = array("B")
        self.reasons: dict[str, int] = {}

    def add(self, place: int, score: Score | None, failed: bool) -> None:
        value, reason = _number(score, failed)
        if value is not None:
            self.sums[place] += value
            self.counts[place] += 1
        elif not self.why[place]:
            if reason not in self.reasons and len(self.reasons) >= MAX_DISTINCT:
                reason = OTHER
            self.why[place] = self.reasons.setdefault(reason, len(self.reasons) + 1)


class _Columns:
    """One variant: an item a case in each array."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.trials: array[int] = array("I")
        self.errors: array[int] = array("I")
        self.seconds: array[float] = array("d")
        self.timed: array[int] = array("I")
        self.tokens: array[float] = array("d")
        self.counted: array[int] = array("I")
        self.scores = {metric: _Scores() for metric in metrics}
        self.kinds: Counter[str] = Counter()
        self.usage = Usage()
        self.cached = 0
        self._arrays: list[array[int] | array[float]] = [self.trials, self.errors, self.seconds]
        self._arrays += [self.timed, self.tokens, self.counted]
        for scores in self.scores.values():
            self._arrays += [scores.sums, scores.counts, scores.why]

    def add(self, place: int, result: Result) -> None:
        if place >= len(self.trials):
            missing = [0] * (place + 1 - len(self.trials))
            for column in self._arrays:
                column.extend(missing)
        output = result.output
        self.trials[place] += 1
        if output.error is not None:
            self.errors[place] += 1
            kind = output.error.kind[:100]
            self.kinds[kind if kind in self.kinds or len(self.kinds) < MAX_DISTINCT else "other"] += 1
        elif output.latency_s is not None and math.isfinite(output.latency_s):
            self.seconds[place] += output.latency_s
            self.timed[place] += 1
        self._count_tokens(place, output.usage, output.cached)
        for name, scores in self.scores.items():
            scores.add(place, result.scores.get(name), output.error is not None)

    def _count_tokens(self, place: int, usage: Usage, cached: bool) -> None:
        if usage.certainty != "unknown" or usage.total_tokens:
            self.tokens[place] += usage.total_tokens
            self.counted[place] += 1
        if cached:
            self.cached += 1
        else:
            self.usage = self.usage + usage


def _key(case_id: str) -> str | bytes:
    if len(case_id) <= 64:
        return case_id
    return hashlib.blake2b(case_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _number(score: Score | None, failed: bool) -> tuple[float | None, str]:
    if score is None:
        return None, FAILED if failed else "no score"
    if score.value is None:
        return None, score.reason[:200] or "no reason given"
    try:
        value = float(score.value)
    except OverflowError:
        value = math.inf
    return (value, "") if math.isfinite(value) else (None, "the score isn't a finite number")


def _ratios(sums: array[float] | array[int], counts: array[int], places: Iterable[int]) -> array[float]:
    size = len(counts)
    return array("d", (sums[i] / counts[i] for i in places if i < size and counts[i]))


def _mean_or_none(values: array[float]) -> float | None:
    return mean(values) if values else None
