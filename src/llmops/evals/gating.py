"""Gates: rules such as `token_f1 >= 0.6`, `recall@5 >= 0.8 for tag:hard`, `errors <= 1%`, `latency_p95 <= 2s`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from llmops.aggregate import Aggregate
from llmops.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_PASS, SuiteError, did_you_mean
from llmops.stats.descriptive import mean, quantile
from llmops.types import GateOutcome

_RULE = re.compile(
    r"\s*(?P<name>[^\s<>=!]+)\s*(?P<comparison><=|>=|==|!=|<|>)\s*(?P<money>\$)?(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"\s*(?P<unit>%|ms|s|min)?(?:\s+for\s+(?P<scope>(?:tag|group|variant):.+?))?\s*"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}
_UNITS = {"%": (1, 100), "ms": (1, 1000), "s": (1, 1), "min": (60, 1), None: (1, 1)}  # times, divided by: 57 % is 0.57
MAX_ERROR_SHARE = 0.02  # more failed cases than this, and no gate that speaks of errors, is never a pass
BUILT_IN = (
    "errors",
    "latency_mean",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "tokens_per_case",
    "cost_per_case",
)


@dataclass(frozen=True)
class Gate:
    """A parsed rule. `threshold` is in the measure's own unit: shares 0–1, seconds, tokens, dollars."""

    rule: str
    name: str
    comparison: str
    threshold: float
    tag: str | None = None
    group: str | None = None
    variant: str | None = None


def parse_gate(rule: str, *, metrics: Iterable[str], variants: Iterable[str], where: str = "") -> Gate:
    """Read one rule. Raises `SuiteError` at `where` on anything that isn't `NAME OP NUMBER [for KIND:NAME]`."""
    found = _RULE.fullmatch(rule)
    if found is None:
        hint = 'write "token_f1 >= 0.6", "errors <= 1%" or "recall@5 >= 0.8 for tag:hard"'
        raise SuiteError(f"gate {rule[:100]!r} isn't a rule", where=where, hint=hint)
    name, unit = found["name"], found["unit"]
    known = [*metrics, *BUILT_IN]
    if name not in known:
        hint = did_you_mean(name, known)
        raise SuiteError(f"gate {rule!r}: nothing is measured as {name!r}", where=where, hint=hint)
    if found["money"] and (name in set(metrics) or name != "cost_per_case"):
        raise SuiteError(f"gate {rule!r}: {name} isn't money", where=where, hint="drop the $")
    if name not in set(metrics):  # a metric's own name wins
        _check_unit(rule, name, unit, where, float(found["number"]))
    elif unit in ("ms", "s", "min") and not name.startswith("latency"):
        raise SuiteError(f"gate {rule!r}: {name} isn't a time", where=where, hint="drop the unit")
    kind, _, scoped = (found["scope"] or "").partition(":")
    if re.search(r"\s(?:for|(?:tag|group|variant):)", scoped):
        raise SuiteError(f"gate {rule!r}: one scope at a time", where=where, hint="write a gate for each")
    times, divisor = _UNITS[unit]
    if kind == "variant" and scoped not in set(variants):
        raise SuiteError(
            f"gate {rule!r}: no variant is called {scoped!r}", where=where, hint=did_you_mean(scoped, variants)
        )
    return Gate(
        rule=rule.strip(),
        name=name,
        comparison=found["comparison"],
        threshold=float(found["number"]) * times / divisor,
        tag=scoped if kind == "tag" else None,
        group=scoped if kind == "group" else None,
        variant=scoped if kind == "variant" else None,
    )


def _check_unit(rule: str, name: str, unit: str | None, where: str, number: float) -> None:
    is_time = name.startswith("latency_")
    if unit in ("ms", "s", "min") and not is_time:
        raise SuiteError(f"gate {rule!r}: {name} isn't a time", where=where, hint="drop the unit")
    if unit == "%" and (is_time or name in ("tokens_per_case", "cost_per_case")):
        raise SuiteError(f"gate {rule!r}: {name} isn't a share", where=where, hint="drop the %")
    if name == "errors" and unit is None and number >= 1:
        hint = f"write {number:g}%, or a share below 1"
        raise SuiteError(
            f"gate {rule!r}: errors are a share of the cases, so this always holds", where=where, hint=hint
        )
    if is_time and unit is None:
        raise SuiteError(f"gate {rule!r} doesn't say seconds or milliseconds", where=where, hint="write 2s or 500ms")


def decide(gates: Sequence[Gate], aggregate: Aggregate, variants: Sequence[str]) -> tuple[GateOutcome, ...]:
    """Every gate on every variant it speaks of. A gate with nothing to measure is `undecided`, never a pass."""
    outcomes = []
    for gate in gates:
        if gate.variant is not None and gate.variant not in variants:
            outcomes.append(GateOutcome(gate.rule, gate.variant, "undecided", None, "the run has no such variant"))
            continue
        outcomes += [_decide(gate, aggregate, v) for v in variants if gate.variant in (None, v)]
    return tuple(outcomes)


def _decide(gate: Gate, aggregate: Aggregate, variant: str) -> GateOutcome:
    value, detail = _measure(gate, aggregate, variant)
    if value is None:
        return GateOutcome(gate.rule, variant, "undecided", None, detail)
    holds = _COMPARE[gate.comparison](value, gate.threshold)
    return GateOutcome(gate.rule, variant, "pass" if holds else "fail", value, detail)


