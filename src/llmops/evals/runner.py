"""Runs every variant on every case: the only place with concurrency, retries, cache and resume.

Each variant has its own workers, which pull trials from its own pass over the dataset, so that a slow or
rate-limited server never holds another variant back. A trial that fails is data; a store that fails, a limit that
is reached or Ctrl-C ends the run with everything finished already handed to `write`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from llmops.attribution import ATTRIBUTION, COUNTER
from llmops.errors import BackendError, BudgetExceededError, DatasetError, LlmopsError, PromptError, UnboundedCallError
from llmops.evals.answering import explained, failure_of, metered, taken, was_cancelled
from llmops.evals.counters import Counters
from llmops.evals.scoring import score_sample
from llmops.evals.sender import METER, Meter, Sender, within
from llmops.evals.sending import AnswerCache
from llmops.evals.staging import Placed, Stages
from llmops.evals.suite import Limits
from llmops.threads import Threads
from llmops.types import Case, Failure, Metric, Output, Result, RunStatus, Sample, Trial, Variant

FLUSH_EVERY_S = 0.02
_THREADS = Threads("llmops-cache")
Key = tuple[str, str, int]
Trials = Iterator[tuple[int, Trial]]


@dataclass(frozen=True)
class Entrant:
    """A variant in a run. `sends_itself` when its requests go through backends that limit and retry on their own."""

    name: str
    variant: Variant
    sends_itself: bool


@dataclass(frozen=True)
class Round:
    """More answers: to which cases and repeats, of which variants (None: all), for whom (None: the run)."""

    cases: tuple[Placed, ...]
    repeats: range
    entrants: frozenset[str] | None = None
    take: Callable[[Result], None] | None = None


@dataclass(frozen=True)
class Plan:
    """What a run does. `total` counts trials; `done` holds the (variant, case id, repeat) that a resumed run has."""

    suite: str
    cases: Iterable[Case]
    entrants: tuple[Entrant, ...]
    metrics: Mapping[str, Metric]
    limits: Limits = field(default_factory=Limits)
    repeats: int = 1
    total: int = 0
    done: frozenset[Key] | set[Key] = frozenset()
    resources: tuple[object, ...] = ()  # closed at the end when they have `aclose`
    more: Callable[[], Iterable[Round]] | None = None  # what else to ask when all cases have their answers
    stages: Stages | None = None  # cases in blocks, after each of which the run may end; in place of `cases`


class Runner:
    """Runs one plan. `write` gets each finished result and its case's position, once, in order of completion."""

    def __init__(
        self,
        plan: Plan,
        *,
        write: Callable[[Result, int], None],
        counters: Counters,
        cache: AnswerCache | None = None,
    ) -> None:
        self.plan = plan
        self._write = write
        self._counters = counters
        self._cache = cache
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._why: RunStatus = "finished"
        self._error: LlmopsError | None = None
        self.budget_note = ""
        self._senders: dict[str, Sender] = {}
        self._turn = 0

    def interrupt(self) -> None:
        """End the run soon, from any thread or signal handler; what is in flight is dropped, not stored."""
        self._why = "interrupted"
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def run(self) -> RunStatus:
        """Run to the end. Returns how it ended; raises the error of a store or configuration that failed."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        if self._why == "interrupted":
            return self._why
        self._counters.total = self.plan.total
        self._counters.done = self._counters.resumed = len(self.plan.done)
        flusher = asyncio.create_task(self._flush_cache())
        try:
            await self._run_stages()
            for one in self.plan.more() if self.plan.more is not None and not self._is_over() else ():
                await self._run_round(one)
        finally:
            flusher.cancel()
            await asyncio.gather(flusher, return_exceptions=True)
            with contextlib.suppress(LlmopsError):
                self._flush()
            await self._close()
        if self._error is not None:
            raise self._error
        return self._why

    async def _run_stages(self) -> None:
        stages = self.plan.stages
        if stages is None:
            await self._run_cases(lambda: enumerate(self.plan.cases))
            return
        for look, block in enumerate(stages.blocks):
            await self._run_cases(functools.partial(iter, block))
            if self._is_over() or stages.ended(look):
                return

    async def _run_round(self, more: Round) -> None:
        if self._is_over():
            return
        chosen = [one for one in self.plan.entrants if more.entrants is None or one.name in more.entrants]
        left = sum(1 for one in chosen for _ in self._trials(one, more.cases, more.repeats))
        self._counters.total = self._counters.done + left
        trials = [(one, self._trials(one, more.cases, more.repeats)) for one in chosen]
        await self._run_trials(trials, more.take)

    async def _run_cases(self, cases: Callable[[], Iterator[Placed]]) -> None:
        """Every variant on these cases, at the same time, each with a pass of its own."""
        repeats = range(self.plan.repeats)
        await self._run_trials([(one, self._trials(one, cases(), repeats)) for one in self.plan.entrants])

    async def _run_trials(
        self, passes: Sequence[tuple[Entrant, Trials]], take: Callable[[Result], None] | None = None
    ) -> None:
        # Taking turns, and another first each time: to start later is to wait longer, and must not look like slowness.
        crews = [list(self._workers(one, trials, take)) for one, trials in passes][:: -1 if self._turn % 2 else 1]
        self._turn += 1
        workers = [asyncio.create_task(w) for several in zip_longest(*crews) for w in several if w is not None]
        try:
            await self._until_done(workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _until_done(self, workers: list[asyncio.Task[None]]) -> None:
        assert self._ended is not None
        ended = asyncio.create_task(self._ended.wait())
        work: asyncio.Future[list[None]] = asyncio.gather(*workers)
        both: set[asyncio.Future[Any]] = {work, ended}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if work.done() and not work.cancelled() and (error := work.exception()) is not None:
                raise error
        finally:
            work.cancel()
            ended.cancel()
            await asyncio.gather(work, ended, return_exceptions=True)

    def _workers(
        self, entrant: Entrant, trials: Trials, take: Callable[[Result], None] | None
    ) -> Iterator[Coroutine[Any, Any, None]]:
        limits = self.plan.limits
        sender = None
        if not entrant.sends_itself:
            sender = self._senders.setdefault(entrant.name, Sender(within(limits, entrant.variant)))
        # Twice as many as may send at once: the next requests stand ready while answers are scored and saved. Whoever
        # asks for one at a time gets nothing else beside it.
        several = 2 * limits.concurrency if limits.concurrency > 1 else 1
        for _ in range(min(several, max(1, self.plan.total))):
            yield self._work(entrant, trials, sender, take)

    def _trials(self, entrant: Entrant, cases: Iterable[Placed], repeats: range) -> Trials:
        done, covers = self.plan.done, getattr(entrant.variant, "covers", None)
        for position, case in cases:
            for repeat in repeats:
                trial = Trial(case, repeat)
                if (entrant.name, case.id, repeat) not in done and (covers is None or covers(trial)):
                    yield position, trial

    async def _work(
        self, entrant: Entrant, trials: Trials, sender: Sender | None, take: Callable[[Result], None] | None
    ) -> None:
        answering = replace(ATTRIBUTION.get(), variant=entrant.name)
        judging = replace(answering, purpose="judge")
        for position, trial in trials:
            try:
                ATTRIBUTION.set(answering)
                output = await self._answer(entrant, trial, sender)
                if self._is_over():  # a pipeline may have swallowed the cancellation
                    return
                # The request that waited for this one's place goes out first. And a variant that never waits must not
                # starve the others, progress or Ctrl-C.
                await asyncio.sleep(0)
                ATTRIBUTION.set(judging)
                scores = await score_sample(self.plan.metrics, Sample(trial.case, output), self._counters.judged)
                self._record(Result(entrant.name, trial.case, output, trial.repeat, scores), position, take)
            except LlmopsError as error:
                if isinstance(error, BudgetExceededError) and not isinstance(error, UnboundedCallError):
                    self.budget_note = str(error)
                    self._end("stopped")
                else:
                    self._error = self._error or error
                    self._end("failed")
                return

    def _is_over(self) -> bool:
        task = asyncio.current_task()
        return (self._ended is not None and self._ended.is_set()) or (task is not None and task.cancelling() > 0)

    def _end(self, why: RunStatus) -> None:
        if self._why == "finished":
            self._why = why
        if self._ended is not None:
            self._ended.set()

    async def _answer(self, entrant: Entrant, trial: Trial, sender: Sender | None) -> Output:
        meter = Meter(f"{self.plan.suite}/{entrant.name}/{trial.case.id}", trial.repeat)
        METER.set(meter)
        COUNTER.set(meter.count)
        began = time.perf_counter()
        try:
            if sender is None:
                output = await entrant.variant.answer(trial)
            else:
                output = await sender.send(lambda: entrant.variant.answer(trial), meter=meter)
        except BudgetExceededError:
            self._counters.answered(meter.spending)
            raise
        except (BackendError, PromptError, DatasetError) as error:
            output = Output(error=failure_of(error))
        except (LlmopsError, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever a user's pipeline raises belongs to its case, sys.exit() included
            if was_cancelled(error):
                raise
            output = Output(error=Failure("pipeline", explained(error)))
        if meter.stopped is not None:  # the pipeline swallowed it
            self._counters.answered(meter.spending)
            raise meter.stopped
        output = metered(output, meter, time.perf_counter() - began)
        self._counters.answered(taken(output, meter))
        return output

    def _record(self, result: Result, position: int, take: Callable[[Result], None] | None) -> None:
        if take is not None:
            take(result)
        else:
            self._write(result, position)
        counters, output = self._counters, result.output
        counters.done += 1
        counters.cached += output.cached
        if output.error is not None:
            counters.errors += 1
            counters.last_error = output.error.message

    async def _flush_cache(self) -> None:
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                await _THREADS.run(self._flush)
        except LlmopsError as error:
            self._error = self._error or error
            self._end("failed")

    def _flush(self) -> None:
        if self._cache is not None:
            self._cache.flush()

    async def _close(self) -> None:
        for resource in (*(e.variant for e in self.plan.entrants), *self.plan.resources):
            close = getattr(resource, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):  # the results are safe; a connection that won't close isn't news
                    await close()
