"""Warnings of budgets: once at 80 % of a window and once when it is reached."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmops.usage.budget_rules import BudgetRule

SHARES = (0.8, 1.0)
REREAD_S = 10.0
_MOST_WINDOWS = 10_000


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A window of `rule` that came to `share` (0.8 or 1.0) of its limit; `used` in the rule's unit."""

    rule: BudgetRule
    window: str
    share: float
    used: int

    def __str__(self) -> str:
        used, limit = self.rule.amount(self.used), self.rule.amount(self.rule.limit)
        reached = "is reached" if self.share >= 1 else f"is {self.share:.0%} used"
        return f"{self.rule.words(self.window)} {reached}: {used} of {limit}"


class SpentReader(Protocol):
    """Reads what is settled of windows, by all processes: their names to amounts."""

    def __call__(self, windows: Sequence[str]) -> Mapping[str, int]: ...


class Watch:
    """Adds up what windows have used and tells of each threshold once a process.

    What other processes used is read with `spent` when a window is first seen and then at most every `reread_s`;
    without `spent`, only this process counts. `tell` must be quick; what it raises is dropped.
    """

    def __init__(
        self,
        tell: Callable[[BudgetWarning], None] | None = None,
        spent: SpentReader | None = None,
        *,
        reread_s: float = REREAD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell or _warn
        self._spent = spent
        self._reread_s = reread_s
        self._clock = clock
        self._used: dict[str, int] = {}
        self._read_at: dict[str, float] = {}
        self._told: dict[tuple[str, int], int] = {}  # thresholds passed, by window and limit
        self._lock = threading.Lock()

    def add(self, window: str, amount: int, rules: Sequence[BudgetRule]) -> None:
        """`amount` more of a window was used, which `rules` warn about."""
        with self._lock:
            found = self._total(window, amount)
            due = [BudgetWarning(rule, window, share, found) for rule in rules for share in self._passed(rule, window)]
        for warning in due:
            with contextlib.suppress(Exception):
                self._tell(warning)

    def _total(self, window: str, amount: int) -> int:
        known = self._used.get(window, 0) + amount
        now = self._clock()
        if self._spent is not None and now - self._read_at.get(window, -math.inf) >= self._reread_s:
            self._read_at[window] = now
            with contextlib.suppress(Exception):  # a warning isn't worth a call
                # What was read may already hold this amount, or not yet: never count it twice.
                known = max(known, self._spent((window,)).get(window, 0))
        self._used[window] = known
        if len(self._used) > _MOST_WINDOWS:
            self._forget(next(iter(self._used)))
        return known

    def _passed(self, rule: BudgetRule, window: str) -> list[float]:
        """The highest threshold that was passed just now, if any: who jumps past both hears of one."""
        key = (window, rule.limit)
        reached = sum(self._used.get(window, 0) >= share * rule.limit for share in SHARES)
        before = self._told.get(key, 0)
        if reached <= before:
            return []
        self._told[key] = reached
        return [SHARES[reached - 1]]

    def _forget(self, window: str) -> None:
        del self._used[window]
        self._read_at.pop(window, None)
        self._told = {key: count for key, count in self._told.items() if key[0] != window}


def _warn(warning: BudgetWarning) -> None:
    warnings.warn(str(warning), RuntimeWarning, stacklevel=2)
