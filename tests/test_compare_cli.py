"""`llmops compare` as people and pipelines use it: files, pipes, runs, options, exit codes, and input that is wrong."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import clean_environment
from llmops import compare as llmops_compare
from llmops.cli.main import main
from llmops.errors import InputError
from llmops.identity import new_id
from llmops.store.database import Store
from llmops.store.runfile import export_run
from llmops.types import Case, Failure, MetricInfo, Output, Result, RunRecord, Score, Usage, VariantInfo

KEYS = {
    "n", "groups", "mean_a", "mean_b", "diff", "ci", "p", "lo_safe", "method", "verdict", "mde", "n_needed", "broke",
    "fixed",
}  # fmt: skip
EVIL = "<script>alert(1)</script>[red]\x1b[31m\x00\u202e\ud800`|**\n=cmd()"


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`llmops compare` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [key for key in os.environ if key.startswith(("LLMOPS_", "COLUMNS", "FORCE_COLOR"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["llmops", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = Said(int(ended.value.code or 0), *capsys.readouterr())
        assert "Traceback" not in said.err
        return said

    return run


def write(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def rows(n: int = 200, drop: float = 0.0, **more: Any) -> list[dict[str, Any]]:
    """Scores of one side: equal seeds, so a drop is all that differs."""
    r = random.Random(1)
    return [
        {
            "id": f"c{i}",
            "scores": {"acc": float(r.random() < 0.8 - drop), "f1": round(max(0.0, r.random() - drop), 3)},
            **{key: value(i) for key, value in more.items()},
        }
        for i in range(n)
    ]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A candidate that is ten points worse."""
    return write(tmp_path / "a.jsonl", rows()), write(tmp_path / "b.jsonl", rows(drop=0.1))


# ---- what it says


def test_a_drop_is_told_named_and_fails(compare, files):
    said = compare(*files)
    assert said.code == 1
    assert "Acc fell 9.5 points (76.0 % → 66.5 %). 19 answers broke, none were fixed." in " ".join(said.out.split())
    sides = zip(rows(), rows(drop=0.1), strict=True)
    broke = sorted(x["id"] for x, y in sides if x["scores"]["acc"] > y["scores"]["acc"])
    assert f"acc broke  {', '.join(broke[:8])} and {len(broke) - 8} more" in said.out
    assert said.err == ""


def test_json_has_the_keys_it_promises(compare, files):
    said = compare(*files, "--json")
    assert said.code == said.data["exit_code"] == 1
    assert list(said.data["metrics"]) == ["acc", "f1"]
    for metric in said.data["metrics"].values():
        assert metric.keys() >= KEYS
        assert metric["ci"][0] <= metric["diff"] <= metric["ci"][1]
    acc = said.data["metrics"]["acc"]
    assert (acc["n"], acc["groups"], acc["verdict"], acc["kind"]) == (200, None, "regressed", "binary")
    assert (acc["mean_a"], acc["mean_b"], len(acc["broke"]), acc["fixed"]) == (0.76, 0.665, 19, [])
    assert said.data["slices"] == []
    assert [gate["outcome"] for gate in said.data["gates"]] == ["fail", "fail"]


def test_tags_are_slices_with_marks(compare, tmp_path):
    tags = {"tags": lambda i: ["even" if i % 2 else "odd", "rare"] if i < 4 else ["even" if i % 2 else "odd"]}
    a, b = write(tmp_path / "a.jsonl", rows(**tags)), write(tmp_path / "b.jsonl", rows(drop=0.1, **tags))
    slices = compare(a, b, "--json").data["slices"]
    assert {(one["tag"], one["metric"]) for one in slices} == {(t, m) for t in ("odd", "even") for m in ("acc", "f1")}
    assert all(one["notable"] and one["diff"] < 0 and one["n"] == 100 for one in slices)


def test_groups_make_clusters(compare, tmp_path):
    group = {"group": lambda i: f"doc-{i // 4}"}
    a, b = write(tmp_path / "a.jsonl", rows(**group)), write(tmp_path / "b.jsonl", rows(drop=0.1, **group))
    acc = compare(a, b, "--json").data["metrics"]["acc"]
    assert acc["groups"] == 50
    assert "CR2" in acc["method"]


