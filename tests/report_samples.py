"""Runs for the report tests: a believable one, a hostile one, and streams of any size."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llmops.types import (
    Case,
    Context,
    Failure,
    GateOutcome,
    MetricInfo,
    Output,
    Result,
    RunRecord,
    Score,
    ToolCall,
    Usage,
    VariantInfo,
)

METRICS = (
    MetricInfo("token_f1", description="Overlap of words with the expected answer"),
    MetricInfo("recall@5", description="Share of relevant passages among the first five"),
    MetricInfo("length", None, None, "none", "words"),
)
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1><a href='javascript:window.pwned=1'>x</a>",
    "[click](javascript:window.pwned=1) ![x](http://127.0.0.1:9/x.png) @everyone #1 https://example.com",
    "{{constructor.constructor('window.pwned=1')()}} {% raw %} ${window.pwned=1} <%= 1 %>",
    "line\u2028separator\u2029end NUL\x00 bell\x07 lone\ud800 half\udfff",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\ \x9b2J",
    "\u202eevil\u202c \u2066isolate\u2069",
    "| a | b |\n|---|---|\n```\n/close\n```\n~~~\n<!-- comment\n<details>\n# head",
    "[bold red]markup[/bold red] [/] [link=http://evil]x[/link]",
    "]]> <![CDATA[ &amp; &#x3c; --> <!--<script>",
    '=cmd|" /C calc"!A0',
    "@SUM(1+1)*cmd",
    "😀 ünïcode العربية 日本語",
    "`code` ``more`` \\` \\| $x$",
)


@dataclass
class Stream:
    """Results made anew on every reading, so that nothing is held."""

    make: Callable[[], Iterator[Result]]

    def __iter__(self) -> Iterator[Result]:
        return self.make()


def record(
    *, metrics: tuple[MetricInfo, ...] = METRICS, variants: tuple[str, ...] = ("small", "large"), **changes: object
) -> RunRecord:
    """The head of a run called docs-qa."""
    fields: dict[str, object] = {
        "id": "0192f3c4-aaaa-7bbb-8ccc-0123456789ab",
        "suite": "docs-qa",
        "suite_hash": "a" * 64,
        "dataset": "data/docs_qa.jsonl",
        "fingerprint": "b" * 64,
        "variants": tuple(VariantInfo(name, "python", {"chunk": 200 * (i + 1)}) for i, name in enumerate(variants)),
        "metrics": metrics,
        "baseline": variants[0] if variants else None,
        "status": "finished",
        "started_at": "2025-11-24T16:00:00+00:00",
        "ended_at": "2025-11-24T16:00:12.500000+00:00",
    }
    return RunRecord(**{**fields, **changes})  # type: ignore[arg-type]


def result(case: str, variant: str = "small", repeat: int = 0, **scores: float | Score | None) -> Result:
    """A trial of a plain case with these scores."""
    made = {name: value if isinstance(value, Score) else Score(value) for name, value in scores.items()}
    return Result(variant, Case(case, {"question": f"What is {case}?"}), Output(f"It is {case}."), repeat, made)


def believable(cases: int = 60, repeats: int = 1) -> tuple[RunRecord, list[Result]]:
    """Two retrieval pipelines over questions about a product."""
    draw = random.Random(7)
    topics = (
        "battery life",
        "return window",
        "firmware 3.2",
        "warranty",
        "charging cable",
        "noise floor",
        "app pairing",
    )
    tags = ("hard", "numbers", "table", "unanswerable", "two documents")
    found = []
    for i in range(cases):
        topic = topics[i % len(topics)]
        relevant = {f"doc-{i % 30:02d}#2": 1.0, f"doc-{(i + 3) % 30:02d}#1": 0.5}
        case = Case(
            f"q{i:03d}",
            {"question": f"What does the manual say about the {topic} of the Aurora speaker, model {i % 5 + 1}?"},
            f"The {topic} is {draw.randint(2, 90)} according to the 2024 edition.",
            relevant=relevant,
            tags=tuple(sorted({tags[i % 5], tags[(i * 3) % 4]})),
            group=f"page-{i % 12}",
        )
        for variant, skill in (("small", 0.55), ("large", 0.68)):
            found += [_trial(case, variant, repeat, skill, draw, topic) for repeat in range(repeats)]
    gates = (
        GateOutcome("token_f1 >= 0.6", "small", "fail", 0.561, "60 cases"),
        GateOutcome("token_f1 >= 0.6", "large", "pass", 0.673, "60 cases"),
        GateOutcome("errors <= 5%", "large", "pass", 0.0166, ""),
        GateOutcome("latency_p95 <= 2s", "large", "undecided", None, "no latency was measured for 3 cases"),
    )
    environment = {
        "git": {"commit": "3f2a9c1d", "dirty": True},
        "python": "3.12.4",
        "packages": {"llmops": "0.1.0"},
    }
    return record(cases=cases, repeats=repeats, gates=gates, environment=environment, seed=1), found


def _trial(case: Case, variant: str, repeat: int, skill: float, draw: random.Random, topic: str) -> Result:
    if draw.random() < 0.05:
        failure = Failure("rate_limited", "429 Too Many Requests: slow down", True, 4)
        return Result(variant, case, Output(error=failure), repeat)
    value = min(max(draw.gauss(skill, 0.22), 0), 1)
    contexts = tuple(
        Context(
            f"Section on {topic}. The measured value depends on the model and edition. " * 3,
            key,
            draw.random() * 9,
        )
        for key in [
            *list(case.relevant or {})[: 1 + (value > 0.5)],
            f"doc-{draw.randint(0, 29):02d}#7",
            "doc-99#1",
        ]
    )
    usage = Usage(draw.randint(300, 900), draw.randint(20, 90), requests=1, certainty="exact")
    text = f"According to the manual, the {topic} is {draw.randint(2, 90)}, measured at room temperature."
    scores = {
        "token_f1": Score(value, "6 of 9 words in common"),
        "recall@5": Score(1.0 if value > 0.5 else 0.5) if draw.random() > 0.1 else Score.unscored("no relevant ids"),
        "length": Score(float(draw.randint(5, 60))),
    }
    cached = draw.random() < 0.2
    output = Output(text, contexts, usage=usage, latency_s=draw.lognormvariate(-0.6, 0.5), cached=cached)
    return Result(variant, case, output, repeat, scores)


def hostile() -> tuple[RunRecord, list[Result]]:
    """Every text in a run is an attack."""
    found = []
    for i, text in enumerate(HOSTILE):
        case = Case(
            f"{i} {text}",
            {"question": text, text: text},
            text,
            relevant={text: 1.0},
            tags=(text, HOSTILE[0]),
            group=text,
            metadata={text: text},
        )
        for variant in HOSTILE[:2]:
            failure = Failure(text, text) if i % 4 == 3 else None
            contexts = (Context(text, text, 1.0), Context(text, "other"))
            output = Output(text, contexts, (ToolCall(text, {text: text}),), error=failure)
            scores = {HOSTILE[1]: Score(i / len(HOSTILE), text), HOSTILE[0]: Score.unscored(text)}
            found.append(Result(variant, case, output, 0, scores))
    metrics = (MetricInfo(HOSTILE[1], unit=HOSTILE[0], description=HOSTILE[0]), MetricInfo(HOSTILE[0]))
    gates = tuple(GateOutcome(text, text, "fail", 0.5, text) for text in HOSTILE)
    head = record(
        metrics=metrics,
        suite=HOSTILE[0] + HOSTILE[5],
        dataset=HOSTILE[1],
        variants=(),
        baseline=HOSTILE[0],
        gates=gates,
        note=HOSTILE[2],
        environment={text: text for text in HOSTILE},
    )
    infos = tuple(VariantInfo(name, HOSTILE[1], {name: name}, HOSTILE[6]) for name in HOSTILE[:2])
    return RunRecord(**{**{f: getattr(head, f) for f in head.__slots__}, "variants": infos}), found
