"""Where a price comes from: the layers and their order, whose model it is, your YAML and its errors, and the docs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT, clean_environment
from llmops.errors import ConfigError, InputError
from llmops.types import Usage
from llmops.usage.disagreement import doubted
from llmops.usage.families import family, is_snapshot
from llmops.usage.price_book import PriceBook
from llmops.usage.prices_genai import GenaiPrices
from llmops.usage.prices_litellm import LitellmPrices
from llmops.usage.prices_yaml import inline_prices, read_prices
from llmops.usage.providers import SELF_HOSTED, provider_name, provider_of
from llmops.usage.rates import CLASSES, Rates, charge, counts_of, make_card
from llmops.yamlfile import load_yaml
from price_samples import LISTED, book, chat, listed

MILLION = Usage(1_000_000, 0, requests=1, certainty="exact")
DOLLAR = 1_000_000_000


def day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# genai-prices, in the shape of its data


def model(name: str, prices: Any, *, starts_with: str = "", variants: Any = None, part: bool = False) -> Any:
    clauses = [SimpleNamespace(contains=name) if part else SimpleNamespace(equals=name)]
    if starts_with:
        clauses.append(SimpleNamespace(starts_with=starts_with))

    def is_match(text: str) -> bool:
        return text == name or bool(starts_with and text.startswith(starts_with)) or (part and name in text)

    rows = prices if isinstance(prices, list) else None

    def get_prices(when: datetime, context: Any = None) -> Any:
        found = prices if rows is None else rows[0].prices
        for row in reversed(rows or []):
            if row.constraint is None or row.constraint.active(when):
                found = row.prices
                break
        changed = {}
        for variant in variants or ():
            if context == variant.when and (variant.constraint is None or variant.constraint.active(when)):
                changed.update(vars(variant.prices))
        return SimpleNamespace(**{**vars(found), **changed})

    return SimpleNamespace(
        id=name, match=SimpleNamespace(or_=clauses), prices=prices, price_variants=variants,
        is_match=is_match, get_prices=get_prices,
    )  # fmt: skip


def price(input: str, output: str, **more: Any) -> Any:
    return SimpleNamespace(input_mtok=Decimal(input), output_mtok=Decimal(output), **more)


def since(day: str) -> Any:
    first = date.fromisoformat(day)
    return SimpleNamespace(start_date=first, active=lambda when: when.date() >= first)


def between(start: str, end: str) -> Any:
    first, last = time.fromisoformat(start), time.fromisoformat(end)
    return SimpleNamespace(start_time=first, active=lambda when: first <= when.time() < last)


def row(prices: Any, constraint: Any = None) -> Any:
    return SimpleNamespace(prices=prices, constraint=constraint)


def tiered(base: str, start: int, above: str) -> Any:
    return SimpleNamespace(base=Decimal(base), tiers=[SimpleNamespace(start=start, price=Decimal(above))])


GENAI = GenaiPrices(
    "9.9",
    [
        SimpleNamespace(
            id="openai",
            models=[
                model("o3", [row(price("10", "40")), row(price("2", "8"), since("2025-06-10"))]),
                model("gpt-4o", price("3", "12", cache_read_mtok=Decimal("1.5"))),
                model("gpt-5", price("1.25", "10"), variants=[
                    SimpleNamespace(when={"service_tier": "flex"}, prices=price("0.6", "4"),
                                    constraint=since("2026-10-12")),
                    SimpleNamespace(when={"service_tier": "default"}, prices=SimpleNamespace(), constraint=None),
                ]),
            ],
        ),
        SimpleNamespace(
            id="anthropic",
            models=[model("claude-haiku-4-5", price("1", "5"), starts_with="claude-haiku-4-5")],
        ),
        SimpleNamespace(
            id="google",
            models=[
                model("gemini-2.5-pro", SimpleNamespace(input_mtok=tiered("1.25", 200_000, "2.5"),
                                                        output_mtok=tiered("10", 200_000, "15"))),
            ],
        ),
        SimpleNamespace(
            id="deepseek",
            models=[
                model("night", [row(price("0.135", "0.55")), row(price("0.27", "1.1"), between("00:30", "16:30"))]),
            ],
        ),
        SimpleNamespace(
            id="perplexity",
            models=[model("sonar", price("1", "1", requests_kcount=Decimal("12"))),
                    model("by-the-hour", SimpleNamespace(audio_hours=Decimal("0.1")))],
        ),
    ],
)  # fmt: skip
HISTORY = PriceBook(None, [GENAI, listed()])


def total(of: PriceBook, provider: str, model: str, usage: Usage = MILLION, **more: Any) -> int | None:
    cost = of.cost(usage, provider=provider, model=model, **more)
    return None if cost is None else cost.total


def test_a_price_is_the_one_of_its_day():
    assert total(HISTORY, "openai", "o3", at=day("2024-06-01")) == 10 * DOLLAR
    assert total(HISTORY, "openai", "o3", at=day("2025-06-09T23:59:59")) == 10 * DOLLAR
    assert total(HISTORY, "openai", "o3", at=day("2025-06-10")) == 2 * DOLLAR
    assert total(HISTORY, "openai", "o3", at=day("2026-06-01")) == 2 * DOLLAR
    assert HISTORY.cost(MILLION, provider="openai", model="o3", at=day("2026-06-01")).price == "openai/o3@2025-06-10"


def test_a_price_is_the_one_of_its_hour():
    assert total(HISTORY, "deepseek", "night", at=day("2026-06-01T00:29")) == 135_000_000
    assert total(HISTORY, "deepseek", "night", at=day("2026-06-01T00:30")) == 270_000_000
    assert total(HISTORY, "deepseek", "night", at=day("2026-06-01T16:30")) == 135_000_000


def test_steps_of_genai_prices_hold_for_the_whole_request():
    assert total(HISTORY, "gemini", "gemini-2.5-pro", Usage(200_000, 0, certainty="exact")) == 250_000_000
    assert total(HISTORY, "gemini", "gemini-2.5-pro", Usage(201_000, 0, certainty="exact")) == 502_500_000


def test_genai_prices_before_litellm_and_yours_before_both():
    three = PriceBook(inline_prices({"models": [{"model": "gpt-4o", "input": 7, "output": 7}]}), HISTORY.published)
    sources = [b.cost(MILLION, provider="openai", model="gpt-4o").source for b in (book(), HISTORY, three)]
    assert sources == ["litellm", "genai-prices", "yours"]
    assert [total(b, "openai", "gpt-4o") for b in (book(), HISTORY, three)] == [2.5 * DOLLAR, 3 * DOLLAR, 7 * DOLLAR]
    assert HISTORY.cost(MILLION, provider="openai", model="gpt-4o-mini").source == "litellm"


def test_a_tier_that_the_first_list_lacks_comes_from_the_next():
    october = day("2026-10-12")
    assert total(HISTORY, "openai", "gpt-5", service_tier="flex", at=october) == 600_000_000
    before = HISTORY.cost(MILLION, provider="openai", model="gpt-5", service_tier="flex", at=october - 1)
    assert (before.total, before.source, before.certainty) == (625_000_000, "litellm", "exact")
    batch = HISTORY.cost(MILLION, provider="openai", model="gpt-5", service_tier="batch")
    assert (batch.total, batch.source) == (625_000_000, "litellm")


def test_a_rate_that_the_first_list_lacks_comes_from_the_next():
    half = model("gpt-5", SimpleNamespace(input_mtok=Decimal(9)))
    genai = GenaiPrices("1", [SimpleNamespace(id="openai", models=[half])])
    both = PriceBook(None, [genai, listed()])
    assert total(both, "openai", "gpt-5") == 9 * DOLLAR
    assert total(both, "openai", "gpt-5", Usage(1_000, 1, certainty="exact")) == 1_000 * 1_250 + 10_000
    assert both.bound(Usage(1_000, 1), "openai", "gpt-5") == 1_000 * 1_250 + 10_000
    assert both.bound(Usage(1_000, 0), "openai", "gpt-5") == 1_000 * 9_000  # whichever list turns out to be used
    own = PriceBook(inline_prices({"models": [{"model": "gpt-5", "input": 1}]}), both.published)
    assert total(own, "openai", "gpt-5", Usage(1_000, 1, certainty="exact")) is None


def test_an_entry_of_exactly_this_model_without_the_rate_is_not_swapped_for_its_familys():
    priced = book(**{"gpt-4o-2029-01-01": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-6}})
    assert total(priced, "openai", "gpt-4o-2029-01-01") == DOLLAR
    assert total(priced, "openai", "gpt-4o-2029-01-01", Usage(1, 1, certainty="exact")) is None


def test_your_own_price_is_never_swapped_for_a_list_that_has_the_tier():
    own = PriceBook(inline_prices({"models": [{"model": "gpt-5", "input": 1, "output": 1}]}), HISTORY.published)
    cost = own.cost(MILLION, provider="openai", model="gpt-5", service_tier="batch")
    assert (cost.total, cost.source, cost.certainty) == (DOLLAR, "yours", "estimated")


DATED = listed(**{"us.anthropic.claude-haiku-4-5-20251001-v1:0": chat("bedrock", 2, 9)})


def test_a_snapshot_is_exact_when_any_list_names_it():
    for known in ("claude-haiku-4-5-20251001", "claude-haiku-4-5@20251001", "claude-haiku-4-5-2025-10-01"):
        cost = PriceBook(None, [GENAI, DATED]).cost(MILLION, provider="anthropic", model=known)
        assert (cost.total, cost.certainty, cost.price) == (DOLLAR, "exact", "anthropic/claude-haiku-4-5")
        assert HISTORY.cost(MILLION, provider="anthropic", model=known).certainty == "estimated"
    for mark in ("-20991231", "-20251002", "-v2", ":7", "-20251001-v2:0", "-latest"):
        cost = PriceBook(None, [GENAI, DATED]).cost(MILLION, provider="anthropic", model=f"claude-haiku-4-5{mark}")
        assert (cost.total, cost.certainty, cost.price) == (DOLLAR, "estimated", "anthropic/claude-haiku-4-5")
    assert HISTORY.entry("anthropic", "claude-haiku-4-50") is None
    assert HISTORY.entry("anthropic", "claude-haiku-4-5-ultra") is None


def test_a_region_before_the_name_leaves_the_lists_own_entry_of_that_region():
    name = "us-gov/claude-haiku-4-5"
    genai = GenaiPrices(
        "1", [SimpleNamespace(id="aws", models=[model("claude-haiku-4-5", price("1", "5"), part=True)])]
    )
    alone = PriceBook(None, [genai]).cost(MILLION, provider="bedrock", model=name)
    assert (alone.total, alone.certainty) == (DOLLAR, "estimated")
    both = PriceBook(None, [genai, listed(**{f"bedrock/{name}": chat("bedrock", 1.2, 6)})])
    cost = both.cost(MILLION, provider="bedrock", model=name)
    assert (cost.total, cost.certainty, cost.source) == (1.2 * DOLLAR, "exact", "litellm")


def test_a_full_name_in_the_list_goes_before_the_rest_of_a_longer_one():
    priced = book(**{"perplexity/sonar": chat("perplexity", 1, 1),
                     "perplexity/perplexity/sonar": chat("perplexity", 0.25, 2.5)})  # fmt: skip
    assert total(priced, "perplexity", "sonar") == total(priced, "perplexity", "perplexity/sonar") == DOLLAR
    assert total(priced, "perplexity", "perplexity/perplexity/sonar") == DOLLAR // 4


def test_a_fee_per_request_and_a_model_paid_by_the_hour():
    sonar = HISTORY.cost(MILLION, provider="perplexity", model="sonar")
    assert (sonar.total, sonar.fees, sonar.certainty) == (1_012_000_000, 12_000_000, "estimated")
    assert HISTORY.entry("perplexity", "by-the-hour") is None


def test_an_unknown_dated_snapshot_is_estimated_and_says_whose_price_it_is():
    cost = book().cost(MILLION, provider="openai", model="gpt-4o-2029-01-01")
    assert (cost.certainty, cost.source, cost.price) == ("estimated", "litellm", "openai/gpt-4o")


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("mistral-large-2512", "mistral-large"),
        ("gpt-4-0613", "gpt-4"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("claude-haiku-9", "claude-haiku-9"),
        ("llama-3.1-8b", "llama-3.1-8b"),
    ],
)
def test_families(name, of):
    assert family(name) == of


def test_snapshots():
    assert is_snapshot("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5")
    assert not is_snapshot("claude-haiku-4-50", "claude-haiku-4-5")
    assert not is_snapshot("myclaude-haiku-4-5", "claude-haiku-4-5")


# Your YAML


def yaml_book(tmp_path: Any, text: str) -> PriceBook:
    path = tmp_path / "prices.yaml"
    path.write_text(text, "utf-8")
    return PriceBook.load(path, genai=False, litellm=False)


EVERYTHING = """\
currency: USD
models:
  - model: my-slm
    provider: vllm
    input: 0.10
    output: 0.40
    cache_read: 0.01
    cache_write: 0.125
    cache_write_1h: 0.20
    reasoning: 0.80
    audio_input: 1
    audio_output: 2
    per_request: 0.001
    per_image: 0.04
    tiers: [{above: 200000, input: 0.2, output: 0.8}]
    service_tiers: {batch: {input: 0.05, output: 0.2, tiers: [{above: 200000, input: 0.1}]}, flex: {input: 0.07}}
