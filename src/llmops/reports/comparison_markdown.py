"""Comparisons as Markdown for a pull request: verdicts first, what is behind them folded away."""

from __future__ import annotations

import math
from collections.abc import Iterator

from llmops.reports.changes import changes
from llmops.reports.compared_cases import ComparedCase, Kind, compared_cases, moved, turning
from llmops.reports.figures import MISSING, dollars, number, plural
from llmops.reports.markup import code, fitting, fold, pre, prose, row, span
from llmops.reports.plain import question
from llmops.reports.prompt_markdown import changes_section
from llmops.reports.summary import Summary, VariantSummary
from llmops.reports.verdicts import (
    cautions,
    confidence,
    evidence,
    interval,
    is_cost,
    leading,
    mark,
    phrase,
    reading,
    signed,
    stopped,
    title,
    wanted_alpha,
    worst_first,
)
from llmops.types import Comparison, MetricComparison, Result, Results, RunRecord, SliceComparison, Usage

VERDICTS_ROOM, DETAILS_ROOM = 14_000, 34_000
"""Characters for the verdicts and for the details of all comparisons together; a comment holds 65,536."""
MAX_COMPARISONS = 8
MAX_CAUTIONS = 3
CASES = 5
MAX_IDS = 20
_COLUMNS = 46


def overall(record: RunRecord) -> str:
    """The whole in a mark and some words: `❌ Got worse`. Nothing without comparisons."""
    compared = [metric for comparison in record.comparisons for metric in comparison.metrics]
    metrics = [metric for metric in compared if metric.guard]
    if not metrics:  # nothing was asked: the whole is what there is
        metrics = [metric for comparison in record.comparisons for metric in leading(comparison)]
    verdicts, outcomes = {metric.verdict for metric in metrics}, {gate.outcome for gate in record.gates}
    if not metrics:
        return ""
    if "regressed" in verdicts:
        return "❌ Got worse"
    if "fail" in outcomes:
        return "❌ A gate failed"
    if "inconclusive" in verdicts or "undecided" in outcomes:
        return "⚪ Can't tell yet"
    if any(metric.verdict == "regressed" for metric in compared):
        return "⚠️ No gate failed, but something got worse"
    if "improved" not in verdicts:
        return "✅ No meaningful drop"
    clear = all(metric.verdict in ("improved", "equivalent") for metric in compared if not is_cost(metric))
    return "✅ Better, and nothing got worse" if clear else "✅ Better"


