"""A client for `test_call_storm`: sends requests `first` to `last` and treats each as its number says.

    python tests/storm_client.py URL STORE FIRST LAST

Some are streamed, some streams are left after their first piece, some calls are cancelled or run out of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys

from llmops import track
from llmops.backends.openai_http import OpenAIHttp
from llmops.errors import BackendError
from llmops.store.call_log import open_call_log
from llmops.types import Request
from llmops.usage.price_book import PriceBook
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker

PRICES = {"models": [{"model": "m", "input": 1, "output": 2, "cache_read": 0.1}]}


async def treat(backend: TrackedBackend, number: int) -> None:
    chance = random.Random(f"client {number}")
    request = Request(({"role": "user", "content": f"r{number}"},), "m")
    way = chance.choices(("complete", "stream", "leave", "cancel", "timeout"), (40, 25, 10, 15, 10))[0]
    if way == "complete":
        await backend.complete(request)
    elif way == "timeout":
        async with asyncio.timeout(chance.uniform(0, 0.05)):
            await backend.complete(request)
    elif way == "cancel":
        task = asyncio.create_task(backend.complete(request))
        asyncio.get_running_loop().call_later(chance.uniform(0, 0.03), task.cancel)
        await task
    else:
        async with contextlib.aclosing(backend.stream(request)) as parts:
            async for _ in parts:
                if way == "leave":
                    break


async def main(url: str, store: str, first: int, last: int) -> None:
    tracker = Tracker(open_call_log(store), PriceBook.load(None, PRICES, genai=False, litellm=False))
    backend = TrackedBackend(OpenAIHttp(url, read_timeout_s=0.5), tracker, name="local", provider="vllm")
    numbers = iter(range(first, last))

    async def worker() -> None:
        for number in numbers:
            with track(user=f"r{number}"), contextlib.suppress(BackendError, TimeoutError, asyncio.CancelledError):
                await treat(backend, number)

    await asyncio.gather(*(worker() for _ in range(32)))
    await backend.aclose()
    tracker.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
