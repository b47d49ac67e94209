"""An OpenAI-compatible chat server that costs next to nothing: answers are fixed, after a fixed delay.

    python benchmarks/stub.py --delay 0.2

Prints its port, then serves until its standard input closes. Half of the answers hold the word "Paris".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys


def body_of(number: int) -> bytes:
    text = "The capital of France is Paris." if number % 2 else "I am not sure which city that is."
    return json.dumps(
        {
            "id": f"c{number}",
            "object": "chat.completion",
            "model": "stub",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28},
        }
    ).encode()


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    for body in (body_of(0), body_of(1))
]


class Protocol(asyncio.Protocol):
    """Reads requests by their Content-Length, also when several arrive at once."""

    delay = 0.0
    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.answer()

    def answer(self) -> None:
        Protocol.served += 1
        answer = ANSWERS[Protocol.served % 2]
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)


async def serve(delay: float) -> None:
    Protocol.delay = delay
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    arguments = parser.parse_args()
    try:
        import uvloop

        uvloop.run(serve(arguments.delay))
    except ImportError:
        asyncio.run(serve(arguments.delay))
