"""Verdicts on judges' scores with labels, on fixed cases and by tag, and where the methods reach their limits.

As in `test_simulations.py`: `make validate` takes 5,000 repetitions and prints what it measured.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from llmops.evals.comparing import compare_metric
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.estimates import Labels, Paired
from llmops.types import Case
from simulated_runs import SimulatedRun, Trials, plain_cases
from simulation_figures import Figures, printed_figures
from simulations import (
    EVERYTHING,
    REPETITIONS,
    RESCUE,
    SCORE,
    TOTAL_FALLS,
    Numbers,
    flips,
    generator,
    observe,
    spread,
    three_se,
)

WRONG_RED, WRONG_PASS, LOW, HIGH = 0.025, 0.035, 0.935, 0.965
JUDGED = ("judge with labels", "labels", "true change", "interval covers", "red", "green", "improved")
FIXED = ("population: fixed", "n", "repeats", "true change", "interval covers", "red", "green")
SHARES = ("scenario", "n", "figure", "measured", "bar")
CASES = 400


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    yield from printed_figures()


# --- judges and people ---

FAIR = ((0.92, 0.80), (0.92, 0.80))  # sensitivity and specificity on the baseline's answers, and on the candidate's
LENIENT = ((0.92, 0.80), (0.95, 0.72))


def judged(truth: Numbers, skill: tuple[float, float], random: np.random.Generator) -> Numbers:
    chance = np.where(truth > 0, skill[0], 1 - skill[1])
    return (random.random(truth.shape) < chance).astype(float)


def judge_rates(labelled: int, fall: float, judge, *, share: float = 0.16, corrected: bool = True) -> list[float]:
    """Shares of intervals that cover, of red, of green and of improved; the margin is the fall (or 5 points)."""
    size = CASES + labelled
    random, ids = generator("judge", labelled, fall, judge, share), [str(i) for i in range(size)]
    counts = np.zeros(4)
    for _ in range(REPETITIONS):
        gains = flips(share, fall)(random, 1, size, True)[0]
        tied = (random.random(size) < 0.857).astype(float)
        a, b = np.where(gains, gains < 0, tied).astype(float), np.where(gains, gains > 0, tied).astype(float)
        before, after = (judged(side, skill, random) for side, skill in zip((a, b), judge, strict=True))
        labels = Labels((b - a)[:labelled], (after - before)[:labelled], frozenset(ids[:labelled]))
        found = compare_metric(
            SCORE,
            Paired(ids, before, after),
            margin=fall or 0.05,
            settings=ComparisonSettings(),
            labels=labels if corrected else None,
        )
        green = found.verdict in ("improved", "equivalent")
        covered = found.ci[0] <= -fall <= found.ci[1]
        counts += [covered, found.verdict == "regressed", green, found.verdict == "improved"]
    return (counts / REPETITIONS).tolist()


@pytest.mark.parametrize("labelled", [100, 200] if EVERYTHING else [100])
@pytest.mark.parametrize(("name", "judge", "fall"), [("fair", FAIR, 0.05), ("lenient", LENIENT, 0.0)])
def test_labels_correct_a_judge(name: str, judge, fall: float, labelled: int, figures: Figures) -> None:
    covered, red, green, improved = judge_rates(labelled, fall, judge)
    figures.add(JUDGED, f"{name} to the candidate", labelled, -fall or 0.0, covered, red, green, improved)
    assert LOW - three_se(LOW) <= covered <= HIGH + three_se(HIGH)
    if fall:
        assert green <= WRONG_PASS + three_se(WRONG_PASS)
    else:
        assert red <= WRONG_RED + three_se(WRONG_RED)
        assert improved <= 0.035 + three_se(0.035)  # no promise: differences are rare, so t is a little lopsided


def test_without_labels_a_lenient_judge_is_believed(figures: Figures) -> None:
    """What the correction is for: a judge that likes the candidate's answers better finds it better."""
    covered, red, green, improved = judge_rates(100, 0.0, LENIENT, corrected=False)
    figures.add(JUDGED, "lenient to the candidate, not corrected", 0, 0.0, covered, red, green, improved)
    assert improved > 0.2 and covered < 0.8


# --- the same cases for ever ---


def fixed_rates(chances: Numbers, repeats: int, loss: float, margin: float, what: object) -> list[float]:
    """Shares of intervals that cover, of red and of green, when these very cases lose the share `loss` of passes."""
    random = generator("fixed", what, repeats, loss)
    settings = ComparisonSettings(population="fixed")
    run = SimulatedRun({SCORE: margin}, plain_cases(len(chances)), settings=settings)
    truth, counts = -loss * float(chances.mean()), np.zeros(3)
    for _ in range(REPETITIONS):
        a, b = (random.binomial(repeats, p) / repeats for p in (chances, chances * (1 - loss)))
        ended = run.end({"score": Trials(a, a, repeats)}, {"score": Trials(b, b, repeats)})
        lo, hi = ended.guards[0].ci
        counts += [lo <= truth + 1e-12 and hi >= truth - 1e-12, ended.regressed, ended.passed]
    return (counts / REPETITIONS).tolist()


