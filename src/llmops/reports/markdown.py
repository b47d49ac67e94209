"""A report for pull requests: GitHub's and GitLab's Markdown, inert whatever a model wrote (see `markup`)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from llmops.reports.comparison_markdown import comparison_sections, overall
from llmops.reports.completeness import incomplete
from llmops.reports.figures import ARROWS, MISSING, count, dollars, gate_value, number, plural, seconds, share
from llmops.reports.markup import fence, fold, row, span
from llmops.reports.plain import as_text, printable, question, retrieved
from llmops.reports.selection import CaseView, worth_reading
from llmops.reports.spent import spending_of, spent_lines
from llmops.reports.summary import Summary, VariantSummary, summarize
from llmops.types import Results, RunRecord

__all__ = ["fence", "marker", "span", "write_markdown"]
MAX_CHARACTERS = 59_000
MAX_ROWS = 40
MAX_METRICS = 12
_MARKS = {"pass": "✅ pass", "fail": "❌ fail"}


def write_markdown(record: RunRecord, results: Results, write: Callable[[str], object]) -> None:
    """Verdicts, summary, gates and cases, under 60,000 characters in all (a comment on GitHub holds 65,536)."""
    summary = summarize(record, results)
    room = MAX_CHARACTERS
    for section in _sections(summary, results):
        if len(section) > room:
            write("\n*More was left out, to stay within the size of a comment.*\n")
            break
        write(section)
        room -= len(section)


def marker(suite: str) -> str:
    """A hidden first line by which a bot finds its earlier comment about this suite."""
    return f"<!-- llmops:{re.sub(r'-{2,}', '-', re.sub(r'[^A-Za-z0-9._/-]', '_', suite))[:100]} -->"


def _sections(summary: Summary, results: Results) -> Iterator[str]:
    record = summary.record
    facts = [plural(summary.cases, "case"), plural(len(summary.variants), "variant")]
    if record.repeats > 1:
        facts.append(plural(record.repeats, "repeat"))
    dataset = f" on {span(record.dataset)}" if record.dataset else ""
    lacking = incomplete(record, summary.answers)
    warning = f"⚠️ **Incomplete:** {span(lacking, 600)}\n\n" if lacking else ""
    verdict = "" if lacking or not record.comparisons else f"{overall(record)} · "
    yield f"{marker(record.suite)}\n### {verdict}{span(record.suite)}{dataset}\n\n{warning}"
    if record.comparisons:
        yield from comparison_sections(summary, results)
    else:
        yield f"{' · '.join(facts)}\n\n"
    if record.note and not lacking:
        yield f"{span(record.note, 500)}\n\n"
    if not record.comparisons:
        yield _table(summary)
    elif summary.answers:
        yield fold(f"Figures of {plural(len(summary.variants), 'variant')}", _table(summary))
    spent = [f"- {line}.\n" for line in spent_lines(spending_of(summary))]
    yield f"{''.join(spent)}\n" if spent else ""
    yield from _notes(summary)
    if record.gates:
        yield _gates(record)
    views = [] if record.comparisons else worth_reading(summary, results, 5)
    if views:
        yield "\n#### Cases worth reading\n\n"
    for view in views:
        yield _case(view, summary)
    if record.id:
        yield f"\nRun {span(record.id)}\n"


def _table(summary: Summary) -> str:
    metrics = summary.record.metrics[:MAX_METRICS]
    heads = [f"{span(info.name, 40)} {ARROWS[info.direction]}".strip() for info in metrics]
    priced = any(variant.cost_per_case is not None for variant in summary.variants)
    columns = [
        "variant",
        *heads,
        "errors",
        "p50",
        "p95",
        *_first_heads(summary),
        "tokens/case",
        *(["cost/case"] if priced else []),
    ]
    text = row(columns) + "|:---|" + "---:|" * (len(columns) - 1) + "\n"
    for variant in summary.variants[:MAX_ROWS]:
        means = [_mean(variant, info.name) for info in metrics]
        errors = f"{variant.errors:,} ({share(variant.error_share)})" if variant.errors else "0"
        tail = [seconds(variant.latency_p50), seconds(variant.latency_p95)]
        tail += [seconds(variant.first_token_p50), seconds(variant.first_token_p95)] if summary.streamed else []
        tail += [count(variant.tokens_per_case)]
        tail += [dollars(variant.cost_per_case)] if priced else []
        name = span(variant.name, 60) + (" (baseline)" if variant.baseline else "")
        text += row([name, *means, errors, *tail])
    hidden = len(summary.variants) - MAX_ROWS
    return text + (f"\n{plural(hidden, 'more variant')}.\n" if hidden > 0 else "") + "\n"


def _first_heads(summary: Summary) -> list[str]:
    return ["first token p50", "first token p95"] if summary.streamed else []


def _mean(variant: VariantSummary, name: str) -> str:
    metric = variant.metrics[name]
    unit = metric.info.unit
    return f"{number(metric.mean)} {span(unit, 12)}" if unit and metric.mean is not None else number(metric.mean)


def _notes(summary: Summary) -> Iterator[str]:
    for variant in summary.variants[:MAX_ROWS]:
        for metric in list(variant.metrics.values())[:MAX_METRICS]:
            if metric.worth_noting:
                reasons = ", ".join(f"{span(reason)} ({amount:,})" for reason, amount in metric.reasons[:3])
                where = f"{span(variant.name, 60)} {span(metric.info.name, 40)}"
                yield f"- {where}: {plural(metric.unscored, 'case')} unscored: {reasons}\n"
        if variant.error_kinds:
            kinds = ", ".join(f"{span(kind, 40)} ({n:,})" for kind, n in list(variant.error_kinds.items())[:5])
            yield f"- {span(variant.name, 60)} errors: {kinds}\n"
        if variant.info.note:
            yield f"- {span(variant.name, 60)}: {span(variant.info.note, 300)}\n"


def _gates(record: RunRecord) -> str:
    text = "\n#### Gates\n\n" + row(["gate", "variant", "value", "outcome", ""]) + "|:---|:---|---:|:---|:---|\n"
    for gate in record.gates[:MAX_ROWS]:
        outcome = _MARKS.get(gate.outcome, "❔ undecided")
        detail = span(gate.detail, 120) if gate.detail else ""
        text += row([span(gate.rule, 120), span(gate.variant, 60), gate_value(gate), outcome, detail])
    hidden = len(record.gates) - MAX_ROWS
    return text + (f"\n{plural(hidden, 'more gate')}.\n" if hidden > 0 else "")


def _case(view: CaseView, summary: Summary) -> str:
    case, leading = view.case, summary.leading_metric
    scores = []
    body = f"Question\n\n{fence(question(case), 600)}"
    if case.expected is not None:
        body += f"\nExpected\n\n{fence(as_text(case.expected), 600)}"
    for variant in summary.variants[:6]:
        for result in view.results.get(variant.name, [])[:1]:
            score = result.scores.get(leading.name) if leading else None
            value = number(score.value) if score else MISSING
            scores.append("error" if result.output.error else value)
            body += f"\n{span(variant.name, 60)}"
            body += f" {span(leading.name, 40)} {value}" if leading and score else ""
            error = result.output.error
            body += f" error {span(f'{error.kind}: {error.message}', 300)}" if error else ""
            body += f"\n\n{fence(result.output.text, 1500)}" if result.output.text or not error else "\n"
            if result.output.contexts:
                body += f"\n{span(retrieved(case, result.output.contexts), 400)}\n"
    # An HTML block: Markdown isn't read in it, so the id needs HTML's escapes, and <code> keeps mentions out.
    name = html.escape(printable(case.id, 60, one_line=True))
    return f"<details>\n<summary><code>{name}</code> ({' / '.join(scores)})</summary>\n\n{body}\n</details>\n\n"
