"""What a page says first of a candidate compared with a baseline: verdicts, intervals, and what is behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from llmops.reports.figures import plural
from llmops.reports.html_changes import changed
from llmops.reports.html_flips import flip_words
from llmops.reports.html_intervals import Row, Scale, hatching, icon, plot, row_of, small_plot
from llmops.reports.html_tables import safe
from llmops.reports.verdicts import flips, headline, leading, sentence, signed, stopped, title, wanted_alpha
from llmops.types import Comparison, MetricComparison, RunRecord, SliceComparison, Verdict

MAX_METRICS = 40
MAX_SLICES = 12
MAX_NAMED = 5
MAX_BARE = 20
MAX_UNPAIRED = 10
MAX_NOTES = 20
MOST_OF_REST = 2.5
_ORDER: tuple[Verdict, ...] = ("regressed", "inconclusive", "improved", "equivalent")
_WORDS = {
    "regressed": "worse",
    "inconclusive": "can't tell yet",
    "improved": "better",
    "equivalent": "no meaningful drop",
}
_LOOKS = {"regressed": "bad", "inconclusive": "unsure", "improved": "better", "equivalent": "good"}


def comparisons(record: RunRecord, browsable: bool) -> Iterator[str]:
    """A section a comparison. `browsable` says that the page has the cases, so that lists of them can lead there."""
    if record.comparisons:
        yield hatching()
    for place, compared in enumerate(record.comparisons):
        yield _section(record, compared, place, browsable)


def _section(record: RunRecord, compared: Comparison, place: int, browsable: bool) -> str:
    names = f"<code>{safe(compared.candidate, 80)}</code> against <code>{safe(compared.baseline, 80)}</code>"
    shown = sorted(leading(compared)[:MAX_METRICS], key=lambda m: _ORDER.index(m.verdict))
    rest = [m for m in compared.metrics if m not in shown][:MAX_METRICS]
    parts = [
        f'<div class=versus><h2 id="comparison-{place}">{names}</h2>{_tally(shown)}</div>\n',
        f"<p class=facts>{_facts(compared)}</p>\n",
        _cards(shown, wanted_alpha(record), place, compared, browsable),
        _intervals(shown, rest, wanted_alpha(record)),
        _changed(record, compared),
        _flipped(compared, shown, place, browsable),
        _slices(compared),
        _notes(compared),
        f"<p class=method>{_method(compared, shown, wanted_alpha(record))}</p>\n",
    ]
    return f'<section class=comparison aria-labelledby="comparison-{place}">\n{"".join(parts)}</section>\n'


def _tally(shown: Sequence[MetricComparison]) -> str:
    """How many metrics have each verdict, the worst first."""
    pills = ""
    for verdict in _ORDER:
        amount = sum(m.verdict == verdict for m in shown)
        if amount:
            pills += f'<span class="pill {_LOOKS[verdict]}">{icon(verdict)}{amount:,} {_WORDS[verdict]}</span>'
    return f"<p class=tally>{pills}</p>"


def _facts(compared: Comparison) -> str:
    facts = [plural(compared.cases, "paired case")]
    facts += [safe(stopped(compared))] if stopped(compared) else []
    return " · ".join(facts)


def _cards(shown: Sequence[MetricComparison], alpha: float, place: int, compared: Comparison, browsable: bool) -> str:
    """A card a metric: the verdict's sign, its headline and the evidence, and the way to the cases behind it."""
    cards = ""
    for m in shown:
        guard = "" if m.guard or not any(other.guard for other in shown) else "<small>not guarded</small>"
        links = _links(m, _key(compared, place, m)) if browsable else ""
        cards += (
            f'<article class="card {m.verdict}">{icon(m.verdict)}<div><h3>{safe(headline(m))}{guard}</h3>'
            f"<p>{safe(sentence(m, alpha), 1500)}</p>{links}</div></article>\n"
        )
    columns = 2 if len(shown) in (2, 4) else 1 if len(shown) == 1 else 3
    return f'<div class="cards of{columns}">{cards}</div>\n' if cards else ""


def _key(compared: Comparison, place: int, m: MetricComparison) -> str:
    return f"{place}:{compared.metrics.index(m)}"


def _links(m: MetricComparison, key: str) -> str:
    worse, better = flip_words(m)
    made = [
        f'<a href="#cases" class=go data-change="{key}:{side}">{len(ids):,} {word}</a>'
        for side, word, ids in (("broke", worse, m.broke), ("fixed", better, m.fixed))
        if ids
    ]
    return f"<p class=links>{''.join(made)}</p>" if made else ""


def _intervals(shown: Sequence[MetricComparison], rest: Sequence[MetricComparison], alpha: float) -> str:
    """The plot of the verdicts' metrics, and another of what else was measured."""
    if not shown:
        return ""
    level = f"{100 * (1 - alpha):.4g} % interval"
    key = f"<span><i class=k-dot></i>measured change</span><span><i class=k-bar></i>{level}</span>"
    if any(m.margin > 0 for m in shown):
        key += (
            "<span><i class=k-bound></i>cautious worst case, must stay clear of the limit</span>"
            "<span><i class=k-beyond></i>worse than your limit</span>"
        )
    scale = Scale.of(shown)
    if rest:  # one scale, so that lines stand under each other, unless that squeezes what the verdict is about
        scale = scale.over(Scale.of(rest, most=MOST_OF_REST))
    text = f"<h3>Change and how sure it is</h3>\n{plot([row_of(m) for m in shown], 'Verdicts', scale)}"
    if rest:
        also = plot([row_of(m) for m in rest], "Also measured", scale, heading=False)
        text += f"<h4 class=also>Also measured</h4>\n{also}"
    return f"{text}<p class=key>{key}</p>\n"


