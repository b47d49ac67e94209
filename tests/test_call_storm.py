"""A thousand requests under everything that goes wrong, a `kill -9` of the client included: no row is missing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter

from conftest import ROOT, clean_environment
from llmops.store.call_queries import Calls
from provider_server import Answer, ProviderServer, Tokens

KILLED_AT, FIRST_CLIENT, ALL = 380, 600, 1000


def answer_to(number: int) -> Answer:
    """What the server does with request `number`."""
    chance = random.Random(f"server {number}")
    usage = Tokens(chance.randrange(20, 900), chance.randrange(1, 200), cache_read=chance.randrange(20))
    ending = chance.choices(("whole", "cut", "silence", "reset", "refused"), (70, 8, 8, 7, 7))[0]
    if ending == "refused":
        return Answer(status=chance.choice((400, 429, 500, 503)))
    late = chance.choice((0.0, 0.0, 0.01))
    told = usage if chance.random() < 0.9 else None
    cut = chance.randrange(200) if ending in ("cut", "silence") else 0
    return Answer(
        "seven days at most, it says", told, ending=ending, cut_at=cut, latency_s=late, pause_s=late / 4, id="same"
    )


def test_rows_are_the_requests_that_the_server_saw(tmp_path):
    store = tmp_path / "calls.db"
    victim: list[subprocess.Popen[bytes]] = []

    def decide(body, number):
        if number == KILLED_AT:
            os.kill(victim[0].pid, signal.SIGKILL)
        return answer_to(int(body["messages"][-1]["content"].removeprefix("r")))

    def client(first, last):
        words = [sys.executable, str(ROOT / "tests" / "storm_client.py"), server.url, str(store), str(first), str(last)]
        return subprocess.Popen(words, env=clean_environment(), stderr=subprocess.PIPE)

    with ProviderServer(decide) as server:
        victim.append(client(0, FIRST_CLIENT))
        victim[0].communicate(timeout=120)
        assert victim[0].returncode == -signal.SIGKILL
        with client(FIRST_CLIENT, ALL) as second:
            _, complaint = second.communicate(timeout=120)
        assert second.returncode == 0, complaint.decode()
        served = {one.prompt: one for one in server.served if one.prompt}
        assert len(served) == len([one for one in server.served if one.prompt])

    with Calls.open(store) as calls:
        calls.settle_dead()
        rows = {call.attribution.user: call for call in calls.rows()}
        [total] = calls.totals(by=["backend"])
        count = len(list(calls.rows()))
    assert len(rows) == count == total.requests
    killed = [call for call in rows.values() if call.duration_s is None and call.outcome != "unsent"]
    assert killed and {(call.outcome, call.state) for call in killed} == {("abandoned", "unknown")}
    sent = {user for user, call in rows.items() if call.outcome != "unsent"}
    assert not set(served) - sent, "requests without a row"
    unseen = sent - set(served)
    assert len(unseen) <= 32  # committed, and killed before the first byte
    assert all(rows[user] in killed for user in unseen), {user: rows[user].outcome for user in unseen}

    settled = {user: call for user, call in rows.items() if call.state == "settled" and call.outcome == "success"}
    assert len(settled) > 200
    for user, call in settled.items():
        claimed = served[user].claimed
        assert (call.usage.input_tokens, call.usage.output_tokens, call.usage.cache_read_tokens) == (
            claimed.input, claimed.output, claimed.cache_read,
        )  # fmt: skip
        plain = claimed.input - claimed.cache_read
        assert (
            call.cost is not None and call.cost.total == 1000 * plain + 100 * claimed.cache_read + 2000 * claimed.output
        )
    whole = [user for user, one in served.items() if one.outcome == "answered" and one.told]
    assert {rows[user].outcome for user in whole} <= {"success", "abandoned", "cancelled", "timeout", "pending"}
    outcomes = Counter(call.outcome for call in rows.values())
    assert {"success", "error", "timeout", "cancelled", "abandoned"} <= set(outcomes), outcomes
    assert all(call.cost is None for call in rows.values() if call.state == "unknown")
