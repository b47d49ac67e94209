"""The most that a request may take: tokens of its prompt and answer, and their worst price. For what is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llmops.errors import UnboundedCallError
from llmops.types import Message, Request, Usage

MESSAGE_TOKENS = 16  # a chat template's marks around a message
TEMPLATE_TOKENS = 256  # text that a template adds by itself: a default system message, dates, channels
TOOL_TOKENS = 1024  # instructions for tools that a server adds beside their definitions
_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_KEPT_BY_SERVER = ("previous_response_id", "conversation", "prompt")  # what the model reads beside the request
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


class BoundPricer(Protocol):
    """What budgets in money need to know of prices; `llmops.usage.price_book` has the real one."""

    def bound(self, usage: Usage, provider: str, model: str, backend: str, *, service_tier: str = "") -> int | None:
        """The most that `usage` may cost, in nano-dollars; None without a price."""
        ...

    def hint(self, provider: str, model: str) -> str:
        """The line to add to the price file."""
        ...

    def max_output_tokens(self, provider: str, model: str) -> int | None:
        """The most that the model answers, if anybody says."""
        ...


@dataclass(frozen=True, slots=True)
class RequestBound:
    """The most tokens a request may take. `media` counts pictures, sounds and files, which are not in `input_tokens`.

    `output_tokens` is None when nothing limits the answer. `kept` says that the server adds what it has kept (an
    earlier answer, a conversation), and `service_tier` is the one that was asked for.
    """

    input_tokens: int
    output_tokens: int | None
    media: int = 0
    kept: bool = False
    service_tier: str = ""


def request_bound(request: Request, most_output: int | None = None) -> RequestBound:
    """The bound of one request. `most_output` is the model's own maximum, for requests that set none.

    Rests on tokenizers never making more tokens than a text has bytes (true of byte-level and byte-fallback BPE, not
    of ones that rewrite the text first), and on templates adding at most 16 tokens a message and 256 in all.
    """
    has_tools = bool(request.tools or request.parameters.get("tools") or request.parameters.get("functions"))
    size = prompt_tokens_bound(request) + TEMPLATE_TOKENS + TOOL_TOKENS * has_tools
    output = output_tokens_bound(request)
    if output is None and most_output is not None:
        output = most_output * _answers(request)
    kept = any(request.parameters.get(name) for name in _KEPT_BY_SERVER)
    media = sum(_media(message) for message in request.messages)
    return RequestBound(size, output, media, kept, str(request.parameters.get("service_tier") or ""))


def prompt_tokens_bound(request: Request) -> int:
    """At most as many tokens as bytes, and 16 a message for the template; tools and schemas as indented JSON.

    Schemas and tools may stand among the parameters too (`response_format`): whatever has parts there is counted.
    Pictures, sounds and files count for nothing: how many tokens they take doesn't follow from the request.
    """
    size = sum(_size(message) for message in request.messages) + MESSAGE_TOKENS * (len(request.messages) + 1)
    parts = [value for value in request.parameters.values() if isinstance(value, (Mapping, list, tuple))]
    return size + sum(_json_size(value) for value in (request.tools, request.output_schema, *parts))


def output_tokens_bound(request: Request) -> int | None:
    """The most tokens of all answers together, from `max_tokens`, in any API's spelling, and `n`; None without."""
    limits = [request.parameters.get(name) for name in _OUTPUT_LIMITS]
    known = [limit for limit in limits if type(limit) is int and limit >= 0]
    return max(known) * _answers(request) if known else None


def cost_bound(pricer: BoundPricer, request: Request, *, provider: str, model: str, backend: str = "") -> int:
    """The most that a request may cost, in nano-dollars.

    Raises `UnboundedCallError` when it has no price or no bound: what is unknown is not zero.
    """
    limit = "a limit in dollars"
    bound = request_bound(request, pricer.max_output_tokens(provider, model))
    usage = bounded_usage(bound, most_input=most_input(pricer, provider, model), limit=limit)
    tier = bound.service_tier
    return priced_bound(pricer, usage, provider=provider, model=model, backend=backend, limit=limit, service_tier=tier)


def bounded_usage(
    bound: RequestBound, *, limit: str, media_tokens: int | None = None, most_input: int | None = None
) -> Usage:
    """`bound` as usage. Raises `UnboundedCallError`, in the name of `limit`, when something in it has no bound.

    A picture, sound or file takes `media_tokens` at most; when nobody says, or the server adds what it has kept, the
    whole prompt takes `most_input`.
    """
    if bound.output_tokens is None:
        hint = "give the prompt or request parameters: {max_tokens: …}"
        raise UnboundedCallError(f"{limit} needs a bound on every answer", hint=hint)
    if not bound.media and not bound.kept:
        size = bound.input_tokens
    elif bound.kept and most_input is None:
        hint = "send the whole conversation, or limit requests instead"
        unknown = "what the server has kept of the conversation isn't known"
        raise UnboundedCallError(f"{limit} can't be kept: {unknown}", hint=hint)
    elif media_tokens is not None and not bound.kept:
        size = bound.input_tokens + bound.media * media_tokens
    elif most_input is not None:
        size = most_input
    else:
        hint = "say at media_tokens: of a budget how many one takes at most, or limit requests instead"
        unknown = "how many tokens a picture or file takes isn't known"
        raise UnboundedCallError(f"{limit} can't be kept: {unknown}", hint=hint)
    return Usage(size, bound.output_tokens, requests=1)


def priced_bound(
    pricer: BoundPricer,
    usage: Usage,
    *,
    provider: str,
    model: str,
    backend: str,
    limit: str,
    service_tier: str = "",
) -> int:
    """The most that `usage` may cost, in nano-dollars.

    Raises `UnboundedCallError`, with the line to add, when it has no price.
    """
    tier = {"service_tier": service_tier} if service_tier else {}
    cost = pricer.bound(usage, provider, model, backend, **tier)
    if cost is None:
        name = f"{provider}/{model}" if provider else model or "the model"
        line = pricer.hint(provider, model)
        hint = line if line.startswith("add ") else f"add its price: {line}"
        raise UnboundedCallError(f"{limit} can't be kept: {name} has no price", hint=hint)
    return cost


def most_input(pricer: BoundPricer, provider: str, model: str) -> int | None:
    """All that the model can read at once, when the prices say how much that is."""
    most = getattr(pricer, "max_input_tokens", None)
    found = None if most is None else most(provider, model)
    return found if isinstance(found, int) else None


def _answers(request: Request) -> int:
    counts = [request.parameters.get(name) for name in ("n", "best_of")]
    return max([1, *(n for n in counts if type(n) is int)])


def _size(message: Message) -> int:
    """Bytes of everything in a message that becomes text."""
    size = 0
    for key, value in message.items():
        if key == "content":
            size += sum(_bytes(text) for text in _texts(value))
        elif key != "role":
            size += _bytes(value) if isinstance(value, str) else _json_size(value)
    return size


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, (list, tuple)):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Mapping) and _is_text(part):
                yield str(part.get("text") or part.get("refusal") or "")
    elif content is not None:
        yield str(content)


def _media(message: Message) -> int:
    content = message.get("content")
    if not isinstance(content, (list, tuple)):
        return 0
    return sum(not isinstance(part, str) and not (isinstance(part, Mapping) and _is_text(part)) for part in content)


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type", "text") in _TEXT_PARTS and isinstance(part.get("text") or part.get("refusal") or "", str)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _json_size(value: Any) -> int:
    """Bytes of a value as templates write it at their longest: indented JSON, or the characters themselves."""
    if not value:
        return 0
    return len(json.dumps(value, indent=4, default=str))
