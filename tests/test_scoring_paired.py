"""Paired comparisons: by hand, against statsmodels, and by simulation."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from sam3_angio.scoring.paired import detectable_difference, discordance, holm, mcnemar_p


def test_only_pairs_that_differ_count():
    first = np.array([True, True, True, False, False])
    second = np.array([True, False, False, True, False])
    assert discordance(first, second) == (2, 1)
    with pytest.raises(ValueError, match="not pairs"):
        discordance(first, second[:2])


def test_mcnemar_of_five_to_nothing_is_a_coins_chance():
    assert mcnemar_p(5, 0) == 2 / 2**5
    assert mcnemar_p(0, 0) == mcnemar_p(3, 3) == 1


@pytest.mark.parametrize("pair", [(1, 9), (7, 2), (12, 12), (0, 3), (30, 11)])
def test_mcnemar_agrees_with_statsmodels(pair):
    table = [[40, pair[0]], [pair[1], 20]]
    assert mcnemar_p(*pair) == pytest.approx(mcnemar(table, exact=True).pvalue)


@pytest.fixture(scope="module")
def little_garbage():
    """statsmodels collects garbage in each call: let it not look at all that pytest holds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("little_garbage")
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_agrees_with_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected)


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    detectable = detectable_difference(standard_error=0.02, confidence=0.95)
    assert detectable == pytest.approx(2.8016 * 0.02, rel=1e-4)
    estimates = rng.normal(detectable, 0.02, 20_000)
    assert (estimates > 1.96 * 0.02).mean() == pytest.approx(0.8, abs=0.01)
