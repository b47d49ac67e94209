"""What calls cost, to the last nano-dollar: every figure here is computed by hand from published prices.

A price of $2.50 per million tokens is 2,500 nano-dollars a token, so costs are written as tokens times nano-dollars.
"""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.types import Usage
from llmops.usage.money import decimal_dollars, divide_half_even, dollars, parse_dollars, rounded_parts
from llmops.usage.price_book import PriceBook
from llmops.usage.prices_yaml import inline_prices
from llmops.usage.rates import CLASSES, Rates, charge, counts_of, make_card, worst_case
from price_samples import book

K, M = 1_000, 1_000_000
BOOK = book(
    {"model": "mine", "provider": "vllm", "input": 1, "output": 0, "cache_read": 0.1},
    {"model": "feed", "input": 0.1, "output": 0.4, "per_request": 0.001, "per_image": 0.04},
    {"model": "long", "input": 1, "output": 2, "cache_read": 0.5,
     "tiers": [{"above": 32 * K, "input": 2, "output": 4}, {"above": 128 * K, "input": 3}],
     "service_tiers": {"batch": {"input": 0.5, "output": 1}, "priority": {"input": 4, "output": 8, "cache_read": 2}}},
    {"model": "fine", "input": 0.0005, "output": 0.0015},
    {"model": "dated", "input": 10, "output": 40},
    {"model": "dated", "input": 2, "output": 8, "valid_from": "2025-06-10"},
    {"model": "dated", "input": 1, "output": 4, "valid_from": "2026-06-01", "valid_until": "2026-06-30"},
)  # fmt: skip


def used(input: int = 0, output: int = 0, **more: Any) -> Usage:
    return Usage(input, output, requests=1, certainty="exact", **{_FULL.get(k, k): v for k, v in more.items()})


_FULL = {
    "read": "cache_read_tokens",
    "write": "cache_write_tokens",
    "hour": "cache_write_1h_tokens",
    "reasoning": "reasoning_tokens",
    "audio_in": "audio_input_tokens",
    "audio_out": "audio_output_tokens",
}

