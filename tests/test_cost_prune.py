"""`llmops cost prune` and `llmops db compact`: what they forget, what they keep, and the space they give back."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cost_samples import DAY, call, fill
from llmops.cli import main
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.store.space import PAGES, compact
from llmops.types import Hold, Usage

NOW = time.time()


@pytest.fixture
def llmops_here(tmp_path, monkeypatch, capsys):
    """Runs `llmops …` in this process, in a project of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLMOPS_DATABASE_URL", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "LLMOPS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".git").mkdir()

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llmops", *map(str, words)])
        capsys.readouterr()
        code = main._run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / ".llmops" / "llmops.db"


def day(ago: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(NOW - ago * DAY))


def windows(store: Path) -> set[str]:
    with Calls.open(store) as calls:
        return {one.window for one in calls.ledger()}


def hold(window: str) -> Hold:
    return Hold(window, "requests", 100, 1)


def touched(store: Path, ago: int, *, scopes: bool = True) -> None:
    """As if nothing had been counted for days."""
    with closing(sqlite3.connect(store)) as db:
        db.execute("UPDATE budget_windows SET touched_at = touched_at - ?", (ago * DAY,))
        if scopes:
            db.execute("UPDATE budget_scopes SET made_at = made_at - ?", (ago * DAY,))
        db.commit()


def test_old_calls_go_and_their_sums_stay(llmops_here, store, tmp_path):
    fill(store, [call(1, NOW - 10 * DAY), call(2, NOW - 2 * DAY)])
    code, out, _ = llmops_here("cost", "prune", "--days", "5", "--dry-run", "--json")
    assert code == 0
    assert json.loads(out) == {
        "written": False, "calls": 1, "texts": 0, "budget_windows": 0, "freed_bytes": 0, "empty_bytes": 0,
    }  # fmt: skip
    assert "would forget 1 calls" in llmops_here("cost", "prune", "--days", "5", "--dry-run")[2]
    assert "forgot 1 calls" in llmops_here("cost", "prune", "--days", "5", "--yes")[2]
    assert "wrote 1 rows" in llmops_here("cost", "export", "-o", "calls.jsonl")[2]
    assert json.loads(llmops_here("cost", "report", "--json")[1])["total"]["requests"] == 2, "sums by the hour stay"
    (tmp_path / "llmops.yaml").write_text("calls: {days: 1, text_days: 1}\n", "utf-8")
    assert "older than a day" in llmops_here("cost", "prune")[2]
    assert "forgot 1 calls" in llmops_here("cost", "prune", "--yes")[2]
    done = json.loads(llmops_here("cost", "prune", "--text-days", "5", "--yes", "--json")[1])
    assert (done["written"], done["calls"], done["texts"]) == (True, 0, 0)


def test_windows_that_are_over_for_longer_go_with_the_calls(llmops_here, store):
    over = {f"requests/day/{day(9)}", f"requests/day/team=/{day(9)}", "requests/run/run=old"}
    kept = {
        *(f"requests/day/{day(0)}", f"requests/day/{day(2)}", "requests/total/team=search", "requests/total"),
        *(time.strftime("requests/month/%Y-%m", time.gmtime(NOW)), "no window of ours", "x" * 700),
    }  # fmt: skip
    pending = replace(call(1, NOW), outcome="pending", state="pending", usage=Usage(), cost=None)
    with open_call_log(store) as log:
        holds = tuple(map(hold, sorted(over | kept)))
        log.begin_now(pending, holds)
        log.settle(call(1, NOW), holds)
    touched(store, 9)
    still = {f"requests/hour/{day(9)}T10", "requests/run/run=new"}
    busy = f"requests/day/feature=/{day(9)}"
    with open_call_log(store) as log:
        late = replace(pending, id=call(2, NOW).id)
        log.begin_now(late, tuple(map(hold, sorted(still))))
        log.settle(call(2, NOW), tuple(map(hold, sorted(still))))
        log.begin_now(replace(pending, id=call(3, NOW).id), (hold(busy),))
        log.flush()
        everything = windows(store)
        code, out, _ = llmops_here("cost", "prune", "--days", "5", "--dry-run", "--json")
        assert (code, json.loads(out)["budget_windows"]) == (0, 3)
        assert windows(store) == everything
        assert "forgot 3 windows of budgets that are over" in llmops_here("cost", "prune", "--days", "5", "--yes")[2]
        assert everything - windows(store) == over, "current ones, totals, busy and lately used ones stay"
        assert "windows" not in llmops_here("cost", "prune", "--text-days", "5", "--yes")[2]
        log.settle(call(3, NOW), (hold(busy),))
    with closing(sqlite3.connect(store)) as db:
        scopes = {scope for (scope,) in db.execute("SELECT scope FROM budget_scopes")}
    assert f"requests/day/{day(9)}" not in scopes and "requests/total" in scopes


