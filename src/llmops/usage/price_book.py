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
from llmops.usage.families import family
from llmops.usage.matching import Fixed, Found, Unsure, in_force, quoted, server_entry, spellings
from llmops.usage.prices_genai import GenaiPrices
from llmops.usage.prices_litellm import LitellmPrices
from llmops.usage.prices_yaml import YamlPrices, inline_prices, read_prices
from llmops.usage.providers import SELF_HOSTED, provider_name
from llmops.usage.rates import Charge, Rates, charge, counts_of, tier_name, worst_case

_RULES = "1"  # changes when the same prices give another cost
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
        self._found: dict[tuple[str, str, str], Found] = {}
        self._entries: dict[tuple[str, str, str, str, int], tuple[Entry, ...]] = {}
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
        return cls(yours, [layer for layer in layers if layer is not None], server_rates=_rates_of_servers(yours))

    def with_servers(self, rates: Mapping[str, Rates]) -> PriceBook:
        """The same book with rates of self-hosted servers, by the name of their backend."""
        return PriceBook(self.yours, self.published, server_rates={**self.server_rates, **rates})

    def warm(self) -> None:
        """Read the installed lists now (0.1 to 0.5 s), so that no call waits for it; safe to run in a thread."""
        for layer in self.published:
            layer.match("openai", "none")

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
        backend: str = "",
        at: float | None = None,
        service_tier: str = "",
    ) -> Cost | None:
        """The cost of one request at a Unix time (None: now), or None without a price. Never raises.

        `estimated` when tokens are, when the entry is another snapshot's, or when a class or service tier that was
        used has no rate of its own.
        """
        try:
            if usage.certainty == "unknown" and not usage.total_tokens and not usage.images:
                return None
            counts, tier = counts_of(usage), tier_name(service_tier)
            for entry in self._priced(provider, model, backend, time.time() if at is None else at, service_tier):
                rates, own_tier = entry.card.rates(counts.input_tokens, tier)
                charged = charge(counts, rates)
                if charged is not None:
                    return self._cost(entry, charged, own_tier and usage.certainty == "exact")
        except Exception:  # data that isn't what its layer promised: no price is better than a crash or a wrong one
            return None
        return None

    def _cost(self, entry: Entry, charged: Charge, exact: bool) -> Cost:
        plain, read, write, output, reasoning, fees = charged.parts
        return Cost(
            charged.total,
            plain,
            read,
            write,
            output,
            reasoning,
            fees,
            "exact" if exact and entry.exact and not charged.assumed else "estimated",
            entry.source,
            entry.label,
            self.revision,
        )

    def entry(self, provider: str, model: str, at: float | None = None, *, backend: str = "") -> Entry | None:
        """The price in force for a model, or None. `backend` finds the rates of a self-hosted server."""
        return next(iter(self._priced(provider, model, backend, time.time() if at is None else at, "")), None)

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

        Whatever share of them turns out cached, written to a cache, spoken or reasoned, `cost` is not more.
        """
        moment = time.time() if at is None else at
        try:
            found = self._priced(provider, model, backend, moment, service_tier)
            bounds = [worst_case(usage, entry.card, tier_name(service_tier)) for entry in found]
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
        if not provider or provider in SELF_HOSTED:
            return None
        names = [name for spelling in spellings(provider, model) for name in (spelling, family(spelling))]
        lists = [layer for layer in self.published if isinstance(layer, LitellmPrices)]
        return next((found for layer in lists for name in names if (found := layer.limit(limit, provider, name))), None)

    def entries(self, search: str = "", at: float | None = None) -> Iterator[Entry]:
        """Every price in force whose provider and name hold all words of `search`: yours first, by layer."""
        moment = time.time() if at is None else at
        words = search.lower().split()
        for source in (
            self.yours.entries(moment),
            self._servers.values(),
            *(p.entries(moment) for p in self.published),
        ):
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
        """The line to add under `models:` of the prices' YAML, with blanks that no price book accepts."""
        who = f", provider: {quoted(provider_name(provider))}" if provider else ""
        return f"- {{model: {quoted(model)}{who}, input: PRICE, output: PRICE}}  # dollars per million tokens"

    def _priced(self, provider: str, model: str, backend: str, at: float, service_tier: str) -> tuple[Entry, ...]:
        found = self._found.get((provider, model, backend))
        if found is None:
            found = self._look_up(provider, model, backend)
        key = (provider, model, backend, service_tier, int(at // found.slot) if found.slot else 0)
        try:
            return self._entries[key]
        except KeyError:
            entries = in_force(found, at, tier_name(service_tier))
            if len(self._entries) >= _REMEMBERED:
                self._entries.clear()
            self._entries[key] = entries
            return entries

    def _look_up(self, provider: str, model: str, backend: str) -> Found:
        name = provider_name(provider)
        with self._lock:  # the installed lists are read here, once
            matches = tuple(self._matches(name, model, backend))
        slots = [match.slot for match in matches if match.slot]
        found = Found(matches, min(slots, default=0))
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[provider, model, backend] = found
        return found

    def _matches(self, provider: str, model: str, backend: str) -> Iterator[Match]:
        if not model and backend not in self._servers:
            return
        for spelling in spellings(provider, model):
            own = self.yours.match(provider, spelling)
            if own is not None:
                yield own
        if backend in self._servers:
            yield Fixed(self._servers[backend])
        if not provider or provider in SELF_HOSTED:
            return
        names = spellings(provider, model)
        found = [m for layer in self.published for s in names if (m := layer.match(provider, s)) is not None]
        yield from (match for match in found if match.sure)
        yield from (Unsure(match) for match in found if not match.sure)
        if not found:
            families = [family(s) for s in names if family(s) != s]
            others = [m for layer in self.published for s in families if (m := layer.match(provider, s)) is not None]
            yield from (Unsure(match) for match in others)


def _rates_of_servers(yours: YamlPrices | None) -> Mapping[str, Rates]:
    """Rates of the servers whose speed your prices state; the others' need what the server counted."""
    speeds = ("tokens_per_second", "input_tokens_per_second", "output_tokens_per_second")
    rates = {}
    for name, server in yours.servers.items() if yours else ():
        if any(server.get(speed) is not None for speed in speeds):
            from llmops.usage.self_hosting import rates_of

            found = rates_of(server, where=yours.where("servers", name) if yours else "")
            rates[name] = Rates.of({"input": found.input, "output": found.output})
    return rates
