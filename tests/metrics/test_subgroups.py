"""Gaps between groups by hand, their intervals and test, and that nothing differs where nothing does."""

import numpy as np
import pytest
from scipy import stats

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import subgroups

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("X16")
def test_parities_by_hand():
    """Group a: z = 1 for 2 of 4, both positives found; b: 1 of 4, one of two positives found."""
    groups = np.repeat(["a", "b"], 4)
    label = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    guess = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    gaps = subgroups.audit(label, guess, groups, positive=1)
    assert gaps["accuracy"].value == 0.25 and gaps["accuracy"].worst == "b"
    assert gaps["demographic_parity"].value == 0.25 and gaps["equal_opportunity"].value == 0.5
    assert gaps["false_positives"].value == 0 == gaps["false_positives"].high and gaps["false_positives"].p == 1
    rate = gaps["equal_opportunity"].rates["b"]
    assert (rate.n, rate.hits, rate.value) == (2, 1, 0.5) and rate.low < 0.5 < rate.high
    assert set(subgroups.audit(label, guess, groups)) == {"accuracy"}
    other = subgroups.audit(label, guess, groups, positive=0)  # z = 0 for 2 and for 3 of 4
    assert other["demographic_parity"].worst == "a" and other["equal_opportunity"].value == 0
    assert other["false_positives"].value == 0.5 and other["false_positives"].worst == "b"  # more of them are worse


@pytest.mark.curriculum("X16")
def test_a_rate_of_a_class_that_one_group_lacks_has_no_gap():
    gaps = subgroups.audit([1, 0, 0], [1, 0, 1], ["a", "a", "b"], positive=1)
    assert set(gaps) == {"accuracy", "demographic_parity", "false_positives"}


@pytest.mark.curriculum("X16")
def test_the_test_is_scipys_and_the_interval_covers_the_gap():
    n = (400, 300, 500)
    groups, truth = np.repeat([2, 5, 9], n), np.repeat([0.9, 0.7, 0.85], n)
    covered = 0
    for seed in range(20):
        hits = np.random.default_rng(seed).uniform(size=len(groups)) < truth
        gap = subgroups.gap(hits, groups, resamples=300)
        covered += gap.low <= 0.2 <= gap.high
        assert gap.worst == 5
    assert covered >= 16
    counts = [[hits[groups == g].sum(), (~hits[groups == g]).sum()] for g in (2, 5, 9)]
    assert gap.p == pytest.approx(stats.chi2_contingency(np.array(counts).T, correction=False).pvalue)
    rates = [hits[groups == g].mean() for g in (2, 5, 9)]
    assert gap.value == pytest.approx(max(rates) - min(rates))
    permuted = RNG.permutation(len(groups))
    again = subgroups.gap(hits[permuted], groups[permuted], resamples=300)
    assert again.value == gap.value and again.low == pytest.approx(gap.low, abs=0.03)


def test_one_group_is_refused():
    with pytest.raises(DataError, match="a gap needs two groups"):
        subgroups.gap([1, 0], ["a", "a"])
    with pytest.raises(DataError, match="hits must be 0 or 1"):
        subgroups.gap([1, 0.5], ["a", "b"])


@pytest.mark.curriculum("X16")
def test_groups_keep_their_sizes_in_the_bootstrap():
    """Where all answers are right there is no gap, in no resample: else a small group would be larger or smaller."""
    same = subgroups.gap(np.ones(40), np.repeat(["a", "b"], (5, 35)), resamples=100)
    assert (same.value, same.low, same.high) == (0, 0, 0)
