"""Cost over time, ready for a plot: hours, days or months without gaps, and a series for each of the dearest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from llmops.costs.selecting import Selection
from llmops.reports.cost_lines import TIMES, CostLine, CostSeries

if TYPE_CHECKING:
    from llmops.store.call_queries import Calls

MOST_SERIES = 7
_MOST_GROUPS = 2000
_MOST_READ = 200_000  # sums by user are made from the calls themselves: another pass over more would be slow
_FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}


def plotted(
    calls: Calls, chosen: Selection, lines: list[CostLine], now: float
) -> tuple[str, tuple[str, ...], tuple[CostSeries, ...]]:
    """The field, the times, and what each of the dearest groups cost at them, the others together as the last series.

    Groups are those of the report's first field that is no time; of purposes when there is none or far too many.
    """
    names = tuple(name for name in chosen.by if name not in TIMES)
    by = names[0] if names and len(lines) <= _MOST_GROUPS else "purpose"
    if by == "user" and sum(line.requests for line in lines) > _MOST_READ:
        by = "purpose"
    unit = "day" if chosen.since is None else _unit((chosen.until or now) - chosen.since)
    sums, lacking = _summed(calls, chosen, unit, by)
    seen = sorted({moment for costs in sums.values() for moment in costs})
    if not seen:
        return by, (), ()
    if chosen.since is None:
        wanted = _unit((_at(seen[-1]) - _at(seen[0])).total_seconds() + 86400)
        if wanted == "hour":
            sums, lacking = _summed(calls, chosen, wanted, by)
        elif wanted == "month":
            sums = {name: _by_month(costs) for name, costs in sums.items()}
        unit, seen = wanted, sorted({moment for costs in sums.values() for moment in costs})
    times = tuple(_between(seen[0], seen[-1], unit))
    return by, times, tuple(_series(sums, lacking, times))


Sums = dict[str, dict[str, int]]


def _summed(calls: Calls, chosen: Selection, unit: str, by: str) -> tuple[Sums, Counter[str]]:
    sums: Sums = defaultdict(lambda: defaultdict(int))
    lacking = Counter[str]()
    for totals in calls.totals(by=(unit, by), since=chosen.since, until=chosen.until, where=chosen.where):
        name = str(totals.key[by])
        sums[name][str(totals.key[unit])] += totals.cost_exact + totals.cost_estimated
        lacking[name] += totals.unpriced
    return sums, lacking


def _by_month(costs: Mapping[str, int]) -> dict[str, int]:
    months = Counter[str]()
    for day, cost in costs.items():
        months[day[:7]] += cost
    return dict(months)


def _series(
    sums: dict[str, dict[str, int]], lacking: Mapping[str, int], times: tuple[str, ...]
) -> Iterator[CostSeries]:
    dearest = sorted(sums, key=lambda name: (-sum(sums[name].values()), name))
    room = MOST_SERIES if len(dearest) <= MOST_SERIES else MOST_SERIES - 1
    for name in dearest[:room]:
        yield CostSeries(name, tuple(sums[name].get(moment, 0) for moment in times), lacking[name])
    if others := dearest[room:]:
        costs = tuple(sum(sums[name].get(moment, 0) for name in others) for moment in times)
        unpriced = sum(lacking[name] for name in others)
        yield CostSeries(f"{len(others):,} others", costs, unpriced, rest=True)


def _unit(seconds: float) -> str:
    """What one bar of a plot over a time as long as this stands for."""
    return "hour" if seconds <= 3 * 86400 else "day" if seconds <= 120 * 86400 else "month"


def _at(day: str) -> datetime:
    return datetime.strptime(day, _FORMATS["day"])


def _between(first: str, last: str, unit: str) -> Iterator[str]:
    """Every time from the first to the last, so that nothing spent is a gap in the plot too."""
    form = _FORMATS[unit]
    moment = datetime.strptime(first, form)
    while (text := moment.strftime(form)) <= last:
        yield text
        if unit == "month":
            moment = moment.replace(year=moment.year + moment.month // 12, month=moment.month % 12 + 1)
        else:
            moment += timedelta(hours=1) if unit == "hour" else timedelta(days=1)
