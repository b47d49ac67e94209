"""`llmops compare`: two runs, run files or files of scores, paired by case, as a head that every report can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmops.aggregate import Aggregate
from llmops.deciding import shared_level
from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.evals.comparison_rules import MEASURES, ComparisonGate, check_margins, parse_comparison_gate
from llmops.evals.comparisons import SHOWN, Compared, compare_all, decide_comparisons
from llmops.evals.gating import exit_code
from llmops.rowstream import Source, source_of
from llmops.score_kinds import CompareOptions, kinds_of, metrics_of
from llmops.scorefiles import PAIRED, Cases, Shape, read_pairs, read_run, read_scores, shape_of
from llmops.types import Comparison, GateOutcome, MetricInfo, Result, Results, RunRecord, VariantInfo


@dataclass(frozen=True)
class Outcome:
    """A comparison with what its gates said. `record` and `results` are what a report is made of."""

    record: RunRecord
    results: Results

    @property
    def comparison(self) -> Comparison:
        return self.record.comparisons[0]

    @property
    def gates(self) -> tuple[GateOutcome, ...]:
        return self.record.gates

    @property
    def exit_code(self) -> int:
        """0 pass, 1 a gate failed, 3 can't tell under a strict gate."""
        return exit_code(self.gates)

    def render(self, report: str = "terminal") -> str:
        """The comparison as `terminal`, `markdown`, `html`, `json`, `junit` or `github` text."""
        from llmops.reports.rendering import render

        parts: list[str] = []
        render(report, self.record, self.results, write=parts.append)
        return "".join(parts)


@dataclass(frozen=True)
class _Side:
    """One side: the name it is shown under, and where its answers come from."""

    name: str
    info: VariantInfo
    metrics: tuple[MetricInfo, ...] = ()
    record: RunRecord | None = None
    results: Results = ()
    source: Source | None = None


@dataclass(frozen=True)
class _Reference:
    """A or B as given, opened once: a pipe can't be read a second time."""

    text: str
    source: Source | None
    shape: Shape

    def __str__(self) -> str:
        return self.text[:200]


def compare(a: str | Path, b: str | Path | None, options: CompareOptions) -> Outcome:
    """The candidate `b` against the baseline `a`: runs, exported run files, or files of scores.

    Without `b`, `a` is a file of pairs, or a run whose baseline is compared with its other variant. Raises
    `InputError` with `file:line` for what can't be read, and when nothing can be paired.
    """
    table, notes = Aggregate([]), []
    cases = Cases(table)
    first = _reference(a)
    if b is None and first.source is not None and first.shape == "pairs":
        _no_variants(first.source, options.variant_a or options.variant_b)
        sides = (_Side("a", VariantInfo("a", "scores")), _Side("b", VariantInfo("b", "scores")))
        read_pairs(first.source, cases, "a", "b", options.metrics[0] if len(options.metrics) == 1 else PAIRED)
    else:
        sides = _within(first, options) if b is None else _sides(first, _reference(b), options)
        for side in sides:
            _fill(cases, side)
        notes = _warnings(sides, len(cases.regrouped))
    notes = [*notes]
    names = [side.name for side in sides]
    infos = metrics_of(table, names, {info.name: info for side in sides for info in side.metrics}, options)
    gates = tuple(parse_comparison_gate(rule, metrics=infos, variants=[sides[1].name]) for rule in options.gates)
    check_margins(infos, gates, options.settings)
    kinds = kinds_of(infos, table, names, options)
    told = {info.name for side in sides for info in side.metrics} | {*options.lower, *MEASURES}
    unbounded = [info.name for info in infos if info.high is None and info.name not in told]
    notes += [f"{name}: more is taken as better; if less is, add --lower {name}" for name in unbounded]
    shown = () if options.metrics else SHOWN
    level = shared_level([side.record for side in sides], options.settings.alpha)
    wanted = Compared(infos, [(sides[1].name, sides[0].name)], gates, options.settings, kinds, shown=shown)
    made = compare_all(wanted, table, alpha=level.alpha, stopping=level.stopping)
    comparisons = tuple(replace(one, notes=(*one.notes, *notes)) for one in made)
    if not comparisons[0].cases:
        hint = "cases are paired by id: the two have none in common"
        raise InputError(f"{a} and {b} have no case in common", hint=hint)
    outcomes = decide_comparisons(gates, comparisons, [sides[1].name])
    return Outcome(_record(sides, infos, comparisons, outcomes, table, gates, options), _Merged(sides))


