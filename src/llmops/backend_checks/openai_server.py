"""What only an OpenAI-compatible server can be asked: which models it has, log-probabilities, embeddings."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmops.backend_checks.findings import Finding, failed
from llmops.backend_checks.probing import HELLO, Probe
from llmops.backends.json_bodies import parse_json
from llmops.errors import BackendError
from llmops.http import refused
from llmops.token_usage import read_usage
from llmops.types import Usage

if TYPE_CHECKING:
    from llmops.backends.openai_http import OpenAIHttp


async def connect_s(base_url: str, timeout_s: float) -> float:
    """Seconds until a new connection stands, TLS included. Raises `OSError` or `TimeoutError` when it doesn't."""
    parts = urlsplit(base_url)
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if secure else 80)
    began = time.perf_counter()
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
    taken = time.perf_counter() - began
    writer.transport.abort()
    return taken


async def served_models(probe: Probe) -> tuple[str, ...] | None:
    """The models a server says it has; None when it doesn't say. Nothing is billed.

    Raises `BadResponseError` when it answers with something that isn't JSON, another `BackendError` without an answer.
    """
    status, body = await _ask(probe, "GET", "/models")
    rows = body.get("data") if status == 200 else None
    if not isinstance(rows, list):
        return None
    return tuple(str(row["id"]) for row in rows if isinstance(row, Mapping) and row.get("id"))


async def logprobs(probe: Probe) -> Finding:
    """Whether it gives log-probabilities; one request."""
    asked = {"model": probe.model, "messages": [HELLO], "logprobs": True, "top_logprobs": 1}
    try:
        body = await _billed(probe, "/chat/completions", {**asked, probe.limit: 1})
    except BackendError as error:
        return failed("logprobs", error)
    choices = body.get("choices")
    given = choices[0].get("logprobs") if isinstance(choices, list) and choices else None
    return Finding("logprobs", "yes") if given else Finding("logprobs", "no", "asked for, and not in the answer")


async def embeddings(probe: Probe) -> Finding:
    """Whether this model also embeds; one request, which a chat model refuses."""
    try:
        body = await _billed(probe, "/embeddings", {"model": probe.model, "input": ["hello"]})
    except BackendError as error:
        return failed("embeddings", error)
    return Finding("embeddings", "yes" if body.get("data") else "no")


async def _billed(probe: Probe, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer to a request that is counted, and written to the call log as every other. Raises when refused."""
    probe.requests += 1
    call = await probe.open_call()
    try:
        status, answer = await _ask(probe, "POST", path, body)
        if status != 200:
            raise refused(status, {}, json.dumps(dict(answer)).encode(), url=f"{probe.inner.base_url}{path}")
    except BaseException as error:
        if call is not None:
            call.failed(error)
        raise
    usage = read_usage(answer.get("usage"))
    probe.usage += usage or Usage(requests=1)
    if call is not None:
        call.succeeded(usage)
    return answer


async def _ask(
    probe: Probe, method: str, path: str, body: Mapping[str, Any] | None = None
) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON object of one request with the backend's own key and headers; of a refusal perhaps an empty one.

    Raises `BadResponseError` when what isn't refused isn't JSON.
    """
    server: OpenAIHttp = probe.inner
    data = b"" if body is None else json.dumps(body).encode()
    async with probe.in_time():
        answer = await server.ask(method, path, data)
    if answer.status == 200:
        return answer.status, parse_json(answer.body, f"{server.base_url}{path}")
    try:
        read = json.loads(answer.body)
    except (ValueError, RecursionError):
        read = None
    return answer.status, read if isinstance(read, Mapping) else {}
