"""Budgets over the calls of a project: what a call sets aside before it is sent, and how long it waits for room."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence

from llmops.errors import BudgetExceededError, StoreError, UnboundedCallError
from llmops.types import Call, CallLog, Hold, Request
from llmops.usage.bounds import BoundPricer, RequestBound, bounded_usage, most_input, priced_bound, request_bound
from llmops.usage.budget_rules import BudgetRule, parse_budgets
from llmops.usage.budget_warnings import REREAD_S, BudgetWarning, SpentReader, Watch

__all__ = ["BudgetRefusedError", "BudgetRule", "BudgetWarning", "Budgets", "amount_used", "parse_budgets"]

PATIENCE_S = 30.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_GROWTH = 1.6
_SETTLE_EVERY_S = 5.0


class Budgets:
    """The budgets of a project.

    `tell` hears of windows of `action: warn` that come to 80 % and 100 % of their limit (default: Python's warnings);
    `spent` reads what all processes have used of them, at most every `reread_s` seconds a window. A call that only
    others in flight keep from fitting waits for at most `patience_s` seconds; meanwhile `settle_dead` is called, which
    settles what processes that ended had set aside.
    """

    def __init__(
        self,
        rules: Iterable[BudgetRule],
        pricer: BoundPricer,
        *,
        tell: Callable[[BudgetWarning], None] | None = None,
        spent: SpentReader | None = None,
        reread_s: float = REREAD_S,
        patience_s: float = PATIENCE_S,
        settle_dead: Callable[[], object] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.patience_s = patience_s
        self.refuses = True  # else all calls count, and none is refused
        self._settle_dead = settle_dead
        self._settled_dead_at = -math.inf
        self._pricer = pricer
        self._watch = Watch(tell, spent, reread_s=reread_s)

    def holds(self, call: Call, request: Request | RequestBound) -> tuple[Hold, ...]:
        """What `call` sets aside at worst, one hold a window; empty when no budget is for it.

        Raises `UnboundedCallError` when a hard budget can't be kept, since the answer, a picture or the price has no
        bound; a budget that only warns then counts the call when it is settled.
        """
        found: list[Hold] = []
        bound = request if isinstance(request, RequestBound) else None
        for window, rules in self._windows(call).items():
            if bound is None and rules[0].unit != "requests":
                assert isinstance(request, Request)
                bound = request_bound(request, self._pricer.max_output_tokens(call.provider, call.model_asked))
            rule = _strictest(rules)
            hard = rule.is_hard and self.refuses
            try:
                amount = self._amount(rule, window, call, bound)
            except UnboundedCallError as error:
                if hard:
                    error.where = error.where or rule.where
                    raise
                amount = 0
            found.append(Hold(window, rule.unit, rule.limit, amount, hard=hard))
        return tuple(found)

    async def begin(self, log: CallLog, call: Call, holds: tuple[Hold, ...]) -> None:
        """`log.begin`, once there is room for `holds`.

        Raises `BudgetRefusedError` at once when there is none, and after `patience_s` when only calls in flight were
        in the way.
        """
        patience = _Patience(self.patience_s)
        while True:
            try:
                return await log.begin(call, holds)
            except BudgetExceededError as error:
                pause = patience.pause(error)
                if pause is None:
                    raise self._refusal(error, call, holds) from None
            if self._is_time_to_settle():
                await asyncio.to_thread(self._settle_those)
            await asyncio.sleep(pause)

    def begin_now(self, log: CallLog, call: Call, holds: tuple[Hold, ...]) -> None:
        """The same for threads without an event loop."""
        patience = _Patience(self.patience_s)
        while True:
            try:
                return log.begin_now(call, holds)
            except BudgetExceededError as error:
                pause = patience.pause(error)
                if pause is None:
                    raise self._refusal(error, call, holds) from None
            if self._is_time_to_settle():
                self._settle_those()
            time.sleep(pause)

    def settled(self, call: Call, holds: Sequence[Hold]) -> None:
        """A call with `holds` has ended: warn when that fills a window."""
        if not holds or not any(not rule.is_hard for rule in self.rules):
            return
        windows = self._windows(call)
        for hold in holds:
            soft = [rule for rule in windows.get(hold.window, ()) if not rule.is_hard]
            if soft:
                self._watch.add(hold.window, amount_used(hold, call), soft)

    def _is_time_to_settle(self) -> bool:
        """Once in a while: what is in the way may belong to nobody."""
        now = time.monotonic()
        if self._settle_dead is None or now - self._settled_dead_at < _SETTLE_EVERY_S:
            return False
        self._settled_dead_at = now
        return True

    def _settle_those(self) -> None:
        assert self._settle_dead is not None
        with contextlib.suppress(StoreError):  # the next try to begin says what is wrong
            self._settle_dead()

    def _windows(self, call: Call) -> dict[str, list[BudgetRule]]:
        """Rules by the window `call` counts in. Rules over the same calls share one: no call counts twice in it."""
        found: dict[str, list[BudgetRule]] = {}
        for rule in self.rules:
            window = rule.window(call)
            if window is not None:
                found.setdefault(window, []).append(rule)
        return found

    def _amount(self, rule: BudgetRule, window: str, call: Call, bound: RequestBound | None) -> int:
        if rule.unit == "requests" or bound is None:
            return 1
        name = rule.words(window)
        most = most_input(self._pricer, call.provider, call.model_asked) if bound.media or bound.kept else None
        usage = bounded_usage(bound, limit=name, media_tokens=rule.media_tokens, most_input=most)
        if rule.unit == "tokens":
            return usage.total_tokens
        asked = {"provider": call.provider, "model": call.model_asked, "backend": call.backend}
        return priced_bound(self._pricer, usage, **asked, limit=name, service_tier=bound.service_tier)

    def _refusal(self, error: BudgetExceededError, call: Call, holds: Sequence[Hold]) -> BudgetExceededError:
        """The store's refusal in the words of the rule that has no room."""
        hard = {hold.window: hold for hold in holds if hold.hard}
        named = getattr(error, "window", "")
        window = named if named in hard else next(iter(hard), "")
        rules = self._windows(call).get(window)
        if not rules:
            return error
        return BudgetRefusedError(_strictest(rules), hard[window], error)


class BudgetRefusedError(BudgetExceededError):
    """A call that a budget of the project has no room for; nothing was sent.

    `stops` says that the run it belongs to is over, `could_fit` that only calls in flight were in the way.
    """

    kind = "budget_exceeded"

    def __init__(self, rule: BudgetRule, hold: Hold, error: BudgetExceededError) -> None:
        self.rule = rule
        self.window = hold.window
        self.stops = rule.action == "stop"
        self.could_fit = bool(getattr(error, "could_fit", False))
        used, held = getattr(error, "used", None), getattr(error, "held", None)
        facts = [f"{rule.amount(used)} used"] if isinstance(used, int) else []
        facts += [f"{rule.amount(held)} set aside for calls in flight"] if isinstance(held, int) and held else []
        facts += [f"this call may take {rule.amount(hold.amount)}"] if hold.unit != "requests" else []
        known = f": {', '.join(facts)}" if facts else ""
        hint = (
            "raise its limit" if rule.per in ("run", "total") else f"wait for the next {rule.per}, or raise its limit"
        )
        super().__init__(f"{rule.words(hold.window)} has no room{known}", where=rule.where, hint=hint)


def amount_used(hold: Hold, call: Call) -> int:
    """What a settled call used of a hold, in its unit. What nobody knows counts as the whole hold.

    In a hard budget so does what is estimated, if that isn't more: the server may have gone on with an answer that
    nobody read, and an estimate may be too low.
    """
    if call.outcome == "unsent":
        return 0
    if hold.unit == "requests":
        return 1
    if call.state in ("unknown", "pending"):
        return hold.amount
    used = call.usage.total_tokens if hold.unit == "tokens" else None if call.cost is None else call.cost.total
    if used is None:
        return hold.amount
    return max(used, hold.amount) if hold.hard and call.state == "estimated" else used


def _strictest(rules: Sequence[BudgetRule]) -> BudgetRule:
    """Of rules over the same window, the one that ends first: hard before soft, then the lower limit."""
    return min(rules, key=lambda rule: (not rule.is_hard, rule.limit))


class _Patience:
    """Growing pauses with jitter, for as long as waiting can help."""

    def __init__(self, longest_s: float) -> None:
        self._until = time.monotonic() + longest_s
        self._next = _FIRST_PAUSE_S

    def pause(self, error: BudgetExceededError) -> float | None:
        """Seconds until the next try; None when it makes no sense or the time is over."""
        left = self._until - time.monotonic()
        if not getattr(error, "could_fit", False) or left <= 0:
            return None
        pause = min(self._next * random.uniform(0.75, 1.25), left)
        self._next = min(self._next * _GROWTH, _LONGEST_PAUSE_S)
        return pause
