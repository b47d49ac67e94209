"""From a suite to something that can run: the dataset, and every backend, variant and metric made and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.asking import asked_of
from llmops.config import Config
from llmops.connecting import Backends, worst_cost
from llmops.datasets import Dataset, Survey, open_dataset
from llmops.dependencies import suite_files
from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.evals.covering import lacking
from llmops.evals.limits import Budget
from llmops.evals.runner import Entrant
from llmops.evals.sender import Sender, within
from llmops.evals.sending import SentBackend
from llmops.evals.suite import MetricSpec, Suite, VariantSpec
from llmops.identity import content_hash
from llmops.registry import Spec, create, parse_short_form
from llmops.types import Backend, Build, Metric, MetricInfo, Prompt, Request, Trial, VariantInfo

if TYPE_CHECKING:
    from llmops.prompts.store import PromptStore


@dataclass(frozen=True)
class Selection:
    """Which part of a suite runs: filters such as `tag:hard`, a seeded sample, variants by name."""

    only: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    variants: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assembly:
    """A suite made ready: nothing has been sent yet, and everything that could be checked was."""

    suite: Suite
    config: Config
    dataset: Dataset
    survey: Survey
    entrants: tuple[Entrant, ...]
    metrics: Mapping[str, Metric]
    rules: tuple[str, ...]
    budget: Budget
    backends: tuple[SentBackend, ...]
    selection: Selection
    lacking: int = 0  # answers that a saved run, as a baseline, doesn't have
    made: Backends | None = None  # every backend in it, to be given a tracker

    @cached_property
    def files(self) -> Mapping[str, tuple[Path, ...]]:
        """The files the suite rests on, by what they are to it."""
        return suite_files(self.suite, self.config)

    @property
    def variant_infos(self) -> tuple[VariantInfo, ...]:
        return tuple(replace(entrant.variant.info, name=entrant.name) for entrant in self.entrants)

    @property
    def metric_infos(self) -> tuple[MetricInfo, ...]:
        return tuple(replace(metric.info, name=name) for name, metric in self.metrics.items())

    @property
    def baseline(self) -> str | None:
        """The suite's baseline; when that is a counterpart left out by `--variant`, another that runs."""
        names, others = [entrant.name for entrant in self.entrants], self.suite.counterparts
        left_out = self.suite.baseline in others and self.suite.baseline not in names
        return next((name for name in names if name in others), None) if left_out else self.suite.baseline

    @property
    def suite_hash(self) -> str:
        """sha256 of what decides outputs and scores: variants with their prompts and code, metrics, repeats."""
        code = {
            what: [_file_hash(path) for path in paths]
            for what, paths in self.files.items()
            if what.startswith(("variant ", "metric "))
        }
        return content_hash(
            {
                "variants": [[v.name, v.kind, _plain(v.details)] for v in self.variant_infos],
                "metrics": [
                    [name, m.spec.name, _plain(m.spec.value), _plain(m.spec.options)]
                    for name, m in zip(self.metrics, self.suite.metrics, strict=True)
                ],
                "backends": sorted(content_hash(dict(sent.identity)) for sent in self.backends),
                "code": code,
                "repeats": self.suite.repeats,
            }
        )

    @property
    def total(self) -> int:
        return self.survey.cases * len(self.entrants) * self.suite.repeats - self.lacking


