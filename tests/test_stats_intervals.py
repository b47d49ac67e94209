"""Intervals of one rate against statsmodels, worked numbers, and coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from llmops.stats.bootstrap import paired_bootstrap
from llmops.stats.clusters import clustered_t
from llmops.stats.intervals import clopper_pearson, rogan_gladen, wilson
from llmops.stats.paired import paired_t

counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.sampled_from([0.2, 0.1, 0.05, 0.01, 0.001])


@settings(deadline=None)
@given(counts, levels)
def test_wilson_is_that_of_statsmodels(count, alpha):
    assert wilson(*count, alpha) == pytest.approx(proportion_confint(*count, alpha, "wilson"), abs=1e-12)


@settings(deadline=None)
@given(counts, levels)
def test_clopper_pearson_is_that_of_statsmodels(count, alpha):
    assert clopper_pearson(*count, alpha) == pytest.approx(proportion_confint(*count, alpha, "beta"), abs=1e-12)


@settings(deadline=None)
@given(counts)
def test_intervals_hold_the_rate_and_mirror(count):
    successes, n = count
    for interval in (wilson, clopper_pearson):
        lo, hi = interval(successes, n)
        assert 0 <= lo <= successes / n <= hi <= 1
        assert interval(n - successes, n) == pytest.approx((1 - hi, 1 - lo), abs=1e-12)


def test_worked_numbers():
    assert wilson(18, 20) == pytest.approx((0.699, 0.972), abs=5e-4)
    assert clopper_pearson(18, 20) == pytest.approx((0.683, 0.988), abs=6e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0, 1)


@pytest.mark.parametrize("count", [(-1, 5), (6, 5), (float("nan"), 5)])
def test_impossible_counts(count):
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError):
            interval(*count)


def test_a_perfect_judge_with_many_labels_is_the_plain_rate():
    found = rogan_gladen(80, 100, 1.0, 1.0, 10**9, 10**9)
    assert found.value == pytest.approx(0.8)
    assert (found.lo, found.hi) == pytest.approx(proportion_confint(80, 100, 0.05, "agresti_coull"), abs=1e-6)


def test_corrected_rate_by_hand():
    # theta 0.8 seen through sensitivity 0.9 and specificity 0.85: 0.8 x 0.9 + 0.2 x 0.15 = 0.75.
    found = rogan_gladen(750, 1000, 0.9, 0.85, 420, 125)
    assert found.value == pytest.approx(0.8)
    assert found.lo < 0.8 < found.hi
    # "n = 1,000 needs about 545 labels for 5 points, n = 500 cannot reach it with any number of labels"
    assert (found.hi - found.lo) / 2 == pytest.approx(0.05, abs=0.002)
    many = rogan_gladen(375, 500, 0.9, 0.85, 10**9, 10**9)
    assert (many.hi - many.lo) / 2 > 0.05


@settings(deadline=None)
@given(
    n=st.integers(1, 500),
    share=st.floats(0, 1),
    q1=st.floats(0.51, 1),
    q0=st.floats(0.51, 1),
    m1=st.integers(0, 300),
    m0=st.integers(0, 300),
)
def test_corrected_rate_stays_a_rate_within_its_interval(n, share, q1, q0, m1, m0):
    found = rogan_gladen(round(share * n), n, q1, q0, m1, m0)
    assert 0 <= found.lo <= found.value <= found.hi <= 1


def test_corrected_rate_covers_where_the_plain_one_does_not():
    generator = np.random.default_rng(1)
    theta, q1, q0, n, m1, m0, runs = 0.8, 0.9, 0.85, 500, 160, 40, 2000
    corrected = plain = 0
    for _ in range(runs):
        positives = int(generator.binomial(n, theta * q1 + (1 - theta) * (1 - q0)))
        found = rogan_gladen(positives, n, generator.binomial(m1, q1) / m1, generator.binomial(m0, q0) / m0, m1, m0)
        lo, hi = wilson(positives, n)
        corrected += found.lo <= theta <= found.hi
        plain += lo <= theta <= hi
    assert 0.94 < corrected / runs < 0.975
    assert plain / runs < 0.5


def test_corrected_interval_term_by_term():
    n, p, m1, m0, z = 100, 0.75, 40, 20, 1.959963984540054
    trials, q1, q0 = n + z**2, (40 * 0.9 + 1) / 42, (20 * 0.85 + 1) / 22
    share = (n * p + z**2 / 2) / trials
    theta = (share + q0 - 1) / (q0 + q1 - 1)
    first, second = q1 * (1 - q1) / 42, q0 * (1 - q0) / 22
    shift = 2 * z**2 * (theta * first - (1 - theta) * second)
    spread = (share * (1 - share) / trials + (1 - theta) ** 2 * second + theta**2 * first) ** 0.5
    found = rogan_gladen(75, n, 0.9, 0.85, m1, m0)
    assert abs(shift) > 1e-3
    assert found.lo == pytest.approx(theta + shift - z * spread / (q0 + q1 - 1), abs=1e-12)
    assert found.hi == pytest.approx(min(1, theta + shift + z * spread / (q0 + q1 - 1)), abs=1e-12)


def test_a_judge_that_knows_nothing():
    with pytest.raises(ValueError, match="chance"):
        rogan_gladen(5, 10, 0.5, 0.5, 10, 10)
    # Known to be informative only by a hair and from a handful of labels: no claim.
    found = rogan_gladen(5, 10, 0.2, 0.81, 200, 1)
    assert (found.lo, found.hi) == (0, 1)
    with pytest.raises(ValueError):
        rogan_gladen(0, 0, 0.9, 0.9, 10, 10)
    with pytest.raises(ValueError):
        rogan_gladen(1, 10, 1.9, 0.9, 10, 10)


def mean_of_rows(values):
    return values.mean(axis=-1)


def test_bootstrap_of_a_mean_is_close_to_t():
    generator = np.random.default_rng(3)
    a = generator.normal(size=300)
    b = a + generator.normal(0.15, 1, 300)
    boot, t = paired_bootstrap(mean_of_rows, a, b, batched=True), paired_t(b - a)
    assert boot.mean == pytest.approx(t.mean)
    assert boot.se == pytest.approx(t.se, rel=0.03)
    assert (boot.lo, boot.hi) == pytest.approx((t.lo, t.hi), abs=0.1 * t.se)
    assert boot.p == pytest.approx(t.p, abs=0.02)


def test_bootstrap_pairs_the_cases():
    generator = np.random.default_rng(4)
    a = generator.normal(0, 10, 200)
    constant = paired_bootstrap(mean_of_rows, a, a + 1, draws=199, batched=True)
    assert (constant.lo, constant.hi) == pytest.approx((1, 1))
    assert constant.p == pytest.approx(2 / 200)


def test_bootstrap_in_one_call_or_many_is_the_same():
    generator = np.random.default_rng(5)
    a, b = generator.exponential(size=(2, 80))
    one = paired_bootstrap(lambda values: np.quantile(values, 0.9), a, b, draws=499, seed=7)
    many = paired_bootstrap(lambda values: np.quantile(values, 0.9, axis=-1), a, b, draws=499, seed=7, batched=True)
    assert one == many
    assert one != paired_bootstrap(lambda values: np.quantile(values, 0.9), a, b, draws=499, seed=8)


def f1(rows):
    true_positive, false_positive, false_negative = rows.sum(axis=0)
    return 2 * true_positive / (2 * true_positive + false_positive + false_negative)


def test_bootstrap_of_counts_per_case():
    generator = np.random.default_rng(6)
    a = generator.integers(0, 4, (120, 3))
    b = a + np.array([1, 0, 0])
    found = paired_bootstrap(f1, a, b, draws=499)
    assert found.mean == pytest.approx(f1(b) - f1(a))
    assert 0 < found.lo < found.mean < found.hi
    assert found.p <= 0.05


def test_bootstrap_draws_whole_groups():
    generator = np.random.default_rng(8)
    groups = np.repeat(np.arange(60), generator.integers(1, 9, 60))
    d = generator.normal(size=60)[groups] + 0.3 * generator.normal(size=len(groups))
    a = np.zeros(len(d))
    cases = paired_bootstrap(np.mean, a, d, draws=999)
    documents = paired_bootstrap(np.mean, a, d, groups, draws=999)
    assert documents.se == pytest.approx(clustered_t(d, groups).se, rel=0.15)
    assert documents.se > 1.5 * cases.se


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=12),
    st.sampled_from([0.2, 0.05, 0.01]),
    st.sampled_from([19, 199, 999]),
)
def test_bootstrap_interval_and_p_agree(differences, alpha, draws):
    found = paired_bootstrap(
        mean_of_rows, np.zeros(len(differences)), differences, alpha=alpha, draws=draws, batched=True
    )
    assert found.lo <= found.mean <= found.hi
    if found.p > alpha:
        assert found.lo <= 0 <= found.hi


def test_a_resample_without_a_value_widens():
    def ratio(values):
        return float("nan") if values.sum() == 0 else 1.0 + values.mean()

    b = np.array([0, 0, 0, 0, 5.0])  # a third of the resamples miss the last case
    found = paired_bootstrap(ratio, np.ones(5), b, draws=199)
    assert (found.lo, found.hi) == (-np.inf, np.inf)
    assert found.p == 1


def test_bootstrap_memory_is_bounded():
    import tracemalloc

    values = np.random.default_rng(9).normal(size=100_000)
    tracemalloc.start()
    paired_bootstrap(mean_of_rows, values, values + 1, draws=100, batched=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # 100 draws at once would be 240 MB


def test_bootstrap_of_what_is_only_rounding():
    found = paired_bootstrap(mean_of_rows, np.full(9, 0.3), np.full(9, 0.1 + 0.2), draws=99, batched=True)
    assert (found.lo, found.p) == (0, 1)


def test_bootstrap_needs_matching_cases():
    for a, b, groups in (([1.0], [1.0, 2.0], None), ([], [], None), ([1.0, 2.0], [1.0, 2.0], [1])):
        with pytest.raises(ValueError):
            paired_bootstrap(np.mean, a, b, groups, draws=9)
