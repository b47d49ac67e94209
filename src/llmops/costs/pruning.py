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


def prune(kept: Keeping, *, store: str | Path | None = None, now: float | None = None) -> tuple[int, int]:
    """Delete older calls and texts: how many of each. What calls cost by the hour stays in reports."""
    now = time.time() if now is None else now
    with open_calls(store) as calls:
        texts = calls.prune_text(now - 86400 * kept.text_days) if kept.text_days else 0
        rows = calls.prune(now - 86400 * kept.days) if kept.days else 0
    return rows, texts


def _days(count: int) -> str:
    return "a day" if count == 1 else f"{count:,} days"
