"""One evaluation from start to end: assemble, run or resume, decide the gates, and hand back a `Run`."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmops.assembly import Assembler, Selection
from llmops.attribution import attributed
from llmops.canary import Canary
from llmops.config import load_config, store_location
from llmops.connecting import price_book, tracking
from llmops.correcting import Corrections, load_calibrations
from llmops.datasets import Dataset
from llmops.deciding import Rules, rules_of
from llmops.errors import InputError, StoreError
from llmops.evals.counters import Counters
from llmops.evals.driving import drive
from llmops.evals.gating import unfinished_gates
from llmops.evals.limits import Budget
from llmops.evals.own_calls import holding_calls
from llmops.evals.runner import Plan, Runner
from llmops.evals.sending import AnswerCache
from llmops.evals.staging import Schedule, schedule
from llmops.evals.suite import Suite
from llmops.identity import new_id
from llmops.process import is_alive, this_process
from llmops.provenance import environment, now
from llmops.runs import Run, is_readable, open_saved
from llmops.secrets import masked, masked_message, masked_override
from llmops.stepping import Stepping
from llmops.store.database import Store
from llmops.types import Result, RunRecord, RunStatus
from llmops.usage.spending import spent_before

RECENT = 50  # runs of a suite in which earlier ones of the same commit are looked for
SAME = ("against", "baseline_run", "counterparts", "only", "sample", "variants")  # what makes runs alike


@dataclass(frozen=True)
class RunOptions:
    """How to run a suite; see `llmops eval --help` for what each does."""

    selection: Selection = field(default_factory=Selection)
    store: str | None = None
    cache: bool = True
    refresh: bool = False
    record: Path | None = None
    replay: Path | None = None
    max_requests: int | None = None
    max_tokens: int | None = None
    max_cost: int | None = None  # nano-dollars
    resume: str | None = None  # a run's id
    retry_errors: bool = False


class Evaluation:
    """A suite made ready to run: nothing sent, nothing written, everything that could be checked checked."""

    def __init__(self, suite: Suite, options: RunOptions, *, dataset: Dataset | None = None) -> None:
        self.suite = suite
        self.options = options
        self.config = load_config(suite.base)
        self.location = store_location(options.store, suite.base)
        self.secrets = (*suite.secrets, *self.config.secrets)
        self.counters = Counters()
        budget = Budget(max_requests=options.max_requests, max_tokens=options.max_tokens, max_cost=options.max_cost)
        if options.replay is not None and not any(options.replay.glob("*.json")):
            what = "no recorded answers in" if options.replay.is_dir() else "no folder"
            raise InputError(f"--replay: {what} {options.replay}", hint="record some with --record")
        self.assembly = Assembler(suite, self.config, budget=budget).assemble(options.selection, dataset)
        self.calibrations = load_calibrations(self.config.root, self.assembly.metric_infos)

    def check_ready(self) -> None:
        """Raises `InputError` when a backend lacks what it needs before its first request; a replay needs nothing."""
        if self.options.replay is None:
            for backend in self.assembly.backends:
                backend.check_ready()

    def run(self) -> Run:
        """Run it and save it. Raises `StoreError` when the store fails; every finished case is kept."""
        assembly = self.assembly
        self.check_ready()
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(Store.open(self.location))
            if assembly.made is not None and self.options.replay is None:
                stack.enter_context(tracking(assembly.made, self.config, self.location))
            elif assembly.made is not None:
                assembly.made.use_prices(price_book(self.config))
            record, done = self._begin(store)
            cache = self._open_cache()
            if cache is not None:
                stack.callback(cache.close)
            for backend in assembly.backends:
                backend.cache = cache
            stack.enter_context(attributed(purpose="eval", run=record.id, suite=self.suite.name))
            stack.enter_context(holding_calls(assembly.budget))
            rules = rules_of(record)
            stepping = Stepping(
                rules, self._schedule(record, rules), Corrections(record, self.calibrations),
                repeats=self.suite.repeats, max_repeats=self.suite.max_repeats,
                canary=Canary(rules, self._canary_share, record.id),
            )  # fmt: skip
            stepping.resume(store.results(record.id) if done else ())
            status, note = self._drive(store, record, stepping, cache, done)
            if status == "finished":
                self._pool(store, record, stepping)
            record = self._conclude(store, record, stepping, status, note)
        return open_saved(self.location, record, stepping.aggregate)

    def _pool(self, store: Store, record: RunRecord, stepping: Stepping) -> None:
        """Count finished runs of the same commit, suite and cases too: running again until it passes must not pay."""
        commit = record.environment["git"].get("commit")
        if commit is None or not stepping.rules.pairs:
            return
        earlier = [
            store.results(one.id)
            for one in store.runs(limit=RECENT, suite=record.suite)
            if one.id != record.id
            and one.status == "finished"
            and "scored_from" not in one.environment  # its answers are another run's
            and (one.suite_hash, one.fingerprint) == (record.suite_hash, record.fingerprint)
            and (one.environment.get("git") or {}).get("commit") == commit
            and all(one.config.get(key) == record.config.get(key) for key in SAME)
        ]
        readable = [results for results in earlier if is_readable(results)]
        if readable:
            stepping.pool(store.results(record.id), readable)

    @property
    def _canary_share(self) -> float:
        """Only what the response cache gave can be out of date."""
        options, suite = self.options, self.suite
        cached = options.cache and not options.refresh and options.replay is None and options.record is None
        return suite.comparison.canary if cached and not suite.baseline_run else 0.0

    def _schedule(self, record: RunRecord, rules: Rules) -> Schedule | None:
        """The blocks of a comparison that may end early; None when all cases run in any case."""
        if not rules.staged:
            return None
        settings = rules.settings
        return schedule(list(self.assembly.dataset), alpha=settings.alpha, most=settings.looks, seed=record.fingerprint)

    def _conclude(self, store: Store, record: RunRecord, stepping: Stepping, status: RunStatus, note: str) -> RunRecord:
        level = stepping.level(finished=status == "finished")
        comparisons, gates = stepping.conclude(level, finished=status == "finished")
        config = {**record.config, "spent": self.counters.spent.as_data()}
        changes: dict[str, Any] = {"config": config}
        if status != "finished":
            gates = unfinished_gates(gates, self.counters.done, self.counters.total)
        elif level.stopping is not None:
            stopping = {**asdict(level.stopping), "alpha": level.alpha}
            changes = {"cases": level.stopping.cases, "config": {**config, "stopping": stopping}}
            self.counters.total = self.counters.done
        return store.update_run(
            record.id, status=status, ended_at=now(), gates=gates, comparisons=comparisons, note=note, **changes
        )

    def _begin(self, store: Store) -> tuple[RunRecord, set[tuple[str, str, int]]]:
        if self.options.resume is None:
            record = self.new_record()
            store.create_run(record)
            return record, set()
        old = store.find(self.options.resume)
        self._check_same(old)
        self.counters.resume(spent_before(old, store.results(old.id)))
        if self.options.retry_errors:
            store.drop_errors(old.id)
        done = store.finished(old.id)
        environment = {**old.environment, "process": this_process()}
        config = {key: value for key, value in old.config.items() if key not in ("stopping", "spent")}
        record = store.update_run(
            old.id, status="running", environment=environment, gates=(), comparisons=(), note="",
            config=config, cases=self.assembly.survey.cases,
        )  # fmt: skip
        return record, done

    def _check_same(self, old: RunRecord) -> None:
        if is_alive(old.environment.get("process")) and old.status == "running":
            raise InputError(f"run {old.id} is still running", hint="wait for it, or end it first")
        if old.fingerprint != self.assembly.survey.fingerprint:
            changed = "the dataset"
        elif old.suite_hash != self.assembly.suite_hash:
            changed = "the suite, a prompt, a pipeline or a metric"
        else:
            return
        raise InputError(f"{changed} changed since run {old.id} began", hint="start a new run without --resume")

    def new_record(self) -> RunRecord:
        assembly, selection = self.assembly, self.options.selection
        return RunRecord(
            id=new_id(),
            suite=self.suite.name,
            suite_hash=assembly.suite_hash,
            dataset=assembly.dataset.name,
            fingerprint=assembly.survey.fingerprint,
            variants=tuple(
                replace(info, details=masked(info.details, self.secrets)) for info in assembly.variant_infos
            ),
            metrics=assembly.metric_infos,
            baseline=assembly.baseline,
            repeats=self.suite.repeats,
            cases=assembly.survey.cases,
            seed=selection.seed if selection.sample is not None else None,
            started_at=now(),
            environment=environment(self.suite.base),
            config={
                "path": self._relative_path(),
                "description": self.suite.description,
                "gates": list(assembly.rules),
                "comparison": asdict(self.suite.comparison),
                "only": list(selection.only),
                "sample": selection.sample,
                "variants": list(selection.variants),
                "against": self.suite.against,
                "baseline_run": self.suite.baseline_run,
                "own_baseline": self.suite.own_baseline,
                "max_repeats": self.suite.max_repeats,
                "counterparts": dict(self.suite.counterparts),
                "cache": "refresh" if self.options.refresh else "use" if self.options.cache else "off",
                "set": [masked_override(override) for override in self.suite.overrides],
            },
        )

    def _relative_path(self) -> str:
        """The suite's path from the project's folder, so that a saved run names no machine's folders."""
        if self.suite.path is None:
            return ""
        path = self.suite.path.resolve()
        return path.relative_to(self.config.root).as_posix() if path.is_relative_to(self.config.root) else str(path)

    def _without_secrets(self, result: Result) -> Result:
        """A failed result whose message, perhaps a server's, doesn't repeat a secret of ours."""
        error = result.output.error
        assert error is not None
        error = replace(error, message=masked_message(error.message, self.secrets))
        return replace(result, output=replace(result.output, error=error))

    def _open_cache(self) -> AnswerCache | None:
        from llmops.backends.cache import FolderCache, RunCache, SqliteCache

        if not self.assembly.backends:
            return None
        if self.options.replay is not None:
            return FolderCache(self.options.replay, write=False)
        if self.options.record is not None:
            return FolderCache(self.options.record, write=True)
        if not self.options.cache:
            return RunCache() if self.suite.counterparts or self.suite.baseline else None
        return SqliteCache(cache_path(self.config.root), refresh=self.options.refresh)

    def _drive(
        self,
        store: Store,
        record: RunRecord,
        stepping: Stepping,
        cache: AnswerCache | None,
        done: set[tuple[str, str, int]],
    ) -> tuple[RunStatus, str]:
        assembly = self.assembly
        plan = Plan(
            suite=self.suite.name,
            cases=assembly.dataset,
            entrants=assembly.entrants,
            metrics=assembly.metrics,
            limits=self.suite.limits,
            repeats=self.suite.repeats,
            total=assembly.total,
            done=done,
            resources=tuple(sent.backend for sent in assembly.backends),
            stages=stepping.stages,
            more=stepping.more,
        )
        try:
            with store.writer(record.id) as writer:

                def write(result: Result, position: int) -> None:
                    if result.output.error is not None and self.secrets:
                        result = self._without_secrets(result)
                    writer.put(result, position)
                    stepping.add(result, position)

                runner = Runner(plan, write=write, counters=self.counters, cache=cache)
                status = drive(runner)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            if isinstance(error, StoreError) and error.hint.endswith("try again"):
                error.hint += " with llmops eval --resume"
            with contextlib.suppress(StoreError):
                config = {**record.config, "spent": self.counters.spent.as_data()}
                store.update_run(record.id, status=status, ended_at=now(), note=str(error), config=config)
            raise
        return status, runner.budget_note


def cache_path(root: Path) -> Path:
    """Where a project keeps its response cache."""
    return root / ".llmops" / "cache.db"
