"""Scores of unfamiliar examples by hand and against SciPy and scikit-learn, and what a reject option buys."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score, roc_curve

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import out_of_distribution as ood
from cvdl_jax.metrics import selective

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("U12")
def test_scores_of_logits_by_hand():
    """Logits log 1, log 3: probability 3/4, energy log 4; at T = 2, 2 log(1 + sqrt 3)."""
    logits = np.log([[1.0, 3.0], [1.0, 1.0]])
    np.testing.assert_allclose(ood.max_softmax(logits), [3 / 4, 1 / 2])
    np.testing.assert_allclose(ood.max_logit(logits), [np.log(3), 0])
    np.testing.assert_allclose(ood.energy(logits), [np.log(4), np.log(2)])
    np.testing.assert_allclose(ood.energy(logits, 2.0), [2 * np.log(1 + np.sqrt(3)), 2 * np.log(2)])
    large = RNG.normal(size=(5, 3)) * 1000
    np.testing.assert_allclose(ood.energy(large, 0.5), 0.5 * logsumexp(large / 0.5, axis=1))


@pytest.mark.curriculum("U12")
def test_mahalanobis_by_hand():
    """Two classes around (0, 0) and (10, 0), spread by 1 and 2 along the axes: covariance diag(1, 4) / 2."""
    cross = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    features = np.concatenate([cross, cross + [10, 0]])
    fitted = ood.fit_gaussians(features, np.repeat([3, 7], 4))  # classes may lack examples
    np.testing.assert_allclose(fitted.means, [[0, 0], [10, 0]])
    np.testing.assert_allclose(fitted.precision, np.diag([2, 0.5]))
    np.testing.assert_allclose(ood.mahalanobis([[0, 0], [10, 4], [3, 0]], fitted), [0, -8, -18], atol=1e-12)


@pytest.mark.curriculum("U12")
def test_mahalanobis_is_scipys_with_the_covariance_of_scikit_learn():
    labels = RNG.integers(0, 3, 60)
    features = RNG.normal(size=(60, 4)) @ RNG.normal(size=(4, 4)) + labels[:, None]
    fitted = ood.fit_gaussians(features, labels)
    lda = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True, priors=np.bincount(labels) / 60)
    covariance = lda.fit(features, labels).covariance_
    x = RNG.normal(size=(7, 4))
    distances = cdist(x, lda.means_, "mahalanobis", VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(ood.mahalanobis(x, fitted), -(distances.min(1) ** 2), rtol=1e-8)
    flat = np.concatenate([features, features[:, :1]], 1)  # a singular covariance
    assert np.isfinite(ood.mahalanobis(flat, ood.fit_gaussians(flat, labels))).all()


@pytest.mark.curriculum("U12")
def test_rates_by_hand_and_with_scikit_learn():
    """Of 20 inside, 19 must be accepted: the threshold is the 19th score, which 3 of 4 outside reach."""
    inside, outside = np.arange(20.0), np.array([0.5, 1.0, 1.5, 30.0])
    assert ood.fpr_at_tpr(inside, outside) == 3 / 4
    assert ood.fpr_at_tpr(inside, outside, 1.0) == 1 and ood.fpr_at_tpr(inside, outside, 0.9) == 1 / 4
    assert ood.auroc([2.0, 1.0], [1.0, 0.0]) == 3.5 / 4
    for _ in range(3):  # with ties
        inside, outside = RNG.integers(3, 12, 40).astype(float), RNG.integers(0, 9, 30).astype(float)
        truth, values = np.arange(70) < 40, np.append(inside, outside)
        assert ood.auroc(inside, outside) == pytest.approx(roc_auc_score(truth, values))
        fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
        assert ood.fpr_at_tpr(inside, outside) == pytest.approx(fpr[tpr >= 0.95 - 1e-12].min())


@pytest.mark.curriculum("U12")
def test_risk_and_coverage_by_hand():
    """Answers by falling confidence: right, wrong and right together, wrong."""
    confidence, wrong = [0.9, 0.2, 0.6, 0.6], [0, 1, 1, 0]
    curve = selective.risk_coverage(confidence, wrong)
    np.testing.assert_allclose(curve.coverage, [1 / 4, 3 / 4, 1])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 1 / 2])
    np.testing.assert_array_equal(curve.thresholds, [0.9, 0.6, 0.2])
    assert selective.coverage_at_risk(confidence, wrong, 0.4) == 3 / 4
    assert selective.coverage_at_risk([1.0, 0.5], [1, 0], 0.4) == 0


@pytest.mark.curriculum("U12")
def test_aurc_is_the_mean_over_all_orders_of_equal_confidences():
    confidence, wrong = np.array([3, 2, 2, 2, 1, 1.0]), np.array([0, 1, 0, 0, 1, 0])

    def area(order):
        return np.mean([wrong[list(order[:k])].mean() for k in range(1, 7)])

    orders = [p for p in itertools.permutations(range(6)) if (np.diff(confidence[list(p)]) <= 0).all()]
    assert selective.aurc(confidence, wrong) == pytest.approx(np.mean([area(p) for p in orders]))
    best = min(area(p) for p in itertools.permutations(range(6)))
    assert selective.excess_aurc(confidence, wrong) == pytest.approx(selective.aurc(confidence, wrong) - best)
    assert selective.excess_aurc(1 - wrong, wrong) == 0


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(DataError, match=r"inside must be finite scores \[n\]"):
        ood.auroc([], [1.0])
    with pytest.raises(DataError, match="wrong must be 0 or 1"):
        selective.aurc([1.0, 2.0], [0, 2])
    with pytest.raises(DataError, match=r"labels must be \[2\]"):
        ood.fit_gaussians(np.ones((2, 3)), [1])
    with pytest.raises(DataError, match="logits must be finite"):
        ood.energy([[np.nan, 1.0]])
