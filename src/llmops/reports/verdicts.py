"""A comparison's verdicts in plain words, the same in every report.

Texts hold no markup. Everything in them is ours but a metric's name (see `title`) and reasons from `why`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from llmops.reports.figures import plural
from llmops.reports.plain import printable
from llmops.reports.units import amount, change, interval, limit, points_of, reading, signed, size_in, tail_of
from llmops.types import Comparison, MetricComparison, MetricInfo, RunRecord, Verdict

__all__ = [
    "amount", "cautions", "change", "confidence", "evidence", "flips", "headline", "interval", "is_cost", "leading",
    "limit", "mark", "phrase", "reading", "sentence", "signed", "small_drop", "stopped", "title", "wanted_alpha",
    "worst_first",
]  # fmt: skip
ALPHA = 0.05
MAX_MORE = 1_000_000
MAX_WHY = 6
_TITLES = {
    "latency_mean": "Mean latency",
    "latency_p50": "Median latency",
    "tokens_per_case": "Tokens per case",
    "cost_per_case": "Cost per case",
}
_PERCENTILE = re.compile(r"latency_(p\d+)")
_COST = re.compile(r"latency(_mean|_p\d+)?|tokens(_per_case)?|cost_per_case")
_MARKS: dict[Verdict, tuple[str, str]] = {
    "improved": ("✅", "[ok]"),
    "equivalent": ("✅", "[ok]"),
    "regressed": ("❌", "[worse]"),
    "inconclusive": ("⚪", "[?]"),
}


class _Words(NamedTuple):
    """How a metric's changes are called: by what people see, not by what is better."""

    worse: str
    better: str
    lower: str


_HIGHER = _Words("drop", "gain", "lower")
_LOWER = _Words("rise", "fall", "higher")


def title(m: MetricComparison) -> str:
    """The metric as a sentence starts with it: words where its name is made of words, else the name as it is."""
    name = printable(m.info.name, 60, one_line=True) or "(no name)"
    percentile = _PERCENTILE.fullmatch(name)
    if name in _TITLES or percentile:
        return _TITLES.get(name) or f"Latency {percentile[1] if percentile else ''}"
    return name.replace("_", " ").capitalize() if name.replace("_", "").isalpha() and name.isascii() else name


def is_cost(m: MetricComparison) -> bool:
    """True for latency, tokens and dollars, which every comparison has beside what the suite measures."""
    return m.info.unit in ("s", "tokens", "$") and _COST.fullmatch(m.info.name) is not None


def mark(m: MetricComparison, *, ascii: bool = False) -> str:
    """✅ for better and for no meaningful drop, ❌ for worse, ⚪ for what can't be told yet."""
    return _MARKS[m.verdict][1 if ascii else 0]


def headline(m: MetricComparison) -> str:
    """The verdict in one line: `Pass rate fell 7.0 points (78.0 % → 71.0 %)`."""
    name, says = title(m), phrase(m)
    return f"{name}{says}" if says.startswith(":") else f"{name} {says}"


def phrase(m: MetricComparison) -> str:
    """What `headline` says after the metric's title; starts with a colon where it isn't a verb or direction."""
    if m.verdict == "inconclusive":
        return ": can't tell yet"
    if m.verdict == "equivalent":
        words = _words(m.info)
        return f": small real {words.worse}, within your limit" if small_drop(m) else f": no meaningful {words.worse}"
    means = f" ({change(m)})" if change(m) else ""
    if m.info.direction == "lower":
        up, says = ("up", "worse") if m.verdict == "regressed" else ("down", "better")
        return f"{up} {amount(m.diff, m)}{means}: {says}"
    return f"{'fell' if m.verdict == 'regressed' else 'up'} {amount(m.diff, m)}{means}"


def sentence(m: MetricComparison, alpha: float = ALPHA) -> str:
    """The evidence for the verdict, then cautions; `alpha` is the level that was asked for (see `wanted_alpha`)."""
    return " ".join([evidence(m, alpha), *cautions(m)])


