"""Paired tests and Student's t interval: worked values, SciPy and statsmodels, every sign pattern by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats.intervals import student_t, student_t_within
from cvdl_jax.metrics.stats.paired_tests import format_p, least_p, mcnemar, pairs_needed, sign_flip


def hits(both, first_only, second_only, neither):
    """Two vectors of hits with so many examples of each kind."""
    first = [1] * both + [1] * first_only + [0] * second_only + [0] * neither
    second = [1] * both + [0] * first_only + [1] * second_only + [0] * neither
    return np.array(first, bool), np.array(second, bool)


# McNemar ----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N33")
def test_mcnemar_of_a_worked_example():
    """Eight against two: P[X <= 2] of ten coin tosses is (1 + 10 + 45) / 1024."""
    found = mcnemar(*hits(30, 8, 2, 5))
    assert (found.first_only, found.second_only, found.n) == (8, 2, 45)
    assert found.p == pytest.approx(2 * 56 / 1024, rel=1e-12)


@pytest.mark.curriculum("N33")
@pytest.mark.parametrize("table", [(50, 3, 9, 2), (0, 1, 0, 0), (900, 60, 40, 0), (9000, 300, 320, 380), (5, 4, 4, 5)])
def test_mcnemar_equals_statsmodels_and_scipy(table):
    from scipy.stats import binomtest
    from statsmodels.stats.contingency_tables import mcnemar as reference

    both, b, c, neither = table
    found = mcnemar(*hits(*table))
    assert found.p == pytest.approx(reference([[both, b], [c, neither]], exact=True).pvalue, rel=1e-9)
    assert found.p == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


@pytest.mark.curriculum("N33")
def test_mcnemar_does_not_care_who_is_first_or_in_which_order_the_examples_are():
    first, second = hits(20, 7, 3, 10)
    order = np.random.default_rng(0).permutation(len(first))
    assert mcnemar(first, second).p == mcnemar(second, first).p == mcnemar(first[order], second[order]).p
    assert mcnemar(first, first) == (1.0, 0, 0, 40)


@pytest.mark.curriculum("N33")
@pytest.mark.parametrize(("first", "second"), [([1, 0], [1, 0, 1]), ([], []), ([[1, 0]], [[1, 0]])])
def test_mcnemar_needs_the_same_examples(first, second):
    with pytest.raises(DataError, match=r"pairs examples: got .* expected the same \[n\]"):
        mcnemar(np.array(first), np.array(second))


# Sign flips -------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N33")
def test_sign_flip_of_worked_examples():
    """Five differences of one sign: only the pattern itself and its opposite are as far from 0, 2 of 32."""
    assert sign_flip([1, 2, 3, 4, 5]) == sign_flip([-1, -2, -3, -4, -5]) == 2 / 32 == least_p(5)
    assert sign_flip([1, 1, 1, 1, -1]) == 12 / 32  # |sum| >= 3: 1 + 5 patterns, and their opposites
    assert sign_flip([0, 0, 0]) == sign_flip([7.0]) == 1.0


@pytest.mark.curriculum("N33")
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8))
def test_sign_flip_counts_every_pattern(differences):
    d = np.array(differences) / 7  # sums of these are equal on paper, not always in floating point
    sums = [abs(sum(s * v for s, v in zip(signs, differences, strict=True))) for signs in patterns(len(differences))]
    assert sign_flip(d) == np.mean([each >= abs(sum(differences)) for each in sums])


def patterns(n):
    return itertools.product([1, -1], repeat=n)


@pytest.mark.curriculum("N33")
def test_sign_flip_equals_scipy():
    from scipy.stats import permutation_test

    d = np.random.default_rng(1).normal(0.4, 1, 9)
    reference = permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided")
    assert sign_flip(d) == pytest.approx(reference.pvalue)


@pytest.mark.curriculum("N33")
def test_what_seeds_can_show_at_most():
    assert [least_p(n) for n in (1, 5, 6)] == [1.0, 0.0625, 0.03125]
    assert pairs_needed() == 6 and pairs_needed(0.01) == 8


@pytest.mark.parametrize("wrong", [[], [1.0] * 21, [1.0, float("nan")]])
def test_sign_flip_refuses(wrong):
    with pytest.raises(DataError, match="1 to 20 finite differences"):
        sign_flip(wrong)


@pytest.mark.parametrize(
    ("p", "text"), [(0.0625, "p = 0.0625"), (1.0, "p = 1"), (0.0004, "p < 0.001"), (0.123456, "p = 0.123")]
)
def test_p_values_for_people(p, text):
    assert format_p(p) == text


# Student's t --------------------------------------------------------------------------------------------------------


def test_student_t_of_a_worked_example():
    """t of 4 degrees of freedom at 97.5 % is 2.776445 in every printed table; s^2 = 2.5."""
    low, high = student_t([1, 2, 3, 4, 5])
    half = 2.7764451 * (2.5**0.5) / 5**0.5
    np.testing.assert_allclose([low, high], [3 - half, 3 + half], rtol=1e-7)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 30])
def test_student_t_equals_scipy_and_statsmodels(n, confidence):
    from scipy import stats
    from statsmodels.stats.weightstats import DescrStatsW

    x = np.random.default_rng(n).normal(98, 0.3, n)
    found = student_t(list(x), confidence)
    np.testing.assert_allclose(found, stats.t.interval(confidence, n - 1, x.mean(), stats.sem(x)), rtol=1e-12)
    np.testing.assert_allclose(found, DescrStatsW(x).tconfint_mean(1 - confidence), rtol=1e-12)


def test_student_t_of_equal_values_has_no_width_and_nothing_is_clipped():
    assert student_t([98.5, 98.5, 98.5]) == (98.5, 98.5)
    assert student_t([99.0, 100.0])[1] > 100  # the caller sees it; a clipped interval would lie


def test_an_interval_of_a_share_stays_within_its_range_or_is_none():
    assert student_t_within([0.9, 0.92, 0.94], 0, 1) == student_t([0.9, 0.92, 0.94])
    assert student_t_within([0.94, 0.97], 0, 1) is None  # two seeds: [0.76, 1.15]
    assert student_t_within([94.0, 97.0], 0, 100) is None and student_t_within([1.0, 4.0], 0, 100) is None
    assert student_t_within([1.0, 4.0], -math.inf, math.inf) == student_t([1.0, 4.0])


def test_student_t_refuses():
    for values in ([], [1.0], [1.0, float("inf")]):
        with pytest.raises(DataError, match="two finite values or more"):
            student_t(values)
    with pytest.raises(ConfigError, match=r"confidence=1 must lie in \(0, 1\)"):
        student_t([1.0, 2.0], 1)
