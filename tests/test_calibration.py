"""Calibrations: labels that are read, biases that are found, and corrections that comparisons use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.calibration import (
    Calibration,
    answer_hash,
    calibration_path,
    judge_identity,
    load_calibration,
    needs_correction,
)
from llmops.calibration.advice import recommendation
from llmops.calibration.findings import Findings, findings_of
from llmops.calibration.joining import join
from llmops.calibration.labels import Label, read_labels
from llmops.calibration.saved import Labelled
from llmops.calibration.scales import rescaled
from llmops.errors import InputError, NotFoundError
from llmops.types import Case, Failure, MetricInfo, Output, Result, RunRecord, Score, VariantInfo


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def measured(rows: list[dict[str, Any]], tmp_path: Path, **options: Any) -> Findings:
    return findings_of(read_labels(write(tmp_path / "labels.jsonl", rows)), **options)


# --- reading labels ---------------------------------------------------------------------------------------------------


def test_a_label_of_each_kind(tmp_path):
    path = write(
        tmp_path / "labels.jsonl",
        [
            {"id": 7, "human": True, "judge": 0, "variant": "new", "answer": "Yes.", "annotators": [1, 0, None]},
            {"id": "b", "human": 1.0, "judge": None, "annotators": {"Ann": True}, "length": 12},
            {"id": "c", "human": 0},
        ],
    )
    first, second, third = read_labels(path)
    assert (first.id, first.human, first.judge, first.variant, first.lengths) == ("7", 1.0, 0.0, "new", (4.0,))
    assert first.answer == answer_hash("Yes.")
    assert first.people == {"1": 1.0, "2": 0.0}
    assert (second.judge, second.judged, second.people, second.lengths) == (None, True, {"Ann": 1.0}, (12.0,))
    assert not third.judged


def test_choices_may_be_written_in_any_case(tmp_path):
    row = {"id": "a", "human": "Tie", "judge": " 1", "judge_swapped": "2", "answer": ["one", "three"]}
    [label] = read_labels(write(tmp_path / "labels.jsonl", [row]))
    assert (label.human, label.judge, label.swapped, label.lengths, label.answer) == ("tie", "1", "2", (3.0, 5.0), "")


DEEP = "[" * 5000 + "]" * 5000
BAD_LINES = [
    "[1]",
    "{",
    '{"id": "a"}',
    '{"human": 1}',
    '{"id": "", "human": 1}',
    '{"id": true, "human": 1}',
    '{"id": {}, "human": 1}',
    '{"id": "a", "human": "maybe"}',
    '{"id": "a", "human": []}',
    '{"id": "a", "human": 1e999}',
    '{"id": "a", "human": NaN}',
    '{"id": "a", "human": 1' + "0" * 400 + "}",
    '{"id": "a", "human": 1' + "0" * 6000 + "}",
    '{"id": "a", "human": 1, "human": 0}',
    '{"id": "a", "human": 1, "judge": "1"}',
    '{"id": "a", "human": 1, "judge_swapped": 0}',
    '{"id": "a", "human": "1", "judge": "2", "length": 3}',
    '{"id": "a", "human": 1, "answer": ["x", "y"]}',
    '{"id": "a", "human": 1, "answer": ["x"]}',
    '{"id": "a", "human": 1, "answer": 5}',
    '{"id": "a", "human": 1, "length": "long"}',
    '{"id": "a", "human": 1, "length": -1}',
    '{"id": "a", "human": 1, "variant": 5}',
    '{"id": "a", "human": 1, "repeat": -1}',
    '{"id": "a", "human": 1, "annotators": "Ann"}',
    '{"id": "a", "human": 1, "annotators": ["good"]}',
    '{"id": "a", "human": 1, "judges": 0}',
    f'{{"id": "a", "human": {DEEP}}}',
    '{"id": "a", "human": 1, "variant": "\0"}',
    '{"id": "ok", "human": 1}',  # the id of the line before
]


@pytest.mark.parametrize("line", BAD_LINES, ids=[line[:50] for line in BAD_LINES])
def test_what_is_no_label_is_named_with_its_line(tmp_path, line):
    path = write(tmp_path / "labels.jsonl", ['{"id": "ok", "human": 1}', line])
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert f"{path}:2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"id": "\xff", "human": 1}\n')
    with pytest.raises(InputError, match=r":1: .*UTF-8"):
        read_labels(path)
    path.write_bytes(b"\n")
    with pytest.raises(InputError, match="no labels"):
        read_labels(path)
    for missing in (tmp_path / "none.jsonl", tmp_path, Path("a\0b")):
        with pytest.raises(InputError):
            read_labels(missing)


def test_labels_of_two_answers_to_one_case_are_two_labels(tmp_path):
    rows = [{"id": "a", "human": 1, "answer": "x"}, {"id": "a", "human": 0, "answer": "y"}]
    assert len(read_labels(write(tmp_path / "labels.jsonl", rows))) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["id", "human", "judge", "judge_swapped", "variant", "repeat", "annotators", "answer", "length", "other"]


@given(rows=st.lists(st.dictionaries(st.sampled_from(KEYS), json_values), min_size=1, max_size=4))
def test_any_file_is_labels_or_one_clear_error(tmp_path_factory, rows):
    path = write(tmp_path_factory.mktemp("any") / "labels.jsonl", rows)
    try:
        labels = read_labels(path)
        found = findings_of(labels)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert found.n <= len(labels)
        assert recommendation(found)


# --- what labels show -------------------------------------------------------------------------------------------------


def yes_no(tmp_path: Path, table: list[list[int]], **more: Any) -> Findings:
    """Counts of people's no/yes (rows) by the judge's no/yes."""
    cells = [(h, j) for h, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return measured([{"id": n, "human": h, "judge": j, **more} for n, (h, j) in enumerate(cells)], tmp_path)


def test_yes_no_verdicts(tmp_path):
    found = yes_no(tmp_path, [[34, 6], [8, 72]])
    assert (found.kind, found.n, found.cases) == ("binary", 120, 120)
    assert found.agreement.value == pytest.approx(106 / 120)
    assert found.detection.sensitivity.value == pytest.approx(0.9)
    assert found.detection.specificity.value == pytest.approx(0.85)
    assert found.kappa.lo < found.kappa.value < found.kappa.hi
    assert found.shift.mean == pytest.approx(2 / 120)
    assert recommendation(found) == "Good enough to gate on."


def test_where_one_verdict_is_rare_kappa_alone_condemns_no_judge(tmp_path):
    found = yes_no(tmp_path, [[0, 4], [4, 112]])
    assert found.kappa.value < 0 < 0.9 < found.ac1.value
    assert "Don't gate" not in recommendation(found)
    assert "Don't gate" in recommendation(yes_no(tmp_path, [[20, 20], [20, 20]]))


def test_verdicts_that_cant_be_read_are_wrong_and_missing_ones_count_nowhere(tmp_path):
    rows = [{"id": n, "human": n % 2, "judge": n % 2} for n in range(40)]
    rows += [{"id": f"u{n}", "human": 1, "judge": None} for n in range(10)]
    rows += [{"id": f"m{n}", "human": 1} for n in range(5)]
    found = measured(rows, tmp_path)
    assert (found.n, found.unreadable, found.not_judged) == (50, 10, 5)
    assert found.agreement.value == 0.8
    assert found.detection.sensitivity.value == pytest.approx(20 / 30)
    with pytest.raises(InputError, match="no label has a verdict"):
        measured(rows[40:], tmp_path)


def test_few_labels_promise_nothing(tmp_path):
    assert "Too few" in recommendation(yes_no(tmp_path, [[10, 0], [0, 10]]))


def test_scores_of_a_scale(tmp_path):
    rows = [{"id": n, "human": n % 5 + 1, "judge": min(5, n % 5 + 1 + n % 2)} for n in range(60)]
    found = measured(rows, tmp_path)
    assert found.kind == "scale"
    assert found.spearman.value > 0.9
    assert found.weighted_kappa.value > 0.8
    assert found.shift.mean == pytest.approx(-0.4)
    assert measured([{**row, "judge": row["judge"] * 1.01} for row in rows], tmp_path).weighted_kappa is None


def test_a_threshold_makes_scores_verdicts(tmp_path):
    rows = [{"id": n, "human": int(n < 30), "judge": 0.9 - n / 100} for n in range(60)]
    found = measured(rows, tmp_path, threshold=0.605)
    assert found.kind == "binary"
    assert (found.detection.sensitivity.value, found.detection.specificity.value) == (1, 1)
    with pytest.raises(InputError, match="choices"):
        measured([{"id": 1, "human": "1", "judge": "2"}], tmp_path, threshold=0.5)
    points = [{"id": n, "human": 1 + n % 4, "judge": n % 4 / 4} for n in range(60)]
    with pytest.raises(InputError, match="different scales"):
        measured(points, tmp_path, threshold=0.5)


def test_points_are_moved_to_the_metrics_range(tmp_path):
    rows = [{"id": n, "human": 1 + n % 4, "judge": (n % 4) / 3, "annotators": [1 + n % 4, 4]} for n in range(60)]
    labels = read_labels(write(tmp_path / "labels.jsonl", rows))
    assert not findings_of(labels).same_scale
    found = findings_of(rescaled(labels, 1, 4, (0.0, 1.0)))
    assert found.same_scale
    assert found.shift.mean == pytest.approx(0)
    assert rescaled(labels, 1, 4, (0.0, 1.0))[1].people == {"1": pytest.approx(1 / 3), "2": 1.0}
    for low, high in ((1, 3), (4, 1), (2, 2)):
        with pytest.raises(InputError, match=r"outside|range"):
            rescaled(labels, low, high, (0.0, 1.0))


def variants(tmp_path: Path, lenient: float, *, paired: bool = True, cases: int = 300) -> Findings:
    """A judge that calls a share `lenient` of B's bad answers good; it is right otherwise."""
    generator = np.random.default_rng(8)
    rows = []
    for n in range(cases):
        for variant in ("A", "B"):
            human = int(generator.random() < 0.7)
            judge = human or int(generator.random() < (lenient if variant == "B" else 0.1))
            rows.append({"id": n if paired else f"{variant}{n}", "variant": variant, "human": human, "judge": judge})
    return measured(rows, tmp_path)


