"""Recorded judges against people: the figures published with four public sets come out of `llmops judge calibrate`.

The data stands beside the repository; every test here skips without it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmops.calibration.findings import Findings, findings_of
from llmops.calibration.labels import read_labels
from llmops.stats.agreement import cohen_kappa, observed_agreement
from llmops.stats.correlation import spearman
from llmops.stats.preferences import first_slot_rate
from test_real_data import PEOPLE

CHOICE = {0: "tie", 1: "1", 2: "2", "0": "tie", "1": "1", "2": "2", "Tie": "tie", "garbage": None}


def rows_of(shared: Path, name: str) -> list[dict[str, Any]]:
    path = shared / name
    if not path.is_file():
        pytest.skip(f"no {name} in the data beside the repository")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def calibrated(tmp_path: Path, labels: Iterable[Mapping[str, Any]], **options: Any) -> Findings:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(label) + "\n" for label in labels), encoding="utf-8")
    return findings_of(read_labels(path), **options)


# --- nq301: is the answer acceptable? ---------------------------------------------------------------------------------


def answers(rows: list[dict[str, Any]], verdict: str) -> Iterable[dict[str, Any]]:
    """Labels for one of the recorded judges; rows that couldn't be matched with its verdict are left out."""
    for number, row in enumerate(rows):
        if row[verdict] is not None:
            label = {"id": f"{row['id']}/{number}", "human": row["human_correct"], "judge": row[verdict]}
            yield label | {"annotators": row["annotators"], "answer": row["answer"]}


def test_gpt4_against_people_on_nq301(shared_data, tmp_path):
    found = calibrated(tmp_path, answers(rows_of(shared_data, "nq301/nq301.jsonl"), "gpt4_verdict"))
    assert (found.kind, found.n) == ("binary", 1487)
    assert round(found.agreement.value, 3) == 0.848
    assert round(found.kappa.value, 3) == 0.695
    assert found.kappa.lo < 0.695 < found.kappa.hi
    assert found.detection.positives + found.detection.negatives == 1487
    rates = found.detection.sensitivity.value, found.detection.specificity.value
    assert rates == (pytest.approx(679 / 816), pytest.approx(582 / 671))
    [both] = [pair for pair in found.people.pairs if (pair.first, pair.second) == ("1", "2")]
    assert both.n == 1487
    assert both.agreement > found.agreement.value  # people agree with each other more often than with the judge


@pytest.mark.parametrize(("whole", "published"), [(False, 0.745), (True, 0.654)])
def test_containment_and_exact_match_as_judges_on_nq301(shared_data, whole, published):
    words: dict[str, Any] = {}
    exec(PEOPLE, words)
    normalize = words["normalize"]
    rows = rows_of(shared_data, "nq301/nq301.jsonl")
    human = [row["human_correct"] for row in rows]
    judge = []
    for row in rows:
        answer, wanted = normalize(row["answer"]), [normalize(gold) for gold in row["gold"]]
        judge.append(answer in wanted if whole else any(gold in answer for gold in wanted))
    assert round(observed_agreement(human, judge).value, 3) == published


# --- pandalm: which of two answers is better? -------------------------------------------------------------------------


def majority(row: Mapping[str, Any]) -> int:
    return Counter(row["annotators"]).most_common(1)[0][0]


def preferences(rows: list[dict[str, Any]], judge: str) -> Iterable[dict[str, Any]]:
    for row in rows:
        yield {
            "id": row["id"],
            "human": CHOICE[majority(row)],
            "judge": CHOICE[row["judges"][judge]],
            "annotators": [CHOICE[said] for said in row["annotators"]],
            "answer": [row["response1"], row["response2"]],
        }


def test_annotators_and_gpt35_on_pandalm(shared_data, tmp_path):
    found = calibrated(tmp_path, preferences(rows_of(shared_data, "pandalm/testset.jsonl"), "gpt-3.5-turbo"))
    kappas = {(pair.first, pair.second): round(pair.kappa, 3) for pair in found.people.pairs}
    assert kappas == {("1", "2"): 0.852, ("1", "3"): 0.879, ("2", "3"): 0.862}
    assert (found.n, found.unreadable) == (999, 25)
    assert round(found.agreement.value, 3) == 0.698  # a verdict nobody can read agrees with nobody
    assert found.people.agreement > 0.9
    assert found.position.orders == 1
    assert found.length.excess.hi < 0  # this judge likes short answers more than people do


def test_the_pandalm_judge_reads_without_garbage(shared_data, tmp_path):
    found = calibrated(tmp_path, preferences(rows_of(shared_data, "pandalm/testset.jsonl"), "pandalm-7b"))
    assert found.unreadable == 0
    assert round(found.agreement.value, 3) == 0.668


def test_the_longer_answer_wins_on_pandalm(shared_data):
    """67.2 % of what is no tie, taking the second of two equally long ones."""
    decided = [row for row in rows_of(shared_data, "pandalm/testset.jsonl") if majority(row)]
    longer = [1 if len(row["response1"]) > len(row["response2"]) else 2 for row in decided]
    wins = ["1" if side == majority(row) else "2" for side, row in zip(longer, decided, strict=True)]
    found = first_slot_rate(wins)
    assert round(found.value, 3) == 0.672
    assert 0.6 < found.lo < found.hi < 0.75


