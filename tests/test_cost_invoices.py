"""Numbers, currencies and days of invoices: read where they can mean one thing, else refused with the line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.costs.invoices import Invoice, read_invoice
from llmops.errors import InputError


def read(folder: Path, text: str) -> Invoice:
    path = folder / "i.csv"
    path.write_text(text, "utf-8")
    return read_invoice(path)


def costs_of(folder: Path, separator: str, *amounts: str) -> list[Decimal | None]:
    rows = "".join(f'2026-11-24{separator}"{amount}"\n' for amount in amounts)
    return [line.cost for line in read(folder, f"date{separator}cost\n{rows}").lines]


@pytest.mark.parametrize(
    ("separator", "amounts", "expected"),
    [
        (";", ["0,00825"], ["0.00825"]),
        (";", ["1.234,50", "12,5", "3"], ["1234.50", "12.5", "3"]),
        (";", ["1,234.50", "0.5", "1,234"], ["1234.50", "0.5", "1234"]),
        (";", ["1.234", "0,5"], ["1234", "0.5"]),
        (";", ["0,825"], ["0.825"]),
        (";", ["1 234,50 $"], ["1234.50"]),
        ("\t", ["0,00825"], ["0.00825"]),
        (",", ["$1,234.50", "1,234", "1.234", "US$ 2", "2 USD", "-$3", "$-3", "8.25e-05", ".5"],
         ["1234.50", "1234", "1.234", "2", "2", "-3", "-3", "0.0000825", "0.5"]),
        (",", ["1'234.5", "1 234 567"], ["1234.5", "1234567"]),
    ],
)  # fmt: skip
def test_amounts_that_mean_one_thing(tmp_path, separator, amounts, expected):
    assert costs_of(tmp_path, separator, *amounts) == [Decimal(text) for text in expected]


@pytest.mark.parametrize(
    ("separator", "amounts", "line", "said"),
    [
        (",", ["1", "0,00825"], 3, "isn't an amount of dollars; commas may only part thousands"),
        (",", ["1.234,50"], 2, "isn't an amount"),
        (",", ["1,23"], 2, "isn't an amount"),
        (",", ["12,34,567"], 2, "isn't an amount"),
        (",", ["1.2.3"], 2, "isn't an amount"),
        (";", ["0,5", "1", "0.5"], 4, "can't both be numbers of one file"),
        (";", ["1,234.5", "1.234,5"], 3, "can't both"),
        (";", ["1.234"], 2, "may be thousands or decimals"),
        (";", ["7", "12,345"], 3, "may be thousands or decimals"),
        (",", ["--1"], 2, "isn't an amount"),
        (",", ["nan"], 2, "isn't an amount"),
        (",", ["1e99"], 2, "isn't an amount"),
    ],
)
def test_amounts_that_may_mean_two_things_are_refused(tmp_path, separator, amounts, line, said):
    with pytest.raises(InputError) as caught:
        costs_of(tmp_path, separator, *amounts)
    assert str(caught.value).startswith(f"{tmp_path / 'i.csv'}:{line}: ")
    assert said in str(caught.value)


def test_a_decimal_comma_outside_of_quotes_is_no_second_cell(tmp_path):
    with pytest.raises(InputError, match=r"i.csv:2: has more cells .* in quotes"):
        read(tmp_path, "date,model,cost\n2026-11-24,big,0,00825\n")
    assert len(read(tmp_path, "date,model,cost\n2026-11-24,big,0.5,,\n").lines) == 1


@pytest.mark.parametrize("amount", ["€0.005", "0.005 €", "£1", "¥100", "EUR 1", "1 EUR", "1.5 chf", "CA$2", "R$ 2"])
def test_another_currency_in_a_cell_is_refused(tmp_path, amount):
    with pytest.raises(InputError, match=r"i.csv:2: the currency is .*, not USD"):
        costs_of(tmp_path, ",", amount)


@pytest.mark.parametrize(
    "text",
    [
        "date,Cost (€)\n2026-11-24,1\n",
        "date,cost,Currency Code\n2026-11-24,1,EUR\n",
        "date,cost,currency\n2026-11-24,1,€\n",
    ],
)
def test_another_currency_elsewhere_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="not USD"):
        read(tmp_path, text)
    path = tmp_path / "named.csv"
    path.write_text("date,Cost EUR\n2026-11-24,1\n", "utf-8")
    with pytest.raises(InputError, match="the currency is 'EUR'"):
        read_invoice(path, {"cost": "Cost EUR"})


def test_token_counts(tmp_path):
    def tokens(separator: str, *counts: str) -> list[int | None]:
        rows = "".join(f'2026-11-24{separator}"{count}"\n' for count in counts)
        return [line.output_tokens for line in read(tmp_path, f"date{separator}output_tokens\n{rows}").lines]

    assert tokens(",", "1,234", "1234.0", "1_000", "1E+06") == [1234, 1234, 1000, 1_000_000]
    assert tokens(";", "1.234", "12.000.000") == [1234, 12_000_000]
    for wrong in ("1.234", "1,23", "12.5", "$3"):
        with pytest.raises(InputError, match="isn't a whole number of tokens"):
            tokens(",", wrong)
    with pytest.raises(InputError, match="may be thousands or decimals"):
        tokens(";", "1.000")


def test_rows_without_an_amount_are_counted(tmp_path):
    made = read(tmp_path, "date,cost\n2026-11-24,1\n2026-11-25,\n\n,\nTotal,,\n,5\n".replace("Total,,\n", ""))
    assert (len(made.lines), made.skipped) == (1, 2), "one has no amount and one no date; blank ones aren't rows"


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "1970-01-01"])
def test_days_out_of_this_world_are_told_with_their_line(tmp_path, day):
    with pytest.raises(InputError, match=rf"i.csv:2: '{day}' is no day"):
        read(tmp_path, f"date,cost\n{day},1\n")


def test_files_that_cannot_be_read_are_told_in_words(tmp_path):
    with pytest.raises(InputError) as caught:
        read_invoice(tmp_path / "none.csv")
    assert str(caught.value).endswith("none.csv: can't be read: no such file or directory")
    (tmp_path / "latin.csv").write_bytes(b"date,cost\n2026-11-24,1 \xa4\n")
    with pytest.raises(InputError, match="isn't text in UTF-8; save it"):
        read_invoice(tmp_path / "latin.csv")


@given(st.decimals(min_value=0, max_value=10**6, places=5, allow_nan=False))
def test_either_way_of_writing_reads_the_same(tmp_path_factory, amount):
    folder = tmp_path_factory.getbasetemp()
    english = f"{amount:,.5f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert costs_of(folder, ",", english) == costs_of(folder, ";", german) == [amount]


@given(st.sampled_from([",", ";", "\t"]), st.text("0123456789.,-+ $€eE'", max_size=12))
def test_any_amount_is_read_or_refused(tmp_path_factory, separator, amount):
    folder = tmp_path_factory.getbasetemp()
    try:
        found = costs_of(folder, separator, amount)
    except InputError:
        return
    assert len(found) <= 1 and all(value is not None and value.is_finite() for value in found)