def evidence(m: MetricComparison, alpha: float = ALPHA) -> str:
    """`sentence` without the cautions: nothing in it is from anybody but us."""
    if m.verdict == "inconclusive":
        return _undecided(m)
    if m.verdict == "equivalent":
        return f"{_at_worst(m)} {plural(m.n, 'case')}."
    return f"{flips(m)} {_not_luck(m, alpha)}".lstrip()


def small_drop(m: MetricComparison) -> bool:
    """True when the interval lies below zero though the verdict is that no drop matters."""
    return m.verdict == "equivalent" and m.ci[1] < 0


def flips(m: MetricComparison) -> str:
    """`24 answers broke, 10 were fixed.`, or how many got clearly worse and better; what moved the verdict first."""
    if not m.broke and not m.fixed:
        return ""
    worse, better = len(m.broke), len(m.fixed)
    were = "was" if better == 1 else "were"
    broke, fixed = ("broke", f"{were} fixed") if m.kind == "binary" else ("got clearly worse", "clearly better")
    if m.verdict == "improved":
        fixed = "got clearly better" if m.kind != "binary" else fixed
        return f"{plural(better, 'answer')} {fixed}, {worse or 'none'} {broke.removeprefix('got ')}.{_flaky(m)}"
    return f"{plural(worse, 'answer')} {broke}, {better or 'none'} {fixed}.{_flaky(m)}"


def _flaky(m: MetricComparison) -> str:
    return f" {len(m.flaky):,} of them changed back when asked again." if m.flaky else ""


def cautions(m: MetricComparison) -> list[str]:
    """What a reader must know besides: failed answers, cases left out, and what held the verdict back."""
    said = []
    if (m.errors_a or m.errors_b) and not is_cost(m):
        failed = f"{plural(m.errors_b, 'answer')} of the candidate and {m.errors_a:,} of the baseline failed"
        said.append(f"{failed}: counted as the worst score.")
    if m.unscored:
        said.append(f"{plural(m.unscored, 'case')} left out: a side has no score.")
    said += [
        f"{one[:1].upper()}{one[1:].rstrip('.')}."
        for one in (printable(w, 300, one_line=True) for w in m.why[:MAX_WHY])
    ]
    return said


def stopped(comparison: Comparison) -> str:
    """`Stopped after 120 of 200 cases: answer already clear, 40 % of calls saved.`, or nothing."""
    stopping = comparison.stopping
    if stopping is None or not 0 <= stopping.cases < stopping.planned:
        return ""
    after = f"Stopped after {stopping.cases:,} of {plural(stopping.planned, 'case')}"
    guards = [m for m in comparison.metrics if m.guard] or list(comparison.metrics)
    if any(m.verdict == "inconclusive" for m in guards):
        return f"{after}."
    saved = 100 * (1 - stopping.cases / stopping.planned)
    return f"{after}: answer already clear, {saved:.0f} % of calls saved."


def left_out(comparison: Comparison) -> str:
    """How many cases only one side has, or nothing."""
    a, b = len(comparison.only_a), len(comparison.only_b)
    if not a and not b:
        return ""
    sides = [f"{n:,} only {whose}" for n, whose in ((a, "the baseline's"), (b, "the candidate's")) if n]
    return f"{plural(comparison.cases, 'paired case')}; left out: {' and '.join(sides)}."


def confidence(m: MetricComparison, alpha: float = ALPHA) -> str:
    """`95 % sure`; at an early look, whose own level is stricter, `95 % interval, valid at every look`."""
    level = f"{100 * (1 - alpha):.4g} %"
    return f"{level} interval, valid at every look" if m.alpha < alpha * (1 - 1e-6) else f"{level} sure"


def wanted_alpha(record: RunRecord) -> float:
    """The level the suite asks for, .05 where it says nothing."""
    asked = record.config.get("comparison")
    alpha = asked.get("alpha") if isinstance(asked, Mapping) else None
    return float(alpha) if isinstance(alpha, (int, float)) and 0 < alpha < 1 else ALPHA


def leading(comparison: Comparison) -> list[MetricComparison]:
    """What the verdict is about: guards and what else regressed; without guards all but latency and tokens."""
    guards = [m for m in comparison.metrics if m.guard]
    # Nobody asked for the others, but a reviewer has to know that one of them fell.
    guards += [m for m in comparison.metrics if guards and not m.guard and m.verdict == "regressed" and not is_cost(m)]
    return guards or [m for m in comparison.metrics if not is_cost(m)] or list(comparison.metrics)


