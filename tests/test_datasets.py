"""Datasets: every format, every mapping, every way a file can be broken, and nothing held in memory."""

from __future__ import annotations

import csv
import gzip
import json
import random
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmops.datasets import Dataset, Survey, dataset_of, open_dataset
from llmops.datasets.surveying import HashBag
from llmops.errors import DatasetError, InputError
from llmops.types import Case, Context

ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "inputs": {"question": "Wer?\nZeile 2", "n": 3},
        "expected": "ich",
        "contexts": ["p1", {"id": "d2", "text": "p2", "score": 0.5}],
        "relevant": {"d1": 2, "d2": 1},
        "tags": ["hard", "geo"],
        "group": "doc-1",
        "metadata": {"lang": "de"},
    },
    {"id": "b", "inputs": {"question": 'Où, "là" ?', "n": 4}, "expected": "là", "relevant": {}},
    {"id": "c", "inputs": {"question": "1", "n": 5}, "tags": ["geo"], "group": "doc-1"},
]
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def shared(*parts: str) -> Path:
    for parent in Path(__file__).resolve().parents:
        path = parent.parent.joinpath("shared", "data", *parts)
        if path.exists():
            return path
    pytest.skip("shared/data isn't here")


# --- formats ---------------------------------------------------------------------------------------------------


def save(rows: list[dict[str, Any]], folder: Path, suffix: str) -> Path:
    """`rows` in a format. CSV has JSON in its cells, so only its texts keep their types."""
    if suffix == ".jsonl":
        return write(folder, "x.jsonl", jsonl(rows))
    if suffix == ".jsonl.gz":
        return write(folder, "x.jsonl.gz", gzip.compress(jsonl(rows).encode()))
    if suffix in (".json", ".yaml"):  # JSON is YAML
        return write(folder, f"x{suffix}", json.dumps(rows, indent=2, ensure_ascii=False))
    if suffix in (".csv", ".tsv"):
        path = folder / f"x{suffix}"
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(
                file, sorted({k for r in rows for k in r}), delimiter="," if suffix == ".csv" else "\t"
            )
            writer.writeheader()
            for row in rows:
                writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
        return path
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(rows, schema=pa.Table.from_pylist(rows[:1]).schema)
    if suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(table, folder / "x.parquet")
        return folder / "x.parquet"
    return save_arrow(table, folder / "saved")


def save_arrow(table: Any, folder: Path, shards: int = 2) -> Path:
    """A folder as `datasets.Dataset.save_to_disk` leaves it."""
    import pyarrow as pa

    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    size = -(-table.num_rows // shards)
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table.slice(i * size, size))
    return folder


SAME = [  # only what Arrow's one type a column can hold as well
    {**ROWS[0], "contexts": [{"id": "d1", "text": "p1", "score": 0.25}]},
    *({**row, "contexts": []} for row in ROWS[1:]),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".yaml", ".csv", ".tsv", ".parquet", "folder"])
def test_the_same_cases_in_every_format_have_the_same_fingerprint(tmp_path: Path, suffix: str) -> None:
    if suffix in (".parquet", "folder"):
        rows = [{k: v for k, v in r.items() if v != {}} for r in SAME]
        rows[1]["relevant"] = {"d1": 1}
    else:
        rows = SAME
    dataset = open_dataset(save(rows, tmp_path, suffix))
    reference = dataset_of(rows)
    assert list(dataset) == list(reference)
    assert list(dataset) == list(dataset), "it can be read again"
    assert dataset.survey() == reference.survey()
    assert dataset.name in ("x", "saved")


def test_a_case_holds_what_the_row_says(tmp_path: Path) -> None:
    first, second, third = open_dataset(write(tmp_path, "q.jsonl", "\n" + jsonl(ROWS)))
    assert first == Case(
        "a",
        {"question": "Wer?\nZeile 2", "n": 3},
        "ich",
        (Context("p1"), Context("p2", "d2", 0.5)),
        {"d1": 2.0, "d2": 1.0},
        ("hard", "geo"),
        "doc-1",
        {"lang": "de"},
    )
    assert first.where == f"{tmp_path / 'q.jsonl'}:2"
    assert second.relevant == {} and third.relevant is None


def test_csv_plain_cells(tmp_path: Path) -> None:
    text = "id,inputs.question,expected,relevant,tags,contexts,metadata.page,group\r\n"
    text += '1,"two\r\nlines, ""q""",,"d1, d2","a, b,a",one passage,7,g\r\n\r\n2,x,007,,,,,\r\n'
    one, two = open_dataset(write(tmp_path, "x.csv", text))
    assert one == Case(
        "1", {"question": 'two\r\nlines, "q"'}, None, (Context("one passage"),), {"d1": 1.0, "d2": 1.0},
        ("a", "b"), "g", {"page": "7"},
    )  # fmt: skip
    assert two == Case("2", {"question": "x"}, "007")
    assert one.where.endswith(":2") and two.where.endswith(":5")


@pytest.mark.parametrize("sign", [";", "\t"])
def test_csv_as_spreadsheets_write_it_where_the_comma_is_the_decimal_sign(tmp_path: Path, sign: str) -> None:
    rows = [["id", "a, b" if sign == ";" else "a;b", "expected"], ["1", "x, y\nz", "0,5"], ["2", "p;\tq", ""]]
    text = "".join(sign.join(f'"{c}"' if set(c) & set(",;\t\n") else c for c in row) + "\r\n" for row in rows)
    first, second = open_dataset(write(tmp_path, "x.csv", "\ufeff\r\n" + text))
    assert (first.inputs, first.expected, first.where[-2:]) == ({rows[0][1]: "x, y\nz"}, "0,5", ":3")
    assert (second.inputs, second.expected, second.where[-2:]) == ({rows[0][1]: "p;\tq"}, None, ":5")


