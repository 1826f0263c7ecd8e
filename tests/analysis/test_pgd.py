"""Projected gradient descent on the input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.attacks.pgd import pgd
from cvdl_jax.errors import ConfigError

WEIGHTS = np.random.default_rng(0).normal(size=(4, 4, 1))


def linear_loss(x):
    return jnp.tensordot(x, jnp.asarray(WEIGHTS, x.dtype), 3)


def test_linear_loss_ends_at_the_corner_of_the_ball():
    x = jnp.full((3, 4, 4, 1), 0.5)
    adversarial = pgd(linear_loss, x, jax.random.key(0), epsilon=0.1, step_size=0.05, steps=5)
    np.testing.assert_allclose(adversarial, np.broadcast_to(0.5 + 0.1 * np.sign(WEIGHTS), x.shape), atol=1e-6)


def test_one_step_is_the_fast_gradient_sign_method():
    x = jnp.full((2, 4, 4, 1), 0.5)
    adversarial = pgd(linear_loss, x, jax.random.key(0), 0.03, 0.03, 1, random_start=False)
    np.testing.assert_allclose(adversarial - x, np.broadcast_to(0.03 * np.sign(WEIGHTS), x.shape), atol=1e-6)


def test_stays_in_the_ball_and_in_the_image():
    x = jax.random.uniform(jax.random.key(1), (5, 4, 4, 1))
    adversarial = pgd(lambda x: jnp.sin(20 * x).sum((1, 2, 3)), x, jax.random.key(2), 0.2, 0.15, 6)
    assert float(jnp.abs(adversarial - x).max()) <= 0.2 + 1e-6
    assert float(adversarial.min()) >= 0 and float(adversarial.max()) <= 1


def test_random_start_of_a_row_depends_on_its_index_only():
    x = jnp.full((4, 4, 4, 1), 0.5)
    zero = lambda x: 0 * x.sum((1, 2, 3))  # noqa: E731
    whole = pgd(zero, x, jax.random.key(3), 0.1, 0.01, 1)
    half = pgd(zero, x[:2], jax.random.key(3), 0.1, 0.01, 1)
    np.testing.assert_array_equal(whole[:2], half)
    assert float(jnp.abs(whole - x).max()) > 0.05


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"step_size": -1.0}, {"steps": 0}])
def test_impossible_numbers(wrong):
    with pytest.raises(ConfigError, match=f"config.adversary.{next(iter(wrong))}"):
        pgd(linear_loss, jnp.zeros((1, 4, 4, 1)), jax.random.key(0), **wrong)
