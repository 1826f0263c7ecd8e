"""Paired tests of two methods: forms of McNemar's, permutations, t tests, areas, Holm; and how often they err."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats import auc, resampling
from cvdl_jax.metrics.stats.paired_tests import (
    corrected_resampled_t,
    five_by_two_cv,
    holm,
    mcnemar,
    paired_t,
    sign_flip,
)

ALPHA = 0.05


def hits(both, first_only, second_only, neither):
    """Two vectors of hits with so many examples of each kind."""
    first = [1] * both + [1] * first_only + [0] * second_only + [0] * neither
    second = [1] * both + [0] * first_only + [1] * second_only + [0] * neither
    return np.array(first, bool), np.array(second, bool)


def mean(x):
    return x.mean(-1)


# McNemar's forms --------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N33")
def test_mcnemar_forms_of_a_worked_example():
    """Eight against two: P[X <= 2] = 56 / 1024, P[X = 2] = 45 / 1024; (8 - 2)^2 / 10 = 3.6, (6 - 1)^2 / 10 = 2.5."""
    p = {form: mcnemar(*hits(30, 8, 2, 5), form).p for form in ("exact", "midp", "chi2", "chi2_corrected")}
    assert p["exact"] == pytest.approx(112 / 1024, rel=1e-12)
    assert p["midp"] == pytest.approx(67 / 1024, rel=1e-12)
    assert p["chi2"] == pytest.approx(0.057780, abs=1e-6)
    assert p["chi2_corrected"] == pytest.approx(0.113846, abs=1e-6)


@pytest.mark.curriculum("N33")
@pytest.mark.parametrize("table", [(50, 3, 9, 2), (0, 1, 0, 0), (900, 60, 40, 0), (9000, 300, 320, 380), (5, 4, 5, 5)])
def test_mcnemar_forms_equal_statsmodels_and_scipy(table):
    from scipy.stats import binom
    from statsmodels.stats.contingency_tables import mcnemar as reference

    both, b, c, neither = table
    for form, correction in (("chi2", False), ("chi2_corrected", True)):
        expected = reference([[both, b], [c, neither]], exact=False, correction=correction).pvalue
        assert mcnemar(*hits(*table), form).p == pytest.approx(expected, rel=1e-9)
    k, n = min(b, c), b + c
    expected = min(1, 2 * binom.cdf(k, n, 0.5) - binom.pmf(k, n, 0.5))
    assert mcnemar(*hits(*table), "midp").p == pytest.approx(expected, rel=1e-9)


@pytest.mark.curriculum("N33")
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_forms_agree_where_there_is_nothing_and_order_otherwise(b, c):
    p = {form: mcnemar(*hits(1, b, c, 1), form).p for form in ("exact", "midp", "chi2", "chi2_corrected")}
    if b == c:
        assert list(p.values()) == pytest.approx([1.0] * 4)
    assert p["midp"] <= p["exact"] + 1e-12 and p["chi2"] <= p["chi2_corrected"] + 1e-12
    assert all(0 <= each <= 1 + 1e-12 for each in p.values())


def test_mcnemar_refuses_another_form():
    with pytest.raises(ConfigError, match="form='mid' must be one of exact, midp, chi2, chi2_corrected"):
        mcnemar(*hits(1, 1, 1, 1), "mid")


# Permutations -----------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N33")
def test_permutation_of_hits_is_mcnemars_exact_test():
    first, second = hits(30, 8, 2, 5)
    found = resampling.paired(mean, first, second, resamples=20_000, vectorised=True)
    assert found.difference == pytest.approx(-6 / 45)
    assert found.p == pytest.approx(mcnemar(first, second).p, abs=0.007)  # three standard errors of the draws


@pytest.mark.curriculum("N33")
def test_permutation_equals_scipy():
    from scipy.stats import permutation_test

    first, second = np.random.default_rng(1).normal(size=(2, 12)) + np.array([[0.0], [0.7]])
    reference = permutation_test((first, second), lambda a, b: b.mean() - a.mean(), permutation_type="samples")
    found = resampling.paired(mean, first, second, resamples=20_000, vectorised=True)
    assert found.difference == pytest.approx(second.mean() - first.mean())
    assert found.p == pytest.approx(reference.pvalue, abs=0.012)
    assert found.p == pytest.approx(sign_flip(second - first), abs=0.012)


@pytest.mark.curriculum("N33")
def test_permutation_of_rows_and_of_a_metric_that_takes_one_sample():
    random = np.random.default_rng(2)
    truth = random.normal(size=40)
    first, second = truth + random.normal(size=40), truth + 0.3 * random.normal(size=40)

    def rmse(guess, truth):
        return np.sqrt(((guess - truth) ** 2).mean(-1))

    one = resampling.paired(rmse, first, second, truth, resamples=200, seed=5)
    many = resampling.paired(rmse, first, second, truth, resamples=200, seed=5, vectorised=True)
    assert one == pytest.approx(many) and one.difference < 0 and one.p == 1 / 201
    wide = resampling.paired(lambda x: x[:, 0].mean(), np.stack([first, truth], 1), np.stack([second, truth], 1))
    assert wide.p == pytest.approx(resampling.paired(mean, first, second, vectorised=True).p)
    assert resampling.paired(rmse, first, first, truth, resamples=20) == (0.0, 1.0)


def test_permutation_refuses():
    with pytest.raises(DataError, match="one row for each"):
        resampling.paired(mean, np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match=r"pairs predictions: got \(3,\) and \(3, 2\)"):
        resampling.paired(mean, np.zeros(3), np.zeros((3, 2)))
    with pytest.raises(DataError, match="not finite"):
        resampling.paired(mean, np.array([1, np.nan]), np.zeros(2))
    with pytest.raises(ConfigError, match="resamples=0"):
        resampling.paired(mean, np.zeros(3), np.zeros(3), resamples=0)


# t tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N33")
def test_t_tests_of_worked_examples():
    """Of 1..5 the mean is 3 and s^2 = 2.5: t = 3 / sqrt(2.5 / 5); of five folds, 3 / sqrt(2.5 (1/5 + 1/4)) = sqrt(8).

    For 4 degrees of freedom P[|T| >= t] = 1 - 3/4 u (1 - u^2 / 12), u = t / sqrt(1 + t^2 / 4).
    """
    assert paired_t([1, 2, 3, 4, 5]).t == pytest.approx(3 / math.sqrt(0.5))
    found = corrected_resampled_t([1, 2, 3, 4, 5], 1 / 4)
    assert found.t == pytest.approx(math.sqrt(8)) and found.df == 4
    assert found.p == pytest.approx(1 - 0.75 * math.sqrt(8 / 3) * (1 - 8 / 3 / 12), rel=1e-9)
    rounds = [[2.0, 0.0], [1.0, 1.0], [3.0, -1.0], [0.0, 2.0], [1.0, 1.0]]  # s_i^2 = 2, 0, 8, 2, 0
    found = five_by_two_cv(rounds)
    assert found.t == pytest.approx(2 / math.sqrt(12 / 5)) and found.df == 5 and found.mean == 2.0
    assert found.p == pytest.approx(0.253174, abs=1e-5)


@pytest.mark.curriculum("N33")
@pytest.mark.parametrize("n", [2, 5, 30])
def test_paired_t_equals_scipy_and_the_interval_agrees_with_the_test(n):
    from scipy.stats import ttest_rel

    a, b = np.random.default_rng(n).normal(size=(2, n))
    reference = ttest_rel(b, a)
    found = paired_t(b - a)
    assert (found.t, found.p, found.df) == pytest.approx((reference.statistic, reference.pvalue, n - 1))
    assert [found.low, found.high] == pytest.approx([*reference.confidence_interval(0.95)])
    at_p = paired_t(b - a, 1 - found.p)  # the interval of that confidence just touches 0
    assert min(abs(at_p.low), abs(at_p.high)) < 1e-9
    wide = corrected_resampled_t(b - a, 0.25)
    assert wide.t == pytest.approx(found.t / math.sqrt(1 + n / 4)) and wide.low < found.low and wide.high > found.high


@pytest.mark.curriculum("N33")
def test_t_tests_without_spread():
    assert paired_t([0.0, 0.0, 0.0])[:3] == (0.0, 2, 1.0)
    same = paired_t([0.1, 0.1, 0.1])
    assert math.isnan(same.t) and math.isnan(same.p) and same.low == same.high == pytest.approx(0.1)


def test_t_tests_refuse():
    for wrong in ([1.0], [1.0, float("nan")], [[1.0, 2.0]]):
        with pytest.raises(DataError, match="two finite differences or more"):
            paired_t(wrong)
    with pytest.raises(DataError, match="test_over_train=0 must be positive, such as 1/9"):
        corrected_resampled_t([1.0, 2.0], 0)
    with pytest.raises(DataError, match=r"five times two finite differences, got shape \(2, 5\)"):
        five_by_two_cv(np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="confidence=0"):
        paired_t([1.0, 2.0], 0)


# Areas ------------------------------------------------------------------------------------------------------------


def two_scores(random, m=25, n=35, shift=(1.0, 1.0), common=0.7):
    """Labels, and scores of two methods whose errors are correlated."""
    labels = np.repeat([1, 0], [m, n])
    shared = random.normal(size=m + n)
    return labels, *(common * shared + (1 - common**2) ** 0.5 * random.normal(size=m + n) + s * labels for s in shift)


@pytest.mark.curriculum("N33")
def test_delongs_test_is_its_definition_over_all_pairs():
    labels, first, second = two_scores(np.random.default_rng(0), shift=(0.6, 1.2))
    psi = [s[labels == 1][:, None] > s[labels == 0][None] for s in (first, second)]
    v10, v01 = ([each.mean(axis) for each in psi] for axis in (1, 0))
    variance = np.cov(v10) / 25 + np.cov(v01) / 35  # DeLong's 2 x 2 covariance of the areas
    error = math.sqrt(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1])
    found = auc.delong_test(labels, first, second)
    assert found.difference == pytest.approx(psi[1].mean() - psi[0].mean()) == pytest.approx(found.second - found.first)
    assert found.z == pytest.approx(found.difference / error)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * error)
    assert found.p == pytest.approx(math.erfc(abs(found.z) / math.sqrt(2)))
    turned = auc.delong_test(labels, second, first)
    assert (turned.p, turned.z) == pytest.approx((found.p, -found.z))


@pytest.mark.curriculum("N33")
def test_delongs_test_of_equal_rankings_and_of_opposite_ones():
    labels, first, _ = two_scores(np.random.default_rng(1))
    assert auc.delong_test(labels, first, 3 * first + 1)[2:] == (0.0, 0.0, 0.0, 0.0, 1.0)
    assert math.isnan(auc.delong_test(labels, labels, 1 - labels).p)  # separated by both, the other way round


# Several comparisons ----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N33")
def test_holm_of_a_worked_example():
    """Four values: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 not below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.curriculum("N33")
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_his_procedure_does(p, alpha):
    """From the smallest on, each against alpha over those left, until one is not rejected."""
    rejected = set()
    for step, i in enumerate(np.argsort(p, kind="stable")):
        if p[i] > alpha / (len(p) - step):
            break
        rejected.add(int(i))
    near = [abs(each - alpha) < 1e-12 for each in holm(p)]
    assert {i for i, each in enumerate(holm(p)) if each <= alpha} ^ rejected <= {i for i, at in enumerate(near) if at}


