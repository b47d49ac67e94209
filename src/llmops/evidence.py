"""What makes a saved run evidence for a promotion: this content, against what the label holds, on all cases, passed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmops.errors import InputError
from llmops.evals.gating import decide, parse_gate
from llmops.runs import Run, too_many_errors
from llmops.stats.signs import sign_test
from llmops.types import GateOutcome, RunRecord, VariantInfo

ALPHA = 0.05
_DECIDING = ("dataset", "gates", "metrics", "variants")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a promotion needs: the content to be promoted, the content the label holds (empty: none), and a suite.

    `suites` are names of suites or their paths from the project's folder; empty takes any.
    """

    content: str
    held: str = ""
    suites: tuple[str, ...] = ()


def lacks(run: Run, wanted: Wanted) -> str:
    """Why a run is no evidence; empty when it is.

    It has to be finished, on all cases of the suite as written; to have scored exactly both contents, alike but for
    the prompt; to have gates on the candidate, all of which hold when they are worked out again from the saved
    scores; hardly a failed case; and no metric that fell in significantly more cases than it rose (exact sign test,
    5 % shared between the metrics; a case that is no longer scored has fallen).
    """
    return unsuited(run.record, wanted) or failed(run, wanted)


def unsuited(record: RunRecord, wanted: Wanted) -> str:
    """Why a run says nothing about a promotion, whatever came out of it; empty when it does."""
    pairs = _pairs(record, wanted)
    if not _of(record, wanted.content):
        return "it never ran this content"
    if wanted.suites and not {record.suite, record.config.get("path")}.intersection(wanted.suites):
        return f"it is of the suite {record.suite}, not of {' or '.join(wanted.suites)}"
    if wanted.content != wanted.held and all(
        info.name in _counterparts(record) for info in _of(record, wanted.content)
    ):
        return "it ran this content only as what was there before"
    if wanted.held and not _of(record, wanted.held):
        return "it didn't compare with what the label holds now"
    if wanted.held and not pairs:
        return "the two didn't run alike: their backend, model, parameters or variables differ in the suite"
    if not record.config.get("path"):
        return "it isn't of a suite file as it is written"
    if record.status != "finished":
        return f"it is {record.status}"
    suite_cases = record.config.get("suite_cases", record.cases)
    if suite_cases != record.cases:
        return f"it was scored with {record.cases} of the suite's {suite_cases} cases"
    narrowed = [key for key in ("only", "sample") if record.config.get(key)]
    if narrowed:
        return f"it ran on a part of the cases (--{narrowed[0]})"
    for override in record.config.get("set") or ():
        if str(override).startswith(_DECIDING):
            return f"it ran with --set {str(override).partition('=')[0]}"
    return ""


def failed(run: Run, wanted: Wanted) -> str:
    """What went wrong in a run that would suit; empty when it passed."""
    record = run.record
    if run.aggregate.total_cases != record.cases:
        return f"it holds {run.aggregate.total_cases} of {record.cases} cases"
    mine = [info.name for info in _of(record, wanted.content)]
    try:
        gates = [gate for gate in _decided(run) if gate.variant in mine]
    except InputError as problem:
        return f"its gates can't be read: {problem.message}"
    if not gates:
        return "it has no gates, so nothing says that it passed"
    for gate in gates:
        if gate.outcome != "pass":
            return f"gate {gate.rule} {'failed' if gate.outcome == 'fail' else 'is undecided'}"
    if set(mine).intersection(too_many_errors(record, run.aggregate)):
        return "too many of its cases failed"
    return next((reason for new, old in _pairs(record, wanted) if (reason := _worse(run, new, old))), "")


def verdict(run: Run, content: str) -> str:
    """What a run said of a content, in a word for the label's line."""
    return "not passed" if lacks(run, Wanted(content)) else "passed"


def has_run(record: RunRecord, content: str) -> bool:
    """True when a run has a variant with exactly this content."""
    return bool(_of(record, content))


def _of(record: RunRecord, content: str) -> list[VariantInfo]:
    return [info for info in record.variants if info.details.get("content_id") == content]


def _counterparts(record: RunRecord) -> Mapping[str, str]:
    return record.config.get("counterparts") or {}


def _pairs(record: RunRecord, wanted: Wanted) -> list[tuple[str, str]]:
    """Candidate and held variants that differ in the prompt only: each and its counterpart, else all that are alike."""
    new, held = _of(record, wanted.content), _of(record, wanted.held) if wanted.held else []
    counterparts = _counterparts(record)
    made = [(one.name, old.name) for one in new for old in held if counterparts.get(old.name) == one.name]
    return made or [(one.name, old.name) for one in new for old in held if _alike(one, old)]


def _alike(new: VariantInfo, old: VariantInfo) -> bool:
    return all(new.details.get(key) == old.details.get(key) for key in ("overrides", "variables"))


def _decided(run: Run) -> Iterable[GateOutcome]:
    """The gates worked out again: the head of a run file is only what its file says."""
    record = run.record
    counterparts = _counterparts(record)
    names = [info.name for info in record.variants if info.name not in counterparts]
    rules = record.config.get("gates") or [gate.rule for gate in record.gates]
    metrics = [info.name for info in record.metrics]
    everyone = [info.name for info in record.variants]
    ran = [rule for rule in dict.fromkeys(rules) if _variant_of(rule) in ("", *everyone)]
    gates = [parse_gate(rule, metrics=metrics, variants=everyone) for rule in ran]
    return decide(gates, run.aggregate, names)


def _variant_of(rule: str) -> str:
    """The variant a rule is for, which `--variant` may have left out; empty for all."""
    return rule.partition(" for variant:")[2].strip()


def _worse(run: Run, new: str, old: str) -> str:
    """The first metric that fell in significantly more cases than it rose, in words; empty when there is none."""
    metrics = [info for info in run.record.metrics if info.direction != "none"]
    for info in metrics:
        sign = 1 if info.direction == "higher" else -1
        columns = zip(run.aggregate.column(new, info.name), run.aggregate.column(old, info.name), strict=True)
        changes = [_change(sign * after, sign * before) for after, before in columns]
        fell, rose = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
        if fell > rose and sign_test(fell, rose) < ALPHA / len(metrics):
            return f"{info.name} got worse in {fell} cases and better in {rose}"
    return ""


def _change(after: float, before: float) -> float:
    """Below 0 where a case fell; one that is no longer scored has fallen, one that is scored now has risen."""
    if math.isnan(after) or math.isnan(before):
        return float(math.isnan(before)) - float(math.isnan(after))
    return after - before