def test_a_comma_in_the_header_goes_before_other_separators(tmp_path: Path) -> None:
    (case,) = open_dataset(write(tmp_path, "x.csv", "id,a;b\n1,c;d\n"))
    assert case.inputs == {"a;b": "c;d"}


def test_a_missing_file_names_its_folder_once(tmp_path: Path) -> None:
    for name in ("none.jsonl", "no/none.jsonl"):
        with pytest.raises(DatasetError) as caught:
            open_dataset(tmp_path / name)
        assert str(caught.value).count(str(tmp_path)) == 1


def test_csv_cells_beyond_the_csv_module_default(tmp_path: Path) -> None:
    big = "word " * 60_000
    (case,) = open_dataset(write(tmp_path, "x.csv", f'id,question\n1,"{big}"\n'))
    assert case.inputs["question"] == big


def test_without_an_inputs_key_the_other_columns_are_inputs(tmp_path: Path) -> None:
    (case,) = open_dataset(write(tmp_path, "x.jsonl", '{"id": 7, "q": "?", "n": null, "expected": [1], "group": 2.5}'))
    assert case == Case("7", {"q": "?", "n": None}, [1], group="2.5")


def test_any_json_value_may_be_expected_and_any_text_an_input() -> None:
    rows = [
        {"id": "1", "q": "\0\ud800\x1b", "expected": {"a": [1, {"b": None}]}},
        {"id": "2", "q": "", "expected": 0},
    ]
    one, two = dataset_of(rows)
    assert one.inputs == {"q": "\0\ud800\x1b"} and one.expected == {"a": [1, {"b": None}]} and two.expected == 0
    assert dataset_of(rows).survey().with_expected == 2


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["a", 3], {"a": 1.0, "3": 1.0}),
        ([{"id": "a", "grade": 0}, {"id": 4}], {"a": 0.0, "4": 1.0}),
        ({"a": 2}, {"a": 2.0}),
        ("a,b", {"a,b": 1.0}),
        ([], {}),
        (None, None),
    ],
)
def test_relevant_forms(given: Any, wanted: Any) -> None:
    (case,) = dataset_of([{"id": "1", "q": "?", "relevant": given}])
    assert case.relevant == wanted


