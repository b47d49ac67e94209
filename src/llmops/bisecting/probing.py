"""One version of a prompt on one case: asked for when its answer isn't in the response cache, and scored."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from llmops.against import counterpart
from llmops.assembly import Assembler, Assembly, Selection, requests_of
from llmops.attribution import attributed
from llmops.config import Config, store_location
from llmops.connecting import tracking
from llmops.datasets import dataset_of
from llmops.errors import BackendError, InputError, LlmopsError, RequestRejectedError
from llmops.evals.counters import Counters
from llmops.evals.driving import drive
from llmops.evals.limits import Budget
from llmops.evals.runner import Plan, Runner
from llmops.evals.sending import AnswerCache
from llmops.evals.suite import Suite, VariantSpec
from llmops.prompts.lineage import Version
from llmops.prompts.store import PromptStore
from llmops.prompts.template import FilePrompt
from llmops.secrets import masked_message
from llmops.types import Case, Completion, Result, Trial

SHORT = 10  # digits of a commit


@dataclass(frozen=True, slots=True)
class Answered:
    """What a version answered, once for each repeat; `score` is the mean. None, with the `problem`, when it has none.

    A problem is the version's own: it can't be loaded or rendered, the server refuses it, or it can't be scored.
    """

    score: float | None = None
    scores: tuple[float | None, ...] = ()
    answers: tuple[str, ...] = ()
    problem: LlmopsError | None = None


class UnscoredError(LlmopsError):
    """A metric gives an answer no score."""

    exit_code = 3


class _Loaded(PromptStore):
    """A store that has one version loaded: reading each from git again would take longer than all else."""

    version: Version | None = None

    def load(self, reference: str, *, where: str = "", key: str | None = None, again: bool = False) -> FilePrompt:
        version = self.version
        if version is not None and version.prompt is not None and reference == str(version.reference):
            return version.prompt
        return super().load(reference, where=where, key=key, again=again)


class CountingCache:
    """The response cache, with how often it was asked in vain and not. Nothing is sent while it is `complete`."""

    def __init__(self, cache: AnswerCache) -> None:
        self.inner = cache
        self.complete = False
        self.asked = 0
        self.found = 0

    def get(self, key: str) -> Completion | None:
        kept = self.inner.get(key)
        if kept is not None:
            self.found += 1
        elif not self.complete:
            self.asked += 1
        return kept

    def put(self, key: str, text: str, completion: Completion, origin: str) -> None:
        self.inner.put(key, text, completion, origin)

    def flush(self) -> None:
        self.inner.flush()

    def close(self) -> None:
        self.inner.close()


class Probe:
    """Answers versions of one variant's prompt on one case, each content once. `suite` has the one metric."""

    def __init__(self, suite: Suite, config: Config, variant: VariantSpec, case: Case, cache: CountingCache) -> None:
        self.suite = replace(suite, variants=(), gates=(), baseline=None, counterparts={}, max_repeats=0)
        self.config = config
        self.variant = variant
        self.case = case
        self.cache = cache
        self._prompts = _Loaded(config.prompts_dir, watch=False)
        self._secrets = (*suite.secrets, *config.secrets)
        self._kept: dict[str, Answered] = {}

    def known(self, version: Version) -> Answered | None:
        """What is known without asking anything: None when an answer, or one that the metric needs, isn't cached."""
        kept = self._kept.get(version.content_id)
        if kept is not None or version.problem is not None:
            return kept or Answered(problem=version.problem)
        try:
            if not self._is_cached(self._assembled(version, scored=False)):
                return None
            answered = self._answered(version, complete=True)
        except InputError as problem:
            return self._keep(version, Answered(problem=self._masked(problem)))
        return self._keep(version, answered) if answered.problem is None else None

    def ask(self, version: Version) -> Answered:
        """The answer of a version that isn't `known`.

        Raises `InputError` when the backend lacks something it needs, `BackendError` when another attempt may help,
        and KeyboardInterrupt after Ctrl-C.
        """
        try:
            self._assembled(version)
        except InputError as problem:
            return self._keep(version, Answered(problem=self._masked(problem)))
        return self._keep(version, self._answered(version, complete=False))

    def _keep(self, version: Version, answered: Answered) -> Answered:
        self._kept[version.content_id] = answered
        return answered

    def _assembled(self, version: Version, *, scored: bool = True) -> Assembly:
        name = f"{self.variant.name}@{version.commit[:SHORT]}" if version.commit else self.variant.name
        self._prompts.version = version
        spec = counterpart(self._prompts, self.variant, version.reference, name, [self.case])
        suite = replace(self.suite, variants=(spec,), metrics=self.suite.metrics if scored else ())
        assembler = Assembler(suite, self.config, budget=Budget(), prompts=self._prompts)
        return assembler.assemble(Selection(), dataset_of([self.case], name=suite.dataset_name))

    def _is_cached(self, assembly: Assembly) -> bool:
        from llmops.backends.cache import key_of, request_text

        keys = [
            key_of(request_text(sent.identity, request))
            for repeat in range(self.suite.repeats)
            for entrant in assembly.entrants
            for sent, request in requests_of(entrant, Trial(self.case, repeat))
        ]
        return all(self.cache.inner.get(key) is not None for key in keys)

    def _answered(self, version: Version, *, complete: bool) -> Answered:
        assembly = self._assembled(version)
        self.cache.complete = complete
        for backend in assembly.backends:
            backend.cache = self.cache
            if not complete:
                backend.check_ready()
        results: list[Result] = []
        plan = Plan(
            suite=self.suite.name,
            cases=[self.case],
            entrants=assembly.entrants,
            metrics=assembly.metrics,
            limits=self.suite.limits,
            repeats=self.suite.repeats,
            total=self.suite.repeats,
            resources=tuple(sent.backend for sent in assembly.backends),
        )
        runner = Runner(plan, write=lambda result, _: results.append(result), counters=Counters(), cache=self.cache)
        made = None if complete else assembly.made
        with contextlib.ExitStack() as stack:
            if made is not None:
                stack.enter_context(tracking(made, self.config, store_location(None, self.suite.base)))
            stack.enter_context(attributed(purpose="eval", suite=self.suite.name))
            status = drive(runner)
        if status == "interrupted":
            raise KeyboardInterrupt
        return self._summed_up(sorted(results, key=lambda result: result.repeat))

    def _summed_up(self, results: Sequence[Result]) -> Answered:
        failure = next((result.output.error for result in results if result.output.error is not None), None)
        if failure is not None:
            message = masked_message(failure.message, self._secrets)
            if failure.retryable:
                raise BackendError(message, hint="run it again: what has been answered is kept and costs nothing")
            return Answered(problem=RequestRejectedError(message))
        scores = [score for result in results for score in result.scores.values()]
        values = [score.value for score in scores if score.value is not None]
        answers = tuple(result.output.text for result in results)
        each = tuple(score.value for score in scores)
        if not values:
            why = masked_message(scores[0].reason, self._secrets) if scores else ""
            return Answered(None, each, answers, UnscoredError(f"its answer has no score: {why}"))
        return Answered(fmean(values), each, answers)

    def _masked(self, problem: LlmopsError) -> LlmopsError:
        problem.message = masked_message(problem.message, self._secrets)
        return problem
