"""Embedding similarity, with backends that embed by rule."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import BadResponseError
from llmops.types import Score
from metric_samples import metric, problem, sample

VECTORS = {"east": [1.0, 0.0], "north": [0.0, 2.0], "west": [-3.0, 0.0], "northeast": [1.0, 1.0], "zero": [0.0, 0.0]}


class Embeds:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked.append(list(texts))
        return [VECTORS[text] for text in texts]


def score(text: str, expected: Any, backend: Any = None) -> Score:
    made = metric({"embedding_similarity": {"backend": "some"}}, backend=backend or Embeds())
    found: Score = asyncio.run(made.score(sample(text, expected)))
    return found


@pytest.mark.parametrize(
    ("text", "expected", "wanted"),
    [
        ("east", "east", 1),
        ("east", "north", 0),
        ("east", "west", -1),
        ("east", ["west", "northeast"], 0.5**0.5),
        ("", "east", 0),
    ],
)
def test_cosine_to_the_best_reference(text: str, expected: Any, wanted: float) -> None:
    assert score(text, expected).value == pytest.approx(wanted)


def test_what_is_missing_gives_no_score() -> None:
    assert score("east", None).reason == "the case has no expected answer"
    assert score("east", " ").reason == "the expected answer is empty"
    assert score("zero", "east").value is None
    assert "no direction" in score("zero", "east").reason


def test_one_request_a_sample() -> None:
    backend = Embeds()
    score("east", ["west", "north"], backend)
    assert backend.asked == [["east", "west", "north"]]


def test_a_backend_that_answers_with_too_little_is_an_error() -> None:
    class Short(Embeds):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            return [[1.0]]

    with pytest.raises(BadResponseError):
        score("east", "west", Short())


def test_wrong_options(tmp_path: Path) -> None:
    assert "needs a backend or a model" in problem("embedding_similarity")
    both = {"embedding_similarity": {"backend": "x", "model": "y"}}
    assert "needs a backend or a model" in problem(both)
    assert "can't embed" in problem({"embedding_similarity": "extractive"}, backend=object())
    assert "no folder" in problem({"embedding_similarity": {"model": "nowhere"}}, tmp_path)


def test_a_local_model_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops.metrics.similarity.find_spec", lambda name: None)
    assert "pip install 'llmops[embeddings]'" in problem({"embedding_similarity": {"model": "."}}, tmp_path)


def test_a_local_model_is_loaded_once_and_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict[str, Any]]] = []

    class Rows(list[list[float]]):
        def tolist(self) -> list[list[float]]:
            return list(self)

    class SentenceTransformer:
        def __init__(self, path: str, **options: Any) -> None:
            made.append((path, options))

        def encode(self, texts: list[str], show_progress_bar: bool) -> Rows:
            return Rows(VECTORS[text] for text in texts)

    library = types.ModuleType("sentence_transformers")
    library.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    library.__spec__ = importlib.util.spec_from_loader("sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    similar = metric({"embedding_similarity": {"model": "."}}, tmp_path)
    assert made == []
    for _ in range(2):
        assert asyncio.run(similar.score(sample("east", "northeast"))).value == pytest.approx(0.5**0.5)
    assert made == [(str(tmp_path), {"local_files_only": True})]


def test_info() -> None:
    info = metric({"embedding_similarity": {"backend": "some"}}, backend=Embeds()).info
    assert (info.low, info.high, info.direction) == (-1, 1, "higher")
