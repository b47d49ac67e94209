"""Moving labels: promotions with their evidence, rollbacks and routes."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops import git
from llmops.config import Config
from llmops.errors import InputError, NotFoundError
from llmops.prompts import atomic
from llmops.prompts.labels import MAX_BEFORE, Label, set_label
from llmops.prompts.references import is_label
from llmops.prompts.releases import content_of, prepare
from llmops.prompts.skill_releases import is_skill
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import RELEASES, WorkTree
from llmops.runs import Run, too_many_errors
from llmops.soundness import broken_callers
from llmops.types import RunRecord


@dataclass(frozen=True)
class Move:
    """A label's move: from which version (None: it is new) to which, with what was written down about it."""

    prompt: str
    label: str
    old: int | None
    new: int | None
    changed: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Promoter:
    """Moves labels of one project's prompts. `by` is who does it; by default git's user name, else the system's."""

    def __init__(self, config: Config, by: str = "") -> None:
        self.config = config
        self.store = PromptStore(config.prompts_dir)
        self.tree = WorkTree(config.prompts_dir)
        self.by = by or _who(config.prompts_dir)

    def promote(
        self, name: str, label: str, version: int | None, run: Run | None, reason: str = "", *, force: bool = False
    ) -> Move:
        """Point a label at a version (by default the newest), with the run that justifies it.

        Raises `NotFoundError` when there is no such release, and `InputError` when the label asks for evidence and
        the run isn't any, when a run is given that never scored this content, and, unless `force`, when code or a
        suite that uses the label would break.
        """
        _check_label(label)
        version = self._version(name, version)
        content = content_of(self.tree, name, version)
        skill = is_skill(self.tree, name, version)
        for problem in [] if force or skill else broken_callers(self.store, self.config.root, name, label, version)[:1]:
            what = f"{name} version {version} would break a caller of {label}: {problem.message}"
            raise InputError(what, where=problem.where, hint="change the caller first, or promote with --force")
        with atomic.one_at_a_time(self._releases()):
            old = self.store.labels().get(name, {}).get(label)
            if old is not None and old.route:
                hint = "llmops prompt route changes it"
                raise InputError(f"{label} of {name} is a route", where=old.where, hint=hint)
            if old is not None and old.version == version:
                return Move(name, label, version, version, changed=False, facts=old.facts, notes=self._notes(name))
            held = self._held(name, old)
            facts = self._facts(reason)
            if not skill:  # a skill has no suite yet that could be evidence
                facts |= self._evidence(name, label, version, content, held, run)
            before = () if old is None or old.version is None else (*old.before, old.version)[-MAX_BEFORE:]
            set_label(self.tree, name, Label(label, version, before=before, facts=facts))
        return Move(name, label, old.version if old else None, version, facts=facts, notes=self._notes(name))

    def justifies(self, run: Run, name: str, label: str, version: int | None) -> bool:
        """True when a run is evidence enough to point a label at a version."""
        held = self.store.labels().get(name, {}).get(label)
        content = content_of(self.tree, name, self._version(name, version))
        return not lacks(run, content, self._held(name, held), must_pass=True)

    def _held(self, name: str, label: Label | None) -> str:
        """The content id that a label holds, or empty."""
        return content_of(self.tree, name, label.version) if label is not None and label.version else ""

    def rollback(self, name: str, label: str, reason: str = "") -> Move:
        """Point a label back at the version it held before the present one; no evidence is asked for.

        Raises `NotFoundError` when the prompt has no such label, `InputError` when nothing is known from before.
        """
        self.store.label(name, label)
        with atomic.one_at_a_time(self._releases()):
            old = self.store.label(name, label)
            if not old.before:
                hint = f"llmops prompt promote {name} --to {label} --version N points it anywhere"
                raise InputError(f"{label} of {name} held nothing before", where=old.where, hint=hint)
            version = old.before[-1]
            content_of(self.tree, name, version)
            facts = self._facts(reason or f"rolled back from {old.version}")
            set_label(self.tree, name, Label(label, version, before=old.before[:-1], facts=facts))
        return Move(name, label, old.version, version, facts=facts)

    def route(self, name: str, label: str, shares: Mapping[str, float]) -> Move:
        """Make a label a route: shares of traffic, in percent, by label or version. Raises `InputError`."""
        _check_label(label)
        for target in shares:
            if target.isdigit():
                self._version(name, int(target))
            else:
                self.store.label(name, target)
        with atomic.one_at_a_time(self._releases()):
            old = self.store.labels().get(name, {}).get(label)
            facts = self._facts("")
            set_label(self.tree, name, Label(label, route=dict(shares), facts=facts))
        return Move(name, label, old.version if old else None, None, facts=facts)

    def _releases(self) -> Path:
        prepare(self.tree.root)
        return self.tree.root / RELEASES

    def _version(self, name: str, version: int | None) -> int:
        known = self.store.versions(name)
        if version in known:
            return int(version or 0)
        if not known or version is None:
            return self.store.load(f"{name}@latest").version or 0 if not known else known[-1]
        raise NotFoundError(f"{name} has no version {version}", hint=f"released: {', '.join(map(str, known))}")

    def _notes(self, name: str) -> tuple[str, ...]:
        """What the newest release leaves out of the working file."""
        known = self.store.versions(name)
        try:
            working = self.store.load(name).content_id
        except InputError:
            return ()
        if not known or working == content_of(self.tree, name, known[-1]):
            return ()
        return (f"the working file has changes since version {known[-1]}; llmops prompt release {name} freezes them",)

    def _facts(self, reason: str) -> dict[str, Any]:
        # Milliseconds keep lines of two branches apart: git joins equal ones, and one prompt's label would be lost
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"at": now, "by": self.by, **({"reason": reason} if reason else {})}

    def _evidence(
        self, name: str, label: str, version: int, content: str, held: str, run: Run | None
    ) -> dict[str, Any]:
        if run is None:
            if label in self.config.require_evidence:
                raise InputError(missing_evidence(name, label, version, bool(held)), hint=_how(name, label, bool(held)))
            return {}
        required = label in self.config.require_evidence
        problem = lacks(run, content, held if required else "", must_pass=required)
        if problem:
            what = f"run {run.id} doesn't justify {name} version {version} as {label}: {problem}"
            raise InputError(what, hint=_how(name, label, bool(held)))
        return {"run": run.id, "dataset": run.record.fingerprint, "verdict": verdict(run, content)}


