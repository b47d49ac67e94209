"""Who runs a server: from the address of a request, or the name another library uses, to our name of a provider."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class _Known(NamedTuple):
    """A provider: the ends of its host names, its id in genai-prices, and its names in litellm besides ours."""

    hosts: tuple[str, ...] = ()
    genai: str = ""
    litellm: tuple[str, ...] = ()


_KNOWN: dict[str, _Known] = {
    "openai": _Known(("api.openai.com",), "openai", ("text-completion-openai", "openai_responses")),
    "anthropic": _Known(("api.anthropic.com",), "anthropic", ("anthropic_text",)),
    "gemini": _Known(("generativelanguage.googleapis.com",), "google", ("google", "google_ai_studio", "google_genai")),
    "vertex_ai": _Known(("aiplatform.googleapis.com",), "google", ("vertex", "google_vertexai", "vertex_ai_beta")),
    "azure": _Known(
        ("openai.azure.com", "cognitiveservices.azure.com"), "azure", ("azure_openai", "azure_text", "azure_chat")
    ),
    "azure_ai": _Known(("services.ai.azure.com", "models.ai.azure.com", "inference.ai.azure.com"), "azure"),
    "bedrock": _Known(
        (), "aws", ("bedrock_converse", "aws", "aws_bedrock", "amazon_bedrock", "bedrock_mantle", "bedrock_agent")
    ),
    "mistral": _Known(("api.mistral.ai",), "mistral", ("mistralai",)),
    "codestral": _Known(("codestral.mistral.ai",), "", ("text_completion_codestral",)),
    "groq": _Known(("api.groq.com",), "groq"),
    "together": _Known(("api.together.xyz", "api.together.ai"), "together", ("together_ai", "togetherai")),
    "fireworks": _Known(("api.fireworks.ai",), "fireworks", ("fireworks_ai",)),
    "deepseek": _Known(("api.deepseek.com",), "deepseek"),
    "openrouter": _Known(("openrouter.ai",), "openrouter"),
    "xai": _Known(("api.x.ai",), "x-ai", ("x_ai", "grok")),
    "cohere": _Known(("api.cohere.ai", "api.cohere.com"), "cohere", ("cohere_chat",)),
    "perplexity": _Known(("api.perplexity.ai",), "perplexity"),
    "cerebras": _Known(("api.cerebras.ai",), "cerebras"),
    "deepinfra": _Known(("api.deepinfra.com",)),
    "novita": _Known(("api.novita.ai",), "novita"),
    "nebius": _Known(("api.studio.nebius.ai", "api.studio.nebius.com", "api.tokenfactory.nebius.com")),
    "sambanova": _Known(("api.sambanova.ai",)),
    "hyperbolic": _Known(("api.hyperbolic.xyz",)),
    "baseten": _Known(("inference.baseten.co",), "baseten"),
    "moonshot": _Known(("api.moonshot.ai", "api.moonshot.cn"), "moonshotai", ("moonshotai",)),
    "minimax": _Known(("api.minimax.io", "api.minimaxi.com", "api.minimax.chat"), "minimax"),
    "zai": _Known(("api.z.ai",), "zai", ("z_ai",)),
    "dashscope": _Known(("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com")),
    "voyage": _Known(("api.voyageai.com",), "voyageai", ("voyageai",)),
    "jina_ai": _Known(("api.jina.ai",)),
    "ai21": _Known(("api.ai21.com",)),
    "github_copilot": _Known(("api.githubcopilot.com",), "github-copilot"),
    "cloudflare": _Known(("api.cloudflare.com",), "cloudflare"),
    "databricks": _Known(("cloud.databricks.com", "azuredatabricks.net", "gcp.databricks.com"), "databricks"),
    "nvidia_nim": _Known(("integrate.api.nvidia.com",)),
    "friendliai": _Known(("api.friendli.ai",)),
    "scaleway": _Known(("api.scaleway.ai",)),
    "ovhcloud": _Known(("endpoints.kepler.ai.cloud.ovh.net",), "ovhcloud"),
    "lambda_ai": _Known(("api.lambda.ai", "api.lambdalabs.com")),
}
_BEDROCK = re.compile(r"bedrock(-runtime)?(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)")

OPENAI_COMPATIBLE = "openai_compatible"  # a server at an address that isn't known, of no kind that anybody runs
SELF_HOSTED = frozenset(
    (
        *("vllm", "hosted_vllm", "sglang", "tgi", "triton", "tensorrt_llm", "trtllm", "infinity", "xinference"),
        *("ollama", "ollama_chat", "llamacpp", "llama_cpp", "llamafile", "lm_studio", "lemonade", "localai"),
        *("oobabooga", "petals", "docker_model_runner", "litellm_proxy", OPENAI_COMPATIBLE),
        *("custom", "local", "http", "recorded", "extractive"),
    )
)
"""Kinds of servers that anybody can run: a hosted API's price is never theirs, whatever their models are called."""

