"""Paired differences: Tango and McNemar, t, the skew-safe bound and sign flips, against oracles and by enumeration."""

import math
import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from llmops.stats.paired import (
    binary_interval,
    mcnemar_mid_p,
    paired_t,
    sign_flip_p,
    skew_safe_bound,
    tango,
)

Z = 1.959963984540054
tables = st.integers(1, 400).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, n - b), st.just(n)))
)
steps = st.integers(-4, 4).map(lambda step: step / 4)
differences = st.lists(st.one_of(steps, st.floats(-1, 1).map(lambda x: round(x, 6))), min_size=2, max_size=40)
levels = st.sampled_from([0.2, 0.05, 0.01, 0.002])


def trinomial(n, gained, lost):
    """Probabilities of every (gained, lost) count of n cases, as an (n + 1, n + 1) array."""
    counts = np.arange(n + 1)
    b, c = np.meshgrid(counts, counts, indexing="ij")
    inside = b + c <= n
    chance = np.zeros((n + 1, n + 1))
    rest = n - b[inside] - c[inside]
    chance[inside] = scipy.stats.multinomial.pmf(
        np.stack([b[inside], c[inside], rest], axis=-1), n, [gained, lost, 1 - gained - lost]
    )
    return chance


def every_table(n, function):
    found = np.full((n + 1, n + 1), np.nan)
    for b in range(n + 1):
        for c in range(n + 1 - b):
            found[b, c] = function(b, c)
    return found


# --- one pass or fail per side


def test_tango_worked_numbers():
    assert tango(1, 7, 21, Z) == pytest.approx((-0.517, -0.026), abs=5e-4)  # Fagerland, Lydersen & Laake 2014
    assert tango(0, 0, 30, Z) == pytest.approx((-0.114, 0.114), abs=5e-4)
    edge = Z * Z / (30 + Z * Z)
    assert tango(0, 0, 30, Z) == pytest.approx((-edge, edge), rel=1e-14)


def score(b, c, n, difference):
    """Tango's statistic as it is written in the paper, at full precision enough for moderate n."""
    first, second = 2 * n, -b - c + (2 * n - b + c) * difference
    third = -c * difference * (1 - difference)
    q = (math.sqrt(second**2 - 4 * first * third) - second) / (2 * first)
    return (b - c - n * difference) / math.sqrt(n * (2 * q + difference * (1 - difference)))


@settings(deadline=None)
@given(tables)
def test_tango_ends_are_where_the_score_is_z(table):
    b, c, n = table
    lo, hi = tango(b, c, n, Z)
    if c < n:
        assert score(b, c, n, lo) == pytest.approx(Z, abs=1e-5)
    if b < n:
        assert score(b, c, n, hi) == pytest.approx(-Z, abs=1e-5)


@settings(deadline=None)
@given(tables, st.floats(0.01, 6))
def test_tango_holds_the_estimate_and_mirrors(table, z):
    b, c, n = table
    lo, hi = tango(b, c, n, z)
    assert -1 <= lo <= (b - c) / n <= hi <= 1
    assert lo < hi
    assert tango(c, b, n, z) == (-hi, -lo)
    wider = tango(b, c, n, z + 0.5)
    assert wider[0] <= lo
    assert wider[1] >= hi


@settings(deadline=None)
@given(tables)
def test_one_more_broken_case_moves_the_interval_down(table):
    b, c, n = table
    lo, hi = tango(b, c, n, Z)
    if b + c < n:
        down, up = tango(b, c + 1, n, Z), tango(b + 1, c, n, Z)
        assert down[0] <= lo + 1e-12
        assert up[1] >= hi - 1e-12


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (0, 1)])
def test_tango_of_one_case(b, c):
    lo, hi = tango(b, c, 1, Z)
    assert -1 <= lo <= b - c <= hi <= 1
    assert lo < 0 or b
    assert binary_interval(b, c, 1).p > 0.05


def test_tango_when_every_case_changed():
    assert tango(20, 0, 20, Z)[1] == 1
    assert tango(0, 20, 20, Z)[0] == -1
    assert tango(0, 20, 20, Z)[1] < -0.6
    lo, hi = tango(10, 10, 20, Z)
    assert lo == -hi


@settings(deadline=None)
@given(tables)
def test_mid_p_is_the_exact_test_less_half_the_outcome(table):
    b, c, _ = table
    exact = float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0
    found = mcnemar_mid_p(b, c)
    expected = 1.0 if b == c else exact - scipy.stats.binom.pmf(min(b, c), b + c, 0.5)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == mcnemar_mid_p(c, b)


