"""Samples and shared data for tests of metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import InputError
from llmops.registry import create, parse_short_form
from llmops.types import Build, Case, Context, Output, Sample, Score


def sample(text: str = "", expected: Any = None, **case: Any) -> Sample:
    return Sample(Case("1", expected=expected, **case), Output(text))


def ranking(ids: list[str], relevant: dict[str, float] | None) -> Sample:
    return Sample(Case("1", relevant=relevant), Output(contexts=tuple(Context(f"text of {i}", i) for i in ids)))


def build(base: Path = Path(), backend: Any = None) -> Build:
    def no_prompt(reference: str) -> Any:
        raise AssertionError(reference)

    return Build(base, no_prompt, lambda spec: backend, where="suite.yaml:7")


def metric(form: Any, base: Path = Path(), backend: Any = None) -> Any:
    """The metric that a suite's short form makes."""
    return create("metrics", parse_short_form(form, what="metric"), build=build(base, backend), where="suite.yaml:7")


def value(form: Any, text: str = "", expected: Any = None, **case: Any) -> float | None:
    score: Score = metric(form).score(sample(text, expected, **case))
    return score.value


def reason(form: Any, text: str = "", expected: Any = None, **case: Any) -> str:
    score: Score = metric(form).score(sample(text, expected, **case))
    return score.reason


def problem(form: Any, base: Path = Path(), backend: Any = None) -> str:
    """The one line that a wrong short form gives."""
    with pytest.raises(InputError) as caught:
        metric(form, base, backend)
    line = str(caught.value)
    assert "\n" not in line
    return line


def shared_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a file in `shared/data` beside the project; skips the test when it isn't there."""
    for folder in Path(__file__).resolve().parents:
        path = folder / "shared" / "data" / name
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                return [json.loads(line) for line in file]
    pytest.skip(f"shared/data/{name} isn't here")
