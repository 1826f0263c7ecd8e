"""Clopper-Pearson, bootstrap and AUC intervals: worked values, SciPy, statsmodels, definitions; and what they cover."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats import auc, resampling
from cvdl_jax.metrics.stats.intervals import clopper_pearson, student_t, wilson


def mean(x):
    """Of many samples at once, or of one."""
    return x.mean(-1)


# Proportions ------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N32")
def test_wilson_and_wald_of_91_of_100():
    """Wald's interval, p -+ z sqrt(p (1 - p) / n), is the one that every lecture names and that this package avoids."""
    p, z = 0.91, 1.959963984540054
    half = z * math.sqrt(p * (1 - p) / 100)
    np.testing.assert_allclose(wilson(91, 100), (0.837738, 0.951927), atol=5e-7)
    np.testing.assert_allclose((p - half, p + half), (0.853909, 0.966091), atol=5e-7)


@pytest.mark.curriculum("N32")
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(91, 100), (0, 10), (10, 10), (1, 3), (9_912, 10_000)])
def test_clopper_pearson_equals_statsmodels_and_its_definition(k, n, confidence):
    from scipy.special import betaincinv
    from statsmodels.stats.proportion import proportion_confint

    found = clopper_pearson(k, n, confidence)
    tail = (1 - confidence) / 2
    low, high = betaincinv(max(k, 1), n - k + 1, tail), betaincinv(k + 1, max(n - k, 1), 1 - tail)
    np.testing.assert_allclose(found, (low if k else 0.0, high if k < n else 1.0), atol=1e-12)
    np.testing.assert_allclose(found, proportion_confint(k, n, 1 - confidence, "beta"), atol=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(91, 100), (0, 10), (10, 10), (0, 1), (1, 3), (9_912, 10_000)])
def test_wilson_equals_scipy(k, n, confidence):
    from scipy.stats import binomtest

    np.testing.assert_allclose(
        wilson(k, n, confidence), binomtest(k, n).proportion_ci(confidence, "wilson"), atol=1e-12
    )
    assert 0 <= wilson(k, n, confidence)[0] <= k / n <= wilson(k, n, confidence)[1] <= 1


@pytest.mark.curriculum("N32")
def test_clopper_pearson_of_no_error_in_n_is_one_minus_the_root():
    """Without an error in n the error rate is at most 1 - (alpha / 2)^(1 / n); one-sided that is the rule of three."""
    assert clopper_pearson(0, 100) == pytest.approx((0, 1 - 0.025**0.01), abs=1e-12)
    assert clopper_pearson(100, 100)[1] == 1.0


@pytest.mark.curriculum("N32")
@pytest.mark.parametrize("n", [10, 50])
def test_coverage_of_proportions_summed_over_every_outcome(n):
    """No simulation: Clopper-Pearson never covers less than 95 %; Wilson 95 % on average, and 83 % at worst."""
    from scipy.stats import binom

    def coverage(interval):
        ends = np.array([interval(k, n) for k in range(n + 1)])
        inside = (ends[:, :1] <= places) & (places <= ends[:, 1:])  # [n + 1, places]
        return (binom.pmf(np.arange(n + 1)[:, None], n, places) * inside).sum(0)

    places = np.linspace(0.005, 0.995, 100)
    exact, score = coverage(clopper_pearson), coverage(wilson)
    assert min(exact) >= 0.95 - 1e-12
    assert 0.94 < np.mean(score) < 0.965 and min(score) > 0.83
    assert np.mean(score) < np.mean(exact)


def test_proportions_refuse_nonsense():
    with pytest.raises(DataError, match="0 <= successes <= n"):
        clopper_pearson(11, 10)
    with pytest.raises(DataError, match=r"whole numbers .* got 1\.5 of 10"):
        clopper_pearson(1.5, 10)
    with pytest.raises(ConfigError, match=r"confidence=95 must lie in \(0, 1\)"):
        clopper_pearson(1, 10, 95)


