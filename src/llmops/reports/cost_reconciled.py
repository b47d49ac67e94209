"""What a comparison with an invoice shows: rows by day and model, differences, and what may explain them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from llmops.reports.cost_lines import CostLine, together
from llmops.reports.cost_words import in_column, money
from llmops.reports.figures import MISSING, plural
from llmops.usage.money import decimal_dollars


@dataclass(frozen=True, slots=True)
class ReconciledLine:
    """A day and model on both sides; nano-dollars and tokens, None where a side says nothing."""

    day: str
    model: str
    ours: int | None
    theirs: int | None
    our_tokens: int | None
    their_tokens: int | None
    line: CostLine | None
    on_invoice: bool

    @property
    def difference(self) -> int:
        """Ours less theirs, in nano-dollars: below 0 when the invoice asks for more."""
        return (self.ours or 0) - (self.theirs or 0)

    @property
    def only(self) -> str:
        """`ours` or `theirs` when one side alone has the row, else empty."""
        return "theirs" if self.line is None else "" if self.on_invoice else "ours"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Our figures beside an invoice's. `in_dollars` is false for a file that has only tokens.

    `skipped` rows of the file have no date or no amount.
    """

    file: str
    first: str
    last: str
    in_dollars: bool
    lines: tuple[ReconciledLine, ...]
    skipped: int = 0

    @property
    def ours(self) -> int:
        return sum(self._side(line, "ours") or 0 for line in self.lines)

    @property
    def theirs(self) -> int:
        return sum(self._side(line, "theirs") or 0 for line in self.lines)

    @property
    def difference(self) -> int:
        return self.ours - self.theirs

    @property
    def share(self) -> float | None:
        """The difference as a share of the invoice; None for an invoice of nothing when we have something."""
        return self.difference / self.theirs if self.theirs else None if self.difference else 0.0

    def _side(self, line: ReconciledLine, side: str) -> int | None:
        if self.in_dollars:
            return line.ours if side == "ours" else line.theirs
        return line.our_tokens if side == "ours" else line.their_tokens

    def amount(self, value: int | None, top: int = 0) -> str:
        """Dollars, with the digits of a column whose largest amount is `top`; tokens where the file has no cost."""
        if value is None or self.in_dollars:
            return in_column(value, top)
        return f"{value:,}"

    def explanations(self) -> Iterator[str]:
        """What may explain a difference, from what the log knows to be uncertain or one-sided."""
        total = together(line.line for line in self.lines if line.line is not None)
        if total.unpriced and self.in_dollars:
            yield f"{plural(total.unpriced, 'request')} of ours without a price: ours is too low"
        if total.unknown:
            yield f"{plural(total.unknown, 'request')} with tokens that nobody could count: ours may be too low"
        if total.pending:
            yield f"{plural(total.pending, 'request')} still pending: they may be billed"
        if total.estimated and self.in_dollars:
            yield f"{money(total.estimated)} of ours is estimated"
        for side, means in (
            ("theirs", "calls that weren't logged, or another name"),
            ("ours", "another account, or not billed yet"),
        ):
            lines = [line for line in self.lines if line.only == side]
            if lines:
                amount = self.amount(sum(self._side(line, side) or 0 for line in lines))
                yield f"{plural(len(lines), 'row')} only on {'the invoice' if side == 'theirs' else 'our side'}" + (
                    f", {amount}{'' if self.in_dollars else ' tokens'}: {means}"
                )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows for a terminal or page."""
        sides = [abs(value) for line in self.lines for value in self._sides(line) if value is not None]
        top = max(sides, default=0)
        return ["day", "model", "ours", "theirs", "difference", "%", ""], [self._row(line, top) for line in self.lines]

    def _row(self, line: ReconciledLine, top: int) -> list[str]:
        ours, theirs = self._sides(line)
        unpriced = line.line.unpriced if line.line is not None and self.in_dollars else 0
        notes = [f"only {line.only}" if line.only else "", f"{unpriced:,} unpriced" if unpriced else ""]
        gap = (ours or 0) - (theirs or 0)
        known = ours is not None or theirs is not None
        return [
            line.day,
            line.model or "(all)",
            self.amount(ours, top),
            self.amount(theirs, top),
            self.signed(gap, top) if known else MISSING,
            percent(gap, theirs),
            ", ".join(note for note in notes if note),
        ]

    def _sides(self, line: ReconciledLine) -> tuple[int | None, int | None]:
        return self._side(line, "ours"), self._side(line, "theirs")

    def signed(self, gap: int, top: int = 0) -> str:
        """A difference with its sign."""
        return f"{'+' if gap > 0 else '−' if gap < 0 else '±'}{self.amount(abs(gap), top)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, money as `Decimal` dollars."""
        return {
            "file": self.file,
            "first": self.first,
            "last": self.last,
            "unit": "usd" if self.in_dollars else "tokens",
            "ours": self._value(self.ours),
            "theirs": self._value(self.theirs),
            "difference": self._value(self.difference),
            "share": self.share,
            "skipped": self.skipped,
            "explanations": list(self.explanations()),
            "lines": [
                {
                    "day": line.day, "model": line.model, "only": line.only,
                    "ours": self._value(self._side(line, "ours")), "theirs": self._value(self._side(line, "theirs")),
                    "unpriced": line.line.unpriced if line.line else 0,
                }
                for line in self.lines
            ],
        }  # fmt: skip

    def _value(self, value: int | None) -> Decimal | int | None:
        return decimal_dollars(value) if self.in_dollars and value is not None else value


def percent(gap: int, of: int | None) -> str:
    """A difference in per cent of the invoice's figure: two digits, `0.0%` only when it is nothing."""
    if not of:
        return MISSING
    value = 100 * gap / of
    text = f"{abs(value):.1f}" if abs(value) >= 0.1 or not gap else f"{abs(value):.2g}"
    return f"{'+' if gap > 0 else '−' if gap < 0 else '±'}{text}%"
