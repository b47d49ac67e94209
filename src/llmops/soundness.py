"""Whether a project's prompts are sound: the store itself, its skills, and everything that uses a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from llmops.config import Config
from llmops.datasets import open_dataset
from llmops.errors import InputError, LlmopsError, PromptError
from llmops.prompts.calling.callers import Caller, check_callers, find_callers
from llmops.prompts.checking import Checked, check_store
from llmops.prompts.inputs import Input
from llmops.prompts.labels import read_labels
from llmops.prompts.problems import Problem
from llmops.prompts.references import Reference, parse_reference
from llmops.prompts.release_files import release_file
from llmops.prompts.releases import content_of
from llmops.prompts.store import PromptStore
from llmops.prompts.template import FilePrompt
from llmops.prompts.trees import WorkTree
from llmops.yamlfile import Document, load_yaml

SCOPES = (".agents/skills", ".claude/skills")
MAX_SUITE_BYTES = 5_000_000
MAX_CASES = 200


def check_project(config: Config, *, callers: bool = True) -> Checked:
    """Check prompts, releases, labels and skills, and with `callers` the code and suites that use them.

    A caller has to fit the version it names. When that is a label or `latest`, it has to fit the working file too,
    which is what the label will hold one day: a variable is renamed by adding the new name first.
    """
    found = check_store(config.prompts_dir)
    _check_skills(config, found)
    if callers and config.prompts_dir.is_dir():
        store = PromptStore(config.prompts_dir, watch=False)
        found.problems += caller_problems(store, find_callers(config.root), suite_uses(config.root))
    return found


@dataclass(frozen=True, slots=True)
class SuiteUse:
    """A suite's variant that renders a prompt: what it fixes, and the columns of its cases (None: can't be told)."""

    reference: str
    where: str
    fixed: frozenset[str]
    columns: frozenset[str] | None

    def caller(self, inputs: Mapping[str, Input] | None) -> Caller:
        """As a caller of a prompt with these inputs. Columns that it doesn't declare aren't passed to it."""
        spare = self.columns or frozenset()
        given = self.fixed | (spare & frozenset(inputs or ()))
        return Caller(self.reference, self.where, given, self.columns is None)


Declared = Callable[[str], Mapping[str, Input] | None]


def caller_problems(store: PromptStore, code: Iterable[Caller], suites: Iterable[SuiteUse]) -> list[Problem]:
    """What is wrong with callers, each problem once; a route is checked for each version it may give."""
    code = [arm for one in code for arm in _arms(store, one)]
    suites = list(suites)

    def declared(reference: str) -> Mapping[str, Input] | None:
        return taken(store.load(reference))

    def coming(reference: str) -> Mapping[str, Input] | None:
        wanted = parse_reference(reference)
        if not wanted.is_movable or wanted.revision:
            return None
        try:
            return taken(store.load(wanted.name))
        except InputError:  # no working file, or a broken one: said elsewhere
            return None

    found: dict[tuple[str, str], Problem] = {}
    for find, mark in ((declared, ""), (coming, " (in the working file)")):
        everyone = [*code, *(use.caller(_or_none(find, use.reference)) for use in suites)]
        for one in check_callers(everyone, find):
            suite = one.where.rpartition(":")[0].endswith((".yaml", ".yml"))
            hint = "give it a column of the dataset, or variables: in the variant" if suite and mark == "" else one.hint
            hint = hint if "isn't passed" in one.message else one.hint
            marked = Problem(one.where, one.message + mark, hint, one.rule)
            found.setdefault((one.where, one.message), marked)
    return list(found.values())


def taken(prompt: FilePrompt) -> Mapping[str, Input]:
    """What a prompt can be given: its inputs, or when it declares none the variables it uses, none of them required."""
    if prompt.front.inputs is not None:
        return prompt.front.inputs
    return {name: Input(name, required=False) for name in prompt.variables}


def _arms(store: PromptStore, caller: Caller) -> list[Caller]:
    """A caller of a route as callers of each version it may get."""
    wanted = _parsed(caller.reference)
    try:
        route = store.labels().get(wanted.name, {}).get(wanted.version) if wanted and not wanted.revision else None
    except InputError:  # said elsewhere
        return [caller]
    if wanted is None or route is None or not route.route:
        return [caller]
    return [replace(caller, reference=str(Reference(wanted.name, target))) for target in route.route]


def _parsed(reference: str) -> Reference | None:
    try:
        return parse_reference(reference)
    except InputError:
        return None


def _or_none(find: Declared, reference: str) -> Mapping[str, Input] | None:
    try:
        return find(reference)
    except InputError:
        return None


def broken_callers(
    store: PromptStore, root: Path, name: str, label: str, version: int, held: int | None = None
) -> list[Problem]:
    """Callers of a label, or of a route through it, that the version it is about to hold would break.

    Those that break with the version it holds already are not among them.
    """
    labels = store.labels().get(name, {})
    routes = {route.name for route in labels.values() if label in route.route}
    wanted = {str(Reference(name, one)) for one in (label, *routes)}
    code = [one for one in find_callers(root) if one.reference in wanted]
    suites = [use for use in suite_uses(root) if use.reference in wanted]

    def broken(number: int) -> list[Problem]:
        inputs = taken(store.load(f"{name}@{number}"))
        return check_callers([*code, *(use.caller(inputs) for use in suites)], lambda _: inputs)

    before = broken(held) if held is not None else []
    return [problem for problem in broken(version) if problem not in before]


def _check_skills(config: Config, found: Checked) -> None:
    from llmops.prompts.agent_skills.skill_rules import lint_skills
    from llmops.prompts.agent_skills.skills import find_skills

    folders = find_skills(config.prompts_dir)
    found.skills = len(folders)
    found.problems += _unproven(config)
    if folders:
        scopes = [config.root / scope for scope in SCOPES]
        found.problems += lint_skills(folders, config.prompts_dir, scopes)


def _unproven(config: Config) -> Iterator[Problem]:
    """Labels that ask for evidence and hold a version without it, or with that of another content."""
    for label_name, suites in config.require_evidence.items():
        for suite in suites:
            if suite.endswith((".yaml", ".yml")) and not (config.root / suite).is_file():
                message = f"require_evidence of {label_name}: there is no suite {suite}"
                yield Problem(config.where, message, "name a suite's file, from the project's folder", "evidence")
    tree = WorkTree(config.prompts_dir)
    try:
        labels = read_labels(tree)
    except InputError:  # said elsewhere
        return
    for name, mine in labels.items():
        for label in mine.values():
            if label.version is None or tree.read(release_file(name, label.version)) is None:
                continue
            noted = str(label.facts.get("content", ""))
            if (
                noted
                and _content(tree, name, label.version)
                and not _content(tree, name, label.version).startswith(noted)
            ):
                message = f"{label.name} of {name}: what is noted isn't about the content of version {label.version}"
                hint = f"llmops prompt promote notes it anew; or write {label.name}: {label.version}"
                yield Problem(label.where, message, hint, "label")
            proven = label.facts.get("verdict") == "passed" and label.facts.get("run")
            if label.name in config.require_evidence and not proven and "rolled_back" not in label.facts:
                message = f"{label.name} of {name} asks for evidence, and holds version {label.version} without any"
                command = f"llmops prompt promote {name} --to {label.name} --version {label.version}"
                hint = f"{command} looks for a run that justifies it; llmops prompt rollback needs none"
                yield Problem(label.where, message, hint, "evidence")


def _content(tree: WorkTree, name: str, version: int) -> str:
    try:
        return content_of(tree, name, version)
    except InputError:  # said elsewhere
        return ""


def suite_uses(root: Path) -> Iterator[SuiteUse]:
    """Prompts that suites under `evals/` use, with the variables that their first case and the variant give."""
    folder = root / "evals"
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix in (".yaml", ".yml") and path.is_file() and path.stat().st_size <= MAX_SUITE_BYTES:
            yield from _uses(path, root)


def _uses(path: Path, root: Path) -> Iterator[SuiteUse]:
    try:
        text = path.read_text("utf-8-sig")
        document = load_yaml(text, name=path.relative_to(root).as_posix(), error=PromptError)
    except (OSError, ValueError, LlmopsError):
        return  # whether a suite is sound is for `llmops eval --dry-run` to say
    data = document.data
    variants = data.get("variants") if isinstance(data, Mapping) else None
    if not isinstance(variants, Mapping) or not any(_prompt_of(form) for form in variants.values()):
        return
    columns = _columns(document, path)
    for name, form in variants.items():
        reference = _prompt_of(form)
        if reference:
            fixed = form.get("variables")
            names = frozenset(map(str, fixed)) if isinstance(fixed, Mapping) else frozenset()
            yield SuiteUse(reference, document.where(("variants", name)), names, columns)


def _prompt_of(form: Any) -> str:
    reference = form.get("prompt") if isinstance(form, Mapping) else None
    return reference if isinstance(reference, str) and "${" not in reference else ""


def _columns(document: Document, path: Path) -> frozenset[str] | None:
    """The names that a dataset's first cases all have; None when they can't be told."""
    spec = document.data.get("dataset")
    place = spec.get("path") if isinstance(spec, Mapping) else spec
    fields = spec.get("fields") if isinstance(spec, Mapping) else None
    if not isinstance(place, str) or "${" in place:
        return None
    try:
        cases = list(islice(open_dataset(path.parent / place, fields=fields), MAX_CASES))
    except (LlmopsError, OSError):
        return None
    if not cases:
        return None
    names = [frozenset(map(str, case.inputs)) | ({"contexts"} if case.contexts else set()) for case in cases]
    return frozenset.intersection(*names)
