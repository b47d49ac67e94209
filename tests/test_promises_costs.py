"""Promises about money: figures worked out by hand, budgets that hold, and hints that work as they are printed."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

import pytest

import llmops as package
from llmops import costs
from llmops.connecting import project_tracker
from llmops.errors import BudgetExceededError, InputError, RequestRejectedError
from llmops.store.call_queries import Calls
from llmops.token_usage import read_usage
from llmops.types import Call, Cost, Hold, Request, Usage
from llmops.usage.bounds import bounded_usage, cost_bound, prompt_tokens_bound, request_bound
from llmops.usage.budgets import amount_used
from llmops.usage.entries import Entry
from llmops.usage.price_book import PriceBook
from llmops.usage.rates import make_card
from provider_server import Answer, ProviderServer, Tokens

MODEL = {
    "model": "m", "provider": "vllm", "input": 0.10, "output": 0.40, "cache_read": 0.01, "cache_write": 0.125,
    "cache_write_1h": 0.2, "reasoning": 0.9, "audio_input": 0.7, "audio_output": 1.3, "per_request": 0.001,
    "per_image": 0.04, "tiers": [{"above": 200_000, "input": 0.2, "output": 0.8}],
    "service_tiers": {"batch": {"input": 0.05, "output": 0.2}, "priority": {"input": 0.2, "output": 0.7}},
}  # fmt: skip
FEE = Fraction(1, 1000)


def nanos(*parts, dollars=0):
    """Nano-dollars of tokens at dollars a million, rounded half to even, in fractions."""
    exact = sum(Fraction(count) * Fraction(rate) * 1000 for count, rate in parts) + Fraction(dollars) * 10**9
    return round(exact)  # Python rounds fractions half to even


BY_HAND = [
    (Usage(1000, 100), "", nanos((1000, "0.1"), (100, "0.4"), dollars=FEE)),
    (Usage(1000, 100, cache_read_tokens=600), "", nanos((400, "0.1"), (600, "0.01"), (100, "0.4"), dollars=FEE)),
    (
        Usage(1000, 100, cache_read_tokens=300, cache_write_tokens=400, cache_write_1h_tokens=150),
        "",
        nanos((300, "0.1"), (300, "0.01"), (250, "0.125"), (150, "0.2"), (100, "0.4"), dollars=FEE),
    ),
    (Usage(10, 100, reasoning_tokens=60), "", nanos((10, "0.1"), (40, "0.4"), (60, "0.9"), dollars=FEE)),
    (
        Usage(100, 50, audio_input_tokens=30, audio_output_tokens=20),
        "",
        nanos((70, "0.1"), (30, "0.7"), (30, "0.4"), (20, "1.3"), dollars=FEE),
    ),
    (Usage(0, 0, images=3), "", nanos(dollars=FEE + Fraction("0.12"))),
    (Usage(200_000, 9), "", nanos((200_000, "0.1"), (9, "0.4"), dollars=FEE)),
    (Usage(200_001, 9), "", nanos((200_001, "0.2"), (9, "0.8"), dollars=FEE)),
    (
        Usage(200_001, 9, cache_read_tokens=200_000),
        "",
        nanos((1, "0.2"), (200_000, "0.01"), (9, "0.8"), dollars=FEE),
    ),
    (Usage(1000, 9), "batch", nanos((1000, "0.05"), (9, "0.2"), dollars=FEE)),
    (Usage(1000, 9), "batches", nanos((1000, "0.05"), (9, "0.2"), dollars=FEE)),
    (
        Usage(1000, 9, cache_read_tokens=900),
        "batch",
        nanos((100, "0.05"), (900, "0.01"), (9, "0.2"), dollars=FEE),
    ),
    (Usage(1000, 9), "priority", nanos((1000, "0.2"), (9, "0.7"), dollars=FEE)),
]


@pytest.mark.parametrize(("usage", "tier", "wanted"), BY_HAND)
def test_cost_is_what_the_rates_make_by_hand(usage, tier, wanted):
    book = PriceBook.load(None, {"models": [MODEL]}, genai=False, litellm=False)
    cost = book.cost(usage, provider="vllm", model="m", service_tier=tier)
    parts = cost.input + cost.cache_read + cost.cache_write + cost.output + cost.reasoning + cost.fees
    assert cost.total == wanted == parts
    assert book.bound(usage, "vllm", "m", service_tier=tier) >= wanted


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 4999, 5000, 15_000, 25_000])
def test_halves_of_a_nanodollar_go_to_the_even_one(count):
    models = [{"model": "half", "input": 0.0005}, {"model": "tiny", "input": 0.0000001}]
    book = PriceBook.load(None, {"models": models}, genai=False, litellm=False)
    for model, rate in (("half", "0.0005"), ("tiny", "0.0000001")):
        assert book.cost(Usage(count), provider="", model=model).total == nanos((count, rate))


@pytest.mark.parametrize(
    ("moment", "rate"),
    [
        ("2026-02-28T23:59:59.999", 1),
        ("2026-03-01T00:00:00", 2),
        ("2026-05-31T23:59:59.999", 2),
        ("2026-06-01T00:00:00", 3),
        ("2026-06-30T23:59:59.999", 3),
        ("2026-07-01T00:00:00", 2),
    ],
)
def test_prices_change_at_midnight_in_utc(moment, rate):
    models = [
        {"model": "m", "input": 1},
        {"model": "m", "input": 2, "valid_from": "2026-03-01"},
        {"model": "m", "input": 3, "valid_from": "2026-06-01", "valid_until": "2026-06-30"},
    ]
    book = PriceBook.load(None, {"models": models}, genai=False, litellm=False)
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    assert book.cost(Usage(10), provider="", model="m", at=at).total == rate * 10_000


CACHED = [  # 1,000 read, of which 600 from a cache, and 100 written
    {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
     "prompt_tokens_details": {"cached_tokens": 600}},
    {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100, "input_tokens_details": {"cached_tokens": 600}},
    {"input_tokens": 400, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 0, "output_tokens": 100},
    {"promptTokenCount": 1000, "cachedContentTokenCount": 600, "candidatesTokenCount": 60, "thoughtsTokenCount": 40,
     "totalTokenCount": 1100},
    {"prompt_tokens": 1000, "completion_tokens": 60, "total_tokens": 1100,
     "prompt_tokens_details": {"cached_tokens": 600}, "completion_tokens_details": {"reasoning_tokens": 40}},
    {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "prompt_cache_hit_tokens": 600,
     "prompt_cache_miss_tokens": 400},
    {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cached_tokens": 600},
    {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100, "input_token_details": {"cache_read": 600}},
    {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cache_read_input_tokens": 600,
     "cache_creation_input_tokens": 0, "prompt_tokens_details": {"cached_tokens": 600, "cache_creation_tokens": 0}},
]  # fmt: skip


@pytest.mark.parametrize(
    "said", CACHED, ids=["chat", "responses", "anthropic", "gemini", "xai", "deepseek", "kimi", "langchain", "litellm"]
)
def test_cached_tokens_are_billed_once_in_every_shape(said):
    rates = {"model": "m", "input": 1, "output": 2, "cache_read": 0.1}
    book = PriceBook.load(None, {"models": [rates]}, genai=False, litellm=False)
    usage = read_usage(said)
    cost = book.cost(usage, provider="anthropic", model="m")
    assert (cost.total, cost.certainty) == (nanos((400, 1), (600, "0.1"), (100, 2)), "exact")


def test_a_line_for_unknown_servers_leaves_published_prices_alone():
    line = {"model": "gpt-4o", "provider": "unknown", "input": 7, "output": 7}
    listed = PriceBook.load(
        None, {"models": [{**line, "provider": "openai", "input": 1}, line]}, genai=False, litellm=False
    )
    assert listed.cost(Usage(10), provider="openai", model="gpt-4o").total == 10_000
    assert listed.cost(Usage(10), provider="", model="gpt-4o").total == 70_000
    assert listed.cost(Usage(10), provider="vllm", model="gpt-4o") is None


class Listed(NamedTuple):
    """A price list with one model; before 2026 it cost a tenth."""

    name: str
    dollars: int
    dated: bool = False
    revision: str = "1"
    slot: int = 86_400
    sure: bool = True

    def match(self, provider, model, is_written):
        return self

    def at(self, moment):
        past = self.dated and moment < datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        rate = self.dollars / 10 if past else self.dollars
        return Entry(
            self.name, "openai", "m", make_card({("standard", 0): {"input": rate, "output": rate}}, keeps=True)
        )


@pytest.mark.parametrize(
    ("first", "second", "moment", "certainty"),
    [
        (2, 2, "2026-06-01", "exact"),
        (2, 3, "2026-06-01", "estimated"),
        (2, 2, "2025-06-01", "exact"),  # a list without history says nothing about the past
        (2, 3, "2025-06-01", "exact"),
    ],
)
def test_a_price_that_two_lists_differ_about_is_estimated(first, second, moment, certainty):
    book = PriceBook(None, [Listed("genai-prices", first, dated=True), Listed("litellm", second)])
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    cost = book.cost(Usage(10, certainty="exact"), provider="openai", model="m", at=at)
    assert (cost.source, cost.certainty) == ("genai-prices", certainty)


def test_a_hard_budget_counts_what_is_only_estimated_as_the_worst():
    hold = Hold("day", "nanodollars", 1_000, 400, hard=True)
    call = Call(id="0" * 32, started_at=0.0, outcome="abandoned", state="estimated", cost=Cost(7))
    assert amount_used(hold, call) == 400
    assert amount_used(Hold("day", "nanodollars", 1_000, 400, hard=False), call) == 7


TIERED = {
    "model": "m", "input": 1, "output": 2,
    "service_tiers": {"batch": {"input": 0.5, "output": 1}, "priority": {"input": 2, "output": 4}},
}  # fmt: skip


class TestBounds:
    BOOK = PriceBook.load(None, {"models": [TIERED]}, genai=False, litellm=False)

    def bound(self, parameters, text="hi"):
        request = Request(({"role": "user", "content": text},), parameters={"max_tokens": 100, **parameters})
        return cost_bound(self.BOOK, request, provider="vllm", model="m")

    def test_the_service_tier_that_is_asked_for_counts(self):
        standard = self.bound({})
        assert self.bound({"service_tier": "priority"}) == 2 * standard
        assert self.bound({"service_tier": "batch"}) == standard  # it may be served as the usual tier

    def test_schemas_among_the_parameters_are_read_by_the_model(self):
        schema = {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 50] * 20}}}
        request = Request((), parameters={"response_format": schema})
        assert prompt_tokens_bound(request) - prompt_tokens_bound(Request(())) > 1_000

    def test_a_conversation_that_the_server_keeps_has_no_bound(self):
        with pytest.raises(InputError, match="has kept"):
            self.bound({"previous_response_id": "resp_1"})
        kept = request_bound(Request((), parameters={"conversation": "c", "max_output_tokens": 7}))
        assert bounded_usage(kept, limit="it", most_input=1_000) == Usage(1_000, 7, requests=1)

    def test_every_answer_of_several_is_bounded(self):
        assert request_bound(Request((), parameters={"max_tokens": 7, "n": 2, "best_of": 5})).output_tokens == 35


SETTINGS = """\
backends:
  local: {{openai_http: {{base_url: "{url}", model: alias, provider: vllm}}}}
  own: {{openai_http: {{base_url: "{url}", model: m}}}}