@pytest.mark.parametrize("paired", [True, False])
def test_a_judge_lenient_to_one_variant_is_found(tmp_path, paired):
    found = variants(tmp_path, 0.6, paired=paired)
    [gap] = found.variants.gaps
    assert (gap.first, gap.second, gap.paired) == ("A", "B", paired)
    assert gap.test.mean == pytest.approx(-0.15, abs=0.06)
    assert gap.p < 0.001
    assert "more lenient to B than to A" in recommendation(found)
    [same] = variants(tmp_path, 0.1, paired=paired).variants.gaps
    assert same.p > 0.05


def test_copies_of_labels_do_not_make_the_mean_error_surer(tmp_path):
    rows = [{"id": n, "variant": v, "human": n % 2, "judge": int(n % 3 > 0)} for n in range(60) for v in "abcd"]
    once = measured([row for row in rows if row["variant"] == "a"], tmp_path).shift
    often = measured(rows, tmp_path).shift
    assert often.hi - often.lo == pytest.approx(once.hi - once.lo, rel=0.03)


def test_a_case_labelled_for_two_variants_is_one_case(tmp_path):
    assert (found := variants(tmp_path, 0.3, cases=50)).cases == 50
    assert found.n == 100


def choices(tmp_path: Path, first_slot: float, longer: float, cases: int = 300) -> Findings:
    """A judge asked in both orders that picks the first slot, or the longer answer, in given shares of the pairs."""
    generator = np.random.default_rng(3)
    rows = []
    for n in range(cases):
        human, lengths = str(generator.integers(1, 3)), generator.permutation([50, 80]).tolist()
        verdicts = [human, human]
        if generator.random() < first_slot:
            verdicts = ["1", "2"]
        elif generator.random() < longer:
            verdicts = ["1" if lengths[0] > lengths[1] else "2"] * 2
        rows.append({"id": n, "human": human, "judge": verdicts[0], "judge_swapped": verdicts[1], "length": lengths})
    return measured(rows, tmp_path)


