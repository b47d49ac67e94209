"""Whatever calls do: what was set aside is given back or counted exactly once, and what is spent is what calls used."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.attribution import track
from llmops.errors import BackendTimeoutError, BackendUnavailableError, RequestRejectedError
from llmops.http.client import SENDING
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.types import Completion, Request, Usage
from llmops.usage.budgets import Budgets, amount_used, parse_budgets
from llmops.usage.price_book import PriceBook
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker

PRICES = {"models": [{"model": "m", "input": 1, "output": 2}]}
RULES = [
    {"limit": "$0.01", "per": "total"},
    {"limit": "60 requests", "per": "total", "by": "team"},
    {"limit": "9000 tokens", "per": "total", "by": "team"},
    {"limit": "3 requests", "per": "total", "where": {"team": "b"}, "action": "warn"},
]
ENDS = ("answer", "uncounted", "refuse", "break", "late", "cancel", "unsent", "leave", "cancel the row", "read", "lose")
HISTORIES = st.lists(
    st.tuples(st.sampled_from(ENDS), st.sampled_from("ab"), st.integers(0, 900), st.booleans()), min_size=1, max_size=12
)


class Server:
    """Ends each request as its model's history says."""

    model = "m"
    marks_sent = True

    def __init__(self, end, tokens):
        self.identity = {"kind": "told"}
        self.end, self.tokens = end, tokens

    def _answer(self):
        counted = Usage(self.tokens, self.tokens // 3, requests=1, certainty="exact")
        return Completion("seven days", counted if self.end != "uncounted" else Usage(requests=1), model="m")

    async def complete(self, request):
        if self.end == "unsent":
            raise BackendUnavailableError("no connection")
        SENDING.get().sent = True
        if self.end == "refuse":
            error = RequestRejectedError("no")
            error.status = 400
            raise error
        if self.end in ("break", "late"):
            raise BackendUnavailableError("cut") if self.end == "break" else BackendTimeoutError("late")
        if self.end == "cancel":
            await asyncio.Event().wait()
        return self._answer()

    async def stream(self, request):
        whole = await self.complete(request)
        yield "seven "
        yield "days"
        yield whole


async def treat(tracker, step):
    end, team, tokens, streams = step
    backend = TrackedBackend(Server(end, tokens), tracker, name="local", provider="vllm")
    request = Request(({"role": "user", "content": "x" * tokens},), "m", {"max_tokens": 300})
    with track(team=team), contextlib.suppress(Exception, asyncio.CancelledError):
        if end == "lose":
            call = await tracker.open(model="m", provider="vllm", messages=request.messages, request=request)
            del call
        elif end.startswith("cancel"):
            task = asyncio.create_task(backend.complete(request))
            await asyncio.sleep(0 if end == "cancel the row" else 0.03)
            task.cancel()
            await task
        elif streams or end == "leave":
            async with contextlib.aclosing(backend.stream(request)) as parts:
                async for _ in parts:
                    if end == "leave":
                        break
        else:
            await backend.complete(request)


class Remembering:
    """A log that knows what was set aside for each call."""

    def __init__(self, log):
        self.log, self.holds = log, {}

    def __getattr__(self, name):
        return getattr(self.log, name)

    async def begin(self, call, holds=()):
        self.holds[call.id] = holds
        await self.log.begin(call, holds)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES)
def test_nothing_stays_set_aside_and_the_ledger_is_the_sum_of_the_calls(history):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.db"
        book = PriceBook.load(None, PRICES, genai=False, litellm=False)
        budgets = Budgets(parse_budgets(RULES), book, patience_s=0, tell=lambda warning: None)
        log = Remembering(open_call_log(path))
        tracker = Tracker(log, book, budgets=budgets)

        async def go():
            await asyncio.gather(*(treat(tracker, step) for step in history))

        asyncio.run(go())
        tracker.flush()
        tracker.close()
        with Calls.open(path) as calls:
            rows, windows = list(calls.rows()), calls.ledger()
    assert not [row for row in rows if row.outcome == "pending"]
    assert len(rows) <= len(history)
    assert not [window for window in windows if window.reserved]
    spent = Counter()
    for row in rows:
        for hold in log.holds[row.id]:
            spent[hold.window, hold.unit] += amount_used(hold, row)
    assert {(one.window, one.unit): one.spent for one in windows if one.spent} == +spent
    hard = [window for window in windows if window.limit != 3]
    assert all(window.spent <= window.limit for window in hard) or any(row.state == "estimated" for row in rows)