@pytest.mark.parametrize("repeats", [2, 5] if EVERYTHING else [2])
@pytest.mark.parametrize("cases", [20, 100] if EVERYTHING else [100])
def test_fixed_cases_count_only_the_randomness_of_answers(cases: int, repeats: int, figures: Figures) -> None:
    chances = generator("chances", cases).beta(4, 1, cases)
    for loss in (0.0, 0.06):
        margin = loss * float(chances.mean()) or 0.05
        covered, red, green = fixed_rates(chances, repeats, loss, margin, cases)
        figures.add(FIXED, "all cases vary", cases, repeats, -margin if loss else 0.0, covered, red, green)
        if cases >= 100:
            assert LOW - three_se(LOW) <= covered <= HIGH + three_se(HIGH)
        if loss:
            assert green <= WRONG_PASS + three_se(WRONG_PASS)
        else:
            assert red <= WRONG_RED + three_se(WRONG_RED)


# --- tags ---

TAGS = [f"tag {i}" for i in range(10)]
EACH = 30


@pytest.mark.parametrize("fallen", [0, 3])
def test_marked_tags_are_seldom_false(fallen: int, figures: Figures) -> None:
    """Of the tags that stand out, at most a tenth is luck, on average."""
    cases = [Case(f"{tag} {i}", {}, tags=(tag,)) for tag in TAGS for i in range(EACH)]
    run = SimulatedRun({SCORE: 0.05}, cases)
    random, shares, found = generator("tags", fallen), [], 0
    draw = spread(0.25, 0.0)
    for _ in range(max(500, REPETITIONS // 2)):
        gains = draw(random, 1, len(cases), False)[0]
        gains[: fallen * EACH] -= 0.2
        ended = run.end({"score": Trials(0.5 - gains / 2)}, {"score": Trials(0.5 + gains / 2)})
        marked = [TAGS.index(one.tag) for one in ended.comparison.slices if one.notable]
        shares.append(sum(tag >= fallen for tag in marked) / max(1, len(marked)))
        found += sum(tag < fallen for tag in marked)
    rate, bar = float(np.mean(shares)), 0.10 * (1 - fallen / len(TAGS))
    figures.add(SHARES, f"10 tags, {fallen} fell", EACH * 10, "false share of the marked", rate, f"≤ {bar:.2f}")
    assert rate <= bar + 3 * float(np.std(shares)) / len(shares) ** 0.5
    if fallen:
        assert found / len(shares) / fallen >= 0.8


# --- limits: no promise, but what docs/statistics.md says of them has to stay true ---


@pytest.mark.parametrize(("cases", "most"), [(50, 0.077), *[(100, 0.037), (200, 0.026)] * EVERYTHING])
def test_total_falls_of_few_cases_with_exact_ties(cases: int, most: float, figures: Figures) -> None:
    """The pass bound's half case is too little where all the loss is in cases that fall from all to nothing.

    `most` are exact: with 5 % such cases, none is among 50 with a chance of .95^50 = .077.
    """
    found = observe(TOTAL_FALLS, cases, changed=True)
    figures.add(SHARES, TOTAL_FALLS.name, cases, "wrong pass (exact: bar)", found.passed, most)
    assert found.passed <= most + three_se(most)


@pytest.mark.parametrize(("cases", "most"), [(100, 0.05), *[(20, 0.45), (50, 0.14), (200, 0.025)] * EVERYTHING])
def test_rare_rises_that_make_up_for_many_small_falls(cases: int, most: float, figures: Figures) -> None:
    """No change of the mean, but few samples show it: most cases did fall. The t interval goes by what it sees."""
    found = observe(RESCUE, cases, changed=False, margin=0.05)
    figures.add(SHARES, RESCUE.name, cases, "red", found.regressed, f"≤ {most}")
    assert found.regressed <= most + three_se(most)


@pytest.mark.parametrize(("labelled", "most"), [(50, 0.09), *[(30, 0.01), (100, 0.05), (200, 0.045)] * EVERYTHING])
def test_labels_in_which_hardly_any_case_differs(labelled: int, most: float, figures: Figures) -> None:
    """5 % of the cases differ, all for the worse: few labelled pairs show it, the skew-safe bound covers the rest."""
    covered, red, green, improved = judge_rates(labelled, 0.05, FAIR, share=0.05)
    figures.add(JUDGED, "fair, 5 % of cases differ", labelled, -0.05, covered, red, green, improved)
    assert green <= most + three_se(most)


@pytest.mark.parametrize(("repeats", "most"), [(2, 0.025), *[(5, 0.03)] * EVERYTHING])
def test_fixed_cases_of_which_few_vary(repeats: int, most: float, figures: Figures) -> None:
    """18 of 20 cases always pass: two repeats of the others are little to know their variance by."""
    chances = np.array([1.0] * 18 + [0.4, 0.6])
    covered, red, green = fixed_rates(chances, repeats, 0.0, 0.05, "few vary")
    figures.add(FIXED, "2 of 20 cases vary", 20, repeats, 0.0, covered, red, green)
    assert red <= most + three_se(most)
