"""Counts over a whole dataset, in little memory."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.datasets.building import content
from llmops.datasets.strict_json import canonical
from llmops.types import Case

_BUCKETS = 64


@dataclass(frozen=True)
class Survey:
    """What one pass over all cases found.

    `fingerprint` is a sha256 (64 hex digits) over the cases' canonical content in order; file format, path and
    line numbers don't count. `groups` is the number of different groups. `with_expected`, `with_contexts`,
    `with_relevant` and `input_fields` count cases. `characters` is the length of all inputs' text.
    """

    cases: int
    fingerprint: str
    tags: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    with_expected: int = 0
    with_contexts: int = 0
    with_relevant: int = 0
    input_fields: dict[str, int] = field(default_factory=dict)
    characters: int = 0


class HashBag:
    """Counts different names in 8 bytes each. Two names may share a hash: look again at `repeated` ones."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, name: str) -> None:
        value = hash(name)
        self._buckets[value & (_BUCKETS - 1)].append(value)

    def distinct(self) -> int:
        """How many different hashes were added."""
        return sum(len(set(bucket)) for bucket in self._buckets)

    def repeated(self, limit: int = 1000) -> set[int]:
        """Up to `limit` hashes that were added more than once."""
        found: set[int] = set()
        for bucket in self._buckets:
            if len(set(bucket)) < len(bucket) and len(found) < limit:
                found.update(value for value, times in Counter(bucket).items() if times > 1)
        return found


def survey_of(cases: Iterable[Case]) -> Survey:
    """Count `cases`, holding none of them."""
    digest = hashlib.sha256()
    tags: Counter[str] = Counter()
    fields: dict[str, int] = {}
    groups = HashBag()
    count = answered = contexts = graded = characters = 0
    for case in cases:
        count += 1
        digest.update(content(case).encode() + b"\n")
        if case.tags:
            tags.update(case.tags)
        if case.group is not None:
            groups.add(case.group)
        answered += case.expected is not None
        contexts += bool(case.contexts)
        graded += case.relevant is not None
        characters += _tally_inputs(case.inputs, fields)
    return Survey(
        cases=count,
        fingerprint=digest.hexdigest(),
        tags=_by_count(tags),
        groups=groups.distinct(),
        with_expected=answered,
        with_contexts=contexts,
        with_relevant=graded,
        input_fields=fields,
        characters=characters,
    )


def _tally_inputs(inputs: Mapping[str, Any], fields: dict[str, int]) -> int:
    """Count the names of one case's inputs in `fields`; the characters of their text."""
    characters = 0
    for name, value in inputs.items():
        fields[name] = fields.get(name, 0) + 1
        characters += len(value) if isinstance(value, str) else len(canonical(value))
    return characters


def _by_count(tags: Counter[str]) -> dict[str, int]:
    return dict(sorted(tags.items(), key=lambda item: (-item[1], item[0])))
