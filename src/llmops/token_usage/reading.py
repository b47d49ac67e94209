"""Token counts as other systems write them, read into one `Usage`.

Which counts hold which: OpenAI (both APIs), LangChain and litellm count cached tokens inside of the input and reasoning
inside of the output, as we do; Anthropic and Bedrock count caches beside the input; Gemini counts the cache inside of
`promptTokenCount` and thoughts beside `candidatesTokenCount`; xAI's chat completions count reasoning beside
`completion_tokens`. Totals tell where it is done otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmops.token_usage.reporting import BILLED_BESIDE, beside_tokens
from llmops.token_usage.shapes import SHAPED, in_plain_names, whole
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
_SPECIAL = SHAPED | BILLED_BESIDE
_XAI = frozenset({"cost_in_usd_ticks", "num_sources_used"})
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")


def read_usage(value: Any, *, requests: int = 1) -> Usage | None:
    """Usage from a mapping in our names or in those of a provider, of LangChain or of litellm.

    None when it holds no token counts. Exact, unless the mapping says so itself (`certainty`), lacks one of input and
    output, contradicts itself (more cached than read, a total of other tokens), or can be read in two ways. Such parts
    are clamped to what they are part of and the whole is marked as estimated. `estimated_cost` is set where more than
    tokens is billed, such as searches.
    """
    if not isinstance(value, Mapping):
        return None
    is_plain = _SPECIAL.isdisjoint(value)
    if not is_plain:
        value = in_plain_names(value)
    flat = _flat(value)
    read, wrote, total = _named(flat, INPUT_NAMES), _named(flat, OUTPUT_NAMES), flat.get("total_tokens")
    if read is None and wrote is None:
        return None
    has_parts = not _PLAIN.issuperset(flat)
    is_common = is_plain and not has_parts and "certainty" not in value
    if is_common and read is not None and wrote is not None and total == read + wrote:
        return Usage(read, wrote, requests=flat.get("requests", requests), certainty="exact")  # as most servers say it
    if total is not None and (read is None or wrote is None):
        known = read if read is not None else wrote or 0
        read, wrote = (max(total - known, 0) if n is None else n for n in (read, wrote))
    found = _Counts(read or 0, wrote or 0, "unknown" if read is None or wrote is None else "exact")
    if has_parts:
        found.add_parts(flat)
        if _excludes_caches(value):
            found.input += found.cache_read + found.cache_write
    if total:
        found.agree_with(total, value)
    if has_parts:
        found.clamp()
    said = value.get("certainty")
    if said in ("exact", "estimated", "unknown"):
        found.certainty = said if found.certainty == "unknown" else found.certainty
        found.doubt(said)
    usage = found.usage(flat.get("requests", requests))
    return usage if is_plain or not beside_tokens(value) else replace(usage, estimated_cost=True)


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

    def agree_with(self, total: int, value: Mapping[str, Any]) -> None:
        """A total above input and output tells what a server counts beside them: caches, reasoning (xAI), or both.

        A part can only be inside of what it isn't larger than. Where that leaves one way to come to the total, it is
        the server's; where caches and reasoning are as many, only xAI's own names tell which it is.
        """
        beside = total - self.input - self.output
        if not beside:
            return
        caches, reasoning = self.cache_read + self.cache_write, self.reasoning
        ways = {
            (added_in, added_out)
            for added_in, added_out in ((0, reasoning), (caches, 0), (caches, reasoning))
            if added_in + added_out == beside
            and (added_in or caches <= self.input)
            and (added_out or reasoning <= self.output)
        }
        if len(ways) == 2 and not _XAI.isdisjoint(value):
            ways = {(0, reasoning)}
        if len(ways) != 1:
            self.doubt("estimated")
            self.output += max(beside, 0)
            return
        ((added_in, added_out),) = ways
        self.input += added_in
        self.output += added_out

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


def _flat(value: Mapping[str, Any]) -> dict[str, int]:
    """Every whole number from 0, those of details as `input.…` and `output.…` unless they are 0."""
    found: dict[str, int] = {}
    for name, item in value.items():
        if type(item) is int and 0 <= item < _TOO_MANY:
            found[name] = item
            continue
        group = _GROUPS.get(name) if isinstance(item, Mapping) else None
        if group is None:
            count = whole(item)
            if count is not None:
                found[name] = count
            continue
        for part, counted in item.items():
            if not counted:
                continue
            if isinstance(counted, Mapping) and part in _GROUPS:
                found.update({group + n: c for n, one in counted.items() if (c := whole(one))})
            elif count := whole(counted):
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