def worst_first(metrics: Iterable[MetricComparison]) -> list[MetricComparison]:
    """What got worse, then what can't be told, then the rest; each in the given order."""
    order = {"regressed": 0, "inconclusive": 1}
    return sorted(metrics, key=lambda metric: order.get(metric.verdict, 2))


def _not_luck(m: MetricComparison, alpha: float) -> str:
    words = _words(m.info)
    what, (small, large) = (words.better, m.ci) if m.verdict == "improved" else (words.worse, (-m.ci[1], -m.ci[0]))
    if not (math.isfinite(small) and math.isfinite(large)):
        return f"Not luck ({confidence(m, alpha)})."
    ends = f"{size_in(abs(small), m.info)} and {size_in(abs(large), m.info)}{tail_of(m.info)}"
    return f"Not luck: the true {what} is between {ends} ({confidence(m, alpha)})."


def _at_worst(m: MetricComparison) -> str:
    start = f"{change(m)}; at" if change(m) else "At"
    tolerated = f" (your limit: {limit(m)})" if m.margin else ""
    if not math.isfinite(m.lo_safe):
        return f"{start} worst within your limit{tolerated}."
    if not m.lo_safe:
        return f"{start} worst the same{tolerated}."
    words = _words(m.info)
    way = words.lower if m.lo_safe < 0 else {"lower": "higher", "higher": "lower"}[words.lower]
    return f"{start} worst {amount(m.lo_safe, m)} {way}{tolerated}."


def _undecided(m: MetricComparison) -> str:
    if not m.n:
        return "" if m.why else "No case has a score on both sides."
    if is_cost(m) and not m.diff and m.mean_a == m.mean_b:
        return _tied(m)
    if is_cost(m) and not m.guard:
        return f"{signed(m.diff, m)}."  # nobody asked: how many cases it would take is of no use
    fits = interval(m)
    said = f"{signed(m.diff, m)}; anything from {fits} fits." if fits else f"{signed(m.diff, m)}."
    return f"{said} {_reach(m)}".rstrip()


def _tied(m: MetricComparison) -> str:
    """Why costs that agree are no verdict: no case that differs is no proof that none can."""
    said, words = f"The same on average, {reading(m.mean_b, m)}", _words(m.info)
    if m.why:
        return f"{said}."
    if not m.margin:
        return f"{said}. Your limit is 0 here, and that no {words.worse} is possible no number of cases shows."
    if not math.isfinite(m.lo_safe):
        return f"{said}."
    open_ = f"{plural(m.n, 'case')} can't rule out a {words.worse} of {amount(m.lo_safe, m)}"
    return f"{said}. {open_[:1].upper()}{open_[1:]} (your limit: {limit(m)})."


def _reach(m: MetricComparison) -> str:
    """What these cases can show, and how many it would take."""
    words, cases = _words(m.info), plural(m.n, "case")
    if m.why and not all("case" in why and "need" in why and "group" not in why for why in m.why):
        return ""  # more cases alone would not help
    if m.mde is None or not math.isfinite(100 * m.mde):
        return f"{cases[:1].upper()}{cases[1:]}."
    more = (m.n_needed or 0) - m.n
    if more <= 0 or not m.margin:
        return f"With {cases} this check catches {words.worse}s of {_ceiling(m)}."
    need = f"use about {more:,} more" if more < MAX_MORE else f"it would take more than {MAX_MORE:,} cases"
    return f"With {cases} this check only catches {words.worse}s of {_ceiling(m)}; to catch {limit(m)}, {need}."


def _ceiling(m: MetricComparison) -> str:
    """The smallest drop that is caught, rounded up: `8+ points`."""
    points = points_of(m.info)
    if not points or m.mde is None:
        return f"{amount(m.mde or 0.0, m)} or more"
    size = points * m.mde
    shown = math.ceil(size - 1e-9) if size >= 3 else math.ceil(size * 10 - 1e-9) / 10
    return f"{shown:g}+ points"


def _words(info: MetricInfo) -> _Words:
    return _LOWER if info.direction == "lower" else _HIGHER
