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


@pytest.mark.curriculum("X16")
def test_the_farthest_groups_by_hand_with_a_small_one_that_is_not_dropped():
    """9 of 10, 1 of 2 and 0 of 1: Newcombe's interval of 0.9 from the ends of Wilson's, which one example widens."""
    hits = np.array([1] * 9 + [0] + [1, 0] + [0])
    groups = np.repeat(["many", "two", "one"], (10, 2, 1))
    of = subgroups.extremes(hits, groups)
    assert list(of.rates) == ["one", "two", "many"] and (of.lowest, of.highest) == ("one", "many")
    one, many = of.rates["one"], of.rates["many"]
    assert (one.n, one.hits, one.low) == (1, 0, 0) and one.high == pytest.approx(0.7934507)
    assert (many.low, many.high) == pytest.approx((0.5958500, 0.9821238), abs=1e-6)
    assert of.gap.value == pytest.approx(0.9)
    low = 0.9 - np.hypot(0.9 - many.low, one.high)
    assert (of.gap.low, of.gap.high) == pytest.approx((low, 0.9 + (many.high - 0.9))) and low < 0.1
    assert subgroups.gap(hits, groups).low > 0.5  # the bootstrap of the same: no width from the small groups
    table = np.array([[9, 1, 0], [1, 1, 1]])
    assert of.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    equal = subgroups.extremes([1, 1, 1, 0], list("abbc"))  # of equal ones the larger, at both ends
    assert list(equal.rates) == ["c", "b", "a"] and equal.highest == "b"
    best = subgroups.extremes([1] * 9 + [0] + [1] * 25, np.repeat(["A", "B", "C"], (10, 20, 5)))
    assert (best.lowest, best.highest) == ("A", "B")  # of the two that are always right the larger


@pytest.mark.curriculum("X16")
def test_an_audit_may_ask_for_the_farthest_groups():
    label, guess, groups = [1, 1, 0, 0], [1, 0, 0, 1], ["a", "b", "a", "b"]
    of = subgroups.audit(label, guess, groups, positive=1, measure=subgroups.extremes)
    assert set(of) == {"accuracy", "demographic_parity", "equal_opportunity", "false_positives"}
    assert of["equal_opportunity"].rates["b"].hits == 0 and of["false_positives"].lowest == "a"
    assert of["demographic_parity"].gap.value == 0 and of["demographic_parity"].p == 1
    assert of["accuracy"].gap.value == 1 and of["accuracy"].gap.low < 0.5


def test_hits_without_their_groups_are_refused():
    with pytest.raises(DataError, match=r"every example needs a group, got \[1\] groups of \[2\] hits"):
        subgroups.extremes([1, 0], ["a"])
    with pytest.raises(DataError, match="a gap needs two groups of examples, got 1"):
        subgroups.extremes([1, 0], ["a", "a"])


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
