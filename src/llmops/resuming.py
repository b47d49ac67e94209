"""`--resume`: the evaluation that finishes a run that didn't end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmops.against import with_counterparts
from llmops.assembly import Selection
from llmops.baselines import with_baseline_run
from llmops.config import project_root, store_location
from llmops.errors import InputError, NotFoundError
from llmops.evals.suite import load_suite
from llmops.evaluation import Evaluation, RunOptions
from llmops.runs import Run, open_saved, unfinished
from llmops.store.database import Store


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
    if chosen.get("baseline_run"):
        suite = with_baseline_run(suite, _baseline(location, chosen["baseline_run"])).suite
    selection = Selection(
        tuple(chosen.get("only") or ()),
        chosen.get("sample"),
        record.seed or 0,
        tuple(chosen.get("variants") or ()),
    )
    mode = chosen.get("cache", "use")  # a run that asked anew must not be finished with old answers
    options = replace(options, cache=options.cache and mode != "off", refresh=options.refresh or mode == "refresh")
    return Evaluation(suite, replace(options, selection=selection, store=location, resume=record.id))


def _baseline(location: str, run_id: str) -> Run:
    """The saved run that a run is compared with."""
    with Store.open(location, create=False) as store:
        try:
            return open_saved(location, store.find(run_id))
        except NotFoundError:
            hint = "start a new run: the cache has the answers that are there"
            raise InputError(f"the baseline run {run_id} isn't in the store", hint=hint) from None
