"""Every OpenAI-compatible server over HTTP: vLLM, TensorRT-LLM, Ollama, llama.cpp, hosted ones."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from llmops.backends.json_bodies import parse_json
from llmops.backends.openai_shapes import parse_completion, request_body
from llmops.backends.server_events import EventParser, is_event_stream
from llmops.backends.streamed_completion import StreamedCompletion
from llmops.backends.whole_streams import whole
from llmops.errors import BackendError, BadResponseError, ConfigError, InputError
from llmops.http import HttpClient, Masking, check_url, expand_headers, header_secrets, refused
from llmops.http.addresses import header_value
from llmops.http.client import MAX_BODY_BYTES, SENDING, Answer, read
from llmops.token_usage import read_usage
from llmops.types import Completion, Request

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

EMBEDDING_BATCH = 256
PATIENCE_AFTER_DONE_S = 0.5
_CHAT = "/chat/completions"
_OPENAI_HOST = "api.openai.com"
_OPENAI_KEY = "OPENAI_API_KEY"


class OpenAIHttp:
    """Chat completions and embeddings of one server.

    `base_url` may end in `/v1`, `/v1/chat/completions` or nothing. `model` is used when a request names none.
    `api_key_env` names the environment variable that holds the key; for api.openai.com `OPENAI_API_KEY` is used
    when it is set. Header values may hold `${VAR}`. Keys are read when the first request is sent, never shown and
    never part of `identity`. With `stream`, answers are streamed so that the time to the first token is measured.
    `read_timeout_s` is the longest silence between two pieces of an answer. `provider` says who runs the server, for
    prices and reports, where its address doesn't (`vllm`). With `usage_in_every_chunk`, a vLLM server tells a stream's
    usage all along, so that one that is left early is known better.
    """

    marks_sent = True

    def __init__(
        self,
        base_url: str,
        model: str = "",
        api_key_env: str = "",
        headers: dict[str, str] | None = None,
        stream: bool = False,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 120.0,
        trust_env: bool = False,
        provider: str = "",
        usage_in_every_chunk: bool = False,
    ) -> None:
        from yarl import URL

        if connect_timeout_s <= 0 or read_timeout_s <= 0:
            raise InputError("connect_timeout_s and read_timeout_s are seconds above 0")
        self.base_url = _normalised(base_url)
        self.model = model
        self.provider = provider
        self._usage_in_every_chunk = usage_in_every_chunk
        self._streams = stream
        self._api_key_env = api_key_env
        self._extra_headers = dict(headers or {})
        self._secrets: tuple[str, ...] = ()
        self._chat_url = URL(_endpoint(self.base_url, _CHAT))
        self._embeddings_url = URL(_endpoint(self.base_url, "/embeddings"))
        self._client = HttpClient(
            self._headers,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            trust_env=trust_env,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides an answer beside the request itself: kind, address, default model, and headers if any.

        Of a header's value, as written with its `${VAR}`, it holds only the first 12 hex digits of the sha256.
        """
        found: dict[str, Any] = {"kind": "openai_http", "base_url": self.base_url, "model": self.model}
        if self._extra_headers:
            found["headers"] = {name: _short_hash(value) for name, value in self._extra_headers.items()}
        return found

    async def complete(self, request: Request) -> Completion:
        """The completion of `request`. Raises a `BackendError`, or `ConfigError` when the key isn't set."""
        if self._streams:
            return await whole(self.stream(request), self._chat_url)
        body = request_body(request, self.model, stream=False)
        began = time.perf_counter()
        with Masking(lambda: self._secrets):
            answer = await self._client.send("POST", self._chat_url, body)
            if answer.status != 200:
                raise self._refused(answer.status, answer.headers, answer.body, self._chat_url)
            latency = time.perf_counter() - began
            return parse_completion(answer.body, self._chat_url, asked=request.model or self.model, latency_s=latency)

    async def stream(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        """Pieces of text as they come, then the whole as a `Completion`, with `first_token_s` measured.

        A server that answers in one piece although a stream was asked for is understood too. A stream left early
        closes its connection.
        """
        body = request_body(request, self.model, stream=True, usage_in_every_chunk=self._usage_in_every_chunk)
        asked = request.model or self.model
        began = time.perf_counter()
        sending: Any = SENDING.get()
        with Masking(lambda: self._secrets):
            async with self._client.open("POST", self._chat_url, body) as response:
                if response.status != 200:
                    said = await read(response, self._chat_url)
                    raise self._refused(response.status, response.headers, said, self._chat_url)
                begun = b"" if response.content_type == "text/event-stream" else await response.content.readany()
                if response.content_type == "application/json" or (begun and not is_event_stream(begun)):
                    whole = begun + await read(response, self._chat_url)
                    latency = time.perf_counter() - began
                    completion = parse_completion(whole, self._chat_url, asked=asked, latency_s=latency)
                    yield completion.text
                    yield completion
                    return
                built = StreamedCompletion(self._chat_url, asked)
                first: float | None = None
                try:
                    async with contextlib.aclosing(_pieces(response, built, begun)) as pieces:
                        async for piece in pieces:
                            if first is None:
                                first = time.perf_counter() - began
                            if piece:
                                yield piece
                finally:
                    built.tell(sending, built.usage)
                completion = built.completion(time.perf_counter() - began, first)
                await _drain(response)
                yield completion

    async def embed(self, texts: Sequence[str], *, model: str = "") -> list[list[float]]:
        """One vector a text, in the order of `texts`, asked for in batches of 256."""
        import json

        chosen = model or self.model
        if not chosen:
            raise InputError("no model is named", hint="give the backend a model: …")
        vectors: list[list[float]] = []
        with Masking(lambda: self._secrets):
            for start in range(0, len(texts), EMBEDDING_BATCH):
                batch = list(texts[start : start + EMBEDDING_BATCH])
                body = json.dumps({"model": chosen, "input": batch, "encoding_format": "float"}).encode()
                answer = await self._client.send("POST", self._embeddings_url, body)
                if answer.status != 200:
                    raise self._refused(answer.status, answer.headers, answer.body, self._embeddings_url)
                data = parse_json(answer.body, self._embeddings_url)
                vectors += _vectors(data, self._embeddings_url, len(batch))
                sending: Any = SENDING.get()
                if sending is not None and (usage := read_usage(data.get("usage"))) is not None:
                    sending.counted(usage)
        return vectors

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request with this backend's key and headers to a path such as `/models`, and its answer as it came."""
        from yarl import URL

        with Masking(lambda: self._secrets):
            return await self._client.send(method, URL(_endpoint(self.base_url, path)), body)

    async def aclose(self) -> None:
        """Close the running loop's connections. The backend can still be used afterwards."""
        await self._client.aclose()

    def check_ready(self) -> None:
        """Raises `ConfigError` when the variable that holds the key isn't set; asks nobody."""
        self._headers()

    def _headers(self) -> dict[str, str]:
        expanded = expand_headers(self._extra_headers, owner=self.base_url)
        headers = {"Content-Type": "application/json", **expanded}
        key = self._key()
        if key:
            headers["Authorization"] = f"Bearer {header_value('Authorization', key)}"
        self._secrets = (*((key,) if key else ()), *header_secrets(self._extra_headers))
        return headers

    def _key(self) -> str:
        name = self._api_key_env
        if name:
            key = os.environ.get(name, "").strip()
            if not key:
                hint = f"it is the api_key_env of {self.base_url}: export {name}=…"
                raise ConfigError(f"${name} isn't set", hint=hint)
            return key
        return os.environ.get(_OPENAI_KEY, "").strip() if urlsplit(self.base_url).hostname == _OPENAI_HOST else ""

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes, url: URL) -> BackendError:
        name = self._api_key_env or _OPENAI_KEY
        hint = (
            f"set the key in ${name}"
            if name == self._api_key_env or _OPENAI_HOST in self.base_url
            else ("name the variable that holds the key: api_key_env: …")
        )
        hints = {401: hint, 404: "is base_url right, and is the model served?"}
        return refused(status, headers, body, url=str(url), hints=hints, secrets=self._secrets)