def test_a_judge_that_likes_the_first_place_is_found(tmp_path):
    found = choices(tmp_path, 0.3, 0.0)
    assert found.position.first_slot.value == pytest.approx(0.65, abs=0.05)
    assert found.position.consistency.value == pytest.approx(0.7, abs=0.07)
    assert found.position.p < 0.001
    assert "shown first" in recommendation(found)
    fair = choices(tmp_path, 0.0, 0.0).position
    assert (fair.first_slot.value, fair.consistency.value, fair.p) == (0.5, 1, 1)


def test_a_judge_that_likes_the_longer_answer_is_found(tmp_path):
    found = choices(tmp_path, 0.0, 0.4)
    assert found.length.excess.lo > 0.1
    assert "longer answers" in recommendation(found)
    assert choices(tmp_path, 0.0, 0.0).length.excess.value == 0


def test_one_order_is_measured_against_peoples_own_choices(tmp_path):
    rows = [{"id": n, "human": "12"[n % 3 == 0], "judge": "1"} for n in range(90)]
    place = measured(rows, tmp_path).position
    assert (place.orders, place.first_slot.value, place.consistency) == (1, 1, None)
    assert place.people_first_slot.value == pytest.approx(2 / 3)
    assert place.p < 0.001


@pytest.mark.parametrize("taste", [0.5, -0.5, 0.0])
def test_length_of_single_answers(tmp_path, taste):
    generator = np.random.default_rng(2)
    rows = []
    for n in range(400):
        length, quality = generator.normal(0, 1), generator.normal(0, 1)
        human = round(0.3 * length + quality, 3)
        judge = round(human + taste * length + generator.normal(0, 0.3), 3)
        rows.append({"id": n, "human": human, "judge": judge, "length": round(100 + 10 * length, 2)})
    excess = measured(rows, tmp_path).length.excess
    assert np.sign(excess.lo) + np.sign(excess.hi) == 2 * np.sign(taste)


