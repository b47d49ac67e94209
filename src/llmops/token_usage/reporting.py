"""What an answer says beside its counts: what it costs, and what it was served as."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from llmops.token_usage.shapes import usage_in

BILLED_BESIDE = frozenset({"server_tool_use", "inference_geo", "num_sources_used", "num_server_side_tools_used",
                           "prompt_audio_seconds"})  # fmt: skip
"""Names in a usage of what is billed by other than tokens of the model's price."""
_TIERS_OF_TRAFFIC = {
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "provisioned_throughput",
}
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


def beside_tokens(usage: Mapping[str, Any]) -> bool:
    """True when a request is billed for more than its tokens, and the provider doesn't say how much it costs in all.

    Searches (Anthropic, xAI), seconds of audio (Mistral), or a region with a surcharge (Anthropic's `us`).
    """
    tools = usage.get("server_tool_use")
    searches = tools.get("web_search_requests") if isinstance(tools, Mapping) else None
    counted = [searches, *(usage.get(name) for name in ("num_sources_used", "num_server_side_tools_used"))]
    seconds = usage.get("prompt_audio_seconds")
    more = any(isinstance(count, (int, float)) and count > 0 for count in (*counted, seconds))
    return (more or usage.get("inference_geo") == "us") and reported_cost(usage) is None


def service_tier(answer: Mapping[str, Any]) -> str:
    """What an answer says it was served as; empty when it doesn't.

    Beside its usage (OpenAI), in it (Anthropic, with the `speed` of fast mode), or as Gemini's `trafficType`.
    """
    usage = usage_in(answer)
    counts: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    speed, traffic = counts.get("speed"), counts.get("trafficType") or counts.get("traffic_type")
    if speed == "fast":
        return "fast"
    found = answer.get("service_tier") or counts.get("service_tier") or counts.get("serviceTier")
    if not found and isinstance(traffic, str):
        found = _TIERS_OF_TRAFFIC.get(traffic.rpartition(".")[2])
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
