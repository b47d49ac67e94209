"""The shape of a suite file: pydantic models that check it, and the JSON Schema that editors use."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from llmops.evals.comparison_rules import DEMANDS
from llmops.registry import names, resolve

DATASET = ("as a path", "as a mapping")  # the two forms of `dataset`, as they stand in error locations
REPEATS = ("as a number", "as min and max")  # and of `repeats`
FORMS = frozenset((*DATASET, *REPEATS))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _number(value: Any) -> Any:
    """Text that is a number counts as one: that is how `${VAR}` arrives."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = int(value) if value.strip().isdigit() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _margin(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _share(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        with contextlib.suppress(ValueError):
            return float(value.strip()[:-1]) / 100
    return _number(value)


_TEXTS: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}]
}
_GATE: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 3,
            "additionalProperties": False,
            "properties": {
                **dict.fromkeys(DEMANDS, _TEXTS),
                "margin": {"type": ["number", "string"]},
                "variant": {"type": "string"},
            },
        },
    ]
}
Number = Annotated[float, Field(gt=0), BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]


class DatasetEntry(_Strict):
    """Where the cases are, and which columns they come from."""

    path: str = Field(min_length=1, description="File or folder, relative to this file.")
    fields: dict[str, Any] | None = Field(
        default=None, description="Maps id, inputs.NAME, expected, contexts, relevant, tags, group to columns."
    )
    name: str = Field(default="", description="Name in reports; the file's stem otherwise.")


class LimitsEntry(_Strict):
    """How hard a run may push."""

    concurrency: Whole = Field(
        default=16, ge=1, le=10_000, description="Requests in flight for each backend or variant."
    )
    requests_per_minute: Number | None = None
    tokens_per_minute: Number | None = None
    retries: Whole = Field(default=4, ge=0, le=100, description="Further attempts after a failure that may pass.")
    timeout_s: Number | None = Field(default=300.0, description="Seconds one attempt may take.")


class RepeatsEntry(_Strict):
    """Answers for each case: `min` for all, up to `max` for those that flipped or sit at a gate's threshold."""

    min: Whole = Field(default=1, ge=1, le=1000)
    max: Whole = Field(ge=1, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> RepeatsEntry:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is less than min {self.min}")
        return self


class ComparisonEntry(_Strict):
    """How candidates are compared with their baseline."""

    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = Field(
        default=0.05, description="Two-sided: 0.05 makes 95 % intervals."
    )
    power: Annotated[Number, Field(gt=0.5, lt=1)] = Field(
        default=0.8, description="Chance that a real drop is noticed, for planning."
    )
    margin: Annotated[str, BeforeValidator(_margin)] = Field(
        default="5%", description="Biggest drop that is tolerated: 0.03 in the metric's unit, or 3% of its range."
    )
    population: Literal["sample", "fixed"] = Field(
        default="sample", description="sample: cases stand for more of their kind; fixed: only these cases count."
    )
    early_stop: bool = Field(default=True, description="End when every guard metric has a verdict.")
    looks: Whole = Field(default=10, ge=1, le=50, description="At most so many interim looks.")
    canary: Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)] = Field(
        default=0.0, description="Share of the baseline's cached answers to ask again, such as 10%, to see drift."
    )


class SuiteFile(_Strict):
    """A suite: which variants answer which cases, how they are scored, and what must hold."""

    description: str = ""
    name: str = Field(default="", description="Name in reports; the file's stem otherwise.")
    dataset: Annotated[
        Annotated[str, Field(min_length=1), Tag(DATASET[0])] | Annotated[DatasetEntry, Tag(DATASET[1])],
        Discriminator(lambda value: DATASET[isinstance(value, (dict, DatasetEntry))]),
    ] = Field(description="Path, or path with a mapping of fields.")
    variants: dict[Annotated[str, Field(min_length=1, max_length=100)], Any] = Field(min_length=1)
    baseline: str | None = Field(default=None, description="The variant that others are compared with.")
    metrics: list[Any] = Field(min_length=1, description="Each is name, {name: value} or {name: {options}}.")
    gates: list[Annotated[Any, WithJsonSchema(_GATE)]] = Field(
        default_factory=list,
        description='Rules such as "token_f1 >= 0.6", "errors <= 1%" or {no-regression: [token_f1], margin: 3%}.',
    )
    comparison: ComparisonEntry = Field(default_factory=ComparisonEntry)
    limits: LimitsEntry = Field(default_factory=LimitsEntry)
    repeats: Annotated[
        Annotated[int, Field(ge=1, le=1000), BeforeValidator(_number), Tag(REPEATS[0])]
        | Annotated[RepeatsEntry, Tag(REPEATS[1])],
        Discriminator(lambda value: REPEATS[isinstance(value, (dict, RepeatsEntry))]),
    ] = Field(default=1, description="Answers for each case and variant: a number, or {min: 1, max: 5}.")
    watch: list[str] = Field(default_factory=list, description="More files (globs) that `--changed` looks at.")


def known_keys(location: tuple[Any, ...]) -> list[str]:
    """The keys allowed beside the one at `location`."""
    models: dict[str, type[BaseModel]] = {
        "dataset": DatasetEntry,
        "limits": LimitsEntry,
        "comparison": ComparisonEntry,
        "repeats": RepeatsEntry,
    }
    model = models.get(str(location[0]), SuiteFile) if len(location) > 1 else SuiteFile
    return list(model.model_fields)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a suite file, with the registered names filled in."""
    schema = SuiteFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "llmops suite"
    schema["properties"]["variants"]["additionalProperties"] = {"anyOf": [_variant(k) for k in names("variants")]}
    metrics = names("metrics")
    schema["properties"]["metrics"]["items"] = {
        "anyOf": [
            {"enum": metrics},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {name: {} for name in metrics},
            },
        ]
    }
    return schema


def _variant(kind: str) -> Mapping[str, Any]:
    parameters = [p for n, p in inspect.signature(resolve("variants", kind)).parameters.items() if n != "build"]
    own, others = parameters[0], parameters[1:]
    properties: dict[str, Any] = {kind: {}, **{p.name.rstrip("_"): {} for p in others}}
    needed = [p.name.rstrip("_") for p in others if p.default is inspect.Parameter.empty]
    del own  # written under the kind's own name
    return {"type": "object", "properties": properties, "required": [kind, *needed], "additionalProperties": False}
