"""`llmops plan`: sizes from past runs or defaults, what the dataset shows, the ways to get there, and bad input."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import InputError, LlmopsError
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.drops import Amount, amount_of, parse_drop
from llmops.evals.sizing import Sizes
from llmops.evals.spread import Spread, assumed_spread
from llmops.identity import new_id
from llmops.planning import plan_suite
from llmops.store.database import Store
from llmops.types import Case, MetricInfo, Output, Result, RunRecord, Score, VariantInfo

SUITE = """dataset: {path: cases.jsonl, fields: {inputs.q: q, group: page}}
variants:
  old: {python: pipe.py:answer}
  new: {python: pipe.py:answer}
baseline: old
metrics:
  - contains: x
  - python: {target: metrics.py:grade, low: 1, high: 5}
  - python: {target: metrics.py:words, low: 0, high: null}
"""
CONTAINS, GRADE, WORDS = MetricInfo("contains"), MetricInfo("grade", 1.0, 5.0), MetricInfo("words", 0.0, None)
SHARE = MetricInfo("share")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "llmops.yaml").write_text("", "utf-8")
    (tmp_path / "suite.yaml").write_text(SUITE, "utf-8")
    (tmp_path / "pipe.py").write_text("raise SystemExit('a pipeline is not for planning')\n", "utf-8")
    metrics = "def grade(text):\n    return 3\n\n\ndef words(text):\n    return len(text.split())\n"
    (tmp_path / "metrics.py").write_text(metrics, "utf-8")
    write_cases(tmp_path, 200)
    return tmp_path


def write_cases(project: Path, count: int, page: Callable[[int], str] | None = None) -> None:
    rows = [{"id": str(i), "q": f"Question {i}?", "page": page(i) if page else None} for i in range(count)]
    (project / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


Scores = dict[str, Callable[[str, int, int], float | None]]


def save_run(
    project: Path,
    scores: Scores,
    cases: int = 200,
    *,
    repeats: int = 1,
    variants: tuple[str, ...] = ("old", "new"),
    group: Callable[[int], str] | None = None,
    location: str = ".llmops/llmops.db",
    **changes,
) -> RunRecord:
    """A finished run; `scores` give a metric's value for variant, case number and repeat."""
    record = RunRecord(
        new_id(), "suite", "a" * 64, "cases.jsonl", "b" * 64, tuple(VariantInfo(name, "python") for name in variants),
        (CONTAINS, GRADE, WORDS), baseline=variants[0], cases=cases, repeats=repeats, status="finished",
    )  # fmt: skip
    record = replace(record, **changes)
    with Store.open(project / location) as store:
        store.create_run(record)
        with store.writer(record.id) as writer:
            for i in range(cases):
                case = Case(str(i), {"q": str(i)}, group=group(i) if group else None)
                for variant in variants:
                    for repeat in range(repeats):
                        given = {name: Score(score(variant, i, repeat)) for name, score in scores.items()}
                        writer.put(Result(variant, case, Output("x"), repeat, given), i)
    return record


def flips(share: int, of: int = 100) -> Callable[[str, int, int], float]:
    """Passes for the old variant; the new one fails `share` of every `of` cases."""
    return lambda variant, i, _: float(variant == "old" or i % of >= share)


def noise(deviation: float, seed: int = 0) -> Callable[[str, int, int], float]:
    """Grades around 3 whose differences between variants have this standard deviation, in points of the range."""
    draw = random.Random(seed)
    values: dict[tuple[str, int, int], float] = {}
    return lambda *key: values.setdefault(key, 3 + 4 * draw.gauss(0, deviation / 2**0.5))


def planned(project: Path, name: str, **options):
    made = plan_suite(project / "suite.yaml", metric=name, **options)
    return made.metrics[0]