def test_people_are_the_ceiling(tmp_path):
    rows = [
        {"id": n, "human": n % 2, "judge": n % 2 if n % 5 else 1 - n % 2, "annotators": [n % 2, n % 2 if n % 10 else 0]}
        for n in range(100)
    ]
    found = measured(rows, tmp_path)
    assert found.people.agreement == 1.0
    assert "more often (100.0%)" in recommendation(found)
    rows = [{**row, "annotators": [row["human"], row["judge"]]} for row in rows]
    found = measured(rows, tmp_path)
    assert found.people.agreement == pytest.approx(0.8)
    assert "as often as they agree with each other" in recommendation(found)
    [pair] = found.people.pairs
    assert pair.kappa == pytest.approx(found.kappa.value)


# --- labels and a run -------------------------------------------------------------------------------------------------

RECORD = RunRecord(
    "r", "s", "h", "d", "f",
    variants=(VariantInfo("old", "python"), VariantInfo("new", "python")),
    metrics=(MetricInfo("faithful", description="asks model m, prompt p"), MetricInfo("other")),
)  # fmt: skip


def results() -> list[Result]:
    return [
        Result(
            variant,
            Case(f"c{n}"),
            Output(f"{variant} {n} {repeat}"),
            repeat,
            {"faithful": Score(n / 10 + repeat / 100)},
        )
        for n in range(10)
        for variant in ("old", "new")
        for repeat in (0, 1)
    ]


def test_labels_get_the_scores_of_a_run():
    labels = [Label("c3", 1.0, judged=False, variant="new"), Label("c4", 0.0, judged=False, variant="old", repeat=1)]
    joined = join(labels, RECORD, results(), "faithful")
    assert [label.judge for label in joined.labels] == [0.3, pytest.approx(0.41)]
    assert joined.labels[0].answer == answer_hash("new 3 0")
    assert joined.labels[0].lengths == (7.0,)


def test_a_label_with_a_text_belongs_to_that_text():
    found = answer_hash("new 3 1")
    labels = [
        Label("c3", 1.0, judged=False, variant="new", answer=found),
        Label("c3", 1.0, judged=False, variant="old", answer=found),
        Label("c99", 1.0, judged=False, variant="old"),
    ]
    joined = join(labels, RECORD, results(), "faithful")
    assert [label.judge for label in joined.labels] == [pytest.approx(0.31)]
    assert (joined.absent, joined.outdated) == (1, 1)


