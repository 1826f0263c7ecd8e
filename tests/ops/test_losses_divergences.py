"""Divergences, cosine similarity and distance in feature space: SciPy oracles, both directions, gradients at zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, special, stats

from cvdl_jax.ops.losses import divergences as d
from cvdl_jax.ops.losses.perceptual import feature_distance

KL, KL_LOGITS = jax.jit(d.kl_divergence), jax.jit(d.kl_divergence_of_logits)
KL_GAUSSIAN = jax.jit(d.kl_gaussian)
COSINE, MATRIX = jax.jit(d.cosine_similarity), jax.jit(d.cosine_matrix)
OPTAX_COSINE = jax.jit(optax.losses.cosine_similarity)
LOGITS = hnp.arrays(np.float32, (2, 4), elements=st.floats(-20, 20, width=32))


def softmax(logits):
    return special.softmax(logits.astype(np.float64), axis=-1).astype(np.float32)


@pytest.mark.curriculum("C14")
def test_discrete_divergence_worked_numbers():
    """Two coins: KL(p, q) = log 2 - ... differs from KL(q, p); 0 log 0 is 0; impossible events that happen cost all."""
    p, q = np.float32([0.5, 0.5]), np.float32([0.25, 0.75])
    np.testing.assert_allclose(KL(p, q), 0.5 * np.log(2) + 0.5 * np.log(2 / 3), rtol=1e-5)
    np.testing.assert_allclose(KL(q, p), 0.25 * np.log(0.5) + 0.75 * np.log(1.5), rtol=1e-5)
    np.testing.assert_allclose(KL(np.float32([1, 0]), p), np.log(2), rtol=1e-6)
    assert np.isposinf(KL(p, np.float32([1, 0]))) and KL(p, p) == 0
    slope = jax.grad(lambda q: d.kl_divergence(np.float32([1, 0]), q))(jnp.asarray(q))
    np.testing.assert_allclose(slope, [-4, 0])
    np.testing.assert_allclose(d.kl_divergence(p[:, None], q[:, None], axis=0), [KL(p, q)], rtol=1e-6)
    pairs = np.stack([p, q]), np.stack([q, p])
    np.testing.assert_allclose(d.kl_divergence(*pairs, reduction="mean"), (KL(p, q) + KL(q, p)) / 2, rtol=1e-6)


@pytest.mark.curriculum("C14")
@given(LOGITS, LOGITS)
def test_discrete_divergence_equals_scipy_and_is_never_negative(a, b):
    p, q = softmax(a), softmax(b)
    expected = [[stats.entropy(x, y) for x, y in zip(u, v, strict=True)] for u, v in ((p, q), (q, p))]
    for (u, v), e in zip(((p, q), (q, p)), expected, strict=True):
        np.testing.assert_allclose(KL(u, v), e, rtol=1e-3, atol=1e-5)
        assert (KL(u, v) >= -1e-6).all()
    np.testing.assert_allclose(KL_LOGITS(a, b), expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.curriculum("C14")
def test_divergence_of_logits_is_stable():
    a, b = np.float32([[0, 1e4, 0]]), np.float32([[1e4, 0, 0]])
    np.testing.assert_allclose(KL_LOGITS(a, b), [1e4])
    slope = jax.grad(lambda b: d.kl_divergence_of_logits(a, b, reduction="sum"))(b)
    np.testing.assert_allclose(slope, softmax(b) - softmax(a), atol=1e-6)


def integral(m, v, n, w):
    """KL of two normal distributions by quadrature."""
    p, q = stats.norm(m, np.sqrt(v)), stats.norm(n, np.sqrt(w))
    low, high = m - 12 * np.sqrt(v), m + 12 * np.sqrt(v)
    return integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high)[0]


@pytest.mark.curriculum("C14")
@pytest.mark.parametrize("numbers", [(0.5, 2.0, -1.0, 0.3), (0.0, 1.0, 0.0, 1.0), (2.0, 0.1, 0.0, 1.0)])
def test_gaussian_divergence_equals_the_integral_in_both_directions(numbers):
    m, v, n, w = np.float32(numbers)
    np.testing.assert_allclose(KL_GAUSSIAN(m, v, n, w), integral(m, v, n, w), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(KL_GAUSSIAN(n, w, m, v), integral(n, w, m, v), rtol=1e-4, atol=1e-6)


@pytest.mark.curriculum("C14")
def test_latent_loss_has_two_directions():
    """ER86: (m^2 + v - log v - 1) / 2 is KL(q, N(0, 1)) and not KL(N(0, 1), q), for which there is a formula too."""
    mean, variance = np.float32([[0.5, -1], [0, 0]]), np.float32([[2, 0.3], [1, 1]])
    one, log_four = np.float32([1]), np.float32([np.log(4)])  # m = 1, v = 4
    np.testing.assert_allclose(d.kl_to_standard_normal(one, log_four), 1.3068528194, rtol=1e-6)
    np.testing.assert_allclose(d.kl_from_standard_normal(one, log_four), 0.4431471806, rtol=1e-6)
    to = d.kl_to_standard_normal(mean, np.log(variance))
    away = d.kl_from_standard_normal(mean, np.log(variance))
    np.testing.assert_allclose(to[0], 0.5 * ((0.25 + 2 - np.log(2) - 1) + (1 + 0.3 - np.log(0.3) - 1)), rtol=1e-6)
    np.testing.assert_allclose(to[0], integral(0.5, 2, 0, 1) + integral(-1, 0.3, 0, 1), rtol=1e-5)
    np.testing.assert_allclose(away[0], integral(0, 1, 0.5, 2) + integral(0, 1, -1, 0.3), rtol=1e-5)
    assert to[1] == away[1] == 0 and abs(float(to[0] - away[0])) > 0.1
    zeros, ones = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    np.testing.assert_allclose(KL_GAUSSIAN(mean, variance, zeros, ones).sum(1), to, rtol=1e-5)
    np.testing.assert_allclose(KL_GAUSSIAN(zeros, ones, mean, variance).sum(1), away, rtol=1e-5)


def test_numbers_that_are_no_distribution():
    p = np.float32([0.5, 0.5])
    with pytest.raises(ValueError, match=r"sum\(q, axis=-1\)=0\.75 must be 1, to 0\.001: probabilities"):
        d.kl_divergence(p, np.float32([0.25, 0.5]))
    with pytest.raises(ValueError, match=r"p\[0\]=-0\.5 must be at least 0\.0 and finite"):
        d.kl_divergence(np.float32([-0.5, 1.5]), p)
    assert np.isnan(KL(p, np.float32([0.25, 0.5]))) and np.isnan(KL(np.float32([-0.5, 1.5]), p))
    with pytest.raises(ValueError, match=r"p and q must have one shape, got p \[2\], q \[1\]"):
        d.kl_divergence(p, np.ones(1))
    with pytest.raises(ValueError, match=r"q_variance=0\.0 must be positive"):
        d.kl_gaussian(0.0, 1.0, 0.0, 0.0)
    assert np.isnan(KL_GAUSSIAN(0.0, 1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"mean\[0\]=nan"):
        d.kl_to_standard_normal(np.float32([np.nan]), np.zeros(1))


# Cosine similarity ------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("C15")
def test_cosine_similarity_worked_numbers():
    x, y = np.float32([[3, 4], [1, 0], [1, 0], [0, 0]]), np.float32([[4, 3], [0, 2], [-5, 0], [1, 1]])
    np.testing.assert_allclose(COSINE(x, y), [0.96, 0, -1, 0], atol=1e-7)
    np.testing.assert_allclose(d.cosine_similarity(x.T, y.T, axis=0), [0.96, 0, -1, 0], atol=1e-7)
    tiny = np.float32([[1e-4, 0]])
    np.testing.assert_allclose(COSINE(tiny, tiny), [1e-2], rtol=1e-5)  # 1e-8 / eps: eps bounds the product of norms
    np.testing.assert_allclose(d.cosine_similarity(tiny, tiny, eps=1e-12), [1], rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: d.cosine_similarity(x, y).sum())(x)).all()


@pytest.mark.curriculum("C15")
@pytest.mark.parametrize("scale", [1e19, 1e25, 1e38])
def test_large_vectors_have_an_angle(scale):
    """Squares beyond 3e38 are infinite in float32; 0.96 and -0.6 are the cosines of (3, 4) with (4, 3) and (-1, 0)."""
    x = np.float32([[3, 4], [3, 4], [0, 0]]) / 4 * np.float32(scale)
    y = np.float32([[4, 3], [-1, 0], [1, 2]])
    for one, other in ((x, y), (y, x), (x, y * np.float32(scale / 4)), (x, y * np.float32(1e-2))):
        np.testing.assert_allclose(COSINE(one, other), [0.96, -0.6, 0], rtol=1e-5)
        np.testing.assert_allclose(np.diag(MATRIX(one, other)), [0.96, -0.6, 0], rtol=1e-5)
    scale = min(scale, 1e25)  # the slope is 1 / scale
    slope = jax.grad(lambda y: d.cosine_similarity(x[:1] / x[0, 0] * 3, y).sum())
    np.testing.assert_allclose(slope(y[:1] * scale / 4) * np.float32(scale / 4), slope(y[:1]), rtol=1e-4)


@pytest.mark.curriculum("C15")
@given(LOGITS, LOGITS)
def test_cosine_matrix_holds_every_pair(x, y):
    matrix = MATRIX(x, y)
    assert matrix.shape == (2, 2) and (np.abs(matrix) <= 1 + 1e-6).all()
    np.testing.assert_allclose(np.diag(matrix), COSINE(x, y), atol=1e-6)
    np.testing.assert_allclose(matrix[0, 1], COSINE(x, y[::-1])[0], atol=1e-6)
    sound = (np.abs(x).max(1) > 1e-2) & (np.abs(y).max(1) > 1e-2)
    np.testing.assert_allclose(COSINE(x, y)[sound], OPTAX_COSINE(x, y)[sound], atol=1e-5)


def test_bad_vectors_are_refused():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"x and y must be \[n, d\] and \[m, d\], got \[2, 3\] and \[2, 2\]"):
        d.cosine_matrix(x, x[:, :2])
    with pytest.raises(ValueError, match=r"eps=0 must be positive"):
        d.cosine_similarity(x, x, eps=0)
    with pytest.raises(ValueError, match="x and y must have one shape"):
        d.cosine_similarity(x, x[:, :2])


# Feature space ----------------------------------------------------------------------------------------------------


def layers(x):
    return {"first": jnp.tanh(x), "second": x.mean(1, keepdims=True)}


@pytest.mark.curriculum("C18")
def test_feature_distance_worked_numbers():
    """Euclidean of one layer, its square, L1; several layers add up; the identity gives the distance of pixels."""
    x, y = np.float32([[3, 4], [1, 1]]), np.float32([[0, 0], [1, 1]])
    np.testing.assert_allclose(feature_distance(lambda x: x, x, y), [5, 0])
    np.testing.assert_allclose(feature_distance(lambda x: 2 * x, x, y, "squared_l2"), [100, 0])
    np.testing.assert_allclose(feature_distance(lambda x: x[:, None] * jnp.ones((1, 3, 1)), x, y, "l1"), [21, 0])
    distances = feature_distance(layers, x, y)
    np.testing.assert_allclose(distances[0], np.linalg.norm(np.tanh([3, 4])) + 3.5, rtol=1e-6)
    np.testing.assert_allclose(feature_distance(layers, x, y, reduction="mean"), distances.mean(), rtol=1e-6)


@pytest.mark.curriculum("C18")
def test_descending_the_feature_distance_finds_the_latent_code():
    """min_z |f(x) - f(G(z))| for a linear generator: least squares; the gradient at the solution is 0, not NaN."""
    rng = np.random.default_rng(0)
    a, f = rng.normal(size=(2, 5)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    truth = jnp.float32([[0.7, -1.2]])  # JAX's: a product of NumPy's may round differently, and the distance not be 0
    distance = lambda z, norm: feature_distance(lambda x: x @ f, truth @ a, z @ a, norm, reduction="sum")  # noqa: E731
    step = jax.jit(jax.grad(lambda z: distance(z, "squared_l2")))
    rate = 0.5 / np.linalg.norm(a @ f, 2) ** 2
    z = np.zeros((1, 2), np.float32)
    for _ in range(200):
        z = z - rate * step(z)
    np.testing.assert_allclose(z, truth, atol=1e-3)
    np.testing.assert_array_equal(jax.grad(lambda z: distance(z, "l2"))(truth), np.zeros((1, 2)))


def test_bad_features_are_refused():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"norm='l3' must be one of 'l2', 'squared_l2', 'l1'"):
        feature_distance(lambda x: x, x, x, "l3")
    with pytest.raises(ValueError, match=r"features\(x\) and features\(y\) must have one shape"):
        feature_distance(lambda x: x, x, x[:1])
    with pytest.raises(ValueError, match=r"features\(y\)\[1, 2\]=nan"):
        feature_distance(lambda x: x, x, np.float32([[0, 0, 0], [0, 0, np.nan]]))
    with pytest.raises(ValueError, match=r"one row per example, got a scalar"):
        feature_distance(jnp.sum, x, x)
    with pytest.raises(ValueError, match="trees of one structure"):
        feature_distance(lambda x: {}, x, x)
