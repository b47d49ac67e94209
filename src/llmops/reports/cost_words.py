"""The sentences of a cost report, the same in every format."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from llmops.reports.cost_lines import TIMES, CostLine, CostReport, Pruned, UnpricedModel
from llmops.reports.figures import MISSING, plural, share
from llmops.usage.conditions import NO_VALUE, in_words
from llmops.usage.money import NANOS, dollars

MOST_UNPRICED = 10
PURPOSES = {"app": "Application", "eval": "Evaluations", "judge": "Judges", "guard": "Guards"}


def money(nanodollars: int | None) -> str:
    """Dollars, or a dash where there is no price: never a zero in its place."""
    return MISSING if nanodollars is None else dollars(nanodollars)


def cost_words(line: CostLine, top: int = 0) -> str:
    """A line's dollars; `unpriced` where a price lacks, `unknown` where only tokens do, a dash before any answer."""
    if line.cost is None and line.unpriced:
        return dollars(None) if line.no_price else "unknown"
    return in_column(line.cost, top)


def in_column(nanodollars: int | None, top: int) -> str:
    """Dollars with as many digits as all of a column whose largest amount is `top`; a small one has two that matter."""
    if nanodollars is None or not top:
        return money(nanodollars)
    places = 2 if top >= 10 * NANOS else 4 if top >= NANOS // 100 else min(9, 12 - len(str(top)))
    if nanodollars and abs(nanodollars) < 10 * 10 ** (9 - places):
        places = min(9, 11 - len(str(abs(nanodollars))))
    return dollars(nanodollars, places)


def value_of(text: str) -> str:
    """What a field says, or that it says nothing."""
    return text or NO_VALUE


def title_of(field: str) -> str:
    """A field as the head of a column: `Model`, `tag:tenant` as `tenant`."""
    name = field.removeprefix("tag:")
    return name if field.startswith("tag:") else name[:1].upper() + name[1:]


def window(report: CostReport) -> str:
    """From when to when, UTC: whole days as dates, the last day included."""
    since, until = report.since, report.until
    if since is None and until is None:
        return "all calls"
    if until is None:
        return f"since {_time(since or 0)} UTC"
    if since is None:
        return f"until {_time(until)} UTC"
    if since % 86400 == 0 and until % 86400 == 0:
        first, last = _day(since), _day(until - 86400)
        return f"{first if first == last else f'{first} to {last}'} UTC"
    return f"{_time(since)} to {_time(until)} UTC"


def span_of(report: CostReport) -> str:
    """The window; of a report on all calls that are left, when the first and last of them were."""
    if report.since is None and report.until is None and report.times:
        first, last = report.times[0][:10], report.times[-1][:10]
        days = first if first == last else f"{first} to {last}"
        return days if report.where else f"{'calls that were kept' if report.pruned.requests else 'all calls'}, {days}"
    return window(report)


def conditions(report: CostReport) -> str:
    """What the calls were chosen by: `team = search or sales, user is not ann`."""
    return ", ".join(in_words(name, wanted) for name, wanted in report.where.items())


def headline(total: CostLine) -> str:
    """`$12.34 for 1,234 requests: $10.20 exact, $2.14 estimated, 12 requests unpriced`."""
    split = [f"{money(total.exact)} exact", f"{money(total.estimated)} estimated"]
    if not total.estimated:
        split = ["all of it exact"] if total.exact and not total.unpriced else split[:1] if total.exact else []
    if total.no_price:
        split.append(f"{plural(total.no_price, 'request')} unpriced")
    if total.uncounted:
        split.append(f"{plural(total.uncounted, 'request')} with unknown tokens")
    what = plural(total.requests, "request")
    tail = f": {', '.join(split)}" if split else ""
    return f"{what}{tail}" if total.cost is None else f"{money(total.cost)} for {what}{tail}"


