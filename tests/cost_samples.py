"""Calls with round figures for tests of cost reports, and a store filled with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops.store.call_log import open_call_log
from llmops.types import Attribution, Call, Cost, Usage

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86400
CENT = 10_000_000


def call(number: int, at: float = NOON, *, cost: int | None = CENT, estimated: bool = False, **more: Any) -> Call:
    """A settled call of `cost` nano-dollars with 1,000 tokens in (400 cached) and 200 out."""
    of = {name: more.pop(name) for name in list(more) if name in Attribution.__dataclass_fields__}
    moment = int(at * 1000) << 80 | 0x7 << 76 | 0x2 << 62 | number
    text = f"{moment:032x}"
    usage = more.pop("usage", Usage(1000, 200, 400, requests=1, certainty="exact"))
    price = None
    if cost is not None:
        read = cost // 10
        certainty = "estimated" if estimated else "exact"
        price = Cost(
            cost, cost // 2, read, 0, cost - cost // 2 - read, 0, 0, certainty, "yours", "openai/small", "abcdef123456"
        )
    made = Call(
        id=f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}",
        started_at=at,
        backend="hosted",
        provider="openai",
        model_asked="small",
        model_served="small",
        attribution=Attribution(**of),
        outcome="success",
        state="settled",
        usage=replace(usage, cost=cost),
        cost=price,
        duration_s=0.5,
        first_token_s=0.1,
    )
    return replace(made, **more)


def fill(place: Path, calls: Iterable[Call]) -> Path:
    """Write calls as the tracker does: begun, then settled; pending ones are left open."""
    with open_call_log(place) as log:
        for one in calls:
            log.begin_now(replace(one, outcome="pending", state="pending", usage=Usage(), cost=None))
            if one.outcome != "pending":
                log.settle(one)
    return place


def a_day() -> list[Call]:
    """Twelve calls: eight of an app, two of judges, one without a price, and one of another team the day before."""
    app = [call(n, NOON + 60 * n, team="search", feature="answers", prompt="docs/answer@2") for n in range(8)]
    judges = [
        call(20 + n, NOON, cost=2 * CENT, purpose="judge", model_asked="big", model_served="big", team="search")
        for n in range(2)
    ]
    unpriced = call(30, NOON, cost=None, model_served="my-slm", model_asked="my-slm", provider="vllm", team="search")
    earlier = call(40, NOON - DAY, cost=4 * CENT, estimated=True, team="sales", prompt="docs/mail@1")
    return [*app, *judges, unpriced, earlier]
