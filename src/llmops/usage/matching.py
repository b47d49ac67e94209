"""How the answers of several layers become one price: which goes first, and what stands in for what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

from llmops.usage.entries import Entry, Match
from llmops.usage.providers import provider_name
from llmops.usage.rates import STANDARD, Card, Rates, Step

LISTS = ("genai-prices", "litellm")


class Found(NamedTuple):
    """The layers' answers for a model, the first first, and how long (in seconds) what they say holds."""

    matches: tuple[Match, ...]
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


def in_force(found: Found, at: float, service: str) -> tuple[Entry, ...]:
    """The entries that may price a call, the first first: one of your own or your server's alone, else the lists'.

    A list that has the call's service tier goes before one that lacks it.
    """
    listed = []
    for match in found.matches:
        entry = match.at(at)
        if entry is None:
            continue
        if entry.source not in LISTS:
            return (entry,)
        listed.append(entry)
    return tuple(sorted(listed, key=lambda entry: service != STANDARD and service not in entry.card.services))


def spellings(provider: str, model: str) -> tuple[str, ...]:
    """A model's name as it is, and without its own provider before it (`openai/gpt-4o` of openai)."""
    before, _, after = model.partition("/")
    return (model, after) if after and provider_name(before) == provider else (model,)


def server_entry(name: str, rates: Rates) -> Entry:
    card = Card({STANDARD: (Step(0, rates),)})
    return Entry(f"server:{name}", "", name, card, exact=False)


def quoted(text: str) -> str:
    plain = text.replace("-", "").replace("_", "").replace(".", "").replace("/", "")
    return (
        text
        if plain.isalnum() and text[0].isalpha() and text.lower() not in ("true", "false", "null")
        else json.dumps(text)
    )
