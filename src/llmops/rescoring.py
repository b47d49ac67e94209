"""A saved run scored again, with other metrics or corrected expectations; no model is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from llmops.attribution import attributed
from llmops.connecting import tracking
from llmops.correcting import Corrections
from llmops.deciding import EVERY_METRIC, level_of, rules_of
from llmops.errors import StoreError, said
from llmops.evals.comparison_rules import is_comparison
from llmops.evals.scoring import score_sample
from llmops.evaluation import Evaluation
from llmops.provenance import now
from llmops.runs import Run, open_saved
from llmops.stepping import Stepping
from llmops.store.database import Store
from llmops.types import Case, Result, RunRecord, RunStatus, Sample

CHOSEN = (  # which cases and variants a run has, and how it came to them
    "only", "sample", "variants", "against", "baseline_run", "own_baseline", "counterparts", "stopping", "max_repeats",
    "pooled",
)  # fmt: skip


class Rescoring:
    """A saved run scored again with a suite's metrics and gates; nothing is generated."""

    def __init__(self, run: Run, evaluation: Evaluation) -> None:
        self.old = run
        self.evaluation = evaluation

    def run(self) -> Run:
        """A new run with the old one's outputs. Cases come from the suite's dataset where it still has them."""
        evaluation, old = self.evaluation, self.old.record
        metrics = evaluation.assembly.metrics
        fresh = evaluation.new_record()
        kept = {key: old.config[key] for key in CHOSEN if key in old.config}
        pooled = max((one.pooled for one in old.comparisons), default=1)
        kept |= {"pooled": pooled} if pooled > 1 else {}
        kept["set"] = [*(old.config.get("set") or ()), *fresh.config["set"]]
        rules = fresh.config["gates"]
        directed = any(info.direction != "none" for info in fresh.metrics)
        if kept.get("counterparts") and directed and not any(map(is_comparison, rules)):
            kept["gates"] = [EVERY_METRIC, *rules]
        record = replace(
            fresh,
            config={**fresh.config, **kept, "suite_cases": evaluation.assembly.survey.cases},
            seed=old.seed,
            variants=old.variants,
            baseline=old.baseline,
            repeats=old.repeats,
            cases=old.cases,
        )
        record = replace(record, environment={**record.environment, "scored_from": old.id})
        corrections = Corrections(record, evaluation.calibrations)
        stepping = Stepping(rules_of(record), None, corrections, repeats=old.repeats, max_repeats=old.repeats + 1)
        cases = self._current_cases()
        with Store.open(evaluation.location) as store:
            store.create_run(record)

            async def score_all(put: Callable[[Result, int], None]) -> None:
                positions: dict[str, int] = {}
                for result in self.old.results:
                    case = cases.get(result.case.id, result.case)
                    scores = await score_sample(metrics, Sample(case, result.output), evaluation.counters.judged)
                    scored = replace(result, case=case, scores=scores)
                    put(scored, positions.setdefault(case.id, len(positions)))
                    stepping.add(scored)

            with contextlib.ExitStack() as stack:
                stack.enter_context(_ended_on_error(store, record))
                if evaluation.assembly.made is not None:  # metrics may ask models
                    stack.enter_context(tracking(evaluation.assembly.made, evaluation.config, evaluation.location))
                stack.enter_context(attributed(purpose="judge", run=record.id, suite=record.suite))
                asyncio.run(score_all(stack.enter_context(store.writer(record.id)).put))
            comparisons, gates = stepping.conclude(level_of(old.config))
            status = old.status if old.status in ("finished", "stopped") else "stopped"
            config = {**record.config, "spent": evaluation.counters.spent.as_data()}
            record = store.update_run(
                record.id, status=status, ended_at=now(), gates=gates, comparisons=comparisons, config=config
            )
        return open_saved(evaluation.location, record, stepping.aggregate)

    def _current_cases(self) -> dict[str, Case]:
        if self.old.record.fingerprint == self.evaluation.assembly.survey.fingerprint:
            return {}
        return {case.id: case for case in self.evaluation.assembly.dataset}


@contextlib.contextmanager
def _ended_on_error(store: Store, record: RunRecord) -> Iterator[None]:
    """A scoring that fails or is interrupted must not look as if it were still running."""
    try:
        yield
    except BaseException as error:
        status: RunStatus = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(StoreError):
            store.update_run(record.id, status=status, ended_at=now(), note=said(error))
        raise
