"""`llmops prompt render`: a prompt with its variables filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.prompt import Key, Reference, print_messages, store
from llmops.cli.terminal import AsJson, print_json
from llmops.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from llmops.evals.suite import Suite
    from llmops.prompts.template import FilePrompt
    from llmops.types import Case


def render(
    reference: Reference,
    variable: Annotated[
        list[str] | None, typer.Option("--var", "-v", help="A variable. Repeatable.", metavar="NAME=VALUE")
    ] = None,
    case: Annotated[str, typer.Option(help="Fill in the inputs of this case.", metavar="ID")] = "",
    dataset: Annotated[
        Path | None, typer.Option(help="The suite or dataset of the case; found by itself when one suite uses it.")
    ] = None,
    variant: Annotated[
        str, typer.Option(help="With --case: whose variables, where variants of the suite differ.", metavar="NAME")
    ] = "",
    examples: Annotated[bool, typer.Option("--examples", help="Fill the rest with the inputs' examples.")] = False,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Render a prompt and print its messages. Nothing is sent anywhere."""
    prompt = store().load(reference, key=key)
    values = {**(_examples(prompt) if examples else {}), **_case_values(prompt, case, dataset, variant)}
    values |= _variables(prompt, variable or [])
    messages = prompt.render(values)
    if as_json:
        print_json(list(messages))
    else:
        print_messages(messages)


def _variables(prompt: FilePrompt, given: Sequence[str]) -> dict[str, Any]:
    """`name=value`; a value is text where the prompt takes text, else YAML (`3`, `[a, b]`)."""
    from llmops.yamlfile import load_yaml

    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"-v {text!r:.60} is no NAME=VALUE", hint="such as -v question='How long?'")
        one = prompt.inputs.get(name)
        is_text = one is None or "string" in one.types or "any" in one.types
        found[name] = value if is_text else load_yaml(value, name=f"-v {name}").data
    return found


def _examples(prompt: FilePrompt) -> dict[str, Any]:
    return {name: one.example for name, one in prompt.inputs.items() if one.example is not None}


def _case_values(prompt: FilePrompt, wanted: str, place: Path | None, variant: str) -> dict[str, Any]:
    if not wanted:
        if place is not None or variant:
            raise InputError(f"--{'dataset' if place is not None else 'variant'} goes with --case")
        return {}
    from llmops.prompts.references import parse_reference

    case, fixed = _case(wanted, place, parse_reference(prompt.reference).name, variant)
    values = {name: value for name, value in case.inputs.items() if name in prompt.variables}
    if case.contexts and "contexts" in prompt.variables and "contexts" not in case.inputs:
        values["contexts"] = [context.text for context in case.contexts]
    return {**values, **{name: value for name, value in fixed.items() if name in prompt.variables}}


def _case(wanted: str, place: Path | None, name: str, variant: str) -> tuple[Case, Mapping[str, Any]]:
    """The case, and what the suite's variant fixes."""
    from llmops.datasets import open_dataset
    from llmops.evals.suite import load_suite

    fixed: Mapping[str, Any] = {}
    place = place or _only_suite(name)
    if place.suffix in (".yaml", ".yml") and _is_suite(place):
        suite = load_suite(place)
        opened = open_dataset(suite.base / suite.dataset_path, fields=suite.dataset_fields)
        fixed = _fixed(suite, name, variant)
    else:
        opened = open_dataset(place)
    case = next((one for one in opened if one.id == wanted), None)
    if case is None:
        raise NotFoundError(f"{opened.name} has no case {wanted!r:.80}", hint=f"llmops data show {place} lists them")
    return case, fixed


def _fixed(suite: Suite, name: str, variant: str) -> Mapping[str, Any]:
    """The variables that the suite's variants with this prompt fix."""
    from llmops.prompts.references import parse_reference

    found: dict[str, Mapping[str, Any]] = {}
    for one in suite.variants:
        used = one.options.get("prompt")
        if isinstance(used, str) and parse_reference(used).name == name:
            found[one.name] = one.options.get("variables") or {}
    if variant:
        if variant not in found:
            raise NotFoundError(f"{suite.name} has no variant {variant!r:.80} with {name}", hint=_known(found))
        return found[variant]
    if any(one != next(iter(found.values())) for one in found.values()):
        raise InputError(
            f"the variants of {suite.name} fix different variables", hint=f"give --variant; {_known(found)}"
        )
    return next(iter(found.values()), {})


def _known(found: Mapping[str, Any]) -> str:
    return f"known: {', '.join(found)}"


def _only_suite(name: str) -> Path:
    from llmops.config import load_config
    from llmops.prompts.references import parse_reference
    from llmops.soundness import suite_uses

    root = load_config().root
    uses = {use.where.rpartition(":")[0] for use in suite_uses(root) if parse_reference(use.reference).name == name}
    if len(uses) != 1:
        why = f"{len(uses)} suites use {name}" if uses else f"no suite uses {name}"
        raise InputError(f"which dataset is the case from? {why}", hint="give --dataset, a suite or a dataset file")
    return root / uses.pop()


def _is_suite(path: Path) -> bool:
    from llmops.yamlfile import load_yaml

    try:
        data = load_yaml(path.read_text("utf-8-sig"), name=str(path)).data
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} can't be read: {problem}") from None
    return isinstance(data, Mapping) and "variants" in data
