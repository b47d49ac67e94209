"""Adjusted p-values against statsmodels."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from llmops.stats.multiplicity import benjamini_hochberg, holm

families = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=30)


@settings(deadline=None)
@given(families)
def test_holm_is_that_of_statsmodels(p_values):
    with mock.patch("gc.collect"):  # statsmodels calls it every time, which takes most of a second
        expected = multipletests(p_values, method="holm")[1].tolist()
    assert holm(p_values) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(families)
def test_benjamini_hochberg_is_that_of_statsmodels(p_values):
    assert benjamini_hochberg(p_values) == pytest.approx(
        multipletests(p_values, method="fdr_bh")[1].tolist(), abs=1e-12
    )


@settings(deadline=None)
@given(families)
def test_adjusting_never_helps_and_keeps_the_order(p_values):
    for adjusted in (holm(p_values), benjamini_hochberg(p_values)):
        assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
        ranked = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
        assert ranked == sorted(ranked)


def test_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.2]) == benjamini_hochberg([0.2]) == [0.2]
    assert holm([]) == benjamini_hochberg([]) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_no_p_values(p):
    with pytest.raises(ValueError):
        holm([0.5, p])
    with pytest.raises(ValueError):
        benjamini_hochberg([p])
