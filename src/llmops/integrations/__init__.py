"""Tracking for applications that exist already: the OpenAI client, LangChain, litellm."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmops.flushing import keep_flushed

if TYPE_CHECKING:
    from llmops.usage.tracker import Tracker


def which_tracker(given: Tracker | None) -> Callable[[], Tracker]:
    """What gives the tracker when a call is made: the one given, else the project's, found once in a process."""
    if given is not None:
        keep_flushed(given)
    found: dict[int, Tracker] = {}

    def find() -> Tracker:
        if given is not None:
            return given
        tracker = found.get(os.getpid())
        if tracker is None or tracker.is_closed:
            from llmops.connecting import project_tracker

            tracker = found[os.getpid()] = project_tracker()
        return tracker

    return find