prices: prices.yaml
{more}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    project_tracker(tmp_path).close()


def written(project, server, prices, more=""):
    (project / "llmops.yaml").write_text(SETTINGS.format(url=server.url, more=more))
    (project / "prices.yaml").write_text(prices)


def calls_of(project):
    project_tracker(project).flush()
    with Calls.open(project / ".llmops" / "llmops.db") as calls:
        return list(calls.rows()), calls.ledger()


def test_repricing_keeps_refusals_free_and_follows_the_model_that_was_asked_for(project):
    prices = "models:\n  - {{model: alias, provider: vllm, input: {rate}, output: 0, per_request: {fee}}}\n"
    answers = [Answer(usage=Tokens(1000, 10), model="served-under-another-name"), Answer(status=401)]
    with ProviderServer(answers) as server:
        written(project, server, prices.format(rate=1, fee=0))
        with package.connect("local", root=project, retries=0) as client:
            client.complete("one")
            with pytest.raises(RequestRejectedError):
                client.complete("two")
        nobody = {"openai_http": {"base_url": "http://127.0.0.1:9/v1", "model": "alias", "provider": "vllm"}}
        with package.connect(nobody, root=project, retries=0) as nowhere, pytest.raises(package.LlmopsError):
            nowhere.complete("three")
    before, _ = calls_of(project)
    assert [call.cost.total if call.cost else None for call in before] == [1_000_000, 0, None]
    (project / "prices.yaml").write_text(prices.format(rate=3, fee=0.5))
    tried = costs.reprice(dry_run=True)
    assert calls_of(project)[0] == before
    done = costs.reprice()
    assert (tried.calls, tried.changed, tried.after) == (done.calls, done.changed, done.after) == (2, 1, 503_000_000)
    after, _ = calls_of(project)
    assert [call.cost.total if call.cost else None for call in after] == [503_000_000, 0, None]


