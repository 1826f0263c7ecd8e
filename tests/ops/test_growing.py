"""Levels of progressive growing, and images and features between two resolutions, against NumPy and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.models.players import Growth
from cvdl_jax.ops import growing

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("R20")
def test_levels_by_hand():
    """Two stable steps, then two in which the next resolution fades in by half, of three resolutions."""
    levels = [float(growing.level_at(step, 2, 2, 3)) for step in range(14)]
    assert levels == [0, 0, 0.5, 1, 1, 1, 1.5, 2, 2, 2, 2, 2, 2, 2]
    assert [float(growing.level_at(step, 2, 0, 3)) for step in range(7)] == [0, 0, 1, 1, 2, 2, 2]
    assert Growth(2, 2, 3).starts() == (2, 6) and Growth(2, 0, 3).starts() == (2, 4)
    with pytest.raises(ValueError, match="stable"):
        growing.level_at(0, 0, 2, 3)


@pytest.mark.curriculum("R20")
def test_weights_and_sizes_of_pixels():
    np.testing.assert_allclose(growing.image_weights(jnp.float32(1.25), 4), [0, 0.75, 0.25, 0])
    np.testing.assert_allclose(growing.image_weights(jnp.float32(3), 4), [0, 0, 0, 1])
    sides = [float(growing.pixel_size(jnp.float32(level), 4)) for level in (0, 0.5, 1, 2.1, 3)]
    assert sides == [8, 4, 4, 1, 1]


@pytest.mark.curriculum("R20")
def test_real_images_have_the_detail_of_their_level():
    """At level 1.25 of three: a quarter of the image, three quarters of its means of 2x2."""
    x = RNG.normal(size=(2, 8, 8, 1)).astype(np.float32)

    def coarse(n):
        return x.reshape(2, 8 // n, n, 8 // n, n, 1).mean((2, 4)).repeat(n, 1).repeat(n, 2)

    np.testing.assert_allclose(growing.seen_at(x, jnp.float32(1.25), 3), 0.25 * x + 0.75 * coarse(2), atol=1e-6)
    np.testing.assert_allclose(growing.seen_at(x, jnp.float32(0.5), 3), 0.5 * coarse(2) + 0.5 * coarse(4), atol=1e-6)
    np.testing.assert_allclose(growing.seen_at(x, jnp.float32(2), 3), x, atol=1e-6)


@pytest.mark.curriculum("R20")
def test_a_fade_is_a_convex_combination():
    new, old = RNG.normal(size=(2, 3)).astype(np.float32)
    np.testing.assert_allclose(growing.fade(jnp.float32(0.25), new, old), 0.25 * new + 0.75 * old, rtol=1e-6)
    x = RNG.normal(size=(1, 2, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(growing.doubled(x), x.repeat(2, 1).repeat(2, 2))
    np.testing.assert_allclose(growing.halved(growing.doubled(x)), x, rtol=1e-6)
