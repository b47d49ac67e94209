"""What one model costs: rates by class of token, and the exact charge for a request.

Rates are `Decimal` dollars per million tokens. A charge is a sum of whole numbers (tokens times rates brought to one
power of ten), so nothing is lost before the one rounding to a nano-dollar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from operator import mul
from typing import Any, NamedTuple

from llmops.types import Usage
from llmops.usage.money import rounded_parts

CLASSES = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "output",
    "reasoning",
    "audio_output",
    "per_request",
    "per_image",
)
STANDARD = "standard"
_STANDS_IN = {  # whose rate is charged for a class that has none of its own
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}
_TIER_NAMES = {
    **dict.fromkeys(("", "default", "auto", "standard", "standard_only", "on_demand", "on-demand"), STANDARD),
    **dict.fromkeys(("batch", "batches"), "batch"),
}


def tier_name(service_tier: str, provider: str = "") -> str:
    """One name for a service tier, whatever a provider calls it: `default` and `on_demand` are `standard`.

    OpenAI's `fast` is its `priority`, as it was called until July 2026 (openai.com/api-fast-mode); Anthropic's is not.
    """
    name = _TIER_NAMES.get(service_tier)
    if name is None:
        name = _TIER_NAMES.get(service_tier.strip().lower(), service_tier.strip().lower())
    return "priority" if name == "fast" and provider == "openai" else name


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens by class; `per_request` and `per_image` are dollars each. None has no rate.

    A class without a rate is charged as what it is part of: cached and audio input as input, an hour's cache write as
    a cache write, audio output as output. Such a charge is estimated; reasoning without a rate is output, which is
    what providers say it is. `guessed` names classes whose rate isn't quite the published one.
    """

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    audio_output: Decimal | None = None
    per_request: Decimal | None = None
    per_image: Decimal | None = None
    guessed: frozenset[str] = frozenset()
    scaled: tuple[int, ...] = field(init=False, repr=False, compare=False)
    unit: int = field(init=False, repr=False, compare=False)
    doubtful: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        charged: dict[str, Decimal | None] = {name: getattr(self, name) for name in CLASSES}
        doubtful = set(self.guessed)
        for name, other in _STANDS_IN.items():
            if charged[name] is None:
                charged[name] = charged[other]
                if name != "reasoning":
                    doubtful.add(name)
        values = [charged[name] or Decimal() for name in CLASSES]
        places = max(3, *(max(0, -int(value.as_tuple().exponent)) for value in values))
        whole = [int(value.scaleb(places)) for value in values]
        whole[8], whole[9] = whole[8] * 10**6, whole[9] * 10**6  # a fee is a million times its "rate per million"
        object.__setattr__(self, "scaled", tuple(whole))
        object.__setattr__(self, "unit", 10 ** (places - 3))
        object.__setattr__(self, "doubtful", tuple(i for i, name in enumerate(CLASSES) if name in doubtful))

    @classmethod
    def of(cls, values: Mapping[str, Any], guessed: Iterable[str] = ()) -> Rates:
        """Rates from numbers or text by class; floats are taken as the shortest decimal that they stand for."""
        return cls(
            **{name: exact(value) for name, value in values.items() if value is not None}, guessed=frozenset(guessed)
        )

    def given(self) -> dict[str, Decimal]:
        """The rates that the source states, by class."""
        return {name: rate for name in CLASSES if (rate := getattr(self, name)) is not None}


def exact(value: Decimal | float | str) -> Decimal:
    """The decimal number a rate was written as. Kept to 18 places, in case it comes from a division."""
    made = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    if not made.is_finite() or made < 0:
        raise ValueError(f"{value!r} isn't a rate")
    return made if int(made.as_tuple().exponent) >= -18 else made.quantize(Decimal("1e-18"))


class Step(NamedTuple):
    """Rates for requests of more than `above` input tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Card:
    """Every rate of a model at one time: by service tier, steps by input tokens from the highest down."""

    services: Mapping[str, tuple[Step, ...]]

    def rates(self, input_tokens: int, service: str = STANDARD) -> tuple[Rates, bool]:
        """The rates that hold for the whole request, and whether the service tier has any of its own."""
        steps = self.services.get(service)
        for step in steps or self.services[STANDARD]:
            if input_tokens > step.above:
                return step.rates, steps is not None
        return (steps or self.services[STANDARD])[-1].rates, steps is not None

    @property
    def base(self) -> Rates:
        """The rates of a short request at the standard tier."""
        return self.services[STANDARD][-1].rates


Table = Mapping[tuple[str, int], Mapping[str, Any]]


def make_card(table: Table, *, keeps: bool) -> Card:
    """A card from the rates a source states by (service tier, above how many input tokens; 0 for all).

    A class that a step doesn't name keeps the rate of the step below. A class that a service tier doesn't name keeps
    the standard one: exactly, if `keeps` says that the source means it so, else as a guess. Where the standard tier
    has a step up that the service tier doesn't name, the standard step is charged, as a guess that isn't too low.
    """
    services = {}
    for service in dict.fromkeys((STANDARD, *(name for name, _ in table))):
        steps = []
        for above in sorted({0, *(a for name, a in table if name in (service, STANDARD))}, reverse=True):
            found = {name: _stated(table, service, above, name, keeps) for name in CLASSES}
            values = {name: value for name, (value, _) in found.items()}
            steps.append(Step(above, Rates.of(values, [name for name, (_, guess) in found.items() if guess])))
        services[service] = tuple(steps)
    return Card(services)


def _stated(table: Table, service: str, above: int, name: str, keeps: bool) -> tuple[Any, bool]:
    """A class's rate at a step of a service tier, and whether it is a guess."""
    for step in sorted({a for _, a in table if a <= above} | {0}, reverse=True):
        own = table.get((service, step), {}).get(name)
        if own is not None:
            return own, False
        standard = table.get((STANDARD, step), {}).get(name)
        if standard is not None:
            return standard, service != STANDARD and (step > 0 or not keeps)
    return None, False


