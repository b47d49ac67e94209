"""Amounts and counts as people and spreadsheets write them, read only where they can mean one thing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, NamedTuple

from llmops.errors import InputError

Mark = Literal[".", ","]
_CODES = frozenset({
    "AED", "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS",
    "INR", "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RMB", "RUB", "SAR", "SEK", "SGD",
    "THB", "TRY", "TWD", "UAH", "VND", "ZAR",
})  # fmt: skip
_DOLLARS = ("", "$", "USD", "US$", "US DOLLAR", "US DOLLARS")
_NUMBER = re.compile(r"(?P<sign>[-+]?)(?P<before>[^\d.,+-]*)(?P<inner>[-+]?)(?P<body>[.,]?\d.*?)(?P<after>[^\d.,]*)")
_BLANKS = re.compile(r"[\s\u00a0\u202f]+")
_MOST = {False: Decimal(10) ** 12, True: Decimal(10) ** 18}


def _pattern(decimal: str, groups: str) -> re.Pattern[str]:
    thousands = rf"[1-9]\d{{0,2}}(?:(?P<group>[ '’_{groups}])\d{{3}})(?:(?P=group)\d{{3}})*"
    return re.compile(rf"(?=.?\d)(?:{thousands}|\d*)(?:[{decimal}](?P<rest>\d*))?(?:[eE][-+]?\d{{1,3}})?")


_STYLES: dict[Mark, re.Pattern[str]] = {".": _pattern(".", ","), ",": _pattern(",", ".")}
_DROPPED: dict[Mark, re.Pattern[str]] = {".": re.compile(r"[ '’_,]"), ",": re.compile(r"[ '’_.]")}


class Number(NamedTuple):
    """A cell that holds a number, `file:line` of it, and whether it counts tokens."""

    text: str
    where: str
    whole: bool


def number_of(number: Number, mark: Mark) -> Decimal | None:
    """What a cell says when `mark` is before decimals; None for an empty one. Raises `InputError`."""
    body = _body(number)
    if body is None:
        return None
    value = _value(body, mark, number.whole)
    if value is None:
        raise _unreadable(number, mark)
    return value


def decimal_mark(numbers: Iterable[Number], separator: str) -> Mark:
    """What a file puts before decimals: a comma only where cells aren't separated by one, and no number has a point.

    Raises `InputError` with the line for numbers that may mean two things, or that have both.
    """
    if separator == ",":
        return "."
    shown: dict[Mark, Number] = {}
    unsure: Number | None = None
    for number in numbers:
        body = _body(number)
        if body is None:
            continue
        point, comma = _value(body, ".", number.whole), _value(body, ",", number.whole)
        if point is None and comma is None:
            raise _unreadable(number, ".")
        if point is None or comma is None:
            shown.setdefault("," if point is None else ".", number)
        elif point != comma:
            unsure = unsure or number
        if len(shown) == 2:
            other = shown["," if point is not None else "."]
            message = f"{number.text[:40]!r} and {other.text[:40]!r} can't both be numbers of one file"
            raise InputError(message, where=number.where, hint="write decimals with a point in all of them")
    if unsure is not None and not shown:
        message = f"{unsure.text[:40]!r} may be thousands or decimals"
        raise InputError(message, where=unsure.where, hint="write 1234 for thousands, 1.2340 for decimals")
    return next(iter(shown), ".")


def other_currency(text: str) -> str:
    """The first sign or code of a currency that isn't the US dollar, or empty."""
    for sign in text:
        if unicodedata.category(sign) == "Sc" and sign not in "$＄﹩":
            return sign
    return next((word for word in re.split(r"[^A-Za-z]+", text) if word.upper() in _CODES), "")


def is_dollars(text: str) -> bool:
    """True for what may stand for the US dollar, nothing included."""
    return _BLANKS.sub(" ", text).strip().upper() in _DOLLARS


def foreign(currency: str, where: str) -> InputError:
    """The error for another currency."""
    return InputError(f"the currency is {currency[:12]!r}, not USD", where=where, hint="convert it first")


def _body(number: Number) -> str | None:
    """A cell's digits and marks, with its sign; None when it is empty."""
    text = _BLANKS.sub(" ", number.text.replace("\u2212", "-")).strip()
    if not text:
        return None
    found = _NUMBER.fullmatch(text)
    around = [] if found is None else [found["before"].strip(), found["after"].strip()]
    if found is None or not all(map(is_dollars, around)) or (found["sign"] and found["inner"]):
        currency = other_currency(text) or next((word for word in around if not is_dollars(word)), "")
        if currency and not number.whole and (found is not None or other_currency(text)):
            raise foreign(currency, number.where)
        raise _unreadable(number, ".")
    if number.whole and any(around):
        raise _unreadable(number, ".")
    return found["sign"] + found["inner"] + found["body"].strip()


def _value(body: str, mark: Mark, whole: bool) -> Decimal | None:
    sign, digits = (body[0], body[1:]) if body[0] in "-+" else ("", body)
    if _STYLES[mark].fullmatch(digits) is None:
        return None
    value = Decimal(sign + _DROPPED[mark].sub("", digits).replace(",", "."))
    if abs(value) > _MOST[whole] or (whole and value != value.to_integral_value()):
        return None
    return value


def _unreadable(number: Number, mark: Mark) -> InputError:
    what = "a whole number of tokens" if number.whole else "an amount of dollars"
    hint = ""
    if "," in number.text and mark == ".":
        hint = "commas may only part thousands here: write 1,234.50"
    return InputError(f"{number.text[:40]!r} isn't {what}", where=number.where, hint=hint)
