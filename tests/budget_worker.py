"""One of several processes that spend one budget: `python budget_worker.py LOCATION ACTION SEED [KILLED_AT]`.

After a line on stdin it sends 16 calls, which two processes have room for, and says `part`. After another line 64 tasks
send calls of random size until they are refused, or hear that the budget is reached. Each call that is sent is a line
on stdout, `sent NANODOLLARS`, before anything is settled: what a server would bill, whatever happens next. With
KILLED_AT it kills itself there and then, after so many calls.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from budget_fakes import Prices, new_call, settled
from llmops.errors import BudgetExceededError
from llmops.identity import new_id
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.types import Call, Request
from llmops.usage.budgets import Budgets, parse_budgets

TASKS, PART = 64, 16
MOST_OUTPUT = 4_000  # $0.008 with the prices of `budget_fakes`
PATIENCE_S = 20.0


def say(*words: object) -> None:
    print(*words, flush=True)


class Spending:
    def __init__(self, location: str, action: str, seed: int, killed_at: int = 0) -> None:
        self.log = open_call_log(location)
        self.random = random.Random(seed)
        self.killed_at = killed_at
        self.sent = 0
        self.reached = False
        rules = parse_budgets([{"limit": "$1", "per": "total", "action": action}])
        self.calls = Calls.open(location)
        self.budgets = Budgets(
            rules,
            Prices(),
            tell=self.hear,
            spent=lambda windows: {window.window: window.spent for window in self.calls.ledger()},
            reread_s=0,
            patience_s=PATIENCE_S,
            settle_dead=self.calls.settle_dead,
        )

    def hear(self, warning: object) -> None:
        say("warned", warning.share)  # type: ignore[attr-defined]
        self.reached = self.reached or warning.share >= 1  # type: ignore[attr-defined]

    async def connect(self) -> None:
        """One call that no budget is for, so that all processes begin to spend at the same time."""
        call = new_call(new_id())
        await self.log.begin(call)
        self.log.settle(settled(call))
        self.log.flush()

    async def run(self) -> None:
        await asyncio.gather(*(self.task() for _ in range(TASKS)))
        self.log.flush()
        self.log.close()
        self.calls.close()

    async def part(self) -> None:
        await asyncio.gather(*(self.task(1) for _ in range(PART)))

    async def task(self, calls: float = math.inf) -> None:
        while not self.reached and calls:
            calls -= 1
            most = self.random.randint(500, MOST_OUTPUT)
            request = Request(({"role": "user", "content": "hello"},), "m", {"max_tokens": most})
            call = new_call(new_id())
            holds = self.budgets.holds(call, request)
            try:
                await self.budgets.begin(self.log, call, holds)
            except BudgetExceededError:
                say("refused")
                return
            await self.answer(call, holds, self.random.randint(0, most) * 2_000)

    async def answer(self, call: Call, holds: tuple, cost: int) -> None:
        say("sent", cost)
        self.sent += 1
        if self.sent == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(self.random.uniform(0, 0.02))
        call = settled(call, cost)
        self.log.settle(call, holds)
        self.budgets.settled(call, holds)


async def main() -> None:
    spending = Spending(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
    await spending.connect()
    say("ready")
    sys.stdin.readline()
    await spending.part()
    say("part")
    sys.stdin.readline()
    await spending.run()


if __name__ == "__main__":
    asyncio.run(main())