# Bootstrap --------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N32")
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_equals_scipy(method):
    """Its generator draws as ours does, so that the ends are the same: of a mean and of a standard deviation."""
    from scipy.stats import bootstrap as reference

    x = np.random.default_rng(0).exponential(size=60)
    for metric in (np.mean, np.std):
        found = resampling.interval(
            lambda x, metric=metric: metric(x, axis=-1), x, method=method, resamples=3000, seed=1, vectorised=True
        )
        them = reference((x,), metric, n_resamples=3000, method=method.replace("bca", "BCa"), rng=1)
        np.testing.assert_allclose([found.low, found.high], [*them.confidence_interval], rtol=1e-9)
        assert found.estimate == metric(x)


def test_bootstrap_of_a_metric_of_one_sample_is_that_of_many():
    x, y = np.random.default_rng(1).normal(size=(2, 30))
    one = resampling.interval(lambda x, y: np.corrcoef(x, y)[0, 1], x, y, resamples=300, seed=3)

    def many(x, y):
        x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))

    np.testing.assert_allclose(one, resampling.interval(many, x, y, resamples=300, seed=3, vectorised=True), rtol=1e-12)
    assert one != resampling.interval(many, x, y, resamples=300, seed=4, vectorised=True)


def test_draws_do_not_depend_on_how_many_are_made_at_once_in_size_and_strata_keep_theirs(monkeypatch):
    monkeypatch.setattr(resampling, "DRAWN_AT_ONCE", 50)
    strata = np.array([0, 0, 0, 1, 1, 2])
    found = list(resampling.draws(6, 40, 0, strata))
    assert [len(each) for each in found] == [8] * 5
    for rows in found:
        assert (np.sort(strata[rows], 1) == strata[None]).all()
    assert len(np.unique(np.concatenate(found), axis=0)) > 20


def test_bca_moves_towards_the_long_tail_and_percentile_does_not():
    x = np.random.default_rng(2).exponential(size=40)
    plain, moved = (
        resampling.interval(mean, x, method=m, vectorised=True, resamples=4000) for m in ("percentile", "bca")
    )
    assert moved.low > plain.low and moved.high > plain.high


def test_the_jackknife_of_groups_gives_nearly_the_acceleration_of_all_examples(monkeypatch):
    x = np.random.default_rng(5).exponential(size=2000)
    exact = x.mean() - (x.sum() - x) / 1999  # up to its sign: what each example adds
    a = (exact**3).sum() / (6 * (exact**2).sum() ** 1.5)
    away = resampling._jackknife(mean, [x], True)
    away = away.mean() - away
    assert len(away) == resampling.GROUPS
    assert (away**3).sum() / (6 * (away**2).sum() ** 1.5) == pytest.approx(a, abs=0.003)


def test_p_of_the_bootstrap_is_that_of_zero():
    d = np.array([1.0] * 9 + [-1.0])
    below = sum(math.comb(10, k) * 0.1**k * 0.9 ** (10 - k) for k in range(5, 11))  # P[mean of a resample <= 0]
    found = resampling.interval(mean, d, resamples=20_000, vectorised=True, method="percentile")
    assert found.p == pytest.approx(2 * below, abs=1e-3)
    assert resampling.interval(mean, np.zeros(5), resamples=99).p == 1.0
    assert resampling.interval(mean, np.ones(5), resamples=99) == (1.0, 1.0, 1.0, 2 / 100)