def test_hugging_face_splits(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    for split in ("train", "test"):
        save_arrow(pa.table({"id": [f"{split}1", f"{split}2"], "q": ["x", "y"]}), tmp_path / "hf" / split)
    (tmp_path / "hf" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    train = open_dataset(tmp_path / "hf#train")
    assert [c.id for c in train] == ["train1", "train2"]
    assert next(iter(train)).where == f"{tmp_path}/hf/train/data-00000-of-00002.arrow:row 1"
    assert train.name == "hf"
    for path in ("hf", "hf#dev"):
        with pytest.raises(DatasetError, match=r"s.yaml:3: .*its splits are test, train; write path#split"):
            open_dataset(tmp_path / path, where="s.yaml:3")


def test_arrow_file_format_and_parquet_folders(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"id": ["1", "2"], "q": ["x", None], "expected": ["a", "b"]})
    (tmp_path / "a").mkdir()
    with pa.OSFile(str(tmp_path / "a" / "data.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    assert list(open_dataset(tmp_path / "a")) == [Case("1", {"q": "x"}, "a"), Case("2", {}, "b")]
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (tmp_path / "p").mkdir(exist_ok=True)
        rows = pa.table({"id": [name], "q": ["x"]})
        parquet.write_table(rows, tmp_path / "p" / f"{name}.parquet")
    assert [c.id[:11] for c in open_dataset(tmp_path / "p#train")] == ["train-00000", "train-00001"]
    with pytest.raises(DatasetError, match="its splits are test, train"):
        open_dataset(tmp_path / "p")


def test_parquet_dates_decimals_and_bytes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import datetime
    import decimal

    from pyarrow import parquet

    good = {"id": [1], "day": [datetime.date(2024, 5, 1)], "price": [decimal.Decimal("1.50")]}
    parquet.write_table(pa.table(good), tmp_path / "x.parquet")
    assert list(open_dataset(tmp_path / "x.parquet")) == [Case("1", {"day": "2024-05-01", "price": 1.5})]
    parquet.write_table(pa.table({"id": [1], "image": [b"\xff"]}), tmp_path / "y.parquet")
    with pytest.raises(DatasetError, match=r"y.parquet:row 1: a bytes isn't JSON data; convert"):
        list(open_dataset(tmp_path / "y.parquet"))


# --- fields ----------------------------------------------------------------------------------------------------


def test_fields_map_columns_nested_paths_and_lists(tmp_path: Path) -> None:
    row = {
        "qid": 5, "question": "?", "noise": 1, "answer": {"short": "s", "long": "l"},
        "gold": [{"id": "d", "grade": 3}], "passages": [{"text": "first", "id": 9}, {"text": "second"}],
        "page": 12, "a.b": "exact", "a": {"b": "nested"}, "level": "hard", "kinds": ["x", "y"],
    }  # fmt: skip
    fields = {
        "id": "qid", "inputs.question": "question", "inputs.hint": "passages.0.text", "inputs.dotted": "a.b",
        "expected": ["answer.short", "answer.long"], "relevant": "gold", "contexts": "passages", "group": "page",
        "tags": ["level", "kinds"], "metadata.second": "passages.1.text",
    }  # fmt: skip
    (case,) = open_dataset(write(tmp_path, "x.jsonl", json.dumps(row)), fields=fields)
    assert case == Case(
        "5", {"question": "?", "hint": "first", "dotted": "exact"}, ["s", "l"],
        (Context("first", "9"), Context("second")), {"d": 3.0}, ("hard", "x", "y"), "12", {"second": "second"},
    )  # fmt: skip


def test_mapped_columns_are_not_inputs_unless_mapped_so(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "qid,question,gold,more\n1,?,g,m\n")
    fields = {"id": "qid", "expected": "gold"}
    assert [c.inputs for c in open_dataset(path, fields=fields)] == [{"question": "?", "more": "m"}]
    only = {**fields, "inputs.q": "question"}
    assert [c.inputs for c in open_dataset(path, fields=only)] == [{"q": "?"}]


def test_the_parent_of_a_mapped_path_does_not_leak_into_inputs() -> None:
    (case,) = dataset_of([{"q": "?", "gold": {"answer": "secret"}}], fields={"expected": "gold.answer"})
    assert case.inputs == {"q": "?"} and case.expected == "secret"


def test_csv_mapped_and_jsonl_agree(tmp_path: Path) -> None:
    table = write(tmp_path, "x.csv", "qid,question,answer,page\n1,Why?,So,p\n2,How?,,p\n")
    lines = jsonl([{"id": "1", "q": "Why?", "expected": "So", "group": "p"}, {"id": "2", "q": "How?", "group": "p"}])
    fields = {"id": "qid", "inputs.q": "question", "expected": "answer", "group": "page"}
    mapped = open_dataset(table, fields=fields).survey()
    assert mapped == open_dataset(write(tmp_path, "y.jsonl", lines)).survey()
    assert (mapped.cases, mapped.groups, mapped.with_expected, mapped.characters) == (2, 1, 1, 8)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"expectd": "a"}, "fields has no target 'expectd'; did you mean 'expected'?"),
        ({"inputs.": "a"}, "fields has no target 'inputs.'; did you mean"),
        ({"tags.x": "a"}, "fields has no target 'tags.x'; did you mean 'tags'?"),
        ({3: "a"}, "fields has no target 3; known:"),
        ({"id": 3}, "fields maps 'id' to 3; write the name of a column"),
        ({"id": ""}, "fields maps 'id' to ''; write the name of a column"),
        ({"inputs": ["a", "b"]}, "fields maps 'inputs' to a list; only tags and expected take a list"),
        ({"tags": [1]}, "fields maps 'tags' to [1]; write the name of a column"),
        (["id"], "fields is ['id'], not a mapping; write them as target: column"),
    ],
)
def test_broken_fields(tmp_path: Path, fields: Any, text: str) -> None:
    path = write(tmp_path, "x.jsonl", '{"a": 1}')
    with pytest.raises(DatasetError) as caught:
        open_dataset(path, fields=fields, where="suite.yaml:4")
    assert str(caught.value).startswith(f"suite.yaml:4: {text}")


def test_an_optional_column_may_be_missing_somewhere_but_not_everywhere(tmp_path: Path) -> None:
    path = write(tmp_path, "x.jsonl", jsonl([{"q": "a"}, {"q": "b", "gold": "x"}]))
    assert open_dataset(path, fields={"expected": "gold"}).survey().with_expected == 1
    dataset = open_dataset(path, fields={"expected": "gol"}, where="suite.yaml:4")
    with pytest.raises(DatasetError, match=r"suite.yaml:4: no column 'gol' for expected; did you mean 'gold'\?"):
        dataset.survey()
    with pytest.raises(DatasetError, match=r"no column 'page' for metadata.p"):
        open_dataset(path, fields={"metadata.p": "page"}).survey()


def test_a_csv_column_that_is_always_empty_is_no_typo(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "q,gold\na,\nb,\n")
    assert open_dataset(path, fields={"expected": "gold"}).survey().with_expected == 0


# --- ids -------------------------------------------------------------------------------------------------------


def test_derived_ids_depend_on_content_only(tmp_path: Path) -> None:
    rows = [{"q": "a", "expected": "1"}, {"q": "b"}]
    forward = [c.id for c in open_dataset(write(tmp_path, "x.jsonl", jsonl(rows)))]
    back = [c.id for c in open_dataset(write(tmp_path, "y.csv", "expected,q\n,b\n1,a\n"))]
    assert forward == back[::-1]
    assert all(len(i) == 12 and set(i) <= set(string.hexdigits.lower()) for i in forward)


def test_duplicates_name_both_places(tmp_path: Path) -> None:
    rows = [{"id": i, "q": str(i)} for i in range(500)]
    path = write(tmp_path, "x.jsonl", jsonl([*rows, {"id": 42, "q": "other"}]))
    with pytest.raises(DatasetError) as caught:
        open_dataset(path).survey()
    assert str(caught.value) == f"{path}:501: the id '42' is used twice (first on line 43); make ids unique"
    with pytest.raises(DatasetError, match=r"row 3: the same case twice \(first on row 1\); remove one"):
        dataset_of([{"q": "a"}, {"q": "b"}, {"q": "a"}]).survey()


def test_a_shared_hash_alone_is_not_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops.datasets.surveying.hash", lambda _: 7, raising=False)
    monkeypatch.setattr("llmops.datasets.dataset.hash", lambda _: 7, raising=False)
    rows = [{"id": str(i), "q": "?"} for i in range(50)]
    assert dataset_of(rows).survey().cases == 50
    with pytest.raises(DatasetError, match="row 51: the id '9' is used twice"):
        dataset_of([*rows, {"id": "9", "q": "!"}]).survey()


