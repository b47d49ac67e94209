"""`llmops cost`: what each command prints, writes and exits with."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_samples import CENT, DAY, NOON, a_day, call, fill
from llmops import costs
from llmops.cli import cost_options, main
from llmops.costs.selecting import BY
from llmops.reports.cost_lines import AcceptedAnswers
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.store.database import Store
from llmops.types import Hold, Output, Score, Usage
from llmops.usage.server_metrics import ServerSnapshot
from store_behaviours import failed, new_run, result, save


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Cost = Callable[..., Done]


@pytest.fixture
def cost(tmp_path, monkeypatch, capsys) -> Cost:
    """Runs `llmops cost …` in this process, in a project of its own, 100 columns wide or in a pipe (None)."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLMOPS_DATABASE_URL", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "LLMOPS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".git").mkdir()

    def run(*words: object, columns: int | None = 100) -> Done:
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["llmops", "cost", *map(str, words)])
        capsys.readouterr()
        code = main._run()
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def filled(cost, tmp_path) -> Path:
    return fill(tmp_path / ".llmops" / "llmops.db", a_day())


def data(done: Done) -> dict:
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_without_a_log_one_line_says_what_to_do(cost, tmp_path):
    done = cost("report")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no calls yet: llmops eval") and done.err.count("\n") == 1
    assert data(cost("report", "--json"))["total"]["requests"] == 0
    for words in (["top"], ["reprice", "--yes"], ["prune", "--days", "1", "--yes"], ["export", "-o", "c.jsonl"]):
        assert cost(*words).code == 0, words
    assert not (tmp_path / ".llmops").exists(), "looking makes no store"


@pytest.mark.parametrize("words", [["report"], ["top"], ["reprice", "--yes"], ["export", "-o", "x.csv"]])
def test_a_store_that_is_named_has_to_be_there(cost, words):
    missing = cost(*words, "--store", "nowhere.db")
    assert missing.code == 2 and "no store at nowhere.db" in missing.err and missing.err.count("\n") == 1


@pytest.mark.parametrize("named_in", ["LLMOPS_DATABASE_URL", "llmops.yaml"])
def test_so_has_one_that_the_project_or_the_environment_names(cost, tmp_path, monkeypatch, named_in):
    if named_in == "llmops.yaml":
        (tmp_path / "llmops.yaml").write_text("store: /nowhere/typo.db\n", "utf-8")
    else:
        monkeypatch.setenv(named_in, "/nowhere/typo.db")
    for words in (["report"], ["top"], ["calls"], ["budgets"], ["export", "-o", "x.csv"]):
        missing = cost(*words)
        assert missing.code == 2 and missing.err.startswith("llmops: no store at /nowhere/typo.db; named by ")
        assert named_in in missing.err and missing.err.count("\n") == 1


def test_the_report(cost, filled):
    done = cost("report", "--by", "team")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "all calls, 2026-11-23 to 2026-11-24"
    assert lines[1] == "$0.16 for 12 requests: $0.12 exact, $0.04 estimated, 1 request unpriced"
    assert lines[3] == "Judges are 25% of this ($0.04); answers cost $0.12"
    assert re.search(r"^search +\$0\.1200 +75% ", done.out, re.MULTILINE)
    assert "vllm/my-slm: 1 request, 1,200 tokens without a price" in done.out
    assert "model: my-slm" in done.out


@pytest.mark.parametrize("columns", [40, 60, 100, 200])
def test_no_line_is_wider_than_the_terminal(cost, filled, tmp_path, columns):
    (tmp_path / "llmops.yaml").write_text(SERVERS + "budgets: [{limit: 5M tokens, per: hour, by: team}]\n", "utf-8")
    (tmp_path / "i.csv").write_text("date,model,cost\n2026-11-24,a-model-with-quite-a-long-name,0.08\n", "utf-8")
    commands = (
        ["report", "--by", "team,model,prompt"], ["top", "--since", "2026-11"], ["prices", "gpt-4o"], ["budgets"],
        ["servers"], ["reconcile", "i.csv"], ["reprice", "--what-if", "model=gpt-4o-mini"], ["reprice", "--dry-run"],
    )  # fmt: skip
    for words in commands:
        done = cost(*words, columns=columns)
        assert done.code == 0
        lines = [line for line in done.out.splitlines() if not line.lstrip().startswith("- {")]
        assert max(map(len, lines)) <= columns, words


def test_lines_to_copy_are_never_broken(cost, filled):
    import yaml

    [hint] = [line for line in cost("report", columns=40).out.splitlines() if "PRICE" in line]
    [entry] = yaml.safe_load(hint)
    assert (entry["model"], entry["provider"], entry["output"]) == ("my-slm", "vllm", "PRICE")
    [hint] = [
        line
        for line in cost("reprice", "--what-if", "model=nobody/knows-it", columns=40).out.splitlines()
        if "PRICE" in line
    ]
    assert yaml.safe_load(hint)[0]["model"] == "knows-it"


