"""Dollars per GPU-hour to dollars per million tokens: what a server of one's own costs.

A server costs the same whether it works or not, so a price for its tokens is a choice of who bears the idle time. Two
bases are told apart, in OpenCost's words: `allocation` spreads all that is paid over the tokens that were made,
`usage` only the share of the time in which the server was busy; the rest is shown as idle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from llmops.errors import InputError
from llmops.types import CostCertainty
from llmops.usage.money import NANOS
from llmops.usage.server_metrics import ServerMetrics, ServerSnapshot, difference

Method = Literal["flat", "split", "time_share"]
METHODS: tuple[Method, ...] = ("flat", "split", "time_share")
MILLION = 1_000_000
OUTPUT_INPUT_RATIO = Decimal(4)  # `output_input_cost_ratio` of the GKE Recommender API, when none is given
INPUT_SHARE = Decimal("0.75")  # three tokens read for one written, as Artificial Analysis blends the prices of APIs
_KEYS = (
    *("gpu_per_hour", "gpus", "method", "tokens_per_second", "utilisation", "output_input_ratio", "input_share"),
    *("input_tokens_per_second", "output_tokens_per_second"),
)
Number = Decimal | int | float


@dataclass(frozen=True, slots=True)
class ServerRates:
    """Dollars per million tokens read and written; cached tokens count as read.

    `method` and `basis` say how they came about, `ratio` is output's price over input's, `measured` whether tokens
    were counted by the server or only assumed in the settings. Always estimated: it is a share of a fixed cost.
    """

    input: Decimal
    output: Decimal
    method: Method
    basis: Literal["allocation", "usage"] = "allocation"
    ratio: Decimal = Decimal(1)
    measured: bool = False
    certainty: CostCertainty = "estimated"


@dataclass(frozen=True, slots=True)
class WindowCost:
    """What a server cost in a window, in nano-dollars. `allocation` is what was paid, and `usage` plus `idle`.

    Rates are dollars per million tokens, None without tokens. `busy_share` is an upper bound when it comes from
    request times, and the share of the stated `tokens_per_second` otherwise (`busy_from`); None when neither is known,
    and then everything counts as used.
    """

    metrics: ServerMetrics
    allocation: int
    usage: int
    idle: int
    busy_share: float | None
    busy_from: Literal["request times", "tokens per second", "unknown"]
    allocation_rates: ServerRates | None
    usage_rates: ServerRates | None
    gpus: float = 1.0

    @property
    def hours(self) -> float:
        return self.metrics.seconds / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours paid for, over all GPUs."""
        return self.hours * self.gpus


def flat_rate(gpu_per_hour: Number, gpus: Number, tokens_per_second: Number, utilisation: Number = 1) -> Decimal:
    """Dollars per million tokens, read or written alike: dollars an hour over tokens an hour.

    `gpu_per_hour × gpus / (tokens_per_second × 3600 × utilisation) × 10⁶`. Utilisation is the share of its best speed
    that the server makes on average, and decides most: 10 % costs ten times as much a token as 100 %.
    """
    tokens = _positive("tokens_per_second", tokens_per_second) * 3600 * _share("utilisation", utilisation)
    return _positive("gpu_per_hour", gpu_per_hour, zero=True) * _positive("gpus", gpus) / tokens * MILLION


def split_rates(
    dollars_per_second: Number,
    input_tokens_per_second: Number,
    output_tokens_per_second: Number,
    ratio: Number = OUTPUT_INPUT_RATIO,
) -> tuple[Decimal, Decimal]:
    """Dollars per million tokens read and written, when one written costs `ratio` times one read.

    `output = $/s ÷ (input tokens/s ÷ ratio + output tokens/s)`, `input = output ÷ ratio`: together exactly what the
    server costs. The method, and 4 as the ratio where nothing is measured, are GKE's inference recommender's.
    """
    r = _positive("output_input_ratio", ratio)
    read = _positive("input_tokens_per_second", input_tokens_per_second, zero=True)
    written = _positive("output_tokens_per_second", output_tokens_per_second, zero=True)
    weight = read / r + written
    if not weight:
        raise InputError("a server that made no tokens has no price per token")
    output = _positive("dollars_per_second", dollars_per_second, zero=True) / weight * MILLION
    return output / r, output


