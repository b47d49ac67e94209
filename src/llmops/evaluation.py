"""One evaluation from start to end: assemble, run or resume, decide the gates, and hand back a `Run`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops.against import with_counterparts
from llmops.aggregate import Aggregate
from llmops.assembly import Assembler, Selection
from llmops.config import load_config, project_root, store_location
from llmops.datasets import Dataset
from llmops.errors import InputError, StoreError
from llmops.evals.driving import drive
from llmops.evals.gating import decide, unfinished_gates
from llmops.evals.limits import Budget
from llmops.evals.runner import Counters, Plan, Runner
from llmops.evals.sending import AnswerCache
from llmops.evals.suite import Suite, load_suite
from llmops.identity import new_id
from llmops.process import is_alive, this_process
from llmops.runs import Run, open_saved, unfinished
from llmops.secrets import masked, masked_message, masked_override
from llmops.store.database import Store
from llmops.types import Result, RunRecord, RunStatus

LIBRARIES = (
    "llmops",
    "aiohttp",
    "jinja2",
    "langchain-core",
    "pydantic",
    "rapidfuzz",
    "rouge-score",
    "sacrebleu",
    "sqlmodel",
)


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
        budget = Budget(max_requests=options.max_requests, max_tokens=options.max_tokens)
        if options.replay is not None and not any(options.replay.glob("*.json")):
            what = "no recorded answers in" if options.replay.is_dir() else "no folder"
            raise InputError(f"--replay: {what} {options.replay}", hint="record some with --record")
        self.assembly = Assembler(suite, self.config, budget=budget).assemble(options.selection, dataset)

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
            record, done = self._begin(store)
            cache = self._open_cache()
            if cache is not None:
                stack.callback(cache.close)
            for backend in assembly.backends:
                backend.cache = cache
            aggregate = Aggregate([info.name for info in record.metrics])
            if done:
                for result in store.results(record.id):
                    aggregate.add(result)
            status, note = self._drive(store, record, aggregate, cache, done)
            candidates = [entrant.name for entrant in assembly.entrants if entrant.name not in self.suite.counterparts]
            gates = decide(assembly.gates, aggregate, candidates)  # what was there before is no one's to mend
            if status != "finished":
                gates = unfinished_gates(gates, self.counters.done, self.counters.total)
            record = store.update_run(record.id, status=status, ended_at=now(), gates=gates, note=note)
        return open_saved(self.location, record, aggregate)

    def _begin(self, store: Store) -> tuple[RunRecord, set[tuple[str, str, int]]]:
        if self.options.resume is None:
            record = self.new_record()
            store.create_run(record)
            return record, set()
        old = store.find(self.options.resume)
        self._check_same(old)
        if self.options.retry_errors:
            store.drop_errors(old.id)
        done = store.finished(old.id)
        environment = {**old.environment, "process": this_process()}
        return store.update_run(old.id, status="running", environment=environment, gates=(), note=""), done

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
                "gates": [rule for rule, _ in self.suite.gates],
                "only": list(selection.only),
                "sample": selection.sample,
                "variants": list(selection.variants),
                "against": self.suite.against,
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
        from llmops.backends.cache import FolderCache, SqliteCache

        if not self.assembly.backends:
            return None
        if self.options.replay is not None:
            return FolderCache(self.options.replay, write=False)
        if self.options.record is not None:
            return FolderCache(self.options.record, write=True)
        if not self.options.cache:
            return None
        return SqliteCache(cache_path(self.config.root), refresh=self.options.refresh)

    def _drive(
        self,
        store: Store,
        record: RunRecord,
        aggregate: Aggregate,
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
        )
        try:
            with store.writer(record.id) as writer:

                def write(result: Result, position: int) -> None:
                    if result.output.error is not None and self.secrets:
                        result = self._without_secrets(result)
                    writer.put(result, position)
                    aggregate.add(result)

                runner = Runner(plan, write=write, counters=self.counters, cache=cache)
                status = drive(runner)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with contextlib.suppress(StoreError):
                store.update_run(record.id, status=status, ended_at=now(), note=str(error))
            raise
        return status, runner.budget_note


def cache_path(root: Path) -> Path:
    """Where a project keeps its response cache."""
    return root / ".llmops" / "cache.db"


def environment(folder: Path) -> dict[str, Any]:
    """What else may have decided the outcome: git, Python, libraries, and which process it was."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from llmops.git import describe

    packages: dict[str, str] = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "git": dict(describe(folder)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "process": this_process(),
    }


def now() -> str:
    """This moment in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def resumable(path: Path | None, options: RunOptions, reference: str, overrides: Sequence[str] = ()) -> Evaluation:
    """The evaluation that finishes a run that didn't end: the one named, or the latest (of the suite at `path`).

    The cases and variants are the ones that run chose. Raises `InputError` when anything that decides its
    outcome has changed since.
    """
    name = load_suite(path, overrides=overrides).name if path is not None else ""
    location = store_location(options.store, path.parent if path is not None else None)
    with Store.open(location, create=False) as store:
        latest = store.runs(limit=1, suite=name) if options.retry_errors and not reference else []
        record = latest[0] if latest else unfinished(store, suite=name, reference=reference)
    if "scored_from" in record.environment:
        hint = f"resume {record.environment['scored_from']}, then score it"
        raise InputError(f"run {record.id} is another run scored again", hint=hint)
    if record.status == "finished" and not options.retry_errors:
        raise InputError(f"run {record.id} is finished", hint="--retry-errors runs its failed cases again")
    chosen = record.config
    if path is None and not chosen.get("path"):
        raise InputError(f"run {record.id} was not made from a suite file", hint="name the suite")
    hidden = [override.partition("=")[0] for override in chosen.get("set") or () if override.endswith("=***")]
    missing = [key for key in hidden if not any(override.startswith(f"{key}=") for override in overrides)]
    if missing:
        raise InputError(f"the run was made with --set {missing[0]}=…, a secret", hint="give that --set again")
    place = path if path is not None else project_root() / chosen["path"]
    kept = [override for override in chosen.get("set") or () if not override.endswith("=***")]
    suite = load_suite(place, overrides=[*kept, *overrides])
    suite = with_counterparts(suite, chosen["against"]).suite if chosen.get("against") else suite
    selection = Selection(
        tuple(chosen.get("only") or ()),
        chosen.get("sample"),
        record.seed or 0,
        tuple(chosen.get("variants") or ()),
    )
    mode = chosen.get("cache", "use")  # a run that asked anew must not be finished with old answers
    options = replace(options, cache=options.cache and mode != "off", refresh=options.refresh or mode == "refresh")
    return Evaluation(suite, replace(options, selection=selection, store=location, resume=record.id))
