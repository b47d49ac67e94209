"""What a run would call and about how many tokens that takes, without calling anything."""

from __future__ import annotations

from typing import Any

from llmops.assembly import Assembly
from llmops.connecting import price_book
from llmops.evals.runner import Entrant
from llmops.evals.sending import estimated_tokens
from llmops.types import Pricer, Request, Trial, Usage
from llmops.usage.money import dollars
from llmops.usage.open_call import with_cost

DEFAULT_ANSWER_TOKENS = 256  # for a request that sets no max_tokens


def estimate(assembly: Assembly) -> dict[str, Any]:
    """The plan of one suite: cases, repeats, and for each variant its calls and about how many tokens and dollars.

    Prompt tokens are a quarter of the characters; answers count as `max_tokens`, or 256 without it. `cost` is in
    nano-dollars, None where a model has no price, and left out where no model is asked. A pipeline's own requests
    can't be known before it runs.
    """
    suite = assembly.suite
    book = price_book(assembly.config)
    return {
        "suite": suite.name,
        "dataset": assembly.dataset.name,
        "cases": assembly.survey.cases,
        "repeats": suite.repeats,
        "variants": [_variant(assembly, entrant, book) for entrant in assembly.entrants],
    }


def _variant(assembly: Assembly, entrant: Entrant, book: Pricer) -> dict[str, Any]:
    info = entrant.variant.info
    trials = assembly.survey.cases * assembly.suite.repeats
    entry: dict[str, Any] = {"variant": entrant.name, "kind": info.kind, "calls": trials}
    requests = getattr(entrant.variant, "requests", None)
    if requests is None:
        what = {"recorded": "recorded outputs read", "http": "HTTP requests"}.get(info.kind, "calls of the pipeline")
        entry["summary"] = f"{trials:,} {what}"
        return entry
    sent = prompt = answer = 0
    assumed = False
    paid = Usage()
    for case in assembly.dataset:
        for request in requests(Trial(case)):
            sent += 1
            bound = _answer_tokens(request.parameters)
            asked, said = estimated_tokens(request), DEFAULT_ANSWER_TOKENS if bound is None else bound
            assumed = assumed or bound is None
            prompt, answer = prompt + asked, answer + said
            paid += _priced(Usage(asked, said, requests=1, certainty="estimated"), request, entrant, book)
    repeats = assembly.suite.repeats
    entry.update(requests=sent * repeats, input_tokens=prompt * repeats, output_tokens=answer * repeats)
    backend = info.details.get("backend", {})
    name = backend.get("model") or backend.get("kind") or "the backend"
    entry["summary"] = (
        f"{sent * repeats:,} requests to {name}, about {prompt * repeats:,} tokens in"
        f" and {'about' if assumed else 'at most about'} {answer * repeats:,} out"
        + (f" (no max_tokens: {DEFAULT_ANSWER_TOKENS} each assumed)" if assumed else "")
    )
    if paid.unpriced or paid.cost is not None:
        entry["cost"] = None if paid.cost is None or paid.unpriced else paid.cost * repeats
        entry["summary"] += ", no price is known" if entry["cost"] is None else f", about {dollars(entry['cost'])}"
    return entry


def _priced(usage: Usage, request: Request, entrant: Entrant, book: Pricer) -> Usage:
    """The usage with what it would cost; without a cost on a backend that sends nothing."""
    backend = getattr(getattr(entrant.variant, "backend", None), "backend", None)
    backend = getattr(backend, "backends", (backend,))[0]  # of a fallback, the first
    if backend is None or getattr(backend, "local", False):
        return usage
    model = request.model or str(getattr(backend, "model", "") or "")
    cost = book.cost(usage, provider=str(getattr(backend, "provider", "")), model=model, backend=backend.name)
    return with_cost(usage, cost)


def _answer_tokens(parameters: Any) -> int | None:
    for key in ("max_tokens", "max_completion_tokens"):
        if isinstance(parameters.get(key), int):
            return int(parameters[key])
    return None