def test_a_narrow_report_has_every_figure(cost, filled):
    narrow = cost("report", columns=40).out
    assert {"requests: 9", "cached: 3,600", "unpriced: 1"} <= {line.strip() for line in narrow.splitlines()}


def test_a_terminal_of_80_columns_leaves_out_columns_and_says_which(cost, filled):
    lines = cost("report", "--by", "team,model,prompt", columns=80).out.splitlines()
    [head] = [line for line in lines if line.startswith("team ")]
    assert head.split()[:4] == ["team", "model", "prompt", "cost"] and "requests" in head and len(head) <= 80
    assert any(re.match(r"search +small +docs/answer +\$0.0800 ", line) for line in lines)
    left_out = " ".join(lines)
    assert re.search(r"\(no room for [a-z, +]*cached", left_out)


def test_in_a_pipe_a_line_is_a_row_however_long(cost, filled):
    wide = cost("report", "--by", "team,model,prompt,provider,day,backend", columns=200).out
    piped = cost("report", "--by", "team,model,prompt,provider,day,backend", columns=None).out
    [row] = [line for line in piped.splitlines() if line.startswith("sales ")]
    assert {"sales", "small", "docs/mail", "openai", "2026-11-23", "hosted", "$0.0400", "400"} <= {*row.split()}
    assert row in wide and "no room" not in piped


@given(st.lists(st.lists(st.text(max_size=30), min_size=4, max_size=4), min_size=1, max_size=4), st.integers(60, 120))
def test_a_table_is_as_wide_as_the_terminal_at_most(rows, width):
    from rich.cells import cell_len

    from llmops.reports.cost_terminal import fitting, fixed

    heads = ["team", "model", "cost", "share"]
    shown = fitting(heads, rows, 2, ("share",), width)
    if shown is None:
        return
    for row in [heads, *rows]:
        cells = [fixed(row[place], size, right=place >= 2) for place, size in shown.items()]
        assert [cell_len(cell) for cell in cells] == list(shown.values())
        assert cell_len("  ".join(cells)) <= width


def test_by_is_repeatable_and_a_list(cost, filled):
    one, two = cost("report", "--by", "team,model", "--json"), cost("report", "--by", "team", "--by", "model", "--json")
    assert data(one) == data(two)
    assert data(one)["by"] == ["team", "model"]
    assert data(one)["total"]["cost_usd"] == 0.16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "--by", "modle"], "did you mean 'model'?"),
        (["report", "--since", "yestrday"], "--since 'yestrday' isn't a time"),
        (["report", "--where", "team"], "has no ="),
        (["report", "--where", "teem=a"], "did you mean 'team'?"),
        (["report", "--where", "purpose=chat"], "no call's purpose is that; known: app, eval, guard, judge"),
        (["calls", "--where", "purpose=chat"], "no call's purpose is that"),
        (["report", "--since", "1m"], "minutes are 1min, months 1mo"),
        (["report", "-o", "x.pdf"], "no cost report ends in '.pdf'"),
        (["report", "--accepted", "f1 > 0.5"], "add --run latest"),
        (["reprice"], "needs --yes"),
        (["reprice", "--yes", "--by", "model"], "--by goes with --what-if"),
        (["reprice", "--what-if", "x"], "isn't a change"),
        (["export", "-o", "x.bin"], "doesn't say the format"),
        (["export", "-o", "x.csv", "--format", "focsu"], "did you mean 'focus'?"),
        (["export", "-o", ".git"], "--output .git doesn't say the format"),
        (["export", "-o", "llmops.db/x.csv"], "can't write llmops.db/x.csv"),
        (["export", "-o", "calls.csv", "--by", "team"], "--by goes with sums"),
        (["export", "-o", "-"], "doesn't say the format"),
        (["export", "-o", "-", "--format", "csv", "--json"], "both print on stdout"),
        (["export", "-o", "f.csv", "--format", "focus", "--sub-account", "taem"], "--sub-account 'taem'"),
        (["report", "-o", "llmops.db/x.html"], "can't write llmops.db/x.html"),
        (["report", "--by", ""], "--by names no field"),
        (["report", "--by", ","], "--by names no field"),
        (["top", "--by", ""], "--by names no field"),
        (["reprice", "--what-if", "small=big", "--by", ","], "--by names no field"),
        (["report", "--since", ""], "--since '' isn't a time"),
        (["report", "--until", " "], "--until ' ' isn't a time"),
        (["report", "--run", ""], "--run names no run"),
        (["top", "--since", ""], "--since '' isn't a time"),
        (["servers", "--since", ""], "--since '' isn't a time"),
        (["export", "-o", "x.csv", "--until", ""], "--until '' isn't a time"),
        (["reprice", "--yes", "--what-if", ""], "isn't a change"),
        (["reprice", "--yes", "--as-of", ""], "--as-of '' isn't a time"),
        (["prices", "--at", ""], "--at '' isn't a time"),
        (["report", "--since", "2999-01-01"], "--since 2999-01-01 is yet to come"),
        (["prune"], "forgetting texts of calls older than 30 days needs --yes"),
        (["prune", "--days", "3"], "needs --yes"),
        (["reconcile", "nothing.csv"], "nothing.csv: can't be read: no such file or directory"),
    ],
)
def test_mistakes_are_one_line(cost, filled, tmp_path, words, said):
    (tmp_path / "llmops.db").write_text("a file", "utf-8")
    done = cost(*words)
    assert done.code == 2
    assert said in done.err and done.err.count("\n") == 1


