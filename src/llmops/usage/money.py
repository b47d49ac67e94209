"""Money in whole nano-dollars (10⁻⁹ $): how it is shown, how it is read, and how parts are rounded to add up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from llmops.errors import InputError

NANOS = 1_000_000_000
NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)*)(?:\.[0-9]*)?|\.[0-9]+"  # a comma only at thousands
_AMOUNT = re.compile(rf"\$?\s*({NUMBER})\s*(?:\$|USD|usd|dollars?)?")
_NUMERIC_DIGITS = 4  # of an amount below a dollar that are shown


def dollars(nanos: int | None, places: int | None = None) -> str:
    """`$1,234.50`, `$0.0123`, `$0.000001`: cents from a dollar up, else the first four digits that matter.

    `places` fixes the digits after the point. None, which is no price, is `unpriced`: never `$0`.
    """
    if nanos is None:
        return "unpriced"
    sign, size = ("-" if nanos < 0 else ""), abs(nanos)
    if places is None:
        places = 2 if size >= NANOS else _places(size)
    unit = 10 ** (9 - places) if places < 9 else 1
    rounded = divide_half_even(size, unit) * unit
    whole, rest = divmod(rounded, NANOS)
    digits = f"{rest:09d}".ljust(places, "0")[:places]
    return f"{sign}${whole:,}" + (f".{digits}" if digits else "")


def _places(size: int) -> int:
    """Digits after the point that show four figures of an amount below a dollar, two at least, without idle zeros."""
    if not size:
        return 2
    places = min(9, 9 - len(str(size)) + _NUMERIC_DIGITS)
    rounded = divide_half_even(size, 10 ** (9 - places))
    while places > 2 and rounded % 10 == 0:
        rounded //= 10
        places -= 1
    return places


def decimal_dollars(nanos: int) -> Decimal:
    """The exact amount in dollars, for files that other programs read."""
    return Decimal(nanos).scaleb(-9)


def parse_dollars(text: object, *, where: str = "") -> int:
    """Nano-dollars of `$2.00`, `2`, `$1,000` or `0.5 USD`. Raises `InputError` for anything else, such as `$1,5`."""
    hint = "write dollars with a decimal point, such as $2.00 or $1,000.50"
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = repr(text) if not isinstance(text, float) else format(Decimal(repr(text)), "f")
    match = _AMOUNT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"{text!r} isn't an amount of dollars"[:120], where=where, hint=hint)
    try:
        nanos = Decimal(match[1].replace(",", "").replace("_", "")) * NANOS
        whole = int(nanos)
    except (InvalidOperation, ValueError, OverflowError):
        raise InputError(f"{text!r} isn't an amount of dollars"[:120], where=where, hint=hint) from None
    if whole != nanos or whole > 10**18:
        message = f"{text!r} is finer than a billionth of a dollar" if whole != nanos else f"{text!r} is too much"
        raise InputError(message[:120], where=where, hint=hint)
    return whole


def divide_half_even(amount: int, unit: int) -> int:
    """`amount / unit` to the nearest whole, halves to the even one."""
    whole, rest = divmod(amount, unit)
    twice = 2 * rest
    return whole + 1 if twice > unit or (twice == unit and whole & 1) else whole


def rounded_parts(amounts: Sequence[int], unit: int) -> tuple[int, list[int]]:
    """The total in units, rounded half-even once, and the parts rounded so that they add up to it exactly.

    Parts are cut off, and what is missing goes to those with the largest remainders (Hamilton's method), earlier
    ones first. `amounts` are not negative.
    """
    if unit == 1:
        return sum(amounts), list(amounts)
    total = divide_half_even(sum(amounts), unit)
    parts = [amount // unit for amount in amounts]
    missing = total - sum(parts)
    if missing:
        order = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] % unit), i))
        for index in order[:missing]:
            parts[index] += 1
    return total, parts
