"""A loopback OpenAI-compatible server that does what a test tells it to.

    with StubServer([Reply(status=429, headers={"Retry-After": "2"}), Reply(text="Paris")]) as server:
        OpenAIHttp(server.url, model="m")
        ...
    assert server.count == 2 and server.bodies[0]["model"] == "m"

Replies are used up in order and then `default` repeats; a function `(body, number) -> Reply` decides each one
itself. The server runs in a thread with its own event loop. For benchmarks,
`python tests/stub_server.py --port 8000 --latency 0.2` runs one in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Ending = Literal["whole", "cut", "close", "hang", "no_done", "late_end"]


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    `text` may be a function of the request's body. `body` (bytes, text or JSON) replaces the whole answer.
    `ending`: `whole`; `cut` (half of the body or stream, then the connection is closed); `close` (closed
    without a byte); `hang` (never answers, or stops half-way when `after_pieces` is set); `no_done` (a stream
    that ends cleanly without `[DONE]` and without a finish reason); `late_end` (the end of a stream comes a
    little after its `[DONE]`).
    """

    text: str | Callable[[Any], str] = "ok"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_s: float = 0.0
    body: Any = None
    usage: Mapping[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    )
    finish_reason: str | None = "stop"
    tool_calls: Sequence[Mapping[str, Any]] = ()
    pieces: Sequence[str] | None = None
    ending: Ending = "whole"
    after_pieces: int | None = None
    model: str = "stub-model"


@dataclass(frozen=True)
class Seen:
    """A request as the server got it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


Script = Iterable[Reply] | Callable[[Any, int], Reply] | None


class StubServer:
    """The server as a context manager; `url` ends in `/v1`, `root` doesn't."""

    def __init__(self, script: Script = None, *, default: Reply | None = None, port: int = 0) -> None:
        self.default = default or Reply()
        self.decide = script if callable(script) else None
        self.replies = iter(()) if script is None or callable(script) else iter(script)
        self.seen: list[Seen] = []
        self.connections = 0
        self.active = 0
        self.peak = 0
        self.port = port
        self._open: set[Any] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stub-server", daemon=True)

    def __enter__(self) -> StubServer:
        self._thread.start()
        if not self._ready.wait(30):
            raise RuntimeError("the stub server did not start")
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
        """Requests received so far."""
        return len(self.seen)

    @property
    def bodies(self) -> list[Any]:
        return [seen.body for seen in self.seen]

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw
        number = len(self.seen)
        if request.transport not in self._open:
            self._open.add(request.transport)
            self.connections += 1
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body))
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            return await self._reply(request, body, number)
        finally:
            self.active -= 1

    async def _reply(self, request: web.BaseRequest, body: Any, number: int) -> web.StreamResponse:
        reply = self.decide(body, number) if self.decide else next(self.replies, self.default)
        if reply.latency_s:
            await asyncio.sleep(reply.latency_s)
        if reply.ending == "close":
            return self._hang_up(request)
        if reply.ending == "hang" and reply.after_pieces is None:
            await self._stop.wait()
            return self._hang_up(request)
        if reply.body is None and reply.status == 200 and isinstance(body, dict) and body.get("stream"):
            return await self._stream(request, body, reply)
        data = _whole(request.path, body, reply)
        if reply.ending == "cut":
            response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
            response.content_type, response.content_length = "application/json", len(data)
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
            return self._hang_up(request, response)
        headers = {"Content-Type": "application/json", **reply.headers}
        return web.Response(status=reply.status, headers=headers, body=data)

    def _hang_up(self, request: web.BaseRequest, response: web.StreamResponse | None = None) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.close()
        return response or web.Response()

    async def _stream(self, request: web.BaseRequest, body: Any, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **reply.headers})
        await response.prepare(request)
        pieces = list(reply.pieces) if reply.pieces is not None else _words(_text(reply, body))
        stop = len(pieces) if reply.after_pieces is None else reply.after_pieces
        if reply.ending == "cut" and reply.after_pieces is None:
            stop = len(pieces) // 2
        for piece in pieces[:stop]:
            await response.write(_event(_chunk(reply, {"content": piece})))
        if reply.ending == "hang":
            await self._stop.wait()
        if reply.ending in ("cut", "hang"):
            return self._hang_up(request, response)
        if reply.ending == "no_done":
            return response
        if reply.tool_calls:
            for delta in _tool_deltas(reply.tool_calls):
                await response.write(_event(_chunk(reply, delta)))
        await response.write(_event(_chunk(reply, {}, reply.finish_reason)))
        if reply.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            await response.write(_event({"model": reply.model, "choices": [], "usage": dict(reply.usage)}))
        await response.write(b"data: [DONE]\n\n")
        if reply.ending == "late_end":
            await asyncio.sleep(0.02)
        return response


def _whole(path: str, body: Any, reply: Reply) -> bytes:
    if isinstance(reply.body, bytes):
        return reply.body
    if isinstance(reply.body, str):
        return reply.body.encode("utf-8", "surrogatepass")
    if reply.body is not None:
        return json.dumps(reply.body).encode()
    if reply.status != 200:
        return json.dumps({"error": {"message": _text(reply, body), "code": reply.status}}).encode()
    if path.endswith("/embeddings"):
        texts = body["input"]
        rows = [{"index": i, "embedding": [float(len(t)), 1.0]} for i, t in enumerate(texts)]
        return json.dumps({"data": rows[::-1], "usage": {"prompt_tokens": len(texts)}}).encode()
    message: dict[str, Any] = {"role": "assistant", "content": _text(reply, body)}
    if reply.tool_calls:
        message |= {"content": None, "tool_calls": list(reply.tool_calls)}
    answer = {"id": "stub", "object": "chat.completion", "model": reply.model}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
    if reply.usage is not None:
        answer["usage"] = dict(reply.usage)
    return json.dumps(answer).encode()


def _text(reply: Reply, body: Any) -> str:
    return reply.text(body) if callable(reply.text) else reply.text


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]] + [text.split(" ")[-1]]


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _chunk(reply: Reply, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": reply.model, "choices": [choice]}


def _tool_deltas(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each call in three pieces, as servers send them: name and id, then the arguments in halves."""
    deltas = []
    for index, call in enumerate(calls):
        function, text = call["function"], call["function"]["arguments"]
        head = {"index": index, "id": call.get("id"), "type": "function"}
        deltas.append({**head, "function": {"name": function["name"], "arguments": ""}})
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        deltas += [{"index": index, "function": {"arguments": part}} for part in halves]
    return [{"tool_calls": [delta]} for delta in deltas]


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0)
    wanted = parser.parse_args()
    with StubServer(default=Reply(latency_s=wanted.latency), port=wanted.port) as running:
        print(running.url, flush=True)
        running._thread.join()
