"""Attention and positions as functions: worked numbers, NumPy loops, masks, variances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import attention, positions


@pytest.mark.curriculum("J1")
def test_attention_without_parameters_of_two_unit_vectors():
    x = jnp.eye(2)
    y, weights = attention.self_attention(x)
    np.testing.assert_allclose(weights, [[0.7310586, 0.2689414], [0.2689414, 0.7310586]], atol=1e-6)
    np.testing.assert_allclose(y, weights, atol=1e-6)  # values are the unit vectors themselves
    np.testing.assert_allclose(attention.scaled_dot_product(x, x, x)[1][0], [0.6697615, 0.3302385], atol=1e-6)


@pytest.mark.curriculum("J2")
def test_queries_keys_and_values_each_have_their_own_part():
    """One loop over queries: shares of keys by dot products with the query, a sum of values of another width."""
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    y, weights = attention.scaled_dot_product(*(jnp.asarray(a, jnp.float32) for a in (q, k, v)), scale=1.0)
    for i in range(3):
        w = np.exp([q[i] @ k[j] for j in range(5)])
        w /= w.sum()
        np.testing.assert_allclose(weights[i], w, atol=1e-5)
        np.testing.assert_allclose(y[i], sum(w[j] * v[j] for j in range(5)), atol=1e-5)


@pytest.mark.curriculum("J3")
def test_the_scale_gives_dot_products_a_variance_of_one():
    """Independent components of mean 0 and variance 1: q . k has variance c; scores of c = 256 saturate the softmax."""
    c, n = 256, 2000
    q, k = (jax.random.normal(key, (n, c)) for key in jax.random.split(jax.random.key(0)))
    products = (q * k).sum(-1)
    assert 0.9 * c < products.var() < 1.1 * c
    sharp = attention.scaled_dot_product(q[:64], k[:64], k[:64], scale=1.0)[1]
    soft = attention.scaled_dot_product(q[:64], k[:64], k[:64])[1]
    assert sharp.max(-1).mean() > 0.9 and soft.max(-1).mean() < 0.3
    scores = np.asarray(q[:64] @ k[:64].T, np.float64) / 16
    np.testing.assert_allclose(soft, special.softmax(scores, -1), atol=1e-5)


@pytest.mark.curriculum("J4")
def test_additive_scores_equal_a_loop():
    rng = np.random.default_rng(1)
    q, k, w_q, w_k, v = (rng.normal(size=s) for s in ((2, 3), (4, 5), (3, 6), (5, 6), (6,)))
    scores = attention.additive_scores(*(jnp.asarray(a, jnp.float32) for a in (q, k, w_q, w_k, v)))
    for i in range(2):
        for j in range(4):
            np.testing.assert_allclose(scores[i, j], v @ np.tanh(w_q.T @ q[i] + w_k.T @ k[j]), rtol=1e-4)


def test_a_query_with_nothing_to_attend_to_gets_zero_and_a_finite_gradient():
    q, k = jnp.ones((2, 4)), jnp.arange(12.0).reshape(3, 4)
    mask = jnp.array([[True, False, True], [False, False, False]])
    y, weights = attention.scaled_dot_product(q, k, k, mask)
    np.testing.assert_array_equal(y[1], 0)
    np.testing.assert_array_equal(weights[1], 0)
    assert weights[0, 1] == 0 and abs(weights[0].sum() - 1) < 1e-6
    gradient = jax.grad(lambda q: attention.scaled_dot_product(q, k, k, mask)[0].sum())(q)
    assert np.isfinite(gradient).all() and not gradient[1].any()


def test_which_keys_are_seen():
    assert attention.visible(2, 3) is None
    causal = attention.visible(3, 3, causal=True)
    np.testing.assert_array_equal(causal[0, 0], np.tri(3, dtype=bool))
    lengths = attention.visible(2, 3, lengths=jnp.array([0, 2]))
    np.testing.assert_array_equal(lengths[:, 0, 0], [[False] * 3, [True, True, False]])
    later = attention.visible(2, 4, causal=True, lengths=jnp.array([4, 2]), place=jnp.array([2, 0]))
    np.testing.assert_array_equal(later[0, 0], [[1, 1, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(later[1, 0], [[1, 0, 0, 0], [1, 1, 0, 0]])


@pytest.mark.curriculum("J8")
def test_sinusoidal_positions():
    """Worked numbers for d = 4, then the formula by a loop for an odd width."""
    two = positions.sinusoidal(2, 4)
    np.testing.assert_allclose(two[0], [0, 1, 0, 1], atol=1e-7)
    np.testing.assert_allclose(two[1], [0.8414710, 0.5403023, 0.0099998, 0.9999500], atol=1e-6)
    odd = positions.sinusoidal(6, 5)
    for p in range(6):
        for j in range(5):
            angle = p / 10_000 ** (2 * (j // 2) / 5)
            np.testing.assert_allclose(odd[p, j], (np.sin, np.cos)[j % 2](angle), atol=1e-6)


@pytest.mark.curriculum("S5")
def test_times_are_sines_then_cosines_from_one_radian_to_a_ten_thousandth():
    """d = 6: wavelengths over 2 pi of 1, 100 and 10,000."""
    waves = positions.waves(jnp.array([0, 3]), 6)
    np.testing.assert_allclose(waves[0], [0, 0, 0, 1, 1, 1], atol=1e-7)
    angles = 3 / np.array([1.0, 100.0, 10_000.0])
    np.testing.assert_allclose(waves[1], [*np.sin(angles), *np.cos(angles)], atol=1e-6)
    with pytest.raises(ConfigError, match="even and at least 4, not 5"):
        positions.waves(jnp.zeros(1), 5)


def test_rotary_positions_show_the_difference_of_places_alone():
    x = jax.random.normal(jax.random.key(0), (2, 1, 1, 6))

    def at(vector, place):
        return positions.rotate(vector[None], jnp.array([[place]]))[0, 0, 0]

    q, k = x
    near, far = (at(q, a) @ at(k, b) for a, b in ((7, 4), (107, 104)))
    np.testing.assert_allclose(near, far, atol=1e-4)
    assert abs(near - at(q, 4) @ at(k, 7)) > 1e-3  # the sign of the difference counts
    np.testing.assert_allclose(at(q, 0), q[0, 0], atol=1e-6)
    turned = at(jnp.array([[[1.0, 0, 0, 0]]]), 1)  # the first of two pairs, (0, 2), by one radian
    np.testing.assert_allclose(turned, [np.cos(1), 0, np.sin(1), 0], atol=1e-6)
    slow = at(jnp.array([[[0.0, 1, 0, 0]]]), 1)  # the second by 10,000^(-1/2)
    np.testing.assert_allclose(slow, [0, np.cos(0.01), 0, np.sin(0.01)], atol=1e-6)
    with pytest.raises(ConfigError, match="an even number of channels, not 5"):
        positions.rotate(jnp.zeros((1, 1, 1, 5)), jnp.zeros((1, 1)))
