"""A cost report as one HTML page without scripts: nothing is fetched, and no text from the log can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files

from llmops.reports.cost_lines import PARTS, CostLine, CostReport
from llmops.reports.cost_plot import plot
from llmops.reports.cost_words import (
    PURPOSES,
    conditions,
    doubts,
    in_column,
    money,
    pruned_words,
    short_tokens,
    shown_first,
    span_of,
    title_of,
    unpriced_line,
    value_of,
)
from llmops.reports.figures import MISSING, plural, seconds, share
from llmops.reports.html_tables import safe

MOST_ROWS = 500
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SHORTER = {"Judges, guards": "Judging"}  # beside its figure on a phone
_CLASSES = ("Input", "Cache reads", "Cache writes", "Output", "Reasoning", "Fees")


def write_cost_html(report: CostReport, write: Callable[[str], object]) -> None:
    """What it came to, over time, by the fields asked for, by purpose and class of token, and what is in doubt."""
    write(_head(report))
    write("<body>\n")
    write(_title(report))
    write("<main>\n")
    for part in _sections(report):
        write(part)
    write("</main>\n</body>\n</html>\n")


def _head(report: CostReport) -> str:
    style = "".join(_asset(name) for name in ("html_page.css", "html_cost.css"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{safe(money(report.total.cost))} · cost of model calls</title>
<style>{style}</style>
</head>
"""


def _asset(name: str) -> str:
    return files("llmops.reports").joinpath(name).read_text(encoding="utf-8")


def _title(report: CostReport) -> str:
    where = conditions(report)
    chosen = f'<span class="pill quiet">{safe(where, 200)}</span>' if where else ""
    made = datetime.fromtimestamp(report.made_at, UTC).strftime("%Y-%m-%d %H:%M UTC") if report.made_at else ""
    facts = " · ".join(part for part in (span_of(report), f"made {made}" if made else "") if part)
    return (
        f'<header>\n<p class="eyebrow">Cost of model calls</p>\n<h1>{_amount(report.total)}</h1>\n'
        f'<p class="facts">{chosen}<span>{safe(facts)}</span></p>\n</header>\n'
    )


def _amount(total: CostLine) -> str:
    if total.cost is None:
        return f"{plural(total.requests, 'request')} without a known cost" if total.requests else "No calls"
    more = f" <small>and {plural(total.unpriced, 'request')} without a known cost</small>" if total.unpriced else ""
    return f"{safe(money(total.cost))}{more}"


def _sections(report: CostReport) -> Iterator[str]:
    total = report.total
    yield f"<section class=cards-box>{_cards(total)}{_split(total)}</section>\n"
    drawn = plot(report)
    if drawn:
        field = safe(title_of(report.series_by).lower(), 60)
        yield f"<section><h2>Over time, by {field}</h2>\n{drawn}</section>\n"
    if report.accepted:
        yield f"<section><h2>Cost of an accepted answer</h2>\n{_accepted(report)}</section>\n"
    heading = safe(", ".join(title_of(name).lower() for name in report.by), 120)
    yield f"<section><h2>By {heading}</h2>\n{_table(report)}</section>\n"
    yield "<div class=pair-of>\n"
    yield f"<section><h2>By purpose</h2>\n{_purposes(report)}</section>\n"
    yield f"<section><h2>By class of token</h2>\n{_classes(total)}</section>\n</div>\n"
    if report.pruned.requests or any(doubts(total)):
        yield f"<section><h2>What the sums can't tell</h2>\n{_doubts(report)}</section>\n"


def _cards(total: CostLine) -> str:
    cost = total.cost or 0
    judged = share(total.checking / cost) if cost and total.checking else MISSING
    cards = [
        ("Requests", f"{total.requests:,}", _ended(total)),
        ("Per 1,000 requests", money(total.per_thousand), f"{money(total.per_request)} each"),
        ("Tokens", short_tokens(total.total_tokens), _tokens(total)),
        ("Judges and guards", judged, f"{money(total.checking)} of {money(total.cost)}" if total.checking else "none"),
    ]
    made = "".join(
        f"<div class=card><span>{name}</span><b>{safe(value)}</b><small>{safe(note)}</small></div>"
        for name, value, note in cards
    )
    return f"<div class=cards>{made}</div>"


