"""What calls cost, as values: the lines of a report, and the report they make up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from llmops.usage.conditions import Condition

TOKEN_CLASSES = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
PARTS = ("input", "cache_read", "cache_write", "output", "reasoning", "fees")
TIMES = ("hour", "day", "month")


@dataclass(frozen=True, slots=True)
class CostLine:
    """Requests that share the values in `key`, and what they cost. Money is in nano-dollars (10⁻⁹ $).

    `requests` counts everything begun; of these, `unsent` never reached the server and `pending` have no answer yet.
    `unpriced` requests have no cost: they are in no sum. `unknown` ones have tokens that nobody could count; those of
    the unpriced that lack a cost for this alone are `uncounted`.
    `judges` and `guards` are their shares of the cost. `parts` splits the cost by class of token.
    """

    key: tuple[str, ...] = ()
    requests: int = 0
    unsent: int = 0
    pending: int = 0
    errors: int = 0
    unpriced: int = 0
    unknown: int = 0
    uncounted: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    exact: int = 0
    estimated: int = 0
    judges: int = 0
    guards: int = 0
    duration_s: float = 0.0
    first_token_s: float = 0.0
    first_tokens: int = 0
    parts: tuple[int, ...] = (0,) * len(PARTS)

    @property
    def priced(self) -> int:
        """Requests whose cost is known: all that were sent and ended, but the unpriced ones."""
        return max(self.requests - self.unsent - self.pending - self.unpriced, 0)

    @property
    def no_price(self) -> int:
        """Requests with known tokens and no price."""
        return max(self.unpriced - self.uncounted, 0)

    @property
    def cost(self) -> int | None:
        """Nano-dollars of the requests that have a price; None when none has. A part of the truth if any lacks one.

        A zero stands only where nothing lacks a price: else it would be read as free.
        """
        known = self.exact + self.estimated
        lacking = self.unpriced or (self.pending and self.pending == self.requests)
        return None if lacking and not known else known

    @property
    def per_request(self) -> int | None:
        """Nano-dollars of one request, on average over those whose cost is known."""
        return self._average(1)

    @property
    def per_thousand(self) -> int | None:
        """Nano-dollars of 1,000 requests."""
        return self._average(1000)

    @property
    def checking(self) -> int:
        """Nano-dollars that went into judging and guarding answers, not into answers."""
        return self.judges + self.guards

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def first_token_mean_s(self) -> float | None:
        """Mean seconds to the first token, where it was measured."""
        return self.first_token_s / self.first_tokens if self.first_tokens else None

    def _average(self, times: int) -> int | None:
        return None if self.cost is None or not self.priced else round(times * self.cost / self.priced)

    def plus(self, other: CostLine) -> CostLine:
        """Both together, under this one's key."""
        sums: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _SUMMED}
        parts = tuple(a + b for a, b in zip(self.parts, other.parts, strict=True))
        return CostLine(key=self.key, parts=parts, **sums)


_SUMMED = tuple(f.name for f in fields(CostLine) if f.name not in ("key", "parts"))


def together(lines: Iterable[CostLine], key: tuple[str, ...] = ()) -> CostLine:
    """The sum of lines."""
    whole = CostLine(key)
    for line in lines:
        whole = whole.plus(line)
    return whole


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """Requests of a model that has no price, and the line that gives it one."""

    provider: str
    model: str
    requests: int
    tokens: int
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Requests that a report by user lacks, and their nano-dollars: they were pruned, and with them whose they were."""

    requests: int = 0
    cost: int = 0


NOTHING_PRUNED = Pruned()


@dataclass(frozen=True, slots=True)
class AcceptedAnswers:
    """Answers of a variant that met a rule. `cost` is what its answers cost, `checking` what judging them did.

    `reused` of the accepted answers came from a cache or an earlier run: they weren't paid for in this one, so variants
    are compared by `each_sent`.
    """

    variant: str
    rule: str
    accepted: int
    answers: int
    cost: int | None
    checking: int = 0
    unpriced: int = 0
    reused: int = 0

    @property
    def each(self) -> int | None:
        """Nano-dollars per accepted answer; None without a cost or an accepted answer."""
        return round(self.cost / self.accepted) if self.cost is not None and self.accepted else None

    @property
    def each_sent(self) -> int | None:
        """Nano-dollars per accepted answer that this run paid for, without those that were `reused`; None without one.

        The answers that were reused and not accepted cost nothing either: they change neither side.
        """
        sent = self.accepted - self.reused
        return round(self.cost / sent) if self.cost is not None and sent > 0 else None

    @property
    def each_with_checking(self) -> int | None:
        """The same with what judges and guards cost."""
        whole = None if self.cost is None else self.cost + self.checking
        return round(whole / self.accepted) if whole is not None and self.accepted else None


@dataclass(frozen=True, slots=True)
class CostSeries:
    """Cost over time for a plot: a name and nano-dollars for each of `CostReport.times`.

    `unpriced` requests are in none of them. `rest` marks what is left of the smaller ones.
    """

    name: str
    costs: tuple[int, ...]
    unpriced: int = 0
    rest: bool = False


@dataclass(frozen=True, slots=True)
class CostReport:
    """What calls cost: `lines` by the values of `by`, their `total`, and the same by purpose.

    `since` and `until` are Unix times in seconds, None where the log's own ends hold. `times` are the hours, days or
    months (UTC) that `series` have a value for; there is one for each of the dearest values of the field `series_by`.
    `pruned` are requests that lines by user lack.
    `print(report)` and `report.render("html")` show it.
    """

    by: tuple[str, ...]
    lines: tuple[CostLine, ...]
    total: CostLine
    purposes: tuple[CostLine, ...] = ()
    since: float | None = None
    until: float | None = None
    where: Mapping[str, Condition] = field(default_factory=dict)
    unpriced: tuple[UnpricedModel, ...] = ()
    accepted: tuple[AcceptedAnswers, ...] = ()
    times: tuple[str, ...] = ()
    series: tuple[CostSeries, ...] = ()
    series_by: str = ""
    made_at: float = 0.0
    pruned: Pruned = NOTHING_PRUNED

    def render(self, report: str = "terminal") -> str:
        """The report as `terminal`, `markdown`, `html`, `json` or `csv` text."""
        from llmops.reports.cost_rendering import render_cost

        parts: list[str] = []
        render_cost(report, self, parts.append)
        return "".join(parts)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat mapping a line: what it is by, counts, tokens, and dollars (None without a price)."""
        from llmops.reports.cost_rows import cost_rows

        return list(cost_rows(self))

    def __str__(self) -> str:
        return self.render("terminal")

    def _repr_html_(self) -> str:
        from html import escape

        style = "width:100%;height:640px;border:1px solid #8884;border-radius:6px"
        return f'<iframe sandbox style="{style}" srcdoc="{escape(self.render("html"), quote=True)}"></iframe>'


@dataclass(frozen=True, slots=True)
class Spender:
    """One line of `llmops cost top`: its cost now, its share of the whole, and its cost in the window before."""

    line: CostLine
    before: int | None
    share: float | None

    @property
    def change(self) -> float | None:
        """Relative change against the window before; None when there is nothing to compare with."""
        if not self.before or self.line.cost is None:
            return None
        return self.line.cost / self.before - 1


Write = Callable[[str], object]
