"""Distances of sets of features: closed forms, SciPy's matrix root, loops."""

import numpy as np
import pytest
from scipy import linalg, stats

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.feature_distances import (
    Moments,
    frechet_distance,
    histogram_divergence,
    kernel_distance,
    moments,
    nearest,
    neighbourhoods,
)
from cvdl_jax.metrics.generation import distances, judgement

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.normal(0.7, 1.5, size=(50, 4)) @ RNG.normal(size=(4, 4))


@pytest.mark.curriculum("R31")
def test_frechet_distance_is_that_of_scipys_root():
    a, b = moments(X), moments(Y)
    np.testing.assert_allclose(a.covariance, np.cov(X.T))
    root = linalg.sqrtm(a.covariance @ b.covariance).real
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-8)
    np.testing.assert_allclose(frechet_distance(b, a), expected, rtol=1e-8)


@pytest.mark.curriculum("R31")
def test_frechet_distance_in_closed_form():
    """0 of equal Gaussians, the squared distance of the means with equal covariances, also singular ones."""
    a = moments(X)
    assert frechet_distance(a, a) < 1e-8
    moved = a._replace(mean=a.mean + np.array([1.0, -2.0, 0.0, 2.0]))
    np.testing.assert_allclose(frechet_distance(a, moved), 9.0, rtol=1e-8)
    flat = Moments(np.zeros(2), np.diag([4.0, 0.0]), 9)
    wide = Moments(np.zeros(2), np.diag([9.0, 1.0]), 9)
    np.testing.assert_allclose(frechet_distance(flat, wide), (3 - 2) ** 2 + 1, rtol=1e-8)


def test_the_least_distance_is_that_of_two_halves_which_share_no_image():
    metrics = distances(X[:50], Y, "judge")
    assert metrics["frechet_50_judge"] == frechet_distance(moments(X[:50]), moments(Y))
    halves = frechet_distance(moments(X[:50:2]), moments(X[1:50:2]))
    assert metrics["frechet_halves_50_judge"] == pytest.approx(halves, rel=1e-9) and halves > 0.01


@pytest.mark.curriculum("R30")
def test_inception_score_at_its_limits():
    """1 where every image looks like all classes, K where each is sure and all classes are as frequent."""
    assert judgement(np.full((20, 5), 0.2))["inception_score"] == pytest.approx(1)
    assert judgement(np.tile(np.eye(5), (4, 1)))["inception_score"] == pytest.approx(5)


def test_the_kernel_distance_equals_a_loop_and_is_unbiased():
    def kernel(a, b):
        return (a @ b / 4 + 1) ** 3

    xx = np.mean([kernel(X[i], X[j]) for i in range(60) for j in range(60) if i != j])
    yy = np.mean([kernel(Y[i], Y[j]) for i in range(50) for j in range(50) if i != j])
    xy = np.mean([kernel(a, b) for a in X for b in Y])
    np.testing.assert_allclose(kernel_distance(X, Y), xx + yy - 2 * xy, rtol=1e-9)
    draws = [kernel_distance(*RNG.normal(size=(2, 12, 3))) for _ in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20 and min(draws) < 0


def test_neighbourhoods_equal_a_loop():
    precision, recall, covered, balls = [], [], [], []

    def radius(points, i):
        return np.sort(np.linalg.norm(points - points[i], axis=1))[2]  # itself is the first: the second neighbour

    for y in Y:
        inside = [np.linalg.norm(x - y) <= radius(X, i) for i, x in enumerate(X)]
        precision.append(any(inside))
        balls.append(sum(inside))
    for i, x in enumerate(X):
        recall.append(any(np.linalg.norm(x - y) <= radius(Y, j) for j, y in enumerate(Y)))
        covered.append(any(np.linalg.norm(x - y) <= radius(X, i) for y in Y))
    expected = {"precision": precision, "recall": recall, "coverage": covered}
    measured = neighbourhoods(X, Y, k=2)
    for name, values in expected.items():
        assert measured[name] == pytest.approx(np.mean(values)), name
    assert measured["density"] == pytest.approx(np.mean(balls) / 2)


def test_precision_sees_wrong_samples_and_recall_missing_ones():
    real = np.concatenate([RNG.normal(size=(80, 2)), RNG.normal(20, 1, size=(80, 2))])
    one_mode = neighbourhoods(real, RNG.normal(size=(160, 2)))
    assert one_mode["precision"] > 0.85 and one_mode["recall"] < 0.6 and one_mode["coverage"] < 0.6
    wild = neighbourhoods(real, RNG.normal(0, 60, size=(160, 2)))
    assert wild["precision"] < 0.1 and wild["recall"] > 0.5


def test_nearest_rows():
    rows, far = nearest(Y[:7], X)
    table = np.linalg.norm(Y[:7, None] - X[None], axis=2)
    np.testing.assert_array_equal(rows, table.argmin(1))
    np.testing.assert_allclose(far, table.min(1), rtol=1e-6)


@pytest.mark.curriculum("R33")
def test_divergence_of_histograms():
    """KL(p, q), p of the real images: three quarters and a quarter against a half each; then of two normals."""
    real, fake = np.array([0, 0, 0, 1.0]), np.array([0, 0, 1, 1.0])
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert histogram_divergence(real, fake, bins=2) == pytest.approx(expected, rel=1e-6)
    assert histogram_divergence(real, np.zeros(4), bins=2) == pytest.approx(
        stats.entropy([0.75, 0.25], [1, 1e-10]), rel=1e-6
    )
    normal = histogram_divergence(RNG.normal(size=200_000), RNG.normal(1, 1, size=200_000), bins=60)
    assert normal == pytest.approx(0.5, rel=0.05)


def test_what_is_no_set_of_features_is_refused():
    for refused, said in [
        (lambda: moments(X[:4]), "4 samples are too few for a covariance of 4 features"),
        (lambda: frechet_distance(moments(X), moments(Y[:, :2])), "not of one network"),
        (lambda: kernel_distance(X, Y[:, :2]), "not of one network"),
        (lambda: kernel_distance(X[:1], Y), "at least two samples"),
        (lambda: neighbourhoods(X[:3], Y), "k=3 neighbours need more than 3 rows"),
        (lambda: moments(np.where(X > 2, np.nan, X)), "are not finite"),
        (lambda: nearest(X[0], X), "expected features"),
    ]:
        with pytest.raises(DataError, match=said):
            refused()