servers:
  local: {gpu_per_hour: 2.50, gpus: 1, method: flat, tokens_per_second: 2500, utilisation: 0.4}
  other: {gpu_per_hour: 2.50}
"""


def test_every_rate_that_can_be_written(tmp_path):
    priced = yaml_book(tmp_path, EVERYTHING)
    usage = Usage(1_000, 100, 200, 300, 40, 1, "exact", 50, 100, 10, 2)
    nanos = (
        400 * 100 + 100 * 1_000 + 200 * 10 + 250 * 125 + 50 * 200 + 50 * 400 + 40 * 800 + 10 * 2_000
        + 1_000_000 + 2 * 40_000_000
    )  # fmt: skip
    assert total(priced, "vllm", "my-slm", usage) == nanos
    assert total(priced, "vllm", "my-slm", Usage(200_001, 0, certainty="exact")) == 200_001 * 200 + 1_000_000
    for tier, rate in (("batch", 50), ("flex", 70), ("priority", 100)):
        assert total(priced, "vllm", "my-slm", MILLION_HALF, service_tier=tier) == 100_000 * rate + 1_000_000
    assert total(priced, "vllm", "my-slm", Usage(200_001, 0, certainty="exact"), service_tier="batch") == (
        200_001 * 100 + 1_000_000
    )
    entry = priced.entry("vllm", "my-slm")
    assert entry.where.endswith("prices.yaml:3")
    assert entry.as_dict()["cache_write"] == 0.125
    assert entry.as_dict()["service_tiers"]["batch"]["input"] == 0.05
    assert entry.as_dict()["tiers"] == [{**entry.as_dict()["tiers"][0], "above": 200_000, "input": 0.2, "output": 0.8}]
    json.dumps(entry.as_dict())


MILLION_HALF = Usage(100_000, 0, requests=1, certainty="exact")


def test_servers_are_priced_by_the_name_of_their_backend(tmp_path):
    priced = yaml_book(tmp_path, EVERYTHING)
    assert set(priced.servers) == {"local", "other"}
    # $2.50 an hour for 2,500 tokens/s × 0.4 × 3,600 s = 3.6M tokens: $0.694444… per million
    cost = priced.cost(MILLION, provider="vllm", model="any", backend="local")
    assert (cost.total, cost.certainty, cost.source) == (694_444_444, "estimated", "server:local")
    assert priced.cost(MILLION, provider="vllm", model="any", backend="other") is None
    assert total(priced, "vllm", "my-slm", MILLION_HALF, backend="local") == 11_000_000  # your price of the model first
    measured = priced.with_servers({"other": Rates.of({"input": "0.25", "output": 1})})
    assert total(measured, "vllm", "any", backend="other") == DOLLAR // 4
    assert total(measured, "vllm", "any", backend="local") == 694_444_444
    assert measured.bound(Usage(100, 100), "vllm", "any", "other") == 100 * 250 + 100 * 1_000
    assert measured.revision != priced.revision


def test_a_server_is_never_billed_as_a_hosted_api():
    priced = book().with_servers({"local": Rates.of({"input": 1, "output": 1})})
    assert priced.cost(MILLION, provider="vllm", model="gpt-4o", backend="local").source == "server:local"
    assert priced.cost(MILLION, provider="vllm", model="gpt-4o") is None


def test_the_closest_of_your_entries_wins():
    priced = book(
        {"model": "*", "input": 1},
        {"model": "my-*", "input": 2},
        {"model": "my-*", "provider": "vllm", "input": 3},
        {"model": "my-slm", "input": 4},
        {"model": "my-slm", "provider": "vllm", "input": 5},
        {"model": "openai/gpt-4o", "input": 6},
    )
    wanted = {("x", "other"): 1, ("x", "my-one"): 2, ("vllm", "my-one"): 3, ("x", "my-slm"): 4, ("vllm", "my-slm"): 5,
              ("openai", "gpt-4o"): 6, ("azure", "gpt-4o"): 1, ("", "my-slm"): 4}  # fmt: skip
    assert {key: total(priced, *key) for key in wanted} == {key: n * DOLLAR for key, n in wanted.items()}


def test_a_price_that_has_not_begun_leaves_the_lists():
    priced = book({"model": "gpt-4o", "input": 1, "output": 1, "valid_from": "2026-01-01"})
    assert total(priced, "openai", "gpt-4o", at=day("2025-12-31")) == 2.5 * DOLLAR
    assert total(priced, "openai", "gpt-4o", at=day("2026-01-01")) == DOLLAR


def test_zero_is_a_price_where_you_say_so():
    cost = book({"model": "gemma", "input": 0, "output": 0}).cost(MILLION, provider="vllm", model="gemma")
    assert (cost.total, cost.certainty) == (0, "exact")


BROKEN = [
    ("currency: EUR", 1, "USD"),
    ("modles: []", 1, "did you mean 'models'"),
    ("models: {a: 1}", 1, "models is a list"),
    ("models:\n  - model: a\n    input: 1\n    ouput: 2", 4, "did you mean 'output'"),
    ("models:\n  - model: a\n    input: cheap", 3, "input is 'cheap', not a number of dollars per million tokens"),
    ("models:\n  - model: a\n    input: PRICE", 3, "PRICE"),
    ("models:\n  - model: a\n    input: -1", 3, "input is -1"),
    ("models:\n  - model: a\n    input: .nan", 3, "input is nan"),
    ("models:\n  - model: a\n    input: .inf", 3, "input is inf"),
    ("models:\n  - model: a\n    input: true", 3, "input is True"),
    ("models:\n  - model: a\n    per_request: x", 3, "not a number of dollars"),
    ("models:\n  - model: a", 2, "a has no price"),
    ("models:\n  - input: 1", 2, "model is None"),
    ("models:\n  - 7", 2, "7 isn't a mapping"),
    ("models:\n  - model: a\n    input: 1\n    valid_from: yesterday", 4, "write a day as 2026-01-31"),
    ("models:\n  - model: a\n    input: 1\n    valid_from: 2026-02-01\n    valid_until: 2026-01-01", 5, "is before"),
    ("models:\n  - model: a\n    input: 1\n    tiers: 5", 4, "tiers is a list"),
    ("models:\n  - model: a\n    input: 1\n    tiers:\n      - input: 2", 5, "above is None"),
    ("models:\n  - model: a\n    input: 1\n    tiers:\n      - {above: 1.5, input: 2}", 5, "above is 1.5"),
    ("models:\n  - model: a\n    input: 1\n    tiers:\n      - {above: 5}\n      - {above: 5}", 6, "twice"),
    ("models:\n  - model: a\n    input: 1\n    service_tiers: [batch]", 4, "service_tiers is a mapping"),
    (
        "models:\n  - model: a\n    input: 1\n    service_tiers:\n      batch:\n        inptu: 2",
        6,
        "did you mean 'input'",
    ),
    ("models:\n  - {model: a, input: 1}\n  - {model: a, input: 2}", 3, "priced already at"),
    ("servers: [local]", 1, "servers is a mapping"),
    ("servers:\n  local: {gpu_per_hour: 1, tokens_per_second: -4}", 2, "tokens_per_second"),
    ("models: [", 1, "not valid YAML"),
    ("- model: a", 1, "isn't a mapping"),
]


@pytest.mark.parametrize(("text", "line", "words"), BROKEN, ids=lambda value: str(value)[-40:])
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, line, words):
    with pytest.raises(InputError) as raised:
        yaml_book(tmp_path, text)
    assert raised.value.where == f"{tmp_path / 'prices.yaml'}:{line}"
    assert words in str(raised.value)


def test_a_price_that_is_as_good_as_nothing_is_refused():
    for tiny in (1e-30, 4e-19):
        with pytest.raises(ConfigError, match=r"input is .*: too small to be told from 0"):
            PriceBook.load(inline={"models": [{"model": "m", "input": tiny}]})
    for fine in (0, 0.0, 1e-18):
        assert PriceBook.load(inline={"models": [{"model": "m", "input": fine}]}, genai=False, litellm=False).revision


def from_day(start: Any) -> PriceBook:
    return PriceBook.load(
        inline={"models": [{"model": "m", "input": 1, "valid_from": start}]}, genai=False, litellm=False
    )


def test_dates_of_python_are_days():
    east = timezone(timedelta(hours=2))
    for start in (date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, 2, tzinfo=east), "2026-01-01"):
        priced = from_day(start)
        assert total(priced, "", "m", at=day("2026-01-01")) == DOLLAR
        assert total(priced, "", "m", at=day("2026-01-01") - 1) is None
    for hour in (datetime(2026, 1, 1, 2), datetime(2026, 1, 1, tzinfo=east)):
        with pytest.raises(ConfigError, match="not a day"):
            from_day(hour)


def test_letter_case_is_no_difference_in_your_names():
    own = PriceBook(
        inline_prices({"models": [{"model": "gpt-4o", "input": 1}, {"model": "GPT-5*", "input": 2}]}), [listed()]
    )
    for name, dollars in (("gpt-4o", 1), ("GPT-4o", 1), ("OpenAI/GPT-4O", 1), ("gpt-5-Mini", 2)):
        cost = own.cost(MILLION, provider="openai", model=name)
        assert (cost.total, cost.source, cost.certainty) == (dollars * DOLLAR, "yours", "exact"), name
        assert own.bound(Usage(1_000, 0), "openai", name) == dollars * 1_000_000
    twins = PriceBook(inline_prices({"models": [
        {"model": "Slm", "input": 1}, {"model": "slm", "input": 2, "valid_from": "2026-01-01"},
    ]}))  # fmt: skip
    assert [total(twins, "vllm", name, at=day("2026-06-01")) for name in ("Slm", "slm", "SLM")] == [
        DOLLAR, 2 * DOLLAR, 2 * DOLLAR,
    ]  # fmt: skip
    assert total(twins, "vllm", "slm", at=day("2025-06-01")) == DOLLAR  # what else is about it


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        PriceBook.load(tmp_path / "no.yaml")


def test_prices_inside_llmops_yaml_have_its_lines():
    document = load_yaml("a: 1\nprices:\n  models:\n    - model: x\n      input: much\n", name="llmops.yaml")
    with pytest.raises(ConfigError) as raised:
        inline_prices(document)
    assert raised.value.where == "llmops.yaml:5"
    with pytest.raises(ConfigError, match=r"models\[0\]\.input: input is 'much'") as raised:
        PriceBook.load(None, {"models": [{"model": "x", "input": "much"}]}, where="llmops.yaml:2")
    assert raised.value.where == "llmops.yaml:2"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["models", "model", "input", "tiers", "above", "service_tiers", "servers", "valid_from"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_data_is_prices_or_an_error_of_ours(data):
    try:
        inline_prices(data)
    except InputError as error:
        assert str(error)


# Providers


@pytest.mark.parametrize(
    ("address", "kind", "provider"),
    [
        ("api.openai.com", "openai_http", "openai"),
        ("https://api.openai.com/v1", "openai_http", "openai"),
        ("API.OpenAI.com:443", "openai", "openai"),
        ("eu.api.openai.com", "openai_http", "openai"),
        ("https://api.anthropic.com/v1/messages", "", "anthropic"),
        ("generativelanguage.googleapis.com", "openai_http", "gemini"),
        ("us-central1-aiplatform.googleapis.com", "", "vertex_ai"),
        ("aiplatform.googleapis.com", "", "vertex_ai"),
        ("acme.openai.azure.com", "openai_http", "azure"),
        ("acme.services.ai.azure.com", "openai_http", "azure_ai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "", "bedrock"),
        ("api.mistral.ai", "", "mistral"),
        ("codestral.mistral.ai", "", "codestral"),  # with terms of its own
        ("api.groq.com", "", "groq"),
        ("api.together.xyz", "", "together"),
        ("api.fireworks.ai", "", "fireworks"),
        ("api.deepseek.com", "", "deepseek"),
        ("https://openrouter.ai/api/v1", "", "openrouter"),
        ("api.x.ai", "", "xai"),
        ("api.cohere.com", "", "cohere"),
        ("api.perplexity.ai", "", "perplexity"),
        ("localhost:8000", "openai_http", "openai_compatible"),
        ("localhost:8000", "vllm", "vllm"),
        ("localhost:8000", "openai", ""),  # a proxy that is called as if it were OpenAI
        ("[::1]:8000", "openai_http", "openai_compatible"),
        ("api.openai.com.evil.example", "openai_http", "openai_compatible"),
        ("notapi.openai.com.example", "", ""),
        ("fakeapi.x.ai.example", "litellm", ""),
        ("http://user:secret@api.openai.com/v1?x=api.x.ai", "", "openai"),
        ("http://localhost/api.openai.com", "openai_http", "openai_compatible"),
        ("", "anthropic", "anthropic"),  # the library chose the address
        ("", "together_ai", "together"),
        ("", "openai_http", "openai_compatible"),
        ("", "", ""),
    ],
)
def test_who_runs_a_server(address, kind, provider):
    assert provider_of(address, kind) == provider


@given(st.text(), st.text(max_size=20))
def test_any_address_has_an_answer(address, kind):
    assert isinstance(provider_of(address, kind), str)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("openai_http", "openai_compatible"),
        ("openai_like", "openai_compatible"),
        ("hosted_vllm", "vllm"),
        ("ollama_chat", "ollama"),
        ("together_ai", "together"),
        ("TogetherAI", "together"),
        ("fireworks_ai", "fireworks"),
        ("vertex_ai-llama_models", "vertex_ai"),
        ("bedrock_converse", "bedrock"),
        ("x-ai", "xai"),
        ("text-completion-openai", "openai"),
        ("cohere_chat", "cohere"),
        ("azure", "azure"),
        ("Somebody-New", "somebody_new"),
    ],
)
def test_other_libraries_names_of_providers(name, ours):
    assert provider_name(name) == ours
    assert provider_name(ours) == ours


@pytest.mark.parametrize("provider", sorted(SELF_HOSTED))
def test_no_list_prices_a_server_that_anybody_can_run(provider):
    priced = book(**{f"{provider}/gpt-4o": chat(provider, 1, 1)})
    assert priced.cost(MILLION, provider=provider, model="gpt-4o") is None


# The book


def test_the_hint_is_a_line_of_yaml_that_must_be_filled_in(tmp_path):
    for provider, name in (("vllm", "my-slm"), ("", "org/model:7b"), ("openai", "yes, {it} #is"), ("vllm", "no")):
        line = PriceBook().hint(provider, name)
        text = f"models:\n  {line}\n"
        with pytest.raises(InputError, match="PRICE"):
            yaml_book(tmp_path, text)
        priced = yaml_book(tmp_path, text.replace("PRICE", "1"))
        assert total(priced, provider, name) == DOLLAR
    assert "\n" not in PriceBook().hint("vllm", "my-slm")


def test_the_revision_changes_with_what_is_used(tmp_path):
    path = tmp_path / "p.yaml"
    revisions = set()
    for text in ("models: []", "models: [] #", "models: [{model: a, input: 1}]"):
        path.write_text(text)
        for layers in ([], [listed()], [listed(x=chat("x", 1, 1))], [GENAI], [GenaiPrices("9.10", [])]):
            made = PriceBook(read_prices(path), layers)
            assert re.fullmatch(r"[0-9a-f]{12}", made.revision)
            assert made.revision == PriceBook(read_prices(path), layers).revision
            revisions.add(made.revision)
    assert len(revisions) == 15
    assert book().cost(MILLION, provider="openai", model="gpt-4o").revision == book().revision


def test_bounds_and_limits():
    priced = book()
    usage = Usage(1_000, 100)
    assert priced.bound(usage, "openai", "gpt-4o") == 1_000 * 2_500 + 100 * 10_000
    assert priced.bound(usage, "anthropic", "claude-haiku-4-5") == 1_000 * 2_000 + 100 * 5_000  # all of it kept an hour
    assert priced.bound(usage, "openai", "gpt-5", service_tier="priority") == 1_000 * 2_500 + 100 * 20_000
    assert priced.bound(usage, "openai", "gpt-5", service_tier="flex") == 1_000 * 1_250 + 100 * 10_000
    assert priced.bound(Usage(300_000, 1), "gemini", "gemini-2.5-pro") == 300_000 * 2_500 + 15_000
    assert priced.bound(Usage(200_000, 0), "gemini", "gemini-2.5-pro") == 200_000 * 1_250
    assert book({"model": "fine", "input": 0.0001}).bound(Usage(1, 0), "", "fine") == 1  # a tenth, rounded up
    assert priced.bound(Usage(100, 1), "gemini", "gemini-2.5-pro") == 100 * 1_250 + 10_000
    assert priced.max_output_tokens("openai", "gpt-4o") == 16_384
    assert priced.max_output_tokens("openai", "gpt-4o-2029-01-01") == 16_384
    assert priced.max_input_tokens("openai", "openai/gpt-4o") == 128_000
    assert priced.max_output_tokens("vllm", "gpt-4o") is None
    assert priced.max_output_tokens("openai", "nobody") is None


def test_entries_are_searched_by_words():
    priced = PriceBook(
        inline_prices({"models": [{"model": "my-slm", "provider": "vllm", "input": 1}]}), HISTORY.published
    )
    found = list(priced.entries("openai gpt-4o"))
    assert {(e.source, e.model) for e in found} >= {("genai-prices", "gpt-4o"), ("litellm", "gpt-4o-mini")}
    assert [e.source for e in priced.entries("my-slm")] == ["yours"]
    assert next(iter(priced.entries())).source == "yours"
    assert not list(priced.entries("no such"))
    assert not [e for e in priced.entries() if e.source == "litellm" and e.provider in SELF_HOSTED]


def test_a_name_that_a_person_types():
    assert HISTORY.named("gpt-4o") == ("openai", "gpt-4o")  # azure has one too
    assert HISTORY.named("azure/gpt-4o") == ("azure", "gpt-4o")
    assert HISTORY.named("together_ai/meta-llama/Llama-3.3-70B") == ("together", "meta-llama/Llama-3.3-70B")
    assert HISTORY.named("nobody") is None


def test_lists_that_are_broken_price_nothing():
    for content in (b"", b"[]", b"{", b'{"a": 1}', b'{"gpt-4o": {"litellm_provider": 5, "input_cost_per_token": "x"}}'):
        assert PriceBook(None, [LitellmPrices(content)]).cost(MILLION, provider="openai", model="gpt-4o") is None
    bad = SimpleNamespace(name="bad", revision="1", match=lambda *_: 1 / 0)
    assert PriceBook(None, [bad]).cost(MILLION, provider="openai", model="gpt-4o") is None


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.floats() | st.none(), st.text(max_size=8))
def test_a_cost_is_never_an_error(provider, name, backend, at, tier):
    found = HISTORY.cost(MILLION, provider=provider, model=name, backend=backend, at=at, service_tier=tier)
    assert found is None or found.total >= 0


def test_threads_get_the_same_price():
    priced, found = book(), []
    threads = [threading.Thread(target=lambda: found.append(total(priced, "openai", "gpt-4o"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2_500_000_000] * 16


def test_loading_prices_imports_no_library():
    code = (
        "import sys; from llmops.usage.price_book import PriceBook; from llmops.types import Usage\n"
        "book = PriceBook.load(); book.revision; book.entry('', 'x')\n"
        "assert not {'litellm', 'genai_prices', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "book.warm(); book.cost(Usage(1, 1, certainty='exact'), provider='openai', model='gpt-4o')\n"
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=clean_environment(), timeout=60)


# Lists that differ


def two_lists(first: Any, **second: Any) -> PriceBook:
    """genai-prices and litellm's list with one model of openai's, `m`."""
    genai = GenaiPrices("1", [SimpleNamespace(id="openai", models=[first])])
    return PriceBook(None, [genai, listed(m=chat("openai", 1, 4, **second))])


def certainty(of: PriceBook, usage: Usage, **more: Any) -> tuple[str, str]:
    cost = of.cost(usage, provider="openai", model="m", **more)
    return cost.source, cost.certainty


READ, WRITTEN = Usage(100, 0, certainty="exact"), Usage(100, 10, certainty="exact")


def test_only_calls_that_use_a_rate_the_lists_differ_about_are_estimated():
    output = two_lists(model("m", price("1", "5")))
    assert certainty(output, READ) == ("genai-prices", "exact")
    assert certainty(output, WRITTEN) == ("genai-prices", "estimated")
    cached = two_lists(model("m", price("1", "4", cache_read_mtok=Decimal("0.5"))), cache_read_input_token_cost=2e-7)
    assert certainty(cached, WRITTEN) == ("genai-prices", "exact")
    assert certainty(cached, Usage(100, 10, 1, certainty="exact")) == ("genai-prices", "estimated")
    assert cached.entry("openai", "m").note == output.entry("openai", "m").note != ""
    same = two_lists(model("m", price("1", "4", cache_read_mtok=Decimal("0.2"))), cache_read_input_token_cost=2e-7)
    assert certainty(same, Usage(100, 10, 1, certainty="exact")) == ("genai-prices", "exact")
    assert not same.entry("openai", "m").note
    alone = two_lists(model("m", price("1", "4", cache_read_mtok=Decimal("0.2"))))  # litellm's says nothing about it
    assert certainty(alone, Usage(100, 10, 1, certainty="exact")) == ("genai-prices", "exact")


def test_a_step_that_only_one_list_has_leaves_shorter_calls_exact():
    stepped = model("m", SimpleNamespace(input_mtok=tiered("1", 200_000, "2"), output_mtok=Decimal("4")))
    above = {"input_cost_per_token_above_200k_tokens": 2e-6}
    long = Usage(200_001, 10, certainty="exact")
    for of in (two_lists(stepped), two_lists(model("m", price("1", "4")), **above)):
        assert certainty(of, Usage(200_000, 10, certainty="exact")) == ("genai-prices", "exact")
        assert certainty(of, long) == ("genai-prices", "estimated")
    assert certainty(two_lists(stepped, **above), long) == ("genai-prices", "exact")
    flat = two_lists(model("m", price("1", "4")), **above)
    assert "tiers" not in flat.entry("openai", "m").as_dict()


def test_lists_that_differ_about_a_service_tier_leave_the_standard_one_exact():
    when = SimpleNamespace(when={"service_tier": "flex"}, prices=price("0.5", "2"), constraint=None)
    first = model("m", price("1", "4"), variants=[when])
    flex = {"input_cost_per_token_flex": 5e-7, "output_cost_per_token_flex": 3e-6}
    assert certainty(two_lists(first, **flex), WRITTEN) == ("genai-prices", "exact")
    assert certainty(two_lists(first, **flex), WRITTEN, service_tier="flex") == ("genai-prices", "estimated")
    assert certainty(two_lists(first, **flex), READ, service_tier="flex") == ("genai-prices", "exact")
    assert certainty(two_lists(first), WRITTEN, service_tier="flex") == ("genai-prices", "exact")
    other = model("m", price("1", "5"), variants=[when])  # who differs about the standard price is doubted in all
    assert certainty(two_lists(other), WRITTEN, service_tier="flex") == ("genai-prices", "estimated")


RATES = st.integers(0, 255).map(lambda bits: {name: 1 + (bits >> i & 1) for i, name in enumerate(CLASSES[:8])})


@given(
    st.lists(st.dictionaries(st.sampled_from([("standard", 50), ("flex", 0), ("flex", 50)]), RATES, max_size=2),
             min_size=2, max_size=2),
    RATES, RATES, st.lists(st.integers(0, 40), min_size=8, max_size=8), st.sampled_from(["standard", "flex"]),
)  # fmt: skip
def test_what_isnt_in_doubt_costs_the_same_by_both_lists(tables, first, second, tokens, service):
    one, other = (
        make_card({("standard", 0): base, **table}, keeps=True)
        for base, table in zip((first, second), tables, strict=True)
    )
    plain, read, write, hour, audio, spoken, thought, heard = tokens
    counts = counts_of(Usage(
        plain + read + write + hour + audio, spoken + thought + heard, read, write + hour, thought,
        cache_write_1h_tokens=hour, audio_input_tokens=audio, audio_output_tokens=heard,
    ))  # fmt: skip
    before, after = (charge(counts, card.rates(counts.input_tokens, service)[0]) for card in (one, doubted(one, other)))
    assert after[:2] == before[:2]
    assert after.assumed or not before.assumed
    theirs, has_tier = other.rates(counts.input_tokens, service)
    by_theirs = charge(counts, theirs)
    if not after.assumed and not by_theirs.assumed and (has_tier or service not in one.services):
        assert by_theirs.total == after.total
    assert doubted(one, one) is one


def test_more_than_tokens_was_billed():
    searched = Usage(100, 10, certainty="exact", estimated_cost=True)
    assert book().cost(searched, provider="openai", model="gpt-4o").certainty == "estimated"
    paid = Usage(100, 10, certainty="exact", cost=7, estimated_cost=True)  # a cost that was estimated, by another price
    assert book().cost(paid, provider="openai", model="gpt-4o").certainty == "exact"


# The libraries, where they are installed


@pytest.fixture(scope="module")
def installed() -> PriceBook:
    pytest.importorskip("genai_prices")
    if LitellmPrices.installed() is None:
        pytest.skip("litellm isn't installed")
    return PriceBook.load()


@pytest.fixture(scope="module")
def real_names(installed: PriceBook) -> list[tuple[str, str]]:
    names = {(entry.provider, entry.model) for layer in installed.published for entry in layer.entries(NOVEMBER)}
    return sorted(names)


NOVEMBER = day("2026-11-01T12:00")


def test_names_that_a_list_has_are_exact_unless_the_lists_differ(installed):
    for layer in installed.published:
        alone, exact, others = PriceBook(None, [layer]), 0, []
        for entry in layer.entries(NOVEMBER):
            for of in (alone, installed):
                cost = of.cost(MILLION_HALF, provider=entry.provider, model=entry.model, at=NOVEMBER)
                if cost is None:
                    continue
                known = of.entry(entry.provider, entry.model, NOVEMBER)
                exact += cost.certainty == "exact"
                if cost.certainty != "exact" and not known.note:
                    others.append(entry.label)
        assert exact > 2_000
        assert len(others) < 20, others


MARKS = st.one_of(
    st.integers(3, 99).map("-v{}".format), st.integers(3, 99).map("-v{}:0".format),
    st.integers(2, 99).map(":{}".format),
    st.dates(date(2031, 1, 1)).map("-{}".format), st.dates(date(2031, 1, 1)).map("@{:%Y%m%d}".format),
    st.sampled_from(["-0931", "-latest", "-turbo", "x"]), st.text(min_size=1, max_size=4),
)  # fmt: skip


@given(st.data())
def test_a_name_that_no_list_has_is_never_exact(installed, real_names, data):
    provider, known = data.draw(st.sampled_from(real_names))
    name = known + data.draw(MARKS)
    if known.startswith("ft:") or any(layer.writes(name) for layer in installed.published):
        return  # a fine-tuned model has a name of its own behind that of what it is made of
    cost = installed.cost(MILLION, provider=provider, model=name, at=NOVEMBER)
    assert cost is None or cost.certainty == "estimated", cost.price


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("deepseek", "deepseek-chat-v9"),
        ("anthropic", "claude-sonnet-4-5-v2"),
        ("anthropic", "claude-sonnet-4-5:7"),
        ("anthropic", "claude-opus-4-5-v3"),
        ("anthropic", "claude-haiku-4-5-20260101"),
        ("bedrock", "amazon.nova-pro-v9:0"),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v2:0"),
    ],
)
def test_versions_that_nobody_sells_yet(installed, provider, name):
    cost = installed.cost(MILLION, provider=provider, model=name, at=NOVEMBER)
    assert cost is None or cost.certainty == "estimated"


def test_dated_names_that_people_use(installed):
    for provider, name in (
        ("openai", "gpt-4o-2024-08-06"), ("anthropic", "claude-sonnet-4-5-20250929"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ("bedrock", "amazon.nova-pro-v1:0"),
        ("vertex_ai", "claude-sonnet-4-5@20250929"),
    ):  # fmt: skip
        cost = installed.cost(MILLION_HALF, provider=provider, model=name, at=NOVEMBER)
        assert cost.certainty == "exact", name


def test_the_installed_list_of_litellm():
    layer = LitellmPrices.installed()
    if layer is None:
        pytest.skip("litellm isn't installed")
    priced = PriceBook(None, [layer])
    assert sum(1 for _ in layer.entries(0.0)) > 2_000
    gpt = Usage(1_000_000, 100_000, 600_000, requests=1, certainty="exact")
    assert total(priced, "openai", "gpt-4o", gpt) == 400_000 * 2_500 + 600_000 * 1_250 + 100_000 * 10_000
    assert total(priced, "openai", "gpt-5", service_tier="flex") * 2 == total(priced, "openai", "gpt-5")
    assert total(priced, "anthropic", "claude-haiku-4-5", Usage(10**6, 0, 0, 10**6, certainty="exact",
                 cache_write_1h_tokens=10**6)) == 2 * DOLLAR  # fmt: skip
    assert priced.entry("ollama", "llama3") is None
    assert priced.entry("anthropic", "claude-haiku-9") is None
    for entry in layer.entries(0.0):
        assert all(rate >= 0 for rate in entry.rates.given().values()), entry.label
        assert max(entry.rates.given().values()) < 10_000, entry.label


def test_the_installed_genai_prices():
    pytest.importorskip("genai_prices")
    layer = GenaiPrices.installed()
    priced = PriceBook(None, [layer])
    assert total(priced, "openai", "o3", at=day("2024-06-01")) == 10 * DOLLAR
    assert total(priced, "openai", "o3", at=day("2026-06-01")) == 2 * DOLLAR
    assert priced.entry("anthropic", "claude-haiku-9") is None
    dated = priced.cost(MILLION, provider="anthropic", model="claude-haiku-4-5-20251001")
    assert (dated.total, dated.certainty) == (DOLLAR, "exact")  # a name that its list has at another seller
    assert sum(1 for _ in layer.entries(day("2026-11-01"))) > 1_000


def test_installed_genai_prices_and_we_compute_the_same():
    """Each of its models, on one usage that every class is in: our sum is its sum."""
    genai = pytest.importorskip("genai_prices")
    from genai_prices.data import providers

    layer, moment = GenaiPrices.installed(), day("2026-11-01T12:00")
    priced, compared = PriceBook(None, [layer]), 0
    for provider in providers:
        if provider.id not in ("openai", "anthropic", "mistral", "deepseek", "cohere", "x-ai", "groq"):
            continue
        for known in provider.models:
            usage = Usage(300_000, 1_000, requests=1, certainty="exact")
            ours = priced.cost(usage, provider=provider.id, model=known.id, at=moment)
            if ours is None or provider.find_model(known.id) is not known:
                continue
            theirs = known.calc_price(
                genai.Usage(input_tokens=300_000, output_tokens=1_000), provider,
                genai_request_timestamp=datetime.fromtimestamp(moment, UTC),
            )  # fmt: skip
            assert ours.total == round(theirs.total_price * DOLLAR), (provider.id, known.id)
            compared += 1
    assert compared > 100


# The page


def test_the_prices_on_the_page_are_prices(tmp_path):
    page = (ROOT / "docs" / "prices.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml(?: (\S+))?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for file, text in blocks:
        if file == "llmops.yaml":
            load_yaml(text, name=file)
        else:
            assert yaml_book(tmp_path, text).revision
    first = next(text for file, text in blocks if file == "prices.yaml")
    assert total(yaml_book(tmp_path, first), "vllm", "my-slm") is not None


def test_the_sample_list_has_the_shape_of_the_real_one():
    layer = LitellmPrices.installed()
    if layer is None:
        pytest.skip("litellm isn't installed")
    known = {key for entry in json.loads(layer.content).values() if isinstance(entry, dict) for key in entry}
    assert {key for entry in LISTED.values() for key in entry} <= known


@pytest.mark.parametrize("provider", ["gemini", "vertex_ai"])
@pytest.mark.parametrize(
    "path", ["models/", "publishers/google/models/", "projects/p/locations/l/publishers/google/models/"]
)
def test_googles_path_before_a_model_is_no_part_of_its_name(provider, path):
    book = PriceBook.load()
    used = Usage(1000, 100, requests=1, certainty="exact")
    plain = book.cost(used, provider=provider, model="gemini-2.5-pro")
    assert plain is not None and book.cost(used, provider=provider, model=f"{path}gemini-2.5-pro") == plain
    assert book.cost(used, provider=provider, model=f"{path}tuned/gemini-2.5-pro") is None
