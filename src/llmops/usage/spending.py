"""What a run spent: on answers and on judging them, by how sure its dollars are, and what a cache gave for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from llmops.types import Result, RunRecord, Usage

_NOTHING = Usage()
_DEFAULTS = {entry.name: entry.default for entry in fields(Usage)}


@dataclass(frozen=True, slots=True)
class Spending:
    """What some requests took. `paid` is of those that were sent, failed trials' included.

    Of `paid.cost`, `estimated` nano-dollars rest on estimated tokens or an estimated price. `reused` is what answers
    from a cache would have used: they cost nothing.
    """

    paid: Usage = _NOTHING
    estimated: int = 0
    reused: Usage = _NOTHING

    @classmethod
    def of(cls, usage: Usage, *, cached: bool = False) -> Spending:
        """What one request or trial took. Its whole cost is estimated when some of it is."""
        if cached:
            return cls(reused=usage)
        return cls(usage, usage.cost or 0 if usage.estimated_cost else 0)

    @property
    def usage(self) -> Usage:
        """Everything, paid for or not."""
        return self.paid + self.reused

    @property
    def exact(self) -> int:
        """Nano-dollars that the server's own count and the price of exactly this model stand for."""
        return (self.paid.cost or 0) - self.estimated

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.paid + other.paid, self.estimated + other.estimated, self.reused + other.reused)

    def __bool__(self) -> bool:
        """False when nothing was asked."""
        return self.usage != _NOTHING


@dataclass(frozen=True, slots=True)
class RunSpending:
    """What a run spent on its answers and, apart from that, on judging them.

    `judging` is None when nobody counted it: in a run that died, or of an older llmops. `partial` says that it lacks
    what was judged before the run died and was resumed.
    """

    answering: Spending = field(default_factory=Spending)
    judging: Spending | None = field(default_factory=Spending)
    partial: bool = False

    @property
    def total(self) -> Spending:
        """Both together, as far as they are known."""
        return self.answering if self.judging is None else self.answering + self.judging

    def as_data(self) -> dict[str, Any]:
        """Plain data for a run's head, without what is at its default."""
        data: dict[str, Any] = {"answering": _data(self.answering)}
        data |= {"judging": None if self.judging is None else _data(self.judging)}
        return data | ({"partial": True} if self.partial else {})

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> RunSpending:
        """What `as_data` gave."""
        judging = data.get("judging")
        return cls(
            _spending(data.get("answering") or {}),
            None if judging is None else _spending(judging),
            bool(data.get("partial")),
        )


def spent_before(record: RunRecord, results: Iterable[Result]) -> RunSpending:
    """What a run that is to be resumed has spent. One that died didn't save it: its answers say what they took."""
    saved = record.config.get("spent")
    if saved is not None:
        return RunSpending.from_data(saved)
    outputs = (result.output for result in results)
    answering = sum((Spending.of(output.usage, cached=output.cached) for output in outputs), Spending())
    return RunSpending(answering, None)


def _data(spending: Spending) -> dict[str, Any]:
    data: dict[str, Any] = {name: _usage_data(getattr(spending, name)) for name in ("paid", "reused")}
    data = {name: usage for name, usage in data.items() if usage}
    return data | ({"estimated": spending.estimated} if spending.estimated else {})


def _usage_data(usage: Usage) -> dict[str, Any]:
    return {name: value for name, value in asdict(usage).items() if value != _DEFAULTS[name]}


def _spending(data: Mapping[str, Any]) -> Spending:
    paid, reused = (_usage(data.get(name) or {}) for name in ("paid", "reused"))
    return Spending(paid, data.get("estimated") or 0, reused)


def _usage(data: Mapping[str, Any]) -> Usage:
    return Usage(**{name: value for name, value in data.items() if name in _DEFAULTS})