def _ended(total: CostLine) -> str:
    counts = ((total.errors, "failed"), (total.pending, "pending"), (total.unsent, "never sent"))
    return ", ".join(f"{count:,} {what}" for count, what in counts if count) or "all answered"


def _tokens(total: CostLine) -> str:
    read = total.cache_read_tokens
    cached = f", {share(read / total.input_tokens)} of input cached" if read and total.input_tokens else ""
    return f"{short_tokens(total.input_tokens)} in, {short_tokens(total.output_tokens)} out{cached}"


def _split(total: CostLine) -> str:
    """How sure the sum is: a bar of exact and estimated dollars, and the count of what has no price."""
    cost = total.exact + total.estimated
    parts = [("exact", "Exact", total.exact), ("estimated", "Estimated", total.estimated)]
    bar = "".join(
        f'<span class="{look}" style="width:{100 * amount / cost:.2f}%"></span>' for look, _, amount in parts if amount
    )
    words = "".join(
        f'<li><i class="swatch {look}"></i>{name}<b>{safe(money(amount))}</b></li>' for look, name, amount in parts
    )
    for name, count in (("No price", total.no_price), ("Unknown tokens", total.uncounted)):
        if count:
            words += f"<li class=lacking>{name}<b>{plural(count, 'request')}</b></li>"
    shown = f"<div class=sure>{bar}</div>" if cost else ""
    return f"{shown}<ul class=legend>{words}</ul>"


def _table(report: CostReport) -> str:
    by, lines = report.by, report.lines
    if not lines:
        return "<p class=quiet>No calls.</p>\n"
    whole, total = report.total.cost or 0, report.total
    columns = list(_columns(total, lines))
    names = ["Cost", *(name for name, _ in columns)]
    heads = "".join(f"<th scope=col class=also>{safe(title_of(name), 40)}</th>" for name in by)
    heads += "".join(f"<th scope=col>{name}</th>" for name in names)
    rows = []
    shown, hidden = shown_first(report, MOST_ROWS)
    for line in shown:
        first, *others = (safe(value_of(value), 80) for value in line.key)
        cells = f"<th scope=row>{first}</th>" + "".join(f"<td class=also>{text}</td>" for text in others)
        cells += _cost_cell(line, whole)
        cells += "".join(_figure(name, cell(line)) for name, cell in columns)
        rows.append(f"<tr>{cells}</tr>\n")
    more = f"<p class=quiet>{hidden}.</p>\n" if hidden else ""
    return (
        '<div class=scroll tabindex=0 role=region aria-label="Costs"><table class=costs>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n{more}"
    )


def _figure(name: str, text: str) -> str:
    look = " class=none" if text == MISSING else ""
    return f'<td{look} data-label="{_SHORTER.get(name, name)}">{safe(text)}</td>'


def _columns(total: CostLine, lines: Sequence[CostLine]) -> Iterator[tuple[str, Callable[[CostLine], str]]]:
    """Figures beside the cost; those that nobody has are left out."""
    top, dearest = total.checking, max((line.per_thousand or 0 for line in lines), default=0)
    yield "Requests", lambda line: f"{line.requests:,}"
    if total.no_price:
        yield "No price", lambda line: f"{line.no_price:,}" if line.no_price else MISSING
    if total.uncounted:
        yield "Unknown", lambda line: f"{line.uncounted:,}" if line.uncounted else MISSING
    yield "Per 1,000", lambda line: in_column(line.per_thousand, dearest)
    if total.checking:
        yield "Judges, guards", lambda line: in_column(line.checking, top) if line.checking else MISSING
    yield "Input", lambda line: short_tokens(line.input_tokens)
    if total.cache_read_tokens:
        yield "Cached", lambda line: short_tokens(line.cache_read_tokens)
    yield "Output", lambda line: short_tokens(line.output_tokens)
    yield "Mean time", _mean_time
    if total.first_tokens:
        yield "First token", lambda line: seconds(line.first_token_mean_s)


