"""A run as it grows: its statistics, whether they are clear enough to end it, and what they say in the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from llmops.aggregate import Aggregate
from llmops.canary import Canary
from llmops.correcting import Corrections
from llmops.deciding import Level, Rules, conclude, is_clear
from llmops.evals.runner import Round
from llmops.evals.staging import Placed, Schedule, Stages
from llmops.types import Comparison, GateOutcome, MetricComparison, Result, Results

THRESHOLD = 0.05  # of a metric's range around a gate's threshold: a case there gets more answers
BROKE_OFF = "the run broke off, and the cases it got to are no random part of all"
STEADY = 0.5  # of a change that has to be there over all answers, for a case to count as changed for good


class Stepping:
    """Takes results one by one. Repeats from `repeats` on only tell which changed cases are steady.

    Verdicts rest on the repeats that every case has: to answer a case again because it flipped, and to count what
    comes out, would pull every real change towards none (docs/decisions/0009-adaptive-repeats.md).
    """

    def __init__(
        self,
        rules: Rules,
        schedule: Schedule | None,
        corrections: Corrections,
        *,
        repeats: int,
        max_repeats: int,
        canary: Canary | None = None,
    ) -> None:
        self.rules = rules
        self._canary = Canary(rules, 0.0, "") if canary is None else canary
        self._max_repeats = max_repeats
        self.aggregate = Aggregate([info.name for info in rules.metrics])
        self.schedule = schedule if schedule is not None and len(schedule.blocks) > 1 else None
        self._corrections = corrections
        self._repeats = repeats
        self._all = Aggregate(self.aggregate.metrics) if max_repeats > repeats else None
        self._cases: dict[str, Placed] = {}
        self._pooled = 1
        self._together: Aggregate | None = None  # with earlier runs of the same, for the comparisons alone
        self._look = 0
        self._begun = 0  # the last block of which a resumed run has answers: the looks before it were made

    def resume(self, results: Iterable[Result]) -> None:
        """Count what a run had before it broke off. The looks that it made are not made again: it went on."""
        blocks = self.schedule.blocks if self.schedule is not None else ()
        places = {case.id: (look, place) for look, block in enumerate(blocks) for place, case in block}
        for result in results:
            look, place = places.get(result.case.id, (0, 0))
            self.add(result, place)
            self._begun = max(self._begun, look)

    def add(self, result: Result, position: int = 0) -> None:
        """Count a finished trial."""
        if self._corrections:
            self._corrections.see(result)
        self._canary.see(result, position)
        if self._all is not None:
            self._all.add(result)
            self._cases.setdefault(result.case.id, (position, result.case))
        if result.repeat < self._repeats:
            self.aggregate.add(result)

    @property
    def stages(self) -> Stages | None:
        """The blocks to run, when the run may end between two."""
        return None if self.schedule is None else Stages(self.schedule.blocks, self._ended)

    def level(self, *, finished: bool = True) -> Level:
        """The level of the look that was made last; of the strictest one for a run that broke off between two."""
        if self.schedule is None:
            return Level()
        look = self._look if finished else 0
        return Level(self.schedule.levels[look], self.schedule.stopping(look) if finished else None)

    def more(self) -> Iterator[Round]:
        """What to ask when every case has its answers: unsteady cases again, and some of the cached ones."""
        if self._all is not None:
            yield Round(self.unsteady(), range(self._repeats, self._max_repeats))
        yield from self._canary.rounds()

    def unsteady(self) -> tuple[Placed, ...]:
        """The cases worth more answers: those that changed, and those at the threshold of a gate."""
        level = self.level()
        comparisons, _ = conclude(self.rules, self.aggregate, level)
        guarded = [m for one in comparisons for m in one.metrics if m.guard or not self.rules.comparison_gates]
        known = {info.name for info in self.rules.metrics}
        ids = {case for m in guarded if m.metric in known for case in (*m.broke, *m.fixed)} | self._at_thresholds()
        return tuple(sorted((self._cases[case] for case in ids if case in self._cases), key=lambda one: one[0]))

    def pool(self, own: Results, earlier: Sequence[Results]) -> None:
        """Count answers of earlier runs of the same as more repeats, in the comparisons alone.

        An answer that several runs have, because it came from the cache, counts once. Failed answers don't: an outage
        must not spoil every later run. Nor do earlier answers stand in for those that failed now, and cases that this
        run doesn't have stay out. Times are this run's alone: those of another hour tell the hour.
        """
        known: set[int] = set()
        ran: set[tuple[str, str]] = set()
        failed: set[tuple[str, str]] = set()
        pooled = Aggregate(self.aggregate.metrics)
        for result in own:
            if result.repeat < self._repeats:
                known.add(_answer(result))
                ran |= {(result.variant, result.case.id)} if result.output.error is None else set()
                failed |= {(result.variant, result.case.id)} if result.output.error is not None else set()
                pooled.add(result)
        ran -= failed
        for results in earlier:
            added = set()
            for result in results:
                answer, case = _answer(result), (result.variant, result.case.id)
                wanted = result.repeat < self._repeats and result.output.error is None and case in ran
                if wanted and answer not in known:
                    pooled.add(_untimed(result))
                    added.add(answer)
            known |= added
            self._pooled += bool(added)
        self._together = pooled

    def conclude(
        self, level: Level, *, finished: bool = True
    ) -> tuple[tuple[Comparison, ...], tuple[GateOutcome, ...]]:
        """Comparisons and gates. A run that broke off has verdicts only where its cases ran in random order."""
        held_back = "" if finished or self.schedule is not None else BROKE_OFF
        labels = self._corrections.labels if self._corrections else None
        together = self.aggregate if self._together is None else self._together
        comparisons, gates = conclude(
            self.rules, together, level, labels=labels, own=self.aggregate, held_back=held_back
        )
        return tuple(map(self._told, comparisons)), gates

    def _told(self, comparison: Comparison) -> Comparison:
        pooled = self._pooled
        notes = [*comparison.notes, *self._corrections.notes(comparison.candidate, comparison.baseline)]
        notes += self._canary.notes(comparison.candidate)
        if pooled > 1:
            runs = "both runs" if pooled == 2 else f"all {pooled} runs"
            notes.append(f"run {pooled} of the same commit and cases: its verdicts are of {runs} together")
        metrics = comparison.metrics
        if self._all is not None:
            metrics = tuple(self._steady_first(metric, comparison, self._all) for metric in metrics)
        return replace(comparison, metrics=metrics, notes=tuple(notes), pooled=pooled)

    def _steady_first(self, metric: MetricComparison, comparison: Comparison, every: Aggregate) -> MetricComparison:
        """Cases that changed over all their answers first; the others are named as flaky."""
        if metric.metric not in every.metrics:
            return metric
        flaky = frozenset(
            case for case in (*metric.broke, *metric.fixed) if not self._is_steady(case, metric, comparison, every)
        )
        broke, fixed = (tuple(sorted(ids, key=flaky.__contains__)) for ids in (metric.broke, metric.fixed))
        kept = tuple(case for case in (*broke, *fixed) if case in flaky)
        return replace(metric, broke=broke, fixed=fixed, flaky=kept)

    def _is_steady(self, case: str, metric: MetricComparison, comparison: Comparison, every: Aggregate) -> bool:
        first, all_of = (self._change(case, metric, comparison, one) for one in (self.aggregate, every))
        return first is None or all_of is None or all_of * first >= STEADY * first * first

    def _change(self, case: str, metric: MetricComparison, comparison: Comparison, of: Aggregate) -> float | None:
        place = of.index(case)
        if place is None:
            return None
        means = []
        for name in (comparison.baseline, comparison.candidate):
            scores = of.columns(name).scores[metric.metric]
            if place >= len(scores.counts) or not scores.counts[place]:
                return None
            means.append(scores.sums[place] / scores.counts[place])
        return means[1] - means[0]

    def _at_thresholds(self) -> set[str]:
        found: set[str] = set()
        ids = self.aggregate.ids
        ranges = {info.name: info.high - info.low for info in self.rules.metrics if None not in (info.low, info.high)}  # type: ignore[operator]
        for gate in self.rules.gates:
            near = THRESHOLD * ranges.get(gate.name, 0.0)
            chosen = range(len(ids)) if gate.tag is None else self.aggregate.places(gate.tag)
            for variant in self.rules.candidates if gate.name in ranges else ():
                if gate.variant in (None, variant):
                    column = self.aggregate.column(variant, gate.name)
                    found.update(ids[i] for i in chosen if abs(column[i] - gate.threshold) <= near)
        return found

    def _ended(self, look: int) -> bool:
        self._look = look
        schedule = self.schedule
        if schedule is None or look + 1 == len(schedule.blocks) or look < self._begun:
            return False
        where = schedule.stopping(look)
        if self._corrections and any(
            self._corrections.may_still_apply(metric, candidate, baseline, where.cases / where.planned)
            for metric, candidate, baseline in self.rules.guarded
        ):
            return False
        labels = self._corrections.labels if self._corrections else None
        return is_clear(self.rules, self.aggregate, self.level(), labels=labels)


def _untimed(result: Result) -> Result:
    """An earlier run's answer: what it says counts, the time it took and where it was from don't."""
    return replace(result, output=replace(result.output, latency_s=None, cached=False))


def _answer(result: Result) -> int:
    """What tells an answer from every other: one from the cache keeps its text, and its latency to the last bit."""
    return hash((result.variant, result.case.id, result.output.text, result.output.latency_s))
