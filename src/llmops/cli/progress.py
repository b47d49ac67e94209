"""Progress of a run on stderr: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmops.evals.counters import Counters
    from llmops.types import Usage

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.2


@contextmanager
def shown(counters: Counters, *, quiet: bool) -> Iterator[None]:
    """Show `counters` while the body runs."""
    if quiet:
        yield
        return
    on_terminal = sys.stderr.isatty()
    ended = threading.Event()
    body = _bar if on_terminal else _lines
    thread = threading.Thread(target=body, args=(counters, ended), name="llmops-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=2)


def describe(counters: Counters, now: float | None = None) -> str:
    """`120/200 cases, 35/s, 2 failed, 40 cached, 12,300 tokens, 3 s left`."""
    elapsed = max(1e-9, (now if now is not None else time.monotonic()) - counters.started)
    fresh = counters.done - counters.resumed
    rate = fresh / elapsed
    parts = [f"{counters.done:,}/{counters.total:,} answers", f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"]
    if counters.errors:
        parts.append(f"{counters.errors:,} failed")
    if counters.cached:
        parts.append(f"{counters.cached:,} cached")
    if counters.usage.total_tokens:
        parts.append(f"{counters.usage.total_tokens:,} tokens")
    if counters.usage.cost:
        parts.append(f"${counters.usage.cost / 1_000_000_000:,.4f}")
    if counters.judging.requests:
        parts.append(f"judging {_judging(counters.judging)}")
    left = counters.total - counters.done
    if left > 0 and fresh:
        parts.append(f"{_duration(left / rate)} left")
    return ", ".join(parts)


def _judging(usage: Usage) -> str:
    """What the metrics' own calls took; dollars only when all of it has a price."""
    if usage.cost is None or usage.unpriced:
        return f"{usage.requests:,} calls"
    return f"${usage.cost / 1_000_000_000:,.4f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _lines(counters: Counters, ended: threading.Event) -> None:
    while not ended.wait(LINE_EVERY_S):
        if counters.total:
            sys.stderr.write(describe(counters) + "\n")
            sys.stderr.flush()


def _bar(counters: Counters, ended: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(bar_width=min(30, max(5, console.width // 4))),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=None)
        while True:
            last = ended.wait(BAR_EVERY_S)
            progress.update(task, total=counters.total or None, completed=counters.done, description=describe(counters))
            progress.refresh()
            if last:
                return
