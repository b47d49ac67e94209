"""The prices of genai-prices, when it is installed: with their history, and by time of day where a provider has that.

The library is imported when the first price is asked for (it takes half a second), and never fetches anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from llmops.usage.entries import DAY, MINUTE, Entry
from llmops.usage.families import is_alias, is_snapshot, spelled, spelled_names
from llmops.usage.providers import genai_id, provider_name
from llmops.usage.rates import STANDARD, make_card, tier_name

NAME = "genai-prices"
_RATES = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
}
_BY_REQUEST = "requests_kcount"


@dataclass(frozen=True)
class GenaiPrices:
    """The layer of genai-prices. `revision` is its version: its prices come with its releases."""

    revision: str
    providers_given: Any = None
    name: str = NAME

    @classmethod
    def installed(cls) -> GenaiPrices | None:
        """The layer, or None when the library isn't installed."""
        try:
            return cls(version(NAME))
        except PackageNotFoundError:
            return None

    @cached_property
    def _providers(self) -> Mapping[str, Any]:
        if self.providers_given is not None:
            return {provider.id: provider for provider in self.providers_given}
        try:
            from genai_prices.data import providers
        except ImportError:  # a half-installed library, or a release that keeps its data elsewhere
            return {}
        return {provider.id: provider for provider in providers}

    @cached_property
    def _written(self) -> frozenset[str]:
        models = [model for provider in self._providers.values() for model in provider.models]
        return spelled_names(name for model in models for name in (model.id, *set().union(*_literals(model.match))))

    def writes(self, model: str) -> bool:
        return spelled(model) in self._written

    def match(self, provider: str, model: str, is_written: Callable[[str], bool]) -> _Model | None:
        known = self._providers.get(genai_id(provider))
        if known is None:
            return None
        name, second = model.lower(), None
        for found in known.models:
            if not found.is_match(name):
                continue
            equal, patterns = _literals(found.match)
            if name in equal or name == found.id.lower():
                return _Model(provider, found, True)
            fitting = [text for text in (*patterns, *equal, found.id.lower()) if is_snapshot(name, text)]
            meant = not name.endswith("latest") and any(name.startswith(text) for text in fitting)
            if meant and is_written(name):
                return _Model(provider, found, True)
            if fitting and second is None:  # a region before the name, or a snapshot that no list names
                second = _Model(provider, found, False)
        return second

    def served(self, provider: str, model: str) -> Iterator[str]:
        """Names of snapshots of a model that the list spells out."""
        known = self._providers.get(genai_id(provider))
        for found in known.models if known is not None else ():
            equal, _ = _literals(found.match)
            yield from (name for name in sorted({*equal, found.id.lower()}) if is_alias(model, name))

    def entries(self, moment: float) -> Iterator[Entry]:
        for provider in self._providers.values():
            for model in provider.models:
                entry = _Model(_our_name(provider.id), model, True).at(moment)
                if entry is not None:
                    yield entry


def _our_name(identifier: str) -> str:
    return {"google": "gemini", "aws": "bedrock"}.get(identifier) or provider_name(identifier)


def _literals(clause: Any) -> tuple[set[str], set[str]]:
    """The names that a matching rule spells out: in full, and as a beginning, an end or a part."""
    equal: set[str] = set()
    parts: set[str] = set()
    for inner in (*(getattr(clause, "or_", None) or ()), *(getattr(clause, "and_", None) or ())):
        for whole, part in (_literals(inner),):
            equal |= whole
            parts |= part
    if text := getattr(clause, "equals", None):
        equal.add(text.lower())
    for kind in ("starts_with", "ends_with", "contains"):
        if text := getattr(clause, kind, None):
            parts.add(text.lower().rstrip("-@:"))
    return equal, parts


def _constraints(model: Any) -> Iterator[Any]:
    rows = model.prices if isinstance(model.prices, list) else ()
    yield from (row.constraint for row in rows if row.constraint is not None)
    yield from (variant.constraint for variant in _variants(model) if variant.constraint is not None)


def _variants(model: Any) -> Iterator[Any]:
    yield from getattr(model, "price_variants", None) or ()


@dataclass(frozen=True)
class _Model:
    provider: str
    model: Any
    sure: bool
    slot: int = field(init=False)

    def __post_init__(self) -> None:
        kinds = ["day" if hasattr(constraint, "start_date") else "hours" for constraint in _constraints(self.model)]
        object.__setattr__(self, "slot", MINUTE if "hours" in kinds else DAY if kinds else 0)

    def at(self, moment: float) -> Entry | None:
        when = datetime.fromtimestamp(moment, UTC)
        tables: dict[tuple[str, int], dict[str, Any]] = {}
        for service, context in self._services():
            tables.update(_steps(service, self._prices(when, context)))
        standard = tables.get((STANDARD, 0), {})
        if not standard or not (set(standard) & {"input", "output", "per_request"}):
            return None
        since = max((day.isoformat() for day in self._row_days() if day <= when.date()), default="")
        fee = "per_request" in standard  # a search's, which depends on its size
        return Entry(
            NAME,
            self.provider,
            self.model.id,
            make_card(tables, keeps=True),
            exact=self.sure and not fee,
            valid_from=since,
            note="with the fee of a search" if fee else "",
        )

    def _prices(self, when: datetime, context: Mapping[str, str]) -> Any:
        """A service tier's prices. Before the day its rates were first noted down, those stand in for the unknown."""
        starts = [v.constraint.start_date for v in _variants(self.model) if context and v.when == context
                  and hasattr(v.constraint, "start_date")]  # fmt: skip
        first = min(starts, default=None)
        standard = self.model.get_prices(when)
        if first is None or when.date() >= first:
            return self.model.get_prices(when, context) if context else standard
        return None

    def _services(self) -> Iterator[tuple[str, dict[str, str]]]:
        yield STANDARD, {}
        for variant in _variants(self.model):
            named = variant.when.get("service_tier") or variant.when.get("processing") or variant.when.get("speed")
            if named and len(variant.when) == 1 and tier_name(named) != STANDARD:
                yield tier_name(named), dict(variant.when)

    def _row_days(self) -> Iterator[date]:
        rows = self.model.prices if isinstance(self.model.prices, list) else ()
        yield from (row.constraint.start_date for row in rows if hasattr(row.constraint, "start_date"))


def _steps(service: str, prices: Any) -> dict[tuple[str, int], dict[str, Any]]:
    """Rates by step of input tokens; each step names every class, so that none is taken from another tier."""
    if prices is None:
        return {}
    stated = {ours: getattr(prices, theirs, None) for theirs, ours in _RATES.items()}
    stated = {name: price for name, price in stated.items() if price is not None}
    starts = {0, *(tier.start for price in stated.values() for tier in getattr(price, "tiers", ()))}
    by_request = getattr(prices, _BY_REQUEST, None)
    fee = {} if by_request is None else {"per_request": Decimal(by_request) / 1000}
    return {
        (service, start): {**{name: _price_above(price, start) for name, price in stated.items()}, **fee}
        for start in starts
    }


def _price_above(price: Any, start: int) -> Any:
    if not hasattr(price, "tiers"):
        return price
    reached = [tier.price for tier in price.tiers if tier.start <= start]
    return reached[-1] if start and reached else price.base