def test_without_any_run_the_defaults_hold(project):
    binary, grade = planned(project, "contains", drop="3"), planned(project, "grade", drop="3%")
    assert (binary.needed, grade.needed) == (1388, 546)
    assert binary.drop == pytest.approx(0.03)
    assert grade.drop == pytest.approx(0.12)
    assert not binary.spread.pairs
    assert binary.mde == pytest.approx(0.0777, abs=1e-4)  # 7.849 (.16 - d * d) / d / d = 200
    assert grade.mde == pytest.approx(4 * 2.8016 * 0.25 / 200**0.5, rel=1e-3)


def test_the_discordance_of_a_past_run_is_used(project):
    save_run(project, {"contains": flips(10)})
    found = planned(project, "contains", drop="3")
    assert found.spread.discordance == pytest.approx(0.10)
    assert found.needed == 865
    assert (found.spread.pairs, found.spread.runs) == (200, 1)


def test_the_spread_of_a_past_run_is_used(project):
    save_run(project, {"grade": noise(0.15)}, cases=2000)
    found = planned(project, "grade", drop="2")
    assert found.spread.between**0.5 == pytest.approx(0.15, rel=0.05)
    assert found.needed == pytest.approx(442, rel=0.1)


def test_several_runs_are_pooled_and_a_rescored_one_counts_once(project):
    first = save_run(project, {"contains": flips(10)})
    save_run(project, {"contains": flips(20)})
    assert planned(project, "contains", drop="3").spread.discordance == pytest.approx(0.15)
    save_run(project, {"contains": flips(20)}, environment={"scored_from": first.id})
    found = planned(project, "contains", drop="3").spread
    assert (found.discordance, found.runs) == (pytest.approx(0.20), 2)


def test_runs_of_another_suite_or_of_one_variant_don_t_count(project):
    save_run(project, {"contains": flips(10)}, suite="other")
    save_run(project, {"contains": flips(10)}, variants=("new",), baseline=None)
    assert planned(project, "contains", drop="3").needed == 1388


def test_a_single_variant_tells_that_a_metric_passes_or_fails(project):
    save_run(project, {"grade": lambda *_: 5.0}, variants=("old",))
    assert planned(project, "grade", drop="3").needed == 1388


def test_counterparts_are_paired_with_theirs(project):
    def score(variant: str, i: int, _: int) -> float:
        return float({"new@main": True, "new": i % 10 > 0, "old": i % 2 > 0}[variant])

    names, config = ("new@main", "new", "old"), {"counterparts": {"new@main": "new"}}
    save_run(project, {"contains": score}, variants=names, config=config)
    assert planned(project, "contains", drop="3").spread.discordance == pytest.approx(0.10)


def test_variants_that_never_differ_say_nothing(project):
    save_run(project, {"contains": lambda *_: 1.0, "grade": lambda *_: 4.0})
    assert planned(project, "contains", drop="3").needed == 1388


def test_a_metric_that_never_differs_where_others_do_is_not_taken_for_certain(project):
    save_run(project, {"contains": lambda *_: 1.0, "grade": noise(0.2)})
    found = planned(project, "contains", drop="3")
    assert found.spread.discordance == pytest.approx(2 / 202)
    assert found.needed == 254  # a drop of 3 points means that at least 3 % of the cases differ


def test_scores_that_never_differ_still_need_cases_for_rare_failures(project):
    save_run(project, {"contains": flips(10), "grade": lambda *_: 4.0})
    assert [planned(project, "grade", drop=drop).needed for drop in ("5", "3", "2")] == [50, 83, 125]


def test_cases_without_a_score_are_counted_in(project):
    save_run(project, {"contains": lambda variant, i, _: flips(20)(variant, i, 0) if i % 2 else None})
    found = planned(project, "contains", drop="3")
    assert found.spread.scored == pytest.approx(0.5)
    assert found.needed == 2 * 1737
    assert any("50% of the questions have no score" in note for note in found.notes)


