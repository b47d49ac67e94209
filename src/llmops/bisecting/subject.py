"""What is bisected: a variant's prompt with its versions, a case, and one metric of a suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from llmops import git
from llmops.assembly import Assembler
from llmops.config import Config, load_config
from llmops.datasets import open_dataset
from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.evals.limits import Budget
from llmops.evals.suite import Suite, VariantSpec
from llmops.prompts.lineage import Version, distinct, lineage, working_version
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.references import Reference, parse_reference
from llmops.prompts.store import PromptStore
from llmops.store.database import Store
from llmops.types import Case, MetricInfo, RunRecord

KNOWN_IDS = 2000  # cases looked at for what a mistyped id may mean
RUNS = 50  # newest saved runs looked at for a version that was right


@dataclass(frozen=True)
class Subject:
    """Everything checked, nothing sent. `suite` has the one metric; `line` is oldest first and never empty."""

    suite: Suite
    config: Config
    variant: VariantSpec
    case: Case
    info: MetricInfo
    line: list[Version]


def find_subject(suite: Suite, case_id: str, metric: str, variant: str, good: str, bad: str) -> Subject:
    """Look everything up by name. Raises `InputError` for what isn't there; empty texts are defaults."""
    config = load_config(suite.base)
    chosen = _variant(suite, variant)
    suite, info = _with_metric(suite, config, metric)
    case = _case(suite, case_id)
    return Subject(suite, config, chosen, case, info, _line(config.prompts_dir, chosen, good, bad))


def _variant(suite: Suite, name: str) -> VariantSpec:
    variants = {one.name: one for one in suite.variants}
    prompts = [one.name for one in suite.variants if isinstance(one.options.get("prompt"), str)]
    if name and name not in variants:
        hint = did_you_mean(name, variants)
        raise NotFoundError(f"no variant is called {name!r}", where=suite.where, hint=hint)
    if not prompts or (name and name not in prompts):
        what = f"variant {name!r} is {variants[name].kind}" if name else "no variant is a prompt"
        hint = "bisect needs a variant such as {prompt: docs/answer, backend: …}"
        if prompts:
            hint = f"bisect needs a prompt variant: --variant {prompts[0]}"
        raise InputError(f"{what}: no prompt, so no history", where=suite.where, hint=hint)
    if not name and len(prompts) > 1:
        raise InputError("which variant?", where=suite.where, hint=f"--variant one of: {', '.join(prompts)}")
    return variants[name or prompts[0]]


def _with_metric(suite: Suite, config: Config, name: str) -> tuple[Suite, MetricInfo]:
    infos = Assembler(suite, config, budget=Budget()).metric_infos()
    place = next((place for place, info in enumerate(infos) if info.name == name), None)
    if place is None:
        hint = did_you_mean(name, (info.name for info in infos))
        raise NotFoundError(f"no metric is called {name!r}", where=suite.where, hint=hint)
    if infos[place].direction == "none":
        others = [info.name for info in infos if info.direction != "none"]
        hint = f"--metric {others[0]}" if others else "name a metric that can get worse"
        raise InputError(f"{name} can't break: neither more nor less of it is better", where=suite.where, hint=hint)
    return replace(suite, metrics=(suite.metrics[place],)), infos[place]


def _case(suite: Suite, case_id: str) -> Case:
    dataset = open_dataset(
        suite.base / suite.dataset_path, fields=suite.dataset_fields, name=suite.dataset_name, where=suite.dataset_where
    )
    ids: list[str] = []
    for case in dataset:
        if case.id == case_id:
            return case
        if len(ids) < KNOWN_IDS:
            ids.append(case.id)
    hint = did_you_mean(case_id, ids)
    if not hint.startswith("did"):
        hint = f"its ids are like {', '.join(ids[:5])}"
    raise NotFoundError(f"{dataset.name} has no case {case_id!r:.80}", where=suite.dataset_where, hint=hint)


def _line(root: Path, variant: VariantSpec, good: str, bad: str) -> list[Version]:
    """The versions from the good to the bad end."""
    wanted = _reference(root, variant)
    at = git.existing(root)
    try:
        shallow = git.is_shallow(root)
    except InputError as problem:
        problem.hint = problem.hint or "bisect reads the versions of a prompt from its history in git"
        raise
    last = git.commit_id(bad or wanted.revision or "HEAD", at)
    first = git.commit_id(good, at) if good else ""
    unshallow = "this is a shallow clone: git fetch --unshallow brings the rest" if shallow else ""
    if first and git.text(at, "rev-list", "--count", f"{last}..{first}").strip() != "0":
        what = f"--good {good} isn't before {f'--bad {bad}' if bad else 'the bad end'}"
        raise InputError(what, hint=unshallow or f"git merge-base {good} {bad or 'HEAD'} names a commit before both")
    versions = _committed(root, Reference(wanted.name, wanted.version), last, first)
    if len(versions) < 2 and unshallow and not first:
        raise InputError(f"git has one version of {wanted.name}", hint=unshallow)
    return versions if bad or wanted.revision else list(distinct([*versions, *_working(root, wanted)]))


def _committed(root: Path, wanted: Reference, last: str, first: str) -> list[Version]:
    try:
        return lineage(root, wanted, last, first)
    except NotFoundError as problem:
        hint = "bisect needs a prompt that is in git's history, and revisions that have it"
        raise NotFoundError(problem.message, where=problem.where, hint=hint) from None


def _working(root: Path, wanted: Reference) -> list[Version]:
    try:
        return [working_version(root, wanted)]
    except NotFoundError:  # deleted, or a bare repository
        return []


def _reference(root: Path, variant: VariantSpec) -> Reference:
    """A variant's reference, with the prompt's name where the suite has a path."""
    wanted = parse_reference(variant.options["prompt"], variant.where)
    if not wanted.name.endswith(SUFFIX):
        return wanted
    if not wanted.version and not wanted.revision:
        return Reference(PromptStore(root, watch=False).resolve(wanted, variant.where).file.removesuffix(SUFFIX))
    return replace(wanted, name=wanted.name.removesuffix(SUFFIX))


def saved_scores(subject: Subject, location: str, *, named: bool) -> Mapping[str, float]:
    """The case's newest saved score for each version that a run has, by content id: none without a store.

    Raises `NotFoundError` when the user `named` a store that isn't there.
    """
    ids = {version.content_id for version in subject.line}
    found: dict[str, float] = {}
    try:
        store = Store.open(location, create=False)
    except NotFoundError:
        if named:
            raise
        return found
    with store:
        for record in store.runs(limit=RUNS, suite=subject.suite.name):
            contents = _contents(record, subject.variant.name)
            wanted = {name: content for name, content in contents.items() if content in ids - found.keys()}
            if wanted:
                found |= _scores(store, record, wanted, subject)
    return found


def _contents(record: RunRecord, variant: str) -> dict[str, str]:
    """Content ids of a run's variants that are the variant, now or as it was."""
    others = record.config.get("counterparts") or {}
    own = [one for one in record.variants if variant in (one.name, others.get(one.name))]
    return {one.name: str(one.details.get("content_id", "")) for one in own}


def _scores(store: Store, record: RunRecord, wanted: Mapping[str, str], subject: Subject) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for result in store.results(record.id).of_cases([subject.case.id]):
        score = result.scores.get(subject.info.name)
        if result.variant in wanted and score is not None and score.value is not None:
            values.setdefault(wanted[result.variant], []).append(score.value)
    return {content: fmean(scores) for content, scores in values.items()}
