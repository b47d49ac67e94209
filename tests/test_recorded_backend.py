"""The backend that answers from a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.recorded import Recorded
from llmops.errors import InputError, NotRecordedError
from llmops.registry import create, parse_short_form
from llmops.token_usage import read_usage
from llmops.types import Build, Completion, Request, ToolCall, Usage


def build(base: Path) -> Any:
    return Build(base, prompt=lambda name: None, backend=lambda form: None, where="suite.yaml:3")  # type: ignore[arg-type, return-value]


def write(base: Path, *rows: Any) -> str:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (base / "answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return "answers.jsonl"


def complete(backend: Recorded, text: str, model: str = "", repeat: int = 0) -> Completion:
    request = Request(({"role": "user", "content": text},), model=model, repeat=repeat)
    return asyncio.run(backend.complete(request))


def test_answers_by_messages_model_and_repeat(tmp_path: Path) -> None:
    call = {"name": "look", "arguments": {"a": 1}, "id": "c"}
    path = write(
        tmp_path,
        {"prompt": "one", "text": "any", "usage": {"prompt_tokens": 3, "completion_tokens": 2}, "latency_s": 1.5},
        {"messages": [{"content": "one", "role": "user"}], "text": "of m", "model": "m"},
        {"prompt": "two", "text": "first", "repeat": 0},
        {"prompt": "two", "text": "second", "repeat": 1},
        {"prompt": "three", "tool_calls": [call], "finish_reason": "tool_calls"},
    )
    backend = create("backends", parse_short_form({"recorded": path}, what="backend"), build=build(tmp_path))
    first = complete(backend, "one")
    assert (first.text, first.latency_s, first.cached) == ("any", 1.5, True)
    assert first.usage == Usage(3, 2, requests=1, certainty="exact")
    assert complete(backend, "one", model="other", repeat=5).text == "any"
    assert complete(backend, "one", model="m").text == "of m"
    assert [complete(backend, "two", repeat=n).text for n in (0, 1)] == ["first", "second"]
    assert complete(backend, "three").tool_calls == (ToolCall("look", {"a": 1}, "c"),)
    for text, repeat in (("four", 0), ("two", 2)):
        with pytest.raises(NotRecordedError, match=r"answers.jsonl has no answer"):
            complete(backend, text, repeat=repeat)


def test_identity_is_the_content(tmp_path: Path) -> None:
    row = {"prompt": "one", "text": "1"}
    before = Recorded(build(tmp_path), write(tmp_path, row)).identity
    assert before["kind"] == "recorded" and str(tmp_path) not in str(before)
    assert Recorded(build(tmp_path), write(tmp_path, row)).identity == before
    assert Recorded(build(tmp_path), write(tmp_path, {**row, "text": "2"})).identity != before


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    backend = Recorded(build(tmp_path), write(tmp_path, {"prompt": "one", "text": "1"}))
    write(tmp_path, "nothing")
    with pytest.raises(NotRecordedError, match="changed"):
        complete(backend, "one")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "holds no answers"),
        (["{"], ":1: not valid JSON"),
        (["3"], ":1: a row must be a JSON object"),
        (["", '{"text": "x"}'], ":2: a row needs messages or prompt"),
        ([{"prompt": "a", "messages": [], "text": "x"}], "not both"),
        ([{"prompt": "a"}], "needs text"),
        ([{"prompt": 3, "text": "x"}], "prompt is int"),
        ([{"messages": "a", "text": "x"}], "messages isn't a list"),
        ([{"prompt": "a", "text": 3}], "text is int"),
        ([{"prompt": "a", "text": "x", "usgae": {}}], "did you mean 'usage'"),
        ([{"prompt": "a", "text": "x", "usage": {"tokens": 3}}], "usage has no"),
        ([{"prompt": "a", "text": "x", "latency_s": -1}], "latency_s"),
        ([{"prompt": "a", "text": "x", "tool_calls": [{"arguments": {}}]}], "tool_calls"),
        ([{"prompt": "a", "text": "x", "repeat": -1}], "repeat"),
        ([{"prompt": "a", "text": "x", "model": 3}], "model is int"),
        ([{"prompt": "a", "text": "x"}, {"prompt": "a", "text": "y"}], ":2: the same request as on line 1"),
    ],
)
def test_broken_files(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        Recorded(build(tmp_path), write(tmp_path, *rows))
    assert problem in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["missing.jsonl", ".", "a\x00b"])
def test_files_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="can't read"):
        Recorded(build(tmp_path), path)


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2, requests=1, certainty="exact")),
        ({"prompt_tokens": 5, "total_tokens": 7}, Usage(5, 2, requests=1, certainty="exact")),
        ({"prompt_tokens": 5}, Usage(5, 0, requests=1, certainty="unknown")),
        (
            {"input_tokens": 5, "output_tokens": 2, "requests": 3, "certainty": "estimated"},
            Usage(5, 2, requests=3, certainty="estimated"),
        ),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": 4, "cache_creation": 3}},
            Usage(9, 2, 4, 3, 0, 1, "exact"),
        ),
        ({"prompt_tokens": 5.0, "completion_tokens": 1}, Usage(5, 1, requests=1, certainty="exact")),
        ({"prompt_tokens": "5", "completion_tokens": True}, None),
        ({"prompt_tokens": -5, "completion_tokens": 2**60}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_in_every_dialect(value: Any, usage: Usage | None) -> None:
    assert read_usage(value) == usage


counts = st.none() | st.integers() | st.floats() | st.dictionaries(st.just("cached_tokens"), st.integers())
names = st.sampled_from(["prompt_tokens", "output_tokens", "prompt_tokens_details", "requests"])


@given(st.dictionaries(names, counts))
def test_no_usage_breaks_it(value: Any) -> None:
    found = read_usage(value)
    assert found is None or (found.total_tokens >= 0 and found.requests >= 0)
