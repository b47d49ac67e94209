"""What a run spent, in words and as data: the same in every report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmops.reports.cost_words import in_column
from llmops.reports.figures import plural
from llmops.reports.summary import Summary
from llmops.types import Usage
from llmops.usage.money import dollars
from llmops.usage.spending import RunSpending, Spending

_COUNTS = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def spending_of(summary: Summary) -> RunSpending | None:
    """What the run spent; None for a comparison of other runs, and for answers that were another run's.

    A run that didn't count it, because it died or is of an older llmops, has what its answers tell.
    """
    record = summary.record
    saved = record.config.get("spent")
    if saved is not None:
        return RunSpending.from_data(saved)
    if not record.id or "scored_from" in record.environment:
        return None
    paid = sum((variant.usage for variant in summary.variants), Usage())
    return RunSpending(Spending.of(paid), None)


def spent_lines(spending: RunSpending | None) -> list[str]:
    """Sentences without an end: the cost and how sure it is, requests and tokens, and what came for nothing."""
    if spending is None or not spending.total:
        return []
    total = spending.total
    lines = [_cost(spending), _tokens(total.paid) if total.paid.requests or total.paid.total_tokens else ""]
    if total.reused.requests and total.usage != total.reused:
        saved = f" ({dollars(total.reused.cost)} saved)" if total.reused.cost else ""
        count = plural(total.reused.requests, "more request")
        lines.append(f"{count} answered from the cache, for nothing{saved}")
    return [line for line in lines if line]


def spent_data(spending: RunSpending | None) -> dict[str, Any] | None:
    """As documented under `spent` in docs/reports.md. Money is in nano-dollars."""
    if spending is None:
        return None
    judging = None if spending.judging is None else _data(spending.judging)
    return {
        "total": _data(spending.total),
        "answering": _data(spending.answering),
        "judging": judging,
        "partial": spending.partial,
    }


def certainty(total: Spending) -> list[str]:
    """`$0.30 exact`, `$0.12 estimated`, `and 3 requests without a price`: those that there are."""
    paid = total.paid
    said = []
    if paid.cost:
        split = [f"{in_column(total.exact, paid.cost)} exact", f"{in_column(total.estimated, paid.cost)} estimated"]
        whole = "all of it estimated" if not total.exact else "all of it exact" if not total.estimated else ""
        if whole:
            split = [whole if not paid.unpriced else whole.removeprefix("all of it ")]
        said = split
    if paid.unpriced and paid.cost is not None:
        said.append(f"and {plural(paid.unpriced, 'request')} without a price, in no sum")
    return said


def amount(spending: Spending, top: int) -> str:
    """Dollars of a part, with the digits of a column whose largest amount is `top`; where there are none, why."""
    paid = spending.paid
    if paid.cost is not None:
        return in_column(paid.cost, top)
    if paid.unpriced:
        return "no price"
    return "no known cost" if paid.requests or paid.total_tokens else "$0"


def _cost(spending: RunSpending) -> str:
    total = spending.total
    if total.usage == total.reused:
        saved = f", which would have cost {dollars(total.reused.cost)}" if total.reused.cost else ""
        return f"Cost $0: everything came from the cache{saved}"
    if total.paid.cost is None and total.paid.unpriced:
        every = "no request has a price" if total.paid.unpriced >= total.paid.requests else "no price is known"
        return f"Cost unknown: {every} ({plural(total.paid.unpriced, 'request')})"
    if total.paid.cost is None:
        return ""
    return f"Cost {in_column(total.paid.cost, total.paid.cost)}: {'; '.join(_parts(spending))}"


def _parts(spending: RunSpending) -> Iterator[str]:
    if spending.judging:
        top = spending.total.paid.cost or 0
        yield f"{amount(spending.answering, top)} for answers, {amount(spending.judging, top)} for judging them"
    yield ", ".join(certainty(spending.total)) or "nothing asked costs anything"
    if spending.judging is None:
        yield "judging was not counted"
    elif spending.partial:
        yield "judging before the run died was not counted"


def _tokens(paid: Usage) -> str:
    kept = [
        f"{count:,} {what}"
        for count, what in (
            (paid.cache_read_tokens, "read from the provider's cache"),
            (paid.cache_write_tokens, "written to it"),
        )
        if count
    ]
    inside = f" ({', '.join(kept)})" if kept else ""
    thought = f" ({paid.reasoning_tokens:,} reasoning)" if paid.reasoning_tokens else ""
    sure = {"exact": "", "estimated": "; some of it estimated", "unknown": "; some of it nobody counted"}[
        paid.certainty
    ]
    requests = f"{plural(paid.requests, 'request')}, " if paid.requests else ""
    return f"{requests}{paid.input_tokens:,} tokens in{inside}, {paid.output_tokens:,} out{thought}{sure}"


def _data(spending: Spending) -> dict[str, Any]:
    paid, reused = spending.paid, spending.reused
    return {
        **{name: getattr(paid, name) for name in _COUNTS},
        "certainty": paid.certainty,
        "cost": paid.cost,
        "exact": None if paid.cost is None else spending.exact,
        "estimated": None if paid.cost is None else spending.estimated,
        "unpriced": paid.unpriced,
        "from_cache": {**{name: getattr(reused, name) for name in _COUNTS}, "cost": reused.cost},
    }
