"""Cost reports as values and in every format: sums, certainty, judging, what has no price, and hostile names."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_samples import CENT, DAY, NOON, a_day, call, fill
from llmops import costs
from llmops.costs.invoices import find_columns, model_of, read_invoice, same_model
from llmops.costs.reporting import lines_of
from llmops.costs.repricing import field_of
from llmops.costs.selecting import BY, select
from llmops.errors import InputError, NotFoundError
from llmops.reports.cost_lines import CostLine, CostReport, CostSeries, together
from llmops.reports.cost_plot import plot, scale
from llmops.reports.cost_rows import in_dollars
from llmops.reports.cost_tables import write_json_lines
from llmops.reports.cost_words import in_column, short_tokens
from llmops.store.call_queries import Calls
from llmops.types import Call, Cost, Usage
from llmops.usage.conditions import Among

HOSTILE = "<script>alert(1)</script>\x1b[31m|`@all`[x](http://e.example)\u202e=1+1"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    return fill(tmp_path / "calls.db", a_day())


def test_a_report_adds_up_and_says_how_sure_it_is(store):
    made = costs.report(by="team", store=store)
    assert [line.key for line in made.lines] == [("search",), ("sales",)]
    assert [line.cost for line in made.lines] == [12 * CENT, 4 * CENT]
    assert (made.total.exact, made.total.estimated, made.total.unpriced) == (12 * CENT, 4 * CENT, 1)
    assert made.total.requests == 12
    assert made.total.cost == 16 * CENT
    assert made.total.per_request == round(16 * CENT / 11), "the average is over requests with a price"
    assert made.total.input_tokens == 12_000 and made.total.cache_read_tokens == 4_800


def test_judges_stand_apart(store):
    made = costs.report(by="team", store=store)
    assert made.lines[0].judges == 4 * CENT
    assert {line.key: line.cost for line in made.purposes} == {("app",): 12 * CENT, ("judge",): 4 * CENT}
    assert "Judges are 25% of this ($0.04); answers cost $0.12" in made.render()


def test_a_model_without_a_price_is_never_free(store):
    made = costs.report(by="model", store=store)
    line = next(line for line in made.lines if line.key == ("my-slm",))
    assert line.cost is None and line.unpriced == 1
    assert [(one.provider, one.model, one.requests, one.tokens) for one in made.unpriced] == [
        ("vllm", "my-slm", 1, 1200)
    ]
    assert "my-slm" in made.unpriced[0].hint
    for name in ("terminal", "markdown", "html"):
        text = made.render(name)
        assert re.search(r"1 request has no price", text), name
    row = next(row for row in made.to_dicts() if row["model"] == "my-slm")
    assert row["cost_usd"] is None


def test_calls_with_unknown_tokens_need_no_price(store, tmp_path):
    lost = replace(call(99, cost=None), state="unknown", outcome="timeout", usage=Usage())
    place = fill(tmp_path / "lost.db", [lost])
    made = costs.report(store=place)
    assert made.total.unknown == 1
    assert made.unpriced == ()
    assert "1 request has tokens that nobody could count" in made.render()


@pytest.mark.parametrize("by", [*BY, "tag:tenant"])
def test_every_field_groups_and_keeps_the_total(store, by):
    made = costs.report(by=by, store=store)
    assert sum(line.requests for line in made.lines) == 12
    assert together(made.lines).cost == 16 * CENT


@st.composite
def logs(draw) -> list[Call]:
    """Calls that ended in every way, or not at all, for several users and purposes."""
    made = []
    for number in range(draw(st.integers(1, 8))):
        of = {
            "user": draw(st.sampled_from(["", "ann", "ben"])),
            "team": draw(st.sampled_from(["", "search"])),
            "purpose": draw(st.sampled_from(["app", "app", "app", "judge"])),
        }
        at = NOON + 1800 * draw(st.integers(0, 60))
        kind = draw(st.sampled_from(["priced", "estimated", "unpriced", "unknown", "unsent", "pending"]))
        one = call(
            number, at, cost=CENT if kind in ("priced", "estimated") else None, estimated=kind == "estimated", **of
        )
        if kind == "unknown":
            one = replace(one, state="unknown", outcome="timeout", usage=Usage())
        elif kind == "unsent":
            one = replace(one, state="settled", outcome="unsent", usage=Usage(requests=1, certainty="exact"))
        elif kind == "pending":
            one = replace(one, state="pending", outcome="pending", usage=Usage())
        made.append(one)
    return made


@settings(max_examples=25, deadline=None)
@given(logs())
def test_every_grouping_has_the_same_totals(tmp_path_factory, calls):
    store = fill(tmp_path_factory.mktemp("log") / "calls.db", calls)
    with Calls.open(store) as log:
        totals = {by: together(lines_of(log, select(by))) for by in (*BY, "team,user", "user,purpose", "tag:x,user")}
    wanted = totals["model"]
    assert (wanted.requests, wanted.uncounted) == (len(calls), sum(one.state == "unknown" for one in calls))
    for by, total in totals.items():
        close = replace(
            total, duration_s=pytest.approx(wanted.duration_s), first_token_s=pytest.approx(wanted.first_token_s)
        )
        assert close == wanted, by


def test_windows_are_utc_and_a_dates_day_counts(store):
    assert costs.report(since="2026-11-24", store=store).total.requests == 11
    assert costs.report(until="2026-11-23", store=store).total.requests == 1
    assert costs.report(since="2026-11", until=date(2026, 11, 24), store=store).total.requests == 12
    assert costs.report(since="24h", store=store, now=NOON + 3600).total.requests == 11
    assert costs.report(since=NOON - DAY, until=NOON, store=store).total.requests == 1


def test_where_and_tags(tmp_path):
    calls = [call(n, tags=(("tenant", "a" if n % 2 else "b"),), user="ann") for n in range(5)]
    place = fill(tmp_path / "c.db", calls)
    made = costs.report(by=["tag:tenant", "user"], where={"tag:tenant": "b"}, store=place)
    assert [line.key for line in made.lines] == [("b", "ann")]
    assert made.total.requests == 3
    assert "tag_tenant" in made.to_dicts()[0]


def test_pending_calls_are_counted_and_cost_nothing_known(tmp_path):
    place = fill(tmp_path / "c.db", [call(1), replace(call(2, cost=None), outcome="pending", state="pending")])
    made = costs.report(store=place)
    assert (made.total.requests, made.total.pending, made.total.cost) == (2, 1, CENT)
    assert made.total.per_request == CENT


def test_a_plot_has_every_day_and_the_last_series_is_the_rest(tmp_path):
    calls = [call(n, NOON - DAY * (n % 9), model_served=f"m{n % 9}", cost=CENT * (n % 9 + 1)) for n in range(27)]
    made = costs.report(store=fill(tmp_path / "c.db", calls))
    assert made.times == tuple(f"2026-11-{day}" for day in range(16, 25))
    assert [series.name for series in made.series] == ["m8", "m7", "m6", "m5", "m4", "m3", "3 others"]
    assert sum(sum(series.costs) for series in made.series) == made.total.cost
    assert made.series[-1].rest


def test_top_compares_with_the_window_before(store):
    now = NOON + 3600
    spenders = costs.top(by="team", since="24h", store=store, now=now)
    assert [one.line.key for one in spenders] == [("search",)]
    assert spenders[0].before == 0 and spenders[0].share == 1
    earlier = costs.top(by="team", since=NOON - DAY, until=NOON + DAY, store=store, now=now)
    assert [round(one.share or 0, 2) for one in earlier] == [0.75, 0.25]


def test_change_is_relative(tmp_path):
    place = fill(tmp_path / "c.db", [call(1, NOON - DAY), call(2), call(3), call(4)])
    [one] = costs.top(by="model", since=NOON - DAY / 2, until=NOON + DAY / 2, store=place)
    assert (one.before, one.change) == (CENT, 2.0)


# formats


def test_csv_is_exact_and_runs_no_formula(tmp_path):
    tiny = call(1, cost=1, team="=HYPERLINK(1)")
    text = costs.report(by="team", store=fill(tmp_path / "c.db", [tiny])).render("csv")
    [row] = csv.DictReader(io.StringIO(text))
    assert row["team"] == "'=HYPERLINK(1)"
    assert row["cost_usd"] == "0.000000001"


def test_json_has_numbers_and_nulls(store):
    data = json.loads(costs.report(by=["team", "model"], store=store).render("json"))
    assert data["total"]["cost_usd"] == 0.16
    assert {line["cost_usd"] for line in data["lines"]} == {0.08, 0.04, None}
    assert data["unpriced"][0]["model"] == "my-slm"
    assert data["purposes"]["judge"]["cost_usd"] == 0.04


def test_the_page_holds_no_script_and_fetches_nothing(tmp_path):
    calls = [call(1, team=HOSTILE, model_served=HOSTILE), call(2, cost=None, model_served=HOSTILE + "2")]
    page = costs.report(by=["team", "model"], where={"team": HOSTILE}, store=fill(tmp_path / "c.db", calls)).render(
        "html"
    )
    seen = _tags(page)
    assert "script" not in seen and "a" not in seen and "img" not in seen and "iframe" not in seen
    assert "default-src 'none'" in page
    assert "\x1b" not in page and "\u202e" not in page
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"'>) ]*)", page) == ["data:,"]


def test_hostile_names_are_inert_in_text(tmp_path):
    made = costs.report(by="team", store=fill(tmp_path / "c.db", [call(1, team=HOSTILE)]))
    assert "\x1b" not in made.render("terminal") and "\u202e" not in made.render("terminal")
    markdown = made.render("markdown")
    row = next(line for line in markdown.splitlines() if "script" in line)
    assert row.startswith("| `") and row.count("|") == row.count(" | ") + 2


def test_an_empty_window_renders(store):
    made = costs.report(since="2020-01", until="2020-02", store=store)
    for name in ("terminal", "markdown", "html", "json", "csv"):
        assert made.render(name)
    assert made.total.cost == 0 and made.lines == ()


def test_unknown_formats_are_told(store):
    with pytest.raises(NotFoundError, match="did you mean 'markdown'"):
        costs.report(store=store).render("markdwn")


def _tags(page: str) -> set[str]:
    found: set[str] = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.add(tag)
            assert not any(name.startswith("on") for name, _ in attrs)

    Parser().feed(page)
    return found


@given(st.integers(1, 10**18))
def test_a_plots_axis_is_round_and_high_enough(top):
    ceiling, marks = scale(top)
    assert top <= ceiling <= 1.5 * top + 1
    assert marks[-1] == ceiling
    assert len(str(ceiling).rstrip("0")) <= 2


def test_stacked_bars_stay_inside():
    series = (CostSeries("a", (CENT, 0)), CostSeries("b", (CENT, 3 * CENT)))
    made = CostReport(("model",), (), CostLine(), times=("2026-11-01", "2026-11-02"), series=series)
    tops = [float(y) for y in re.findall(r' y="([\d.]+)"', plot(made))]
    assert len(tops) == 3 and min(tops) >= 0
    assert plot(replace(made, series=(CostSeries("a", (0, 0)),))) == ""


@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_money_in_a_column_is_never_a_false_zero(amount, top):
    text = in_column(amount, max(amount, top))
    assert (set(text) <= set("$0.")) == (amount == 0)


def test_token_counts_are_short():
    assert [short_tokens(n) for n in (0, 9999, 12_345, 1_234_567, 2_000_000_000)] == [
        "0", "9,999", "12.3k", "1.23M", "2.00B",
    ]  # fmt: skip


# selections


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"by": "modle"}, "did you mean 'model'"),
        ({"by": "tag:"}, "no such field"),
        ({"since": "tomorrow"}, "isn't a time"),
        ({"since": "2026-13-01"}, "isn't a time"),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "the window is empty"),
        ({"since": float("nan")}, "no time of this world"),
        ({"where": ["team"]}, "has no ="),
        ({"where": ["taem=a"]}, "did you mean 'team'"),
        ({"where": ["day=2026-11-01"]}, "--since and --until"),
        ({"where": ["team=a", "team=b"]}, "any of several values is team=a,b"),
        ({"where": ["team=a", "team!=b"]}, "twice"),
        ({"where": ['team="a,b']}, "a double quote that doesn't enclose a value"),
        ({"where": ['team="a"b']}, "a double quote that doesn't enclose a value"),
        ({"where": ["purpose=evals"]}, "no call's purpose is that; did you mean 'eval'"),
        ({"where": {"purpose": ["app", "chat"]}}, "purpose=chat: no call's purpose is that"),
        ({"where": ["outcome!=sucess"]}, "did you mean 'success'"),
        ({"where": ["certainty=free"]}, "no call's certainty is that"),
        ({"since": "1m"}, "may be minutes or months; minutes are 1min, months 1mo"),
        ({"since": "1.5mo"}, "isn't a time"),
        ({"since": "99999mo"}, "no time of this world"),
    ],
)
def test_what_cannot_be_selected_is_told(words, said):
    with pytest.raises(InputError, match=said):
        select(**words, now=NOON)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("team=search", "search"),
        ("team=", ""),
        ("team=a=b", "a=b"),
        ("team=a,b", Among(("a", "b"))),
        ("team= a , ", Among(("a", ""))),
        ("team!=a", Among(("a",), excluded=True)),
        ("team !=a,b", Among(("a", "b"), excluded=True)),
        ('team="a, b"', "a, b"),
        ('team="a, b",c', Among(("a, b", "c"))),
        ('team="say ""hi""",c', Among(('say "hi"', "c"))),
        ('team=5" nails', '5" nails'),
    ],
)
def test_conditions(word, wanted):
    assert select(where=[word]).where == {"team": wanted}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_values_can_be_quoted(values):
    quoted = ",".join('"' + value.replace('"', '""') + '"' for value in values)
    [wanted] = select(where=[f"tag:x!={quoted}"]).where.values()
    assert wanted == Among(tuple(values), excluded=True)


