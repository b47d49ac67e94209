"""The example: its retriever is a real one, and its two configurations differ."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import inspect
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmops import Case, Completion, Context, Output, Request, Sample
from llmops.loading import load_callable

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "examples" / "rag" / "corpus"
EVALS = ROOT / "evals"

answer = load_callable("pipeline.py:answer", base=CORPUS.parent)
pipeline: ModuleType = sys.modules[answer.__module__]
numbers_kept = load_callable("metrics.py:numbers_kept", base=EVALS)
suite: dict[str, Any] = yaml.safe_load((EVALS / "docs-qa.yaml").read_text("utf-8"))
PAGES = {path.stem: path.read_text("utf-8") for path in sorted(CORPUS.glob("*.md"))}
ROWS = [json.loads(line) for line in (EVALS / "data" / "docs_qa.jsonl").read_text("utf-8").splitlines()]
ANSWERABLE = [row for row in ROWS if row["answerable"]]
VARIANTS: dict[str, dict[str, int]] = {name: entry["with"] for name, entry in suite["variants"].items()}


class Parrot:
    """A backend that says the same thing always and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[dict[str, str]]] = []

    async def complete(self, messages: list[dict[str, str]], **parameters: Any) -> Completion:
        self.asked.append(messages)
        return Completion("400 days")


class Sentences:
    """The built-in extractive backend, as the runner hands it to a pipeline."""

    def __init__(self) -> None:
        from llmops.backends.extractive import Extractive

        self._backend = Extractive(max_sentences=1)

    async def complete(self, messages: list[dict[str, str]], **parameters: Any) -> Completion:
        return await self._backend.complete(Request(messages=tuple(messages), parameters=parameters))


# --- the pipeline -----------------------------------------------------------------------------------------------


def test_answer_sends_passages_and_question_and_returns_both() -> None:
    parrot = Parrot()
    question = "How long does Server 5 keep raw readings by default?"
    output = asyncio.run(answer(question, chunk=80, k=4, backend=parrot))
    assert isinstance(output, Output) and output.text == "400 days"
    assert len(output.contexts) == 4 and {c.id for c in output.contexts} <= set(PAGES)
    scores = [c.score or 0.0 for c in output.contexts]
    assert scores == sorted(scores, reverse=True)
    [[system, user]] = parrot.asked
    assert system["role"] == "system" and user["role"] == "user"
    assert user["content"].startswith("Context:\n") and user["content"].endswith(f"\n\nQuestion: {question}")
    assert all(context.text in user["content"] for context in output.contexts)


def test_a_passage_carries_the_title_of_its_page() -> None:
    [found] = pipeline.load_index(40).search("notification log 30 days out of support", 1)
    assert found.id == "retention-v3" and found.text.startswith("# Data retention in Server 3\n\n")


def test_index_is_built_once_for_each_size() -> None:
    assert pipeline.load_index(80) is pipeline.load_index(80)
    assert pipeline.load_index(80) is not pipeline.load_index(250)


def test_a_corpus_without_pages_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "CORPUS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no \.md file"):
        pipeline.load_index(77)


def test_search_stems_ranks_and_breaks_ties_by_order() -> None:
    documents = [("x", "", "cat jumped"), ("y", "", "cat jumped"), ("z", "dogs", "cat cat jumping cat")]
    index = pipeline.Index(documents)
    assert [c.id for c in index.search("jump", 3)] == ["x", "y", "z"]
    assert [c.id for c in index.search("dog", 3)] == ["z"]
    assert [c.id for c in index.search("cats that run", 1)] == ["z"]
    assert index.search("Who is it?", 3) == []
    with pytest.raises(ValueError, match="k must be"):
        index.search("cat", 0)


@pytest.mark.parametrize(
    "question",
    ['"', "'; DROP TABLE passages --", "NEAR(a b)", "cat AND", "title:cat*", "_", "\0", "\ud800", "∞ — ?", ""],
)
def test_search_takes_any_text_as_words(question: str) -> None:
    index = pipeline.Index([("x", "cat", "a cat")])
    assert [c.id for c in index.search(question + " cat", 2)] == ["x"]
    index.search(question, 2)


@given(st.text(max_size=60))
def test_search_never_fails(question: str) -> None:
    assert len(pipeline.load_index(250).search(question, 3)) <= 3


def test_index_can_be_shared_between_threads() -> None:
    questions = [row["question"] for row in ROWS]
    index = pipeline.load_index(80)
    alone = [index.search(question, 5) for question in questions]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda question: index.search(question, 5), questions)) == alone


@given(st.text(alphabet="ab |\n#", max_size=300), st.integers(1, 12))
def test_split_keeps_every_word_within_the_size(text: str, size: int) -> None:
    passages = list(pipeline.split_text(text, size))
    assert " ".join(passages).split() == text.split()
    assert all(0 < len(passage.split()) <= size for passage in passages)


def test_split_never_cuts_a_table_row() -> None:
    for text in PAGES.values():
        lines = set(text.splitlines())
        passages = pipeline.split_text(text, 80)
        assert all(line in lines for p in passages for line in p.splitlines() if line.startswith("|"))
    with pytest.raises(ValueError, match="chunk must be"):
        list(pipeline.split_text("a", 0))