@pytest.mark.curriculum("N33")
def test_holm_equals_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).random(9) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


def test_holm_refuses():
    for wrong in ([1.2], [float("nan")], [[0.1]]):
        with pytest.raises(DataError, match=r"p values must lie in 0\.\.1"):
            holm(wrong)


# How often a difference is found that is none -----------------------------------------------------------------------


def found_by(p_values):
    return np.mean(np.array(p_values) < ALPHA)


@pytest.mark.curriculum("N33")
def test_false_positives_of_mcnemars_forms_summed_over_every_outcome():
    """No simulation: b of 30 differing examples is Binomial(30, 1/2). Exact stays below 5 %, mid-p comes nearer."""
    from scipy.stats import binom

    rates = {}
    for form in ("exact", "midp", "chi2", "chi2_corrected"):
        p = np.array([mcnemar(*hits(5, b, 30 - b, 5), form).p for b in range(31)])
        rates[form] = binom.pmf(np.arange(31), 30, 0.5)[p < ALPHA].sum()
    assert rates["exact"] == rates["chi2_corrected"] == pytest.approx(0.0428, abs=1e-4)
    assert rates["midp"] == rates["chi2"] == pytest.approx(0.0428, abs=1e-4)
    sizes = [found_at(form) for form in ("exact", "midp")]
    assert sizes[0] <= sizes[1] < 0.055 and sizes[0] < 0.04


