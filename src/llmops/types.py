"""The nouns of llmops and the protocols adapters meet through. Standard library only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Message = Mapping[str, Any]
"""One chat message in OpenAI's shape: `role`, `content`, and for tools `tool_calls` or `tool_call_id`."""

TokenCertainty = Literal["exact", "estimated", "unknown"]
CostCertainty = Literal["exact", "estimated", "unpriced"]
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

    `input_tokens` includes cache reads and writes; `output_tokens` includes reasoning; both include audio.
    `cache_write_tokens` includes those kept for an hour. `images` counts pictures made. `certainty` is
    `exact` when the server counted, `estimated` when we did, `unknown` when nobody could.

    `cost` is in nano-dollars (10⁻⁹ $), of the requests that have a price; None when none has. `unpriced` counts
    requests that have none, `estimated_cost` says that some of `cost` rests on estimated tokens or an estimated price.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    certainty: TokenCertainty = "unknown"
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    images: int = 0
    cost: int | None = None
    unpriced: int = 0
    estimated_cost: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        if not self.requests and not self.total_tokens and self.cost is None and not self.unpriced:
            return other
        if not other.requests and not other.total_tokens and other.cost is None and not other.unpriced:
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
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.audio_input_tokens + other.audio_input_tokens,
            self.audio_output_tokens + other.audio_output_tokens,
            self.images + other.images,
            None if self.cost is None and other.cost is None else (self.cost or 0) + (other.cost or 0),
            self.unpriced + other.unpriced,
            self.estimated_cost or other.estimated_cost,
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
    """What a backend answered. Times in seconds; `cached` marks an answer that was not paid for.

    `backend` is the name of the one that answered, `response_id` the server's own id (never ours: they repeat),
    `service_tier` what the server says it was served as, `reported_cost` what it says it costs, in nano-dollars.
    """

    text: str
    usage: Usage = field(default_factory=Usage)
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    model: str = ""
    latency_s: float | None = None
    first_token_s: float | None = None
    cached: bool = False
    backend: str = ""
    response_id: str = ""
    service_tier: str = ""
    reported_cost: int | None = None


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


Purpose = Literal["app", "eval", "judge", "guard"]
CallOutcome = Literal["pending", "success", "error", "timeout", "cancelled", "abandoned", "unsent"]
CallState = Literal["pending", "settled", "estimated", "unknown"]
BudgetUnit = Literal["nanodollars", "tokens", "requests"]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom a call is for. `prompt` is `name@version` or a working file's name, `prompt_id` its content id.

    `team`, `feature`, `user` and `tags` are the caller's own words. `fallback_from` names the backend that failed
    before this one was asked.
    """

    purpose: Purpose = "app"
    run: str = ""
    suite: str = ""
    variant: str = ""
    prompt: str = ""
    prompt_id: str = ""
    team: str = ""
    feature: str = ""
    user: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    fallback_from: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars of one call, in nano-dollars (10⁻⁹ $). The parts add up to `total` exactly.

    `input` is input that was neither read from nor written to a cache, `output` is output without reasoning that has
    a price of its own, `fees` are per request, image and the like. `source` says whose price it is (`reported` is the
    provider's own figure), `price` which entry, `revision` the hash of the price book. `certainty` is `estimated`
    when tokens are, or when the entry is not of exactly this model.
    """

    total: int
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    fees: int = 0
    certainty: CostCertainty = "exact"
    source: str = ""
    price: str = ""
    revision: str = ""


_NOBODY, _NO_USAGE = Attribution(), Usage()


@dataclass(frozen=True, slots=True)
class Call:
    """One row of the request log: a request to a model, from when it is sent until it is settled.

    `started_at` is a Unix time in seconds. `backend` is the name it has in the project, `provider` who runs it
    (`openai`, `anthropic`, `vllm`, …), `address` the server's host and port. `state` says how sure the tokens are:
    `pending` until there is an answer, `settled` as the server counted, `estimated` as we did, `unknown` when nobody
    could. `outcome` `unsent` is a call that never reached the server. `cost` is None when there is no price or nothing
    to multiply it with. `attempt` counts from 1. `guards` holds decisions of guards by check. `error` is an error's
    kind, such as `rate_limited`. `operation` (`chat`, `embeddings`) is for exporters and not kept in the log.
    """

    id: str
    started_at: float
    backend: str = ""
    provider: str = ""
    address: str = ""
    model_asked: str = ""
    model_served: str = ""
    attribution: Attribution = _NOBODY
    outcome: CallOutcome = "pending"
    state: CallState = "pending"
    usage: Usage = _NO_USAGE
    cost: Cost | None = None
    first_token_s: float | None = None
    duration_s: float | None = None
    finish_reason: str = ""
    response_id: str = ""
    service_tier: str = ""
    error: str = ""
    attempt: int = 1
    stream: bool = False
    guards: tuple[tuple[str, str], ...] = ()
    operation: str = field(default="chat", compare=False)


@dataclass(frozen=True, slots=True)
class CallText:
    """What was said in a call: kept only where a project asks for it, apart from the calls."""

    messages: tuple[Message, ...]
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call may use at worst of one budget's window, set aside before it is sent.

    `window` names budget and window (`team=search/2026-12-01`). A `hard` hold that doesn't fit into `limit` refuses
    the call; another is only counted.
    """

    window: str
    unit: BudgetUnit
    limit: int
    amount: int
    hard: bool = True


class CallLog(Protocol):
    """Where calls are written; `llmops.store.call_writer` has the real one. Every method raises `StoreError`."""

    async def begin(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """Returns when the row is committed, so that a call that is sent is never missing.

        Raises `BudgetExceededError` when a hard hold doesn't fit: then nothing is written.
        """
        ...

    def begin_now(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """The same for threads without an event loop."""
        ...

    def settle(self, call: Call, holds: tuple[Hold, ...] = (), text: CallText | None = None) -> None:
        """Hand over how a call ended; written soon. `holds` are replaced by what `call` used. Waits only when full."""
        ...

    def discard(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """A call that was begun and never sent: its holds are given back, its row stays as `unsent`."""
        ...

    def flush(self, timeout_s: float = 30) -> None:
        """Wait until everything handed over is committed."""
        ...


class CallSink(Protocol):
    """Told of every settled call: an exporter. Must not wait and must not raise."""

    def record(self, call: Call, text: CallText | None) -> None: ...


class Pricer(Protocol):
    """Puts a price on usage; `llmops.usage.price_book` has the real one."""

    def cost(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        asked: str = "",
        backend: str = "",
        at: float | None = None,
        service_tier: str = "",
    ) -> Cost | None:
        """The cost of one request's usage at a Unix time (None: now), or None without a price. Never raises.

        `model` is the one that served, and `asked` the one that was asked for, where that is known.
        """
        ...


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
