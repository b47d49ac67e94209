"""Our figures beside a provider's invoice: by day and model, with what may explain a difference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from llmops.costs.invoices import InvoiceLine, read_invoice, same_model
from llmops.costs.opening import open_calls
from llmops.costs.reporting import lines_of
from llmops.costs.selecting import select
from llmops.errors import InputError
from llmops.reports.cost_lines import CostLine
from llmops.reports.cost_reconciled import Reconciled, ReconciledLine
from llmops.usage.conditions import Where
from llmops.usage.money import NANOS

Key = tuple[str, str]


@dataclass
class _Theirs:
    cost: Decimal | None = None
    tokens: int | None = None
    names: tuple[str, ...] = ()


def reconcile(
    invoice: str | Path,
    columns: Mapping[str, str] | None = None,
    where: Where = (),
    *,
    provider: str = "",
    store: str | Path | None = None,
) -> Reconciled:
    """Our cost of each day and model beside the invoice's; tokens, when the file has no cost.

    Days are UTC and those of the invoice, first to last. Snapshots of a model count as the model. `provider` keeps
    only our calls to it. Raises `InputError` for a file that can't be read, `NotFoundError` without a call log.
    """
    path = Path(invoice)
    read = read_invoice(path, columns)
    lines = read.lines
    if not lines:
        raise InputError("has no line with an amount", where=str(path))
    with_model = any(line.model for line in lines)
    theirs = _theirs(lines)
    first, last = min(line.day for line in lines), max(line.day for line in lines)
    conditions = dict(select((), None, None, where).where)
    if provider:
        conditions["provider"] = provider
    by = ("day", "model") if with_model else ("day",)
    after = (date.fromisoformat(last) + timedelta(days=1)).isoformat()
    chosen = select(by, f"{first}T00:00", f"{after}T00:00", conditions)
    ours: dict[Key, CostLine] = {}
    with open_calls(store) as calls:
        for line in lines_of(calls, chosen):
            key = (line.key[0][:10], same_model(line.key[1]) if with_model else "")
            ours[key] = ours[key].plus(line) if key in ours else line
    priced = any(entry.cost is not None for entry in theirs.values())
    return Reconciled(
        file=path.name,
        first=first,
        last=last,
        in_dollars=priced,
        lines=tuple(_compared(ours, theirs)),
        skipped=read.skipped,
    )


def _theirs(lines: Iterable[InvoiceLine]) -> dict[Key, _Theirs]:
    found: dict[Key, _Theirs] = defaultdict(_Theirs)
    for line in lines:
        entry = found[line.day, same_model(line.model)]
        if line.cost is not None:
            entry.cost = (entry.cost or Decimal(0)) + line.cost
        tokens = [count for count in (line.input_tokens, line.output_tokens) if count is not None]
        if tokens:
            entry.tokens = (entry.tokens or 0) + sum(tokens)
        if line.model and line.model not in entry.names:
            entry.names = (*entry.names, line.model)
    return found


def _compared(ours: Mapping[Key, CostLine], theirs: Mapping[Key, _Theirs]) -> Iterator[ReconciledLine]:
    for key in sorted({*ours, *theirs}):
        mine, other = ours.get(key), theirs.get(key)
        yield ReconciledLine(
            day=key[0],
            model=mine.key[1] if mine is not None and key[1] else other.names[0] if other and other.names else "",
            ours=None if mine is None else mine.cost,
            theirs=None if other is None or other.cost is None else round(other.cost * NANOS),
            our_tokens=None if mine is None else mine.total_tokens,
            their_tokens=None if other is None else other.tokens,
            line=mine,
            on_invoice=other is not None,
        )