def test_an_empty_window_is_told(cost, filled):
    done = cost("report", "--since", "2020-01-01", "--until", "2020-01-02")
    assert (done.code, done.out) == (0, "")
    assert "no such calls" in done.err


def test_report_files(cost, filled, tmp_path):
    done = cost("report", "-o", "a/r.html", "-o", "r.csv", "-o", "r.json", "-o", "r.md", "-o", "r.parquet")
    assert done.code == 0 and done.err.count("wrote ") == 5
    assert (tmp_path / "a" / "r.html").read_text("utf-8").startswith("<!doctype html>")
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["total"]["requests"] == 12
    assert (tmp_path / "r.csv").read_bytes().count(b"\r\n") == 4
    assert (tmp_path / "r.parquet").read_bytes()[:4] == b"PAR1"


def test_a_limit_holds_everywhere_and_else_machines_get_all(cost, filled, tmp_path):
    many = [call(n, team=f"team{n}") for n in range(100, 140)]
    fill(tmp_path / ".llmops" / "llmops.db", many)
    report = ["report", "--by", "team", "--json"]
    assert len(data(cost(*report))["lines"]) == 42
    done = cost(*report, "-n", "1", "-o", "t.csv", "-o", "t.json")
    assert len(data(done)["lines"]) == 1 and data(done)["total"]["requests"] == 52
    assert "41 more: left out by -n 1" in done.err
    assert (tmp_path / "t.csv").read_bytes().count(b"\r\n") == 2
    assert len(json.loads((tmp_path / "t.json").read_text("utf-8"))["lines"]) == 1
    top = ["top", "--by", "team", "--since", "2026-11", "--json"]
    assert len(data(cost(*top))["spenders"]) == 42 and len(data(cost(*top, "-n", "1"))["spenders"]) == 1
    ours = ", ".join(f"{{model: slm-{number}, input: 1, output: 1}}" for number in range(40))
    (tmp_path / "llmops.yaml").write_text(f"prices: {{models: [{ours}]}}\n", "utf-8")
    prices = ["prices", "slm-", "--json"]
    assert len(data(cost(*prices, "-n", "1"))["prices"]) == 1 and len(data(cost(*prices))["prices"]) == 40
    assert cost("top", "--by", "team", "--since", "2026-11").out.count("\n") == 11


def test_limits_say_what_is_hidden(cost, filled):
    done = cost("report", "--by", "model", "-n", "1")
    assert "2 more: -n 3 shows all" in done.out


def test_of_times_the_newest_are_shown_in_their_order(cost, tmp_path):
    fill(tmp_path / ".llmops" / "llmops.db", [call(n, NOON + DAY * n, cost=CENT * (5 - n)) for n in range(5)])
    done = cost("report", "--by", "day", "-n", "2")
    assert re.findall(r"^2026-11-\d\d", done.out, re.MULTILINE) == ["2026-11-27", "2026-11-28"]
    assert "3 earlier: -n 5 shows all" in done.out


def test_small_amounts_keep_two_digits(cost, tmp_path):
    calls = [call(1, cost=114_000, team="a"), call(2, cost=7_000_000_000, team="b"), call(3, cost=3, team="c")]
    fill(tmp_path / ".llmops" / "llmops.db", calls)
    done = cost("report", "--by", "team")
    assert "$0.00011 " in done.out and "$7.0000 " in done.out and "$0.000000003 " in done.out and "<" not in done.out
    fill(tmp_path / ".llmops" / "llmops.db", [call(4, cost=7_000_000_000_000, team="d")])
    assert re.search(r"^a +\$0\.00011 ", cost("report", "--by", "team").out, re.MULTILINE)


