"""`llmops cost prune`: forgetting old calls and their texts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from llmops.costs.opening import open_calls


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how many days calls and their texts are kept; None is for ever."""

    days: int | None
    text_days: int | None

    def __str__(self) -> str:
        parts = [f"calls older than {_days(self.days)}" if self.days else ""]
        parts += [f"texts of calls older than {_days(self.text_days)}" if self.text_days else ""]
        return " and ".join(part for part in parts if part)


def keeping(days: int | None = None, text_days: int | None = None) -> Keeping:
    """What was asked for; when nothing was, the project's `calls:` settings."""
    if days is not None or text_days is not None:
        return Keeping(days, text_days)
    from llmops.config import load_config

    settings = load_config().calls
    return Keeping(settings.days, settings.text_days)


@dataclass(frozen=True, slots=True)
class Pruning:
    """How many calls, texts and windows of budgets were deleted, or would be.

    `freed` bytes were given back to the disk, `empty` ones are left in the file for what is written next; both are
    None on a server, which sees to it by itself.
    """

    calls: int
    texts: int
    windows: int
    freed: int | None = None
    empty: int | None = None


def prune(
    kept: Keeping, *, store: str | Path | None = None, now: float | None = None, dry_run: bool = False
) -> Pruning:
    """Delete older calls and texts, and windows of budgets that ended as long ago, and give their space back.

    What calls cost by the hour stays in reports. With `dry_run` it only counts.
    """
    now = time.time() if now is None else now
    with open_calls(store) as calls:
        texts = calls.prune_text(now - 86400 * kept.text_days, dry_run=dry_run) if kept.text_days else 0
        rows = calls.prune(now - 86400 * kept.days, dry_run=dry_run) if kept.days else 0
        windows = calls.prune_windows(now - 86400 * kept.days, dry_run=dry_run) if kept.days else 0
        space = calls.space() if dry_run else calls.give_back()
    return Pruning(rows, texts, windows, space.freed, space.empty)


def _days(count: int) -> str:
    return "a day" if count == 1 else f"{count:,} days"
