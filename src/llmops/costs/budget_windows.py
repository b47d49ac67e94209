"""`llmops cost budgets`: the rules of the project beside what the store has counted against them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.costs.opening import open_calls

if TYPE_CHECKING:
    from llmops.store.call_budgets import Window
    from llmops.types import BudgetUnit
    from llmops.usage.budget_rules import BudgetRule

_STAMPS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """One window of a budget: what is spent and set aside of its limit, in nano-dollars, tokens or requests.

    `rule` is the rule as it reads today, empty when the project has none for this window any more. `is_hard` is false
    for one that only warns.
    """

    window: str
    unit: BudgetUnit
    limit: int
    spent: int
    reserved: int
    rule: str = ""
    is_hard: bool = True
    current: bool = True

    @property
    def left(self) -> int:
        """What a new call may still use; below 0 when a limit was lowered or only warns."""
        return self.limit - self.spent - self.reserved


def budgets(store: str | Path | None = None, *, past: bool = False, now: float | None = None) -> list[BudgetWindow]:
    """Windows that are open now, fullest first, then rules that nothing was counted against yet.

    `past` adds windows that are over, and those that no rule of the project limits any more. Windows of runs count as
    open for an hour after their last call.
    """
    from llmops.config import load_config
    from llmops.usage.budget_rules import parse_budgets

    now = time.time() if now is None else now
    config = load_config()
    rules = parse_budgets(list(config.budgets), lambda path: config.where_of("budgets", *path))
    with open_calls(store) as calls:
        saved = calls.ledger()
    found = [_window(window, rules, now) for window in saved]
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
    parts = window.window.split("/")
    fitting = [rule for rule in rules if rule.unit == window.unit and _fits(rule, parts)]
    rule = min(fitting, key=lambda rule: (not rule.is_hard, rule.limit), default=None)
    return BudgetWindow(
        window=window.window,
        unit=window.unit,
        limit=rule.limit if rule else window.limit,
        spent=window.spent,
        reserved=window.reserved,
        rule=str(rule) if rule else "",
        is_hard=rule.is_hard if rule else True,
        current=_is_open(window, parts, now),
    )


def _fits(rule: BudgetRule, parts: list[str]) -> bool:
    """Whether a window `unit/period/name=value/…/stamp` is one of this rule's."""
    if parts[:2] != [rule.unit, rule.per]:
        return False
    values = dict(part.split("=", 1) for part in parts[2:] if "=" in part)
    names = {*rule.by, *(name for name, _ in rule.only), *(("run",) if rule.per == "run" else ())}
    if set(values) != names:
        return False
    from urllib.parse import unquote

    return all(
        unquote(values[name]) in ((*allowed, ",".join(sorted(allowed))) if name in rule.by else (",".join(allowed),))
        for name, allowed in rule.only
    )


def _is_open(window: Window, parts: list[str], now: float) -> bool:
    period = parts[1] if len(parts) > 1 else ""
    if period in _STAMPS:
        return parts[-1] == datetime.fromtimestamp(now, UTC).strftime(_STAMPS[period])
    return period == "total" or now - window.touched_at < 3600


def _share(window: BudgetWindow) -> float:
    return (window.spent + window.reserved) / window.limit if window.limit else 1.0