def _short_hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _normalised(base_url: str) -> str:
    parts = urlsplit(check_url(base_url.strip(), what="base_url"))
    path = parts.path.rstrip("/").removesuffix(_CHAT).rstrip("/")
    return urlunsplit(parts._replace(path=path or "/v1"))


def _endpoint(base_url: str, path: str) -> str:
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path + path))


async def _pieces(response: ClientResponse, built: StreamedCompletion, begun: bytes) -> AsyncGenerator[str, None]:
    """Pieces until `[DONE]` or the end, "" for the parts of tool calls. `begun` was read already."""
    parser = EventParser()
    size = 0
    while not built.done and (chunk := begun or await _more(response, built)):
        begun = b""
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BadResponseError(f"{response.url} streamed more than {MAX_BODY_BYTES // 1_048_576} MB")
        for data in parser.feed(chunk):
            piece = None if built.done else built.add(data)
            if piece is not None:
                yield piece
    if built.done:
        return
    for data in parser.finish():
        try:
            piece = built.add(data)
        except BadResponseError:  # cut in the middle of an event: `completion` says whether it mattered
            continue
        if piece is not None:
            yield piece


async def _more(response: ClientResponse, built: StreamedCompletion) -> bytes:
    """The next bytes; a connection that breaks after the answer and its usage came is an end like another."""
    import aiohttp

    try:
        return await response.content.readany()
    except (aiohttp.ClientError, TimeoutError, OSError):
        if built.is_whole:
            return b""
        raise


async def _drain(response: ClientResponse) -> None:
    """Read to the end, which is usually there already, so that the connection can be used again."""
    import aiohttp

    with contextlib.suppress(TimeoutError, aiohttp.ClientError):  # the answer is whole already
        async with asyncio.timeout(PATIENCE_AFTER_DONE_S):
            while await response.content.readany():
                pass


def _vectors(data: Mapping[str, Any], url: URL, expected: int) -> list[list[float]]:
    rows = data.get("data")
    if not isinstance(rows, list) or len(rows) != expected:
        count = len(rows) if isinstance(rows, list) else "no"
        raise BadResponseError(f"{url} answered {count} vectors for {expected} texts")
    try:
        ordered = sorted(enumerate(rows), key=lambda pair: pair[1].get("index", pair[0]))
        return [[float(number) for number in row["embedding"]] for _, row in ordered]
    except (TypeError, ValueError, KeyError, AttributeError):
        raise BadResponseError(f"{url} answered vectors that aren't lists of numbers") from None
