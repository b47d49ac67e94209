"""The price of a call whose server answers with another name than the one that was asked for, and its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.errors import InputError
from llmops.identity import new_id
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.types import Attribution, Call, Cost, Request, Usage
from llmops.usage.bounds import priced_bound
from llmops.usage.budgets import Budgets, parse_budgets
from llmops.usage.families import family, in_family, is_alias
from llmops.usage.open_call import price
from llmops.usage.price_book import PriceBook
from llmops.usage.prices_litellm import LitellmPrices
from llmops.usage.prices_yaml import inline_prices
from price_samples import book, chat, listed

MILLION = Usage(1_000_000, 0, requests=1, certainty="exact")
DOLLAR = 1_000_000_000
SNAPSHOTS = {
    "gpt-4o": chat("openai", "2.5", "10"),
    "gpt-4o-2024-05-13": chat("openai", "5", "15"),
    "gpt-4o-2024-08-06": chat("openai", "2.5", "10"),
    "gpt-4o-mini": chat("openai", "0.15", "0.60"),
    "gpt-4o-mini-2024-07-18": chat("openai", "0.15", "0.60"),
    "deepseek-v3": chat("openai", "0.2", "0.2"),  # its version looks like a snapshot's mark, and it has snapshots
    "deepseek-v3-0324": chat("openai", "0.4", "0.4"),
}


def with_yours(*models: dict, servers: dict | None = None) -> PriceBook:
    data = {"models": list(models), **({"servers": servers} if servers else {})}
    return PriceBook(inline_prices(data), [LitellmPrices(content(SNAPSHOTS))])


def content(entries: dict) -> bytes:
    import json

    return json.dumps(entries).encode()


def yours(model: str, dollars: float, **more) -> dict:
    return {"model": model, "input": dollars, "output": dollars, **more}


def priced(of: PriceBook, asked: str, served: str, provider: str = "openai") -> tuple[int, str, str] | None:
    found = of.cost(MILLION, provider=provider, model=served, asked=asked)
    return None if found is None else (found.total, found.certainty, found.source)


def test_your_price_of_a_model_is_that_of_the_snapshot_that_serves_it():
    own = with_yours(yours("gpt-4o", 1))
    for asked in ("gpt-4o", "openai/gpt-4o", "gpt-4o-latest"):
        mine = with_yours(yours(asked, 1))
        for served in ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13", "gpt-4o-2029-01-01", "openai/gpt-4o-2024-08-06"):
            assert priced(mine, asked, served) == (DOLLAR, "exact", "yours"), (asked, served)
    assert priced(own, "openai/gpt-4o", "gpt-4o-2029-01-01") == (DOLLAR, "exact", "yours")
    assert priced(own, "gpt-4o", "gpt-4o-mini-2024-07-18") == (DOLLAR * 15 // 100, "exact", "litellm")
    assert priced(own, "", "gpt-4o-2024-08-06") == (DOLLAR * 25 // 10, "exact", "litellm")


def test_your_price_of_the_snapshot_itself_goes_first():
    own = with_yours(yours("gpt-4o", 1), yours("gpt-4o-2024-08-06", 3), yours("*", 9), yours("gpt-4o-2029*", 4))
    assert priced(own, "gpt-4o", "gpt-4o-2024-08-06") == (3 * DOLLAR, "exact", "yours")
    assert priced(own, "gpt-4o", "gpt-4o-2029-01-01") == (4 * DOLLAR, "exact", "yours")
    assert priced(own, "gpt-4o", "gpt-4o-2024-05-13") == (DOLLAR, "exact", "yours")  # before what fits any model
    assert priced(own, "gpt-4o", "another") == (9 * DOLLAR, "exact", "yours")


def test_your_price_of_another_snapshot_is_an_estimate_and_goes_before_the_lists():
    own = with_yours(yours("gpt-4o-2024-08-06", 1))
    assert priced(own, "gpt-4o-2024-08-06", "gpt-4o-2024-05-13") == (DOLLAR, "estimated", "yours")


def test_a_model_that_nobody_priced_takes_the_price_of_the_asked_one_as_an_estimate():
    own = with_yours(yours("my-slm", 1, provider="vllm"))
    assert priced(own, "my-slm", "/models/my-slm-awq", "vllm") == (DOLLAR, "estimated", "yours")
    assert priced(own, "my-slm", "my-slm", "vllm") == (DOLLAR, "exact", "yours")
    assert priced(own, "gpt-4o", "who-knows") == (DOLLAR * 25 // 10, "estimated", "litellm")
    assert priced(own, "nobody", "knows") is None
    assert priced(own, "gpt-4o", "gpt-4o", "vllm") is None


def test_a_server_of_ones_own_goes_before_the_asked_ones_price():
    server = {"local": {"gpu_per_hour": 2.5, "tokens_per_second": 2500, "utilisation": 0.4}}
    book_ = with_yours(yours("my-slm", 1), servers=server)
    loaded = PriceBook.load(inline={"models": [yours("my-slm", 1)], "servers": server}, genai=False, litellm=False)
    assert book_.cost(MILLION, provider="vllm", model="other", asked="my-slm").source == "yours"
    assert (
        loaded.cost(MILLION, provider="vllm", model="other", asked="my-slm", backend="local").source == "server:local"
    )
    assert loaded.cost(MILLION, provider="vllm", model="", asked="", backend="local").source == "server:local"


def test_calls_are_priced_by_both_names():
    own = with_yours(yours("gpt-4o", 1))
    call = Call(id="c", started_at=0.0, provider="openai", model_asked="gpt-4o", attribution=Attribution())
    assert price(own, call, MILLION, "gpt-4o-2024-08-06").source == "yours"
    assert price(own, call, MILLION).certainty == "exact"
    assert price(own, call, MILLION, "else").certainty == "estimated"


SPELLED = ["gpt-4o", "gpt-4o-latest", "GPT-4o", "gpt-4o-2029-01-01", "gpt-4o-2024", "gpt-4o-1106", "openai/gpt-4o"]
NAMES = [*SPELLED, *SNAPSHOTS]
ROWS = st.lists(
    st.tuples(st.sampled_from([*NAMES, "*", "gpt-*", "gpt-4o-*", "gpt-4o-2*", "gpt-4o-202[49]*", "gpt-4?", "GPT-4o-*"]),
              st.integers(0, 20)),
    max_size=4, unique_by=lambda row: row[0],
)  # fmt: skip


@example([("gpt-4o-2029-01-01", 6)], "gpt-4o-latest", "gpt-4o-2029-01-01", 1, 0)
@given(ROWS, st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_bound_holds_for_every_snapshot_that_may_serve(rows, asked, served, read, written):
    own = with_yours(*(yours(name, rate) for name, rate in rows))
    bare = asked.removeprefix("openai/")
    if not is_alias(bare, served) and served not in (asked, bare):
        return
    usage = Usage(read, written, requests=1, certainty="exact")
    cost = own.cost(usage, provider="openai", model=served, asked=asked)
    if cost is not None:
        assert cost.total <= own.bound(usage, "openai", asked)


def test_a_bound_counts_the_dearest_snapshot_of_a_name_without_a_date():
    none = with_yours()
    assert none.bound(MILLION, "openai", "gpt-4o") == 5 * DOLLAR
    assert none.bound(MILLION, "openai", "gpt-4o-2024-08-06") == DOLLAR * 25 // 10
    assert with_yours(yours("gpt-4o", 1)).bound(MILLION, "openai", "gpt-4o") == DOLLAR
    twins = with_yours(yours("gpt-4o", 1), yours("GPT-4o", 9))
    for asked in ("gpt-4o", "GPT-4o", "gpt-4o-latest"):
        assert twins.bound(MILLION, "openai", asked) == 9 * DOLLAR  # a server may answer in either letter case


def test_a_hard_budget_holds_whatever_snapshot_serves():
    request = Request(({"role": "user", "content": "word " * 500},), "gpt-4o", {"max_tokens": 100})
    for own in (with_yours(), with_yours(yours("gpt-4o", 1)), with_yours(yours("gpt-4o", 1), yours("gpt-4o-2024*", 9))):
        call = Call(id="c", started_at=0.0, provider="openai", model_asked="gpt-4o", attribution=Attribution())
        (hold,) = Budgets(parse_budgets([{"limit": "$1", "per": "day"}]), own).holds(call, request)
        for served in ("", "gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "gpt-4o-2029-01-01"):
            used = Usage(2_500, 100, requests=1, certainty="exact")
            assert price(own, call, used, served).total <= hold.amount


@pytest.mark.parametrize(
    ("asked", "served", "alias", "related"),
    [
        ("gpt-4o", "gpt-4o", True, True),
        ("gpt-4o", "gpt-4o-2024-08-06", True, True),
        ("GPT-4o", "gpt-4o-2024-08-06", True, True),
        ("gpt-4o-latest", "gpt-4o-2024-08-06", True, True),
        ("gpt-4o-2024-08-06", "gpt-4o", False, True),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13", False, True),
        ("claude-haiku-4-5", "us.claude-haiku-4-5", False, True),
        ("gpt-4o", "gpt-4o-mini", False, False),
        ("gpt-4", "gpt-4o", False, False),
    ],
)
def test_which_names_mean_one_model(asked, served, alias, related):
    assert is_alias(asked, served) is alias
    assert in_family(asked, served) is related
    assert family(family(served)) == family(served)


def test_a_call_without_a_model_has_a_line_that_prices_it():
    empty = PriceBook(None, [listed()])
    for provider, known in (("vllm", "vllm"), ("", "unknown")):
        line = empty.hint(provider, "")
        assert line == f'- {{model: "*", provider: {known}, input: PRICE, output: PRICE}}'
        own = with_yours(yours("*", 2, provider=known))
        assert own.cost(MILLION, provider=provider, model="").total == 2 * DOLLAR
        assert own.cost(MILLION, provider="openai", model="gpt-4o").source == "litellm"
    assert book().cost(MILLION, provider="openai", model="") is None


def test_a_price_that_lacks_a_rate_says_which():
    own = with_yours(
        {"model": "half", "input": 1}, {"model": "reads", "input": 1, "output": 0}, {"model": "fee", "per_request": 1}
    )
    assert own.hint("vllm", "half") == "add output: PRICE to half at llmops.yaml:1"
    assert own.cost(MILLION, provider="vllm", model="half").total == DOLLAR  # an embedding writes nothing
    assert own.cost(Usage(1, 1, certainty="exact"), provider="vllm", model="half") is None
    with pytest.raises(InputError, match=r"vllm/half has no price; add output: PRICE to half at llmops.yaml:1$"):
        priced_bound(own, Usage(1, 1), provider="vllm", model="half", backend="", limit="a limit")
    for whole in ("reads", "fee", "other"):
        assert own.hint("vllm", whole).startswith("- {model: ")


@pytest.mark.parametrize("server", [{"gpu_per_hour": 2, "method": "flatt"}, {"gpu_per_hour": 2, "gpu": 1}, {"gpus": 1}])
def test_a_server_that_is_none_is_told_with_its_line(server):
    with pytest.raises(InputError, match=r"llmops.yaml:7: "):
        PriceBook.load(inline={"servers": {"local": server}}, where="llmops.yaml:7")


def test_what_is_too_large_to_be_kept_is_never_exact(tmp_path):
    dear = Cost(2**48 + 1, 2**48 + 1)
    many = replace(MILLION, input_tokens=2**48 + 1)
    calls = [
        Call(id=new_id(), started_at=0.0, outcome="success", state="settled", usage=usage, cost=cost)
        for usage, cost in ((MILLION, dear), (many, Cost(5, 5)), (MILLION, Cost(2**48, 2**48)))
    ]
    with open_call_log(tmp_path / "calls.db") as log:
        for call in calls:
            log.settle(call)
    with Calls.open(tmp_path / "calls.db") as saved:
        kept = {call.id: call for call in saved.rows()}
    found = [(kept[call.id].cost.certainty, kept[call.id].usage.certainty, kept[call.id].state) for call in calls]
    assert found == [
        ("estimated", "exact", "settled"),
        ("estimated", "unknown", "unknown"),
        ("exact", "exact", "settled"),
    ]
    assert kept[calls[0].id].usage.estimated_cost


def test_one_line_prices_a_server_by_all_names_of_its_kind():
    own = with_yours(yours("m", 2, provider="openai_http"))
    for provider in ("openai_http", "openai_compatible", "openai_like", "custom_openai"):
        assert own.cost(MILLION, provider=provider, model="m").total == 2 * DOLLAR
        assert own.bound(MILLION, provider, "openai/m") == 2 * DOLLAR  # as litellm calls it
    assert own.cost(MILLION, provider="vllm", model="m") is None
