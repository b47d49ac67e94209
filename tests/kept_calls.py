"""A call log in memory, and a tracker that writes to it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from llmops.types import Call, CallText, Cost, Hold, Request
from llmops.usage.bounds import RequestBound, request_bound
from llmops.usage.tracker import Tracker


class KeptCalls:
    """A `CallLog` that keeps calls in order of their beginning; `fail` is raised by whatever begins one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}
        self.texts: dict[str, CallText | None] = {}
        self.fail: Exception | None = None

    @property
    def calls(self) -> Sequence[Call]:
        return list(self._calls.values())

    @property
    def only(self) -> Call:
        (call,) = self._calls.values()
        return call

    def answers(self) -> list[str]:
        return [text.answer if text else "" for text in self.texts.values()]

    async def begin(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        self.begin_now(call, holds)

    def begin_now(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        if self.fail is not None:
            raise self.fail
        with self._lock:
            self._calls[call.id] = call

    def settle(self, call: Call, holds: tuple[Hold, ...] = (), text: CallText | None = None) -> None:
        with self._lock:
            assert self._calls[call.id].outcome == "pending", "settled twice"
            self._calls[call.id] = call
            self.texts[call.id] = text

    def discard(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        self.settle(call, holds)

    def flush(self, timeout_s: float = 30) -> None:
        pass


class NoPrices:
    """A `Pricer` that knows nothing."""

    def cost(self, *_: object, **__: object) -> Cost | None:
        return None


def kept() -> tuple[KeptCalls, Tracker]:
    """A log and its tracker, which keeps texts."""
    log = KeptCalls()
    return log, Tracker(log, NoPrices(), keep_text=True)


class SeenBounds:
    """Budgets that let everything pass; `bounds` has what each request may take at worst."""

    def __init__(self) -> None:
        self.bounds: list[RequestBound] = []

    def holds(self, call: Call, request: Request) -> tuple[Hold, ...]:
        self.bounds.append(request_bound(request))
        return ()