def found_at(form):
    """The mean rate over 10 to 40 differing examples."""
    from scipy.stats import binom

    rates = []
    for n in range(10, 41):
        p = np.array([mcnemar(*hits(0, b, n - b, 1), form).p for b in range(n + 1)])
        rates.append(binom.pmf(np.arange(n + 1), n, 0.5)[p < ALPHA].sum())
    return np.mean(rates)


@pytest.mark.curriculum("N33")
def test_false_positives_of_tests_over_seeds():
    random = np.random.default_rng(0)
    samples = random.normal(size=(3000, 8))
    assert 0.04 < found_by([paired_t(d).p for d in samples]) < 0.06
    assert 0.03 < found_by([sign_flip(d) for d in samples[:1500]]) < 0.06  # 2^-7 x 6 = 0.0469 at most


@pytest.mark.curriculum("N33")
def test_false_positives_of_tests_over_examples():
    """300 pairs of equal methods on 60 examples: 5 % expected, three standard errors are 3.8 %."""
    random = np.random.default_rng(3)
    boot, swap = [], []
    for _ in range(300):
        first, second = random.normal(size=(2, 60)) + random.normal(size=60)
        swap.append(resampling.paired(mean, first, second, resamples=199, vectorised=True).p)
        boot.append(resampling.interval(mean, second - first, resamples=199, vectorised=True, method="percentile").p)
    assert 0.01 < found_by(swap) < 0.09
    assert 0.01 < found_by(boot) < 0.10


