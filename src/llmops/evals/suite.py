"""Suite files: `evals/*.yaml` → `Suite`, with every mistake reported by file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmops.errors import InputError, SuiteError, did_you_mean
from llmops.evals.comparison_rules import ComparisonSettings, check_margin, gate_rule
from llmops.evals.overrides import apply_override, path_of, secrets_of
from llmops.identity import canonical_json
from llmops.registry import Spec, names, parse_short_form
from llmops.secrets import longest_first, masked_message, masked_override
from llmops.yamlfile import Document, expand, load_yaml

MAX_BYTES = 5_000_000
MAX_NAME_BYTES = 200  # a file's name may have 255, and a report adds its ending
_NAMES: dict[type, str] = {dict: "mapping", list: "list"}
_SAYINGS = {  # pydantic's kinds of error in words for people who write YAML
    "list_type": ("not a list", "write [one, two] or a line with a dash for each"),
    "string_type": ("not text", ""),
    "dict_type": ("not a mapping", "write {name: value} or a line for each"),
    "model_type": ("not a mapping", "write {name: value} or a line for each"),
    "too_short": ("at least one is needed", ""),
    "string_too_short": ("it can't be empty", ""),
    "int_type": ("not a whole number", ""),
    "int_parsing": ("not a whole number", ""),
    "int_from_float": ("not a whole number", ""),
    "float_type": ("not a number", ""),
}


@dataclass(frozen=True)
class VariantSpec:
    """A variant as written: `kind` is the registered name, `options` includes the kind's own value."""

    name: str
    kind: str
    options: Mapping[str, Any]
    where: str = ""

    @property
    def spec(self) -> Spec:
        """For `registry.create`: the kind's value goes to the factory's first parameter."""
        return Spec(self.kind, options=self.options)


@dataclass(frozen=True)
class MetricSpec:
    """A metric as written, in any of the three short forms."""

    spec: Spec
    where: str = ""


@dataclass(frozen=True)
class Limits:
    """How hard a run may push. Times in seconds; None is no limit."""

    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 4
    timeout_s: float | None = 300.0


@dataclass(frozen=True)
class Suite:
    """A validated suite. `base` is the folder its relative paths start from; `where` is its file.

    `secrets` are the values to mask in what is shown or stored: those of environment variables named like secrets
    or used in headers, and those given for such keys with `--set`.
    """

    name: str
    base: Path
    dataset_path: str
    dataset_fields: Mapping[str, Any] | None
    variants: tuple[VariantSpec, ...]
    metrics: tuple[MetricSpec, ...]
    path: Path | None = None
    description: str = ""
    dataset_name: str = ""
    baseline: str | None = None
    gates: tuple[tuple[str, str], ...] = ()
    limits: Limits = field(default_factory=Limits)
    repeats: int = 1
    max_repeats: int = 0  # more answers for cases that flipped or sit at a gate's threshold; 0 is none
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    watch: tuple[str, ...] = ()
    where: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    dataset_where: str = ""
    overrides: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    against: str = ""  # what the counterparts are of: a git revision or a label
    own_baseline: str = ""  # the suite's, where `baseline` is a counterpart
    baseline_run: str = ""  # the saved run whose answers the counterparts give
    counterparts: Mapping[str, str] = field(default_factory=dict)  # name of each to the variant it belongs to


