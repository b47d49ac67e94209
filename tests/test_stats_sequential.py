"""Looking more than once: boundaries against published values and by simulation, and the anytime-valid test."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betaln

from llmops.stats import sequential
from llmops.stats.sequential import BettingTest, binary_e_value, boundary, expected_share, looks, nominal_alpha


def equal(count: int) -> list[float]:
    return [look / count for look in range(1, count + 1)]


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (1, [1.960]),
        (5, [3.090, 2.714, 2.473, 2.280, 2.114]),
        (10, [3.481, 3.152, 2.951, 2.794, 2.661, 2.545, 2.441, 2.345, 2.257, 2.174]),
    ],
)
def test_the_boundaries_of_equal_looks(count, wanted):
    assert [round(z, 3) for z in boundary(equal(count))] == wanted


def test_one_look_is_a_plain_test():
    assert boundary([1.0])[0] == pytest.approx(1.959963984540054, abs=1e-9)
    assert boundary([1.0], alpha=0.01)[0] == pytest.approx(stats.norm.isf(0.005), abs=1e-9)


def test_two_looks_agree_with_the_bivariate_normal():
    first, last = boundary([0.4, 1.0], alpha=0.05, rho=2.0)
    assert first == pytest.approx(stats.norm.isf(0.05 * 0.4**2 / 2), abs=1e-8)
    both = stats.multivariate_normal([0, 0], [[1, math.sqrt(0.4)], [math.sqrt(0.4), 1]])
    inside = both.cdf([first, last], lower_limit=[-first, -last])
    assert 1 - inside == pytest.approx(0.05, abs=1e-5)


def test_a_finer_grid_changes_nothing(monkeypatch):
    fractions = (0.13, 0.2, 0.55, 0.61, 0.93, 1.0)
    coarse = sequential._boundary(fractions, 0.05, 2.0)
    monkeypatch.setattr(sequential, "POINTS_PER_SD", 40)
    monkeypatch.setattr(sequential, "FEWEST_POINTS", 801)
    fine = sequential._boundary.__wrapped__(fractions, 0.05, 2.0)
    assert np.abs(np.subtract(coarse, fine)).max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(1, 60), min_size=1, max_size=8), st.floats(0.001, 0.2), st.floats(0.5, 4))
def test_all_of_the_level_is_spent(parts, alpha, rho):
    fractions = tuple(part / max(parts) for part in sorted(parts))
    limits = boundary(fractions, alpha, rho)
    assert sum(sequential._exits(fractions, limits, 0.0)) == pytest.approx(alpha, rel=1e-4)


def test_too_early_a_look_may_not_stop():
    first, last = boundary([1e-200, 1.0])
    assert first == math.inf
    assert last == pytest.approx(1.95996398, abs=1e-7)


def test_looks_close_together_hardly_change_those_that_follow():
    few, many = boundary([0.1, 0.2, 0.5, 1.0]), boundary([0.1, 0.100001, 0.2, 0.200001, 0.5, 1.0])
    assert many[-1] == pytest.approx(few[-1], abs=1e-3)


@pytest.mark.parametrize("fractions", [[], [0.0, 1.0], [0.5, 0.5], [0.6, 0.5], [0.5, 1.1], [math.nan]])
def test_fractions_that_are_none(fractions):
    with pytest.raises(ValueError, match="fractions rise"):
        boundary(fractions)


@pytest.mark.parametrize(("alpha", "rho"), [(0.0, 2.0), (1.0, 2.0), (math.nan, 2.0), (0.05, 0.0), (0.05, math.inf)])
def test_levels_that_are_none(alpha, rho):
    with pytest.raises(ValueError, match="alpha"):
        boundary([0.5, 1.0], alpha, rho)


def test_ten_looks_take_little_time_and_are_kept():
    sequential._boundary.cache_clear()
    began = time.process_time()
    first = boundary(equal(10))
    took = time.process_time() - began
    assert boundary(np.array(equal(10))) is first
    assert took < 0.25  # 5 ms on a free machine


def test_simulated_error_and_savings():
    rng = np.random.default_rng(7)
    limits = np.array(boundary(equal(10)))
    steps = rng.normal(0, math.sqrt(0.1), (40_000, 10))

    def run(drift: float) -> tuple[float, float]:
        z = np.abs(np.cumsum(steps + drift / 10, axis=1)) / np.sqrt(equal(10))
        crossed = z > limits
        seen = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, 10) / 10
        return crossed.any(axis=1).mean(), seen.mean()

    error, _ = run(0.0)
    assert error == pytest.approx(0.05, abs=0.004)
    cap = expected_share(1.0, equal(10))
    power, seen = run(2.80159 * math.sqrt(cap.cap))
    assert power == pytest.approx(0.8, abs=0.008)
    assert seen * cap.cap == pytest.approx(cap.expected, abs=0.008)


@pytest.mark.parametrize(("ratio", "share"), [(1, 0.762), (2, 0.358), (0.5, 0.997), (0, 1.066)])
def test_what_looking_costs(ratio, share):
    found = expected_share(ratio, equal(10))
    assert found.cap == pytest.approx(1.081, abs=5e-4)
    assert found.expected == pytest.approx(share, abs=1e-3)


def test_a_single_look_costs_nothing():
    assert expected_share(1.0, [1.0]).cap == pytest.approx(1, abs=1e-5)
    assert expected_share(1.0, [1.0]).expected == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="last look"):
        expected_share(1.0, [0.5])


def test_nominal_levels():
    assert nominal_alpha(1.959963984540054) == pytest.approx(0.05, abs=1e-12)
    assert nominal_alpha(8) == pytest.approx(2 * stats.norm.sf(8), rel=1e-10)


@given(st.integers(1, 5000), st.integers(1, 20), st.integers(1, 60))
def test_looks_rise_to_the_planned_cases(planned, most, first):
    found = looks(planned, most, first)
    assert found[-1] == planned
    assert len(found) == max(1, min(most, planned // first))
    assert all(a < b for a, b in zip((0, *found), found, strict=False))
    assert found[0] >= min(first, planned)


def test_looks_of_some_sizes():
    assert looks(544) == (54, 108, 163, 217, 272, 326, 380, 435, 489, 544)
    assert looks(59) == (29, 59)
    assert looks(19) == (19,)
    with pytest.raises(ValueError, match="from 1"):
        looks(0)


def plain_wealth(gains: list[float], bets: np.ndarray) -> float:
    return float(np.mean([np.prod([1 + bet * gain for gain in gains]) for bet in bets]))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0, 0.5))
def test_wealth_is_the_mean_of_the_products(differences, margin):
    bets = np.geomspace(0.01, 0.95, 24) / (1 - margin)
    test, highest = BettingTest(margin=margin), 1.0
    for count, difference in enumerate(differences, 1):
        p = test.update(difference)
        wealth = plain_wealth([one + margin for one in differences[:count]], bets)
        highest = max(highest, wealth)
        assert math.exp(test.log_wealth) == pytest.approx(wealth, rel=1e-9)
        assert p == pytest.approx(min(1.0, 1 / highest), rel=1e-9)
    assert test.cases == len(differences)


def test_the_span_is_the_unit():
    wide, narrow = BettingTest(span=4.0, margin=0.4), BettingTest(margin=0.1)
    for step in (1.0, -2.0, 4.0, 0.0):
        assert wide.update(step) == pytest.approx(narrow.update(step / 4))


def test_a_million_good_cases_overflow_nothing():
    test = BettingTest()
    test._logs += 1e6  # as after a million cases
    assert math.isfinite(test.log_wealth)
    assert test.update(1.0) == 0.0
    assert test.rejects(1e-12)


def test_bad_news_alone_is_no_evidence_and_no_crash():
    test = BettingTest()
    for _ in range(5000):
        p = test.update(-1.0)
    assert p == 1.0
    assert not test.rejects()


@pytest.mark.parametrize("difference", [1.01, -2.0, math.nan, math.inf])
def test_a_difference_beyond_the_span_is_refused(difference):
    test = BettingTest()
    with pytest.raises(ValueError, match="difference"):
        test.update(difference)
    assert test.cases == 0


@pytest.mark.parametrize(("span", "margin"), [(0, 0), (-1, 0), (math.inf, 0), (1, 1), (1, -1), (1, math.nan)])
def test_settings_that_make_no_test(span, margin):
    with pytest.raises(ValueError, match="span"):
        BettingTest(span, margin)


def peeking(draw, margin: float, runs: int, cases: int) -> float:
    """Share of runs that ever reject at 5 % when looked at after every case."""
    rng = np.random.default_rng(3)
    bets = np.geomspace(0.01, 0.95, 24) / (1 - margin)
    gains = draw(rng, (runs, cases)) + margin
    logs = np.cumsum(np.log1p(gains[:, :, None] * bets), axis=1)
    wealth = np.exp(logs - logs.max(axis=2, keepdims=True)).mean(axis=2)
    return float(((np.log(wealth) + logs.max(axis=2)).max(axis=1) >= math.log(20)).mean())


def test_peeking_after_every_case_keeps_the_error():
    def nothing(rng, size):
        return rng.choice([-1.0, 0.0, 1.0], p=[0.08, 0.84, 0.08], size=size)

    def at_the_margin(rng, size):
        return rng.choice([-1.0, 0.0, 1.0], p=[0.105, 0.84, 0.055], size=size)

    def fine(rng, size):
        return rng.choice([-1.0, 0.0, 1.0], p=[0.02, 0.93, 0.05], size=size)

    assert peeking(nothing, 0.0, 1000, 300) <= 0.05
    assert peeking(at_the_margin, 0.05, 1000, 300) <= 0.05
    assert peeking(fine, 0.05, 1000, 300) > 0.9  # and finds what is there


def test_the_binary_shortcut():
    assert binary_e_value(4, 17) == pytest.approx(10.26, abs=5e-3)
    assert binary_e_value(17, 4) == pytest.approx(binary_e_value(4, 17))
    assert binary_e_value(0, 0) == pytest.approx(1)
    assert binary_e_value(4000, 0) == math.inf


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.1, 50))
def test_the_binary_shortcut_is_its_formula(gained, lost, prior):
    log = betaln(gained + prior, lost + prior) - betaln(prior, prior) + (gained + lost) * math.log(2)
    assert binary_e_value(gained, lost, prior) == pytest.approx(math.exp(log), rel=1e-8)


def test_the_binary_shortcut_has_a_mean_of_one_under_the_null():
    mean = sum(stats.binom.pmf(k, 30, 0.5) * binary_e_value(k, 30 - k) for k in range(31))
    assert mean == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="negative"):
        binary_e_value(-1, 2)
    with pytest.raises(ValueError, match="prior"):
        binary_e_value(1, 2, 0)
