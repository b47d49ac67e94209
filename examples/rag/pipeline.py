"""Question answering over a folder of Markdown pages: SQLite full-text search, then one model call.

Copy this file as a start for your own pipeline. llmops needs only `answer`: a function that takes the inputs of
a case, and options from the suite's `with:`, and returns the text together with the passages it was based on.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmops import Context, Output

CORPUS = Path(__file__).parent / "corpus"

INSTRUCTION = (
    "Answer the question from the context alone, in one short phrase or sentence. "
    "If the context does not contain the answer, say that you don't know."
)

# Words that say how a sentence is built, not what it is about. Question words are among them on purpose.
FUNCTION_WORDS = (
    "a an and are as at be been but by can could did do does for from had has have how i if in into is it its may "
    "me must my no not of on or our should so such than that the their then there these they this those to was "
    "we were what when where which who whom why will with would you your"
)
STOP_WORDS = frozenset(FUNCTION_WORDS.split())


async def answer(question: str, *, chunk: int = 200, k: int = 3, backend: Any) -> Output:
    """Answer from the `k` best passages of at most `chunk` words each; `backend` is passed in by llmops."""
    contexts = load_index(chunk).search(question, k)
    completion = await backend.complete(build_messages(question, contexts))
    return Output(text=completion.text, contexts=tuple(contexts))


def build_messages(question: str, contexts: Iterable[Context]) -> list[dict[str, str]]:
    """The request in chat form: an instruction, then the passages and the question."""
    passages = "\n\n".join(context.text for context in contexts)
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"Context:\n{passages}\n\nQuestion: {question}"},
    ]


class Index:
    """BM25 over (id, title, text) triples in an in-memory SQLite FTS5 table; safe to share between threads."""

    def __init__(self, documents: Iterable[tuple[str, str, str]]) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._database.close)
        self._database.execute(
            "CREATE VIRTUAL TABLE passages USING fts5 (id UNINDEXED, title, text, tokenize = 'porter unicode61')"
        )
        self._database.executemany("INSERT INTO passages VALUES (?, ?, ?)", documents)

    def search(self, query: str, k: int) -> list[Context]:
        """At most `k` passages, best first. Several passages of one document share its id."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        terms = content_terms(query)
        if not terms:
            return []
        with self._lock:
            rows = self._database.execute(
                # A better match has a smaller bm25(); rowid breaks ties the same way every time.
                "SELECT id, title, text, -bm25(passages) FROM passages "
                "WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ?",
                (" OR ".join(f'"{term}"' for term in terms), k),
            ).fetchall()
        return [Context(f"# {title}\n\n{text}", id_, score) for id_, title, text, score in rows]


def content_terms(query: str) -> list[str]:
    """The words to look for, each once: a repeated word in a question is no sign of its importance."""
    words = re.findall(r"\w+", query.lower())
    return list(dict.fromkeys(word for word in words if word not in STOP_WORDS))


@lru_cache(maxsize=8)
def load_index(chunk: int) -> Index:
    """The index of the corpus in passages of at most `chunk` words, built once for each size."""
    pages = sorted(CORPUS.glob("*.md"))
    if not pages:
        raise FileNotFoundError(f"no .md file in {CORPUS}")
    return Index(
        (path.stem, title, passage)
        for path in pages
        for title, text in [read_page(path)]
        for passage in split_text(text, chunk)
    )


def read_page(path: Path) -> tuple[str, str]:
    """Title (the first line, without its `#`) and text of a Markdown page."""
    title, _, text = path.read_text(encoding="utf-8").partition("\n")
    return title.lstrip("# "), text.strip()


def split_text(text: str, size: int) -> Iterator[str]:
    """Cut `text` into passages of at most `size` words.

    Passages end where a line ends, so that a table row stays whole; only a line longer than `size` is cut.
    """
    if size < 1:
        raise ValueError(f"chunk must be at least 1 word, not {size}")
    passage: list[str] = []
    words = 0
    for line in split_lines(text, size):
        count = len(line.split())
        if words + count > size and words:
            yield "\n".join(passage).strip()
            passage, words = [], 0
        passage.append(line)
        words += count
    if words:
        yield "\n".join(passage).strip()


def split_lines(text: str, size: int) -> Iterator[str]:
    """The lines of `text`; one of more than `size` words comes in pieces."""
    for line in text.splitlines():
        words = line.split()
        if len(words) <= size:
            yield line
        else:
            yield from (" ".join(words[i : i + size]) for i in range(0, len(words), size))
