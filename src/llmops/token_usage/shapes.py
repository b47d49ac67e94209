"""Usage of providers that have a shape of their own, in names that `read_usage` knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_GEMINI = frozenset({"promptTokenCount", "totalTokenCount", "prompt_token_count", "total_token_count"})
_CAMEL = frozenset({"inputTokens", "outputTokens"})
SHAPED = frozenset({*_GEMINI, *_CAMEL, "billed_units", "iterations"})
"""Names that only such shapes have."""
_TOO_MANY = 2**53
_BEDROCK = ("cacheReadInputTokens", "cacheWriteInputTokens", "cacheDetails")
_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_BY_AGE = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def in_plain_names(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Gemini's `usageMetadata`, Bedrock's and Cohere's `usage`, or Anthropic's with `iterations`; else `value`."""
    if not _GEMINI.isdisjoint(value):
        return _gemini(value)
    if not _CAMEL.isdisjoint(value):
        return _camel(value)
    billed = value.get("billed_units")
    return _cohere(value, billed) if isinstance(billed, Mapping) else _summed(value)


def usage_in(answer: Mapping[str, Any]) -> Any:
    """Where an answer, or a piece of one, has its usage: also Groq's streams and Gemini's; None where it has none."""
    groq = answer.get("x_groq")
    return (
        answer.get("usage")
        or (groq.get("usage") if isinstance(groq, Mapping) else None)
        or answer.get("usageMetadata")
        or None
    )


def whole(value: Any) -> int | None:
    """A count from 0, also one written as a float; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_MANY else None


def _gemini(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """usageMetadata (JSON or the SDK's names, of answers and of live sessions). A zero count is left out there."""

    def count(camel: str, snake: str) -> int:
        return whole(value.get(camel)) or whole(value.get(snake)) or 0

    prompt = count("promptTokenCount", "prompt_token_count")
    tools = count("toolUsePromptTokenCount", "tool_use_prompt_token_count")
    candidates = count("candidatesTokenCount", "candidates_token_count")
    candidates = candidates or count("responseTokenCount", "response_token_count")
    thoughts = count("thoughtsTokenCount", "thoughts_token_count")
    total = count("totalTokenCount", "total_token_count")
    inclusive = thoughts <= candidates and total == prompt + tools + candidates
    heard = _audio(value, "promptTokensDetails", "prompt_tokens_details")
    if tools:
        heard += _audio(value, "toolUsePromptTokensDetails", "tool_use_prompt_tokens_details")
    spoken = _audio(value, "candidatesTokensDetails", "candidates_tokens_details")
    spoken = spoken or _audio(value, "responseTokensDetails", "response_tokens_details")
    return {
        **_kept(value),
        "input_tokens": prompt + tools,
        "output_tokens": candidates if inclusive else candidates + thoughts,
        "total_tokens": total,
        "reasoning_tokens": thoughts,
        "cache_read_tokens": count("cachedContentTokenCount", "cached_content_token_count"),
        "audio_input_tokens": heard,
        "audio_output_tokens": spoken,
    }


def _audio(value: Mapping[str, Any], *names: str) -> int:
    parts: list[Any] = next((value[name] for name in names if isinstance(value.get(name), list)), [])
    spoken = [p for p in parts if isinstance(p, Mapping) and str(p.get("modality")).upper().endswith("AUDIO")]
    return sum(whole(part.get("tokenCount")) or whole(part.get("token_count")) or 0 for part in spoken)


def _camel(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bedrock's Converse: caches beside `inputTokens`, and writes by age. The same names with other caches' inside."""
    cached = {"read": value.get("cacheReadInputTokens"), "creation": value.get("cacheWriteInputTokens")}
    made = {
        **_kept(value),
        "input_tokens": value.get("inputTokens"),
        "output_tokens": value.get("outputTokens"),
        "total_tokens": value.get("totalTokens"),
    }
    if any(name in value for name in ("cachedInputTokens", "reasoningOutputTokens")):
        parts = {"cache_read_tokens": "cachedInputTokens", "reasoning_tokens": "reasoningOutputTokens"}
        return {**made, "cache_write_tokens": cached["creation"], **{n: value.get(o) for n, o in parts.items()}}
    if any(name in value for name in _BEDROCK):
        ages = dict.fromkeys(_BY_AGE, 0)
        for one in _mappings(value.get("cacheDetails")):
            name = f"ephemeral_{one.get('ttl')}_input_tokens"
            ages[name] = ages.get(name, 0) + (whole(one.get("inputTokens")) or 0)
        made |= {f"cache_{kind}_input_tokens": whole(count) or 0 for kind, count in cached.items()}
        made["cache_creation"] = ages
    return made


def _cohere(value: Mapping[str, Any], billed: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is billed, not what was processed; without `output_tokens` nothing was written."""
    if whole(billed.get("input_tokens")) is None and whole(billed.get("output_tokens")) is None:
        return value
    counts = {name: whole(billed.get(name)) or 0 for name in ("input_tokens", "output_tokens")}
    return {**_kept(value), **counts, "cache_read_tokens": value.get("cached_tokens")}


def _summed(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Anthropic's `iterations` of one request added up: what stands beside them leaves compactions out."""
    rounds = value.get("iterations")
    if not isinstance(rounds, list) or not rounds or not all(isinstance(one, Mapping) for one in rounds):
        return value
    summed: dict[str, Any] = {name: sum(whole(one.get(name)) or 0 for one in rounds) for name in _PARTS}
    ages = [one["cache_creation"] for one in rounds if isinstance(one.get("cache_creation"), Mapping)]
    summed["cache_creation"] = {name: sum(whole(one.get(name)) or 0 for one in ages) for name in _BY_AGE}
    return {**value, **summed}


def _kept(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value[name] for name in ("certainty", "requests") if name in value}


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else ()
