"""JSON reports of `llmops eval`, as far as CI needs them: suite, status, gates."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.errors import InputError
from llmops.types import GateOutcome

_WRITES_ONE = "llmops eval SUITE -o report.json writes one"


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run's suite, where the suite's file is (from the project's folder, or nothing), status and gates."""

    suite: str
    path: str
    status: str
    gates: tuple[GateOutcome, ...]


def read_runs(paths: list[Path]) -> list[RunReport]:
    """Reports written with `-o report.json`, or what `llmops eval --json` printed. Raises `InputError`."""
    return [report for path in paths for report in _read(path)]


def _read(path: Path) -> Iterator[RunReport]:
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}", hint=_WRITES_ONE) from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} isn't JSON", hint=_WRITES_ONE) from None
    several = data.get("runs") if isinstance(data, dict) else None
    for one in several if isinstance(several, list) else [data]:
        yield _report(one, path)


def _report(data: Any, path: Path) -> RunReport:
    head = data.get("run") if isinstance(data, dict) else None
    gates = data.get("gates") if isinstance(data, dict) else None
    if not isinstance(head, dict) or not isinstance(gates, list):
        raise InputError(f"{path} isn't a JSON report of llmops", hint=_WRITES_ONE)
    config = head.get("config")
    place = config.get("path") if isinstance(config, dict) else ""
    return RunReport(
        suite=_text(head.get("suite")),
        path=_text(place),
        status=_text(head.get("status")),
        gates=tuple(_gate(gate, path) for gate in gates),
    )


def _gate(data: Any, path: Path) -> GateOutcome:
    outcome = data.get("outcome") if isinstance(data, dict) else None
    if outcome not in ("pass", "fail", "undecided"):
        raise InputError(f"{path}: a gate's outcome is {str(outcome)[:40]!r}", hint="was it made by another version?")
    value = data.get("value")
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return GateOutcome(
        rule=_text(data.get("rule")),
        variant=_text(data.get("variant")),
        outcome=outcome,
        value=number if number is None or (abs(number) < 1e300 and math.isfinite(number)) else None,
        detail=_text(data.get("detail")),
        strict=data.get("strict") is not False,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
