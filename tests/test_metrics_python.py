"""A user's function as a metric: what it gets, what it may return, what is said when it is wrong."""

from __future__ import annotations

import asyncio
import inspect
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import BudgetExceededError
from llmops.types import Sample, Score
from metric_samples import metric, problem, sample


def score(form: Any, of: Sample | None = None, base: Path = Path()) -> Score:
    found = metric(form, base).score(of or sample("some text", "wanted", inputs={"q": 1}, metadata={"m": 2}))
    if inspect.isawaitable(found):

        async def wait() -> Score:
            return await found

        return asyncio.run(wait())
    assert isinstance(found, Score)
    return found


def returning(value: Any) -> Any:
    def polite(sample: Sample) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return polite


def sample_by_any_name(thing: Sample) -> float:
    """Has the text.

    More about it.
    """
    return float(thing.text == "some text")


def parts(
    text: str, expected: Any, inputs: Any, metadata: Any, output: Any, case: Any, contexts: Any, relevant: Any
) -> bool:
    return (text, expected, inputs, metadata, output.text, case.id, contexts, relevant) == (
        "some text", "wanted", {"q": 1}, {"m": 2}, "some text", "1", (), None
    )  # fmt: skip


def optional(text: str, weight: float = 1.0, *, expected: Any = None) -> bool:
    return (text, weight, expected) == ("some text", 1.0, "wanted")


def positional(text: str, expected: str, /) -> bool:
    return (text, expected) == ("some text", "wanted")


def open_ended(s: Sample, **more: Any) -> bool:
    return s.text == "some text" and more == {"a": 1}


def with_option(s: Sample, minimum: int) -> bool:
    return len(s.text) >= minimum


async def slow(text: str) -> float:
    await asyncio.sleep(0)
    return 0.25


class Longer:
    def __init__(self, than: int) -> None:
        self.than = than

    def __call__(self, text: str) -> bool:
        return len(text) > self.than


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (sample_by_any_name, 1),
        (parts, 1),
        (optional, 1),
        (positional, 1),
        (slow, 0.25),
        (Longer(3), 1),
        ({"target": open_ended, "with": {"a": 1}}, 1),
        ({"target": with_option, "with": {"minimum": 100}}, 0),
        ({"target": Longer, "with": {"than": 100}}, 0),
        (lambda text, expected: text == expected, 0),
    ],
)
def test_arguments(options: Any, wanted: float) -> None:
    assert score({"python": options}) == Score(wanted)


@pytest.mark.parametrize(
    ("returned", "wanted"),
    [
        (True, Score(1.0)),
        (0, Score(0.0)),
        (0.5, Score(0.5)),
        (Score(0.5, "because"), Score(0.5, "because")),
        (Score.unscored("why"), Score(None, "why")),
        (None, Score(None, "the function returned no score")),
        ((1, "because"), Score(1.0, "because")),
        ((None, "why"), Score(None, "why")),
        ({"value": 0.5, "reason": "because"}, Score(0.5, "because")),
        ({"score": 1}, Score(1.0)),
        ({"score": None, "reason": "why"}, Score(None, "why")),
    ],
)
def test_what_a_function_may_return(returned: Any, wanted: Score) -> None:
    assert score({"python": returning(returned)}) == wanted


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert score({"python": returning(numpy.float32(0.5))}) == Score(0.5)
    assert score({"python": returning(numpy.bool_(True))}) == Score(1.0)


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ("good", "polite returned str, not a score"),
        (Decimal("0.5"), "polite returned Decimal, not a score"),
        ((1, 2, 3), "polite returned tuple, not a score"),
        ({"points": 1}, "polite returned a mapping without value or score"),
        ({"value": "1"}, "polite returned str, not a score"),
        (math.nan, "polite returned nan, not a finite number"),
        (Score(math.inf), "polite returned inf, not a finite number"),
        (10**400, "polite returned a number too large for a score"),
        (ValueError("no vowels"), "polite raised ValueError: no vowels"),
        (RecursionError("deep"), "polite raised RecursionError: deep"),
    ],
)
def test_anything_else_is_no_score_with_the_reason(returned: Any, why: str) -> None:
    assert score({"python": returning(returned)}) == Score(None, why)


def test_an_async_function_that_raises_is_no_score() -> None:
    async def rude(text: str) -> float:
        raise ValueError("no")

    assert score({"python": rude}) == Score(None, "rude raised ValueError: no")


def test_an_exhausted_budget_stops_the_run() -> None:
    with pytest.raises(BudgetExceededError):
        score({"python": returning(BudgetExceededError("spent"))})


def test_info() -> None:
    info = metric({"python": sample_by_any_name}).info
    assert (info.name, info.low, info.high, info.direction) == ("sample_by_any_name", 0, 1, "higher")
    assert info.description == "Has the text."
    own = metric({"python": {"target": slow, "name": "pace", "low": None, "high": 10, "direction": "lower"}}).info
    assert (own.name, own.low, own.high, own.direction) == ("pace", None, 10, "lower")
    assert metric({"python": lambda text: 1}).info.name == "lambda"


def test_a_file_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "own_metrics.py").write_text("def polite(text):\n    return 'please' in text, 'looked'\n")
    assert score({"python": "own_metrics.py:polite"}, sample("please"), tmp_path) == Score(1.0, "looked")
    assert metric({"python": "own_metrics.py:polite"}, tmp_path).info.name == "polite"
    assert "did you mean 'polite'" in problem({"python": "own_metrics.py:polit"}, tmp_path)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (lambda text, expcted: 1, "did you mean 'expected'?"),
        (lambda s, threshold: 1, "set it in with:"),
        (lambda: 1, "takes nothing of a sample"),
        (lambda x=1, *, y: 1, "'y'"),
        ({"target": with_option, "with": {"minimun": 1}}, "'minimum'"),
        ({"target": sample_by_any_name, "with": {"x": 1}}, "has no parameter 'x'"),
        ({"target": Longer}, "than"),
        ({"target": slow, "direction": "up"}, "direction is 'up'"),
        ({"target": slow, "low": 2}, "low must be below high"),
        (7, "target is 7"),
        ("nowhere.py:polite", "no file nowhere.py"),
        ("polite", "doesn't name a function"),
    ],
)
def test_wrong_functions_are_one_line_with_their_place(options: Any, part: str) -> None:
    line = problem({"python": options})
    assert part in line
    assert line.startswith("suite.yaml:7: ")