_NAMES = {
    "hosted_vllm": "vllm",
    "ollama_chat": "ollama",
    "trtllm": "tensorrt_llm",
    "llama_cpp": "llamacpp",
    **dict.fromkeys(("openai_http", "openai_like", "custom_openai"), OPENAI_COMPATIBLE),
    **{other: name for name, known in _KNOWN.items() for other in known.litellm},
    **{name: name for name in _KNOWN},
}


def kind_at_an_address(kind: str) -> str:
    """The kind of server at an address of one's own, by the name of the API that it speaks.

    Anybody can run a server, or a gateway, that speaks a hosted API: `anthropic` there says nothing of who runs it.
    """
    return kind if provider_name(kind) in SELF_HOSTED else OPENAI_COMPATIBLE


def is_hosted(provider: str) -> bool:
    """True for one of our names of who sells answers, and so may have them in a price list."""
    return bool(provider) and provider not in SELF_HOSTED


@lru_cache(4096)
def provider_of(address: str, kind: str = "") -> str:
    """Our name for whoever runs the server at `address` (host, host:port or URL), reached by a backend of `kind`.

    A host that isn't known gives `kind` when that is a kind of server anybody can run (`vllm`, and
    `openai_compatible` for all that only have OpenAI's shape), else an empty name: what answers there may be
    anything, so no published price is its price. Without an address the library itself chose it, and `kind` is the
    provider.
    """
    host = _host(address)
    if not host:
        return provider_name(kind)
    if _BEDROCK.fullmatch(host):
        return "bedrock"
    labels = host.split(".")
    for start in range(len(labels) - 1):
        found = _HOSTS.get(".".join(labels[start:]))
        if found:
            return found
    if host.endswith("-aiplatform.googleapis.com"):  # us-central1-aiplatform.googleapis.com
        return "vertex_ai"
    name = provider_name(kind)
    return name if name in SELF_HOSTED else ""


_HOSTS = {host: name for name, known in _KNOWN.items() for host in known.hosts}


def _host(address: str) -> str:
    """The host of an address, lower case, without scheme, user, port and path."""
    rest = address.strip().lower().partition("://")[2] or address.strip().lower()
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return host.rstrip(".") if host.startswith("[") else host.partition(":")[0].rstrip(".")


@lru_cache(4096)
def provider_name(name: str) -> str:
    """Our name for a provider as another library writes it: `together_ai`, `vertex_ai-llama_models`, `x-ai`."""
    plain = name.strip().lower()
    if plain.startswith("vertex_ai"):
        return "vertex_ai"
    plain = plain.replace("-", "_")
    if plain.startswith("fireworks_ai"):
        return "fireworks"
    return _NAMES.get(plain) or _NAMES.get(plain.replace("_", "-")) or plain


def genai_id(provider: str) -> str:
    """The id that genai-prices has for one of our providers, or empty."""
    known = _KNOWN.get(provider)
    return known.genai if known else ""