def load_suite(path: Path, *, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite file. `overrides` are `key=value` with dotted keys, as `--set` gives them.

    Raises `SuiteError` with `file:line` on anything wrong, before any model is called.
    """
    document = expand(_read(path), error=SuiteError)
    data = document.data
    if not isinstance(data, dict):
        raise SuiteError("a suite is a mapping of keys such as dataset, variants, metrics", where=document.where())
    for override in overrides:
        apply_override(data, override)
    shown = {path_of(override): masked_override(override) for override in overrides}
    given = (secret for override in overrides for secret in secrets_of(override))
    document = replace(document, overrides=shown, secrets=longest_first((*document.secrets, *given)))
    try:
        suite = parse_suite(data, document, base=path.parent.resolve(), path=path)
    except InputError as error:
        error.message = masked_message(error.message, document.secrets)
        raise
    return replace(suite, overrides=tuple(overrides))


def parse_suite(data: dict[str, Any], document: Document, *, base: Path, path: Path | None = None) -> Suite:
    """Check a suite's data and turn it into a `Suite`."""
    model = _validate(data, document)
    name = model.name or (path.stem if path else "suite")
    _check_name(name, document.where(("name",) if model.name else ()))
    dataset = model.dataset
    as_path = isinstance(dataset, str)
    kinds = names("variants")
    variants = tuple(_variant(name, v, kinds, document) for name, v in data["variants"].items())
    if model.baseline is not None and model.baseline not in data["variants"]:
        hint = did_you_mean(model.baseline, list(data["variants"]))
        raise SuiteError(f"no variant is called {model.baseline!r}", where=document.where(("baseline",)), hint=hint)
    for index, pattern in enumerate(model.watch):
        if not pattern or Path(pattern).is_absolute():
            where = document.where(("watch", index))
            raise SuiteError(
                f"watch: {pattern!r} isn't a relative pattern", where=where, hint="paths start at this file"
            )
    return Suite(
        name=name,
        base=base,
        path=path,
        description=model.description,
        dataset_path=dataset if isinstance(dataset, str) else dataset.path,
        dataset_fields=None if isinstance(dataset, str) else dataset.fields,
        dataset_name="" if isinstance(dataset, str) else dataset.name,
        dataset_where=document.where(("dataset",) if as_path else ("dataset", "path")),
        variants=variants,
        metrics=tuple(_metric(form, i, document) for i, form in enumerate(model.metrics)),
        baseline=model.baseline,
        gates=tuple(_gate(form, document.where(("gates", i))) for i, form in enumerate(model.gates)),
        limits=Limits(**model.limits.model_dump()),
        repeats=model.repeats if isinstance(model.repeats, int) else model.repeats.min,
        max_repeats=0 if isinstance(model.repeats, int) else model.repeats.max,
        comparison=_comparison(model, document),
        watch=tuple(model.watch),
        where=document.name,
        config=data,
        secrets=document.secrets,
    )


def _gate(form: Any, where: str) -> tuple[str, str]:
    return gate_rule(form, where), where


def _comparison(model: Any, document: Document) -> ComparisonSettings:
    asked = model.comparison
    margin = asked.margin.replace(" ", "")
    check_margin(margin, document.where(("comparison", "margin")), unit="s")
    repeats = model.repeats if isinstance(model.repeats, int) else model.repeats.min
    if asked.population == "fixed" and repeats < 2:
        where = document.where(("comparison", "population"))
        raise SuiteError("population: fixed needs repeats", where=where, hint="add repeats: 2, or more")
    return ComparisonSettings(**{**asked.model_dump(), "margin": margin})


def _check_name(name: str, where: str) -> None:
    """A suite's name is part of the names of report files and of a terminal's lines."""
    if name.isprintable() and name.strip(" .") and not {*"/\\"} & {*name} and len(name.encode()) <= MAX_NAME_BYTES:
        return
    hint = rf"reports are files of that name: printable, without / and \, at most {MAX_NAME_BYTES} bytes"
    raise SuiteError(f"{name[:80]!r} can't be the suite's name", where=where, hint=hint)


def _read(path: Path) -> Document:
    try:
        if path.is_dir():
            raise SuiteError(f"{path} is a folder", hint="name the suite files in it")
        raw = path.read_bytes()
    except OSError as error:
        raise SuiteError(
            f"can't read {path}: {error.strerror}", hint="name a suite file, such as evals/x.yaml"
        ) from None
    except ValueError:
        raise SuiteError(f"{str(path)!r} isn't a file name") from None
    if len(raw) > MAX_BYTES:
        raise SuiteError(f"a suite of {len(raw):,} bytes", where=str(path), hint="cases belong in the dataset file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SuiteError("not UTF-8 text", where=f"{path}:{line}", hint="save it as UTF-8") from None
    if not text.strip():
        raise SuiteError("the file is empty", where=f"{path}:1", hint="a suite has dataset, variants and metrics")
    return load_yaml(text, name=str(path), error=SuiteError)


def _validate(data: dict[str, Any], document: Document) -> Any:
    from pydantic import ValidationError

    from llmops.evals.suite_schema import SuiteFile

    try:
        canonical_json(data)
        return SuiteFile.model_validate(data)
    except ValidationError as problem:
        raise _explain(problem.errors(include_url=False), document, SuiteFile) from None
    except (ValueError, TypeError, RecursionError) as problem:
        raise SuiteError(f"holds a value that isn't plain data: {problem}", where=document.where()) from None


def _explain(errors: Sequence[Any], document: Document, model: Any) -> SuiteError:
    from llmops.evals.suite_schema import FORMS, known_keys

    # Unknown keys explain most other errors (a misspelt `metrics` is also a missing one), so they come first.
    error = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    location = tuple(part for part in error["loc"] if part not in FORMS)
    name = ".".join(str(part) for part in location)
    where = document.where(location)
    if error["type"] == "extra_forbidden":
        return SuiteError(
            f"unknown key {name!r}", where=where, hint=did_you_mean(str(location[-1]), known_keys(location))
        )
    if error["type"] == "missing":
        return SuiteError(f"{name} is missing", where=where, hint=f"add {location[-1]}: …")
    value = error["input"]
    if isinstance(value, (str, int, float, bool, type(None))):
        shown = repr(value)
    else:
        shown = f"a {_NAMES.get(type(value)) or type(value).__name__}" + " that is empty" * (not value)
    said, hint = _SAYINGS.get(error["type"], (str(error["msg"]).lower(), ""))
    return SuiteError(f"{name} is {shown[:80]}: {said}", where=where, hint=hint)


def _variant(name: Any, value: Any, kinds: list[str], document: Document) -> VariantSpec:
    where = document.where(("variants", name))
    if not isinstance(value, Mapping):
        raise SuiteError(
            f"variant {name!r} is {value!r}, not a mapping"[:200],
            where=where,
            hint=f"start it with {', '.join(kinds)}: …",
        )
    if not str(name).isprintable():
        raise SuiteError(
            f"the variant's name {name!r} isn't printable", where=where, hint="leave out line ends and tabs"
        )
    found = [kind for kind in kinds if kind in value]
    if len(found) != 1:
        problem = "doesn't say what it runs" if not found else f"says both {found[0]} and {found[1]}"
        hint = f"give it one of {', '.join(kinds)}"
        near = [did_you_mean(str(key), kinds) for key in value]
        hint = next((n for n in near if n.startswith("did you mean")), hint) if not found else hint
        raise SuiteError(f"variant {name!r} {problem}", where=where, hint=hint)
    return VariantSpec(str(name), found[0], dict(value), where)


def _metric(form: Any, index: int, document: Document) -> MetricSpec:
    where = document.where(("metrics", index))
    try:
        spec = parse_short_form(form, what="metric", where=where)
    except InputError as error:
        raise SuiteError(error.message, where=where) from None
    if not spec.label.isprintable():
        raise SuiteError(f"as: {spec.label!r} isn't printable", where=where, hint="leave out line ends and tabs")
    return MetricSpec(spec, where)
