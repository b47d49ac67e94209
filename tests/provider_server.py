"""A loopback server that speaks the APIs of OpenAI, Anthropic, Gemini and Triton, and counts for itself.

    with ProviderServer([Answer(status=429, headers={"Retry-After": "0"}), Answer(usage=Tokens(1000, 50))]) as server:
        OpenAIHttp(server.url, model="m")          # chat completions, responses, embeddings, models
        ...
    assert server.count == 2                       # requests whose headers arrived
    assert server.claimed() == Tokens(1000, 50)    # what it told its clients in answers that went out whole

Answers are used up in order, then `default` repeats; a function `(body, number) -> Answer` decides each itself, and may
look at the body to tell requests apart. Addresses: `server.url` (OpenAI, ends in `/v1`), `server.root` (Anthropic,
Triton and, with `/v1beta`, Gemini). The path decides the shape; streams are served where the request asks for one.

`Answer` scripts one request (see its fields): tokens by class or a raw usage mapping, usage missing, the same response
id again, a cut at byte N, slow, silence, a status, a reset connection, a cost in dollars, a service tier.
`server.served` has one `Served` a request in order of arrival: its body, the `prompt` (the text of the last message, so
that a test can tell which is which), the answer, and the `outcome`. `server.answered(prompt)` finds one.

The server runs in a thread with its own loop, so clients may be in the same process, in another one, or killed: one
that goes away before its answer is out ends in the outcome `client_gone`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from provider_shapes import STREAM, WHOLE, Said, Tokens, error_body

__all__ = ["Answer", "ProviderServer", "Served", "Tokens", "wire"]

Ending = Literal["whole", "cut", "short", "silence", "reset"]
Outcome = Literal["arriving", "answered", "refused", "cut", "silence", "reset", "client_gone"]


@dataclass(frozen=True)
class Answer:
    """What to do with one request.

    `usage`: `Tokens`, a mapping sent as it is, or None (the server says nothing). A chat completions stream gets it
    only when the request asks with `include_usage`, unless `force_usage`.
    `id`: None makes a new one; a text is sent as it is, every time.
    `ending`: `whole`; `cut` (the first `cut_at` bytes of the body, then the connection closes); `short` (the same
    bytes, then the body ends as if it were whole); `silence` (the first `cut_at` bytes, or no answer at all, and then
    nothing until the client goes); `reset` (no answer, the connection is reset, as a crashed server does).
    `events` are those of a stream as they are, instead of what `text` makes.
    `cut_at` counts bytes of the body; `latency_s` is before the first byte, `pause_s` between pieces of a stream.
    """

    text: str | Callable[[Any], str] = "Paris is it."
    usage: Tokens | Mapping[str, Any] | None = field(default_factory=Tokens)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    model: str | None = None
    finish_reason: str = "stop"
    service_tier: str | None = None
    cost: str | None = None
    force_usage: bool = False
    pieces: Sequence[str] | None = None
    events: Sequence[bytes] | None = None
    latency_s: float = 0.0
    pause_s: float = 0.0
    ending: Ending = "whole"
    cut_at: int = 0


@dataclass
class Served:
    """One request as the server saw it, and what became of it.

    `shape` names the API, `response_id` is what it was answered with, `told` says whether the answer had a usage.
    """

    number: int
    shape: str
    path: str
    headers: Mapping[str, str]
    body: Any = None
    stream: bool = False
    answer: Answer | None = None
    response_id: str = ""
    outcome: Outcome = "arriving"
    told: bool = False

    @property
    def prompt(self) -> str:
        """The text of the last message, or of the only one."""
        return _prompt(self.body)

    @property
    def claimed(self) -> Tokens:
        """Tokens that a whole answer told; none in any other case."""
        usage = self.answer.usage if self.answer is not None else None
        whole = self.told and self.outcome == "answered"
        return usage if whole and isinstance(usage, Tokens) else Tokens(0, 0)


Script = Iterable[Answer] | Callable[[Any, int], Answer] | None


class ProviderServer:
    """The server as a context manager. `active` is how many requests it is busy with, `peak` how many it was."""

    def __init__(self, script: Script = None, *, default: Answer | None = None, port: int = 0) -> None:
        self.default = default or Answer()
        self.decide = script if callable(script) else None
        self.answers = iter(()) if script is None or callable(script) else iter(script)
        self.served: list[Served] = []
        self.active = 0
        self.peak = 0
        self.port = port
        self._ids = itertools.count(1)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="provider", daemon=True)

    def __enter__(self) -> ProviderServer:
        self._thread.start()
        if not self._ready.wait(30):
            raise RuntimeError("the provider server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    @property
    def count(self) -> int:
        """Requests whose headers arrived."""
        return len(self.served)

    @property
    def bodies(self) -> list[Any]:
        return [served.body for served in self.served]

    def claimed(self) -> Tokens:
        """Tokens of all answers that went out whole, summed."""
        return sum((served.claimed for served in self.served), Tokens(0, 0))

    def answered(self, prompt: str) -> list[Served]:
        """The requests whose last message is `prompt`, in order of arrival."""
        return [served for served in self.served if served.prompt == prompt]

    def wait_for(self, condition: Callable[[ProviderServer], bool], timeout_s: float = 20) -> None:
        """Block a thread (never a loop) until `condition(server)` holds. Raises `TimeoutError`."""
        deadline = threading.Event()
        for _ in range(int(timeout_s / 0.005)):
            if condition(self):
                return
            deadline.wait(0.005)
        raise TimeoutError("the server never got there")

    @contextlib.asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """A caller's time limit that ends as soon as its request is here, however slow the machine is."""
        before = self.count

        async def end() -> None:
            await asyncio.to_thread(self.wait_for, lambda server: server.count > before, 60)
            limit.reschedule(0)

        async with asyncio.timeout(120) as limit:
            ending = asyncio.create_task(end())
            yield
        ending.cancel()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=2048)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return self._get(request.path)
        served = Served(len(self.served), _shape(request.path), request.path, dict(request.headers))
        self.served.append(served)
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            raw = await request.read()
            served.body = json.loads(raw) if raw else None
            return await self._answer(request, served)
        except (asyncio.CancelledError, ConnectionError):
            if not self._stop.is_set():
                served.outcome = "client_gone"
            raise
        finally:
            self.active -= 1

    def _get(self, path: str) -> web.StreamResponse:
        if path.endswith("/models"):
            return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})
        return web.Response(text="ok")

    async def _answer(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        answer = self.decide(served.body, served.number) if self.decide else next(self.answers, self.default)
        served.answer = answer
        served.stream = _wants_stream(request.path, served.body)
        if answer.latency_s:
            await asyncio.sleep(answer.latency_s)
        if answer.ending == "reset":
            served.outcome = "reset"
            return _hang_up(request, web.Response())
        if answer.ending == "silence" and not answer.cut_at:
            return await self._silence(request, served, web.Response())
        if answer.status != 200:
            served.outcome = "refused"
            body = error_body(served.shape, answer.status, "scripted")
            headers = {"Content-Type": "application/json", **answer.headers}
            return web.Response(status=answer.status, body=body, headers=headers)
        served.response_id = answer.id if answer.id is not None else f"gen-{next(self._ids)}"
        return await self._send(request, served, answer)

    async def _send(self, request: web.BaseRequest, served: Served, answer: Answer) -> web.StreamResponse:
        parts = wire(served.shape, answer, served.body, served.response_id, stream=served.stream, path=served.path)
        served.told = answer.usage is not None and served.shape != "triton"
        if served.stream and served.shape == "openai":
            served.told = served.told and (answer.force_usage or _asks_for_usage(served.body))
        kind = "text/event-stream" if served.stream else "application/json"
        response = web.StreamResponse(headers={"Content-Type": kind, **answer.headers})
        if answer.ending != "whole":
            parts = [b"".join(parts)[: answer.cut_at]]
        elif not served.stream:
            response.content_length = sum(map(len, parts))
        await response.prepare(request)
        for number, part in enumerate(parts):
            if number and answer.pause_s:
                await asyncio.sleep(answer.pause_s)
            if part:
                await response.write(part)
        if answer.ending == "silence":
            return await self._silence(request, served, response)
        if answer.ending == "cut":
            served.outcome = "cut"
            return _hang_up(request, response)
        served.outcome = "cut" if answer.ending == "short" else "answered"
        return response

    async def _silence(
        self, request: web.BaseRequest, served: Served, response: web.StreamResponse
    ) -> web.StreamResponse:
        served.outcome = "silence"
        await self._stop.wait()
        return _hang_up(request, response)


def wire(
    shape: str, answer: Answer, body: Any = None, response_id: str = "gen-0", *, stream: bool, path: str = ""
) -> list[bytes]:
    """The bytes of an answer's body: one part when whole, one an event when a stream. For tests that count bytes."""
    body = body if isinstance(body, Mapping) else {}
    if stream and answer.events is not None:
        return list(answer.events)
    if shape == "embeddings":
        return [_embeddings(body, answer)]
    text = answer.text(body) if callable(answer.text) else answer.text
    pieces = answer.pieces if answer.pieces is not None else _words(text)
    model = answer.model or body.get("model") or _model_of(path)
    said = Said(
        text, pieces, answer.usage, str(model), response_id, answer.finish_reason, answer.service_tier, answer.cost
    )
    if not stream:
        return [WHOLE[shape](said)]
    return STREAM[shape](said, with_usage=answer.force_usage or _asks_for_usage(body))


def _asks_for_usage(body: Any) -> bool:
    return isinstance(body, Mapping) and bool((body.get("stream_options") or {}).get("include_usage"))


def _embeddings(body: Mapping[str, Any], answer: Answer) -> bytes:
    texts = body.get("input")
    texts = texts if isinstance(texts, list) else [texts]
    rows = [{"object": "embedding", "index": i, "embedding": [float(len(str(t))), 1.0]} for i, t in enumerate(texts)]
    found: dict[str, Any] = {"object": "list", "data": rows, "model": body.get("model", "m")}
    if isinstance(answer.usage, Tokens):
        found["usage"] = {"prompt_tokens": answer.usage.input, "total_tokens": answer.usage.input}
    return json.dumps(found).encode()


def _shape(path: str) -> str:
    ends = {"/chat/completions": "openai", "/responses": "responses", "/embeddings": "embeddings"}
    ends |= {"/messages": "anthropic", "/generate": "triton", "/generate_stream": "triton"}
    return next((shape for end, shape in ends.items() if path.endswith(end)), "gemini" if ":" in path else "openai")


def _wants_stream(path: str, body: Any) -> bool:
    if path.endswith(("/generate_stream", ":streamGenerateContent")):
        return True
    return not path.endswith("/generate") and isinstance(body, dict) and bool(body.get("stream"))


def _model_of(path: str) -> str:
    name = path.rpartition("/models/")[2]
    return name.split(":")[0].split("/")[0] or "m"


def _prompt(body: Any) -> str:
    if not isinstance(body, Mapping):
        return ""
    turns = body.get("messages") or body.get("contents") or body.get("input") or body.get("text_input") or ""
    if isinstance(turns, str):
        return turns
    last = turns[-1] if turns else ""
    content = last.get("content", last.get("parts", "")) if isinstance(last, Mapping) else last
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content)


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]


def _hang_up(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Close with what was written so far sent; with nothing written, reset."""
    if request.transport is not None:
        if response.prepared:
            request.transport.close()
        else:
            request.transport.abort()
    return response


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0)
    wanted = parser.parse_args()
    with ProviderServer(default=Answer(latency_s=wanted.latency), port=wanted.port) as running:
        print(running.url, flush=True)
        running._thread.join()