def averages(total: CostLine) -> str:
    """What a request costs, of those whose cost is known."""
    if total.per_request is None or total.cost is None:
        return ""
    return f"{money(total.per_request)} a request, {money(total.per_thousand)} per 1,000"


def checking(total: CostLine) -> str:
    """What part of the cost went into judges and guards; nothing when there were none."""
    cost = total.cost
    if not cost or not total.checking or total.checking == cost:
        return ""
    parts = [(name, part) for name, part in (("judges", total.judges), ("guards", total.guards)) if part]
    said = [f"{name} are {share(part / cost)} of this ({money(part)})" for name, part in parts]
    text = " and ".join(said)
    return f"{text[0].upper()}{text[1:]}; answers cost {money(cost - total.checking)}"


def doubts(total: CostLine) -> Iterator[str]:
    """What the sums can't tell: a sentence each."""
    if total.no_price:
        has = "has" if total.no_price == 1 else "have"
        yield f"{plural(total.no_price, 'request')} {has} no price: in no sum here, and not free"
    if total.unknown:
        has = "has" if total.unknown == 1 else "have"
        sums = ": in no sum here either" if total.uncounted == total.unknown else ""
        yield f"{plural(total.unknown, 'request')} {has} tokens that nobody could count{sums}"
    if total.pending:
        yield f"{plural(total.pending, 'request')} still pending: no answer yet, or the process died"
    if total.unsent:
        yield f"{plural(total.unsent, 'request')} never reached a server: they cost nothing"


def pruned_words(lost: Pruned) -> str:
    """What lines by user lack because it was pruned, or nothing."""
    if not lost.requests:
        return ""
    was, them, they = ("was", "it", "it was") if lost.requests == 1 else ("were", "them", "they were")
    text = f"{plural(lost.requests, 'request')} ({money(lost.cost)}) of this window {was} pruned"
    return f"{text}, and with {them} whose {they}: in no line and no sum here"


def shown_first(report: CostReport, limit: int) -> tuple[tuple[CostLine, ...], str]:
    """At most `limit` lines, and what the others are: the dearest first, of times the newest, in order of time."""
    lines, hidden = report.lines, len(report.lines) - limit
    if hidden <= 0:
        return lines, ""
    if report.by[0] not in TIMES:
        return lines[:limit], f"{hidden:,} more"
    newest = sorted(lines, key=lambda line: line.key[0], reverse=True)[:limit]  # dearest first within a time
    return tuple(sorted(newest, key=lambda line: line.key[0])), f"{hidden:,} earlier"


def unpriced_line(model: UnpricedModel) -> str:
    """`openai/my-slm: 12 requests, 3,400 tokens`."""
    name = f"{model.provider}/{model.model}" if model.provider else value_of(model.model)
    return f"{name}: {plural(model.requests, 'request')}, {plural(model.tokens, 'token')} without a price"


def short_tokens(count: int) -> str:
    """`950`, `12.3k`, `4.56M`: as a column can hold it."""
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            scaled = count / (1000 if unit == "k" else size)
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{count:,}"


def moment_words(moment: str) -> str:
    """`24 Nov 09:00`, `24 Nov`, `Nov 2026` for an hour, day or month of a plot."""
    if len(moment) == len("2026-11"):
        return datetime.strptime(moment, "%Y-%m").strftime("%b %Y")
    if len(moment) == len("2026-11-24"):
        return _plain(datetime.strptime(moment, "%Y-%m-%d"), "%b")
    return _plain(datetime.strptime(moment[:13], "%Y-%m-%dT%H"), "%b %H:00")


def _plain(moment: datetime, rest: str) -> str:
    return f"{moment.day} {moment.strftime(rest)}"


def _at(seconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def _time(seconds: float) -> str:
    return _day(seconds) if seconds % 86400 == 0 else _at(seconds).strftime("%Y-%m-%d %H:%M")


def _day(seconds: float) -> str:
    return _at(seconds).strftime("%Y-%m-%d")
