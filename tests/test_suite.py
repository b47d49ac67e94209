"""Suite files: what they may say, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.errors import InputError, SuiteError
from llmops.evals.suite import apply_override, load_suite
from llmops.evals.suite_schema import json_schema

GOOD = """\
description: Answers about the docs stay right
dataset: {path: data/docs_qa.jsonl, fields: {id: qid, inputs.question: question, expected: answer}}
variants:
  small-chunks: {python: ../examples/rag/pipeline.py:answer, with: {chunk: 200, k: 3}}
  reworded:     {prompt: docs/answer, backend: extractive}
  logged:       {recorded: outputs.jsonl}
baseline: small-chunks
metrics: [token_f1, {recall: {k: 5}}, {contains: Paris}, {python: metrics.py:polite}]
gates: ["token_f1 >= 0.6", "errors <= 1%"]
limits: {concurrency: 16, requests_per_minute: 600}
repeats: 1
"""


def write(folder: Path, text: str | bytes, name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_whole_suite(tmp_path):
    suite = load_suite(write(tmp_path, GOOD, "docs-qa.yaml"))
    assert (suite.name, suite.baseline, suite.repeats) == ("docs-qa", "small-chunks", 1)
    assert suite.dataset_fields == {"id": "qid", "inputs.question": "question", "expected": "answer"}
    assert [(v.name, v.kind) for v in suite.variants] == [
        ("small-chunks", "python"), ("reworded", "prompt"), ("logged", "recorded"),
    ]  # fmt: skip
    assert suite.variants[0].options["with"] == {"chunk": 200, "k": 3}
    assert [m.spec.name for m in suite.metrics] == ["token_f1", "recall", "contains", "python"]
    assert (suite.metrics[1].spec.options, suite.metrics[2].spec.value) == ({"k": 5}, "Paris")
    assert suite.limits.concurrency == 16
    assert suite.limits.requests_per_minute == 600
    assert [where.rpartition(":")[2] for _, where in suite.gates] == ["9", "9"]
    assert suite.base == tmp_path


SHORT = "dataset: d.jsonl\nvariants:\n  a: {recorded: o.jsonl}\nmetrics: [exact_match]\n"
BROKEN: list[tuple[str | bytes, int, str]] = [
    ("", 1, "empty"),
    ("\n\n", 1, "empty"),
    ("just text", 1, "a suite is a mapping"),
    ("- a\n- b", 1, "a suite is a mapping"),
    ("a: [1, 2", 1, "not valid YAML"),
    ("dataset: d\n  variants: 3\n", 2, "not valid YAML"),
    ("dataset: 'd\n", 1, "not valid YAML"),
    ("a: *missing", 1, "undefined alias"),
    ("a: !!python/object/apply:os.system [ls]", 1, "aren't supported"),
    ("dataset: d\ndataset: e\n", 2, "'dataset' is written twice"),
    ("? [a, b]\n: 1\n", 1, "a key must be a single value"),
    (b"dataset: d\nvariants: \xff\xfe\n", 2, "not UTF-8"),
    (b"dataset: \x00", 1, "not valid YAML"),
    (SHORT.replace("dataset: d.jsonl\n", ""), 1, "dataset is missing"),
    (SHORT.replace("metrics: [exact_match]\n", ""), 1, "metrics is missing"),
    ("dataset: d\nmetrics: [exact_match]\n", 1, "variants is missing"),
    (SHORT + "metrcs: []\n", 5, "did you mean 'metrics'?"),
    (SHORT.replace("metrics:", "metric:"), 4, "did you mean 'metrics'?"),
    (SHORT + "limits: {concurency: 3}\n", 5, "did you mean 'concurrency'?"),
    (SHORT + "limits:\n  retries: 2\n  timeout: 3\n", 7, "did you mean 'timeout_s'?"),
    (SHORT + "limits: 7\n", 5, "limits is 7"),
    (SHORT + "limits: {concurrency: 0}\n", 5, "greater than or equal to 1"),
    (SHORT + "limits: {concurrency: many}\n", 5, "limits.concurrency is 'many'"),
    (SHORT + "limits: {requests_per_minute: -1}\n", 5, "greater than 0"),
    (SHORT + "limits: {requests_per_minute: .inf}\n", 5, "finite"),
    (SHORT + "repeats: 0\n", 5, "repeats is 0"),
    (SHORT + "repeats: 1.5\n", 5, "repeats is 1.5"),
    (SHORT + "repeats: three\n", 5, "repeats is 'three'"),
    (SHORT + "description: [a]\n", 5, "description is a list"),
    (SHORT + "gates: token_f1 >= 0.6\n", 5, "gates is 'token_f1 >= 0.6'"),
    (SHORT + "gates:\n  - exact_match >= 0\n  - {a: b}\n", 7, "a gate can't start with 'a'"),
    (SHORT + "baseline: b\n", 5, "no variant is called 'b'"),
    (SHORT + "baseline: [a]\n", 5, "baseline is a list"),
    (SHORT + "watch: src\n", 5, "watch is 'src'"),
    ("dataset: [d]\n" + SHORT.split("\n", 1)[1], 1, "dataset is a list"),
    ("dataset: {}\n" + SHORT.split("\n", 1)[1], 1, "dataset.path is missing"),
    ("dataset: {path: d, field: {}}\n" + SHORT.split("\n", 1)[1], 1, "did you mean 'fields'?"),
    ("dataset: {path: d, fields: id}\n" + SHORT.split("\n", 1)[1], 1, "dataset.fields is 'id'"),
    ("dataset: ''\n" + SHORT.split("\n", 1)[1], 1, "dataset is ''"),
    (
        SHORT.replace("variants:\n  a: {recorded: o.jsonl}\n", "variants: {}\n"),
        2,
        "variants is a mapping that is empty",
    ),
    (SHORT.replace("variants:\n  a: {recorded: o.jsonl}\n", "variants: [a]\n"), 2, "variants is a list"),
    (SHORT.replace("{recorded: o.jsonl}", "answers.jsonl"), 3, "not a mapping"),
    (SHORT.replace("{recorded: o.jsonl}", "{}"), 3, "doesn't say what it runs"),
    (SHORT.replace("recorded", "recordd"), 3, "did you mean 'recorded'?"),
    (SHORT.replace("{recorded: o.jsonl}", "{recorded: o, python: p.py:f}"), 3, "says both"),
    (SHORT.replace("[exact_match]", "[]"), 4, "metrics is a list that is empty: at least one is needed"),
    (SHORT.replace("[exact_match]", "exact_match"), 4, "metrics is 'exact_match'"),
    (SHORT.replace("[exact_match]", "[3]"), 4, "a metric is written as"),
    (SHORT.replace("[exact_match]", "\n  - exact_match\n  - {a: 1, b: 2}"), 6, "a metric is written as"),
    (SHORT.replace("[exact_match]", "[[a]]"), 4, "a metric is written as"),
    (SHORT + "description: ${LLMOPS_TEST_UNSET}\n", 5, "LLMOPS_TEST_UNSET isn't set"),
    ("a: " + "[" * 200 + "]" * 200, 1, "nested"),
    ("&a a: &b [*a]\n", 1, "unknown key"),
]


@pytest.mark.parametrize(("text", "line", "said"), BROKEN)
def test_broken_suites_are_one_line_with_file_and_line(tmp_path, monkeypatch, text, line, said):
    monkeypatch.delenv("LLMOPS_TEST_UNSET", raising=False)
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_suite(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert said in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(SuiteError, match="No such file"):
        load_suite(tmp_path / "absent.yaml")
    with pytest.raises(SuiteError, match="is a folder"):
        load_suite(tmp_path)


def test_an_anchor_bomb_is_refused_quickly(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(SuiteError, match="too many values"):
        load_suite(write(tmp_path, "\n".join(lines)))


def test_environment_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOPS_TEST_DATA", "real.jsonl")
    monkeypatch.delenv("LLMOPS_TEST_UNSET", raising=False)
    text = SHORT.replace("d.jsonl", "${LLMOPS_TEST_DATA}") + "description: ${LLMOPS_TEST_UNSET:-none given} $${kept}\n"
    suite = load_suite(write(tmp_path, text))
    assert suite.dataset_path == "real.jsonl"
    assert suite.description == "none given ${kept}"


def test_overrides_change_any_key_and_are_checked_the_same_way(tmp_path):
    path = write(tmp_path, SHORT)
    suite = load_suite(path, overrides=["limits.concurrency=3", "dataset.name=x", "repeats=2", "metrics.0=token_f1"])
    assert (suite.limits.concurrency, suite.dataset_name, suite.dataset_path, suite.repeats) == (
        3,
        "x",
        "d.jsonl",
        2,
    )
    assert suite.metrics[0].spec.name == "token_f1"
    for override in ("repeats=no", "limits.nope=1", "repeats", "=3", "a..b=1", "metrics.7=x", "repeats.x=1"):
        with pytest.raises(InputError) as caught:
            load_suite(path, overrides=[override])
        assert "\n" not in str(caught.value)


def test_override_of_a_list_by_name_is_an_error():
    with pytest.raises(InputError, match="isn't a position"):
        apply_override({"metrics": ["a"]}, "metrics.first=b")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_parser(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("fuzz"), data)
    with pytest.raises(InputError) as caught:
        load_suite(path)
    assert "\n" not in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["dataset", "variants", "metrics", "gates", "limits", "repeats", "baseline", "watch", "x"])


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=9))
def test_no_values_crash_the_checks(tmp_path_factory, data):
    import yaml

    path = write(tmp_path_factory.mktemp("fuzz"), yaml.safe_dump(data, allow_unicode=True))
    try:
        load_suite(path)
    except InputError as error:
        assert "\n" not in str(error)


def test_the_json_schema_agrees_with_the_parser(tmp_path):
    import yaml
    from jsonschema import Draft202012Validator

    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(GOOD))
    for text, _, said in BROKEN:
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, UnicodeDecodeError):
            continue
        # What only llmops can see (another key's value, the environment) is left to it.
        if (
            isinstance(data, dict)
            and not {"baseline", "description"} & data.keys()
            and said not in ("finite", "says both", "is written twice")
        ):
            assert not validator.is_valid(data), text


@pytest.mark.parametrize("name", ["docs/qa", "a\\\\b", "a\\tb", "\\e[31m", "..", " ", "x" * 201])
def test_names_of_suites_that_cannot_be_files(tmp_path, name):
    with pytest.raises(SuiteError, match="can't be the suite's name") as caught:
        load_suite(write(tmp_path, f'{SHORT}name: "{name}"\n'))
    assert caught.value.where.endswith("suite.yaml:5")
    assert str(caught.value).isprintable()


def test_a_file_name_that_cannot_name_a_suite(tmp_path):
    with pytest.raises(SuiteError, match="can't be the suite's name"):
        load_suite(write(tmp_path, SHORT, "a\tb.yaml"))
    assert load_suite(write(tmp_path, SHORT + "name: fine\n", "a\tb.yaml")).name == "fine"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SHORT.replace("  a:", '  "a\\tb":'), 3),
        (SHORT.replace("[exact_match]", '[{contains: {value: x, as: "a\\nb"}}]'), 4),
    ],
)
def test_names_that_cannot_be_printed(tmp_path, text, line):
    with pytest.raises(SuiteError, match="printable") as caught:
        load_suite(write(tmp_path, text))
    assert caught.value.where.endswith(f"suite.yaml:{line}")
