"""What a vLLM server counted: its Prometheus text read, and the difference of two readings."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from llmops.errors import BadResponseError, InputError
from llmops.http import HttpClient, check_url, refused

# Names as vLLM 0.32 writes them; a counter's `_total` and a histogram's `_sum` are of the text format.
COUNTERS = {
    "prompt_tokens": "vllm:prompt_tokens_total",
    "cached_tokens": "vllm:prompt_tokens_cached_total",
    "generation_tokens": "vllm:generation_tokens_total",
    "requests": "vllm:request_success_total",
    "prefill_s": "vllm:request_prefill_time_seconds_sum",
    "decode_s": "vllm:request_decode_time_seconds_sum",
    "queue_s": "vllm:request_queue_time_seconds_sum",
}
_NEEDED = ("prompt_tokens", "generation_tokens")
_STARTED = "process_start_time_seconds"
_GAUGES = {"running": "vllm:num_requests_running", "waiting": "vllm:num_requests_waiting"}
_SAMPLE = re.compile(
    r"[ \t]*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(?:\{(?P<labels>(?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?"
    r"[ \t]+(?P<value>[^ \t]+)(?:[ \t]+-?[0-9.]+)?[ \t]*(?:#.*)?"
)
_LABEL = re.compile(r"[ \t]*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*\"(?P<value>(?:[^\"\\]|\\.)*)\"[ \t]*(?:,|$)")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?inf(?:inity)?|nan", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


class MetricSample(NamedTuple):
    """One line of Prometheus text: a metric's name, its labels, its value."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """What a server had counted at a Unix time (`at`, seconds), since it started. Times of requests in seconds.

    `started_at` is when its process began, where it says so. What an older server doesn't count is None.
    """

    at: float
    prompt_tokens: float
    generation_tokens: float
    cached_tokens: float | None = None
    requests: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    queue_s: float | None = None
    running: float = 0.0
    waiting: float = 0.0
    started_at: float | None = None

    def as_data(self) -> dict[str, float | None]:
        """Plain data, for a file."""
        return asdict(self)

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> ServerSnapshot:
        """What `as_data` gave. Raises `InputError`."""
        numbers = all(value is None or type(value) in (int, float) for value in data.values())
        if not numbers or not {field.name for field in fields(cls)} >= set(data) >= {"at", *_NEEDED}:
            raise InputError("this isn't a reading of a server's metrics")
        return cls(**data)


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """What a server did in a window of `seconds`.

    `prefill_s` and `decode_s` add up over requests that ended in the window: two at the same time count twice. They
    are None when the server doesn't measure them.
    """

    seconds: float
    prompt_tokens: int
    generation_tokens: int
    cached_tokens: int | None = None
    requests: int | None = None
    prefill_s: float | None = None
    decode_s: float | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.generation_tokens

    @property
    def busy_share(self) -> float | None:
        """The share of the window in which anything was computed, at most; None when it isn't known.

        The time of all requests over the window: what ran side by side counts twice, so the truth is at most this.
        """
        if self.prefill_s is None or self.decode_s is None:
            return None
        return min(1.0, (self.prefill_s + self.decode_s) / self.seconds)


def parse_metrics(text: str) -> list[MetricSample]:
    """Every sample in Prometheus text (format 0.0.4; OpenMetrics' exemplars are passed over).

    Raises `BadResponseError` with the number of a line that is neither a sample nor a comment.
    """
    found: list[MetricSample] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        labels = None if match is None else _labels(match["labels"] or "")
        if match is None or labels is None or not _NUMBER.fullmatch(match["value"]):
            raise BadResponseError(f"line {number} of the metrics isn't Prometheus text")
        found.append(MetricSample(match["name"], labels, float(match["value"])))
    return found


def _labels(text: str) -> dict[str, str] | None:
    labels: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            return labels if not text[position:].strip(" \t,") and labels else None
        labels[match["name"]] = _ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[0]), match["value"])
        position = match.end()
    return labels


def snapshot_of(text: str, at: float, *, model: str = "") -> ServerSnapshot:
    """The counters of vLLM's `/metrics`, added up over engines, and over models unless `model` is given.

    Raises `BadResponseError` when the text isn't Prometheus' or holds no counters of vLLM.
    """
    sums: dict[str, float] = {}
    for name, labels, value in parse_metrics(text):
        if model and labels.get("model_name", model) != model:
            continue
        if not math.isfinite(value):
            continue
        sums[name] = sums.get(name, 0.0) + value
    found = {key: _counted(sums, name) for key, name in COUNTERS.items()}
    missing = [COUNTERS[key] for key in _NEEDED if found[key] is None]
    if missing:
        of = f" of model {model}" if model else ""
        raise BadResponseError(f"the metrics hold no {missing[0]}{of}", hint="is it a vLLM server?")
    gauges = {key: sums.get(name, 0.0) for key, name in _GAUGES.items()}
    return ServerSnapshot(at=at, started_at=sums.get(_STARTED), **gauges, **found)  # type: ignore[arg-type]


def _counted(sums: Mapping[str, float], name: str) -> float | None:
    """A counter by its name, or without the `_total` that some collectors leave away."""
    return sums.get(name, sums.get(name.removesuffix("_total")))


def difference(before: ServerSnapshot, after: ServerSnapshot) -> ServerMetrics:
    """What happened between two readings. Raises `InputError` when the server started anew, or no time has passed."""
    seconds = after.at - before.at
    if seconds <= 0:
        raise InputError("the second reading of the metrics isn't later than the first")
    if before.started_at != after.started_at or any(
        (getattr(after, name) or 0.0) < (getattr(before, name) or 0.0) for name in COUNTERS
    ):
        raise InputError("the server started anew between the two readings", hint="read its metrics twice again")

    def passed(name: str) -> float | None:
        first, last = getattr(before, name), getattr(after, name)
        return None if first is None or last is None else last - first

    return ServerMetrics(
        seconds=seconds,
        prompt_tokens=round(after.prompt_tokens - before.prompt_tokens),
        generation_tokens=round(after.generation_tokens - before.generation_tokens),
        cached_tokens=_rounded(passed("cached_tokens")),
        requests=_rounded(passed("requests")),
        prefill_s=passed("prefill_s"),
        decode_s=passed("decode_s"),
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def metrics_url(base_url: str) -> str:
    """Where the metrics of an OpenAI-compatible server are: `/metrics` beside its `/v1`. Raises `InputError`."""
    url, _, _ = check_url(base_url, what="base_url").partition("?")
    url = url.rstrip("/")
    return url if url.endswith("/metrics") else url.removesuffix("/v1").rstrip("/") + "/metrics"


async def scrape(
    base_url: str,
    *,
    model: str = "",
    headers: Callable[[], Mapping[str, str]] = dict,
    timeout_s: float = 10.0,
    clock: Callable[[], float] = time.time,
) -> ServerSnapshot:
    """The counters of the vLLM server at `base_url` now. Raises `BackendError`."""
    from yarl import URL

    url = metrics_url(base_url)
    client = HttpClient(headers, connect_timeout_s=timeout_s, read_timeout_s=timeout_s)
    try:
        answer = await client.send("GET", URL(url), b"")
    finally:
        await client.aclose()
    if answer.status != 200:
        raise refused(answer.status, answer.headers, answer.body, url=url)
    try:
        return snapshot_of(answer.body.decode("utf-8", "replace"), clock(), model=model)
    except BadResponseError as error:
        error.where = error.where or url
        raise
