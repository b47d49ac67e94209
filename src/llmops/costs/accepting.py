"""The cost of an accepted answer: what a run spent, over the answers that met a rule."""

from __future__ import annotations

import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.errors import InputError, did_you_mean
from llmops.reports.cost_lines import AcceptedAnswers

if TYPE_CHECKING:
    from llmops.runs import Run
    from llmops.store.call_queries import Calls
    from llmops.types import Result

_RULE = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """`metric >= 0.8`: an answer without a score of the metric doesn't meet it."""

    metric: str
    comparison: str
    threshold: float

    def holds(self, result: Result) -> bool:
        score = result.scores.get(self.metric)
        return (
            result.output.error is None
            and score is not None
            and score.value is not None
            and _COMPARE[self.comparison](score.value, self.threshold)
        )


@dataclass(frozen=True)
class ChosenRun:
    """A run, and the rules that say which of its answers were accepted."""

    run: Run
    rules: tuple[Rule, ...] = ()
    text: str = ""


def chosen_run(reference: str, accepted: Sequence[str], store: str | Path | None) -> ChosenRun | None:
    """The run that `--run` names, with the rules of `--accepted`. Raises `InputError` for a rule it can't apply."""
    if not reference:
        if accepted:
            raise InputError("--accepted speaks of a run's answers", hint="add --run latest")
        return None
    from llmops.runs import open_run

    run = open_run(reference, store=store)
    metrics = [info.name for info in run.record.metrics]
    return ChosenRun(run, tuple(_rule(text, metrics) for text in accepted), " and ".join(map(str.strip, accepted)))


def _rule(text: str, metrics: list[str]) -> Rule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise InputError(f"--accepted {text[:80]!r} isn't a rule", hint="write --accepted 'token_f1 >= 0.8'")
    name, comparison, number, percent = found.groups()
    if name not in metrics:
        raise InputError(f"--accepted: the run has no metric {name[:60]!r}", hint=did_you_mean(name, metrics))
    return Rule(name, comparison, float(number) / (100 if percent else 1))


def accepted_answers(calls: Calls, chosen: ChosenRun) -> tuple[AcceptedAnswers, ...]:
    """A line a variant of the run. Cost of judges that serve no single variant is in none of them."""
    if not chosen.rules:
        return ()
    answers, accepted, reused = Counter[str](), Counter[str](), Counter[str]()
    for result in chosen.run.results:
        answers[result.variant] += 1
        if all(rule.holds(result) for rule in chosen.rules):
            accepted[result.variant] += 1
            reused[result.variant] += result.output.cached
    costs: dict[str, Counter[str]] = defaultdict(Counter)
    for totals in calls.totals(by=("variant", "purpose"), since=None, until=None, where={"run": chosen.run.id}):
        of = costs[str(totals.key["variant"] or "")]
        part = "checking" if totals.key["purpose"] in ("judge", "guard") else "answers"
        of[part] += totals.cost_exact + totals.cost_estimated
        of["unpriced"] += totals.unpriced
        of["priced"] += totals.requests - totals.unsent - totals.pending - totals.unpriced
    return tuple(
        AcceptedAnswers(
            variant=name,
            rule=chosen.text,
            accepted=accepted[name],
            answers=answers[name],
            cost=costs[name]["answers"] if costs[name]["priced"] else None,
            checking=costs[name]["checking"],
            unpriced=costs[name]["unpriced"],
            reused=reused[name],
        )
        for name in [variant.name for variant in chosen.run.record.variants]
    )
