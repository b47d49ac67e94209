"""What a finished trial is worth: its answer with what it used, or why it failed."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from pathlib import Path

from llmops.errors import LlmopsError, said
from llmops.evals.sender import Meter
from llmops.types import Failure, Output
from llmops.usage.spending import Spending


def metered(output: Output, meter: Meter, elapsed: float) -> Output:
    """Fill in what the variant left open. Time spent waiting for a place isn't the variant's; replayed answers' is."""
    latency = output.latency_s
    if latency is None and output.error is None and not output.cached:
        latency = max(0.0, elapsed - meter.waited_s) + meter.replayed_s
    usage = output.usage
    if not usage.requests and not usage.total_tokens:
        usage = meter.usage
    elif usage.cost is None and not usage.unpriced:  # it counts its own tokens, and we know what they cost
        known = meter.usage
        usage = replace(usage, cost=known.cost, unpriced=known.unpriced, estimated_cost=known.estimated_cost)
    cached = output.cached or (meter.requests > 0 and meter.cached == meter.requests)
    if (latency, cached) == (output.latency_s, output.cached) and usage is output.usage:
        return output
    return replace(output, latency_s=latency, usage=usage, cached=cached)


def taken(output: Output, meter: Meter) -> Spending:
    """What a finished trial took: as its requests were seen, or as a pipeline that counts for itself says."""
    if meter.requests and (meter.cached or output.usage == meter.usage):
        return meter.spending
    return Spending.of(output.usage, cached=output.cached)


def was_cancelled(error: BaseException) -> bool:
    """True when the runner ended this task; a pipeline may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def failure_of(error: LlmopsError) -> Failure:
    message = error.message if not error.hint else f"{error.message}; {error.hint}"
    return Failure(error.kind, message[:1000], error.retryable, getattr(error, "attempts", 1))


def explained(error: BaseException) -> str:
    """The exception and the line of the user's code it came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "llmops" not in Path(f.filename).parts]
    own = [f for f in frames if "site-packages" not in f.filename and "lib/python" not in f.filename] or frames
    at = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {said(error)}{at}"[:1000]