def test_mid_p_of_many_cases_is_fast_and_near_the_asymptotic_test():
    start = time.process_time()
    found = mcnemar_mid_p(49_700, 50_300)
    assert time.process_time() - start < 0.05
    asymptotic = float(mcnemar([[0, 49_700], [50_300, 0]], exact=False, correction=False).pvalue)
    assert found == pytest.approx(asymptotic, rel=1e-4)
    assert 0 <= mcnemar_mid_p(20_000, 80_000) < 1e-300


@settings(deadline=None)
@given(tables, levels)
def test_interval_and_test_never_disagree(table, alpha):
    b, c, n = table
    found = binary_interval(b, c, n, alpha)
    assert found.lo <= found.mean <= found.hi
    assert found.mean == (b - c) / n
    if found.p > alpha:
        assert found.lo <= 0 <= found.hi
    mirror = binary_interval(c, b, n, alpha)
    assert (mirror.lo, mirror.hi, mirror.p) == (-found.hi, -found.lo, found.p)


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.01])
def test_zero_is_outside_exactly_when_p_is_small(alpha):
    for pairs in range(1, 150):
        for fewer in range(pairs // 2 + 1):
            found = binary_interval(fewer, pairs - fewer, pairs + 10, alpha)
            assert (found.p > alpha) == (found.hi >= 0), (fewer, pairs)


def test_the_hull_is_needed():
    # Four broken and none fixed: Tango alone leaves 0 out, the mid-p test does not reject.
    assert tango(0, 4, 50, Z)[1] < 0
    assert mcnemar_mid_p(0, 4) == pytest.approx(0.0625)
    assert binary_interval(0, 4, 50).hi == 0
    assert binary_interval(0, 5, 50).hi < 0


def test_se_of_a_binary_interval_is_that_of_the_differences():
    found = binary_interval(10, 24, 200)
    d = [1.0] * 10 + [-1.0] * 24 + [0.0] * 166
    assert found.se == pytest.approx(paired_t(d).se)
    assert found.df == math.inf


def test_impossible_tables():
    for table in ((-1, 0, 5), (3, 3, 5), (0, 0, 0)):
        with pytest.raises(ValueError):
            tango(*table, Z)
        with pytest.raises(ValueError):
            binary_interval(*table)
    with pytest.raises(ValueError):
        mcnemar_mid_p(-1, 3)


@pytest.mark.parametrize(("n", "worst"), [(20, 0.039), (100, 0.05)])
def test_mid_p_keeps_its_level(n, worst):
    rejects = every_table(n, lambda b, c: mcnemar_mid_p(b, c) <= 0.05)
    level = max(np.nansum(trinomial(n, pi / 2, pi / 2) * rejects) for pi in np.arange(0.02, 0.401, 0.02))
    assert level <= 0.0505
    assert level == pytest.approx(worst, abs=0.003)


def test_power_of_three_mcnemar_tests():
    chance = trinomial(100, 0.03, 0.13)  # discordance .16, difference -.10

    def power(p_value):
        return np.nansum(chance * every_table(100, lambda b, c: chance[b, c] > 1e-12 and p_value(b, c) <= 0.05))

    assert power(mcnemar_mid_p) == pytest.approx(0.737, abs=6e-4)
    asymptotic = power(lambda b, c: scipy.stats.chi2.sf((b - c) ** 2 / (b + c), 1) if b + c else 1)
    assert asymptotic == pytest.approx(0.741, abs=6e-4)
    exact = power(lambda b, c: min(1, 2 * scipy.stats.binom.cdf(min(b, c), b + c, 0.5)))
    assert exact == pytest.approx(0.660, abs=6e-4)


@pytest.mark.parametrize(("n", "coverage", "false_pass"), [(20, 0.946, 0.031), (50, 0.947, 0.027)])
def test_exact_coverage_of_tango(n, coverage, false_pass):
    ends = {(b, c): tango(b, c, n, Z) for b in range(n + 1) for c in range(n + 1 - b)}
    lo, hi = (every_table(n, lambda b, c, end=end: ends[b, c][end]) for end in (0, 1))
    covered, passed = [], []
    for pi in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
        for drop in (0, 0.02, 0.05, 0.1, 0.15, 0.2):
            if drop <= pi:
                chance = trinomial(n, (pi - drop) / 2, (pi + drop) / 2)
                covered.append(chance[(lo <= -drop + 1e-12) & (hi >= -drop - 1e-12)].sum())
                passed.append(chance[lo > -drop + 1e-12].sum())
    assert min(covered) == pytest.approx(coverage, abs=0.006)
    assert max(passed) == pytest.approx(false_pass, abs=0.004)


# --- any score


@settings(deadline=None)
@given(differences, levels)
def test_t_is_that_of_scipy(d, alpha):
    found = paired_t(d, alpha)
    if found.se == 0:
        return
    expected = scipy.stats.ttest_1samp(d, 0)
    interval = expected.confidence_interval(1 - alpha)
    assert found.p == pytest.approx(float(expected.pvalue), rel=1e-8)
    assert (found.lo, found.hi) == pytest.approx((float(interval.low), float(interval.high)), abs=1e-9)
    assert found.df == len(d) - 1


@settings(deadline=None)
@given(differences, levels, st.floats(1e-3, 1e3))
def test_t_scale_sign_and_coherence(d, alpha, factor):
    found = paired_t(d, alpha)
    assert found.lo <= found.mean <= found.hi
    if found.p > alpha:
        assert found.lo <= 0 <= found.hi
    elif found.se > 0:
        assert not found.lo < 0 < found.hi
    flipped, scaled = paired_t([-x for x in d], alpha), paired_t([factor * x for x in d], alpha)
    assert (flipped.lo, flipped.hi, flipped.p) == pytest.approx((-found.hi, -found.lo, found.p), rel=1e-9, abs=1e-12)
    expected = [factor * value for value in (found.mean, found.lo, found.hi)]
    assert [scaled.mean, scaled.lo, scaled.hi] == pytest.approx(expected, rel=1e-6, abs=1e-9 * factor)


def test_t_without_spread():
    nothing = paired_t([0.0] * 40)
    assert (nothing.mean, nothing.se, nothing.lo, nothing.hi, nothing.p) == (0, 0, 0, 0, 1)
    same = paired_t([0.1] * 10)
    assert (same.se, same.p) == (0, 2.0**-9)
    assert same.lo == same.hi == same.mean == pytest.approx(0.1)
    few = paired_t([0.1] * 3)  # p .25 is no evidence, so the interval reaches 0
    assert (few.lo, few.hi, few.p) == (0, few.mean, 0.25)
    assert paired_t([0.1] * 5000).p == 0


def test_what_is_only_rounding_is_no_difference():
    noise = [(0.1 + 0.2) - 0.3] * 50
    assert noise[0] != 0
    found = paired_t(noise)
    assert (found.mean, found.lo, found.hi, found.p) == (0, 0, 0, 1)
    assert sign_flip_p(noise) == 1


def test_t_of_one_case_says_nothing():
    found = paired_t([0.7])
    assert (found.mean, found.lo, found.hi, found.p) == (0.7, -math.inf, math.inf, 1)


def test_the_mean_is_what_is_tested():
    found = paired_t([-0.5] * 20 + [0.05] * 80)
    assert found.mean == pytest.approx(-0.06)
    assert found.p == pytest.approx(0.008, abs=5e-4)
    assert found.hi < 0  # where the Wilcoxon and sign tests call it an improvement


def test_differences_must_be_finite_numbers():
    for bad in ([], [math.nan, 1.0], [math.inf], [1e200, 1.0], [[1.0, 2.0]]):
        for function in (paired_t, sign_flip_p, lambda d: skew_safe_bound(d, 1.0)):
            with pytest.raises(ValueError):
                function(bad)


# --- the bound that a pass rests on


def bound_by_hand(d, span, alpha, n):
    """The formula of the specification, term by term, with scipy's beta quantile."""
    d = np.asarray(d, dtype=float)
    total = n + 0.5
    mean = (n * d.mean() - span / 2) / total
    variance = ((n * (d**2).mean() + span**2 / 2) / total - mean**2) / (total + 1)
    w = d.max() + span
    m, v = (mean + span) / w, variance / w**2
    k = m * (1 - m) / v - 1
    return -span + w * scipy.stats.beta.ppf(alpha / 2, m * k, (1 - m) * k)


@settings(deadline=None)
@given(differences, levels, st.floats(0.1, 1))
def test_skew_safe_bound_by_hand(d, alpha, share):
    if max(d) > -1:
        assert skew_safe_bound(d, 1, alpha) == pytest.approx(bound_by_hand(d, 1, alpha, len(d)), abs=1e-9)
        n = share * len(d)
        assert skew_safe_bound(d, 1, alpha, n) == pytest.approx(bound_by_hand(d, 1, alpha, n), abs=1e-9)


@settings(deadline=None)
@given(differences, levels)
def test_skew_safe_bound_is_a_lower_bound_on_the_scale(d, alpha):
    found = skew_safe_bound(d, 1, alpha)
    assert -1 <= found <= sum(d) / len(d) + 1e-12
    assert skew_safe_bound([4 * x for x in d], 4, alpha) == pytest.approx(4 * found, abs=1e-9)
    assert skew_safe_bound(d, 1, alpha / 10) <= found
    assert skew_safe_bound(d, 1, alpha, len(d) / 3) <= found + 1e-9
    assert skew_safe_bound(d, 1, alpha, math.inf) == found


@pytest.mark.parametrize(("n", "margin"), [(50, 0.05), (83, 0.03), (125, 0.02)])
def test_cases_that_all_tie_show_no_rare_drop_before(n, margin):
    assert skew_safe_bound([0.0] * n, 1) > -margin
    assert skew_safe_bound([0.0] * (n - 1), 1) < -margin


def test_skew_safe_bound_at_the_edges():
    assert skew_safe_bound([-1.0] * 10, 1) == -1
    assert skew_safe_bound([-4.0], 4) == -4
    assert -1 <= skew_safe_bound([1.0], 1) < 0
    assert 0.9 < skew_safe_bound([1.0] * 500, 1) < 1
    assert skew_safe_bound([0.2] * 10, 1, effective_n=0) == -1
    assert skew_safe_bound([-3.0, 0.0], 1) >= -3  # a difference below the range takes the place of -span


@pytest.mark.parametrize(
    ("n", "t_passes", "both_pass"), [(20, 0.362, 0.0), (50, 0.080, 0.004), (100, 0.106, 0.033), (200, 0.058, 0.022)]
)
def test_exact_false_passes_when_five_percent_collapse(n, t_passes, both_pass):
    truth = 0.05 * -0.8 + 0.95 * 0.04
    t = both = 0.0
    for lost in range(n + 1):
        chance = scipy.stats.binom.pmf(lost, n, 0.05)
        if chance > 1e-9:
            d = [-0.8] * lost + [0.04] * (n - lost)
            lo = paired_t(d).lo
            t += chance * (lo > truth)
            both += chance * (min(lo, skew_safe_bound(d, 1)) > truth)
    assert t == pytest.approx(t_passes, abs=0.015)  # the published figures are simulated
    assert both == pytest.approx(both_pass, abs=0.006)


# --- sign flips


@settings(deadline=None)
@given(tables.filter(lambda table: table[0] + table[1] <= 40))
def test_sign_flips_of_passes_are_the_exact_mcnemar_test(table):
    b, c, n = table
    d = [1.0] * b + [-1.0] * c + [0.0] * (n - b - c)
    assert sign_flip_p(d) == pytest.approx(float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=10))
