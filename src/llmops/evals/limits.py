"""How hard to push: concurrency that backs off and recovers, rates a minute, and budgets reserved before sending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from llmops.errors import BackendError, BackendTimeoutError, BudgetExceededError
from llmops.types import Usage
from llmops.usage.money import dollars

LONGEST_WAIT_S = 300.0  # of a thread, which can't be interrupted


class ConcurrencyLimit:
    """At most `maximum` holders at once; fewer after the server said "slow down", then more again.

    Additive increase, multiplicative decrease: a 429 or 503 halves the limit once for everything that was in
    flight, and holds new requests back for as long as the server asked; each success adds 1/limit back.
    """

    def __init__(self, maximum: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = maximum
        self.limit = float(maximum)
        self.in_flight = 0
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved_at = -1.0
        self._open_at = 0.0
        self._opening: asyncio.TimerHandle | None = None

    def take(self) -> bool:
        """Take a place when one is free; False when there is none, or others wait for one."""
        if self._waiting or not self._free():
            return False
        self.in_flight += 1
        return True

    async def acquire(self) -> None:
        """Wait for a place."""
        if self.take():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._wake()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._wake()

    def succeeded(self) -> None:
        """An answer came: allow a little more."""
        if self.limit < self.maximum:
            self.limit = min(float(self.maximum), self.limit + 1.0 / self.limit)

    def pushed_back(self, sent_at: float, retry_after_s: float | None) -> None:
        """A request sent at `sent_at` was told to slow down; hold everything for `retry_after_s`."""
        if sent_at >= self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = self._clock()
        if retry_after_s:
            self._open_at = max(self._open_at, self._clock() + retry_after_s)

    def _free(self) -> bool:
        return self.in_flight < int(self.limit) and not self._held()

    def _held(self) -> float:
        """Seconds for which the server asked to be left alone."""
        return max(0.0, self._open_at - self._clock()) if self._open_at else 0.0

    def _wake(self) -> None:
        while self._waiting and self._free():
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)
        if self._waiting and self._opening is None and (held := self._held()):
            self._opening = asyncio.get_running_loop().call_later(held, self._reopen)

    def _reopen(self) -> None:
        self._opening = None
        self._wake()


class Pace:
    """A rate a minute, spread evenly: each unit takes 60/rate seconds of the schedule, with one second of burst."""

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = 60.0 / per_minute
        self._clock = clock
        self._burst_s = max(1.0, self._seconds_per_unit)
        self._next = self._clock() - self._burst_s

    def delay(self, units: float) -> float:
        """Book `units` and return how many seconds to wait before using them."""
        now = self._clock()
        self._next = max(self._next, now - self._burst_s) + units * self._seconds_per_unit
        return max(0.0, self._next - now)

    def correct(self, units: float) -> None:
        """Add units used beyond what was booked (or give back, when negative)."""
        self._next += units * self._seconds_per_unit


@dataclass(frozen=True, slots=True)
class Worst:
    """Tokens and nano-dollars that a request may take at worst, or took."""

    tokens: int = 0
    cost: int = 0


def used_by(usage: Usage, worst: Worst) -> Worst:
    """What an answer took; what nobody knows counts as the worst case."""
    tokens = worst.tokens if usage.certainty == "unknown" else usage.total_tokens
    cost = worst.cost if usage.cost is None or usage.unpriced else usage.cost
    return Worst(tokens, cost)


def used_by_failure(error: BackendError, worst: Worst) -> Worst:
    """What a request took that failed: nothing when it never left or was refused; what nobody knows, the worst case."""
    usage: Usage | None = getattr(error, "usage", None)
    if usage is None:  # nobody kept track
        return worst if isinstance(error, BackendTimeoutError) else Worst()
    return used_by(usage, worst) if usage.requests else Worst()


class Budget:
    """Requests, tokens and money a run may spend. The worst case is reserved before sending and settled afterwards.

    `max_cost` and every cost are in nano-dollars. Any thread and any event loop may reserve and settle.
    """

    def __init__(
        self, *, max_requests: int | None = None, max_tokens: int | None = None, max_cost: int | None = None
    ) -> None:
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.max_cost = max_cost
        self.requests = 0
        self.tokens = 0
        self.cost = 0
        self._reserved_tokens = 0
        self._reserved_cost = 0
        self._reserved = 0
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], object]] = []

    @property
    def limited(self) -> bool:
        return self.max_requests is not None or self.max_tokens is not None or self.max_cost is not None

    async def reserve(self, tokens: int, cost: int = 0, *, waits: bool = True) -> None:
        """Set aside one request, `tokens` and `cost`. Waits while requests in flight may still give some back.

        Raises `BudgetExceededError` when nothing in flight could make room; at once unless it `waits`.
        """
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        while not self._take(tokens, cost, partial(_call_in, loop, changed.set) if waits else None):
            await changed.wait()
            changed.clear()

    def reserve_now(self, tokens: int, cost: int = 0, *, wait_s: float = LONGEST_WAIT_S) -> None:
        """The same for threads without an event loop, which wait for `wait_s` seconds at most."""
        changed, until = threading.Event(), time.monotonic() + wait_s
        while not self._take(tokens, cost, changed.set if time.monotonic() < until else None):
            changed.wait(max(0.0, until - time.monotonic()))
            changed.clear()

    def _take(self, tokens: int, cost: int, on_change: Callable[[], object] | None) -> bool:
        """Reserve; or return False and have `on_change` called once when something in flight has ended."""
        with self._lock:
            over = self._over(tokens, cost)
            if not over:
                self._reserved += 1
                self._reserved_tokens += tokens
                self._reserved_cost += cost
                return True
            if on_change is None or not self._reserved or self._over(tokens, cost, settled_only=True):
                raise BudgetExceededError(over, hint="what was done is saved; raise the limit and --resume to go on")
            self._waiting.append(on_change)
            return False

    def settle(self, reserved_tokens: int, used_tokens: int, reserved_cost: int = 0, used_cost: int = 0) -> None:
        """Replace a reservation by what was used."""
        with self._lock:
            self.requests += 1
            self.tokens += used_tokens
            self.cost += used_cost
        self.give_back(reserved_tokens, reserved_cost)

    def give_back(self, reserved_tokens: int, reserved_cost: int = 0) -> None:
        """Undo a reservation of which nothing was sent."""
        with self._lock:
            self._reserved -= 1
            self._reserved_tokens -= reserved_tokens
            self._reserved_cost -= reserved_cost
            waiting, self._waiting = self._waiting, []
        for on_change in waiting:
            on_change()

    def _over(self, tokens: int, cost: int, *, settled_only: bool = False) -> str:
        """Why one more request doesn't fit, or "". `settled_only` asks as if everything in flight would be free."""
        flying = 0 if settled_only else 1
        if self.max_requests is not None and self.requests + flying * self._reserved + 1 > self.max_requests:
            return f"the limit of {self.max_requests:,} requests is reached"
        if self.max_tokens is not None and self.tokens + flying * self._reserved_tokens + tokens > self.max_tokens:
            left = max(0, self.max_tokens - self.tokens)
            return f"the next request may take {tokens:,} tokens and {left:,} of {self.max_tokens:,} are left"
        if self.max_cost is not None and self.cost + flying * self._reserved_cost + cost > self.max_cost:
            left = max(0, self.max_cost - self.cost)
            return f"the next request may cost {dollars(cost)} and {dollars(left)} of {dollars(self.max_cost)} are left"
        return ""


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits there
        loop.call_soon_threadsafe(function)
