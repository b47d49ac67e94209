"""Comparisons for the report tests: a believable pull request, a hostile one, and score files without answers."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from llmops.types import (
    Case,
    Comparison,
    MetricComparison,
    MetricInfo,
    MetricKind,
    Output,
    Result,
    RunRecord,
    Score,
    SliceComparison,
    Stopping,
    Usage,
    VariantInfo,
    Verdict,
)
from report_samples import HOSTILE, hostile, record

PASS = MetricInfo("pass", description="The answer says what the reference says")
FAITHFULNESS = MetricInfo("faithfulness", description="Share of claims that the passages support")
HELPFULNESS = MetricInfo("helpfulness", 1.0, 5.0, unit="grade")
CITATIONS = MetricInfo("citation_recall")
LATENCY = MetricInfo("latency_p95", 0.0, None, "lower", "s")
TOKENS = MetricInfo("tokens_per_case", 0.0, None, "lower", "tokens")
KINDS: dict[str, MetricKind] = {
    "pass": "binary",
    "helpfulness": "ordinal",
    "latency_p95": "number",
    "tokens_per_case": "number",
}
MARGINS = {"pass": 0.05, "faithfulness": 0.05, "helpfulness": 0.2, "citation_recall": 0.04}
OLD_PROMPT = [
    [
        "system",
        "You answer questions about the Aurora speaker from the passages below. Use only what the passages say. "
        "If they don't answer the question, say so.\n\nAlways name the passage you used, such as [2].",
    ],
    ["user", "{% for passage in contexts %}[{{ loop.index }}] {{ passage }}\n{% endfor %}\nQuestion: {{ question }}"],
]
NEW_PROMPT = [
    [
        "system",
        "You are a friendly expert who answers questions about the Aurora speaker from the passages below. "
        "If they don't answer the question, give your best guess.\n\nKeep it short, two sentences at most, and name "
        "the passage you used, such as [2].",
    ],
    ["user", "{% for passage in contexts %}[{{ loop.index }}] {{ passage }}\n{% endfor %}\nQuestion: {{ question }}"],
    ["assistant", "Sure!"],
]
_TAGS = ("numbers", "table", "two documents", "unanswerable", "how-to")
_TOPICS = ("battery life", "return window", "warranty", "charging cable", "noise floor", "app pairing", "firmware 3.2")


def pull_request(cases: int = 200) -> tuple[RunRecord, list[Result]]:
    """A prompt that became friendlier: pass regressed, faithfulness equivalent, helpfulness up, citations unclear."""
    results = _answers(cases)
    infos = (PASS, FAITHFULNESS, HELPFULNESS, CITATIONS, LATENCY, TOKENS)
    metrics = tuple(_compared(info, results) for info in infos)
    slices = tuple(_slice(tag, info, results) for info in infos[:3] for tag in _TAGS)
    made = Comparison(
        "answer@main", "answer", cases, metrics, slices,
        stopping=Stopping(6, 10, cases, round(cases / 0.6)), notes=("3 of 200 answers were shared with the baseline",),
    )  # fmt: skip
    return _head(made, infos[:4], cases), results


def score_files() -> tuple[RunRecord, list[Result]]:
    """A comparison of two files of scores: no answers, no variants, no run."""
    head, _ = pull_request()
    [made] = head.comparisons
    bare = replace(made, baseline="main.jsonl", candidate="branch.jsonl", only_a=("q900", "q901"), stopping=None)
    return record(
        suite="main.jsonl → branch.jsonl", dataset="", metrics=(), variants=(), baseline=None, comparisons=(bare,)
    ), []


def hostile_comparison() -> tuple[RunRecord, list[Result]]:
    """Every text in a comparison is an attack."""
    head, results = hostile()
    broke = tuple(dict.fromkeys(r.case.id for r in results))
    metrics = tuple(
        replace(
            _metric(info, [0.1, -0.3, 0.2], [0.1] * 3), broke=broke, fixed=broke[:3], guard=i == 0,
            method=HOSTILE[0], why=HOSTILE,
        )
        for i, info in enumerate(head.metrics)
    )  # fmt: skip
    slices = tuple(
        SliceComparison(text, info.name, 5, 0.5, 0.4, -0.1, (-0.2, -0.01), 0.01, notable=True)
        for text in HOSTILE
        for info in head.metrics
    )
    names = [variant.name for variant in head.variants]
    made = Comparison(names[0], names[1], 15, metrics, slices, HOSTILE, HOSTILE, notes=HOSTILE)
    prompts = [[[HOSTILE[i], "\n".join(HOSTILE[i:])], [HOSTILE[2], HOSTILE[i]]] for i in range(2)]
    variants = tuple(
        replace(variant, details={**variant.details, "prompt_text": prompts[i], "deep": {HOSTILE[3]: HOSTILE[i]}})
        for i, variant in enumerate(head.variants)
    )
    return replace(head, comparisons=(made,), variants=variants), results


def compared(info: MetricInfo, a: Sequence[float], b: Sequence[float], **changes: object) -> MetricComparison:
    """A guard metric compared, with anything in it changed."""
    return replace(_metric(info, a, b), **changes)  # type: ignore[arg-type]


def _head(made: Comparison, infos: tuple[MetricInfo, ...], cases: int) -> RunRecord:
    shared = {"backend": {"kind": "openai", "url": "https://llm.example/v1"}, "model": "small-8b"}
    variants = tuple(
        VariantInfo(name, "prompt", {**shared, "prompt": f"docs/{name}", "content_id": digest * 3,
                                     "parameters": {"temperature": heat, "max_tokens": 300}, "prompt_text": text})
        for name, digest, heat, text in (
            ("answer@main", "3f2a9c1d77e0", 0.0, OLD_PROMPT), ("answer", "b81c04aa91fe", 0.4, NEW_PROMPT)
        )
    )  # fmt: skip
    head = record(metrics=infos, cases=cases, baseline="answer@main", comparisons=(made,))
    return replace(head, variants=variants, environment={"git": {"commit": "3f2a9c1d", "dirty": False}})


def _answers(cases: int) -> list[Result]:
    draw = random.Random(23)
    found = []
    for i in range(cases):
        topic, tag = _TOPICS[i % len(_TOPICS)], _TAGS[i % len(_TAGS)]
        question = f"What does the manual say about the {topic} of the Aurora speaker, model {i % 5 + 1}?"
        case = Case(
            f"q{i:03d}",
            {"question": question},
            f"The {topic} is {i % 40 + 2} hours.",
            tags=(tag,),
            group=f"doc-{i % 40}",
        )
        ease = draw.gauss(0, 1)
        drop = 0.5 if tag == "unanswerable" else 0.02
        for name in ("answer@main", "answer"):
            new = name == "answer"
            passed = ease + draw.gauss(0, 0.12) > (-0.77 + drop * 2 if new else -0.77)
            scores = {
                "pass": float(passed),
                "faithfulness": min(max(0.8 + 0.1 * ease + draw.gauss(0.004 * new, 0.1), 0), 1),
                "helpfulness": float(min(max(round(3.4 + 0.5 * ease + 0.28 * new + draw.gauss(0, 0.7)), 1), 5)),
                "citation_recall": float(
                    draw.choice((0, 0.5, 1, 1)) if draw.random() < 0.45 else 1 if ease > -0.6 else 0.5
                ),
            }
            amount = draw.randint(90, 150) if new else draw.randint(130, 210)
            text = f"The {topic} is {i % 40 + 2} hours [2]." if passed else f"I believe the {topic} is {i % 7} days."
            output = Output(
                text, usage=Usage(480 + i, amount, requests=1, certainty="exact"),
                latency_s=draw.lognormvariate(-0.1 + 0.002 * amount, 0.25),
            )  # fmt: skip
            found.append(Result(name, case, output, 0, {key: Score(value) for key, value in scores.items()}))
    return found


def _value(result: Result, metric: str) -> float:
    if metric == "latency_p95":
        return float(result.output.latency_s or 0)
    return float(result.output.usage.total_tokens if metric == "tokens_per_case" else result.scores[metric].value or 0)


def _sides(info: MetricInfo, results: list[Result], tag: str = "") -> tuple[list[Result], list[float], list[float]]:
    chosen = [r for r in results if not tag or tag in r.case.tags]
    a, b = ([r for r in chosen if r.variant == name] for name in ("answer@main", "answer"))
    return a, [_value(r, info.name) for r in a], [_value(r, info.name) for r in b]


def _compared(info: MetricInfo, results: list[Result]) -> MetricComparison:
    cases, a, b = _sides(info, results)
    gains = sorted((y - x, r.case.id) for r, x, y in zip(cases, a, b, strict=True))
    flips = info.name in MARGINS
    least = 0.3 * ((info.high or 1) - (info.low or 0))
    return replace(
        _metric(info, a, b),
        broke=tuple(key for gain, key in gains if gain <= -least) if flips else (),
        fixed=tuple(key for gain, key in gains[::-1] if gain >= least) if flips else (),
        guard=flips, groups=40, p_holm=None,
    )  # fmt: skip


def _metric(info: MetricInfo, a: Sequence[float], b: Sequence[float]) -> MetricComparison:
    """A plain paired z interval: near enough for a page to look at, no claim to statistics."""
    sign = -1 if info.direction == "lower" else 1
    gains = [sign * (y - x) for x, y in zip(a, b, strict=True)]
    n = len(gains)
    mean = sum(gains) / n
    error = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / (n - 1) / n) or 0.5 / n
    lo, hi = mean - 1.96 * error, mean + 1.96 * error
    p = math.erfc(abs(mean) / error / math.sqrt(2))
    margin = MARGINS.get(info.name, 0.1 * sum(a) / n)
    kind = KINDS.get(info.name, "bounded")
    safe = lo if kind == "binary" else lo - 0.15 * error
    return MetricComparison(
        info=info, kind=kind, n=n, mean_a=sum(a) / n, mean_b=sum(b) / n, diff=mean, ci=(lo, hi), p=p, lo_safe=safe,
        method="Tango" if kind == "binary" else "paired t", verdict=_verdict(lo, hi, safe, margin), margin=margin,
        mde=2.8 * error, n_needed=math.ceil(n * (2.8 * error / margin) ** 2),
    )  # fmt: skip


def _verdict(lo: float, hi: float, safe: float, margin: float) -> Verdict:
    if lo > 0:
        return "improved"
    if safe > -margin:
        return "equivalent"
    return "regressed" if hi < 0 else "inconclusive"


def _slice(tag: str, info: MetricInfo, results: list[Result]) -> SliceComparison:
    _, a, b = _sides(info, results, tag)
    found = _metric(info, a, b)
    means = (found.mean_a or 0.0, found.mean_b or 0.0)
    return SliceComparison(tag, info.name, found.n, *means, found.diff, found.ci, found.p, found.p < 0.004)
