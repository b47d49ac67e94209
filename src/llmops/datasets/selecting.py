"""Choosing cases: filters such as `tag:hard`, and samples that depend on ids and a seed, not on positions."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmops.datasets.strict_json import shown
from llmops.errors import InputError
from llmops.types import Case

_KINDS = ("tag", "group", "id")
_FORMS = "write tag:NAME, group:NAME or id:NAME; a ! in front leaves those cases out"


@dataclass(frozen=True)
class Filters:
    """Parsed filters. Several of one kind are alternatives; every kind must hold; excluded cases never pass."""

    texts: tuple[str, ...]
    wanted: dict[str, frozenset[str]]
    excluded: dict[str, frozenset[str]]

    def accepts(self, case: Case) -> bool:
        return all(_names(case, kind) & names for kind, names in self.wanted.items()) and not any(
            _names(case, kind) & names for kind, names in self.excluded.items()
        )


def parse_filters(only: Sequence[str]) -> Filters:
    """Read filters. Raises `InputError` that shows the right forms."""
    if isinstance(only, str):
        only = [only]
    wanted: dict[str, set[str]] = {}
    excluded: dict[str, set[str]] = {}
    for text in only:
        kind, colon, name = text.removeprefix("!").partition(":") if isinstance(text, str) else ("", "", "")
        if kind not in _KINDS or not colon or not name:
            raise InputError(f"{shown(text)} isn't a filter", hint=_FORMS)
        (excluded if text.startswith("!") else wanted).setdefault(kind, set()).add(name)
    return Filters(tuple(only), _frozen(wanted), _frozen(excluded))


def _frozen(names: dict[str, set[str]]) -> dict[str, frozenset[str]]:
    return {kind: frozenset(found) for kind, found in names.items()}


def _names(case: Case, kind: str) -> frozenset[str]:
    if kind == "tag":
        return frozenset(case.tags)
    name = case.group if kind == "group" else case.id
    return frozenset() if name is None else frozenset((name,))


def sample_ids(cases: Iterable[Case], size: int, seed: int) -> frozenset[str]:
    """The ids with the `size` smallest sha256 of `seed:id`, in memory for `size` ids."""
    keyed = ((hashlib.sha256(f"{seed}:{case.id}".encode()).digest(), case.id) for case in cases)
    return frozenset(name for _, name in heapq.nsmallest(size, keyed))


def nothing_left(filters: Filters, cases: Iterable[Case]) -> InputError:
    """The error when a filter leaves no case, with what the data holds of the kinds that were asked for."""
    kinds = [kind for kind in _KINDS if kind in filters.wanted or kind in filters.excluded]
    found: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    for case in cases:
        for kind in kinds:
            if len(found[kind]) < 10_000:
                found[kind].update(_names(case, kind))
    held = [f"{kind}s in the data: {_listed(found[kind])}" for kind in kinds]
    texts = ", ".join(shown(text)[1:-1] for text in filters.texts)
    return InputError(f"no case is left after {texts}", hint="; ".join(held))


def _listed(names: Counter[str], limit: int = 15) -> str:
    most = [shown(name)[1:-1] for name, _ in names.most_common(limit)]
    return (", ".join(most) + (", …" if len(names) > limit else "")) or "none"