@pytest.mark.curriculum("N33")
def test_false_positives_of_delongs_test():
    random = np.random.default_rng(4)
    assert 0.03 < found_by([auc.delong_test(*two_scores(random)).p for _ in range(1500)]) < 0.07


@pytest.mark.long
@pytest.mark.curriculum("N33")
def test_false_positives_over_folds_need_the_correction():
    """Two regressions that are equally good on average, on fifteen random splits 9 : 1 of one sample."""
    plain, corrected = [], []
    for seed in range(600):
        a, b = equal_methods(np.random.default_rng(seed), 15)
        plain.append(paired_t(a - b).p)
        corrected.append(corrected_resampled_t(a - b, 1 / 9).p)
    assert found_by(plain) > 0.10 and found_by(corrected) < 0.08


def equal_methods(random, splits, n=100):
    """Errors of two regressions, each on half of ten exchangeable features, on random splits 9 : 1."""
    x = random.normal(size=(n, 10))
    y = x.sum(1) + 3 * random.normal(size=n)
    found = np.zeros((2, splits))
    for i in range(splits):
        order = random.permutation(n)
        train, test = order[: 9 * n // 10], order[9 * n // 10 :]
        for j, columns in enumerate((slice(0, 5), slice(5, 10))):
            w = np.linalg.lstsq(x[train][:, columns], y[train], rcond=None)[0]
            found[j, i] = ((x[test][:, columns] @ w - y[test]) ** 2).mean()
    return found


@pytest.mark.curriculum("N33")
def test_holm_keeps_the_chance_of_any_error():
    """Three equal methods, three comparisons: without the correction one of them errs in about 12 % of the cases."""
    random = np.random.default_rng(5)
    any_plain, any_holm = [], []
    for values in random.normal(size=(1000, 3, 10)):
        p = [paired_t(a - b).p for a, b in itertools.combinations(values, 2)]
        any_plain.append(min(p))
        any_holm.append(min(holm(p)))
    assert found_by(any_plain) > 0.08 and found_by(any_holm) < 0.065
