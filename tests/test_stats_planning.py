"""Sizes of comparisons: every figure of the planning table, worked examples, exact powers, and the formulas' edges."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmops.stats.planning import (
    SEQUENTIAL_CAP,
    SEQUENTIAL_EXPECTED,
    best_repeats,
    binary_se,
    binary_variance,
    bounded_floor,
    cases_needed,
    mcnemar_power,
    mid_p_power,
    repeated_variance,
    smallest_drop,
)
from llmops.stats.sequential import expected_share

DISCORDANCES = (0.05, 0.10, 0.16, 0.25)
DEVIATIONS = (0.15, 0.25, 0.35)
TABLE = {  # drop: cases by discordance, then by deviation
    0.02: (974, 1955, 3132, 4898, 442, 1227, 2404),
    0.03: (429, 865, 1388, 2173, 197, 546, 1069),
    0.05: (150, 307, 495, 778, 71, 197, 385),
    0.10: (32, 71, 118, 189, 18, 50, 97),
}


@pytest.mark.parametrize("drop", TABLE)
def test_every_cell_of_the_table(drop):
    binary = [cases_needed(binary_variance(share, drop), drop) for share in DISCORDANCES]
    scores = [cases_needed(deviation**2, drop) for deviation in DEVIATIONS]
    assert (*binary, *scores) == TABLE[drop]


@pytest.mark.parametrize(("repeats", "wanted", "mde"), [(1, 3876, 0.133), (10, 1260, 0.076), (math.inf, 969, 0.066)])
def test_worked_examples_with_repeats(repeats, wanted, mde):
    variance = repeated_variance(1 / 9, 2 * 1 / 6, repeats)
    assert cases_needed(variance, 0.03) == wanted
    assert smallest_drop(math.sqrt(variance / 198)) == pytest.approx(mde, abs=5e-4)


def test_other_levels_powers_and_clusters():
    z = stats.norm.isf(0.005) + stats.norm.isf(0.1)
    assert cases_needed(0.16, 0.05, alpha=0.01, power=0.9) == math.ceil(z * z * 0.16 / 0.0025)
    assert cases_needed(0.0625, 0.05, design_effect=2.5) == math.ceil((1.959964 + 0.841621) ** 2 * 25 * 2.5)


@given(st.floats(1e-4, 1), st.floats(0.001, 0.5), st.floats(0.5, 10))
def test_the_cases_needed_show_the_drop_and_one_fewer_don_t(variance, drop, effect):
    n = cases_needed(variance, drop, design_effect=effect)
    assert smallest_drop(math.sqrt(variance * effect / n)) <= drop * (1 + 1e-6)
    if n > 1:
        assert smallest_drop(math.sqrt(variance * effect / (n - 1))) >= drop * (1 - 1e-6)


def test_no_spread_needs_a_case_and_a_tiny_drop_many():
    assert cases_needed(0.0, 0.03) == 1
    assert cases_needed(1e300, 1e-300) == 10**12


@pytest.mark.parametrize(
    "arguments",
    [(-1, 0.1), (math.nan, 0.1), (math.inf, 0.1), (1, 0), (1, -0.1), (1, math.inf), (1, 0.1, 0), (1, 0.1, 0.05, 1)],
)
def test_what_can_t_be_planned(arguments):
    with pytest.raises(ValueError, match=r"above 0|between"):
        cases_needed(*arguments)
    with pytest.raises(ValueError, match="negative"):
        smallest_drop(math.nan)


def test_binary_variance_is_never_negative():
    assert binary_variance(0.16, 0.05) == pytest.approx(0.1575)
    assert binary_variance(0.01, 0.5) == 0
    with pytest.raises(ValueError, match="share"):
        binary_variance(1.2, 0.1)


def test_no_difference_seen_still_has_a_standard_error():
    assert binary_se(0, 0, 30) == pytest.approx(math.sqrt(2 / 32 / 30))
    assert binary_se(10, 24, 200) == pytest.approx(math.sqrt(36 / 202 / 200))
    with pytest.raises(ValueError, match="pairs"):
        binary_se(3, 3, 5)


@pytest.mark.parametrize(("drop", "cases"), [(0.05, 50), (0.03, 83), (0.02, 125)])
def test_bounded_scores_need_some_cases_whatever_was_seen(drop, cases):
    assert bounded_floor(drop) == cases
    assert bounded_floor(4 * drop, span=4) == cases
    assert stats.beta.ppf(0.975, 0.5, cases) <= drop < stats.beta.ppf(0.975, 0.5, cases - 1)


def test_the_ends_of_the_floor():
    assert bounded_floor(1.0) == 1
    assert bounded_floor(1e-300) == 10**12
    with pytest.raises(ValueError, match="above 0"):
        bounded_floor(0.0)


def test_powers_of_the_three_tests():
    powers = [mcnemar_power(100, 0.16, 0.10, test=test) for test in ("mid-p", "asymptotic", "exact")]
    assert powers == pytest.approx([0.7365, 0.7410, 0.6604], abs=1e-4)
    assert mid_p_power(100, 0.16, 0.10) == powers[0]


@pytest.mark.parametrize(("n", "share", "drop"), [(25, 0.3, 0.1), (40, 0.16, -0.08), (30, 0.2, 0.0), (20, 0.1, 0.1)])
def test_powers_agree_with_counting_everything(n, share, drop):
    total = 0.0
    for m in range(n + 1):
        for lost in range(m + 1):
            few = min(lost, m - lost)
            p = 2 * stats.binom.cdf(few, m, 0.5) - stats.binom.pmf(few, m, 0.5)
            if 2 * lost != m and p <= 0.05:
                total += stats.binom.pmf(m, n, share) * stats.binom.pmf(lost, m, (share + drop) / 2 / share)
    assert mid_p_power(n, share, drop) == pytest.approx(total, abs=1e-10)


@pytest.mark.parametrize(
    ("share", "drop"), [(share, drop) for share in DISCORDANCES for drop in TABLE if drop <= share]
)
def test_power_at_the_planned_size(share, drop):
    power = mid_p_power(cases_needed(binary_variance(share, drop), drop), share, drop)
    assert 0.795 <= power <= (0.815 if share >= 3 * drop else 0.9)  # more where nearly all that differs is a loss


def test_error_of_the_mid_p_test_stays_below_its_level():
    assert max(mid_p_power(n, share, 0.0) for n in (20, 100, 500) for share in DISCORDANCES) <= 0.0505


@pytest.mark.parametrize("arguments", [(0, 0.1, 0.05), (10, 0.0, 0.0), (10, 1.1, 0.1), (10, 0.1, 0.2)])
def test_powers_that_there_are_not(arguments):
    with pytest.raises(ValueError, match="power"):
        mid_p_power(*arguments)


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.floats(0, 1000), st.floats(0.01, 10))
def test_the_best_number_of_repeats_is_the_cheapest(between, within, case, answer):
    def cost(repeats: int) -> float:
        return repeated_variance(between, within, repeats) * (case + repeats * answer)

    found = best_repeats(between, within, case, answer)
    assert cost(found) <= min(cost(repeats) for repeats in range(1, 60)) * (1 + 1e-9)
    assert 1 <= found <= 1000


def test_repeats_pay_only_where_cases_cost_something():
    assert best_repeats(1 / 9, 1 / 3, 0, 1) == 1
    assert best_repeats(1 / 9, 1 / 3, 100, 1) == 17  # sqrt(3 * 100) = 17.3
    assert best_repeats(0, 1 / 3, 1, 1) == 1000
    with pytest.raises(ValueError, match="cost"):
        best_repeats(1, 1, 1, 0)
    with pytest.raises(ValueError, match="repeats"):
        repeated_variance(1, 1, 0.5)


def test_the_sequential_factors_are_those_of_ten_looks():
    found = expected_share(1.0, [look / 10 for look in range(1, 11)])
    assert pytest.approx(found.cap, abs=1e-3) == SEQUENTIAL_CAP
    assert pytest.approx(found.expected, abs=3e-3) == SEQUENTIAL_EXPECTED