def comparison_sections(summary: Summary, results: Results) -> Iterator[str]:
    """For each comparison its verdicts, then folded: all metrics, what changed, cases, slices; then how it was made.

    All verdicts come before anything else. The size is bounded, whatever the input.
    """
    shown = summary.record.comparisons[:MAX_COMPARISONS]
    sides = max(len(shown), 1)
    for comparison in shown:
        yield _verdicts(comparison, wanted_alpha(summary.record), VERDICTS_ROOM // sides)
    hidden = len(summary.record.comparisons) - len(shown)
    if hidden > 0:
        yield f"{plural(hidden, 'more comparison')}.\n\n"
    for comparison in shown:
        if len(shown) > 1:
            yield f"#### {_sides(comparison)}\n\n"
        yield from _details(comparison, summary, results, DETAILS_ROOM // sides)


def _sides(comparison: Comparison) -> str:
    return f"{span(comparison.candidate, 60)} against {span(comparison.baseline, 60)}"


def _verdicts(comparison: Comparison, alpha: float, room: int) -> str:
    facts = [f"**{_sides(comparison)}**", plural(comparison.cases, "paired case")]
    lines = [_verdict(metric, alpha) for metric in worst_first(leading(comparison))]
    costs = [_cost(m, alpha) for m in comparison.metrics if is_cost(m) and m not in leading(comparison)]
    text = f"{' · '.join(facts)}\n\n{fitting([*lines, *costs], room - 800, 'metric')}"
    notes = [one for one in (stopped(comparison), _unpaired(comparison)) if one]
    return f"{text}\n{' '.join(notes)}\n\n" if notes else f"{text}\n"


def _verdict(metric: MetricComparison, alpha: float) -> str:
    held = " ".join(prose(one, 150) for one in cautions(metric)[:MAX_CAUTIONS])
    return f"- {mark(metric)} **{_headline(metric)}.** {evidence(metric, alpha)}{' ' if held else ''}{held}\n"


def _cost(metric: MetricComparison, alpha: float) -> str:
    """Latency and tokens: no number of answers that broke."""
    said = evidence(metric, alpha)
    if metric.verdict in ("improved", "regressed"):
        fits = interval(metric)
        said = f"Between {fits.replace(' to ', ' and ')} ({confidence(metric, alpha)})." if fits else ""
    held = [prose(one, 150) for one in cautions(metric)[:MAX_CAUTIONS]] if metric.verdict == "inconclusive" else []
    return f"- {mark(metric)} {_headline(metric)}. {' '.join([said, *held])}\n"


def _headline(metric: MetricComparison) -> str:
    says = phrase(metric)
    return f"{prose(title(metric), 60)}{'' if says.startswith(':') else ' '}{says}"


def _unpaired(comparison: Comparison) -> str:
    parts = [
        f"{plural(len(ids), 'case')} only in {span(side, 40)} ({span(ids[0], 40)}{', …' if len(ids) > 1 else ''})"
        for ids, side in ((comparison.only_a, comparison.baseline), (comparison.only_b, comparison.candidate))
        if ids
    ]
    return f"Not compared: {' and '.join(parts)}." if parts else ""


def _details(comparison: Comparison, summary: Summary, results: Results, room: int) -> Iterator[str]:
    yield _changes(comparison, summary.record, room // 3)
    found = compared_cases(comparison, results, CASES)
    kinds: tuple[Kind, ...] = ("broke", "fixed")
    for kind in kinds:
        yield _cases(comparison, [one for one in found if one.kind == kind], kind, room // 5)
    yield _table(comparison, room // 10)
    yield _slices(comparison, room // 12)
    yield _footer(comparison, summary)


def _changes(comparison: Comparison, record: RunRecord, room: int) -> str:
    infos = {info.name: info for info in record.variants}
    before, after = infos.get(comparison.baseline), infos.get(comparison.candidate)
    return changes_section(changes(before, after), room) if before and after else ""


def _table(comparison: Comparison, room: int) -> str:
    if not comparison.metrics:
        return ""
    head = (
        row(["", "metric", "baseline", "candidate", "change", "interval", "cases"]) + "|:---|:---|" + "---:|" * 5 + "\n"
    )
    rows = (
        row([
            mark(m), span(m.metric, 40) + (" (guard)" if m.guard else ""), reading(m.mean_a, m), reading(m.mean_b, m),
            signed(m.diff, m), interval(m) or MISSING, f"{m.n:,}",
        ])
        for m in comparison.metrics
    )  # fmt: skip
    return fold(f"All {plural(len(comparison.metrics), 'metric')}", head + fitting(rows, room, "metric"))


def _slices(comparison: Comparison, room: int) -> str:
    metrics = {metric.metric: metric for metric in comparison.metrics}
    known = [one for one in comparison.slices if one.metric in metrics]
    known.sort(key=lambda one: (not one.notable, one.diff if math.isfinite(one.diff) else 0.0))
    if not known:
        return ""
    notable = sum(one.notable for one in known)
    head = row(["", "tag", "metric", "baseline → candidate", "change", "cases"]) + "|:---|:---|:---|---:|---:|---:|\n"
    body = head + fitting((_slice(one, metrics[one.metric]) for one in known), room, "slice")
    stands = f"{notable:,} of {len(known):,} stand{'s' if notable == 1 else ''} out"
    told = f"\n⬆ ⬇ {stands} after Benjamini–Hochberg over all slices. Slices block nothing.\n"
    return fold(f"Slices by tag: {stands if notable else f'none of {len(known):,} stands out'}", body + told)


def _slice(one: SliceComparison, metric: MetricComparison) -> str:
    notable = ("⬆" if one.diff > 0 else "⬇") if one.notable else ""
    means = f"{reading(one.mean_a, metric)} → {reading(one.mean_b, metric)}"
    return row([notable, span(one.tag, 40), span(one.metric, 40), means, signed(one.diff, metric), f"{one.n:,}"])


def _cases(comparison: Comparison, found: list[ComparedCase], kind: Kind, room: int) -> str:
    if not found:
        return ""
    size = max(min((room // max(len(found), 1) - 900) // 4, 700), 60)
    if all(one.before is None and one.after is None for one in found):
        ids = list(dict.fromkeys(key for metric in turning(comparison, kind) for key in moved(metric, kind)))[:MAX_IDS]
        return fold(_moved(comparison, kind, len(ids)), f"<p>{' '.join(map(code, ids))}</p>\n")
    cases = (_case(one, comparison, size) for one in found)
    return fold(_moved(comparison, kind, len(found)), fitting(cases, room, "case"))


def _moved(comparison: Comparison, kind: Kind, shown: int) -> str:
    """`24 cases broke: the worst 5`."""
    metrics = turning(comparison, kind)
    total = len({key for m in metrics for key in moved(m, kind)})
    passing = all(m.kind == "binary" for m in metrics)
    if kind == "broke":
        says = "broke" if passing else "broke or got clearly worse"
    else:
        says = ("was" if total == 1 else "were") + " fixed" + ("" if passing else " or got clearly better")
    which = f": the {'worst' if kind == 'broke' else 'best'} {shown}" if total > shown else ""
    return f"{plural(total, 'case')} {says}{which}"


def _case(one: ComparedCase, comparison: Comparison, size: int) -> str:
    """A case as an HTML table of two columns: nothing in it is read as Markdown."""
    name = f"<b>{code(one.id)}</b> {code(one.metric.metric, 40)}"
    if one.case is None:
        return f"<p>{name}</p>\n\n"
    sides = ((comparison.baseline, one.before), (comparison.candidate, one.after))
    heads = "".join(f'<th align="left">{code(side, 40)} {_score(result, one.metric)}</th>' for side, result in sides)
    cells = "".join(f'<td valign="top">{_answer(result, size)}</td>' for _, result in sides)
    asked = f'<tr><td colspan="2">{name}{pre(question(one.case), size, 2 * _COLUMNS)}</td></tr>'
    return f"<table>{asked}<tr>{heads}</tr><tr>{cells}</tr></table>\n\n"


def _score(result: Result | None, metric: MetricComparison) -> str:
    if result is None:
        return ""
    if result.output.error is not None:
        return "failed"
    score = result.scores.get(metric.metric)
    if score is None or score.value is None:
        return MISSING
    return f"{score.value:g}" if metric.kind == "binary" else number(score.value)


def _answer(result: Result | None, size: int) -> str:
    if result is None:
        return "(no answer kept)"
    error = result.output.error
    text = f"{error.kind}: {error.message}" if error else result.output.text
    return pre(text, size, _COLUMNS) if text.strip() else "(empty answer)"


def _footer(comparison: Comparison, summary: Summary) -> str:
    alpha = wanted_alpha(summary.record)
    metrics = comparison.metrics
    guards = [metric for metric in metrics if metric.guard]
    methods = list(dict.fromkeys(metric.method for metric in leading(comparison) if metric.method))
    groups = max((metric.groups or 0 for metric in metrics), default=0)
    parts = [
        f"{100 * (1 - alpha):.4g} % intervals, paired by case",
        *(prose(method, 120) for method in methods[:3]),
        *([plural(groups, "group")] if groups else []),
        *([f"{len(guards)} guard metrics, Holm"] if len(guards) > 1 else []),
        *([f"{comparison.pooled} runs pooled"] if comparison.pooled > 1 else []),
        *(prose(note, 200) for note in comparison.notes[:6]),
    ]
    return f"{'; '.join(parts)}.{_spent(comparison, summary)}\n\n"


def _spent(comparison: Comparison, summary: Summary) -> str:
    """Answers from the cache, and of two runs the tokens paid for; a run says by itself what it spent."""
    sides = [v for v in summary.variants if v.name in (comparison.baseline, comparison.candidate)]
    answers, cached = sum(side.trials for side in sides), sum(side.cached for side in sides)
    spent = sum(side.usage.total_tokens for side in sides)
    if not answers:
        return ""
    saved = max(round(sum(map(_all_tokens, sides))) - spent, 0) if cached else 0
    from_cache = f" {cached:,} of {plural(answers, 'answer')} came from the cache." if cached else ""
    about = f", about {saved:,} saved" if saved else ""
    if "spent" in summary.record.config:
        return from_cache
    paid = sum((side.usage for side in sides), Usage())
    money = f", {dollars(paid.cost / 1_000_000_000)}" if paid.cost else ""
    money += f" and {plural(paid.unpriced, 'request')} without a price" if money and paid.unpriced else ""
    return f"{from_cache} {plural(spent, 'token')} spent{money}{about}." if spent or saved else from_cache


def _all_tokens(side: VariantSummary) -> float:
    return (side.tokens_per_case or 0.0) * (side.trials - side.errors)