def _reference(given: str | Path) -> _Reference:
    source = source_of(given)
    return _Reference(str(given), source, "run" if source is None else shape_of(source))


def _sides(a: _Reference, b: _Reference, options: CompareOptions) -> tuple[_Side, _Side]:
    one, other = _side(a, options.variant_a, options), _side(b, options.variant_b, options)
    if one.name == other.name:
        one, other = replace(one, name=f"{one.name} (A)"), replace(other, name=f"{other.name} (B)")
    return one, other


def _side(reference: _Reference, variant: str, options: CompareOptions) -> _Side:
    source = reference.source
    if source is not None and reference.shape != "run":
        if reference.shape == "pairs":
            raise InputError(f"{source.shown} holds pairs already", hint="compare it alone: llmops compare PAIRS")
        _no_variants(source, variant)
        return _Side(source.name, VariantInfo(source.name, "scores"), source=source)
    record, results = _open(reference, options)
    info = _variant(record, variant, reference)
    label = source.name if source is not None else record.id[-8:]
    return _Side(f"{info.name} ({label})", info, record.metrics, record, results, source)


def _no_variants(source: Source, variant: str) -> None:
    if variant:
        raise InputError(f"{source.shown} has no variant {variant!r}", hint="a file of scores is one variant")


def _within(reference: _Reference, options: CompareOptions) -> tuple[_Side, _Side]:
    """Two variants of one run: its baseline and the other one."""
    if reference.source is not None and reference.shape != "run":
        raise InputError(f"{reference} is one side", hint="name the other one too: llmops compare A B")
    record, results = _open(reference, options)
    names = [info.name for info in record.variants]
    base = options.variant_a or record.baseline or ""
    if not base:
        raise InputError("the run has no baseline", hint=f"--variant-a NAME, one of {', '.join(names)}")
    chosen = _variant(record, base, reference)
    belongs = (record.config.get("counterparts") or {}).get(base)
    others = [name for name in names if name != base and belongs in (None, name)]
    if not options.variant_b and len(others) != 1:
        raise InputError("which variant?", hint=f"--variant-b NAME, one of {', '.join(others) or 'none'}")
    other = _variant(record, options.variant_b or others[0], reference)
    if chosen.name == other.name:
        raise InputError(f"{chosen.name!r} can't be compared with itself")
    return (
        _Side(chosen.name, chosen, record.metrics, record, results, reference.source),
        _Side(other.name, other, record.metrics, record, results, reference.source),
    )


def _open(reference: _Reference, options: CompareOptions) -> tuple[RunRecord, Results]:
    source = reference.source
    if source is not None:
        from llmops.store.runfile import open_run_file

        try:
            return open_run_file(source.path)
        except InputError as error:  # a pipe's rows are kept under another name
            where = error.where.replace(str(source.path), source.shown)
            raise type(error)(error.message, where=where, hint=error.hint) from None
    from llmops.runs import open_run

    run = open_run(reference.text, store=options.store)
    return run.record, run.results


def _warnings(sides: Sequence[_Side], regrouped: int) -> list[str]:
    """What a reader must know about how the two belong together."""
    notes = []
    prints = {side.record.fingerprint for side in sides if side.record is not None and side.record.fingerprint}
    if len(prints) > 1:
        notes.append("the two runs had different datasets: cases with the same id were compared, whatever they asked")
    if len({side.record.id for side in sides if side.record is not None}) > 1:
        notes.append("times were measured in two runs: they also tell the hour")
    if regrouped:
        notes.append(f"{regrouped:,} cases have another group in the candidate: the baseline's is used")
    unfinished = [(side.name, side.record.status) for side in sides if side.record is not None]
    notes += [f"{name} is {status}: it has a part of the cases" for name, status in unfinished if status != "finished"]
    return notes


