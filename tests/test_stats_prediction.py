"""Prediction-powered inference: the formula, its edges, and what it promises in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from llmops.stats.prediction import bias_difference, judge_bias, ppi

HUMAN = [0.0, 1.0, 0.0, -1.0, 1.0, 0.0, 1.0, 0.0]
JUDGE = [0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]
UNLABELLED = [0.0, 0.0, 1.0, 1.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, -1.0]
numbers = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 3))


def test_ppi_is_the_formula_computed_by_hand():
    """Σ(H−H̄)(J−J̄) = 2 and Σ(J−J̄)² = 2, so Cov/Var = 1 and λ = 1/(1 + 8/12) = 0.6."""
    found = ppi(HUMAN, JUDGE, UNLABELLED)
    assert found.weight == pytest.approx(0.6)
    rectified = [h - 0.6 * j for h, j in zip(HUMAN, JUDGE, strict=True)]
    assert found.mean == pytest.approx(0.6 * (2 / 12) + sum(rectified) / 8)
    variance = 0.36 * np.var(UNLABELLED, ddof=1) / 12 + np.var(rectified, ddof=1) / 8
    assert found.se == pytest.approx(math.sqrt(variance))
    half = oracle.t.ppf(0.975, 7) * found.se
    assert (found.lo, found.hi) == pytest.approx((found.mean - half, found.mean + half))
    assert found.p == pytest.approx(2 * oracle.t.sf(abs(found.mean) / found.se, 7))
    assert (found.df, found.labelled) == (7, 8)


def test_a_judge_that_says_nothing_leaves_the_test_on_the_labels():
    expected = oracle.ttest_1samp(HUMAN, 0)
    for judge, unlabelled in (([0.0] * 8, UNLABELLED), (JUDGE, []), ([-h for h in HUMAN], UNLABELLED)):
        found = ppi(HUMAN, judge, unlabelled)
        assert found.weight == 0
        assert (found.mean, found.p) == pytest.approx((np.mean(HUMAN), expected.pvalue))


def test_a_perfect_judge_narrows_the_interval_to_what_all_cases_say():
    generator = np.random.default_rng(1)
    labelled, others = generator.normal(0.1, 1, 100), generator.normal(0.1, 1, 9_900)
    found = ppi(labelled, labelled, others)
    assert found.weight == pytest.approx(1 / (1 + 100 / 9_900))
    assert found.se == pytest.approx(1 / math.sqrt(10_000), rel=0.05)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30), st.lists(numbers, max_size=40))
def test_ppi_keeps_its_promises_whatever_the_values(pairs, unlabelled):
    found = ppi([h for h, _ in pairs], [j for _, j in pairs], unlabelled)
    assert 0 <= found.weight <= 1
    assert found.lo <= found.mean <= found.hi
    assert 0 <= found.p <= 1
    if found.p > 0.0500001:
        assert found.lo <= 1e-9
        assert found.hi >= -1e-9


@pytest.mark.parametrize(
    ("human", "judge"), [([1.0], [1.0]), ([], []), ([1.0, 2.0], [1.0]), ([1.0, math.nan], [1.0, 1.0])]
)
def test_what_is_no_pair_is_refused(human, judge):
    with pytest.raises(ValueError, match=r"pairs|finite"):
        ppi(human, judge, [])
    with pytest.raises(ValueError, match=r"pairs|finite"):
        judge_bias(human, judge)


def test_judge_bias_is_the_paired_t_test():
    found = judge_bias(HUMAN, JUDGE)
    expected = oracle.ttest_rel(HUMAN, JUDGE)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.lo, found.hi) == pytest.approx(expected.confidence_interval(0.95))
    assert found.mean == pytest.approx(-0.25)


def test_equal_verdicts_are_no_bias_and_a_constant_shift_is_a_sure_one():
    assert judge_bias(HUMAN, HUMAN).p == 1
    assert judge_bias([0.1 + 0.2] * 5, [0.3] * 5).p == 1
    shifted = judge_bias([h + 0.5 for h in HUMAN], HUMAN)
    assert (shifted.p, shifted.lo, shifted.hi) == (0, 0.5, 0.5)


def test_bias_difference_is_welchs_test():
    first, second = HUMAN, [1.0, 1.0, 0.0, 1.0, 2.0]
    found = bias_difference(first, second)
    expected = oracle.ttest_ind(second, first, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.df == pytest.approx(expected.df)
    with pytest.raises(ValueError, match="2 values"):
        bias_difference([1.0], second)


# --- what corrected and uncorrected intervals promise (statistics: 400 cases, a judge of .92 / .80) ------------------

SCENARIOS = {  # true rate of baseline and candidate; the judge's sensitivity and specificity on each
    "nothing changed": ((0.80, 0.80), (0.92, 0.80), (0.92, 0.80)),
    "the same errors on both": ((0.80, 0.75), (0.92, 0.80), (0.92, 0.80)),
    "lenient to the candidate, nothing changed": ((0.80, 0.80), (0.92, 0.80), (0.92, 0.60)),
    "lenient to the candidate, which is worse": ((0.80, 0.70), (0.92, 0.80), (0.95, 0.50)),
}
RUNS, CASES, DISCORDANCE = 1_000, 400, 0.16


def simulate(name: str, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The true difference, and people's and the judge's differences (runs × cases)."""
    (baseline, candidate), *judges = SCENARIOS[name]
    generator = np.random.default_rng(seed)
    delta = candidate - baseline
    fixed, broke = (DISCORDANCE + delta) / 2, (DISCORDANCE - delta) / 2
    drawn = generator.random((RUNS, CASES))
    change = np.where(drawn < fixed, 1, np.where(drawn < fixed + broke, -1, 0))
    both = generator.random((RUNS, CASES)) < (baseline - broke) / (1 - DISCORDANCE)
    truth = [np.where(change == 0, both, change == -1), np.where(change == 0, both, change == 1)]
    said = [
        np.where(right, generator.random(right.shape) < found, generator.random(right.shape) > refused)
        for right, (found, refused) in zip(truth, judges, strict=True)
    ]
    human, judge = (arms[1].astype(float) - arms[0].astype(float) for arms in (truth, said))
    return delta, human, judge