def _cost_cell(line: CostLine, whole: int) -> str:
    if line.cost is None:
        lacking = "no price" if line.no_price or not line.uncounted else "unknown"
        return f'<td class="cost lacking" data-label="Cost">{lacking}</td>'
    estimated = f"<small>{safe(in_column(line.estimated, whole))} estimated</small>" if line.estimated else ""
    return f'<td class=cost data-label="Cost">{_amount_bar(line.cost, whole)}{estimated}</td>'


def _amount_bar(cost: int, whole: int) -> str:
    """An amount, its share of the whole, and a bar as long as that."""
    part = cost / whole if whole else 0
    return (
        f"<b>{safe(in_column(cost, whole))}</b> <span class=share>{share(part)}</span>"
        f'<span class=bar><span style="width:{100 * part:.1f}%"></span></span>'
    )


def _mean_time(line: CostLine) -> str:
    ended = line.requests - line.pending - line.unsent
    return seconds(line.duration_s / ended) if ended > 0 and line.duration_s else MISSING


def _purposes(report: CostReport) -> str:
    whole = report.total.cost or 0
    rows = "".join(
        f"<tr><th scope=row>{safe(PURPOSES.get(line.key[0], line.key[0]), 40)}</th>{_cost_cell(line, whole)}"
        f"<td>{plural(line.requests, 'request')}</td></tr>\n"
        for line in report.purposes
    )
    return f"<table class=small-table><tbody>\n{rows}</tbody></table>\n"


def _classes(total: CostLine) -> str:
    own = total.parts[PARTS.index("reasoning")]  # else reasoning is paid as output, and counted there
    reasoning = total.reasoning_tokens if own else 0
    counts = (
        max(total.input_tokens - total.cache_read_tokens - total.cache_write_tokens, 0), total.cache_read_tokens,
        total.cache_write_tokens, max(total.output_tokens - reasoning, 0), reasoning, None,
    )  # fmt: skip
    whole = sum(total.parts)
    rows = []
    for name, count, cost in zip(_CLASSES, counts, total.parts, strict=True):
        if not count and not cost:
            continue
        counted = MISSING if count is None else f"{short_tokens(count)} tokens"
        rows.append(
            f"<tr><th scope=row>{name}</th><td class=cost>{_amount_bar(cost, whole)}</td><td>{counted}</td></tr>\n"
        )
    return f"<table class=small-table><tbody>\n{''.join(rows)}</tbody></table>\n" if rows else "<p>–</p>"


def _accepted(report: CostReport) -> str:
    rows = []
    for answers in report.accepted:
        each = money(answers.each)
        judged = money(answers.each_with_checking) if answers.checking else MISSING
        lacking = f"<small>{plural(answers.unpriced, 'request')} without a price</small>" if answers.unpriced else ""
        reused = f"<small>{answers.reused:,} from the cache</small>" if answers.reused else ""
        if answers.reused and answers.each_sent is not None:
            lacking = f"<small>{safe(money(answers.each_sent))} without the cached</small>{lacking}"
        rows.append(
            f"<tr><th scope=row>{safe(answers.variant, 80)}</th><td>{answers.accepted:,} of {answers.answers:,}{reused}"
            f"</td><td class=cost><b>{safe(each)}</b>{lacking}</td><td>{safe(judged)}</td></tr>\n"
        )
    rule = safe(report.accepted[0].rule, 200)
    heads = ("Variant", "Accepted", "Per accepted answer", "With judging")
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    return (
        f"<p class=quiet>Accepted: <code>{rule}</code></p>\n<div class=scroll><table>"
        f"<thead><tr>{head}</tr></thead><tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _doubts(report: CostReport) -> str:
    said = "".join(f"<li>{safe(text)}</li>" for text in (pruned_words(report.pruned), *doubts(report.total)) if text)
    models = "".join(
        f"<li><b>{safe(unpriced_line(model))}</b><pre>{safe(model.hint, 400)}</pre></li>" for model in report.unpriced
    )
    added = f"<p class=quiet>A line in the project's prices gives them one:</p><ul class=models>{models}</ul>"
    return f"<ul class=plain-list>{said}</ul>{added if models else ''}\n"


assert len(_CLASSES) == len(PARTS)
