"""How the answers of several layers become one price: which goes first, and what stands in for what."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from llmops.usage.disagreement import doubted
from llmops.usage.entries import DAY, Entry, Match
from llmops.usage.families import family
from llmops.usage.prices_yaml import UNKNOWN
from llmops.usage.providers import OPENAI_COMPATIBLE, is_hosted, provider_name
from llmops.usage.rates import STANDARD, Card, Rates, Step

LISTS = ("genai-prices", "litellm")
_SHAPES = ("openai", "azure", "anthropic", "gemini")  # APIs that servers of anybody speak
_GOOGLES = ("gemini", "vertex_ai", OPENAI_COMPATIBLE)
_GOOGLES_PATH = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/(?=[^/]+$)")
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

    A list that has the call's service tier goes before one that lacks it. Where lists differ about a rate of today,
    none is sure of that rate.
    """
    listed: list[Entry] = []
    first: Match | None = None
    for match in matches:
        entry = match.at(at)
        if entry is None:
            continue
        if entry.source not in LISTS:
            return (entry,)
        if not listed:
            first = match
        elif listed[0].exact and entry.exact and _is_todays(first, listed[0], at):
            listed[0], entry = _in_doubt(listed[0], entry), _in_doubt(entry, listed[0])
        listed.append(entry)
    return tuple(sorted(listed, key=lambda entry: service != STANDARD and service not in entry.card.services))


def _in_doubt(entry: Entry, other: Entry) -> Entry:
    """The entry, unsure of the rates that another list has otherwise."""
    card = doubted(entry.card, other.card)
    return entry if card is entry.card else replace(entry, card=card, note=entry.note or DIFFER)


def _is_todays(match: Match | None, entry: Entry, at: float) -> bool:
    """False for a price of the past: a list without history has only today's (at the same hour) to set against it."""
    now = match.at(time.time() // DAY * DAY + at % DAY) if match is not None else None
    return now is not None and now.rates == entry.rates


def spellings(provider: str, model: str) -> tuple[str, ...]:
    """A model's name as it is, without its own provider before it (`openai/gpt-4o` of openai), and without the path
    that Google's APIs write before it (`models/gemini-2.5-pro`).

    litellm's name for a model of one's own server begins with the shape of the server: `openai/my-slm`.
    """
    before, _, after = model.partition("/")
    if not after:
        return (model,)
    named = provider_name(before)
    shaped = provider == OPENAI_COMPATIBLE and named in _SHAPES
    found = (model, after) if named == provider or shaped else (model,)
    plain = _GOOGLES_PATH.sub("", found[-1])
    return found if plain == found[-1] or provider not in _GOOGLES else (*found, plain)


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
