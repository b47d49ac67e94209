"""What Python code calls; it wires everything below and holds no logic of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops.assembly import Selection, as_spec
from llmops.config import load_config, store_location
from llmops.datasets import Dataset, dataset_of
from llmops.errors import InputError, NotFoundError
from llmops.evals.suite import Limits, Suite, VariantSpec, load_suite
from llmops.evaluation import Evaluation, RunOptions
from llmops.registry import names
from llmops.rescoring import Rescoring
from llmops.runs import Run, make_run, open_saved
from llmops.store.database import Store
from llmops.store.runfile import open_run_file
from llmops.store.urls import mask
from llmops.types import Case, Prompt, RunRecord

Rows = Iterable[Mapping[str, Any] | Case]


def evaluate(
    suite: str | Path | None = None,
    *,
    dataset: str | Path | Rows | None = None,
    fields: Mapping[str, Any] | None = None,
    variants: Mapping[str, Any] | None = None,
    metrics: Sequence[Any] | None = None,
    gates: Sequence[str] = (),
    baseline: str | None = None,
    limits: Mapping[str, Any] | None = None,
    repeats: int | None = None,
    name: str = "",
    only: Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    cache: bool = True,
    refresh: bool = False,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    max_requests: int | None = None,
    max_tokens: int | None = None,
) -> Run:
    """Score variants over a dataset and save the run, from a suite file or from objects.

    With `suite`, the file says everything, and `dataset`, `variants`, `metrics`, `gates`, `limits`, `repeats` and
    `baseline` replace its parts. Without, `dataset` (a path, or rows: mappings or `Case`s), `variants` (by name: a
    function, a `Variant`, or a mapping as in a suite file) and `metrics` (names, short forms, functions or
    `Metric`s) are needed. Works in scripts and in notebooks. Raises an `LlmopsError` on bad input and when
    the store fails; a case that fails is data in the run.
    """
    made = load_suite(Path(suite)) if suite is not None else _empty_suite(name or "evaluation")
    made, rows = _with_objects(made, dataset, fields, variants, metrics, gates, baseline, limits, repeats, name)
    options = RunOptions(
        selection=Selection(tuple(only), sample, seed),
        store=None if store is None else str(store),
        cache=cache,
        refresh=refresh,
        record=None if record is None else Path(record),
        replay=None if replay is None else Path(replay),
        max_requests=max_requests,
        max_tokens=max_tokens,
    )
    return Evaluation(made, options, dataset=rows).run()


def _empty_suite(name: str) -> Suite:
    return Suite(name=name, base=Path.cwd(), dataset_path="", dataset_fields=None, variants=(), metrics=())


def _with_objects(
    suite: Suite,
    dataset: str | Path | Rows | None,
    fields: Mapping[str, Any] | None,
    variants: Mapping[str, Any] | None,
    metrics: Sequence[Any] | None,
    gates: Sequence[str],
    baseline: str | None,
    limits: Mapping[str, Any] | None,
    repeats: int | None,
    name: str,
) -> tuple[Suite, Dataset | None]:
    rows = None
    if isinstance(dataset, (str, Path)):
        suite = replace(suite, dataset_path=str(Path(dataset).resolve()), dataset_fields=fields)
    elif dataset is not None:
        rows = dataset_of(dataset, fields=fields, name=name or suite.dataset_name or "rows")
    if variants is not None:
        suite = replace(suite, variants=tuple(variant_spec(n, v) for n, v in variants.items()))
    if metrics is not None:
        suite = replace(suite, metrics=tuple(as_spec(metric) for metric in metrics))
    if gates:
        suite = replace(suite, gates=tuple((rule, "") for rule in gates))
    suite = replace(
        suite,
        name=name or suite.name,
        baseline=baseline or suite.baseline,
        limits=_limits(suite.limits, limits),
        repeats=suite.repeats if repeats is None else repeats,
    )
    for what, given in (
        ("dataset", suite.dataset_path or rows),
        ("variants", suite.variants),
        ("metrics", suite.metrics),
    ):
        if not given:
            raise InputError(f"evaluate needs {what}", hint=f"pass a suite file, or {what}=…")
    if suite.repeats < 1:
        raise InputError(f"repeats is {suite.repeats}", hint="1 or more")
    return suite, rows


def _limits(old: Limits, given: Mapping[str, Any] | None) -> Limits:
    try:
        return replace(old, **(given or {}))
    except TypeError as error:
        raise InputError(f"limits: {error}", hint=f"known: {', '.join(vars(old))}") from None


def variant_spec(name: str, value: Any) -> VariantSpec:
    """A variant from Python: a mapping as in a suite file, a function, a LangChain runnable or a `Variant`."""
    if isinstance(value, Mapping):
        kinds = [kind for kind in names("variants") if kind in value]
        if len(kinds) != 1:
            raise InputError(f"variant {name!r} needs exactly one of {', '.join(names('variants'))}")
        return VariantSpec(name, kinds[0], dict(value))
    kind = "langchain" if hasattr(value, "ainvoke") else "python"
    if isinstance(value, str) or not (callable(value) or hasattr(value, "ainvoke") or hasattr(value, "answer")):
        raise InputError(f"variant {name!r} is {type(value).__name__}, not a function, a mapping or a variant")
    return VariantSpec(name, kind, {kind: value})


def open_run(reference: str = "latest", *, store: str | Path | None = None) -> Run:
    """A saved run: an id, the start of one, `latest`, a suite's name, or the path of an exported run file."""
    if reference.endswith((".jsonl", ".jsonl.gz")) and Path(reference).is_file():
        record, results = open_run_file(Path(reference))
        return make_run(record, results)
    location = _location(store)
    with Store.open(location, create=False) as opened:
        return open_saved(location, opened.find(reference))


def list_runs(*, suite: str = "", limit: int = 50, store: str | Path | None = None) -> list[RunRecord]:
    """Heads of saved runs, newest first. An empty list when there is no store yet."""
    try:
        with Store.open(_location(store), create=False) as opened:
            return opened.runs(limit=limit, suite=suite)
    except NotFoundError:
        return []


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
    return store_location(None if store is None else str(store))


def score_run(reference: str, suite: str | Path | Suite, *, store: str | Path | None = None) -> Run:
    """Score a saved run's outputs again with a suite's metrics and gates, as a new run; nothing is generated."""
    old = open_run(reference, store=store)
    made = suite if isinstance(suite, Suite) else load_suite(Path(suite))
    options = RunOptions(store=None if store is None else str(store))
    return Rescoring(old, Evaluation(made, options)).run()


def load_prompt(reference: str, *, root: str | Path | None = None) -> Prompt:
    """A prompt by reference (`docs/answer`), from the project's `prompts/` folder or `root`.

    `load_prompt("docs/answer").render({"question": "…"})` gives its messages. Raises `PromptError`.
    """
    from llmops.prompts.store import PromptStore

    folder = Path(root) if root is not None else load_config(Path.cwd()).prompts_dir
    return PromptStore(folder).load(reference)