class Charge(NamedTuple):
    """Nano-dollars of a request: `total` and its parts, and whether anything about them was assumed."""

    total: int
    parts: tuple[int, ...]  # input, cache read, cache write, output, reasoning, fees
    assumed: bool


class Counts(NamedTuple):
    """Tokens of a request that no two classes share, in the order of `CLASSES`, and whether they had to be mended."""

    classes: tuple[int, ...]
    input_tokens: int
    mended: bool


def counts_of(usage: Usage) -> Counts:
    """Tokens by class, each counted once.

    Counts that can't be (negative, more cached tokens than input, more reasoning than output) are mended so that every
    token that was reported is charged once: cached and reasoning tokens as reported, none left for plain ones.
    """
    values: tuple[int, ...] = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
        usage.audio_input_tokens,
        usage.audio_output_tokens,
        usage.images,
    )
    mended = False
    if {*map(type, values)} != {int} or min(values) < 0:
        values, mended = tuple(map(_count, values)), True
    given, output, read, write, hour, reasoning, audio_in, audio_out, images = values
    if hour > write:
        write, mended = hour, True
    plain = given - read - write
    spoken = output - reasoning
    if plain < 0 or spoken < 0:
        plain, spoken, mended = max(plain, 0), max(spoken, 0), True
    if audio_in > plain or audio_out > spoken:
        audio_in, audio_out, mended = min(audio_in, plain), min(audio_out, spoken), True
    classes = (
        plain - audio_in,
        read,
        write - hour,
        hour,
        audio_in,
        spoken - audio_out,
        reasoning,
        audio_out,
        1,
        images,
    )
    return Counts(classes, max(given, read + write), mended)


def _count(value: Any) -> int:
    try:
        return max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def charge(counts: Counts, rates: Rates) -> Charge | None:
    """What a request costs at these rates; None when they lack the rate of something that was used."""
    classes = counts.classes
    if (rates.input is None or rates.output is None) and _lacking(classes, rates):
        return None
    paid = map(mul, classes, rates.scaled)
    plain, read, write, hour, audio_in, output, reasoning, audio_out, requests, images = paid
    own = rates.reasoning is not None
    amounts = (
        plain + audio_in,
        read,
        write + hour,
        output + audio_out + (0 if own else reasoning),
        reasoning if own else 0,
        requests + images,
    )
    total, parts = rounded_parts(amounts, rates.unit)
    assumed = counts.mended
    for index in rates.doubtful:
        if classes[index]:
            assumed = True
    if classes[4] and classes[1] + classes[2] + classes[3] and rates.scaled[4] != rates.scaled[0]:
        assumed = True  # nobody says how much of the cached input is audio
    if classes[9] and (rates.per_image is None or (classes[5] and rates.output)):
        assumed = True  # pictures are paid as tokens of an unknown kind, or both as tokens and apiece
    return Charge(total, tuple(parts), assumed)


def _lacking(classes: tuple[int, ...], rates: Rates) -> bool:
    """True when something was used that only a rate that isn't there could price."""
    by_piece = rates.per_request is not None or (rates.per_image is not None and classes[9] > 0)
    if rates.input is None and rates.output is None:
        return not by_piece
    used_input, used_output = sum(classes[:5]), sum(classes[5:8])
    return (rates.input is None and used_input > 0 and not by_piece) or (
        rates.output is None and used_output > 0 and not (rates.per_image is not None and classes[9] > 0)
    )


def worst_case(usage: Usage, card: Card, service: str = STANDARD) -> int | None:
    """The most that a request can cost with at most these input and output tokens, however they split into classes.

    In nano-dollars, rounded up; over every step that so many input tokens can reach, at the standard service tier and
    the given one. None when a rate is missing.
    """
    counts = counts_of(usage)
    given, output = counts.input_tokens, sum(counts.classes[5:8])
    worst = 0
    for name in {STANDARD, service}:
        for above, rates in card.services.get(name, ()):
            if above and given <= above:
                continue
            if (rates.input is None or rates.output is None) and _lacking(counts.classes, rates):
                return None
            scaled = rates.scaled
            amount = given * max(scaled[:5]) + output * max(scaled[5:8]) + scaled[8] + counts.classes[9] * scaled[9]
            worst = max(worst, -(-amount // rates.unit))
    return worst
