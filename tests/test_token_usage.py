"""Token counts of every provider read into one usage, and what providers say a request costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.token_usage import read_usage, reported_cost, service_tier
from llmops.types import Usage
from provider_shapes import Tokens, anthropic_usage, gemini_usage, openai_usage, responses_usage

COUNT = st.integers(0, 10**9)


def usage(value: Any) -> Usage:
    found = read_usage(value)
    assert found is not None
    return found


@st.composite
def counted(draw: st.DrawFn) -> Tokens:
    read, five, hour, reasoning = (draw(COUNT) for _ in range(4))
    audio_in = draw(st.integers(0, 1000))
    fresh, said = draw(COUNT) + audio_in, draw(COUNT)
    return Tokens(fresh + read + five + hour, said + reasoning, read, five, hour, reasoning, audio_in)


def expected(tokens: Tokens, **parts: int) -> Usage:
    return Usage(tokens.input, tokens.output, requests=1, certainty="exact", **parts)


@given(counted())
def test_openai_counts_caches_inside_of_the_input(tokens: Tokens) -> None:
    written = tokens.cache_write_5m + tokens.cache_write_1h
    parts = {"cache_read_tokens": tokens.cache_read, "reasoning_tokens": tokens.reasoning}
    audio = {"audio_input_tokens": tokens.audio_input}
    assert usage(openai_usage(tokens)) == expected(tokens, **parts, **audio, cache_write_tokens=written)
    assert usage(responses_usage(tokens)) == expected(tokens, **parts)


@given(counted())
def test_anthropic_counts_caches_beside_the_input(tokens: Tokens) -> None:
    found = usage(anthropic_usage(tokens))
    assert found == expected(
        tokens,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write_5m + tokens.cache_write_1h,
        cache_write_1h_tokens=tokens.cache_write_1h,
    )


@given(counted())
def test_gemini_counts_thoughts_beside_the_candidates(tokens: Tokens) -> None:
    assert usage(gemini_usage(tokens)) == expected(
        tokens,
        cache_read_tokens=tokens.cache_read,
        reasoning_tokens=tokens.reasoning,
        audio_input_tokens=tokens.audio_input,
    )


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        # ours
        ({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2)),
        ({"input_tokens": 9, "output_tokens": 2, "cache_write_tokens": 4, "cache_write_1h_tokens": 3, "images": 1},
         Usage(9, 2, 0, 4, cache_write_1h_tokens=3, images=1)),
        # DeepSeek: hits and misses make up the prompt
        ({"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
         Usage(10, 1, 6)),
        # xAI: reasoning beside the completion, told by the total
        ({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 111,
          "completion_tokens_details": {"reasoning_tokens": 100}}, Usage(10, 101, reasoning_tokens=100)),
        # a proxy that leaves caches out of the prompt but not out of the total
        ({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 911,
          "prompt_tokens_details": {"cached_tokens": 900}}, Usage(910, 1, 900)),
        # litellm on an Anthropic answer: Anthropic's names beside a prompt that includes the caches
        ({"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cache_read_input_tokens": 60,
          "cache_creation_input_tokens": 30,
          "prompt_tokens_details": {"cached_tokens": 60, "cache_creation_tokens": 30, "text_tokens": 10,
              "cache_creation_token_details": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}},
         Usage(100, 5, 60, 30, cache_write_1h_tokens=20)),
        # LangChain on an Anthropic answer: the sum of writes is 0 when they are given by age
        ({"input_tokens": 100, "output_tokens": 5, "total_tokens": 105, "input_token_details": {"cache_read": 60,
          "cache_creation": 0, "ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}},
         Usage(100, 5, 60, 30, cache_write_1h_tokens=20)),
        ({"input_tokens": 8, "output_tokens": 5, "input_token_details": {"audio": 3, "cache_read": 2},
          "output_token_details": {"reasoning": 4, "audio": 1}},
         Usage(8, 5, 2, reasoning_tokens=4, audio_input_tokens=3, audio_output_tokens=1)),
        # Anthropic with thinking counted, and older answers without the age of writes
        ({"input_tokens": 1, "output_tokens": 9, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 0,
          "output_tokens_details": {"thinking_tokens": 6}}, Usage(5, 9, 0, 4, 6)),
        # Anthropic with a compaction: what stands outside is only the last round
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0, "iterations": [
            {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 7},
            {"type": "message", "input_tokens": 10, "output_tokens": 5}]}, Usage(117, 25, 7)),
        # Gemini: candidates that include the thoughts, told by the total; nothing but thoughts; tools' prompts
        ({"promptTokenCount": 10, "candidatesTokenCount": 30, "thoughtsTokenCount": 20, "totalTokenCount": 40},
         Usage(10, 30, reasoning_tokens=20)),
        ({"promptTokenCount": 10, "thoughtsTokenCount": 20, "totalTokenCount": 30},
         Usage(10, 20, reasoning_tokens=20)),
        ({"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 16},
         Usage(15, 1)),
        ({"prompt_token_count": 10, "cached_content_token_count": 4, "candidates_token_count": 2,
          "total_token_count": 12, "candidates_tokens_details": [{"modality": "AUDIO", "token_count": 1}]},
         Usage(10, 2, 4, audio_output_tokens=1)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 3.0, "completion_tokens": 2.0}, Usage(3, 2)),
    ],
)  # fmt: skip
def test_what_providers_and_libraries_send(value: dict[str, Any], wanted: Usage) -> None:
    found = usage(json.loads(json.dumps(value)))
    assert (found.certainty, found.requests) == ("exact", 1)
    assert found == usage({"certainty": "exact", **_ours(wanted)})


def _ours(wanted: Usage) -> dict[str, int]:
    names = [name for name in Usage.__dataclass_fields__ if name.endswith("_tokens") or name == "images"]
    return {name: getattr(wanted, name) for name in names}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 12}},
         Usage(10, 5, 10)),
        ({"prompt_tokens": 10, "completion_tokens": 5,
          "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 6}}, Usage(10, 5, 6, 4)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 9}},
         Usage(10, 5, reasoning_tokens=5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}, Usage(10, 30)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 12}, Usage(10, 5)),
        ({"input_tokens": 10, "output_tokens": 5, "cache_write_tokens": 2, "cache_write_1h_tokens": 11},
         Usage(10, 5, 0, 10, cache_write_1h_tokens=10)),
    ],
)  # fmt: skip
def test_counts_that_contradict_each_other_are_clamped_and_estimated(value: dict[str, Any], wanted: Usage) -> None:
    found = usage(value)
    assert found.certainty == "estimated"
    assert _ours(found) == _ours(wanted)
    assert usage({**value, "certainty": "exact"}).certainty == "estimated"


NUMBERS = st.one_of(st.none(), st.integers(-5, 2**60), st.floats(), st.text(max_size=3), st.booleans())
NAMES = st.sampled_from(
    ["input_tokens", "prompt_tokens", "output_tokens", "completion_tokens", "total_tokens", "promptTokenCount",
     "candidatesTokenCount", "totalTokenCount", "cached_tokens", "cache_read", "reasoning_tokens", "audio_tokens",
     "cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_1h_input_tokens", "cache_write_tokens",
     "prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "cache_creation", "iterations",
     "cache_creation_token_details", "promptTokensDetails", "certainty", "requests"]
)  # fmt: skip


@given(
    st.recursive(
        NUMBERS,
        lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=6), st.lists(inner, max_size=2)),
        max_leaves=25,
    )
)
def test_no_part_is_above_its_whole_whatever_is_sent(value: Any) -> None:
    found = read_usage(value)
    if found is None:
        return
    assert found.cache_read_tokens + found.cache_write_tokens <= found.input_tokens
    assert found.cache_write_1h_tokens <= found.cache_write_tokens
    assert found.reasoning_tokens <= found.output_tokens
    assert found.audio_input_tokens <= found.input_tokens and found.audio_output_tokens <= found.output_tokens
    assert all(count >= 0 for count in _ours(found).values())


@pytest.mark.parametrize("value", [None, [], "12", {}, {"total_tokens": 5}, {"input_tokens": -1}, {"usage": 3}])
def test_what_holds_no_counts(value: Any) -> None:
    assert read_usage(value) is None


def test_half_of_the_counts_is_not_exact() -> None:
    assert usage({"prompt_tokens": 4}).certainty == "unknown"
    assert usage({"prompt_tokens": 4, "certainty": "estimated"}).certainty == "estimated"


@pytest.mark.parametrize(
    ("value", "nanodollars"),
    [
        ('{"cost": 0.000123}', 123_000),
        ('{"cost": 0.0000000015}', 2),
        ('{"cost": 0.0000000005}', 0),
        ('{"cost": 0.1}', 100_000_000),
        ('{"cost": 1e-05}', 10_000),
        ('{"cost": 0}', 0),
        ('{"cost": 0.05, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.95}}', 1_000_000_000),
        ('{"cost": 0.95, "is_byok": false, "cost_details": {"upstream_inference_cost": 0.95}}', 950_000_000),
        ('{"cost": {"input_tokens_cost": 0.001, "total_cost": 0.007}}', 7_000_000),
        ('{"cost_in_usd_ticks": 37756000}', 3_775_600),
        ('{"cost": -1}', None),
        ('{"cost": NaN}', None),
        ('{"cost": true}', None),
        ('{"cost": "0.1"}', None),
        ('{"cost": 1e300}', None),
        ("{}", None),
        ("[]", None),
    ],
)
def test_what_a_provider_says_it_costs(value: str, nanodollars: int | None) -> None:
    assert reported_cost(json.loads(value)) == nanodollars


@given(st.integers(0, 10**15))
def test_reported_dollars_keep_every_digit(nanodollars: int) -> None:
    written = f"{nanodollars // 10**9}.{nanodollars % 10**9:09d}"
    assert reported_cost(json.loads(f'{{"cost": {written}}}')) == nanodollars


def test_where_the_service_tier_stands() -> None:
    assert service_tier({"service_tier": "flex"}) == "flex"
    assert service_tier({"usage": anthropic_usage(Tokens(), "priority")}) == "priority"
    assert service_tier({"service_tier": None, "usage": None}) == ""