def test_conditions_from_python_are_taken_as_they_are():
    assert select(where={"team": "a,b"}).where == {"team": "a,b"}
    assert select(where={"team": ["a,b", "c"]}).where == {"team": Among(("a,b", "c"))}
    assert select(where={"team": Among(("a",), True)}).where == {"team": Among(("a",), True)}


@pytest.mark.parametrize("store_kind", ["hours", "calls", "pending"])
def test_any_of_several_and_none_of_several(tmp_path, store_kind):
    """In sums by the hour, among calls (by user) and among those that have not ended."""
    teams = ["search", "sales", "", "a,b"]
    calls = [call(n, team=team, user="u", tags=(("tenant", f"t{n}"),)) for n, team in enumerate(teams)]
    if store_kind == "pending":
        calls = [replace(one, outcome="pending", state="pending", usage=Usage(), cost=None) for one in calls]
    store = fill(tmp_path / "calls.db", calls)
    by = "user" if store_kind == "calls" else "team"

    def count(*where):
        return costs.report(by=by, where=where, store=store).total.requests

    assert (count("team=search,sales"), count("team!=search,sales"), count("team!=")) == (2, 2, 3)
    assert (count('team="a,b"'), count("team=a,b"), count("tag:tenant=t0,t3"), count("tag:tenant!=t0")) == (1, 0, 2, 3)
    found = costs.calls(where=["team!=search", "tag:tenant!=t3"], store=store)
    assert sorted(one.attribution.team for one in found) == ["", "sales"]


