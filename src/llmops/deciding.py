"""What a run says: its comparisons and gates, worked out from its head and its statistics alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llmops.aggregate import Aggregate
from llmops.errors import SuiteError
from llmops.evals.comparison_rules import (
    ComparisonGate,
    ComparisonSettings,
    check_margin,
    check_one_margin,
    is_comparison,
    parse_comparison_gate,
)
from llmops.evals.gating import Gate, decide, is_beyond, parse_gate
from llmops.types import Comparison, GateOutcome, MetricComparison, MetricInfo, RunRecord, Stopping

if TYPE_CHECKING:
    from llmops.evals.comparisons import LabelsFor

SENT = ("content_id", "backend", "model", "parameters", "variables")  # what decides a prompt variant's requests
EVERY_METRIC = "no-regression"  # the gate of a comparison with what was there before, when the suite names none


@dataclass(frozen=True)
class Rules:
    """What is asked of a run: gates, and which candidates are compared with which baselines, and how."""

    metrics: tuple[MetricInfo, ...]
    candidates: tuple[str, ...]
    gates: tuple[Gate, ...] = ()
    comparison_gates: tuple[ComparisonGate, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    settings: ComparisonSettings = field(default_factory=ComparisonSettings)
    against: str = ""  # the revision or label that candidates are compared with
    identical: frozenset[str] = frozenset()  # candidates that send just what their baselines send

    @property
    def staged(self) -> bool:
        """True when the run may end early: there are guard metrics, and something to compare them with.

        A part of the cases says nothing about exactly these cases, so `population: fixed` runs them all.
        """
        sampled = self.settings.population == "sample"
        return bool(self.comparison_gates and self.pairs and self.settings.early_stop and sampled)

    @property
    def guarded(self) -> tuple[tuple[str, str, str], ...]:
        """Metric, candidate and baseline of every comparison that a gate speaks of."""
        return tuple((name, *pair) for gate, pair in self._asked() for name, _ in gate.metrics)

    @property
    def must_be_better(self) -> frozenset[tuple[str, str]]:
        """Metric and candidate where no meaningful drop isn't enough: more cases may show a gain."""
        better = [(gate, pair) for gate, pair in self._asked() if gate.demand == "better"]
        return frozenset((name, pair[0]) for gate, pair in better for name, _ in gate.metrics)

    def _asked(self) -> Iterator[tuple[ComparisonGate, tuple[str, str]]]:
        for gate in self.comparison_gates:
            for pair in self.pairs:
                if gate.variant in (None, pair[0]):
                    yield gate, pair

    @property
    def compared(self) -> tuple[str, ...]:
        """The variants that gates on comparisons speak of."""
        own = {candidate for candidate, _ in self.pairs}
        baselines = {baseline for _, baseline in self.pairs} - own
        return tuple(name for name in self.candidates if name not in baselines)


@dataclass(frozen=True)
class Level:
    """At which level a comparison is made (None: the settings'), and where it stands when it is made in stages."""

    alpha: float | None = None
    stopping: Stopping | None = None


def parse_rules(
    rules: Sequence[tuple[str, str]], metrics: Sequence[MetricInfo], variants: Sequence[str]
) -> tuple[tuple[Gate, ...], tuple[ComparisonGate, ...]]:
    """Gates on a run and gates on comparisons, from rules with where they stand. Raises `SuiteError`."""
    names = [info.name for info in metrics]
    gates = tuple(
        parse_gate(rule, metrics=names, variants=variants, where=where)
        for rule, where in rules
        if not is_comparison(rule)
    )
    comparisons = [
        (parse_comparison_gate(rule, metrics=metrics, variants=variants, where=where), where)
        for rule, where in rules
        if is_comparison(rule)
    ]
    check_one_margin(comparisons)
    return gates, tuple(gate for gate, _ in comparisons)


