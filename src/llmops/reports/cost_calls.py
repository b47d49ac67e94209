"""Calls as flat rows, for export: everything a row of the log says, without texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from llmops.types import Call
from llmops.usage.money import decimal_dollars

_PLAIN = (
    "backend", "provider", "address", "model_asked", "model_served", "outcome", "state", "finish_reason",
    "response_id", "service_tier", "error",
)  # fmt: skip
_FOR = (
    "purpose", "run", "suite", "variant", "prompt", "prompt_id", "team", "feature", "user", "fallback_from",
)  # fmt: skip
_TOKENS = (
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "images",
)  # fmt: skip
_PARTS = ("input", "cache_read", "cache_write", "output", "reasoning", "fees")
COLUMNS: dict[str, type] = {
    "id": str, "started_at": str,
    **dict.fromkeys((*_FOR, "tags", *_PLAIN), str),
    "attempt": int, "stream": int,
    "tokens": str, **dict.fromkeys(_TOKENS, int),
    "cost_usd": Decimal, **{f"{part}_usd": Decimal for part in _PARTS},
    "cost_certainty": str, "price_source": str, "price": str, "price_revision": str,
    "first_token_s": float, "duration_s": float, "guards": str,
}  # fmt: skip


def call_rows(calls: Iterable[Call]) -> Iterator[dict[str, Any]]:
    """A flat mapping a call; money in dollars as `Decimal`, None without a price."""
    for call in calls:
        yield _row(call)


def _row(call: Call) -> dict[str, Any]:
    of, usage, cost = call.attribution, call.usage, call.cost
    known = usage.certainty != "unknown"
    row: dict[str, Any] = {
        "id": call.id,
        "started_at": datetime.fromtimestamp(call.started_at, UTC).isoformat(timespec="milliseconds"),
        **{name: getattr(of, name) for name in _FOR},
        "tags": json.dumps(dict(of.tags), ensure_ascii=False, sort_keys=True) if of.tags else "",
        **{name: getattr(call, name) for name in _PLAIN},
        "attempt": call.attempt,
        "stream": int(call.stream),
        "tokens": usage.certainty,
        **{name: getattr(usage, name) if known else None for name in _TOKENS},
        "cost_usd": None if cost is None else decimal_dollars(cost.total),
        "cost_certainty": "unpriced" if cost is None else cost.certainty,
        "price_source": cost.source if cost else "",
        "price": cost.price if cost else "",
        "price_revision": cost.revision if cost else "",
        "first_token_s": call.first_token_s,
        "duration_s": call.duration_s,
        "guards": json.dumps(dict(call.guards), ensure_ascii=False) if call.guards else "",
    }
    return row | {f"{part}_usd": decimal_dollars(getattr(cost, part)) if cost else None for part in _PARTS}
