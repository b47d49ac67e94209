"""Which token counts of litellm's are a server's: it fills in those that are missing, and doesn't say so."""

from __future__ import annotations

from dataclasses import replace

from llmops.types import Usage

_COUNT_THEMSELVES = frozenset(
    {"a2a", "aleph_alpha", "langflow", "langgraph", "nlp_cloud", "ollama", "ollama_chat", "petals", "predibase"}
    | {"replicate", "sagemaker", "triton", "vllm"}
)
_AGENTS = ("bedrock/agentcore/", "bedrock/invoke/", "vertex_ai/agent_engine/", "azure_ai/agents/")
"""Providers and models whose missing token counts litellm fills in from a tokenizer."""


def counted_by_server(usage: Usage, model: str) -> Usage:
    """What litellm says an answer of `model` (`ollama/llama3`) used, as far as the server counted it.

    Unknown where no input was counted, since litellm writes 0 for what a server didn't say, and estimated for
    providers whose counts may be its own tokenizer's.
    """
    if not usage.input_tokens:
        return Usage(requests=usage.requests)
    guessed = model.partition("/")[0] in _COUNT_THEMSELVES or model.startswith(_AGENTS)
    return replace(usage, certainty="estimated") if guessed and usage.certainty == "exact" else usage
