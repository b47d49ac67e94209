"""The fixed tables of the HTML report. Every text from outside passes through `safe`."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from llmops.reports.figures import ARROWS, MISSING, count, dollars, gate_value, number, plural, seconds, share
from llmops.reports.plain import as_text, printable
from llmops.reports.summary import MetricSummary, Summary, VariantSummary
from llmops.types import MetricInfo, RunRecord

MAX_TAGS_SHOWN = 40
PALETTE = 8
_BETTER = {"higher": "higher is better", "lower": "lower is better", "none": ""}


def safe(text: str, limit: int = 300) -> str:
    """Text on one line, escaped for element content and double-quoted attributes."""
    return escape(printable(text, limit, one_line=True))


def swatch(place: int) -> str:
    """The dot in a variant's colour."""
    return f'<i class="swatch v{place % PALETTE}"></i>'


def variants(summary: Summary) -> str:
    """A row a variant, a column a metric, and what it cost in errors, time and tokens."""
    cached = any(variant.cached for variant in summary.variants)
    priced = any(variant.cost_per_case is not None for variant in summary.variants)
    heads = [_metric_head(info) for info in summary.record.metrics]
    first = ["First token"] if summary.streamed else []
    heads += [f"<th scope=col>{name}</th>" for name in ("Errors", "p50", "p95", *first, "Tokens / case")]
    heads += ["<th scope=col>Cost / case</th>"] if priced else []
    heads += ["<th scope=col>Cached</th>"] if cached else []
    rows = [_variant_row(summary, variant, i, cached, priced) for i, variant in enumerate(summary.variants)]
    return _table("<th scope=col>Variant</th>" + "".join(heads), rows)


def _metric_head(info: MetricInfo) -> str:
    title = ". ".join(part for part in (info.description, _BETTER[info.direction]) if part)
    arrow = f" <span class=arrow aria-hidden=true>{ARROWS[info.direction]}</span>" if ARROWS[info.direction] else ""
    return f'<th scope=col title="{safe(title)}">{safe(info.name, 60)}{arrow}</th>'


def _variant_row(summary: Summary, variant: VariantSummary, place: int, cached: bool, priced: bool) -> str:
    base = ' <span class="pill quiet">baseline</span>' if variant.baseline else ""
    kind = f"<small>{safe(variant.info.kind, 40)}</small>" if variant.info.kind else ""
    cells = [f"<th scope=row>{swatch(place)}{safe(variant.name, 80)}{base}{kind}</th>"]
    cells += [_mean(metric, summary.is_best(metric)) for metric in variant.metrics.values()]
    errors = f"<td>{variant.errors:,}</td>"
    if variant.errors:
        errors = f"<td class=bad>{variant.errors:,}<small>{share(variant.error_share)}</small></td>"
    cells += [errors, f"<td>{seconds(variant.latency_p50)}</td>", f"<td>{seconds(variant.latency_p95)}</td>"]
    if summary.streamed:
        tail = f"<small>p95 {seconds(variant.first_token_p95)}</small>" if variant.first_token_p95 is not None else ""
        cells.append(f"<td>{seconds(variant.first_token_p50)}{tail}</td>")
    cells.append(f"<td>{count(variant.tokens_per_case)}</td>")
    cells += [f"<td>{dollars(variant.cost_per_case)}</td>"] if priced else []
    cells += [f"<td>{variant.cached:,}</td>"] if cached else []
    return "".join(cells)


def _mean(metric: MetricSummary, best: bool) -> str:
    info, value = metric.info, metric.mean
    if value is None:
        return f"<td class=missing>{MISSING}</td>"
    detail = f"{plural(metric.scored, 'case')}, SD {number(metric.deviation)}, "
    detail += f"{number(metric.minimum)} to {number(metric.maximum)}"
    bar = ""
    if info.low is not None and info.high is not None and info.high > info.low:
        width = min(max((value - info.low) / (info.high - info.low), 0), 1) * 100
        bar = f'<span class=bar><span style="width:{width:.1f}%"></span></span>'
    unscored = f"<small>{metric.unscored:,} unscored</small>" if metric.unscored else ""
    strong = "b" if best else "span"
    return f'<td title="{detail}"><{strong}>{number(value, safe(info.unit, 12))}</{strong}>{bar}{unscored}</td>'


