"""What a suite asks of a run: its gates, checked, and what goes without saying when it is compared with before."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.deciding import EVERY_METRIC, parse_rules
from llmops.errors import InputError
from llmops.evals.comparison_rules import ComparisonGate, check_margins, is_comparison
from llmops.evals.gating import Gate
from llmops.evals.suite import Suite
from llmops.types import MetricInfo

PROMPT = "prompt"  # the kind of variant that can have been another one before


def asked_of(suite: Suite, infos: Sequence[MetricInfo], running: Sequence[str]) -> tuple[str, ...]:
    """The gates of the variants that run, as text. Raises `SuiteError` at the first that can't be.

    With something from before to compare with, every prompt is asked at least that nothing regressed.
    """
    rules = [*suite.gates, *_implied(suite, infos)]
    gates, comparison_gates = parse_rules(rules, infos, [variant.name for variant in suite.variants])
    for rule, where in rules:
        if is_comparison(rule) and rule.endswith(f" for variant:{suite.baseline}"):
            raise InputError(f"gate {rule!r} is on the baseline itself", where=where, hint="name another variant")
    guarded = {name for gate in comparison_gates for name, _ in gate.metrics}
    where = next((where for rule, where in rules if is_comparison(rule) and where), suite.where)
    check_margins([one for one in infos if one.name in guarded], comparison_gates, suite.comparison, where)
    parsed: tuple[Gate | ComparisonGate, ...] = (*comparison_gates, *gates)
    return tuple(gate.rule for gate in parsed if gate.variant in (None, *running))


def _implied(suite: Suite, infos: Sequence[MetricInfo]) -> list[tuple[str, str]]:
    """No regression of any metric, for the variants that have a counterpart or should have one."""
    if any(is_comparison(rule) for rule, _ in suite.gates) or all(info.direction == "none" for info in infos):
        return []
    own = [variant for variant in suite.variants if variant.name not in suite.counterparts]
    with_past = {*suite.counterparts.values()}
    if suite.against:
        with_past |= {variant.name for variant in own if variant.kind == PROMPT}
    if len(with_past) == len(own):
        return [(EVERY_METRIC, "")]
    return [(f"{EVERY_METRIC} for variant:{variant.name}", "") for variant in own if variant.name in with_past]
