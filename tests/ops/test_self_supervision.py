"""Losses without labels against loops over pairs, and through what no gradient passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops.distances import unit
from cvdl_jax.ops.losses import self_supervision as losses


def vectors(n, e=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, e))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.curriculum("I17")
def test_nt_xent_by_hand():
    """Two images whose views agree, at right angles: l = -log e^(1 / t) / (e^(1 / t) + 2 e^0)."""
    z = jnp.asarray([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    got, hits = losses.nt_xent(z, z, jnp.arange(4), jnp.asarray([2, 3, 0, 1]), 0.5)
    np.testing.assert_allclose(got, [-np.log(np.e**2 / (np.e**2 + 2))] * 4, rtol=1e-6)
    np.testing.assert_array_equal(hits, 1)


@pytest.mark.curriculum("I17")
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_that_of_a_double_loop(temperature):
    """Of 2 n = 10 vectors the positive of k is k + n; a device that has anchors 1 and 2 alone gets their losses."""
    n, z = 5, vectors(10)
    expected, right = [], []
    for i in range(10):
        j = (i + n) % 10
        others = [z[i] @ z[k] / temperature for k in range(10) if k != i]
        expected.append(np.log(np.exp(others).sum()) - z[i] @ z[j] / temperature)
        right.append(max(others) == z[i] @ z[j] / temperature)
    own, positive = np.arange(10), (np.arange(10) + n) % 10
    got, hits = losses.nt_xent(z, z, own, positive, temperature)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_array_equal(hits, right)
    part, _ = losses.nt_xent(z[1:3], z, own[1:3], positive[1:3], temperature)
    np.testing.assert_allclose(part, expected[1:3], rtol=1e-5)


def test_an_anchor_is_not_its_own_negative_and_the_gradient_is_finite():
    z = vectors(6)
    own, positive = np.arange(6), (np.arange(6) + 3) % 6
    slope = jax.grad(lambda c: losses.nt_xent(z, c, own, positive)[0].sum())(jnp.asarray(z))
    assert jnp.isfinite(slope).all() and (slope != 0).any()
    one = jax.grad(lambda c: losses.nt_xent(z[:1], c, own[:1], positive[:1])[0].sum())(jnp.asarray(z))
    assert (one[0] == 0).all() and (one[1:] != 0).any()


@pytest.mark.curriculum("I17")
def test_a_queue_holds_the_negatives():
    q, k, queue = vectors(3), vectors(3, seed=1), vectors(7, seed=2)
    expected = [
        np.log(np.exp(q[i] @ k[i] / 0.2) + np.exp(queue @ q[i] / 0.2).sum()) - q[i] @ k[i] / 0.2 for i in range(3)
    ]
    got, hits = losses.with_queue(q, k, queue, 0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_array_equal(hits, [q[i] @ k[i] >= (queue @ q[i]).max() for i in range(3)])
    for which in (1, 2):  # neither keys nor queue get a gradient, and queries do
        assert (jax.grad(lambda *a: losses.with_queue(*a)[0].sum(), which)(*map(jnp.asarray, (q, k, queue))) == 0).all()
    assert (jax.grad(lambda a: losses.with_queue(a, k, queue)[0].sum())(jnp.asarray(q)) != 0).any()


@pytest.mark.curriculum("I18")
def test_every_image_is_a_class():
    f, v, index = vectors(3), vectors(8, seed=1), np.asarray([6, 0, 6])
    expected = [np.log(np.exp(v @ f[i] / 0.07).sum()) - v[index[i]] @ f[i] / 0.07 for i in range(3)]
    got, hits = losses.instances(f, v, index)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(hits, [(v @ f[i]).argmax() == index[i] for i in range(3)])
    assert (jax.grad(lambda m: losses.instances(f, m, index)[0].sum())(jnp.asarray(v)) == 0).all()


def test_the_bootstrap_is_a_squared_distance_without_gradient_to_the_target():
    p, z = vectors(4), vectors(4, seed=1)
    np.testing.assert_allclose(losses.bootstrap(p, z), ((p - z) ** 2).sum(1), rtol=1e-5, atol=1e-6)
    one, other = jax.grad(lambda a, b: losses.bootstrap(a, b).sum(), (0, 1))(jnp.asarray(p), jnp.asarray(z))
    assert (one != 0).any() and (other == 0).all()


def test_the_teachers_distribution_is_centred_and_sharpened():
    s, t, c = np.asarray([[0.3, 0.1, -0.2]]), np.asarray([[0.5, 0.4, 0.9]]), np.asarray([0.1, 0.0, 0.6])
    right = np.exp((t - c) / 0.04)
    right /= right.sum()
    log = s / 0.1 - np.log(np.exp(s / 0.1).sum())
    np.testing.assert_allclose(losses.distilled(s, t, c), [-(right * log).sum()], rtol=1e-5)
    assert right.argmax() == 0  # and not 2, as without the centre
    slope = jax.grad(lambda x: losses.distilled(jnp.asarray(s), x, jnp.asarray(c)).sum())(jnp.asarray(t))
    assert (slope == 0).all()


@pytest.mark.parametrize("normalised", [True, False])
def test_the_error_is_of_masked_patches_alone(normalised):
    """A loop over the masked patches; a guess of a visible one changes nothing and gets no gradient."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(2, 5, 6)).astype(np.float32), rng.normal(size=(2, 5, 6)).astype(np.float32)
    masked = np.asarray([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]], np.float32)
    expected = []
    for row in range(2):
        parts = []
        for p in np.flatnonzero(masked[row]):
            target = x[row, p]
            if normalised:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            parts.append(((y[row, p] - target) ** 2).mean())
        expected.append(np.mean(parts))
    np.testing.assert_allclose(losses.masked_error(y, x, masked, normalised), expected, rtol=1e-5)
    slope = jax.grad(lambda y: losses.masked_error(y, x, masked, normalised).sum())(jnp.asarray(y))
    np.testing.assert_array_equal((slope != 0).any(-1), masked > 0)


def test_unit_vectors():
    x = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit(x), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: unit(x).sum())(x)).all()
