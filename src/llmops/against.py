"""`--against`: each prompt of a suite a second time, as it is at a git revision or under a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from llmops.config import load_config
from llmops.datasets import open_dataset
from llmops.errors import InputError, LlmopsError
from llmops.evals.suite import Suite, VariantSpec
from llmops.git import is_revision
from llmops.prompts.references import LATEST, Reference, is_label, parse_reference
from llmops.prompts.store import PromptStore
from llmops.prompts.template import FilePrompt
from llmops.types import Case

MAX_CASES = 200


@dataclass(frozen=True)
class Against:
    """A suite with the counterparts of its prompt variants, and what there is to say about them."""

    suite: Suite
    notes: tuple[str, ...] = ()


def with_counterparts(suite: Suite, ref: str) -> Against:
    """Add to each variant that is a prompt on a backend its counterpart at `ref`, and make it the baseline.

    The counterpart differs in the prompt only; it is called `variant@ref`. A version or label of one of the prompts
    goes before a revision of the same name. A variant whose prompt isn't there at `ref`, is broken there, or can't be
    rendered with these cases has no counterpart, which a note says. The suite's baseline becomes the counterpart of
    the variant that was its baseline, else of the first. Raises `InputError` when `ref` is neither a version or label
    of one of its prompts nor a git revision, when it is a route, and for two variants of one name.
    """
    config = load_config(suite.base)
    store = PromptStore(config.prompts_dir, watch=False)
    prompts = [variant for variant in suite.variants if isinstance(variant.options.get("prompt"), str)]
    if not prompts:
        return Against(suite, (f"{suite.name}: no variant is a prompt, so nothing is compared with {ref}",))
    names = {variant.name: _reference(store, variant) for variant in prompts}
    by_version = _is_version(store, ref, [one.name for one in names.values()])
    if not by_version:
        _check_revision(ref, config.prompts_dir)
        PromptStore(config.prompts_dir, ref)  # raises without git, a repository or such a revision
    made: dict[str, VariantSpec] = {}
    notes: list[str] = []
    cases = _cases(suite)
    for variant in prompts:
        there = names[variant.name]
        wanted = Reference(there.name, ref) if by_version else Reference(there.name, there.version, ref)
        try:
            made[variant.name] = counterpart(store, variant, wanted, f"{variant.name}@{ref}", cases)
        except LlmopsError as problem:
            notes.append(f"{variant.name} has no counterpart at {ref}: {problem.message}")
            continue
        if store.load(str(wanted)).content_id == store.load(str(there), where=variant.where).content_id:
            notes.append(f"{variant.name} is the same at {ref}: {there.name} hasn't changed")
    taken = {variant.name for variant in suite.variants}
    for one in made.values():
        if one.name in taken:
            raise InputError(f"--against {ref}: there is a variant {one.name!r} already", where=one.where)
    return Against(_with(suite, ref, made), tuple(notes))


def _with(suite: Suite, ref: str, made: Mapping[str, VariantSpec]) -> Suite:
    base = made.get(suite.baseline or "") or next(iter(made.values()), None)
    variants = tuple(one for variant in suite.variants for one in (made.get(variant.name), variant) if one)
    counterparts = {one.name: name for name, one in made.items()}
    baseline = base.name if base is not None else suite.baseline
    return replace(
        suite,
        variants=variants,
        baseline=baseline,
        against=ref,
        counterparts=counterparts,
        own_baseline=suite.baseline or "",
    )


def _reference(store: PromptStore, variant: VariantSpec) -> Reference:
    """A variant's reference, with the prompt's name where the suite has a path."""
    wanted = parse_reference(variant.options["prompt"], variant.where)
    if wanted.version or wanted.revision:
        return wanted
    return Reference(store.load(str(wanted), where=variant.where).name)


def counterpart(
    store: PromptStore, variant: VariantSpec, wanted: Reference, name: str, cases: list[Case]
) -> VariantSpec:
    """A variant with the prompt that `wanted` names in place of its own, called `name`.

    Raises what loading raises, and `InputError` when the prompt needs an input that one of `cases` lacks.
    """
    prompt = store.load(str(wanted))
    options = {**variant.options, "prompt": str(wanted)}
    fixed = variant.options.get("variables")
    if isinstance(fixed, Mapping):
        options["variables"] = {key: value for key, value in fixed.items() if key in prompt.variables}
    for case in cases:
        _check_case(prompt, case, options.get("variables") or {})
    return replace(variant, name=name, options=options)


def _check_case(prompt: FilePrompt, case: Case, fixed: Mapping[str, Any]) -> None:
    given = {*case.inputs, *fixed, *(["contexts"] if case.contexts else [])}
    for name, one in prompt.inputs.items():
        if one.required and not one.has_default and name not in given:
            raise InputError(f"it needs {name!r}, which case {case.id} doesn't have")


def _cases(suite: Suite) -> list[Case]:
    """The suite's first cases, to see whether an old prompt can be rendered with them."""
    if not suite.dataset_path:
        return []
    try:
        return list(islice(open_dataset(suite.base / suite.dataset_path, fields=suite.dataset_fields), MAX_CASES))
    except LlmopsError:  # said when the suite is assembled
        return []


def _is_version(store: PromptStore, ref: str, names: list[str]) -> bool:
    """True when `ref` is a release's number or a label of one of the prompts, or `latest`."""
    number = parse_reference(f"x@{ref}").number if ref.isdigit() else None
    if ref == LATEST or (number is not None and any(number in store.versions(name) for name in names)):
        return True
    labels = store.labels() if is_label(ref) else {}
    for label in [labels[name][ref] for name in names if ref in labels.get(name, {})]:
        if label.route:
            hint = f"compare with one of its versions: --against {next(iter(label.route))}"
            raise InputError(f"--against {ref}: that is a route", where=label.where, hint=hint)
    return any(ref in mine for mine in labels.values())  # of another prompt: then these have no counterpart


def _check_revision(ref: str, folder: Path) -> None:
    if (is_label(ref) or ref.isdigit()) and not is_revision(ref, folder):
        hint = "llmops prompt ls shows versions and labels, git branch -a the branches"
        what = f"--against {ref}: neither a version or label of the suite's prompts nor a git revision"
        raise InputError(what, hint=hint)
