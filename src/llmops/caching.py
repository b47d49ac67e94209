"""Questions about the response cache: what it holds, and why a case's requests missed it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from llmops.assembly import Assembler, Selection
from llmops.backends.cache import SqliteCache, key_of, request_text
from llmops.config import load_config
from llmops.errors import LlmopsError, NotFoundError, NotRecordedError
from llmops.evals.limits import Budget
from llmops.evals.runner import Entrant
from llmops.evals.sending import SentBackend
from llmops.evals.suite import load_suite
from llmops.evaluation import cache_path
from llmops.types import Case, Completion, Request, Trial


def _open(start: Path) -> SqliteCache:
    path = cache_path(load_config(start).root)
    if not path.is_file():
        raise NotFoundError(f"no response cache at {path}", hint="llmops eval makes one when a variant uses a backend")
    return SqliteCache(path)


def cache_info(start: Path) -> dict[str, Any]:
    """Path, number of answers, bytes, and the times of the oldest and newest."""
    with contextlib.closing(_open(start)) as cache:
        return cache.info()


def clear_cache(start: Path, *, older_than_s: float | None = None) -> int:
    """Forget answers; returns how many."""
    with contextlib.closing(_open(start)) as cache:
        return cache.clear(older_than_s=older_than_s)


def explain_case(suite_path: Path, case_id: str, *, variants: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """For each request a case would send: whether it is kept, else the fields that differ from the nearest kept one."""
    suite = load_suite(suite_path)
    config = load_config(suite.base)
    assembly = Assembler(suite, config, budget=Budget()).assemble(Selection(variants=variants))
    case = next((case for case in assembly.dataset if case.id == case_id), None)
    if case is None:
        raise NotFoundError(f"{assembly.dataset.name} has no case {case_id!r}", where=suite.where)
    found = []
    with contextlib.closing(_open(suite.base)) as cache:
        for entrant in assembly.entrants:
            for backend, request in _requests(entrant, case, assembly.backends, cache):
                origin = f"{suite.name}/{entrant.name}/{case.id}"
                found.append({"variant": entrant.name, **_explain(cache, backend, request, origin)})
    return found


class _Probe:
    """Stands in for the cache: notes each request, answers from what is kept, and never lets one be sent."""

    complete = True

    def __init__(self, cache: SqliteCache, backend: SentBackend) -> None:
        self.cache = cache
        self.backend = backend
        self.seen: list[Request] = []

    async def send(self, request: Request) -> Completion:
        self.seen.append(request)
        kept = self.cache.get(key_of(request_text(self.backend.identity, request)))
        if kept is None:
            raise NotRecordedError("not in the cache")
        return kept


def _requests(
    entrant: Entrant, case: Case, backends: tuple[SentBackend, ...], cache: SqliteCache
) -> Iterator[tuple[SentBackend, Request]]:
    """What the variant asks for, up to the first request that isn't kept: the rest depends on its answer."""
    probes = [_Probe(cache, backend) for backend in backends]
    for probe in probes:
        probe.backend.complete = probe.send  # type: ignore[method-assign]
    with contextlib.suppress(LlmopsError):
        asyncio.run(_answer(entrant, case))
    for probe in probes:
        for request in probe.seen:
            yield probe.backend, request


async def _answer(entrant: Entrant, case: Case) -> None:
    if entrant.sends_itself:
        await entrant.variant.answer(Trial(case))


def _explain(cache: SqliteCache, backend: SentBackend, request: Request, origin: str) -> dict[str, Any]:
    text = request_text(backend.identity, request)
    key = key_of(text)
    entry: dict[str, Any] = {"key": key, "cached": cache.get(key) is not None, "differences": [], "reason": ""}
    if entry["cached"]:
        return entry
    import json

    now = json.loads(text)
    kept = [(old, created) for _, old, created in cache.of_origin(origin)]
    if not kept:
        entry["reason"] = "no answer was ever kept for this case and variant"
        return entry
    ranked = [(list(_differences(old, now)), created) for old, created in kept]
    differences, created = min(ranked, key=lambda pair: len(pair[0]))
    entry["kept"] = datetime.fromtimestamp(created).astimezone().isoformat(timespec="seconds")
    entry["differences"] = differences
    return entry


def _differences(old: Any, now: Any, path: str = "") -> Iterator[dict[str, Any]]:
    if isinstance(old, Mapping) and isinstance(now, Mapping):
        for key in sorted({*old, *now}):
            yield from _differences(old.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(now, list) and len(old) == len(now):
        for index, (a, b) in enumerate(zip(old, now, strict=True)):
            yield from _differences(a, b, f"{path}[{index}]")
    elif old != now:
        yield {"field": path, **_around_change(old, now)}


def _around_change(old: Any, now: Any, width: int = 60) -> dict[str, Any]:
    """The two values; of long texts, the part where they begin to differ."""
    if not (isinstance(old, str) and isinstance(now, str)) or max(len(old), len(now)) <= 2 * width:
        return {"was": old, "now": now}
    start = next((i for i, (a, b) in enumerate(zip(old, now, strict=False)) if a != b), min(len(old), len(now)))
    begin = max(0, start - width // 2)
    return {"was": f"…{old[begin : begin + width]}…", "now": f"…{now[begin : begin + width]}…"}
