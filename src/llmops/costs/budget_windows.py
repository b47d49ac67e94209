"""`llmops cost budgets`: the rules of the project beside what the store has counted against them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.costs.opening import open_calls
from llmops.usage.budget_scopes import is_over, same_rules, scope_of

if TYPE_CHECKING:
    from llmops.store.call_budgets import Window
    from llmops.types import BudgetUnit
    from llmops.usage.budget_rules import BudgetRule


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """One window of a budget: what is spent and set aside of its limit, in nano-dollars, tokens or requests.

    `rule` is the rule as it reads today, empty when the project has none for this window any more. `is_hard` is false
    for one that only warns. `ends_at` is when counting begins anew, as a Unix time; None for runs and `total`.
    """

    window: str
    unit: BudgetUnit
    limit: int
    spent: int
    reserved: int
    rule: str = ""
    is_hard: bool = True
    current: bool = True
    ends_at: float | None = None

    @property
    def left(self) -> int:
        """What a new call may still use; below 0 when a limit was lowered or only warns."""
        return self.limit - self.spent - self.reserved


def budgets(
    store: str | Path | None = None, *, past: bool = False, empty: bool = False, now: float | None = None
) -> list[BudgetWindow]:
    """Windows that are open now, fullest first, then rules that nothing is counted against.

    `past` adds windows that are over, and those that no rule of the project limits any more; `empty` those in which
    nothing is spent or set aside. Windows of runs count as open for an hour after their last call.
    """
    from llmops.config import load_config
    from llmops.usage.budget_rules import parse_budgets

    now = time.time() if now is None else now
    config = load_config()
    rules = parse_budgets(list(config.budgets), lambda path: config.where_of("budgets", *path))
    with open_calls(store) as calls:
        saved = calls.ledger()
    found = [_window(window, rules, now) for window in saved if empty or window.spent or window.reserved]
    found.sort(key=lambda window: (not window.current, -_share(window), window.window))
    counted = {window.rule for window in found if window.current}
    unused = [
        BudgetWindow("", rule.unit, rule.limit, 0, 0, str(rule), rule.is_hard)
        for rule in rules
        if str(rule) not in counted
    ]
    return [window for window in found if past or (window.current and window.rule)] + unused


def _window(window: Window, rules: tuple[BudgetRule, ...], now: float) -> BudgetWindow:
    """The saved window with the rule that counts in it: the hard one with the lowest limit."""
    fitting = [rule for rule in rules if same_rules(rule.scope, window.window)]
    rule = min(fitting, key=lambda rule: (not rule.is_hard, rule.limit), default=None)
    return BudgetWindow(
        window=window.window,
        unit=window.unit,
        limit=rule.limit if rule else window.limit,
        spent=window.spent,
        reserved=window.reserved,
        rule=str(rule) if rule else "",
        is_hard=rule.is_hard if rule else True,
        current=_is_open(window, now),
        ends_at=_ends(window),
    )


def _is_open(window: Window, now: float) -> bool:
    if window.window.startswith(f"{window.unit}/run/"):
        return now - window.touched_at < 3600
    return not is_over(window.window, now)


def _ends(window: Window) -> float | None:
    scope = scope_of(window.window)
    return None if scope is None else scope.span()[1]


def _share(window: BudgetWindow) -> float:
    return (window.spent + window.reserved) / window.limit if window.limit else 1.0
