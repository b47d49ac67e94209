"""What Python code calls; it wires everything below and holds no logic of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from llmops import arguments, runs
from llmops.against import with_counterparts
from llmops.assembly import Selection
from llmops.baselines import with_baseline_run
from llmops.config import store_location
from llmops.datasets import Dataset, dataset_of
from llmops.deciding import EVERY_METRIC
from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.evals.suite import Suite, load_suite
from llmops.evaluation import Evaluation, RunOptions
from llmops.rescoring import Rescoring
from llmops.runs import Run
from llmops.store.database import Store
from llmops.store.urls import mask
from llmops.types import Case, MetricKind, RunRecord
from llmops.usage.money import parse_dollars

if TYPE_CHECKING:
    from llmops.comparing import Outcome

Rows = Iterable[Mapping[str, Any] | Case]


def evaluate(
    suite: str | Path | None = None,
    *,
    dataset: str | Path | Rows | None = None,
    fields: Mapping[str, Any] | None = None,
    variants: Mapping[str, Any] | None = None,
    metrics: Sequence[Any] | None = None,
    gates: Sequence[Any] | None = None,
    baseline: str | None = None,
    against: str = "",
    baseline_run: str | Path = "",
    early_stop: bool = True,
    limits: Mapping[str, Any] | None = None,
    repeats: int | None = None,
    name: str = "",
    only: str | Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    cache: bool = True,
    refresh: bool = False,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    max_requests: int | None = None,
    max_tokens: int | None = None,
    max_cost: str | float | None = None,
) -> Run:
    """Score variants over a dataset and save the run, from a suite file or from objects.

    With `suite`, the file says everything, and `dataset`, `fields`, `variants`, `metrics`, `gates`, `limits`,
    `repeats` and `baseline` replace its parts. Without, `dataset` (a path, or rows: mappings or `Case`s), `variants`
    (by name: a function, a `Variant`, or a mapping as in a suite file) and `metrics` (names, short forms, functions
    or `Metric`s) are needed. `against` (a git revision or label) or `baseline_run` (a saved run) is what the variants
    are compared with; a comparison ends when its answer is clear unless `early_stop` is False. `only` is a filter such
    as `tag:hard`, or a list of them. `max_cost` is in dollars. Works in scripts and in
    notebooks. Raises an `LlmopsError` on bad input and when the store fails; a case that fails is data in the run.
    """
    made = _empty_suite() if suite is None else load_suite(arguments.path_of("suite", suite))
    if any(one is not None for one in (dataset, fields, variants, metrics, gates)):
        made = replace(made, path=None)  # it is no run of the file as it is written
    made = _with_settings(made, variants, metrics, gates, baseline, limits, repeats, name)
    made, rows = _with_dataset(made, dataset, fields)
    _check_complete(made, rows)
    made, _ = compared_with(made, against, str(baseline_run), early_stop, store=store)
    options = _options(only, sample, seed, store, cache, refresh, record, replay, max_requests, max_tokens, max_cost)
    return Evaluation(made, options, dataset=rows).run()


def compared_with(
    suite: Suite, against: str = "", baseline_run: str = "", early_stop: bool = True, *, store: str | Path | None = None
) -> tuple[Suite, tuple[str, ...]]:
    """A suite with the counterparts to compare its variants with, and notes about them for people."""
    notes: tuple[str, ...] = ()
    if against and baseline_run:
        raise InputError("--against and --baseline both say what to compare with", hint="give one of them")
    if not early_stop:
        suite = replace(suite, comparison=replace(suite.comparison, early_stop=False))
    if against:
        found = with_counterparts(suite, against)
        suite, notes = found.suite, found.notes
    if baseline_run:
        place = store_location(None if store is None else str(store), suite.base)  # where the suite's runs are
        saved = with_baseline_run(suite, open_run(baseline_run, store=place))
        suite, notes = saved.suite, (*notes, *saved.notes)
    return suite, notes


def compare(
    a: str | Path,
    b: str | Path | None = None,
    *,
    metrics: Sequence[str] = (),
    kind: str | None = None,
    score_range: tuple[float, float] | None = None,
    lower: Sequence[str] = (),
    margin: str | float = "5%",
    alpha: float = 0.05,
    gates: Sequence[Any] = (EVERY_METRIC,),
    variant_a: str = "",
    variant_b: str = "",
    store: str | Path | None = None,
) -> Outcome:
    """The candidate `b` against the baseline `a`, paired by case: runs, exported run files, or files of scores.

    Without `b`, `a` is a file of pairs, or a run whose baseline is compared with its other variant. `metrics` and
    `lower` (less is better) are names, `score_range` is lowest and highest score, and the others are as for
    `llmops compare`. The outcome has `comparison`, `gates`, `exit_code` and `render`. Raises `InputError` for what
    can't be read or compared.
    """
    from llmops.comparing import compare as compared
    from llmops.evals.comparison_rules import ComparisonSettings
    from llmops.score_kinds import CompareOptions, check_options

    kinds: tuple[str, ...] = get_args(MetricKind)
    if kind is not None and kind not in kinds:
        raise InputError(f"kind is {kind!r}"[:200], hint=did_you_mean(str(kind), kinds))
    options = CompareOptions(
        arguments.texts_of("metrics", metrics, 'metrics=["accuracy"]'),
        cast("MetricKind | None", kind),
        score_range,
        arguments.texts_of("lower", lower, 'lower=["latency"]'),
        arguments.gates_of(gates),
        ComparisonSettings(alpha=alpha, margin=str(margin).replace(" ", "")),
        variant_a,
        variant_b,
        None if store is None else str(store),
    )
    check_options(options)
    return compared(a, b, options)


def _empty_suite() -> Suite:
    return Suite("evaluation", base=Path.cwd(), dataset_path="", dataset_fields=None, variants=(), metrics=())


def _with_settings(
    suite: Suite,
    variants: Mapping[str, Any] | None,
    metrics: Sequence[Any] | None,
    gates: Sequence[Any] | None,
    baseline: str | None,
    limits: Mapping[str, Any] | None,
    repeats: int | None,
    name: str,
) -> Suite:
    if variants is not None:
        suite = replace(suite, variants=arguments.variants_of(variants))
        if suite.baseline not in [variant.name for variant in suite.variants]:
            suite = replace(suite, baseline=None)
    if metrics is not None:
        suite = replace(suite, metrics=arguments.metrics_of(metrics))
    if gates is not None:
        suite = replace(suite, gates=tuple((rule, "") for rule in arguments.gates_of(gates)))
    if baseline is not None:
        suite = replace(suite, baseline=arguments.baseline_of(baseline, suite.variants))
    if limits is not None:
        suite = replace(suite, limits=arguments.limits_of(suite.limits, limits))
    if repeats is not None:
        suite = replace(suite, repeats=arguments.whole("repeats", repeats, 1, 1000))
    return replace(suite, name=arguments.text_of("name", name) or suite.name)


def _with_dataset(
    suite: Suite, dataset: str | Path | Rows | None, fields: Mapping[str, Any] | None
) -> tuple[Suite, Dataset | None]:
    if dataset is None:
        return (suite if fields is None else replace(suite, dataset_fields=fields)), None
    if isinstance(dataset, (str, Path)):
        path = arguments.path_of("dataset", dataset).resolve()
        return replace(suite, dataset_path=str(path), dataset_fields=fields, dataset_name="", dataset_where=""), None
    return suite, dataset_of(arguments.rows_of(dataset), fields=fields)


def _check_complete(suite: Suite, rows: Dataset | None) -> None:
    there = {
        "dataset": rows is not None or suite.dataset_path,
        "variants": suite.variants,
        "metrics": suite.metrics,
    }
    for what, given in there.items():
        if not given:
            raise InputError(f"evaluate needs {what}", hint=f"pass a suite file, or {what}=…")


def _options(
    only: str | Sequence[str],
    sample: int | None,
    seed: int,
    store: str | Path | None,
    cache: bool,
    refresh: bool,
    record: str | Path | None,
    replay: str | Path | None,
    max_requests: int | None,
    max_tokens: int | None,
    max_cost: str | float | None,
) -> RunOptions:
    if record is not None and replay is not None:
        raise InputError("record and replay can't go together", hint="record first, then replay")
    if refresh and not cache:
        raise InputError("refresh keeps new answers, cache=False keeps none", hint="give one of them")
    filters = (only,) if isinstance(only, str) else arguments.texts_of("only", only, 'only=["tag:hard"]')
    size = None if sample is None else arguments.whole("sample", sample, 1)
    return RunOptions(
        selection=Selection(filters, size, arguments.whole("seed", seed, -(2**62))),
        store=None if store is None else str(arguments.path_of("store", store)),
        cache=bool(cache),
        refresh=bool(refresh),
        record=None if record is None else arguments.path_of("record", record),
        replay=None if replay is None else arguments.path_of("replay", replay),
        max_requests=None if max_requests is None else arguments.whole("max_requests", max_requests, 0),
        max_tokens=None if max_tokens is None else arguments.whole("max_tokens", max_tokens, 0),
        max_cost=None if max_cost is None else parse_dollars(str(max_cost)),
    )


def open_run(reference: str | Path = "latest", *, store: str | Path | None = None) -> Run:
    """A saved run: an id, the start of one, `latest`, a suite's name, or the path of an exported run file.

    Raises `NotFoundError` when there is no such run or file.
    """
    text = arguments.text_of("a run", str(reference) if isinstance(reference, Path) else reference)
    return runs.open_run(text, store=None if store is None else arguments.path_of("store", store))


def list_runs(*, suite: str = "", limit: int = 50, store: str | Path | None = None) -> list[RunRecord]:
    """Heads of saved runs, newest first. An empty list when there are no runs yet.

    Raises `NotFoundError` when there are runs and none is of `suite`.
    """
    limit = arguments.whole("limit", limit, 1)
    location = _location(store)
    try:
        opened = Store.open(location, create=False)
    except NotFoundError:
        return []
    with opened:
        found = opened.runs(limit=limit, suite=arguments.text_of("suite", suite))
        others = opened.runs(limit=1000) if suite and not found else []
    if others:
        raise NotFoundError(f"no run of {suite!r}", hint=did_you_mean(suite, (other.suite for other in others)))
    return found


def delete_run(run_id: str, *, store: str | Path | None = None) -> None:
    """Delete a saved run with its outputs and scores."""
    with Store.open(_location(store), create=False) as opened:
        opened.delete(run_id)


def migrate_store(store: str | Path | None = None) -> tuple[str, str]:
    """Bring a store's tables up to this version; returns the old and the new revision."""
    return Store.migrate_at(_location(store))


def masked(location: str) -> str:
    """A store's location without the password of its URL."""
    return mask(location)


def _location(store: str | Path | None) -> str:
    return store_location(None if store is None else str(arguments.path_of("store", store)))


def score_run(reference: str | Path, suite: str | Path | Suite, *, store: str | Path | None = None) -> Run:
    """Score a saved run's outputs again with a suite's metrics and gates, as a new run; nothing is generated."""
    old = open_run(reference, store=store)
    made = suite if isinstance(suite, Suite) else load_suite(arguments.path_of("suite", suite))
    options = RunOptions(store=None if store is None else str(store))
    rescoring = Rescoring(old, Evaluation(made, options))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return rescoring.run()
    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has a running loop; this one has none
        return thread.submit(rescoring.run).result()