def test_conditions_are_told_in_words_and_data(store):
    made = costs.report(where=["team=search,sales", "user!=ann"], store=store)
    assert "team = search or sales, user is not ann" in made.render()
    assert json.loads(made.render("json"))["where"] == {"team": ["search", "sales"], "user": {"not": ["ann"]}}


def test_a_window_that_grew_is_told():
    def widened(since, until=None):
        return select((), since, until, now=NOON + 1800).widened

    assert widened("30min") == "" and widened("7d") == "" and widened("2026-11-24") == ""
    assert widened("31min") == "--since 31min counts from 2026-11-24 11:00 UTC"
    half = "2026-11-24T10:30"
    assert widened("2026-11-24", half) == f"--until {half} counts to 2026-11-24 11:00 UTC"
    assert " and --until" in widened("2026-11-24T09:30", half)
    assert select((), "31min", now=NOON, whole_hours=False).since == NOON - 31 * 60


def test_months_ago_are_calendar_months():
    def since(text, day):
        return datetime.fromtimestamp(select((), text, now=datetime(*day, tzinfo=UTC).timestamp()).since, UTC)

    assert since("1mo", (2026, 3, 31, 12)) == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert since("13 mo", (2026, 3, 31, 12)) == datetime(2025, 2, 28, 12, tzinfo=UTC)
    assert since("2mo", (2026, 2, 28)) == datetime(2025, 12, 28, tzinfo=UTC)


