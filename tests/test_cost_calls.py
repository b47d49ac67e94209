"""`llmops cost calls`: the newest first, one of them whole, and text that can't drive a terminal."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cost_samples import CENT, NOON, call, fill
from llmops import costs
from llmops.cli import main
from llmops.errors import InputError, NotFoundError
from llmops.identity import new_id
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.types import CallText, Usage

HOSTILE = "\x1b]0;owned\x07\x1b[2Jgone\u202e back\r\n\u2028next"


@pytest.fixture
def llmops_here(tmp_path, monkeypatch, capsys):
    """Runs llmops in this process, in a project of its own, in a pipe of any width: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    for name in ("LLMOPS_DATABASE_URL", "COLUMNS", "FORCE_COLOR", "LLMOPS_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llmops", *words])
        capsys.readouterr()
        code = main._run()
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def store(llmops_here, tmp_path) -> Path:
    return tmp_path / ".llmops" / "llmops.db"


def begun(one):
    return replace(one, outcome="pending", state="pending", usage=Usage(), cost=None)


def test_the_last_calls_newest_first(llmops_here, store):
    slow = call(
        3, NOON + 90, estimated=True, team="search", feature="answers", usage=Usage(9, 8, certainty="estimated")
    )
    lost = replace(call(4, NOON + 120, cost=None), state="unknown", outcome="timeout", error="timeout", usage=Usage())
    failed = replace(call(5, NOON + 150, cost=None), outcome="error", error="rate_limited")
    fill(store, [call(1), call(2, NOON + 60), slow, lost, failed, begun(call(6, NOON + 30))])
    code, out, err = llmops_here("cost", "calls")
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == ["time", "(UTC)", "whose", "model", "outcome", "in", "out", "took", "cost", "id"]
    assert [row[11:19] for row in rows] == ["12:02:30", "12:02:00", "12:01:30", "12:01:00", "12:00:30", "12:00:00"]
    assert re.search(r"small +error: rate_limited +1,000 +200 +500 ms +unpriced ", rows[0])
    assert re.search(r"small +timeout +– +– +500 ms +unknown ", rows[1])
    assert re.search(r"app · search · answers +small +success +~9 +~8 +500 ms +~\$0.01 ", rows[2])
    assert re.search(r"small +pending +– +– +.* +– ", rows[4])
    assert len(llmops_here("cost", "calls", "-n", "2")[1].splitlines()) == 3
    [one] = json.loads(llmops_here("cost", "calls", "--where", "team=search", "--json")[1])["calls"]
    assert (one["cost_usd"], one["tokens"], one["output_tokens"]) == (0.01, "estimated", 8)
    assert len(json.loads(llmops_here("cost", "calls", "--json", "-n", "3")[1])["calls"]) == 3


def test_the_window_of_calls_is_to_the_second(llmops_here, store):
    now = time.time()
    fill(store, [call(1, now - 600), call(2, now - 60)])
    assert [one.started_at for one in costs.calls("5min")] == [pytest.approx(now - 60)]
    assert "no such calls" in llmops_here("cost", "calls", "--since", "5min", "--where", "team=x")[2]


def test_without_calls_one_line_says_so(llmops_here):
    code, out, err = llmops_here("cost", "calls")
    assert (code, out) == (0, "") and err.startswith("no calls yet")
    code, _, err = llmops_here("cost", "calls", "0123")
    assert code == 2 and "no call '0123'" in err


def test_one_call_whole(llmops_here, store):
    said = CallText(
        (
            {"role": "system", "content": HOSTILE},
            {"role": "user", "content": [{"type": "text", "text": "[red]look"}, {"type": "image_url"}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": '{"q": 1}'}}, "odd"]},
        ),
        f"answer {HOSTILE}",
    )
    one = call(1, team="search", prompt="docs/answer@2", tags=(("tenant", HOSTILE),), model_asked="asked", attempt=2)
    with open_call_log(store) as log:
        log.begin_now(begun(one))
        log.settle(one, (), said)
        log.begin_now(begun(call(2, NOON + 60)))
        log.settle(call(2, NOON + 60))
    code, out, _ = llmops_here("cost", "calls", one.id)
    assert code == 0 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", out)
    lines = out.splitlines()
    assert lines[0] == f"{one.id}  2026-11-24 12:00:00.000 UTC"
    assert {"  model: small (asked for asked)", "  team: search", "  attempt: 2", "  prompt: docs/answer@2"} <= {*lines}
    assert "  tokens: exact, 1,000 input, 400 cache read, 200 output" in lines
    assert "  cost: $0.01, exact: $0.005 input, $0.001 cache read, $0.004 output" in lines
    assert {"system:", "user:", "[red]look", "[image_url]", '[calls find({"q": 1})]', "answer:"} <= {*lines}
    assert "answer gone" in out
    found = json.loads(llmops_here("cost", "calls", one.id[:18], "--json")[1])
    assert found["text"]["answer"] == said.answer and found["cost_usd"] == 0.01
    other = llmops_here("cost", "calls", call(2, NOON + 60).id)[1]
    assert "text: not kept" in other
    assert json.loads(llmops_here("cost", "calls", call(2, NOON + 60).id, "--json")[1])["text"] is None


def test_the_start_of_an_id_is_enough_unless_several_have_it(llmops_here, store):
    calls = [call(n) for n in range(5)]
    fill(store, [*calls[:4], begun(calls[4])])
    assert costs.call(calls[4].id.upper().replace("-", ""), store=store)[0].id == calls[4].id
    assert costs.call(calls[2].id, store=store)[0] == calls[2]
    with pytest.raises(InputError, match=f"several calls begin with '01a.*such as {calls[0].id}"):
        costs.call("01a", store=store)
    with pytest.raises(NotFoundError, match="no call"):
        costs.call(new_id(), store=store)
    for wrong in ("", "xyz", "0" * 33, "%", "019\x1b"):
        with pytest.raises(InputError, match="is no id of a call"):
            costs.call(wrong, store=store)
    code, _, err = llmops_here("cost", "calls", calls[0].id, "--where", "team=a")
    assert code == 2 and "--where goes with a list of calls" in err


def test_the_newest_are_found_without_reading_the_others(store, monkeypatch):
    fill(store, [call(n, NOON + n, cost=CENT) for n in range(50)])
    read = []
    whole = Calls._pages
    monkeypatch.setattr(Calls, "_pages", lambda self, *args, **more: _counted(whole(self, *args, **more), read))
    assert [one.started_at for one in costs.calls(limit=3, store=store)] == [NOON + 49, NOON + 48, NOON + 47]
    assert len(read) <= 6


def _counted(pages, read):
    for page in pages:
        read.extend(page)
        yield page