def test_repricing_makes_a_bill_with_searches_no_surer(project):
    searched = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, "num_sources_used": 3}
    prices = "models:\n  - {{model: alias, provider: vllm, input: {rate}, output: 0}}\n"
    with ProviderServer([Answer(usage=searched), Answer(usage=Tokens(1000, 10))]) as server:
        written(project, server, prices.format(rate=1))
        with package.connect("local", root=project) as client:
            client.complete("one")
            client.complete("two")
    costs.reprice()
    assert [call.cost.certainty for call in calls_of(project)[0]] == ["estimated", "exact"]
    (project / "prices.yaml").write_text(prices.format(rate=2))
    costs.reprice()
    assert [call.cost.total for call in calls_of(project)[0]] == [2_000_000, 2_000_000]


def test_the_hint_of_the_report_prices_the_calls_as_it_is_printed(project, llmops):
    with ProviderServer(
        default=Answer(usage=Tokens(1000, 100), model="a-rather-long-name-of-a-model-7b-instruct")
    ) as server:
        written(project, server, "models:\n")
        with package.connect("own", root=project) as client:
            client.complete("one")
    shown = llmops("cost", "report", cwd=project).stdout
    hint = re.search(r"^ *- \{[^}]*\}.*(\n(?! |\n|\$).*)?", shown, re.M)
    (project / "prices.yaml").write_text("models:\n" + hint[0].replace("PRICE", "2") + "\n")
    assert llmops("cost", "reprice", "--yes", cwd=project).returncode == 0
    [call], _ = calls_of(project)
    assert call.cost.total == 2_200_000


