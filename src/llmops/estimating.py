"""What a run would call and about how many tokens that takes, without calling anything."""

from __future__ import annotations

from typing import Any

from llmops.assembly import Assembly
from llmops.evals.runner import Entrant
from llmops.evals.sending import estimated_tokens
from llmops.types import Trial

DEFAULT_ANSWER_TOKENS = 256  # for a request that sets no max_tokens


def estimate(assembly: Assembly) -> dict[str, Any]:
    """The plan of one suite: cases, repeats, and for each variant its calls and about how many tokens.

    Prompt tokens are a quarter of the characters; answers count as `max_tokens`, or 256 without it. A pipeline's
    own requests can't be known before it runs.
    """
    suite = assembly.suite
    return {
        "suite": suite.name,
        "dataset": assembly.dataset.name,
        "cases": assembly.survey.cases,
        "repeats": suite.repeats,
        "variants": [_variant(assembly, entrant) for entrant in assembly.entrants],
    }


def _variant(assembly: Assembly, entrant: Entrant) -> dict[str, Any]:
    info = entrant.variant.info
    trials = assembly.survey.cases * assembly.suite.repeats
    entry: dict[str, Any] = {"variant": entrant.name, "kind": info.kind, "calls": trials}
    requests = getattr(entrant.variant, "requests", None)
    if requests is None:
        what = {"recorded": "recorded outputs read", "http": "HTTP requests"}.get(info.kind, "calls of the pipeline")
        entry["summary"] = f"{trials:,} {what}"
        return entry
    sent = prompt = answer = 0
    for case in assembly.dataset:
        for request in requests(Trial(case)):
            sent += 1
            prompt += estimated_tokens(request)
            answer += _answer_tokens(request.parameters)
    repeats = assembly.suite.repeats
    entry.update(requests=sent * repeats, input_tokens=prompt * repeats, output_tokens=answer * repeats)
    backend = info.details.get("backend", {})
    name = backend.get("model") or backend.get("kind") or "the backend"
    entry["summary"] = (
        f"{sent * repeats:,} requests to {name}, about {prompt * repeats:,} tokens in"
        f" and at most about {answer * repeats:,} out"
    )
    return entry


def _answer_tokens(parameters: Any) -> int:
    for key in ("max_tokens", "max_completion_tokens"):
        if isinstance(parameters.get(key), int):
            return int(parameters[key])
    return DEFAULT_ANSWER_TOKENS
