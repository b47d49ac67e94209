"""The call log when processes are killed, disks fill up, stores are locked and processes fork."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from call_behaviours import begin, ended, new_call, rows, window
from conftest import clean_environment
from llmops.errors import StoreError
from llmops.store import call_writer
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls


@pytest.fixture
def location(tmp_path):
    return tmp_path / "calls.db"


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys\nfrom call_behaviours import *\n" + script, *map(str, arguments)]
    environment = clean_environment(PYTHONPATH=str(Path(__file__).parent))
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str], expected: int = 0) -> list[str]:
    """The lines it wrote."""
    out, complaint = process.communicate(timeout=60)
    assert process.returncode == expected, complaint
    return out.splitlines()


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))


SENDING = """
import os, signal
log = open_call_log(sys.argv[1])
rng = random.Random(int(sys.argv[2]))

async def one(number):
    call = new_call()
    await log.begin(call, (hold(3, 10**9),))
    print(call.id, flush=True)  # it is sent
    await asyncio.sleep(rng.uniform(0, 0.02))
    log.settle(ended(call, 2), (hold(3, 10**9),))
    if number == 300:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    limit = asyncio.Semaphore(16)
    async def limited(number):
        async with limit:
            await one(number)
    await asyncio.gather(*(limited(number) for number in range(1000)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_every_call_that_was_sent_is_there(location, seed):
    sent = finish(start(SENDING, location, seed), -signal.SIGKILL)
    assert len(sent) >= 300
    before = {call.id: call for call in rows(location)}
    assert set(sent) <= set(before)
    pending = [call for call in before.values() if call.state == "pending"]
    assert pending  # what was in flight, and what had ended a moment before
    with Calls.open(location) as calls:
        assert calls.settle_dead() == len(pending)
        states = Counter(call.state for call in calls.rows())
        assert states == {"unknown": len(pending), "settled": len(before) - len(pending)}
        [sums] = calls.totals()
        assert (sums.requests, sums.unknown, sums.pending) == (len(before), len(pending), 0)
    spent = 2 * (len(before) - len(pending)) + 3 * len(pending)
    assert (window(location).spent, window(location).reserved) == (spent, 0)
    assert is_sound(location)


WAITING = """
import signal
if sys.argv[2] == "own handler":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
log = open_call_log(sys.argv[1])
call_writer.GATHER_S = 60
log.settle(ended(new_call()))
log.begin_now(new_call())
log.settle(ended(new_call()))
if sys.argv[2] == "exit":
    sys.exit()
if sys.argv[2] == "later handler":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(9))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("way", "code"), [("plain", -signal.SIGTERM), ("own handler", 7), ("later handler", 9), ("exit", 0)]
)
def test_what_waits_is_written_at_the_end_and_on_sigterm(location, way, code):
    process = start(WAITING, location, way)
    if way != "exit":
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
    finish(process, code)
    assert Counter(call.state for call in rows(location)) == {"settled": 2, "pending": 1}


def test_sigterm_stays_ignored_where_it_was(location):
    script = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nlog = open_call_log(sys.argv[1])\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN"
    )
    finish(start(script, location))


def test_a_log_opened_in_a_thread_leaves_signals_alone(location):
    script = """
import signal, threading
def use():
    with open_call_log(sys.argv[1]) as log:
        log.settle(ended(new_call()))
thread = threading.Thread(target=use)
thread.start()
thread.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    finish(start(script, location))
    assert len(rows(location)) == 1


FORKING = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 says that threads and forks don't mix
log = open_call_log(sys.argv[1])
mine = [new_call() for _ in range(20)]
begin(log, *mine, holds=(hold(1, 1000),))
call_writer.GATHER_S = 60
for call in mine[:10]:
    log.settle(ended(call, 1), (hold(1, 1000),))  # these wait while the process forks
children = []
for number in range(3):
    child = os.fork()
    if not child:
        code = 1
        try:
            call_writer.GATHER_S = 0.01
            theirs = [new_call() for _ in range(50)]
            assert begin(log, *theirs) == [None] * 50
            for call in theirs:
                log.settle(ended(call, 1))
            log.settle(ended(mine[10 + number], 1), (hold(1, 1000),))  # begun before the fork
            log.flush()
            code = 0
        finally:
            os._exit(code)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
for call in mine[13:]:
    log.settle(ended(call, 1), (hold(1, 1000),))
log.close()
print(codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is POSIX")
def test_a_forked_child_writes_its_own_calls_and_none_of_its_parents(location):
    assert finish(start(FORKING, location)) == ["[0, 0, 0]"]
    found = rows(location)
    assert Counter(call.state for call in found) == {"settled": 20 + 3 * 50}
    assert len({call.id for call in found}) == len(found)
    assert (window(location).spent, window(location).reserved) == (20, 0)
    assert is_sound(location)


BUYING = """
log = open_call_log(sys.argv[1])
rng = random.Random(int(sys.argv[2]))
limit = 1_000_000_000  # one dollar

async def one():
    spent = wanted = 0
    for _ in range(4):
        call = new_call()
        worst = rng.randint(3_000_000, 9_000_000)
        wanted += worst
        holds = (hold(worst, limit),)
        try:
            await log.begin(call, holds)
        except BudgetExceededError:
            continue
        await asyncio.sleep(0)
        used = rng.randint(1_000_000, worst)
        log.settle(ended(call, used), holds)
        spent += used
    return spent, wanted

async def main():
    return await asyncio.gather(*(one() for _ in range(64)))

sys.stdin.readline()
print(*map(sum, zip(*asyncio.run(main()))))
log.close()
"""


def test_two_processes_share_a_dollar_and_never_spend_more(location):
    open_call_log(location).close()
    processes = [start(BUYING, location, seed) for seed in (1, 2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    spent, wanted = zip(*(map(int, finish(process)[0].split()) for process in processes), strict=True)
    found = window(location)
    assert (found.spent, found.reserved) == (sum(spent), 0)
    assert found.spent <= 1_000_000_000 < sum(wanted)
    with Calls.open(location) as calls:
        [sums] = calls.totals()
        assert sums.cost_exact == found.spent


def test_a_locked_store_is_said_and_nothing_that_ended_is_lost(location, monkeypatch):
    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", "0.05")
    call, other = new_call(), new_call()
    with open_call_log(location) as log, closing(sqlite3.connect(location, isolation_level=None)) as holder:
        assert begin(log, call) == [None]
        holder.execute("BEGIN IMMEDIATE")
        [error] = begin(log, other)
        assert isinstance(error, StoreError)
        assert "locked" in str(error)
        log.settle(ended(call))
        with pytest.raises(StoreError, match=r"calls\.db: another process .* 0\.05 s"):
            log.flush()
        holder.execute("ROLLBACK")
        log.flush()
        assert rows(location) == [ended(call)]
        assert begin(log, other) == [None]
        log.settle(ended(other))
    assert len(rows(location)) == 2


def test_a_store_that_stays_locked_is_said_when_it_is_closed_and_when_much_waits(location, monkeypatch):
    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", "0.02")
    monkeypatch.setattr(call_writer, "MAX_WAITING", 5)
    log = open_call_log(location)
    with closing(sqlite3.connect(location, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            for _ in range(50):
                log.settle(ended(new_call()))
        with pytest.raises(StoreError, match="locked"):
            log.close()


def test_what_the_database_refuses_is_said_and_keeps_nothing_else_back(location):
    bad, good = ended(new_call(model_asked=["not", "text"])), [ended(new_call()) for _ in range(20)]
    with open_call_log(location) as log:
        for call in (*good[:10], bad, *good[10:]):
            log.settle(call)
        with pytest.raises(StoreError):
            log.flush()
        log.flush()
    assert Counter(call.id for call in rows(location)) == Counter(call.id for call in good)


FILLING = """
log = open_call_log(sys.argv[1])
kept = 0
try:
    for number in range(3000):
        call = new_call()
        log.begin_now(call)
        kept += 1
        log.settle(ended(call), (), CallText(({"role": "user", "content": "x" * 2000},), "y" * 1000))
except StoreError as error:
    print(error)
try:
    log.close()
except StoreError as error:
    print(error)
print(kept)
"""


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_disk_is_said_and_what_was_written_is_intact(tmp_path_factory):
    small = tmp_path_factory.mktemp("small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("mounting isn't allowed here")
    try:
        *said, kept = finish(start(FILLING, small / "calls.db"))
        assert said
        assert all("calls.db: the disk is full" in line and "--resume" not in line for line in said)
        with closing(sqlite3.connect(f"file:{small / 'calls.db'}?mode=ro", uri=True)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            [(done,)] = db.execute("SELECT count(*) FROM calls")
            [(open_ones,)] = db.execute("SELECT count(*) FROM open_calls")
            [(summed,)] = db.execute("SELECT sum(requests) FROM call_hours")
        assert done + open_ones == int(kept)  # every call that was allowed to be sent
        assert done == summed >= 20
    finally:
        subprocess.run(["umount", "-l", small], check=True)