def test_groups_may_stand_in_either_file_and_a_disagreement_is_told(compare, tmp_path):
    bare = write(tmp_path / "bare.jsonl", rows())
    grouped = write(tmp_path / "grouped.jsonl", rows(drop=0.1, group=lambda i: i // 4))
    for one in (compare(bare, grouped, "--json"), compare(grouped, bare, "--json")):
        assert one.data["metrics"]["acc"]["groups"] == 50
        assert one.data["notes"] == []
    other = write(tmp_path / "other.jsonl", rows(group=lambda i: i // 5))
    notes = compare(grouped, other, "--json").data["notes"]
    assert any("another group" in note for note in notes)


def test_unpaired_cases_are_counted_and_named(compare, tmp_path):
    a, b = write(tmp_path / "a.jsonl", rows(60)[3:]), write(tmp_path / "b.jsonl", rows(60)[:-1])
    said = compare(a, b, "--json")
    assert (said.data["cases"], said.data["only_a"], said.data["only_b"]) == (56, ["c59"], ["c0", "c1", "c2"])
    assert said.data["metrics"]["acc"]["n"] == 56
    text = compare(a, b).out
    assert "1 case only in a.jsonl  c59" in text
    assert "3 cases only in b.jsonl  c0, c1, c2" in text


def test_an_id_may_be_a_number_and_rows_in_any_order(compare, tmp_path):
    a = write(tmp_path / "a.jsonl", ({"id": i, "scores": {"m": i / 100}} for i in range(100)))
    b = write(tmp_path / "b.jsonl", ({"id": str(i), "scores": {"m": i / 100}} for i in reversed(range(100))))
    metric = compare(a, b, "--json").data["metrics"]["m"]
    assert (metric["n"], metric["diff"], metric["verdict"]) == (100, 0.0, "equivalent")


@pytest.mark.parametrize("how", ["null", "error", "error beside scores"])
def test_an_error_on_one_side_scores_the_minimum_and_is_told(compare, tmp_path, how):
    broken = rows()
    for row in [row for row in broken if row["scores"]["acc"] == 1.0][:3]:
        if how == "null":
            row["scores"]["acc"] = None
        else:
            row["error"] = "timeout"
            if how == "error":
                del row["scores"]
    a, b = write(tmp_path / "a.jsonl", rows()), write(tmp_path / "b.jsonl", broken)
    acc = compare(a, b, "--json").data["metrics"]["acc"]
    assert (acc["n"], acc["errors_a"], acc["errors_b"], len(acc["broke"])) == (200, 0, 3, 3)
    assert acc["mean_b"] == pytest.approx(acc["mean_a"] - 3 / 200)
    assert acc["verdict"] == "equivalent"  # 1.5 %: told, not held back
    assert "3 answers of the candidate and 0 of the baseline failed: counted as the worst score." in " ".join(
        compare(a, b).out.split()
    )


@pytest.mark.parametrize(("failed", "verdict", "code"), [(4, "equivalent", 0), (5, "inconclusive", 3)])
def test_more_than_two_per_cent_of_errors_is_no_verdict_and_no_pass(compare, tmp_path, failed, verdict, code):
    good = [{"id": i, "scores": {"acc": 1.0}} for i in range(200)]
    bad = [{"id": i, "error": "down"} if i < failed else row for i, row in enumerate(good)]
    a, b = write(tmp_path / "a.jsonl", good), write(tmp_path / "b.jsonl", bad)
    said = compare(a, b, "--json", "--margin", "20%")
    assert (said.code, said.data["metrics"]["acc"]["verdict"]) == (code, verdict)
    assert compare(b, a, "--json").data["metrics"]["acc"]["verdict"] == (
        verdict if verdict == "inconclusive" else "equivalent"
    )


def test_a_file_of_pairs_with_repeats_and_clusters(compare, tmp_path):
    r = random.Random(2)
    made = [
        {"case_id": i, "score_a": r.random(), "score_b": r.random(), "cluster": f"d{i // 4}"}
        for i in range(80)
        for _ in range(3)
    ]
    metric = compare(write(tmp_path / "p.jsonl", made), "--json").data["metrics"]["score"]
    assert (metric["n"], metric["groups"]) == (80, 20)
    named = compare(tmp_path / "p.jsonl", "--json", "--metric", "f1").data["metrics"]
    assert list(named) == ["f1"]
    del made[0]["score_b"]
    said = compare(write(tmp_path / "p.jsonl", made))
    assert (said.code, said.err) == (
        2,
        f"llmops: {tmp_path}/p.jsonl:1: score_b is missing; " + said.err.split("missing; ")[1],
    )


def test_pairs_with_a_failed_side(compare, tmp_path):
    pairs = [{"case_id": i, "score_a": 1.0, "score_b": None if i == 7 else 1.0} for i in range(100)]
    metric = compare(write(tmp_path / "p.jsonl", pairs), "--json").data["metrics"]["score"]
    assert (metric["errors_b"], metric["broke"], metric["mean_b"]) == (1, ["7"], 0.99)


def test_one_case(compare, tmp_path):
    one = write(tmp_path / "one.jsonl", rows(1))
    said = compare(one, one)
    assert said.code == 0
    assert "inf" not in said.out.lower().replace("infinite", "")
    assert "nan" not in said.out
    for metric in compare(one, one, "--json").data["metrics"].values():
        assert metric["verdict"] == "inconclusive"
        assert -1 <= metric["ci"][0] <= metric["ci"][1] <= 1


def test_one_group_has_no_interval_beyond_the_range(compare, tmp_path):
    a = write(tmp_path / "a.jsonl", rows(50, group=lambda i: "one"))
    said = compare(a, a, "--json")
    assert said.data["metrics"]["f1"]["ci"] == [-1.0, 1.0]
    assert said.data["metrics"]["f1"]["mde"] is None
    assert "inf" not in compare(a, a).out


@pytest.mark.parametrize("cases", [1, 40])
def test_amounts_of_one_group_have_no_interval(compare, tmp_path, cases):
    made = [{"id": i, "scores": {"words": 100 + 7 * i}, "group": "one"} for i in range(cases)]
    path = write(tmp_path / "a.jsonl", made)
    metric = compare(path, path, "--json").data["metrics"]["words"]
    assert (metric["kind"], metric["verdict"]) == ("number", "inconclusive")
    assert (metric["ci"], metric["lo_safe"], metric["mde"]) == ([None, None], None, None)
    said = compare(path, path, "-o", tmp_path / "r.html", "-o", tmp_path / "r.md", "-o", tmp_path / "r.json")
    for text in (said.out, (tmp_path / "r.md").read_text("utf-8")):
        assert not {"inf", "nan"} & set(text.lower().split())
    json.loads((tmp_path / "r.json").read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))


def test_a_name_twice_in_a_row_is_the_last_one_as_in_any_json(compare, tmp_path):
    twice = write(tmp_path / "a.jsonl", (f'{{"id": {i}, "scores": {{"m": 1, "m": 0}}}}' for i in range(40)))
    once = write(tmp_path / "b.jsonl", ({"id": i, "scores": {"m": 0}} for i in range(40)))
    assert compare(twice, once, "--json").data["metrics"]["m"]["mean_a"] == 0


def test_the_same_file_twice(compare, files):
    said = compare(files[0], files[0])
    assert said.code == 0
    assert "a.jsonl (B) against a.jsonl (A)" in said.out
    assert said.out.count("no meaningful drop") == 2


# ---- options


def test_metric_keeps_the_ones_named(compare, files):
    assert list(compare(*files, "--metric", "f1", "--json").data["metrics"]) == ["f1"]
    both = compare(*files, "--metric", "f1", "--metric", "acc", "--json").data["metrics"]
    assert set(both) == {"f1", "acc"}


@pytest.mark.parametrize(
    ("scores", "kind", "found", "range_"),
    [
        ([0, 1], "auto", "binary", [0, 1]),
        ([0.0, 0.25, 1.0], "auto", "bounded", [0, 1]),
        ([1, 2, 3, 4, 5], "auto", "ordinal", [1, 5]),
        ([-1, 0, 1], "auto", "preference", [0, 1]),
        ([12.5, 80.0], "auto", "number", [None, None]),
        ([0, 1], "bounded", "bounded", [0, 1]),
        ([2, 3], "ordinal", "ordinal", [1, 5]),
        ([0, 7], "ordinal", "ordinal", [0, 7]),
        ([0, 1], "number", "number", [None, None]),
    ],
)
def test_kinds_are_seen_or_told(compare, tmp_path, scores, kind, found, range_):
    made = [{"id": i, "scores": {"m": scores[i % len(scores)]}} for i in range(60)]
    path = write(tmp_path / "a.jsonl", made)
    metric = compare(path, path, "--kind", kind, "--json").data["metrics"]["m"]
    assert (metric["kind"], metric["range"]) == (found, range_)


def test_scores_may_have_the_names_of_measures(compare, tmp_path):
    names = ("latency_mean", "latency_p95", "tokens_per_case")
    sides = (
        write(tmp_path / f"{i}.jsonl", ({"id": k, "scores": dict.fromkeys(names, 1.0 + i * k)} for k in range(60)))
        for i in range(2)
    )
    said = compare(*sides, "--json")
    assert {name: metric["verdict"] for name, metric in said.data["metrics"].items()} == dict.fromkeys(
        names, "regressed"
    )
    assert {metric["direction"] for metric in said.data["metrics"].values()} == {"lower"}


def test_grades_with_repeats_are_still_grades(compare, tmp_path):
    made = [{"id": i, "scores": {"m": 1 + (i + k) % 5}} for i in range(40) for k in range(2)]
    path = write(tmp_path / "a.jsonl", made)
    assert compare(path, path, "--json").data["metrics"]["m"]["range"] == [1, 5]


@pytest.mark.parametrize(
    ("scores", "options", "complaint"),
    [
        ([0, 0.5], ["--kind", "binary"], "m has a score of 0.5"),
        ([3, 4], ["--kind", "preference"], "m has a score of 3"),
        ([3, 40], ["--kind", "bounded"], "m: which range?"),
        ([3, 40], ["--range", "0", "10"], "m has a score of 40"),
        ([-3, 4], ["--range", "0", "10"], "m has a score of -3"),
    ],
)
def test_a_kind_or_range_that_does_not_hold(compare, tmp_path, scores, options, complaint):
    for repeats in (1, 2):
        made = [{"id": i, "scores": {"m": scores[i % 2]}} for i in range(30) for _ in range(repeats)]
        path = write(tmp_path / "a.jsonl", made)
        said = compare(path, path, *options)
        assert (said.code, said.out) == (2, "")
        assert complaint in said.err


def test_the_range_is_what_margins_and_errors_are_made_of(compare, tmp_path):
    path = write(tmp_path / "a.jsonl", ({"id": i, "scores": {"m": 50 + i % 7}} for i in range(100)))
    worse = write(tmp_path / "b.jsonl", ({"id": i, "scores": {"m": 50 + i % 7 if i else None}} for i in range(100)))
    metric = compare(path, worse, "--range", "0", "100", "--json").data["metrics"]["m"]
    assert metric["margin"] == 5.0
    assert metric["diff"] == pytest.approx(-0.5)


def test_lower_is_better_for_the_metrics_named(compare, files):
    said = compare(*files, "--lower", "acc", "--json")
    verdicts = {name: metric["verdict"] for name, metric in said.data["metrics"].items()}
    assert verdicts == {"acc": "improved", "f1": "regressed"}
    assert said.data["metrics"]["acc"]["diff"] > 0


@pytest.mark.parametrize(
    ("margin", "amount", "verdict"),
    [("20%", 0.2, "equivalent"), ("0.2", 0.2, "equivalent"), ("0", 0, "regressed"), ("3 %", 0.03, "regressed")],
)
def test_margins(compare, files, margin, amount, verdict):
    acc = compare(*files, "--margin", margin, "--json").data["metrics"]["acc"]
    assert (acc["margin"], acc["verdict"]) == (pytest.approx(amount), verdict)


def test_alpha_widens_the_interval(compare, files):
    widths = []
    for alpha in ("0.1", "0.05", "0.001"):
        lo, hi = compare(*files, "--alpha", alpha, "--json").data["metrics"]["acc"]["ci"]
        widths.append(hi - lo)
    assert widths == sorted(widths)
    assert "99.9 % sure" in compare(*files, "--alpha", "0.001").out


def made(folder: Path, name: str, gain: float, spread: float = 0.0) -> Path:
    """200 cases around one half."""
    r = random.Random(5)
    values = [min(1.0, max(0.0, 0.5 + gain + r.gauss(0, spread))) for _ in range(200)]
    return write(folder / f"{name}.jsonl", ({"id": i, "scores": {"m": value}} for i, value in enumerate(values)))


@pytest.mark.parametrize(
    ("gain", "spread", "gate", "code"),
    [
        (0.1, 0.05, "no-regression", 0), (0.1, 0.05, "no-worse", 0), (0.1, 0.05, "better", 0),
        (0.0, 0.05, "no-regression", 0), (0.0, 0.05, "no-worse", 0), (0.0, 0.05, "better", 1),
        (-0.2, 0.05, "no-regression", 1), (-0.2, 0.05, "no-worse", 1), (-0.2, 0.05, "better", 1),
        (0.0, 0.6, "no-regression", 0), (0.0, 0.6, "no-worse", 3), (0.0, 0.6, "better", 3),
        (-0.2, 0.05, "none", 0), (-0.2, 0.05, "no-worse: m within 30%", 0), (-0.2, 0.05, "better: m", 1),
    ],
)  # fmt: skip
def test_gates_and_exit_codes(compare, tmp_path, gain, spread, gate, code):
    a, b = made(tmp_path, "a", 0.0), made(tmp_path, "b", gain, spread=spread)
    said = compare(a, b, "--gate", gate, "--json")
    assert (said.code, said.data["exit_code"]) == (code, code)
    assert len(said.data["gates"]) == (gate != "none")


@pytest.mark.parametrize(
    "options",
    [
        "--alpha 0", "--alpha 0.5", "--alpha nan", "--range 1 0", "--range nan 1", "--range 0 1e300", "--margin -1",
        "--margin abc", "--margin ''", "--margin 50", "--margin 100%", "--gate nonsense", "--gate 'better: nope'",
        "--gate none --gate better", "--margin 20ms", "--gate 'better: f1 within 200%'",
        "--metric nope", "--lower nope", "--kind nope",
        "--metric latency_mean", "--variant-a x", "--variant-b x", "-o x.csv", "-o x.pdf",
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_one_line(compare, files, tmp_path, options):
    said = compare(*files, *shlex.split(options))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("llmops: ")
    assert said.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_reports_in_every_format(compare, files, tmp_path):
    outputs = [tmp_path / f"report{suffix}" for suffix in (".html", ".md", ".json", ".xml")]
    said = compare(*files, *(word for path in outputs for word in ("-o", path)))
    assert said.code == 1
    assert said.err == "".join(f"wrote {path}\n" for path in outputs)
    html, md, data, xml = (path.read_text("utf-8") for path in outputs)
    assert "fell 9.5 points" in html
    assert "**Acc fell 9.5 points" in md
    report = json.loads(data)
    assert report["comparisons"][0]["metrics"]["acc"]["verdict"] == "regressed"
    assert ET.fromstring(xml).findall(".//failure")


# ---- input that is wrong or hostile


def bad(name: str, content: str | bytes, complaint: str) -> Any:
    return pytest.param(content, complaint, id=name)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        bad("empty", "", "an empty file"),
        bad("blank", "\n \n\t\n", "an empty file"),
        bad("text", "hello", "x.jsonl:1: not valid JSON"),
        bad("binary", bytes(range(128, 256)) * 40, "x.jsonl:1: not UTF-8"),
        bad("array", "[1]", "x.jsonl:1: a row must be a JSON object, not list"),
        bad("something else", '{"question": "?"}', "x.jsonl:1: neither scores, nor pairs, nor a run"),
        bad("no id", '{"scores": {"m": 1}}', "x.jsonl:1: id is None"),
        bad("an id of another type", '{"id": [1], "scores": {"m": 1}}', "x.jsonl:1: id is a list"),
        bad("true for an id", '{"id": true, "scores": {"m": 1}}', "x.jsonl:1: id is True"),
        bad("a number with a point for an id", '{"id": 1.5, "scores": {"m": 1}}', "x.jsonl:1: id is 1.5"),
        bad("an empty id", '{"id": "", "scores": {"m": 1}}', "x.jsonl:1: id is empty"),
        bad("scores as a list", '{"id": 1, "scores": [1]}', "x.jsonl:1: scores is missing or no object"),
        bad("a score as text", '{"id": 1, "scores": {"m": "1"}}', "x.jsonl:1: 'm' is '1', not a finite number"),
        bad("a score as an object", '{"id": 1, "scores": {"m": {"v": 1}}}', "x.jsonl:1: 'm' is an object"),
        bad("NaN", '{"id": 1, "scores": {"m": NaN}}', "x.jsonl:1: 'm' is nan"),
        bad("infinity", '{"id": 1, "scores": {"m": 1e999}}', "x.jsonl:1: 'm' is inf"),
        bad("a large number", '{"id": 1, "scores": {"m": 1e200}}', "x.jsonl:1: 'm' is 1e+200"),
        bad("400 digits", '{"id": 1, "scores": {"m": ' + "9" * 400 + "}}", "x.jsonl:1: 'm' is a huge number"),
        bad("9,000 digits", '{"id": 1, "scores": {"m": ' + "9" * 9000 + "}}", "x.jsonl:1: not plain JSON"),
        bad("depth", '{"id": 1, "scores": ' + "[" * 100_000 + "]" * 100_000 + "}", "x.jsonl:1: not plain JSON"),
        bad("two rows in a line", '{"id": 1, "scores": {"m": 1}} {"id": 2}', "x.jsonl:1: not valid JSON"),
        bad("a group of another type", '{"id": 1, "scores": {"m": 1}, "group": []}', "x.jsonl:1: group is a list"),
        bad("tags of another type", '{"id": 1, "scores": {"m": 1}, "tags": [1]}', "x.jsonl:1: tags isn't a list"),
        bad("tags as text", '{"id": 1, "scores": {"m": 1}, "tags": "t"}', "x.jsonl:1: tags isn't a list"),
        bad("no metric", '{"id": 1, "scores": {}}', "no metric in common"),
        bad("only errors", '{"id": 1, "error": "x"}', "no metric in common"),
        bad(
            "the third line",
            '{"id": 1, "scores": {"m": 1}}\n\n{"id": 2, "scores": {"m": "x"}}',
            "x.jsonl:3: 'm' is 'x'",
        ),
        bad("a NUL", '{"id": 1, "scores": {"m": 1}}\n\0', "x.jsonl:2: not valid JSON"),
        bad("a broken row after ten thousand", '{"id": 1, "scores": {"m": 1}}\n' * 10_000 + "{", "x.jsonl:10001:"),
        bad("damaged gzip", gzip.compress(b"x" * 5000)[:30], "x.jsonl:1: can't be unpacked"),
        bad("gzip of nothing useful", b"\x1f\x8b" + b"junk" * 10, "can't be unpacked"),
        bad("a run of another format", '{"llmops_run": 99}', "a run file of format 99"),
        bad("a run that is none", '{"llmops_run": 1}', "not a run"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_with_its_place(compare, tmp_path, content, complaint):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = compare(path, path, "-o", tmp_path / "report.html")
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert len(said.err) < 1500
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_file(compare, files, tmp_path):
    for name, complaint in ((tmp_path, "is a folder"), ("none.jsonl", "no file 'none.jsonl'"), ("none", "no runs yet")):
        said = compare(name, files[0])
        assert (said.code, said.out) == (2, "")
        assert complaint in said.err
    assert compare("x" * 5000 + "/y", files[0]).code == 2
    assert compare(files[0]).err.count("is one side") == 1


def test_nothing_in_common(compare, files, tmp_path):
    other = write(tmp_path / "other.jsonl", ({"id": f"z{i}", "scores": {"acc": 1}} for i in range(9)))
    assert "no case in common" in compare(files[0], other).err
    metric = write(tmp_path / "metric.jsonl", ({"id": f"c{i}", "scores": {"zzz": 1}} for i in range(9)))
    assert "no metric in common" in compare(files[0], metric).err


def test_hostile_names_reach_no_report(compare, tmp_path):
    def side(share: float) -> list[Any]:
        r = random.Random(str(share))
        return [
            {"id": f"{i}{EVIL}", "group": f"{EVIL}{i // 2}", "tags": [EVIL],
             "scores": {EVIL: float(r.random() < share), "x" * 100_000: 1}}
            for i in range(60)
        ]  # fmt: skip

    a, b = write(tmp_path / "a.jsonl", side(0.9)), write(tmp_path / "b.jsonl", [*side(0.4), {"id": EVIL, "scores": {}}])
    outputs = [tmp_path / f"r{suffix}" for suffix in (".html", ".md", ".json", ".xml")]
    said = compare(a, b, *(word for path in outputs for word in ("-o", path)))
    assert said.code == 1
    assert "[red]" in said.out  # printed as it is, not obeyed
    html, md, data, xml = (path.read_text("utf-8") for path in outputs)
    for text in (said.out, html, md):
        assert not {"\x1b", "\x00", "\u202e", "\ud800"} & set(text)
    assert not {"\x1b", "\x00", "\ud800"} & set(xml)
    assert "<script>alert" not in html
    assert len(md) < 60_000
    json.loads(data)
    ET.fromstring(xml)
    machine = compare(a, b, "--json")
    assert not {"\x1b", "\x00", "\u202e", "\ud800"} & set(machine.out)
    assert machine.data["only_b"] == [EVIL]
    assert EVIL in machine.data["metrics"]


def test_a_line_of_ten_megabytes_and_one_without_an_end(compare, tmp_path):
    row = {"id": "c0", "scores": {"m": 1.0}, "note": "x" * 10_000_000}
    path = write(tmp_path / "a.jsonl", [row, {"id": "c1", "scores": {"m": 0}}])
    assert compare(path, path, "--json").data["metrics"]["m"]["n"] == 2
    path.write_bytes(b'{"id": "' + b"x" * (65 << 20))
    assert "a line of more than 64 MB" in compare(path, path).err


def test_gzip_is_known_by_its_bytes_and_a_byte_order_mark_is_no_text(compare, files, tmp_path):
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(files[1].read_bytes()))
    marked = tmp_path / "marked.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + files[0].read_bytes().replace(b"\n", b"\r\n"))
    plain, other = compare(*files, "--json").data, compare(marked, packed, "--json").data
    assert other["metrics"] == plain["metrics"]


def test_rows_that_are_alike_and_rows_that_are_not_sum_up_equally(compare, tmp_path):
    """Blocks of equal rows are read in one go: whatever breaks a block up must not change what is read."""
    plain = rows(3000)
    ragged = [
        dict(row, scores=dict(reversed(row["scores"].items()))) if i % 7 == 0 else row for i, row in enumerate(plain)
    ]
    ragged = [dict(row, scores={k: int(v) if v in (0, 1) else v for k, v in row["scores"].items()}) for row in ragged]
    lines = [
        json.dumps(row) + ("  \r" if i % 11 == 0 else "") + ("\n \n" if i % 13 == 0 else "\n")
        for i, row in enumerate(ragged)
    ]
    lines.insert(1500, json.dumps({"id": "c1500", "scores": {"acc": plain[1500]["scores"]["acc"]}}) + "\n")
    a = write(tmp_path / "a.jsonl", plain)
    b = tmp_path / "b.jsonl"
    b.write_text("".join(lines))
    metrics = compare(a, b, "--json").data["metrics"]
    assert {name: (m["n"], m["diff"]) for name, m in metrics.items()} == {"acc": (3000, 0.0), "f1": (3000, 0.0)}


# ---- pipes and terminals


def shell(command: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    llmops = f"{shlex.quote(sys.executable)} -m llmops"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("llmops", llmops, 1) if "llmops" in command else command],
        cwd=cwd, env=clean_environment(**more), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("llmops compare <(cat a.jsonl) <(cat b.jsonl) --json", ("pipe (A)", "pipe (B)")),
        ("llmops compare <(gzip -c a.jsonl) b.jsonl --json", ("pipe", "b.jsonl")),
        ("cat a.jsonl | llmops compare /dev/stdin b.jsonl --json", ("stdin", "b.jsonl")),
        ("cat a.jsonl | llmops compare - b.jsonl --json", ("stdin", "b.jsonl")),
        ("llmops compare - b.jsonl --json < a.jsonl", ("stdin", "b.jsonl")),
        ("llmops compare <(cat run.jsonl) b.jsonl --json", ("small (pipe)", "b.jsonl")),
    ],
)
def test_what_can_be_read_once_only(files, tmp_path, command, names):
    export_run(*run_of(rows()), tmp_path / "run.jsonl")
    kept = tmp_path / "kept"
    kept.mkdir()
    done = shell(command, tmp_path, TMPDIR=str(kept))
    assert done.returncode == 1, done.stderr
    data = json.loads(done.stdout)
    assert (data["baseline"], data["candidate"]) == names
    assert data["metrics"]["acc"]["diff"] == pytest.approx(-0.095)
    assert not list(kept.iterdir())


@pytest.mark.parametrize("source", ["yes |", "true |", "head -c 100000 /dev/urandom |"])
def test_a_pipe_of_nonsense_ends_at_once(files, tmp_path, source):
    done = shell(f"set +o pipefail; {source} llmops compare - b.jsonl", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("llmops: stdin")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_closed_pipe_keeps_the_exit_code_and_writes_the_report(tmp_path, more):
    a = write(tmp_path / "a.jsonl", rows(3000))
    write(tmp_path / "b.jsonl", rows(3000, drop=0.1))
    command = f"llmops compare {a.name} b.jsonl {more} -o r.md | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = shell(f"set +o pipefail; {command}", tmp_path)
    assert done.stdout == "1\n"
    assert "Traceback" not in done.stderr
    assert (tmp_path / "r.md").is_file()


def test_forty_columns_without_colour_or_terminal(llmops, files):
    done = llmops("compare", *files, COLUMNS="40", NO_COLOR="1")
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert "\x1b" not in done.stdout


def test_several_at_a_time(files, tmp_path):
    command = [sys.executable, "-m", "llmops", "compare", *map(str, files), "--json"]
    at_once = [
        subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {process.communicate()[0] for process in at_once}
    assert len(said) == 1
    assert {process.returncode for process in at_once} == {1}


def test_score_files_load_nothing_heavy(files):
    """Seconds count in a shell loop: a comparison of two files needs neither database nor templates."""
    heavy = ["sqlmodel", "sqlalchemy", "jinja2", "httpx", "aiohttp", "scipy", "yaml", "rich", "llmops.store", "asyncio"]
    code = f"""
import sys
sys.argv = ["llmops", "compare", *{[str(path) for path in files]!r}, "--json"]
from llmops.cli.main import main
try:
    main()
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert done.stderr == "[]\n"


# ---- runs


def run_of(scored: list[dict[str, Any]], variant: str = "small", **changes: Any) -> tuple[RunRecord, list[Result]]:
    """A run whose answers have these scores; a row with `error` failed."""
    results = []
    for i, row in enumerate(scored):
        case = Case(row["id"], {"q": f"question {i}"}, group=row.get("group"), tags=tuple(row.get("tags", ())))
        if row.get("error"):
            output = Output(error=Failure("timeout", "too slow"))
        else:
            output = Output(
                "answer", latency_s=row.get("latency", 0.5), usage=Usage(90, 10, requests=1, certainty="exact")
            )
        scores = {name: Score(value) for name, value in row.get("scores", {}).items()}
        results.append(Result(variant, case, output, 0, scores))
    infos = (MetricInfo("acc", 0.0, 1.0), MetricInfo("f1", 0.0, 1.0))
    head = RunRecord(
        new_id(), "docs", "a" * 64, "cases.jsonl", "b" * 64, (VariantInfo(variant, "python"),), infos,
        cases=len(scored), status="finished",
    )  # fmt: skip
    return replace(head, **changes), results


def saved(location: Path, record: RunRecord, results: list[Result]) -> str:
    with Store.open(location) as store:
        store.create_run(record)
        with store.writer(record.id) as writer:
            for place, result in enumerate(results):
                writer.put(result, place)
    return record.id


@pytest.fixture
def runs(tmp_path: Path) -> tuple[tuple[RunRecord, list[Result]], tuple[RunRecord, list[Result]]]:
    worse = [{**row, "latency": 0.9} for row in rows(drop=0.1)]
    return run_of(rows()), run_of(worse)


def test_runs_and_files_of_them_and_scores_say_the_same(compare, files, runs, tmp_path):
    store = tmp_path / "runs.db"
    ids = [saved(store, *one) for one in runs]
    for name, one in (("a", runs[0]), ("b", runs[1])):
        export_run(*one, tmp_path / f"run-{name}.jsonl")
        export_run(*one, tmp_path / f"run-{name}.jsonl.gz")
    plain = compare(*files, "--json").data["metrics"]
    mixes = [
        (*ids, "--store", store),
        (tmp_path / "run-a.jsonl", tmp_path / "run-b.jsonl.gz"),
        (tmp_path / "run-a.jsonl.gz", ids[1], "--store", store),
        (files[0], tmp_path / "run-b.jsonl"),
    ]
    for mix in mixes:
        said = compare(*mix, "--json")
        assert said.code == 1
        assert {name: said.data["metrics"][name] for name in plain} == plain, mix


def test_latency_and_tokens_are_compared_where_they_are_known(compare, runs, tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, one in zip(paths, runs, strict=True):
        export_run(*one, path)
    metrics = compare(*paths, "--json").data["metrics"]
    assert list(metrics) == ["acc", "f1", "latency_mean", "tokens_per_case"]
    assert metrics["latency_mean"]["diff"] == pytest.approx(-0.4)
    assert metrics["tokens_per_case"]["mean_a"] == 100
    assert list(compare(*paths, "--metric", "f1", "--json").data["metrics"]) == ["f1"]
    only = compare(*paths, "--metric", "latency_p95", "--json")
    assert (list(only.data["metrics"]), only.code) == (["latency_p95"], 1)
    assert "bootstrap" in only.data["metrics"]["latency_p95"]["method"]
    guarded = compare(*paths, "--gate", "no-regression: latency_mean within 500ms", "--json")
    assert (guarded.code, guarded.data["metrics"]["latency_mean"]["margin"]) == (0, 0.5)


def test_a_failed_answer_of_a_run_scores_the_worst(compare, tmp_path):
    good, bad = rows(100), rows(100)
    bad[0] = {"id": "c0", "error": "x"}
    for name, one in (("a", good), ("b", bad)):
        export_run(*run_of(one), tmp_path / f"{name}.jsonl")
    f1 = compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json").data["metrics"]["f1"]
    assert (f1["errors_b"], f1["n"], f1["unscored"]) == (1, 100, 0)
    assert f1["diff"] == pytest.approx(-good[0]["scores"]["f1"] / 100)


def test_cases_without_a_score_are_left_out_and_told(compare, tmp_path):
    good, bad = rows(100), rows(100)
    bad[3]["scores"]["f1"] = None
    for name, one in (("a", good), ("b", bad)):
        export_run(*run_of(one), tmp_path / f"{name}.jsonl")
    f1 = compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json").data["metrics"]["f1"]
    assert (f1["errors_b"], f1["n"], f1["unscored"]) == (0, 99, 1)


def test_variants_of_one_run(compare, tmp_path):
    base, other = run_of(rows(), "base"), run_of(rows(drop=0.1), "new")
    third = [replace(result, variant="third") for result in other[1]]
    two = replace(base[0], variants=(VariantInfo("base", "x"), VariantInfo("new", "x")), baseline="base")
    export_run(two, [*base[1], *other[1]], tmp_path / "two.jsonl")
    assert compare(tmp_path / "two.jsonl", "--json").data["candidate"] == "new"
    three = replace(two, variants=(*two.variants, VariantInfo("third", "x")), baseline=None)
    export_run(three, [*base[1], *other[1], *third], tmp_path / "three.jsonl")
    assert "no baseline" in compare(tmp_path / "three.jsonl").err
    assert "which variant?" in compare(tmp_path / "three.jsonl", "--variant-a", "base").err
    said = compare(tmp_path / "three.jsonl", "--variant-a", "new", "--variant-b", "third", "--json")
    assert (said.data["baseline"], said.data["candidate"], said.code) == ("new", "third", 0)
    assert "has no variant 'nope'" in compare(tmp_path / "two.jsonl", "--variant-a", "nope").err
    assert "has no variant 'nope'" in compare(tmp_path / "two.jsonl", "--variant-b", "nope").err
    assert "with itself" in compare(tmp_path / "two.jsonl", "--variant-b", "base").err
    across = compare(
        tmp_path / "three.jsonl", tmp_path / "two.jsonl", "--variant-a", "base", "--variant-b", "new", "--json"
    )
    assert across.data["metrics"]["acc"]["verdict"] == "regressed"
    assert "several variants" in compare(tmp_path / "three.jsonl", tmp_path / "two.jsonl").err


def test_runs_of_other_datasets_or_cut_short_are_told(compare, runs, tmp_path):
    (one, results), (other, others) = runs
    export_run(one, results, tmp_path / "a.jsonl")
    export_run(replace(other, fingerprint="c" * 64), others, tmp_path / "b.jsonl")
    notes = compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json").data["notes"]
    assert any("different datasets" in note for note in notes)
    export_run(replace(other, status="stopped"), others[:150], tmp_path / "b.jsonl")
    said = compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json")
    assert any("stopped" in note for note in said.data["notes"])
    assert said.data["cases"] == 150
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[:-5]))
    said = compare(tmp_path / "a.jsonl", tmp_path / "cut.jsonl")
    assert (said.code, said.out) == (2, "")
    assert "the file ends after 195 of 200 results" in said.err


def test_a_report_of_two_runs_shows_the_answers(compare, runs, tmp_path):
    for name, one in (("a", runs[0]), ("b", runs[1])):
        export_run(*one, tmp_path / f"{name}.jsonl")
    said = compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "-o", tmp_path / "r.html", "-o", tmp_path / "r.md")
    assert said.code == 1
    assert "question" in (tmp_path / "r.html").read_text("utf-8")
    assert "question" in (tmp_path / "r.md").read_text("utf-8")


def test_python_compares_as_the_command_does(tmp_path: Path) -> None:
    for name, right in (("a", 18), ("b", 9)):
        rows = [{"id": f"q{i}", "scores": {"accuracy": int(i < right)}} for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    outcome = llmops_compare(a, b, gates=[{"no-worse": "accuracy", "margin": 0.03}])
    assert ([m.verdict for m in outcome.comparison.metrics], outcome.exit_code) == (["regressed"], 1)
    assert [gate.rule for gate in outcome.gates] == ["no-worse: accuracy within 0.03"]
    assert "fell 45.0 points" in outcome.render("markdown")
    assert llmops_compare(a, b, margin=0.9, gates=()).comparison.metrics[0].verdict == "equivalent"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "bool"}, "kind is 'bool'"), ({"alpha": 0.7}, "alpha 0.7"), ({"score_range": (5, 1)}, "range 5 1"),
        ({"margin": "x"}, "margin 'x'"), ({"metrics": "accuracy"}, "metrics"), ({"gates": ["worse"]}, "isn't a rule"),
    ],
)  # fmt: skip
def test_python_is_told_in_one_line_what_is_wrong(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": 1, "scores": {"accuracy": 1}}\n')
    with pytest.raises(InputError, match=re.escape(says)):
        llmops_compare(file, file, **options)
