"""What an answer says beside its counts: what it costs, and what it was served as."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

_TICKS_A_NANODOLLAR = 10  # docs.x.ai, cost tracking: 1 dollar is 10,000,000,000 ticks
_MOST_DOLLARS = 1_000_000


def reported_cost(usage: Any) -> int | None:
    """Nano-dollars that a provider says a request costs, rounded half-even; None when it doesn't say.

    `cost` in dollars (OpenRouter; with a key of the user's own, what the upstream provider charges is added), the
    total of a `cost` in parts (Perplexity), or `cost_in_usd_ticks` (xAI).
    """
    if not isinstance(usage, Mapping):
        return None
    ticks = usage.get("cost_in_usd_ticks")
    if isinstance(ticks, int) and not isinstance(ticks, bool):
        return _nanodollars(Decimal(ticks) / _TICKS_A_NANODOLLAR / 10**9)
    cost = usage.get("cost")
    dollars = _dollars(cost.get("total_cost") if isinstance(cost, Mapping) else cost)
    details = usage.get("cost_details")
    if dollars is not None and usage.get("is_byok") is True and isinstance(details, Mapping):
        dollars += _dollars(details.get("upstream_inference_cost")) or 0
    return None if dollars is None else _nanodollars(dollars)


def service_tier(answer: Mapping[str, Any]) -> str:
    """What an answer says it was served as: beside its usage (OpenAI) or in it (Anthropic); empty when it doesn't."""
    usage = answer.get("usage")
    found = answer.get("service_tier") or (usage.get("service_tier") if isinstance(usage, Mapping) else None)
    return found if isinstance(found, str) else ""


def _dollars(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    made = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return made if made.is_finite() and 0 <= made <= _MOST_DOLLARS else None


def _nanodollars(dollars: Decimal) -> int | None:
    if not 0 <= dollars <= _MOST_DOLLARS:
        return None
    return int((dollars * 10**9).to_integral_value(rounding=ROUND_HALF_EVEN))