def test_suite_names_functions_and_options_that_exist() -> None:
    assert len(VARIANTS) == 2 and suite["baseline"] in VARIANTS
    for entry in suite["variants"].values():
        assert load_callable(entry["python"], base=EVALS) is answer
        assert set(entry["with"]) <= set(inspect.signature(answer).parameters)
    fields = suite["dataset"]["fields"].values()
    assert set(fields) <= set(ROWS[0]), "fields: names a column that the data lacks"


# --- how good it is ---------------------------------------------------------------------------------------------


def test_the_two_configurations_differ_in_retrieval_but_both_work() -> None:
    figures = {name: (fmean(recalls(**options)), fmean(ranks(**options))) for name, options in VARIANTS.items()}
    (large_recall, large_rank), (small_recall, small_rank) = figures["large-chunks"], figures["small-chunks"]
    assert 0.82 < large_recall < small_recall < 0.97, figures
    assert 0.72 < large_rank < small_rank - 0.03 < 0.87, figures


def test_extractive_answers_are_about_as_good_as_documented() -> None:
    pytest.importorskip("llmops.backends.extractive")
    backend = Sentences()

    async def overlaps(options: Mapping[str, int]) -> list[float]:
        outputs = [await answer(row["question"], backend=backend, **options) for row in ANSWERABLE]
        return [overlap(o.text, row["answer"]) for o, row in zip(outputs, ANSWERABLE, strict=True)]

    for name, options in VARIANTS.items():
        figure = fmean(asyncio.run(overlaps(options)))
        assert 0.38 < figure < 0.75, (name, figure)


def test_retriever_reaches_bm25_on_scifact() -> None:
    folder = scifact()
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = map(json.loads, lines)
        index = pipeline.Index((str(d["doc_id"]), d["title"], d["text"]) for d in documents)
    qrels: dict[str, dict[str, int]] = {}
    for row in read_lines(folder / "qrels.jsonl"):
        qrels.setdefault(str(row["query_id"]), {})[str(row["doc_id"])] = int(row["relevance"])
    found: dict[str, list[Context]] = {
        str(row["query_id"]): index.search(row["text"], 10) for row in read_lines(folder / "queries.jsonl")
    }
    assert len(found) == len(qrels) == 300
    own = {query: ndcg([c.id for c in found[query]], qrels[query], 10) for query in qrels}
    assert fmean(own.values()) == pytest.approx(0.687, abs=0.01)
    if importlib.util.find_spec("pytrec_eval") is None:
        return
    import pytrec_eval

    run = {query: {c.id: c.score or 0.0 for c in contexts} for query, contexts in found.items()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    assert fmean(t["ndcg_cut_10"] for t in theirs.values()) == pytest.approx(fmean(own.values()), abs=1e-6)


# --- the suite's own metric -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "text", "value"),
    [
        ("1,095 days", "The largest value is 1,095.", 1.0),
        ("5 minutes", "after 15 minutes", 0.0),
        ("03:15 or 4.5", "at 03:15, and 4,5", 0.5),
        ("above −72 °C", "−72 °C", 1.0),
        ("nothing to count", "7", None),
        ("", "7", None),
        (None, "7", None),
    ],
)
def test_numbers_kept(expected: str | None, text: str, value: float | None) -> None:
    score = numbers_kept(Sample(Case("c", expected=expected), Output(text)))
    assert score.value == value
    assert score.reason or value == 1.0


# --- helpers ----------------------------------------------------------------------------------------------------


def grades(row: Mapping[str, Any]) -> dict[str, float]:
    gold = row["gold"]
    return dict(gold) if isinstance(gold, dict) else dict.fromkeys(gold, 1)


def retrieved(row: Mapping[str, Any], chunk: int, k: int) -> list[str]:
    return list(dict.fromkeys(c.id for c in pipeline.load_index(chunk).search(row["question"], k)))


def recalls(chunk: int, k: int) -> Iterator[float]:
    for row in ANSWERABLE:
        gold = set(grades(row))
        yield len(gold & set(retrieved(row, chunk, k))) / len(gold)


def ranks(chunk: int, k: int) -> Iterator[float]:
    for row in ANSWERABLE:
        places = (1 / place for place, page in enumerate(retrieved(row, chunk, k), 1) if page in grades(row))
        yield next(places, 0.0)


def ndcg(ids: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """As trec_eval's ndcg_cut: the gain is the grade itself, discounted by log2(rank + 1)."""

    def gain(found: Sequence[int]) -> float:
        return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(found[:k], 1))

    return gain([relevant.get(i, 0) for i in ids]) / gain(sorted(relevant.values(), reverse=True))


def overlap(text: str, expected: str) -> float:
    """F1 of the bags of words, without punctuation."""
    a, b = re.findall(r"\w+", text.lower()), re.findall(r"\w+", expected.lower())
    both = sum(min(a.count(word), b.count(word)) for word in set(a))
    return 2 * both / (len(a) + len(b)) if a or b else 1.0


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def scifact() -> Path:
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / "data" / "scifact").is_dir():
            return folder / "shared" / "data" / "scifact"
    pytest.skip("no shared/data/scifact beside the project")
