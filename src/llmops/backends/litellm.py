"""Hosted APIs that are not OpenAI-shaped, through the litellm library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import warnings
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

from llmops.backends.litellm_counts import counted_by_server
from llmops.backends.litellm_failures import failure
from llmops.backends.litellm_leaving import Leaving
from llmops.backends.litellm_streams import StreamRecord
from llmops.backends.openai_shapes import read_completion, request_fields
from llmops.backends.streamed_completion import StreamedCompletion
from llmops.backends.whole_streams import whole
from llmops.errors import BackendUnavailableError, ConfigError, InputError, MissingExtraError
from llmops.http import Masking, check_url, expand_headers, header_secrets
from llmops.http.client import SENDING
from llmops.identity import content_hash
from llmops.token_usage.estimating import so_far
from llmops.types import Completion, Request

_OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_OFFLINE_MODE": "true"}
_NEVER = (
    "api_key",
    "api_base",
    "base_url",
    "fallbacks",
    "mock_response",
    "num_retries",
    "max_retries",
    "timeout",
    "cache",
)
_OWN_ID = "chatcmpl-"


class LiteLLM:
    """Chat completions of one of litellm's providers; `model` is litellm's name, `anthropic/claude-haiku-4-5`.

    `api_base` is the server's address where it isn't the provider's own. `api_key_env` names the variable that holds
    the key; without it litellm takes the one it knows (`ANTHROPIC_API_KEY`). Header values may hold `${VAR}`.
    `options` go to litellm as they are (`api_version`, `aws_region_name`, `vertex_project`). With `stream`, answers
    are streamed. `read_timeout_s` is the longest silence. litellm's price map, callbacks, retries and downloads aren't
    used.
    """

    marks_sent = True

    def __init__(
        self,
        model: str,
        api_base: str = "",
        api_key_env: str = "",
        headers: dict[str, str] | None = None,
        options: dict[str, Any] | None = None,
        stream: bool = False,
        read_timeout_s: float = 120.0,
    ) -> None:
        if read_timeout_s <= 0:
            raise InputError("read_timeout_s is seconds above 0")
        for name in options or {}:
            if name in _NEVER or "secret" in name or name.endswith("_key"):
                raise InputError(
                    f"{name} can't be one of litellm's options", hint="use api_key_env, api_base and the like"
                )
        self.model = model
        shape = model.partition("/")[0] if "/" in model else ""
        self.api_base = check_url(api_base.strip(), what="api_base") if api_base else ""
        self.provider = "" if self.api_base else shape  # who runs a server at an address follows from the address
        self.server_kind = shape if self.api_base else ""
        self._api_key_env = api_key_env
        self._extra_headers = dict(headers or {})
        self._options = dict(options or {})
        self._streams = stream
        self._read_timeout_s = read_timeout_s
        self._secrets: tuple[str, ...] = ()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides an answer beside the request itself: kind, model, address, and hashes of headers and options."""
        found: dict[str, Any] = {"kind": "litellm", "model": self.model, "api_base": self.api_base}
        for name, value in (("headers", self._extra_headers), ("options", self._options)):
            if value:
                found[name] = content_hash(value)[:12]
        return found

    def check_ready(self) -> None:
        """Raises `MissingExtraError` without litellm and `ConfigError` when a variable isn't set; asks nobody."""
        import importlib.util

        if "litellm" not in sys.modules and importlib.util.find_spec("litellm") is None:
            raise MissingExtraError("litellm", needed_for="the litellm backend")
        self._access()

    async def complete(self, request: Request) -> Completion:
        """The completion of `request`. Raises a `BackendError`, `ConfigError` without a key."""
        if self._streams:
            return await whole(self.stream(request), self._where)
        library = await _library()
        arguments = self._arguments(request)
        leaving = Leaving(arguments["model"])
        began = time.perf_counter()
        with Masking(lambda: self._secrets):
            try:
                answer = await library.acompletion(**arguments, **leaving.arguments)
            except Exception as error:
                raise self._failure(error, leaving) from None
            data = answer.model_dump(exclude_none=True)
            latency = time.perf_counter() - began
            completion = read_completion(data, self._where, asked=arguments["model"], latency_s=latency)
        return replace(
            completion,
            usage=counted_by_server(completion.usage, arguments["model"]),
            response_id=_server_id(completion.response_id),
        )

    async def stream(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        """Pieces of text as they come, then the whole. A stream left early closes its connection."""
        library = await _library()
        arguments = self._arguments(request) | {"stream": True, "stream_options": {"include_usage": True}}
        built = StreamedCompletion(self._where, arguments["model"])
        began = time.perf_counter()
        first: float | None = None
        sending: Any = SENDING.get()
        record = StreamRecord()
        leaving = Leaving(arguments["model"])
        with Masking(lambda: self._secrets):
            try:
                asked = library.acompletion(**arguments, **leaving.arguments)
                async with contextlib.aclosing(record.follow(asked)) as chunks:
                    async for chunk in chunks:
                        piece = built.add_chunk(chunk)
                        if piece is not None and first is None:
                            first = time.perf_counter() - began
                        if piece:
                            yield piece
            except Exception as error:
                raise self._failure(error, leaving, has_begun=record.has_begun) from None
            finally:
                built.tell(sending, record.usage)
            if not record.is_whole:
                raise BackendUnavailableError(f"{self._where}: the stream was cut before the answer ended")
            completion = built.completion(time.perf_counter() - began, first)
        usage = counted_by_server(record.usage, arguments["model"])
        yield replace(
            completion,
            usage=so_far(usage, built.received) if usage.certainty == "estimated" else usage,
            response_id=_server_id(record.response_id or completion.response_id),
            service_tier=record.service_tier or completion.service_tier,
            reported_cost=record.cost,
        )

    async def aclose(self) -> None:
        """Nothing: litellm's connections belong to everyone in this process, and it closes them itself."""

    @property
    def base_url(self) -> str:
        """The server's address, empty for the provider's own."""
        return self.api_base

    @property
    def _where(self) -> str:
        return f"{self.model} at {self.api_base}" if self.api_base else self.model

    def _arguments(self, request: Request) -> dict[str, Any]:
        fields = {name: value for name, value in request_fields(request, self.model).items() if name not in _NEVER}
        ours = {"num_retries": 0, "max_retries": 0, "timeout": self._read_timeout_s, "no-log": True}
        return {**self._options, **fields, **self._access(), **ours}

    def _access(self) -> dict[str, Any]:
        found: dict[str, Any] = {"api_base": self.api_base} if self.api_base else {}
        key = ""
        if self._api_key_env:
            key = os.environ.get(self._api_key_env, "").strip()
            if not key:
                hint = f"it is the api_key_env of {self._where}: export {self._api_key_env}=…"
                raise ConfigError(f"${self._api_key_env} isn't set", hint=hint)
            found["api_key"] = key
        if self._extra_headers:
            found["extra_headers"] = expand_headers(self._extra_headers, owner=self._where)
        self._secrets = (*((key,) if key else ()), *header_secrets(self._extra_headers))
        return found

    def _failure(self, error: Exception, leaving: Leaving, *, has_begun: bool = False) -> Exception:
        known: dict[str, Any] = {"key_env": self._api_key_env, "secrets": self._secrets, "has_begun": has_begun}
        made, reached = failure(error, self._where, **known, has_left=leaving.tells and leaving.has_left)
        leaving.mark(reached)
        return made


def load() -> Any:
    """litellm, imported with its downloads and telemetry off. Raises `MissingExtraError`. Takes about 6 s at first."""
    if "litellm" not in sys.modules:
        os.environ.update(_OFFLINE)
    try:
        import litellm
    except ImportError:
        raise MissingExtraError("litellm", needed_for="the litellm backend") from None
    warnings.filterwarnings("ignore", r"Items? '.*' on TypedDict", UserWarning)  # pydantic about litellm's own types
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm


async def _library() -> Any:
    """litellm, imported in a thread so that other calls go on meanwhile."""
    return load() if "litellm" in sys.modules else await asyncio.to_thread(load)


def _server_id(made: str) -> str:
    """The id, unless it is one that litellm made up: `chatcmpl-` and a UUID with dashes."""
    return "" if made.startswith(_OWN_ID) and made.count("-") == 5 else made