EXACT: list[tuple[str, Usage, str, int]] = [
    # model, usage, service tier, nano-dollars
    ("openai/gpt-4o", used(1_234, 567), "", 1_234 * 2_500 + 567 * 10_000),
    ("openai/gpt-4o", used(1, 1), "", 2_500 + 10_000),
    ("openai/gpt-4o", used(M, 100 * K, read=600 * K), "", 400 * K * 2_500 + 600 * K * 1_250 + 100 * K * 10_000),
    ("openai/gpt-4o", used(M, 0, read=M), "", M * 1_250),
    ("openai/gpt-4o", used(10 * K, 2 * K, reasoning=1_500), "", 10 * K * 2_500 + 2 * K * 10_000),
    ("openai/gpt-4o", used(M, 100 * K), "batch", M * 1_250 + 100 * K * 5_000),
    ("openai/gpt-4o", used(M, 100 * K), "batches", M * 1_250 + 100 * K * 5_000),
    ("openai/gpt-4o", used(M, 100 * K), "default", M * 2_500 + 100 * K * 10_000),
    ("openai/gpt-4o-mini", used(1_001, 333, read=1_000), "", 1 * 150 + 1_000 * 75 + 333 * 600),
    ("openai/ft:gpt-4o-mini-2024-07-18:acme::9x", used(1_000, 100), "", 1_000 * 300 + 100 * 1_200),
    ("openai/gpt-5", used(M, 100 * K, read=500 * K), "", 500 * K * 1_250 + 500 * K * 125 + 100 * K * 10_000),
    ("openai/gpt-5", used(M, 100 * K), "flex", M * 625 + 100 * K * 5_000),
    ("openai/gpt-5", used(M, 100 * K), "priority", M * 2_500 + 100 * K * 20_000),
    ("openai/gpt-5", used(M, 100 * K), "fast", M * 2_500 + 100 * K * 20_000),  # OpenAI's new name of it
    ("openai/gpt-5", used(3, 1, read=2), "flex", 625 + 2 * 62 + 1 + 5_000),  # 2 × 62.5 is 125
    ("openai/gpt-5", used(1, 0, read=1), "flex", 62),  # 62.5: half to even
    ("openai/gpt-5", used(3, 0, read=3), "flex", 188),  # 187.5: half to even
    ("openai/gpt-5", used(M, 0, read=M), "batch", M * 625 // 10),
    ("openai/gpt-4o-audio", used(1_000, 500, audio_in=800, audio_out=400), "",
     200 * 2_500 + 800 * 40_000 + 100 * 10_000 + 400 * 80_000),
    ("openai/text-embedding-3-small", used(8_191), "", 8_191 * 20),
    ("openai/openai/gpt-4o", used(10, 10), "", 10 * 2_500 + 10 * 10_000),
    ("anthropic/claude-haiku-4-5", used(M, 0, read=500 * K, write=300 * K), "",
     200 * K * 1_000 + 500 * K * 100 + 300 * K * 1_250),
    ("anthropic/claude-haiku-4-5", used(M, 0, write=M, hour=M), "", M * 2_000),
    ("anthropic/claude-haiku-4-5", used(M, 10, write=600 * K, hour=200 * K), "",
     400 * K * 1_000 + 400 * K * 1_250 + 200 * K * 2_000 + 10 * 5_000),
    ("anthropic/claude-haiku-4-5", used(M, 100 * K, read=500 * K, write=300 * K), "batch",
     200 * K * 500 + 500 * K * 50 + 300 * K * 625 + 100 * K * 2_500),
    ("anthropic/claude-sonnet-4-5", used(200 * K, 1_000), "", 200 * K * 3_000 + 1_000 * 15_000),
    ("anthropic/claude-sonnet-4-5", used(200_001, 1_000), "", 200_001 * 6_000 + 1_000 * 22_500),
    ("anthropic/claude-sonnet-4-5", used(300 * K, 1_000, read=100 * K, write=100 * K, hour=40 * K), "",
     100 * K * 6_000 + 100 * K * 600 + 60 * K * 7_500 + 40 * K * 12_000 + 1_000 * 22_500),
    ("gemini/gemini-2.5-pro", used(199 * K, 0), "", 199 * K * 1_250),  # $0.24875
    ("gemini/gemini-2.5-pro", used(201 * K, 0), "", 201 * K * 2_500),  # $0.5025
    ("gemini/gemini-2.5-pro", used(201 * K, 8_000, read=150 * K), "", 51 * K * 2_500 + 150 * K * 250 + 8_000 * 15_000),
    ("gemini/gemini-2.5-pro", used(199 * K, 8_000), "batch", 199 * K * 625 + 8_000 * 5_000),
    ("gemini/gemini-2.5-pro", used(201 * K, 8_000), "batch", 201 * K * 1_250 + 8_000 * 7_500),
    ("gemini/gemini-2.5-pro", used(10 * K, 9_000, reasoning=8_000), "", 10 * K * 1_250 + 9_000 * 10_000),
    ("gemini/gemini-2.5-flash", used(10 * K, 100, audio_in=9 * K), "", K * 300 + 9 * K * 1_000 + 100 * 2_500),
    ("deepseek/deepseek-chat", used(M, 100 * K, read=900 * K), "", 100 * K * 280 + 900 * K * 28 + 100 * K * 420),
    ("mistral/mistral-large-latest", used(12_345, 678), "", 12_345 * 500 + 678 * 1_500),
    ("groq/llama-3.1-8b-instant", used(7, 3), "on_demand", 7 * 50 + 3 * 80),
    ("dashscope/qwen-plus", used(1_000, 500, reasoning=400), "", 1_000 * 400 + 100 * 1_200 + 400 * 4_000),
    ("dashscope/qwen-flash", used(256 * K, 1_000), "", 256 * K * 50 + 1_000 * 400),
    ("dashscope/qwen-flash", used(256_001, 1_000), "", 256_001 * 250 + 1_000 * 2_000),
    ("perplexity/pplx-online", used(5_000, 700), "", 700 * 2_800 + 5_000_000),  # $0.005 a request, its input is free
    ("together_ai/meta-llama/Llama-3.3-70B", used(1_000, 1_000), "", 2_000 * 880),
    ("azure/gpt-4o", used(1_000, 1_000), "", 1_000 * 2_750 + 1_000 * 11_000),
    ("fal_ai/picture", used(images=3), "", 3 * 40_000_000),
    ("openrouter/acme/tiny:free", used(1_000, 1_000), "", 0),
    ("vllm/mine", used(M, 0, read=900 * K), "", 100 * K * 1_000 + 900 * K * 100),  # $0.19: cached input is paid once
    ("any/feed", used(1_000, 1_000), "", 1_000 * 100 + 1_000 * 400 + 1_000_000),
    ("any/long", used(32 * K, 100), "", 32 * K * 1_000 + 100 * 2_000),
    ("any/long", used(32_001, 100, read=32_000), "", 1 * 2_000 + 32_000 * 500 + 100 * 4_000),
    ("any/long", used(200 * K, 100), "", 200 * K * 3_000 + 100 * 4_000),  # output keeps the rate of the step below
    ("any/long", used(1_000, 100, read=400), "batch", 600 * 500 + 400 * 500 + 100 * 1_000),
    ("any/long", used(1_000, 100, read=400), "priority", 600 * 4_000 + 400 * 2_000 + 100 * 8_000),
    ("any/fine", used(1, 0), "", 0),  # 0.5: half to even
    ("any/fine", used(3, 0), "", 2),  # 1.5: half to even
    ("any/fine", used(1, 1), "", 2),  # 0.5 + 1.5
    ("any/fine", used(5, 0), "", 2),  # 2.5: half to even
    ("any/feed", used(0, 0), "", 1_000_000),
]  # fmt: skip


@pytest.mark.parametrize(("model", "usage", "tier", "nanos"), EXACT, ids=lambda value: str(value)[:60])
def test_computed_by_hand(model, usage, tier, nanos):
    provider, _, name = model.partition("/")
    cost = BOOK.cost(usage, provider=provider, model=name, service_tier=tier)
    assert cost is not None
    assert (cost.total, cost.certainty) == (nanos, "exact")
    assert cost.total == parts(cost)


def parts(cost: Any) -> int:
    return cost.input + cost.cache_read + cost.cache_write + cost.output + cost.reasoning + cost.fees


def test_parts_say_what_was_paid_for():
    usage = used(1_000, 500, read=300, write=200, hour=50, reasoning=400)
    cost = BOOK.cost(usage, provider="anthropic", model="claude-haiku-4-5")
    assert (cost.input, cost.cache_read, cost.cache_write) == (500_000, 300 * 100, 150 * 1_250 + 50 * 2_000)
    assert (cost.output, cost.reasoning, cost.fees) == (500 * 5_000, 0, 0)
    own = BOOK.cost(used(0, 500, reasoning=400), provider="dashscope", model="qwen-plus")
    assert (own.output, own.reasoning) == (100 * 1_200, 400 * 4_000)
    assert BOOK.cost(used(9, 0, images=2), provider="x", model="feed").fees == 1_000_000 + 2 * 40_000_000


ESTIMATED: list[tuple[str, str, Usage, str, int]] = [
    # why, model, usage, service tier, nano-dollars
    ("cached input without a rate is charged as input", "mistral/mistral-large-latest", used(1_000, 0, read=900), "",
     1_000 * 500),
    ("a cache write without a rate is charged as input", "openai/gpt-4o", used(1_000, 0, write=400), "", 1_000 * 2_500),
    ("the list's zero for DeepSeek's cache writes is a blank", "deepseek/deepseek-chat", used(1_000, 0, write=400), "",
     1_000 * 280),
    ("an hour's write without a rate is a write", "x/hourless", used(100, 0, write=100, hour=100), "", 100 * 1_250),
    ("no batch rate: the full price", "groq/llama-3.1-8b-instant", used(1_000, 10), "batch", 1_000 * 50 + 10 * 80),
    ("another provider's fast is another tier", "azure/gpt-4o", used(1_000, 10), "fast", 1_000 * 2_750 + 10 * 11_000),
    ("searches are billed beside", "anthropic/claude-haiku-4-5", replace(used(1_000, 10), estimated_cost=True), "",
     1_000 * 1_000 + 10 * 5_000),
    ("no such tier: the full price", "openai/gpt-4o", used(1_000, 10), "scale", 1_000 * 2_500 + 10 * 10_000),
    ("cached input keeps its standard rate in a batch that has none", "openai/gpt-4o", used(1_000, 0, read=400),
     "batch", 600 * 1_250 + 400 * 1_250),
    ("a batch above the step it has no rates for", "anthropic/claude-sonnet-4-5", used(201 * K, 10), "batch",
     201 * K * 6_000 + 10 * 22_500),
    ("a tier of yours without the step that the standard one has", "x/stepped", used(201 * K, 0), "priority",
     201 * K * 3_000),
    ("audio without a rate is charged as text", "openai/gpt-4o", used(1_000, 100, audio_in=500, audio_out=50), "",
     1_000 * 2_500 + 100 * 10_000),
    ("audio that may be among the cached", "gemini/gemini-2.5-flash", used(1_000, 0, read=500, audio_in=500), "",
     500 * 1_000 + 500 * 300),
    ("the fee of a search of unknown size", "perplexity/sonar-pro", used(1_000, 100), "",
     1_000 * 3_000 + 100 * 15_000 + 6_000_000),
    ("pictures paid as tokens", "openai/gpt-image-1", used(50, 4_160, images=1), "", 50 * 5_000 + 4_160 * 40_000),
    ("another snapshot of the family", "openai/gpt-4o-2029-01-01", used(1_000, 100), "", 1_000 * 2_500 + 100 * 10_000),
    ("tokens that we counted", "openai/gpt-4o", replace(used(8, 7), certainty="estimated"), "", 8 * 2_500 + 7 * 10_000),
    ("more cached than input: all of it once", "openai/gpt-4o", used(100, 10, read=900), "", 900 * 1_250 + 10 * 10_000),
    ("more reasoning than output", "openai/gpt-4o", used(0, 10, reasoning=900), "", 900 * 10_000),
    ("more of an hour's writes than writes", "anthropic/claude-haiku-4-5", used(1_000, 0, write=0, hour=500), "",
     500 * 1_000 + 500 * 2_000),
    ("fewer than none", "openai/gpt-4o", used(-5, 10), "", 10 * 10_000),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "model", "usage", "tier", "nanos"), ESTIMATED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_had_to_be_assumed_is_estimated(why, model, usage, tier, nanos):
    priced = book(
        {"model": "hourless", "input": 1, "output": 5, "cache_write": 1.25},
        {"model": "stepped", "input": 1, "tiers": [{"above": 200 * K, "input": 3}],
         "service_tiers": {"priority": {"input": 2}}},
    )  # fmt: skip
    provider, _, name = model.partition("/")
    cost = priced.cost(usage, provider=provider, model=name, service_tier=tier)
    assert (cost.total, cost.certainty) == (nanos, "estimated"), why
    assert cost.total == parts(cost)


UNPRICED = [
    ("anthropic", "claude-haiku-9"),
    ("hosted_vllm", "my-slm"),
    ("vllm", "gpt-4o"),  # a server of your own is never billed as the API whose model's name it uses
    ("ollama", "gpt-4o"),
    ("openai_http", "gpt-4o"),
    ("", "gpt-4o"),
    ("", "openai/gpt-4o"),
    ("triton", "openai/gpt-4o"),
    ("acme", "gpt-4o"),
    ("anthropic", "gpt-4o"),
    ("openai", "gpt-4o-nano"),
    ("openai", "gpt-4"),
    ("openai", "gpt-4o-2024-08-06-tuned"),
    ("openai", ""),
    ("openai", "whisper-1"),  # by the second
    ("cohere", "rerank"),  # by the query
    ("ollama", "llama3"),  # zeros that stand for "yours"
    ("gigachat", "GigaChat-2"),  # zeros that stand for "not known"
    ("gemini", "gemma-3-27b-it"),
    ("openai", "sample_spec"),
]


@pytest.mark.parametrize(("provider", "model"), UNPRICED)
def test_without_a_price_there_is_no_cost(provider, model):
    assert BOOK.cost(used(1_000, 1_000), provider=provider, model=model) is None
    assert BOOK.entry(provider, model) is None
    assert BOOK.bound(used(1_000, 1_000), provider, model) is None


def test_half_a_price_is_no_price():
    """The list has a router's own fee, and 0 for the answer of whatever model it chose."""
    assert BOOK.cost(used(1_000, 1), provider="azure_ai", model="model_router") is None
    assert BOOK.bound(used(1_000, 1), "azure_ai", "model_router") is None
    assert BOOK.cost(used(1_000, 0), provider="azure_ai", model="model_router").total == 1_000 * 140


def test_a_picture_model_prices_pictures_only():
    assert BOOK.cost(used(10, 20), provider="fal_ai", model="picture") is None
    assert BOOK.cost(used(10, 0, images=1), provider="fal_ai", model="picture").total == 40_000_000


def test_nothing_to_multiply_with_is_no_cost():
    assert BOOK.cost(Usage(requests=1), provider="openai", model="gpt-4o") is None
    assert BOOK.cost(used(0, 0), provider="openai", model="gpt-4o").total == 0


def test_prices_have_dates():
    may_2025, june_2025, june_2026, july_2026 = (1_747_000_000, 1_750_000_000, 1_781_000_000, 1_784_000_000)
    costs = [BOOK.cost(used(M, 0), provider="", model="dated", at=at) for at in (0, may_2025, june_2025)]
    assert [cost.total for cost in costs] == [10_000_000_000, 10_000_000_000, 2_000_000_000]
    assert costs[2].price == "dated@2025-06-10"
    assert BOOK.cost(used(M, 0), provider="", model="dated", at=june_2026).total == 1_000_000_000
    assert BOOK.cost(used(M, 0), provider="", model="dated", at=july_2026).total == 2_000_000_000  # that month is over


def test_a_price_starts_and_ends_with_its_days_in_utc():
    midnight = 1_780_272_000  # 2026-06-01T00:00:00Z
    totals = [
        BOOK.cost(used(M, 0), provider="", model="dated", at=at).total
        for at in (midnight - 0.001, midnight, midnight + 30 * 86_400 - 0.001, midnight + 30 * 86_400)
    ]
    assert totals == [2_000_000_000, 1_000_000_000, 1_000_000_000, 2_000_000_000]


@pytest.mark.parametrize(
    ("at", "rate"),
    [
        (1_796_083_200 + 21 * 3_600, 300),  # Tuesday 2026-12-01, 21:00
        (1_796_083_200 + 22 * 3_600, 150),  # 22:00
        (1_796_083_200 + 3_600, 150),  # 01:00
        (1_796_083_200 + 2 * 3_600, 300),  # 02:00
        (1_796_083_200 + 4 * 86_400 + 23 * 3_600, 300),  # Saturday
    ],
)
def test_off_peak_hours(at, rate):
    assert BOOK.cost(used(1_000, 0), provider="deepseek", model="night-owl", at=at).total == 1_000 * rate


# Properties

rates_strategy = st.dictionaries(
    st.sampled_from(CLASSES), st.decimals(0, 1_000, places=9, allow_nan=False), max_size=10
).map(lambda given: {"input": Decimal(1), "output": Decimal(2), **given})
tokens = st.integers(0, 10**7)


@st.composite
def usages(draw: Any) -> Usage:
    """Usage that holds together: every part within its whole."""
    given, output = draw(tokens), draw(tokens)
    read = draw(st.integers(0, given))
    write = draw(st.integers(0, given - read))
    reasoning = draw(st.integers(0, output))
    return used(
        given,
        output,
        read=read,
        write=write,
        hour=draw(st.integers(0, write)),
        reasoning=reasoning,
        audio_in=draw(st.integers(0, given - read - write)),
        audio_out=draw(st.integers(0, output - reasoning)),
        images=draw(st.integers(0, 5)),
    )


def fraction(usage: Usage, rates: dict[str, Decimal]) -> Fraction:
    """The cost in nano-dollars by fractions, written down a second time and differently."""
    rate = {name: Fraction(value) for name, value in rates.items()}
    plain = rate["input"]
    write = rate.get("cache_write", plain)
    spent = Fraction(0)
    for count, price in (
        (usage.audio_input_tokens, rate.get("audio_input", plain)),
        (usage.cache_read_tokens, rate.get("cache_read", plain)),
        (usage.cache_write_1h_tokens, rate.get("cache_write_1h", write)),
        (usage.cache_write_tokens - usage.cache_write_1h_tokens, write),
        (usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens - usage.audio_input_tokens, plain),
        (usage.reasoning_tokens, rate.get("reasoning", rate["output"])),
        (usage.audio_output_tokens, rate.get("audio_output", rate["output"])),
        (usage.output_tokens - usage.reasoning_tokens - usage.audio_output_tokens, rate["output"]),
    ):
        spent += count * price * 1_000
    fees = rate.get("per_request", Fraction(0)) + usage.images * rate.get("per_image", Fraction(0))
    return spent + fees * 1_000_000_000


@given(usages(), rates_strategy)
def test_no_drift_and_parts_add_up(usage, rates):
    charged = charge(counts_of(usage), Rates.of(rates))
    assert charged.total == round(fraction(usage, rates))  # Python rounds fractions half to even
    assert sum(charged.parts) == charged.total
    assert min(charged.parts) >= 0


@given(usages(), rates_strategy, st.sampled_from(["input_tokens", "output_tokens", "images"]), st.integers(1, 10**6))
def test_more_tokens_never_cost_less(usage, rates, name, more):
    bigger = replace(usage, **{name: getattr(usage, name) + more})
    compiled = Rates.of(rates)
    assert charge(counts_of(bigger), compiled).total >= charge(counts_of(usage), compiled).total


@given(
    usages(), rates_strategy, rates_strategy, st.sampled_from(["", "batch", "priority", "flex"]), st.integers(1, 10**7)
)
def test_the_bound_holds_for_every_split(usage, base, long, tier, above):
    card = make_card({("standard", 0): base, ("standard", above): long, ("priority", 0): long}, keeps=False)
    service = tier or "standard"
    most = worst_case(Usage(usage.input_tokens, usage.output_tokens, images=usage.images), card, service)
    rates, _ = card.rates(usage.input_tokens, service)
    assert charge(counts_of(usage), rates).total <= most


@given(usages(), rates_strategy, rates_strategy, st.integers(1, 10**7))
def test_a_bound_for_more_tokens_covers_fewer(usage, base, long, above):
    card = make_card({("standard", 0): base, ("standard", above): long}, keeps=True)
    bigger = Usage(usage.input_tokens + 1_000, usage.output_tokens + 10, images=usage.images)
    rates, _ = card.rates(usage.input_tokens)
    assert charge(counts_of(usage), rates).total <= worst_case(bigger, card)


odd = st.one_of(st.integers(-(10**9), 10**9), st.floats(), st.none(), st.text(max_size=2), st.booleans())


@given(st.lists(odd, min_size=9, max_size=9))
def test_odd_usage_is_never_an_error_and_never_negative(values):
    names = [f.name for f in fields(Usage) if f.name.endswith("_tokens")] + ["images"]
    usage = Usage(**dict(zip(names, values, strict=True)), certainty="exact")
    cost = BOOK.cost(usage, provider="anthropic", model="claude-haiku-4-5")
    assert cost is None or (cost.total >= 0 and cost.total == parts(cost) and type(cost.total) is int)


@given(usages())
def test_cached_tokens_are_never_paid_twice(usage):
    """What is cached costs less than the same tokens uncached, whatever the split."""
    uncached = replace(usage, cache_read_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
    cached = replace(uncached, cache_read_tokens=usage.cache_read_tokens)
    cost = [BOOK.cost(u, provider="openai", model="gpt-5").total for u in (cached, uncached)]
    assert cost[0] <= cost[1]


@given(usages(), st.integers(0, 10**6))
def test_your_own_price_wins(usage, rate):
    own = PriceBook(inline_prices({"models": [{"model": "gpt-4o", "input": rate, "output": rate}]}), BOOK.published)
    cost = own.cost(usage, provider="openai", model="gpt-4o")
    assert cost.source == "yours"
    assert cost.total == (usage.input_tokens + usage.output_tokens) * rate * 1_000


# Money


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (None, "unpriced"),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_000, "$0.000001"),
        (12_300_000, "$0.0123"),
        (12_345_678, "$0.01235"),
        (500_000_000, "$0.50"),
        (999_999_999, "$1.00"),
        (1_234_500_000, "$1.23"),
        (1_235_000_000, "$1.24"),
        (1_234_567_890_000_000, "$1,234,567.89"),
        (-12_300_000, "-$0.0123"),
    ],
)
def test_dollars_as_people_read_them(nanos, text):
    assert dollars(nanos) == text


