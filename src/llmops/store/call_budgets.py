"""Windows of budgets: what calls that are under way may use at worst is set aside, and what they used is counted."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmops.errors import BudgetExceededError
from llmops.store.call_driver import CallDriver
from llmops.store.call_seeds import MAKE, MOST, Key
from llmops.store.encoding import is_digest, name_key, plain_text
from llmops.types import BudgetUnit, Call, Hold
from llmops.usage.budgets import amount_used


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a budget as it is saved. `limit` is the one of the last call that was held against it."""

    window: str
    unit: BudgetUnit
    spent: int
    reserved: int
    limit: int
    touched_at: float


def key_of(hold: Hold) -> Key:
    """How a window is found."""
    return name_key(hold.window), hold.unit


class Windows:
    """The windows that one transaction touches: read and locked at its start, written at its end."""

    def __init__(self, driver: CallDriver, holds: Iterable[Hold]) -> None:
        self._driver = driver
        self._windows: dict[Key, list[int]] = {}  # spent, reserved, limit
        self._changed: set[Key] = set()
        lock = "" if driver.is_file else " FOR UPDATE"
        # By key, so that two processes never wait for each other in a circle.
        for key in sorted({key_of(hold) for hold in holds}):
            rows = driver.run(_READ + lock, key)
            if not rows:  # it is over, and was forgotten meanwhile
                driver.run(MAKE, (*key, 0, 0, 0, time.time()))
                rows = driver.run(_READ + lock, key)
            self._windows[key] = list(rows[0])

    def reserve(self, holds: tuple[Hold, ...]) -> BudgetExceededError | None:
        """Set aside all that a call may use, or nothing: then the error that says why."""
        refusals = [made for hold in holds if hold.hard and (made := self._refusal(hold)) is not None]
        if refusals:  # one that waiting can't help is the one to know about
            return min(refusals, key=lambda error: bool(error.__dict__["could_fit"]))
        for hold in _once(holds):
            self._change(hold, 0, hold.amount)
        return None

    def settle(self, holds: tuple[Hold, ...], call: Call) -> None:
        """What was set aside for a call is replaced by what it used."""
        for hold in _once(holds):
            self._change(hold, amount_used(hold, call), -hold.amount)

    def spend(self, holds: tuple[Hold, ...], call: Call) -> None:
        """Count what a call used that nothing was set aside for."""
        for hold in _once(holds):
            self._change(hold, amount_used(hold, call), 0)

    def correct(self, holds: tuple[Hold, ...], before: Call, call: Call) -> None:
        """A call counted as what somebody else said of it: now its process says what it used."""
        for hold in _once(holds):
            self._change(hold, amount_used(hold, call) - amount_used(hold, before), 0)

    def write(self) -> None:
        """Save what changed."""
        now = time.time()
        rows = [(*self._windows[key], now, *key) for key in sorted(self._changed)]
        self._driver.run_each(_WRITE, rows)

    def _refusal(self, hold: Hold) -> BudgetExceededError | None:
        spent, reserved, _ = self._windows[key_of(hold)]
        return None if spent + reserved + hold.amount <= hold.limit else exceeded(hold, spent, reserved)

    def _change(self, hold: Hold, spent: int, reserved: int) -> None:
        key = key_of(hold)
        window = self._windows[key]
        window[0] = min(max(0, window[0] + spent), MOST)
        window[1] = min(max(0, window[1] + reserved), MOST)
        window[2] = min(hold.limit, MOST)
        self._changed.add(key)


def _once(holds: tuple[Hold, ...]) -> Iterable[Hold]:
    """One hold a window: several rules over the same one are several limits, not several uses."""
    if len(holds) < 2:
        return holds
    kept: dict[Key, Hold] = {}
    for hold in holds:
        key = key_of(hold)
        if key not in kept or kept[key].amount < hold.amount:
            kept[key] = hold
    return kept.values()


def exceeded(hold: Hold, spent: int, reserved: int) -> BudgetExceededError:
    """The error for a hold that doesn't fit: `could_fit` says that only what is set aside is in its way."""
    left = max(0, hold.limit - spent - reserved)
    error = BudgetExceededError(
        f"budget {hold.window}: a call may use {hold.amount:,} {hold.unit} and {left:,} of {hold.limit:,} are left"
    )
    could_fit = spent + hold.amount <= hold.limit
    error.__dict__.update(could_fit=could_fit, window=hold.window, left=left, used=spent, held=reserved)
    return error


def ledger(rows: Iterable[tuple[str, BudgetUnit, int, int, int, float]]) -> list[Window]:
    """Windows from rows in the order of the fields; of a name that is too long there is only a digest."""
    found = (Window(*row) for row in rows)
    return [one if is_digest(one.window) else replace(one, window=plain_text(one.window)) for one in found]


_READ = 'SELECT spent, reserved, amount_limit FROM budget_windows WHERE "window" = ? AND unit = ?'
_WRITE = (
    "UPDATE budget_windows SET spent = ?, reserved = ?, amount_limit = ?, touched_at = ? "
    'WHERE "window" = ? AND unit = ?'
)