def test_a_stream_that_is_left_takes_its_worst_case_from_a_hard_budget(project):
    with ProviderServer(default=Answer(usage=Tokens(40, 90), pieces=["word "] * 20, pause_s=0.01)) as server:
        written(
            project,
            server,
            "models:\n  - {model: alias, provider: vllm, input: 10, output: 30}\n",
            "budgets: [{limit: $0.01, per: day}]",
        )
        sent = 0
        with package.connect("local", root=project, retries=0) as client, pytest.raises(BudgetExceededError):
            for _ in range(50):
                stream = client.stream("hi", parameters={"max_tokens": 90})
                next(stream)
                sent += 1
                stream.close()
        assert sent == server.count
    rows, [window] = calls_of(project)
    assert {call.outcome for call in rows} == {"abandoned"}
    assert sent * (40 * 10_000 + 90 * 30_000) <= window.spent <= 10_000_000 and window.reserved == 0


def test_a_server_whose_speed_is_not_known_leaves_the_report_alone(project, llmops):
    prices = "servers:\n  own: {gpu_per_hour: 2.5, method: time_share}\n"
    with ProviderServer(default=Answer(usage=Tokens(1000, 100))) as server:
        written(project, server, prices)
        with package.connect("own", root=project) as client:
            client.complete("one")
    shown: subprocess.CompletedProcess[str] = llmops("cost", "report", cwd=project)
    assert shown.returncode == 0 and "unpriced" in shown.stdout
    refused = llmops("cost", "servers", cwd=project)
    assert refused.returncode == 2 and "servers: own" in refused.stderr


def test_a_bill_shared_by_time_is_paid_by_the_calls_to_the_last_nanodollar(project):
    with ProviderServer([Answer(status=401)], default=Answer(usage=Tokens(1000, 100), latency_s=0.002)) as server:
        written(project, server, "servers:\n  own: {gpu_per_hour: 2.5, gpus: 3, method: time_share}\n")
        with package.connect("own", root=project) as client:
            with pytest.raises(RequestRejectedError):
                client.complete("refused: it took no time of a GPU")
            for _ in range(7):
                client.complete("one")
    rows = calls_of(project)[0][1:]
    hour = 3600 * (max(call.started_at for call in rows) // 3600)
    assert not costs.reprice(now=hour + 3599).changed  # the hour isn't over
    hours = {call.started_at // 3600 for call in rows}
    assert costs.reprice(now=hour + 3600).changed == 7
    rows = calls_of(project)[0][1:]
    assert sum(call.cost.total for call in rows) == 7_500_000_000 * len(hours)
    assert {(call.cost.certainty, call.cost.source) for call in rows} == {("estimated", "server:own")}
    if len(hours) == 1:
        seconds = sum(Fraction(call.duration_s) for call in rows)
        for call in rows:
            assert abs(call.cost.total - 7_500_000_000 * Fraction(call.duration_s) / seconds) < 1
    assert not costs.reprice(now=hour + 3600).changed
