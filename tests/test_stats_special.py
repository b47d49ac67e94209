"""The distributions against scipy, in the middle and far out in the tails."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.stats import special

SMALLEST = 1e-280
# Where a parameter is a whole number and the other large, scipy's incomplete beta function is off by up to 6e-12: for
# a = 24, b = 100,000. `test_whole_numbers_keep_their_digits` holds ours to values of mpmath there.
OF_SCIPY = 2e-11
shapes = st.floats(-1, 5).map(lambda power: 10**power)
degrees = st.one_of(st.floats(0.5, 200), st.floats(2, 6).map(lambda power: 10**power))
probabilities = st.one_of(st.floats(1e-12, 1 - 1e-9), st.floats(-12, -1).map(lambda power: 10**power))


def same(found: float, expected: float, relative: float = 1e-12) -> None:
    if expected > SMALLEST or expected < 0:
        assert found == pytest.approx(float(expected), rel=relative, abs=0)


def expected_t_cdf(t, df):
    """scipy's, but for one degree of freedom, where it has nine digits near zero."""
    if df == 1:
        return math.atan2(1, -t) / math.pi
    return float(scipy.special.stdtr(df, t))


@settings(deadline=None, max_examples=400)
@given(a=shapes, b=shapes, sigmas=st.floats(-8, 8))
def test_beta_cdf(a, b, sigmas):
    x = a / (a + b) + sigmas * math.sqrt(a * b / (a + b + 1)) / (a + b)
    if 0 < x < 1:
        same(special.beta_cdf(x, a, b), scipy.special.betainc(a, b, x), OF_SCIPY)


@settings(deadline=None, max_examples=300)
@given(a=shapes, b=shapes, q=probabilities)
def test_beta_quantile(a, b, q):
    # Judged by scipy's distribution, which rises from below q to above it around the right answer. scipy's own quantile
    # loses up to half its digits: 0.5000000102723223 for a = b = 10**0.0625, where symmetry makes it one half.
    x = special.beta_quantile(q, a, b)
    if x > SMALLEST:
        below, above = x * (1 - 1e-11), min(1.0, x * (1 + 1e-11))
        assert scipy.special.betainc(a, b, below) <= q * (1 + 1e-12)
        assert scipy.special.betainc(a, b, above) >= q * (1 - 1e-12)
        assert scipy.special.betaincc(a, b, below) >= (1 - q) * (1 - 1e-12)


def test_the_middle_of_a_symmetric_beta_is_one_half():
    for shape in (0.1, 10**0.0625, 1, 2.5, 1000):
        assert special.beta_quantile(0.5, shape, shape) == pytest.approx(0.5, rel=1e-13)


@settings(deadline=None, max_examples=300)
@given(a=shapes, b=shapes, q=st.floats(0.001, 0.999))
def test_beta_quantile_undoes_the_cdf(a, b, q):
    x = special.beta_quantile(q, a, b)
    if SMALLEST < x < 0.999:  # beyond that the nearest floats are too far apart to get q back
        assert special.beta_cdf(x, a, b) == pytest.approx(q, rel=1e-10)


@settings(deadline=None, max_examples=300)
@given(t=st.floats(-40, 40), df=degrees)
def test_t_tail(t, df):
    same(special.t_tail(t, df), expected_t_cdf(-t, df))
    same(special.t_cdf(t, df), expected_t_cdf(t, df))


@settings(deadline=None, max_examples=300)
@given(q=probabilities, df=degrees)
def test_t_quantile(q, df):
    # Judged by the distribution: the quantile of scipy loses digits near one half (-0.0 for df = 6, q = 0.4999999976).
    t = special.t_quantile(q, df)
    gap = 1e-11 * abs(t)
    below, above = expected_t_cdf(t - gap, df), expected_t_cdf(t + gap, df)
    assert below <= q * (1 + 1e-12)
    assert above >= q * (1 - 1e-12)
    assert q == 0.5 or (t > 0) == (q > 0.5)


@pytest.mark.parametrize("df", [2.3, 4.6, 19, 99_999, 1e6])
@pytest.mark.parametrize("q", [1e-8, 0.001, 0.025, 0.2, 0.3, 0.6, 0.975, 0.9999])
def test_t_quantile_and_cdf_agree(df, q):
    assert special.t_cdf(special.t_quantile(q, df), df) == pytest.approx(q, rel=1e-13)


@settings(deadline=None)
@given(st.floats(-37, 37))
def test_normal(z):
    same(special.normal_cdf(z), scipy.special.ndtr(z))
    same(special.normal_tail(z), scipy.special.ndtr(-z))


