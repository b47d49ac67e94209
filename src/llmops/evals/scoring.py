"""Scores for a finished trial. A metric that fails leaves the sample unscored and the run going."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping

from llmops.errors import BudgetExceededError, LlmopsError, StoreError, said
from llmops.types import Metric, Sample, Score


async def score_sample(metrics: Mapping[str, Metric], sample: Sample) -> dict[str, Score]:
    """A score by metric name. A sample with an error is unscored everywhere: it has no answer to judge."""
    if sample.output.error is not None:
        failed = Score.unscored("the case failed")
        return dict.fromkeys(metrics, failed)
    scores = {}
    for name, metric in metrics.items():
        try:
            score = metric.score(sample)
            scores[name] = await score if inspect.isawaitable(score) else score
        except (BudgetExceededError, StoreError):
            raise
        except LlmopsError as error:
            scores[name] = Score.unscored(str(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a user's metric included
            if isinstance(error, asyncio.CancelledError) and _is_ending():
                raise
            scores[name] = Score.unscored(f"{name} raised {type(error).__name__}: {said(error)}"[:500])
    return scores


def _is_ending() -> bool:
    """True when the runner cancelled this task; a metric may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
