"""What `llmops cost` does, from Python: `from llmops import costs; print(costs.report(by="team", since="7d"))`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmops.costs.budget_windows import budgets
    from llmops.costs.calling import call, calls
    from llmops.costs.exporting import export
    from llmops.costs.pricing import prices
    from llmops.costs.reconciling import reconcile
    from llmops.costs.reporting import report, top
    from llmops.costs.repricing import reprice, what_if
    from llmops.costs.server_costs import servers

_PUBLIC = {
    "budgets": "budget_windows",
    "call": "calling",
    "calls": "calling",
    "export": "exporting",
    "prices": "pricing",
    "reconcile": "reconciling",
    "report": "reporting",
    "reprice": "repricing",
    "servers": "server_costs",
    "top": "reporting",
    "what_if": "repricing",
}
__all__ = [
    "budgets", "call", "calls", "export", "prices", "reconcile", "report", "reprice", "servers", "top", "what_if",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'llmops.costs' has no attribute {name!r}")
    return getattr(importlib.import_module(f"llmops.costs.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