def measured_ratio(metrics: ServerMetrics) -> Decimal | None:
    """How much more time a written token took than a read one; None when one of them isn't known.

    Seconds of decoding a written token over seconds of prefill a read one (cached ones among them), as requests saw
    them: `(decode_s ÷ generation_tokens) ÷ (prefill_s ÷ prompt_tokens)`.
    """
    if not metrics.prefill_s or not metrics.decode_s or not metrics.prompt_tokens or not metrics.generation_tokens:
        return None
    decode, prefill = _decimal(metrics.decode_s), _decimal(metrics.prefill_s)
    return (decode / metrics.generation_tokens) / (prefill / metrics.prompt_tokens)


def time_shares(bill: int, seconds: Sequence[float]) -> list[int]:
    """A bill in nano-dollars shared among requests by their seconds of prefill and decoding; adds up to it exactly.

    Whole nano-dollars by largest remainder, earlier requests first. Raises `InputError` when no request took time.
    """
    weights = [Fraction(value) for value in seconds]
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise InputError("a bill can't be shared by time: no request took any")
    exact = [bill * weight / total for weight in weights]
    shares = [int(part) for part in exact]
    order = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
    for index in order[: bill - sum(shares)]:
        shares[index] += 1
    return shares


def break_even_tokens(
    fixed_per_month: Number, api_per_million: Number, marginal_per_million: Number = 0
) -> Decimal | None:
    """Tokens a month from which a server of one's own is cheaper than an API; None when it never is.

    `fixed dollars a month ÷ (the API's blended dollars a token − one's own marginal dollars a token)`.
    """
    saved = (_decimal(api_per_million) - _decimal(marginal_per_million)) / MILLION
    return _positive("fixed_per_month", fixed_per_month, zero=True) / saved if saved > 0 else None


def rates_of(server: Mapping[str, Any], metrics: ServerMetrics | None = None, *, where: str = "") -> ServerRates:
    """Dollars per million tokens of a server as a price file describes it (`servers:`), on the allocation basis.

    With `metrics` the tokens are those the server counted, and the ratio is measured unless the file gives one; else
    they are `tokens_per_second × utilisation`, of which `input_share` (0.75) is read. `time_share` divides a bill among
    requests that are over; what a token costs on average is then `split` with the measured ratio. Raises `InputError`.
    """
    try:
        return _rates(_checked(server), metrics)
    except InputError as error:
        error.where = error.where or where
        raise


def check_server(server: Mapping[str, Any], *, where: str = "") -> None:
    """Raises `InputError` for a server with unknown names or values that can't be; it may still lack some."""
    try:
        _checked(server)
    except InputError as error:
        error.where = error.where or where
        raise


def window_cost(before: ServerSnapshot, after: ServerSnapshot, server: Mapping[str, Any]) -> WindowCost:
    """What `server` cost between two readings of its metrics: paid, used, idle, and dollars per million tokens of both.

    Raises `InputError` when the readings don't belong together or `server` is incomplete.
    """
    known = _checked(server)
    metrics = difference(before, after)
    paid = round(dollars_per_second(known) * _decimal(metrics.seconds) * NANOS)
    busy, source = _busy(known, metrics)
    used = paid if busy is None else min(paid, round(paid * Fraction(busy)))
    rates = _rates(known, metrics) if metrics.total_tokens else None
    share = Decimal(used) / paid if paid else Decimal(1)
    used_rates = rates and ServerRates(
        rates.input * share, rates.output * share, rates.method, "usage", rates.ratio, measured=True
    )
    gpus = float(known.get("gpus", 1))
    return WindowCost(metrics, paid, used, paid - used, busy, source, rates, used_rates, gpus)


def dollars_per_second(server: Mapping[str, Any]) -> Decimal:
    """What a server costs a second, used or not."""
    hourly = _positive("gpu_per_hour", server.get("gpu_per_hour"), zero=True)
    return hourly * _positive("gpus", server.get("gpus", 1)) / 3600


