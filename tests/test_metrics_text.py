"""Metrics of text, structure and behaviour, made from the short forms that suites use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.metrics.declining import declines
from llmops.metrics.squad import normalize_answer
from llmops.registry import BUILT_INS
from llmops.types import Case, Output, Sample, Usage
from metric_samples import metric, problem, reason, sample, shared_rows, value

NEEDS_EXPECTED = [
    "exact_match", "contains", "contains_all", "contains_any", "starts_with", "ends_with", "squad_exact_match",
    "token_f1", "edit_similarity", "rouge1", "rouge2", "rougeL", "bleu", "chrf",
]  # fmt: skip
NEEDS_OPTIONS: dict[str, Any] = {
    "not_contains": "x", "regex": "x", "not_regex": "x", "json_schema": {"schema": {}},
    "python": lambda text: 1.0,
}  # fmt: skip
TEXT_METRICS = sorted(set(BUILT_INS["metrics"]) - {"embedding_similarity"})


def form(name: str) -> Any:
    return {name: NEEDS_OPTIONS[name]} if name in NEEDS_OPTIONS else name


@pytest.mark.parametrize(
    ("form", "text", "expected", "wanted"),
    [
        ("exact_match", " Paris\n", "Paris", 1),
        ("exact_match", "paris", "Paris", 0),
        ("exact_match", "The Paris.", "paris", 0),
        ({"exact_match": {"normalize": True}}, "The Paris.", "paris", 1),
        ({"exact_match": {"ignore_case": True}}, "STRASSE", "straße", 1),
        ({"exact_match": True}, "paris", "PARIS", 1),
        ({"exact_match": {"strip": False}}, " Paris", "Paris", 0),
        ("exact_match", "Lyon", ["Paris", "Lyon"], 1),
        ("exact_match", "42", 42, 1),
        ("exact_match", "12", 12.0, 1),
        ("exact_match", "true", True, 1),
        ("exact_match", "", "", 1),
        ("exact_match", "", "Paris", 0),
        ("exact_match", '{"b": [1.0, null], "a": "x"}', {"a": "x", "b": [1, None]}, 1),
        ("exact_match", '```json\n{"a": 1}\n```', {"a": 1}, 1),
        ("exact_match", '{"a": true}', {"a": 1}, 0),
        ("exact_match", "not json", {"a": 1}, 0),
        ("exact_match", '{"a": 2}', [{"a": 1}, {"a": 2}], 1),
        ({"contains": "Paris"}, "It is Paris.", None, 1),
        ({"contains": "paris"}, "It is Paris.", None, 0),
        ({"contains": {"value": "paris", "ignore_case": True}}, "It is Paris.", None, 1),
        ({"contains": ["Rome", "Paris"]}, "It is Paris.", None, 1),
        ({"contains": 42}, "It is 42.", None, 1),
        ("contains", "It is Paris.", ["Rome", "Paris"], 1),
        ("contains", "", "Paris", 0),
        ({"contains": {"normalize": True}}, "It's the U.S.A!", "The USA", 1),
        ({"contains": {"normalize": True}}, "particular", "art", 0),
        ({"contains": {"normalize": True}}, "anything", "The", 0),
        ({"contains_any": ["a", "b"]}, "b", None, 1),
        ({"contains_any": ["a", "b"]}, "c", None, 0),
        ({"contains_all": ["a", "b"]}, "b and a", None, 1),
        ({"contains_all": ["a", "b"]}, "b", None, 0),
        ("contains_all", "true and 12", [True, 12.0], 1),
        ("contains_all", "red", ["red", "blue"], 0),
        ({"not_contains": "AI"}, "As an AI", None, 0),
        ({"not_contains": ["AI", "bot"]}, "A person", None, 1),
        ({"regex": r"\d{4}"}, "in 1999", None, 1),
        ({"regex": r"\d{4}"}, "in 99", None, 0),
        ({"regex": {"pattern": "PARIS", "ignore_case": True}}, "Paris", None, 1),
        ({"regex": "x"}, "-" * 100_000 + "x", None, 0),
        ({"not_regex": r"\d"}, "none", None, 1),
        ({"not_regex": r"\d"}, "1", None, 0),
        ({"starts_with": "Yes"}, "  Yes, it is", None, 1),
        ({"starts_with": "Yes"}, "Oh yes", None, 0),
        ("starts_with", "Paris it is", ["Rome", "Paris"], 1),
        ({"ends_with": {"value": "THANKS", "ignore_case": True}}, "Many thanks\n", None, 1),
        ({"ends_with": "."}, "no", None, 0),
        ("squad_exact_match", "the  Eiffel-Tower!", ["x", "Eiffeltower"], 1),
        ("squad_exact_match", "", "", 1),
        ("squad_exact_match", "The.", [], 1),
        ("squad_exact_match", "I don't know", "", 0),
        ("squad_exact_match", "", ["", "Paris"], 0),
        ("token_f1", "the cat sat", "a cat sat down", 0.8),
        ("token_f1", "cat cat", "cat", 2 / 3),
        ("token_f1", "Paris", ["Rome", "Paris"], 1),
        ("token_f1", "", "Paris", 0),
        ("token_f1", "", [], 1),
        ("token_f1", "I don't know", "", 0),
        ("edit_similarity", "kitten", "sitting", 1 - 3 / 7),
        ("edit_similarity", "", "abc", 0),
        ("edit_similarity", "Lyon", ["Paris", "Lyons"], 0.8),
        ({"edit_similarity": {"ignore_case": True}}, "ABC", "abc", 1),
        ("rouge1", "the cat sat", "the cat ran", 2 / 3),
        ("rouge2", "the cat sat", "the cat ran", 0.5),
        ("rougeL", "police kill the gunman", "police killed the gunman", 0.75),
        ({"rougeL": {"use_stemmer": True}}, "police kill the gunman", "police killed the gunman", 1),
        ("rougeL", "", "police", 0),
        ("bleu", "the cat is on the mat", ["a cat", "the cat is on the mat"], 1),
        ("bleu", "", "the cat", 0),
        ("chrf", "the cat is on the mat", "the cat is on the mat", 1),
        ("chrf", "", "the cat", 0),
        ("valid_json", '{"a": [1, "é"]}', None, 1),
        ("valid_json", "3", None, 1),
        ("valid_json", "```json\n{}\n```\n", None, 1),
        ("valid_json", "Here: {}", None, 0),
        ("valid_json", "", None, 0),
        ("valid_json", "NaN", None, 0),
        ("valid_json", "[" * 100_000, None, 0),
        ("valid_json", "9" * 10_000, None, 1),
        ({"valid_json": {"fenced": False}}, "```json\n{}\n```", None, 0),
        ("length", "héllo wörld", None, 11),
        ({"length": "words"}, " one  two\nthree ", None, 3),
        ("length", "", None, 0),
        ("refusal", "", None, 0),
    ],
)  # fmt: skip
def test_scores(form: Any, text: str, expected: Any, wanted: float) -> None:
    assert value(form, text, expected) == pytest.approx(wanted)


@pytest.mark.parametrize("name", NEEDS_EXPECTED)
def test_without_an_expected_answer_there_is_no_score(name: str) -> None:
    score = metric(name).score(sample("some text"))
    assert (score.value, score.reason) == (None, "the case has no expected answer")
    assert metric(name).score(sample("some text", [None])).value is None


@pytest.mark.parametrize("name", sorted(set(NEEDS_EXPECTED) - {"exact_match"}))
def test_an_expected_mapping_is_no_text(name: str) -> None:
    assert "mapping" in reason(name, "some text", {"a": 1})
    assert "mapping" in reason(name, "some text", ["x", ["y"]])


@pytest.mark.parametrize("name", ["contains", "contains_all", "contains_any", "starts_with", "ends_with", "bleu"])
def test_a_blank_expected_answer_is_nothing_to_look_for(name: str) -> None:
    assert reason(name, "some text", " ") == "the expected answer is empty"


def test_rouge_says_when_it_cannot_read_the_reference() -> None:
    assert value("rouge1", "東京", "東京") is None
    assert "a-z" in reason("rouge1", "東京", "東京")


def test_reasons_tell_what_was_wrong() -> None:
    assert reason("exact_match", "x", ["Paris", "Lyon"]) == "not 'Paris' or 'Lyon'"
    assert reason({"contains_all": ["a", "b", "c"]}, "b") == "without 'a', 'c'"
    assert reason({"not_contains": "AI"}, "As an AI") == "contains 'AI'"
    assert reason({"not_regex": r"\d+"}, "in 1999").startswith("'1999' matches")
    assert len(reason("exact_match", "x", "y" * 10_000)) < 100


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ({"regex": "("}, "isn't a pattern"),
        ({"not_regex": "a{1,99999999999999}"}, "isn't a pattern"),
        ({"regex": 42}, "pattern is 42"),
        ("regex", "regex needs pattern"),
        ("not_contains", "not_contains needs value"),
        ({"contains": ""}, "none of them empty"),
        ({"contains_all": ["a", " "]}, "none of them empty"),
        ({"contains": {"value": "a", "ignore_caes": True}}, "did you mean 'ignore_case'?"),
        ({"length": "lines"}, "unit is 'lines'"),
        ({"tokens": "all"}, "kind is 'all'"),
        ({"json_schema": {"schema": {"type": "objekt"}}}, "not a JSON Schema: $.type"),
        ({"json_schema": {"schema": {"$ref": "https://example.com/x.json"}}}, "only references inside the schema work"),
        ({"json_schema": {"schema": {"$ref": "#/$defs/missing"}}}, "only references inside the schema work"),
        ({"json_schema": "nowhere.json"}, "can't read the schema"),
        ({"json_schema": "nul\0.json"}, "can't read the schema"),
    ],
)
def test_wrong_options_are_one_line_with_their_place(form: Any, part: str) -> None:
    line = problem(form)
    assert part in line
    assert line.startswith("suite.yaml:7: ")


SCHEMA = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
    "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number"}}}},
}


@pytest.mark.parametrize("name", ["order.json", "order.yaml", "inline"])
def test_json_schema(name: str, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "order.yaml").write_text(json.dumps(SCHEMA))
    fits = metric({"json_schema": {"schema": SCHEMA}} if name == "inline" else {"json_schema": name}, tmp_path)
    assert fits.score(sample('{"items": [{"price": 1.5}]}')).value == 1
    assert fits.score(sample('```json\n{"items": []}\n```')).value == 1
    bad = fits.score(sample('{"items": [{"price": 1}, {"price": "two"}]}'))
    assert bad.value == 0
    assert bad.reason.startswith("$.items[1].price: ")
    assert fits.score(sample("")).value == 0
    assert fits.score(sample("{")).reason.startswith("not JSON: ")
    strict = metric({"json_schema": {"schema": SCHEMA, "fenced": False}})
    assert strict.score(sample('```json\n{"items": []}\n```')).value == 0


def test_a_schema_that_never_ends_leaves_the_case_unscored() -> None:
    assert metric({"json_schema": {"schema": {"$ref": "#"}}}).score(sample("{}")).value is None


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"{", "bad.json:1: not JSON"),
        (b"[]", "is a mapping"),
        (b"\xff", "a text file in UTF-8"),
        (b"[" * 99_999, "deeply"),
    ],
)
def test_a_broken_schema_file_is_one_line(content: bytes, part: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    assert part in problem({"json_schema": "bad.json"}, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "I don't know: the given context doesn't say.",
        "I don’t know.",
        "I'm sorry, but I can't help with that.",
        "Sorry. I looked everywhere. I could not find anything about it.",
        "Unfortunately, the provided documents do not mention the price of the Pro plan.",
        "There is no information about this in the passages.",
        "The answer is not specified in the given context.",
        "I do not have enough information to answer the question.",
        "As an AI language model, I cannot give medical advice.",
        "I must respectfully decline.",
        "I won't assist with making weapons.",
        "This question cannot be answered from the text.",
        "It is unclear from the passage who won.",
        "Unknown.",
        "N/A",
        "**No answer found**",
        "I'm not sure.",
    ],
)
def test_declining_texts(text: str) -> None:
    assert declines(text)
    assert value("refusal", text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris",
        "The tour doesn't include lunch.",
        "You cannot change the plan after the first month.",
        'The song "I Don\'t Know" was written by Ozzy Osbourne.',
        "I'm not sure, but I think it is Paris.",
        "Restart the app. Check the cable. Then sign in. If you do not know the password, I can't help you.",
        "Although the text does not specifically mention it, the dam lies on the West Branch.",
        "The unknown soldier is buried there.",
        "If the server refuses the connection, wait a minute.",
        "No, refunds are not available after 30 days.",
        "None",
    ],
)
def test_answering_texts(text: str) -> None:
    assert not declines(text)
    assert value("refusal", text) == 0


@given(st.text(max_size=300) | st.text("I don't know the context,\"'`*\n. ", max_size=2000))
@settings(max_examples=200)
def test_any_text_can_be_looked_at(text: str) -> None:
    assert declines(text) in (True, False)


@pytest.mark.parametrize(
    "unit", ["' ", '"a', "“", "i do not have any an a the ", "context in ", "no a b ", "``` \n", " "]
)
def test_long_hostile_texts_cost_little(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    started = time.process_time()
    declines(text)
    value("valid_json", "```json\n" + text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "case", "wanted"),
    [
        ("I don't know.", {"metadata": {"answerable": False}}, 1),
        ("I don't know.", {"metadata": {"answerable": "False"}}, 1),
        ("I don't know.", {"tags": ("unanswerable",)}, 1),
        ("Paris", {"tags": ("unanswerable",)}, 0),
        ("Paris", {"metadata": {"answerable": True}}, 1),
        ("Paris", {}, 1),
        ("I don't know.", {}, 0),
        ("", {}, 0),
        ("", {"tags": ("unanswerable",)}, 0),
    ],
)
def test_abstention(text: str, case: dict[str, Any], wanted: float) -> None:
    assert value("abstention", text, **case) == wanted


def test_abstention_agrees_with_recorded_judgements() -> None:
    """Whether responses to real questions declined was judged once by a large model; phrases agree with it."""
    tasks = {row["task_id"]: row["answerability"] for row in shared_rows("mtrag_human/tasks.jsonl")}
    agreed = []
    for row in shared_rows("mtrag_human/responses.jsonl"):
        kind = tasks[row["task_id"]]
        if kind in ("ANSWERABLE", "UNANSWERABLE"):
            score = value("abstention", row["response"], metadata={"answerable": kind == "ANSWERABLE"})
            agreed.append(score == row["recorded_metrics"]["conditional_idk"])
    assert len(agreed) > 400
    assert sum(agreed) / len(agreed) >= 0.97


def test_latency_and_tokens() -> None:
    case = Case("1")
    assert metric("latency").score(Sample(case, Output("x", latency_s=1.5))).value == 1.5
    assert metric("latency").score(Sample(case, Output("x"))).value is None
    counted = Sample(case, Output("x", usage=Usage(7, 3, certainty="estimated")))
    assert metric("tokens").score(counted).value == 10
    assert metric({"tokens": "input"}).score(counted).value == 7
    assert metric({"tokens": "output"}).score(counted).value == 3
    assert metric("tokens").score(Sample(case, Output("x"))).value is None
    names = [metric(f).info.name for f in ("tokens", {"tokens": "input"}, {"tokens": "output"})]
    assert names == ["tokens", "input_tokens", "output_tokens"]


def test_infos() -> None:
    assert metric("latency").info.unit == "s"
    assert metric("latency").info.direction == "lower"
    assert metric("latency").info.high is None
    assert metric({"length": "words"}).info.unit == "words"
    assert metric("refusal").info.direction == "none"
    for name in TEXT_METRICS:
        info = metric(form(name)).info
        assert "\n" not in info.description
        if name != "python":
            assert info.name == name
            assert info.description


@pytest.mark.parametrize("name", TEXT_METRICS)
@given(text=st.text(), expected=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2), max_leaves=4,
))  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_output_gets_a_score_in_range_or_none(name: str, text: str, expected: Any) -> None:
    made = metric(form(name))
    score = made.score(sample(text, expected))
    if score.value is None:
        assert score.reason
    else:
        assert made.info.low is None or score.value >= made.info.low
        assert made.info.high is None or score.value <= made.info.high


@given(st.text("abc the.,A-É", min_size=1).filter(normalize_answer))
def test_an_output_equal_to_the_reference_is_perfect(text: str) -> None:
    for name in ("exact_match", "squad_exact_match", "token_f1", "edit_similarity", "starts_with", "ends_with"):
        if text.strip():
            assert value(name, text, text) == pytest.approx(1)


@pytest.mark.parametrize("text", ["\ud800", "\0", "a\u202eb", "\x1b[31m"])
@pytest.mark.parametrize("name", TEXT_METRICS)
def test_odd_characters_are_only_text(name: str, text: str) -> None:
    score = metric(form(name)).score(sample(text, text))
    assert score.value is None or score.value >= 0


def test_contained_after_normalisation_agrees_with_people_as_published() -> None:
    contains = metric({"contains": {"normalize": True}})
    agreed: dict[str, list[bool]] = defaultdict(list)
    for row in shared_rows("evouna/tq.jsonl"):
        for answer in row["answers"]:
            score = contains.score(sample(answer["answer"], row["gold"]))
            agreed[answer["system"]].append(bool(score.value) == answer["human_correct"])
    shares = {system: round(sum(same) / len(same), 3) for system, same in agreed.items()}
    assert shares == {"fid": 0.914, "gpt35": 0.917, "chatgpt": 0.915, "gpt4": 0.903, "newbing": 0.858}


@pytest.mark.parametrize(
    ("form", "share"),
    [
        ({"contains": {"normalize": True}}, 0.745),
        ({"exact_match": {"normalize": True}}, 0.654),
        ("squad_exact_match", 0.654),
    ],
)
def test_agreement_with_people_on_nq(form: Any, share: float) -> None:
    made = metric(form)
    rows = shared_rows("nq301/nq301.jsonl")
    same = [bool(made.score(sample(r["answer"], r["gold"])).value) == r["human_correct"] for r in rows]
    assert round(sum(same) / len(same), 3) == share


def test_importing_the_metrics_loads_nothing_heavy() -> None:
    modules = sorted({target.partition(":")[0] for target in BUILT_INS["metrics"].values()})
    heavy = (
        "rapidfuzz",
        "jsonschema",
        "referencing",
        "sacrebleu",
        "rouge_score",
        "numpy",
        "pydantic",
        "yaml",
        "jinja2",
    )
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_metric_has_a_heading_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text("utf-8")
    missing = [name for name in BUILT_INS["metrics"] if f"### `{name}`\n" not in page]
    assert not missing


@pytest.mark.parametrize(
    "text",
    ["Sorry, I can't assist with that request.", "I can’t assist with that.", "I can't comply with that request.",
     "I won't be able to help with that.", "I'm afraid I can't do that.", "I can't share that.",
     "I'd rather not answer.",
     "The answer is not in the context.", "Not mentioned in the passages.", "There isn't enough information to answer.",
     "We can't say from the given text.", "The information isn't available.", "It is not stated."],
)  # fmt: skip
def test_short_refusals_are_heard(text):
    assert declines(text)


@pytest.mark.parametrize(
    "text",
    ["Paris. I don't know more.", "I don't know of a better way than a restart: hold the button for 12 s.",
     "The alarm can't be switched off from the app.", "It won't start before 9:00.", "It is not available in red.",
     "It is not included in the basic plan.", "You can't use it outdoors."],
)  # fmt: skip
def test_answers_that_hold_a_not_are_answers(text):
    assert not declines(text)
