"""Stand-ins for budgets: a call log in memory that reserves as the store does, and a price of one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from llmops.errors import BudgetExceededError
from llmops.types import Attribution, Call, CallText, Cost, Hold, Usage
from llmops.usage.budgets import amount_used

DAY = 1_796_083_200.0  # 2026-12-01 00:00 UTC, a Tuesday


@dataclass
class MemoryLog:
    """A `CallLog` whose windows live in memory; reservations are conditional, settling replaces them."""

    spent: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    tries: int = 0
    on_refusal: Callable[[], None] | None = None

    async def begin(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        self.begin_now(call, holds)

    def begin_now(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        self.tries += 1
        refusals = []
        for hold in holds:
            spent, held = self.spent.get(hold.window, 0), self.held.get(hold.window, 0)
            if hold.hard and spent + held + hold.amount > hold.limit:
                error = BudgetExceededError("no room")
                error.__dict__.update(
                    could_fit=spent + hold.amount <= hold.limit, window=hold.window, used=spent, held=held
                )
                refusals.append(error)
        if refusals:
            if self.on_refusal is not None:
                self.on_refusal()
            raise min(refusals, key=lambda error: error.could_fit)
        for hold in holds:
            self.held[hold.window] = self.held.get(hold.window, 0) + hold.amount
        self.calls[call.id] = call

    def settle(self, call: Call, holds: tuple[Hold, ...] = (), text: CallText | None = None) -> None:
        self.calls[call.id] = call
        for hold in holds:
            self.held[hold.window] -= hold.amount
            self.spent[hold.window] = self.spent.get(hold.window, 0) + amount_used(hold, call)

    def discard(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        for hold in holds:
            self.held[hold.window] -= hold.amount

    def flush(self, timeout_s: float = 30) -> None:
        pass


class Prices:
    """$1 for a million tokens in, $2 out, of the model `m`; nothing else has a price."""

    def __init__(self, *, max_output: int | None = None, max_input: int | None = None) -> None:
        self._max_output = max_output
        self._max_input = max_input

    def bound(self, usage: Usage, provider: str, model: str, backend: str) -> int | None:
        return usage.input_tokens * 1000 + usage.output_tokens * 2000 if model == "m" else None

    def hint(self, provider: str, model: str) -> str:
        return f"{{model: {model}, input: …, output: …}}"

    def max_output_tokens(self, provider: str, model: str) -> int | None:
        return self._max_output

    def max_input_tokens(self, provider: str, model: str) -> int | None:
        return self._max_input


def new_call(id: str = "1", *, at: float = DAY, model: str = "m", backend: str = "local", **attribution) -> Call:
    return Call(id, at, backend=backend, provider="p", model_asked=model, attribution=Attribution(**attribution))


def settled(call: Call, cost: int = 0, *, tokens: int = 0) -> Call:
    """The call, answered and priced."""
    usage = Usage(input_tokens=tokens, requests=1, certainty="exact")
    return replace(call, outcome="success", state="settled", usage=usage, cost=Cost(cost, input=cost))
