"""How the answers of several layers become one price: which goes first, and what stands in for what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from llmops.usage.entries import Entry, Match
from llmops.usage.families import family
from llmops.usage.prices_yaml import UNKNOWN
from llmops.usage.providers import OPENAI_COMPATIBLE, is_hosted, provider_name
from llmops.usage.rates import STANDARD, Card, Rates, Step

LISTS = ("genai-prices", "litellm")
DIFFER = "another list has another price"


class Wanted(NamedTuple):
    """What prices are looked up by. `asked` is the model that was asked for, empty when that is `model` itself."""

    provider: str
    model: str
    asked: str = ""
    backend: str = ""


class Found(NamedTuple):
    """The layers' answers for a model, the first first, and how long (in seconds) what they say holds.

    `instead` are those for the model that was asked for, where none knows the one that served.
    """

    matches: tuple[Match, ...]
    instead: tuple[Match, ...]
    slot: int


class Fixed(NamedTuple):
    """A match with one entry at all times."""

    entry: Entry
    slot: int = 0
    sure: bool = True

    def at(self, moment: float) -> Entry | None:
        return self.entry


class Unsure:
    """Prices of another snapshot of a model's family: a call priced by them is estimated."""

    sure = False

    def __init__(self, match: Match) -> None:
        self._match = match
        self.slot = match.slot

    def at(self, moment: float) -> Entry | None:
        entry = self._match.at(moment)
        return replace(entry, exact=False) if entry is not None else None


def priced(found: Found, at: float, service: str) -> tuple[Entry, ...]:
    """The entries that may price a call, the first first; those of what was asked for are last, and unsure."""
    return in_force(found.matches, at, service) + in_force(found.instead, at, service)


def in_force(matches: Iterable[Match], at: float, service: str) -> tuple[Entry, ...]:
    """The entries that may price a call, the first first: one of your own or your server's alone, else the lists'.

    A list that has the call's service tier goes before one that lacks it. Lists that differ about a price of today are
    not sure of it.
    """
    listed: list[Entry] = []
    first: Match | None = None
    for match in matches:
        entry = match.at(at)
        if entry is None:
            continue
        if entry.source not in LISTS:
            return (entry,)
        if listed and _differ(listed[0], entry) and _is_todays(first, listed[0]):
            listed = [replace(one, exact=False, note=DIFFER) for one in listed]
            entry = replace(entry, exact=False, note=DIFFER)
        elif not listed:
            first = match
        listed.append(entry)
    return tuple(sorted(listed, key=lambda entry: service != STANDARD and service not in entry.card.services))


def _differ(one: Entry, other: Entry) -> bool:
    """True when both mean this very model and state a rate of plain tokens, and not the same."""
    if not (one.exact and other.exact):
        return False
    pairs = ((one.rates.input, other.rates.input), (one.rates.output, other.rates.output))
    return any(a is not None and b is not None and a != b for a, b in pairs)


def _is_todays(match: Match | None, entry: Entry) -> bool:
    """False for a price of the past: a list without history has only today's to set against it."""
    now = match.at(time.time()) if match is not None else None
    return now is not None and now.rates == entry.rates


def spellings(provider: str, model: str) -> tuple[str, ...]:
    """A model's name as it is, and without its own provider before it (`openai/gpt-4o` of openai).

    litellm's name for a model of one's own server begins with the shape of the server: `openai/my-slm`.
    """
    before, _, after = model.partition("/")
    if not after:
        return (model,)
    named = provider_name(before)
    shaped = provider == OPENAI_COMPATIBLE and named in ("openai", "azure")
    return (model, after) if named == provider or shaped else (model,)


class Namer(Protocol):
    """A source of prices that knows names of snapshots."""

    def served(self, provider: str, model: str) -> Iterator[str]: ...


def served_names(provider: str, model: str, yours: Namer, lists: Sequence[Namer]) -> tuple[str, ...]:
    """The models that may answer who asks for one: itself, and the snapshots of it that your prices and lists name.

    Of a snapshot that was asked for itself, the date may be missing in the answer.
    """
    names = spellings(provider, model)
    asked, found = names[-1], [*names]
    if asked:
        unknown = f"{asked.removesuffix('-latest')}-2099-12-31"  # a snapshot that nobody knows yet
        found += [family(asked), unknown, *yours.served(provider, asked)]
        if is_hosted(provider):
            found += [name for layer in lists for name in layer.served(provider, asked)]
    return tuple(dict.fromkeys(found))


def server_entry(name: str, rates: Rates) -> Entry:
    card = Card({STANDARD: (Step(0, rates),)})
    return Entry(f"server:{name}", "", name, card, exact=False)


def blank_line(provider: str, model: str) -> str:
    """The YAML line of a price with blanks. Calls without a model are priced by a pattern, for one server only."""
    who = provider or ("" if model else UNKNOWN)
    return f"- {{model: {quoted(model or '*')}{who and f', provider: {quoted(who)}'}, input: PRICE, output: PRICE}}"


def quoted(text: str) -> str:
    plain = text.replace("-", "").replace("_", "").replace(".", "").replace("/", "")
    return (
        text
        if plain.isalnum() and text[0].isalpha() and text.lower() not in ("true", "false", "null")
        else json.dumps(text)
    )