@given(st.lists(st.text(max_size=3), max_size=200))
def test_hash_bag_counts(names: list[str]) -> None:
    bag = HashBag()
    for name in names:
        bag.add(name)
    assert bag.distinct() == len(set(names))
    assert bag.repeated() == {hash(n) for n in names if names.count(n) > 1}


# --- broken files ----------------------------------------------------------------------------------------------

OK = '{"id": "a", "q": "?"}\n'
DEEP = "[" * 300 + "]" * 300
TWO = OK + '{"id": "b", "q": 1, '
BROKEN: list[tuple[str, str | bytes, str, str]] = [  # file, content, where its error is, what it says
    ("x.jsonl", "", "", "has no cases; add rows"),
    ("x.jsonl", "\n \n", "", "has no cases; add rows"),
    ("x.json", "[]", "", "has no cases; add rows"),
    ("x.json", "", "", "has no cases; add rows"),
    ("x.yaml", "# nothing\n", "", "has no cases; add rows"),
    ("x.csv", "id,q\n", "", "has no cases; add rows"),
    ("x.jsonl", OK + '{"id": "b", "q": }\n', ":2", "not valid JSON: expecting value at column 18; check"),
    ("x.jsonl", OK + '{"id": "b"\n', ":2", "not valid JSON: expecting ',' delimiter at column 11; check"),
    ("x.jsonl", OK + '{"id": "b"\r\n', ":2", "not valid JSON: expecting ',' delimiter at column 11; check"),
    ("x.json", '[\n{"id": "b"\n\n', ":2", "not valid JSON: expecting ',' delimiter at column 11; check"),
    ("x.jsonl", OK + '["b"]\n', ":2", "the row is a list, not an object; write each row as"),
    ("x.jsonl", OK + "null\n", ":2", "the row is null, not an object"),
    ("x.jsonl", '[\n{"id": 1}\n]', ":1", "write one object a line, or rename a JSON list to .json"),
    ("x.jsonl", OK + '{"id": "b", "q": NaN}\n', ":2", "NaN isn't a JSON number; write a finite number or null"),
    ("x.jsonl", OK + '{"id": "b", "q": -Infinity}\n', ":2", "-Infinity isn't a JSON number"),
    ("x.jsonl", OK + '{"id": "b", "q": 1e999}\n', ":2", "1e999 is too large for a number; write a finite"),
    ("x.jsonl", TWO + '"q": 2}\n', ":2", "the key 'q' is written twice in one object; remove"),
    ("x.jsonl", OK + '{"id": "b", "q": {"k": 1, "k": 2}}\n', ":2", "the key 'k' is written twice"),
    ("x.jsonl", OK + f'{{"id": "b", "q": {DEEP}}}\n', ":2", "nested more than 100 deep; flatten"),
    ("x.jsonl", OK + "[" * 200_000 + "\n", ":2", "nested more than 100 deep; flatten"),
    ("x.jsonl", OK + f'{{"id": "b", "q": {"9" * 5000}}}\n', ":2", "a number has too many digits; quote it"),
    ("x.jsonl", OK.encode() + b'{"id": "b", "q": "caf\xe9"}\n', ":2", "byte 0xe9 at position 22 isn't UTF-8"),
    ("x.jsonl", OK.encode("utf-16"), ":1", "byte 0xff at position 1 isn't UTF-8; save the file as UTF-8"),
    ("x.jsonl", OK.encode() + b"\0\0\0\n", ":2", "holds a NUL byte; save it as UTF-8 text"),
    ("x.jsonl", OK + '{"q": "!"}', ":2", "no id; give every row an id, or none of them"),
    ("x.jsonl", '{"q": "!"}\n' + OK, ":2", "has an id, but the row on line 1 has none; give every row"),
    ("x.jsonl", OK + '{"id": true, "q": "!"}', ":2", "id is true or false; write text or a whole number"),
    ("x.jsonl", OK + '{"id": 1.5, "q": "!"}', ":2", "id is a number; write text or a whole number"),
    ("x.jsonl", OK + '{"id": ["b"], "q": "!"}', ":2", "id is a list; write text or a whole number"),
    ("x.jsonl", OK + '{"id": null, "q": "!"}', ":2", "id is null; write text or a whole number"),
    ("x.jsonl", OK + '{"id": "", "q": "!"}', ":2", "id is empty; give it a name"),
    ("x.jsonl", OK + '{"id": " ", "q": "!"}', ":2", "id is empty; give it a name"),
    ("x.jsonl", OK + '{"id": "b\\u0000", "q": "!"}', ":2", "id 'b\\x00' holds the character U+0000; names can't"),
    ("x.jsonl", OK + '{"id": "b\\nc", "q": "!"}', ":2", "id 'b\\nc' holds the character U+000A; names can't"),
    ("x.jsonl", OK + '{"id": "\\ud800", "q": "!"}', ":2", "id '\\ud800' holds the character U+D800; names can't"),
    ("x.jsonl", OK + f'{{"id": "{"b" * 501}", "q": "!"}}', ":2", "id has 501 characters; use at most 500"),
    ("x.jsonl", OK + OK, ":2", "the id 'a' is used twice (first on line 1); make ids unique"),
    ("x.jsonl", '{"q": "?"}\n\n{"q": "?"}', ":3", "the same case twice (first on line 1); remove one"),
    ("x.jsonl", OK + '{"id": "b"}', ":2", "the row has nothing to evaluate; give it inputs, or map columns"),
    ("x.jsonl", OK + '{"id": "b", "inputs": "q"}', ":2", "inputs is text; write an object of names"),
    ("x.jsonl", TWO + '"metadata": [1]}', ":2", "metadata is a list; write an object"),
    ("x.jsonl", TWO + '"contexts": 3}', ":2", "contexts holds a number; write texts, or objects"),
    ("x.jsonl", TWO + '"contexts": [{"id": "d"}]}', ":2", "a context has no text; give each"),
    ("x.jsonl", TWO + '"contexts": [{"text": 1}]}', ":2", "a context has a number as text; give"),
    ("x.jsonl", TWO + '"contexts": [{"text": "", "score": "x"}]}', ":2",
     "a context's score is 'x'; write a finite number"),
    ("x.jsonl", TWO + '"relevant": ["d", "d"]}', ":2", "relevant names 'd' twice; keep one"),
    ("x.jsonl", TWO + '"relevant": {"d": -1}}', ":2", "the grade of 'd' is below 0; grade from"),
    ("x.jsonl", TWO + '"relevant": {"d": "x"}}', ":2", "the grade of 'd' is 'x'; write a finite"),
    ("x.jsonl", TWO + '"relevant": {"d": true}}', ":2", "the grade of 'd' is True; write a finite"),
    ("x.jsonl", TWO + '"relevant": [{"grade": 1}]}', ":2", "an entry of relevant has no id; write"),
    ("x.jsonl", TWO + '"relevant": [null]}', ":2", "a relevant id is null; write text"),
    ("x.jsonl", TWO + '"tags": {"a": 1}}', ":2", "tags is an object; write a list, or text"),
    ("x.jsonl", TWO + '"tags": ["a", ""]}', ":2", "a tag is empty; give it a name"),
    ("x.jsonl", TWO + '"tags": [null]}', ":2", "a tag is null; write text or a whole number"),
    ("x.jsonl", TWO + '"group": ["g"]}', ":2", "group is a list; write text or a whole number"),
    ("x.jsonl", TWO + '"group": "g\\n"}', ":2", "group 'g\\n' holds the character U+000A"),
    ("x.jsonl", OK + '{"id": "b", "inputs": {"q": 1}, "expcted": 1}', ":2", "did you mean 'expected'? To leave"),
    ("x.jsonl", OK + '{"id": "b", "inputs": {"q": 1}, "inputs.q": 1}', ":2", "inputs.'q' is given twice; keep"),
    ("x.jsonl.gz", b"not gzip", ":1", "broken gzip: not a gzipped file; compress the file again"),
    ("x.jsonl.gz", gzip.compress(random.Random(1).randbytes(50).hex().encode(), mtime=0)[:40], ":1", "broken gzip"),
    ("x.json", '{"id": 1}', ":1", "doesn't hold a list; write a list of objects"),
    ("x.json", '[\n{"id": 1, "q": 2},\n{"id": 2, "q" 2}\n]', ":3", "not valid JSON: expecting ':' delimiter"),
    ("x.json", '[\n{"id": 1, "q": 2}\n{"id": 2, "q": 2}\n]', ":3", "expected ',' or ']'; separate rows"),
    ("x.json", '[\n{"id": 1, "q": 2},\n]', ":3", "expected ',' or ']'; separate rows"),
    ("x.json", '[\n{"id": 1, "q": 2}\n]\n[]', ":4", "there is more after the list; keep one list"),
    ("x.json", '[\n{"id": 1, "q": 2},\n5]', ":3", "the row is a number, not an object"),
    ("x.json", '[\n{"id": 1, "q": 2},\n\n{"id": 1, "q": 3}]', ":4", "the id '1' is used twice (first on line 2)"),
    ("x.json", b'[\n{"id": 1, "q": "\xff"}]', ":2", "byte 0xff at position 17 isn't UTF-8"),
    ("x.json", '[\n{"id": 1, "q": "\0"}]', ":2", "holds a NUL byte; save it as UTF-8"),
    ("x.json", "[\n" + "[" * 100_000, ":2", "nested more than 100 deep"),
    ("x.csv", "id,q\n1,a\n2\n", ":3", "1 cells under a header of 2; fill the row up"),
    ("x.csv", 'id,q\n1,"a\nb"\n2,b,c\n', ":4", '3 cells under a header of 2; put quotes (") around cells'),
    ("x.csv", 'id,q\n1,a\n2,"b\nc\n', ":3", 'a quoted cell never ends; close it with "'),
    ("x.csv", 'id,q\n1,"a"b\n', ":2", "not valid CSV: ',' expected after '\"'; write a quote inside"),
    ("x.csv", "id,id\n1,2\n", ":1", "the header names 'id' twice; give every column"),
    ("x.csv", "id,,q\n1,2,3\n", ":1", "column 2 of the header has no name; name or remove it"),
    ("x.csv", "id|q\n1|2\n", ":1", "the header 'id|q' is one column; separate columns by commas"),
    ("x.csv", "id;q\tr\n1;2\t3\n", ":1", "is one column; separate columns by commas"),
    ("x.csv", "id;q;a\n1;2;3\n1;2\n", ":3", "2 cells under a header of 3 (separated by semicolons); fill the row up"),
    ("x.csv", "id\tq\n1\t2\t3\n", ":2", "(separated by tabs); put quotes (\") around cells that hold a tab"),
    ("x.csv", '\nid;q\n1;"2\n', ":3", "a quoted cell never ends"),
    ("x.tsv", "id,q\n1,2\n", ":1", "the header 'id,q' is one column; separate columns by tabs"),
    ("x.csv", "id,q\r1,2\r", ":1", "a lone carriage return outside quotes; end lines"),
    ("x.csv", b"id,q\n1,caf\xe9\n", ":2", "byte 0xe9 at position 6 isn't UTF-8; save the file as UTF-8"),
    ("x.csv", b"id,q\n1,\0\n", ":2", "holds a NUL byte; save it as UTF-8 text"),
    ("x.csv", "id,q\n1,a\n,b\n", ":3", "no id; give every row an id"),
    ("x.csv", 'id,q,contexts\n1,a,"[""x"""\n', ":2", "contexts: not valid JSON"),
    ("x.csv", "id,q,metadata\n1,a,x\n", ":2", "metadata is text; write an object"),
    ("x.yaml", "- id: 1\n  q: x\n- id: [\n", ":3", "not valid YAML"),
    ("x.yaml", "cases:\n- id: 1\n", ":1", "doesn't hold a list; write a list of mappings"),
    ("x.yaml", "- id: 1\n  q: x\n- two\n", ":3", "the row is text, not an object; write each row"),
    ("x.yaml", "- id: 1\n  q: x\n- id: 2\n  q: .nan\n", ":3", "nan isn't a JSON number; use a finite"),
    ("x.yaml", "- id: 1\n  q: x\n  q: y\n", ":3", "'q' is written twice"),
    ("x.yaml", "- id: 1\n  q: x\n\n- id: 1\n  q: y\n", ":4", "the id '1' is used twice (first on line 1)"),
    ("x.yaml", b"- id: 1\n  q: \xff\n", ":2", "byte 0xff at position 6 isn't UTF-8"),
    ("x.parquet", b"PAR1 but not really", ":row 1", "can't be read as parquet"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "where", "says"), BROKEN)
