"""A small price list in the shape of litellm's, with published prices, for tests that compute by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmops.usage.price_book import PriceBook
from llmops.usage.prices_litellm import LitellmPrices
from llmops.usage.prices_yaml import YamlPrices, inline_prices


def million(dollars: float) -> float:
    """Dollars a token, from dollars per million, as the list writes them."""
    return float(f"{dollars}e-6")


def chat(provider: str, input: float, output: float, **more: Any) -> dict[str, Any]:
    return {
        "litellm_provider": provider,
        "mode": "chat",
        "input_cost_per_token": million(input),
        "output_cost_per_token": million(output),
        **more,
    }


LISTED: Mapping[str, Mapping[str, Any]] = {
    "sample_spec": {"litellm_provider": "one of …", "input_cost_per_token": 0.0},
    "gpt-4o": chat(
        "openai", 2.5, 10, cache_read_input_token_cost=million(1.25), max_output_tokens=16384, max_input_tokens=128000,
        input_cost_per_token_batches=million(1.25), output_cost_per_token_batches=million(5),
    ),
    "gpt-4o-mini": chat("openai", 0.15, 0.6, cache_read_input_token_cost=million(0.075)),
    "ft:gpt-4o-mini-2024-07-18": chat("openai", 0.3, 1.2, cache_read_input_token_cost=million(0.15)),
    "gpt-5": chat(
        "openai", 1.25, 10, cache_read_input_token_cost=million(0.125),
        input_cost_per_token_flex=million(0.625), output_cost_per_token_flex=million(5),
        cache_read_input_token_cost_flex=million(0.0625),
        input_cost_per_token_priority=million(2.5), output_cost_per_token_priority=million(20),
        cache_read_input_token_cost_priority=million(0.25),
        input_cost_per_token_batches=million(0.625), output_cost_per_token_batches=million(5),
        cache_read_input_token_cost_batches=million(0.0625),
    ),
    "gpt-4o-audio": chat(
        "openai", 2.5, 10, input_cost_per_audio_token=million(40), output_cost_per_audio_token=million(80)
    ),
    "text-embedding-3-small": chat("openai", 0.02, 0, mode="embedding"),
    "gpt-image-1": {
        "litellm_provider": "openai", "mode": "image_generation",
        "input_cost_per_token": million(5), "output_cost_per_image_token": million(40),
    },
    "whisper-1": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
    "claude-haiku-4-5": chat(
        "anthropic", 1, 5, cache_read_input_token_cost=million(0.1), cache_creation_input_token_cost=million(1.25),
        cache_creation_input_token_cost_above_1hr=million(2),
        input_cost_per_token_batches=million(0.5), output_cost_per_token_batches=million(2.5),
        cache_read_input_token_cost_batches=million(0.05), cache_creation_input_token_cost_batches=million(0.625),
    ),
    "claude-sonnet-4-5": chat(
        "anthropic", 3, 15, cache_read_input_token_cost=million(0.3), cache_creation_input_token_cost=million(3.75),
        cache_creation_input_token_cost_above_1hr=million(6),
        input_cost_per_token_above_200k_tokens=million(6), output_cost_per_token_above_200k_tokens=million(22.5),
        cache_read_input_token_cost_above_200k_tokens=million(0.6),
        cache_creation_input_token_cost_above_200k_tokens=million(7.5),
        cache_creation_input_token_cost_above_1hr_above_200k_tokens=million(12),
        input_cost_per_token_batches=million(1.5), output_cost_per_token_batches=million(7.5),
    ),
    "gemini/gemini-2.5-pro": chat(
        "gemini", 1.25, 10, cache_read_input_token_cost=million(0.125),
        input_cost_per_token_above_200k_tokens=million(2.5), output_cost_per_token_above_200k_tokens=million(15),
        cache_read_input_token_cost_above_200k_tokens=million(0.25),
        input_cost_per_token_batches=million(0.625), output_cost_per_token_batches=million(5),
        input_cost_per_token_above_200k_tokens_batches=million(1.25),
        output_cost_per_token_above_200k_tokens_batches=million(7.5),
    ),
    "gemini/gemini-2.5-flash": chat("gemini", 0.3, 2.5, input_cost_per_audio_token=million(1)),
    "gemini/gemma-3-27b-it": chat("gemini", 0, 0),
    "deepseek/deepseek-chat": chat(
        "deepseek", 0.28, 0.42, cache_read_input_token_cost=million(0.028), cache_creation_input_token_cost=0.0
    ),
    "deepseek/night-owl": chat(
        "deepseek", 0.3, 1.2,
        off_peak_pricing={
            "input_cost_per_token": million(0.15), "output_cost_per_token": million(0.6),
            "windows": [{"hours_utc": ["22:00-02:00"], "weekdays": [1, 2, 3, 4, 5]}],
        },
    ),
    "mistral/mistral-large-latest": chat("mistral", 0.5, 1.5),
    "groq/llama-3.1-8b-instant": chat("groq", 0.05, 0.08),
    "dashscope/qwen-plus": chat("dashscope", 0.4, 1.2, output_cost_per_reasoning_token=million(4)),
    "dashscope/qwen-flash": {
        "litellm_provider": "dashscope", "mode": "chat",
        "tiered_pricing": [
            {"input_cost_per_token": million(0.05), "output_cost_per_token": million(0.4), "range": [0, 256000.0]},
            {"input_cost_per_token": million(0.25), "output_cost_per_token": million(2), "range": [256000.0, 1e6]},
        ],
    },
    "perplexity/pplx-online": {
        "litellm_provider": "perplexity", "mode": "chat", "input_cost_per_request": 0.005,
        "input_cost_per_token": 0.0, "output_cost_per_token": million(2.8),
    },
    "perplexity/sonar-pro": chat(
        "perplexity", 3, 15,
        search_context_cost_per_query={"search_context_size_low": 0.006, "search_context_size_high": 0.014},
    ),
    "fal_ai/picture": {"litellm_provider": "fal_ai", "mode": "image_generation", "output_cost_per_image": 0.04},
    "together_ai/meta-llama/Llama-3.3-70B": chat("together_ai", 0.88, 0.88),
    "azure/gpt-4o": chat("azure", 2.75, 11),
    "azure_ai/model_router": chat("azure_ai", 0.14, 0),
    "ollama/llama3": chat("ollama", 0, 0),
    "gigachat/GigaChat-2": chat("gigachat", 0, 0),
    "openrouter/acme/tiny:free": chat("openrouter", 0, 0),
    "cohere/rerank": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_token": 0.0,
                      "output_cost_per_token": 0.0, "input_cost_per_query": 0.002},
}  # fmt: skip


def listed(**more: Mapping[str, Any]) -> LitellmPrices:
    """The list above, and more entries, as a layer."""
    return LitellmPrices(json.dumps({**LISTED, **more}).encode())


def book(*models: Mapping[str, Any], **more: Mapping[str, Any]) -> PriceBook:
    """A price book of the list above under the user's own `models`."""
    yours: YamlPrices = inline_prices({"models": [dict(model) for model in models]})
    return PriceBook(yours, [listed(**more)])
