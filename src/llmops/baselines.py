"""`--baseline RUN`: the answers of a saved run as the baseline of this one, scored again with today's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.errors import InputError
from llmops.evals.suite import Suite, VariantSpec
from llmops.identity import content_hash
from llmops.runs import Run
from llmops.types import Case, Output, RunRecord, Trial, VariantInfo

KIND = "python"  # how a suite holds a variant that is already made


@dataclass(frozen=True)
class SavedVariant:
    """A variant of a saved run: gives the answers it gave then, to the cases that are still the same."""

    info: VariantInfo
    answers: Mapping[tuple[str, int], Output] = field(repr=False)
    asked: Mapping[str, str] = field(repr=False)
    local = True

    def covers(self, trial: Trial) -> bool:
        """True when the saved run has an answer to exactly this case."""
        case = trial.case
        return (case.id, trial.repeat) in self.answers and self.asked[case.id] == _question(case)

    async def answer(self, trial: Trial) -> Output:
        return self.answers[trial.case.id, trial.repeat]


@dataclass(frozen=True)
class WithBaseline:
    """A suite with its baselines from a saved run, and what there is to say about them."""

    suite: Suite
    notes: tuple[str, ...] = ()


def with_baseline_run(suite: Suite, run: Run) -> WithBaseline:
    """Add to each variant the saved run's variant of the same name, else its only one, as `variant@run`.

    The saved answers are scored again with the suite's metrics; nothing is asked again. Raises `InputError` when the
    run has no variant to compare with, or several of other names.
    """
    record = run.record
    label = record.id[-8:] or record.suite
    there = [info for info in record.variants if info.name not in (record.config.get("counterparts") or {})]
    pairs = {variant.name: info for variant in suite.variants if (info := _match(variant, there, suite)) is not None}
    if not pairs:
        names = ", ".join(info.name for info in there) or "none"
        raise InputError(f"the baseline run has no variant of the suite's names; it has {names}", where=suite.where)
    made = _saved(run, {info.name for info in pairs.values()})
    specs: dict[str, VariantSpec] = {}
    for name, info in pairs.items():
        answers, asked = made[info.name]
        known = replace(info, name=f"{name}@{label}")
        saved: Any = SavedVariant(replace(known, details={**info.details, "run": record.id}), answers, asked)
        specs[name] = VariantSpec(known.name, KIND, {KIND: saved}, suite.where)
    missing = [variant.name for variant in suite.variants if variant.name not in specs]
    notes = [f"{name} isn't in the baseline run, so it is compared with nothing" for name in missing]
    if record.status != "finished":
        notes.append(f"the baseline run is {record.status}: it has a part of the cases")
    return WithBaseline(_with(suite, specs, record), tuple(notes))


def _with(suite: Suite, specs: Mapping[str, VariantSpec], record: RunRecord) -> Suite:
    variants = tuple(one for variant in suite.variants for one in (specs.get(variant.name), variant) if one)
    counterparts = {spec.name: name for name, spec in specs.items()}
    base = specs.get(suite.baseline or "") or next(iter(specs.values()))
    taken = [spec.name for spec in specs.values() if spec.name in {variant.name for variant in suite.variants}]
    if taken:
        raise InputError(f"there is a variant {taken[0]!r} already", where=suite.where)
    return replace(suite, variants=variants, baseline=base.name, counterparts=counterparts, baseline_run=record.id)


def _match(variant: VariantSpec, there: list[VariantInfo], suite: Suite) -> VariantInfo | None:
    same = next((info for info in there if info.name == variant.name), None)
    return there[0] if same is None and len(there) == 1 == len(suite.variants) else same


def _saved(run: Run, names: set[str]) -> dict[str, tuple[dict[tuple[str, int], Output], dict[str, str]]]:
    found: dict[str, tuple[dict[tuple[str, int], Output], dict[str, str]]] = {name: ({}, {}) for name in names}
    for result in run.results:
        if result.variant in found:
            answers, asked = found[result.variant]
            answers[result.case.id, result.repeat] = replace(result.output, cached=True)
            asked[result.case.id] = _question(result.case)
    return found


def _question(case: Case) -> str:
    """What a variant saw of a case: expectations may be corrected without making an answer void."""
    return content_hash([_plain(case.inputs), [[context.id, context.text] for context in case.contexts]])


def _plain(value: Any) -> Any:
    """As it comes back from a store: tuples are lists there, and keys text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