def rules_of(record: RunRecord) -> Rules:
    """The rules a run was made with, from its head. Raises `SuiteError` for a head that holds others."""
    config = record.config
    everyone = [info.name for info in record.variants]
    counterparts = config.get("counterparts") or {}
    candidates = tuple(name for name in everyone if name not in counterparts)
    rules = config.get("gates") or [gate.rule for gate in record.gates]
    ran = [rule for rule in dict.fromkeys(rules) if _variant_of(rule) in ("", *everyone)]
    gates, comparison_gates = parse_rules([(rule, "") for rule in ran], record.metrics, everyone)
    pairs, settings = pairs_of(record), settings_of(config)
    against = str(config.get("against") or "")
    same = _identical(record, pairs)
    return Rules(record.metrics, candidates, gates, comparison_gates, pairs, settings, against, same)


def _identical(record: RunRecord, pairs: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Candidates whose prompt, backend and parameters are their baseline's: every request of theirs is the same."""
    infos = {info.name: info for info in record.variants}
    return frozenset(
        candidate
        for candidate, baseline in pairs
        if infos[candidate].kind == infos[baseline].kind == "prompt"
        and all(infos[candidate].details.get(key) == infos[baseline].details.get(key) for key in SENT)
    )


def pairs_of(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Candidate and baseline of each comparison: counterparts where they were asked for, else the suite's baseline."""
    names = [info.name for info in record.variants]
    counterparts = record.config.get("counterparts") or {}
    if counterparts or record.config.get("against"):
        made = [(mine, name) for name, mine in counterparts.items() if {mine, name} <= set(names)]
        return (*made, *_beside(record, {*counterparts, *counterparts.values()}))
    if record.baseline not in names:
        return ()
    return tuple((name, str(record.baseline)) for name in names if name != record.baseline)


def _beside(record: RunRecord, paired: set[str]) -> list[tuple[str, str]]:
    """What can't have been another one before, a pipeline, against the suite's own baseline."""
    own = record.config.get("own_baseline")
    infos = {info.name: info for info in record.variants}
    if own not in infos:
        return []
    return [
        (name, str(own)) for name, info in infos.items() if name != own and name not in paired and info.kind != "prompt"
    ]


def settings_of(config: Any) -> ComparisonSettings:
    """How a run compares; the defaults for what its head doesn't say. Raises `SuiteError` for what can't be."""
    kept = config.get("comparison")
    known = ComparisonSettings.__dataclass_fields__
    settings = ComparisonSettings(**{key: value for key, value in (kept or {}).items() if key in known})
    check_margin(settings.margin or "-", unit="s")
    try:
        _level(settings.alpha), _level(settings.power)
    except ValueError:
        raise SuiteError("the run's head has no level between 0 and 1 to compare at") from None
    return settings


def _level(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError("a level is between 0 and 1")
    return value


def level_of(config: Mapping[str, Any]) -> Level:
    """The level a finished run's comparisons were made at, and where it ended, from its head.

    Raises `SuiteError` for a head that llmops didn't write.
    """
    kept = config.get("stopping")
    if not kept:
        return Level()
    try:
        return Level(_level(kept["alpha"]), Stopping(**{name: kept[name] for name in Stopping.__dataclass_fields__}))
    except (KeyError, ValueError):
        raise SuiteError("the run's head doesn't say at which level it ended") from None


def shared_level(records: Sequence[RunRecord | None], wanted: float) -> Level:
    """The level to compare what runs answered at: their own where that is stricter, for they ended after a look.

    And where they ended, when all are one run. Raises `SuiteError` as `level_of` does.
    """
    known = [record for record in records if record is not None]
    levels = [level_of(record.config) for record in known]
    same = len(known) == len(records) and len({record.id for record in known}) == 1
    alpha = min([wanted, *(level.alpha for level in levels if level.alpha is not None)])
    return Level(alpha, levels[0].stopping if same else None)


def conclude(
    rules: Rules,
    aggregate: Aggregate,
    level: Level = Level(),
    *,
    labels: LabelsFor | None = None,
    own: Aggregate | None = None,
    held_back: str = "",
) -> tuple[tuple[Comparison, ...], tuple[GateOutcome, ...]]:
    """All comparisons, and what every gate says.

    `own` are a run's own statistics, where `aggregate` pools several. `held_back` is why no comparison has a verdict.
    """
    # What was there before is no one's to mend.
    outcomes = decide(rules.gates, aggregate if own is None else own, rules.candidates)
    if not rules.pairs and not rules.comparison_gates:
        return (), outcomes
    from llmops.evals.comparisons import compare_all, decide_comparisons

    wanted = _wanted(rules, labels)
    comparisons = compare_all(wanted, aggregate, alpha=level.alpha, stopping=level.stopping)
    comparisons = tuple(_settled(one) if one.candidate in rules.identical else one for one in comparisons)
    comparisons = tuple(_held(one, held_back) for one in comparisons) if held_back else comparisons
    return comparisons, (
        *decide_comparisons(rules.comparison_gates, comparisons, rules.compared, rules.against),
        *outcomes,
    )


def is_clear(rules: Rules, aggregate: Aggregate, level: Level, *, labels: LabelsFor | None = None) -> bool:
    """True when nothing more needs to run: a guard metric regressed, or everything that is asked has an answer.

    That is a verdict for each guard metric, a gain or a fall where a gate asks for better, and scores that are
    surely on one side of each threshold.
    """
    from llmops.evals.comparisons import compare_all

    comparisons = compare_all(_wanted(rules, labels), aggregate, alpha=level.alpha, slices=False)
    comparisons = tuple(_settled(one) if one.candidate in rules.identical else one for one in comparisons)
    guards = [(one.candidate, metric) for one in comparisons for metric in one.metrics if metric.guard]
    if any(metric.verdict == "regressed" for _, metric in guards):
        return True
    better = rules.must_be_better
    clear = all(
        metric.verdict == "improved" or (metric.verdict == "equivalent" and (metric.metric, candidate) not in better)
        for candidate, metric in guards
    )
    alpha = rules.settings.alpha if level.alpha is None else level.alpha
    return bool(guards) and clear and all(is_beyond(gate, aggregate, rules.candidates, alpha) for gate in rules.gates)


def _held(comparison: Comparison, why: str) -> Comparison:
    metrics = (replace(one, verdict="inconclusive", why=(*one.why, why)) for one in comparison.metrics)
    return replace(comparison, metrics=tuple(metrics))


def _settled(comparison: Comparison) -> Comparison:
    """Both sides sent the same, so nothing can differ and no number of cases is needed to say so."""
    metrics = tuple(_same(one) if _is_tied(one) else one for one in comparison.metrics)
    note = "prompt, model and parameters are the same on both sides: the same requests, the same answers"
    return replace(comparison, metrics=metrics, notes=(note, *comparison.notes))


def _is_tied(metric: MetricComparison) -> bool:
    lost = metric.errors_a or metric.errors_b or metric.unscored or any("answers failed" in why for why in metric.why)
    return bool(metric.n) and metric.diff == 0 and not metric.broke and not metric.fixed and not lost


def _same(metric: MetricComparison) -> MetricComparison:
    return replace(
        metric,
        ci=(0.0, 0.0),
        p=1.0,
        lo_safe=0.0,
        method="same requests",
        verdict="equivalent",
        mde=None,
        n_needed=None,
        p_sign_flip=None,
        why=(),
    )


def guarding_all(rules: Rules) -> Rules:
    """The same with every metric guarded, as evidence for a promotion is judged."""
    gate = parse_comparison_gate(EVERY_METRIC, metrics=rules.metrics, variants=rules.candidates)
    return replace(rules, comparison_gates=(*rules.comparison_gates, gate))


def _wanted(rules: Rules, labels: LabelsFor | None) -> Any:
    from llmops.evals.comparisons import Compared

    return Compared(rules.metrics, rules.pairs, rules.comparison_gates, rules.settings, labels=labels)


def _variant_of(rule: str) -> str:
    """The variant a rule is for, which `--variant` may have left out; empty for all."""
    return rule.partition(" for variant:")[2].strip()
