"""CR2 with Bell-McCaffrey degrees of freedom against explicit matrices, statsmodels and simulation."""

import math
import time

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.stats.clusters import clustered_t
from llmops.stats.paired import paired_t

UNEQUAL = (40, 25, 12, 8, 5, 4, 3, 1, 1, 1)


def sample(sizes, seed=0, icc=0.3, mean=0.0):
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    shared = generator.normal(0, math.sqrt(icc), len(sizes))[groups]
    return mean + shared + generator.normal(0, math.sqrt(1 - icc), len(groups)), groups


def by_matrices(d, groups):
    """CR2 and its degrees of freedom for an intercept alone, straight from the definition with N x N matrices."""
    n = len(d)
    hat = np.full((n, n), 1 / n)
    residuals = d - hat @ d
    variance, vectors = 0.0, []
    for g in np.unique(groups):
        rows = np.flatnonzero(groups == g)
        values, basis = np.linalg.eigh(np.eye(len(rows)) - hat[np.ix_(rows, rows)])
        adjust = basis @ np.diag(values**-0.5) @ basis.T
        variance += (np.ones(len(rows)) @ adjust @ residuals[rows] / n) ** 2
        vectors.append((np.eye(n) - hat)[:, rows] @ adjust @ np.ones(len(rows)) / n)
    gram = np.array(vectors) @ np.array(vectors).T
    return math.sqrt(variance), np.trace(gram) ** 2 / (gram**2).sum()


@pytest.mark.parametrize("sizes", [UNEQUAL, (5, 5, 5, 5), (1, 2), (60, 1, 1, 1), (1,) * 12])
def test_against_explicit_matrices(sizes):
    d, groups = sample(sizes, seed=len(sizes))
    found = clustered_t(d, groups)
    se, df = by_matrices(d, groups)
    assert found.se == pytest.approx(se, rel=1e-10)
    assert found.df == pytest.approx(df, rel=1e-10)
    assert found.groups == len(sizes)


def test_equal_sizes_are_cr1_of_statsmodels_on_one_less_degree_of_freedom():
    d, groups = sample((7,) * 15, seed=2)
    fit = sm.OLS(d, np.ones(len(d))).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    found = clustered_t(d, groups)
    assert found.se == pytest.approx(fit.bse[0], rel=1e-10)
    assert found.df == pytest.approx(14)
    assert (found.lo, found.hi) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-9)
    assert found.p == pytest.approx(fit.pvalues[0], rel=1e-9)


def test_unequal_sizes_widen_what_statsmodels_gives():
    d, groups = sample(UNEQUAL, seed=3)
    fit = sm.OLS(d, np.ones(len(d))).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    assert clustered_t(d, groups).se > fit.bse[0]
    assert clustered_t(d, groups).df < len(UNEQUAL) - 1


def test_cases_alone_are_paired_t():
    d, groups = sample((1,) * 30, seed=4, mean=0.4)
    one, many = paired_t(d), clustered_t(d, groups)
    assert (many.se, many.df, many.lo, many.hi, many.p) == pytest.approx((one.se, one.df, one.lo, one.hi, one.p))
    assert many.design_effect == pytest.approx(1)


def test_design_effect_grows_with_what_clusters_share():
    sizes = (10,) * 200
    assert clustered_t(*sample(sizes, icc=0)).design_effect == pytest.approx(1, abs=0.3)
    assert clustered_t(*sample(sizes, icc=0.3)).design_effect == pytest.approx(1 + 9 * 0.3, rel=0.3)


def test_one_cluster_says_nothing():
    found = clustered_t([0.1, 0.2, 0.3], [7, 7, 7])
    assert (found.lo, found.hi, found.p, found.groups) == (-math.inf, math.inf, 1.0, 1)
    assert found.mean == pytest.approx(0.2)
    assert found.design_effect == 3


def test_clusters_that_agree_exactly():
    same = clustered_t([0.1] * 12, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    assert (same.se, same.lo, same.hi, same.p) == (0, same.mean, same.mean, 2.0**-5)
    assert same.design_effect == 1
    still = clustered_t([0.0] * 6, [0, 0, 1, 1, 2, 2])
    assert (still.mean, still.lo, still.hi, still.p) == (0, 0, 0, 1)
    # Each cluster moves both ways by the same amount: the clusters agree although the cases do not.
    balanced = clustered_t([0.3, -0.3] * 5, np.repeat(np.arange(5), 2))
    assert (balanced.se, balanced.p, balanced.design_effect) == (0, 1, 0)


def test_one_huge_cluster_keeps_its_digits():
    sizes = (99_990, *(1,) * 10)
    d, groups = sample(sizes, seed=5)
    found = clustered_t(d, groups)
    n = np.array(sizes, dtype=object)
    total = int(n.sum())
    from fractions import Fraction

    w = [Fraction(total, total - int(k)) for k in n]
    u = [a * int(k) ** 2 / Fraction(total) for a, k in zip(w, n, strict=True)]
    exact = Fraction(total) ** 2 / (sum(int(k) ** 2 for k in n) + sum(u) ** 2 - sum(x * x for x in u))
    assert found.df == pytest.approx(float(exact), rel=1e-12)


@settings(deadline=None, max_examples=150)
@given(
    pairs=st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 5)), min_size=2, max_size=40),
    factor=st.floats(1e-3, 1e3),
    alpha=st.sampled_from([0.2, 0.05, 0.001]),
)
def test_scale_sign_and_coherence(pairs, factor, alpha):
    d, groups = np.array([x for x, _ in pairs]).round(6), np.array([g for _, g in pairs])
    found = clustered_t(d, groups, alpha)
    assert found.lo <= found.mean <= found.hi
    assert 0 <= found.p <= 1
    if found.p > alpha:
        assert found.lo <= 0 <= found.hi
    elif found.se > 0:
        assert not found.lo < 0 < found.hi
    flipped, scaled = clustered_t(-d, groups, alpha), clustered_t(factor * d, 100 - groups, alpha)
    assert (flipped.lo, flipped.hi, flipped.p) == pytest.approx((-found.hi, -found.lo, found.p), rel=1e-9)
    expected = [factor * value for value in (found.mean, found.lo, found.hi)]
    assert [scaled.mean, scaled.lo, scaled.hi] == pytest.approx(expected, rel=1e-6, abs=1e-9 * factor)


@pytest.mark.parametrize("sizes", [(30, 12, 8, 4, 3, 3), UNEQUAL, (150, *(5,) * 19), (5,) * 40])
def test_coverage(sizes):
    runs = 1000
    covered = sum(found.lo <= 0 <= found.hi for found in (clustered_t(*sample(sizes, seed)) for seed in range(runs)))
    assert 0.925 <= covered / runs <= 0.98


def test_ignoring_clusters_does_not_cover():
    runs = 300
    covered = sum(found.lo <= 0 <= found.hi for found in (paired_t(sample(UNEQUAL, seed)[0]) for seed in range(runs)))
    assert covered / runs < 0.8


def test_a_hundred_thousand_cases_are_quick():
    generator = np.random.default_rng(6)
    d, groups = generator.normal(size=100_000), generator.integers(0, 5000, 100_000)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        clustered_t(d, groups)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05  # about 10 ms; the N x G matrices would be gigabytes


def test_bad_input():
    for d, groups in (([], []), ([1.0, 2.0], [1]), ([math.nan, 1.0], [1, 2])):
        with pytest.raises(ValueError):
            clustered_t(d, groups)
