"""What tracking a call costs its caller: `python benchmarks/overhead.py`.

The same requests to a loopback server, 32 at once, by a bare aiohttp loop, by `openai_http` without and with the call
log (SQLite, on disk), and by litellm. Each is a process of its own; several rounds, side by side. CPU is of the whole
client process after its imports and 32 warm-up calls, threads included; the server's isn't counted. Log rows written
are counted at the end: as many as calls, or the round fails. What imports left to the garbage collector is collected
before the clock starts; collections that the calls cause are counted.

`--freeze` has every process call `gc.freeze()` after its warm-up, as services do: a full garbage collection walks over
all that was imported, and the bare loop has imported the least.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from run import stub

CONCURRENCY = 32
WAYS = ("aiohttp", "openai_http", "tracked", "litellm")
MESSAGES = [{"role": "user", "content": "Which city is the capital of France?"}]
FREEZE = "--freeze"
Call = Callable[[], Awaitable[object]]


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def repeat(call: Call, times: int) -> None:
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def measure(call: Call, times: int, finish: Callable[[], object] = lambda: None) -> None:
    await repeat(call, CONCURRENCY)
    gc.collect()
    if FREEZE in sys.argv:
        gc.freeze()
    began = cpu_s()
    await repeat(call, times)
    finish()
    print(json.dumps({"us": (cpu_s() - began) / times * 1e6}))


async def bare(url: str, times: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> object:
            async with session.post(
                f"{url}/chat/completions", json={"model": "stub", "messages": MESSAGES}
            ) as response:
                return json.loads(await response.read())

        await measure(call, times)


async def ours(url: str, times: int, folder: str) -> None:
    from llmops.backends.openai_http import OpenAIHttp
    from llmops.types import Request

    request = Request(tuple(MESSAGES), "stub")
    server = OpenAIHttp(url, provider="vllm")
    if not folder:
        await measure(lambda: server.complete(request), times)
        await server.aclose()
        return
    from llmops.store.call_log import open_call_log
    from llmops.store.call_queries import Calls
    from llmops.usage.price_book import PriceBook
    from llmops.usage.tracked import TrackedBackend
    from llmops.usage.tracker import Tracker

    prices = {"models": [{"model": "stub", "input": 0.1, "output": 0.4}]}
    path = f"{folder}/calls.db"
    tracker = Tracker(open_call_log(path), PriceBook.load(None, prices, genai=False, litellm=False))
    backend = TrackedBackend(server, tracker, name="local", provider="vllm", address="127.0.0.1")
    await measure(lambda: backend.complete(request), times, tracker.flush)
    await backend.aclose()
    tracker.close()
    with Calls.open(path) as calls:
        [total] = calls.totals(by=["outcome"])
    if total.requests != times + CONCURRENCY:
        raise SystemExit(f"{times + CONCURRENCY} calls, {total.requests} rows")


async def litellm(url: str, times: int) -> None:
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_OFFLINE_MODE="true")
    from litellm import acompletion

    await measure(lambda: acompletion(model="hosted_vllm/stub", api_base=url, api_key="none", messages=MESSAGES), times)


def one(way: str, port: int, times: int) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    with tempfile.TemporaryDirectory() as folder:
        if way == "aiohttp":
            asyncio.run(bare(url, times))
        elif way == "litellm":
            asyncio.run(litellm(url, times))
        else:
            asyncio.run(ours(url, times, folder if way == "tracked" else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(FREEZE, action="store_true", help="gc.freeze() after the warm-up")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        one(options.way, options.port, options.calls)
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with stub(0.0) as port:
        for _ in range(options.rounds):
            for way in WAYS:
                times = options.calls if way != "litellm" else max(200, options.calls // 10)
                words = [sys.executable, __file__, "--way", way, "--port", str(port), "--calls", str(times)]
                words += [FREEZE] if options.freeze else []
                done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent)
                if done.returncode:
                    raise SystemExit(f"{way}:\n{done.stderr[-2000:]}")
                found[way].append(json.loads(done.stdout.splitlines()[-1])["us"])
    base = statistics.median(found["aiohttp"])
    for way, values in found.items():
        middle = statistics.median(values)
        print(
            f"{way:12} {middle:8.0f} µs CPU a call {middle / base:7.2f} × aiohttp  {min(values):.0f}–{max(values):.0f}"
        )


if __name__ == "__main__":
    main()