def test_a_window_that_was_forgotten_while_a_process_remembers_it_counts_again(llmops_here, store):
    name = f"requests/day/{day(9)}"
    with open_call_log(store) as log:
        log.settle(call(1, NOW), (hold(name),))
        log.flush()
        touched(store, 9)
        llmops_here("cost", "prune", "--days", "5", "--yes")
        assert windows(store) == set()
        log.settle(call(2, NOW), (hold(name),))
    with Calls.open(store) as calls:
        [found] = calls.ledger()
    assert (found.window, found.spent) == (name, 1)


def many(store: Path) -> None:
    count = 40 * PAGES // 10
    fill(store, [call(number, NOW - (20 if number % 20 else 1) * DAY) for number in range(count)])


def test_pruning_gives_the_space_back_while_others_write(llmops_here, store):
    many(store)
    with open_call_log(store) as log:
        log.settle(call(999_999, NOW))
        log.flush()
        with closing(sqlite3.connect(store)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = store.stat().st_size
        code, _, said = llmops_here("cost", "prune", "--days", "5", "--yes")
        assert code == 0 and "MB back to the disk" in said, said
        assert store.stat().st_size < before / 2
        log.settle(call(999_998, NOW))
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with Calls.open(store) as calls:
        assert len(list(calls.rows(since=NOW - 5 * DAY))) == 40 * PAGES // 10 // 20 + 2


def test_an_older_file_is_made_smaller_by_compacting(llmops_here, store):
    many(store)
    with closing(sqlite3.connect(store)) as db:  # as files were made before
        db.execute("PRAGMA auto_vacuum=NONE")
        db.execute("VACUUM")
    _, out, _ = llmops_here("cost", "prune", "--days", "5", "--yes", "--json")
    pruned = json.loads(out)
    assert pruned["freed_bytes"] == 0 and pruned["empty_bytes"] > 100_000
    assert "llmops db compact gives them back" in llmops_here("cost", "prune", "--days", "5", "--yes")[2]
    before = store.stat().st_size
    code, out, _ = llmops_here("db", "compact", "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, {"written": False, "freed_bytes": 0, "empty_bytes": pruned["empty_bytes"]})
    assert "are empty" in llmops_here("db", "compact", "--dry-run")[2]
    assert store.stat().st_size == before
    assert "back to the disk" in llmops_here("db", "compact")[2]
    assert store.stat().st_size <= before - 0.9 * pruned["empty_bytes"]
    assert json.loads(llmops_here("db", "compact", "--json")[1]) == {
        "written": True, "freed_bytes": 0, "empty_bytes": 0,
    }  # fmt: skip
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,), "from now on pruning does it"
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_without_a_store_there_is_nothing_to_do(llmops_here, store):
    code, out, _ = llmops_here("cost", "prune", "--days", "5", "--yes", "--json")
    assert code == 0 and json.loads(out)["calls"] == 0
    code, _, said = llmops_here("db", "compact")
    assert code == 2 and "no runs yet" in said


def test_a_server_gives_space_back_by_itself(postgresql):
    with open_call_log(postgresql) as log:
        for number, at in enumerate((NOW - 10 * DAY, NOW)):
            log.settle(call(number, at), (hold(f"requests/day/{time.strftime('%Y-%m-%d', time.gmtime(at))}"),))
    place = Calls.open(postgresql)
    with place as calls:
        assert calls.prune_windows(NOW - 5 * DAY) == 0, "it was touched just now"
        with calls._place.writing() as connection:
            connection.exec_driver_sql("UPDATE budget_windows SET touched_at = touched_at - 864000")
        assert calls.prune(NOW - 5 * DAY, dry_run=True) == 1
        assert calls.prune_windows(NOW - 5 * DAY, dry_run=True) == 1
        assert (calls.prune(NOW - 5 * DAY), calls.prune_windows(NOW - 5 * DAY)) == (1, 1)
        assert [one.window for one in calls.ledger()] == [f"requests/day/{day(0)}"]
        assert calls.give_back().freed is None
    assert compact(postgresql).freed is None
