"""What a layer of prices answers with: an entry, the times it holds at, and how sure it is of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol

from llmops.types import Cost
from llmops.usage.rates import STANDARD, Card, Charge, Rates

DAY = 86_400
HOUR = 3_600
MINUTE = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """One price in force: whose it is, of which model, since when, and its rates.

    `source` is `yours`, `genai-prices`, `litellm` or `server:NAME`. `exact` is False when the entry is of another
    snapshot of the model's family, or an estimate in itself. `valid_from` and `valid_until` are ISO dates or empty.
    `where` is the file and line of an entry of your own.
    """

    source: str
    provider: str
    model: str
    card: Card
    exact: bool = True
    valid_from: str = ""
    valid_until: str = ""
    where: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """What names this entry in a call's row: `openai/gpt-4o`, with the day it starts at where it has one."""
        name = f"{self.provider}/{self.model}" if self.provider else self.model
        return f"{name}@{self.valid_from}" if self.valid_from else name

    @property
    def rates(self) -> Rates:
        """Rates of a short request at the standard service tier."""
        return self.card.base

    def cost(self, charged: Charge, revision: str, *, exact: bool) -> Cost:
        """A charge at this entry's rates as a cost; `exact` when nothing else about the call was assumed."""
        plain, read, write, output, reasoning, fees = charged.parts
        return Cost(
            charged.total,
            plain,
            read,
            write,
            output,
            reasoning,
            fees,
            "exact" if exact and self.exact and not charged.assumed else "estimated",
            self.source,
            self.label,
            revision,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`: dollars per million tokens as numbers."""
        base = self.card.base
        steps = self.card.services[STANDARD][::-1]
        tiers = [
            {"above": step.above, **_numbers(step.rates)}
            for below, step in pairwise(steps)
            if step.rates.given() != below.rates.given()  # else only another list has a step here
        ]
        services = {name: _numbers(steps[-1].rates) for name, steps in self.card.services.items() if name != STANDARD}
        known = {"valid_from": self.valid_from, "valid_until": self.valid_until, "where": self.where, "note": self.note}
        return {
            "source": self.source,
            "provider": self.provider,
            "model": self.model,
            **_numbers(base),
            **({"tiers": tiers} if tiers else {}),
            **({"service_tiers": services} if services else {}),
            **{name: value for name, value in known.items() if value},
        }


def _numbers(rates: Rates) -> dict[str, float]:
    return {name: float(rate) for name, rate in rates.given().items()}


def plain(rate: Decimal) -> str:
    """A rate as people write it: no exponent, no idle zeros."""
    text = format(rate, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Match(Protocol):
    """A model that a layer has prices of. `slot` is how long one answer of `at` holds, in seconds: 0 is for ever."""

    @property
    def slot(self) -> int: ...

    @property
    def sure(self) -> bool: ...

    def at(self, moment: float) -> Entry | None:
        """The entry in force at a Unix time."""
        ...


class Layer(Protocol):
    """A source of prices. `revision` changes with its content."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str: ...

    def match(self, provider: str, model: str, is_written: Callable[[str], bool]) -> Match | None:
        """The prices of a model, not anybody else's.

        `is_written` tells whether any list spells out a model's name: a pattern that fits another name is unsure.
        """
        ...

    def writes(self, model: str) -> bool:
        """True when the list spells out this very model, whoever sells it."""
        ...

    def served(self, provider: str, model: str) -> Iterator[str]:
        """Names of snapshots that a server may answer with when it is asked for `model`."""
        ...

    def entries(self, moment: float) -> Iterator[Entry]:
        """Every price in force at a Unix time."""
        ...


def day_start(day: str) -> float:
    """The Unix time that a day (`2026-01-31`) begins at in UTC. Raises `ValueError`."""
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp()
