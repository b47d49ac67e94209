"""How far a run is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llmops.types import Usage


@dataclass
class Counters:
    """What a progress display shows; read from any thread.

    `judging` is what the metrics' own calls to models took: it is no part of `usage`.
    """

    total: int = 0
    done: int = 0
    resumed: int = 0
    errors: int = 0
    cached: int = 0
    usage: Usage = field(default_factory=Usage)
    cached_tokens: int = 0
    judging: Usage = field(default_factory=Usage)
    last_error: str = ""
    started: float = field(default_factory=time.monotonic)

    def judged(self, usage: Usage) -> None:
        """Add what one sample's metrics took of models."""
        self.judging = self.judging + usage