def test_broken_file(tmp_path: Path, name: str, data: str | bytes, where: str, says: str) -> None:
    path = write(tmp_path, name, data)
    with pytest.raises(DatasetError) as caught:
        open_dataset(path).survey()
    text = str(caught.value)
    assert text.startswith(f"{path}{where}: ") and says in text
    assert len(text.splitlines()) == 1 and text.isprintable() and caught.value.exit_code == 2
    assert caught.value.hint or "YAML" in text or "written twice" in text


FIELD_ERRORS = [
    ({"id": "qid"}, "no column 'qid' for id; did you mean 'id'?"),
    ({"inputs.q": "qestion"}, "no column 'qestion' for inputs.q; did you mean 'question'?"),
    ({"inputs.q": "deep.x.y"}, "no column 'deep.x.y' for inputs.q; did you mean 'deep'?"),
    ({"inputs": "deep.list.7"}, "no column 'deep.list.7' for inputs; known:"),
    ({"inputs": "question"}, "inputs is text; write an object"),
    ({"tags": "deep"}, "tags is an object; write a list"),
    ({"group": "deep.list"}, "group is a list; write text"),
]


@pytest.mark.parametrize(("fields", "says"), FIELD_ERRORS)
def test_mapped_columns_that_do_not_fit(tmp_path: Path, fields: dict[str, str], says: str) -> None:
    path = write(tmp_path, "x.jsonl", '{"id": 1, "question": "?", "deep": {"list": [1]}}')
    with pytest.raises(DatasetError) as caught:
        open_dataset(path, fields=fields, where="suite.yaml:2").survey()
    assert str(caught.value).startswith(f"{path}:1: {says}")