@given(st.integers(0, 2**48))
def test_dollars_in_json_keep_every_billionth(nanodollars):
    """2⁴⁸ nano-dollars is the most that one call may cost."""
    line: list[str] = []
    write_json_lines([{"cost_usd": in_dollars(nanodollars)}], line.append)
    assert json.loads(line[0], parse_float=Decimal, parse_int=Decimal)["cost_usd"] == Decimal(nanodollars) / 10**9


def test_ages_are_whole_hours():
    chosen = select("model, team", "90min", now=NOON + 1800)
    assert chosen.by == ("model", "team")
    assert chosen.since == NOON - 3600
    assert select((), until="2026-12", now=NOON).until == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


@given(st.text(max_size=30))
def test_any_time_is_read_or_refused(text):
    try:
        chosen = select((), text, now=NOON)
    except InputError:
        return
    assert chosen.since is None or chosen.since % 3600 == 0


def test_fields_are_those_of_the_store():
    from llmops.store.call_fields import FIELDS

    assert set(BY) == set(FIELDS)


# repricing


PRICES = """prices:
  models:
    - {model: small, provider: openai, input: 1, cache_read: 0.1, output: 2}
    - {model: my-slm, provider: vllm, input: 0.5, output: 1}
    - {model: cheap, provider: openai, input: 0.1, output: 0.2}
"""
SMALL = 600 * 1000 + 400 * 100 + 200 * 2000  # nano-dollars of 600 + 400 cached in, 200 out