def is_beyond(gate: Gate, aggregate: Aggregate, variants: Sequence[str], alpha: float) -> bool:
    """True when more cases hardly change what a gate says: its threshold is outside of their interval.

    For means the interval is Student's, at the two-sided level `alpha`, with the variance of one more case at the
    other end: scores that are all alike so far prove little. For errors and percentiles it is Wilson's, of the share
    of cases that failed or stayed below the threshold; as long as no answer failed, errors wait for nothing. A gate on
    a tag or group waits for its first case; any other with nothing to measure waits for nothing.
    """
    for variant in variants:
        if gate.variant not in (None, variant):
            continue
        values, share = _seen(gate, aggregate, variant)
        if len(values):
            if share is None and not _mean_is_beyond(values, gate.threshold, alpha):
                return False
            spotless = gate.name == "errors" and not any(values)  # of the answers there are, which is what it is about
            if share is not None and not spotless and not _share_is_beyond(values, share, alpha):
                return False
        elif gate.tag is not None or gate.group is not None:
            return False
    return True


def _seen(gate: Gate, aggregate: Aggregate, variant: str) -> tuple[Sequence[float], float | None]:
    """What a gate is about, by case: values for a mean, or hits (1 or 0) and the share of them it is compared with."""
    scope = {"tag": gate.tag, "group": gate.group}
    if gate.name in aggregate.metrics:
        return aggregate.values(variant, gate.name, **scope), None
    if gate.name == "errors":
        cases = aggregate.cases(variant, **scope) if variant in aggregate.variants else 0
        failed = round(aggregate.error_share(variant, **scope) * cases) if cases else 0
        return [1.0] * failed + [0.0] * (cases - failed), gate.threshold
    if gate.name == "tokens_per_case":
        return aggregate.tokens(variant, **scope), None
    if gate.name == "cost_per_case":
        return aggregate.costs(variant, **scope), None
    seconds = aggregate.latencies(variant, **scope)
    if gate.name == "latency_mean":
        return seconds, None
    return [float(one <= gate.threshold) for one in seconds], int(gate.name.removeprefix("latency_p")) / 100


def _share_is_beyond(hits: Sequence[float], share: float, alpha: float) -> bool:
    from llmops.stats.intervals import wilson

    low, high = wilson(sum(hits), len(hits), alpha)
    return not low <= share <= high


def _mean_is_beyond(values: Sequence[float], threshold: float, alpha: float) -> bool:
    from llmops.stats.special import t_quantile

    size, centre = len(values), mean(values)
    span = max(*values, threshold) - min(*values, threshold)
    spread = sum((value - centre) ** 2 for value in values) + span * span
    half = t_quantile(1 - alpha / 2, size - 1) * math.sqrt(spread / (size - 1) / size) if size > 1 else math.inf
    return abs(centre - threshold) > half


def _measure(gate: Gate, aggregate: Aggregate, variant: str) -> tuple[float | None, str]:
    scope = {"tag": gate.tag, "group": gate.group}
    cases = aggregate.cases(variant, **scope) if variant in aggregate.variants else 0
    if not cases:
        return None, "no case to measure"
    if gate.name in aggregate.metrics:
        return _metric(gate, aggregate, variant, cases)
    if gate.name == "errors":
        return aggregate.error_share(
            variant, **scope
        ), f"{aggregate.errors(variant, **scope)} answers failed, {cases} cases"
    if gate.name == "tokens_per_case":
        return _mean(aggregate.tokens(variant, **scope), cases, "no usage is known")
    if gate.name == "cost_per_case":
        unpriced = aggregate.unpriced(variant, **scope)
        if unpriced:  # what has no price is not free
            return None, f"{unpriced:,} answers to {cases:,} cases have no price; see llmops cost report"
        return _mean(aggregate.costs(variant, **scope), cases, "no price is known")
    values = aggregate.latencies(variant, **scope)
    if not len(values) or gate.name == "latency_mean":
        return _mean(values, cases, "no latency was measured")
    return quantile(values, int(gate.name.removeprefix("latency_p")) / 100), _left_out(values, cases)


def _metric(gate: Gate, aggregate: Aggregate, variant: str, cases: int) -> tuple[float | None, str]:
    reasons = aggregate.unscored(variant, gate.name)
    raised = sum(count for reason, count in reasons.items() if f"{gate.name} raised " in reason)
    if raised > MAX_ERROR_SHARE * aggregate.cases(variant):
        return None, f"the metric raised an error for {raised} cases"
    why = (
        f"no case has a score: {max(reasons, key=lambda reason: reasons[reason])}" if reasons else "no case has a score"
    )
    return _mean(aggregate.values(variant, gate.name, tag=gate.tag, group=gate.group), cases, why)


def _mean(values: Sequence[float], cases: int, nothing: str) -> tuple[float | None, str]:
    return (mean(values), _left_out(values, cases)) if len(values) else (None, nothing)


def _left_out(values: Sequence[float], cases: int) -> str:
    missing = cases - len(values)
    return f"{len(values)} cases" + (f", {missing} without a value" if missing else "")


def unfinished_gates(outcomes: Iterable[GateOutcome], done: int, total: int) -> tuple[GateOutcome, ...]:
    """The gates of a run that didn't finish: what seems to hold so far isn't decided, what failed stays failed."""
    return tuple(
        replace(gate, outcome="undecided", detail=f"after {done:,} of {total:,} answers; {gate.detail}")
        if gate.outcome == "pass"
        else gate
        for gate in outcomes
    )


def exit_code(outcomes: Iterable[GateOutcome]) -> int:
    """1 when a gate failed, else 3 when a strict one could not be decided, else 0."""
    seen = {one.outcome for one in outcomes if one.outcome != "undecided" or one.strict}
    if "fail" in seen:
        return EXIT_GATE_FAILED
    return EXIT_INCONCLUSIVE if "undecided" in seen else EXIT_PASS
