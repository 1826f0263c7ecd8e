"""Optimal transport on a line, between points, with an entropy; the game of a GAN on a finite set; great circles."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvdl_jax.errors import DataError
from cvdl_jax.ops import latent_walks, transport
from cvdl_jax.ops.textbook import adversarial_game

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("R11")
def test_on_a_line_it_is_scipys():
    x, y = RNG.normal(size=7), RNG.normal(1, 2, size=5)
    assert transport.wasserstein_1d(x, y) == pytest.approx(stats.wasserstein_distance(x, y))
    assert transport.wasserstein_1d([0, 0, 3], [1, 1, 1]) == pytest.approx((1 + 1 + 2) / 3)
    assert transport.wasserstein_1d([0, 0, 3], [1, 1, 1], p=2) == pytest.approx(np.sqrt(6 / 3))


@pytest.mark.curriculum("R11")
def test_the_plan_is_the_cheapest_of_all_permutations():
    cost = RNG.uniform(size=(4, 4))
    ones = np.full(4, 0.25)
    moved, least = transport.plan(ones, ones, cost)
    best = min(cost[np.arange(4), list(p)].mean() for p in itertools.permutations(range(4)))
    assert least == pytest.approx(best) and least == pytest.approx((moved * cost).sum())
    np.testing.assert_allclose(moved.sum(0), ones, atol=1e-9)
    np.testing.assert_allclose(moved.sum(1), ones, atol=1e-9)


def test_a_plan_splits_mass_and_on_a_line_keeps_the_order():
    a, b, at_a, at_b = [0.5, 0.5], [0.25, 0.75], np.array([0.0, 2.0]), np.array([1.0, 3.0])
    moved, least = transport.plan(a, b, np.abs(at_a[:, None] - at_b[None]))
    np.testing.assert_allclose(moved, [[0.25, 0.25], [0, 0.5]], atol=1e-9)
    assert least == pytest.approx(stats.wasserstein_distance(at_a, at_b, a, b))


def test_sinkhorns_plan_tends_to_the_cheapest():
    a, b, cost = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.4]), RNG.uniform(size=(3, 2))
    moved, least = transport.plan(a, b, cost)
    arrays = [jnp.asarray(x, jnp.float32) for x in (a, b, cost)]
    soft, price = transport.sinkhorn(*arrays, epsilon=0.01, steps=2000)
    np.testing.assert_allclose(soft, moved, atol=2e-3)
    assert price == pytest.approx(least, abs=2e-3)
    blurred, _ = transport.sinkhorn(*arrays, epsilon=100.0)
    np.testing.assert_allclose(blurred, a[:, None] * b[None], atol=1e-3)  # the entropy alone: independent
    np.testing.assert_allclose(blurred.sum(1), a, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0.5, 0.5], [1.0], np.zeros((1, 2))), "needs a cost"),
        (([0.5, 0.6], [1.0], np.zeros((2, 1))), "have one sum, got sums 1.1 and 1"),
        (([-0.5, 1.5], [1.0], np.zeros((2, 1))), "at least 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(arguments, said):
    with pytest.raises(DataError, match=said):
        transport.plan(*arguments)


@pytest.mark.curriculum("R39")
def test_the_value_of_the_game():
    """With equal distributions D* is 1/2 and V is -2 ln 2; V(D*) = 2 JS - 2 ln 2; no other D has more."""
    even = np.full(4, 0.25)
    best = adversarial_game.best_discriminator(even, even)
    np.testing.assert_array_equal(best, 0.5)
    assert adversarial_game.game_value(even, even, best) == pytest.approx(-1.3862944, abs=1e-7)
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.3, 0.0, 0.6])
    best = adversarial_game.best_discriminator(p, q)
    value = adversarial_game.game_value(p, q, best)
    assert value == pytest.approx(2 * adversarial_game.jensen_shannon(p, q) - 2 * np.log(2))
    for _ in range(50):
        other = np.clip(best + RNG.normal(0, 0.1, 4), 1e-6, 1 - 1e-6)
        assert adversarial_game.game_value(p, q, other) < value
    apart = adversarial_game.jensen_shannon(np.array([1.0, 0]), np.array([0, 1.0]))
    assert apart == pytest.approx(np.log(2))


@pytest.mark.curriculum("R29")
def test_half_way_on_the_great_circle():
    x, y = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(latent_walks.slerp(x, y, 0.5), (x + y) / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(latent_walks.slerp(x, y, 1 / 3), [np.cos(np.pi / 6), 0.5, 0], atol=1e-6)
    for t, end in ((0.0, x), (1.0, y)):
        np.testing.assert_allclose(latent_walks.slerp(x, y, t), end, atol=1e-6)
    np.testing.assert_allclose(latent_walks.slerp(x, 3 * x, 0.5), 2 * x, atol=1e-5)  # parallel: the straight line
    np.testing.assert_allclose(latent_walks.lerp(x, y, 0.25), [0.75, 0.25, 0])


@pytest.mark.curriculum("R32")
def test_the_path_length_of_a_turning_is_the_square_of_the_angle():
    """G the identity, d the squared distance: unit vectors a right angle apart move by pi / 2 for each unit of t."""
    x, y = jnp.eye(4)[None, 0], jnp.eye(4)[None, 1]
    squared = lambda a, b: ((a - b) ** 2).sum(-1)  # noqa: E731
    length = latent_walks.path_length(lambda z: z, squared, x, y, jnp.array([0.3]))
    np.testing.assert_allclose(length, (np.pi / 2) ** 2, rtol=1e-2)