def test_answers_that_failed_or_have_no_score_are_left_out():
    failed = Result("new", Case("c1"), Output(error=Failure("timeout", "late")))
    unscored = Result("new", Case("c2"), Output("x"), scores={"faithful": Score.unscored("no verdict")})
    labels = [Label(f"c{n}", 1.0, judged=False, variant="new") for n in (1, 2)]
    joined = join(labels, RECORD, [failed, unscored], "faithful")
    assert joined.absent == 1
    assert [label.judged for label in joined.labels] == [False]


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (
            Label("c1", 1.0, judged=False, variant="newer", where="f:3"),
            "f:3: the run has no variant 'newer'; did you mean 'new'",
        ),
        (Label("c1", 1.0, judged=False, where="f:3"), "f:3: the label names no variant"),
        (Label("c1", 1.0, judge=1.0, variant="new", where="f:3"), "f:3: the label has a judge's verdict"),
        (Label("c1", "1", judged=False, variant="new", where="f:3"), "f:3: a choice between two"),
        (Label("c77", 1.0, judged=False, variant="new", where="f:3"), "f:3: no label is about an answer of the run"),
        (Label("c1", 3.0, judged=False, variant="new", where="f:3"), "f:3: a label of 3 is outside"),
    ],
)
def test_labels_that_fit_no_run(label, problem):
    with pytest.raises(InputError) as caught:
        join([label], RECORD, results(), "faithful")
    assert problem in str(caught.value)


def test_a_metric_the_run_lacks_and_points_that_are_moved():
    label = Label("c3", 3.0, judged=False, variant="new")
    with pytest.raises(NotFoundError, match="faithful"):
        join([label], RECORD, results(), "faithfull")
    assert join([label], RECORD, results(), "faithful", (1, 5)).labels[0].human == 0.5


def test_a_judge_is_another_when_what_the_run_says_of_it_changed():
    same = judge_identity(RECORD, "faithful")
    assert len(same) == 12
    changed = replace(RECORD, metrics=(replace(RECORD.metrics[0], description="asks model n, prompt p"),))
    assert judge_identity(changed, "faithful") != same
    assert judge_identity(RECORD, "none") == ""


# --- saved calibrations and corrections -------------------------------------------------------------------------------


def calibration(cases: int = 40) -> Calibration:
    rows = []
    for n in range(cases):
        for variant, human, judge in (("old", 1.0, 1.0), ("new", float(n % 4 > 0), 1.0)):
            rows.append(Labelled(f"c{n}", variant, answer_hash(f"{variant} {n}"), human, judge))
    return Calibration("faithful", "binary", tuple(rows), "abc", "2026-05-01")


def save(path: Path, one: Calibration) -> Path:
    path.write_text("".join(one.lines()))
    return path


def answers(variant: str, cases: int = 50) -> dict[str, str]:
    return {f"c{n}": answer_hash(f"{variant} {n}") for n in range(cases)}


def test_a_calibration_comes_back_as_it_was_saved(tmp_path):
    one = calibration()
    strange = replace(one, labels=(*one.labels, Labelled("\ud800\n", "", "", "tie", None)))
    assert load_calibration(save(tmp_path / "c.jsonl", strange)) == strange


def test_pairs_are_found_by_answer_whoever_gave_it():
    one = calibration()
    human, judge = one.labelled_pairs(answers("old"), answers("new"))
    assert len(human) == len(judge) == len(one.labelled_cases(answers("old"), answers("new"))) == 40
    assert human == [float(n % 4 > 0) - 1 for n in range(40)]
    assert judge == [0.0] * 40
    turned, _ = one.labelled_pairs(answers("new"), answers("old"))
    assert turned == [-value for value in human]
    changed = {**answers("new"), "c0": answer_hash("another answer")}
    assert one.labelled_cases(answers("old"), changed) == [f"c{n}" for n in range(1, 40)]


def test_the_judges_present_scores_take_the_place_of_saved_ones():
    human, judge = calibration().labelled_pairs(answers("old"), answers("new"), {"c0": 0.25}, {"c0": 0.5, "c1": 0.0})
    assert judge[:3] == [0.25, -1.0, 0.0]
    assert len(human) == 40


def test_an_answer_labelled_twice_counts_with_its_mean():
    text = answer_hash("same")
    rows = (
        Labelled("a", "old", text, 1.0, 1.0),
        Labelled("a", "new", text, 0.0, 1.0),
        Labelled("a", "x", "", 1.0, 1.0),
    )
    one = Calibration("m", "binary", rows)
    assert one.labelled_pairs({"a": text}, {"a": text}) == ([0.0], [0.0])
    assert one.labelled_pairs({"a": ""}, {"a": text}) == ([], [])


