"""Calls as sums and histograms: OpenTelemetry's client metrics, added up in the process. Standard library only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llmops.telemetry import semconv
from llmops.telemetry.spans import Value, cost_status, error_type, request_attributes
from llmops.types import Call

Attributes = tuple[tuple[str, Value], ...]
SETS = 2_000
_OVERFLOW: Attributes = ((semconv.OVERFLOW, True),)
_EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric. A histogram has `bounds`, a counter none. Counters add integers: `scale` of them are one `unit`."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...] = ()
    scale: int = 1


def _tokens(name: str, description: str) -> Instrument:
    return Instrument(name, "{token}", description)


def _seconds(name: str, description: str) -> Instrument:
    return Instrument(name, "s", description, semconv.SECOND_BOUNDS)


TOKEN_USAGE = Instrument(semconv.TOKEN_USAGE, "{token}", "Input and output tokens of a call.", semconv.TOKEN_BOUNDS)
OPERATION_DURATION = _seconds(semconv.OPERATION_DURATION, "Duration of a call.")
OPERATION_FIRST_CHUNK = _seconds(semconv.OPERATION_FIRST_CHUNK, "Time to the first chunk of a streamed call.")
INFERENCE_DURATION = _seconds(semconv.INFERENCE_DURATION, "Duration of a call.")
INFERENCE_FIRST_CHUNK = _seconds(semconv.INFERENCE_FIRST_CHUNK, "Time to the first chunk of a streamed call.")
USAGE_INPUT = _tokens(semconv.USAGE_INPUT, "Input tokens, cached ones included.")
USAGE_OUTPUT = _tokens(semconv.USAGE_OUTPUT, "Output tokens, reasoning included.")
USAGE_CACHE_READ = _tokens(semconv.USAGE_CACHE_READ, "Input tokens that were read from a cache.")
USAGE_CACHE_WRITE = _tokens(semconv.USAGE_CACHE_WRITE, "Input tokens that were written to a cache.")
USAGE_REASONING = _tokens(semconv.USAGE_REASONING, "Output tokens that were reasoning.")
COST = Instrument(semconv.CLIENT_COST, "{USD}", "Dollars of calls that have a price.", scale=10**9)
CALLS = Instrument(semconv.CLIENT_CALLS, "{call}", "Calls, by how sure their dollars are.")

Measurement = tuple[Instrument, Attributes, int | float]


def measurements(call: Call) -> Iterator[Measurement]:
    """What one settled call adds to each metric; nothing to those that it has no figure for.

    Attributes have few values each: none names a user, a run or a call.
    """
    asked = tuple((name, value) for name, value in request_attributes(call) if value is not None and value != "")
    known = (*asked, (semconv.RESPONSE_MODEL, call.model_served)) if call.model_served else asked
    yield from _durations(call, known)
    if call.usage.certainty != "unknown":
        yield from _token_measurements(call, known)
    own = (*known, (semconv.PURPOSE, call.attribution.purpose))
    status = cost_status(call)
    yield CALLS, (*own, (semconv.COST_STATUS, status)) if status else own, 1
    if call.cost is not None:
        yield COST, (*own, (semconv.COST_STATUS, status)), call.cost.total


def _durations(call: Call, known: Attributes) -> Iterator[Measurement]:
    infers = call.operation != _EMBEDDINGS
    error = error_type(call)
    if call.duration_s is not None:
        ended = (*known, (semconv.ERROR_TYPE, error)) if error else known
        yield OPERATION_DURATION, ended, call.duration_s
        if infers:
            yield INFERENCE_DURATION, ended, call.duration_s
    if call.stream and call.first_token_s is not None:
        yield OPERATION_FIRST_CHUNK, known, call.first_token_s
        yield INFERENCE_FIRST_CHUNK, known, call.first_token_s


def _token_measurements(call: Call, known: Attributes) -> Iterator[Measurement]:
    usage = call.usage
    if usage.total_tokens or not error_type(call):  # a refused call would pull percentiles down to 0
        yield TOKEN_USAGE, (*known, (semconv.TOKEN_TYPE, "input")), usage.input_tokens
        if call.operation != _EMBEDDINGS:
            yield TOKEN_USAGE, (*known, (semconv.TOKEN_TYPE, "output")), usage.output_tokens
    if call.operation == _EMBEDDINGS:
        return
    unknown, audio = ((*known, (semconv.TOKEN_MODALITY, modality)) for modality in ("unknown", "audio"))
    counted = (
        (USAGE_INPUT, unknown, usage.input_tokens - usage.audio_input_tokens),
        (USAGE_INPUT, audio, usage.audio_input_tokens),
        (USAGE_OUTPUT, unknown, usage.output_tokens - usage.audio_output_tokens),
        (USAGE_OUTPUT, audio, usage.audio_output_tokens),
        (USAGE_CACHE_READ, unknown, usage.cache_read_tokens),
        (USAGE_CACHE_WRITE, unknown, usage.cache_write_tokens),
        (USAGE_REASONING, unknown, usage.reasoning_tokens),
    )
    yield from (one for one in counted if one[2])


@dataclass(slots=True)
class Point:
    """What one set of attributes came to. `buckets`, `least` and `most` are of histograms."""

    total: int | float = 0
    count: int = 0
    buckets: list[int] = field(default_factory=list)
    least: float = 0
    most: float = 0

    def add(self, value: int | float, bounds: Sequence[float]) -> None:
        if bounds:
            self.buckets = self.buckets or [0] * (len(bounds) + 1)
            self.buckets[bisect_left(bounds, value)] += 1  # a bound belongs to the bucket below it
            self.least = min(self.least, value) if self.count else value
            self.most = max(self.most, value) if self.count else value
        self.total += value
        self.count += 1


Points = dict[Instrument, dict[Attributes, Point]]


class Aggregate:
    """Metrics of many calls. For one thread.

    The first `sets` sets of attributes of a metric are kept apart, what comes after is one: OpenTelemetry's overflow
    attribute marks it. So a server that makes up names of models can't fill the memory, and sums stay whole.
    """

    def __init__(self, sets: int = SETS) -> None:
        self._sets = sets
        self.points: Points = {}

    def add(self, call: Call) -> None:
        """Count one settled call."""
        for instrument, attributes, value in list(measurements(call)):  # all of a call, or nothing
            points = self.points.setdefault(instrument, {})
            point = points.get(attributes)
            if point is None:
                kept = attributes if len(points) < self._sets - 1 else _OVERFLOW
                point = points.setdefault(kept, Point())
            point.add(value, instrument.bounds)
