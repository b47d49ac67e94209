"""`llmops plan`: how many cases a suite needs to notice a drop, what it notices now, and the ways to get there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmops.aggregate import Aggregate
from llmops.assembly import Assembler
from llmops.config import load_config, store_location
from llmops.datasets import Dataset, open_dataset
from llmops.errors import InputError, LlmopsError, NotFoundError, StoreError, did_you_mean
from llmops.evals.comparison_rules import ComparisonSettings, is_comparison, parse_comparison_gate
from llmops.evals.drops import HINT, Amount, amount_of, parse_drop, parse_margin
from llmops.evals.limits import Budget
from llmops.evals.sizing import MetricPlan, Sizes
from llmops.evals.spread import History, Spread, assumed_spread, looks_binary, range_of, seen_spread
from llmops.evals.suite import Suite, load_suite
from llmops.store.database import Store
from llmops.types import MetricInfo, RunRecord

PASS_OR_FAIL = {  # built-in metrics that only pass or fail, for suites that never ran
    "exact_match", "squad_exact_match", "contains", "contains_all", "contains_any", "not_contains", "regex",
    "not_regex", "starts_with", "ends_with", "valid_json", "json_schema", "abstention", "hit",
}  # fmt: skip
MAX_RUNS = 10
MAX_SINGLES = 2  # runs of one variant: they only tell what kind of scores there are
MAX_RESULTS = 20_000  # read from past runs, newest first


@dataclass(frozen=True, slots=True)
class Plan:
    """What a suite needs. `groups` counts groups of cases that belong together, None when each case is its own."""

    suite: str
    dataset: str
    cases: int
    groups: int | None
    repeats: int
    settings: ComparisonSettings
    metrics: tuple[MetricPlan, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def plan_suite(
    path: Path, *, drop: str = "", metric: str = "", store: str = "", case_cost: float | None = None
) -> Plan:
    """The plan of a suite, or of one metric of it. Asks no model.

    `drop` is `3` or `3%` (of a metric's range, so 3 points of 100) or `0.2units` (the metric's own unit); without it,
    each metric's margin. `store` is where past runs are, the suite's own store when empty; `case_cost` is what one
    more case costs, in answers. Raises `InputError` for a drop that isn't one, for a metric that isn't there, and when
    no metric can be planned, and `NotFoundError` for a named store that is missing.
    """
    wanted = parse_drop(drop) if drop else None
    suite = load_suite(path)
    config = load_config(suite.base)
    infos = Assembler(suite, config, budget=Budget()).metric_infos()
    chosen = [info for info in infos if info.name == metric] if metric else list(infos)
    if not chosen:
        known = [info.name for info in infos]
        raise NotFoundError(f"the suite has no metric {metric!r}", where=suite.where, hint=did_you_mean(metric, known))
    cases, groups = _count(_dataset(suite))
    histories, notes = _histories(suite, store)
    sizes = Sizes(cases, groups, suite.repeats, suite.comparison, case_cost)
    margins = _margins(suite, infos)
    kinds = {info.name: spec.spec.name for info, spec in zip(infos, suite.metrics, strict=True)}
    planned, left_out = [], []
    for info in chosen:
        try:
            amount = amount_of(wanted or margins.get(info.name) or parse_margin(suite.comparison.margin), info)
            spread = _spread(info, histories, kinds[info.name])
            planned.append(sizes.plan(info, amount, spread))
        except InputError as error:
            if metric:
                raise
            left_out.append((info.name, error.message))
    if not planned:
        raise InputError(f"nothing to plan: {left_out[0][0]}: {left_out[0][1]}", where=suite.where, hint=HINT)
    return Plan(
        suite.name, suite.dataset_name or Path(suite.dataset_path).name, cases, groups, suite.repeats,
        suite.comparison, tuple(planned), tuple(left_out), tuple(notes),
    )  # fmt: skip


def _margins(suite: Suite, infos: Sequence[MetricInfo]) -> dict[str, Amount]:
    """Margins that the suite's gates give their metrics."""
    found = {}
    variants = [variant.name for variant in suite.variants]
    for rule, where in suite.gates:
        if is_comparison(rule):
            for name, margin in parse_comparison_gate(rule, metrics=infos, variants=variants, where=where).metrics:
                if margin and float(margin.rstrip("%ms") or 0) > 0:
                    found[name] = parse_margin(margin)
    return found


def _dataset(suite: Suite) -> Dataset:
    path = suite.base / suite.dataset_path
    return open_dataset(path, fields=suite.dataset_fields, name=suite.dataset_name, where=suite.dataset_where)


def _count(dataset: Dataset) -> tuple[int, int | None]:
    """Cases, and groups when some hold several."""
    groups: Counter[str | None] = Counter(case.group for case in dataset)
    cases, alone = groups.total(), groups.pop(None, 0)
    return cases, alone + len(groups) if groups and max(groups.values()) > 1 else None


def _spread(info: MetricInfo, histories: Sequence[History], kind: str) -> Spread:
    seen = seen_spread(info, histories)
    if seen is not None:
        return seen
    if range_of(info) is None:
        raise InputError(f"{info.name} has no range, and no past run shows how much it varies")
    return assumed_spread(kind in PASS_OR_FAIL or looks_binary(info, histories))


def _histories(suite: Suite, store: str) -> tuple[list[History], list[str]]:
    """Past runs of the suite to learn from. A store that wasn't named may be missing or broken: then there are none."""
    try:
        location = store_location(store or None, suite.base)
        with Store.open(location, create=False) as opened:
            return _read(opened, suite.name), []
    except NotFoundError:
        if store:
            raise NotFoundError(f"no store at {store}", hint="without --store it is the suite's own") from None
        return [], []
    except (StoreError, InputError) as error:
        if store:
            raise
        return [], [f"past runs can't be read: {error.message}"]


def _read(store: Store, suite: str) -> list[History]:
    found: list[History] = []
    left, singles, replaced = MAX_RESULTS, 0, set()
    for record in store.runs(limit=100, suite=suite):
        replaced.add(record.environment.get("scored_from"))
        alone = not _pairs(record, [info.name for info in record.variants])
        singles += alone
        if not record.metrics or record.id in replaced or (alone and singles > MAX_SINGLES):
            continue
        aggregate = Aggregate.of(record)
        try:
            for result in islice(store.results(record.id), left):
                aggregate.add(result)
                left -= 1
        except LlmopsError:  # a damaged run; `llmops runs` says so
            continue
        found.append(History(aggregate, _pairs(record, aggregate.variants)))
        if left <= 0 or len(found) - min(singles, MAX_SINGLES) >= MAX_RUNS:
            break
    return found


def _pairs(record: RunRecord, there: Sequence[str]) -> list[tuple[str, str]]:
    """Baselines with candidates: counterparts with theirs, else the baseline (or first variant) with the others."""
    counterparts: Any = record.config.get("counterparts")
    if isinstance(counterparts, dict) and counterparts:
        return [(a, b) for a, b in counterparts.items() if a in there and b in there]
    base = record.baseline if record.baseline in there else next(iter(there), "")
    return [(str(base), name) for name in there if name != base]
