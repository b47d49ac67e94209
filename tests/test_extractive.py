"""The extractive backend: finds the question, finds the sentence, says when there is none."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.extractive import UNKNOWN, Extractive, answer, count_tokens
from llmops.backends.question_context import find_question
from llmops.backends.sentences import split_sentences, split_units
from llmops.errors import InputError, RequestRejectedError
from llmops.registry import create, parse_short_form
from llmops.types import Completion, Request

CONTEXT = """
# Plans

Lumen is a note-taking app for teams. It was founded by Ada Brook in 2014, e.g. before Notable existed.
The Pro plan costs $12.50 a month. It includes 5 users and
up to 20 GB of storage.

## Limits

- Uploads are limited to 100 MB a file since v2.1. of the desktop app.
- Searches return at most 50 notes.

| Plan | Price a month | Storage |
|------|:-------------:|---------|
| Free | $0            | 1 GB    |
| Team | $30           | 200 GB  |
"""


def complete(*messages: tuple[str, Any], **parameters: Any) -> Completion:
    chat = tuple({"role": role, "content": content} for role, content in messages)
    return asyncio.run(Extractive().complete(Request(chat, parameters=parameters)))


def ask(question: str, **parameters: Any) -> str:
    return complete(("user", f"Context:\n{CONTEXT}\n\nQuestion: {question}\nAnswer:"), **parameters).text


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How much does the Pro plan cost?", "The Pro plan costs $12.50 a month."),
        ("Who founded Lumen?", "It was founded by Ada Brook in 2014, e.g. before Notable existed."),
        ("What is the limit for uploads?", "Uploads are limited to 100 MB a file since v2.1. of the desktop app."),
        ("How many notes does a search return?", "Searches return at most 50 notes."),
        ("What does the Team plan cost a month?", "Plan: Team; Price a month: $30; Storage: 200 GB"),
        ("What is the storage of the Free plan?", "Plan: Free; Price a month: $0; Storage: 1 GB"),
    ],
)
def test_it_finds_the_sentence(question: str, expected: str) -> None:
    assert ask(question, max_sentences=1) == expected


@pytest.mark.parametrize("question", ["Which airport is nearest?", "What is it?", "", "???", "\x00"])
def test_it_says_when_the_context_does_not(question: str) -> None:
    assert ask(question) == UNKNOWN


def test_it_asks_for_a_context() -> None:
    assert complete(("user", "How much does the Pro plan cost?")).text == UNKNOWN
    assert complete().text == UNKNOWN


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([("user", "Question: Old?\n\nSome text.\n\nQuestion: Who is it?")], "Who is it?"),
        ([("user", "Some text.\nQ: Who\nis it?\n\nAnswer:")], "Who is it?"),
        ([("user", "**Question:** Who is it?\n\nContext:\nSome text.")], "Who is it?"),
        ([("user", "## Question\n\nWho is it?\n\n## Context\nSome text.")], "Who is it?"),
        ([("user", "<question>\nWho is it?\n</question>\nSome text.")], "Who is it?"),
        ([("user", "Is this text?\nSome text.\nWho is it?\nBe brief.")], "Who is it?"),
        ([("user", "Some text."), ("user", "Tell me who it is")], "Tell me who it is"),
        ([("user", [{"type": "text", "text": "Some text.\nWho is it?"}])], "Who is it?"),
    ],
)
def test_where_the_question_stands(messages: list[tuple[str, Any]], question: str) -> None:
    asked = find_question([{"role": role, "content": content} for role, content in messages])
    assert asked.question == question
    assert question not in asked.context


def test_instructions_before_the_context_are_not_the_context() -> None:
    asked = find_question(
        [
            {"role": "system", "content": "Answer questions about plans briefly."},
            {
                "role": "user",
                "content": "Answer from the context.\n\nContext:\nIt rains.\n\nQuestion: Does it rain?",
            },
        ]
    )
    assert asked.context.split() == ["It", "rains."]


def test_a_system_message_with_a_context_counts() -> None:
    system = "You are helpful.\nContext:\nThe Pro plan costs $12."
    found = complete(("system", system), ("user", "What does the Pro plan cost?"))
    assert found.text == "The Pro plan costs $12."
    assert complete(("system", "The Pro plan costs $12."), ("user", "What does the Pro plan cost?")).text == UNKNOWN


def test_worked_examples_are_not_the_context() -> None:
    prompt = (
        "Context:\nThe Pro plan costs $99.\nQuestion: What does the Pro plan cost?\nAnswer: $99.\n\n"
        "Context:\nThe Pro plan costs $12.\nQuestion: What does the Pro plan cost?\nAnswer:"
    )
    assert complete(("user", prompt)).text == "The Pro plan costs $12."


def test_headings_and_neighbours_decide_between_equal_sentences() -> None:
    context = "# Free plan\n\nThe price is low.\n\n# Pro plan\n\nThe price is high."
    assert answer("What is the price of the Pro plan?", context, 1) == "The price is high."
    context = "The Basic tier is popular. It costs little a year.\n\nThe Gold tier is rare. It costs plenty a year."
    assert answer("What does Gold cost a year?", context, 2).endswith("It costs plenty a year.")


def test_numbers_and_names_where_they_are_asked_for() -> None:
    context = "The bridge was opened by the mayor.\nThe bridge was opened in 1931."
    assert answer("When was the bridge opened?", context.replace("\n", "\n\n"), 1) == "The bridge was opened in 1931."
    context = "The bridge was opened after a storm.\n\nThe bridge was opened by Jane Holm."
    assert answer("Who opened the bridge?", context, 1) == "The bridge was opened by Jane Holm."


def test_sentences_come_in_the_order_of_the_context_and_only_once() -> None:
    context = "The Pro plan costs $12.\n\nThe Pro plan costs $12.\n\nThe Pro plan costs $15 in Norway."
    assert (
        answer("What does the Pro plan cost?", context, 3)
        == "The Pro plan costs $12. The Pro plan costs $15 in Norway."
    )
    assert answer("What does the Pro plan cost in Norway?", context, 1) == "The Pro plan costs $15 in Norway."


def test_limits_and_usage() -> None:
    prompt = ("user", f"Context:\n{CONTEXT}\nQuestion: How much does the Pro plan cost?")
    whole = complete(prompt, max_sentences=1)
    assert (whole.finish_reason, whole.usage.certainty, whole.usage.requests) == ("stop", "estimated", 1)
    assert whole.usage.input_tokens == count_tokens(prompt[1])
    short = complete(prompt, max_sentences=1, max_tokens=4)
    assert (short.text, short.finish_reason, short.usage.output_tokens) == ("The Pro plan costs", "length", 4)
    exact = complete(prompt, max_sentences=1, max_tokens=whole.usage.output_tokens)
    assert (exact.text, exact.finish_reason) == (whole.text, "stop")


@pytest.mark.parametrize("name", ["max_tokens", "max_sentences"])
@pytest.mark.parametrize("value", ["many", 0, -1, 1.5, True, [1]])
def test_limits_that_are_not(name: str, value: Any) -> None:
    with pytest.raises(RequestRejectedError, match=name):
        ask("Who?", **{name: value})


@pytest.mark.parametrize("max_tokens", [None, 3])
def test_the_worst_case_is_the_real_one(max_tokens: int | None) -> None:
    text = f"Context:\n{CONTEXT}\nQuestion: What does the Team plan cost?"
    request = Request(({"role": "user", "content": text},), parameters={"max_tokens": max_tokens})
    backend = Extractive()
    assert backend.worst_case_tokens(request) == asyncio.run(backend.complete(request)).usage.total_tokens


def test_what_it_is() -> None:
    backend = create("backends", parse_short_form({"extractive": 3}, what="backend"))
    assert backend.identity == {"kind": "extractive", "version": 1, "max_sentences": 3}
    assert "no language model" in backend.note
    assert create("backends", parse_short_form("extractive", what="backend")).identity["max_sentences"] == 2
    with pytest.raises(InputError, match="max_sentences"):
        Extractive(0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It costs $3.50. That is 1.5 times 2.25.", 2),
        ("Use a cache, e.g. Redis. See Fig. 3 and Sec. 4.", 2),
        ("Dr. J. R. Smith met Mrs. Lee. They left.", 2),
        ("Since v2.1. it works. Version 2.1 is old!", 2),
        ('He said "Stop." Then he ran.', 2),
        ("Really?! Yes... Maybe.", 3),
        ("See example.com/a.b?c=d for more. Done.", 2),
        ("今日は晴れ。明日は雨。", 2),
        ("no end", 1),
        ("", 0),
    ],
)
def test_where_sentences_end(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count, split_sentences(text)


def test_units_of_markdown() -> None:
    units = split_units(CONTEXT)
    assert [u.text for u in units if "Team" in u.text] == ["Plan: Team; Price a month: $30; Storage: 200 GB"]
    assert "It includes 5 users and up to 20 GB of storage." in [u.text for u in units]
    assert next(u for u in units if "Uploads" in u.text).heading == "Plans Limits"
    assert split_units("```\nx = 1. Y\n```\n[doc 3]\nText.")[0].text == "x = 1. Y"
    assert split_units("[doc 3]\nText.")[0].heading == "doc 3"
    assert [u.text for u in split_units("a | b\nc | d")] == ["a | b", "c | d"]


hostile = st.text(alphabet=st.sampled_from(list("ab.?!|-#:\n\r`\"'()[]<>* \t\x00\ud800。Q")), max_size=200) | st.text()


@given(hostile, hostile)
def test_no_text_breaks_it(context: str, question: str) -> None:
    chat = ({"role": "user", "content": f"{context}\nQuestion: {question}"}, {"role": "user", "content": context})
    found = asyncio.run(Extractive().complete(Request(chat)))
    assert found.text == UNKNOWN or found.usage.output_tokens == count_tokens(found.text)
    assert asyncio.run(Extractive().complete(Request(chat))) == found


@given(st.lists(st.sampled_from(["Cats purr loudly.", "Dogs bark.", "It cost 3.50 e.g. today.", "Is it?"]), min_size=1))
def test_sentences_lose_no_text(parts: list[str]) -> None:
    assert " ".join(split_sentences(" ".join(parts))) == " ".join(parts)


@pytest.mark.parametrize("part", [".", "?.", "| ", "|-", "- ", "#", ": ", "[", "Q:", '"', "<question>", "a. ", "é "])
def test_long_hostile_texts_take_linear_time(part: str) -> None:
    text = part * (60_000 // len(part)) + "x"
    began = time.process_time()
    complete(("user", f"Context:\n{text}\nQuestion: What is a cat?"))
    complete(("user", text))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "a | b\n" + "-" * 60_000 + "x\n| c | d |",
        "# " + "cat " * 8_000 + "\n" + "A cat.\n\n" * 5_000,
        "A cat purrs. " + "".join(f"It is x{n} y{n}. " for n in range(4_000)),
        "| a" * 200 + "|\n" + "|-" * 200 + "|\n" + ("| cat" * 200 + "|\n") * 60,
    ],
    ids=["rule", "heading", "pronouns", "table"],
)
def test_documents_made_to_be_slow(text: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    complete(("user", f"Context:\n{text}\nQuestion: What is a cat?"))
    taken = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 5 and peak < 60_000_000


def test_it_is_fast() -> None:
    context = (CONTEXT * 6)[:3000]
    answer("How much does the Pro plan cost?", context, 2)
    taken = []
    for _ in range(30):
        began = time.process_time()
        answer("How much does the Pro plan cost?", context, 2)
        taken.append(time.process_time() - began)
    assert min(taken) < 0.002  # measured well under a millisecond; twice that for a slow machine


def test_it_picks_sentences_people_picked() -> None:
    data = next((p / "shared/data/clapnq_dev" for p in Path(__file__).parents if (p / "shared/data").is_dir()), None)
    if data is None:
        pytest.skip("shared/data isn't here")
    rows = [json.loads(line) for line in (data / "answerable.jsonl").read_bytes().splitlines()]
    right = silent = 0
    for row in rows:
        context = "\n\n".join(f"# {p['title']}\n\n{p['text']}" for p in row["passages"])
        found = answer(row["input"], context, 1)
        gold = [" ".join(s.split()) for output in row["output"] for s in output["selected_sentences"]]
        right += any(found in sentence or sentence in found for sentence in gold)
        silent += found == UNKNOWN
    assert right / len(rows) > 0.62  # a sentence at random: 0.46
    assert silent / len(rows) < 0.08