def test_bootstrap_refuses():
    x = np.arange(5.0)
    with pytest.raises(DataError, match=r"one row for each of n > 0 examples .* \[\(5,\), \(4,\)\]"):
        resampling.interval(mean, x, x[:4])
    with pytest.raises(DataError, match="one row for each"):
        resampling.interval(mean, np.zeros((0,)))
    with pytest.raises(DataError, match="the metric of all examples is not finite"):
        resampling.interval(mean, np.array([1.0, np.nan]))
    with pytest.raises(DataError, match=r"of \d+ of the resamples is not finite; .*strata=labels"):
        resampling.interval(lambda x: np.float64(len(np.unique(x))) if len(np.unique(x)) > 1 else np.nan, x[:2])
    with pytest.raises(DataError, match=r"BCa does not exist here \(100 % of the resamples are below"):
        resampling.interval(lambda x: len(np.unique(x)), np.arange(50), resamples=100)
    with pytest.raises(ConfigError, match="method='basic' must be 'bca' or 'percentile'"):
        resampling.interval(mean, x, method="basic")
    with pytest.raises(ConfigError, match="resamples=0 must be at least 1"):
        resampling.interval(mean, x, resamples=0)
    with pytest.raises(DataError, match=r"strata must be \[5\]"):
        resampling.interval(mean, x, strata=x[:3])


def covered(interval, draw, truth, times, seed=0):
    """Share of the samples whose interval holds the truth."""
    random = np.random.default_rng(seed)
    ends = [interval(draw(random)) for _ in range(times)]
    return np.mean([low <= truth <= high for low, high in ends])


def ends(method, resamples=400, metric=mean):
    return lambda x: resampling.interval(metric, x, method=method, resamples=resamples, vectorised=True)[1:3]


@pytest.mark.curriculum("N32")
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_coverage_of_the_bootstrap(method):
    """Of a mean of 60 normal values: 94 % is what n = 60 gives of 95 %; three standard errors are 3 %."""
    found = covered(ends(method), lambda random: random.normal(size=60), 0.0, 500)
    assert 0.905 < found < 0.98


@pytest.mark.long
@pytest.mark.curriculum("N32")
def test_coverage_of_the_bootstrap_of_a_skewed_mean_is_better_with_bca():
    plain, moved = (
        covered(ends(m, 1000), lambda random: random.exponential(size=40), 1.0, 3000) for m in ("percentile", "bca")
    )
    assert 0.90 < plain < moved < 0.96


@pytest.mark.curriculum("N32")
def test_coverage_of_student_t_over_five_seeds():
    found = covered(lambda x: student_t(list(x)), lambda random: random.normal(98, 0.3, 5), 98.0, 2000)
    assert 0.94 < found < 0.96


# Areas under the ROC curve ------------------------------------------------------------------------------------------


def pairs(labels, scores):
    """psi of every positive (row) and negative (column) example, by its definition."""
    difference = scores[labels == 1][:, None] - scores[labels == 0][None]
    return (difference > 0) + 0.5 * (difference == 0)


def binary(random, m=30, n=40, shift=1.0, ties=False):
    """Labels and scores of two normal classes."""
    labels = np.repeat([1, 0], [m, n])
    scores = random.normal(size=m + n) + shift * labels
    return labels, np.round(scores) if ties else scores


