"""Sums by the hour over rows of `calls`: what a row adds, and what it takes away when it changes."""

from __future__ import annotations

from collections.abc import Iterable

from llmops.store.call_rows import PARTS, TOKENS, Row

KEYS = ("hour", "group_key", "ending_key")
SUMS = ("requests", *TOKENS, "cost", *PARTS, "duration_us", "first_token_us", "first_tokens")
Sums = dict[tuple[int, int, int], list[int]]


def count(sums: Sums, rows: Iterable[Row], sign: int = 1) -> None:
    """Add rows (or take them away, with -1) to the sums of their hour, group and ending."""
    for row in rows:
        _, started, _, group, ending, _, t1, t2, t3, t4, t5, cost, p1, p2, p3, p4, p5, p6, first, took, _, _ = row
        key = (int(started // 3600), group, ending)
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0] * len(SUMS)
        total[0] += sign
        total[1] += sign * t1
        total[2] += sign * t2
        total[3] += sign * t3
        total[4] += sign * t4
        total[5] += sign * t5
        if cost is not None:
            total[6] += sign * cost
            total[7] += sign * p1
            total[8] += sign * p2
            total[9] += sign * p3
            total[10] += sign * p4
            total[11] += sign * p5
            total[12] += sign * p6
        if took is not None:
            total[13] += sign * int(took * 1e6)
        if first is not None:
            total[14] += sign * int(first * 1e6)
            total[15] += sign
