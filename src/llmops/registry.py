"""Names of backends, metrics, variants and reports: built-ins and plugins found the same way.

Every pluggable thing has three YAML short forms, `name`, `name: value` and `name: {options}`; `parse_short_form`
is the one parser for them. Plugins register in the entry-point groups `llmops.backends`, `llmops.metrics`,
`llmops.variants` and `llmops.reports`.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmops.errors import InputError, NotFoundError, did_you_mean

Kind = Literal["backends", "metrics", "variants", "reports"]

BUILT_INS: dict[Kind, dict[str, str]] = {
    "backends": {
        "extractive": "llmops.backends.extractive:Extractive",
        "recorded": "llmops.backends.recorded:Recorded",
        "openai_http": "llmops.backends.openai_http:OpenAIHttp",
        "litellm": "llmops.backends.litellm:LiteLLM",
        "triton": "llmops.backends.triton:Triton",
        "fallback": "llmops.backends.fallback:Fallback",
    },
    "variants": {
        "prompt": "llmops.variants.prompt:PromptVariant",
        "python": "llmops.variants.python:PythonVariant",
        "langchain": "llmops.variants.langchain:LangChainVariant",
        "http": "llmops.variants.http:HttpVariant",
        "recorded": "llmops.variants.recorded:RecordedVariant",
    },
    "metrics": {
        "exact_match": "llmops.metrics.text:ExactMatch",
        "contains": "llmops.metrics.text:Contains",
        "contains_all": "llmops.metrics.text:ContainsAll",
        "contains_any": "llmops.metrics.text:ContainsAny",
        "not_contains": "llmops.metrics.text:NotContains",
        "regex": "llmops.metrics.text:Regex",
        "not_regex": "llmops.metrics.text:NotRegex",
        "starts_with": "llmops.metrics.text:StartsWith",
        "ends_with": "llmops.metrics.text:EndsWith",
        "squad_exact_match": "llmops.metrics.squad:SquadExactMatch",
        "token_f1": "llmops.metrics.squad:TokenF1",
        "edit_similarity": "llmops.metrics.overlap:EditSimilarity",
        "rouge1": "llmops.metrics.overlap:Rouge1",
        "rouge2": "llmops.metrics.overlap:Rouge2",
        "rougeL": "llmops.metrics.overlap:RougeL",
        "bleu": "llmops.metrics.overlap:Bleu",
        "chrf": "llmops.metrics.overlap:Chrf",
        "valid_json": "llmops.metrics.structure:ValidJson",
        "json_schema": "llmops.metrics.structure:JsonSchema",
        "refusal": "llmops.metrics.behaviour:Refusal",
        "abstention": "llmops.metrics.behaviour:Abstention",
        "length": "llmops.metrics.behaviour:Length",
        "latency": "llmops.metrics.behaviour:Latency",
        "tokens": "llmops.metrics.behaviour:Tokens",
        "hit": "llmops.metrics.retrieval:Hit",
        "precision": "llmops.metrics.retrieval:Precision",
        "recall": "llmops.metrics.retrieval:Recall",
        "f1": "llmops.metrics.retrieval:F1",
        "mrr": "llmops.metrics.retrieval:Mrr",
        "map": "llmops.metrics.retrieval:AveragePrecision",
        "ndcg": "llmops.metrics.retrieval:Ndcg",
        "r_precision": "llmops.metrics.retrieval:RPrecision",
        "embedding_similarity": "llmops.metrics.similarity:EmbeddingSimilarity",
        "python": "llmops.metrics.python:PythonMetric",
    },
    "reports": {
        "terminal": "llmops.reports.terminal:write_terminal",
        "markdown": "llmops.reports.markdown:write_markdown",
        "html": "llmops.reports.html:write_html",
        "json": "llmops.reports.machine:write_json",
        "junit": "llmops.reports.junit:write_junit",
        "github": "llmops.reports.annotations:write_annotations",
        "csv": "llmops.reports.tabular:write_csv",
    },
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed short form: `name`, and either a single `value` or `options`. `label` is the optional `as:`."""

    name: str
    value: Any = None
    has_value: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


