"""Token counts as other systems write them, read into one `Usage`.

Which counts hold which: OpenAI (both APIs), LangChain and litellm count cached tokens inside of the input and reasoning
inside of the output, as we do; Anthropic counts caches beside `input_tokens`; Gemini counts the cache inside of
`promptTokenCount` and thoughts beside `candidatesTokenCount`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.types import TokenCertainty, Usage

INPUT_NAMES = ("input_tokens", "prompt_tokens")
OUTPUT_NAMES = ("output_tokens", "completion_tokens")
_GROUPS = {
    "prompt_tokens_details": "input.",
    "input_tokens_details": "input.",
    "input_token_details": "input.",
    "completion_tokens_details": "output.",
    "output_tokens_details": "output.",
    "output_token_details": "output.",
    "cache_creation": "input.",
    "cache_creation_token_details": "input.",
}
"""Where parts are counted: `prompt_tokens_details.cached_tokens` is read as `input.cached_tokens`."""
_INPUT_DETAILS = tuple(name for name in _GROUPS if name.startswith(("prompt", "input")))
_CACHE_READ = (
    "cache_read_tokens",
    "input.cached_tokens",
    "input.cache_read",
    "input.priority_cache_read",
    "input.flex_cache_read",
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "cached_tokens",
)
_CACHE_WRITE = (
    "cache_write_tokens",
    "input.cache_write_tokens",
    "input.cache_creation_tokens",
    "input.cache_creation",
    "cache_creation_input_tokens",
)
_WRITE_5M = ("input.ephemeral_5m_input_tokens",)
_WRITE_1H = ("cache_write_1h_tokens", "input.ephemeral_1h_input_tokens")
_REASONING = (
    "reasoning_tokens",
    "output.reasoning_tokens",
    "output.reasoning",
    "output.priority_reasoning",
    "output.flex_reasoning",
    "output.thinking_tokens",
)
_AUDIO_IN = ("audio_input_tokens", "input.audio_tokens", "input.audio")
_AUDIO_OUT = ("audio_output_tokens", "output.audio_tokens", "output.audio")
_TOO_MANY = 2**53
_PLAIN = frozenset((*INPUT_NAMES, *OUTPUT_NAMES, "total_tokens", "requests"))
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")
_GEMINI = frozenset({"promptTokenCount", "totalTokenCount", "prompt_token_count", "total_token_count"})


def read_usage(value: Any, *, requests: int = 1) -> Usage | None:
    """Usage from a mapping in our names, OpenAI's, Anthropic's, Gemini's, LangChain's or litellm's, or None.

    None when it holds no token counts. Exact, unless the mapping says so itself (`certainty`), lacks one of input and
    output, or contradicts itself: more cached than read, a total of other tokens. Such parts are clamped to what they
    are part of and the whole is marked as estimated.
    """
    if not isinstance(value, Mapping):
        return None
    value = _gemini(value) or _summed(value)
    flat = _flat(value)
    read, wrote, total = _named(flat, INPUT_NAMES), _named(flat, OUTPUT_NAMES), flat.get("total_tokens")
    if read is None and wrote is None:
        return None
    if total is not None and (read is None or wrote is None):
        known = read if read is not None else wrote or 0
        read, wrote = (max(total - known, 0) if n is None else n for n in (read, wrote))
    found = _Counts(read or 0, wrote or 0, "unknown" if read is None or wrote is None else "exact")
    has_parts = not _PLAIN.issuperset(flat)
    if has_parts:
        found.add_parts(flat)
    if _excludes_caches(value):
        found.input += found.cache_read + found.cache_write
    if total:
        found.agree_with(total)
    if has_parts:
        found.clamp()
    said = value.get("certainty")
    if said in ("exact", "estimated", "unknown"):
        found.certainty = said if found.certainty == "unknown" else found.certainty
        found.doubt(said)
    return found.usage(flat.get("requests", requests))


@dataclass(slots=True)
class _Counts:
    """The counts of a `Usage` while they are put together."""

    input: int
    output: int
    certainty: TokenCertainty
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    images: int = 0

    def add_parts(self, flat: Mapping[str, int]) -> None:
        self.cache_read = _named(flat, _CACHE_READ) or 0
        self.cache_write_1h = _named(flat, _WRITE_1H) or 0
        by_age = self.cache_write_1h + (_named(flat, _WRITE_5M) or 0)
        self.cache_write = max(_named(flat, _CACHE_WRITE) or 0, by_age)
        self.reasoning = _named(flat, _REASONING) or 0
        self.audio_input = _named(flat, _AUDIO_IN) or 0
        self.audio_output = _named(flat, _AUDIO_OUT) or 0
        self.images = flat.get("images", 0)

    def agree_with(self, total: int) -> None:
        """A total above input and output tells what a server counts beside them: reasoning (xAI) or caches."""
        beside = total - self.input - self.output
        if not beside:
            return
        caches = self.cache_read + self.cache_write
        if beside == caches != self.reasoning:
            self.input += beside
            return
        if beside != self.reasoning or beside == caches:
            self.doubt("estimated")
        self.output += max(beside, 0)

    def clamp(self) -> None:
        """No part above what it is part of."""
        given = self._parts()
        self.cache_read = min(self.cache_read, self.input)
        self.cache_write = min(self.cache_write, self.input - self.cache_read)
        self.cache_write_1h = min(self.cache_write_1h, self.cache_write)
        self.reasoning = min(self.reasoning, self.output)
        self.audio_input = min(self.audio_input, self.input)
        self.audio_output = min(self.audio_output, self.output)
        if self._parts() != given:
            self.doubt("estimated")

    def _parts(self) -> tuple[int, ...]:
        writes = self.cache_write, self.cache_write_1h
        return self.cache_read, *writes, self.reasoning, self.audio_input, self.audio_output

    def doubt(self, certainty: TokenCertainty) -> None:
        """As sure as `certainty` at most."""
        order: tuple[TokenCertainty, ...] = ("exact", "estimated", "unknown")
        self.certainty = max(self.certainty, certainty, key=order.index)

    def usage(self, requests: int) -> Usage:
        return Usage(
            self.input,
            self.output,
            self.cache_read,
            self.cache_write,
            self.reasoning,
            requests,
            self.certainty,
            self.cache_write_1h,
            self.audio_input,
            self.audio_output,
            self.images,
        )


def _excludes_caches(value: Mapping[str, Any]) -> bool:
    """Anthropic's own shape; litellm and LangChain keep its names beside counts that include caches."""
    if "prompt_tokens" in value or any(isinstance(value.get(group), Mapping) for group in _INPUT_DETAILS):
        return False
    return any(name in value for name in _BESIDE)