def test_repricing_counts_then_writes(store, tmp_path):
    (tmp_path / "llmops.yaml").write_text(PRICES, "utf-8")
    tried = costs.reprice(dry_run=True, store=store)
    assert costs.report(store=store).total.unpriced == 1
    done = costs.reprice(store=store)
    assert (tried.changed, tried.after) == (done.changed, done.after)
    assert (done.calls, done.changed, done.newly_priced, done.kept) == (12, 10, 1, 2), "no list has the judges' model"
    made = costs.report(store=store)
    assert made.total.unpriced == 0
    assert made.total.cost == 9 * SMALL + 1000 * 500 + 200 * 1000 + 4 * CENT
    assert costs.reprice(store=store).changed == 0


def test_a_providers_own_figure_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmops.yaml").write_text(PRICES, "utf-8")
    told = replace(call(1), cost=Cost(7, 7, source="reported"))
    place = fill(tmp_path / "c.db", [told])
    assert costs.reprice(store=place).reported == 1
    assert costs.report(store=place).total.cost == 7


def test_what_if_never_writes(store, tmp_path):
    (tmp_path / "llmops.yaml").write_text(PRICES, "utf-8")
    made = costs.what_if("small=openai/cheap", by="team", store=store)
    each = 600 * 100 + 400 * 100 + 200 * 200  # a model without a rate for cached input charges it as input
    assert (made.total.calls, made.total.left_out) == (9, 0)
    assert (made.total.now, made.total.then) == (12 * CENT, 9 * each)
    everything = costs.what_if("model=cheap", store=store)
    assert (everything.total.calls, everything.total.left_out) == (12, 1)
    assert costs.report(store=store).total.cost == 16 * CENT


def test_what_if_without_a_price_says_which_line_to_add(store):
    made = costs.what_if("model=nobody/knows-it", store=store)
    assert made.total.left_out == 12
    assert "knows-it" in made.hint


@pytest.mark.parametrize("name", [*BY, "tag:tenant"])
def test_a_calls_field_is_the_one_that_reports_group_by(tmp_path, name):
    one = call(
        1, team="t", feature="f", user="u", run="r", suite="s", variant="v", prompt="docs/answer@2",
        tags=(("tenant", "x"),), purpose="judge",
    )  # fmt: skip
    [line] = costs.report(by=name, store=fill(tmp_path / "c.db", [one])).lines
    assert field_of(one, name) == line.key[0]


# invoices


