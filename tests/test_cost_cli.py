"""`llmops cost`: what each command prints, writes and exits with."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from cost_samples import CENT, DAY, a_day, call, fill
from llmops import costs
from llmops.cli import main
from llmops.reports.cost_lines import AcceptedAnswers
from llmops.store.call_log import open_call_log
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
    """Runs `llmops cost …` in this process, in a project of its own, 100 columns wide."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLMOPS_DATABASE_URL", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "LLMOPS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".git").mkdir()

    def run(*words: object, columns: int = 100) -> Done:
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
        assert max(map(len, done.out.splitlines())) <= columns, words


def test_a_narrow_report_has_every_figure(cost, filled):
    narrow = cost("report", columns=40).out
    assert {"requests: 9", "cached: 3,600", "unpriced: 1"} <= {line.strip() for line in narrow.splitlines()}


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
        (["report", "-o", "x.pdf"], "no cost report ends in '.pdf'"),
        (["report", "--accepted", "f1 > 0.5"], "add --run latest"),
        (["reprice"], "needs --yes"),
        (["reprice", "--yes", "--by", "model"], "--by goes with --what-if"),
        (["reprice", "--what-if", "x"], "isn't a change"),
        (["export", "-o", "x.bin"], "doesn't say the format"),
        (["export", "-o", "x.csv", "--format", "focsu"], "did you mean 'focus'?"),
        (["export", "-o", "no/such/x.csv"], "can't write no/such/x.csv"),
        (["prune"], "forgetting texts of calls older than 30 days needs --yes"),
        (["prune", "--days", "3"], "needs --yes"),
        (["reconcile", "nothing.csv"], "nothing.csv: can't be read"),
        (["servers"], "name no server"),
    ],
)
def test_mistakes_are_one_line(cost, filled, words, said):
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


def test_limits_say_what_is_hidden(cost, filled):
    done = cost("report", "--by", "model", "-n", "1")
    assert "2 more: -n 3 shows all" in done.out


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
    assert (one["source"], one["input"], one["valid_from"]) == ("yours", "0.5", "2026-01-01")
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
    assert {row["cost_usd"] for row in rows} == {"0.01", "0.02", "0.04", None}
    assert "wrote 11 rows" in cost("export", "-o", "c.csv", "--since", "2026-11-24").err
    assert "wrote 1 rows" in cost("export", "-o", "c.parquet", "--where", "team=sales").err
    cost("export", "-o", "m.prom", "--by", "team")
    assert re.search(r'^llmops_\w*cost\w*_total\{team="sales",certainty="estimated"\} 0\.04$',
                     (tmp_path / "m.prom").read_text("utf-8"), re.MULTILINE)  # fmt: skip
    done = cost("export", "-o", "f.csv", "--format", "focus", "--unit", "hour", "--account", "acme")
    assert "left out 1 requests without a price" in done.err
    assert (tmp_path / "f.csv").read_text("utf-8").startswith("BilledCost,BillingAccountId,")
    assert not list(tmp_path.glob(".llmops-*"))


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
    named = cost("reconcile", "invoice.csv", "--columns", "date=Day,cost=Betrag")
    assert named.code == 2 and "no such column" in named.err


def test_pruning(cost, tmp_path):
    import time

    now = time.time()
    fill(tmp_path / ".llmops" / "llmops.db", [call(1, now - 10 * DAY), call(2, now - 2 * DAY)])
    assert "forgot 1 calls" in cost("prune", "--days", "5", "--yes").err
    assert "wrote 1 rows" in cost("export", "-o", "calls.jsonl").err
    assert data(cost("report", "--json"))["total"]["requests"] == 2, "sums by the hour stay"
    (tmp_path / "llmops.yaml").write_text("calls: {days: 1, text_days: 1}\n", "utf-8")
    assert "older than a day" in cost("prune").err
    assert "forgot 1 calls" in cost("prune", "--yes").err
    assert data(cost("prune", "--text-days", "5", "--yes", "--json")) == {"calls": 0, "texts": 0}


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
    assert (window["limit"], window["spent"], window["reserved"], window["left"]) == (
        100 * CENT, CENT, 0, 99 * CENT,
    )  # fmt: skip
    assert window["rule"] == "$1.00 in total by team"
    assert rest["rule"] == "10 requests per day" and rest["spent"] == 0
    assert "team=search" in cost("budgets").out
    (tmp_path / "llmops.yaml").unlink()
    assert "(no rule any more)" in cost("budgets").out


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
    assert "paid for 24 h: $86.40; $86.39 idle" in done.out
    [one] = data(cost("servers", "--since", "2026-11-24", "--until", "2026-11-24", "--json"))["servers"]
    assert (one["requests"], one["logged_usd"], one["paid_usd"], one["idle_usd"]) == (1, 0.01, 86.4, 86.39)
    assert "did you mean 'local'" in cost("servers", "locl").err
    assert "! its counters:" in cost("servers", "--scrape").out


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
    assert "1 of them came from the cache" in done.out
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


def test_help_loads_nothing_heavy_and_colours_nothing(llmops):
    done = llmops("cost", "report", "--help")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert "--by" in done.stdout
