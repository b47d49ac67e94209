"""Triton's generate extension, as its TensorRT-LLM backend serves it: text in, text out, no token counts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from llmops.backends.json_bodies import parse_json
from llmops.backends.openai_shapes import content_text, whole_text
from llmops.backends.server_events import EventParser
from llmops.backends.whole_streams import whole
from llmops.errors import (
    BackendError,
    BackendUnavailableError,
    BadResponseError,
    ConfigError,
    InputError,
    RequestRejectedError,
)
from llmops.http import HttpClient, Masking, check_url, expand_headers, header_secrets, refused
from llmops.http.addresses import header_value
from llmops.http.client import MAX_BODY_BYTES, read
from llmops.http.failures import server_message
from llmops.token_usage.estimating import estimated_usage
from llmops.types import Completion, Request

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

_NAMES = {"max_completion_tokens": "max_tokens", "seed": "random_seed", "stop": "stop_words"}
"""OpenAI's names of parameters that TensorRT-LLM's ensemble has under others."""
_OURS = ("model", "messages", "stream", "stream_options", "text_input")


class Triton:
    """One model of a Triton server, through `/v2/models/MODEL/generate` and `/generate_stream`.

    `model` is a model of the server's repository (`ensemble`, `tensorrt_llm_bls`). It takes plain text: of one message
    its text, of several each as `turn` says, with `{role}` and `{content}`, and `answer_starts` at the end; give your
    model's chat template there. With `strip_prompt`, a model that repeats the prompt before its answer is understood.
    Tokens are estimated from the text, since the server counts none. `max_tokens` holds when a request has none.
    """

    marks_sent = True
    provider = "triton"

    def __init__(
        self,
        base_url: str,
        model: str = "ensemble",
        api_key_env: str = "",
        headers: dict[str, str] | None = None,
        stream: bool = False,
        max_tokens: int = 256,
        turn: str = "{role}: {content}\n\n",
        answer_starts: str = "assistant: ",
        strip_prompt: bool = False,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 120.0,
        trust_env: bool = False,
    ) -> None:
        if connect_timeout_s <= 0 or read_timeout_s <= 0 or max_tokens < 1:
            raise InputError("connect_timeout_s, read_timeout_s and max_tokens are above 0")
        if "{content}" not in turn:
            raise InputError(f"turn is {turn!r}: it has no {{content}}")
        self.base_url = check_url(base_url.strip(), what="base_url").rstrip("/")
        self.model = model
        self._streams = stream
        self._api_key_env = api_key_env
        self._extra_headers = dict(headers or {})
        self._max_tokens = max_tokens
        self._turn, self._answer_starts, self._strip_prompt = turn, answer_starts, strip_prompt
        self._secrets: tuple[str, ...] = ()
        self._client = HttpClient(
            self._headers, connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s, trust_env=trust_env
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides an answer beside the request itself; no header is part of it."""
        return {
            "kind": "triton",
            "base_url": self.base_url,
            "model": self.model,
            "max_tokens": self._max_tokens,
            "template": [self._turn, self._answer_starts, self._strip_prompt],
        }

    async def complete(self, request: Request) -> Completion:
        """The completion, its usage estimated. Raises a `BackendError`, or `ConfigError` when the key isn't set."""
        if self._streams:
            return await whole(self.stream(request), self.base_url)
        url, body, prompt = self._asked(request, "generate")
        began = time.perf_counter()
        with Masking(lambda: self._secrets):
            answer = await self._client.send("POST", url, body)
            if answer.status != 200:
                raise self._refused(answer.status, answer.headers, answer.body, url)
            text = _text_output(parse_json(answer.body, url), url)
        return self._completion(request, prompt, text, time.perf_counter() - began, None)

    async def stream(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        """Pieces of text, then the whole. A stream left early closes its connection.

        Such a stream has no mark at its end: one that a proxy ends early can't be told from a whole one.
        """
        url, body, prompt = self._asked(request, "generate_stream")
        pieces: list[str] = []
        began = time.perf_counter()
        first: float | None = None
        with Masking(lambda: self._secrets):
            async with self._client.open("POST", url, body) as response:
                if response.status != 200:
                    raise self._refused(response.status, response.headers, await read(response, url), url)
                async with contextlib.aclosing(_pieces(response, url)) as found:
                    async for piece in found:
                        first = time.perf_counter() - began if first is None else first
                        pieces.append(piece)
                        if piece:
                            yield piece
        if first is None:
            raise BackendUnavailableError(f"{url}: the stream ended before the answer began")
        yield self._completion(request, prompt, "".join(pieces), time.perf_counter() - began, first)

    async def aclose(self) -> None:
        """Close the running loop's connections. The backend can still be used afterwards."""
        await self._client.aclose()

    def check_ready(self) -> None:
        """Raises `ConfigError` when the variable that holds the key isn't set; asks nobody."""
        self._headers()

    def _asked(self, request: Request, endpoint: str) -> tuple[URL, bytes, str]:
        from yarl import URL

        if request.tools or request.output_schema is not None:
            hint = "serve the model with trtllm-serve, and use openai_http"
            raise RequestRejectedError("Triton's generate endpoint has no tools and no output schema", hint=hint)
        prompt = self._prompt(request)
        body: dict[str, Any] = {"max_tokens": self._max_tokens}
        body |= {_NAMES.get(n, n): value for n, value in request.parameters.items() if n not in _OURS}
        if isinstance(body.get("stop_words"), str):
            body["stop_words"] = [body["stop_words"]]
        body |= {"text_input": prompt, "stream": endpoint == "generate_stream"}
        try:
            data = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestRejectedError(f"the request can't be written as JSON: {error}") from None
        parts = urlsplit(self.base_url)
        path = f"{parts.path}/v2/models/{quote(request.model or self.model, safe='')}/{endpoint}"
        return URL(urlunsplit(parts._replace(path=path)), encoded=True), data, prompt

    def _prompt(self, request: Request) -> str:
        said = [(str(m.get("role", "user")), content_text(m, self.base_url)) for m in request.messages]
        if len(said) == 1:
            return said[0][1]
        turns = (self._turn.replace("{role}", role, 1).partition("{content}") for role, _ in said)
        texts = (before + text + after for (before, _, after), (_, text) in zip(turns, said, strict=True))
        return "".join(texts) + self._answer_starts

    def _completion(
        self, request: Request, prompt: str, text: str, latency_s: float, first_token_s: float | None
    ) -> Completion:
        text = text.removeprefix(prompt) if self._strip_prompt else text
        return Completion(
            text=whole_text(text),
            usage=estimated_usage(request.messages, text),
            model=request.model or self.model,
            latency_s=latency_s,
            first_token_s=first_token_s,
        )

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", **expand_headers(self._extra_headers, owner=self.base_url)}
        key = os.environ.get(self._api_key_env, "").strip() if self._api_key_env else ""
        if self._api_key_env and not key:
            hint = f"it is the api_key_env of {self.base_url}: export {self._api_key_env}=…"
            raise ConfigError(f"${self._api_key_env} isn't set", hint=hint)
        if key:
            headers["Authorization"] = f"Bearer {header_value('Authorization', key)}"
        self._secrets = (*((key,) if key else ()), *header_secrets(self._extra_headers))
        return headers

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes, url: URL) -> BackendError:
        hints = {404: "is the model in the server's repository, and is base_url without /v2?"}
        return refused(status, headers, body, url=str(url), hints=hints, secrets=self._secrets)


async def _pieces(response: ClientResponse, url: URL) -> AsyncGenerator[str, None]:
    parser = EventParser()
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BadResponseError(f"{url} streamed more than {MAX_BODY_BYTES // 1_048_576} MB")
        for data in parser.feed(chunk):
            yield _text_output(parse_json(data, url), url)
    for data in parser.finish():
        try:
            event = parse_json(data, url)
        except BadResponseError:
            raise BackendUnavailableError(f"{url}: the stream was cut inside of an event") from None
        yield _text_output(event, url)


def _text_output(data: Mapping[str, Any], url: URL) -> str:
    """The text of an answer or event; of several sequences, the first. Raises `BadResponseError` on an error in it."""
    if data.get("error"):
        raise BadResponseError(f"{url} answered 200 with an error: {server_message(data['error'])}")
    text = data.get("text_output")
    if isinstance(text, list) and text:
        text = text[0]
    if not isinstance(text, str):
        raise BadResponseError(f"{url} answered without text_output")
    return text