def test_sign_flips_are_those_of_scipy(d):
    if len(d) > 1 and any(d):
        expected = scipy.stats.permutation_test(
            (d,),
            lambda x, axis: np.abs(np.sum(x, axis=axis)),
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf,
        )
        assert sign_flip_p(d) == pytest.approx(float(expected.pvalue))
    assert sign_flip_p(d) == sign_flip_p([-x for x in d]) == pytest.approx(sign_flip_p([x / 3 for x in d]))


def test_sign_flips_of_equal_sums_are_ties():
    # Of the 8 flips 2 reach 0.6, and all reach 0, which 0.1 + 0.2 - 0.3 is but for rounding.
    assert sign_flip_p([0.1, 0.2, 0.3]) == pytest.approx(0.25)
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1


def test_random_sign_flips_are_near_the_exact_ones_and_repeatable():
    d = np.random.default_rng(1).normal(0.4, 1, 16)
    more = np.append(d, 1e-6)  # 17 units: drawn, not enumerated
    assert sign_flip_p(more) == pytest.approx(sign_flip_p(d), abs=0.005)
    assert sign_flip_p(more) == sign_flip_p(more)
    assert sign_flip_p(more, seed=1) != sign_flip_p(more, seed=2)
    assert sign_flip_p(np.linspace(0.5, 1, 40), draws=999) == 1 / 1000
    assert sign_flip_p(d.tolist() * 4, draws=499) == pytest.approx(paired_t(d.tolist() * 4).p, abs=0.02)
