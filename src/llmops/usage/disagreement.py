"""Where two price lists differ about a model: those rates are in doubt, and only calls that use them are estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from llmops.usage.rates import CLASSES, STANDARD, Card, Rates, Step


def doubted(card: Card, other: Card) -> Card:
    """The rates of `card`, of which those that `other` contradicts are guesses; `card` itself where none is.

    A step that only one of them has is a contradiction for longer requests. A service tier that `other` lacks is in
    doubt where the standard tiers contradict each other.
    """
    services = {service: _doubted_steps(card, other, service) for service in card.services}
    return Card(services) if any(steps != card.services[name] for name, steps in services.items()) else card


def _doubted_steps(card: Card, other: Card, service: str) -> tuple[Step, ...]:
    steps = card.services[service]
    common = service if service in other.services else STANDARD
    ours, theirs = card.services[common], other.services[common]
    made: list[Step] = []
    for above in sorted({step.above for step in (*steps, *ours, *theirs)}):
        rates, doubts = _at(steps, above), _contradicted(_at(ours, above), _at(theirs, above))
        made.append(Step(above, rates if doubts <= rates.guessed else replace(rates, guessed=rates.guessed | doubts)))
    return tuple(reversed(made))


def _at(steps: Sequence[Step], above: int) -> Rates:
    """The rates of a request of one token more than `above`."""
    return next(step.rates for step in steps if step.above <= above)


def _contradicted(rates: Rates, other: Rates) -> frozenset[str]:
    """The classes that both state a rate of, and not the same."""
    pairs = ((name, _stated(rates, name), _stated(other, name)) for name in CLASSES if name not in other.guessed)
    return frozenset(name for name, one, two in pairs if one is not None and two is not None and one != two)


def _stated(rates: Rates, name: str) -> Decimal | None:
    """A class's rate. Reasoning is sold as output where it has none of its own."""
    own: Decimal | None = getattr(rates, name)
    return rates.output if own is None and name == "reasoning" else own
