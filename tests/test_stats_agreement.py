"""Agreement: values computed by hand, statsmodels as an oracle, properties, and coverage of the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle
from statsmodels.stats.inter_rater import cohens_kappa as oracle_kappa
from statsmodels.stats.inter_rater import fleiss_kappa

from llmops.stats.agreement import cohen_kappa, confusion, detection, gwet_ac1, observed_agreement
from llmops.stats.correlation import correlation_gap, pearson, ranks, spearman
from llmops.stats.krippendorff import krippendorff_alpha


def spread(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """Two raters' labels that make up a table."""
    cells = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in cells], [j for _, j in cells]


# Krippendorff's reliability data (2011): 4 observers, 12 units, with values missing
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [list(unit) for unit in zip(*OBSERVERS, strict=True)]
BALANCED, RARE = [[20, 5], [10, 15]], [[90, 5], [5, 0]]
SCALE = [[10, 3, 1], [2, 12, 4], [0, 3, 15]]


def test_kappa_computed_by_hand():
    """p_o = .7, p_e = .5·.6 + .5·.4 = .5, so κ = .4."""
    assert cohen_kappa(*spread(BALANCED)).value == pytest.approx(0.4)
    assert observed_agreement(*spread(BALANCED)).value == pytest.approx(0.7)


def test_ac1_stays_where_kappa_collapses():
    """9 in 10 agree and one answer is rare: κ = (.9 − .905)/(1 − .905) < 0; AC1: p_e = 2·.95·.05 = .095."""
    assert cohen_kappa(*spread(RARE)).value == pytest.approx((0.9 - 0.905) / 0.095)
    assert gwet_ac1(*spread(RARE)).value == pytest.approx((0.9 - 0.095) / 0.905)


@pytest.mark.parametrize("table", [BALANCED, RARE, SCALE, [[5, 1, 0, 2], [0, 7, 1, 0], [3, 0, 9, 1], [0, 0, 2, 4]]])
def test_kappas_are_those_of_statsmodels(table):
    for weights, wt in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = oracle_kappa(np.array(table), wt=wt, return_results=False)
        assert cohen_kappa(*spread(table), weights=weights).value == pytest.approx(expected, abs=1e-12)


def test_ac1_against_an_independent_sum():
    first, second = spread(SCALE)
    shares = [(first.count(k) + second.count(k)) / (2 * len(first)) for k in range(3)]
    by_chance = sum(share * (1 - share) for share in shares) / 2
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    assert gwet_ac1(first, second).value == pytest.approx((agreed - by_chance) / (1 - by_chance), abs=1e-12)


def test_krippendorffs_published_example():
    assert krippendorff_alpha(UNITS).value == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(UNITS, level="interval").value == pytest.approx(0.849, abs=5e-4)


def test_alpha_of_complete_nominal_data_is_fleiss_kappa_corrected_for_few_units():
    """α = 1 − (1 − κ_F)(1 − 1/N) where nothing is missing and N counts all ratings."""
    counts = np.array([[3, 0, 0], [2, 1, 0], [0, 3, 0], [1, 1, 1], [0, 0, 3], [0, 1, 2], [3, 0, 0]])
    units = [[value for value, count in enumerate(row) for _ in range(count)] for row in counts]
    expected = 1 - (1 - fleiss_kappa(counts)) * (1 - 1 / counts.sum())
    assert krippendorff_alpha(units).value == pytest.approx(expected, abs=1e-12)


def test_alpha_counts_only_units_that_two_rated():
    assert krippendorff_alpha([[1, None], [None, 2], []]).value is None
    assert krippendorff_alpha([[1, 1], [1, 1]]).value is None  # nothing varies, so nothing can be told
    assert krippendorff_alpha([*UNITS, [7, None, None, None]]).value == krippendorff_alpha(UNITS).value
    far = [[None if value is None else value + 10.0**9 for value in unit] for unit in UNITS]
    assert krippendorff_alpha(far, level="interval").value == pytest.approx(0.849, abs=5e-4)


def test_what_cant_be_compared_is_refused():
    with pytest.raises(ValueError, match="same cases"):
        cohen_kappa([1], [1, 2])
    with pytest.raises(ValueError, match="same cases"):
        cohen_kappa([], [])
    with pytest.raises(ValueError, match="none of the categories"):
        gwet_ac1([1, 3], [1, 2], categories=[1, 2])
    with pytest.raises(ValueError, match="numbers"):
        krippendorff_alpha([["a", "b"]], level="interval")
    with pytest.raises(ValueError, match="weights"):
        cohen_kappa([1, 2], [1, 2], weights="cubic")


def test_agreement_of_one_answer_only_has_no_kappa():
    assert cohen_kappa([1] * 9, [1] * 9).value is None
    found = gwet_ac1([1] * 9, [1] * 9, categories=[0, 1])
    assert found.value == 1
    assert found.lo < 0.8


def test_without_disagreement_the_interval_still_has_a_width():
    found = cohen_kappa([0, 1] * 15, [0, 1] * 15)
    assert (found.value, found.hi) == (1, 1)
    assert found.lo == pytest.approx(1 - 2 * (1 - 30 / (30 + 1.959964**2)), abs=1e-4)
    assert observed_agreement([1] * 30, [1] * 30, groups=list(range(30))).lo < 0.95


