"""Scores for a finished trial. A metric that fails leaves the sample unscored and the run going."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from llmops.attribution import COUNTER
from llmops.errors import BudgetExceededError, LlmopsError, StoreError, said
from llmops.evals.sender import METER, Meter
from llmops.threads import Threads
from llmops.types import Metric, Sample, Score
from llmops.usage.spending import Spending

_THREADS = Threads("llmops-metric")


async def score_sample(
    metrics: Mapping[str, Metric], sample: Sample, used: Callable[[Spending], None] | None = None
) -> dict[str, Score]:
    """A score by metric name. A sample with an error is unscored everywhere: it has no answer to judge.

    `used` is told what the metrics' own calls to models took. Raises `BudgetExceededError` when a limit of the run
    ended one of them, and `StoreError`.
    """
    if sample.output.error is not None:
        failed = Score.unscored("the case failed")
        return dict.fromkeys(metrics, failed)
    answering = METER.get()
    meter = Meter(answering.origin, answering.repeat) if answering is not None else Meter()
    METER.set(meter)  # what judging takes isn't the answer's
    COUNTER.set(meter.count)
    try:
        return {name: await _score(name, metric, sample, meter) for name, metric in metrics.items()}
    finally:
        if used is not None and meter.requests:
            used(meter.spending)


async def _score(name: str, metric: Metric, sample: Sample, meter: Meter) -> Score:
    try:
        score: Any = await _THREADS.run(metric.score, sample) if _may_block(metric) else metric.score(sample)
        if not isinstance(score, Score) and inspect.isawaitable(score):
            score = await score
        if meter.stopped is not None:  # the metric swallowed it
            raise meter.stopped
        made: Score = score
        return made
    except (BudgetExceededError, StoreError):
        raise
    except LlmopsError as error:
        return Score.unscored(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in a user's metric included
        if isinstance(error, asyncio.CancelledError) and _is_ending():
            raise
        return Score.unscored(f"{name} raised {type(error).__name__}: {said(error)}"[:500])


def _may_block(metric: Any) -> bool:
    """Whether a metric runs code of a user's that may hold up the event loop, and every answer with it."""
    blocks = getattr(metric, "blocks", None)
    if blocks is not None:
        return bool(blocks)
    return not type(metric).__module__.startswith("llmops.") and not inspect.iscoroutinefunction(metric.score)


def _is_ending() -> bool:
    """True when the runner cancelled this task; a metric may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