def _variant(record: RunRecord, name: str, reference: _Reference) -> VariantInfo:
    known = {info.name: info for info in record.variants}
    if name:
        if name not in known:
            raise NotFoundError(f"{reference} has no variant {name!r}", hint=did_you_mean(name, known))
        return known[name]
    own = [info for info in known.values() if info.name not in (record.config.get("counterparts") or {})]
    if len(own) > 1:
        own = [info for info in own if info.name != record.baseline]
    if len(own) != 1:
        hint = f"--variant-a and --variant-b choose; it has {', '.join(known)}"
        raise InputError(f"{reference} has several variants", hint=hint)
    return own[0]


def _fill(cases: Cases, side: _Side) -> None:
    """Add a side to the table."""
    table, record = cases.into, side.record
    if record is None:
        if side.source is not None:
            read_scores(side.source, cases, side.name)
        return
    more = record.config.get("max_repeats") or 0
    repeats = record.repeats if more > record.repeats else None  # the rest went to unsteady cases: no fair sample
    if side.source is not None:
        read_run(side.source, cases, side.info.name, side.name, repeats)
        if "run" not in side.info.details:  # a saved run as a baseline may lack some
            _check_whole(side.source, record, table.trials(side.name))
        return
    columns = table.filled(side.name)
    columns.expect(info.name for info in side.metrics)
    for result in side.results:
        if result.variant == side.info.name and (repeats is None or result.repeat < repeats):
            place = table.place(result.case)
            if result.case.group is not None:
                cases.regroup(place, result.case.group)
            columns.add(place, result)


def _check_whole(source: Source, record: RunRecord, found: int) -> None:
    expected = record.cases * record.repeats if record.status == "finished" else 0
    if found < expected:
        message = f"the file ends after {found:,} of {expected:,} results"
        raise InputError(message, where=source.shown, hint="copy it again: it is cut short")


def _record(
    sides: Sequence[_Side],
    infos: Sequence[MetricInfo],
    comparisons: tuple[Comparison, ...],
    outcomes: tuple[GateOutcome, ...],
    table: Aggregate,
    gates: Sequence[ComparisonGate],
    options: CompareOptions,
) -> RunRecord:
    records = [side.record for side in sides if side.record is not None]
    newest = records[-1] if records else None
    variants = tuple(replace(side.info, name=side.name) for side in sides)
    return RunRecord(
        id="",
        suite=newest.suite if newest is not None else f"{sides[0].name} → {sides[1].name}",
        suite_hash=newest.suite_hash if newest is not None else "",
        dataset=newest.dataset if newest is not None else "",
        fingerprint=newest.fingerprint if newest is not None else "",
        variants=variants,
        metrics=tuple(infos),
        baseline=sides[0].name,
        cases=table.total_cases,
        status="finished",
        config={
            "path": newest.config.get("path") or "" if newest is not None else "",
            "gates": [gate.rule for gate in gates],
            "comparison": {"alpha": options.settings.alpha, "margin": options.settings.margin},
        },
        gates=outcomes,
        comparisons=comparisons,
    )


@dataclass(frozen=True)
class _Merged:
    """The answers of both sides, under the names they are compared by."""

    sides: Sequence[_Side]

    def __iter__(self) -> Iterator[Result]:
        return self._of(None)

    def of_cases(self, case_ids: Sequence[str]) -> list[Result]:
        """The results of these cases alone."""
        return list(self._of(list(case_ids)))

    def _of(self, case_ids: list[str] | None) -> Iterator[Result]:
        for side in self.sides:
            some = getattr(side.results, "of_cases", None)
            results = side.results if case_ids is None or some is None else some(case_ids)
            chosen = None if case_ids is None else set(case_ids)
            for result in results:
                if result.variant == side.info.name and (chosen is None or result.case.id in chosen):
                    yield replace(result, variant=side.name)