def test_unknown_tokens_are_no_missing_price(cost, tmp_path):
    lost = replace(call(1, cost=None, team="a"), state="unknown", outcome="timeout", usage=Usage())
    unpriced = call(2, cost=None, team="b", model_served="my-slm", provider="vllm")
    fill(tmp_path / ".llmops" / "llmops.db", [lost, unpriced, call(3, team="c")])
    out = cost("report", "--by", "team").out
    assert "$0.01 for 3 requests: $0.01 exact, 1 request unpriced, 1 request with unknown tokens" in out
    assert "! 1 request has no price" in out and "! 1 request has tokens that nobody could count: in no sum" in out
    assert re.search(r"^b +unpriced ", out, re.MULTILINE) and re.search(r"^a +unknown ", out, re.MULTILINE)
    total = data(cost("report", "--json"))["total"]
    assert (total["unpriced"], total["unknown"], total["uncounted"]) == (2, 1, 1)
    page = costs.report(by="team").render("html")
    assert "No price<b>1 request</b>" in page and "Unknown tokens<b>1 request</b>" in page


def test_reports_by_user_say_what_was_pruned(cost, tmp_path):
    import time

    now = time.time()
    old = [call(n, now - 10 * DAY, user="ann", team="search") for n in range(3)]
    fill(tmp_path / ".llmops" / "llmops.db", [*old, call(9, now - DAY, user="ben", team="search")])
    assert "pruned" not in cost("report", "--by", "user").out
    assert cost("prune", "--days", "5", "--yes").code == 0
    said = "3 requests ($0.03) of this window were pruned, and with them whose they were"
    done = cost("report", "--by", "user")
    assert "all calls" not in done.out
    assert f"! {said}" in " ".join(done.out.split())
    made = costs.report(by="user")
    assert said in made.render("html") and said in made.render("markdown")
    assert data(cost("report", "--by", "user", "--json"))["pruned"] == {"requests": 3, "cost_usd": 0.03}
    assert data(cost("report", "--by", "user", "--since", "4d", "--json"))["pruned"]["requests"] == 0
    assert data(cost("report", "--by", "team", "--json"))["pruned"]["requests"] == 0, "sums by the hour have them"
    assert said in cost("top", "--by", "user", "--since", "30d").err
    whose = data(cost("report", "--where", "user=ann", "--json"))
    assert (whose["total"]["requests"], whose["pruned"]["requests"]) == (0, 3)
    assert (
        "left out 3 requests ($0.03) that were pruned"
        in cost("export", "-o", "f.csv", "--format", "focus", "--by", "user").err
    )


def test_top(cost, filled):
    done = cost("top", "--by", "team", "--since", "2026-11-24", "--until", "2026-11-24")
    assert re.search(r"^search +\$0\.1200 +100% +11 +\$0\.0000 +new$", done.out, re.MULTILINE) or "new" in done.out
    found = data(cost("top", "--since", "2026-11", "--json"))
    assert found["spenders"][0] | {"prompt": "docs/answer", "cost_usd": 0.08} == found["spenders"][0]


def test_prices(cost, tmp_path):
    (tmp_path / "llmops.yaml").write_text(
        "prices: {models: [{model: my-slm, provider: vllm, input: 0.5, output: 1, valid_from: 2026-01-01}]}\n", "utf-8"
    )
    [one] = data(cost("prices", "my-slm", "--json"))["prices"]
    assert (one["source"], one["input"], one["valid_from"]) == ("yours", 0.5, "2026-01-01")
    assert "vllm/my-slm" in cost("prices", "--model", "vllm/my-slm").out
    early = cost("prices", "--model", "vllm/my-slm", "--at", "2025-06-01")
    assert early.code == 2 and "no price of 'vllm/my-slm'" in early.err and "model: my-slm" in early.err
    assert "no price has such a name" in cost("prices", "zzzz-zzzz").err


def test_repricing_from_the_command_line(cost, filled, tmp_path):
    (tmp_path / "llmops.yaml").write_text(
        "prices: {models: [{model: my-slm, provider: vllm, input: 1, output: 1}]}\n", "utf-8"
    )
    assert "there is a price now: llmops cost reprice" in cost("report").out
    tried = cost("reprice", "--dry-run")
    assert "1 of 12 calls would change" in tried.out
    assert data(cost("report", "--json"))["total"]["unpriced"] == 1
    done = cost("reprice", "--yes", "--since", "2026-11")
    assert "1 of 12 calls changed" in done.out and "1 had no price and got one" in done.out
    total = data(cost("report", "--json"))["total"]
    assert (total["unpriced"], total["cost_usd"]) == (0, 0.1612)


def test_a_change_of_lists_alone_changes_no_cost(cost, tmp_path):
    prices = "prices: {models: [{model: small, provider: openai, input: 1, cache_read: 0.1, output: 2}]}\n"
    (tmp_path / "llmops.yaml").write_text(prices, "utf-8")
    each = 600 * 1000 + 400 * 100 + 200 * 2000
    fill(tmp_path / ".llmops" / "llmops.db", [call(1, cost=each), call(2, cost=each + 1)])
    tried = cost("reprice", "--dry-run")
    assert "1 of 2 calls would change" in tried.out and "$0.00104 before, $0.00104 after" in tried.out
    found = data(cost("reprice", "--yes", "--json"))
    assert (found["changed"], found["renamed"]) == (1, 1)
    again = data(cost("reprice", "--yes", "--json"))
    assert (again["changed"], again["renamed"]) == (0, 0)