# --- llmbar: five judges, five ways of asking, both orders ------------------------------------------------------------


def pairs_of(rows: list[dict[str, Any]], subset: str, judge: str) -> Iterable[dict[str, Any]]:
    for row in rows:
        if row["set"] == subset and judge in row["judges"]:
            first, second = row["judges"][judge]
            label = {"id": row["id"], "human": str(row["label"]), "judge": first, "judge_swapped": second}
            yield label | {"answer": [row["output_1"], row["output_2"]]}


def test_gpt4_on_llmbar(shared_data, tmp_path):
    found = calibrated(
        tmp_path, pairs_of(rows_of(shared_data, "llmbar/pairs.jsonl"), "natural", "GPT-4/Vanilla_NoRules")
    )
    both_orders = (found.agreement.value + found.position.agreement_swapped.value) / 2
    assert both_orders == pytest.approx(0.935)
    assert found.position.consistency.value == pytest.approx(0.97)
    assert found.position.p > 0.05


def test_every_published_accuracy_of_llmbar(shared_data, tmp_path):
    """Accuracy in either order and in both, their mean, the share of equal verdicts, and its kappa."""
    pairs = rows_of(shared_data, "llmbar/pairs.jsonl")
    there = {row["set"] for row in pairs}
    checked = 0
    for row in rows_of(shared_data, "llmbar/published_statistics.jsonl"):
        if row["set"] not in there:
            continue
        labels = list(pairs_of(pairs, row["set"], row["judge"]))
        found = calibrated(tmp_path, labels)
        place = found.position
        figures = (found.agreement.value, place.agreement_swapped.value, place.agreement_both_orders)
        published = [percent(row[key]) for key in ("correct_False", "correct_True", "correct_both")]
        assert figures == pytest.approx(published, abs=1e-12), row["judge"]
        assert (figures[0] + figures[1]) / 2 == pytest.approx(percent(row["correct_average"]), abs=1e-12)
        # the authors count what can't be read as "not the first one", in either order
        first = [label["judge"] or "2" for label in labels]
        second = [label["judge_swapped"] or "2" for label in labels]
        assert cohen_kappa(first, second, draws=1).value == pytest.approx(row["kappa_agreement"], abs=1e-9)
        if not found.unreadable and None not in [label["judge_swapped"] for label in labels]:
            assert place.consistency.value == pytest.approx(percent(row["equal"]), abs=1e-12)
        checked += 1
    assert checked >= 60


def percent(text: str) -> float:
    found = re.search(r"([\d.]+)%$", text)
    return float(found[1]) / 100


def test_judges_that_stick_to_a_place_are_found(shared_data, tmp_path):
    """Falcon gives one verdict in both orders for a tenth of the pairs: it hardly reads the answers."""
    pairs = rows_of(shared_data, "llmbar/pairs.jsonl")
    falcon = calibrated(tmp_path, pairs_of(pairs, "adv_manual", "Falcon/CoT")).position
    gpt4 = calibrated(tmp_path, pairs_of(pairs, "adv_manual", "GPT-4/Metrics_Reference")).position
    assert falcon.consistency.hi < 0.3 < gpt4.consistency.lo
    assert falcon.p < 0.05


# --- mtrag_human: how faithful is the answer, 1 to 4? -----------------------------------------------------------------


def graded(rows: list[dict[str, Any]], metric: str) -> Iterable[dict[str, Any]]:
    for row in rows:
        people = row["human"]["faithfulness"]
        label = {"id": row["task_id"], "variant": row["model_id"], "human": sum(people.values()) / len(people)}
        yield label | {"judge": row["recorded_metrics"][metric], "annotators": people, "answer": row["response"]}


@pytest.mark.parametrize(("metric", "published"), [("rl_f", 0.58), ("RougeL", 0.40)])
def test_correlation_with_people_on_mtrag(shared_data, tmp_path, metric, published):
    found = calibrated(tmp_path, graded(rows_of(shared_data, "mtrag_human/responses.jsonl"), metric))
    assert (found.kind, found.n, found.cases) == ("scale", 477, 159)
    assert round(found.spearman.value, 2) == published
    assert found.spearman.lo > 0.2
    assert not found.same_scale
    assert (found.shift, found.variants) == (None, None)  # 1 to 4 minus 0 to 1 means nothing


def test_three_answers_to_one_question_are_less_evidence_than_three_questions(shared_data, tmp_path):
    rows = rows_of(shared_data, "mtrag_human/responses.jsonl")
    found = calibrated(tmp_path, graded(rows, "rl_f"))
    labels = list(graded(rows, "rl_f"))
    careless = spearman([label["human"] for label in labels], [label["judge"] for label in labels])
    assert careless.value == pytest.approx(found.spearman.value)
    assert found.spearman.hi - found.spearman.lo > careless.hi - careless.lo