@pytest.mark.parametrize("labelled", [50, 100, 200])
def test_corrected_intervals_cover_the_truth_where_the_judges_own_fail(labelled):
    covered, naive = {}, {}
    for number, name in enumerate(SCENARIOS):
        delta, human, judge = simulate(name, seed=20_260 + number)
        found = [ppi(h[:labelled], j[:labelled], j[labelled:]) for h, j in zip(human, judge, strict=True)]
        covered[name] = np.mean([one.lo <= delta <= one.hi for one in found])
        own = judge.mean(1)
        half = 1.966 * judge.std(1, ddof=1) / math.sqrt(CASES)
        naive[name] = np.mean(abs(own - delta) <= half), np.mean(own - half > 0)
    allowed = 2.5 * math.sqrt(0.05 * 0.95 / RUNS)
    assert all(abs(share - 0.95) <= allowed for share in covered.values()), covered
    assert 0.94 <= np.mean(list(covered.values())) <= 0.96, covered
    nothing, same, equal, worse = naive.values()
    assert nothing[0] > 0.93
    assert same[1] < 0.025  # its size is off, its sign isn't
    assert equal[0] < 0.75 and equal[1] > 0.25, equal
    assert worse[0] < 0.01 and worse[1] > 0.25, worse


def test_labels_find_a_drop_that_the_judge_calls_a_gain():
    delta, human, judge = simulate("lenient to the candidate, which is worse", seed=5)
    found = [ppi(h[:100], j[:100], j[100:]) for h, j in zip(human, judge, strict=True)]
    assert np.mean([one.hi < 0 for one in found]) > 0.6
    assert np.mean([one.lo > 0 for one in found]) < 0.005
    assert abs(np.mean([one.mean for one in found]) - delta) < 0.005


def test_the_bias_test_keeps_its_level_and_sees_a_lenient_judge():
    _, human, judge = simulate("nothing changed", seed=9)
    assert np.mean([judge_bias(h[:100], j[:100]).p <= 0.05 for h, j in zip(human, judge, strict=True)]) < 0.07
    _, human, judge = simulate("lenient to the candidate, which is worse", seed=9)
    assert np.mean([judge_bias(h[:100], j[:100]).p <= 0.05 for h, j in zip(human, judge, strict=True)]) > 0.7
