"""What the tests of the OpenAI-compatible backend ask and how they run it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmops.backends.openai_http import OpenAIHttp
from llmops.errors import (
    BackendError,
)
from llmops.types import Completion, Request
from stub_server import Reply, StubServer

ASK = Request(messages=({"role": "user", "content": "Capital of France?"},))
TOOL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Paris"}'}}


def run(server: StubServer, request: Request = ASK, **options: Any) -> Completion:
    async def once() -> Completion:
        backend = OpenAIHttp(server.url, **{"model": "m", **options})
        try:
            return await backend.complete(request)
        finally:
            await backend.aclose()

    return asyncio.run(once())


def failure(reply: Reply, **options: Any) -> BackendError:
    with StubServer([reply]) as server, pytest.raises(BackendError) as caught:
        run(server, **options)
    return caught.value
