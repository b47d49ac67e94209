"""Recorded outputs as a variant."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.errors import InputError, NotRecordedError
from llmops.registry import Spec, create
from llmops.types import Build, Case, Context, Failure, Output, ToolCall, Trial, Usage
from llmops.variants.recorded import RecordedVariant


def build(base: Path) -> Any:
    return Build(base, prompt=lambda name: None, backend=lambda form: None, where="suite.yaml:3")  # type: ignore[arg-type, return-value]


def write(base: Path, *rows: Any) -> str:
    lines = (row if isinstance(row, (str, bytes)) else json.dumps(row) for row in rows)
    data = b"\n".join(line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass") for line in lines)
    (base / "outputs.jsonl").write_bytes(data)
    return "outputs.jsonl"


def make(base: Path, *rows: Any, **options: Any) -> RecordedVariant:
    made: RecordedVariant = create(
        "variants", Spec("recorded", options={"recorded": write(base, *rows), **options}), build=build(base)
    )
    return made


def answer(variant: RecordedVariant, case_id: str, repeat: int = 0) -> Output:
    return asyncio.run(variant.answer(Trial(Case(case_id), repeat)))


def test_a_whole_row(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    row = {
        "id": "q1",
        "text": "Paris 😀",
        "contexts": ["plain", {"id": "d1", "text": "rich", "score": 0.5}, {"id": 7}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}},
        "latency_s": 0.25,
        "tool_calls": [call, {"name": "say", "arguments": {"b": 2}}, {"name": "odd", "arguments": "{"}],
        "metadata": {"trace": "t1"},
    }
    output = answer(make(tmp_path, "", row, "  "), "q1")
    assert output == Output(
        text="Paris 😀",
        contexts=(Context("plain"), Context("rich", "d1", 0.5), Context("", "7")),
        tool_calls=(ToolCall("look", {"a": 1}, "c"), ToolCall("say", {"b": 2}), ToolCall("odd", {"_raw": "{"})),
        usage=Usage(12, 3, 8, requests=1, certainty="exact"),
        latency_s=0.25,
        cached=True,
        metadata={"trace": "t1"},
    )


def test_failures_repeats_and_what_is_missing(tmp_path: Path) -> None:
    variant = make(
        tmp_path,
        {"id": "a", "error": "timed out"},
        {"id": "b", "error": {"kind": "rate_limited", "message": "slow down"}},
        {"id": "c", "text": "0", "repeat": 0},
        {"id": "c", "text": "1", "repeat": 1},
        {"id": 4, "text": 42, "error": None, "usage": None},
    )
    assert answer(variant, "a").error == Failure("recorded_error", "timed out")
    assert answer(variant, "b").error == Failure("rate_limited", "slow down")
    assert [answer(variant, "c", n).text for n in (0, 1)] == ["0", "1"]
    assert answer(variant, "4") == Output("42", cached=True)
    with pytest.raises(NotRecordedError, match="no output for case 'z'"):
        answer(variant, "z")
    with pytest.raises(NotRecordedError, match=r"case 'a' \(repeat 1\).*repeats: 1"):
        answer(variant, "a", 1)


def test_other_column_names(tmp_path: Path) -> None:
    rows = [
        {
            "qid": "q1",
            "answers": [{"a.b": "x"}, {"out": {"t": "deep"}}],
            "ms": 3,
            "docs": ["d"],
            "text": "not this",
        },
        {"qid": "q2", "answers": [{}, {"out": {"t": "other"}}], "extra": 1},
    ]
    fields = {"id": "qid", "text": "answers.1.out.t", "contexts": "docs"}
    variant = make(tmp_path, *rows, fields=fields)
    assert answer(variant, "q1") == Output("deep", (Context("d"),), cached=True)
    assert answer(variant, "q2").text == "other"
    dotted = make(tmp_path, {"id": "1", "a.b": "whole key"}, fields={"text": "a.b"})
    assert answer(dotted, "1").text == "whole key"


def test_one_file_for_several_systems(tmp_path: Path) -> None:
    rows = [
        {"id": "q1", "text": "from a", "system": "a", "run": {"n": 1}},
        {"id": "q1", "text": "from b", "system": "b", "run": {"n": 1}},
        {"id": "q1", "text": "later b", "system": "b", "run": {"n": 2}},
    ]
    lenient = {"fields": {"text": "text"}}
    assert answer(make(tmp_path, *rows, only={"system": "a"}, **lenient), "q1").text == "from a"
    assert answer(make(tmp_path, *rows, only={"system": "b", "run.n": 2}), "q1").text == "later b"
    with pytest.raises(InputError, match=r"outputs.jsonl:3: id 'q1' is also on line 2"):
        make(tmp_path, *rows, only={"system": "b"}, **lenient)
    with pytest.raises(InputError, match=r"outputs.jsonl:1: unknown column 'run'"):
        make(tmp_path, *rows, only={"system": "a"})
    with pytest.raises(InputError, match=r"no row of outputs.jsonl has system = 'c'; for example system is a, b"):
        make(tmp_path, *rows, only={"system": "c"})
    with pytest.raises(InputError, match=r"no row of outputs.jsonl has a column 'sytem'"):
        make(tmp_path, *rows, only={"sytem": "a"})


def test_info_is_the_content(tmp_path: Path) -> None:
    row = {"id": "1", "text": "a", "s": "x"}
    info = make(tmp_path, row, only={"s": "x"}).info
    assert (info.name, info.kind, info.details["path"], info.details["only"]) == (
        "",
        "recorded",
        "outputs.jsonl",
        {"s": "x"},
    )
    assert make(tmp_path, row, only={"s": "x"}).info == info
    assert make(tmp_path, {**row, "text": "b"}, only={"s": "x"}).info != info
    assert str(tmp_path) not in str(info)


BROKEN: list[tuple[list[Any], Mapping[str, Any], str]] = [
    ([], {}, "suite.yaml:3: outputs.jsonl holds no rows"),
    (["{"], {}, "outputs.jsonl:1: not valid JSON"),
    (["", "[]"], {}, "outputs.jsonl:2: a row must be a JSON object, not list"),
    ([b"\xff\xfe{}"], {}, "outputs.jsonl:1: not UTF-8"),
    (["[" * 100_000], {}, "outputs.jsonl:1: not plain JSON"),
    (['{"id": ' + "1" * 5000 + "}"], {}, "outputs.jsonl:1: not plain JSON"),
    ([{"text": "x"}], {}, "outputs.jsonl:1: a row needs id"),
    ([{"id": ["x"], "text": "x"}], {}, "id is list"),
    ([{"id": True, "text": "x"}], {}, "id is bool"),
    ([{"id": "1"}], {}, "a row needs text"),
    ([{"id": "1", "text": ["x"]}], {}, "text is list"),
    ([{"id": "1", "text": "x", "contxts": []}], {}, "unknown column 'contxts'; did you mean 'contexts'?"),
    ([{"id": "1", "text": "x", "question": "y"}], {}, "fields: {id: …, text: …}"),
    ([{"id": "1", "text": "x", "contexts": 3}], {}, "contexts is 3, not a list"),
    ([{"id": "1", "text": "x", "contexts": [3]}], {}, "contexts[0] is 3"),
    ([{"id": "1", "text": "x", "contexts": ["a", {}]}], {}, "contexts[1] has no text"),
    ([{"id": "1", "text": "x", "contexts": [{"text": 3}]}], {}, "contexts[0] has a text that is 3"),
    (
        [{"id": "1", "text": "x", "contexts": [{"text": "a", "id": []}]}],
        {},
        "contexts[0] has an id that is a list",
    ),
    (['{"id": "1", "text": "x", "contexts": [{"text": "a", "score": NaN}]}'], {}, "contexts[0] has a score"),
    ([{"id": "1", "text": "x", "contexts": [{"text": "a", "score": 10**400}]}], {}, "contexts[0] has a score"),
    ([{"id": "1", "text": "x", "usage": 3}], {}, "usage is 3"),
    ([{"id": "1", "text": "x", "usage": {"tokens": 3}}], {}, "usage has neither"),
    ([{"id": "1", "text": "x", "usage": {"input_tokens": -3}}], {}, "usage.input_tokens is '-3'"),
    ([{"id": "1", "text": "x", "usage": {"completion_tokens": "3"}}], {}, "usage.completion_tokens"),
    ([{"id": "1", "text": "x", "latency_s": "1s"}], {}, "latency_s is '1s', not a number of seconds"),
    (['{"id": "1", "text": "x", "latency_s": Infinity}'], {}, "latency_s is 'inf'"),
    ([{"id": "1", "text": "x", "latency_s": -1}], {}, "latency_s is '-1'"),
    ([{"id": "1", "error": 3}], {}, "error is 3"),
    ([{"id": "1", "text": "x", "repeat": "one"}], {}, "repeat is 'one'"),
    ([{"id": "1", "text": "x", "repeat": -1}], {}, "repeat is '-1'"),
    ([{"id": "1", "text": "x", "tool_calls": {}}], {}, "tool_calls is an object"),
    ([{"id": "1", "text": "x", "tool_calls": [{}]}], {}, "tool_calls[0] has no name"),
    ([{"id": "1", "text": "x", "tool_calls": [{"name": "a", "arguments": 3}]}], {}, "arguments that are 3"),
    ([{"id": "1", "text": "x", "metadata": 3}], {}, "metadata is int"),
    ([{"id": "1", "text": "x"}, {"id": 1, "text": "y"}], {}, "outputs.jsonl:2: id '1' is also on line 1"),
    ([{"id": "1", "text": "x", "repeat": 2}] * 2, {}, "id '1', repeat 2 is also on line 1"),
    ([{"id": "1", "text": "x"}], {"fields": {"txt": "answer"}}, "fields has no 'txt'; did you mean 'text'?"),
    ([{"id": "1", "text": "x"}], {"fields": {"text": "answer"}}, "a row needs answer"),
    ([{"id": "1", "text": "x"}], {"fields": "answer"}, "fields is 'answer'"),
    ([{"id": "1", "text": "x"}], {"field": {}}, "did you mean 'fields'"),
]


@pytest.mark.parametrize(("rows", "options", "problem"), BROKEN)
def test_broken_files_and_options(tmp_path: Path, rows: list[Any], options: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        make(tmp_path, *rows, **options)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["missing.jsonl", ".", "a\x00b"])
def test_files_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="can't read"):
        RecordedVariant(build(tmp_path), path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert answer(make(tmp_path, b'\xef\xbb\xbf{"id": "1", "text": "x"}'), "1").text == "x"


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    variant = make(tmp_path, {"id": "1", "text": "x"}, {"id": "2", "text": "y"})
    write(tmp_path, {"id": "2", "text": "y"}, {"id": "1", "text": "x"})
    with pytest.raises(NotRecordedError, match="changed"):
        answer(variant, "1")


def test_texts_stay_on_disk(tmp_path: Path) -> None:
    rows = ({"id": f"case-{n}", "text": "x" * 2000} for n in range(5000))
    path = write(tmp_path, *rows)  # 10 MB
    tracemalloc.start()
    variant = RecordedVariant(build(tmp_path), path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3_000_000
    assert answer(variant, "case-4999").text == "x" * 2000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["id", "text", "contexts", "usage", "latency_s", "error", "repeat", "tool_calls", "metadata"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["text", "id", "score", "name", "arguments", "function", "input_tokens", "message"]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_any_row_is_an_output_or_one_line_of_error(tmp_path: Path, row: dict[str, Any]) -> None:
    try:
        variant = make(tmp_path, row)
    except InputError as error:
        assert "\n" not in str(error)
        return
    output = answer(variant, str(row["id"]), row.get("repeat") or 0)
    assert isinstance(output.text, str) and output.cached


def test_recorded_answers_of_a_public_set(tmp_path: Path) -> None:
    data = next((p / "shared/data/evouna" for p in Path(__file__).parents if (p / "shared/data").is_dir()), None)
    if data is None:
        pytest.skip("shared/data isn't here")
    rows = [json.loads(line) for line in (data / "tq.jsonl").read_bytes().splitlines()]
    flat = [{"id": r["id"], "text": a["answer"], "system": a["system"]} for r in rows for a in r["answers"]]
    variant = make(tmp_path, *flat, only={"system": "gpt4"})
    for row in rows[::100]:
        expected = next(a["answer"] for a in row["answers"] if a["system"] == "gpt4")
        assert answer(variant, row["id"]).text == expected
