"""The FOCUS 1.2 export: its columns, what may be null, its sums, and what it leaves out.

Rules are those of the specification's column definitions for rows whose ChargeCategory is Usage.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_samples import CENT, a_day, call, fill
from llmops import costs
from llmops.errors import InputError
from llmops.reports.cost_focus import COLUMNS, MANDATORY, NULLABLE, FocusAccount, focus_rows
from llmops.types import Cost, Usage

ALLOWED = {
    "ChargeCategory": {"Usage"},
    "ChargeClass": {""},
    "ChargeFrequency": {"Usage-Based"},
    "PricingCategory": {"Standard"},
    "ServiceCategory": {"AI and Machine Learning"},
    "ServiceSubcategory": {"Generative AI"},
    "BillingCurrency": {"USD"},
    "x_PriceStatus": {"exact", "estimated"},
}
MONEY = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
_TIMES = ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd")


@dataclass
class Totals:
    """What the export reads of the store's totals."""

    key: dict[str, Any]
    requests: int = 1
    unsent: int = 0
    pending: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_input: int = 0
    cost_cache_read: int = 0
    cost_cache_write: int = 0
    cost_output: int = 0
    cost_reasoning: int = 0
    cost_fees: int = 0


def a_key(**more: str) -> dict[str, str]:
    key = {"day": "2026-11-24", "provider": "openai", "model": "gpt-4o", "certainty": "exact", "source": "yours"}
    priced = {"service_tier": "", "price": "openai/gpt-4o@2026-01-01", "revision": "abcdef123456"}
    return {**key, **priced, "team": "search", "feature": "answers", **more}


def check(rows: list[dict[str, str]]) -> None:
    """Raises unless every row keeps the rules."""
    for row in rows:
        assert list(row) == list(COLUMNS)
        assert set(MANDATORY) <= set(row)
        for name, value in row.items():
            assert value != "" or name in NULLABLE, name
            if COLUMNS[name] is Decimal:
                assert Decimal(value).is_finite() and "E" not in value.upper(), (name, value)
            if name in ALLOWED:
                assert value in ALLOWED[name], (name, value)
        start, end, month, following = (datetime.strptime(row[name], "%Y-%m-%dT%H:%M:%SZ") for name in _TIMES)
        assert month <= start < end <= following
        assert (month.day, month.hour, following.day, following.hour) == (1, 0, 1, 0)
        assert row["ConsumedUnit"] == row["PricingUnit"] in ("Tokens", "Requests")
        assert Decimal(row["ConsumedQuantity"]) == Decimal(row["PricingQuantity"]) >= 0
        assert row["SkuPriceId"].startswith(row["SkuId"])
        assert row["Tags"] == "" or isinstance(json.loads(row["Tags"]), dict)


