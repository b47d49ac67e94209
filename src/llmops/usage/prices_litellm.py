"""The price list that comes with litellm, read as a file: litellm itself is never imported.

The list has no history. Its rates are dollars a token, in floats that are read as the decimals they were written as.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops.usage.entries import MINUTE, Entry
from llmops.usage.families import family, is_alias, spelled, spelled_names
from llmops.usage.providers import SELF_HOSTED, provider_name
from llmops.usage.rates import STANDARD, Card, exact, make_card, tier_name

NAME = "litellm"
FILE = "model_prices_and_context_window_backup.json"
_KEY = re.compile(
    r"(?P<rate>input_cost_per_token|output_cost_per_token|output_cost_per_reasoning_token|input_cost_per_audio_token"
    r"|output_cost_per_audio_token|cache_read_input_token_cost|cache_creation_input_token_cost(?:_above_1hr)?)"
    r"(?:_above_(?P<thousands>\d+)k_tokens)?(?:_(?P<service>[a-z]+))?"
)
_RATES = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "audio_output",
}
_WRITES = ("chat", "completion", "responses")  # modes whose answer is text, so that an output rate of 0 is a blank
_MILLION = Decimal(1_000_000)
Table = dict[tuple[str, int], dict[str, Any]]


@dataclass(frozen=True)
class LitellmPrices:
    """The layer of litellm's list. `revision` is the file's sha256."""

    content: bytes = field(repr=False)
    name: str = NAME

    @classmethod
    def installed(cls) -> LitellmPrices | None:
        """The layer, or None when litellm isn't installed or has no such file."""
        try:
            spec = importlib.util.find_spec(NAME)  # finds the package without importing it
            folders = spec.submodule_search_locations if spec else None
            return cls((Path(next(iter(folders))) / FILE).read_bytes()) if folders else None
        except (ImportError, ValueError, OSError, StopIteration):
            return None

    @cached_property
    def revision(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def _listed(self) -> Mapping[str, Mapping[str, Any]]:
        try:
            data = json.loads(self.content)
        except ValueError:
            return {}
        entries = data.items() if isinstance(data, dict) else ()
        return {key: entry for key, entry in entries if isinstance(entry, dict) and key != "sample_spec"}

    @cached_property
    def _index(self) -> Mapping[tuple[str, str], str]:
        """The list's key by our provider and the model's name in lower case, without the provider before it."""
        plain: dict[tuple[str, str], str] = {}
        stripped: dict[tuple[str, str], str] = {}
        full: dict[tuple[str, str], str] = {}
        for key, entry in self._listed.items():
            provider = provider_name(str(entry.get("litellm_provider") or key.partition("/")[0]))
            before, _, after = key.partition("/")
            if after and provider_name(before) == provider:
                stripped[provider, after.lower()] = key
                full[provider, key.lower()] = key
            else:
                plain[provider, key.lower()] = key
        return {**plain, **stripped, **full}  # an entry that names its provider goes before one that doesn't

    @cached_property
    def _written(self) -> frozenset[str]:
        return spelled_names(self._listed)

    def writes(self, model: str) -> bool:
        return spelled(model) in self._written

    def match(self, provider: str, model: str, is_written: Callable[[str], bool]) -> _Listed | None:
        name = model.lower()
        if name.startswith("ft:"):  # ft:gpt-4o-2024-08-06:acme::id has the price of ft:gpt-4o-2024-08-06
            name = ":".join(name.split(":")[:2])
        key = self._index.get((provider, name))
        return None if key is None else read_entry(provider, key, self._listed[key])

    def served(self, provider: str, model: str) -> Iterator[str]:
        """Names of snapshots of a model that the list has."""
        begins = family(model.lower())
        names = (name for of, name in self._index if of == provider and name.startswith(begins))
        yield from (name for name in names if is_alias(model, name))

    def entries(self, moment: float) -> Iterator[Entry]:
        for (provider, _), key in {key: (pair, key) for pair, key in self._index.items()}.values():
            listed = None if provider in SELF_HOSTED else read_entry(provider, key, self._listed[key])
            if listed is not None:
                yield listed.at(moment)

    def limit(self, name: str, provider: str, model: str) -> int | None:
        """A limit that the list states of a model: `max_output_tokens` or `max_input_tokens`."""
        key = self._index.get((provider, model.lower()))
        found = self._listed[key].get(name) if key is not None else None
        return int(found) if isinstance(found, (int, float)) and found > 0 else None


@dataclass(frozen=True)
class _Listed:
    """An entry of the list, and its cheaper hours when it has any."""

    usual: Entry
    off_peak: Entry | None = None
    windows: tuple[Mapping[str, Any], ...] = ()
    sure: bool = True

    @property
    def slot(self) -> int:
        return MINUTE if self.off_peak else 0

    def at(self, moment: float) -> Entry:
        if self.off_peak is not None and any(_inside(window, moment) for window in self.windows):
            return self.off_peak
        return self.usual


def _inside(window: Mapping[str, Any], moment: float) -> bool:
    """True when a time is in a window of hours in UTC (`10:00-00:00`) on its days of the week (1 is Monday)."""
    when = datetime.fromtimestamp(moment, UTC)
    hours = window.get("hours_utc")
    days = window.get("weekdays")
    if isinstance(days, list) and when.isoweekday() not in days:
        return False
    now = when.hour * 60 + when.minute
    for span in hours if isinstance(hours, list) else [hours]:
        match = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", str(span))
        if match:
            start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
            if start <= now < end or (end <= start and (now >= start or now < end)):
                return True
    return False


def read_entry(provider: str, key: str, entry: Mapping[str, Any]) -> _Listed | None:
    """An entry of the list as prices; None when it has none that tokens, requests or pictures can be priced with."""
    note = ""
    exact_entry = True
    table = _table(entry)
    base = table.setdefault((STANDARD, 0), {})
    if provider == "perplexity" and (fee := _search_fee(entry)) is not None:
        base["per_request"], exact_entry = fee, False
        note = "with the fee of the smallest search"
    if not _is_price(key, entry, base):
        return None
    name = key.partition("/")[2] if provider_name(key.partition("/")[0]) == provider and "/" in key else key
    usual = Entry(NAME, provider, name, make_card(table, keeps=False), exact_entry, note=note)
    cheaper = entry.get("off_peak_pricing")
    if not isinstance(cheaper, dict) or not isinstance(cheaper.get("windows"), list):
        return _Listed(usual)
    windows = tuple(window for window in cheaper["windows"] if isinstance(window, dict))
    card: Card = make_card(_table({**entry, **cheaper}), keeps=False)
    return _Listed(usual, Entry(NAME, provider, name, card, exact_entry, note="off-peak hours"), windows)


def _table(entry: Mapping[str, Any]) -> Table:
    """Rates by service tier and step, in dollars per million."""
    table: Table = {}
    for key, value in entry.items():
        match = _KEY.fullmatch(key)
        rate = _rate(value)
        if match is None or rate is None:
            continue
        step = (tier_name(match["service"] or ""), int(match["thousands"] or 0) * 1000)
        table.setdefault(step, {})[_RATES[match["rate"]]] = rate * _MILLION
    for tier in entry.get("tiered_pricing") or ():
        table.setdefault((STANDARD, _range_start(tier)), {}).update(_table(tier).get((STANDARD, 0), {}))
    base = table.setdefault((STANDARD, 0), {})
    fees = {"per_request": "input_cost_per_request", "per_image": "output_cost_per_image"}
    base.update({ours: rate for ours, theirs in fees.items() if (rate := _rate(entry.get(theirs))) is not None})
    if "output" not in base and (rate := _rate(entry.get("output_cost_per_image_token"))):
        base["output"] = rate * _MILLION  # a model whose every output token is a picture's
    return _without_blanks(entry, table)


def _without_blanks(entry: Mapping[str, Any], table: Table) -> Table:
    """The table without the zeros that the list has where it knows nothing.

    Writing to a cache is an ordinary read of the input at the least, and text that is written is never free where the
    text that is read is not (a router that has only its own fee in the list, for one).
    """
    for rates in table.values():
        for name in ("cache_write", "cache_write_1h"):
            if rates.get("input") and not rates.get(name, True):
                del rates[name]
        if entry.get("mode") in _WRITES and rates.get("input") and not rates.get("output", True):
            del rates["output"]
    return table


def _is_price(key: str, entry: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """False for an entry that prices nothing, and for zeros that stand for "not known".

    The list has zeros for servers that people run themselves, for previews and for paid models alike, so zeros count
    as a price only where the model's own name says that it is free.
    """
    if any(base.get(name) for name in ("input", "output", "per_request", "per_image")):
        return "input" in base or "output" in base or "per_request" in base or "per_image" in base
    return bool(base) and key.endswith((":free", "-free"))


def _search_fee(entry: Mapping[str, Any]) -> Decimal | None:
    """What every request of a model that always searches costs on top, at the provider's default size of a search."""
    fees = entry.get("search_context_cost_per_query")
    return _rate(fees.get("search_context_size_low")) if isinstance(fees, dict) else None


def _range_start(tier: Mapping[str, Any]) -> int:
    start = (tier.get("range") or [0])[0]
    return int(start) if isinstance(start, (int, float)) else 0


def _rate(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return exact(value)
    except (ValueError, ArithmeticError):
        return None