def notes(summary: Summary) -> str:
    """Why cases are unscored, which errors there were, and what variants say of themselves."""
    lines = []
    for variant in summary.variants:
        name = f"<b>{safe(variant.name, 80)}</b>"
        if variant.info.note:
            lines.append(f"{name}: {safe(variant.info.note)}")
        if variant.error_kinds:
            kinds = ", ".join(f"{n:,} {safe(kind, 60)}" for kind, n in list(variant.error_kinds.items())[:5])
            lines.append(f"{name}, errors: {kinds}")
        for metric in variant.metrics.values():
            if metric.worth_noting:
                reasons = "; ".join(f"{safe(why)} ({n:,})" for why, n in metric.reasons)
                head = f"{name}, {safe(metric.info.name, 60)}: {plural(metric.unscored, 'case')} unscored"
                lines.append(f"{head}: {reasons}")
    return f"<ul class=notes>{''.join(f'<li>{line}</li>' for line in lines)}</ul>\n" if lines else ""


def gates(record: RunRecord) -> str:
    """A row a gate: its outcome in a word, rule, variant, value and detail."""
    looks = {"pass": ("good", "✓ pass"), "fail": ("bad", "✗ fail")}
    rows = []
    for gate in record.gates:
        look, word = looks.get(gate.outcome, ("unsure", "? undecided"))
        rows.append(
            f'<td><span class="pill {look}">{word}</span></td><td><code>{safe(gate.rule)}</code></td>'
            f"<td>{safe(gate.variant, 80)}</td><td class=figure>{gate_value(gate)}</td>"
            f"<td>{safe(gate.detail)}</td>"
        )
    heads = ("Outcome", "Gate", "Variant", "Value", "")
    return _table("".join(f"<th scope=col>{head}</th>" for head in heads), rows, "gates")


def tags(summary: Summary) -> str:
    """Means by tag: a row a tag, a column a metric and variant."""
    names = list(summary.aggregate.tags.items())
    pairs = [(i, v, m) for m in summary.record.metrics for i, v in enumerate(summary.variants)]
    span = len(summary.variants)
    top = "<th scope=col rowspan=2>Tag</th><th scope=col rowspan=2>Cases</th>"
    top += "".join(f"<th scope=colgroup colspan={span}>{safe(m.name, 60)}</th>" for m in summary.record.metrics)
    under = "".join(f"<th scope=col>{swatch(i)}{safe(v.name, 40)}</th>" for i, v, _ in pairs)
    rows = []
    for tag, cases in names[:MAX_TAGS_SHOWN]:
        cells = (v.metrics[m.name].by_tag.get(tag, (None, 0))[0] for _, v, m in pairs)
        figures = "".join(f"<td>{number(value)}</td>" for value in cells)
        rows.append(f"<th scope=row>{safe(tag, 60)}</th><td>{cases:,}</td>{figures}")
    hidden = len(names) - MAX_TAGS_SHOWN
    more = f"<p class=quiet>{plural(hidden, 'more tag')}, with fewer cases.</p>\n" if hidden > 0 else ""
    return _table(f"{top}</tr><tr>{under}", rows, "tags") + more


def provenance(record: RunRecord) -> str:
    """Everything that makes the run reproducible."""
    pairs = [
        ("Run", record.id),
        ("Suite hash", record.suite_hash[:12]),
        ("Dataset fingerprint", record.fingerprint[:12]),
        ("Seed", "" if record.seed is None else str(record.seed)),
        ("Started", record.started_at),
        ("Ended", record.ended_at or ""),
    ]
    pairs += [(str(key), as_text(value)) for key, value in record.environment.items()]
    described = [(f"Variant {v.name}", as_text(v.details)) for v in record.variants if v.details]
    return f"<dl>{_pairs(pairs)}{_pairs(described)}</dl>\n"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{safe(key, 80)}</dt><dd>{safe(value, 2000)}</dd></div>" for key, value in pairs if value)


def _table(head: str, rows: list[str], look: str = "figures") -> str:
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="Table"><table class={look}>\n<thead><tr>{head}</tr>'
        f"</thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
