"""Losses of domain transfer, by hand: which class each player wants, distances, roots of flat images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops.losses import domain_transfer as losses


@pytest.mark.curriculum("R19")
def test_the_game_by_hand():
    """Probabilities 1/2, 1/4, 1/4 of what comes from the source; 1/8, 1/2, 3/8 of the target; 1/10, 1/10, 8/10."""
    p = jnp.asarray([[[0.5, 0.25, 0.25]], [[0.125, 0.5, 0.375]], [[0.1, 0.1, 0.8]]])
    logits = jnp.log(p) + 3.0
    assert float(losses.discriminator(*logits)[0]) == pytest.approx(-np.log(0.5 * 0.5 * 0.8), rel=1e-5)
    assert float(losses.generator(*logits[:2])[0]) == pytest.approx(-np.log(0.25 * 0.375), rel=1e-5)
    assert losses.Objective() == (100.0, 1.0, 0.05)  # of the paper, for faces


@pytest.mark.curriculum("R19")
def test_distances_and_variation():
    x = jnp.asarray([[[1.0, 2.0], [3.0, 4.0]]])[..., None]
    np.testing.assert_allclose(losses.squared_distance(x, jnp.zeros_like(x)), [30 / 4])
    np.testing.assert_allclose(losses.total_variation(x), [5**0.5], rtol=1e-6)  # one pixel has both neighbours: 1, 2
    np.testing.assert_allclose(losses.total_variation(x, 2.0), [5.0], rtol=1e-6)
    flat = jnp.ones((2, 3, 3, 1))
    value, slope = jax.value_and_grad(lambda z: losses.total_variation(z).sum())(flat)
    assert value == 0 and (slope == 0).all()
