"""One of several processes at a new window of a budget: `python window_worker.py LOCATION OLD|NEW SEED HOUR`.

An old one knows no budget: it has calls in flight, says `ready`, and settles them after a line on stdin. A new one then
begins and settles calls that hold windows by team, by user, and of all. What each call cost is a line on stdout.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from call_behaviours import ended, new_call
from llmops.store.call_log import open_call_log
from llmops.types import Attribution, Hold
from llmops.usage.budgets import parse_budgets

RULES = parse_budgets(
    [
        {"limit": "$9", "per": "day", "by": "team"},
        {"limit": "$9", "per": "day", "by": ["team", "user"]},
        {"limit": "9k requests", "per": "day"},
    ]
)
CALLS = 60


def main() -> None:
    location, kind, seed, at = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    rng = random.Random(seed)
    log = open_call_log(location)
    calls = [new_call(at, attribution=Attribution(team=rng.choice("ab"), user=rng.choice("xy"))) for _ in range(CALLS)]
    if kind == "OLD":
        for call in calls:
            log.begin_now(call)
    else:
        log.begin_now(new_call(at - 86_400))  # connected, and in another window
    print("ready", flush=True)
    sys.stdin.readline()
    for call in calls:
        holds: tuple[Hold, ...] = ()
        if kind == "NEW":
            holds = tuple(Hold(str(rule.window(call)), rule.unit, rule.limit, 1000) for rule in RULES)
            log.begin_now(call, holds)
        cost = rng.randint(300, 900)
        log.settle(ended(call, cost), holds)
        if kind == "OLD" and rng.random() < 0.3:
            log.flush()
        print(call.attribution.team, call.attribution.user, cost, flush=True)
    log.close()


if __name__ == "__main__":
    main()
