"""A project whose calls go to a loopback provider, and an application that makes every kind of them.

write_project(folder, provider, "http://127.0.0.1:6006", content=True)
python -c APPLICATION        in that folder: 6 calls of gpt-4o, one of an embedding model
llmops eval evals/qa.yaml    3 calls of the prompt docs/answer@1, 3 of a judge that is a Python metric
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provider_server import Answer, ProviderServer, Tokens

BACKENDS = {
    "big": {"model": "gpt-4o", "provider": "openai"},
    "small": {"model": "gpt-4o-mini", "provider": "openai"},
    "meaning": {"model": "text-embedding-3-small", "provider": "openai"},
}
PRICES = [
    {"model": "gpt-4o", "input": 2.5, "cache_read": 1.25, "output": 10},
    {"model": "gpt-4o-mini", "input": 0.15, "cache_read": 0.075, "output": 0.6},
    {"model": "text-embedding-3-small", "input": 0.02},
]
"""OpenAI's published dollars per million tokens."""

APPLICATION = """
import itertools
import llmops
from llmops.door import run

big, meaning = llmops.connect("big", retries=0), llmops.connect("meaning")
with llmops.track(team="search", user="u1", conversation="c1"):
    big.complete("Where is the Louvre?")
    big.complete("Where is it again? (cached)")
    list(big.stream("Tell me a story"))
    left = big.stream("Tell me a long story")
    list(itertools.islice(left, 2))
    left.close()
    try:
        big.complete("You are refused")
    except llmops.LlmopsError as error:
        print(type(error).__name__)
    big.complete("Nobody counts this")
    run(meaning.backend.embed(["one", "two"]))
"""
SUITE = """
dataset: cases.jsonl
variants:
  a: {prompt: docs/answer@1, backend: big}
metrics: [token_f1, {python: "metric.py:judged"}]
"""
METRIC = """
import llmops

def judged(text):
    judge = llmops.connect("small")
    return 1.0 if judge.complete(f"Is this right? {text}").text else 0.0
"""
PROMPT = "---\ninputs:\n  question: string\n---\nuser:\n{{ question }}\n"
QUESTIONS = ("Where is the Louvre?", "Where is the Prado?", "Where is the Tate?")


def answer_to(body: Any, number: int) -> Answer:
    """Answers by what is asked, each with tokens of its own."""
    asked = json.dumps(body)
    if "refused" in asked:
        return Answer(status=400)
    if "Nobody counts" in asked:
        return Answer(usage=None)
    if "long story" in asked:
        return Answer(pieces=["word "] * 200, pause_s=0.05)
    if "cached" in asked:
        return Answer(usage=Tokens(1500, 90, cache_read=1024))
    if "story" in asked:
        return Answer(usage=Tokens(700, 350, cache_read=100, reasoning=40))
    return Answer(usage=Tokens(900 + len(asked), 40 + number))


def write_project(
    folder: Path, provider: ProviderServer, otlp: str = "", *, own_prices: bool = True, **more: Any
) -> None:
    """llmops.yaml with these backends, prices and, with an address, `telemetry:`; a suite of three cases."""
    url = {"base_url": provider.url}
    settings: dict[str, Any] = {"backends": {name: {"openai_http": {**url, **of}} for name, of in BACKENDS.items()}}
    if own_prices:
        settings["prices"] = {"models": PRICES}
    keep = more.pop("calls", None)
    if otlp:
        settings["telemetry"] = {"otlp": otlp, **more}
    if keep:
        settings["calls"] = keep
    (folder / "evals").mkdir()
    (folder / "prompts" / "docs").mkdir(parents=True)
    (folder / "llmops.yaml").write_text(json.dumps(settings))  # JSON is YAML
    (folder / "prompts" / "docs" / "answer.prompt.md").write_text(PROMPT)
    (folder / "evals" / "qa.yaml").write_text(SUITE)
    (folder / "evals" / "metric.py").write_text(METRIC)
    cases = (
        {"id": f"c{number}", "inputs": {"question": question}, "expected": "Paris is it."}
        for number, question in enumerate(QUESTIONS)
    )
    (folder / "evals" / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