def test_rows_of_one_case_are_drawn_together():
    """Ten copies of each label are no more evidence than the label."""
    first, second = spread([[12, 3], [4, 11]])
    alone = cohen_kappa(first, second, groups=list(range(30)))
    copied = cohen_kappa(first * 10, second * 10, groups=list(range(30)) * 10)
    careless = cohen_kappa(first * 10, second * 10)
    assert copied.hi - copied.lo == pytest.approx(alone.hi - alone.lo, abs=0.02)
    assert careless.hi - careless.lo < 0.5 * (copied.hi - copied.lo)


def test_the_same_data_give_the_same_interval():
    assert cohen_kappa(*spread(SCALE)) == cohen_kappa(*spread(SCALE))
    assert cohen_kappa(*spread(SCALE), seed=1) != cohen_kappa(*spread(SCALE))


def test_sensitivity_and_specificity():
    human = [True] * 20 + [False] * 10
    judge = [True] * 18 + [False, None] + [False] * 6 + [True] * 3 + [None]
    found = detection(human, judge)
    assert (found.sensitivity.value, found.specificity.value) == (0.9, 0.6)
    assert (found.sensitivity.lo, found.sensitivity.hi) == pytest.approx((0.699, 0.972), abs=5e-4)
    assert (found.positives, found.negatives) == (20, 10)
    assert detection([True], [True]).specificity.value is None


def test_confusion_is_in_the_order_of_the_categories():
    assert confusion(["b", "a", "a"], ["b", "b", "a"]).tolist() == [[1, 1], [0, 1]]
    assert confusion(["b", "a", "a"], ["b", "b", "a"], categories=["b", "a"]).tolist() == [[1, 0], [1, 1]]


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(labels)
def test_coefficients_do_not_depend_on_who_comes_first(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    for function in (cohen_kappa, gwet_ac1):
        one, other = function(first, second, draws=20).value, function(second, first, draws=20).value
        assert one == (None if other is None else pytest.approx(other, abs=1e-9))
        assert one is None or -3.0001 <= one <= 1.0000001
    alpha = krippendorff_alpha(pairs, draws=20).value
    mirrored = krippendorff_alpha([(b, a) for a, b in pairs], draws=20).value
    assert alpha == (None if mirrored is None else pytest.approx(mirrored, abs=1e-9))


@given(labels)
def test_renaming_the_answers_changes_nothing(pairs):
    names = {0: "zebra", 1: "ant", 2: "cow", 3: "bee"}
    found = cohen_kappa([a for a, _ in pairs], [b for _, b in pairs], draws=20).value
    renamed = cohen_kappa([names[a] for a, _ in pairs], [names[b] for _, b in pairs], draws=20).value
    assert found == (None if renamed is None else pytest.approx(renamed, abs=1e-9))


def test_intervals_of_kappa_and_ac1_cover():
    """1,000 runs of 100 cases: kappa of the population inside 93 to 97 % of the intervals."""
    chances = np.array([[0.55, 0.08], [0.07, 0.30]])
    generator = np.random.default_rng(3)
    truth = {
        cohen_kappa: (0.85 - (0.63 * 0.62 + 0.37 * 0.38)) / (1 - (0.63 * 0.62 + 0.37 * 0.38)),
        gwet_ac1: (0.85 - 2 * 0.625 * 0.375) / (1 - 2 * 0.625 * 0.375),
    }
    inside = dict.fromkeys(truth, 0)
    for _ in range(1_000):
        first, second = spread(generator.multinomial(100, chances.ravel()).reshape(2, 2).tolist())
        for function, value in truth.items():
            found = function(first, second, draws=500)
            inside[function] += found.lo <= value <= found.hi
    assert all(930 <= count <= 970 for count in inside.values()), inside


def test_many_cases_are_drawn_in_groups_with_the_same_spread():
    """Fisher's transformation gives what the interval should be: tanh(artanh r ± 1.96/√(n − 3))."""
    generator = np.random.default_rng(5)
    x = generator.normal(0, 1, 20_000)
    y = 0.5 * x + generator.normal(0, 1, 20_000)
    found = pearson(x, y)
    expected = np.tanh(np.arctanh(found.value) + np.array([-1.96, 1.96]) / np.sqrt(len(x) - 3))
    assert found.hi - found.lo == pytest.approx(expected[1] - expected[0], rel=0.08)
    assert (found.lo, found.hi) == pytest.approx(tuple(expected), abs=2e-3)


# --- correlation ------------------------------------------------------------------------------------------------------


def test_correlations_are_those_of_scipy():
    generator = np.random.default_rng(4)
    x = generator.integers(0, 6, 200).astype(float)
    y = x + generator.normal(0, 2, 200).round()
    assert pearson(x, y).value == pytest.approx(oracle.pearsonr(x, y)[0], abs=1e-12)
    assert spearman(x, y).value == pytest.approx(oracle.spearmanr(x, y)[0], abs=1e-12)
    assert ranks(x).tolist() == oracle.rankdata(x).tolist()
    assert spearman(x + 1e12, y).value == pytest.approx(spearman(x, y).value)


def test_without_a_spread_there_is_no_correlation():
    assert pearson([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]).value is None
    assert spearman([2.0], [3.0]).value is None
    assert correlation_gap([1.0] * 3, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).value is None


def test_the_gap_of_two_correlations_is_their_difference():
    generator = np.random.default_rng(6)
    length = generator.normal(0, 1, 300)
    people = 0.2 * length + generator.normal(0, 1, 300)
    judge = people + 0.8 * length
    found = correlation_gap(length, people, judge)
    expected = oracle.spearmanr(length, judge)[0] - oracle.spearmanr(length, people)[0]
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.lo > 0