@settings(deadline=None)
@given(st.one_of(probabilities, st.floats(-250, 0).map(lambda power: 10**power)))
def test_normal_quantile(q):
    assert special.normal_quantile(q) == pytest.approx(float(scipy.special.ndtri(q)), rel=1e-13, abs=1e-300)


@settings(deadline=None, max_examples=300)
@given(n=st.integers(1, 100_000), p=st.floats(1e-9, 1 - 1e-9), sigmas=st.floats(-7, 7))
def test_binomial(n, p, sigmas):
    k = min(n, max(0, round(n * p + sigmas * math.sqrt(n * p * (1 - p)))))
    same(special.binomial_pmf(k, n, p), scipy.stats.binom.pmf(k, n, p), 2e-12)
    same(special.binomial_cdf(k, n, p), scipy.stats.binom.cdf(k, n, p), OF_SCIPY)


def test_binomial_is_exact_for_a_fair_coin():
    for n in (1, 7, 40):
        for k in range(n + 1):
            assert special.binomial_pmf(k, n, 0.5) == pytest.approx(math.comb(n, k) / 2**n, rel=1e-14)


def test_far_tails_keep_their_digits():
    # Values of mpmath at 50 digits.
    assert special.t_tail(2.632398169972051, 815315.3781189225) == pytest.approx(0.00423930160180527905, rel=1e-13)
    assert special.t_quantile(0.49999020634083413, 10.145144155389655) == pytest.approx(
        -2.516053171853479e-05, rel=1e-13
    )
    assert special.normal_tail(37.0) == pytest.approx(scipy.special.ndtr(-37.0), rel=1e-12)


def test_whole_numbers_keep_their_digits():
    # Values of mpmath at 60 digits.
    same(special.beta_cdf(0.00024226160933865686, 24, 100_000), 0.54587060200998316039, 1e-13)
    same(special.beta_cdf(0.0001, 24, 100_000), 0.00012041223917750861349, 1e-13)
    same(special.binomial_cdf(5, 98_964, 8.06679410830257e-05), 0.1927667245606036793, 1e-13)


def test_infinite_degrees_of_freedom_are_normal():
    assert special.t_tail(1.7, math.inf) == special.normal_tail(1.7)
    assert special.t_quantile(0.975, math.inf) == special.normal_quantile(0.975)
    assert special.t_quantile(0.975, 1e9) == pytest.approx(special.normal_quantile(0.975), rel=2e-9)


def test_ends():
    assert special.normal_quantile(0) == special.t_quantile(0, 3) == -math.inf
    assert special.normal_quantile(1) == special.t_quantile(1, 3) == math.inf
    assert special.normal_quantile(0.5) == special.t_quantile(0.5, 3) == 0
    assert [special.beta_quantile(q, 2, 3) for q in (0, 1)] == [0, 1]
    assert [special.beta_cdf(x, 2, 3) for x in (-1, 0, 1, 2)] == [0, 0, 1, 1]
    assert [special.t_tail(t, 3) for t in (-math.inf, 0, math.inf)] == [1, 0.5, 0]
    assert [special.binomial_cdf(k, 5, 0.3) for k in (-1, 5, 9)] == [0, 1, 1]
    assert [special.binomial_pmf(k, 5, p) for k, p in ((-1, 0.3), (6, 0.3), (0, 0), (5, 1), (2, 1))] == [0, 0, 1, 1, 0]
    assert [special.binomial_cdf(2, 5, p) for p in (0, 1)] == [1, 0]


@settings(deadline=None)
@given(q=st.floats(1e-6, 0.5), df=degrees)
def test_t_is_symmetric(q, df):
    if 1 - (1 - q) == q:
        assert special.t_quantile(1 - q, df) == -special.t_quantile(q, df)


@pytest.mark.parametrize(
    "call",
    [
        lambda: special.normal_quantile(1.2),
        lambda: special.normal_quantile(math.nan),
        lambda: special.beta_cdf(0.5, 0, 1),
        lambda: special.beta_quantile(-0.1, 1, 1),
        lambda: special.t_tail(1.0, 0),
        lambda: special.t_quantile(0.5, -1),
        lambda: special.binomial_cdf(1, 2, 1.5),
    ],
)
def test_impossible_parameters(call):
    with pytest.raises(ValueError):
        call()


def test_no_numpy_inside():
    assert not any(value is np for value in vars(special).values())