def test_a_correction_is_needed_when_labels_show_a_bias():
    human, judge = calibration().labelled_pairs(answers("old"), answers("new"))
    found = needs_correction(human, judge)
    assert found.needed
    assert found.labelled == 40
    assert found.p < 0.01
    assert "favours the candidate by 0.25" in found.reason


def test_without_a_bias_only_a_changed_judge_needs_one():
    human = [0.0, 1.0, -1.0, 0.0] * 10
    assert not needs_correction(human, human).needed
    assert not needs_correction(human, human, judge_then="a", judge_now="a").needed
    assert not needs_correction(human, human, judge_then="", judge_now="b").needed
    stale = needs_correction(human, human, judge_then="a", judge_now="b")
    assert stale.needed
    assert "changed" in stale.reason


def test_below_thirty_pairs_nothing_can_be_corrected():
    human, judge = [-1.0] * 29, [0.0] * 29
    found = needs_correction(human, judge, judge_then="a", judge_now="b")
    assert (found.needed, found.possible, found.p) == (False, False, None)
    assert needs_correction([*human, -1.0], [*judge, 0.0]).needed
    with pytest.raises(ValueError, match="no pairs"):
        needs_correction([1.0], [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [],
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [lines[0].replace('"calibration":1', '"calibration":2'), *lines[1:]],
        lambda lines: [*lines[:-1], "{"],
        lambda lines: [*lines[:-1], "[]"],
        lambda lines: [*lines[:-1], lines[-1].replace('"human":1.0', '"human":"good"')],
        lambda lines: [*lines[:-1], lines[-1].replace('"human":1.0', '"human":null')],
        lambda lines: [*lines[:-1], lines[-1].replace('"answer":"', '"answer":"x')],
        lambda lines: [*lines[:-1], lines[-1].replace('"id":"c39"', '"id":39')],
    ],
)
def test_a_spoilt_calibration_is_one_clear_error(tmp_path, spoil):
    lines = "".join(calibration().lines()).splitlines()
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(spoil(lines)))
    with pytest.raises(InputError) as caught:
        load_calibration(path)
    assert str(path) in str(caught.value)


def test_no_calibration(tmp_path):
    with pytest.raises(NotFoundError, match="no calibration"):
        load_calibration(tmp_path / "none.jsonl")
    with pytest.raises(InputError):
        load_calibration("a\0b")


@pytest.mark.parametrize(
    "metric", ["faithful", "recall@5", "a/b", "../up", "..", ".", "nul\0", "\ud800", "m" * 400, "é"]
)
def test_a_metrics_calibration_has_a_place_of_its_own(tmp_path, metric):
    path = calibration_path(metric, tmp_path)
    assert path.parent == tmp_path / "evals" / "calibration"
    assert path != calibration_path(metric + "x", tmp_path)
    path.parent.mkdir(parents=True)
    save(path, calibration())
    assert load_calibration(path).metric == "faithful"


def test_a_calibrated_comparison_finds_the_drop_that_the_judge_hides():
    """The whole way: labels → pairs → need → corrected interval, on a judge that is lenient to the candidate."""
    from llmops.stats.prediction import ppi

    generator = np.random.default_rng(12)
    rows, unlabelled = [], []
    for n in range(400):
        human = [int(generator.random() < rate) for rate in (0.80, 0.60)]
        judge = [float(h or generator.random() < lenient) for h, lenient in zip(human, (0.2, 0.7), strict=True)]
        if n < 120:
            rows += [
                Labelled(f"c{n}", v, answer_hash(f"{v} {n}"), float(h), j)
                for v, h, j in zip(("old", "new"), human, judge, strict=True)
            ]
        else:
            unlabelled.append(judge[1] - judge[0])
    one = Calibration("m", "binary", tuple(rows))
    human_diff, judge_diff = one.labelled_pairs(answers("old", 400), answers("new", 400))
    assert needs_correction(human_diff, judge_diff).needed
    assert np.mean(unlabelled) > 0
    assert ppi(human_diff, judge_diff, unlabelled).hi < 0