def test_groups_enlarge_the_need_by_what_past_runs_show(project):
    def page(i: int) -> str:
        return f"page {i // 10}"

    write_cases(project, 200, page)
    made = plan_suite(project / "suite.yaml", metric="contains", drop="3")
    assert made.groups == 20
    assert made.metrics[0].needed == 1388
    assert any("no past run" in note for note in made.metrics[0].notes)
    save_run(project, {"contains": flips(10)}, group=page)  # whole pages break together
    found = planned(project, "contains", drop="3")
    assert found.spread.design_effect == pytest.approx(10, rel=0.25)
    assert found.needed == pytest.approx(865 * found.spread.design_effect, rel=0.01)


def test_grouped_runs_don_t_enlarge_the_need_of_an_ungrouped_dataset(project):
    save_run(project, {"contains": flips(10)}, group=lambda i: f"page {i // 10}")
    assert planned(project, "contains", drop="3").needed == 865


def test_too_few_groups_are_said(project):
    write_cases(project, 200, lambda i: str(i % 3))
    assert any("needs at least 6" in note for note in planned(project, "contains", drop="3").notes)


def test_repeats_in_past_runs_are_a_way_to_get_there(project):
    draw = random.Random(1)
    save_run(project, {"grade": lambda *_: 3 + 4 * draw.gauss(0, 0.2)}, cases=400, repeats=4)
    found = planned(project, "grade", drop="5", case_cost=1000)
    assert found.spread.within == pytest.approx(2 * 0.2**2, rel=0.1)
    assert found.spread.between < 0.006
    assert found.needed == pytest.approx(7.849 * 0.08 / 0.0025, rel=0.15)  # with one answer a question
    [way] = [way for way in found.ways if way.kind == "repeats"]
    assert way.repeats == 2
    assert (way.cases, way.answers) == (200, 800)


def test_the_price_of_a_case_weighs_cases_against_repeats(project):
    sizes = Sizes(200, None, 1, ComparisonSettings(), case_cost=200.0)
    found = sizes.plan(SHARE, 0.03, Spread(1 / 9, within=1 / 3, pairs=500, runs=1))
    assert found.needed == 3876
    [way] = [way for way in found.ways if way.kind == "cases and repeats"]
    assert (way.repeats, way.cases) == (17, 1140)  # sqrt(3 * 200 / 2) = 17.3
    assert not [way for way in found.ways if way.kind == "repeats"]  # no number of them makes 200 cases enough


def test_the_ways_are_the_cheapest_first(project):
    found = planned(project, "contains", drop="3")
    assert [way.kind for way in found.ways] == ["early stopping", "more cases", "bigger drop"]
    stopping, more, bigger = found.ways
    assert found.sequential == (1501, 1055)
    assert (stopping.cases, stopping.answers) == (1501, 2110)
    assert (more.cases, more.answers) == (1388, 2776)
    assert (bigger.cases, bigger.drop) == (200, found.mde)


def test_a_dataset_that_is_enough(project):
    found = planned(project, "contains", drop="10")
    assert found.enough
    assert found.needed == 118
    assert [way.kind for way in found.ways] == ["early stopping"]


def test_a_dataset_too_small_for_any_verdict(project):
    write_cases(project, 9)
    found = planned(project, "contains", drop="3")
    assert found.mde is None
    assert [way.kind for way in found.ways] == ["early stopping", "more cases"]


def test_without_a_drop_the_margin_of_the_gate_or_suite_holds(project):
    assert planned(project, "contains").drop == pytest.approx(0.05)
    more = "gates: [{no-regression: contains, margin: 2%}]\ncomparison: {margin: 10%, power: 0.9}\n"
    (project / "suite.yaml").write_text(SUITE + more, "utf-8")
    assert planned(project, "contains").drop == pytest.approx(0.02)
    assert planned(project, "grade").drop == pytest.approx(0.4)
    assert planned(project, "contains", drop="3").needed == 1858  # (1.960 + 1.282)^2 (.16 - .0009) / .0009


