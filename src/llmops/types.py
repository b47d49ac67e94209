"""The nouns of llmops and the protocols adapters meet through. Standard library only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Message = Mapping[str, Any]
"""One chat message in OpenAI's shape: `role`, `content`, and for tools `tool_calls` or `tool_call_id`."""

TokenCertainty = Literal["exact", "estimated", "unknown"]
Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True, slots=True)
class Context:
    """A retrieved passage: its text, its id in the collection, and the retriever's score."""

    text: str
    id: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the model asked for."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more requests.

    `input_tokens` includes cache reads and writes; `output_tokens` includes reasoning. `certainty` is
    `exact` when the server counted, `estimated` when we did, `unknown` when nobody could.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    certainty: TokenCertainty = "unknown"

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        if not self.requests and not self.total_tokens:
            return other
        if not other.requests and not other.total_tokens:
            return self
        order: tuple[TokenCertainty, ...] = ("exact", "estimated", "unknown")
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
            order[max(order.index(self.certainty), order.index(other.certainty))],
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a dataset.

    `relevant` maps ids of relevant passages to grades (1.0 where the data has no grades). `group` names
    what cases share (a document, a user), for clustered statistics. `where` is `file:line`, for errors
    only: it is never part of an identity.
    """

    id: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    expected: Any = None
    contexts: tuple[Context, ...] = ()
    relevant: Mapping[str, float] | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides a completion. `repeat` tells otherwise identical requests apart."""

    messages: tuple[Message, ...]
    model: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()
    output_schema: Mapping[str, Any] | None = None
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What a backend answered. Times in seconds; `cached` marks an answer that was not paid for."""

    text: str
    usage: Usage = field(default_factory=Usage)
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    model: str = ""
    latency_s: float | None = None
    first_token_s: float | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case has no answer. `kind` is an error's short name, such as `rate_limited`."""

    kind: str
    message: str
    retryable: bool = False
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Output:
    """What a variant returned for a case.

    `latency_s` is None when nobody measured it. `cached` means that no part of it was paid for in this
    run. `str(output)` is its text.
    """

    text: str = ""
    contexts: tuple[Context, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    messages: tuple[Message, ...] = ()
    usage: Usage = field(default_factory=Usage)
    latency_s: float | None = None
    error: Failure | None = None
    cached: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Sample:
    """What a metric sees: a case and the output for it. The properties are short cuts."""

    case: Case
    output: Output

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.case.inputs

    @property
    def expected(self) -> Any:
        return self.case.expected

    @property
    def relevant(self) -> Mapping[str, float] | None:
        return self.case.relevant

    @property
    def text(self) -> str:
        return self.output.text

    @property
    def contexts(self) -> tuple[Context, ...]:
        return self.output.contexts


@dataclass(frozen=True, slots=True)
class Score:
    """A number, or *unscored* (`value` is None) with the reason. An unscored case is never counted as 0."""

    value: float | None
    reason: str = ""

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """No number, because of `reason`."""
        return cls(None, reason)


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to do: a case, and which repeat of it (0 is the first)."""

    case: Case
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """One finished trial of a variant, with its scores by metric name."""

    variant: str
    case: Case
    output: Output
    repeat: int = 0
    scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric as reports show it: name, range (None is unbounded), direction, unit and a line of help."""

    name: str
    low: float | None = 0.0
    high: float | None = 1.0
    direction: Direction = "higher"
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """A variant as a run records it. `details` is what made it: prompt content id, model, options, file hashes."""

    name: str
    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


RunStatus = Literal["running", "finished", "interrupted", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """A gate's rule, where it applied, the value seen, and `pass`, `fail` or `undecided`.

    `strict` is False for a gate that lets pass what can't be decided: it is shown as undecided and sets no exit code.
    """

    rule: str
    variant: str
    outcome: Literal["pass", "fail", "undecided"]
    value: float | None = None
    detail: str = ""
    strict: bool = True


MetricKind = Literal["binary", "bounded", "ordinal", "preference", "number"]
Verdict = Literal["improved", "equivalent", "regressed", "inconclusive"]


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of a candidate against a baseline, paired by case.

    `diff`, `ci`, `lo_safe` and `margin` are gains in the metric's unit: above 0 is better, whatever its direction.
    `lo_safe` is the bound that "no meaningful drop" rests on, `margin` the biggest drop that is tolerated. `alpha` is
    the two-sided level this interval and verdict were made at, smaller than the wanted one at an early look. `mde` is
    the smallest drop these cases reliably show (80 % power), `n_needed` the cases that would show a drop of `margin`.
    `broke` and `fixed` are ids of cases, worst and best first. `unscored` counts pairs left out because a side has no
    score. `p_holm` is the p-value adjusted for all guard metrics, on a guard. `flaky` are
    those of `broke` and `fixed` that more answers did not bear out. `why` says what holds a verdict back.
    """

    info: MetricInfo
    kind: MetricKind
    n: int
    mean_a: float | None
    mean_b: float | None
    diff: float
    ci: tuple[float, float]
    p: float
    lo_safe: float
    method: str
    verdict: Verdict
    margin: float
    alpha: float = 0.05
    groups: int | None = None
    mde: float | None = None
    n_needed: int | None = None
    broke: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    errors_a: int = 0
    errors_b: int = 0
    unscored: int = 0
    guard: bool = False
    p_holm: float | None = None
    p_sign_flip: float | None = None
    flaky: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        return self.info.name


@dataclass(frozen=True, slots=True)
class SliceComparison:
    """A metric on the cases with one tag; `notable` after Benjamini-Hochberg over all slices. It never blocks."""

    tag: str
    metric: str
    n: int
    mean_a: float
    mean_b: float
    diff: float
    ci: tuple[float, float]
    p: float
    notable: bool = False


@dataclass(frozen=True, slots=True)
class Stopping:
    """Where a comparison in stages stands: look `look` of `looks`, at `cases` of `planned` cases."""

    look: int
    looks: int
    cases: int
    planned: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against a baseline, paired by case id; `metrics` in order, guards among them.

    `cases` counts paired cases, `only_a` and `only_b` name those that one side lacks. `pooled` counts the runs whose
    answers are in it.
    """

    baseline: str
    candidate: str
    cases: int
    metrics: tuple[MetricComparison, ...] = ()
    slices: tuple[SliceComparison, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    stopping: Stopping | None = None
    pooled: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The head of a run: everything that makes it reproducible. Times are ISO 8601 in UTC.

    `suite_hash` covers what decides the outputs and scores; `fingerprint` is the dataset's content hash.
    `status` is `stopped` when a budget ended the run, `interrupted` after Ctrl-C.
    `environment` holds git commit and dirty flag, package versions and Python's.
    """

    id: str
    suite: str
    suite_hash: str
    dataset: str
    fingerprint: str
    variants: tuple[VariantInfo, ...] = ()
    metrics: tuple[MetricInfo, ...] = ()
    baseline: str | None = None
    repeats: int = 1
    cases: int = 0
    seed: int | None = None
    status: RunStatus = "running"
    started_at: str = ""
    ended_at: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[GateOutcome, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    note: str = ""


@runtime_checkable
class Results(Protocol):
    """Results that can be read as often as wanted, a row at a time (a run need not fit in memory)."""

    def __iter__(self) -> Iterator[Result]: ...


class Backend(Protocol):
    """Completes messages. `identity` is every part of it that decides the answer (kind, address, model)."""

    @property
    def identity(self) -> Mapping[str, Any]: ...

    async def complete(self, request: Request) -> Completion:
        """The completion of `request`. Raises a `BackendError`; never retries, limits or caches itself."""
        ...


class StreamingBackend(Backend, Protocol):
    """A backend that can also stream."""

    def stream(self, request: Request) -> AsyncIterator[str | Completion]:
        """Pieces of text as they come, then one `Completion` with the whole."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def identity(self) -> Mapping[str, Any]: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


class Variant(Protocol):
    """What is evaluated. `info` says what it is; `answer` runs it on one trial."""

    @property
    def info(self) -> VariantInfo: ...

    async def answer(self, trial: Trial) -> Output:
        """The output for `trial`. Raises `BackendError` when there is none."""
        ...


class Metric(Protocol):
    """Scores one sample. May be sync or async; must not keep results."""

    @property
    def info(self) -> MetricInfo: ...

    def score(self, sample: Sample) -> Score | Awaitable[Score]: ...


class Prompt(Protocol):
    """A versioned template, as a variant sees it."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int | None:
        """The release's number; None for a working file."""
        ...

    @property
    def label(self) -> str:
        """The label it was found by, or empty."""
        ...

    @property
    def route(self) -> str:
        """The label that chose this version by its share of the traffic, or empty."""
        ...

    @property
    def reference(self) -> str:
        """What names exactly this prompt: `docs/answer@2`."""
        ...

    @property
    def content_id(self) -> str:
        """sha256 of everything that decides a rendering, 12 hex digits or more."""
        ...

    @property
    def model(self) -> str: ...

    @property
    def backend(self) -> Any:
        """The backend named in the front matter, in any of the three short forms, or None."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]: ...

    @property
    def output_schema(self) -> Mapping[str, Any] | None: ...

    def render(self, variables: Mapping[str, Any] | None = None, /, **values: Any) -> tuple[Message, ...]:
        """The messages. Variables by name or as a mapping. Raises `PromptError` on a missing or unknown one."""
        ...


@dataclass(frozen=True)
class Build:
    """What a factory may need to make a backend, variant or metric: where relative paths start, and the others.

    A factory that names its first parameter `build` gets this.
    """

    base: Path
    prompt: Callable[[str], Prompt]
    backend: Callable[[Any], Backend]
    where: str = ""