def test_an_interrupted_repricing_says_how_far_it_came(cost, filled, tmp_path, monkeypatch):
    from llmops.costs import repricing

    prices = "prices: {models: [{model: small, provider: openai, input: 1, output: 2}]}\n"
    (tmp_path / "llmops.yaml").write_text(prices, "utf-8")
    whole, calls = repricing._counting, []

    def counting(done, rule):
        counted = whole(done, rule)

        def interrupted(call):
            calls.append(call)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return counted(call)

        return interrupted

    monkeypatch.setattr(repricing, "_counting", counting)
    done = cost("reprice", "--yes")
    assert done.code == 130
    assert done.err == (
        "interrupted after about 4 calls: what was changed is saved, and running it again does the rest\n"
    )


def test_what_if_from_the_command_line(cost, filled, tmp_path):
    (tmp_path / "llmops.yaml").write_text(
        "prices: {models: [{model: cheap, provider: openai, input: 0.1, cache_read: 0.1, output: 0.5}]}\n", "utf-8"
    )
    done = cost("reprice", "--what-if", "small=cheap", "--by", "team")
    assert "9 calls on small: $0.12" in done.out
    assert "token for token on cheap: $0.0018 (−$0.1182, −98.5%)" in done.out
    found = data(cost("reprice", "--what-if", "model=cheap", "--json"))
    assert (found["total"]["calls"], found["total"]["left_out"]) == (12, 1)
    assert "no calls of nobody" in cost("reprice", "--what-if", "nobody=cheap").err


def test_exports(cost, filled, tmp_path):
    assert "wrote 12 rows to c.jsonl" in cost("export", "-o", "c.jsonl").err
    rows = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text("utf-8").splitlines()]
    assert {row["cost_usd"] for row in rows} == {0.01, 0.02, 0.04, None}
    assert "wrote 11 rows" in cost("export", "-o", "c.csv", "--since", "2026-11-24").err
    assert "wrote 1 rows" in cost("export", "-o", "c.parquet", "--where", "team=sales").err
    cost("export", "-o", "m.prom", "--by", "team")
    assert re.search(r'^llmops_\w*cost\w*_total\{team="sales",certainty="estimated"\} 0\.04$',
                     (tmp_path / "m.prom").read_text("utf-8"), re.MULTILINE)  # fmt: skip
    done = cost("export", "-o", "f.csv", "--format", "focus", "--unit", "hour", "--account", "acme")
    assert "left out 1 requests without a price" in done.err
    assert (tmp_path / "f.csv").read_text("utf-8").startswith("BilledCost,BillingAccountId,")
    assert not list(tmp_path.glob(".llmops-*"))