def _slices(compared: Comparison) -> str:
    """A small plot a metric, folded unless a tag stands out."""
    blocks, known = "", {m.metric: m for m in compared.metrics}
    for name in dict.fromkeys(one.metric for one in compared.slices):
        m = known.get(name)
        found = [one for one in compared.slices if one.metric == name]
        if m is None or len(known) > MAX_METRICS:
            continue
        found.sort(key=lambda one: (not one.notable, one.diff if math.isfinite(one.diff) else 0.0, one.tag))
        hidden = len(found) - MAX_SLICES
        more = f"<p class=quiet>and {plural(hidden, 'more tag')} with less to see.</p>" if hidden > 0 else ""
        rows = [_slice_row(one, m) for one in found[:MAX_SLICES]]
        edge = f" <small>your limit {safe(signed(-m.margin, m))}</small>" if m.margin > 0 else ""
        drawn = small_plot(rows, f"{title(m)} by tag")
        blocks += f"<div><h4>{safe(title(m), 80)}{edge}</h4>{drawn}{more}</div>"
    if not blocks:
        return ""
    notable = sum(one.notable for one in compared.slices)
    stands = f"{notable} of {plural(len(compared.slices), 'slice')} stand out" if notable else "no slice stands out"
    said = f"{stands} after Benjamini–Hochberg over all slices; slices block nothing"
    return (
        f"<details{' open' if notable else ''}><summary>By tag <small>{said}</small></summary>\n"
        f"<div class=slices>{blocks}</div></details>\n"
    )


def _slice_row(one: SliceComparison, m: MetricComparison) -> Row:
    verdict: Verdict = "inconclusive"
    if one.notable:
        verdict = "improved" if one.diff > 0 else "regressed"
    drawn = replace(
        m, n=one.n, mean_a=one.mean_a, mean_b=one.mean_b, diff=one.diff, ci=one.ci, lo_safe=math.nan, verdict=verdict
    )
    flag = f' <span class="pill {_LOOKS[verdict]}">{icon(verdict)}stands out</span>' if one.notable else ""
    return Row(drawn, f"{safe(one.tag, 60)}{flag}", plural(one.n, "case"), strong=one.notable)


def _flipped(compared: Comparison, shown: Sequence[MetricComparison], place: int, browsable: bool) -> str:
    """The worst cases that broke and the best that were fixed, by metric; the script adds questions and scores."""
    blocks = ""
    for m in shown:
        key, sides = _key(compared, place, m), zip(("broke", "fixed"), flip_words(m), (m.broke, m.fixed), strict=True)
        lists = "".join(_named(f"{key}:{side}", word, ids, browsable) for side, word, ids in sides if ids)
        if lists:
            head = f"{icon(m.verdict)}{safe(title(m), 80)} <small>{safe(flips(m))}</small>"
            unfolded = " open" if not blocks or m.verdict == "regressed" else ""
            blocks += f"<details{unfolded}><summary>{head}</summary><div class=sides>{lists}</div></details>\n"
    return f"<div class=flips><h3>Cases that changed</h3>\n{blocks}</div>\n" if blocks else ""


def _named(key: str, word: str, ids: Sequence[str], browsable: bool) -> str:
    named = MAX_NAMED if browsable else MAX_BARE
    listed = "".join(f'<li data-case="{safe(one)}"><code>{safe(one, 80)}</code></li>' for one in ids[:named])
    hidden = len(ids) - named
    more = f"<p class=quiet>and {hidden:,} more</p>" if hidden > 0 else ""
    if browsable:
        more = f'<a href="#cases" class=go data-change="{key}">Read all {len(ids):,}</a>' if hidden > 0 else ""
    look = "" if browsable else " class=bare"
    return f'<div><h5>{word.capitalize()}</h5><ul data-of="{key}"{look}>{listed}</ul>{more}</div>'


def _changed(record: RunRecord, compared: Comparison) -> str:
    infos = {variant.name: variant for variant in record.variants}
    found = changed(infos.get(compared.baseline), infos.get(compared.candidate))
    return f"<details open><summary>What changed</summary>\n{found}</details>\n" if found else ""


def _notes(compared: Comparison) -> str:
    lines = [safe(note, 500) for note in compared.notes[:MAX_NOTES]]
    for name, ids in ((compared.baseline, compared.only_a), (compared.candidate, compared.only_b)):
        if ids:
            some = ", ".join(f"<code>{safe(one, 60)}</code>" for one in ids[:MAX_UNPAIRED])
            more = ", …" if len(ids) > MAX_UNPAIRED else ""
            only = f"{plural(len(ids), 'case')} only in <code>{safe(name, 80)}</code>, not compared"
            lines.append(f"{only}: {some}{more}")
    return f"<ul class=notes>{''.join(f'<li>{line}</li>' for line in lines)}</ul>\n" if lines else ""


def _method(compared: Comparison, shown: Sequence[MetricComparison], alpha: float) -> str:
    """How it was computed, in a line."""
    parts = [f"{100 * (1 - alpha):.4g} % intervals, paired by case"]
    parts += list(dict.fromkeys(safe(m.method, 120) for m in shown if m.method))[:4]
    groups = max((m.groups or 0 for m in compared.metrics), default=0)
    parts += [f"grouped, {plural(groups, 'group')}"] if groups else []
    guards = sum(m.guard for m in compared.metrics)
    parts += [f"{plural(guards, 'guard metric')}, Holm"] if guards > 1 else []
    parts += [f"{plural(compared.pooled, 'run')} pooled"] if compared.pooled > 1 else []
    return "; ".join(parts) + "."
