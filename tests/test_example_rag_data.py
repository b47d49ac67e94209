"""The corpus and questions of the example: enough, consistent, and hard where they mean to be."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "examples" / "rag" / "corpus"
DISTRACTORS = {"glossary", "recycling", "partner-training"}
NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")

PAGES = {path.stem: path.read_text("utf-8") for path in sorted(CORPUS.glob("*.md"))}
LINES = (ROOT / "evals" / "data" / "docs_qa.jsonl").read_text("utf-8").splitlines()
ROWS = [json.loads(line) for line in LINES]
ANSWERABLE = [row for row in ROWS if row["answerable"]]


def test_corpus_is_large_and_its_pages_say_what_they_are_for() -> None:
    assert len(PAGES) >= 30
    for name, text in PAGES.items():
        assert 150 <= len(text.split()) <= 600, name
        title, blank, applies = text.splitlines()[:3]
        assert title.startswith("# ") and not blank and applies.startswith("Applies to "), name
        assert re.search(r"(?:updated|Released) \d{4}-\d\d-\d\d", applies), name


def test_corpus_has_near_duplicates_and_tables() -> None:
    words = {name: set(re.findall(r"\w+", text.lower())) for name, text in PAGES.items()}
    pairs = itertools.combinations(words, 2)
    near = [(a, b) for a, b in pairs if len(words[a] & words[b]) > 0.5 * len(words[a] | words[b])]
    assert len(near) >= 8, near
    assert ("retention-v4", "retention-v5") in near
    tables = [name for name, text in PAGES.items() if re.search(r"^\|---", text, re.MULTILINE)]
    assert len(tables) >= 20
    for name in tables:
        for block in re.findall(r"(?:^\|.*\n)+", PAGES[name], re.MULTILINE):
            assert len({row.count("|") for row in block.splitlines()}) == 1, f"{name}: a ragged table"


def test_questions_are_many_and_unique() -> None:
    assert len(ROWS) >= 66
    assert len({row["qid"] for row in ROWS}) == len({row["question"] for row in ROWS}) == len(ROWS)
    tags = {tag: sum(tag in row["tags"] for row in ROWS) for row in ROWS for tag in row["tags"]}
    readme = (CORPUS.parent / "README.md").read_text("utf-8")
    for tag, count in tags.items():
        assert count >= 2 and f"`{tag}`" in readme, tag
    assert tags["paraphrase"] >= 10 and tags["version"] >= 30


def test_unanswerable_questions_have_nothing_relevant_and_an_empty_answer() -> None:
    rows = [row for row in ROWS if not row["answerable"]]
    assert len(rows) >= 8
    for row in rows:
        assert "gold" not in row and row["answer"] == "" and "unanswerable" in row["tags"], row["qid"]


def test_gold_pages_exist_and_hold_the_answer() -> None:
    for row in ANSWERABLE:
        gold = grades(row)
        assert gold and set(gold) <= set(PAGES) and row["page"] in PAGES, row["qid"]
        assert "unanswerable" not in row["tags"] and row["answer"]
        best = [page for page, grade in gold.items() if grade == max(gold.values())]
        held = {number for page in gold for number in NUMBER.findall(PAGES[page])}
        assert set(NUMBER.findall(row["answer"])) <= held, row["qid"]
        terms = content_terms(row["answer"])
        for page in best:  # a full answer's words are the page's words
            own = content_terms(PAGES[page])
            assert len(terms & own) >= 0.5 * len(terms), (row["qid"], page, terms - own)


def test_every_page_is_asked_about_or_a_named_distractor() -> None:
    used = {page for row in ANSWERABLE for page in grades(row)}
    assert set(PAGES) - used == DISTRACTORS
    readme = (CORPUS.parent / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in readme for name in DISTRACTORS)
    unanswerable = len(ROWS) - len(ANSWERABLE)
    assert len(PAGES) == 46 and readme.splitlines()[2].startswith("Forty-six short pages")
    assert f"{len(ROWS)} questions with answers, relevant pages, tags; {unanswerable} cannot be answered" in readme


def test_one_question_about_two_versions_has_two_answers() -> None:
    asked: dict[str, set[str]] = {}
    for row in ANSWERABLE:
        asked.setdefault(re.sub(r"Server \d(?:\.\d)?", "Server", row["question"]), set()).add(row["answer"])
    assert sum(len(answers) > 1 for answers in asked.values()) >= 8


def grades(row: Mapping[str, Any]) -> dict[str, float]:
    gold = row["gold"]
    return dict(gold) if isinstance(gold, dict) else dict.fromkeys(gold, 1)


def content_terms(text: str) -> set[str]:
    """Lower-case words of four letters or more, and everything with a digit."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3 or re.search(r"\d", word)}
