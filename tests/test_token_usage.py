"""Token counts of every provider read into one usage, and what providers say a request costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.streamed_completion import StreamedCompletion
from llmops.token_usage import read_usage, reported_cost, service_tier, usage_in
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
     "cache_creation_token_details", "promptTokensDetails", "certainty", "requests", "inputTokens", "outputTokens",
     "totalTokens", "cacheReadInputTokens", "cacheDetails", "ttl", "billed_units", "server_tool_use", "inference_geo",
     "cost_in_usd_ticks", "num_sources_used", "cachedInputTokens"]
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


# Which counts hold which, told by a total


def chat(value: dict[str, int]) -> dict[str, Any]:
    """Counts in the shape of chat completions."""
    return {
        "prompt_tokens": value["input"],
        "completion_tokens": value["output"],
        "total_tokens": value["total"],
        "prompt_tokens_details": {"cached_tokens": value["read"], "cache_write_tokens": value["write"]},
        "completion_tokens_details": {"reasoning_tokens": value["reasoning"]},
    }


FEW = st.one_of(st.integers(0, 4), st.integers(0, 10**6))  # small ones coincide often


@st.composite
def conventions(draw: st.DrawFn) -> tuple[dict[str, Any], Usage]:
    """One request as a server of any convention counts it, and what it used."""
    fresh, said, read, write, reasoning = (draw(FEW) for _ in range(5))
    if draw(st.booleans()):
        reasoning = read + write
    caches_inside, reasoning_inside = draw(st.booleans()), draw(st.booleans())
    true = Usage(fresh + read + write, said + reasoning, read, write, reasoning, 1, "exact")
    sent = chat({
        "input": true.input_tokens if caches_inside else fresh,
        "output": true.output_tokens if reasoning_inside else said,
        "total": true.total_tokens, "read": read, "write": write, "reasoning": reasoning,
    })  # fmt: skip
    return sent, true


@given(conventions())
def test_a_reading_is_right_or_not_exact_whatever_the_convention(case: tuple[dict[str, Any], Usage]) -> None:
    sent, true = case
    found = usage(sent)
    assert found == true or found.certainty == "estimated"
    assert found.total_tokens == true.total_tokens or not true.total_tokens


@given(conventions())
def test_only_as_many_cached_as_reasoned_tokens_leave_a_doubt(case: tuple[dict[str, Any], Usage]) -> None:
    sent, true = case
    if true.cache_read_tokens + true.cache_write_tokens != true.reasoning_tokens:
        assert usage(sent) == true


@given(FEW, FEW, FEW, FEW, st.booleans())
def test_xais_counts_are_exact_whatever_the_numbers(
    fresh: int, said: int, read: int, reasoning: int, same: bool
) -> None:
    """Its chat completions count reasoning beside the completion, its responses inside of the output."""
    reasoning = read if same else reasoning
    true = Usage(fresh + read, said + reasoning, read, 0, reasoning, 1, "exact")
    counts = {"input": fresh + read, "output": said, "total": true.total_tokens, "read": read, "write": 0}
    own = {"cost_in_usd_ticks": 1, "num_sources_used": 0}
    assert usage({**chat({**counts, "reasoning": reasoning}), **own}) == true
    responses = responses_usage(Tokens(true.input_tokens, true.output_tokens, read, reasoning=reasoning))
    assert usage({**responses, **own}) == true


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        # more reasoning than completion: it can't be inside, so it isn't the caches that are beside
        ({"prompt_tokens": 500, "completion_tokens": 3, "total_tokens": 623,
          "prompt_tokens_details": {"cached_tokens": 120}, "completion_tokens_details": {"reasoning_tokens": 120}},
         Usage(500, 123, 120, reasoning_tokens=120)),
        # more cached than prompt: it is the other way round
        ({"prompt_tokens": 5, "completion_tokens": 300, "total_tokens": 425,
          "prompt_tokens_details": {"cached_tokens": 120}, "completion_tokens_details": {"reasoning_tokens": 120}},
         Usage(125, 300, 120, reasoning_tokens=120)),
        # both beside
        ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 158,
          "prompt_tokens_details": {"cached_tokens": 100}, "completion_tokens_details": {"reasoning_tokens": 50}},
         Usage(105, 53, 100, reasoning_tokens=50)),
        # xAI's documentation: 26 + 168 + 304
        ({"prompt_tokens": 26, "completion_tokens": 168, "total_tokens": 498, "num_sources_used": 0,
          "prompt_tokens_details": {"text_tokens": 26, "cached_tokens": 4},
          "completion_tokens_details": {"reasoning_tokens": 304}}, Usage(26, 472, 4, reasoning_tokens=304)),
        # Bedrock's Converse: caches beside, writes by age
        ({"inputTokens": 13, "outputTokens": 4, "totalTokens": 7287, "cacheReadInputTokens": 0,
          "cacheWriteInputTokens": 7270, "cacheDetails": [{"ttl": "5m", "inputTokens": 7270}]},
         Usage(7287 - 4, 4, 0, 7270)),
        ({"inputTokens": 7, "outputTokens": 11, "cacheReadInputTokens": 17, "cacheWriteInputTokens": 42,
          "cacheDetails": [{"ttl": "1h", "inputTokens": 23}, {"ttl": "5m", "inputTokens": 19}]},
         Usage(66, 11, 17, 42, cache_write_1h_tokens=23)),
        ({"inputTokens": 30, "outputTokens": 6, "totalTokens": 36}, Usage(30, 6)),
        # the same names with the caches inside
        ({"inputTokens": 100, "cachedInputTokens": 40, "cacheWriteInputTokens": 10, "outputTokens": 20,
          "reasoningOutputTokens": 5, "totalTokens": 120}, Usage(100, 20, 40, 10, 5)),
        # Cohere: what is billed
        ({"billed_units": {"input_tokens": 5, "output_tokens": 3}, "tokens": {"input_tokens": 71, "output_tokens": 9}},
         Usage(5, 3)),
        ({"billed_units": {"input_tokens": 5}}, Usage(5, 0)),
        # Gemini's live sessions, and audio that a tool returned
        ({"promptTokenCount": 10, "responseTokenCount": 4, "totalTokenCount": 17, "toolUsePromptTokenCount": 3,
          "toolUsePromptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
          "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}]},
         Usage(13, 4, audio_input_tokens=2, audio_output_tokens=4)),
        # OpenAI: predictions are part of the completion, accepted or not
        ({"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18, "completion_tokens_details": {
          "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 4, "audio_tokens": 0}}, Usage(10, 8)),
    ],
)  # fmt: skip
def test_what_else_providers_send(value: dict[str, Any], wanted: Usage) -> None:
    found = usage(json.loads(json.dumps(value)))
    assert (found.certainty, _ours(found)) == ("exact", _ours(wanted))
    assert not found.estimated_cost


def test_as_many_cached_as_reasoned_tokens_beside_both_are_a_guess() -> None:
    doubtful = chat({"input": 500, "output": 300, "total": 920, "read": 120, "write": 0, "reasoning": 120})
    found = usage(doubtful)
    assert (found.certainty, found.input_tokens, found.output_tokens) == ("estimated", 500, 420)


def test_counts_of_bedrock_that_a_total_contradicts_are_a_guess() -> None:
    counts = {"inputTokens": 100, "outputTokens": 25, "totalTokens": 125, "cacheReadInputTokens": 40}
    assert usage(counts).certainty == "estimated"


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0}}, True),
        ({"server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 3}}, False),
        ({"server_tool_use": None}, False),
        ({"server_tool_use": {"web_search_requests": 2}, "cost": 0.03}, False),
        ({"num_sources_used": 3}, True),
        ({"num_server_side_tools_used": 1, "cost_in_usd_ticks": 5}, False),
        ({"prompt_audio_seconds": 12}, True),
        ({"prompt_audio_seconds": {}}, False),
        ({"inference_geo": "us"}, True),
        ({"inference_geo": "global"}, False),
    ],
)
def test_what_is_billed_beside_tokens_makes_the_cost_an_estimate(more: dict[str, Any], doubt: bool) -> None:
    found = usage({"input_tokens": 10, "output_tokens": 2, **more})
    assert (found.certainty, found.input_tokens, found.estimated_cost) == ("exact", 10, doubt)
    assert usage({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, **more}).estimated_cost is doubt


def test_where_an_answer_has_its_usage() -> None:
    counts = {"prompt_tokens": 18, "completion_tokens": 439, "total_tokens": 457, "queue_time": 0.06}
    assert usage(usage_in({"x_groq": {"id": "req_1", "usage": counts}})) == Usage(
        18, 439, requests=1, certainty="exact"
    )
    assert usage_in({"usage": counts, "x_groq": {"usage": {}}}) == counts
    assert usage_in({"usage": None, "usageMetadata": {"promptTokenCount": 1}}) == {"promptTokenCount": 1}
    assert usage_in({"x_groq": None}) is None


def test_a_stream_of_groqs_has_its_usage_in_its_last_piece() -> None:
    built = StreamedCompletion("groq", "m")
    said = {"choices": [{"index": 0, "delta": {"content": "Paris"}, "finish_reason": None}]}
    built.add_chunk({**said, "x_groq": {"id": "req_1"}})
    counts = {"prompt_tokens": 18, "completion_tokens": 4, "total_tokens": 22, "queue_time": 0.06}
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    built.add_chunk({**ended, "x_groq": {"id": "req_1", "usage": counts}})
    built.add(b"[DONE]")
    assert built.completion(1.0, None).usage == Usage(18, 4, requests=1, certainty="exact")


@pytest.mark.parametrize(
    ("answer", "tier"),
    [
        ({"usage": {"service_tier": "standard", "speed": "fast"}}, "fast"),
        ({"usage": {"service_tier": "standard", "speed": "standard"}}, "standard"),
        ({"usageMetadata": {"trafficType": "ON_DEMAND"}}, ""),
        ({"usageMetadata": {"trafficType": "ON_DEMAND_FLEX"}}, "flex"),
        ({"usageMetadata": {"trafficType": "TrafficType.ON_DEMAND_PRIORITY"}}, "priority"),
        ({"usageMetadata": {"trafficType": "PROVISIONED_THROUGHPUT"}}, "provisioned_throughput"),
        ({"usageMetadata": {"trafficType": 3}}, ""),
    ],
)
def test_tiers_in_the_usage(answer: dict[str, Any], tier: str) -> None:
    assert service_tier(answer) == tier
