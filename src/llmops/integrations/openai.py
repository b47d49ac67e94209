"""Tracking for the `openai` package: `client = tracked(OpenAI())`, and every request of it has a row in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llmops.errors import InputError
from llmops.integrations import which_tracker
from llmops.integrations.openai_sending import Settings, opened, opened_now
from llmops.integrations.openai_transport import KEY, TrackedTransport
from llmops.usage.providers import provider_of
from llmops.usage.tracker import Tracker

Client = TypeVar("Client")


def tracked(
    client: Client,
    *,
    tracker: Tracker | None = None,
    backend: str = "",
    provider: str = "",
    ask_usage: bool | None = None,
) -> Client:
    """The same client, with a row in the call log for every request it sends to a model.

    For `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` and `AsyncAzureOpenAI` of the `openai` package (1.x to 3.x). Tracked are
    chat completions, completions, responses and embeddings, plain, parsed, raw and streamed, each retry by itself;
    copies made with `with_options` too. Everything else passes untouched. The client is changed in place, and with it
    the `http_client` it was given, if it was.

    `backend` is the name the server has in the project, `provider` who runs it (guessed from the address when empty),
    `tracker` whose log is written (the project's when None).

    `ask_usage` says whether a stream's usage is asked for when the application doesn't: the server is sent
    `stream_options`, and the chunk it adds for that is taken out again. None: only of api.openai.com. Without it such
    a stream's tokens are estimated, and marked so.

    The row is written before the request is sent: `BudgetExceededError` and `StoreError` are raised as they are,
    without a retry. Raises `InputError` for anything else than such a client.
    """
    http = getattr(client, "_client", None)
    if not hasattr(client, "_prepare_request") or not hasattr(http, "_transport"):
        raise InputError(f"{type(client).__name__} is no client of the openai package", hint="tracked(OpenAI())")
    settings = Settings(
        which_tracker(tracker),
        backend,
        (lambda _: provider) if provider else (lambda host: provider_of(host, "openai_compatible")),
        ask_usage,
    )
    _wrap_transports(http, settings)
    _open_before_retries(client, settings)
    return client


def _wrap_transports(http: Any, settings: Settings) -> None:
    """Wrap the transport, and those for proxies; what is wrapped already gets the new settings."""
    http._transport = _wrapped(http._transport, settings)
    for pattern, transport in http._mounts.items():
        if transport is not None:
            http._mounts[pattern] = _wrapped(transport, settings)


def _wrapped(transport: Any, settings: Settings) -> TrackedTransport:
    inner = transport.inner if isinstance(transport, TrackedTransport) else transport
    return TrackedTransport(inner, settings)


def _open_before_retries(client: Any, settings: Settings) -> None:
    """Open calls in the client's own hook before sending.

    What the transport raises, the client takes for a failed connection: it tries again and raises its own error. What
    the hook raises comes through.
    """
    original = _unwrapped(client._prepare_request)
    if _is_async(client):

        async def prepare_async(request: Any) -> None:
            await original(request)
            request.extensions[KEY] = await opened(request, settings)

        client._prepare_request = _marked(prepare_async, original)
    else:

        def prepare(request: Any) -> None:
            original(request)
            request.extensions[KEY] = opened_now(request, settings)

        client._prepare_request = _marked(prepare, original)
    copy = _unwrapped(client.copy)

    def copied(*arguments: Any, **options: Any) -> Any:
        made = copy(*arguments, **options)
        if made._client is not client._client:
            _wrap_transports(made._client, settings)
        _open_before_retries(made, settings)
        return made

    client.copy = client.with_options = _marked(copied, copy)


def _is_async(client: Any) -> bool:
    return hasattr(client._client, "aclose")


def _marked(function: Callable[..., Any], original: Any) -> Callable[..., Any]:
    function.__dict__["llmops_original"] = original
    return function


def _unwrapped(function: Any) -> Any:
    """What the client itself does, when it is tracked already."""
    return getattr(function, "llmops_original", function)