def test_a_metric_without_a_range_needs_a_unit_and_a_run(project):
    made = plan_suite(project / "suite.yaml", drop="3")
    assert [metric.info.name for metric in made.metrics] == ["contains", "grade"]
    assert dict(made.left_out) == {"words": "words has no range to take a share of"}
    with pytest.raises(InputError, match="no past run"):
        planned(project, "words", drop="20units")
    save_run(project, {"words": lambda variant, i, _: float(i % 7 + (variant == "new") * (i % 3))})
    found = planned(project, "words", drop="0.5units")
    assert found.needed == pytest.approx(7.849 * 0.67 / 0.25, rel=0.02)
    assert found.mde == pytest.approx(2.8016 * (0.67 / 200) ** 0.5, rel=0.02)


def test_a_store_elsewhere(project, tmp_path):
    save_run(project, {"contains": flips(10)}, location="elsewhere.db")
    assert planned(project, "contains", drop="3").needed == 1388
    assert planned(project, "contains", drop="3", store=str(project / "elsewhere.db")).needed == 865
    with pytest.raises(InputError, match="no store at"):
        planned(project, "contains", drop="3", store=str(tmp_path / "missing.db"))


def test_a_broken_store_is_said_and_no_obstacle(project):
    (project / ".llmops").mkdir()
    (project / ".llmops" / "llmops.db").write_bytes(b"not a database at all" * 100)
    made = plan_suite(project / "suite.yaml", drop="3", metric="contains")
    assert made.metrics[0].needed == 1388
    assert "past runs can't be read" in made.notes[0]


@given(st.floats(0.01, 0.5), st.floats(0.01, 0.9), st.integers(20, 5000), st.booleans())
def test_what_is_needed_and_what_is_noticed_agree(drop, spread, cases, binary):
    found = Spread(spread, discordance=spread) if binary else Spread(spread**2)
    sizes = Sizes(cases, None, 1, ComparisonSettings(), None)
    plan = sizes.plan(SHARE, drop, found)
    assert plan.enough == (plan.needed <= cases)
    if plan.mde is not None:
        assert plan.enough == (plan.mde <= drop * (1 + 1e-5)) or plan.mde == pytest.approx(drop, rel=1e-3)
        assert sizes.plan(SHARE, plan.mde, found).needed <= cases


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3", Amount(0.03)), ("3%", Amount(0.03)), (" 2.5 % ", Amount(0.025)), (".5%", Amount(0.005)),
        ("0.2units", Amount(0.2, "units")), ("1 unit", Amount(1.0, "units")), ("20ms", Amount(20.0, "ms")),
    ],
)  # fmt: skip
def test_drops_as_they_are_written(text, wanted):
    found = parse_drop(text)
    assert (found.number, found.unit) == (pytest.approx(wanted.number), wanted.unit)


def test_drops_in_the_metric_s_unit():
    seconds = MetricInfo("latency", 0.0, None, "lower", "s")
    assert amount_of(parse_drop("20ms"), seconds) == pytest.approx(0.02)
    assert amount_of(parse_drop("2s"), seconds) == amount_of(parse_drop("2units"), seconds) == 2
    assert amount_of(parse_drop("0.2units"), GRADE) == 0.2
    assert amount_of(parse_drop("5"), GRADE) == pytest.approx(0.2)


