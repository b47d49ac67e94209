"""Closeness in meaning: the cosine of embeddings."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from operator import mul
from pathlib import Path
from typing import Any

from llmops.errors import BadResponseError, InputError, MissingExtraError
from llmops.metrics.expected import references
from llmops.types import Build, MetricInfo, Sample, Score

Vectors = Sequence[Sequence[float]]


class EmbeddingSimilarity:
    """Cosine of the embeddings of the output and the expected answer; the best reference counts.

    Needs `backend` (one that serves embeddings), or `model`: the folder of a sentence-transformers model on this
    machine. Nothing is downloaded.
    """

    def __init__(self, build: Build, backend: Any = None, model: str | None = None) -> None:
        if (backend is None) == (model is None):
            hint = "write {embedding_similarity: {backend: …}}, or model: and a folder"
            raise InputError("embedding_similarity needs a backend or a model, one of them", hint=hint)
        self.info = MetricInfo(
            "embedding_similarity", low=-1.0, description="cosine of the embeddings of output and best reference"
        )
        self._embed: Callable[[list[str]], Awaitable[Vectors]] = (
            _local_model(build.base / model) if model is not None else _backend_embed(build, backend)
        )

    async def score(self, sample: Sample) -> Score:
        """-1 to 1, and 0 for an empty output; unscored without an expected answer that is text and not blank."""
        found = references(sample.case.expected)
        if isinstance(found, Score):
            return found
        texts = [text for text in found if text.strip()]
        if not texts:
            return Score.unscored("the expected answer is empty")
        if not sample.output.text.strip():
            return Score(0.0, "the output is empty")
        own, *others = await self._vectors([sample.output.text, *texts])
        cosines = [value for other in others if (value := cosine(own, other)) is not None]
        return Score(max(cosines)) if cosines else Score.unscored("an embedding has no direction: all 0, or not finite")

    async def _vectors(self, texts: list[str]) -> Vectors:
        vectors = await self._embed(texts)
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) != 1:
            raise BadResponseError(f"{len(texts)} texts got {len(vectors)} embeddings, or some of other lengths")
        return vectors


def cosine(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Cosine of the angle between two vectors of one length, -1 to 1; None when one is 0 or not finite."""
    length = math.hypot(*one) * math.hypot(*other)
    value = sum(map(mul, one, other)) / length if length else math.nan
    return max(-1.0, min(1.0, float(value))) if math.isfinite(value) else None


def _backend_embed(build: Build, spec: Any) -> Callable[[list[str]], Awaitable[Vectors]]:
    backend: Any = build.backend(spec)
    embed = getattr(backend, "embed", None)
    if embed is None:
        hint = "use one that serves embeddings, such as openai_http"
        raise InputError("embedding_similarity: this backend can't embed", hint=hint)
    found: Callable[[list[str]], Awaitable[Vectors]] = embed
    return found


def _local_model(folder: Path) -> Callable[[list[str]], Awaitable[Vectors]]:
    if "\0" in str(folder) or not folder.is_dir():
        hint = "give the folder of a sentence-transformers model on this machine"
        raise InputError(f"no folder {str(folder)!r}", hint=hint)
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError("embeddings", needed_for="embedding_similarity with a local model")
    return _LocalModel(folder).embed


class _LocalModel:
    """Loads the model with the first texts: a run that never scores needn't wait for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model: Any = None
        self._one_at_a_time = threading.Lock()

    async def embed(self, texts: list[str]) -> Vectors:
        return await asyncio.to_thread(self._embedded, texts)

    def _embedded(self, texts: list[str]) -> Vectors:
        with self._one_at_a_time:
            if self._model is None:
                from sentence_transformers import SentenceTransformer

                self._model = SentenceTransformer(str(self._folder), local_files_only=True)
            vectors: Vectors = self._model.encode(texts, show_progress_bar=False).tolist()
            return vectors
