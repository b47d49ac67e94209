"""Prices of model calls, from layers: your own YAML, your own servers, genai-prices, then litellm's list.

The first layer that knows a model at the time of the call prices it. A model that none knows has no price, which is
never 0 and never another model's.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops.types import Cost, Usage
from llmops.usage.entries import Entry, Layer, Match
from llmops.usage.families import family, in_family, is_alias
from llmops.usage.matching import (
    Fixed,
    Found,
    Unsure,
    Wanted,
    blank_line,
    priced,
    served_names,
    server_entry,
    spellings,
)
from llmops.usage.prices_genai import GenaiPrices
from llmops.usage.prices_litellm import LitellmPrices
from llmops.usage.prices_yaml import YamlPrices, inline_prices, read_prices
from llmops.usage.providers import is_hosted, provider_name
from llmops.usage.rates import Rates, charge, counts_of, tier_name, worst_case
from llmops.usage.server_rates import rates_of_servers

_RULES = "3"  # changes when the same prices give another cost
_REMEMBERED = 20_000
_MAKERS = ("openai", "anthropic", "deepseek", "mistral", "xai", "cohere", "perplexity", "gemini")  # who runs their own


class PriceBook:
    """Prices by provider, model and time; a `types.Pricer`. Safe to use from several threads.

    `revision` is a hash of every price that may be used. `server_rates` are rates of self-hosted servers by the name
    of their backend. `yours` is the user's layer, and `published` the others, the first first.
    """

    def __init__(
        self,
        yours: YamlPrices | None = None,
        published: Sequence[Layer] = (),
        *,
        server_rates: Mapping[str, Rates] | None = None,
    ) -> None:
        self.yours = yours or YamlPrices()
        self.published = tuple(published)
        self.server_rates = dict(server_rates or {})
        self._servers = {name: server_entry(name, rates) for name, rates in self.server_rates.items()}
        self._found: dict[Wanted, Found] = {}
        self._entries: dict[tuple[Wanted, str, int], tuple[Entry, ...]] = {}
        self._snapshots: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.RLock()

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        inline: Any = None,
        *,
        where: str = "",
        genai: bool = True,
        litellm: bool = True,
    ) -> PriceBook:
        """A book with your prices from a YAML file or from `inline` data (that stands at `where`), over installed ones.

        Raises `ConfigError` with file and line. The installed lists are read when the first price is asked for.
        """
        yours = read_prices(Path(path)) if path else inline_prices(inline, where) if inline is not None else None
        layers: list[Layer | None] = [GenaiPrices.installed() if genai else None]
        layers.append(LitellmPrices.installed() if litellm else None)
        return cls(
            yours,
            [layer for layer in layers if layer is not None],
            server_rates=rates_of_servers(yours) if yours else None,
        )

    def with_servers(self, rates: Mapping[str, Rates]) -> PriceBook:
        """The same book with rates of self-hosted servers, by the name of their backend."""
        return PriceBook(self.yours, self.published, server_rates={**self.server_rates, **rates})

    def is_listed(self, provider: str) -> bool:
        """True for a provider whose prices the installed lists may have: not for a server of your own."""
        return is_hosted(provider_name(provider))

    def warm(self) -> None:
        """Read the installed lists now (0.1 to 0.5 s), so that no call waits for it; safe to run in a thread."""
        for layer in self.published:
            layer.match("openai", "none", self._is_written)
        self._is_written("none")

    @property
    def servers(self) -> Mapping[str, Mapping[str, Any]]:
        """The `servers` section of your prices, as written."""
        return self.yours.servers

    @cached_property
    def revision(self) -> str:
        """12 hex digits that change with your YAML, a library's version, its list, or a server's rates."""
        servers = sorted((name, repr(rates)) for name, rates in self.server_rates.items())
        used = (_RULES, self.yours.revision, *(f"{layer.name} {layer.revision}" for layer in self.published), servers)
        return hashlib.sha256(repr(used).encode()).hexdigest()[:12]

    def cost(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        asked: str = "",
        backend: str = "",
        at: float | None = None,
        service_tier: str = "",
    ) -> Cost | None:
        """The cost of one request at a Unix time (None: now), or None without a price. Never raises.

        `model` is the one that served, and `asked` the one that was asked for, where that is known. Your price of the
        model goes first, then yours of the name that was asked for when that is a name of the same model, then the
        lists' of the model, and last the price of what was asked for. `estimated` when tokens are, when more than
        tokens is billed (`usage.estimated_cost` of a usage without a cost), when the entry is another model's or
        snapshot's, or when a class or service tier that was used has no rate of its own, or another in another list.
        """
        try:
            if usage.certainty == "unknown" and not usage.total_tokens and not usage.images:
                return None
            counts, tier = counts_of(usage), tier_name(service_tier, provider)
            wanted = Wanted(provider, model, "" if asked == model else asked, backend)
            for entry in self._priced(wanted, time.time() if at is None else at, service_tier):
                rates, own_tier = entry.card.rates(counts.input_tokens, tier)
                charged = charge(counts, rates)
                if charged is not None:
                    doubted = usage.certainty != "exact" or (usage.estimated_cost and usage.cost is None)
                    return entry.cost(charged, self.revision, exact=own_tier and not doubted)
        except Exception:  # data that isn't what its layer promised: no price is better than a crash or a wrong one
            return None
        return None

    def entry(self, provider: str, model: str, at: float | None = None, *, backend: str = "") -> Entry | None:
        """The price in force for a model, or None. `backend` finds the rates of a self-hosted server."""
        wanted = Wanted(provider, model, backend=backend)
        return next(iter(self._priced(wanted, time.time() if at is None else at, "")), None)

    def bound(
        self,
        usage: Usage,
        provider: str,
        model: str,
        backend: str = "",
        *,
        at: float | None = None,
        service_tier: str = "",
    ) -> int | None:
        """The most that a request can cost with at most these input and output tokens, in nano-dollars; or None.

        Whatever share of them turns out cached, written to a cache, spoken or reasoned, and whichever snapshot of the
        model serves it, `cost` is not more.
        """
        moment = time.time() if at is None else at
        try:
            found = self._possible(provider, model, backend, moment, service_tier)
            bounds = [worst_case(usage, entry.card, tier_name(service_tier, provider)) for entry in found]
        except Exception:
            return None
        return max((bound for bound in bounds if bound is not None), default=None)

    def max_output_tokens(self, provider: str, model: str) -> int | None:
        """The longest answer that a model gives, where a list says so; nothing for self-hosted servers."""
        return self._limit("max_output_tokens", provider_name(provider), model)

    def max_input_tokens(self, provider: str, model: str) -> int | None:
        """All that a model can read at once, where a list says so; nothing for self-hosted servers."""
        return self._limit("max_input_tokens", provider_name(provider), model)

    def _limit(self, limit: str, provider: str, model: str) -> int | None:
        if not is_hosted(provider):
            return None
        lists = [layer for layer in self.published if isinstance(layer, LitellmPrices)]
        for names in (self._served(provider, model), [family(name) for name in spellings(provider, model)]):
            found = [most for layer in lists for name in names if (most := layer.limit(limit, provider, name))]
            if found:
                return max(found)
        return None

    def entries(self, search: str = "", at: float | None = None) -> Iterator[Entry]:
        """Every price in force whose provider and name hold all words of `search`: yours first, by layer."""
        moment = time.time() if at is None else at
        words = search.lower().split()
        sources = (self.yours.entries(moment), self._servers.values(), *(p.entries(moment) for p in self.published))
        for source in sources:
            for entry in source:
                name = f"{entry.source} {entry.provider}/{entry.model}".lower()
                if all(word in name for word in words):
                    yield entry

    def named(self, name: str, at: float | None = None) -> tuple[str, str] | None:
        """Provider and model of a name that a person typed: `openai/gpt-4o`, or `gpt-4o`, which is its maker's."""
        before, slash, after = name.partition("/")
        if slash and self.entry(before, after, at) is not None:
            return provider_name(before), after
        moment = time.time() if at is None else at
        sources = (self.yours.entries(moment), *(layer.entries(moment) for layer in self.published))
        found = {entry.provider for source in sources for entry in source if entry.model.lower() == name.lower()}
        maker = next((maker for maker in _MAKERS if maker in found), "")
        return (maker, name) if maker else (found.pop(), name) if len(found) == 1 else None

    def hint(self, provider: str, model: str) -> str:
        """The line to add under `models:` of the prices' YAML, with blanks that no price book accepts.

        Where a price of yours only lacks a rate, that is what to add. There is no comment: a terminal may break the
        line, and the rest of a comment is no YAML.
        """
        lacking = self.yours.lacking(provider_name(provider), spellings(provider_name(provider), model), time.time())
        return lacking or blank_line(provider_name(provider), model)

    def _priced(self, wanted: Wanted, at: float, service_tier: str) -> tuple[Entry, ...]:
        found = self._found.get(wanted)
        if found is None:
            found = self._look_up(wanted)
        key = (wanted, service_tier, int(at // found.slot) if found.slot else 0)
        try:
            return self._entries[key]
        except KeyError:
            entries = priced(found, at, tier_name(service_tier, wanted.provider))
            if len(self._entries) >= _REMEMBERED:
                self._entries.clear()
            self._entries[key] = entries
            return entries

    def _look_up(self, wanted: Wanted) -> Found:
        known = wanted._replace(provider=provider_name(wanted.provider))
        with self._lock:  # the installed lists are read here, once
            matches = tuple(self._matches(known))
            other = known._replace(model=known.asked, asked="", backend="")
            instead = tuple(map(Unsure, self._matches(other))) if known.asked else ()
        slots = [match.slot for match in (*matches, *instead) if match.slot]
        found = Found(matches, instead, min(slots, default=0))
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[wanted] = found
        return found

    def _matches(self, wanted: Wanted) -> Iterator[Match]:
        provider, names = wanted.provider, spellings(wanted.provider, wanted.model)
        asked = spellings(provider, wanted.asked) if wanted.asked else ()
        sure = asked if asked and is_alias(asked[-1], names[-1]) else ()
        own = self.yours.match(provider, names, sure)
        if own is not None:
            yield own
        if asked and not sure and in_family(asked[-1], names[-1]):
            other = self.yours.match(provider, asked)
            if other is not None:
                yield Unsure(other)
        if wanted.backend in self._servers:
            yield Fixed(self._servers[wanted.backend])
        if not is_hosted(provider) or not wanted.model:
            return
        found = self._published(provider, names)
        yield from (match for match in found if match.sure)
        yield from (Unsure(match) for match in found if not match.sure)
        if not found:
            families = [family(s) for s in names if family(s) != s]
            yield from map(Unsure, self._published(provider, families))

    def _published(self, provider: str, names: Sequence[str]) -> list[Match]:
        found = (layer.match(provider, name, self._is_written) for layer in self.published for name in names)
        return [match for match in found if match is not None]

    def _is_written(self, model: str) -> bool:
        return any(layer.writes(model) for layer in self.published)

    def _possible(self, provider: str, model: str, backend: str, at: float, service_tier: str) -> Iterator[Entry]:
        """Every price that a call which asks for a model may be settled at, each once."""
        seen: set[int] = set()
        for name in self._served(provider, model):
            wanted = Wanted(provider, name, "" if name == model else model, backend)
            for entry in self._priced(wanted, at, service_tier):
                if id(entry.card) not in seen:
                    seen.add(id(entry.card))
                    yield entry

    def _served(self, provider: str, model: str) -> tuple[str, ...]:
        found = self._snapshots.get((provider, model))
        if found is None:
            with self._lock:
                found = served_names(provider_name(provider), model, self.yours, self.published)
            if len(self._snapshots) >= _REMEMBERED:
                self._snapshots.clear()
            self._snapshots[provider, model] = found
        return found
