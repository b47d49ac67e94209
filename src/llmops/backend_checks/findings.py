"""What was found out about a backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from llmops.backend_checks.listing import Named
from llmops.errors import BackendError, RequestRejectedError
from llmops.types import Usage

Ability = Literal[
    "reachable",
    "key",
    "model",
    "answers",
    "streams",
    "usage_in_streams",
    "json_schema",
    "tools",
    "logprobs",
    "embeddings",
]
Outcome = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a backend can do, can't do, or that could not be found out, and what says so."""

    ability: Ability
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one small request on an idle client; None for what wasn't measured.

    `connect_s` is a TCP connection, with TLS where the address has it, that is thrown away. `tokens_per_s` counts
    output tokens after the first.
    """

    connect_s: float | None = None
    first_token_s: float | None = None
    total_s: float | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A backend and what was found. `requests` were sent to its model and may be billed; `usage` is what they used."""

    named: Named
    findings: tuple[Finding, ...]
    models: tuple[str, ...] = ()
    latency: Latency = field(default_factory=Latency)
    requests: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def works(self) -> bool:
        """False when it can't be reached, lacks its key, or did not answer."""
        needed = ("reachable", "key", "answers")
        return not any(found.outcome == "no" for found in self.findings if found.ability in needed)

    def as_json(self) -> Mapping[str, Any]:
        """As `llmops backends check --json` prints it."""
        return {
            **self.named.as_json(),
            "works": self.works,
            "models": list(self.models),
            "latency": asdict(self.latency),
            "abilities": {one.ability: {"outcome": one.outcome, "detail": one.detail} for one in self.findings},
            "requests_sent": self.requests,
            "tokens": {
                "input": self.usage.input_tokens,
                "output": self.usage.output_tokens,
                "certainty": self.usage.certainty,
            },
        }


def failed(ability: Ability, error: BackendError) -> Finding:
    """A refused request says that a server can't; any other failure says nothing."""
    return Finding(ability, "no" if isinstance(error, RequestRejectedError) else "unknown", str(error))
