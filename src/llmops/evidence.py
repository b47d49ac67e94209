"""What makes a saved run evidence for a promotion: this content, against what the label holds, on all cases, passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llmops.deciding import conclude, guarding_all, level_of, rules_of
from llmops.errors import InputError
from llmops.evals.comparison_rules import CANDIDATE_UNSCORED
from llmops.runs import Run, too_many_errors
from llmops.types import GateOutcome, MetricComparison, RunRecord, VariantInfo

_DECIDING = ("comparison", "dataset", "gates", "metrics", "variants")


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
    try:
        stopping = level_of(record.config).stopping
    except InputError as problem:
        return f"its head can't be read: {problem.message}"
    chosen = record.cases if stopping is None else stopping.planned  # it ended early because the answer was clear
    if record.config.get("pooled", 1) > 1:
        return "it scores one of several runs of a commit again, which only count together"
    suite_cases = record.config.get("suite_cases", chosen)
    if suite_cases != chosen:
        return f"it was scored with {chosen} of the suite's {suite_cases} cases"
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
        gates, worse = _decided(run, mine, _pairs(record, wanted))
    except InputError as problem:
        return f"its gates can't be read: {problem.message}"
    if not gates:
        return "it has no gates, so nothing says that it passed"
    for gate in gates:
        if gate.outcome == "fail" or (gate.outcome == "undecided" and gate.strict):
            return f"gate {gate.rule} {'failed' if gate.outcome == 'fail' else 'is undecided'}"
    if set(mine).intersection(too_many_errors(record, run.aggregate)):
        return "too many of its cases failed"
    return worse


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


def _decided(run: Run, mine: list[str], pairs: list[tuple[str, str]]) -> tuple[list[GateOutcome], str]:
    """The gates on these variants, and which metric regressed against what is held, in words (empty: none).

    All is worked out again from the scores: the head of a run file is only what its file says. Every metric counts,
    whether a gate names it or not, with Holm's adjustment for all of them.
    """
    rules = rules_of(run.record)
    level = level_of(run.record.config)
    _, outcomes = conclude(rules, run.aggregate, level)
    pooled = any(one.pooled > 1 for one in run.record.comparisons)  # then the run's own scores aren't all there is
    gates = [gate for gate in (*outcomes, *(run.record.gates if pooled else ())) if gate.variant in mine]
    if not pairs or all(info.direction == "none" for info in rules.metrics):
        return gates, ""
    sampled = replace(rules.settings, population="sample")  # without enough repeats, fixed cases tell nothing
    everything = guarding_all(replace(rules, pairs=tuple(pairs), settings=sampled))
    comparisons, _ = conclude(everything, run.aggregate, level)
    return gates, next((said for one in comparisons for metric in one.metrics if (said := _worse(metric))), "")


def _worse(metric: MetricComparison) -> str:
    fell = metric.ci[1] < 0 and metric.p_holm is not None and metric.p_holm <= metric.alpha
    if metric.guard and (metric.verdict == "regressed" or (metric.verdict == "inconclusive" and fell)):
        return f"{metric.metric} regressed: {len(metric.broke)} cases broke, {len(metric.fixed)} were fixed"
    lost = [why for why in metric.why if why.endswith(CANDIDATE_UNSCORED)]
    return f"{metric.metric}: {lost[0]}" if lost else ""