def read(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_file_keeps_the_rules_and_adds_up_to_the_log(tmp_path):
    store = fill(tmp_path / "calls.db", a_day())
    done = costs.export("focus", tmp_path / "focus.csv", store=store)
    rows = read(tmp_path / "focus.csv")
    check(rows)
    assert done.rows == len(rows) and done.unpriced == 1
    assert sum(Decimal(row["EffectiveCost"]) for row in rows) == Decimal("0.16")
    assert {row["x_PriceStatus"] for row in rows} == {"exact", "estimated"}
    assert sum(int(row["x_Requests"]) for row in rows) == 11
    assert not any("my-slm" in row["SkuId"] for row in rows), "what has no price is left out, not free"


def test_rows_are_told_apart_by_day_model_class_team_and_tags(tmp_path):
    store = fill(tmp_path / "calls.db", a_day())
    costs.export("focus", tmp_path / "focus.csv", store=store, by=["purpose"])
    rows = read(tmp_path / "focus.csv")
    identity = [
        (row["ChargePeriodStart"], row["SkuId"], row["SubAccountId"], row["Tags"], row["x_PriceStatus"]) for row in rows
    ]
    assert len(set(identity)) == len(identity)
    found = next(row for row in rows if row["SkuId"] == "openai/small/cache_read" and row["SubAccountId"] == "search")
    assert found["ConsumedQuantity"] == "3200"
    assert found["EffectiveCost"] == "0.008"
    assert json.loads(found["Tags"]) == {"purpose": "app"}
    assert (found["ChargePeriodStart"], found["ChargePeriodEnd"]) == ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")


def test_hours_and_the_end_of_a_year():
    rows = list(focus_rows([Totals(a_key(hour="2026-12-31T23"), input_tokens=5)], FocusAccount(), (), "hour"))
    assert rows[0]["ChargePeriodStart"] == "2026-12-31T23:00:00Z"
    assert rows[0]["ChargePeriodEnd"] == rows[0]["BillingPeriodEnd"] == "2027-01-01T00:00:00Z"


def test_a_server_of_ones_own_is_an_effective_cost_and_no_bill():
    totals = Totals(a_key(provider="vllm", source="server:local"), input_tokens=1000, cost_input=CENT)
    [row] = focus_rows([totals], FocusAccount(organisation="Example Corp"), (), "day")
    assert (row["BilledCost"], row["EffectiveCost"]) == (0, Decimal("0.01"))
    assert row["ProviderName"] == row["InvoiceIssuerName"] == "Example Corp"
    assert row["x_CostBasis"] == "gpu time"


def test_a_price_is_one_id_over_time_and_says_beside_it_since_when_it_holds():
    """SkuPriceId leaves effective dates out, and tiers in; what it was priced with stands in columns of our own."""
    old, new = (Totals(a_key(price=f"openai/gpt-4o@{day}"), input_tokens=5) for day in ("2025-01-01", "2026-01-01"))
    flex = Totals(a_key(service_tier="flex", price="openai/gpt-4o"), input_tokens=5)
    same = Totals(a_key(service_tier="default", price="", revision=""), input_tokens=5)
    rows = list(focus_rows([old, new, flex, same], FocusAccount(), (), "day"))
    sku = "openai/gpt-4o/input"
    assert [row["SkuPriceId"] for row in rows] == [sku, sku, f"{sku}/flex", sku]
    assert {row["SkuId"] for row in rows} == {sku}, "a price belongs to one SKU"
    starts = ["2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", None, None]
    assert [row["x_PriceValidFrom"] for row in rows] == starts
    assert [row["x_PriceId"] for row in rows] == [
        "openai/gpt-4o@2025-01-01",
        "openai/gpt-4o@2026-01-01",
        "openai/gpt-4o",
        None,
    ]
    assert [row["x_PriceRevision"] for row in rows] == ["abcdef123456"] * 3 + [None]


@pytest.mark.parametrize("price", ["m@", "@", "m@2026-02-30", "m@20240620", "m@v2", "a@2026-01-01/b"])
def test_what_is_no_date_in_a_prices_name_is_none(price):
    [row] = focus_rows([Totals(a_key(price=price), input_tokens=5)], FocusAccount(), (), "day")
    assert row["x_PriceValidFrom"] is None and row["x_PriceId"] == price


def test_prices_of_one_day_are_told_apart_in_a_file(tmp_path):
    calls = [
        replace(call(n), cost=replace(call(n).cost, price=f"openai/small@{day}"))
        for n, day in enumerate(("2025-01-01", "2026-11-24"))
    ]
    costs.export("focus", tmp_path / "f.csv", store=fill(tmp_path / "calls.db", calls))
    rows = read(tmp_path / "f.csv")
    check(rows)
    found = {(row["SkuPriceId"], row["x_PriceValidFrom"]) for row in rows if row["SkuMeter"] == "Input Tokens"}
    assert found == {("openai/small/input", f"{day}T00:00:00Z") for day in ("2025-01-01", "2026-11-24")}
    assert sum(Decimal(row["EffectiveCost"]) for row in rows) == Decimal("0.02")


def test_the_smallest_amounts_are_not_rounded_away(tmp_path):
    tiny = replace(call(1), usage=Usage(1, 0, requests=1, certainty="exact"), cost=Cost(75, 75, source="yours"))
    store = fill(tmp_path / "calls.db", [tiny])
    costs.export("focus", tmp_path / "focus.csv", store=store)
    assert [row["BilledCost"] for row in read(tmp_path / "focus.csv")] == ["0.000000075"]


def test_parquet_has_the_same_rows_with_decimals(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    store = fill(tmp_path / "calls.db", a_day())
    costs.export("focus", tmp_path / "focus.csv", store=store)
    costs.export("focus", tmp_path / "focus.parquet", store=store)
    table = parquet.read_table(tmp_path / "focus.parquet")
    assert table.column_names == list(COLUMNS)
    assert sum(table["EffectiveCost"].to_pylist()) == Decimal("0.16")
    assert table.num_rows == len(read(tmp_path / "focus.csv"))


def test_unknown_units_and_sub_accounts_are_told(tmp_path):
    store = fill(tmp_path / "calls.db", a_day())
    with pytest.raises(InputError, match="hour or day"):
        costs.export("focus", tmp_path / "f.csv", store=store, unit="week")
    with pytest.raises(InputError, match="did you mean 'team'"):
        costs.export("focus", tmp_path / "f.csv", store=store, account=FocusAccount(sub_account="taem"))
    assert not (tmp_path / "f.csv").exists()


def test_until_keeps_later_days_out(tmp_path):
    store = fill(tmp_path / "calls.db", a_day())
    costs.export("focus", tmp_path / "f.csv", until="2026-11-23", store=store)
    assert {row["ChargePeriodStart"] for row in read(tmp_path / "f.csv")} == {"2026-11-23T00:00:00Z"}


amounts = st.integers(0, 10**15)


@given(
    amounts, amounts, amounts, amounts, amounts,
    st.lists(amounts, min_size=6, max_size=6),
    st.sampled_from(["exact", "estimated", ""]),
    st.text(max_size=20), st.text(max_size=20),
)  # fmt: skip
def test_any_totals_keep_tokens_and_dollars(read_, write, plain, output, reasoning, parts, certainty, model, team):
    names = ("input", "cache_read", "cache_write", "output", "reasoning", "fees")
    totals = Totals(
        a_key(certainty=certainty, model=model, team=team),
        input_tokens=plain + read_ + write,
        cache_read_tokens=read_,
        cache_write_tokens=write,
        output_tokens=output + reasoning,
        reasoning_tokens=reasoning,
        **{f"cost_{name}": amount for name, amount in zip(names, parts, strict=True)},
    )
    rows = list(focus_rows([totals], FocusAccount(), ("feature",), "day"))
    if not certainty:
        assert rows == []
        return
    for row in rows:
        assert set(row) == set(COLUMNS)
        assert all(row[name] is not None for name in COLUMNS if name not in NULLABLE)
    assert sum(row["EffectiveCost"] for row in rows) == Decimal(sum(parts)).scaleb(-9)
    tokens = sum(row["ConsumedQuantity"] for row in rows if row["ConsumedUnit"] == "Tokens")
    assert tokens == totals.input_tokens + totals.output_tokens


def test_every_mandatory_column_is_there():
    assert set(MANDATORY) < set(COLUMNS)
    assert len(MANDATORY) == 21