def _rates(server: Mapping[str, Any], metrics: ServerMetrics | None) -> ServerRates:
    method: Method = server.get("method", "flat")
    cost = dollars_per_second(server)
    if metrics is not None:
        window = _decimal(metrics.seconds)
        read, written = metrics.prompt_tokens / window, metrics.generation_tokens / window
    else:
        read, written = _assumed_speeds(server)
    if method == "flat":
        rate = split_rates(cost, read, written, 1)[0]
        return ServerRates(rate, rate, "flat", measured=metrics is not None)
    ratio = _ratio(server, metrics)
    return ServerRates(*split_rates(cost, read, written, ratio), method, ratio=ratio, measured=metrics is not None)


def _ratio(server: Mapping[str, Any], metrics: ServerMetrics | None) -> Decimal:
    """The measured one for `time_share`; for `split` the one that is written, else measured, else assumed."""
    found = None if metrics is None else measured_ratio(metrics)
    given = server.get("output_input_ratio")
    if given is not None and (found is None or server.get("method") == "split"):
        return _positive("output_input_ratio", given)
    return OUTPUT_INPUT_RATIO if found is None else found


def _assumed_speeds(server: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """Tokens read and written a second on average, as the settings say."""
    names = ("input_tokens_per_second", "output_tokens_per_second")
    if server.get("utilisation") is None:
        hint = "give utilisation: 0.4, or the server's metrics; it decides the price more than all else"
        raise InputError("a server's utilisation isn't known", hint=hint)
    share = _share("utilisation", server["utilisation"])
    if all(server.get(name) is not None for name in names):
        read, written = (_positive(name, server[name], zero=True) * share for name in names)
        return read, written
    if server.get("tokens_per_second") is None:
        raise InputError("a server's tokens_per_second isn't known", hint="measure it under load, or give its metrics")
    speed = _positive("tokens_per_second", server["tokens_per_second"]) * share
    read_share = _decimal(server.get("input_share", INPUT_SHARE))
    return speed * read_share, speed * (1 - read_share)


def _busy(server: Mapping[str, Any], metrics: ServerMetrics) -> tuple[float | None, Any]:
    """The busy share: of the stated best speed where there is one, else the time that requests took."""
    if server.get("tokens_per_second") is not None:
        most = float(server["tokens_per_second"]) * metrics.seconds
        return min(1.0, metrics.total_tokens / most), "tokens per second"
    share = metrics.busy_share
    return share, "unknown" if share is None else "request times"


def _checked(server: Mapping[str, Any]) -> Mapping[str, Any]:
    """`server`, once its names and kinds of values are right."""
    from llmops.errors import did_you_mean

    for key in server:
        if key not in _KEYS:
            raise InputError(f"a server has no {key!r}", hint=did_you_mean(str(key), _KEYS))
    if server.get("method", "flat") not in METHODS:
        raise InputError(f"method is {server['method']!r}", hint=f"one of {', '.join(METHODS)}")
    if server.get("gpu_per_hour") is None:
        raise InputError("a server's gpu_per_hour isn't known", hint="the dollars that one GPU costs an hour")
    for key in _KEYS:
        if key != "method" and server.get(key) is not None:
            share = key in ("utilisation", "input_share")
            _share(key, server[key]) if share else _positive(key, server[key], zero=key == "gpu_per_hour")
    return server


def _positive(name: str, value: Any, *, zero: bool = False) -> Decimal:
    number = _decimal(value, name)
    if not number.is_finite() or number < 0 or (not number and not zero):
        raise InputError(f"{name} is {value!r}, not a number above 0"[:120])
    return number


def _share(name: str, value: Any) -> Decimal:
    number = _positive(name, value, zero=name == "input_share")
    if number > 1:
        raise InputError(f"{name} is {value!r}, not a share from 0 to 1"[:120])
    return number


def _decimal(value: Any, name: str = "a number") -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{name} is {value!r}, not a number"[:120])
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))
