"""What makes a saved run evidence for a promotion: this content, against what the label holds, on all cases, passed."""

from __future__ import annotations

from collections.abc import Iterable
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

    `suite` is a suite's name or path from the project's folder; empty takes any.
    """

    content: str
    held: str = ""
    suite: str = ""


def lacks(run: Run, wanted: Wanted) -> str:
    """Why a run is no evidence; empty when it is.

    It has to be finished, on all cases of the suite as written; to have scored exactly both contents, alike but for
    the prompt; to have gates on the candidate, all of which hold when they are worked out again from the saved
    scores; hardly a failed case on either side; and no metric that fell in significantly more cases than it rose
    (exact sign test, 5 % shared between the metrics).
    """
    return unsuited(run.record, wanted) or failed(run, wanted)


def unsuited(record: RunRecord, wanted: Wanted) -> str:
    """Why a run says nothing about a promotion, whatever came out of it; empty when it does."""
    pairs = _pairs(record, wanted)
    if not _of(record, wanted.content):
        return "it never ran this content"
    if wanted.suite and wanted.suite not in (record.suite, record.config.get("path")):
        return f"it is of the suite {record.suite}, not {wanted.suite}"
    if wanted.held and not _of(record, wanted.held):
        return "it didn't compare with what the label holds now"
    if wanted.held and not pairs:
        return "the two didn't run alike: their backend, model, parameters or variables differ in the suite"
    if record.status != "finished":
        return f"it is {record.status}"
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
    everyone = {info.name for one in (wanted.content, wanted.held) if one for info in _of(record, one)}
    if everyone.intersection(too_many_errors(record, run.aggregate)):
        return "too many of its cases failed"
    reasons = [_worse(run, new, old) for new, old in _pairs(record, wanted)]
    return reasons[0] if reasons and all(reasons) else ""


def verdict(run: Run, content: str) -> str:
    """What a run said of a content, in a word for the label's line."""
    return "not passed" if lacks(run, Wanted(content)) else "passed"


def has_run(record: RunRecord, content: str) -> bool:
    """True when a run has a variant with exactly this content."""
    return bool(_of(record, content))


def _of(record: RunRecord, content: str) -> list[VariantInfo]:
    return [info for info in record.variants if info.details.get("content_id") == content]


def _pairs(record: RunRecord, wanted: Wanted) -> list[tuple[str, str]]:
    """Candidate and held variants that differ in the prompt only."""
    held = _of(record, wanted.held) if wanted.held else []
    return [(new.name, old.name) for new in _of(record, wanted.content) for old in held if _alike(new, old)]


def _alike(new: VariantInfo, old: VariantInfo) -> bool:
    return all(new.details.get(key) == old.details.get(key) for key in ("overrides", "variables"))


def _decided(run: Run) -> Iterable[GateOutcome]:
    """The gates worked out again: the head of a run file is only what its file says."""
    record = run.record
    counterparts = record.config.get("counterparts") or {}
    names = [info.name for info in record.variants if info.name not in counterparts]
    rules = record.config.get("gates") or [gate.rule for gate in record.gates]
    metrics = [info.name for info in record.metrics]
    everyone = [info.name for info in record.variants]
    gates = [parse_gate(rule, metrics=metrics, variants=everyone) for rule in dict.fromkeys(rules)]
    return decide(gates, run.aggregate, names)


def _worse(run: Run, new: str, old: str) -> str:
    """The first metric that fell in significantly more cases than it rose, in words; empty when there is none."""
    metrics = [info for info in run.record.metrics if info.direction != "none"]
    for info in metrics:
        sign = 1 if info.direction == "higher" else -1
        columns = zip(run.aggregate.column(new, info.name), run.aggregate.column(old, info.name), strict=True)
        changes = [sign * (after - before) for after, before in columns]  # NaN, which is neither, where one is unscored
        fell, rose = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
        if fell > rose and sign_test(fell, rose) < ALPHA / len(metrics):
            return f"{info.name} got worse in {fell} cases and better in {rose}"
    return ""
