"""Token counts as other systems write them, read into one `Usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.types import TokenCertainty, Usage

INPUT_NAMES = ("input_tokens", "prompt_tokens")
OUTPUT_NAMES = ("output_tokens", "completion_tokens")
_CACHE_READ = (
    ("cache_read_tokens",),
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("input_token_details", "cache_read"),
)
_CACHE_WRITE = (
    ("cache_write_tokens",),
    ("input_token_details", "cache_creation"),
)
_REASONING = (
    ("reasoning_tokens",),
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("output_token_details", "reasoning"),
)


def read_usage(value: Any, *, requests: int = 1) -> Usage | None:
    """Usage from a mapping in our names, OpenAI's (both APIs) or LangChain's; None when it holds no token counts.

    Exact, unless the mapping says so itself (`certainty`) or lacks one of input and output.
    """
    if not isinstance(value, Mapping):
        return None
    given = [_count(value, *((name,) for name in names)) for names in (INPUT_NAMES, OUTPUT_NAMES)]
    total = _count(value, ("total_tokens",))
    if given == [None, None]:
        return None
    if None in given and total is not None:
        known = next(n for n in given if n is not None)
        given = [max(total - known, 0) if n is None else n for n in given]
    certainty: TokenCertainty = "unknown" if None in given else "exact"
    said = value.get("certainty")
    if said in ("exact", "estimated", "unknown"):
        certainty = said
    counted = _count(value, ("requests",))
    return Usage(
        input_tokens=given[0] or 0,
        output_tokens=given[1] or 0,
        cache_read_tokens=_count(value, *_CACHE_READ) or 0,
        cache_write_tokens=_count(value, *_CACHE_WRITE) or 0,
        reasoning_tokens=_count(value, *_REASONING) or 0,
        requests=requests if counted is None else counted,
        certainty=certainty,
    )


def _count(value: Mapping[str, Any], *places: tuple[str, ...]) -> int | None:
    for place in places:
        found: Any = value
        for key in place:
            found = found.get(key) if isinstance(found, Mapping) else None
        if type(found) is int and 0 <= found < 2**53:
            return found
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**53:
            return found
    return None