def _gemini(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """usageMetadata (JSON or the SDK's names) in our names; None for anything else. A zero count is left out there."""
    if _GEMINI.isdisjoint(value):
        return None

    def count(camel: str, snake: str) -> int:
        return _whole(value.get(camel)) or _whole(value.get(snake)) or 0

    prompt = count("promptTokenCount", "prompt_token_count")
    tools = count("toolUsePromptTokenCount", "tool_use_prompt_token_count")
    candidates = count("candidatesTokenCount", "candidates_token_count")
    thoughts = count("thoughtsTokenCount", "thoughts_token_count")
    total = count("totalTokenCount", "total_token_count")
    inclusive = thoughts <= candidates and total == prompt + tools + candidates
    return {
        "input_tokens": prompt + tools,
        "output_tokens": candidates if inclusive else candidates + thoughts,
        "total_tokens": total,
        "reasoning_tokens": thoughts,
        "cache_read_tokens": count("cachedContentTokenCount", "cached_content_token_count"),
        "audio_input_tokens": _audio(value, "promptTokensDetails", "prompt_tokens_details"),
        "audio_output_tokens": _audio(value, "candidatesTokensDetails", "candidates_tokens_details"),
    }


def _audio(value: Mapping[str, Any], *names: str) -> int:
    parts: list[Any] = next((value[name] for name in names if isinstance(value.get(name), list)), [])
    spoken = [p for p in parts if isinstance(p, Mapping) and str(p.get("modality")).upper().endswith("AUDIO")]
    return sum(_whole(part.get("tokenCount")) or _whole(part.get("token_count")) or 0 for part in spoken)


def _summed(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Anthropic's `iterations` of one request added up: what stands beside them leaves compactions out."""
    rounds = value.get("iterations")
    if not isinstance(rounds, list) or not rounds or not all(isinstance(one, Mapping) for one in rounds):
        return value
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    flat = [_flat(one) for one in rounds]
    summed: dict[str, Any] = {name: sum(one.get(name, 0) for one in flat) for name in names}
    by_age = (*_WRITE_5M, _WRITE_1H[-1])
    summed["cache_creation"] = {n.removeprefix("input."): sum(one.get(n, 0) for one in flat) for n in by_age}
    return {**value, **summed}


def _flat(value: Mapping[str, Any]) -> dict[str, int]:
    """Every whole number from 0, those of details as `input.…` and `output.…` unless they are 0."""
    found: dict[str, int] = {}
    for name, item in value.items():
        if type(item) is int and 0 <= item < _TOO_MANY:
            found[name] = item
            continue
        group = _GROUPS.get(name) if isinstance(item, Mapping) else None
        if group is None:
            count = _whole(item)
            if count is not None:
                found[name] = count
            continue
        for part, counted in item.items():
            if not counted:
                continue
            if isinstance(counted, Mapping) and part in _GROUPS:
                found.update({group + n: c for n, one in counted.items() if (c := _whole(one))})
            elif count := _whole(counted):
                found[group + part] = count
    return found


def _named(flat: Mapping[str, int], names: tuple[str, ...]) -> int | None:
    """The first count above 0 under one of `names`, else 0 when there is one of 0."""
    found = None
    for name in names:
        count = flat.get(name)
        if count:
            return count
        found = count if found is None else found
    return found


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_MANY else None