@pytest.mark.curriculum("N32")
def test_hanley_and_mcneils_own_example():
    """Their Table I: 109 CT images in five ratings; area 0.893, standard error 0.032."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    labels = np.repeat([0, 1], [58, 51])
    scores = np.concatenate([np.repeat(np.arange(5), counts) for counts in (normal, abnormal)])
    area = auc.delong(labels, scores)
    assert area.auc == pytest.approx(0.893, abs=5e-4)
    assert auc.hanley_mcneil(area.auc, 51, 58).error == pytest.approx(0.032, abs=5e-4)
    assert area.error == pytest.approx(0.032, abs=2e-3)


@pytest.mark.curriculum("N32")
@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_its_definition_over_all_pairs(ties):
    from sklearn.metrics import roc_auc_score

    labels, scores = binary(np.random.default_rng(3), ties=ties)
    psi = pairs(labels, scores)
    error = math.sqrt(psi.mean(1).var(ddof=1) / 30 + psi.mean(0).var(ddof=1) / 40)
    found = auc.delong(labels, scores)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores), rel=1e-12) == pytest.approx(psi.mean())
    assert found.error == pytest.approx(error, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((found.auc - 1.959964 * error, found.auc + 1.959964 * error))


def test_delong_is_the_jackknife_of_each_class():
    """For a mean over pairs, leaving out one example of a class moves the area by its placement."""
    labels, scores = binary(np.random.default_rng(4), 8, 9)
    psi = pairs(labels, scores)
    variance = 0.0
    for axis, n in ((0, 8), (1, 9)):
        without = np.array([np.delete(psi, i, axis).mean() for i in range(n)])
        variance += (n - 1) / n * ((without - without.mean()) ** 2).sum()
    assert auc.delong(labels, scores).error ** 2 == pytest.approx(variance, rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=4, max_size=30))
def test_areas_mirror_and_do_not_care_for_monotone_scores(examples):
    labels, scores = np.array(examples).T
    if min((labels == 1).sum(), (labels == 0).sum()) < 2:
        return
    found = auc.delong(labels, scores)
    mirrored, stretched = auc.delong(labels, -scores), auc.delong(labels, scores.astype(float) ** 3)
    assert found.auc == pytest.approx(1 - mirrored.auc) and found.error == pytest.approx(mirrored.error, abs=1e-12)
    assert stretched == pytest.approx(found)
    if 0 < found.auc < 1:
        low, high = auc.delong(labels, scores, scale="logit")[2:]
        assert 0 <= low <= found.auc + 1e-12 and found.auc - 1e-12 <= high <= 1


def test_separated_classes_have_no_error_and_no_logit():
    labels, scores = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    assert auc.delong(labels, scores) == auc.hanley_mcneil(1.0, 2, 2) == (1.0, 0.0, 1.0, 1.0)
    with pytest.raises(DataError, match="an area of 1 has no logit"):
        auc.delong(labels, scores, scale="logit")


def test_areas_refuse():
    labels, scores = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    for wrong in (np.array([0, 1, 2, 1]), np.array([0, 0, 1])):
        with pytest.raises(DataError, match="needs labels 0 or 1 and scores"):
            auc.delong(wrong, scores)
    with pytest.raises(DataError, match="two examples of each class, got 1 positive and 3 negative"):
        auc.delong(np.array([0, 0, 0, 1]), scores)
    with pytest.raises(DataError, match="1 of 4 scores are not finite"):
        auc.delong(labels, np.array([1, 2, 3, np.nan]))
    with pytest.raises(ConfigError, match="scale='log' must be 'plain' or 'logit'"):
        auc.delong(labels, scores, scale="log")
    with pytest.raises(DataError, match=r"auc=1\.5 must lie in 0\.\.1"):
        auc.hanley_mcneil(1.5, 3, 3)
    with pytest.raises(ConfigError, match="confidence=2"):
        auc.hanley_mcneil(0.5, 3, 3, 2)


@pytest.mark.curriculum("N32")
def test_coverage_of_areas():
    """Two normal classes 1.2 apart: the area is Phi(1.2 / sqrt 2) = 0.802; 60 examples."""
    truth = 0.5 * (1 + math.erf(1.2 / 2))
    random = np.random.default_rng(6)
    samples = [binary(random, 30, 30, 1.2) for _ in range(1500)]

    def share(interval):
        found = [interval(*sample) for sample in samples]
        return np.mean([low <= truth <= high for _, _, low, high in found])

    assert 0.92 < share(auc.delong) < 0.965
    assert 0.93 < share(lambda *s: auc.delong(*s, scale="logit")) < 0.975
    assert 0.92 < share(lambda *s: auc.hanley_mcneil(auc.delong(*s).auc, 30, 30)) < 0.975


def test_every_interval_names_what_it_was_given_in_vain():
    """A confidence that is no probability is refused in one way everywhere."""
    x = np.arange(4.0)
    calls = itertools.chain(
        [lambda c: resampling.interval(mean, x, confidence=c)],
        [lambda c: auc.delong(np.array([0, 0, 1, 1]), x, c), lambda c: clopper_pearson(1, 2, c)],
    )
    for call in calls:
        with pytest.raises(ConfigError, match=r"confidence=1.0 must lie in \(0, 1\), such as 0.95"):
            call(1.0)
