"""Which answers a variant can give: one from a saved run has those that were given then."""

from __future__ import annotations

from collections.abc import Iterable

from llmops.errors import InputError
from llmops.types import Case, Trial, Variant


def lacking(variants: Iterable[Variant], cases: Iterable[Case], repeats: int) -> int:
    """How many answers those that cover a part of the cases can't give.

    `cases` is read again for each. Raises `InputError` for a variant that has an answer to none of them.
    """
    missing = 0
    for covers in (getattr(variant, "covers", None) for variant in variants):
        if covers is None:
            continue
        there = [covers(Trial(case, repeat)) for case in cases for repeat in range(repeats)]
        if not any(there):
            hint = "ids or questions changed: run the baseline again, or compare with --against"
            raise InputError("the baseline run has no answer to any of these cases", hint=hint)
        missing += there.count(False)
    return missing