def test_invoice_columns_are_found_by_name(tmp_path):
    openai = ["start_time", "end_time", "start_time_iso", "amount_value", "amount_currency", "line_item", "project_id"]
    found = find_columns(openai, {}, "x")
    assert (found.date, found.cost, found.model, found.currency) == (
        "start_time_iso", "amount_value", "line_item", "amount_currency",
    )  # fmt: skip
    usage = [
        "usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_input_tokens_cache_write_5m",
        "usage_input_tokens_cache_write_1h", "usage_input_tokens_cache_read", "usage_output_tokens",
    ]  # fmt: skip
    found = find_columns(usage, {}, "x")
    assert len(found.input) == 4 and found.output == "usage_output_tokens" and not found.cost
    usage = ["start_time_iso", "model", "input_tokens", "output_tokens", "input_cached_tokens", "input_uncached_tokens"]
    assert find_columns(usage, {}, "x").input == ("input_tokens",)
    with pytest.raises(InputError, match="no column looks like a date"):
        find_columns(["a", "b"], {}, "x")
    with pytest.raises(InputError, match="did you mean 'Betrag'"):
        find_columns(["Tag", "Betrag"], {"cost": "Betrg"}, "x")


def test_invoice_lines(tmp_path):
    path = tmp_path / "i.csv"
    path.write_text(
        "start_time,amount_value,amount_currency,line_item\n"
        '1795478400,"0.50",usd,"gpt-4o-2024-08-06, input"\n1795478400,,,\n',
        "utf-8",
    )
    [line] = read_invoice(path).lines
    assert (line.day, line.model, line.cost) == ("2026-11-24", "gpt-4o-2024-08-06", Decimal("0.50"))
    path.write_text("date,cost,currency\n2026-11-24,1,EUR\n", "utf-8")
    with pytest.raises(InputError, match=r"i.csv:2: the currency is 'eur'"):
        read_invoice(path)
    path.write_text("date;cost\n2026-11-24;abc\n", "utf-8")
    with pytest.raises(InputError, match=r"i.csv:2: 'abc' isn't an amount"):
        read_invoice(path)


def test_names_of_models_meet():
    assert model_of("Claude Sonnet 4.5 Usage - Input Tokens") == "claude-sonnet-4.5"
    assert same_model("claude-sonnet-4.5") == same_model("claude-sonnet-4-5-20250929")
    assert same_model("openai/gpt-4o-2024-08-06") == "gpt-4o"
    assert same_model("gpt-4o-mini") != same_model("gpt-4o")


@given(st.text(max_size=200))
def test_any_text_is_an_invoice_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("date,model,cost\n" + text, "utf-8", errors="replace")
    try:
        read_invoice(path)
    except InputError as error:
        assert "\n" not in str(error)


def test_reconciling_names_differences_and_reasons(store, tmp_path):
    path = tmp_path / "invoice.csv"
    path.write_text("date,model,cost\n2026-11-24,small,0.10\n2026-11-24,other,0.03\n2026-11-23,small,0.04\n", "utf-8")
    made = costs.reconcile(path, store=store)
    assert (made.ours, made.theirs, made.difference) == (16 * CENT, 17 * CENT, -CENT)
    only = {(line.day, line.model): line.only for line in made.lines}
    assert only["2026-11-24", "other"] == "theirs"
    assert only["2026-11-24", "big"] == only["2026-11-24", "my-slm"] == "ours"
    said = " ".join(made.explanations())
    assert "1 request of ours without a price" in said and "$0.04 of ours is estimated" in said
    kept = costs.reconcile(path, provider="openai", store=store)
    assert "without a price" not in " ".join(kept.explanations())


def test_reconciling_tokens_and_totals_by_day(store, tmp_path):
    path = tmp_path / "usage.csv"
    path.write_text("date,input_tokens,output_tokens\n2026-11-23,1000,200\n", "utf-8")
    made = costs.reconcile(path, store=store)
    assert not made.in_dollars
    assert (made.ours, made.theirs, made.share) == (1200, 1200, 0.0)


def test_a_line_of_unpriced_and_refused_requests_has_no_average_of_zero():
    line = CostLine(requests=170, unpriced=168)  # two were refused, and cost nothing
    assert (line.cost, line.per_request, line.per_thousand) == (None, None, None)