class Assembler:
    """Makes the parts of one suite, handing each factory what it may use; `prompts` are read anew by default."""

    def __init__(self, suite: Suite, config: Config, *, budget: Budget, prompts: PromptStore | None = None) -> None:
        self.suite = suite
        self.config = config
        self.budget = budget
        self._backends = Backends(config, suite.base)
        self._sent: dict[str, SentBackend] = {}
        self._prompts = prompts
        self._owner = ""
        self._users: set[str] = set()

    def assemble(self, selection: Selection, dataset: Dataset | None = None) -> Assembly:
        """Everything made and checked. Raises an `InputError` with file and line on the first thing wrong."""
        specs = self._chosen(selection.variants)
        entrants = tuple(self._entrant(spec) for spec in specs)
        metrics = self._metrics()
        infos = [replace(metric.info, name=name) for name, metric in metrics.items()]
        rules = asked_of(self.suite, infos, [entrant.name for entrant in entrants])
        opened = dataset if dataset is not None else self._dataset()
        if selection.only or selection.sample is not None:
            opened = opened.select(only=selection.only, sample=selection.sample, seed=selection.seed)
        survey = opened.survey()
        if not survey.cases:
            raise InputError(f"{opened.name} has no cases", where=self.suite.dataset_where)
        self._check_cases(entrants, opened)
        self._check_requests(entrants, opened)
        return Assembly(
            self.suite, self.config, opened, survey, entrants, metrics, rules, self.budget, tuple(self._sent.values()),
            selection, lacking([entrant.variant for entrant in entrants], opened, self.suite.repeats), self._backends,
        )  # fmt: skip

    def metric_infos(self) -> tuple[MetricInfo, ...]:
        """The suite's metrics by the names they have in it, made without any variant or case."""
        return tuple(replace(metric.info, name=name) for name, metric in self._metrics().items())

    def _chosen(self, names: Sequence[str]) -> list[VariantSpec]:
        known = {variant.name: variant for variant in self.suite.variants}
        for name in names:
            if name not in known:
                raise NotFoundError(
                    f"no variant is called {name!r}", where=self.suite.where, hint=did_you_mean(name, known)
                )
        belongs = self.suite.counterparts
        return [one for name, one in known.items() if not names or name in names or belongs.get(name) in names]

    def _dataset(self) -> Dataset:
        path = self.suite.base / self.suite.dataset_path
        return open_dataset(
            path, fields=self.suite.dataset_fields, name=self.suite.dataset_name, where=self.suite.dataset_where
        )

    def _entrant(self, spec: VariantSpec) -> Entrant:
        self._owner = spec.name
        options = dict(spec.options)
        made: Any = options.get(spec.kind)
        if not isinstance(made, str) and hasattr(made, "answer") and hasattr(made, "info"):
            return Entrant(spec.name, made, sends_itself=False)  # a Variant from Python
        variant = create("variants", spec.spec, build=self._build(spec.where), where=spec.where)
        return Entrant(spec.name, variant, sends_itself=spec.name in self._users)

    def _metrics(self) -> dict[str, Metric]:
        metrics: dict[str, Metric] = {}
        for entry in self.suite.metrics:
            metric = self._metric(entry)
            name = entry.spec.label or metric.info.name
            if name in metrics:
                hint = f"name one of them: {{{entry.spec.name}: {{…, as: other_name}}}}"
                raise InputError(f"two metrics are called {name!r}", where=entry.where, hint=hint)
            metrics[name] = metric
        return metrics

    def _metric(self, entry: MetricSpec) -> Metric:
        spec = entry.spec
        self._owner = f"metric {spec.name}"
        if hasattr(spec.value, "score") and hasattr(spec.value, "info"):
            made: Metric = spec.value  # a Metric from Python
            return made
        metric: Metric = create("metrics", spec, build=self._build(entry.where), where=entry.where)
        return metric

    def _build(self, where: str) -> Build:
        def backend(form: Any) -> Backend:
            return self._backend(form, where)

        def prompt(reference: str) -> Prompt:
            return self._prompt(reference, where)

        return Build(base=self.suite.base, prompt=prompt, backend=backend, where=where)

    def _prompt(self, reference: str, where: str) -> Prompt:
        from llmops.prompts.store import PromptStore

        if self._prompts is None:
            self._prompts = PromptStore(self.config.prompts_dir, watch=False)
        return self._prompts.load(reference, where=where)

    @cached_property
    def _cost_bound(self) -> Callable[[Request, Backend], int] | None:
        return None if self.budget.max_cost is None else worst_cost(self.config)

    def _backend(self, form: Any, where: str) -> SentBackend:
        backend, spec = self._backends.make(form, where)
        # Two that answer alike may still be sent to differently: with other keys, headers or timeouts.
        key = content_hash([dict(backend.identity), spec.name, _plain(spec.value), _plain(spec.options)])
        sent = self._sent.get(key)
        if sent is None:
            from llmops.backends.cache import request_text

            sender = Sender(within(self.suite.limits, backend))
            sent = SentBackend(backend, sender, self.budget, request_text, self._cost_bound)
            sent.where = where
            self._sent[key] = sent
        self._users.add(self._owner)
        return sent

    def _check_cases(self, entrants: Sequence[Entrant], dataset: Dataset) -> None:
        checks: list[Callable[[Any], None]] = [
            check for entrant in entrants if (check := getattr(entrant.variant, "check", None)) is not None
        ]
        if checks:
            for case in dataset:
                for check in checks:
                    check(case)

    def _check_requests(self, entrants: Sequence[Entrant], dataset: Dataset) -> None:
        """What can be said of requests before any is sent: each has a model, and a bound where tokens are limited."""
        where = {variant.name: variant.where for variant in self.suite.variants}
        first = next(iter(dataset))
        for entrant in entrants:
            for sent, request in requests_of(entrant, Trial(first)):
                try:
                    sent.check(request)
                except InputError as error:
                    error.where = error.where or where.get(entrant.name, "")
                    raise


def requests_of(entrant: Entrant, trial: Trial) -> Iterator[tuple[SentBackend, Request]]:
    """Backend and request of everything a variant would send, where it can tell without running."""
    requests = getattr(entrant.variant, "requests", None)
    backend = getattr(entrant.variant, "backend", None)
    if requests is not None and isinstance(backend, SentBackend):
        for request in requests(trial):
            yield backend, request


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _plain(value: Any) -> Any:
    """`value` with what isn't JSON as its name, so that it can be hashed."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return getattr(value, "__qualname__", None) or type(value).__qualname__  # a repr may hold a memory address


def as_spec(metric: Any) -> MetricSpec:
    """A metric from Python: a short form, a function, or a `Metric` object."""
    if isinstance(metric, (str, Mapping)):
        return MetricSpec(parse_short_form(metric, what="metric"))
    return MetricSpec(Spec("python", value=metric, has_value=True))
