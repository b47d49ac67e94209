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

from llmops.columns import Columns, Scores
from llmops.errors import NotFoundError, did_you_mean
from llmops.stats.descriptive import mean, quantile
from llmops.types import Case, Result, RunRecord, Usage

MAX_ID = 200  # characters; of longer ids a digest is kept
NAMES = ("cases", "errors", "tokens_per_case", "cost_per_case", "latency_mean", "latency_p50", "latency_p95")
_LATENCY = re.compile(r"latency_p(\d{1,2}(?:\.\d+)?|100)")


class Aggregate:
    """Statistics by variant and metric; `add` takes results in any order.

    Memory is about 20 bytes a case, metric and variant plus about 150 bytes a case for its id.
    """

    def __init__(self, metrics: Sequence[str], *, repeats: int | None = None) -> None:
        """`repeats` from which on trials don't count; None counts all."""
        self.metrics = list(metrics)
        self._repeats = repeats
        self._index: dict[str | bytes, int] = {}
        self._tags: dict[str, array[int]] = {}
        self._groups: dict[str, int] = {}
        self._group_of: array[int] = array("i")
        self._columns: dict[str, Columns] = {}
        self._order: array[int] = array("q")

    def add(self, result: Result) -> None:
        """Count one finished trial."""
        if self._repeats is None or result.repeat < self._repeats:
            self.filled(result.variant).add(self.place(result.case), result)

    @classmethod
    def of(cls, record: RunRecord) -> Aggregate:
        """An empty one for a run, which leaves out answers beyond its repeats: unsteady cases are no fair sample."""
        more = record.config.get("max_repeats") or 0
        return cls([info.name for info in record.metrics], repeats=record.repeats if more > record.repeats else None)

    def filled(self, variant: str) -> Columns:
        """The columns of a variant, to add to."""
        columns = self._columns.get(variant)
        if columns is None:
            columns = self._columns[variant] = Columns(self.metrics)
        return columns

    @property
    def variants(self) -> list[str]:
        """Names of the variants seen, in the order they were first seen."""
        return list(self._columns)

    @property
    def tags(self) -> dict[str, int]:
        """Cases by tag, over all variants, most frequent first."""
        sizes = ((tag, len(cases)) for tag, cases in self._tags.items())
        return dict(sorted(sizes, key=lambda pair: (-pair[1], pair[0])))

    @property
    def total_cases(self) -> int:
        """Distinct cases over all variants."""
        return len(self._index)

    def index(self, case_id: str) -> int | None:
        """Place of a case in `column` and `error_counts`; None for a case that wasn't seen."""
        return self._index.get(_key(case_id))

    @property
    def ids(self) -> list[str]:
        """Ids of all cases by `index`; one too long to be kept is its digest."""
        return [key if isinstance(key, str) else key.hex() for key in self._index]

    @property
    def order(self) -> array[int]:
        """All cases by id, as their `index`: an order that doesn't depend on which answer came first."""
        if len(self._order) != len(self._index):
            ids = self.ids
            self._order = array("q", sorted(range(len(ids)), key=ids.__getitem__))
        return self._order

    @property
    def groups(self) -> array[int]:
        """A code for each case's group, by `index`; -1 for a case without one."""
        return self._group_of

    def places(self, tag: str) -> array[int]:
        """Where the cases with a tag are, by `index`."""
        return self._tags.get(tag, array("I"))

    def columns(self, variant: str) -> Columns:
        """The raw sums of a variant; its arrays may be shorter than `total_cases`."""
        return self._of(variant)

    def case_ids(self, places: Collection[int]) -> list[str] | None:
        """Ids of the cases at these places; None when one is too long to have been kept."""
        found = [key for key, place in self._index.items() if place in places]
        kept = [key for key in found if isinstance(key, str)]
        return kept if len(kept) == len(found) else None

    def cases(self, variant: str, *, tag: str | None = None, group: str | None = None) -> int:
        """Cases with at least one trial."""
        trials = self._of(variant).trials
        return sum(1 for i in self._chosen(tag, group) if i < len(trials) and trials[i])

    def trials(self, variant: str) -> int:
        """Finished trials: cases times repeats when the run is complete."""
        return sum(self._of(variant).trials)

    def errors(self, variant: str, *, tag: str | None = None, group: str | None = None) -> int:
        """Trials that ended in an error."""
        counts = self.error_counts(variant)
        return sum(counts[i] for i in self._chosen(tag, group))

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
        columns = self._of(variant)
        return _ratios(columns.seconds, columns.timed, self._chosen(tag, group))

    def first_tokens(self, variant: str, *, tag: str | None = None, group: str | None = None) -> array[float]:
        """Seconds to the first token by case, over trials that were streamed and didn't fail."""
        columns = self._of(variant)
        return _ratios(columns.first, columns.streamed, self._chosen(tag, group))

    def tokens(self, variant: str, *, tag: str | None = None, group: str | None = None) -> array[float]:
        """Tokens by case, over trials whose tokens are known, cached answers included."""
        columns = self._of(variant)
        return _ratios(columns.tokens, columns.counted, self._chosen(tag, group))

    def costs(self, variant: str, *, tag: str | None = None, group: str | None = None) -> array[float]:
        """Dollars by case, over trials of which every request has a price, cached answers included."""
        columns = self._of(variant)
        return _ratios(columns.dollars, columns.priced, self._chosen(tag, group))

    def unpriced(self, variant: str, *, tag: str | None = None, group: str | None = None) -> int:
        """Answers with a request that has no price. Failed trials are no answers."""
        columns = self._of(variant)
        places = (place for place in self._chosen(tag, group) if place < len(columns.trials))
        return sum(columns.trials[i] - columns.errors[i] - columns.priced[i] for i in places)

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
        counts = self._of(variant).errors
        return counts + array("I", [0] * (self.total_cases - len(counts)))

    def value(self, name: str, variant: str, *, tag: str | None = None, group: str | None = None) -> float | None:
        """A number by name, or None when nothing was measured.

        Names: a metric (its mean), `cases`, `errors` (share of trials), `tokens_per_case`, `cost_per_case` (dollars),
        `latency_mean`, and `latency_p50`, `latency_p95` or any other percentile. Raises `NotFoundError` for others.
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
        if name == "cost_per_case":
            unpriced = self.unpriced(
                variant, tag=tag, group=group
            )  # the mean of the others would seem to be everyone's
            return None if unpriced else _mean_or_none(self.costs(variant, tag=tag, group=group))
        seconds, percentile = self.latencies(variant, tag=tag, group=group), _LATENCY.fullmatch(name)
        if name == "latency_mean":
            return _mean_or_none(seconds)
        if percentile:
            return quantile(seconds, float(percentile[1]) / 100) if seconds else None
        raise NotFoundError(f"nothing is measured as {name!r}", hint=did_you_mean(name, [*self.metrics, *NAMES]))

    def _of(self, variant: str) -> Columns:
        return self._columns.get(variant) or Columns(self.metrics)

    def _scores(self, variant: str, metric: str) -> Scores:
        return self._of(variant).scores.get(metric) or Scores()

    def place(self, case: Case) -> int:
        """Place of a case, made when it is new."""
        key = _key(case.id)
        place = self._index.get(key)
        if place is None:
            place = self._index[key] = len(self._index)
            for tag in dict.fromkeys(case.tags):
                self._tags.setdefault(tag, array("I")).append(place)
            number = -1 if case.group is None else self._groups.setdefault(case.group, len(self._groups))
            self._group_of.append(number)
        return place

    def regroup(self, place: int, group: str) -> bool:
        """Give the case at `place` a group if it has none; False when it has another one, which it keeps."""
        number = self._groups.setdefault(group, len(self._groups))
        if self._group_of[place] < 0:
            self._group_of[place] = number
        return self._group_of[place] == number

    def _chosen(self, tag: str | None, group: str | None) -> Iterable[int]:
        places: Iterable[int] = range(len(self._index)) if tag is None else self._tags.get(tag, ())
        if group is None:
            return places
        number = self._groups.get(group, -2)
        return [i for i in places if self._group_of[i] == number]


def _key(case_id: str) -> str | bytes:
    if len(case_id) <= MAX_ID:
        return case_id
    return hashlib.blake2b(case_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _ratios(sums: array[float] | array[int], counts: array[int], places: Iterable[int]) -> array[float]:
    size = len(counts)
    return array("d", (sums[i] / counts[i] for i in places if i < size and counts[i]))


def _mean_or_none(values: array[float]) -> float | None:
    return mean(values) if values else None