@given(st.text(max_size=20))
def test_any_other_text_is_refused_in_one_line(text):
    try:
        found = amount_of(parse_drop(text), GRADE)
    except LlmopsError as error:
        assert "\n" not in str(error)
    else:
        assert 0 < found < 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drop": "0.3"}, "could mean two things; write 0.3% for points of 100, or 0.3units"),
        ({"drop": "abc"}, "'abc' isn't a drop above 0; write 3 or 3%"),
        ({"drop": "0"}, "isn't a drop above 0"),
        ({"drop": "-3"}, "isn't a drop above 0"),
        ({"drop": "\0\ud800"}, "isn't a drop above 0"),
        ({"drop": "100"}, "the whole range"),
        ({"drop": "9" * 400}, "isn't a drop above 0"),
        ({"drop": "3parsecs"}, "contains isn't measured in 'parsecs'"),
        ({"drop": "7units", "metric": "grade"}, "a drop of 7 is the whole range of grade"),
        ({"metric": "contain"}, "no metric 'contain'; did you mean 'contains'?"),
        ({"store": "missing.db"}, "no store at missing.db"),
    ],
)
def test_bad_input_is_one_line(project, options, said):
    with pytest.raises(InputError) as caught:
        plan_suite(project / "suite.yaml", **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (project / ".llmops").exists()


@pytest.mark.parametrize("words", [["--drop", "abc"], ["--case-cost", "nan"]])
def test_bad_input_ends_with_2(llmops, project, words):
    done = llmops("plan", "suite.yaml", *words, cwd=project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words[0] in done.stderr


def test_a_missing_suite_and_broken_data(project):
    with pytest.raises(InputError, match="can't read"):
        plan_suite(project / "none.yaml")
    (project / "cases.jsonl").write_text('{"q": "a"}\n{"q": \n', "utf-8")
    with pytest.raises(InputError, match=r"cases\.jsonl:2") as caught:
        plan_suite(project / "suite.yaml")
    assert caught.value.exit_code == 2


def test_the_words(llmops, project):
    done = llmops("plan", "suite.yaml", "--drop", "3", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "suite: 200 questions of cases.jsonl" in said
    sentence = "To reliably notice a 3-point drop you need about 1,390 questions (you have 200, which can notice 7.8"
    assert sentence in said
    assert "assumes that 16% of the questions pass with one variant only" in said
    assert "1,190 more questions (1,390 in all): 2,780 answers a run" in said
    assert "stopping when the answer is clear: about 1,060 asked on average, 2,110 answers a run" in said
    assert "accept a bigger drop: these questions notice 7.8 points" in said
    assert "a 3-point drop (0.120)" in said  # of grades from 1 to 5
    assert "Left out: words (words has no range to take a share of)" in said
    assert not (project / ".llmops").exists()


def test_the_words_with_a_past_run_and_enough_cases(llmops, project):
    save_run(project, {"contains": flips(10)})
    done = llmops("plan", "suite.yaml", "--drop", "10%", "--metric", "contains", cwd=project)
    said = " ".join(done.stdout.split())
    assert "you need about 71 questions; you have 200, which can notice 6.1 points." in said
    assert "As in 1 past run (200 pairs of answers), 10% of the questions pass with one variant only." in said


def test_machine_output(llmops, project):
    save_run(project, {"contains": flips(16)})
    done = llmops("plan", "suite.yaml", "--drop", "3", "--json", cwd=project)
    found = json.loads(done.stdout)
    assert (found["cases"], found["groups"], found["alpha"], found["power"]) == (200, None, 0.05, 0.8)
    one = found["metrics"]["contains"]
    assert (one["n_needed"], one["kind"], one["basis"], one["enough"]) == (1388, "binary", "past runs", False)
    assert one["sequential"] == {"cap": 1501, "expected": 1055}
    assert one["drop"] == pytest.approx(0.03)
    assert [way["kind"] for way in one["ways"]] == ["early stopping", "more cases", "bigger drop"]


def test_names_from_files_can_t_drive_a_terminal(llmops, project):
    text = SUITE.replace("contains: x", 'python: {target: "metrics.py:grade", name: "e\\e[31m[red]x"}')
    (project / "suite.yaml").write_text(text, "utf-8")
    done = llmops("plan", "suite.yaml", "--drop", "3", cwd=project)
    assert "\x1b" not in done.stdout + done.stderr


def test_defaults_are_those_of_the_table():
    assert assumed_spread(True).variance(0.05) == pytest.approx(0.16 - 0.0025)
    assert assumed_spread(False).variance(0.05) == pytest.approx(0.0625)