def test_folders_that_cannot_be_made_are_told(cost, filled, monkeypatch):
    def refuse(*args, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    for words in (["report", "-o", "a/x.html"], ["report", "-o", "a/x.parquet"], ["export", "-o", "a/x.csv"]):
        done = cost(*words)
        assert (done.code, done.err.count("\n")) == (2, 1) and "permission denied" in done.err


def test_an_export_can_go_to_stdout(cost, filled, tmp_path):
    done = cost("export", "-o", "-", "--format", "jsonl")
    assert done.code == 0 and len([json.loads(line) for line in done.out.splitlines()]) == 12
    assert done.err == "wrote 12 rows to stdout\n"
    assert cost("export", "-o", "a/folder/c.csv").code == 0 and (tmp_path / "a" / "folder" / "c.csv").exists()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_an_export_can_go_to_a_device(llmops, tmp_path):
    store = fill(tmp_path / "calls.db", a_day())
    done = llmops("cost", "export", "-o", "/dev/stdout", "--format", "csv", "--store", str(store))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("id,started_at,") and done.stdout.count("\n") == 13


def test_half_surrogates_break_no_file(cost, tmp_path):
    pytest.importorskip("pyarrow")
    fill(tmp_path / ".llmops" / "llmops.db", [call(1, team="a\udc80b", tags=(("tenant", "\ud800"),))])
    for words in (
        ["report", "--by", "team", "-o", "r.parquet"],
        ["report", "--by", "team", "-o", "r.html", "-o", "r.json", "-o", "r.md", "-o", "r.csv"],
        ["export", "-o", "c.parquet"],
        ["export", "-o", "c.jsonl"],
        ["export", "-o", "f.parquet", "--format", "focus", "--by", "tag:tenant"],
        ["export", "-o", "f.csv", "--format", "focus"],
        ["export", "-o", "m.prom", "--by", "team"],
    ):
        done = cost(*words)
        assert (done.code, "Traceback" in done.err) == (0, False), (words, done.err)
    assert json.loads((tmp_path / "c.jsonl").read_text("utf-8"))["team"] == "a\ufffdb"


def test_reconciling(cost, filled, tmp_path):
    invoice = tmp_path / "invoice.csv"
    invoice.write_text("Day;Model;Amount\n2026-11-24;small;0.08\n2026-11-24;big;0.05\n2026-11-23;small;0.04\n", "utf-8")
    done = cost("reconcile", "invoice.csv")
    assert done.code == 0
    assert "ours $0.16, theirs $0.17: −$0.01, −5.9%" in done.out
    assert "1 request of ours without a price: ours is too low" in done.out
    assert re.search(r"^2026-11-24 +my-slm +– +– +– +– +only ours, 1 unpriced$", done.out, re.MULTILINE)
    strict = cost("reconcile", "invoice.csv", "--fail-above", "5%")
    assert strict.code == 1 and "differ by more than 5%" in strict.err
    assert cost("reconcile", "invoice.csv", "--fail-above", "6%").code == 0
    assert cost("reconcile", "invoice.csv", "--fail-above", "6").code == 2
    found = data(cost("reconcile", "invoice.csv", "--json"))
    assert (found["ours"], found["theirs"]) == (0.16, 0.17)
    invoice.write_text("date,model,cost\n2026-11-24,small,0.08\n2026-11-24,small,\nTotal,,\n", "utf-8")
    assert "! 2 rows of the file without a date or an amount: left out" in cost("reconcile", "invoice.csv").out
    assert data(cost("reconcile", "invoice.csv", "--json"))["skipped"] == 2
    invoice.write_text("Day;Model;Amount\n2026-11-24;small;0.08\n", "utf-8")
    named = cost("reconcile", "invoice.csv", "--columns", "date=Day,cost=Betrag")
    assert named.code == 2 and "no such column" in named.err


def test_budgets(cost, tmp_path):
    (tmp_path / "llmops.yaml").write_text(
        "budgets:\n  - {limit: $1, per: total, by: team}\n  - {limit: 10 requests, per: day}\n", "utf-8"
    )
    unused = cost("budgets")
    assert "nothing counted yet" in unused.out and "$1.00 in total by team" in unused.out
    hold = Hold("nanodollars/total/team=search", "nanodollars", 100 * CENT, 50 * CENT)
    done = call(1, team="search")
    pending = replace(done, outcome="pending", state="pending", usage=Usage(), cost=None)
    with open_call_log(tmp_path / ".llmops" / "llmops.db") as log:
        log.begin_now(pending, (hold,))
        log.settle(done, (hold,))
    [window, rest] = data(cost("budgets", "--json"))["budgets"]
    assert [window[f"{name}_usd"] for name in ("limit", "spent", "reserved", "left")] == [1.0, 0.01, 0.0, 0.99]
    assert window["rule"] == "$1.00 in total by team"
    assert rest["rule"] == "10 requests per day" and (rest["limit_requests"], rest["spent_requests"]) == (10, 0)
    assert "team=search" in cost("budgets").out
    (tmp_path / "llmops.yaml").unlink()
    assert "no budgets" in cost("budgets").err, "a window without a rule limits nothing"
    assert "(no rule any more)" in cost("budgets", "--past").out


def test_budgets_say_when_they_begin_anew_and_leave_out_what_is_empty(cost, tmp_path):
    rules = 'budgets: [{limit: $1, per: day, by: team}, {limit: $9, per: total, where: {team: ""}}]\n'
    (tmp_path / "llmops.yaml").write_text(rules, "utf-8")
    now = time.time()
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    spent, unsent = call(1, now, team="search"), replace(call(2, now, team="sales"), outcome="unsent", cost=None)
    with open_call_log(tmp_path / ".llmops" / "llmops.db") as log:
        for one in (spent, unsent):
            window = f"nanodollars/day/team={one.attribution.team}/{day}"
            hold = Hold(window, "nanodollars", 100 * CENT, CENT)
            log.begin_now(replace(one, outcome="pending", state="pending", usage=Usage(), cost=None), (hold,))
            log.settle(one, (hold,))
    done = cost("budgets", columns=200).out
    assert re.search(rf"^\$1.00 per day by team +team=search · {day} .* [\d.]+ (h|min) +1% used$", done, re.MULTILINE)
    assert "sales" not in done and "$9.00 in total where team (none)" in done
    assert "team=sales" in cost("budgets", "--all", columns=200).out
    [one, rest] = data(cost("budgets", "--json"))["budgets"]
    assert one["ends_at"] > day and one["ends_at"].endswith("T00:00:00+00:00") and rest["ends_at"] is None
    narrow = cost("budgets", columns=80).out
    assert "limit" in narrow.splitlines()[0] and "(no room for " in narrow and "team=search" in narrow


def test_windows_that_are_over_or_of_no_team_say_so(cost, tmp_path):
    (tmp_path / "llmops.yaml").write_text("budgets: [{limit: 1 requests, per: day, by: team}]\n", "utf-8")
    pending = replace(call(1), outcome="pending", state="pending", usage=Usage(), cost=None)
    holds = (Hold("requests/day/team=/2026-11-24", "requests", 1, 1), Hold("requests/run/run=r", "requests", 1, 1))
    with open_call_log(tmp_path / ".llmops" / "llmops.db") as log:
        log.begin_now(pending, holds)
        log.settle(call(1), holds)
    assert "2026-11-24" not in cost("budgets").out and "run=r" not in cost("budgets").out
    past = cost("budgets", "--past").out
    assert re.search(r"team=\(none\) · 2026-11-24 .* ended$", past, re.MULTILINE)
    assert "full" not in past


def test_no_budgets(cost, filled):
    assert "budgets: [{limit: $50, per: day, by: team}]" in cost("budgets").err


SERVERS = """backends: {local: {openai_http: {base_url: "http://127.0.0.1:9/v1", model: m}}}
prices:
  servers:
    local: {gpu_per_hour: 3.60, gpus: 1, method: flat, tokens_per_second: 1000, utilisation: 0.5}
"""


def test_servers(cost, tmp_path):
    (tmp_path / "llmops.yaml").write_text(SERVERS, "utf-8")
    local = replace(call(1), backend="local", provider="vllm")
    fill(tmp_path / ".llmops" / "llmops.db", [local])
    done = cost("servers", "--since", "2026-11-24", "--until", "2026-11-24")
    assert "local: $3.60 an hour" in done.out
    assert "$2.0000 in, $2.0000 out per million tokens" in done.out
    assert (
        "paid for 12 h, since its first call (2026-11-24 12:00 UTC): $43.20; usage $0.0012, idle $43.20"
    ) in done.out, "1,200 tokens of 1,000 a second are busy for 1.2 s of $0.001; it wasn't ours before the first call"
    [one] = data(cost("servers", "--since", "2026-11-24", "--until", "2026-11-24", "--json"))["servers"]
    assert (one["requests"], one["logged_usd"], one["paid_usd"]) == (1, 0.01, 43.2)
    assert (one["usage_usd"], one["idle_usd"]) == (0.0012, 43.1988)
    assert (one["since"], one["from_first_call"]) == ("2026-11-24T12:00:00+00:00", True)
    later = data(cost("servers", "--since", "2026-11-25", "--until", "2026-11-25", "--json"))["servers"][0]
    assert (later["hours"], later["from_first_call"], later["usage_usd"]) == (24.0, False, 0.0)
    before = cost("servers", "--since", "2026-11-01", "--until", "2026-11-02")
    assert "no call to it is in this window" in before.out
    assert "did you mean 'local'" in cost("servers", "locl").err
    assert "! its counters:" in cost("servers", "--scrape").out


def test_a_young_server_was_paid_for_minutes(cost, tmp_path):
    (tmp_path / "llmops.yaml").write_text(SERVERS, "utf-8")
    local = replace(call(1, NOON), backend="local", provider="vllm")
    store = fill(tmp_path / ".llmops" / "llmops.db", [local])
    [one] = costs.servers(now=NOON + 600)
    assert (one.hours, one.paid, one.usage) == (600 / 3600, 600_000_000, 1_200_000)
    assert one.idle == one.paid - one.usage
    with Calls.open(store) as calls:
        calls.prune(NOON + 1)
    [pruned] = costs.servers(now=NOON + 600)
    assert pruned.since == NOON, "its hour is known when the call is gone"
    from llmops.cli.cost_limits import _lines

    assert "  paid for 10 min, since its first call (2026-11-24 12:00 UTC): $0.60" in "\n".join(_lines(one))


def test_a_server_busier_than_its_settings_is_told(cost, tmp_path):
    (tmp_path / "llmops.yaml").write_text(SERVERS, "utf-8")
    used = Usage(900_000, 0, requests=1, certainty="exact")
    local = replace(call(1, NOON, cost=100 * CENT), backend="local", usage=used)
    fill(tmp_path / ".llmops" / "llmops.db", [local])
    [one] = costs.servers(now=NOON + 600)
    from llmops.cli.cost_limits import _lines

    assert (one.usage, one.idle) == (one.paid, 0)
    assert "busier than the utilisation in its settings" in "\n".join(_lines(one))


def test_no_servers_is_no_mistake(cost, filled):
    done = cost("servers")
    assert (done.code, done.out) == (0, "") and "no servers: the project's prices take servers:" in done.err
    assert data(cost("servers", "--json")) == {"servers": []}
    assert cost("servers", "local").code == 2


def test_a_scrape_shows_allocation_usage_and_idle(cost, tmp_path, monkeypatch):
    (tmp_path / "llmops.yaml").write_text(SERVERS, "utf-8")

    async def scrape(url: str) -> ServerSnapshot:
        assert url == "http://127.0.0.1:9/v1"
        return ServerSnapshot(
            at=7200.0, prompt_tokens=900_000, generation_tokens=100_000, requests=10, prefill_s=360.0, decode_s=720.0,
            started_at=3600.0,
        )  # fmt: skip

    monkeypatch.setattr("llmops.usage.server_metrics.scrape", scrape)
    [one] = costs.servers(scrape=True)
    assert one.measured is not None
    assert (one.measured.allocation, one.measured.usage, one.measured.idle) == (
        3_600_000_000, 1_000_000_000, 2_600_000_000,
    )  # fmt: skip
    assert "allocation $3.60, usage $1.00, idle $2.60" in cost("servers", "--scrape").out


def test_the_cost_of_an_accepted_answer(cost, tmp_path):
    place = tmp_path / ".llmops" / "llmops.db"
    run = new_run(status="finished")
    with Store.open(place) as store:
        store.create_run(run)
        scored = [result(str(n), scores={"zeta": Score(n / 10)}) for n in range(10)]
        cached = result("cached", scores={"zeta": Score(1.0)}, output=Output("x", cached=True))
        save(store, run, *scored, cached, failed("broken"), result("unscored", scores={}))
    of = {"run": run.id, "variant": "new", "purpose": "eval"}
    calls = [call(n, **of) for n in range(12)]
    judges = [call(20, **{**of, "purpose": "judge"}), call(30, run="another", variant="new")]
    fill(place, [*calls, *judges])
    done = cost("report", "--run", "latest", "--accepted", "zeta >= 0.7")
    assert done.code == 0, done.err
    assert "new: 4 of 13 answers accepted (zeta >= 0.7)" in done.out
    assert "cost per accepted answer: $0.03, $0.0325 with judging" in done.out
    assert "1 of them came from the cache and cost nothing here: without them $0.04 each" in done.out
    assert "13 requests" in done.out, "the other run's calls are not in it"
    found = data(cost("report", "--run", run.id, "--accepted", "zeta>=0.7", "--accepted", "zeta < 1", "--json"))
    assert (found["accepted"][0]["accepted"], found["accepted"][0]["per_accepted_usd"]) == (3, 0.04)
    assert "Cost of an accepted answer" in costs.report(run="latest", accepted="zeta >= 70%").render("html")
    wrong = cost("report", "--run", "latest", "--accepted", "zeat > 1")
    assert wrong.code == 2 and "did you mean 'zeta'?" in wrong.err
    assert "isn't a rule" in cost("report", "--run", "latest", "--accepted", "zeta").err


def test_accepted_answers_divide_by_those_that_were_accepted():
    one = AcceptedAnswers("v", "f1 >= 0.8", accepted=4, answers=10, cost=20 * CENT, checking=4 * CENT)
    assert (one.each, one.each_with_checking) == (5 * CENT, 6 * CENT)
    assert replace(one, accepted=0).each is None
    assert (one.each_sent, replace(one, reused=3).each_sent) == (5 * CENT, 20 * CENT)
    assert replace(one, reused=4).each_sent is None and replace(one, cost=None).each_sent is None
    assert replace(one, cost=None).each_with_checking is None


def test_names_from_the_log_cannot_drive_the_terminal(cost, tmp_path):
    evil = call(1, team="\x1b]0;owned\x07\x1b[2J[red]x", prompt="a\nb")
    fill(tmp_path / ".llmops" / "llmops.db", [evil])
    for words in (
        ["report", "--by", "team,prompt"],
        ["report", "--where", "team=\x1b[2J"],
        ["top", "--since", "2026-11"],
    ):
        done = cost(*words)
        assert "\x1b" not in done.out + done.err and "\x07" not in done.out


def test_python_and_the_command_line_agree(cost, filled):
    made = costs.report(by="team", since="2026-11")
    assert made.total.cost == 16 * CENT
    assert data(cost("report", "--by", "team", "--since", "2026-11", "--json"))["total"]["cost_usd"] == 0.16
    assert str(made).splitlines()[1] == cost("report", "--by", "team", "--since", "2026-11").out.splitlines()[1]


def test_a_shell_completes_fields_and_their_values():
    assert {"state", "certainty", "error", "tag:"} <= {*cost_options.complete_fields("")}
    assert cost_options.complete_fields("team,fe") == ["team,feature"]
    assert cost_options.complete_conditions("pu") == ["purpose="]
    assert cost_options.complete_conditions("purpose!=app,j") == ["purpose!=app,judge"]
    assert cost_options.complete_conditions("team=") == [] and cost_options.complete_conditions("day") == []


def test_help_names_every_field():
    known = cost_options.FIELDS.removesuffix(" or tag:NAME").split(", ")
    assert sorted(known) == sorted(BY)


def test_help_loads_nothing_heavy_and_colours_nothing(llmops):
    done = llmops("cost", "report", "--help")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert "--by" in done.stdout