def missing_evidence(name: str, label: str, version: int, compared: bool) -> str:
    """Why a label that asks for evidence can't be moved yet."""
    against = f" and what {label} holds now" if compared else ""
    return f"{label} asks for evidence: no saved run passed with {name} version {version}{against}"


def _how(name: str, label: str, compared: bool) -> str:
    against = f" --against {label}" if compared else ""
    return f"llmops eval a suite with {name}{against}, with gates, then promote with --run"


def lacks(run: Run, content: str, held: str, *, must_pass: bool) -> str:
    """What a run lacks as evidence for a content, against what the label holds (empty: nothing); empty when nothing.

    It has to have scored exactly this content and, in the same run, exactly the content that is held. To pass, it
    has to be finished, on all cases, with gates on the candidate that all held and hardly a failed case.
    """
    record = run.record
    mine = _variants(record, content)
    if not mine:
        return "it never ran this content"
    if held and not _variants(record, held):
        return "it didn't compare with what the label holds now"
    if not must_pass:
        return ""
    if record.status != "finished":
        return f"it is {record.status}"
    narrowed = [key for key in ("only", "sample") if record.config.get(key)]
    if narrowed:
        return f"it ran on a part of the cases (--{narrowed[0]})"
    gates = [gate for gate in record.gates if gate.variant in mine]
    if not gates:
        return "it has no gates, so nothing says that it passed"
    failed = [gate for gate in gates if gate.outcome != "pass"]
    if failed:
        return f"gate {failed[0].rule} {'failed' if failed[0].outcome == 'fail' else 'is undecided'}"
    if set(too_many_errors(record, run.aggregate)).intersection(mine):
        return "too many of its cases failed"
    return ""


def verdict(run: Run, content: str) -> str:
    """What a run said of a content, in a word for the label's line."""
    return "not passed" if lacks(run, content, "", must_pass=True) else "passed"


def _variants(record: RunRecord, content: str) -> set[str]:
    return {info.name for info in record.variants if info.details.get("content_id") == content}


def _check_label(label: str) -> None:
    if not is_label(label):
        hint = "a letter, then letters, digits, - and _; not latest, and not like a content id"
        raise InputError(f"{label!r:.70} can't be a label", hint=hint)


def _who(folder: Path) -> str:
    name = os.environ.get("GITHUB_ACTOR") or git.author(folder)
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
