"""`--against`: each prompt of a suite a second time, as it is at a git revision or under a label."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from llmops.config import load_config
from llmops.errors import InputError, NotFoundError
from llmops.evals.suite import Suite, VariantSpec
from llmops.git import is_revision
from llmops.prompts.references import LATEST, Reference, is_label, parse_reference
from llmops.prompts.store import PromptStore


@dataclass(frozen=True)
class Against:
    """A suite with the counterparts of its prompt variants, and what there is to say about them."""

    suite: Suite
    notes: tuple[str, ...] = ()


def with_counterparts(suite: Suite, ref: str) -> Against:
    """Add to each variant that is a prompt on a backend its counterpart at `ref`, and make it the baseline.

    The counterpart differs in the prompt only; it is called `variant@ref`. A label goes before a revision of the
    same name. The suite's baseline becomes the counterpart of the variant that was its baseline, else of the first.
    Raises `InputError` when the suite has no prompt variant, or when `ref` is neither a label of one of its prompts
    nor a git revision.
    """
    config = load_config(suite.base)
    store = PromptStore(config.prompts_dir, watch=False)
    prompts = [variant for variant in suite.variants if isinstance(variant.options.get("prompt"), str)]
    if not prompts:
        hint = "a variant with prompt: has one"
        raise InputError(f"--against {ref}: no variant has a counterpart", where=suite.where, hint=hint)
    by_version = _is_version(store, ref, [variant.options["prompt"] for variant in prompts])
    if not by_version:
        _check_revision(ref, config.root)
    made: dict[str, VariantSpec] = {}
    notes: list[str] = []
    for variant in prompts:
        there = parse_reference(variant.options["prompt"], variant.where)
        wanted = Reference(there.name, ref) if by_version else Reference(there.name, there.version, ref)
        try:
            old = store.load(str(wanted), where=variant.where, key="")
        except NotFoundError as problem:
            notes.append(f"{variant.name} has no counterpart at {ref}: {problem.message}")
            continue
        if old.content_id == store.load(str(there), where=variant.where, key="").content_id:
            notes.append(f"{variant.name} is the same at {ref}: {there.name} hasn't changed")
        name = f"{variant.name}@{ref}"
        made[variant.name] = replace(variant, name=name, options={**variant.options, "prompt": str(wanted)})
    if not made:
        raise NotFoundError(f"--against {ref}: {notes[0]}", where=suite.where)
    base = made.get(suite.baseline or "") or next(iter(made.values()))
    variants = tuple(one for variant in suite.variants for one in (made.get(variant.name), variant) if one)
    counterparts = {one.name: name for name, one in made.items()}
    suite = replace(suite, variants=variants, baseline=base.name, against=ref, counterparts=counterparts)
    return Against(suite, tuple(notes))


def _is_version(store: PromptStore, ref: str, references: list[str]) -> bool:
    """True when `ref` is a label of one of the prompts, or `latest`."""
    if ref == LATEST:
        return True
    labels = store.labels() if is_label(ref) else {}
    return any(ref in labels.get(parse_reference(reference).name, {}) for reference in references)


def _check_revision(ref: str, folder: Path) -> None:
    if is_label(ref) and not is_revision(ref, folder):
        hint = "llmops prompt ls shows the labels, git branch -a the branches"
        raise InputError(f"--against {ref}: neither a label of the suite's prompts nor a git revision", hint=hint)