def test_an_empty_cell_under_a_mapped_input(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "id,question\n1,a\n2,\n")
    with pytest.raises(DatasetError, match=r":3: column 'question' for inputs.q is empty here; fill it in"):
        list(open_dataset(path, fields={"inputs.q": "question"}))


def test_paths_that_cannot_be_opened(tmp_path: Path) -> None:
    write(tmp_path, "questions.jsonl", OK)
    (tmp_path / "empty").mkdir()
    cases = {
        "question.jsonl": "no file .*; did you mean 'questions.jsonl'",
        "zzz": "no file .*; its folder holds empty, questions.jsonl",
        "empty/a.jsonl": "no file .*; its folder is empty",
        "no/such.jsonl": "no file .*; its folder isn't there either: check the path",
        "questions.jsonl#train": "no file",
        "empty": "the folder .* holds no data; it needs .parquet files",
        "x\0.jsonl": "no file",
        "x" * 5000: "can't read .*: file name too long; check",
        "\ud800.jsonl": "no file",
        ".#a": "holds no data|no file|no split",
    }
    for name, says in cases.items():
        with pytest.raises(DatasetError, match=rf"^s.yaml:1: .*({says})"):
            open_dataset(tmp_path / name, where="s.yaml:1")
    with pytest.raises(DatasetError, match=r"x.xlsx has no suffix of a known format; known: .jsonl, .*.parquet"):
        open_dataset(write(tmp_path, "x.xlsx", "PK"))
    with pytest.raises(DatasetError, match="isn't a regular file"):
        open_dataset(Path("/dev/zero"))


def test_a_file_that_vanishes_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "x.jsonl", OK)
    dataset = open_dataset(path)
    path.unlink()
    with pytest.raises(DatasetError, match="can't be read: no such file"):
        dataset.survey()


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_error_text_cannot_drive_a_terminal(tmp_path: Path, name: str) -> None:
    evil = "\x1b[31m\x9b\u202e"
    data = json.dumps({evil: "1", "id": [1]}) if name == "x.jsonl" else f"{evil},{evil}\n1,2\n"
    for fields in (None, {"id": "nope"}):
        with pytest.raises(DatasetError) as caught:
            open_dataset(write(tmp_path, name, data), fields=fields).survey()
        assert str(caught.value).isprintable()


