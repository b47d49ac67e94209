"""How far a run is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llmops.types import Usage
from llmops.usage.spending import RunSpending, Spending


@dataclass
class Counters:
    """What a progress display shows; read from any thread.

    `answering` is what the answers took, and `checking` what the metrics' own calls to models did. In a resumed run
    both begin with what it had spent before, and `partial` says that some of that is not known.
    """

    total: int = 0
    done: int = 0
    resumed: int = 0
    errors: int = 0
    cached: int = 0
    answering: Spending = field(default_factory=Spending)
    checking: Spending = field(default_factory=Spending)
    partial: bool = False
    last_error: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def usage(self) -> Usage:
        """What was paid for answers."""
        return self.answering.paid

    @property
    def judging(self) -> Usage:
        """What was paid for judging them: it is no part of `usage`."""
        return self.checking.paid

    @property
    def spent(self) -> RunSpending:
        """What the run spent, to be saved with it."""
        return RunSpending(self.answering, self.checking, self.partial)

    def resume(self, before: RunSpending) -> None:
        """Go on from what the run had spent when it ended early."""
        self.answering, self.checking = before.answering, before.judging or Spending()
        self.partial = before.partial or before.judging is None

    def answered(self, spending: Spending) -> None:
        """Add what one trial took."""
        self.answering = self.answering + spending

    def judged(self, spending: Spending) -> None:
        """Add what one sample's metrics took of models."""
        self.checking = self.checking + spending
