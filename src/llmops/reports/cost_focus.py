"""Rows of the FinOps Open Cost and Usage Specification (FOCUS 1.2): what finance systems read.

A row is one hour or day, provider, model, class of token, service tier, price, sub-account and set of tags. All
mandatory columns of version 1.2 are there, and those conditional ones that model calls have values for. Amounts are
exact decimals.

SkuPriceId names the price by what stays: model, class of token and service tier. The specification keeps effective
dates out of it, so that a price can be followed over time. Which price of ours it was is in x_PriceId, since when in
x_PriceValidFrom, of which price book in x_PriceRevision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from llmops.usage.money import decimal_dollars
from llmops.usage.rates import STANDARD, tier_name

VERSION = "1.2"
COLUMNS: dict[str, type] = {
    "BilledCost": Decimal, "BillingAccountId": str, "BillingAccountName": str, "BillingCurrency": str,
    "BillingPeriodEnd": str, "BillingPeriodStart": str, "ChargeCategory": str, "ChargeClass": str,
    "ChargeDescription": str, "ChargeFrequency": str, "ChargePeriodEnd": str, "ChargePeriodStart": str,
    "ConsumedQuantity": Decimal, "ConsumedUnit": str, "ContractedCost": Decimal, "EffectiveCost": Decimal,
    "InvoiceIssuerName": str, "ListCost": Decimal, "PricingCategory": str, "PricingQuantity": Decimal,
    "PricingUnit": str, "ProviderName": str, "PublisherName": str, "ResourceId": str, "ResourceName": str,
    "ResourceType": str, "ServiceCategory": str, "ServiceName": str, "ServiceSubcategory": str, "SkuId": str,
    "SkuMeter": str, "SkuPriceId": str, "SubAccountId": str, "SubAccountName": str, "Tags": str,
    "x_CostBasis": str, "x_PriceId": str, "x_PriceRevision": str, "x_PriceSource": str, "x_PriceStatus": str,
    "x_PriceValidFrom": str, "x_Requests": int,
}  # fmt: skip
MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity",
    "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
)  # fmt: skip
NULLABLE = frozenset({
    "BillingAccountName", "ChargeClass", "ResourceId", "ResourceName", "ResourceType", "SubAccountId", "SubAccountName",
    "Tags", "x_PriceId", "x_PriceRevision", "x_PriceValidFrom",
})  # fmt: skip
PRICED_BY = ("provider", "model", "service_tier", "certainty", "source", "price", "revision")
_METERS = {
    "input": "Input Tokens",
    "cache_read": "Cached Input Tokens",
    "cache_write": "Cache Write Tokens",
    "output": "Output Tokens",
    "reasoning": "Reasoning Tokens",
    "fees": "Requests",
}
SELF_HOSTED = "server:"
_NAMES = {
    "openai": "OpenAI", "anthropic": "Anthropic", "gemini": "Google", "vertex_ai": "Google Cloud", "azure": "Microsoft",
    "azure_ai": "Microsoft", "bedrock": "AWS", "mistral": "Mistral AI", "groq": "Groq", "together": "Together AI",
    "fireworks": "Fireworks AI", "deepseek": "DeepSeek", "openrouter": "OpenRouter", "xai": "xAI", "cohere": "Cohere",
}  # fmt: skip
_SERVICES = {"bedrock": "Amazon Bedrock", "vertex_ai": "Vertex AI", "azure": "Azure OpenAI", "gemini": "Gemini API"}


class PricedTotals(Protocol):
    """What is read of the log's totals: counts, tokens, and nano-dollars by class."""

    @property
    def key(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class FocusAccount:
    """Who pays: the billing account, whose name stands for self-hosted servers, and what a sub-account is."""

    id: str = "default"
    name: str | None = None
    organisation: str = "Self-hosted"
    sub_account: str = "team"


def focus_rows(
    totals: Iterable[PricedTotals], account: FocusAccount, tags: tuple[str, ...], unit: str
) -> Iterator[dict[str, Any]]:
    """A row for every class of token with a quantity or a cost. Calls without a price have none: they are left out.

    `totals` are by `unit` (hour or day), `PRICED_BY`, the sub-account and `tags`.
    """
    for one in totals:
        if one.key["certainty"] not in ("exact", "estimated"):
            continue
        yield from _classes(one, account, tags, unit)


def _classes(one: Any, account: FocusAccount, tags: tuple[str, ...], unit: str) -> Iterator[dict[str, Any]]:
    counts = {
        "input": one.input_tokens - one.cache_read_tokens - one.cache_write_tokens,
        "cache_read": one.cache_read_tokens,
        "cache_write": one.cache_write_tokens,
        "output": one.output_tokens - one.reasoning_tokens,
        "reasoning": one.reasoning_tokens,
        "fees": one.requests - one.unsent - one.pending,
    }
    if not one.cost_reasoning:  # it has no price of its own: it is output
        counts["output"], counts["reasoning"] = one.output_tokens, 0
    requests = one.requests
    for name, quantity in counts.items():
        cost = getattr(one, f"cost_{name}")
        if cost or (quantity and name != "fees"):
            yield {**_row(one, account, tags, unit, name, quantity, cost), "x_Requests": requests}
            requests = 0  # each is counted in one row, so that the column can be summed


def _row(
    one: Any, account: FocusAccount, tags: tuple[str, ...], unit: str, name: str, quantity: int, cost: int
) -> dict[str, Any]:
    key = one.key
    provider, model, source = (str(key[field] or "") for field in ("provider", "model", "source"))
    own = source.startswith(SELF_HOSTED)
    who = account.organisation if own else _NAMES.get(provider, provider or "Unknown")
    dollars = decimal_dollars(cost)
    sub = str(key[account.sub_account] or "") or None if account.sub_account else None
    tier, price = tier_name(str(key["service_tier"] or ""), provider), str(key["price"] or "")
    sku = "/".join((provider or "unknown", model or "unknown", name))
    return {
        **_period(str(key[unit]), unit),
        "BilledCost": Decimal(0) if own else dollars,  # the bill is the machine's, in another file
        "EffectiveCost": dollars,
        "ListCost": dollars,
        "ContractedCost": dollars,
        "BillingAccountId": account.id,
        "BillingAccountName": account.name,
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{_METERS[name]} of {model or 'an unnamed model'}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": Decimal(quantity),
        "ConsumedUnit": "Requests" if name == "fees" else "Tokens",
        "InvoiceIssuerName": who,
        "PricingCategory": "Standard",
        "PricingQuantity": Decimal(quantity),
        "PricingUnit": "Requests" if name == "fees" else "Tokens",
        "ProviderName": who,
        "PublisherName": who,
        "ResourceId": model or None,
        "ResourceName": model or None,
        "ResourceType": "Model" if model else None,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Self-hosted models" if own else _SERVICES.get(provider, f"{who} API"),
        "ServiceSubcategory": "Generative AI",
        "SkuId": sku,
        "SkuMeter": _METERS[name],
        "SkuPriceId": sku if tier == STANDARD else f"{sku}/{tier}",
        "SubAccountId": sub,
        "SubAccountName": sub,
        "Tags": _tags(key, tags),
        "x_CostBasis": "gpu time" if own else "tokens",
        "x_PriceId": price or None,
        "x_PriceRevision": str(key["revision"] or "") or None,
        "x_PriceSource": source or "unknown",
        "x_PriceStatus": key["certainty"],
        "x_PriceValidFrom": _valid_from(price),
    }


def _tags(key: Mapping[str, Any], tags: tuple[str, ...]) -> str | None:
    """Tags as a JSON object, as the specification's KeyValueFormat has it."""
    said = {name.removeprefix("tag:"): str(key[name]) for name in tags if key[name]}
    return json.dumps(said, ensure_ascii=False, sort_keys=True) if said else None


def _period(moment: str, unit: str) -> dict[str, str]:
    """Charge and billing periods, their ends exclusive."""
    form = "%Y-%m-%dT%H" if unit == "hour" else "%Y-%m-%d"
    start = datetime.strptime(moment.replace(" ", "T")[:13], form).replace(tzinfo=UTC)
    end = start + (timedelta(hours=1) if unit == "hour" else timedelta(days=1))
    month = start.replace(day=1, hour=0)
    following = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    return {
        "ChargePeriodStart": _iso(start),
        "ChargePeriodEnd": _iso(end),
        "BillingPeriodStart": _iso(month),
        "BillingPeriodEnd": _iso(following),
    }


def _valid_from(price: str) -> str | None:
    """When a price began, from its id: `openai/gpt-4o@2026-01-01`."""
    try:
        return _iso(datetime.strptime(price.rpartition("@")[2], "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError:
        return None


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
