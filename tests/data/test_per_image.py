"""Images normalised by their own mean and deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.data import pixels
from cvdl_jax.errors import ConfigError

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("U9")
def test_each_image_by_itself():
    x = RNG.uniform(size=(3, 4, 5, 2)).astype(np.float32)
    want = (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(pixels.normalise(jnp.asarray(x), per_image=True), want, atol=1e-5)
    np.testing.assert_allclose(pixels.normalise(jnp.asarray(x[0]), per_image=True), want[0], atol=1e-5)
    brighter = pixels.normalise(jnp.asarray(0.8 * x + 0.1), per_image=True)
    np.testing.assert_allclose(brighter, want, atol=1e-4)


@pytest.mark.curriculum("U9")
def test_a_constant_image_becomes_zero():
    x = jnp.full((2, 4, 4, 1), 0.25).at[1, 0, 0, 0].set(0.2501)
    out = np.asarray(pixels.normalise(x, per_image=True))
    np.testing.assert_array_equal(out[0], 0)
    slopes = jax.grad(lambda x: (pixels.normalise(x, per_image=True) ** 2).sum())(x)
    assert np.isfinite(slopes).all()
    assert 0 < np.abs(out[1]).max() < 1e-3  # divided by 1 / sqrt(16), not by its tiny deviation


def test_statistics_beside_it_are_refused():
    with pytest.raises(ConfigError, match="per_image takes mean and std of each image"):
        pixels.normalise(jnp.ones((1, 2, 2, 1)), mean=(0.5,), per_image=True)
    with pytest.raises(ConfigError, match="leave mean, std and fit out"):
        configs.load("configs/classify/lenet5.py", ["config.normalise.per_image=True"])
