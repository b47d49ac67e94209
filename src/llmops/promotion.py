"""Moving labels: promotions with their evidence, rollbacks and routes."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops import git
from llmops.config import Config
from llmops.errors import InputError, NotFoundError
from llmops.evidence import Wanted, failed, has_run, lacks, unsuited, verdict
from llmops.identity import SHORT
from llmops.prompts import atomic
from llmops.prompts.agent_skills.skill_releases import is_skill
from llmops.prompts.labels import MAX_BEFORE, Label, set_label
from llmops.prompts.references import check_name, is_label
from llmops.prompts.release_files import prepare
from llmops.prompts.releases import content_of
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import RELEASES, WorkTree
from llmops.runs import Run
from llmops.soundness import broken_callers


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
        check_name(name)
        _check_label(label)
        version = self._version(name, version)
        content = content_of(self.tree, name, version)
        skill = is_skill(self.tree, name, version)
        if not force and not skill:
            self._check_callers(name, label, version)
        with atomic.one_at_a_time(self._releases()):
            old = self.store.labels().get(name, {}).get(label)
            if old is not None and old.version == version and not self._unproven(name, old):
                return Move(name, label, version, version, changed=False, facts=old.facts, notes=self._notes(name))
            facts = self._facts(reason)
            if not skill:  # a skill has no suite yet that could be evidence
                facts |= self._evidence(name, label, version, old, run)
            facts["content"] = content[:SHORT]
            before = () if old is None or old.version is None else (*old.before, old.version)[-MAX_BEFORE:]
            before = old.before if old is not None and old.version == version else before
            set_label(self.tree, name, Label(label, version, before=before, facts=facts))
        notes = self._notes(name)
        if old is not None and old.route:
            notes = (f"{label} was a route: {', '.join(f'{to}={share:g}' for to, share in old.route.items())}", *notes)
        return Move(name, label, old.version if old else None, version, facts=facts, notes=notes)

    def _check_callers(self, name: str, label: str, version: int) -> None:
        """Raise for the first caller that the version would break and that isn't broken already."""
        old = self.store.labels().get(name, {}).get(label)
        held = old.version if old is not None else None
        for problem in broken_callers(self.store, self.config.root, name, label, version, held)[:1]:
            what = f"{name} version {version} would break a caller of {label}: {problem.message}"
            raise InputError(what, where=problem.where, hint="change the caller first, or use --force")

    def needs_evidence(self, name: str, label: str, version: int | None) -> bool:
        """True when a promotion would be refused without a run."""
        held = self.store.labels().get(name, {}).get(label)
        version = self._version(check_name(name), version)
        moves = held is None or held.version != version or self._unproven(name, held)
        return moves and label in self.config.require_evidence and not is_skill(self.tree, name, version)

    def search(self, runs: Iterable[Run], name: str, label: str, version: int | None) -> Run:
        """The run that is evidence for a promotion: of each suite the newest that speaks of it counts, newest first.

        Raises `InputError`, which says what the newest run lacks, when there is none.
        """
        wanted = self._wanted(name, label, self._version(name, version), self.store.labels().get(name, {}).get(label))
        decided: set[str] = set()
        reason = ""
        for run in runs:
            record = run.record
            if not has_run(record, wanted.content) or record.suite in decided:
                continue
            problem = unsuited(record, wanted)
            if not problem:
                decided.add(record.suite)
                problem = failed(run, wanted)
            if not problem:
                return run
            reason = reason or f"; run {record.id} of {record.suite} doesn't: {problem}"
        what = missing_evidence(name, label, self._version(name, version), bool(wanted.held))
        raise InputError(f"{what}{reason}", hint=_how(name, label, wanted))

    def _wanted(self, name: str, label: str, version: int, held: Label | None) -> Wanted:
        suites = self.config.require_evidence.get(label, ())
        if held is not None and held.version == version:  # moved by hand: against what it held before
            held = replace(held, version=held.before[-1] if held.before else None)
        return Wanted(content_of(self.tree, name, version), self._held(name, held), suites)

    def _unproven(self, name: str, label: Label) -> bool:
        """True when a label asks for evidence and its line has none for the content it holds."""
        noted = str(label.facts.get("content", ""))
        other = bool(noted) and not self._held(name, label).startswith(noted)
        required = label.name in self.config.require_evidence and "rolled_back" not in label.facts
        return other or (required and not (label.facts.get("run") and label.facts.get("verdict") == "passed"))

    def _held(self, name: str, label: Label | None) -> str:
        """The content id that a label holds, or empty."""
        return content_of(self.tree, name, label.version) if label is not None and label.version else ""

    def rollback(self, name: str, label: str, reason: str = "") -> Move:
        """Point a label back at the version it held before the present one; no evidence is asked for.

        Raises `NotFoundError` when the prompt has no such label, `InputError` when nothing is known from before.
        """
        check_name(name)
        self.store.label(name, label)
        with atomic.one_at_a_time(self._releases()):
            old = self.store.label(name, label)
            if not old.before:
                raise _nothing_before(name, old)
            version = old.before[-1]
            content = content_of(self.tree, name, version)[:SHORT]
            facts = self._facts(reason) | {"rolled_back": old.version, "content": content}
            set_label(self.tree, name, Label(label, version, before=old.before[:-1], facts=facts))
        return Move(
            name, label, old.version, version, facts=facts, notes=self._broken(name, label, version, old.version)
        )

    def _broken(self, name: str, label: str, version: int, before: int | None) -> tuple[str, ...]:
        if is_skill(self.tree, name, version):
            return ()
        found = broken_callers(self.store, self.config.root, name, label, version, before)
        return tuple(f"{one.where} breaks with version {version}: {one.message}" for one in found)

    def route(self, name: str, label: str, shares: Mapping[str, float], *, force: bool = False) -> Move:
        """Make a label a route: shares of traffic, in percent, by label or version.

        Raises `InputError` for a label that asks for evidence or holds a version, and, unless `force`, when a caller
        of it would break with one of the versions.
        """
        check_name(name)
        _check_label(label)
        if label in self.config.require_evidence:
            hint = "make another label the route"
            raise InputError(f"{label} asks for evidence, and a route has none", hint=hint)
        held = self.store.labels().get(name, {}).get(label)
        if held is not None and held.version is not None:
            hint = "code that loads it gives no key; make another label the route"
            raise InputError(f"{label} of {name} holds version {held.version}", where=held.where, hint=hint)
        for target in shares:
            if target.isdigit():
                version = self._version(name, int(target))
            else:
                version = self.store.label(name, target).version or 0
            if version and not force:
                self._check_callers(name, label, version)
        with atomic.one_at_a_time(self._releases()):
            facts = self._facts("")
            set_label(self.tree, name, Label(label, route=dict(shares), facts=facts))
        return Move(name, label, None, None, facts={**facts, "route": dict(shares)})

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

    def _evidence(self, name: str, label: str, version: int, held: Label | None, run: Run | None) -> dict[str, Any]:
        wanted = self._wanted(name, label, version, held)
        required = label in self.config.require_evidence
        if run is None:
            if required:
                what = missing_evidence(name, label, version, bool(wanted.held))
                raise InputError(what, hint=_how(name, label, wanted))
            return {}
        problem = lacks(run, wanted) if required else ""
        if not has_run(run.record, wanted.content):
            problem = "it never ran this content"
        if problem:
            what = f"run {run.id} doesn't justify {name} version {version} as {label}: {problem}"
            raise InputError(what, hint=_how(name, label, wanted))
        return {"run": run.id, "dataset": run.record.fingerprint, "verdict": verdict(run, wanted.content)}


def missing_evidence(name: str, label: str, version: int, compared: bool) -> str:
    """Why a label that asks for evidence can't be moved yet."""
    against = f" and what {label} holds now" if compared else ""
    return f"{label} asks for evidence: no saved run passed with {name} version {version}{against}"


def _how(name: str, label: str, wanted: Wanted) -> str:
    against = f" --against {label}" if wanted.held else ""
    suite = " or ".join(wanted.suites) or f"a suite with {name}"
    return f"run {suite} with gates (llmops eval SUITE{against}), then promote"


def _nothing_before(name: str, label: Label) -> InputError:
    if label.route:
        hint = f"llmops prompt route {name} --to {label.name} … changes it"
        return InputError(f"{label.name} of {name} is a route", where=label.where, hint=hint)
    hint = f"llmops prompt promote {name} --to {label.name} --version N points it anywhere"
    if came := label.facts.get("rolled_back"):
        hint = f"it was rolled back from {came}; {hint}"
    return InputError(f"{label.name} of {name} held nothing before", where=label.where, hint=hint)


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