def test_dollars_with_fixed_places():
    assert [dollars(1_999_999_999, places) for places in (0, 2, 9)] == ["$2", "$2.00", "$1.999999999"]


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("$2.00", 2 * 10**9), ("2", 2 * 10**9), (2, 2 * 10**9), (0.1, 10**8), ("$1,000", 10**12), ("0.5 USD", 5 * 10**8),
     ("$1,234,567.5", 1_234_567_500_000_000), ("1_000", 10**12), ("1000.", 10**12), ("$.25", 25 * 10**7),
     ("50$", 50 * 10**9), ("$0.000000001", 1), (1e-9, 1)],
)  # fmt: skip
def test_dollars_as_people_write_them(text, nanos):
    assert parse_dollars(text) == nanos


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two",
        "$-1",
        -1,
        "€2",
        None,
        True,
        float("nan"),
        "1e3",
        "$0.0000000001",
        [],
        "9" * 30,
        "$1,5",
        "1,00",
        "1,0000",
        "1,000,00",
        ",5",
        "1__0",
        "1_",
        "$10,000.5,0",
        "1.000,50",
    ],
)
def test_what_is_no_amount_is_refused(text):
    from llmops.errors import InputError

    with pytest.raises(InputError):
        parse_dollars(text)


@given(st.integers(0, 10**15))
def test_an_exact_amount_comes_back(nanos):
    assert parse_dollars(format(decimal_dollars(nanos), "f")) == nanos
    assert parse_dollars(dollars(nanos, 9)) == nanos


@given(st.lists(st.integers(0, 10**12), max_size=8), st.integers(1, 10**6))
def test_rounded_parts_add_up_and_stay_close(amounts, unit):
    total, rounded = rounded_parts(amounts, unit)
    assert total == round(Fraction(sum(amounts), unit)) == sum(rounded)
    assert all(abs(Fraction(a, unit) - r) < 1 for a, r in zip(amounts, rounded, strict=True))
    assert all(r == 0 for a, r in zip(amounts, rounded, strict=True) if a == 0)
    assert divide_half_even(sum(amounts), unit) == total