def test_check_collects_problems_and_goes_on(tmp_path: Path) -> None:
    lines = [OK, "oops\n", '{"id": 1.5, "q": ""}\n', OK, '{"id": "z", "q": "!"}\n']
    problems, survey = open_dataset(write(tmp_path, "x.jsonl", "".join(lines))).check()
    assert [p.where.rpartition(":")[2] for p in problems] == ["2", "3", "4"] and survey is None
    problems, survey = open_dataset(write(tmp_path, "x.jsonl", "oops\n" * 50)).check(limit=7)
    assert len(problems) == 7 and survey is None
    problems, survey = open_dataset(write(tmp_path, "x.jsonl", OK)).check()
    assert not problems and isinstance(survey, Survey)
    problems, survey = open_dataset(write(tmp_path, "x.csv", 'id,q\n1\n2,"b')).check()
    assert [p.where.rpartition(":")[2] for p in problems] == ["2", "3"]


# --- Python rows -----------------------------------------------------------------------------------------------


def test_rows_from_python() -> None:
    case = Case("c", {"q": ("a", "b")}, relevant={"d": 1.0}, contexts=(Context("t", "i"),), where="x.py:3")
    found = list(dataset_of((row for row in [{"id": "a", "q": 1}, case]), name="mine"))
    assert [c.where for c in found] == ["row 1", "x.py:3"]
    assert found[1].inputs == {"q": ["a", "b"]} and found[1].contexts == (Context("t", "i"),)
    assert dataset_of([case]).survey().with_relevant == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("text", "row 1: the row is text, not an object"),
        ({"q": {1: 2}}, "row 1: the key 1 is a number; use text as keys"),
        ({"q": float("nan")}, "row 1: nan isn't a JSON number"),
        ({"q": object}, "row 1: a type isn't JSON data; convert it"),
        ({"q": 10**5000}, "row 1: a number has too many digits"),
        (Case("", {"q": 1}), "row 1: id is empty"),
    ],
)
def test_python_rows_that_are_no_cases(row: Any, says: str) -> None:
    with pytest.raises(DatasetError) as caught:
        list(dataset_of([row]))
    assert str(caught.value).startswith(says)


def test_circular_rows_are_an_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(DatasetError, match="nested more than 100 deep"):
        list(dataset_of([{"q": loop}]))


# --- selection -------------------------------------------------------------------------------------------------


def tagged() -> Dataset:
    rows = [
        {"id": "1", "q": "a", "tags": ["hard", "geo"], "group": "x"},
        {"id": "2", "q": "b", "tags": ["easy"], "group": "x"},
        {"id": "3", "q": "c", "tags": ["hard"], "group": "y"},
        {"id": "4", "q": "d"},
    ]
    return dataset_of(rows)


@pytest.mark.parametrize(
    ("only", "ids"),
    [
        (["tag:hard"], "13"),
        (["tag:hard", "tag:easy"], "123"),
        (["tag:hard", "group:x"], "1"),
        (["!tag:hard"], "24"),
        (["tag:hard", "!tag:geo", "!group:z"], "3"),
        (["id:4", "id:1"], "14"),
        ([], "1234"),
    ],
)
def test_filters(only: list[str], ids: str) -> None:
    selected = tagged().select(only=only)
    assert "".join(c.id for c in selected) == ids
    assert selected.survey().cases == len(ids)
    kept = [c for c in tagged() if c.id in ids]
    assert selected.survey().fingerprint == dataset_of(kept).survey().fingerprint


@pytest.mark.parametrize("text", ["hard", "tag:", ":x", "!x", "", "Tag:x", "tags:x"])
def test_bad_filters_show_the_forms(text: str) -> None:
    with pytest.raises(InputError, match="isn't a filter; write tag:NAME, group:NAME or id:NAME"):
        tagged().select(only=[text])


def test_nothing_left_is_an_error() -> None:
    selected = tagged().select(only=["tag:hrd"])
    for read in (list, Dataset.survey):
        with pytest.raises(InputError) as caught:
            read(selected)
        assert str(caught.value) == "no case is left after tag:hrd; tags in the data: hard, geo, easy"
        assert caught.value.exit_code == 2


def test_a_sample_depends_on_ids_and_seed_and_keeps_file_order() -> None:
    rows = [{"id": f"q{i}", "q": str(i)} for i in range(300)]
    chosen = [c.id for c in dataset_of(rows).select(sample=40, seed=3)]
    assert len(chosen) == 40 and chosen == sorted(chosen, key=lambda i: int(i[1:]))
    shuffled = random.Random(0).sample(rows, len(rows))
    assert {c.id for c in dataset_of(shuffled).select(sample=40, seed=3)} == set(chosen)
    assert {c.id for c in dataset_of(rows).select(sample=40, seed=4)} != set(chosen)
    assert set(chosen) <= {c.id for c in dataset_of(rows).select(sample=41, seed=3)}, "a larger sample only adds"
    assert len(list(dataset_of(rows).select(sample=1000))) == 300


def test_samples_come_from_the_filtered_cases() -> None:
    assert [c.id for c in tagged().select(only=["tag:hard"], sample=1)] in (["1"], ["3"])
    assert len(list(tagged().select(only=["tag:hard"]).select(sample=2))) == 2