def parse_short_form(form: Any, *, what: str, where: str = "") -> Spec:
    """Read `name`, `{name: value}` or `{name: {options}}`; `what` names the thing in errors."""
    if isinstance(form, str) and form:
        return Spec(form)
    if isinstance(form, Mapping) and len(form) == 1:
        name, value = next(iter(form.items()))
        if isinstance(name, str) and isinstance(value, Mapping):
            options = dict(value)
            label = options.pop("as", "")
            return Spec(name, options=options, label=str(label))
        if isinstance(name, str):
            return Spec(name, value=value, has_value=value is not None)
    raise InputError(
        f"a {what} is written as name, {{name: value}} or {{name: {{options}}}}, not {form!r}"[:200],
        where=where,
    )


def names(kind: Kind) -> list[str]:
    """All registered names of a kind, built-ins and plugins, sorted."""
    return sorted({*BUILT_INS[kind], *(e.name for e in _entry_points(kind))})


def resolve(kind: Kind, name: str, *, where: str = "") -> Callable[..., Any]:
    """The factory registered under `name`. Raises `NotFoundError` with the closest name."""
    target = BUILT_INS[kind].get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return factory
    for entry in _entry_points(kind):
        if entry.name == name:
            loaded: Callable[..., Any] = entry.load()
            return loaded
    raise NotFoundError(f"no {kind[:-1]} is called {name!r}", where=where, hint=did_you_mean(name, names(kind)))


def create(kind: Kind, spec: Spec, *, build: Any = None, where: str = "") -> Any:
    """Make the thing a short form names; wrong options are one error that says which and where."""
    factory = resolve(kind, spec.name, where=where)
    options = {_python_name(name): value for name, value in spec.options.items()}
    parameters = _parameters(factory)
    takes_build = "build" in parameters
    open_names = [name for name in parameters if name != "build"]
    if kind == "variants" and spec.name in options and open_names:
        # `{python: path.py:answer, with: …}`: the kind's own value is the factory's first parameter
        options = {open_names[0]: options.pop(spec.name), **options}
    if spec.has_value:
        if not open_names:
            raise InputError(f"{spec.name} takes no value", where=where, hint=f"write just {spec.name}")
        options = {open_names[0]: spec.value}
    _check_options(spec.name, factory, parameters, options, where)
    try:
        return factory(build, **options) if takes_build else factory(**options)
    except InputError as error:
        if not error.where:
            error.where = where
        raise


def _check_options(
    name: str,
    factory: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    options: dict[str, Any],
    where: str,
) -> None:
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [n for n, p in parameters.items() if n != "build" and p.kind is not p.VAR_KEYWORD]
    for option in options:
        if option not in known and not open_ended:
            hint = did_you_mean(option, [n.rstrip("_") for n in known])
            raise InputError(f"{name} has no option {option.rstrip('_')!r}", where=where, hint=hint)
    for option in known:
        if parameters[option].default is inspect.Parameter.empty and option not in options:
            raise InputError(f"{name} needs {option}", where=where, hint=f"write {{{name}: {{{option}: …}}}}")
    _check_types(name, factory, options, where)


def _check_types(name: str, factory: Callable[..., Any], options: dict[str, Any], where: str) -> None:
    from typing import get_type_hints

    from pydantic import ConfigDict, TypeAdapter, ValidationError

    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = get_type_hints(target)
    for option, value in options.items():
        hint = hints.get(option, Any)
        if hint is Any:
            continue
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
            options[option] = adapter.validate_python(value)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"].lower()
            raise InputError(f"{name}: {option} is {value!r}: {problem}"[:300], where=where) from None


def _python_name(option: str) -> str:
    """`with` can't be a parameter's name in Python; `with_` can."""
    return f"{option}_" if keyword.iskeyword(option) else option


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {n: p for n, p in inspect.signature(factory).parameters.items() if p.kind is not p.VAR_POSITIONAL}


def _entry_points(kind: Kind) -> Any:
    from importlib.metadata import entry_points

    return entry_points(group=f"llmops.{kind}")
