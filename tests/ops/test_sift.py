"""SIFT against scikit-image, loops and turned images; Fisher vectors and linear machines against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.embedding import gaussian_mixture
from cvdl_jax.data.face_scenes import clutter
from cvdl_jax.errors import DataError
from cvdl_jax.ops.classical import fisher_vectors, linear_svm, sift
from cvdl_jax.ops.classical.smoothing import central, gaussian, sobel

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("X7", "X5")
def test_smoothing_and_gradients_are_scipys():
    from scipy import ndimage

    x = RNG.random((17, 23))
    np.testing.assert_allclose(gaussian(x, 2.3), ndimage.gaussian_filter(x, 2.3, mode="nearest"), atol=1e-12)
    np.testing.assert_array_equal(gaussian(x, 0), x)
    with pytest.raises(ValueError, match=r"sigma=-1.0 must be 0 or more"):
        gaussian(x, -1.0)
    for axis, ours in enumerate(sobel(x)):
        np.testing.assert_allclose(ours, ndimage.sobel(x, axis, mode="nearest") / 8, atol=1e-12)
    dy, dx = central(x)
    np.testing.assert_allclose([dy[3, 4], dx[3, 4]], [(x[4, 4] - x[2, 4]) / 2, (x[3, 5] - x[3, 3]) / 2])


@pytest.mark.curriculum("X7")
def test_a_peak_between_pixels_is_where_the_parabola_has_it():
    """d = 1 - (s - 2.2)^2 / 4 - (y - 3.3)^2 / 10 - (x - 3.9)^2 / 12, from (2, 3, 3): one step goes to x = 4."""
    s, y, x = np.mgrid[:5, :7, :8].astype(float)
    d = 1 - (s - 2.2) ** 2 / 4 - (y - 3.3) ** 2 / 10 - (x - 3.9) ** 2 / 12
    np.testing.assert_allclose(sift.refined(d, np.asarray([2, 3, 3]), 0.5, 10), [2.2, 3.3, 3.9], atol=1e-9)
    assert sift.refined(d, np.asarray([2, 3, 4]), 1.001, 10) is None  # its value there is 1
    assert sift.refined(d, np.asarray([2, 3, 4]), 0.999, 10) is not None
    # Curvatures 2/10 and 2/12 are 1.2 apart: rejected for an edge of less, (r + 1)^2 / r grows with r.
    assert sift.refined(d, np.asarray([2, 3, 4]), 0.5, 1.1) is None
    assert sift.refined(d, np.asarray([2, 3, 4]), 0.5, 1.3) is not None
    slope, hessian = sift.derivatives(s * y + 2 * y * x - 3 * s * x + s**2, np.asarray([2, 3, 4]))
    np.testing.assert_allclose(slope, [3 - 12 + 4, 2 + 8, 6 - 6])
    np.testing.assert_allclose(hessian, [[2, 1, -3], [1, 0, 2], [-3, 2, 0]])


@pytest.mark.curriculum("X7")
def test_extrema_are_above_or_below_all_neighbours():
    d = RNG.normal(size=(4, 8, 9))
    expected = [
        at for at in np.ndindex(d.shape)
        if all(0 < a < n - 1 for a, n in zip(at, d.shape, strict=True)) and abs(d[at]) >= 0.3
        and d[at] in (lambda c: (c.max(), c.min()))(d[tuple(slice(a - 1, a + 2) for a in at)])
    ]  # fmt: skip
    assert [tuple(at) for at in sift.extrema(d, 0.3).tolist()] == expected and len(expected) > 2


@pytest.mark.curriculum("X7")
def test_layers_have_the_smoothness_that_they_say():
    """A point becomes a Gaussian, whose variance is measured: sigma^2, less that of an image as it comes.

    An image has sigma 0.5 as it comes, 1 when it is doubled, where a point had 0; linear interpolation adds 1/2.
    """
    image = np.zeros((64, 64))
    image[32, 32] = 1
    octaves, differences = sift.scale_space(image, 3, 60)
    assert [x.shape for x in octaves] == [(6, 128, 128), (6, 64, 64)] and differences[0].shape == (5, 128, 128)
    for o, layers in enumerate(octaves):
        for i, layer in enumerate(layers):
            rows, at = layer.sum(1) / layer.sum(), np.arange(len(layer))
            mean = rows @ at
            assert mean == pytest.approx(64 / 2**o)
            variance = rows @ (at - mean) ** 2 + (1 - 0.5) / 4**o
            assert variance == pytest.approx((1.6 * 2 ** (i / 3)) ** 2, rel=3e-3)


@pytest.mark.curriculum("X7")
def test_main_orientations_by_hand():
    """Votes of 6 for 30 degrees and 3 for 40, with (1, 4, 6, 4, 1): 4.5, 8 and 7 at 20, 30 and 40 degrees.

    The parabola has its top at 30 + 10 (4.5 - 7) / (2 (4.5 - 16 + 7)) = 32.8 degrees.
    """

    def angles(*gradients, sigma=2.0):
        dy, dx = np.zeros((2, 41, 41))
        for (y, x), degrees, length in gradients:
            turn = np.radians(degrees)
            dy[20 + y, 20 + x], dx[20 + y, 20 + x] = length * np.sin(turn), length * np.cos(turn)
        return np.degrees(sift.orientations(dy, dx, 20.0, 20.0, sigma))

    np.testing.assert_allclose(angles(((0, 1), 33, 1)), [30])
    np.testing.assert_allclose(angles(((0, 1), 30, 1), ((0, -1), 40, 0.5)), [30 + 25 / 9])
    np.testing.assert_allclose(angles(((0, 1), 358, 1), ((-1, 0), 172, 0.81)), [0, 170])  # 80 % of the highest
    np.testing.assert_allclose(angles(((0, 1), 0, 1), ((-1, 0), 170, 0.79)), [0])
    # Three pixels away is one deviation, 1.5 sigma: exp(-1/2) of 1.31 is less than 80 %, of 1.33 more.
    assert (
        len(angles(((0, 0), 0, 1), ((3, 0), 170, 1.31))) == 1 and len(angles(((0, 0), 0, 1), ((3, 0), 170, 1.33))) == 2
    )
    # Nine pixels away is three of them, and the last that votes.
    assert len(angles(((0, 0), 0, 1), ((0, 9), 170, 85))) == 2 and len(angles(((0, 0), 0, 1), ((0, 10), 170, 999))) == 1
    even = angles(((0, 1), 30, 1), ((0, -1), 40, 1))  # two equal bins are one peak between them
    np.testing.assert_allclose(even, [35])


@pytest.mark.curriculum("X7")
def test_gradients_are_of_the_layer_of_the_points_scale(scene, monkeypatch):
    seen, thresholds, plain = [], [], sift.extrema
    monkeypatch.setattr(sift, "orientations", lambda dy, dx, y, x, sigma: seen.append((dy, sigma)) or [])
    monkeypatch.setattr(sift, "extrema", lambda d, threshold: thresholds.append(threshold) or plain(d, threshold))
    assert not len(sift.detect(scene[0]).scale) and len(seen) > 10
    octaves = sift.scale_space(scene[0])[0]
    for dy, sigma in seen:
        layer = round(3 * np.log2(sigma / 1.6))
        assert any(dy.shape == o[0].shape and np.array_equal(dy, central(o[layer])[0]) for o in octaves)
    assert max(thresholds) < 0.04 / 3  # a pixel beside the extremum has less than it


@pytest.mark.curriculum("X7")
def test_a_descriptor_equals_loops():
    x = gaussian(RNG.random((40, 44)), 1)
    dy, dx = central(x)
    y, u, sigma, angle = 20.3, 21.7, 1.5, 0.7
    votes = np.zeros((4, 4, 8))
    for i, j in np.ndindex(x.shape):
        a = ((j - u) * np.cos(angle) + (i - y) * np.sin(angle)) / (3 * sigma)
        d = (-(j - u) * np.sin(angle) + (i - y) * np.cos(angle)) / (3 * sigma)
        length = np.hypot(dy[i, j], dx[i, j]) * np.exp(-(a * a + d * d) / 8)
        turn = ((np.arctan2(dy[i, j], dx[i, j]) - angle) / (2 * np.pi) * 8) % 8
        for r, c, b in np.ndindex(4, 4, 8):
            away = min(abs(turn - b), 8 - abs(turn - b))
            share = max(1 - abs(d - (r - 1.5)), 0) * max(1 - abs(a - (c - 1.5)), 0) * max(1 - away, 0)
            votes[r, c, b] += share * length
    v = votes.ravel() / np.linalg.norm(votes)
    v = np.minimum(v, 0.2)
    np.testing.assert_allclose(sift.describe(dy, dx, y, u, sigma, angle), v / np.linalg.norm(v), atol=1e-9)
    votes = np.zeros((4, 4, 8))
    for i, j in np.ndindex(x.shape):  # the descriptor in row 1, column 2 of the grid begins at (6, 12)
        turn = (np.arctan2(dy[i, j], dx[i, j]) / (2 * np.pi) * 8) % 8
        for r, c, b in np.ndindex(4, 4, 8):
            away = min(abs(turn - b), 8 - abs(turn - b))
            share = max(1 - abs(i + 0.5 - 6 - (r + 0.5) * 5) / 5, 0) * max(1 - abs(j + 0.5 - 12 - (c + 0.5) * 5) / 5, 0)
            votes[r, c, b] += share * max(1 - away, 0) * np.hypot(dy[i, j], dx[i, j])
    columns = len(range(0, 44 - 19, 6))
    with pytest.raises(DataError, match=r"take grey images \[n, h, w\] of 20 pixels or more, got \[1, 19, 44\]"):
        sift.dense(x[None, :19], 5, 6)
    np.testing.assert_allclose(sift.dense(x[None], 5, 6)[0, columns + 2], sift.unit(votes.reshape(1, -1))[0], atol=1e-9)


@pytest.fixture(scope="module")
def scene():
    image = gaussian(clutter(np.random.default_rng(3), 96, 16), 0.7)
    return image, sift.detect(image)


@pytest.mark.curriculum("X7")
def test_points_are_those_of_scikit_image(scene):
    from skimage.feature import SIFT

    image, ours = scene
    theirs = SIFT(c_dog=0.04 / 3)
    theirs.detect(image)
    places = theirs.positions - 0.25  # their enlarged image begins a quarter of a pixel before the first pixel's centre
    away = np.linalg.norm(ours.place[:, None] - places[None], axis=2)
    same = (away < 0.6) & (abs(np.log2(ours.scale[:, None] / theirs.sigmas[None])) < 0.35)
    assert len(ours.scale) > 25
    assert same.any(1).mean() > 0.7 and same.any(0).mean() > 0.7
    assert np.median(away.min(1)) < 0.2


@pytest.mark.curriculum("X7")
def test_points_of_a_turned_and_shifted_image_match(scene):
    image, before = scene
    after = sift.detect(np.rot90(image))
    pairs = sift.match(before.descriptor, after.descriptor)
    y, x = before.place[pairs[:, 0]].T
    right = np.linalg.norm(np.stack([95 - x, y], 1) - after.place[pairs[:, 1]], axis=1) < 1.5
    assert len(pairs) > 0.6 * len(before.scale) and right.mean() > 0.9
    # The columns' axis turns onto minus the rows' axis.
    turn = (after.angle[pairs[:, 1]] - before.angle[pairs[:, 0]] + np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
    assert (abs(turn[right]) < 0.15).mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(before.descriptor, axis=1), 1)
    assert len(sift.detect(np.full((40, 40), 0.5)).scale) == 0


@pytest.mark.curriculum("X7")
def test_a_match_needs_a_second_one_that_is_far():
    a = np.asarray([[1.0, 0], [0, 1]])
    b = np.asarray([[0.9, 0.1], [-1.0, 0], [0, 0.0]])  # the first: 0.14 and 1; the second: 1 and 1.27, ratio 0.786
    assert sift.match(a, b, 0.5).tolist() == [[0, 0]]
    assert sift.match(a, b, 0.8).tolist() == [[0, 0], [1, 2]]
    assert sift.match(a, b, 0.78).tolist() == [[0, 0]]
    assert sift.match(a, b[:1]).shape == (0, 2)


@pytest.mark.curriculum("X8")
def test_fisher_vectors_are_whitened_gradients_and_scikit_images():
    from skimage.feature import fisher_vector
    from sklearn.mixture import GaussianMixture

    x, n = RNG.normal(size=(12, 3)) + 0.3, 12
    w, m, v = np.asarray([0.7, 0.3]), RNG.normal(size=(2, 3)), RNG.random((2, 3)) + 0.5
    ours = fisher_vectors.encode(x, w, m, v)
    with jax.enable_x64(True):

        def likelihood(means, deviations):
            mixture = gaussian_mixture.Mixture(jnp.asarray(w), means, deviations**2)
            return jax.nn.logsumexp(gaussian_mixture.log_joint(mixture, jnp.asarray(x)), 1).sum()

        by_mean, by_deviation = jax.grad(likelihood, (0, 1))(jnp.asarray(m), jnp.asarray(np.sqrt(v)))
    by_mean, by_deviation = jax.device_get((by_mean, by_deviation))
    root, mass = np.sqrt(v), np.sqrt(w)[:, None]
    expected = [by_mean * root / mass / n, by_deviation * root / (np.sqrt(2) * mass) / n]
    np.testing.assert_allclose(ours, np.concatenate([np.ravel(e) for e in expected]), rtol=1e-8)
    theirs = GaussianMixture(2, covariance_type="diag")
    theirs.weights_, theirs.means_, theirs.covariances_ = w, m, v
    theirs.precisions_cholesky_ = 1 / np.sqrt(v)
    # Theirs has the deviations' half with the other sign, which neither a gradient nor the paper has.
    np.testing.assert_allclose(fisher_vector(x, theirs)[2:] * np.repeat([1, -1], 6), ours, rtol=1e-6)
    better = fisher_vectors.improved(ours)
    np.testing.assert_allclose(np.linalg.norm(better), 1)
    np.testing.assert_allclose(better / better[0], np.sign(ours / ours[0]) * np.sqrt(abs(ours / ours[0])))
    np.testing.assert_array_equal(fisher_vectors.improved(np.zeros((2, 4))), 0)
    with pytest.raises(DataError, match="without descriptors has no Fisher vector"):
        fisher_vectors.encode(x[:0], w, m, v)


@pytest.mark.curriculum("X10", "X8")
def test_linear_machines_are_those_of_scikit_learn():
    from sklearn.svm import LinearSVC

    x, label = RNG.normal(size=(90, 5)), RNG.integers(3, size=90)
    x[np.arange(90), label] += 1.5
    for c in (0.05, 5.0):
        ours = linear_svm.fit(x, label, 3, c)
        theirs = LinearSVC(C=c, loss="squared_hinge", dual=False, tol=1e-9, intercept_scaling=1e4, max_iter=5000)
        theirs.fit(x, label)
        np.testing.assert_allclose(ours.weights, theirs.coef_.T, atol=2e-4)
        np.testing.assert_allclose(ours.bias, theirs.intercept_, atol=2e-4)
        np.testing.assert_array_equal(linear_svm.scores(ours, x).argmax(1), theirs.predict(x))
    with pytest.raises(DataError, match=r"classes \[3\] have no examples"):
        linear_svm.fit(x, label, 4)
    with pytest.raises(DataError, match=r"labels are in 0..3; 3 classes are 0..2"):
        linear_svm.fit(x, np.append(label[1:], 3), 3)
    with pytest.raises(DataError, match="1 of 90 examples have features that are no numbers"):
        linear_svm.fit(np.where(np.arange(90)[:, None] == 7, np.nan, x), label, 3)