@pytest.mark.parametrize("size", [0, -1, True])
def test_bad_sample_sizes(size: Any) -> None:
    with pytest.raises(InputError, match="ask for 1 case or more"):
        tagged().select(sample=size)


def test_a_selection_still_checks_every_row() -> None:
    dataset = dataset_of([{"id": "1", "q": "?", "tags": "a"}, {"id": 1.5, "q": "?"}]).select(only=["tag:a"])
    with pytest.raises(DatasetError, match="row 2: id is a number"):
        dataset.survey()


# --- size ------------------------------------------------------------------------------------------------------

_MEASURE = """
import resource, sys
from pathlib import Path
from llmops.datasets import open_dataset
open_dataset(Path(sys.argv[1])).select(only=["tag:t"]).survey()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_stays_flat(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            for i in range(count):
                file.write(json.dumps({"id": str(i), "q": "x" * 600, "tags": "t", "group": str(i)}) + "\n")
        run = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert peak(60_000) - peak(1000) < 12, "megabytes for 38 MB of rows"


# --- fuzz ------------------------------------------------------------------------------------------------------

SUFFIXES = [".jsonl", ".json", ".csv", ".tsv", ".yaml", ".jsonl.gz", ".parquet"]
_pieces = st.sampled_from(
    ["id", "q", "inputs", "expected", "tags", "relevant", "contexts", "text", '"', ",", "\n", "\r", "[", "]", "{",
     "}", ":", "- ", "  ", "&a ", "*a", "<<: ", "!!int ", "\t", "1", "1e5", "null", "\\ud800", "'", "#", "|", "\0",
     "\u2028"]
)  # fmt: skip


def survives(dataset: Dataset) -> None:
    """Only our errors come out, always one printable line; what passes can be read again, the same."""
    try:
        survey = dataset.survey()
    except InputError as error:
        assert str(error).isprintable(), str(error)
        problems, nothing = dataset.check()
        assert problems and nothing is None
    else:
        cases = list(dataset)
        assert len(cases) == survey.cases and dataset_of(cases).survey() == survey


@FUZZ
@given(suffix=st.sampled_from(SUFFIXES), data=st.binary(max_size=200))
def test_arbitrary_bytes(tmp_path: Path, suffix: str, data: bytes) -> None:
    survives(open_dataset(write(tmp_path, f"f{suffix}", data)))


@FUZZ
@given(suffix=st.sampled_from(SUFFIXES[:5]), text=st.lists(_pieces, max_size=40).map("".join))
def test_almost_right_text(tmp_path: Path, suffix: str, text: str) -> None:
    survives(open_dataset(write(tmp_path, f"f{suffix}", text)))


@FUZZ
@given(data=st.binary(min_size=1, max_size=30), at=st.integers(0, 10_000))
def test_damaged_parquet(tmp_path: Path, data: bytes, at: int) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "f.parquet"
    parquet.write_table(pa.table({"id": ["1", "2"], "q": ["x", "y"]}), path)
    whole = path.read_bytes()
    at %= len(whole)
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    survives(open_dataset(path))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
_columns = st.sampled_from(
    [
        "id",
        "inputs",
        "expected",
        "contexts",
        "relevant",
        "tags",
        "group",
        "metadata",
        "q",
        "inputs.q",
        "metadata.m",
    ]
)
_rows = st.lists(st.dictionaries(_columns, _values, max_size=6) | _values, max_size=5)
_fields = st.none() | st.dictionaries(
    st.sampled_from(["id", "inputs", "inputs.a", "expected", "tags", "relevant", "metadata.b", "contexts", "group"]),
    _columns | st.sampled_from(["q.0", "metadata.m", "inputs.0.x"]),
    max_size=3,
)


@FUZZ
@given(rows=_rows, fields=_fields)
@example(rows=[{"id": "1", "q": 1, "relevant": {"d": 10**400}}], fields=None)
def test_arbitrary_rows(tmp_path: Path, rows: list[Any], fields: dict[str, Any] | None) -> None:
    survives(dataset_of(rows, fields=fields))
    survives(open_dataset(write(tmp_path, "f.jsonl", jsonl(rows)), fields=fields))
    survives(open_dataset(write(tmp_path, "f.json", json.dumps(rows)), fields=fields))


@FUZZ
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=2, max_size=2),
        min_size=1,
    )
)
def test_csv_reads_back_what_the_csv_module_wrote(tmp_path: Path, cells: list[list[str]]) -> None:
    path = tmp_path / "f.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["inputs.a", "inputs.b"], *cells])
    filled = [row for row in cells if any(row)]
    if len({tuple(row) for row in filled}) < len(filled) or len(filled) < len(cells):
        survives(open_dataset(path))
        return
    read = [[case.inputs.get("a", ""), case.inputs.get("b", "")] for case in open_dataset(path)]
    assert read == cells


@pytest.mark.parametrize(
    ("parts", "fields"),
    [
        (("nq301", "nq301.jsonl"), {"inputs.question": "question", "expected": "gold"}),
        (("cacm", "queries.jsonl"), {"id": "query_id", "inputs.question": "text"}),
        (("clapnq_dev", "answerable.jsonl"), {"inputs.question": "input", "contexts": "passages"}),
    ],
)
def test_real_files(parts: tuple[str, ...], fields: dict[str, str]) -> None:
    path = shared(*parts)
    rows = path.read_bytes().count(b"\n")
    survey = open_dataset(path, fields=fields).survey()
    assert survey.cases == rows > 50
    assert survey.input_fields == {"question": rows}
