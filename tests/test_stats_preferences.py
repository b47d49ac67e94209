"""Preferences: net win rate, Bradley-Terry against an independent fit, slots."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats as oracle
from statsmodels.api import GLM, families

from llmops.stats.preferences import Battle, bradley_terry, elo, first_slot_rate, net_win_rate


def battles(counts: dict[tuple[str, str], tuple[int, int, int]]) -> list[Battle]:
    """Comparisons from won, tied and lost counts of pairs; every one a case of its own."""
    scores = (1.0, 0.5, 0.0)
    return [
        Battle(first, second, score)
        for (first, second), three in counts.items()
        for score, count in zip(scores, three, strict=True)
        for _ in range(count)
    ]


THREE = battles({("a", "b"): (30, 6, 14), ("b", "c"): (20, 4, 26), ("a", "c"): (25, 10, 15)})


def test_net_win_rate_counts_ties_half():
    outcomes = [1] * 50 + [0] * 20 + [-1] * 30
    found = net_win_rate(outcomes)
    assert (found.wins, found.ties, found.losses) == (50, 20, 30)
    assert found.net == pytest.approx(0.2)
    assert found.win_rate == pytest.approx(0.6)
    expected = oracle.ttest_1samp(outcomes, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.lo, found.hi) == pytest.approx(expected.confidence_interval(0.95))
    with pytest.raises(ValueError, match="1, 0 or -1"):
        net_win_rate([1, 2])


def test_two_models_need_no_fit():
    """With two models, β₁ − β₂ is the logit of the share won."""
    found = bradley_terry(battles({("new", "old"): (60, 20, 20)}), draws=0)
    assert found.contrast("new", "old").value == pytest.approx(math.log(70 / 30))
    assert found.win_chance("new", "old").value == pytest.approx(0.7)
    assert found.beta.sum() == pytest.approx(0)


def test_strengths_are_those_of_a_logistic_regression():
    models = ["a", "b", "c"]
    design = np.array([[(b.first == m) - (b.second == m) for m in models[1:]] for b in THREE], dtype=float)
    fitted = GLM([b.score for b in THREE], design, family=families.Binomial()).fit()
    found = bradley_terry(THREE, draws=0)
    for model, expected in zip(models[1:], fitted.params, strict=True):
        assert found.contrast(model, "a").value == pytest.approx(expected, abs=1e-8)


def test_the_order_of_the_comparisons_and_slots_does_not_matter():
    shuffled = [Battle(b.second, b.first, 1 - b.score) for b in THREE]
    random.Random(1).shuffle(shuffled)
    one, other = bradley_terry(THREE, draws=0), bradley_terry(shuffled, draws=0)
    for model in "abc":
        assert one.strength(model).value == pytest.approx(other.strength(model).value, abs=1e-9)


def test_the_likelihood_has_its_maximum_at_the_strengths():
    found = bradley_terry(THREE, draws=0)
    beta = dict(zip(found.models, found.beta, strict=True))

    def likelihood(shift: dict[str, float]) -> float:
        total = 0.0
        for b in THREE:
            gap = beta[b.first] + shift.get(b.first, 0) - beta[b.second] - shift.get(b.second, 0)
            total -= b.score * math.log1p(math.exp(-gap)) + (1 - b.score) * math.log1p(math.exp(gap))
        return total

    best = likelihood({})
    assert all(likelihood({model: step}) < best for model in "abc" for step in (-0.01, 0.01))


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({("a", "b"): (5, 0, 5), ("c", "a"): (4, 0, 0), ("c", "b"): (3, 0, 0)}, "c never lost to a, b"),
        ({("a", "b"): (5, 0, 5), ("a", "c"): (4, 0, 0)}, "c never won against a, b"),
        ({("a", "b"): (5, 0, 5), ("c", "d"): (4, 0, 4)}, "no comparison connects a, b with c, d"),
        ({("a", "a"): (1, 0, 0)}, "compared with itself"),
        ({}, "at least one comparison"),
    ],
)
def test_what_has_no_finite_strength_is_one_clear_error(counts, problem):
    with pytest.raises(ValueError, match=problem):
        bradley_terry(battles(counts))


def test_a_tie_connects_and_a_score_must_be_one():
    assert bradley_terry(battles({("a", "b"): (5, 1, 0)}), draws=0).contrast("a", "b").value > 0
    with pytest.raises(ValueError, match=r"0, 0\.5 or 1"):
        bradley_terry([Battle("a", "b", 0.7)])
    with pytest.raises(ValueError, match="no comparison has a model"):
        bradley_terry(THREE, draws=0).strength("z")


def test_intervals_cover_and_a_case_counts_once():
    """500 runs: the interval of a contrast covers; copies of a case's comparisons don't narrow it."""
    true = {"a": 0.5, "b": 0.0, "c": -0.5}
    generator = random.Random(7)
    inside = 0
    for _ in range(500):
        rows = [
            Battle(x, y, float(generator.random() < 1 / (1 + math.exp(true[y] - true[x]))), case)
            for case in range(100)
            for x, y in (("a", "b"), ("b", "c"), ("a", "c"))
        ]
        found = bradley_terry(rows, draws=300).contrast("a", "c")
        inside += found.lo <= 1.0 <= found.hi
    assert 0.925 <= inside / 500 <= 0.975
    once, copied = bradley_terry(rows), bradley_terry(rows * 4)
    width = [one.contrast("a", "c").hi - one.contrast("a", "c").lo for one in (once, copied)]
    assert width[1] == pytest.approx(width[0], rel=0.05)


def test_resamples_that_no_one_lost_make_the_interval_wide_not_wrong():
    found = bradley_terry(battles({("a", "b"): (29, 0, 1)})).contrast("a", "b")
    assert found.value == pytest.approx(math.log(29))
    assert found.hi > 8
    assert found.lo > 1


def test_elo_points():
    assert elo(math.log(10)) == pytest.approx(400)
    assert elo(math.log(3)) == pytest.approx(190.85, abs=0.01)


def test_first_slot_rate_leaves_ties_out():
    found = first_slot_rate(["1"] * 18 + ["2"] * 2 + ["tie"] * 9)
    assert found.value == pytest.approx(0.9)
    assert (found.lo, found.hi) == pytest.approx((0.699, 0.972), abs=5e-4)
    assert first_slot_rate(["tie"]).value is None
